/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.c - large values are read while they come from a disk that takes its time over each piece.
 *
 *     fault_parts damage DIRECTORY   behind what is read; DIRECTORY: of the spill
 *     fault_parts copy               into the caller's memory
 *     fault_parts change             the key is set, or deleted, during a copy
 *     fault_parts kill               so is the worker killed
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"

#define LARGE (8u << 20)
#define OTHERS 12u /* together more than the node's memory */
#define KEY "large"
#define PIECE (1u << 20)

static _Atomic uint64_t violations;
static uint8_t value[LARGE], copy[LARGE];
static uint64_t seq;

static void set(struct ds_client *c, const char *key, uint8_t *buf)
{
    int rc;

    value_fill(buf, LARGE, key, 1, ++seq);
    rc = ds_kv_set(c, key, strlen(key), buf, LARGE, NULL);
    if (rc != 0) {
        fatal("set of %s: %s", key, ds_error_name(rc));
    }
}

/* What was set before leaves memory. */
static void squeeze(struct ds_client *c)
{
    for (unsigned i = 0; i < OTHERS; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "other-%u", i);
        set(c, key, copy);
    }
}

static void large_on_disk(struct ds_client *c)
{
    set(c, KEY, value);
    squeeze(c);
}

static void expect(int rc, int want, const char *what)
{
    if (rc != want) {
        violation(&violations, "%s: %s instead of %s", what, ds_error_name(rc),
                  ds_error_name(want));
    }
}

static void expect_bytes(const void *data, uint64_t offset, uint64_t size, const char *what)
{
    if (memcmp(data, value + offset, size) != 0) {
        violation(&violations, "%s: wrong bytes", what);
    }
}

/* Flips a bit of the value, where it stands in a file of the directory. */
static bool damage_file(int fd, uint64_t at)
{
    static uint8_t text[64u << 20];
    ssize_t n = pread(fd, text, sizeof(text), 0);
    uint8_t *found = n > 0 ? memmem(text, (size_t)n, value + at, 64) : NULL;
    uint8_t flipped = value[at] ^ 1;

    return found != NULL && pwrite(fd, &flipped, 1, found - text) == 1;
}

static void damage(const char *directory, uint64_t at)
{
    DIR *d = opendir(directory);
    struct dirent *e;
    bool done = false;

    while (d != NULL && !done && (e = readdir(d)) != NULL) {
        int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);

        done = fd >= 0 && damage_file(fd, at);
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    if (!done) {
        fatal("the value is nowhere in %s", directory);
    }
    (void)closedir(d);
}

static void scene_damage(struct ds_client *c, const char *directory)
{
    struct ds_part parts[] = {{KEY, strlen(KEY), 0, PIECE}, {KEY, strlen(KEY), 3000000, 5}};
    struct ds_view views[2], other;
    int results[2];

    large_on_disk(c);
    damage(directory, 6u << 20);
    expect(ds_kv_mread(c, parts, 2, 0, views, results), 0, "parts before the damage");
    expect(results[0], 0, "the first part");
    expect(results[1], 0, "the second part");
    if (violations != 0) {
        return;
    }
    if (views[0].size != PIECE || views[1].size != 5) {
        violation(&violations, "parts of %zu and %zu bytes", views[0].size, views[1].size);
    }
    expect_bytes(views[0].data, 0, PIECE, "the first part");
    expect_bytes(views[1].data, 3000000, 5, "the second part");
    expect(ds_kv_read(c, KEY, strlen(KEY), 6u << 20, 5, &other), DS_ECORRUPT, "the damage");
    expect(ds_kv_get(c, KEY, strlen(KEY), 0, &other), DS_ECORRUPT, "the whole");
    squeeze(c); /* nobody else gets the memory under the views */
    expect_bytes(views[0].data, 0, PIECE, "the first part, later");
    ds_view_release_many(views, 2);
    squeeze(c);
    set(c, KEY, value);
    expect(ds_kv_get(c, KEY, strlen(KEY), 0, &other), 0, "what was set anew");
    ds_view_release(&other);
}

