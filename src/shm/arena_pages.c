/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_pages.c - free runs of pages in three two-level segregated indexes.
 *
 * After Masmano et al., "TLSF: a New Dynamic Memory Allocator for Real-Time Systems" (2004): free
 * runs hang in lists by size, 32 lists per doubling, and two levels of bitmaps find the smallest
 * list that surely fits. Adjacent free runs are merged at once by the descriptors at their ends.
 *
 * Index 0 files a run under its pages. Index 1 files it under the number of whole 64 KiB slots
 * (16 pages, aligned) inside it, index 2 under that of 256 KiB slots, each only if there are any.
 * So a slab's run is found in O(1) and exactly: asking index 0 for twice the length, the usual
 * way to an aligned run, would miss a hole that a slab left behind.
 *
 * Invariants
 *   P1  Runs tile the pages [0, usable). kind and len agree in the first and last page of each.
 *   P2  No two free runs are neighbours.
 *   P3  A free run is in index i exactly if its value there is above 0, in the list of that value.
 *   P4  kind is DS_PAGE_INSIDE in every page that is not an end of a run.
 */
#include "shm/arena_pages.h"

#include <ds/error.h>
#include <string.h>

#include "base/base.h"
#include "base/sys.h"

/* Entries looked at in a list whose runs may or may not fit, and in one whose runs all fit, where
 * the lowest address is taken. Bounded, so still O(1). */
#define SCAN_MAX 8

static const uint32_t slot_pages[DS_RUN_INDEXES] = {1, 16, 64};

struct bin {
    uint32_t row;
    uint32_t step;
};

static struct bin bin_of(uint32_t value)
{
    uint32_t log;

    DS_ASSERT(value > 0);
    if (value < DS_RUN_STEPS) {
        return (struct bin){.row = 0, .step = value};
    }
    log = 31u - (uint32_t)__builtin_clz(value);
    return (struct bin){.row = log - 4, .step = (value >> (log - 5)) & (DS_RUN_STEPS - 1)};
}

/* How many aligned slots of index i lie inside the run. */
static uint32_t value_of(uint32_t first, uint32_t len, int i)
{
    uint32_t slot = slot_pages[i];
    uint64_t begin = ((uint64_t)first + slot - 1) / slot;
    uint64_t end = ((uint64_t)first + len) / slot;

    return end > begin ? (uint32_t)(end - begin) : 0;
}

static void link_run(struct ds_pages *ps, int i, uint32_t first, uint32_t value)
{
    struct ds_run_index *ix = &ps->index[i];
    struct bin b = bin_of(value);
    uint32_t *head = &ix->heads[b.row][b.step];
    struct ds_page *node = &ps->page[first + (uint32_t)i];

    node->next = *head;
    node->prev = 0;
    if (*head != 0) {
        ps->page[*head - 1 + (uint32_t)i].prev = first + 1;
    }
    *head = first + 1;
    ix->steps[b.row] |= 1u << b.step;
    ix->rows |= 1u << b.row;
}

static void unlink_run(struct ds_pages *ps, int i, uint32_t first, uint32_t value)
{
    struct ds_run_index *ix = &ps->index[i];
    struct bin b = bin_of(value);
    const struct ds_page *node = &ps->page[first + (uint32_t)i];

    if (node->next != 0) {
        ps->page[node->next - 1 + (uint32_t)i].prev = node->prev;
    }
    if (node->prev != 0) {
        ps->page[node->prev - 1 + (uint32_t)i].next = node->next;
        return;
    }
    DS_ASSERT(ix->heads[b.row][b.step] == first + 1);
    ix->heads[b.row][b.step] = node->next;
    if (node->next == 0) {
        ix->steps[b.row] &= ~(1u << b.step);
        if (ix->steps[b.row] == 0) {
            ix->rows &= ~(1u << b.row);
        }
    }
}

/* Sets the ends of a run; what they were before is the caller's business (P4). */
static void set_ends(struct ds_pages *ps, uint32_t first, uint32_t len, enum ds_page_kind kind)
{
    struct ds_page *head = &ps->page[first];
    struct ds_page *tail = &ps->page[first + len - 1];

    head->kind = (uint16_t)kind;
    head->len = len;
    tail->kind = (uint16_t)kind;
    tail->len = len;
}

static void clear_ends(struct ds_pages *ps, uint32_t first, uint32_t len)
{
    ps->page[first].kind = DS_PAGE_INSIDE;
    ps->page[first + len - 1].kind = DS_PAGE_INSIDE;
}

static void insert_free(struct ds_pages *ps, uint32_t first, uint32_t len)
{
    set_ends(ps, first, len, DS_PAGE_FREE);
    for (int i = 0; i < DS_RUN_INDEXES; i++) {
        uint32_t value = value_of(first, len, i);

        if (value > 0) {
            link_run(ps, i, first, value);
        }
    }
    ps->free += len;
}

