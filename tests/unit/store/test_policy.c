/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences against oracles that know nothing of links, ghosts' buckets or bits. */
#include "store/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "harness/ds_test.h"
#include "store/policy_internal.h"

#define KEYS 3000u
#define CAPACITY 400000u

/* A cache without data. The key is the object's number. */
struct cache {
    struct ds_policy *policy;
    struct ds_link link[KEYS];
    uint64_t size[KEYS];
    bool in[KEYS];
    uint64_t bytes;
    uint32_t n;
};

static uint64_t size_of(const void *arg, uint32_t id)
{
    const struct cache *c = arg;

    CHECK(c->in[id]);
    return c->size[id];
}

/* Fingerprints (the upper half) that differ: the oracle has no false ghosts. */
static uint32_t hash_of(const void *arg, uint32_t id)
{
    (void)arg;
    return (id + 1) << 16 | (id * 40503u & 0xffff);
}

static struct cache *cache_make(const char *policy)
{
    struct cache *c = calloc(1, sizeof(*c));
    struct ds_policy_env env = {.arg = c, .max = KEYS, .size = size_of, .hash = hash_of};

    CHECK(c != NULL);
    env.link = c->link;
    for (uint32_t id = 0; id < KEYS; id++) {
        c->size[id] = 100;
    }
    CHECK_OK(ds_policy_create(policy, &env, &c->policy));
    return c;
}

static void cache_end(struct cache *c)
{
    CHECK(ds_policy_destroy(c->policy) == NULL);
    free(c);
}

static void take_in(struct cache *c, uint32_t id)
{
    CHECK(!c->in[id]);
    c->in[id] = true;
    c->bytes += c->size[id];
    c->n++;
    ds_policy_insert(c->policy, id);
}

static void take_out(struct cache *c, uint32_t id, bool evict)
{
    CHECK(c->in[id]);
    if (evict) {
        ds_policy_evict(c->policy, id);
    } else {
        ds_policy_remove(c->policy, id);
    }
    c->in[id] = false;
    c->bytes -= c->size[id];
    c->n--;
    CHECK_EQ(ds_policy_count(c->policy), c->n);
}

/* Evicts the policy's choice. */
static uint32_t evict(struct cache *c)
{
    uint32_t id = ds_policy_victim(c->policy);

    take_out(c, id, true);
    return id;
}

