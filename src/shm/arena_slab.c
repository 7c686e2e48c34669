/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_slab.c - slabs: aligned runs of 16 or 64 pages cut into equal blocks.
 *
 * A slab is aligned to its own length, which its class fixes; so the offset and the size of a block
 * say where its slab begins, and a restart needs no record of slabs.
 *
 * Everything about a slab is in the page descriptors of its first two pages (arena_pages.h) and in
 * `bits`, at the words that belong to its first pages: bit k of them is block k. A slab has at most
 * 2048 blocks = 32 words; the second descriptor holds one bit per word that is not 0, so a free
 * block is found by two bit scans. Private memory: 24 to 32 bytes per page of 4096.
 *
 * Which block: the one freed last in that class, whose bytes are still in some cache and whose
 * pages are mapped by some client; then the lowest of the first slab in the list; then of the
 * empty slab; then of a new one.
 *
 * Invariants
 *   S1  A slab is in its class's list exactly if it has free and used blocks.
 *   S2  A class has at most one slab without used blocks, `empty`; it is in no list.
 *   S3  `recent` names a free block.
 *   S4  Bits past the last block of a slab are 0.
 */
#include "shm/arena_slab.h"

#include <ds/error.h>
#include <string.h>

#include "base/base.h"
#include "base/sys.h"

static uint64_t *words_of(const struct ds_slabs *ss, uint32_t slab)
{
    return ss->bits + (uint64_t)slab * ss->page_words;
}

static void list_push(struct ds_slab_class *c, struct ds_pages *ps, uint32_t slab)
{
    struct ds_page *node = &ps->page[slab];

    node->next = c->partial;
    node->prev = 0;
    if (c->partial != 0) {
        ps->page[c->partial - 1].prev = slab + 1;
    }
    c->partial = slab + 1;
}

static void list_remove(struct ds_slab_class *c, struct ds_pages *ps, uint32_t slab)
{
    const struct ds_page *node = &ps->page[slab];

    if (node->next != 0) {
        ps->page[node->next - 1].prev = node->prev;
    }
    if (node->prev != 0) {
        ps->page[node->prev - 1].next = node->next;
    } else {
        DS_ASSERT(c->partial == slab + 1);
        c->partial = node->next;
    }
}

static void set_empty(struct ds_slabs *ss, int cls, uint32_t link)
{
    uint64_t bit = (uint64_t)1 << (cls % 64);

    ss->cls[cls].empty = link;
    if (link != 0) {
        ss->empties[cls / 64] |= bit;
    } else {
        ss->empties[cls / 64] &= ~bit;
    }
}

/* Takes a free block and keeps S1 to S3. */
static void take(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint32_t slab, uint32_t block)
{
    struct ds_slab_class *c = &ss->cls[cls];
    struct ds_page *info = &ps->page[slab + 1];
    uint64_t *word = words_of(ss, slab) + block / 64;

    DS_ASSERT((*word >> (block % 64) & 1) == 1);
    if (c->empty == slab + 1) {
        set_empty(ss, cls, 0);
        list_push(c, ps, slab);
    }
    *word &= ~((uint64_t)1 << (block % 64));
    if (*word == 0) {
        info->bits &= ~((uint64_t)1 << (block / 64));
    }
    info->len--;
    if (info->len == 0) {
        list_remove(c, ps, slab);
    }
    if (c->recent == slab + 1 && c->recent_block == block) {
        c->recent = 0;
    }
    ss->used += c->size.block;
}

/* A slab without used blocks, in no list, goes back to the page level. */
static void retire(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint32_t slab)
{
    struct ds_slab_class *c = &ss->cls[cls];

    DS_ASSERT(ps->page[slab + 1].len == c->size.count);
    if (c->recent == slab + 1) {
        c->recent = 0;
    }
    ss->slab_pages -= c->size.slab_pages;
    ds_pages_free(ps, slab, c->size.slab_pages);
}

int ds_slabs_init(struct ds_slabs *ss, uint32_t unit, uint32_t page_count)
{
    DS_ASSERT(unit == 32 || unit == 64);
    memset(ss, 0, sizeof(*ss));
    ss->unit = unit;
    ss->page_words = DS_PAGE_SIZE / unit / 64;
    ss->bits_size = (uint64_t)page_count * ss->page_words * sizeof(uint64_t);
    ss->bits = ds_sys_map_private(ss->bits_size);
    if (ss->bits == NULL) {
        return DS_ENOMEM;
    }
    for (int cls = 0; cls < DS_SIZE_CLASSES; cls++) {
        ss->cls[cls].size = ds_size_class_get(unit, cls);
    }
    return 0;
}

void ds_slabs_fini(struct ds_slabs *ss)
{
    if (ss->bits != NULL) {
        ds_sys_unmap(ss->bits, ss->bits_size);
        ss->bits = NULL;
    }
}

