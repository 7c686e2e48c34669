/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.h - a binary min-heap of (time, id, tag), used for expiry and deadlines. Entries are not
 * removed when they become void: whoever pops one checks that it still holds, and filters them out
 * now and then if they may be many.
 */
#ifndef DS_BASE_HEAP_H
#define DS_BASE_HEAP_H

#include "base/base.h"

struct ds_heap_item {
    int64_t time;
    uint64_t id;
    uint64_t tag;
};

struct ds_heap {
    struct ds_heap_item *items;
    size_t n;
    size_t capacity;
};

/* DS_ENOMEM: nothing changed. */
DS_MUST_USE int ds_heap_push(struct ds_heap *h, int64_t time, uint64_t id, uint64_t tag);

/* The earliest item if its time is <= now. */
DS_MUST_USE bool ds_heap_pop_due(struct ds_heap *h, int64_t now, struct ds_heap_item *ret);

/* Time of the earliest item, INT64_MAX if there is none. */
int64_t ds_heap_next(const struct ds_heap *h);

/* Drops the items for which keep() is false. */
void ds_heap_filter(struct ds_heap *h, bool (*keep)(void *arg, const struct ds_heap_item *item),
                    void *arg);

void ds_heap_fini(struct ds_heap *h);

#endif
