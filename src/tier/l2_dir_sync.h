/* SPDX-License-Identifier: Apache-2.0 */
/* l2_dir_sync.h - many files made durable at once. Threads: any. */
#ifndef DS_TIER_L2_DIR_SYNC_H
#define DS_TIER_L2_DIR_SYNC_H

#include <stdbool.h>
#include <stddef.h>

#define DS_L2_DIR_SYNC_MAX 64u

/* fsync() of n descriptors, at most DS_L2_DIR_SYNC_MAX; with `data` fdatasync(). At the same time
 * where io_uring is there: the flushes of the disk are then shared, which are most of the cost.
 * rcs[i]: 0 or a negative errno. */
void ds_l2_dir_sync(const int *fds, size_t n, bool data, int *rcs);

#endif
