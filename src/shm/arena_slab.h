/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_slab.h - the small-block level of the arena: slabs of equal blocks, one bit per block.
 *
 * Private to the arena: include it from arena*.c and its tests only.
 *
 * Ownership: the caller owns both structs; the page level passed in must be the same one each time.
 * Threads:   one.
 * Errors:    0 or a negative DS_E* code. Wrong arguments are caught by assertions.
 */
#ifndef DS_SHM_ARENA_SLAB_H
#define DS_SHM_ARENA_SLAB_H

#include "shm/arena_pages.h"
#include "shm/size_class.h"

struct ds_slab_class {
    struct ds_size_class size;
    uint32_t partial; /* list of slabs with free and used blocks: first page plus one, or 0 */
    uint32_t empty;   /* a slab kept although nothing is used in it, likewise */
    uint32_t recent; /* the block freed last: slab plus one, or 0; not set where it is used again */
    uint32_t recent_block;
};

struct ds_slabs {
    uint64_t *bits;      /* one bit per unit of the segment, 1 = free; costs only where slabs are */
    uint64_t bits_size;  /* bytes mapped */
    uint64_t slab_pages; /* pages in slabs */
    uint64_t used;       /* bytes in used blocks */
    uint32_t unit;
    uint32_t page_words;                           /* words of `bits` per page: 1 or 2 */
    uint64_t empties[(DS_SIZE_CLASSES + 63) / 64]; /* bit c: cls[c].empty != 0 */
    struct ds_slab_class cls[DS_SIZE_CLASSES];
};

DS_MUST_USE int ds_slabs_init(struct ds_slabs *ss, uint32_t unit, uint32_t page_count);
void ds_slabs_fini(struct ds_slabs *ss);

/* A block of class `cls`. DS_ENOMEM: no block is free and the page level has no room. */
DS_MUST_USE int ds_slabs_alloc(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint64_t *ret);

void ds_slabs_free(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint64_t offset);

/* Gives the empty slabs back to the page level. Did that free anything? */
bool ds_slabs_trim(struct ds_slabs *ss, struct ds_pages *ps);

/* For rebuilding: the slab that a block at `offset`, which is usable, lies in, whether that slab
 * exists or not. DS_ECORRUPT: no block of that class can begin there. */
DS_MUST_USE int ds_slabs_locate(const struct ds_slabs *ss, const struct ds_pages *ps, int cls,
                                uint64_t offset, uint32_t *ret_slab);

/* For rebuilding: makes a slab of a range that nothing else uses; all its blocks are free. */
void ds_slabs_create(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint32_t slab);

/* For rebuilding: uses the block at `offset` of an existing slab. DS_ECORRUPT: the slab at that
 * place is of another class, or the block is used. */
DS_MUST_USE int ds_slabs_claim(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint32_t slab,
                               uint64_t offset);

/* Walks all slabs and lists. 0 or DS_ECORRUPT. */
DS_MUST_USE int ds_slabs_check(const struct ds_slabs *ss, const struct ds_pages *ps);

#endif
