/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - the log of keeper and worker: one event a line, logfmt, UTC with microseconds.
 *
 *     ts=2026-11-23T08:00:00.000000Z level=info mod=worker pid=1 msg="..."
 *
 * The client library never logs. Threads: any; a line is one write(2).
 */
#ifndef DS_BASE_LOG_H
#define DS_BASE_LOG_H

#include "base/base.h"

enum ds_log_level { DS_LOG_DEBUG, DS_LOG_INFO, DS_LOG_WARNING, DS_LOG_ERROR };

/* Where lines go (not owned; default 2) and the least level that is written. */
void ds_log_init(int fd, enum ds_log_level least, const char *module);

__attribute__((format(printf, 2, 3))) void ds_log(enum ds_log_level level, const char *fmt, ...);

#endif
