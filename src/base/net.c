/* SPDX-License-Identifier: Apache-2.0 */
#include "base/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/sys.h"

static bool fails(const char *point)
{
    int rc = ds_failpoint(point);

    errno = rc < 0 ? -rc : errno;
    return rc < 0;
}

static int resolve(const char *host, uint16_t port, bool passive, struct addrinfo **ret)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = (passive ? AI_PASSIVE : 0) | AI_NUMERICSERV};
    char service[8];

    (void)snprintf(service, sizeof(service), "%u", port);
    return getaddrinfo(host, service, &hints, ret) == 0 ? 0 : -EHOSTUNREACH;
}

int ds_net_listen_tcp(const char *host, uint16_t port)
{
    struct addrinfo *list = NULL;
    int one = 1;
    int fd = -1;
    int rc = ds_failpoint("net.listen");

    if (rc == 0) {
        rc = resolve(host, port, true, &list);
    }
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0 &&
            (fails("net.bind") || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
             bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1024) < 0)) {
            rc = -errno;
            (void)close(fd);
            fd = -1;
        }
    }
    if (list != NULL) {
        freeaddrinfo(list);
    }
    return fd >= 0 ? fd : rc;
}

static int unix_address(const char *path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret->sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(ret->sun_path, path, strlen(path) + 1);
    return 0;
}

int ds_net_listen_unix(const char *path, bool for_all_users)
{
    struct sockaddr_un a;
    int fd;
    int rc = unix_address(path, &a);

    if (rc == 0) {
        rc = ds_failpoint("net.listen_unix");
    }
    if (rc < 0) {
        return rc;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)unlink(path);
    if (fails("net.bind_unix") || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        chmod(path, for_all_users ? 0666 : 0600) < 0 || listen(fd, 1024) < 0) {
        rc = -errno;
        (void)close(fd);
        return rc;
    }
    return fd;
}

static int connect_before(int fd, const struct addrinfo *a, int64_t deadline_ns)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int64_t left_ms;
    int err = 0;
    socklen_t size = sizeof(err);

    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return -errno;
    }
    left_ms = (deadline_ns - ds_monotonic_ns()) / 1000000;
    if (poll(&p, 1, left_ms > 0 ? (int)ds_min_u64((uint64_t)left_ms, 1u << 30) : 0) <= 0) {
        return -ETIMEDOUT;
    }
    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size);
    return -err;
}

int ds_net_connect_tcp(const char *host, uint16_t port, int64_t deadline_ns)
{
    struct addrinfo *list = NULL;
    int fd = -1;
    int rc = ds_failpoint("net.connect");

    if (rc == 0) {
        rc = resolve(host, port, false, &list);
    }
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        rc = fd < 0 ? -errno : connect_before(fd, a, deadline_ns);
        if (rc < 0 && fd >= 0) {
            (void)close(fd);
            fd = -1;
        }
    }
    if (list != NULL) {
        freeaddrinfo(list);
    }
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFL, 0); /* blocking from here on */
    }
    return fd >= 0 ? fd : rc;
}

int ds_net_connect_unix(const char *path)
{
    struct sockaddr_un a;
    int fd;
    int rc = unix_address(path, &a);

    if (rc == 0) {
        rc = ds_failpoint("net.connect_unix");
    }
    if (rc < 0) {
        return rc;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        rc = -errno;
        (void)close(fd);
        return rc;
    }
    return fd;
}

int ds_net_accept(int listener)
{
    int rc = ds_failpoint("net.accept");
    int fd;

    if (rc < 0) {
        return rc;
    }
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int ds_net_read_all(int fd, void *buf, size_t size, int64_t deadline_ns)
{
    uint8_t *p = buf;

    while (size > 0) {
        int ready = ds_sys_wait_readable(fd, deadline_ns);
        ssize_t n;

        if (ready <= 0) {
            return ready < 0 ? ready : -ETIMEDOUT;
        }
        n = read(fd, p, size);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
            return n == 0 ? -ECONNRESET : -errno;
        }
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int ds_net_write_all(int fd, const void *buf, size_t size)
{
    ssize_t n = send(fd, buf, size, MSG_NOSIGNAL);

    if (n < 0) {
        return -errno;
    }
    return (size_t)n == size ? 0
                             : -EPIPE; /* messages are small: they fit a fresh socket's buffer */
}
