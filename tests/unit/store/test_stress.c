/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stress.c - one worker thread, writers and readers in other threads, over the same memory.
 *
 * Readers look at the bytes only between pin and unpin, by plain loads; writers fill granted blocks
 * by plain stores. So ThreadSanitizer checks the protocol itself: a block that is given out again
 * while somebody may read it would be a data race. What TSan cannot see is the fence between the
 * pin's store and the second look at the generation; the values check that: they describe
 * themselves (key, sequence, sum).
 *
 * Each key has one writer. A get that begins after a set is done sees that set or a later one: the
 * writer publishes the sequence of its last completed set in `floor`, the reader reads it before.
 */
#include <pthread.h>
#include <sched.h>

#include "base/clock.h"
#include "driver.h"

#define WRITERS 2
#define READERS 2
#define KEYS_EACH 12
#define VALUE_MAX 3000

struct value {
    uint64_t key;
    uint64_t seq;
    uint64_t words; /* that follow */
    uint64_t sum;
};

struct arena_of_threads {
    struct world w;
    _Atomic uint64_t floor[WRITERS * KEYS_EACH]; /* of completed sets */
    _Atomic uint64_t gone[WRITERS * KEYS_EACH];  /* deletes begun */
    _Atomic uint64_t hits;
    _Atomic uint64_t misses;
    _Atomic bool stop;
    _Atomic bool stop_worker;
    unsigned rounds;
    uint64_t seed;
};

struct thread {
    struct arena_of_threads *a;
    struct peer *p;
    unsigned number;
    pthread_t id;
    uint64_t random;
};

