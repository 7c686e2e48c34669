/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiers.c - a load on memory, disk and second-level storage that knows what every key may hold.
 *
 *     fault_tiers CLIENTS KEYS LARGEST [errors]
 *
 * Each client owns KEYS keys, in turn of all write modes, and sets, overwrites, deletes, expires
 * and reads them, a quarter of them as CacheType.DISK; it reads those of others as well. Values
 * have up to LARGEST bytes. One client more uses memory only. A call that fails is a violation,
 * unless `errors` says that the disk is bad.
 *
 * Standard input drives it, a line each, and each is answered by a line:
 *     fall    the node is about to be killed whole: calls may fail, values of the modes that no
 *             lower tier holds may go
 *     dark    the same, and what was not synced to disk goes: of the modes that no second level
 *             holds, older values may come back
 *     risen   it is there again: clients stop, look at all their keys, take what they find (if it
 *             may be) for the state, and go on
 *     figures what was done so far
 * At its end clients look at all keys once more, and delete them.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

#define CLIENTS_MAX 8u
#define KEYS_MAX 1024u
#define VIEWS 4u
#define HISTORY 32u
#define HOT 64u /* keys of the client that uses memory only */
#define HOT_SIZE 1024u
#define LARGEST_MAX (8u << 20)
#define TIMEOUT_MS 30000
#define HANG_NS INT64_C(60000000000)
#define EXPIRED_NS                                                                                 \
    INT64_C(5000000000) /* so long after its end nobody sees a value any more: a set               \
                           may return while no worker is there to publish it */

/* What an operation leaves behind, if it is done. */
struct state {
    _Atomic uint64_t seq; /* of the value; 0: absent */
    _Atomic uint64_t size;
    _Atomic int64_t lives_until; /* 0: it does not expire. It is there until then, */
    _Atomic int64_t gone_after;  /* and gone after this */
};

struct key_oracle {
    _Atomic uint64_t begun;
    _Atomic uint64_t acked;
    _Atomic bool may_miss; /* since its memory was lost */
    struct state after[HISTORY];
};

enum phase { RUN, PARK, LOOK, STOP };

struct shared {
    struct key_oracle key[CLIENTS_MAX][KEYS_MAX];
    unsigned clients, keys;
    uint64_t largest;
    bool errors;
    _Atomic bool falling, dark;
    _Atomic int phase;
    _Atomic unsigned parked, looked;
    _Atomic uint64_t violations, ops, failed, hot, disk, found, missing;
    _Atomic int64_t longest_ns;
};

struct held {
    struct ds_view view;
    char key[80];
    uint64_t seq;
    uint64_t sum; /* 0, or that of a part of a value */
};

struct me {
    struct ds_client *client;
    unsigned number;
    uint64_t rng;
    struct held held[VIEWS];
    uint8_t buf[LARGEST_MAX];
};

/* Of key i: few wait for syncs of the second level, so that the rest is a load. */
static enum ds_write_mode mode_of(unsigned i)
{
    static const enum ds_write_mode modes[] = {
        DS_WRITE_NONE,       DS_WRITE_THROUGH, DS_WRITE_NONE,       DS_WRITE_BACK,
        DS_WRITE_NONE_EVICT, DS_WRITE_NONE,    DS_WRITE_BACK_EVICT, DS_WRITE_NONE_EVICT};

    return modes[i % 8];
}

/* Of set n of key i. DISK: in memory only while it is written or read. Some keys change theirs. */
static enum ds_cache_type cache_of(unsigned i, uint64_t n)
{
    return i % 5 == 0 || (i % 5 == 1 && n % 2 == 0) ? DS_CACHE_DISK : DS_CACHE_MEMORY;
}

static const char *const mode_name[] = {"none", "through", "back", "evict", "back-evict"};
static struct shared *shared;

static void key_name(char *to, size_t size, unsigned who, unsigned i)
{
    (void)snprintf(to, size, "t%uk%u-%s%s", who, i, mode_name[mode_of(i)],
                   i % 3 == 0 ? "" : "-with-a-name-that-does-not-fit-into-a-descriptor");
}

static bool may_fail(int rc)
{
    if (atomic_load(&shared->falling)) {
        return rc != DS_ECORRUPT;
    }
    if (shared->errors) { /* unavailable: the breaker of second-level storage is open */
        return rc == DS_ENOMEM || rc == DS_ENOSPACE || rc == DS_EIO || rc == DS_EQUEUEFULL ||
               rc == DS_EUNAVAILABLE;
    }
    return rc == DS_EQUEUEFULL;
}

