/* SPDX-License-Identifier: Apache-2.0 */
/*
 * size_class.c - size classes made by dividing a slab, not by adding up steps.
 *
 * A slab of S bytes is cut into n blocks, where n keeps only its top four bits (8 to 15 times a
 * power of two): eight classes per doubling, and block = S / n rounded down to the unit, so that a
 * slab has almost no tail. Cutting by steps of the block size instead leaves tails of up to a
 * block, which forces slabs of a megabyte for 32 KiB blocks.
 *
 *     blocks up to 4 KiB     S =  64 KiB   n = 16 .. 2048
 *     blocks up to 32 KiB    S = 256 KiB   n =  8 .. 63
 *
 * Write keep(x) for x with its top four bits kept. A size r, a multiple of the unit, gets the kept
 * number n = keep(S / r) and the block b = floor(S / n) >= r, a multiple of the unit too.
 *
 * Claim: keep(S / b) = n. So a capacity is its own capacity, and all sizes up to it share its
 * class. Since S / b >= n and n is kept, m = keep(S / b) >= n. And b >= r gives S / b <= S / r, so
 * m <= n.
 */
#include "shm/size_class.h"

#define SLAB_SMALL 65536u
#define SLAB_LARGE 262144u
#define BLOCK_SMALL_MAX 4096u /* blocks up to here live in SLAB_SMALL */
#define LARGE_FIRST 64        /* class number of the first class of SLAB_LARGE */

static int class_of(uint32_t unit, uint32_t size)
{
    uint32_t rounded = (size + unit - 1) & ~(unit - 1);
    uint32_t slab = rounded <= BLOCK_SMALL_MAX ? SLAB_SMALL : SLAB_LARGE;
    uint32_t count = slab / rounded;
    int shift = 28 - __builtin_clz(count); /* count >> shift is in 8 .. 15 */
    int step = (int)(count >> shift) - 8;

    if (slab == SLAB_SMALL) {
        return (shift - 1) * 8 + step; /* count >= 16: shift >= 1 */
    }
    return LARGE_FIRST + shift * 8 + step;
}

static uint32_t slab_of(int cls)
{
    return cls < LARGE_FIRST ? SLAB_SMALL : SLAB_LARGE;
}

static uint32_t block_of(uint32_t unit, int cls)
{
    int k = cls < LARGE_FIRST ? cls + 8 : cls - LARGE_FIRST;
    uint32_t count = (8u + (uint32_t)k % 8) << (k / 8);
    uint32_t block = slab_of(cls) / count & ~(unit - 1);

    return block < unit ? unit : block; /* numbers past the last class have no block of their own */
}

uint64_t ds_arena_capacity(uint32_t unit, uint64_t size)
{
    DS_ASSERT(unit == 32 || unit == 64);
    if (size == 0) {
        size = 1;
    }
    if (size > UINT64_MAX - DS_PAGE_SIZE) {
        return UINT64_MAX;
    }
    if (size > DS_SMALL_MAX) {
        return (size + DS_PAGE_SIZE - 1) & ~(uint64_t)(DS_PAGE_SIZE - 1);
    }
    return block_of(unit, class_of(unit, (uint32_t)size));
}

int ds_size_class(uint32_t unit, uint64_t size)
{
    if (size > DS_SMALL_MAX) {
        return -1;
    }
    return class_of(unit, size == 0 ? 1 : (uint32_t)size);
}

struct ds_size_class ds_size_class_get(uint32_t unit, int cls)
{
    struct ds_size_class ret;

    DS_ASSERT(unit == 32 || unit == 64);
    DS_ASSERT(cls >= 0 && cls < DS_SIZE_CLASSES);
    ret.block = block_of(unit, cls);
    ret.count = slab_of(cls) / ret.block;
    ret.slab_pages = slab_of(cls) / DS_PAGE_SIZE;
    return ret;
}