/* A read that sets what it misses; true: a hit. */
static bool use(struct cache *c, uint32_t id, uint64_t capacity)
{
    if (c->in[id]) {
        ds_policy_touch(c->policy, id);
        return true;
    }
    while (c->bytes + c->size[id] > capacity) {
        (void)evict(c);
    }
    take_in(c, id);
    return false;
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* --- any policy --- */

static const char *const names[] = {"lru", "s3fifo", "auto"};

DS_TEST(policy__of_an_unknown_name_is_refused)
{
    struct ds_link link[1];
    struct ds_policy_env env = {.link = link, .max = 1, .size = size_of, .hash = hash_of};
    struct ds_policy *p = NULL;

    CHECK_EQ(ds_policy_create("fifo", &env, &p), DS_EINVAL);
    CHECK_EQ(ds_policy_create("", &env, &p), DS_EINVAL);
    CHECK_EQ(ds_policy_create("lru ", &env, &p), DS_EINVAL);
    CHECK(p == NULL);
    CHECK(ds_policy_destroy(NULL) == NULL);
}

#ifdef DS_FAILPOINTS
/* The harness counts what is left. */
DS_TEST(policy__leaves_nothing_behind_when_it_cannot_be_made)
{
    static const int allocations[] = {1, 2, 7}; /* auto: itself, ghosts, chooser, two minis of 2 */
    struct ds_link link[8];
    struct ds_policy_env env = {.link = link, .max = 8, .size = size_of, .hash = hash_of};

    for (unsigned i = 0; i < DS_ARRAY_SIZE(names); i++) {
        struct ds_policy *p = NULL;
        char spec[64];
        int failures = 0;

        for (int n = 1; p == NULL; n++, failures++) {
            (void)snprintf(spec, sizeof(spec), "alloc=errno:12@%d", n);
            ds_failpoint_arm(spec);
            if (ds_policy_create(names[i], &env, &p) == 0) {
                break;
            }
            CHECK(p == NULL);
        }
        CHECK_GE(failures, allocations[i]);
        p = ds_policy_destroy(p);
        ds_failpoint_arm("sys.map_private=errno:12@1");
        CHECK_EQ(ds_policy_create(names[i], &env, &p), i == 0 ? 0 : DS_ENOMEM);
        ds_failpoint_arm(NULL);
        p = ds_policy_destroy(p);
    }
}
#endif

/* What the store relies on, whatever the order is. */
DS_TEST(policy__names_each_object_once_as_victim)
{
    for (unsigned i = 0; i < DS_ARRAY_SIZE(names); i++) {
        struct cache *c = cache_make(names[i]);

        CHECK_EQ(ds_policy_victim(c->policy), DS_ID_NONE);
        for (uint32_t id = 0; id < KEYS; id++) {
            take_in(c, id);
            ds_policy_touch(c->policy, id / 2);
            ds_policy_touch(c->policy, id / 3);
        }
        for (uint32_t id = 0; id < KEYS; id += 7) {
            take_out(c, id, false);
        }
        while (c->n > 0) {
            (void)evict(c); /* take_out() checks that it was in */
        }
        CHECK_EQ(ds_policy_victim(c->policy), DS_ID_NONE);
        cache_end(c);
    }
}

/* As ds_store_evict() does it: everything but a few is pinned. */
DS_TEST(policy__finds_the_few_that_can_go_among_many_that_are_skipped)
{
    for (unsigned i = 0; i < DS_ARRAY_SIZE(names); i++) {
        struct cache *c = cache_make(names[i]);
        unsigned evicted = 0;

        for (uint32_t id = 0; id < KEYS; id++) {
            take_in(c, id);
            ds_policy_touch(c->policy, id * 7 % (id + 1));
        }
        for (uint32_t left = KEYS; left > 0; left--) {
            uint32_t id = ds_policy_victim(c->policy);

            if (id % 100 == 99) {
                take_out(c, id, true);
                evicted++;
            } else {
                ds_policy_skip(c->policy, id);
                CHECK_NE(ds_policy_victim(c->policy), id);
            }
        }
        /* S3-FIFO passes over used ones for a second round; all who can go are near its head */
        CHECK_GE(evicted, strcmp(names[i], "s3fifo") == 0 ? 1 : KEYS / 100);
        cache_end(c);
    }
}

/* --- lru --- */

DS_TEST(lru__evicts_in_the_order_of_last_uses)
{
    struct cache *c = cache_make("lru");
    static uint64_t stamp[KEYS];
    uint64_t x = ds_test_seed() | 1;

    for (uint64_t step = 1; step < 200000; step++) {
        uint32_t id = (uint32_t)(next(&x) % KEYS);
        uint64_t what = next(&x) % 16;

        if (!c->in[id]) {
            c->size[id] = 1 + next(&x) % 1000;
            take_in(c, id);
        } else if (what == 0) {
            take_out(c, id, false);
        } else if (what == 1) {
            ds_policy_skip(c->policy, id);
        } else {
            ds_policy_touch(c->policy, id);
        }
        stamp[id] = step;
        while (c->bytes > CAPACITY) {
            uint32_t oldest = DS_ID_NONE;

            for (uint32_t k = 0; k < KEYS; k++) {
                if (c->in[k] && (oldest == DS_ID_NONE || stamp[k] < stamp[oldest])) {
                    oldest = k;
                }
            }
            CHECK_EQ(evict(c), oldest);
        }
    }
    cache_end(c);
}

/* --- s3fifo --- */

/* The paper's algorithm over plain arrays, the oldest first, for comparison. */
struct oracle {
    uint32_t small[KEYS], main[KEYS];
    uint32_t n_small, n_main;
    uint8_t uses[KEYS];
    double gone[KEYS]; /* windows of bytes that were remembered since it left; < 0: no ghost */
    unsigned unsure;
};

static void pull(uint32_t *queue, uint32_t *n, uint32_t id)
{
    uint32_t at = 0;

    while (queue[at] != id) {
        at++;
        CHECK_LT(at, *n);
    }
    memmove(&queue[at], &queue[at + 1], (*n - at - 1) * sizeof(*queue));
    (*n)--;
}

static bool is_in(const uint32_t *queue, uint32_t n, uint32_t id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (queue[i] == id) {
            return true;
        }
    }
    return false;
}

