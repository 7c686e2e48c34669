/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gone.h"

#include "base/failpoint.h"
#include "harness/ds_test.h"

#define N DS_GONE_KEYS
#define MS INT64_C(1000000)

/* Spread over all bits, as a key's hash is. */
static uint64_t hash_of(uint64_t key)
{
    uint64_t h = (key + 1) * UINT64_C(0x9e3779b97f4a7c15);

    h ^= h >> 32;
    return h * UINT64_C(0xd6e8feb86659fd93);
}

static void add(struct ds_gone_record *g, uint64_t key)
{
    ds_gone_add(g, hash_of(key), DS_GONE_DELETED + key % 7, (int64_t)key * MS);
}

static bool finds(const struct ds_gone_record *g, uint64_t key)
{
    int64_t when = -1;
    enum ds_gone why = ds_gone_find(g, hash_of(key), &when);

    if (why != DS_GONE_UNKNOWN) {
        CHECK_EQ(why, DS_GONE_DELETED + key % 7);
        CHECK_EQ(when, (int64_t)key * MS);
    }
    return why != DS_GONE_UNKNOWN;
}

DS_TEST(gone__remembers_the_last_keys_and_no_more)
{
    struct ds_gone_record g;

    CHECK_OK(ds_gone_init(&g));
    CHECK(!finds(&g, 0));
    for (uint64_t k = 0; k < 3 * (uint64_t)N; k++) {
        add(&g, k);
        CHECK(finds(&g, k));
        CHECK(k < N || !finds(&g, k - N));
        CHECK(k < N - 1 || finds(&g, k - (N - 1)));
    }
    for (uint64_t k = 0; k < 4 * (uint64_t)N; k++) {
        CHECK_EQ(finds(&g, k), k >= 2 * (uint64_t)N && k < 3 * (uint64_t)N);
    }
    ds_gone_fini(&g);
    ds_gone_fini(&g);
}

DS_TEST(gone__tells_the_last_end_of_a_key)
{
    struct ds_gone_record g;
    int64_t when;

    CHECK_OK(ds_gone_init(&g));
    for (uint64_t i = 0; i < 1000; i++) {
        ds_gone_add(&g, hash_of(1), DS_GONE_EVICTED, 1 * MS);
        add(&g, i + 10);
    }
    ds_gone_add(&g, hash_of(1), DS_GONE_EXPIRED, (INT64_C(1) << 62) + 5);
    CHECK_EQ(ds_gone_find(&g, hash_of(1), &when), DS_GONE_EXPIRED);
    CHECK_EQ(when, (INT64_C(1) << 62) / MS * MS);
    ds_gone_fini(&g);
}

/* Keys of one bucket are told apart, and found behind each other. */
DS_TEST(gone__walks_a_long_chain)
{
    struct ds_gone_record g;
    int64_t when;

    CHECK_OK(ds_gone_init(&g));
    for (uint64_t i = 0; i < 100; i++) {
        ds_gone_add(&g, i << 32 | 77, DS_GONE_EVICTED, (int64_t)i * MS);
    }
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_EQ(ds_gone_find(&g, i << 32 | 77, &when), DS_GONE_EVICTED);
        CHECK_EQ(when, (int64_t)i * MS);
    }
    CHECK_EQ(ds_gone_find(&g, UINT64_C(100) << 32 | 77, &when), DS_GONE_UNKNOWN);
    CHECK_EQ(ds_gone_find(&g, UINT64_C(1) << 32 | 78, &when), DS_GONE_UNKNOWN);
    ds_gone_fini(&g);
}

DS_TEST(gone__numbers_may_wrap)
{
    struct ds_gone_record g;

    CHECK_OK(ds_gone_init(&g));
    for (uint64_t k = 0; k < N; k++) { /* numbers from 1 on stand in many buckets */
        add(&g, k);
    }
    g.next = UINT32_MAX - N / 2;
    for (uint64_t k = N; k < 3 * (uint64_t)N; k++) {
        add(&g, k);
        CHECK(finds(&g, k) || g.next == 1); /* the one with number 0 is not found */
    }
    for (uint64_t k = 0; k < 2 * (uint64_t)N; k++) {
        CHECK(!finds(&g, k)); /* and comes to an end */
    }
    ds_gone_fini(&g);
}

/* An entry may name one of 2^32 keys ago, whose number a newer one has by now: a circle. */
DS_TEST(gone__numbers_that_wrap_make_no_circle)
{
    struct ds_gone_record g;
    int64_t when;

    CHECK_OK(ds_gone_init(&g));
    for (unsigned era = 0; era < 2; era++) {
        g.next = 1;
        for (uint64_t number = 1; number <= 200; number++) {
            bool ours = number == 200 || (number == 100 && era == 1);

            ds_gone_add(&g, number << 32 | (ours ? 5 : 6), DS_GONE_EVICTED, 0);
        }
    }
    CHECK_EQ(g.entry[100].before, 200);
    CHECK_EQ(g.entry[200].before, 100);
    CHECK_EQ(ds_gone_find(&g, UINT64_C(1000) << 32 | 5, &when), DS_GONE_UNKNOWN);
    CHECK_EQ(ds_gone_find(&g, UINT64_C(100) << 32 | 5, &when), DS_GONE_EVICTED);
    ds_gone_fini(&g);
}

#ifdef DS_FAILPOINTS
DS_TEST(gone__without_memory_does_not_begin)
{
    struct ds_gone_record g;

    ds_failpoint_arm("sys.map_private=errno:12");
    CHECK_EQ(ds_gone_init(&g), DS_ENOMEM);
    ds_failpoint_arm(NULL);
    CHECK(g.entry == NULL && g.newest == NULL);
}
#endif
