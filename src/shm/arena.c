/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.c - joins the page level and the slab level, and rebuilds both from claims.
 *
 *     offset --> size class? --> arena_slab.c  --.
 *                large?      ------------------> arena_pages.c
 *
 * Rebuilding. Claims come in any order, so gaps are not known before the last one. Until then a
 * bitmap, one bit per page, says which pages some claimed run or slab covers; it is all that the
 * overlap check needs, since slabs check their own bits. ds_arena_rebuilt() makes a free run of
 * every gap and drops the bitmap.
 */
#include "shm/arena.h"

#include <ds/error.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/sys.h"
#include "shm/arena_pages.h"
#include "shm/arena_slab.h"

#define SIZE_MAX_BYTES ((uint64_t)1 << 43) /* page numbers plus one fit 32 bits, with room */

struct ds_arena {
    uint64_t size;
    uint64_t large_used;   /* bytes in large blocks */
    uint64_t *claimed;     /* one bit per page, while rebuilding; else NULL */
    uint64_t claimed_size; /* bytes mapped there */
    uint32_t unit;
    struct ds_pages pages;
    struct ds_slabs slabs;
};

int ds_arena_create(uint64_t size, uint32_t unit, struct ds_arena **ret)
{
    struct ds_arena *a;
    uint32_t count = (uint32_t)(size / DS_PAGE_SIZE);
    int rc;

    DS_ASSERT(ret != NULL);
    if (size == 0 || size % DS_PAGE_SIZE != 0 || size > SIZE_MAX_BYTES ||
        (unit != 32 && unit != 64)) {
        return DS_EINVAL;
    }
    a = ds_zalloc(sizeof(*a), "arena");
    if (a == NULL) {
        return DS_ENOMEM;
    }
    a->size = size;
    a->unit = unit;
    rc = ds_pages_init(&a->pages, count);
    if (rc != 0) {
        goto err_free;
    }
    rc = ds_slabs_init(&a->slabs, unit, count);
    if (rc != 0) {
        goto err_pages;
    }
    *ret = a;
    return 0;

err_pages:
    ds_pages_fini(&a->pages);
err_free:
    ds_free(a);
    return rc;
}

static void end_claims(struct ds_arena *a)
{
    ds_sys_unmap(a->claimed, a->claimed_size);
    a->claimed = NULL;
}

struct ds_arena *ds_arena_destroy(struct ds_arena *a)
{
    if (a == NULL) {
        return NULL;
    }
    if (a->claimed != NULL) {
        end_claims(a);
    }
    ds_slabs_fini(&a->slabs);
    ds_pages_fini(&a->pages);
    ds_free(a);
    return NULL;
}

static int alloc_large(struct ds_arena *a, uint64_t capacity, uint64_t *ret)
{
    uint32_t first = ds_pages_alloc(&a->pages, (uint32_t)(capacity / DS_PAGE_SIZE));

    if (first == DS_PAGE_NONE) {
        return DS_ENOMEM;
    }
    a->large_used += capacity;
    *ret = (uint64_t)first * DS_PAGE_SIZE;
    return 0;
}

static int alloc_any(struct ds_arena *a, int cls, uint64_t size, uint64_t *ret)
{
    if (cls >= 0) {
        return ds_slabs_alloc(&a->slabs, &a->pages, cls, ret);
    }
    return alloc_large(a, ds_arena_capacity(a->unit, size), ret);
}

int ds_arena_alloc(struct ds_arena *a, uint64_t size, uint64_t *ret_offset)
{
    int cls;
    int rc;

    DS_ASSERT(a->claimed == NULL);
    DS_ASSERT(ret_offset != NULL);
    if (size > a->size) {
        return DS_ENOMEM;
    }
    cls = ds_size_class(a->unit, size);
    rc = alloc_any(a, cls, size, ret_offset);
    if (rc != 0 && ds_slabs_trim(&a->slabs, &a->pages)) {
        rc = alloc_any(a, cls, size, ret_offset);
    }
    return rc;
}

void ds_arena_free(struct ds_arena *a, uint64_t offset, uint64_t size)
{
    uint64_t capacity = ds_arena_capacity(a->unit, size);
    int cls = ds_size_class(a->unit, size);

    DS_ASSERT(a->claimed == NULL);
    DS_ASSERT(offset < a->size && capacity <= a->size - offset);
    if (cls >= 0) {
        ds_slabs_free(&a->slabs, &a->pages, cls, offset);
        return;
    }
    DS_ASSERT(offset % DS_PAGE_SIZE == 0);
    DS_ASSERT(a->pages.page[offset / DS_PAGE_SIZE].kind == DS_PAGE_USED);
    ds_pages_free(&a->pages, (uint32_t)(offset / DS_PAGE_SIZE),
                  (uint32_t)(capacity / DS_PAGE_SIZE));
    a->large_used -= capacity;
}

void ds_arena_grow(struct ds_arena *a, uint64_t usable)
{
    uint32_t from = a->pages.usable;
    uint32_t to = (uint32_t)(ds_min_u64(usable, a->size) / DS_PAGE_SIZE);

    if (to <= from) {
        return;
    }
    /* Faults here, in bulk, are faults that no allocation meets: while a segment of equal 72 KiB
     * blocks fills, one allocation in 14 is the first to touch a page of descriptors. */
    ds_sys_populate(&a->pages.page[from], (uint64_t)(to - from) * sizeof(struct ds_page), true);
    if (a->claimed != NULL) {
        a->pages.usable = to; /* ds_arena_rebuilt() will find the gaps there, too */
        return;
    }
    ds_pages_grow(&a->pages, to);
}