static void remove_free(struct ds_pages *ps, uint32_t first)
{
    uint32_t len = ps->page[first].len;

    DS_ASSERT(ps->page[first].kind == DS_PAGE_FREE);
    for (int i = 0; i < DS_RUN_INDEXES; i++) {
        uint32_t value = value_of(first, len, i);

        if (value > 0) {
            unlink_run(ps, i, first, value);
        }
    }
    clear_ends(ps, first, len);
    ps->free -= len;
}

/* Of the first few runs in a list, the lowest one whose value suffices; DS_PAGE_NONE if none. */
static uint32_t scan_list(const struct ds_pages *ps, int i, struct bin b, uint32_t value)
{
    uint32_t best = DS_PAGE_NONE;
    uint32_t link = ps->index[i].heads[b.row][b.step];

    for (int n = 0; link != 0 && n < SCAN_MAX; n++) {
        uint32_t first = link - 1;

        if (value_of(first, ps->page[first].len, i) >= value && first < best) {
            best = first;
        }
        link = ps->page[first + (uint32_t)i].next;
    }
    return best;
}

/* The first page of a free run whose value in index i is at least `value`: from the list of that
 * very value if one of its first entries fits, else from the next list above. */
static uint32_t find_run(const struct ds_pages *ps, int i, uint32_t value)
{
    const struct ds_run_index *ix = &ps->index[i];
    struct bin b = bin_of(value);
    uint32_t first = scan_list(ps, i, b, value);
    uint32_t mask;

    if (first != DS_PAGE_NONE) {
        return first;
    }
    mask = b.step + 1 < DS_RUN_STEPS ? ix->steps[b.row] & (UINT32_MAX << (b.step + 1)) : 0;
    if (mask == 0) {
        uint32_t rows = ix->rows & (UINT32_MAX << (b.row + 1)); /* row + 1 <= 28 */

        if (rows == 0) {
            return DS_PAGE_NONE;
        }
        b.row = (uint32_t)__builtin_ctz(rows);
        mask = ix->steps[b.row];
    }
    b.step = (uint32_t)__builtin_ctz(mask);
    return scan_list(ps, i, b, value);
}

/* Cuts [at, at + len) out of the free run that begins at `first`. */
static void carve(struct ds_pages *ps, uint32_t first, uint32_t at, uint32_t len,
                  enum ds_page_kind kind)
{
    uint32_t end = first + ps->page[first].len;

    DS_ASSERT(at >= first && at + len <= end);
    remove_free(ps, first);
    if (at > first) {
        insert_free(ps, first, at - first);
    }
    if (at + len < end) {
        insert_free(ps, at + len, end - at - len);
    }
    set_ends(ps, at, len, kind);
}

int ds_pages_init(struct ds_pages *ps, uint32_t count)
{
    DS_ASSERT(count > 0 && count < DS_PAGE_NONE);
    memset(ps, 0, sizeof(*ps));
    ps->page = ds_sys_map_private((uint64_t)count * sizeof(struct ds_page));
    if (ps->page == NULL) {
        return DS_ENOMEM;
    }
    ps->count = count;
    return 0;
}

void ds_pages_fini(struct ds_pages *ps)
{
    if (ps->page != NULL) {
        ds_sys_unmap(ps->page, (uint64_t)ps->count * sizeof(struct ds_page));
        ps->page = NULL;
    }
}

uint32_t ds_pages_alloc(struct ds_pages *ps, uint32_t len)
{
    uint32_t first;

    DS_ASSERT(len > 0);
    first = find_run(ps, 0, len);
    if (first != DS_PAGE_NONE) {
        carve(ps, first, first, len, DS_PAGE_USED);
    }
    return first;
}

uint32_t ds_pages_alloc_aligned(struct ds_pages *ps, uint32_t len)
{
    int i = len == slot_pages[1] ? 1 : 2;
    uint32_t first;
    uint32_t at;

    DS_ASSERT(len == slot_pages[i]);
    first = find_run(ps, i, 1);
    if (first == DS_PAGE_NONE) {
        return DS_PAGE_NONE;
    }
    at = (first + len - 1) / len * len;
    carve(ps, first, at, len, DS_PAGE_SLAB);
    return at;
}

void ds_pages_free(struct ds_pages *ps, uint32_t first, uint32_t len)
{
    uint32_t end = first + len;

    DS_ASSERT(ps->page[first].kind == DS_PAGE_USED || ps->page[first].kind == DS_PAGE_SLAB);
    DS_ASSERT(ds_pages_is_run(ps, first, len, ps->page[first].kind));
    clear_ends(ps, first, len);
    ds_pages_add(ps, first, end - first);
}

bool ds_pages_is_run(const struct ds_pages *ps, uint32_t first, uint32_t len,
                     enum ds_page_kind kind)
{
    const struct ds_page *head;
    const struct ds_page *tail;

    if (first >= ps->usable || len == 0 || len > ps->usable - first) {
        return false;
    }
    head = &ps->page[first];
    tail = &ps->page[first + len - 1];
    return head->kind == kind && head->len == len && tail->kind == kind && tail->len == len;
}

