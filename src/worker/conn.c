/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - connections: the handshake, control calls, and the death of clients.
 *
 * A session ends in two steps. Hang-up of the socket ends its requests, references and latches.
 * Pins and grants end when no process can use the mapping any more: the socket has hung up (forked
 * children keep their copy of it) and the pidfd says that the process is gone, or the client has
 * said goodbye after unmapping everything.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/net.h"
#include "base/sys.h"
#include "shm/layout.h"
#include "worker/worker.h"

#define SESSION_SPARE (UINT64_C(16) << 20)
#define IDLE_MAX 256 /* connections without a session */

int ds_worker_watch(struct ds_worker *w, int fd, enum ds_watch_kind kind, void *conn)
{
    DS_ASSERT(((uintptr_t)conn & 15) == 0 && (unsigned)kind < 16);
    /* Connections are aligned: the kind goes into the low bits. */
    /* Of a wake every ring is an edge: no read between wake-up and pass. */
    return ds_sys_epoll_add(w->epoll, fd, (uintptr_t)conn | (uint64_t)kind, kind == DS_WATCH_WAKE) <
                   0
               ? DS_EIO
               : 0;
}

/* Closing a descriptor takes it out of epoll only if nobody else has it open, and others do. */
static void unwatch(struct ds_worker *w, int *fd)
{
    if (*fd >= 0) {
        ds_sys_epoll_remove(w->epoll, *fd);
        (void)close(*fd);
        *fd = -1;
    }
}

static struct ds_conn *conn_create(struct ds_worker *w)
{
    struct ds_conn *c = ds_zalloc(sizeof(*c), "conn");

    if (c != NULL) {
        c->sock = c->pidfd = c->wake = -1;
        c->session = UINT32_MAX;
        c->next = w->conns;
        w->conns = c;
    }
    return c;
}

/* Freed after the current batch of events: some of them may still name it. */
static void conn_finish(struct ds_worker *w, struct ds_conn *c)
{
    unwatch(w, &c->sock);
    unwatch(w, &c->pidfd);
    unwatch(w, &c->wake);
    c->ending = true;
    w->endings = true;
}

static void hang_up(struct ds_worker *w, struct ds_conn *c)
{
    unwatch(w, &c->sock);
    unwatch(w, &c->wake);
    if (c->session != UINT32_MAX) {
        ds_store_session_hangup(w->store, c->session);
    }
    if (c->session == UINT32_MAX || c->gone || c->goodbye || c->ghost) {
        conn_finish(w, c);
    }
}

void ds_worker_hang_up_broken(struct ds_worker *w)
{
    uint32_t number;

    while ((number = ds_store_next_broken(w->store)) != UINT32_MAX) {
        struct ds_conn *c = w->conns;

        while (c != NULL && (c->session != number || c->ending)) {
            c = c->next;
        }
        ds_log(DS_LOG_WARNING, "session %u broke the protocol: hung up", number);
        if (c != NULL) {
            hang_up(w, c);
        } else {
            ds_store_session_hangup(w->store, number);
        }
    }
}

void ds_worker_on_process_end(struct ds_worker *w, struct ds_conn *c)
{
    c->gone = true;
    unwatch(w, &c->pidfd);
    if (c->sock < 0) {
        if (c->session != UINT32_MAX) {
            ds_store_session_hangup(w->store, c->session);
        }
        conn_finish(w, c);
    }
}

void ds_worker_end_sessions(struct ds_worker *w)
{
    struct ds_conn **at = &w->conns;

    w->endings = false;
    while (*at != NULL) {
        struct ds_conn *c = *at;

        if (!c->ending) {
            at = &c->next;
            continue;
        }
        if (c->session != UINT32_MAX) {
            char name[DS_LINK_NAME_MAX];

            (void)snprintf(name, sizeof(name), "s%u", c->session);
            ds_store_session_end(w->store, c->session);
            (void)ds_failpoint("session.ended");
            (void)!ds_link_send(w->link, DS_LINK_DROP, 0, name, NULL, NULL, 0);
        }
        *at = c->next;
        ds_free(c);
    }
}

/* Connections that have asked for nothing yet: the oldest one makes room. */
static void limit_idle(struct ds_worker *w)
{
    struct ds_conn *oldest = NULL;
    unsigned idle = 0;

    for (struct ds_conn *c = w->conns; c != NULL; c = c->next) {
        if (c->session == UINT32_MAX && !c->ending) {
            oldest = c; /* the list begins with the newest */
            idle++;
        }
    }
    if (idle > IDLE_MAX) {
        conn_finish(w, oldest);
    }
}