int ds_arena_begin_claims(struct ds_arena *a)
{
    uint64_t words = ((uint64_t)a->pages.count + 63) / 64;

    DS_ASSERT(a->claimed == NULL && a->large_used + a->slabs.used == 0);
    a->claimed_size = words * sizeof(uint64_t);
    a->claimed = ds_sys_map_private(a->claimed_size);
    if (a->claimed == NULL) {
        return DS_ENOMEM;
    }
    (void)ds_slabs_trim(&a->slabs, &a->pages);
    ds_pages_forget(&a->pages);
    return 0;
}

/* The bits of word w that stand for pages in [first, end). */
static uint64_t mask_of(uint64_t w, uint32_t first, uint32_t end)
{
    uint64_t mask = UINT64_MAX;

    if (w == first / 64) {
        mask &= UINT64_MAX << (first % 64);
    }
    if (w == (end - 1) / 64) {
        mask &= UINT64_MAX >> (63 - (end - 1) % 64);
    }
    return mask;
}

static bool is_claimed(const struct ds_arena *a, uint32_t first, uint32_t len)
{
    for (uint64_t w = first / 64; w <= (first + len - 1) / 64; w++) {
        if ((a->claimed[w] & mask_of(w, first, first + len)) != 0) {
            return true;
        }
    }
    return false;
}

static void mark_claimed(struct ds_arena *a, uint32_t first, uint32_t len, enum ds_page_kind kind)
{
    for (uint64_t w = first / 64; w <= (first + len - 1) / 64; w++) {
        a->claimed[w] |= mask_of(w, first, first + len);
    }
    ds_pages_mark(&a->pages, first, len, kind);
}

static int claim_small(struct ds_arena *a, int cls, uint64_t offset)
{
    uint32_t len = a->slabs.cls[cls].size.slab_pages;
    uint32_t slab;
    int rc = ds_slabs_locate(&a->slabs, &a->pages, cls, offset, &slab);

    if (rc != 0) {
        return rc;
    }
    if (!is_claimed(a, slab, len)) {
        mark_claimed(a, slab, len, DS_PAGE_SLAB);
        ds_slabs_create(&a->slabs, &a->pages, cls, slab);
    }
    /* A slab just created has the block free, so a refusal here has changed nothing. */
    return ds_slabs_claim(&a->slabs, &a->pages, cls, slab, offset);
}

int ds_arena_claim(struct ds_arena *a, uint64_t offset, uint64_t size)
{
    uint64_t usable = (uint64_t)a->pages.usable * DS_PAGE_SIZE;
    uint64_t capacity = ds_arena_capacity(a->unit, size);
    int cls = ds_size_class(a->unit, size);
    uint32_t first = (uint32_t)(offset / DS_PAGE_SIZE);
    uint32_t len = (uint32_t)(capacity / DS_PAGE_SIZE);

    if (a->claimed == NULL) {
        int rc = ds_arena_begin_claims(a);

        if (rc != 0) {
            return rc;
        }
    }
    if (capacity > usable || offset > usable - capacity) {
        return DS_ECORRUPT;
    }
    if (cls >= 0) {
        return claim_small(a, cls, offset);
    }
    if (offset % DS_PAGE_SIZE != 0 || is_claimed(a, first, len)) {
        return DS_ECORRUPT;
    }
    mark_claimed(a, first, len, DS_PAGE_USED);
    a->large_used += capacity;
    return 0;
}

/* The first page at or after p whose claimed bit is `bit`, or the end. */
static uint32_t next_page(const struct ds_arena *a, uint32_t p, bool bit)
{
    uint64_t flip = bit ? 0 : UINT64_MAX;

    while (p < a->pages.usable) {
        uint64_t word = (a->claimed[p / 64] ^ flip) >> (p % 64);

        if (word != 0) {
            p += (uint32_t)__builtin_ctzll(word);
            return p < a->pages.usable ? p : a->pages.usable;
        }
        p = (p / 64 + 1) * 64;
    }
    return a->pages.usable;
}

void ds_arena_rebuilt(struct ds_arena *a)
{
    uint32_t p;

    if (a->claimed == NULL) {
        return;
    }
    p = next_page(a, 0, false);
    while (p < a->pages.usable) {
        uint32_t end = next_page(a, p, true);

        ds_pages_add(&a->pages, p, end - p);
        p = next_page(a, end, false);
    }
    end_claims(a);
}

void ds_arena_stats(const struct ds_arena *a, struct ds_arena_stats *ret)
{
    uint64_t slabs = a->slabs.slab_pages * DS_PAGE_SIZE;

    ret->size = a->size;
    ret->usable = (uint64_t)a->pages.usable * DS_PAGE_SIZE;
    ret->used = a->large_used + a->slabs.used;
    ret->slab_slack = slabs - a->slabs.used;
    ret->free = ret->usable - a->large_used - slabs;
    ret->largest_free = (uint64_t)ds_pages_largest(&a->pages) * DS_PAGE_SIZE;
}

int ds_arena_check(const struct ds_arena *a)
{
    uint64_t pages;

    DS_ASSERT(a->claimed == NULL);
    if (ds_pages_check(&a->pages) != 0 || ds_slabs_check(&a->slabs, &a->pages) != 0) {
        return DS_ECORRUPT;
    }
    pages = a->pages.free + a->slabs.slab_pages + a->large_used / DS_PAGE_SIZE;
    return pages == a->pages.usable ? 0 : DS_ECORRUPT;
}
