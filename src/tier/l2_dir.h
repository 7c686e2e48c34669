/* SPDX-License-Identifier: Apache-2.0 */
/* l2_dir.h - what l2_dir.c and l2_dir_scan.c share; for nobody else. */
#ifndef DS_TIER_L2_DIR_H
#define DS_TIER_L2_DIR_H

#include "tier/l2_value.h"

#define DS_L2_DIR_SHARDS 256
#define DS_L2_DIR_TEMP ".t-" /* beginning of the names of temporary files */

struct ds_l2_dir {
    struct ds_l2 base;
    int root;
    atomic_int shards[DS_L2_DIR_SHARDS]; /* descriptors, opened at the first use; -1: not yet */
    atomic_uint temps;                   /* numbers temporary files */
    uint32_t random;                     /* tells this opening's temporary files from others' */
};

/* *ret: the shard's descriptor, owned by dir. With `make`, makes it; else DS_ENOTFOUND. */
DS_MUST_USE int ds_l2_dir_shard(struct ds_l2_dir *dir, struct ds_l2_call *call, uint8_t shard,
                                bool make, int *ret);

/* Waits until this key is ours, among threads and workers; *ret is to be closed then. */
DS_MUST_USE int ds_l2_dir_lock(struct ds_l2_call *call, int shard, const void *key,
                               uint32_t key_size, int *ret);

/* The header of a file of a shard; `key` NULL: of any key. DS_ENOTFOUND, DS_ECORRUPT. */
DS_MUST_USE int ds_l2_dir_head(struct ds_l2_call *call, int shard, const char *name,
                               const void *key, uint32_t key_size, struct ds_l2_head *ret);

int ds_l2_dir_list(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each, void *arg);
int ds_l2_dir_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc);

#endif
