/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - the allocator of a sparse shared-memory segment.
 *
 * It hands out byte offsets and never touches the segment: clients can write there, so all that it
 * knows is in private memory: 16 bytes per usable page of 4 KiB, and 1 bit per unit where there are
 * slabs. What is not usable yet costs address space only.
 *
 * Blocks up to DS_SMALL_MAX come from slabs, in classes; larger blocks are whole pages
 * (size_class.h). Offset 0 is a block like any other. alloc and free take O(1) steps.
 *
 * Ownership: the arena owns its private memory, nothing in the segment.
 * Threads:   one at a time. No locks, no file-scope state.
 * Errors:    0 or a negative DS_E* code; *ret is written on success only. Offsets and sizes given
 *            to free are the worker's own numbers: wrong ones, and double frees, are caught by
 *            assertions. Those given to claim are input, and answered with an error.
 */
#ifndef DS_SHM_ARENA_H
#define DS_SHM_ARENA_H

#include <ds/types.h>
#include <stdint.h>

#include "shm/size_class.h"

struct ds_arena;

/* usable == used + slab_slack + free, always. All in bytes. */
struct ds_arena_stats {
    uint64_t size;
    uint64_t usable;
    uint64_t used;         /* capacities of the allocated blocks */
    uint64_t slab_slack;   /* in slabs, but not in allocated blocks: serves small blocks only */
    uint64_t free;         /* in free pages: serves any block, as far as it is contiguous */
    uint64_t largest_free; /* one free run; may be up to 1/32 too low */
};

/* An arena over [0, size) of which nothing is usable yet: see ds_arena_grow(). `unit` is 32 or 64:
 * every offset and capacity is a multiple of it. DS_EINVAL: bad size (not a positive multiple of
 * 4096, or above 8 TiB) or unit. DS_ENOMEM. */
DS_MUST_USE int ds_arena_create(uint64_t size, uint32_t unit, struct ds_arena **ret);

/* NULL is a no-op. Returns NULL. */
struct ds_arena *ds_arena_destroy(struct ds_arena *a);

/* A block of ds_arena_capacity(unit, size) bytes. DS_ENOMEM: none; blocks of other sizes may still
 * be had, whatever the statistics say. */
DS_MUST_USE int ds_arena_alloc(struct ds_arena *a, uint64_t size, uint64_t *ret_offset);

/* `size` is the block's size as asked for, its capacity, or anything between. */
void ds_arena_free(struct ds_arena *a, uint64_t offset, uint64_t size);

/* The first `usable` bytes, rounded down to pages, have memory behind them now. Less than before
 * is a no-op; more than the segment's size is its size. Allowed at any time. Touches the private
 * memory of the new part, 2 ms per GiB: so the caller grows in steps. */
void ds_arena_grow(struct ds_arena *a, uint64_t usable);

/* After a restart, in an arena without any block: this block is allocated. Blocks come in any
 * order and must be usable, so grow first. The first claim begins the rebuilding, if
 * ds_arena_begin_claims() has not; during that only claim, grow, stats and destroy are allowed.
 * DS_ECORRUPT: no allocation can have given that block, or it overlaps an earlier claim; nothing
 * has changed. DS_ENOMEM: no private memory, on the first claim only. */
DS_MUST_USE int ds_arena_claim(struct ds_arena *a, uint64_t offset, uint64_t size);

/* So that no claim can fail for lack of memory: DS_ENOMEM, and nothing has changed. */
DS_MUST_USE int ds_arena_begin_claims(struct ds_arena *a);

/* Ends the claims: what is not claimed is free. Without any claim a no-op. */
void ds_arena_rebuilt(struct ds_arena *a);

/* O(1). Between the beginning of claims and ds_arena_rebuilt(), `free` is what is not claimed so
 * far and largest_free is 0. */
void ds_arena_stats(const struct ds_arena *a, struct ds_arena_stats *ret);

/* Walks everything. 0 or DS_ECORRUPT. Not during a rebuilding. */
DS_MUST_USE int ds_arena_check(const struct ds_arena *a);

#endif