void ds_worker_accept(struct ds_worker *w, bool tcp)
{
    for (int i = 0; i < 64; i++) {
        int fd = ds_net_accept(tcp ? w->tcp : w->unix_sock);
        struct ds_conn *c;

        if (fd == -EMFILE || fd == -ENFILE) { /* take it and drop it, or epoll tells for ever */
            ds_sys_close(w->spare);
            ds_sys_close(ds_net_accept(tcp ? w->tcp : w->unix_sock));
            w->spare = ds_sys_eventfd();
            return;
        }
        if (fd < 0) {
            return;
        }
        limit_idle(w);
        c = conn_create(w);
        if (c == NULL) {
            (void)close(fd);
            return;
        }
        c->sock = fd;
        c->hello = tcp;
        if (ds_worker_watch(w, fd, tcp ? DS_WATCH_HELLO : DS_WATCH_PEER, c) != 0) {
            conn_finish(w, c);
        }
    }
}

void ds_worker_on_hello(struct ds_worker *w, struct ds_conn *c)
{
    struct ds_wire_hello hello;
    struct ds_wire_here here;
    ssize_t n = read(c->sock, &hello, sizeof(hello));

    if (n > 0 && ds_wire_is_ours(&hello, (size_t)n)) {
        ds_wire_begin(&here, DS_WIRE_HERE, sizeof(here));
        (void)snprintf(here.path, sizeof(here.path), "%s", w->socket_path);
        if (!ds_wire_valid(&hello, (size_t)n, DS_WIRE_HELLO)) {
            here.header.status = DS_EVERSION;
        }
        (void)!ds_net_write_all(c->sock, &here, sizeof(here));
    }
    conn_finish(w, c); /* whatever it was: this port only tells where the socket is */
}

static bool may_connect(const struct ds_worker *w, const struct ds_sys_peer *peer)
{
    const char *access = ds_options_str(w->options, DS_OPT_client_access);

    return peer->uid == 0 || peer->uid == geteuid() || strcmp(access, "all") == 0 ||
           (strcmp(access, "group") == 0 && peer->gid == getegid());
}

static void refuse(struct ds_conn *c, int status, const char *text)
{
    struct ds_wire_welcome reply;

    ds_wire_begin(&reply, DS_WIRE_WELCOME, sizeof(reply));
    reply.header.status = status;
    (void)snprintf(reply.text, sizeof(reply.text), "%s", text);
    (void)!ds_sys_send_fds(c->sock, &reply, sizeof(reply), NULL, 0);
}

static int keep_session(struct ds_worker *w, const struct ds_conn *c)
{
    int fds[2] = {ds_store_session_segment(w->store, c->session)->fd, c->pidfd};
    char name[DS_LINK_NAME_MAX];

    (void)snprintf(name, sizeof(name), "s%u", c->session);
    return ds_link_send(w->link, DS_LINK_PUT, 0, name, NULL, fds, c->pidfd >= 0 ? 2 : 1);
}

/* The session's descriptors go to the keeper first: whatever a client has been told of, the next
 * worker knows. */
static int new_session(struct ds_worker *w, struct ds_conn *c, const struct ds_wire_open *open)
{
    struct ds_session_info info = {.pid = open->pid, .pins = open->pins};
    struct ds_segment segment;
    struct ds_sys_peer peer;
    int rc;

    if (ds_sys_memory_available() < SESSION_SPARE) { /* before the kernel ends somebody for it */
        return DS_ENOMEM;
    }
    rc = ds_segment_create("ds-session", DS_SESSION_SIZE, &segment);
    if (rc != 0) {
        return rc;
    }
    if (ds_sys_peer(c->sock, &peer) < 0) {
        ds_segment_close(&segment);
        return DS_EIO;
    }
    info.uid = peer.uid;
    memcpy(info.token, open->token, sizeof(info.token));
    rc = ds_store_session_open(w->store, &info, &segment, &c->session);
    if (rc != 0) {
        ds_segment_close(&segment);
        return rc;
    }
    (void)ds_failpoint("session.before_keep");
    return keep_session(w, c);
}

/* Whose client has had no WELCOME may ask again, a new worker perhaps: it gets what was made for
 * it, or that would stay, with nobody to use it, for as long as the client lives. */
