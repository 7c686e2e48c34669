/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ghost.h"

#include "base/failpoint.h"
#include "harness/ds_test.h"

#define N 10000u
#define WINDOW (UINT64_C(100) * N)

/* Fingerprint and bucket differ from key to key. */
static uint32_t hash_of(uint32_t key)
{
    return key * 2654435761u;
}

static void add_all(struct ds_ghost *g, uint32_t from, uint32_t to)
{
    for (uint32_t k = from; k < to; k++) {
        ds_ghost_add(g, hash_of(k), 100, WINDOW, N);
    }
}

static unsigned take_all(struct ds_ghost *g, uint32_t from, uint32_t to)
{
    unsigned n = 0;

    for (uint32_t k = from; k < to; k++) {
        n += ds_ghost_take(g, hash_of(k));
    }
    return n;
}

DS_TEST(ghost__remembers_a_window_of_bytes_and_no_more)
{
    struct ds_ghost g;

    CHECK_OK(ds_ghost_init(&g));
    CHECK_EQ(take_all(&g, 0, N), 0);
    add_all(&g, 0, 3 * N);
    CHECK_GE(take_all(&g, 2 * N, 3 * N), N * 99 / 100); /* a few buckets were full */
    CHECK_LE(take_all(&g, 2 * N, 3 * N), N / 1000);     /* each once: others by chance */
    CHECK_LE(take_all(&g, 0, 2 * N - N / 32), 2 * N / 1000);
    ds_ghost_fini(&g);
    ds_ghost_fini(&g);
}

DS_TEST(ghost__forgets_by_bytes_not_by_number)
{
    struct ds_ghost g;

    CHECK_OK(ds_ghost_init(&g));
    add_all(&g, 0, 10);
    ds_ghost_add(&g, hash_of(N), WINDOW - 2000, WINDOW, N); /* big, but within the window */
    CHECK_EQ(take_all(&g, 0, 5), 5);
    ds_ghost_add(&g, hash_of(N + 1), WINDOW, WINDOW, N);
    CHECK_EQ(take_all(&g, 5, 10), 0);
    CHECK(ds_ghost_take(&g, hash_of(N + 1)));
    ds_ghost_add(&g, hash_of(1), 1, 0, N); /* no window yet: no division by it */
    CHECK(ds_ghost_take(&g, hash_of(1)));
    add_all(&g, 0, 10);                        /* 1000 bytes of the next generation */
    ds_ghost_add(&g, hash_of(N), 64536, 1, N); /* 2^16 generations at once: no wrap to fresh */
    CHECK_EQ(take_all(&g, 0, 10), 0);
    ds_ghost_fini(&g);
}

DS_TEST(ghost__grows_with_the_objects_and_keeps_what_it_has)
{
    struct ds_ghost g;
    uint64_t start;

    CHECK_OK(ds_ghost_init(&g));
    start = g.buckets;
    for (uint32_t k = 0; k < 20; k++) {
        ds_ghost_add(&g, hash_of(k), 100, WINDOW, 20);
    }
    CHECK_EQ(g.buckets, start);
    ds_ghost_add(&g, hash_of(20), 100, WINDOW, N);
    CHECK_EQ(g.buckets, 2 * start); /* one step a call */
    CHECK_EQ(take_all(&g, 0, 21), 21);
    add_all(&g, 0, N);
    CHECK_GE(g.buckets * 16, 2 * N);
    CHECK_LT(g.buckets * 16, 4 * N + 1);
    ds_ghost_fini(&g);
}

#ifdef DS_FAILPOINTS
DS_TEST(ghost__that_cannot_grow_keeps_its_newest)
{
    struct ds_ghost g;
    uint64_t start;

    ds_failpoint_arm("alloc=errno:12");
    CHECK_EQ(ds_ghost_init(&g), DS_ENOMEM);
    ds_failpoint_arm(NULL);
    CHECK_OK(ds_ghost_init(&g));
    start = g.buckets;
    ds_failpoint_arm("alloc=errno:12");
    add_all(&g, 0, N);
    CHECK_EQ(g.buckets, start);
    CHECK_GE(take_all(&g, N - 20, N), 12);
    ds_failpoint_arm(NULL);
    ds_ghost_fini(&g);
}
#endif
