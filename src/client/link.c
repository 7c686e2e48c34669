/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - a session: handshake, mappings, and coming back after the worker was away.
 *
 * The keeper holds the listening sockets, so while a worker restarts connect() succeeds and the
 * handshake waits. The session goes on under its token: rings, request slots and pins are where
 * they were, and the new worker has applied what stood in them.
 *
 * When the node was stopped, its memory has no worker any more. The link is then dead: if no view
 * points into it, its mappings are replaced by empty private pages in place, so that the memory
 * goes back to the machine while a thread that still looks at it finds an empty index instead of a
 * hole.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/net.h"
#include "base/sys.h"
#include "client/internal.h"

#define CONTENDED_NS 5000 /* a yield that nobody takes up lasts a tenth of it */
#define LOOKS 200         /* about 2 us: a worker that is awake answers in less */
#define DISCOVER_TRIES 8  /* a quarter of a second */

unsigned ds_link_looks(const struct ds_link *l)
{
    return ds_load_relaxed(&l->index.header->asleep) != 0 ? 0 : LOOKS;
}

bool ds_client_yield(void)
{
    int64_t before = ds_monotonic_ns();

    (void)sched_yield();
    return ds_monotonic_ns() - before < CONTENDED_NS;
}

/* --- handshake --- */

static int code_of_connect(int negative_errno)
{
    switch (-negative_errno) {
    case ETIMEDOUT:
        return DS_ETIMEOUT;
    case EACCES:
    case EPERM:
        return DS_EDENIED;
    case ENOMEM:
        return DS_ENOMEM;
    default:
        return DS_EUNAVAILABLE;
    }
}

void ds_reason_set(struct ds_reason *why, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why->text, sizeof(why->text), fmt, args);
    va_end(args);
}

/* The answer to HELLO. DS_EUNAVAILABLE: not a worker's. */
static int read_here(int fd, int64_t deadline_ns, struct ds_wire_here *ret)
{
    size_t head = sizeof(ret->header);
    int rc = ds_net_read_all(fd, ret, head, deadline_ns);

    if (rc != 0) {
        return rc == -ECONNRESET ? DS_EDISCONNECTED : code_of_connect(rc);
    }
    if (!ds_wire_is_ours(ret, head)) {
        return DS_EUNAVAILABLE;
    }
    rc = ds_net_read_all(fd, (uint8_t *)ret + head, sizeof(*ret) - head, deadline_ns);
    if (rc == -ECONNRESET || (rc == 0 && !ds_wire_valid(ret, sizeof(*ret), DS_WIRE_HERE))) {
        return DS_EVERSION;
    }
    return rc != 0 ? code_of_connect(rc) : ret->header.status < 0 ? ret->header.status : 0;
}

static int discover_once(const char *host, uint16_t port, int64_t deadline_ns,
                         struct ds_reason *why, char ret[DS_SOCKET_PATH_MAX])
{
    struct ds_wire_hello hello;
    struct ds_wire_here here;
    int rc;
    int fd = ds_net_connect_tcp(host, port, deadline_ns);

    if (fd < 0) {
        ds_reason_set(why,
                      "no worker answers at %s:%u (%s): start one there with dscli start -w "
                      "--worker_address %s:%u",
                      host, port, strerror(-fd), host, port);
        return code_of_connect(fd);
    }
    ds_wire_begin(&hello, DS_WIRE_HELLO, sizeof(hello));
    rc = ds_net_write_all(fd, &hello, sizeof(hello));
    rc = rc == -EPIPE || rc == -ECONNRESET ? DS_EDISCONNECTED
         : rc != 0                         ? code_of_connect(rc)
                                           : read_here(fd, deadline_ns, &here);
    ds_sys_close(fd);
    if (rc == 0) {
        memcpy(ret, here.path, DS_SOCKET_PATH_MAX);
    } else if (rc == DS_EVERSION) {
        ds_reason_set(why, "the worker at %s:%u is of another version than this client (%s)", host,
                      port, DS_VERSION);
    } else if (rc == DS_ETIMEOUT) {
        ds_reason_set(why, "what listens at %s:%u does not answer: see whether it is a worker",
                      host, port);
    } else {
        ds_reason_set(why, "something that is not a worker answers at %s:%u: correct the address",
                      host, port);
    }
    return rc;
}