void ds_slabs_create(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint32_t slab)
{
    struct ds_slab_class *c = &ss->cls[cls];
    struct ds_page *info = &ps->page[slab + 1];
    uint64_t *words = words_of(ss, slab);
    uint32_t full = c->size.count / 64;
    uint32_t rest = c->size.count % 64;

    DS_ASSERT(ds_pages_is_run(ps, slab, c->size.slab_pages, DS_PAGE_SLAB));
    DS_ASSERT(slab % c->size.slab_pages == 0);
    memset(words, 0xff, full * sizeof(*words));
    info->bits = ((uint64_t)1 << full) - 1; /* full <= 32 */
    if (rest != 0) {
        words[full] = ((uint64_t)1 << rest) - 1;
        info->bits |= (uint64_t)1 << full;
    }
    info->len = c->size.count;
    ps->page[slab].cls = (uint16_t)cls;
    ss->slab_pages += c->size.slab_pages;
    DS_ASSERT(c->empty == 0);
    set_empty(ss, cls, slab + 1);
}

int ds_slabs_alloc(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint64_t *ret)
{
    struct ds_slab_class *c = &ss->cls[cls];
    uint32_t slab;
    uint32_t block;

    if (c->recent != 0) {
        slab = c->recent - 1;
        block = c->recent_block;
    } else {
        if (c->partial == 0 && c->empty == 0) {
            slab = ds_pages_alloc_aligned(ps, c->size.slab_pages);
            if (slab == DS_PAGE_NONE) {
                return DS_ENOMEM;
            }
            ds_slabs_create(ss, ps, cls, slab);
        }
        slab = (c->partial != 0 ? c->partial : c->empty) - 1;
        block = (uint32_t)__builtin_ctzll(ps->page[slab + 1].bits) * 64;
        block += (uint32_t)__builtin_ctzll(words_of(ss, slab)[block / 64]);
    }
    take(ss, ps, cls, slab, block);
    *ret = (uint64_t)slab * DS_PAGE_SIZE + (uint64_t)block * c->size.block;
    return 0;
}

void ds_slabs_free(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint64_t offset)
{
    struct ds_slab_class *c = &ss->cls[cls];
    uint32_t slab = (uint32_t)(offset / DS_PAGE_SIZE) & ~(c->size.slab_pages - 1);
    uint32_t inside = (uint32_t)(offset - (uint64_t)slab * DS_PAGE_SIZE);
    uint32_t block = inside / c->size.block;
    uint64_t *word = words_of(ss, slab) + block / 64;
    struct ds_page *info = &ps->page[slab + 1];

    DS_ASSERT(ds_pages_is_run(ps, slab, c->size.slab_pages, DS_PAGE_SLAB));
    DS_ASSERT(ps->page[slab].cls == cls);
    DS_ASSERT(inside == block * c->size.block && block < c->size.count);
    DS_ASSERT((*word >> (block % 64) & 1) == 0); /* freed twice? */

    *word |= (uint64_t)1 << (block % 64);
    info->bits |= (uint64_t)1 << (block / 64);
    info->len++;
    ss->used -= c->size.block;
    c->recent = slab + 1;
    c->recent_block = block;
    if (info->len == 1) {
        list_push(c, ps, slab);
    }
    if (info->len < c->size.count) {
        return;
    }
    list_remove(c, ps, slab);
    if (c->empty != 0) {
        retire(ss, ps, cls, slab);
        return;
    }
    set_empty(ss, cls, slab + 1);
    if (c->partial != 0) {
        c->recent = 0; /* else the next block would keep alive a slab that is not needed */
    }
}

bool ds_slabs_trim(struct ds_slabs *ss, struct ds_pages *ps)
{
    bool any = false;

    for (int w = 0; w < (int)DS_ARRAY_SIZE(ss->empties); w++) {
        while (ss->empties[w] != 0) {
            int cls = w * 64 + __builtin_ctzll(ss->empties[w]);
            uint32_t slab = ss->cls[cls].empty - 1;

            set_empty(ss, cls, 0);
            retire(ss, ps, cls, slab);
            any = true;
        }
    }
    return any;
}

int ds_slabs_locate(const struct ds_slabs *ss, const struct ds_pages *ps, int cls, uint64_t offset,
                    uint32_t *ret_slab)
{
    const struct ds_size_class *size = &ss->cls[cls].size;
    uint64_t page = offset / DS_PAGE_SIZE;
    uint32_t slab;
    uint32_t inside;

    DS_ASSERT(page < ps->usable);
    slab = (uint32_t)page & ~(size->slab_pages - 1);
    inside = (uint32_t)(offset - (uint64_t)slab * DS_PAGE_SIZE);
    if (size->slab_pages > ps->usable - slab || inside % size->block != 0 ||
        inside / size->block >= size->count) {
        return DS_ECORRUPT;
    }
    *ret_slab = slab;
    return 0;
}