static uint64_t sum(const struct cache *c, const uint32_t *queue, uint32_t n)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < n; i++) {
        bytes += c->size[queue[i]];
    }
    return bytes;
}

/* A ghost is remembered for one window of ghosts, nine tenths of the cache; it is rounded to 64ths.
 */
static void oracle_insert(struct oracle *o, const struct cache *c, uint32_t id)
{
    double age = o->gone[id];
    bool ghost = age >= 0 && age < 1;

    if (age > 0.95 && age < 1.1) { /* on the edge: as the policy decided */
        ghost = ds_policy_in_main(c->policy, id);
        o->unsure++;
    }
    CHECK_EQ(ds_policy_in_main(c->policy, id), ghost);
    o->gone[id] = -1;
    o->uses[id] = 0;
    if (ghost) {
        o->main[o->n_main++] = id;
    } else {
        o->small[o->n_small++] = id;
    }
}

static void oracle_remember(struct oracle *o, const struct cache *c, uint32_t id)
{
    double window = 0.9 * (double)c->bytes;

    for (uint32_t k = 0; k < KEYS; k++) {
        if (o->gone[k] >= 0) {
            o->gone[k] += (double)c->size[id] / window;
        }
    }
    o->gone[id] = 0;
}

static void oracle_take_out(struct oracle *o, const struct cache *c, uint32_t id, bool evicted)
{
    bool in_small = is_in(o->small, o->n_small, id);

    if (in_small == evicted) {
        oracle_remember(o, c, id);
    }
    if (in_small) {
        pull(o->small, &o->n_small, id);
    } else {
        pull(o->main, &o->n_main, id);
    }
}

static uint32_t oracle_victim(struct oracle *o, const struct cache *c)
{
    for (;;) {
        uint64_t small = sum(c, o->small, o->n_small);
        bool from_small = o->n_small > 0 && (o->n_main == 0 || small > c->bytes / 10);
        uint32_t id = from_small ? o->small[0] : o->main[0];

        if (from_small && o->uses[id] >= 2) {
            pull(o->small, &o->n_small, id);
            o->uses[id] = 0;
        } else if (!from_small && o->uses[id] >= 1) {
            pull(o->main, &o->n_main, id);
            o->uses[id]--;
        } else {
            return id;
        }
        o->main[o->n_main++] = id;
    }
}

static void compare(const struct oracle *o, const struct cache *c)
{
    uint32_t at = c->policy->small.first;

    CHECK_EQ(c->policy->small.n, o->n_small);
    CHECK_EQ(c->policy->main.n, o->n_main);
    CHECK_EQ(c->policy->small_bytes, sum(c, o->small, o->n_small));
    CHECK_EQ(c->policy->main_bytes, sum(c, o->main, o->n_main));
    for (uint32_t i = 0; i < o->n_small; i++, at = c->link[at].next) {
        CHECK_EQ(at, o->small[i]);
    }
    at = c->policy->main.first;
    for (uint32_t i = 0; i < o->n_main; i++, at = c->link[at].next) {
        CHECK_EQ(at, o->main[i]);
    }
}