void ds_pages_grow(struct ds_pages *ps, uint32_t to)
{
    uint32_t from = ps->usable;

    DS_ASSERT(to >= from && to <= ps->count);
    if (to > from) {
        ps->usable = to;
        ds_pages_add(ps, from, to - from);
    }
}

void ds_pages_forget(struct ds_pages *ps)
{
    DS_ASSERT(ps->free == ps->usable);
    if (ps->free > 0) {
        remove_free(ps, 0);
    }
    DS_ASSERT(ps->index[0].rows == 0);
}

void ds_pages_mark(struct ds_pages *ps, uint32_t first, uint32_t len, enum ds_page_kind kind)
{
    DS_ASSERT(len > 0 && first < ps->usable && len <= ps->usable - first);
    set_ends(ps, first, len, kind);
}

void ds_pages_add(struct ds_pages *ps, uint32_t first, uint32_t len)
{
    uint32_t end = first + len;

    DS_ASSERT(len > 0 && end <= ps->usable);
    if (first > 0 && ps->page[first - 1].kind == DS_PAGE_FREE) {
        first -= ps->page[first - 1].len;
        remove_free(ps, first);
    }
    if (end < ps->usable && ps->page[end].kind == DS_PAGE_FREE) {
        uint32_t next = end;

        end += ps->page[next].len;
        remove_free(ps, next);
    }
    insert_free(ps, first, end - first);
}

uint32_t ds_pages_largest(const struct ds_pages *ps)
{
    const struct ds_run_index *ix = &ps->index[0];
    uint32_t largest = 0;
    uint32_t row;
    uint32_t step;
    uint32_t link;

    if (ix->rows == 0) {
        return 0;
    }
    row = 31u - (uint32_t)__builtin_clz(ix->rows);
    step = 31u - (uint32_t)__builtin_clz(ix->steps[row]);
    link = ix->heads[row][step];
    for (int n = 0; link != 0 && n < SCAN_MAX; n++) {
        largest = ps->page[link - 1].len > largest ? ps->page[link - 1].len : largest;
        link = ps->page[link - 1].next;
    }
    return largest;
}

/* Checks P3 from the lists' side; *ret is the number of entries. */
static int check_index(const struct ds_pages *ps, int i, uint64_t *ret)
{
    const struct ds_run_index *ix = &ps->index[i];

    *ret = 0;
    for (uint32_t k = 0; k < DS_RUN_ROWS * DS_RUN_STEPS; k++) {
        uint32_t row = k / DS_RUN_STEPS;
        uint32_t step = k % DS_RUN_STEPS;
        uint32_t link = ix->heads[row][step];
        uint32_t prev = 0;

        if ((link != 0) != ((ix->steps[row] >> step & 1) != 0) ||
            (ix->steps[row] != 0) != ((ix->rows >> row & 1) != 0)) {
            return DS_ECORRUPT;
        }
        for (; link != 0; link = ps->page[link - 1 + (uint32_t)i].next) {
            uint32_t first = link - 1;
            struct bin b;

            if (first >= ps->usable ||
                !ds_pages_is_run(ps, first, ps->page[first].len, DS_PAGE_FREE) ||
                value_of(first, ps->page[first].len, i) == 0 ||
                ps->page[first + (uint32_t)i].prev != prev || *ret >= ps->usable) {
                return DS_ECORRUPT;
            }
            b = bin_of(value_of(first, ps->page[first].len, i));
            if (b.row != row || b.step != step) {
                return DS_ECORRUPT;
            }
            prev = link;
            *ret += 1;
        }
    }
    return 0;
}

int ds_pages_check(const struct ds_pages *ps)
{
    uint64_t entries[DS_RUN_INDEXES] = {0};
    uint64_t listed;
    uint32_t free = 0;
    bool was_free = false;

    for (uint32_t p = 0; p < ps->usable; p += ps->page[p].len) {
        uint32_t len = ps->page[p].len;
        bool is_free = ps->page[p].kind == DS_PAGE_FREE;

        if (ps->page[p].kind == DS_PAGE_INSIDE || !ds_pages_is_run(ps, p, len, ps->page[p].kind) ||
            (is_free && was_free)) {
            return DS_ECORRUPT;
        }
        for (uint32_t k = p + 1; k + 1 < p + len; k++) {
            if (ps->page[k].kind != DS_PAGE_INSIDE) {
                return DS_ECORRUPT;
            }
        }
        for (int i = 0; is_free && i < DS_RUN_INDEXES; i++) {
            entries[i] += value_of(p, len, i) > 0;
        }
        free += is_free ? len : 0;
        was_free = is_free;
    }
    for (int i = 0; i < DS_RUN_INDEXES; i++) {
        if (check_index(ps, i, &listed) != 0 || listed != entries[i]) {
            return DS_ECORRUPT;
        }
    }
    return free == ps->free ? 0 : DS_ECORRUPT;
}
