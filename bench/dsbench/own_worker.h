/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_worker.h - a worker that dsbench starts for itself on a free port, in an empty directory.
 *
 * Ownership: bench_own_stop() ends it, also if the start failed halfway; the directory goes too.
 * Errors:    0, or -1 after printing the reason.
 */
#ifndef DS_BENCH_OWN_WORKER_H
#define DS_BENCH_OWN_WORKER_H

#include "bench.h"

struct bench_own_worker {
    struct bench_run run; /* a copy with this worker's address, for bench_connect() */
    const char *dscli;
    char directory[64];
    pid_t worker, keeper;
    double start_ms; /* dscli start, from fork to exit */
    double ready_ms; /* from fork to the first set that returned */
};

/* `dscli`: path of the command, or NULL to look beside this program and then in PATH. */
int bench_own_start(struct bench_own_worker *w, const struct bench_run *run, const char *dscli,
                    uint64_t memory_mb);

/* dscli stop; *ret_ms, if not NULL, is how long it took. */
void bench_own_stop(struct bench_own_worker *w, double *ret_ms);

#endif