/* Asks the worker over TCP where its Unix socket is. A connection that is closed without a word may
 * be a worker that died, or a stranger: who does so again and again is a stranger. */
int ds_discover(const char *host, uint16_t port, int64_t deadline_ns, struct ds_reason *why,
                char ret[DS_SOCKET_PATH_MAX])
{
    int rc = DS_EDISCONNECTED;

    for (int i = 0; rc == DS_EDISCONNECTED && i < DISCOVER_TRIES; i++) {
        if (i > 0) {
            (void)poll(NULL, 0, 1 << i);
        }
        rc = discover_once(host, port, deadline_ns, why, ret);
    }
    return rc == DS_EDISCONNECTED ? DS_EUNAVAILABLE : rc;
}

/* There is a worker, but its socket cannot be connected to from here. */
static int unreachable(struct ds_client *c, int negative_errno)
{
    const char *text = strerror(-negative_errno);

    if (negative_errno == -ENOENT) {
        ds_reason_set(&c->why,
                      "the socket %s of the worker at %s:%u is not visible here (%s): mount its "
                      "directory at the same path, or start the worker with a "
                      "--unix_domain_socket_dir that both see",
                      c->path, c->host, c->options.port, text);
        return DS_ENOTSUPPORTED;
    }
    if (negative_errno == -EACCES || negative_errno == -EPERM) {
        ds_reason_set(&c->why,
                      "the socket %s of the worker at %s:%u may not be used (%s): start the worker "
                      "with --client_access=group or all",
                      c->path, c->host, c->options.port, text);
        return DS_EDENIED;
    }
    ds_reason_set(&c->why, "cannot connect to the socket %s of the worker at %s:%u (%s)", c->path,
                  c->host, c->options.port, text);
    return code_of_connect(negative_errno);
}

/* What the worker gave as its reason, or what is wrong with its answer. */
static int refused(struct ds_client *c, const struct ds_wire_welcome *welcome)
{
    int status = welcome->header.status;

    ds_reason_set(&c->why, "the worker at %s:%u refuses: %s", c->host, c->options.port,
                  status < 0 && welcome->text[0] != '\0' ? welcome->text
                                                         : "its answer is of another version");
    return status < 0 ? status : DS_EVERSION;
}

static void close_fds(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ds_sys_close(fds[i]);
        fds[i] = -1;
    }
}

static int shake_once(struct ds_client *c, uint32_t flags, const uint8_t token[16], uint32_t pins,
                      int64_t deadline_ns, int *ret_sock, struct ds_wire_welcome *welcome,
                      int fds[DS_FD_COUNT])
{
    struct ds_wire_open open;
    size_t n_fds = DS_FD_COUNT;
    ssize_t n;
    int pidfd = (flags & DS_WIRE_GHOST) != 0 ? -1 : ds_sys_pidfd(getpid());
    int sock = ds_net_connect_unix(c->path);

    if (sock < 0) {
        ds_sys_close(pidfd);
        return unreachable(c, sock);
    }
    ds_wire_begin(&open, DS_WIRE_OPEN, sizeof(open));
    open.pid = (uint32_t)getpid();
    open.flags = flags;
    open.pins = pins;
    memcpy(open.token, token, sizeof(open.token));
    (void)ds_failpoint("client.connected");
    n = ds_sys_send_fds(sock, &open, sizeof(open), &pidfd, pidfd >= 0 ? 1 : 0);
    ds_sys_close(pidfd);
    (void)ds_failpoint("client.shaking");
    if (n >= 0 && ds_sys_wait_readable(sock, deadline_ns) <= 0) {
        ds_reason_set(&c->why, "the worker at %s:%u does not answer", c->host, c->options.port);
        ds_sys_close(sock);
        return DS_ETIMEOUT;
    }
    n = n < 0 ? n : ds_sys_recv_fds(sock, welcome, sizeof(*welcome), fds, &n_fds);
    if (n > 0 && !ds_wire_valid(welcome, (size_t)n, DS_WIRE_WELCOME)) {
        n = ds_wire_is_ours(welcome, (size_t)n) ? -EPROTO : -ENOMSG;
    }
    if (n > 0 && welcome->header.status == 0 && n_fds == DS_FD_COUNT) {
        *ret_sock = sock;
        return 0;
    }
    close_fds(fds, n > 0 || n == -EPROTO || n == -ENOMSG ? n_fds : 0);
    ds_sys_close(sock);
    if (n <= 0) { /* the worker died while we spoke: another one is on its way */
        return n == -EPROTO ? DS_EVERSION : n == -ENOMSG ? DS_EUNAVAILABLE : DS_EDISCONNECTED;
    }
    return refused(c, welcome);
}