static void took(const char *what, const char *key, int rc, int64_t since)
{
    int64_t ns = now_ns() - since;
    int64_t longest = atomic_load(&shared->longest_ns);

    atomic_fetch_add(&shared->ops, 1);
    while (ns > longest && !atomic_compare_exchange_weak(&shared->longest_ns, &longest, ns)) {
    }
    if (rc < 0) {
        atomic_fetch_add(&shared->failed, 1);
        if (!may_fail(rc)) {
            violation(&shared->violations, "%s of %s failed: %s after %ld ms", what, key,
                      ds_error_name(rc), (long)(ns / 1000000));
        }
        pause_us(1000);
    }
}

/* --- the oracle --- */

static struct state *state_after(struct key_oracle *o, uint64_t n)
{
    return &o->after[n % HISTORY];
}

static uint64_t begin_op(struct key_oracle *o, uint64_t seq, uint64_t size, uint64_t ttl_ms)
{
    uint64_t n = atomic_load(&o->begun) + 1;
    struct state *to = state_after(o, n);

    atomic_store(&to->seq, seq == UINT64_MAX ? n : seq);
    atomic_store(&to->size, size);
    atomic_store(&to->lives_until, ttl_ms == 0 ? 0 : now_ns() + (int64_t)ttl_ms * 1000000);
    atomic_store(&to->gone_after, INT64_MAX);
    atomic_store(&o->begun, n);
    return n;
}

static void end_op(struct key_oracle *o, uint64_t n, uint64_t ttl_ms)
{
    if (ttl_ms != 0) {
        atomic_store(&state_after(o, n)->gone_after,
                     now_ns() + (int64_t)ttl_ms * 1000000 + EXPIRED_NS);
    }
    atomic_store(&o->acked, n);
}

/* What a read may meet: one of the states from the last acknowledged operation on. */
static bool is_known(const struct key_oracle *o)
{
    return atomic_load(&o->begun) - atomic_load(&o->acked) < HISTORY / 2;
}

static bool may_hold(struct key_oracle *o, uint64_t acked, uint64_t seq, uint64_t size,
                     int64_t since)
{
    for (uint64_t n = acked; n <= atomic_load(&o->begun); n++) {
        const struct state *s = state_after(o, n);

        if (atomic_load(&s->seq) == seq && atomic_load(&s->size) == size &&
            atomic_load(&s->gone_after) > since) {
            return true;
        }
    }
    return !is_known(o) || atomic_load(&o->begun) - acked >= HISTORY / 2;
}

static bool may_be_absent(struct key_oracle *o, unsigned i, uint64_t acked)
{
    int64_t now = now_ns();

    if (mode_of(i) == DS_WRITE_NONE_EVICT || atomic_load(&o->may_miss)) {
        return true;
    }
    for (uint64_t n = acked; n <= atomic_load(&o->begun); n++) {
        const struct state *s = state_after(o, n);
        int64_t until = atomic_load(&s->lives_until);

        if (atomic_load(&s->seq) == 0 || (until != 0 && until <= now)) {
            return true;
        }
    }
    return !is_known(o) || atomic_load(&o->begun) - acked >= HISTORY / 2;
}

/* --- operations on own keys --- */

static size_t some_size(struct me *me)
{
    uint64_t r = random_below(&me->rng, 32);
    uint64_t most = r == 0 ? shared->largest : r < 8 ? shared->largest / 4 : shared->largest / 32;

    return VALUE_MIN + random_below(&me->rng, most);
}

static uint64_t some_ttl(struct me *me)
{
    return 200 + random_below(&me->rng, 2000);
}

static void do_set(struct me *me, unsigned i, uint64_t ttl_ms)
{
    struct key_oracle *o = &shared->key[me->number][i];
    struct ds_set_options options = {.mode = mode_of(i), .ttl_ms = ttl_ms};
    size_t size = some_size(me);
    char key[80];
    uint64_t n;
    int64_t since;
    int rc;

    key_name(key, sizeof(key), me->number, i);
    n = begin_op(o, UINT64_MAX, size, ttl_ms);
    options.cache_type = cache_of(i, n);
    value_fill(me->buf, size, key, me->number, n);
    since = now_ns();
    rc = ds_kv_set(me->client, key, strlen(key), me->buf, size, &options);
    took(options.cache_type == DS_CACHE_DISK ? "set on disk" : "set", key, rc, since);
    if (rc == 0) {
        end_op(o, n, ttl_ms);
        atomic_fetch_add(&shared->disk, options.cache_type == DS_CACHE_DISK);
    }
}

