/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gone.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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

static struct ds_gone_table *made(void)
{
    struct ds_gone_table *g = calloc(1, sizeof(*g));

    CHECK(g != NULL);
    ds_gone_format(g);
    return g;
}

static void add(struct ds_gone_table *g, uint64_t key)
{
    ds_gone_add(g, hash_of(key), DS_GONE_DELETED + key % 7, (int64_t)key * MS, false);
}

static bool finds(const struct ds_gone_table *g, uint64_t key)
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
    struct ds_gone_table *g = made();

    CHECK(!finds(g, 0));
    for (uint64_t k = 0; k < 3 * (uint64_t)N; k++) {
        add(g, k);
        CHECK(finds(g, k));
        CHECK(k < N || !finds(g, k - N));
        CHECK(k < N - 1 || finds(g, k - (N - 1)));
    }
    for (uint64_t k = 0; k < 4 * (uint64_t)N; k++) {
        CHECK_EQ(finds(g, k), k >= 2 * (uint64_t)N && k < 3 * (uint64_t)N);
    }
    free(g);
}

DS_TEST(gone__tells_the_last_end_of_a_key)
{
    struct ds_gone_table *g = made();
    int64_t when;

    for (uint64_t i = 0; i < 1000; i++) {
        ds_gone_add(g, hash_of(1), DS_GONE_EVICTED, 1 * MS, false);
        add(g, i + 10);
    }
    ds_gone_add(g, hash_of(1), DS_GONE_EXPIRED, (INT64_C(1) << 62) + 5, false);
    CHECK_EQ(ds_gone_find(g, hash_of(1), &when), DS_GONE_EXPIRED);
    CHECK_EQ(when, (INT64_C(1) << 62) / MS * MS);
    free(g);
}

/* Keys of one bucket are told apart, and found behind each other. */
DS_TEST(gone__walks_a_long_chain)
{
    struct ds_gone_table *g = made();
    int64_t when;

    for (uint64_t i = 0; i < 100; i++) {
        ds_gone_add(g, i << 32 | 77, DS_GONE_EVICTED, (int64_t)i * MS, false);
    }
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_EQ(ds_gone_find(g, i << 32 | 77, &when), DS_GONE_EVICTED);
        CHECK_EQ(when, (int64_t)i * MS);
    }
    CHECK_EQ(ds_gone_find(g, UINT64_C(100) << 32 | 77, &when), DS_GONE_UNKNOWN);
    CHECK_EQ(ds_gone_find(g, UINT64_C(1) << 32 | 78, &when), DS_GONE_UNKNOWN);
    free(g);
}

DS_TEST(gone__numbers_may_wrap)
{
    struct ds_gone_table *g = made();

    for (uint64_t k = 0; k < N; k++) { /* numbers from 1 on stand in many buckets */
        add(g, k);
    }
    g->next = UINT32_MAX - N / 2;
    for (uint64_t k = N; k < 3 * (uint64_t)N; k++) {
        add(g, k);
        CHECK(finds(g, k) || g->next == 1); /* the one with number 0 is not found */
    }
    for (uint64_t k = 0; k < 2 * (uint64_t)N; k++) {
        CHECK(!finds(g, k)); /* and comes to an end */
    }
    free(g);
}

/* An entry may name one of 2^32 keys ago, whose number a newer one has by now: a circle. */
DS_TEST(gone__numbers_that_wrap_make_no_circle)
{
    struct ds_gone_table *g = made();
    int64_t when;

    for (unsigned era = 0; era < 2; era++) {
        g->next = 1;
        for (uint64_t number = 1; number <= 200; number++) {
            bool ours = number == 200 || (number == 100 && era == 1);

            ds_gone_add(g, number << 32 | (ours ? 5 : 6), DS_GONE_EVICTED, 0, false);
        }
    }
    CHECK_EQ(g->entry[100].before, 200);
    CHECK_EQ(g->entry[200].before, 100);
    CHECK_EQ(ds_gone_find(g, UINT64_C(1000) << 32 | 5, &when), DS_GONE_UNKNOWN);
    CHECK_EQ(ds_gone_find(g, UINT64_C(100) << 32 | 5, &when), DS_GONE_EVICTED);
    free(g);
}

DS_TEST(gone__tells_whether_an_older_value_shows)
{
    struct ds_gone_table *g = made();
    int64_t when;

    CHECK(!ds_gone_shows(g, hash_of(1)));
    ds_gone_hide(g, hash_of(1));
    ds_gone_add(g, hash_of(1), DS_GONE_EVICTED, 5 * MS, true);
    ds_gone_add(g, hash_of(2), DS_GONE_EVICTED, 6 * MS, true);
    CHECK(ds_gone_shows(g, hash_of(1)));
    CHECK_EQ(ds_gone_find(g, hash_of(1), &when), DS_GONE_EVICTED);
    ds_gone_hide(g, hash_of(1));
    CHECK(!ds_gone_shows(g, hash_of(1)));
    CHECK(ds_gone_shows(g, hash_of(2)));
    CHECK_EQ(ds_gone_find(g, hash_of(1), &when), DS_GONE_EVICTED);
    CHECK_EQ(when, 5 * MS);
    ds_gone_add(g, hash_of(2), DS_GONE_DELETED, 7 * MS, false);
    CHECK(!ds_gone_shows(g, hash_of(2)));
    free(g);
}

#ifdef DS_FAILPOINTS
/* A key of the bucket of key 5 is added by a process that is killed at each step: it alone is not
 * remembered. */
DS_TEST(gone__a_kill_costs_one_key)
{
    static const char *const points[] = {"gone.numbered=kill", "gone.written=kill"};
    uint64_t hash = hash_of(5) ^ UINT64_C(1) << 63;
    int64_t when;
    struct ds_gone_table *g =
        mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(g != MAP_FAILED);
    for (size_t i = 0; i < 2; i++) {
        pid_t pid;
        int status;

        memset(g, 0, sizeof(*g));
        ds_gone_format(g);
        for (uint64_t k = 0; k < N; k++) {
            add(g, k);
        }
        pid = fork();
        if (pid == 0) {
            ds_failpoint_arm(points[i]);
            ds_gone_add(g, hash, DS_GONE_EVICTED, 0, false);
            _exit(0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status));
        CHECK_EQ(ds_gone_find(g, hash, &when), DS_GONE_UNKNOWN);
        for (uint64_t k = 1; k < N; k++) {
            CHECK(finds(g, k));
        }
        add(g, N);
        CHECK(finds(g, N));
    }
    CHECK_OK(munmap(g, sizeof(*g)));
}
#endif