/* Keys of a skewed choice, most of them seldom, sizes of 64 to 64 + `sizes`. */
static void s3fifo_against_oracle(uint64_t sizes, uint64_t capacity)
{
    struct cache *c = cache_make("s3fifo");
    struct oracle *o = calloc(1, sizeof(*o));
    uint64_t x = ds_test_seed() | 1;
    unsigned mains = 0;

    CHECK(o != NULL);
    for (uint32_t k = 0; k < KEYS; k++) {
        o->gone[k] = -1;
    }
    for (unsigned step = 0; step < 40000; step++) {
        uint32_t id = (uint32_t)(next(&x) % (1 + next(&x) % KEYS));
        uint64_t what = next(&x) % 64;

        if (!c->in[id]) {
            c->size[id] = 64 + next(&x) % sizes;
            take_in(c, id);
            oracle_insert(o, c, id);
            mains += ds_policy_in_main(c->policy, id);
        } else if (what == 0) {
            oracle_take_out(o, c, id, false);
            take_out(c, id, false);
        } else {
            ds_policy_touch(c->policy, id);
            o->uses[id] = o->uses[id] < 3 ? o->uses[id] + 1 : 3;
        }
        while (c->bytes > capacity) {
            uint32_t victim = oracle_victim(o, c);

            CHECK_EQ(ds_policy_victim(c->policy), victim);
            if (next(&x) % 32 == 0) { /* pinned */
                ds_policy_skip(c->policy, victim);
                if (is_in(o->small, o->n_small, victim)) {
                    pull(o->small, &o->n_small, victim);
                } else {
                    pull(o->main, &o->n_main, victim);
                }
                o->uses[victim] = 0;
                o->main[o->n_main++] = victim;
                continue;
            }
            oracle_take_out(o, c, victim, true);
            take_out(c, victim, true);
        }
        if (step % 64 == 0) {
            compare(o, c);
        }
    }
    CHECK_GT(mains, 500);       /* ghosts came back ... */
    CHECK_LT(o->unsure, mains); /* ... and most of them were told apart without help */
    compare(o, c);
    free(o);
    cache_end(c);
}

DS_TEST(s3fifo__does_what_the_paper_says)
{
    s3fifo_against_oracle(1, 64 * 400);
}

DS_TEST(s3fifo__counts_bytes_not_objects)
{
    s3fifo_against_oracle(1000, 200000);
}

/* Whoever reads everything three times must not make an eviction as long as the cache is large. */
DS_TEST(s3fifo__passes_over_a_bounded_number_of_used_objects)
{
    struct cache *c = cache_make("s3fifo");
    uint32_t victim;

    for (uint32_t id = 0; id < KEYS; id++) {
        take_in(c, id);
        for (unsigned i = 0; i < 5; i++) {
            ds_policy_touch(c->policy, id);
        }
    }
    victim = ds_policy_victim(c->policy);
    CHECK_EQ(victim, DS_POLICY_STEPS); /* the oldest that it did not pass over */
    CHECK_EQ(c->policy->main.n, DS_POLICY_STEPS);
    cache_end(c);
}

/* --- auto --- */

/* A hot set that fits, and as many keys again that are read once and never more: LRU lets the hot
 * ones go for them. */
static unsigned scan(struct cache *c, uint64_t *x, uint32_t *scanned, unsigned n)
{
    unsigned hits = 0;

    for (unsigned i = 0; i < n; i++) {
        hits += use(c, (uint32_t)(next(x) % 500), 60000);
        for (unsigned k = 0; k < 2; k++) {
            uint32_t id = 500 + *scanned % (KEYS - 500);

            if (c->in[id]) { /* all numbers were used up: this one comes as a new key */
                take_out(c, id, false);
            }
            (void)use(c, id, 60000);
            *scanned += 1;
        }
    }
    return hits;
}

/* Each key is read a second time when a third of the cache's bytes has gone by, then never more:
 * S3-FIFO has let it go by then. */
static unsigned echo(struct cache *c, uint32_t *at, unsigned n)
{
    unsigned hits = 0;

    for (unsigned i = 0; i < n; i++, *at += 1) {
        (void)use(c, *at % KEYS, 60000);
        hits += use(c, (*at + KEYS - 200) % KEYS, 60000);
    }
    return hits;
}

DS_TEST(auto__finds_the_better_policy_and_finds_it_again_when_the_work_changes)
{
    struct cache *c = cache_make("auto");
    uint64_t x = ds_test_seed() | 1;
    uint32_t scanned = 0;
    uint32_t at = 0;

    for (unsigned round = 0; round < 3; round++) {
        (void)scan(c, &x, &scanned, 6000);
        CHECK_STR(ds_policy_acting(c->policy), "s3fifo");
        CHECK_GT(scan(c, &x, &scanned, 2000), 1700); /* nearly all of the hot set stays */
        CHECK_STR(ds_policy_acting(c->policy), "s3fifo");
        CHECK_EQ(ds_policy_acting_number(c->policy), DS_EVICT_S3FIFO);
        (void)echo(c, &at, 6000);
        CHECK_STR(ds_policy_acting(c->policy), "lru");
        CHECK_GT(echo(c, &at, 2000), 1900);
        CHECK_STR(ds_policy_acting(c->policy), "lru");
        CHECK_EQ(ds_policy_acting_number(c->policy), DS_EVICT_LRU);
    }
    cache_end(c);
}

