/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - the process that holds the node's memory while workers come and go.
 *
 * Threads: one; nothing else runs in its process.
 */
#ifndef DS_KEEPER_KEEPER_H
#define DS_KEEPER_KEEPER_H

#include "base/options.h"

/* Runs until told to stop. argv: handed to the worker as it is. ready_fd: where to write
 * "READY <worker pid> <keeper pid>" or "FAILED <why>", or -1. adopt_fd: a link to a worker that is
 * running already, or -1. Returns the exit status. */
int ds_keeper_run(const struct ds_options *options, char **argv, const char *worker_program,
                  int ready_fd, int adopt_fd);

#endif