static int find_session(struct ds_worker *w, struct ds_conn *c, const struct ds_wire_open *open)
{
    uint32_t number = ds_store_session_find(w->store, open->token);
    struct ds_conn *old = w->conns;

    if (number == UINT32_MAX) {
        return (open->flags & DS_WIRE_RESUME) != 0 ? DS_ENOTFOUND : new_session(w, c, open);
    }
    while (old != NULL && (old->session != number || old->ending)) {
        old = old->next;
    }
    if (old != NULL) {
        old->session = UINT32_MAX;
        conn_finish(w, old);
    }
    c->session = number;
    return 0;
}

static int make_wake(struct ds_worker *w, struct ds_conn *c)
{
    c->wake = ds_sys_eventfd();
    if (c->wake < 0) {
        return DS_EIO;
    }
    return ds_worker_watch(w, c->wake, DS_WATCH_WAKE, c);
}

static int send_welcome(struct ds_worker *w, struct ds_conn *c)
{
    const struct ds_segment *segment = ds_store_session_segment(w->store, c->session);
    const struct ds_index_header *index = (const void *)w->index.base;
    struct ds_wire_welcome reply;
    int fds[DS_FD_COUNT] = {
        [DS_FD_DATA_RO] = w->data_ro_fd, [DS_FD_DATA_RW] = w->data_fd,
        [DS_FD_INDEX] = w->index_ro_fd,  [DS_FD_SESSION] = segment->fd,
        [DS_FD_WAKE] = c->wake,
    };

    ds_wire_begin(&reply, DS_WIRE_WELCOME, sizeof(reply));
    reply.session = c->session;
    reply.epoch = atomic_load(&index->epoch);
    reply.data_size = w->config.data_size;
    reply.boottime_offset_ns = w->boottime_offset_ns;
    (void)ds_failpoint("session.before_welcome");
    return ds_sys_send_fds(c->sock, &reply, sizeof(reply), fds, DS_FD_COUNT) ==
                   (ssize_t)sizeof(reply)
               ? 0
               : DS_EDISCONNECTED;
}

static void on_open(struct ds_worker *w, struct ds_conn *c, const struct ds_wire_open *open,
                    int *pidfd)
{
    static const uint8_t no_token[16];
    struct ds_sys_peer peer;
    int rc;

    if (c->session != UINT32_MAX) {
        refuse(c, DS_EINVAL, "this connection has a session already");
        return;
    }
    if (ds_sys_peer(c->sock, &peer) < 0) {
        refuse(c, DS_EIO, "the system does not tell who connects: try again");
        hang_up(w, c);
        return;
    }
    if (!may_connect(w, &peer)) {
        refuse(c, DS_EDENIED,
               "the worker serves its own user only: start it with --client_access=group or all");
        hang_up(w, c);
        return;
    }
    if (open->tenant[0] != '\0') {
        refuse(c, DS_ENOTSUPPORTED, "tenants are not there yet: leave tenant_id empty");
        return;
    }
    if (memcmp(open->token, no_token, sizeof(no_token)) == 0) {
        refuse(c, DS_EINVAL, "a session's token must not be all zero");
        return;
    }
    c->ghost = (open->flags & DS_WIRE_GHOST) != 0;
    if (!c->ghost) {
        /* The kernel's word counts; the client's own only where its pid cannot be seen from here.
         */
        c->pidfd = peer.pid > 0 ? ds_sys_pidfd(peer.pid) : -1;
        if (c->pidfd < 0 && *pidfd >= 0 && ds_sys_is_pidfd(*pidfd)) {
            c->pidfd = *pidfd;
            *pidfd = -1;
        }
    }
    rc = find_session(w, c, open);
    if (rc == 0 && c->pidfd >= 0) {
        rc = ds_worker_watch(w, c->pidfd, DS_WATCH_PROCESS, c);
    }
    if (rc == 0) {
        rc = make_wake(w, c);
    }
    if (rc == 0) {
        rc = send_welcome(w, c);
    }
    if (rc != 0) {
        refuse(c, rc,
               rc == DS_EAGAIN      ? "max_client_num clients are connected already"
               : rc == DS_ENOTFOUND ? "no such session: it has ended"
                                    : "the worker could not make a session");
        if (c->session != UINT32_MAX && (open->flags & DS_WIRE_RESUME) != 0) {
            /* Its pins are in use, and its client will try again: it waits as after a restart. */
            unwatch(w, &c->sock);
            unwatch(w, &c->wake);
            return;
        }
        if (c->session != UINT32_MAX) {
            c->goodbye = true;
        }
        hang_up(w, c);
    }
}

