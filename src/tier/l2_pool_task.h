/* SPDX-License-Identifier: Apache-2.0 */
/* l2_pool_task.h - what l2_pool.c and l2_pool_task.c share: a request in the pool, and its run. */
#ifndef DS_TIER_L2_POOL_TASK_H
#define DS_TIER_L2_POOL_TASK_H

#include "tier/l2_pool.h"

#define DS_L2_BATCH_MAX 32

struct ds_l2_task {
    struct ds_l2_task *next; /* in its lane, or in the done list */
    struct ds_l2_request request;
    struct ds_l2_event event;
    uint32_t retries;
    int64_t since_ns;
    uint8_t key[DS_L2_KEY_MAX]; /* allocated to its size: the last member */
};

bool ds_l2_task_writes(const struct ds_l2_task *t);

/* Without the pool's lock. Several: of different keys, and all write. Fills their events, and rcs;
 * `call` has the pool's `stop`, and tells of all together. */
void ds_l2_task_run(const struct ds_l2_pool_config *config, struct ds_l2_call *call,
                    struct ds_l2_task *const *tasks, size_t n, int *rcs);

#endif
