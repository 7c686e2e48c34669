/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.h - the index segment as its only writer, the worker, sees it.
 *
 * A hash table (linear hashing, Litwin 1980: grows by one bucket at a time, so no insert ever pays
 * for a rehash), the descriptors, and the area of long keys. The index is a projection: the worker
 * decides nothing by what it reads here. Only key bytes live here alone; the record's check covers
 * them.
 *
 * Ownership: the index borrows its segment.
 * Threads:   one. Readers in other processes look at the same time: index_read.h.
 */
#ifndef DS_SHM_INDEX_H
#define DS_SHM_INDEX_H

#include "shm/index_read.h"
#include "shm/segment.h"

struct ds_index {
    struct ds_index_map map;
    struct ds_index_header *header;
    struct ds_bucket *bucket;
    struct ds_bucket *overflow;
    struct ds_desc *desc;
    uint8_t *keys; /* the key area */
    struct ds_area area_bucket;
    struct ds_area area_overflow;
    struct ds_area area_desc;
    struct ds_area area_key;
    uint32_t overflow_used; /* overflow buckets below were used once */
    uint32_t overflow_free; /* list through `next`: number + 1; 0 = none */
    uint64_t entries;
    uint64_t unindexed; /* objects left out because their chain is full */
};

/* Segment size for a data segment of `data_size` bytes. */
uint64_t ds_index_size(uint64_t data_size);

/* Lays out an empty index in a fresh segment. DS_ENOMEM. */
DS_MUST_USE int ds_index_format(struct ds_index *ix, struct ds_segment *seg, uint64_t data_size,
                                uint64_t seed);

/* Takes over the index that an earlier worker left. Its buckets are emptied and filled again by the
 * caller's inserts, or kept: see ds_index_reset(). DS_ECORRUPT, DS_EVERSION. */
DS_MUST_USE int ds_index_attach(struct ds_index *ix, struct ds_segment *seg);

/* Memory for the descriptor of `id`; for keys up to byte `end` of the key area. DS_ENOMEM. */
DS_MUST_USE int ds_index_need_desc(struct ds_index *ix, uint32_t id);
DS_MUST_USE int ds_index_need_keys(struct ds_index *ix, uint64_t end);

uint64_t ds_index_hash(const struct ds_index *ix, const void *key, size_t key_size);

/* The key of a descriptor, bounds-checked; NULL if it does not lie inside. */
const uint8_t *ds_index_key(const struct ds_index *ix, uint32_t id, uint32_t key_size);

/* Writes the key of a descriptor that is not published; `key_offset`: its block in the key area,
 * for keys longer than DS_KEY_INLINE. */
void ds_index_write_key(struct ds_index *ix, uint32_t id, const void *key, uint32_t key_size,
                        uint64_t key_offset);

/* The key block of a descriptor with a long key: offset in the key area. */
uint64_t ds_index_key_block(const struct ds_index *ix, uint32_t id);

/* P7. `old` = DS_ID_NONE inserts; else the entry of `old` becomes that of `id` in one store, so
 * that the key is never absent. May split a bucket. */
void ds_index_put(struct ds_index *ix, uint64_t hash, uint32_t id, uint32_t old);

/* U2. An id that is not there is a no-op. */
void ds_index_remove(struct ds_index *ix, uint64_t hash, uint32_t id);

/* True if the bucket names this id. */
bool ds_index_has(const struct ds_index *ix, uint64_t hash, uint32_t id);

/* Recovery: removes all entries for which keep(arg, id, hash) is false, and counts the rest. */
typedef bool ds_index_keep(void *arg, uint32_t id, uint32_t tag);
void ds_index_sweep(struct ds_index *ix, ds_index_keep *keep, void *arg);

/* Walks everything: 0, or DS_ECORRUPT for a wrong count, a double entry or a broken chain. */
DS_MUST_USE int ds_index_check(const struct ds_index *ix);

#endif