/* Deleted keys that come again would be hits for LRU alone if they were not forgotten. */
DS_TEST(auto__does_not_learn_from_deleted_keys)
{
    struct cache *c = cache_make("auto");
    uint64_t x = ds_test_seed() | 1;
    uint32_t scanned = 0;

    (void)scan(c, &x, &scanned, 6000);
    CHECK_STR(ds_policy_acting(c->policy), "s3fifo");
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t id = 500 + i % 200;

        if (!c->in[id]) {
            (void)use(c, id, 60000);
        }
        take_out(c, id, false);
    }
    CHECK_STR(ds_policy_acting(c->policy), "s3fifo");
    cache_end(c);
}

/* The premise of the tests above. */
DS_TEST(auto__has_a_choice_to_make)
{
    uint64_t x = 1;
    uint32_t scanned = 0;
    uint32_t at = 0;
    struct cache *lru = cache_make("lru");
    struct cache *s3fifo = cache_make("s3fifo");

    (void)scan(lru, &x, &scanned, 6000);
    CHECK_LT(scan(lru, &x, &scanned, 2000), 1200);
    (void)scan(s3fifo, &x, &scanned, 6000); /* its main queue is full of what is not used again */
    (void)echo(s3fifo, &at, 1000);
    CHECK_LT(echo(s3fifo, &at, 2000), 500);
    cache_end(lru);
    cache_end(s3fifo);
}

/* Main in its order, used objects once more, then small: which joins main from its old end. */
DS_TEST(auto__passes_the_queues_of_s3fifo_on_to_lru)
{
    struct cache *c = cache_make("s3fifo");
    const struct ds_policy_ops *own = c->policy->ops;
    static const uint32_t order[] = {1, 3, 4, 5, 6, 7, 0, 8, 9, 2};

    for (uint32_t id = 0; id < 10; id++) {
        take_in(c, id);
        if (id < 4) {
            ds_policy_skip(c->policy, id); /* to main */
        }
    }
    ds_policy_touch(c->policy, 0);
    ds_policy_touch(c->policy, 2);
    c->policy->ops = &ds_policy_lru;
    for (unsigned i = 0; i < 10; i++) {
        uint32_t id = evict(c);

        CHECK_EQ(id, order[i]);
        CHECK_EQ(c->policy->small.n, i < 1 ? 2 : 0); /* four a call */
    }
    c->policy->ops = own;
    for (uint32_t id = 0; id < 20; id++) {
        take_in(c, id);
        CHECK_EQ(ds_policy_in_main(c->policy, id), id == 2); /* the last one is a ghost */
    }
    c->policy->ops = &ds_policy_lru;
    ds_policy_touch(c->policy, 10); /* of small: the newest now */
    CHECK_EQ(c->policy->main.last, 10);
    for (unsigned i = 0; i < 20; i++) {
        (void)evict(c);
    }
    CHECK_EQ(c->n, 0);
    c->policy->ops = own;
    cache_end(c);
}

DS_TEST(auto__loses_no_object_when_it_changes)
{
    struct cache *c = cache_make("auto");
    uint64_t x = ds_test_seed() | 1;
    uint32_t scanned = 0;
    uint32_t at = 0;

    for (unsigned round = 0; round < 200; round++) { /* changes at any moment of a round */
        (void)scan(c, &x, &scanned, 50 + (unsigned)(next(&x) % 500));
        (void)echo(c, &at, 50 + (unsigned)(next(&x) % 500));
        CHECK_EQ(c->policy->small_bytes + c->policy->main_bytes, c->bytes);
        CHECK_EQ(ds_policy_count(c->policy), c->n);
    }
    while (c->n > 0) {
        (void)evict(c);
    }
    cache_end(c);
}