static void do_delete(struct me *me, unsigned i)
{
    struct key_oracle *o = &shared->key[me->number][i];
    uint64_t n = begin_op(o, 0, 0, 0);
    int64_t since = now_ns();
    char key[80];
    struct ds_bytes k;
    int rc;

    key_name(key, sizeof(key), me->number, i);
    k = bytes_of(key);
    rc = ds_kv_delete(me->client, &k, 1, NULL);
    rc = rc == DS_ENOTFOUND ? 0 : rc;
    took("delete", key, rc, since);
    if (rc == 0) {
        end_op(o, n, 0);
    }
}

static void do_expire(struct me *me, unsigned i)
{
    struct key_oracle *o = &shared->key[me->number][i];
    uint64_t acked = atomic_load(&o->acked);
    const struct state *old = state_after(o, acked);
    uint64_t ttl_ms = random_below(&me->rng, 4) == 0 ? 0 : some_ttl(me);
    int64_t since = now_ns();
    char key[80];
    struct ds_bytes k;
    uint64_t n;
    int result = 0;
    int rc;

    if (atomic_load(&o->begun) != acked || atomic_load(&old->seq) == 0) {
        return; /* an expiry is of one value */
    }
    key_name(key, sizeof(key), me->number, i);
    k = bytes_of(key);
    n = begin_op(o, atomic_load(&old->seq), atomic_load(&old->size), ttl_ms);
    rc = ds_kv_expire(me->client, &k, 1, ttl_ms, &result);
    took("expire", key, rc == DS_ENOTFOUND ? 0 : rc, since);
    if (rc == 0) {
        end_op(o, n, ttl_ms);
    } else if (rc == DS_ENOTFOUND) {
        if (!may_be_absent(o, i, acked)) {
            violation(&shared->violations, "expire of %s: it is lost", key);
        }
        end_op(o, begin_op(o, 0, 0, 0), 0);
    }
}

/* FNV-1a, of words. */
static uint64_t sum_of(const struct ds_view *view)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i + 8 <= view->size; i += 8) {
        uint64_t word;

        memcpy(&word, (const uint8_t *)view->data + i, 8);
        sum = (sum ^ word) * UINT64_C(0x100000001b3);
    }
    return sum | 1;
}

static void drop_held(struct held *h)
{
    uint64_t writer;
    uint64_t seq = 0;
    const char *wrong;

    if (h->view.data == NULL) {
        return;
    }
    if (h->sum != 0) {
        if (sum_of(&h->view) != h->sum) {
            violation(&shared->violations, "a held part of %s has changed", h->key);
        }
        ds_view_release(&h->view);
        return;
    }
    wrong = value_check(h->view.data, h->view.size, h->key, &writer, &seq);
    if (wrong != NULL || seq != h->seq) {
        violation(&shared->violations, "a held view of %s is %s (%lu, was %lu)", h->key,
                  wrong != NULL ? wrong : "another value", (unsigned long)seq,
                  (unsigned long)h->seq);
    }
    ds_view_release(&h->view);
}

/* Deletes and overwrites of what no mode promises to keep are not synced before their answer. */
static bool may_be_old(unsigned i)
{
    return atomic_load(&shared->dark) &&
           (mode_of(i) == DS_WRITE_NONE || mode_of(i) == DS_WRITE_NONE_EVICT);
}

/* Holds the first quarter of the largest value, which may be on its way from disk still: its bytes
 * stay as they are. */
static void hold_part(struct me *me, unsigned who, unsigned i)
{
    struct held *h = &me->held[random_below(&me->rng, VIEWS)];
    struct held part = {.sum = 0};
    int64_t since = now_ns();
    int rc;

    key_name(part.key, sizeof(part.key), who, i);
    rc = ds_kv_read(me->client, part.key, strlen(part.key), 0, shared->largest / 4, &part.view);
    took("read", part.key, rc == DS_ENOTFOUND ? 0 : rc, since);
    if (rc == 0) {
        part.sum = sum_of(&part.view);
        drop_held(h);
        *h = part;
    }
}

/* In place, or into this client's memory, which is not to be released. */
static int read_value(struct me *me, const char *key, bool copy, struct ds_view *ret)
{
    size_t size = 0;
    int rc;

    if (!copy) {
        return ds_kv_get(me->client, key, strlen(key), 0, ret);
    }
    rc = ds_kv_get_into(me->client, key, strlen(key), 0, me->buf, sizeof(me->buf), &size);
    *ret = (struct ds_view){.data = me->buf, .size = size};
    return rc;
}

