/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - asking a worker about itself, and telling it to stop or to upgrade: for dscli.
 *
 * Threads: any. Errors: DS_EUNAVAILABLE (nobody listens), DS_EDENIED, DS_ETIMEOUT, DS_EVERSION,
 * DS_EINVAL.
 */
#ifndef DS_CLIENT_CONTROL_H
#define DS_CLIENT_CONTROL_H

#include <ds/client.h>

#include "base/base.h"

struct ds_control_reply {
    int64_t worker_pid;
    int64_t keeper_pid;
    uint64_t uptime_ms;
    uint64_t restarts;
    char version[32];
    char socket_path[108];
    char text[1024]; /* the last trouble, such as an upgrade that failed; "" if none */
    struct ds_worker_stats stats;
};

enum ds_control_op { DS_CONTROL_STATUS, DS_CONTROL_STOP, DS_CONTROL_UPGRADE };

/* `arg`: for an upgrade the path of the new worker program; else NULL. */
DS_MUST_USE int ds_control(const char *host, uint16_t port, enum ds_control_op op, const char *arg,
                           int timeout_ms, struct ds_control_reply *ret);

#endif