static void scene_copy(struct ds_client *c)
{
    size_t size = 0;

    large_on_disk(c);
    expect(ds_kv_get_into(c, KEY, strlen(KEY), 0, copy, LARGE, &size), 0, "copy");
    expect_bytes(copy, 0, LARGE, "copy");
    large_on_disk(c);
    memset(copy, 0xee, sizeof(copy));
    size = 0;
    expect(ds_kv_get_into(c, KEY, strlen(KEY), 0, copy, LARGE - 1, &size), DS_ERANGE, "no room");
    if (size != LARGE || copy[0] != 0xee || copy[LARGE - 2] != 0xee) {
        violation(&violations, "without room: size %zu, or bytes were written", size);
    }
    expect(ds_kv_get_into(c, "nobody", 6, 10, copy, LARGE, &size), DS_ENOTFOUND, "no key");
    expect(ds_kv_get_into(c, "nobody", 6, 0, copy, LARGE, &size), DS_ENOTFOUND, "no key");
    expect(ds_kv_get_into(c, NULL, 6, 0, copy, LARGE, &size), DS_EINVAL, "a bad key");
}

/* --- something happens meanwhile --- */

struct event {
    struct ds_client *client;
    unsigned piece;
    enum { SET, DELETE, KILL } what;
};

/* Whether a piece of the copy under way is there. No race: at worst it is seen late. */
__attribute__((no_sanitize("thread"))) static bool copied(unsigned piece)
{
    return *(volatile uint8_t *)&copy[piece * PIECE + PIECE / 2] != 0;
}

static void *happen(void *arg)
{
    static uint8_t buf[LARGE];
    const struct event *e = arg;
    struct ds_bytes key = bytes_of(KEY);
    struct ds_worker_stats st = must_stats(e->client);

    while (!copied(e->piece)) {
        pause_us(500);
    }
    if (e->what == SET) {
        set(e->client, KEY, buf);
    } else if (e->what == DELETE) {
        expect(ds_kv_delete(e->client, &key, 1, NULL), 0, "delete");
    } else {
        (void)kill((pid_t)st.worker_pid, SIGKILL);
    }
    return NULL;
}

/* A copy is one value, old or new, or there is none. */
static void copy_while(struct ds_client *c, struct event e)
{
    uint64_t writer;
    uint64_t found;
    const char *wrong = NULL;
    size_t size = 0;
    pthread_t t;
    int rc;

    do {
        large_on_disk(c);
    } while (value[e.piece * PIECE + PIECE / 2] == 0);
    memset(copy, 0, sizeof(copy));
    if (pthread_create(&t, NULL, happen, &e) != 0) {
        fatal("no thread");
    }
    rc = ds_kv_get_into(c, KEY, strlen(KEY), 0, copy, LARGE, &size);
    (void)pthread_join(t, NULL);
    if (rc == 0) {
        wrong = value_check(copy, size, KEY, &writer, &found);
    } else if (!(rc == DS_ENOTFOUND && e.what == DELETE)) {
        wrong = ds_error_name(rc);
    }
    if (wrong != NULL) {
        violation(&violations, "a copy during event %d at piece %u: %s", e.what, e.piece, wrong);
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    struct ds_client *c = must_open(60000);

    if (strcmp(what, "damage") == 0 && argc > 2) {
        scene_damage(c, argv[2]);
    } else if (strcmp(what, "copy") == 0) {
        scene_copy(c);
    } else if (strcmp(what, "change") == 0) {
        for (unsigned piece = 0; piece < LARGE / PIECE; piece += 2) {
            copy_while(c, (struct event){c, piece, SET});
            copy_while(c, (struct event){c, piece, DELETE});
        }
    } else if (strcmp(what, "kill") == 0) {
        for (unsigned piece = 0; piece < LARGE / PIECE; piece += 3) {
            copy_while(c, (struct event){c, piece, KILL});
        }
    } else {
        fatal("usage: see the head of parts.c");
    }
    ds_client_close(c);
    return atomic_load(&violations) == 0 ? 0 : 1;
}