static uint64_t rnd(struct thread *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

static uint64_t ticks(void *arg)
{
    (void)arg;
    return ds_ticks();
}

static void *worker(void *arg)
{
    struct arena_of_threads *a = arg;
    uint64_t n = 0;

    while (!ds_load_acquire(&a->stop_worker)) {
        struct ds_store_now now = {.boot_ns = ds_boottime_ns(), .ticks = ds_ticks()};

        if (!ds_store_pass(a->w.s, &now) && ds_store_quiet(a->w.s)) {
            (void)sched_yield();
        }
        if (++n % 5000 == 0) {
            CHECK_OK(ds_store_check(a->w.s));
        }
    }
    return NULL;
}

/* --- as src/client --- */

static void call(struct peer *p, unsigned slot)
{
    req_post(p, slot);
    ds_fence_full();
    while (!req_done(p, slot)) {
        (void)sched_yield();
    }
}

static int take_grant(struct peer *p, uint64_t size, struct lent *ret)
{
    req_begin(p, 63, DS_OP_GRANT, size);
    p->slot[63].header.n = 1;
    call(p, 63);
    *ret = (struct lent){req_result(p, 63, 0)->id, req_result(p, 63, 0)->value};
    return req_result(p, 63, 0)->status;
}

static void fill(struct world *w, uint64_t offset, uint64_t words, uint64_t key, uint64_t seq)
{
    struct value *v = (void *)(w->data.base + offset);
    uint64_t *at = (void *)(v + 1);
    uint64_t sum = key * 31 + seq;

    for (uint64_t i = 0; i < words; i++) {
        at[i] = seq * UINT64_C(0x9e3779b97f4a7c15) + i;
        sum += at[i];
    }
    *v = (struct value){key, seq, words, sum};
}

static uint64_t verified_seq(const struct world *w, uint64_t offset, uint64_t size, uint64_t key)
{
    const struct value *v = (const void *)(w->data.base + offset);
    const uint64_t *at = (const void *)(v + 1);
    uint64_t sum = key * 31 + v->seq;

    CHECK_EQ(v->key, key);
    CHECK_EQ(sizeof(*v) + v->words * 8, size);
    for (uint64_t i = 0; i < v->words; i++) {
        sum += at[i];
    }
    CHECK_EQ(v->sum, sum);
    return v->seq;
}

static bool pin_id(const struct world *w, struct peer *p, uint32_t id, uint64_t gen, unsigned slot,
                   struct ds_found *f)
{
    if (!ds_index_load(&w->map, id, f)) {
        return false;
    }
    (void)atomic_exchange(&p->pin[slot], id + 1);
    ds_fence_full();
    if (ds_index_recheck(&w->map, f) && f->gen == gen) {
        return true;
    }
    ds_store_release(&p->pin[slot], 0);
    return false;
}

/* R1 to R6, and asking after a miss: 0 or DS_ENOTFOUND. */
static int get(struct thread *t, const char *key, unsigned slot, struct ds_found *f)
{
    struct world *w = &t->a->w;
    struct peer *p = t->p;
    uint64_t hash = ds_index_hash(&w->s->index, key, strlen(key));
    struct ds_index_iter it = ds_index_begin(&w->map, hash);
    uint32_t id;

    while ((id = ds_index_next(&w->map, &it, hash)) != DS_ID_NONE) {
        if (!ds_index_load(&w->map, id, f)) {
            continue;
        }
        (void)atomic_exchange(&p->pin[slot], id + 1); /* R4 */
        ds_fence_full();
        if (ds_index_recheck(&w->map, f) && ds_index_key_equal(&w->map, f, key, strlen(key)) &&
            (f->meta & DS_META_SETTLED) != 0) {
            (void)atomic_fetch_add(&t->a->hits, 1);
            return 0;
        }
        ds_store_release(&p->pin[slot], 0);
    }
    (void)atomic_fetch_add(&t->a->misses, 1);
    for (;;) {
        req_begin(p, slot, DS_OP_GET, 0);
        req_key(p, slot, key);
        call(p, slot);
        if (req_result(p, slot, 0)->status != 0) {
            return req_result(p, slot, 0)->status;
        }
        if (pin_id(w, p, req_result(p, slot, 0)->id, req_result(p, slot, 0)->value, slot, f)) {
            return 0;
        }
    }
}

/* W1 to W5. */
static void put_value(struct thread *t, const char *key, struct lent g, uint64_t size)
{
    struct world *w = &t->a->w;
    uint64_t hash = ds_index_hash(&w->s->index, key, strlen(key));
    uint64_t position;

    while (t->p->tail + 4096 - ds_load_acquire(&t->p->h->applied) > DS_RING_SIZE) {
        (void)sched_yield();
    }
    position = ring_post(
        t->p, DS_RING_SET,
        &(struct post){
            .key = key, .grant = g, .size = size, .ticket = ds_ticks(), .mode = DS_WRITE_NONE});
    ds_fence_full();
    if (ds_index_maybe_present(&w->map, hash)) {
        while ((int64_t)(ds_load_acquire(&t->p->h->applied) - position) < 0) {
            (void)sched_yield();
        }
    }
}

static void name_of(unsigned key, char buf[64])
{
    (void)snprintf(buf, 64, key % 2 == 0 ? "k%u" : "k%u, which is longer than a descriptor", key);
}

static void *writer(void *arg)
{
    struct thread *t = arg;
    char key[64];

    for (uint64_t seq = 1; seq <= t->a->rounds; seq++) {
        unsigned k = t->number * KEYS_EACH + (unsigned)(rnd(t) % KEYS_EACH);
        uint64_t words = rnd(t) % ((VALUE_MAX - sizeof(struct value)) / 8);
        uint64_t size = sizeof(struct value) + words * 8;
        struct lent g;

        name_of(k, key);
        if (rnd(t) % 16 == 0) {
            (void)atomic_fetch_add(&t->a->gone[k], 1);
            req_begin(t->p, 1, DS_OP_DELETE, 0);
            req_key(t->p, 1, key);
            call(t->p, 1);
        }
        if (take_grant(t->p, size, &g) != 0) {
            continue; /* readers hold too much: the next round */
        }
        fill(&t->a->w, g.offset, words, k, seq);
        put_value(t, key, g, size);
        ds_store_release(&t->a->floor[k], seq);
        if (rnd(t) % 8 == 0) { /* read what was just written, through the front door */
            struct ds_found f;

            CHECK_OK(get(t, key, 2, &f));
            CHECK_EQ(verified_seq(&t->a->w, f.offset, f.size, k), seq);
            ds_store_release(&t->p->pin[2], 0);
        }
    }
    return NULL;
}

static void *reader(void *arg)
{
    struct thread *t = arg;
    uint64_t seen[WRITERS * KEYS_EACH] = {0};
    char key[64];

    while (!ds_load_acquire(&t->a->stop)) {
        unsigned k = (unsigned)(rnd(t) % (WRITERS * KEYS_EACH));
        unsigned slot = (unsigned)(rnd(t) % 8);
        uint64_t gone = ds_load_acquire(&t->a->gone[k]);
        uint64_t floor = ds_load_acquire(&t->a->floor[k]);
        struct ds_found f;
        uint64_t seq;

        name_of(k, key);
        if (get(t, key, slot, &f) != 0) {
            CHECK(floor == 0 || ds_load_acquire(&t->a->gone[k]) > 0);
            continue;
        }
        seq = verified_seq(&t->a->w, f.offset, f.size, k);
        CHECK_GE(seq, floor);   /* completed before this get began */
        CHECK_GE(seq, seen[k]); /* and never backwards */
        seen[k] = seq;
        if (rnd(t) % 64 == 0) { /* hold it for a while: the bytes stay */
            (void)sched_yield();
            CHECK_EQ(verified_seq(&t->a->w, f.offset, f.size, k), seq);
        }
        ds_store_release(&t->p->pin[slot], 0); /* R7 */
        (void)gone;
    }
    return NULL;
}

/* TSan knows memory by its address: both sides use one mapping of the session here. */
static void share_mapping(struct world *w, struct peer *p)
{
    uint8_t *base = ds_store_session_segment(w->s, p->number)->base;

    p->h = (void *)base;
    p->ring = base + DS_SESSION_RING_OFFSET;
    p->slot = (void *)(base + DS_SESSION_REQUEST_OFFSET);
    p->log = (void *)(base + DS_SESSION_LOG_OFFSET);
    p->pin = (void *)(base + DS_SESSION_PIN_OFFSET);
    ds_store_relaxed(&p->h->pins_used, 64);
}

static void start(struct thread *t, struct arena_of_threads *a, unsigned peer, unsigned number,
                  void *(*run)(void *))
{
    *t = (struct thread){
        .a = a, .p = &a->w.peer[peer], .number = number, .random = a->seed * (peer + 1) | 1};
    CHECK_EQ(pthread_create(&t->id, NULL, run, t), 0);
}

static void stress(uint64_t data_size, unsigned rounds)
{
    static const char *const policies[] = {"lru", "s3fifo", "auto"};
    struct arena_of_threads *a = calloc(1, sizeof(*a));
    struct thread w[WRITERS];
    struct thread r[READERS];
    pthread_t work;

    CHECK(a != NULL);
    a->rounds = rounds;
    a->seed = ds_test_seed();
    world_make(&a->w, data_size);
    a->w.config.policy = policies[a->seed % DS_ARRAY_SIZE(policies)];
    a->w.config.ticks = ticks;
    a->w.now = (struct ds_store_now){ds_boottime_ns(), ds_ticks()};
    world_start(&a->w);
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        share_mapping(&a->w, peer_open(&a->w, i));
    }
    CHECK_EQ(pthread_create(&work, NULL, worker, a), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        start(&w[i], a, i, i, writer);
    }
    for (unsigned i = 0; i < READERS; i++) {
        start(&r[i], a, WRITERS + i, i, reader);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        CHECK_EQ(pthread_join(w[i].id, NULL), 0);
    }
    ds_store_release(&a->stop, true);
    for (unsigned i = 0; i < READERS; i++) {
        CHECK_EQ(pthread_join(r[i].id, NULL), 0);
    }
    ds_store_release(&a->stop_worker, true);
    CHECK_EQ(pthread_join(work, NULL), 0);
    CHECK_GT(ds_load_relaxed(&a->hits), 0);
    CHECK_GT(ds_load_relaxed(&a->misses), 0);
    a->w.now = (struct ds_store_now){ds_boottime_ns(), ds_ticks()};
    a->w.config.ticks = NULL;
    world_end(&a->w);
    free(a);
}

DS_TEST_TIMEOUT(stress__readers_never_see_wrong_bytes_or_older_values, 240)
{
    stress(1 * MIB, 15000);
}

/* So little memory that every block is used again at once. */
DS_TEST_TIMEOUT(stress__with_hardly_any_memory, 240)
{
    stress(256 * KIB, 10000);
}