int ds_link_shake(struct ds_client *c, uint32_t flags, const uint8_t token[16], uint32_t pins,
                  int64_t deadline_ns, int *ret_sock, struct ds_wire_welcome *welcome,
                  int fds[DS_FD_COUNT])
{
    for (;;) {
        int rc = shake_once(c, flags, token, pins, deadline_ns, ret_sock, welcome, fds);

        if (rc != DS_EDISCONNECTED || ds_monotonic_ns() >= deadline_ns) {
            return rc;
        }
        (void)poll(NULL, 0, 1);
    }
}

/* --- the socket --- */

/* The application may close what is not its own (closefrom() of a daemon, a wrong number), and the
 * next file that it opens has the number then: neither is that one's to read, nor to close. */
static void own_sock(struct ds_link *l, int sock)
{
    ds_store_relaxed(&l->sock_id, ds_sys_socket_id(sock));
    ds_store_release(&l->sock, sock);
}

static bool owns_sock(const struct ds_link *l)
{
    uint64_t id = ds_sys_socket_id(ds_load_acquire(&l->sock));

    return id != 0 && id == ds_load_relaxed(&l->sock_id);
}

void ds_link_close_sock(struct ds_link *l)
{
    if (owns_sock(l)) {
        ds_sys_close(ds_load_relaxed(&l->sock));
    }
    ds_store_relaxed(&l->sock, -1);
}

/* --- mappings --- */

static int map_all(struct ds_link *l, int fds[DS_FD_COUNT])
{
    const struct ds_session_header *h;
    int rc = ds_segment_attach(fds[DS_FD_DATA_RO], l->data_size, false, &l->data);

    if (rc == 0) {
        fds[DS_FD_DATA_RO] = -1;
        rc = ds_segment_attach(fds[DS_FD_INDEX], DS_PAGE_SIZE, false, &l->index_segment);
    }
    if (rc == 0) {
        fds[DS_FD_INDEX] = -1;
        rc = ds_index_map_init(&l->index, l->index_segment.base, l->index_segment.size);
    }
    if (rc == 0) {
        rc = ds_segment_attach(fds[DS_FD_SESSION], DS_SESSION_SIZE, true, &l->session_segment);
    }
    if (rc != 0) {
        return rc;
    }
    fds[DS_FD_SESSION] = -1;
    l->session = (void *)l->session_segment.base;
    h = l->session;
    if (h->magic != DS_SESSION_MAGIC || h->abi != DS_SHM_ABI) {
        return DS_EVERSION;
    }
    l->ring = l->session_segment.base + DS_SESSION_RING_OFFSET;
    l->slot = (void *)(l->session_segment.base + DS_SESSION_REQUEST_OFFSET);
    l->log = (void *)(l->session_segment.base + DS_SESSION_LOG_OFFSET);
    l->pin = (void *)(l->session_segment.base + DS_SESSION_PIN_OFFSET);
    l->ring_tail = ds_load_relaxed(&h->ring_tail);
    for (unsigned i = 0; i < DS_REQUESTS; i++) {
        l->request_number[i] = ds_load_relaxed(&h->request[i]);
    }
    return 0;
}

static struct ds_link *link_create(struct ds_client *c)
{
    struct ds_link *l = ds_zalloc(sizeof(*l), "link");

