/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sys.h"
#include "base/sys_file.h"
#include "tier/l2_dir_sync.h"

void ds_l2_dir_sync(const int *fds, size_t n, bool data, int *rcs)
{
    for (size_t i = 0; i < n; i++) {
        rcs[i] = data ? ds_sys_fdatasync(fds[i]) : ds_sys_fsync(fds[i]);
    }
}
