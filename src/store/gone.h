/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gone.h - remembers the keys that went last, why and when: a bounded record, 16 bytes a key.
 *
 * A ring in the order in which they went: the newest overwrites the oldest. Chains run through it,
 * from the newest key of each hash bucket to older ones, as in an LZ77 match finder: what was
 * overwritten is told by its age, so that nothing is ever unlinked. Adding costs one entry, which
 * stands beside the one before, and one word of the buckets. A foreign key is taken for one of
 * these if 48 bits of the hash are the same.
 *
 * It lies in the state segment, so that it outlives the worker: what a kill cuts short is one key
 * that is not remembered, and never a chain. Times are of CLOCK_BOOTTIME, as is the memory itself.
 *
 * Ownership: the caller's, who gives it DS_GONE_SIZE bytes, zeroed at first. Threads: one.
 * Errors: none.
 */
#ifndef DS_STORE_GONE_H
#define DS_STORE_GONE_H

#include <ds/kv.h>

#include "base/base.h"
#include "shm/layout.h"

/* Of memory that was not used yet. */
void ds_gone_format(struct ds_gone_table *g);

/* The key with this hash went at `when_ns`, of a clock that never goes back below 0. `shows`:
 * second-level storage has, or may have, an older value of it. */
void ds_gone_add(struct ds_gone_table *g, uint64_t hash, enum ds_gone why, int64_t when_ns,
                 bool shows);

/* Why it went last, and when (to the millisecond); DS_GONE_UNKNOWN: it is not remembered. */
enum ds_gone ds_gone_find(const struct ds_gone_table *g, uint64_t hash, int64_t *ret_when_ns);

/* What it was last added with; false: it is not remembered. */
bool ds_gone_shows(const struct ds_gone_table *g, uint64_t hash);

/* Second-level storage has no older value of it any more. */
void ds_gone_hide(struct ds_gone_table *g, uint64_t hash);

#endif
