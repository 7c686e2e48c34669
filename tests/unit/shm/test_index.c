/* SPDX-License-Identifier: Apache-2.0 */
/* test_index.c - the index against a model; and a writer killed between any two instructions. */
#include "shm/index.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/ds_test.h"

#define DATA ((uint64_t)1 << 20)
#define MANY 20000u

struct fixture {
    struct ds_segment seg;
    struct ds_index ix;
};

static void key_of(uint32_t id, char buf[64])
{
    (void)snprintf(buf, 64, id % 5 == 0 ? "%u, a key that does not fit into a descriptor" : "k%u",
                   id);
}

static uint64_t hash_of(const struct ds_index *ix, uint32_t id)
{
    char key[64];

    key_of(id, key);
    return ds_index_hash(ix, key, strlen(key));
}

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    CHECK_OK(ds_segment_create("t", ds_index_size(DATA), &f->seg));
    CHECK_OK(ds_index_format(&f->ix, &f->seg, DATA, 42));
}

/* A descriptor as the store fills it. */
static void publish(struct ds_index *ix, uint32_t id)
{
    char key[64];
    uint32_t size;

    key_of(id, key);
    size = (uint32_t)strlen(key);
    CHECK_OK(ds_index_need_desc(ix, id));
    CHECK_OK(ds_index_need_keys(ix, (id + UINT64_C(1)) * 64));
    ds_index_write_key(ix, id, key, size, id * UINT64_C(64));
    ds_store_relaxed(&ix->desc[id].meta, size | DS_META_SETTLED);
    ds_store_release(&ix->desc[id].gen, ds_load_relaxed(&ix->desc[id].gen) + 1);
}

/* What a reader finds: the id, or DS_ID_NONE. */
static uint32_t look(const struct ds_index *ix, uint32_t id)
{
    char key[64];
    uint64_t hash = hash_of(ix, id);
    struct ds_index_iter it = ds_index_begin(&ix->map, hash);
    struct ds_found found;
    uint32_t at;

    key_of(id, key);
    while ((at = ds_index_next(&ix->map, &it, hash)) != DS_ID_NONE) {
        if (ds_index_load(&ix->map, at, &found) && ds_index_recheck(&ix->map, &found) &&
            ds_index_key_equal(&ix->map, &found, key, strlen(key))) {
            return at;
        }
    }
    return DS_ID_NONE;
}

DS_TEST(index__finds_what_is_in_it_through_all_splits)
{
    struct fixture f;

    begin(&f);
    for (uint32_t id = 0; id < MANY; id++) {
        CHECK(!ds_index_maybe_present(&f.ix.map, hash_of(&f.ix, id)) ||
              ds_index_has(&f.ix, hash_of(&f.ix, id), id) == false);
        publish(&f.ix, id);
        ds_index_put(&f.ix, hash_of(&f.ix, id), id, DS_ID_NONE);
        CHECK_EQ(look(&f.ix, id), id);
        CHECK_EQ(look(&f.ix, id / 2), id / 2);
    }
    CHECK_OK(ds_index_check(&f.ix));
    CHECK_EQ(f.ix.entries, MANY);
    CHECK_EQ(f.ix.unindexed, 0);
    CHECK_GT(ds_load_relaxed(&f.ix.header->buckets), MANY / 6);
    for (uint32_t id = 0; id < MANY; id += 2) {
        ds_index_remove(&f.ix, hash_of(&f.ix, id), id);
        ds_index_remove(&f.ix, hash_of(&f.ix, id), id); /* not there: nothing */
    }
    for (uint32_t id = 0; id < MANY; id++) {
        CHECK_EQ(look(&f.ix, id), id % 2 != 0 ? id : DS_ID_NONE);
        CHECK_EQ(ds_index_has(&f.ix, hash_of(&f.ix, id), id), id % 2 != 0);
    }
    CHECK_EQ(f.ix.entries, MANY / 2);
    CHECK_OK(ds_index_check(&f.ix));
    ds_segment_close(&f.seg);
}

