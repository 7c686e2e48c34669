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
 * Ownership: the record owns its table, which takes no memory before keys go. Threads: one.
 * Errors: DS_ENOMEM from init only.
 */
#ifndef DS_STORE_GONE_H
#define DS_STORE_GONE_H

#include <ds/kv.h>

#include "base/base.h"

struct ds_gone_entry {
    uint32_t tag;    /* upper half of the hash */
    uint32_t before; /* number of the next older key of the same bucket */
    uint64_t what;   /* when, in ms << 8 | enum ds_gone */
};

struct ds_gone_record {
    struct ds_gone_entry *entry; /* of the key with number n: at n % DS_GONE_KEYS */
    uint32_t *newest;            /* its number, by bucket */
    uint32_t next;               /* the number of the next key to go; the first is 1 */
};

DS_MUST_USE int ds_gone_init(struct ds_gone_record *g);
void ds_gone_fini(struct ds_gone_record *g);

/* The key with this hash went at `when_ns`, of a clock that never goes back below 0. */
void ds_gone_add(struct ds_gone_record *g, uint64_t hash, enum ds_gone why, int64_t when_ns);

/* Why it went last, and when (to the millisecond); DS_GONE_UNKNOWN: it is not remembered. */
enum ds_gone ds_gone_find(const struct ds_gone_record *g, uint64_t hash, int64_t *ret_when_ns);

#endif