/* Reads a key of anybody. Returns the number of its value, 0 for absent, UINT64_MAX for neither. */
static uint64_t look(struct me *me, unsigned who, unsigned i, bool hold)
{
    struct key_oracle *o = &shared->key[who][i];
    struct held *h = &me->held[random_below(&me->rng, VIEWS)];
    uint64_t acked = atomic_load(&o->acked);
    int64_t since = now_ns();
    struct ds_view view;
    uint64_t writer = 0;
    uint64_t seq = 0;
    const char *wrong;
    char key[80];
    int rc;

    key_name(key, sizeof(key), who, i);
    rc = read_value(me, key, !hold && random_below(&me->rng, 2) == 0, &view);
    took("get", key, rc == DS_ENOTFOUND ? 0 : rc, since);
    if (rc == DS_ENOTFOUND) {
        if (!may_be_absent(o, i, acked)) {
            violation(&shared->violations, "%s is lost: %lu acknowledged, %lu begun", key,
                      (unsigned long)acked, (unsigned long)atomic_load(&o->begun));
        }
        return 0;
    }
    if (rc != 0) {
        return UINT64_MAX;
    }
    wrong = value_check(view.data, view.size, key, &writer, &seq);
    if (wrong != NULL || writer != who) {
        violation(&shared->violations, "the value of %s is %s", key, wrong ? wrong : "another's");
    } else if (!may_be_old(i) && !may_hold(o, acked, seq, view.size, since)) {
        violation(&shared->violations, "%s came back: value %lu, but %lu acknowledged (value %lu)",
                  key, (unsigned long)seq, (unsigned long)acked,
                  (unsigned long)atomic_load(&state_after(o, acked)->seq));
    }
    if (hold) {
        drop_held(h);
        *h = (struct held){.view = view, .seq = seq};
        memcpy(h->key, key, sizeof(key));
    } else {
        ds_view_release(&view);
    }
    return seq;
}

static void do_exist(struct me *me, unsigned i)
{
    struct key_oracle *o = &shared->key[me->number][i];
    uint64_t acked = atomic_load(&o->acked);
    bool exact = acked == atomic_load(&o->begun) && !atomic_load(&o->may_miss);
    int64_t since = now_ns();
    bool there = false;
    char key[80];
    struct ds_bytes k;
    int rc;

    key_name(key, sizeof(key), me->number, i);
    k = bytes_of(key);
    rc = ds_kv_exist(me->client, &k, 1, &there);
    took("exist", key, rc, since);
    if (rc != 0) {
        return;
    }
    if (!there && !may_be_absent(o, i, acked)) {
        violation(&shared->violations, "%s does not exist any more", key);
    }
    if (there && exact && atomic_load(&state_after(o, acked)->seq) == 0) {
        violation(&shared->violations, "%s exists again", key);
    }
}

/* --- the whole key space --- */

/* What is found is the state from now on: nothing begun earlier can come any more. */
static void look_at_all(struct me *me, bool settle)
{
    for (unsigned i = 0; i < shared->keys; i++) {
        struct key_oracle *o = &shared->key[me->number][i];
        uint64_t acked = atomic_load(&o->acked);
        uint64_t begun = atomic_load(&o->begun);
        uint64_t seq = look(me, me->number, i, false);

        atomic_fetch_add(seq == 0 ? &shared->missing : &shared->found, 1);
        if (may_be_old(i)) {
            do_delete(me, i);
            atomic_store(&o->may_miss, false);
            continue;
        }
        if (!settle || seq == UINT64_MAX || begun - acked >= HISTORY / 2) {
            continue;
        }
        if (seq == 0) {
            end_op(o, begin_op(o, 0, 0, 0), 0);
        }
        for (uint64_t n = acked; seq != 0 && n <= begun; n++) {
            struct state *from = state_after(o, n);

            if (atomic_load(&from->seq) == seq) {
                uint64_t to = begin_op(o, seq, atomic_load(&from->size), 0);

                atomic_store(&state_after(o, to)->lives_until, atomic_load(&from->lives_until));
                atomic_store(&state_after(o, to)->gone_after, atomic_load(&from->gone_after));
                atomic_store(&o->acked, to);
                acked = to;
            }
        }
        atomic_store(&o->may_miss, false);
    }
}

