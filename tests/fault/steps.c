/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steps.c - a short use of memory, disk and second-level storage, always the same, by one client
 * that knows what every key may hold: while something fails once in the worker.
 *
 * Standard input drives it, a line each, and each is answered by a line that begins with "done":
 *     load    sets of all write modes, overwrites, deletes, expiries, and a look at all keys
 *     look    at all keys again: the worker was killed
 *     gone    the same, after the end of the memory: what no lower tier promises may be missing
 *     lost    the same, after the end of the directories
 *     end     nothing fails any more: each mode works, all is deleted, and the accounts are exact
 *
 * fault_steps memory: no object belongs on disk. There is none for them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"

#define KEYS 40u
#define LARGEST (160u << 10)
#define STATES 24u /* that one key may be in, until an operation is acknowledged */
#define TRIES 5u
#define TIMEOUT_MS 4000
#define SETTLE_NS INT64_C(20000000000)

struct key {
    char name[80];
    enum ds_write_mode mode;
    uint64_t state[STATES]; /* number of the value; 0: absent */
    unsigned states;
    bool may_miss; /* its memory went */
};

static struct key keys[KEYS];
static struct ds_client *client;
static uint8_t buf[LARGEST];
static bool no_disk;
static uint64_t numbers; /* of values, so far */
static uint64_t failed;
static _Atomic uint64_t violations;

static size_t size_of(uint64_t number)
{
    return VALUE_MIN + (size_t)(number * 7919u) % (LARGEST - VALUE_MIN);
}

/* What a call may say when something below it fails once. */
static bool allowed(int rc)
{
    switch (rc) {
    case DS_ENOMEM:
    case DS_ENOSPACE:
    case DS_EIO:
    case DS_EUNAVAILABLE:
    case DS_ETIMEOUT:
    case DS_EQUEUEFULL:
        return true;
    default:
        return false;
    }
}

/* Whether to call again. Something fails once, but that may break a tier for a while. */
static bool again(const char *what, const struct key *k, int rc, unsigned *tries)
{
    if (rc == 0) {
        return false;
    }
    failed++;
    if (!allowed(rc)) {
        violation(&violations, "%s of %s: %s", what, k->name, ds_error_name(rc));
        return false;
    }
    pause_us(1000u << *tries);
    return ++*tries < TRIES && rc != DS_ETIMEOUT;
}

static void may_become(struct key *k, uint64_t number)
{
    if (k->states == STATES) {
        fatal("%s: too many failures", k->name);
    }
    k->state[k->states++] = number;
}

static void became(struct key *k, uint64_t number)
{
    k->states = 0;
    may_become(k, number);
    k->may_miss = false;
}

static int set(struct key *k, enum ds_cache_type cache)
{
    struct ds_set_options options = {.mode = k->mode, .cache_type = cache};
    unsigned tries = 0;
    int rc;

    do {
        uint64_t number = ++numbers;

        value_fill(buf, size_of(number), k->name, 0, number);
        may_become(k, number);
        rc = ds_kv_set(client, k->name, strlen(k->name), buf, size_of(number), &options);
        if (rc == 0) {
            became(k, number);
        }
    } while (again("set", k, rc, &tries));
    return rc;
}

static int forget(struct key *k)
{
    struct ds_bytes key = bytes_of(k->name);
    unsigned tries = 0;
    int rc;

    may_become(k, 0);
    do {
        rc = ds_kv_delete(client, &key, 1, NULL);
        rc = rc == DS_ENOTFOUND ? 0 : rc;
        if (rc == 0) {
            became(k, 0);
        }
    } while (again("delete", k, rc, &tries));
    return rc;
}

static bool may_be_in(const struct key *k, uint64_t number)
{
    for (unsigned i = 0; i < k->states; i++) {
        if (k->state[i] == number) {
            return true;
        }
    }
    return number == 0 && (k->may_miss || k->mode == DS_WRITE_NONE_EVICT);
}

/* It is over when the call returns, or a millisecond later. */
static void expire(struct key *k)
{
    struct ds_bytes key = bytes_of(k->name);
    unsigned tries = 0;
    int result = 0;
    int rc;

    do {
        rc = ds_kv_expire(client, &key, 1, 1, &result);
        if (rc == DS_ENOTFOUND && !may_be_in(k, 0)) {
            violation(&violations, "%s is lost before its end", k->name);
        }
        may_become(k, 0);
        rc = rc == DS_ENOTFOUND ? 0 : rc;
        if (rc == 0) {
            pause_us(3000);
            became(k, 0);
        }
    } while (again("expire", k, rc, &tries));
}

static void check_value(const struct key *k, const struct ds_view *view)
{
    uint64_t writer = 0;
    uint64_t number = 0;
    const char *wrong = value_check(view->data, view->size, k->name, &writer, &number);

    if (wrong != NULL) {
        violation(&violations, "the value of %s is %s", k->name, wrong);
    } else if (!may_be_in(k, number)) {
        violation(&violations, "%s came back: value %lu, but %lu was acknowledged", k->name,
                  (unsigned long)number, (unsigned long)k->state[0]);
    }
}