static void on_control(struct ds_worker *w, struct ds_conn *c, const struct ds_wire_control *msg)
{
    struct ds_wire_answer reply;
    struct ds_sys_peer peer;

    ds_wire_begin(&reply, DS_WIRE_ANSWER, sizeof(reply));
    ds_store_stats(w->store, &reply.stats);
    (void)snprintf(reply.version, sizeof(reply.version), "%s", DS_VERSION);
    (void)snprintf(reply.path, sizeof(reply.path), "%s", w->socket_path);
    (void)snprintf(reply.text, sizeof(reply.text), "%s", w->trouble);
    if (ds_sys_peer(c->sock, &peer) < 0 || (peer.uid != 0 && peer.uid != geteuid())) {
        reply.header.status = DS_EDENIED;
    } else if (msg->op == DS_WIRE_STOP) {
        reply.header.status = ds_link_send(w->link, DS_LINK_STOP, 0, NULL, NULL, NULL, 0);
    } else if (msg->op == DS_WIRE_UPGRADE && access(msg->arg, X_OK) == 0) {
        reply.header.status = ds_link_send(w->link, DS_LINK_UPGRADE, 0, NULL, msg->arg, NULL, 0);
        w->stop = reply.header.status == 0;
    } else if (msg->op != DS_WIRE_STATUS) {
        reply.header.status = DS_EINVAL;
    }
    (void)!ds_sys_send_fds(c->sock, &reply, sizeof(reply), NULL, 0);
}

/* The forked child says who it is. */
static void on_claim(struct ds_worker *w, struct ds_conn *c, int *pidfd)
{
    if (!c->ghost || *pidfd < 0 || !ds_sys_is_pidfd(*pidfd)) {
        return;
    }
    c->ghost = false;
    c->pidfd = *pidfd;
    *pidfd = -1;
    if (ds_worker_watch(w, c->pidfd, DS_WATCH_PROCESS, c) != 0 || keep_session(w, c) != 0) {
        ds_log(DS_LOG_WARNING, "session %u: its process cannot be watched", c->session);
    }
}

void ds_worker_on_peer(struct ds_worker *w, struct ds_conn *c)
{
    union {
        struct ds_wire_header header;
        struct ds_wire_open open;
        struct ds_wire_control control;
    } msg;
    int pidfd = -1;
    size_t n_fds = 1;
    ssize_t n = ds_sys_recv_fds(c->sock, &msg, sizeof(msg), &pidfd, &n_fds);

    if (n == -EAGAIN || n == -ENOMEM || n == -ENOBUFS) {
        return; /* the message is still there */
    }
    if (n <= 0) {
        hang_up(w, c);
        return;
    }
    if (ds_wire_valid(&msg, (size_t)n, DS_WIRE_OPEN)) {
        on_open(w, c, &msg.open, &pidfd);
    } else if (ds_wire_valid(&msg, (size_t)n, DS_WIRE_CONTROL)) {
        on_control(w, c, &msg.control);
    } else if (ds_wire_valid(&msg, (size_t)n, DS_WIRE_CLAIM)) {
        on_claim(w, c, &pidfd);
    } else if (ds_wire_valid(&msg, (size_t)n, DS_WIRE_GOODBYE)) {
        c->goodbye = true;
        hang_up(w, c);
    } else {
        refuse(c, DS_EVERSION,
               "the message is not of this version: install the same version of "
               "client and worker");
        hang_up(w, c);
    }
    ds_sys_close(pidfd);
}

int ds_worker_restore_session(struct ds_worker *w, uint32_t number, int pidfd)
{
    struct ds_conn *c = conn_create(w);

    if (c == NULL) {
        ds_sys_close(pidfd);
        return DS_ENOMEM;
    }
    c->session = number;
    c->pidfd = pidfd;
    /* Without a pidfd nobody tells us of its end: the client must come back by itself. */
    return pidfd >= 0 ? ds_worker_watch(w, pidfd, DS_WATCH_PROCESS, c) : 0;
}

void ds_worker_close_all(struct ds_worker *w)
{
    while (w->conns != NULL) {
        struct ds_conn *c = w->conns;

        w->conns = c->next;
        unwatch(w, &c->sock);
        unwatch(w, &c->pidfd);
        unwatch(w, &c->wake);
        ds_free(c);
    }
}
