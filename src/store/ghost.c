/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ghost.h"

#include <string.h>

#include "base/alloc.h"

#define WAYS 16u /* entries of a bucket: one cache line */
#define GENERATIONS 64u
#define BUCKETS_START 4u

static uint32_t fingerprint(uint32_t hash)
{
    return ds_max_u64(hash >> 16, 1) << 16 & UINT32_MAX;
}

static uint32_t *bucket(const struct ds_ghost *g, uint32_t hash)
{
    /* the upper half of a product depends on all bits: independent of the fingerprint */
    uint64_t mixed = hash * UINT64_C(0x9e3779b97f4a7c15) >> 32;

    return &g->entry[(mixed & (g->buckets - 1)) * WAYS];
}

static uint16_t age(const struct ds_ghost *g, uint32_t entry)
{
    return (uint16_t)(g->generation - (entry & 0xffff));
}

int ds_ghost_init(struct ds_ghost *g)
{
    *g = (struct ds_ghost){.buckets = BUCKETS_START};
    g->entry = ds_zalloc(BUCKETS_START * WAYS * sizeof(*g->entry), "ghosts");
    return g->entry == NULL ? DS_ENOMEM : 0;
}

void ds_ghost_fini(struct ds_ghost *g)
{
    ds_free(g->entry);
    *g = (struct ds_ghost){0};
}

/* An entry does not say which half it belongs to: it goes into both, and ages in the wrong one. */
static void grow(struct ds_ghost *g)
{
    size_t half = g->buckets * WAYS;
    uint32_t *entry = ds_realloc_array(g->entry, 2 * half, sizeof(*entry), "ghosts");

    if (entry != NULL) {
        memcpy(entry + half, entry, half * sizeof(*entry));
        g->entry = entry;
        g->buckets *= 2;
    }
}

static void pass_time(struct ds_ghost *g, uint64_t bytes, uint64_t window)
{
    uint64_t step = ds_max_u64(window / GENERATIONS, 1);

    g->filled += bytes;
    g->generation = (uint16_t)(g->generation + ds_min_u64(g->filled / step, GENERATIONS + 1));
    g->filled %= step;
}

void ds_ghost_add(struct ds_ghost *g, uint32_t hash, uint64_t size, uint64_t window,
                  uint64_t objects)
{
    uint32_t print = fingerprint(hash);
    uint32_t *b;
    uint32_t *into;
    unsigned turn = g->turn++; /* or all of one age would replace each other in one place */

    if (2 * objects > g->buckets * WAYS) {
        grow(g);
    }
    pass_time(g, size, window);
    b = bucket(g, hash);
    into = &b[turn % WAYS];
    for (unsigned i = 0; i < WAYS; i++) {
        uint32_t *at = &b[(turn + i) % WAYS];

        if ((*at & 0xffff0000u) == print) { /* or the same twice, and one never found */
            into = at;
            break;
        }
        if (*into != 0 && (*at == 0 || age(g, *at) > age(g, *into))) {
            into = at;
        }
    }
    *into = print | g->generation;
}

bool ds_ghost_take(struct ds_ghost *g, uint32_t hash)
{
    uint32_t print = fingerprint(hash);
    uint32_t *b = bucket(g, hash);

    for (unsigned i = 0; i < WAYS; i++) {
        if ((b[i] & 0xffff0000u) == print) {
            bool fresh = age(g, b[i]) <= GENERATIONS;

            b[i] = 0;
            return fresh;
        }
    }
    return false;
}
