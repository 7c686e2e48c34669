/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gone.h"

#include "base/atomics.h"
#include "base/failpoint.h"

#define NS_PER_MS 1000000
#define WHAT_WHY UINT64_C(0x7f)
#define WHAT_SHOWS UINT64_C(0x80)
#define WHAT_SHIFT 8

_Static_assert(DS_GONE_ENTRIES == DS_GONE_KEYS, "what <ds/kv.h> promises");
_Static_assert((DS_GONE_ENTRIES & (DS_GONE_ENTRIES - 1)) == 0, "numbers go round a power of two");

void ds_gone_format(struct ds_gone_table *g)
{
    ds_store_relaxed(&g->next, 1);
}

/* A kill between two of the stores: a number is left out, or its entry is in no chain. */
void ds_gone_add(struct ds_gone_table *g, uint64_t hash, enum ds_gone why, int64_t when_ns,
                 bool shows)
{
    uint32_t number = ds_load_relaxed(&g->next);
    _Atomic uint32_t *newest = &g->newest[hash % DS_GONE_ENTRIES];
    struct ds_gone_entry *e = &g->entry[number % DS_GONE_ENTRIES];

    ds_store_release(&g->next, number + 1); /* too old for every chain from here on */
    atomic_signal_fence(memory_order_seq_cst);
    (void)ds_failpoint("gone.numbered");
    e->tag = (uint32_t)(hash >> 32);
    e->before = ds_load_relaxed(newest);
    ds_store_relaxed(&e->what, (uint64_t)(when_ns / NS_PER_MS) << WHAT_SHIFT |
                                   (shows ? WHAT_SHOWS : 0) | (uint64_t)why);
    (void)ds_failpoint("gone.written");
    ds_store_release(newest, number);
}

/* Numbers wrap after 2^32 keys. An old one may pass for a new one then: the chain it leads into is
 * a wrong one, whose tags differ; and since each step must go to an older key, it ends. */
static uint32_t find(const struct ds_gone_table *g, uint64_t hash)
{
    uint32_t next = ds_load_relaxed(&g->next);
    uint32_t number = ds_load_relaxed(&g->newest[hash % DS_GONE_ENTRIES]);
    uint32_t age = 0;

    while (number != 0 && next - number > age && next - number <= DS_GONE_ENTRIES) {
        const struct ds_gone_entry *e = &g->entry[number % DS_GONE_ENTRIES];

        if (e->tag == (uint32_t)(hash >> 32)) {
            return number;
        }
        age = next - number;
        number = e->before;
    }
    return 0;
}

enum ds_gone ds_gone_find(const struct ds_gone_table *g, uint64_t hash, int64_t *ret_when_ns)
{
    uint32_t number = find(g, hash);
    uint64_t what = ds_load_relaxed(&g->entry[number % DS_GONE_ENTRIES].what);

    if (number == 0) {
        return DS_GONE_UNKNOWN;
    }
    *ret_when_ns = (int64_t)(what >> WHAT_SHIFT) * NS_PER_MS;
    return (enum ds_gone)(what & WHAT_WHY);
}

bool ds_gone_shows(const struct ds_gone_table *g, uint64_t hash)
{
    uint32_t number = find(g, hash);

    return number != 0 &&
           (ds_load_relaxed(&g->entry[number % DS_GONE_ENTRIES].what) & WHAT_SHOWS) != 0;
}

void ds_gone_hide(struct ds_gone_table *g, uint64_t hash)
{
    uint32_t number = find(g, hash);
    _Atomic uint64_t *what = &g->entry[number % DS_GONE_ENTRIES].what;

    if (number != 0) {
        ds_store_relaxed(what, ds_load_relaxed(what) & ~WHAT_SHOWS);
    }
}
