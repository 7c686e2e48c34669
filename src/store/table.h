/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - the worker's private hash table: key -> record numbers.
 *
 * Chained over arrays that are indexed by record number and cost nothing until touched; grows by
 * one bucket at a time (linear hashing), so that no insert stalls. Several records may stand under
 * one hash; the caller compares keys. The hash uses a seed that clients do not know.
 *
 * Ownership: the table owns its arrays. Threads: one. Errors: DS_ENOMEM from init only.
 */
#ifndef DS_STORE_TABLE_H
#define DS_STORE_TABLE_H

#include "base/base.h"
#include "shm/layout.h"

struct ds_table_slot {
    uint32_t hash;
    uint32_t next; /* record number + 1; 0 = end */
};

struct ds_table {
    struct ds_table_slot *slot; /* by record number */
    uint32_t *head;             /* by bucket: record number + 1 */
    uint64_t buckets;
    uint64_t n;
    uint32_t slot_max;
};

DS_MUST_USE int ds_table_init(struct ds_table *t, uint32_t slot_max);
void ds_table_fini(struct ds_table *t);

void ds_table_insert(struct ds_table *t, uint64_t hash, uint32_t id);
void ds_table_remove(struct ds_table *t, uint64_t hash, uint32_t id); /* it is there */

/* First record under this hash, and the next one after `id`; DS_ID_NONE at the end. */
uint32_t ds_table_first(const struct ds_table *t, uint64_t hash);
uint32_t ds_table_next(const struct ds_table *t, uint64_t hash, uint32_t id);

#endif
