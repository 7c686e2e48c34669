/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procfs.h - what the kernel says about other processes of ours.
 *
 * Errors: functions return 0 (or false) for a process that is gone.
 */
#ifndef DS_BENCH_PROCFS_H
#define DS_BENCH_PROCFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

bool bench_proc_alive(pid_t pid); /* a zombie is not alive */
uint64_t bench_proc_threads(pid_t pid);

/* Bytes that count for this process alone: anonymous memory and its share of mapped files, without
 * shared memory (smaps_rollup: Pss_Anon + Pss_File). */
uint64_t bench_proc_private(pid_t pid);

/* CPU time of all threads, in nanoseconds. */
uint64_t bench_proc_cpu_ns(pid_t pid);

/* Pages, in bytes, of the memfds that any of the processes has open, each counted once, and of
 * those the data segment's (the one with "data" in its name) apart. */
struct bench_memfds {
    uint64_t data, others;
};

void bench_proc_memfds(const pid_t *pids, unsigned n, struct bench_memfds *ret);

/* "MemAvailable" of the machine, in bytes. */
uint64_t bench_memory_available(void);

#endif