/* The end: what was to expire has, the rest is there, and goes by a delete. */
static void finish(struct me *me)
{
    int64_t last = 0;

    for (unsigned i = 0; i < shared->keys; i++) {
        struct key_oracle *o = &shared->key[me->number][i];
        int64_t gone = atomic_load(&state_after(o, atomic_load(&o->acked))->gone_after);

        last = gone != INT64_MAX && gone > last ? gone : last;
    }
    while (now_ns() < last) {
        pause_us(10000);
    }
    look_at_all(me, false);
    for (unsigned i = 0; i < shared->keys; i++) {
        do_delete(me, i);
        do_exist(me, i);
    }
}

static void obey_phase(struct me *me)
{
    if (atomic_load(&shared->phase) == PARK) {
        atomic_fetch_add(&shared->parked, 1);
        while (atomic_load(&shared->phase) == PARK) {
            pause_us(200);
        }
    }
    if (atomic_load(&shared->phase) == LOOK) {
        look_at_all(me, true);
        atomic_fetch_add(&shared->looked, 1);
        while (atomic_load(&shared->phase) == LOOK) {
            pause_us(200);
        }
    }
}

/* More than memory holds, without waiting for the second level. */
static void fill_memory(struct me *me)
{
    for (unsigned i = 0; i < shared->keys; i++) {
        if (mode_of(i) == DS_WRITE_NONE || mode_of(i) == DS_WRITE_NONE_EVICT) {
            do_set(me, i, 0);
            obey_phase(me);
        }
    }
}

static void step(struct me *me)
{
    unsigned i = (unsigned)random_below(&me->rng, shared->keys);
    uint64_t r = random_below(&me->rng, 100);

    if (r < 40 && is_known(&shared->key[me->number][i])) {
        do_set(me, i, r < 8 ? some_ttl(me) : 0);
    } else if (r < 48 && is_known(&shared->key[me->number][i])) {
        do_delete(me, i);
    } else if (r < 53 && is_known(&shared->key[me->number][i])) {
        do_expire(me, i);
    } else if (r < 60) {
        do_exist(me, i);
    } else {
        unsigned who = (unsigned)random_below(&me->rng, shared->clients);

        if (r < 65) {
            hold_part(me, who, i);
        } else {
            (void)look(me, who, i, r < 70);
        }
    }
}

/* Needs no disk: must go on whatever the disk does. */
static void step_in_memory(struct me *me)
{
    struct ds_set_options options = {.mode = DS_WRITE_NONE_EVICT};
    unsigned i = (unsigned)random_below(&me->rng, HOT);
    int64_t since = now_ns();
    char key[80];
    struct ds_view view;
    uint64_t writer;
    uint64_t seq = 0;
    uint64_t n = atomic_fetch_add(&shared->hot, 1) + 1;
    int rc;

    (void)snprintf(key, sizeof(key), "hot%u", i);
    value_fill(me->buf, HOT_SIZE, key, me->number, n);
    rc = ds_kv_set(me->client, key, strlen(key), me->buf, HOT_SIZE, &options);
    took("set in memory", key, rc, since);
    if (rc < 0) {
        if (shared->errors && !atomic_load(&shared->falling)) {
            violation(&shared->violations, "a set in memory failed: %s", ds_error_name(rc));
        }
        return;
    }
    rc = ds_kv_get(me->client, key, strlen(key), 0, &view);
    if (rc == 0) {
        const char *wrong = value_check(view.data, view.size, key, &writer, &seq);

        if (wrong != NULL || seq != n) {
            violation(&shared->violations, "%s is %s: %lu, not %lu", key, wrong ? wrong : "stale",
                      (unsigned long)seq, (unsigned long)n);
        }
        ds_view_release(&view);
    } else if (rc != DS_ENOTFOUND) {
        took("get in memory", key, rc, since);
    }
    pause_us(100);
}

static void client_main(unsigned number, uint64_t seed)
{
    struct me *me = calloc(1, sizeof(*me));

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (me == NULL) {
        fatal("out of memory");
    }
    me->number = number;
    me->rng = seed;
    me->client = must_open(TIMEOUT_MS);
    if (number < shared->clients) {
        fill_memory(me);
    }
    while (atomic_load(&shared->phase) != STOP) {
        if (number == shared->clients) {
            step_in_memory(me);
        } else {
            step(me);
            obey_phase(me);
        }
    }
    if (number < shared->clients) {
        finish(me);
    }
    for (unsigned i = 0; i < VIEWS; i++) {
        drop_held(&me->held[i]);
    }
    ds_client_close(me->client);
    _exit(0);
}