    if (l == NULL) {
        return NULL;
    }
    l->client = c;
    l->data_rw_fd = l->ghost_sock = l->next_ghost_sock = -1;
    l->data.fd = l->index_segment.fd = l->session_segment.fd = l->data_rw.fd = l->ghost.fd =
        l->next_ghost.fd = -1;
    atomic_init(&l->sock, -1);
    atomic_init(&l->wake_fd, -1);
    atomic_init(&l->request_free, UINT64_MAX);
    l->pin_free = ds_sys_map_private(PIN_WORDS * sizeof(*l->pin_free));
    if (l->pin_free == NULL || pthread_mutex_init(&l->write_lock, NULL) != 0 ||
        pthread_mutex_init(&l->connect_lock, NULL) != 0) {
        ds_link_close(l);
        return NULL;
    }
    for (unsigned i = 0; i < DS_PINS_START / 64; i++) {
        atomic_init(&l->pin_free[i], UINT64_MAX);
    }
    return l;
}

int ds_link_open(struct ds_client *c, int64_t deadline_ns, struct ds_link **ret)
{
    struct ds_wire_welcome welcome;
    int fds[DS_FD_COUNT] = {-1, -1, -1, -1, -1};
    struct ds_link *l;
    int sock = -1;
    int rc = ds_discover(c->host, c->options.port, deadline_ns, &c->why, c->path);

    if (rc != 0) {
        return rc;
    }
    l = link_create(c);
    if (l == NULL) {
        return DS_ENOMEM;
    }
    rc = ds_sys_random(l->token, sizeof(l->token)) < 0 ? DS_EIO : 0;
    if (rc == 0) {
        rc = ds_link_shake(c, 0, l->token, 0, deadline_ns, &sock, &welcome, fds);
    }
    if (rc == 0) {
        own_sock(l, sock);
        l->data_size = welcome.data_size;
        l->boottime_offset_ns = ds_sys_boottime_offset_ns();
        atomic_store(&l->epoch, welcome.epoch);
        atomic_store(&l->wake_fd, fds[DS_FD_WAKE]);
        l->data_rw_fd = fds[DS_FD_DATA_RW];
        fds[DS_FD_WAKE] = fds[DS_FD_DATA_RW] = -1;
        (void)ds_failpoint("client.welcomed");
        rc = map_all(l, fds);
        close_fds(fds, DS_FD_COUNT);
    }
    if (rc == 0) {
        l->populated = ds_sys_map_private(l->data_size / POPULATE_CHUNK + 1);
        rc = l->populated == NULL ? DS_ENOMEM : 0;
    }
    if (rc != 0) {
        ds_link_close(l);
        return rc;
    }
    (void)ds_failpoint("client.opened");
    *ret = l;
    return 0;
}

bool ds_link_pinned(const struct ds_link *l)
{
    for (uint32_t i = 0; i < (ds_load_acquire(&l->pins_used) + 63) / 64; i++) {
        if (ds_load_acquire(&l->pin_free[i]) != UINT64_MAX) {
            return true;
        }
    }
    return false;
}

/* Nothing of the session is mapped any more. */
static void say_goodbye(int sock)
{
    struct ds_wire_header goodbye;

    ds_wire_begin(&goodbye, DS_WIRE_GOODBYE, sizeof(goodbye));
    (void)!ds_sys_send_fds(sock, &goodbye, sizeof(goodbye), NULL, 0);
}

void ds_link_close(struct ds_link *l)
{
    if (l == NULL) {
        return;
    }
    ds_segment_close(&l->data_rw);
    ds_segment_close(&l->data);
    ds_segment_close(&l->index_segment);
    ds_segment_close(&l->session_segment);
    ds_segment_close(&l->ghost);
    ds_sys_close(l->data_rw_fd);
    (void)ds_failpoint("client.closing");
    if (owns_sock(l) && !ds_load_relaxed(&l->dead)) {
        say_goodbye(ds_load_relaxed(&l->sock));
    }
    if (l->ghost_sock >= 0) {
        say_goodbye(l->ghost_sock);
    }
    ds_link_close_sock(l);
    ds_sys_close(l->ghost_sock);
    ds_sys_close(atomic_load(&l->wake_fd));
    if (l->pin_free != NULL) {
        ds_sys_unmap((void *)l->pin_free, PIN_WORDS * sizeof(*l->pin_free));
    }
    ds_sys_unmap((void *)l->populated, l->data_size / POPULATE_CHUNK + 1);
    (void)pthread_mutex_destroy(&l->write_lock);
    (void)pthread_mutex_destroy(&l->connect_lock);
    ds_free(l);
}

