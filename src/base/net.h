/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - making sockets: the second door to the operating system, beside sys.h.
 *
 * Descriptors are close-on-exec. Errors are -errno.
 */
#ifndef DS_BASE_NET_H
#define DS_BASE_NET_H

#include "base/base.h"

/* A listening TCP socket, non-blocking; SO_REUSEADDR. host is a literal address or a name. */
DS_MUST_USE int ds_net_listen_tcp(const char *host, uint16_t port);

/* A listening Unix SOCK_SEQPACKET socket at `path` (an old one there is removed). */
DS_MUST_USE int ds_net_listen_unix(const char *path, bool for_all_users);

/* Connects before `deadline_ns` (CLOCK_MONOTONIC): -ETIMEDOUT, -ECONNREFUSED ... Blocking sockets.
 */
DS_MUST_USE int ds_net_connect_tcp(const char *host, uint16_t port, int64_t deadline_ns);
DS_MUST_USE int ds_net_connect_unix(const char *path);

/* -EAGAIN: nobody waits. */
DS_MUST_USE int ds_net_accept(int listener);

/* `size` bytes of a stream before the deadline: 0, -ETIMEDOUT, -ECONNRESET. */
DS_MUST_USE int ds_net_read_all(int fd, void *buf, size_t size, int64_t deadline_ns);
DS_MUST_USE int ds_net_write_all(int fd, const void *buf, size_t size);

#endif
