/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size_class.h - which block an allocation of so many bytes gets: plain arithmetic, no state.
 *
 * Worker and clients both compute it, so the numbers are part of the shared-memory ABI: a restart
 * finds the slabs again from block offsets alone.
 *
 * Ownership: nothing is owned.
 * Threads:   pure functions, callable anywhere.
 * Errors:    none.
 */
#ifndef DS_SHM_SIZE_CLASS_H
#define DS_SHM_SIZE_CLASS_H

#include <stdint.h>

#include "base/base.h"

#define DS_SMALL_MAX 32768u /* blocks up to here come from slabs, larger ones are whole pages */
#define DS_SIZE_CLASSES 88  /* class numbers are below this; some are never used */

struct ds_size_class {
    uint32_t block;      /* bytes, a multiple of the unit */
    uint32_t count;      /* blocks in a slab, at least 8 */
    uint32_t slab_pages; /* 16 or 64: size and alignment of a slab */
};

/* The block size that `size` bytes get, where `unit` is 32 or 64. At least `size`; the capacity of
 * a capacity is itself. Sizes that no page-rounded number can hold give UINT64_MAX. */
uint64_t ds_arena_capacity(uint32_t unit, uint64_t size);

/* The class of `size` bytes, in [0, DS_SIZE_CLASSES), or -1 where the block is whole pages. Equal
 * capacities have equal classes. */
int ds_size_class(uint32_t unit, uint64_t size);

/* What class number `cls` is like. Numbers that ds_size_class() never returns have a description
 * too, of no use. */
struct ds_size_class ds_size_class_get(uint32_t unit, int cls);

#endif