int ds_slabs_claim(struct ds_slabs *ss, struct ds_pages *ps, int cls, uint32_t slab,
                   uint64_t offset)
{
    const struct ds_size_class *size = &ss->cls[cls].size;
    uint32_t block = (uint32_t)(offset - (uint64_t)slab * DS_PAGE_SIZE) / size->block;

    if (!ds_pages_is_run(ps, slab, size->slab_pages, DS_PAGE_SLAB) || ps->page[slab].cls != cls) {
        return DS_ECORRUPT;
    }
    if ((words_of(ss, slab)[block / 64] >> (block % 64) & 1) == 0) {
        return DS_ECORRUPT;
    }
    take(ss, ps, cls, slab, block);
    return 0;
}

/* One slab, S1's descriptor side and S4; adds its used bytes. */
static int check_slab(const struct ds_slabs *ss, const struct ds_pages *ps, uint32_t slab,
                      uint64_t *used)
{
    int cls = ps->page[slab].cls;
    const struct ds_slab_class *c;
    const uint64_t *words = words_of(ss, slab);
    const struct ds_page *info = &ps->page[slab + 1];
    uint32_t n_words;
    uint32_t n_free = 0;

    if (cls >= DS_SIZE_CLASSES) {
        return DS_ECORRUPT;
    }
    c = &ss->cls[cls];
    n_words = (c->size.count + 63) / 64;
    if (slab % c->size.slab_pages != 0 || ps->page[slab].len != c->size.slab_pages) {
        return DS_ECORRUPT;
    }
    for (uint32_t w = 0; w < n_words; w++) {
        n_free += (uint32_t)__builtin_popcountll(words[w]);
        if ((words[w] != 0) != ((info->bits >> w & 1) != 0)) {
            return DS_ECORRUPT;
        }
    }
    if (n_free != info->len || info->bits >> n_words != 0 ||
        (c->size.count % 64 != 0 && words[n_words - 1] >> (c->size.count % 64) != 0) ||
        (n_free == c->size.count && c->empty != slab + 1)) {
        return DS_ECORRUPT;
    }
    *used += (uint64_t)(c->size.count - n_free) * c->size.block;
    return 0;
}

/* The lists of one class; adds the number of entries. */
static int check_class(const struct ds_slabs *ss, const struct ds_pages *ps, int cls,
                       uint64_t *listed)
{
    const struct ds_slab_class *c = &ss->cls[cls];
    uint32_t prev = 0;

    for (uint32_t link = c->partial; link != 0; link = ps->page[link - 1].next) {
        uint32_t slab = link - 1;

        if (!ds_pages_is_run(ps, slab, c->size.slab_pages, DS_PAGE_SLAB) ||
            ps->page[slab].cls != cls || ps->page[slab].prev != prev ||
            ps->page[slab + 1].len == 0 || ps->page[slab + 1].len == c->size.count ||
            *listed >= ps->usable) {
            return DS_ECORRUPT;
        }
        prev = link;
        *listed += 1;
    }
    if ((c->empty != 0) != ((ss->empties[cls / 64] >> (cls % 64) & 1) != 0)) {
        return DS_ECORRUPT;
    }
    if (c->empty != 0 &&
        (ps->page[c->empty - 1].cls != cls || ps->page[c->empty].len != c->size.count)) {
        return DS_ECORRUPT;
    }
    if (c->recent != 0 &&
        (ps->page[c->recent - 1].cls != cls || ps->page[c->recent - 1].kind != DS_PAGE_SLAB ||
         (words_of(ss, c->recent - 1)[c->recent_block / 64] >> (c->recent_block % 64) & 1) == 0)) {
        return DS_ECORRUPT;
    }
    return 0;
}

int ds_slabs_check(const struct ds_slabs *ss, const struct ds_pages *ps)
{
    uint64_t used = 0;
    uint64_t pages = 0;
    uint64_t partial = 0;
    uint64_t listed = 0;

    for (uint32_t p = 0; p < ps->usable; p += ps->page[p].len) {
        if (ps->page[p].kind != DS_PAGE_SLAB) {
            continue;
        }
        if (check_slab(ss, ps, p, &used) != 0) {
            return DS_ECORRUPT;
        }
        pages += ps->page[p].len;
        partial +=
            ps->page[p + 1].len > 0 && ps->page[p + 1].len < ss->cls[ps->page[p].cls].size.count;
    }
    for (int cls = 0; cls < DS_SIZE_CLASSES; cls++) {
        if (check_class(ss, ps, cls, &listed) != 0) {
            return DS_ECORRUPT;
        }
    }
    return used == ss->used && pages == ss->slab_pages && partial == listed ? 0 : DS_ECORRUPT;
}