DS_TEST(index_put__replaces_in_one_store)
{
    struct fixture f;
    uint64_t hash;

    begin(&f);
    publish(&f.ix, 1);
    hash = hash_of(&f.ix, 1);
    ds_index_put(&f.ix, hash, 1, DS_ID_NONE);
    ds_index_put(&f.ix, hash, 7, 1);
    CHECK(!ds_index_has(&f.ix, hash, 1));
    CHECK(ds_index_has(&f.ix, hash, 7));
    CHECK_EQ(f.ix.entries, 1);
    ds_segment_close(&f.seg);
}

/* All in one chain: what does not fit is left out and counted, never lost in silence. */
DS_TEST(index__counts_what_a_full_chain_cannot_take)
{
    struct fixture f;
    uint64_t hash = UINT64_C(0x1234567800000005);

    begin(&f);
    for (uint32_t id = 0; id < DS_CHAIN_MAX * DS_BUCKET_ENTRIES + 10; id++) {
        ds_index_put(&f.ix, hash, id, DS_ID_NONE);
    }
    CHECK_EQ(f.ix.unindexed, 10);
    CHECK_EQ(f.ix.entries, DS_CHAIN_MAX * DS_BUCKET_ENTRIES);
    CHECK(ds_index_maybe_present(&f.ix.map, hash ^ UINT64_C(1) << 60)); /* may lie behind the end */
    ds_segment_close(&f.seg);
}

DS_TEST(maybe_present__takes_a_moving_bucket_for_present)
{
    struct fixture f;

    begin(&f);
    CHECK(!ds_index_maybe_present(&f.ix.map, 99));
    ds_store_relaxed(&f.ix.header->moves, 1);
    CHECK(ds_index_maybe_present(&f.ix.map, 99));
    ds_segment_close(&f.seg);
}

DS_TEST(map_init__refuses_headers_that_point_outside)
{
    struct fixture f;
    struct ds_index_map m;
    struct ds_index_header good;
    struct ds_index_header *h;

    begin(&f);
    h = (void *)f.seg.base;
    memcpy((void *)&good, (const void *)h, sizeof(good));
    CHECK_OK(ds_index_map_init(&m, h, f.seg.size));
    CHECK_EQ(ds_index_map_init(&m, h, 4095), DS_ECORRUPT);
    CHECK_EQ(ds_index_map_init(&m, h, f.seg.size - 4096), DS_ECORRUPT);
#define BAD(field, value, code)                                                                    \
    h->field = (value);                                                                            \
    CHECK_EQ(ds_index_map_init(&m, h, f.seg.size), code);                                          \
    memcpy((void *)h, (const void *)&good, sizeof(good))
    BAD(magic, 1, DS_ECORRUPT);
    BAD(abi, 99, DS_EVERSION);
    BAD(bucket_offset, f.seg.size, DS_ECORRUPT);
    BAD(bucket_offset, UINT64_MAX - 63, DS_ECORRUPT);
    BAD(overflow_offset, 1, DS_ECORRUPT);
    BAD(desc_max, UINT32_MAX, DS_ECORRUPT);
    BAD(key_area_size, UINT64_MAX, DS_ECORRUPT);
    BAD(bucket_max, 1, DS_ECORRUPT); /* fewer than are in use */
#undef BAD
    ds_segment_close(&f.seg);
}

struct growth {
    struct fixture f;
    _Atomic uint32_t n;
    uint64_t hash[MANY];
};

/* The exact look of writers (W4): what is there is never taken for absent, whatever moves. */
static void *looker(void *arg)
{
    struct growth *g = arg;
    uint32_t n;

    while ((n = ds_load_acquire(&g->n)) < MANY) {
        for (uint32_t id = n > 50 ? n - 50 : 0; id < n; id++) {
            CHECK(ds_index_maybe_present(&g->f.ix.map, g->hash[id]));
            CHECK(ds_index_maybe_present(&g->f.ix.map, g->hash[id / 2]));
        }
    }
    return NULL;
}