/* What was mapped for writing, if it is. A write that is under way goes nowhere, then. */
static void let_go_writable(struct ds_link *l)
{
    if (ds_load_acquire(&l->writable) != NULL) {
        ds_sys_replace(l->data_rw.base, l->data_rw.size);
    }
}

int ds_link_map_writable(struct ds_link *l)
{
    int fd;
    int rc;

    if (DS_LIKELY(ds_load_relaxed(&l->writable) != NULL)) {
        return 0;
    }
    fd = ds_sys_dup(l->data_rw_fd);
    if (fd < 0) {
        return DS_EIO;
    }
    rc = ds_segment_attach(fd, l->data_size, true, &l->data_rw);
    if (rc != 0) {
        ds_sys_close(fd);
        return rc;
    }
    ds_store_release(&l->writable, l->data_rw.base);
    ds_fence_full(); /* pairs with let_go(): one of the two sees the other */
    if (ds_load_acquire(&l->dead)) {
        let_go_writable(l);
    }
    return 0;
}

/* Enters the pages of a block into the page table in one call instead of one fault a page. */
void ds_link_populate(struct ds_link *l, uint64_t offset, uint64_t size)
{
    uint64_t ready = ds_load_acquire(&l->index.header->data_ready);
    uint64_t first = offset / POPULATE_CHUNK;
    uint64_t last = (offset + size - 1) / POPULATE_CHUNK;

    for (uint64_t i = first; i <= last; i++) {
        uint64_t at = i * POPULATE_CHUNK;
        uint64_t end = ds_min_u64(ds_min_u64(at + POPULATE_CHUNK, ready), l->data_size);

        if (ds_load_relaxed(&l->populated[i]) == 0 && end > at) {
            ds_sys_populate(l->data_rw.base + at, end - at, true);
            /* A part: again when more is ready. */
            ds_store_relaxed(&l->populated[i], end == at + POPULATE_CHUNK);
        }
    }
}

/* --- the worker sleeps, dies, comes back --- */

