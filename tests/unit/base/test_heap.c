/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include "base/failpoint.h"
#include "harness/ds_test.h"

#define N 3000

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static bool even(void *arg, const struct ds_heap_item *item)
{
    (void)arg;
    return item->id % 2 == 0;
}

/* Pops everything: n items, in order, each tag with its time. */
static void drain(struct ds_heap *h, size_t n)
{
    struct ds_heap_item item;
    int64_t last = INT64_MIN;

    while (h->n > 0) {
        CHECK_EQ(ds_heap_next(h), h->items[0].time);
        CHECK(!ds_heap_pop_due(h, ds_heap_next(h) - 1, &item)); /* not yet */
        CHECK(ds_heap_pop_due(h, ds_heap_next(h), &item));
        CHECK_GE(item.time, last);
        CHECK_EQ(item.tag, (uint64_t)item.time * 3);
        last = item.time;
        n--;
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(ds_heap_next(h), INT64_MAX);
    CHECK(!ds_heap_pop_due(h, INT64_MAX, &item));
}

static void fill(struct ds_heap *h, uint64_t *x)
{
    for (uint64_t i = 0; i < N; i++) {
        int64_t time = (int64_t)(next(x) % 1000); /* many are equal */

        CHECK_OK(ds_heap_push(h, time, i, (uint64_t)time * 3));
    }
}

DS_TEST(heap__gives_items_in_the_order_of_time)
{
    struct ds_heap h = {0};
    uint64_t x = ds_test_seed() | 1;

    fill(&h, &x);
    drain(&h, N);
    ds_heap_fini(&h);
}

DS_TEST(heap_filter__keeps_the_rest_in_order)
{
    struct ds_heap h = {0};
    uint64_t x = ds_test_seed() | 1;

    ds_heap_filter(&h, even, NULL);
    CHECK_EQ(h.n, 0);
    fill(&h, &x);
    ds_heap_filter(&h, even, NULL);
    CHECK_EQ(h.n, N / 2);
    for (size_t i = 0; i < h.n; i++) {
        CHECK_EQ(h.items[i].id % 2, 0);
    }
    drain(&h, N / 2);
    ds_heap_fini(&h);
}

#ifdef DS_FAILPOINTS
DS_TEST(heap_push__without_memory_changes_nothing)
{
    struct ds_heap h = {0};

    ds_failpoint_arm("alloc=errno:12");
    CHECK_EQ(ds_heap_push(&h, 1, 1, 3), DS_ENOMEM);
    ds_failpoint_arm(NULL);
    CHECK_EQ(h.n, 0);
    for (int i = 0; i < 64; i++) {
        CHECK_OK(ds_heap_push(&h, i, 1, (uint64_t)i * 3));
    }
    ds_failpoint_arm("alloc=errno:12");
    CHECK_EQ(ds_heap_push(&h, 1, 1, 3), DS_ENOMEM);
    ds_failpoint_arm(NULL);
    drain(&h, 64);
    ds_heap_fini(&h);
}
#endif
