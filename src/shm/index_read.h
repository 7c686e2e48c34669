/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_read.h - looking into the index from any process, without a lock.
 *
 * The steps R1 to R7 (reader) and W4 (writer's exact look) of docs/concurrency.md. The index is
 * mapped read-only; its writer is the worker (index.h). A bucket entry is only a hint: what it
 * names is trusted after the pin and the second look at the generation, which the caller does (pin
 * first, then ds_index_recheck()).
 */
#ifndef DS_SHM_INDEX_READ_H
#define DS_SHM_INDEX_READ_H

#include <string.h>

#include "base/atomics.h"
#include "base/base.h"
#include "shm/layout.h"

#define DS_CHAIN_MAX 32u /* buckets of one chain; what would lie behind is not indexed */

/* Where things are in a mapped index; constant. */
struct ds_index_map {
    const struct ds_index_header *header;
    const struct ds_bucket *bucket;
    const struct ds_bucket *overflow;
    const struct ds_desc *desc;
    const uint8_t *base;
    uint64_t size;
    uint64_t seed;
    uint32_t desc_max;
    uint32_t overflow_max;
};

/* What a reader takes out of a descriptor. */
struct ds_found {
    uint64_t gen;
    uint64_t offset;
    uint64_t size;
    uint64_t meta;
    int64_t expiry_ns;
    uint32_t id;
};

/* Checks magic, ABI and that all areas lie inside: 0, DS_EVERSION, DS_ECORRUPT. */
DS_MUST_USE int ds_index_map_init(struct ds_index_map *map, const void *base, uint64_t size);

static inline const struct ds_bucket *ds_index_chain(const struct ds_index_map *m, uint64_t hash)
{
    uint64_t n = ds_load_acquire(&m->header->buckets); /* pairs with the split's release */

    return &m->bucket[ds_bucket_of(hash, n)];
}

static inline const struct ds_bucket *ds_index_chain_next(const struct ds_index_map *m,
                                                          const struct ds_bucket *b)
{
    uint64_t next = ds_load_acquire(&b->next);

    return next == 0 || next > m->overflow_max ? NULL : &m->overflow[next - 1];
}

/* Walks the entries of one hash. */
struct ds_index_iter {
    const struct ds_bucket *bucket;
    unsigned slot;
    unsigned chain;
};

static inline struct ds_index_iter ds_index_begin(const struct ds_index_map *m, uint64_t hash)
{
    return (struct ds_index_iter){.bucket = ds_index_chain(m, hash)};
}

/* R1: the next id under this hash, DS_ID_NONE at the end. */
static inline uint32_t ds_index_next(const struct ds_index_map *m, struct ds_index_iter *it,
                                     uint64_t hash)
{
    while (it->bucket != NULL) {
        while (it->slot < DS_BUCKET_ENTRIES) {
            uint64_t e = ds_load_acquire(&it->bucket->entry[it->slot++]); /* pairs with P7 */

            if (e >> 32 == hash >> 32 && (uint32_t)e != 0 && (uint32_t)e <= m->desc_max) {
                return (uint32_t)e - 1;
            }
        }
        it->slot = 0;
        it->chain++;
        it->bucket = it->chain < DS_CHAIN_MAX ? ds_index_chain_next(m, it->bucket) : NULL;
    }
    return DS_ID_NONE;
}

/* R2, R3: false if it is not published. */
static inline bool ds_index_load(const struct ds_index_map *m, uint32_t id, struct ds_found *f)
{
    const struct ds_desc *d = &m->desc[id];

    f->gen = ds_load_acquire(&d->gen); /* pairs with P6 */
    f->offset = ds_load_relaxed(&d->offset);
    f->size = ds_load_relaxed(&d->size);
    f->expiry_ns = ds_load_relaxed(&d->expiry_ns);
    f->meta = ds_load_relaxed(&d->meta);
    f->id = id;
    return (f->gen & 1) != 0;
}

/* R5, after the pin's full fence: the fields belong together and the object is pinned. */
static inline bool ds_index_recheck(const struct ds_index_map *m, const struct ds_found *f)
{
    return ds_load_acquire(&m->desc[f->id].gen) == f->gen;
}

/* R6, only while pinned. */
static inline bool ds_index_key_equal(const struct ds_index_map *m, const struct ds_found *f,
                                      const void *key, size_t key_size)
{
    const struct ds_desc *d = &m->desc[f->id];
    uint64_t offset;

    if (DS_META_KEY_SIZE(f->meta) != key_size) {
        return false;
    }
    if (key_size <= DS_KEY_INLINE) {
        return memcmp(d->key.bytes, key, key_size) == 0;
    }
    offset = d->key.offset;
    return offset <= m->size && key_size <= m->size - offset &&
           memcmp(m->base + offset, key, key_size) == 0;
}

/* W4: false only if no object of this hash was in the index at some moment after the call began.
 * A bucket on the move counts as present. The caller's record is posted and fenced before. */
static inline bool ds_index_maybe_present(const struct ds_index_map *m, uint64_t hash)
{
    uint64_t moves = ds_load_acquire(&m->header->moves);
    struct ds_index_iter it = ds_index_begin(m, hash);

    if ((moves & 1) != 0 || ds_index_next(m, &it, hash) != DS_ID_NONE || it.chain == DS_CHAIN_MAX) {
        return true;
    }
    ds_fence_acquire();
    return ds_load_relaxed(&m->header->moves) != moves;
}

#endif