static bool hung_up(const struct ds_link *l)
{
    char byte;
    ssize_t n;

    if (!owns_sock(l)) {
        return true;
    }
    n = recv(ds_load_relaxed(&l->sock), &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void ds_link_wake(struct ds_link *l, bool waits, int64_t deadline_ns)
{
    if (ds_load_relaxed(&l->index.header->asleep) == 0) {
        return;
    }
    /* A worker that came back sleeps on another eventfd: get that one first. One that is gone does
     * not say so here: who waits finds out, who does not must look. */
    if (ds_load_relaxed(&l->index.header->epoch) != ds_load_relaxed(&l->epoch) ||
        (!waits && hung_up(l))) {
        (void)!ds_link_check(l, deadline_ns);
    }
    ds_sys_event_ring(ds_load_relaxed(&l->wake_fd));
}

void ds_link_wake_waiters(struct ds_link *l)
{
    for (unsigned i = 0; i < DS_REQUESTS; i++) {
        (void)ds_sys_futex_wake(&l->session->done[i], INT_MAX);
    }
    (void)ds_sys_futex_wake(&l->session->applied_wake, INT_MAX);
    (void)ds_sys_futex_wake(&l->request_bell, INT_MAX);
}

/* Lets the memory of a dead link go, in place. The index first: from then on nobody finds anything
 * to pin; who has pinned before that keeps the data. Takes no lock: who finds out that a link is
 * dead may be a writer in the middle of a refill, with write_lock. */
static void let_go(struct ds_link *l)
{
    ds_sys_replace(l->index_segment.base, l->index_segment.size);
    ds_fence_full();
    if (ds_link_pinned(l)) {
        return;
    }
    ds_sys_replace(l->data.base, l->data.size);
    ds_sys_replace(l->session_segment.base, l->session_segment.size);
    let_go_writable(l);
}

/* 0, or DS_ETIMEOUT at the deadline. */
static int lock_until(pthread_mutex_t *lock, int64_t deadline_ns)
{
#ifdef __SANITIZE_THREAD__ /* gcc 12's does not know pthread_mutex_clocklock() */
    while (pthread_mutex_trylock(lock) != 0) {
        if (ds_monotonic_ns() >= deadline_ns) {
            return DS_ETIMEOUT;
        }
        (void)poll(NULL, 0, 1);
    }
    return 0;
#else
    struct timespec t = {deadline_ns / 1000000000, deadline_ns % 1000000000};

    return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &t) == 0 ? 0 : DS_ETIMEOUT;
#endif
}

static int replace_link(struct ds_link *old, int64_t deadline_ns)
{
    struct ds_client *c = old->client;
    struct ds_link *l = NULL;
    int rc = 0;

    if (lock_until(&c->lock, deadline_ns) != 0) {
        return DS_ETIMEOUT;
    }
    if (atomic_load(&c->link) == old) {
        rc = ds_link_open(c, deadline_ns, &l);
        if (rc == 0) {
            l->next = old;
            ds_store_release(&c->link, l);
            ds_store_release(&old->dead, true);
            let_go(old);
        }
    }
    (void)pthread_mutex_unlock(&c->lock);
    return rc == 0 ? DS_ESTALE : rc;
}

/* With the connect lock. DS_ENOTFOUND: there is a worker, but it does not know the session. */
static int resume(struct ds_link *l, int64_t deadline_ns)
{
    struct ds_wire_welcome welcome;
    int fds[DS_FD_COUNT] = {-1, -1, -1, -1, -1};
    int sock = -1;
    int rc =
        ds_link_shake(l->client, DS_WIRE_RESUME, l->token, 0, deadline_ns, &sock, &welcome, fds);

    if (rc != 0) {
        return rc;
    }
    if (owns_sock(l)) {
        rc = ds_sys_take_over(sock, ds_load_relaxed(&l->sock));
        sock = ds_load_relaxed(&l->sock);
    }
    if (rc == 0) {
        own_sock(l, sock);
        rc = ds_sys_take_over(fds[DS_FD_WAKE], ds_load_relaxed(&l->wake_fd));
        fds[DS_FD_WAKE] = -1;
    }
    close_fds(fds, DS_FD_COUNT);
    ds_store_release(&l->epoch, welcome.epoch);
    ds_fence_full();
    return rc == 0 ? 0 : DS_EIO;
}

int ds_link_check(struct ds_link *l, int64_t deadline_ns)
{
    int rc = 0;

    if (ds_load_acquire(&l->dead)) {
        return DS_ESTALE;
    }
    if (lock_until(&l->connect_lock, deadline_ns) != 0) {
        return DS_ETIMEOUT;
    }
    if (hung_up(l)) {
        rc = resume(l, deadline_ns);
        if (rc == 0) { /* it may have gone to sleep before it could know of us */
            ds_sys_event_ring(ds_load_relaxed(&l->wake_fd));
        }
    }
    (void)pthread_mutex_unlock(&l->connect_lock);
    if (rc == 0 || rc == DS_ETIMEOUT) {
        return rc;
    }
    if (rc == DS_ENOTFOUND || rc == DS_EUNAVAILABLE || rc == DS_ENOTSUPPORTED || rc == DS_EDENIED) {
        rc = replace_link(l, deadline_ns);
    }
    return rc;
}

int ds_link_sleep(struct ds_link *l, _Atomic uint32_t *word, uint32_t seen, struct sleep *s)
{
    int64_t left = s->deadline_ns - ds_monotonic_ns();
    int slept;
    int rc = 0;

    if (ds_load_relaxed(&l->client->closing)) {
        return DS_ESHUTDOWN;
    }
    if (left <= 0) {
        return DS_ETIMEOUT;
    }
    s->interval_ns = s->interval_ns == 0 ? DS_CHECK_FIRST_NS : s->interval_ns;
    slept = ds_sys_futex_wait(word, seen, left < s->interval_ns ? left : s->interval_ns);
    if (slept == -ETIMEDOUT) {
        s->interval_ns =
            s->interval_ns < DS_CHECK_MAX_NS / 2 ? s->interval_ns * 2 : DS_CHECK_MAX_NS;
        rc = ds_link_check(l, s->deadline_ns);
    }
    if (rc == 0 && !s->locked && (slept == -EINTR || slept == -ETIMEDOUT) &&
        ds_client_interrupted(l->client)) {
        rc = DS_EINTERRUPTED;
    }
    return rc;
}
