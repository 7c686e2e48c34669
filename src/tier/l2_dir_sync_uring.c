/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/failpoint.h"
#include "base/sys.h"
#include "base/sys_file.h"
#include "tier/l2_dir_sync.h"
#include "tier/uring.h"

#define NOT_YET 1

/* Those that the ring takes; of the others rcs[i] stays as it is. A sync of which no answer comes
 * has failed: a second one need not tell of what the first one lost. */
static void at_once(const int *fds, size_t n, bool data, int *rcs)
{
    struct io_uring ring;
    int taken;

    if (ds_failpoint("l2.dir.ring") < 0 || io_uring_queue_init(DS_L2_DIR_SYNC_MAX, &ring, 0) != 0) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

        io_uring_prep_fsync(sqe, fds[i], data ? IORING_FSYNC_DATASYNC : 0);
        io_uring_sqe_set_flags(sqe, IOSQE_ASYNC); /* each in a thread of the kernel */
        io_uring_sqe_set_data64(sqe, i);
    }
    taken = io_uring_submit(&ring);
    for (int i = 0; i < taken; i++) { /* in order */
        rcs[i] = -EIO;
    }
    while (taken > 0) {
        struct io_uring_cqe *cqe;
        int rc = io_uring_wait_cqe(&ring, &cqe);

        if (rc == 0) {
            rcs[cqe->user_data] = cqe->res < 0 ? cqe->res : 0;
            io_uring_cqe_seen(&ring, cqe);
            taken--;
        } else if (rc != -EINTR) {
            break;
        }
    }
    io_uring_queue_exit(&ring);
}

void ds_l2_dir_sync(const int *fds, size_t n, bool data, int *rcs)
{
    for (size_t i = 0; i < n; i++) {
        rcs[i] = NOT_YET;
    }
    if (n > 1) {
        at_once(fds, n, data, rcs);
    }
    for (size_t i = 0; i < n; i++) {
        if (rcs[i] == NOT_YET) {
            rcs[i] = data ? ds_sys_fdatasync(fds[i]) : ds_sys_fsync(fds[i]);
        } else { /* as there */
            int rc = ds_failpoint(data ? "sys.fdatasync" : "sys.fsync");

            rcs[i] = rc < 0 ? rc : rcs[i];
        }
    }
}
