/* SPDX-License-Identifier: Apache-2.0 */
#include "store/table.h"

#include <stdlib.h>

#include "harness/ds_test.h"

#define MAX 20000u

static uint64_t hash_of(uint32_t id)
{
    return (id / 3) * UINT64_C(0x9e3779b97f4a7c15) >> 16; /* three to a hash */
}

static unsigned count(const struct ds_table *t, uint32_t id)
{
    unsigned n = 0;
    bool found = false;

    for (uint32_t at = ds_table_first(t, hash_of(id)); at != DS_ID_NONE;
         at = ds_table_next(t, hash_of(id), at)) {
        found = found || at == id;
        n++;
    }
    return found ? n : 0;
}

DS_TEST(table__finds_what_was_inserted_while_it_grows_and_nothing_else)
{
    struct ds_table t;
    bool *in = calloc(MAX, sizeof(*in));
    uint64_t x = ds_test_seed() | 1;
    uint64_t n = 0;

    CHECK(in != NULL);
    CHECK_OK(ds_table_init(&t, MAX));
    for (unsigned i = 0; i < 8 * MAX; i++) {
        uint32_t id = (uint32_t)((x ^= x << 13, x ^= x >> 7, x ^= x << 17) % MAX);

        if (in[id] && i % 3 == 0) {
            ds_table_remove(&t, hash_of(id), id);
            in[id] = false;
            n--;
        } else if (!in[id]) {
            ds_table_insert(&t, hash_of(id), id);
            in[id] = true;
            n++;
        }
        CHECK_EQ(count(&t, id) > 0, in[id]);
    }
    CHECK_EQ(t.n, n);
    CHECK_GT(t.buckets, 256);
    for (uint32_t id = 0; id < MAX; id++) {
        uint32_t first = id - id % 3;
        unsigned want = 0;

        for (uint32_t k = first; k < first + 3 && k < MAX; k++) {
            want += in[k];
        }
        CHECK_EQ(count(&t, id), in[id] ? want : 0);
        if (in[id]) {
            n--;
        }
    }
    CHECK_EQ(n, 0);
    ds_table_fini(&t);
    free(in);
}

DS_TEST(table__of_full_size_holds_every_number)
{
    struct ds_table t;

    CHECK_OK(ds_table_init(&t, 1000));
    for (uint32_t id = 0; id < 1000; id++) {
        ds_table_insert(&t, 7, id); /* all under one hash */
    }
    CHECK_EQ(t.n, 1000);
    for (uint32_t id = 0; id < 1000; id++) {
        ds_table_remove(&t, 7, id);
    }
    CHECK_EQ(ds_table_first(&t, 7), DS_ID_NONE);
    ds_table_fini(&t);
    ds_table_fini(&t);
}
