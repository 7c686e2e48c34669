/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ghost.h - remembers the keys of what was evicted lately, in four bytes a key.
 *
 * A table of buckets of one cache line: 16 entries of a 16-bit fingerprint and a 16-bit generation.
 * A generation is a 64th of the window, so an entry is forgotten within 1/64 of the window's bytes
 * after its time; a full bucket forgets its oldest one. A foreign key is taken for a ghost in one
 * case of 4000 (16 of 65536).
 *
 * Ownership: the ghost owns its table. Threads: one. Errors: DS_ENOMEM from init only; a table that
 * cannot grow forgets earlier.
 */
#ifndef DS_STORE_GHOST_H
#define DS_STORE_GHOST_H

#include "base/base.h"

struct ds_ghost {
    uint32_t *entry; /* fingerprint in the upper half; 0: empty */
    uint64_t buckets;
    uint64_t filled; /* bytes in this generation */
    uint16_t generation;
    uint16_t turn; /* which place of a bucket is looked at first */
};

DS_MUST_USE int ds_ghost_init(struct ds_ghost *g);
void ds_ghost_fini(struct ds_ghost *g);

/* Remembers an object of `size` bytes until `window` more bytes have been added, as long as there
 * are not many more entries than `objects`. */
void ds_ghost_add(struct ds_ghost *g, uint32_t hash, uint64_t size, uint64_t window,
                  uint64_t objects);

/* Whether the key is remembered; it is forgotten then. */
bool ds_ghost_take(struct ds_ghost *g, uint32_t hash);

#endif
