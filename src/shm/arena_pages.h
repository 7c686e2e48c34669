/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_pages.h - the page level of the arena: runs of 4 KiB pages.
 *
 * Pages are numbers from 0. Slabs and large blocks are both runs taken from here. Private to the
 * arena: include it from arena*.c and its tests only.
 *
 * Ownership: the caller owns the struct; init and fini pair. Descriptors belong to this level, but
 *            inside a slab's run the slab level writes next, prev and bits as said below.
 * Threads:   one.
 * Errors:    0 or a negative DS_E* code. Wrong arguments are caught by assertions.
 */
#ifndef DS_SHM_ARENA_PAGES_H
#define DS_SHM_ARENA_PAGES_H

#include <ds/types.h>
#include <stdint.h>

#define DS_PAGE_NONE UINT32_MAX
#define DS_RUN_INDEXES 3
#define DS_RUN_ROWS                                                                                \
    28 /* doublings of the value from 32 up to 2^32, and one row for what is below */
#define DS_RUN_STEPS 32

enum ds_page_kind {
    DS_PAGE_INSIDE = 0, /* neither first nor last of a run, or never used */
    DS_PAGE_FREE,
    DS_PAGE_USED, /* a large block */
    DS_PAGE_SLAB,
};

/*
 * Descriptor of one page. `kind` and `len` (pages of the run) are set in the first and the last
 * page of every run, and kind is DS_PAGE_INSIDE everywhere else. What the other fields of the
 * first pages hold:
 *
 *     page       free run                              slab
 *     first      links of index 0                      links of the class's list; cls
 *     first + 1  links of index 1 (runs >= 16 pages)   bits: words with a free block; len: free
 * blocks first + 2  links of index 2 (runs >= 64 pages)   -
 *
 * Links are page numbers plus one; 0 ends a list, so that memory never touched is an empty list.
 */
struct ds_page {
    union {
        struct {
            uint32_t next;
            uint32_t prev;
        };
        uint64_t bits;
    };
    uint32_t len;
    uint16_t kind;
    uint16_t cls;
};
_Static_assert(sizeof(struct ds_page) == 16, "private memory per page of the segment");

/* Free runs, found by a value of theirs: two-level segregated lists, as in TLSF. */
struct ds_run_index {
    uint32_t rows; /* bit r: steps[r] != 0 */
    uint32_t steps[DS_RUN_ROWS];
    uint32_t heads[DS_RUN_ROWS][DS_RUN_STEPS];
};

struct ds_pages {
    struct ds_page *page; /* one per page of the segment; costs memory only where touched */
    uint32_t count;
    uint32_t usable; /* pages from 0 that may be handed out */
    uint32_t free;
    struct ds_run_index index[DS_RUN_INDEXES]; /* by pages, by aligned 16s, by aligned 64s */
};

DS_MUST_USE int ds_pages_init(struct ds_pages *ps, uint32_t count);
void ds_pages_fini(struct ds_pages *ps);

/* The first page of a run of `len` pages, now of kind USED; DS_PAGE_NONE if there is none. */
uint32_t ds_pages_alloc(struct ds_pages *ps, uint32_t len);

/* The same for a slab: `len` is 16 or 64, and the run is aligned to its length. Finds a place
 * whenever there is one. */
uint32_t ds_pages_alloc_aligned(struct ds_pages *ps, uint32_t len);

/* Gives back the whole run that begins at `first`. */
void ds_pages_free(struct ds_pages *ps, uint32_t first, uint32_t len);

/* Is there a run of this kind and length at `first`, both ends agreeing? */
bool ds_pages_is_run(const struct ds_pages *ps, uint32_t first, uint32_t len,
                     enum ds_page_kind kind);

/* Pages [usable, to) join the free ones. */
void ds_pages_grow(struct ds_pages *ps, uint32_t to);

/* For rebuilding: forget the free runs (nothing else may exist); mark a run, adding nothing to any
 * index; make a run free that ds_pages_forget() forgot. */
void ds_pages_forget(struct ds_pages *ps);
void ds_pages_mark(struct ds_pages *ps, uint32_t first, uint32_t len, enum ds_page_kind kind);
void ds_pages_add(struct ds_pages *ps, uint32_t first, uint32_t len);

/* Pages of the largest free run; may be short by 1/32 where several are of nearly that size. */
uint32_t ds_pages_largest(const struct ds_pages *ps);

/* Walks all runs and lists. 0 or DS_ECORRUPT. */
DS_MUST_USE int ds_pages_check(const struct ds_pages *ps);

#endif
