/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/keeper_link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/sys.h"

int ds_link_send(int sock, enum ds_link_type type, uint32_t number, const char *name,
                 const char *text, const int *fds, size_t n_fds)
{
    struct ds_link_msg msg = {.type = (uint32_t)type, .number = number};
    ssize_t n;

    DS_ASSERT(n_fds <= DS_LINK_FDS_MAX);
    (void)snprintf(msg.name, sizeof(msg.name), "%s", name != NULL ? name : "");
    (void)snprintf(msg.text, sizeof(msg.text), "%s", text != NULL ? text : "");
    n = ds_sys_send_fds(sock, &msg, sizeof(msg), fds, n_fds);
    if (n == (ssize_t)sizeof(msg)) {
        return 0;
    }
    return n == -EPIPE || n == -ECONNRESET ? DS_EDISCONNECTED : DS_EIO;
}

int ds_link_recv(int sock, struct ds_link_msg *ret, int fds[DS_LINK_FDS_MAX], size_t *ret_n_fds)
{
    ssize_t n;

    *ret_n_fds = DS_LINK_FDS_MAX;
    n = ds_sys_recv_fds(sock, ret, sizeof(*ret), fds, ret_n_fds);
    if (n == (ssize_t)sizeof(*ret) && memchr(ret->name, '\0', sizeof(ret->name)) != NULL &&
        memchr(ret->text, '\0', sizeof(ret->text)) != NULL) {
        return 0;
    }
    while (*ret_n_fds > 0) {
        ds_sys_close(fds[--*ret_n_fds]);
    }
    if (n == -EAGAIN) {
        return DS_EAGAIN;
    }
    return n == 0 || n == -ECONNRESET ? DS_EDISCONNECTED : n < 0 ? DS_EIO : DS_ECORRUPT;
}
