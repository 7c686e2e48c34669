/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slog_owner.h - an owner of a segment log for tests: it knows what each key must hold, issues
 * requests, waits for their events and checks values byte by byte. Values are made of (key,
 * version).
 */
#ifndef DS_UNIT_TIER_SLOG_OWNER_H
#define DS_UNIT_TIER_SLOG_OWNER_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "harness/ds_test.h"
#include "shm/window.h"
#include "tier/slog.h"

#define KEYS 512
#define DATA_SIZE (16u << 20)
#define AREA (8u << 20) /* puts use the first half of the data, gets the second */

struct rec {
    ds_slog_at at; /* 0: not there */
    uint64_t version, size;
    uint16_t flags;
    uint64_t asked_version, asked_size; /* of the put under way */
};

struct owner {
    struct ds_slog *s;
    struct ds_slog_config config;
    char dir[64];
    uint8_t *data;
    struct rec recs[KEYS];
    uint64_t version;
    struct ds_slog_event last; /* the last event */
    uint64_t events, recovered, doubtful, buried;
    uint64_t arrived; /* of the get under way */
    int told_error;
    unsigned notices;
    char notice[512]; /* the last one */
};

static const char *owner_folder = "/var/tmp";

static inline size_t key_of(unsigned k, char *ret)
{
    return (size_t)snprintf(ret, 32, "key-%u", k);
}

static inline void fill(uint8_t *p, uint64_t size, unsigned k, uint64_t version)
{
    uint64_t x = version * 0x9e3779b97f4a7c15u + k;

    for (uint64_t i = 0; i < size; i++) {
        if (i % 8 == 0) {
            x = x * 6364136223846793005u + 1442695040888963407u;
        }
        p[i] = (uint8_t)(x >> (8 * (i % 8)));
    }
}

static inline unsigned number_of(const void *key)
{
    return (unsigned)strtoul((const char *)key + 4, NULL, 10);
}

static inline unsigned key_number(const void *key, size_t size)
{
    char text[33] = "";

    CHECK_LE(size, 32u);
    memcpy(text, key, size);
    return number_of(text);
}

static bool is_live(void *arg, const void *key, size_t key_size, ds_slog_at at, uint16_t *flags)
{
    struct owner *o = arg;
    struct rec *r = &o->recs[key_number(key, key_size)];

    *flags = r->flags;
    return r->at == at;
}

static bool moved(void *arg, const void *key, size_t key_size, ds_slog_at from, ds_slog_at to,
                  uint16_t flags, int rc)
{
    struct owner *o = arg;
    struct rec *r = &o->recs[key_number(key, key_size)];

    if (r->at != from) {
        return false;
    }
    CHECK((to == 0) == (rc != 0));
    r->at = to;
    if (to != 0 && r->flags != flags) { /* noted while the copy was made */
        int rc2 = ds_slog_note(o->s, to, key, key_size, r->flags, false, KEYS);

        o->events -= rc2 == 0; /* nobody waits for this one */
        CHECK(rc2 == 0 || rc2 == DS_ENOSPACE);
    }
    return true;
}

static void notice(void *arg, const char *text)
{
    struct owner *o = arg;

    o->notices++;
    (void)snprintf(o->notice, sizeof(o->notice), "%s", text);
}

static inline void owner_open(struct owner *o)
{
    char err[256] = "";
    int rc = ds_slog_open(&o->config, err, sizeof(err), &o->s);

    if (rc < 0) {
        ds_test_fail(__FILE__, __LINE__, "open: %d %s", rc, err);
    }
}

