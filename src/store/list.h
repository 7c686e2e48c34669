/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h - doubly linked lists of record numbers over an array of links: a record is in one list
 * of each array at a time (order of eviction, or a session's grants, references or latches).
 *
 * Threads: one.
 */
#ifndef DS_STORE_LIST_H
#define DS_STORE_LIST_H

#include "base/base.h"
#include "shm/layout.h"

struct ds_link {
    uint32_t prev;
    uint32_t next;
};

struct ds_list {
    uint32_t first; /* DS_ID_NONE: empty */
    uint32_t last;
    uint64_t n;
};

static inline void ds_list_init(struct ds_list *l)
{
    *l = (struct ds_list){DS_ID_NONE, DS_ID_NONE, 0};
}

static inline void ds_list_append(struct ds_list *l, struct ds_link *links, uint32_t id)
{
    links[id] = (struct ds_link){l->last, DS_ID_NONE};
    if (l->last == DS_ID_NONE) {
        l->first = id;
    } else {
        links[l->last].next = id;
    }
    l->last = id;
    l->n++;
}

/* In front of `before`; DS_ID_NONE: at the end. */
static inline void ds_list_insert(struct ds_list *l, struct ds_link *links, uint32_t before,
                                  uint32_t id)
{
    if (before == DS_ID_NONE) {
        ds_list_append(l, links, id);
        return;
    }
    links[id] = (struct ds_link){links[before].prev, before};
    if (links[before].prev == DS_ID_NONE) {
        l->first = id;
    } else {
        links[links[before].prev].next = id;
    }
    links[before].prev = id;
    l->n++;
}

static inline void ds_list_remove(struct ds_list *l, struct ds_link *links, uint32_t id)
{
    struct ds_link at = links[id];

    DS_ASSERT(l->n > 0);
    if (at.prev == DS_ID_NONE) {
        l->first = at.next;
    } else {
        links[at.prev].next = at.next;
    }
    if (at.next == DS_ID_NONE) {
        l->last = at.prev;
    } else {
        links[at.next].prev = at.prev;
    }
    l->n--;
}

#endif