DS_TEST(maybe_present__never_misses_while_the_index_grows)
{
    for (int round = 0; round < 5; round++) {
        struct growth *g = calloc(1, sizeof(*g));
        pthread_t t;

        CHECK(g != NULL);
        begin(&g->f);
        CHECK_EQ(pthread_create(&t, NULL, looker, g), 0);
        for (uint32_t id = 0; id < MANY; id++) {
            publish(&g->f.ix, id);
            g->hash[id] = hash_of(&g->f.ix, id);
            ds_index_put(&g->f.ix, g->hash[id], id, DS_ID_NONE);
            ds_store_release(&g->n, id + 1);
        }
        CHECK_EQ(pthread_join(t, NULL), 0);
        ds_segment_close(&g->f.seg);
        free(g);
    }
}

/* --- killed between two instructions --- */

static bool keep_all(void *arg, uint32_t id, uint32_t tag)
{
    (void)tag;
    return id < *(const uint32_t *)arg;
}

/* Takes over what a killed writer left and checks that all of 0 .. n-1 are in it, and n at most. */
static void take_over(struct fixture *f, uint32_t n)
{
    struct ds_index ix;
    uint32_t limit = n + 1;

    CHECK_OK(ds_index_attach(&ix, &f->seg));
    CHECK_OK(ds_index_need_desc(&ix, n));
    CHECK_OK(ds_index_need_keys(&ix, (n + UINT64_C(1)) * 64));
    for (uint32_t id = 0; id < n; id++) { /* readers, before any repair */
        CHECK(look(&f->ix, id) == id || (ds_load_relaxed(&ix.header->moves) & 1) != 0);
    }
    ds_index_sweep(&ix, keep_all, &limit);
    CHECK_EQ(ds_load_relaxed(&ix.header->moves) & 1, 0);
    CHECK_OK(ds_index_check(&ix));
    for (uint32_t id = 0; id < n; id++) {
        CHECK(ds_index_has(&ix, hash_of(&ix, id), id));
        CHECK_EQ(look(&ix, id), id);
    }
    CHECK_EQ(ix.entries, n + ds_index_has(&ix, hash_of(&ix, n), n));
    for (uint32_t id = n; id < n + 300; id++) { /* and it goes on */
        publish(&ix, id);
        if (!ds_index_has(&ix, hash_of(&ix, id), id)) {
            ds_index_put(&ix, hash_of(&ix, id), id, DS_ID_NONE);
        }
    }
    CHECK_EQ(ix.entries, n + 300);
    CHECK_OK(ds_index_check(&ix));
}

static uint64_t put_stepped(struct fixture *f, uint32_t id, uint64_t steps)
{
    uint64_t n = 0;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(77);
        }
        (void)raise(SIGSTOP);
        ds_index_put(&f->ix, hash_of(&f->ix, id), id, DS_ID_NONE);
        (void)raise(SIGSTOP);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status)) {
        DS_SKIP("no ptrace here");
    }
    while (WIFSTOPPED(status) && n < steps) {
        CHECK_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP) {
            break;
        }
        n++;
    }
    (void)kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return n;
}

DS_TEST_TIMEOUT(index__killed_inside_a_split_is_taken_over, 120)
{
    enum { RUNS = 60, FIRST = 5 * 256 };
    uint64_t x = ds_test_seed() | 1;
    uint64_t length = 0;

    for (uint64_t run = 0; run <= RUNS; run++) {
        struct fixture f;
        uint32_t n = FIRST + (uint32_t)(run % 4) * 5; /* the next put splits */
        uint64_t steps = UINT64_MAX;

        begin(&f);
        for (uint32_t id = 0; id < n; id++) {
            publish(&f.ix, id);
            ds_index_put(&f.ix, hash_of(&f.ix, id), id, DS_ID_NONE);
        }
        publish(&f.ix, n);
        if (run > 0) {
            steps = length * (run - 1) / RUNS + (x ^= x << 13, x ^= x >> 7, x ^= x << 17) % 40;
        }
        steps = put_stepped(&f, n, steps);
        length = run == 0 ? steps : length;
        if (run == 0) {
            CHECK_EQ(ds_load_relaxed(&f.ix.header->buckets), 257);
        }
        take_over(&f, n);
        ds_segment_close(&f.seg);
    }
}