static int look(const struct key *k)
{
    unsigned tries = 0;
    struct ds_view view;
    int rc;

    do {
        rc = ds_kv_get(client, k->name, strlen(k->name), 0, &view);
        if (rc == 0) {
            check_value(k, &view);
            ds_view_release(&view);
        } else if (rc == DS_ENOTFOUND) {
            if (!may_be_in(k, 0)) {
                violation(&violations, "%s is lost: value %lu was acknowledged", k->name,
                          (unsigned long)k->state[0]);
            }
            rc = 0;
        }
    } while (again("get", k, rc, &tries));
    return rc;
}

static void look_whether_there(const struct key *k)
{
    struct ds_bytes key = bytes_of(k->name);
    unsigned tries = 0;
    bool there;
    int rc;

    do {
        rc = ds_kv_exist(client, &key, 1, &there);
        if (rc == 0 && there && k->states == 1 && k->state[0] == 0) {
            violation(&violations, "%s exists again", k->name);
        }
        if (rc == 0 && !there && !may_be_in(k, 0)) {
            violation(&violations, "%s does not exist any more", k->name);
        }
    } while (again("exist", k, rc, &tries));
}

static int look_at_all(void)
{
    int rc = 0;

    for (unsigned i = 0; i < KEYS; i++) {
        int one = look(&keys[i]);

        look_whether_there(&keys[i]);
        rc = one != 0 ? one : rc;
    }
    return rc;
}

/* Memory is so small a part of it that all goes to disk. */
static void load(void)
{
    for (unsigned i = 0; i < KEYS; i++) {
        (void)set(&keys[i], i % 4 == 0 && !no_disk ? DS_CACHE_DISK : DS_CACHE_MEMORY);
    }
    for (unsigned i = 0; i < KEYS; i += 3) {
        (void)set(&keys[i], DS_CACHE_MEMORY);
    }
    for (unsigned i = 1; i < KEYS; i += 4) {
        (void)forget(&keys[i]);
    }
    for (unsigned i = 2; i < KEYS; i += 7) {
        expire(&keys[i]);
    }
    (void)look_at_all();
}

static void lose(bool all)
{
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i].may_miss = all || keys[i].mode == DS_WRITE_NONE;
    }
}

static bool accounts_are_exact(struct ds_worker_stats *st)
{
    return settle_stats(client, 1, st) && st->memory_granted == 0 && st->memory_live == 0 &&
           st->objects == 0 && st->spilled_objects == 0 && st->l2_waiting == 0 &&
           st->l2_breaker_open == 0;
}

static void end(void)
{
    struct ds_worker_stats st;
    int64_t until = now_ns() + SETTLE_NS;

    for (unsigned i = 0; i < KEYS; i++) {
        if (set(&keys[i], DS_CACHE_MEMORY) != 0 || look(&keys[i]) != 0) {
            violation(&violations, "%s cannot be used any more", keys[i].name);
        }
    }
    for (unsigned i = 0; i < KEYS; i++) {
        if (forget(&keys[i]) != 0 || look(&keys[i]) != 0) {
            violation(&violations, "%s cannot be deleted any more", keys[i].name);
        }
    }
    while (!accounts_are_exact(&st) && now_ns() < until) {
        pause_us(2000);
    }
    if (!accounts_are_exact(&st)) {
        violation(&violations,
                  "%lu objects, %lu of them on disk, %lu bytes granted, %lu live, %lu doomed, %lu "
                  "uploads left, breaker %lu",
                  (unsigned long)st.objects, (unsigned long)st.spilled_objects,
                  (unsigned long)st.memory_granted, (unsigned long)st.memory_live,
                  (unsigned long)st.memory_doomed, (unsigned long)st.l2_waiting,
                  (unsigned long)st.l2_breaker_open);
    }
}

/* The node may be in the making, and be told to fail there. */
static void open_client(void)
{
    int rc = DS_EAGAIN;

    for (unsigned i = 0; rc != 0 && i < TRIES; i++) {
        rc = try_open(TIMEOUT_MS, &client);
    }
    if (rc != 0) {
        fatal("nobody can connect: %s", ds_error_name(rc));
    }
}

static void obey(const char *line)
{
    if (strcmp(line, "load") == 0) {
        load();
    } else if (strcmp(line, "look") == 0) {
        (void)look_at_all();
    } else if (strcmp(line, "gone") == 0) {
        lose(false);
        (void)look_at_all();
    } else if (strcmp(line, "lost") == 0) {
        lose(true);
        (void)look_at_all();
    } else if (strcmp(line, "end") == 0) {
        end();
    } else {
        fatal("what is '%s'?", line);
    }
    (void)printf("done %s: %lu calls failed, %lu violations\n", line, (unsigned long)failed,
                 (unsigned long)violations);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static const enum ds_write_mode modes[] = {DS_WRITE_NONE, DS_WRITE_THROUGH, DS_WRITE_BACK,
                                               DS_WRITE_NONE_EVICT, DS_WRITE_BACK_EVICT};
    char line[16];

    no_disk = argc > 1 && strcmp(argv[1], "memory") == 0;
    for (unsigned i = 0; i < KEYS; i++) {
        keys[i].mode = modes[i % 5];
        (void)snprintf(keys[i].name, sizeof(keys[i].name), "step%u%s", i,
                       i % 2 == 0 ? "" : "-with-a-name-that-does-not-fit-into-a-descriptor");
        became(&keys[i], 0);
    }
    open_client();
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    ds_client_close(client);
    return violations == 0 ? 0 : 1;
}