static inline void owner_init(struct owner *o, uint64_t limit, uint64_t segment, bool direct)
{
    int fd = memfd_create("data", MFD_CLOEXEC);

    memset(o, 0, sizeof(*o));
    (void)snprintf(o->dir, sizeof(o->dir), "%s/ds-slog-XXXXXX", owner_folder);
    CHECK(mkdtemp(o->dir) != NULL);
    CHECK(fd >= 0 && ftruncate(fd, DATA_SIZE) == 0);
    o->data = mmap(NULL, DATA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(o->data != MAP_FAILED);
    o->config = (struct ds_slog_config){.directory = o->dir,
                                        .size_limit = limit,
                                        .segment_size = segment,
                                        .try_uring = direct,
                                        .direct = direct,
                                        .data_fd = fd,
                                        .window = ds_window_open(fd, DATA_SIZE, DATA_SIZE / 2),
                                        .data_size = DATA_SIZE,
                                        .is_live = is_live,
                                        .moved = moved,
                                        .notice = notice,
                                        .arg = o};
    owner_open(o);
}

static inline void owner_remove_files(struct owner *o)
{
    DIR *d = opendir(o->dir);
    struct dirent *e;

    CHECK(d != NULL);
    while ((e = readdir(d)) != NULL) {
        (void)unlinkat(dirfd(d), e->d_name, strstr(e->d_name, ".bad") != NULL ? AT_REMOVEDIR : 0);
        (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    (void)closedir(d);
    CHECK_EQ(rmdir(o->dir), 0);
}

/* What is not in the directory. */
static inline void owner_release(struct owner *o)
{
    (void)munmap(o->data, DATA_SIZE);
    ds_window_close(o->config.window);
    (void)close(o->config.data_fd);
}

static inline void owner_fini(struct owner *o, bool clean)
{
    o->s = ds_slog_close(o->s, clean);
    owner_remove_files(o);
    owner_release(o);
}

/* What a get has brought is the beginning of the value. */
static inline void check_prefix(const struct owner *o, unsigned k, uint64_t size)
{
    uint8_t *want = ds_zalloc(size + 1, "test");

    CHECK(want != NULL);
    fill(want, size, k, o->recs[k].version);
    CHECK_MEM(o->data + AREA, want, size);
    ds_free(want);
}

static inline void take_event(struct owner *o, const struct ds_slog_event *e)
{
    struct rec *r = &o->recs[e->cookie % KEYS];
    char key[32];
    size_t n = key_of((unsigned)(e->cookie % KEYS), key);

    if (e->type == DS_SLOG_GET_SOME) {
        CHECK_GT(e->bytes, o->arrived);
        CHECK_LT(e->bytes, r->size); /* all of it is what DONE says */
        check_prefix(o, (unsigned)(e->cookie % KEYS), e->bytes);
        o->arrived = e->bytes;
        return;
    }
    o->last = *e;
    o->told_error = e->type == DS_SLOG_ERROR ? e->rc : o->told_error;
    o->events += e->type != DS_SLOG_ERROR;
    if (e->type == DS_SLOG_PUT_DONE && e->rc == 0) {
        if (r->at != 0) {
            ds_slog_dead(o->s, r->at, n, r->size);
        }
        r->at = e->at;
        r->version = r->asked_version;
        r->size = r->asked_size;
        r->flags = 0;
    }
}

/* Polls until so many events have come since the beginning. */
static inline void owner_wait(struct owner *o, uint64_t events)
{
    while (o->events < events) {
        struct ds_slog_event e[16];
        struct pollfd p = {.fd = ds_slog_fd(o->s), .events = POLLIN};
        size_t n = ds_slog_poll(o->s, e, 16);

        for (size_t i = 0; i < n; i++) {
            take_event(o, &e[i]);
        }
        if (n == 0) {
            CHECK(poll(&p, 1, 30000) == 1);
        }
    }
}

/* Lets the cleaner work until `done`. */
static inline void owner_until(struct owner *o, bool (*done)(struct owner *o))
{
    while (!done(o)) {
        struct ds_slog_event e[16];
        struct pollfd p = {.fd = ds_slog_fd(o->s), .events = POLLIN};
        size_t n = ds_slog_poll(o->s, e, 16);

        for (size_t i = 0; i < n; i++) {
            take_event(o, &e[i]);
        }
        if (!done(o)) {
            CHECK(poll(&p, 1, 30000) == 1);
        }
    }
}

/* One put at a time and key. */
static inline int put_begin(struct owner *o, unsigned k, uint64_t size, bool durable,
                            uint64_t data_offset)
{
    char key[32];
    struct ds_slog_item item = {.key = key,
                                .key_size = (uint32_t)key_of(k, key),
                                .version = ++o->version,
                                .expiry_unix_ns = 77,
                                .mode = 3,
                                .kind = 5,
                                .offset = data_offset,
                                .size = size,
                                .cookie = k};

    fill(o->data + data_offset, size, k, item.version);
    o->recs[k].asked_version = item.version;
    o->recs[k].asked_size = size;
    return ds_slog_put(o->s, &item, durable);
}

static inline int put(struct owner *o, unsigned k, uint64_t size, bool durable)
{
    int rc = put_begin(o, k, size, durable, 0);

    if (rc == 0) {
        owner_wait(o, o->events + 1);
        rc = o->last.rc;
    }
    return rc;
}

static inline int del(struct owner *o, unsigned k, bool durable)
{
    char key[32];
    size_t n = key_of(k, key);
    int rc = ds_slog_tombstone(o->s, key, n, durable, k);

    if (rc == 0) {
        if (o->recs[k].at != 0) {
            ds_slog_dead(o->s, o->recs[k].at, n, o->recs[k].size);
            o->recs[k].at = 0;
        }
        owner_wait(o, o->events + 1);
        rc = o->last.rc;
    }
    return rc;
}

/* True: it is gone, whatever dies. */
static inline bool keep(struct owner *o, unsigned k)
{
    char key[32];
    size_t n = key_of(k, key);

    if (!ds_slog_keep_tombstone(o->s, key, n)) {
        return false;
    }
    if (o->recs[k].at != 0) {
        ds_slog_dead(o->s, o->recs[k].at, n, o->recs[k].size);
        o->recs[k].at = 0;
    }
    return true;
}

static inline int get(struct owner *o, unsigned k)
{
    char key[32];
    struct rec *r = &o->recs[k];
    int rc;

    o->arrived = 0;
    rc = ds_slog_get(o->s, r->at, r->size, key, key_of(k, key), r->version, AREA, k);

    if (rc == 0) {
        owner_wait(o, o->events + 1);
        CHECK_EQ(o->last.type, DS_SLOG_GET_DONE);
        rc = o->last.rc;
    }
    if (rc == 0) {
        check_prefix(o, k, r->size);
    }
    return rc;
}

static void recovered(void *arg, const struct ds_slog_entry *e)
{
    struct owner *o = arg;
    struct rec *r = &o->recs[key_number(e->key, e->key_size)];

    CHECK_EQ(r->at, 0u); /* each key once */
    CHECK_EQ(e->mode, 3);
    CHECK_EQ(e->kind, 5);
    CHECK_EQ(e->expiry_unix_ns, 77);
    *r = (struct rec){.at = e->at, .version = e->version, .size = e->size, .flags = e->flags};
    o->recovered++;
    o->doubtful += e->doubtful;
}

/* Closes, forgets and recovers. */
static inline void owner_reopen(struct owner *o, bool clean)
{
    if (o->s != NULL) {
        o->s = ds_slog_close(o->s, clean);
    }
    memset(o->recs, 0, sizeof(o->recs));
    o->recovered = o->doubtful = 0;
    owner_open(o);
    CHECK_OK(ds_slog_recover(o->s, recovered, o));
}

/* Bytes that the directory's files use. */
static inline uint64_t disk_use(const struct owner *o)
{
    DIR *d = opendir(o->dir);
    struct dirent *e;
    uint64_t sum = 0;

    CHECK(d != NULL);
    while ((e = readdir(d)) != NULL) {
        struct stat st;

        if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0) {
            uint64_t blocks = (uint64_t)st.st_blocks * 512;

            sum += blocks > (uint64_t)st.st_size ? blocks : (uint64_t)st.st_size;
        }
    }
    (void)closedir(d);
    return sum;
}

/* The name of the segment in a slot. */
static inline void segment_name(const struct owner *o, unsigned slot, char *ret, size_t size)
{
    DIR *d = opendir(o->dir);
    struct dirent *e;

    CHECK(d != NULL);
    ret[0] = '\0';
    while (ret[0] == '\0' && (e = readdir(d)) != NULL) {
        if (strstr(e->d_name, ".seg") != NULL && strtoul(e->d_name, NULL, 16) == slot) {
            (void)snprintf(ret, size, "%s/%s", o->dir, e->d_name);
        }
    }
    (void)closedir(d);
    CHECK(ret[0] != '\0');
}

static inline int open_segment(const struct owner *o, unsigned slot)
{
    char name[128];
    int fd;

    segment_name(o, slot, name, sizeof(name));
    fd = open(name, O_RDWR | O_CLOEXEC);
    CHECK_GE(fd, 0);
    return fd;
}

static inline struct ds_slog_stats stats_of(const struct owner *o)
{
    struct ds_slog_stats st;

    ds_slog_stats(o->s, &st);
    return st;
}

#endif
