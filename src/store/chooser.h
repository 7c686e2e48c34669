/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chooser.h - which of two policies would miss less, told from small caches of sampled keys.
 *
 * A reference counts if the hash of its key falls into the sample: one key in 2^k (spatial
 * sampling: Waldspurger et al., "Efficient MRC construction with SHARDS", FAST 2015). Two caches
 * without data, one per policy and each of 2^-k of the capacity, see these references (miniature
 * simulation: Waldspurger et al., "Cache modeling and optimization using miniature simulations",
 * ATC 2017). k follows the number of objects, so that the caches stay within fixed arrays.
 *
 * Where both hit or both miss, nothing is learned. Of the references that one alone hits, the other
 * policy must have significantly more than the chosen one (McNemar's test of paired proportions,
 * 1947, at three standard deviations). Counts are halved as they grow: a change of the workload
 * shows soon.
 *
 * Ownership: the chooser owns its caches. Threads: one. Errors: DS_ENOMEM from create only.
 */
#ifndef DS_STORE_CHOOSER_H
#define DS_STORE_CHOOSER_H

#include "base/base.h"

enum ds_choice { DS_CHOICE_LRU, DS_CHOICE_S3FIFO, DS_CHOICES };

struct ds_chooser;

/* It chooses LRU until it has seen more. */
DS_MUST_USE int ds_chooser_create(struct ds_chooser **ret);

/* NULL is a no-op; returns NULL. */
struct ds_chooser *ds_chooser_destroy(struct ds_chooser *c);

/* The real cache holds `objects`, and room for `capacity` bytes; UINT64_MAX: it has not been full
 * yet. */
void ds_chooser_resize(struct ds_chooser *c, uint64_t capacity, uint64_t objects);

/* A key was read, or came in after a miss; the object has `size` bytes. */
void ds_chooser_use(struct ds_chooser *c, uint32_t hash, uint64_t size);

/* A key is gone, but not by eviction. */
void ds_chooser_forget(struct ds_chooser *c, uint32_t hash);

enum ds_choice ds_chooser_choice(const struct ds_chooser *c);

/* Keys of the sample: one in 2^this. */
unsigned ds_chooser_shift(const struct ds_chooser *c);

#endif
