/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h - the processes of one worker service, found by their arguments.
 *
 * Keeper and worker of a service carry --worker_address=ADDRESS in their arguments. A process is
 * held by its pidfd, taken before its identity is checked: a reused pid cannot be mistaken for it.
 */
#ifndef DS_CLI_PROCESS_H
#define DS_CLI_PROCESS_H

#include <sys/types.h>

#include "base/base.h"

#define DS_PROCESSES_MAX 16

struct ds_process {
    pid_t pid;
    int pidfd;
    bool keeper; /* as far as the arguments tell */
};

struct ds_processes {
    struct ds_process list[DS_PROCESSES_MAX];
    size_t n;
};

/* Processes of this user's (root: anybody's) service at `address`, those only that started at
 * `since` or later (ticks since boot, see ds_process_start_time(); 0: all). Zombies do not count.
 * Close the set with ds_processes_close(). */
void ds_processes_find(const char *address, uint64_t since, struct ds_processes *ret);

void ds_processes_close(struct ds_processes *set);

/* To all, or to keepers only. */
void ds_processes_signal(const struct ds_processes *set, int signal, bool keepers_only);

/* Waits until all are gone: true. False: not within timeout_ms. */
bool ds_processes_wait(const struct ds_processes *set, int timeout_ms);

/* Kills the service for good, also what its processes start meanwhile. True: nothing is left. */
DS_MUST_USE bool ds_processes_kill(const char *address, uint64_t since);

/* When a process started, in clock ticks since boot; 0: no such process. */
uint64_t ds_process_start_time(pid_t pid);

#endif
