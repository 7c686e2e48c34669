/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork.c - what a forked child inherits: views, and nothing else.
 *
 * The parent's session stays the parent's: pins that the child gives back must not end the
 * parent's, and the parent's must not end the child's. So before a fork with pins held, the parent
 * opens a ghost session for each link and copies its pins there, slot by slot; the child claims it
 * with its own pidfd; the parent forgets it. A pin is copied like this: store into the ghost's
 * slot, full fence, look whether the own slot still holds it. The worker looks at the ghost after
 * the session that it was copied from (ds_store_session_end() keeps the order), so it sees the pin
 * in one of both.
 *
 * The child closes its copies of the parent's sockets: the worker must see the parent's end. Its
 * copy of the parent's session becomes private pages, and its pins are the ghost's: whatever the
 * child releases, the parent's slots stay as they are.
 */
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"
#include "client/internal.h"

#define GHOST_TIMEOUT_NS INT64_C(2000000000)

static pthread_mutex_t clients_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ds_client *clients;        /* under clients_lock */
static _Atomic uint32_t fork_generation; /* of this process */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

uint32_t ds_fork_generation(void)
{
    return ds_load_relaxed(&fork_generation);
}

void ds_clients_lock(void)
{
    (void)pthread_mutex_lock(&clients_lock);
}

void ds_clients_unlock(void)
{
    (void)pthread_mutex_unlock(&clients_lock);
}

static bool any_pin(const struct ds_link *l, uint32_t used)
{
    for (uint32_t i = 0; i < used; i++) {
        if (ds_load_relaxed(&l->pin[i]) != 0) {
            return true;
        }
    }
    return false;
}

static void copy_pins(struct ds_link *l, struct ds_segment *to, uint32_t used)
{
    struct ds_session_header *h = (void *)to->base;
    _Atomic uint32_t *ghost = (void *)(to->base + DS_SESSION_PIN_OFFSET);
    const _Atomic uint32_t *own = l->pin;

    ds_store_release(&h->pins_used, used);
    for (uint32_t i = 0; i < used; i++) {
        ds_store_relaxed(&ghost[i], ds_load_acquire(&own[i]));
    }
    ds_fence_full();
    for (uint32_t i = 0; i < used; i++) {
        if (ds_load_relaxed(&ghost[i]) != ds_load_acquire(&own[i])) {
            ds_store_release(&ghost[i], 0); /* given back meanwhile */
        }
    }
}

struct ghost {
    struct ds_segment segment;
    int sock;
};

/* What the child will have; without memory or worker it has none, and its views are the parent's.
 */
static void make_ghost(struct ds_link *l, struct ghost *ret)
{
    uint32_t used = ds_load_acquire(&l->pins_used);
    int fds[DS_FD_COUNT] = {-1, -1, -1, -1, -1};
    struct ds_wire_welcome welcome;
    uint8_t token[16];

    *ret = (struct ghost){.segment.fd = -1, .sock = -1};
    if (ds_load_acquire(&l->dead) || !any_pin(l, used) || ds_sys_random(token, sizeof(token)) < 0 ||
        ds_link_shake(l->client, DS_WIRE_GHOST, token, used, ds_monotonic_ns() + GHOST_TIMEOUT_NS,
                      &ret->sock, &welcome, fds) != 0) {
        return;
    }
    for (int i = 0; i < DS_FD_COUNT; i++) {
        if (i != DS_FD_SESSION) {
            ds_sys_close(fds[i]);
        }
    }
    if (ds_segment_attach(fds[DS_FD_SESSION], DS_SESSION_SIZE, true, &ret->segment) != 0) {
        ds_sys_close(fds[DS_FD_SESSION]);
        ds_sys_close(ret->sock);
        ret->sock = -1;
        return;
    }
    copy_pins(l, &ret->segment, used);
}

/* Between prepare and the handlers after it, the ghost lies in `next_ghost` of its link. */
static void before_fork(void)
{
    ds_clients_lock();
    for (struct ds_client *c = clients; c != NULL; c = c->next) {
        for (struct ds_link *l = ds_load_acquire(&c->link); l != NULL; l = l->next) {
            struct ghost g;

            make_ghost(l, &g);
            l->next_ghost = g.segment;
            l->next_ghost_sock = g.sock;
        }
    }
}

static void after_fork_in_parent(void)
{
    for (struct ds_client *c = clients; c != NULL; c = c->next) {
        for (struct ds_link *l = ds_load_acquire(&c->link); l != NULL; l = l->next) {
            ds_segment_close(&l->next_ghost);
            ds_sys_close(l->next_ghost_sock);
            l->next_ghost_sock = -1;
        }
    }
    ds_clients_unlock();
}

/* Only system calls and stores: other threads of the parent may have held any lock. */
static void take_over(struct ds_link *l)
{
    struct ds_wire_header claim;
    int pidfd;

    ds_link_close_sock(l);
    ds_sys_close(atomic_exchange(&l->wake_fd, -1));
    ds_segment_close(&l->ghost); /* a child's child: the parent's ghost is not ours */
    ds_sys_close(l->ghost_sock);
    l->ghost = l->next_ghost;
    l->ghost_sock = l->next_ghost_sock;
    l->next_ghost = (struct ds_segment){.fd = -1};
    l->next_ghost_sock = -1;
    l->inherited = true;
    ds_sys_replace(l->session_segment.base, l->session_segment.size);
    l->pin = (void *)(l->session_segment.base + DS_SESSION_PIN_OFFSET);
    if (l->ghost_sock >= 0) {
        l->pin = (void *)(l->ghost.base + DS_SESSION_PIN_OFFSET);
        pidfd = ds_sys_pidfd(getpid());
        ds_wire_begin(&claim, DS_WIRE_CLAIM, sizeof(claim));
        (void)!ds_sys_send_fds(l->ghost_sock, &claim, sizeof(claim), &pidfd, pidfd >= 0 ? 1 : 0);
        ds_sys_close(pidfd);
    }
}

static void after_fork_in_child(void)
{
    (void)atomic_fetch_add(&fork_generation, 1);
    for (struct ds_client *c = clients; c != NULL; c = c->next) {
        for (struct ds_link *l = ds_load_acquire(&c->link); l != NULL; l = l->next) {
            take_over(l);
        }
    }
    ds_clients_unlock();
}

static void watch_forks(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void ds_clients_add(struct ds_client *c)
{
    (void)pthread_once(&fork_once, watch_forks);
    ds_clients_lock();
    c->next = clients;
    clients = c;
    ds_clients_unlock();
}

void ds_clients_remove(struct ds_client *c)
{
    struct ds_client **at = &clients;

    while (*at != NULL && *at != c) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = c->next;
    }
}