/* --- the parent --- */

static void wait_for(_Atomic unsigned *count, const char *what)
{
    int64_t end = now_ns() + HANG_NS;

    while (atomic_load(count) < shared->clients) {
        if (now_ns() > end) {
            violation(&shared->violations, "%u of %u clients %s", atomic_load(count),
                      shared->clients, what);
            fatal("a client hangs");
        }
        pause_us(200);
    }
    atomic_store(count, 0);
}

static void fall(void)
{
    atomic_store(&shared->falling, true);
    for (unsigned c = 0; c < shared->clients; c++) {
        for (unsigned i = 0; i < shared->keys; i++) {
            if (mode_of(i) == DS_WRITE_NONE) {
                atomic_store(&shared->key[c][i].may_miss, true);
            }
        }
    }
    (void)printf("falling\n");
}

static void risen(void)
{
    atomic_store(&shared->phase, PARK);
    wait_for(&shared->parked, "stopped");
    atomic_store(&shared->falling, false);
    atomic_store(&shared->found, 0);
    atomic_store(&shared->missing, 0);
    atomic_store(&shared->phase, LOOK);
    wait_for(&shared->looked, "looked at their keys");
    atomic_store(&shared->dark, false);
    atomic_store(&shared->phase, RUN);
    (void)printf("found %lu missing %lu violations %lu\n", (unsigned long)shared->found,
                 (unsigned long)shared->missing, (unsigned long)shared->violations);
}

static void figures(void)
{
    (void)printf(
        "ops %lu failed %lu hot %lu disk %lu longest_ms %ld violations %lu\n",
        (unsigned long)atomic_load(&shared->ops), (unsigned long)atomic_load(&shared->failed),
        (unsigned long)atomic_load(&shared->hot), (unsigned long)atomic_load(&shared->disk),
        (long)(atomic_load(&shared->longest_ns) / 1000000),
        (unsigned long)atomic_load(&shared->violations));
}

static void obey(void)
{
    char line[32];

    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "fall") == 0 || strcmp(line, "dark") == 0) {
            atomic_store(&shared->dark, line[0] == 'd');
            fall();
        } else if (strcmp(line, "risen") == 0) {
            risen();
        } else {
            figures();
        }
        (void)fflush(stdout);
    }
}

static void end_client(pid_t pid, unsigned i)
{
    int64_t end = now_ns() + 2 * HANG_NS;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ns() > end) {
            violation(&shared->violations, "client %u hangs", i);
            (void)kill(pid, SIGABRT);
            (void)waitpid(pid, &status, 0);
            return;
        }
        pause_us(1000);
    }
    if (status != 0) {
        violation(&shared->violations, "client %u ended with status %x", i, (unsigned)status);
    }
}

static unsigned long number_at(int argc, char **argv, int i, unsigned long most)
{
    unsigned long n = argc > i ? strtoul(argv[i], NULL, 10) : 0;

    if (n < 1 || n > most) {
        fatal("usage: fault_tiers CLIENTS(1..%u) KEYS(1..%u) LARGEST(1..%u) [errors]", CLIENTS_MAX,
              KEYS_MAX, LARGEST_MAX / 2);
    }
    return n;
}

int main(int argc, char **argv)
{
    pid_t pid[CLIENTS_MAX + 1];
    uint64_t seed = (uint64_t)now_ns();

    shared = shared_memory(sizeof(*shared));
    shared->clients = (unsigned)number_at(argc, argv, 1, CLIENTS_MAX);
    shared->keys = (unsigned)number_at(argc, argv, 2, KEYS_MAX);
    shared->largest = number_at(argc, argv, 3, LARGEST_MAX / 2);
    shared->errors = argc > 4 && strcmp(argv[4], "errors") == 0;
    for (unsigned c = 0; c < shared->clients; c++) {
        for (unsigned i = 0; i < shared->keys; i++) {
            atomic_store(&state_after(&shared->key[c][i], 0)->gone_after, INT64_MAX);
        }
    }
    for (unsigned i = 0; i <= shared->clients; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            client_main(i, seed + i);
        }
    }
    (void)printf("running\n");
    (void)fflush(stdout);
    obey();
    atomic_store(&shared->phase, STOP);
    for (unsigned i = 0; i <= shared->clients; i++) {
        end_client(pid[i], i);
    }
    (void)printf("seed %lu ", (unsigned long)seed);
    figures();
    return atomic_load(&shared->violations) == 0 ? 0 : 1;
}
