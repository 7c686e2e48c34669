/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir.h - where a worker's socket and log are.
 *
 * Option unix_domain_socket_dir, else "datasystem-<uid>" under XDG_RUNTIME_DIR or /tmp. One file
 * per worker and kind: "<worker_address>.sock", "<worker_address>.log".
 */
#ifndef DS_BASE_RUNDIR_H
#define DS_BASE_RUNDIR_H

#include "base/options.h"

#define DS_RUNDIR_PATH_MAX 104u /* fits sockaddr_un */

/* Makes the directory if needed, and checks that it is ours. DS_EINVAL: too long. DS_EDENIED: it
 * belongs to somebody else. DS_EIO. */
DS_MUST_USE int ds_rundir_make(const struct ds_options *options);

/* <dir>/<worker_address><suffix>. DS_EINVAL: too long. */
DS_MUST_USE int ds_rundir_path(const struct ds_options *options, const char *suffix,
                               char ret[DS_RUNDIR_PATH_MAX]);

/* Removes the directory if nothing is left in it and it is the default one. */
void ds_rundir_remove(const struct ds_options *options);

/* The log goes to standard error, which the keeper has made its file; levels from the options. */
void ds_log_from_options(const struct ds_options *options, const char *module);

#endif
