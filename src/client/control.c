/* SPDX-License-Identifier: Apache-2.0 */
#include "client/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/net.h"
#include "base/sys.h"
#include "client/internal.h"

static int call(int sock, const struct ds_wire_control *msg, int64_t deadline_ns,
                struct ds_wire_answer *answer)
{
    size_t n_fds = 0;
    ssize_t n = ds_sys_send_fds(sock, msg, sizeof(*msg), NULL, 0);

    if (n < 0) {
        return DS_EUNAVAILABLE;
    }
    if (ds_sys_wait_readable(sock, deadline_ns) <= 0) {
        return DS_ETIMEOUT;
    }
    n = ds_sys_recv_fds(sock, answer, sizeof(*answer), NULL, &n_fds);
    if (n <= 0) {
        return DS_EUNAVAILABLE;
    }
    if (!ds_wire_valid(answer, (size_t)n, DS_WIRE_ANSWER)) {
        return DS_EVERSION;
    }
    return answer->header.status;
}

int ds_control(const char *host, uint16_t port, enum ds_control_op op, const char *arg,
               int timeout_ms, struct ds_control_reply *ret)
{
    static const enum ds_wire_control_op ops[] = {DS_WIRE_STATUS, DS_WIRE_STOP, DS_WIRE_UPGRADE};
    int64_t deadline_ns = ds_monotonic_ns() + timeout_ms * INT64_C(1000000);
    char path[DS_SOCKET_PATH_MAX];
    struct ds_wire_control msg;
    struct ds_wire_answer answer;
    int sock;
    struct ds_reason why;
    int rc = ds_discover(host, port, deadline_ns, &why, path);

    if (rc != 0) {
        return rc;
    }
    ds_wire_begin(&msg, DS_WIRE_CONTROL, sizeof(msg));
    msg.op = ops[op];
    if (arg != NULL && (size_t)snprintf(msg.arg, sizeof(msg.arg), "%s", arg) >= sizeof(msg.arg)) {
        return DS_EINVAL;
    }
    sock = ds_net_connect_unix(path);
    if (sock < 0) {
        return sock == -EACCES ? DS_EDENIED : DS_EUNAVAILABLE;
    }
    rc = call(sock, &msg, deadline_ns, &answer);
    ds_sys_close(sock);
    if (rc == 0) {
        *ret = (struct ds_control_reply){
            .worker_pid = (int64_t)answer.stats.worker_pid,
            .keeper_pid = (int64_t)answer.stats.keeper_pid,
            .uptime_ms = answer.stats.uptime_ms,
            .restarts = answer.stats.restarts,
            .stats = answer.stats,
        };
        memcpy(ret->version, answer.version, sizeof(ret->version));
        memcpy(ret->socket_path, answer.path, sizeof(answer.path));
        memcpy(ret->text, answer.text, sizeof(ret->text));
    }
    return rc;
}
