/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - starts a keeper in the background and waits until its worker serves.
 *
 * The keeper is told by DS_READY_FD which descriptor to write to: one line, "READY <worker pid>
 * <keeper pid>" or "FAILED <why>", then it closes it. Its stdout and stderr go to memory that is
 * shown when the start fails; it must put them elsewhere once it is ready.
 */
#ifndef DS_CLI_LAUNCH_H
#define DS_CLI_LAUNCH_H

#include <sys/types.h>

#include "base/base.h"

enum ds_launch_outcome {
    DS_LAUNCH_READY,
    DS_LAUNCH_FAILED,      /* it said why, or died; `text` */
    DS_LAUNCH_TIMEOUT,     /* everything that was started is gone again */
    DS_LAUNCH_INTERRUPTED, /* by SIGINT, SIGTERM or SIGHUP to us; likewise */
};

struct ds_launch {
    enum ds_launch_outcome outcome;
    pid_t worker_pid;
    pid_t keeper_pid;
    bool all_gone;     /* unless ready: whether everything that was started has ended */
    char text[1024];   /* why it failed */
    char output[4096]; /* the end of what it printed; empty when ready */
};

/* Runs argv[0] (a path, or a name in PATH) in "/", in a session of its own. `address` identifies
 * the service's processes when all must go (process.h). */
void ds_launch(char *const *argv, const char *address, int timeout_ms, struct ds_launch *ret);

#endif
