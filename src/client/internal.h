/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of client/ share.
 *
 * A link is one session with one incarnation of the node's memory: mappings, session, socket. A
 * client has one current link. A worker that is killed and comes back keeps the memory, so the link
 * lives on. When the whole node was stopped and started the memory is another one: the client makes
 * a new link; the old one stays for the views that still point into it (link.c).
 */
#ifndef DS_CLIENT_INTERNAL_H
#define DS_CLIENT_INTERNAL_H

#include <ds/ds.h>
#include <pthread.h>
#include <sys/types.h>

#include "base/atomics.h"
#include "base/base.h"
#include "shm/index_read.h"
#include "shm/layout.h"
#include "shm/segment.h"
#include "wire/handshake.h"

#define GRANT_CLASSES 32u
#define GRANTS_MAX 64u
#define PIN_WORDS (DS_PINS_MAX / 64)
#define POPULATE_CHUNK (256u * 1024)

/* Blocks lent to this process, not used yet: one size. */
struct grant_class {
    uint64_t capacity; /* 0: free */
    uint32_t n;
    uint32_t batch; /* how many to ask for next time */
    uint32_t got;   /* last time */
    uint64_t used;  /* ticks of the last use, for replacement */
    struct {
        uint32_t id;
        uint64_t offset;
        uint64_t origin;
    } grant[GRANTS_MAX];
};

/* A request under construction in a slot, or under way: request.c. */
struct request {
    struct ds_link *link;
    uint32_t slot;
    uint32_t number;
    uint32_t size;
    uint16_t n; /* of its items; of the blocks that are asked for */
    int64_t deadline_ns;
};

struct ds_link {
    struct ds_client *client;
    struct ds_link *next; /* older links of the client */
    struct ds_segment data;
    struct ds_segment index_segment;
    struct ds_segment session_segment;
    struct ds_segment data_rw; /* mapped at the first write; under `write_lock` */
    _Atomic(uint8_t *) writable;
    int data_rw_fd;
    struct ds_index_map index;
    struct ds_session_header *session;
    uint8_t *ring;
    struct ds_request_slot *slot;
    struct ds_log_entry *log;
    _Atomic uint32_t *pin;
    _Atomic uint64_t *pin_free; /* bit set = slot is free; private to this process */
    _Atomic uint32_t pins_used;
    int64_t boottime_offset_ns;
    uint64_t data_size;

    pthread_mutex_t write_lock; /* ring, grants, mapping for writing */
    uint64_t ring_tail;
    struct grant_class grants[GRANT_CLASSES];
    struct grant_class *ahead; /* for which ahead_request asks; NULL: nothing is asked for */
    struct request ahead_request;
    _Atomic uint8_t *populated; /* a byte per POPULATE_CHUNK of the data segment, for writing */

    _Atomic uint64_t request_free;    /* bit set = slot is free */
    _Atomic uint64_t request_late;    /* given up by its caller, not answered yet */
    _Atomic uint32_t request_waiters; /* threads that wait for a slot */
    _Atomic uint32_t request_bell;
    uint32_t request_number[DS_REQUESTS]; /* by the holder of the slot */

    pthread_mutex_t connect_lock; /* sock, wake_fd, token */
    _Atomic int sock;
    _Atomic uint64_t sock_id; /* the application may have closed it, and use its number */
    _Atomic int wake_fd;
    _Atomic uint32_t epoch; /* of the worker that `sock` and `wake_fd` belong to */
    uint8_t token[16];

    /* In a forked child: the session that holds the pins of inherited views; see fork.c. */
    bool inherited; /* the parent's: no calls, and `pin` lies in the ghost */
    struct ds_segment ghost;
    struct ds_segment next_ghost; /* during a fork: the child's */
    int ghost_sock;
    int next_ghost_sock;

    _Atomic bool dead; /* this memory has no worker any more: the client has a newer link */
};

/* Why a client could not be opened: a phrase, "" where the code says it all. */
struct ds_reason {
    char text[DS_REASON_SIZE];
};

__attribute__((format(printf, 2, 3))) void ds_reason_set(struct ds_reason *why, const char *fmt,
                                                         ...);

struct ds_client {
    _Atomic(struct ds_link *) link;
    struct ds_client_options options;
    char host[256];
    char path[DS_SOCKET_PATH_MAX];
    struct ds_reason why; /* while a link is opened */
    pthread_mutex_t lock; /* making a new link; async */
    uint32_t fork_generation;
    _Atomic bool closing;
    _Atomic uint32_t busy;  /* calls under way that may wait: close lets them out first */
    struct async *async;    /* async.c */
    struct ds_client *next; /* in the list of fork.c */
};

/* A moment: CLOCK_MONOTONIC ns. */
int64_t ds_client_deadline(const struct ds_client *c);

/* How often this process was forked from one that used the library: a handle made before is the
 * parent's. */
uint32_t ds_fork_generation(void);

/* The current link, or NULL in a forked child or after close. */
static inline struct ds_link *ds_client_link(struct ds_client *c)
{
    if (DS_UNLIKELY(c == NULL || c->fork_generation != ds_fork_generation() ||
                    ds_load_relaxed(&c->closing))) {
        return NULL;
    }
    return ds_load_acquire(&c->link);
}

/* After a signal, and from time to time: whether the caller wants the call to end. Without locks.
 */
static inline bool ds_client_interrupted(const struct ds_client *c)
{
    return c->options.interrupted != NULL && c->options.interrupted(c->options.interrupted_arg);
}

/* Around every call that may wait for the worker. NULL: not usable (then do not leave). */
static inline struct ds_client *ds_client_enter(struct ds_client *c)
{
    if (c == NULL || c->fork_generation != ds_fork_generation()) {
        return NULL;
    }
    (void)atomic_fetch_add(&c->busy, 1); /* before `closing` is read: close does it the other way */
    if (DS_UNLIKELY(atomic_load(&c->closing))) {
        (void)atomic_fetch_sub(&c->busy, 1);
        return NULL;
    }
    return c;
}

static inline void ds_client_leave(struct ds_client *c)
{
    (void)atomic_fetch_sub(&c->busy, 1);
}

/* --- link.c --- */

/* Where the worker's socket is. DS_EUNAVAILABLE: nobody, or something that is not a worker. */
DS_MUST_USE int ds_discover(const char *host, uint16_t port, int64_t deadline_ns,
                            struct ds_reason *why, char ret[DS_SOCKET_PATH_MAX]);

/* On failure c->why may say more. */
DS_MUST_USE int ds_link_open(struct ds_client *c, int64_t deadline_ns, struct ds_link **ret);
void ds_link_close(struct ds_link *l);

/* After a wait without news: is the worker still the one we talk to? Reconnects if not. 0: go on
 * waiting; DS_ESTALE: the session is lost, there is a new link; DS_EDISCONNECTED: nobody there. */
DS_MUST_USE int ds_link_check(struct ds_link *l, int64_t deadline_ns);

/* Closes `sock`, if it is the session's still. */
void ds_link_close_sock(struct ds_link *l);

/* Rings the worker if it sleeps. Full fence before. Reconnects if it must, until the deadline.
 * `waits`: the caller waits for what it posted, and so notices a worker that is gone. */
void ds_link_wake(struct ds_link *l, bool waits, int64_t deadline_ns);
DS_MUST_USE int ds_link_map_writable(struct ds_link *l);
void ds_link_populate(struct ds_link *l, uint64_t offset, uint64_t size);
bool ds_link_pinned(const struct ds_link *l);

/* OPEN and WELCOME over a fresh socket. `flags`: DS_WIRE_*. With the same token as often as the
 * worker dies meanwhile: there is never more than one session. On success *ret_sock and the
 * descriptors are the caller's. */
DS_MUST_USE int ds_link_shake(struct ds_client *c, uint32_t flags, const uint8_t token[16],
                              uint32_t pins, int64_t deadline_ns, int *ret_sock,
                              struct ds_wire_welcome *welcome, int fds[DS_FD_COUNT]);

/* --- fork.c --- */

/* All handles of this process, and the freeing of closed ones: under one lock, which fork takes. */
void ds_clients_lock(void);
void ds_clients_unlock(void);
void ds_clients_add(struct ds_client *c);
void ds_clients_remove(struct ds_client *c); /* with the lock */

/* --- pin.c --- */

/* A free pin slot; DS_ERANGE when all are in use. */
DS_MUST_USE int ds_pin_take(struct ds_link *l, uint32_t *ret);
void ds_pin_give(struct ds_link *l, uint32_t slot);

/* R4: stores and fences. */
static inline void ds_pin_store(struct ds_link *l, uint32_t slot, uint32_t id)
{
#if defined(__x86_64__)
    (void)atomic_exchange(&l->pin[slot], id + 1); /* a locked instruction is the fence */
#else
    ds_store_relaxed(&l->pin[slot], id + 1);
    ds_fence_full();
#endif
}

/* R7 */
static inline void ds_pin_clear(struct ds_link *l, uint32_t slot)
{
    ds_store_release(&l->pin[slot], 0);
}

/* Wakes all threads that wait on this link. */
void ds_link_wake_waiters(struct ds_link *l);

/* Clears and gives back; after close, the last one frees the handle. */
void ds_link_unpin(struct ds_link *l, uint32_t slot);

/* --- get.c --- */
DS_MUST_USE int ds_link_find(struct ds_link *l, const void *key, size_t key_size, uint64_t hash,
                             struct ds_view *ret, struct ds_found *found);
DS_MUST_USE int ds_link_pin_id(struct ds_link *l, uint32_t id, uint64_t gen, struct ds_view *ret,
                               struct ds_found *found);
/* A batch of gets; keys are checked already. */
struct ds_gets {
    const struct ds_bytes *keys;
    const uint64_t *need; /* NULL, or how many bytes of each must be there: the rest may still be
                             on its way from disk */
    size_t n;
    int64_t timeout_ms; /* of the waiting for missing keys */
    int64_t limit_ns;   /* of the whole call; 0: ds_client_deadline() is put here */
    struct ds_view *views;
    struct ds_found *found; /* NULL, or one for each key */
    int *results;
};

/* On the current link, which *ret_link is then. What is not answered keeps DS_EAGAIN. */
DS_MUST_USE int ds_client_get(struct ds_client *client, struct ds_gets *g,
                              struct ds_link **ret_link);

/* As ds_kv_mget(): checks keys, fills all results and views. */
int ds_client_mget(struct ds_client *client, struct ds_gets *g);
int ds_check_key(const void *key, size_t key_size);
int ds_batch_status(const int *results, size_t n);

/* --- request.c --- */

/* Takes a slot. `waits`: it may stay with the worker for long, so some slots are kept from it. */
DS_MUST_USE int ds_request_begin(struct request *r, struct ds_link *l, enum ds_op op,
                                 int64_t deadline_ns, bool waits);

/* Whether one more item with a key of this size would fit. */
bool ds_request_fits(const struct request *r, size_t key_size);

/* Adds an item; false if it does not fit any more (send what is there first). */
DS_MUST_USE bool ds_request_add(struct request *r, const struct ds_request_item *item,
                                const void *key);

struct ds_request_header *ds_request_header(struct request *r);

/* Whether what second-level storage or spill may have to say can keep a request waiting. */
bool ds_request_waits(const struct ds_link *l, enum ds_op op);

/* Posts and waits for the answer. On success the results can be read until ds_request_end(). On
 * failure the slot is given back already. */
DS_MUST_USE int ds_request_call(struct request *r);

/* Its two halves. `waits`: ds_request_wait() comes next. */
void ds_request_post(struct request *r, bool waits);
bool ds_request_answered(const struct request *r);
DS_MUST_USE int ds_request_wait(struct request *r);

/* Nobody waits for its answer any more. Ends the request. */
void ds_request_give_up(struct request *r);

struct ds_request_result ds_request_result(const struct request *r, uint32_t i);
void ds_request_end(struct request *r);

/* One item, one answer. */
DS_MUST_USE int ds_request_one(struct ds_link *l, enum ds_op op, uint64_t value, int64_t timeout_ms,
                               const struct ds_request_item *item, const void *key,
                               struct ds_request_result *ret);

/* --- write.c --- */
struct ds_grant {
    uint32_t id;
    uint64_t offset;
    uint64_t origin; /* DS_ORIGIN of the item that brought it */
    uint64_t capacity;
};

DS_MUST_USE int ds_grant_take(struct ds_link *l, uint64_t size, int64_t deadline_ns,
                              struct ds_grant *ret);
void ds_grant_give(struct ds_link *l, const struct ds_grant *g);
void ds_grant_keep(struct ds_link *l, const struct ds_grant *grant);

/* A set as it goes into the ring. */
struct write {
    const void *key;
    size_t key_size;
    uint64_t hash;
    struct ds_grant grant;
    uint64_t value_size;
    uint64_t ttl_ms;
    uint8_t mode;
    uint8_t kind;
    bool posted; /* set by ds_link_put() and what calls it: the grant is the worker's from then on,
                    which drops it when nothing is made of it */
};

/* Posts; *ret_position is where the applied cursor must get to. */
DS_MUST_USE int ds_ring_post(struct ds_link *l, const struct write *w, int64_t deadline_ns,
                             uint64_t *ret_position);
DS_MUST_USE int ds_ring_wait(struct ds_link *l, uint64_t position, int64_t deadline_ns);
/* W1 to W4; *ret_wait: the position to wait for, 0 if there is nothing to wait for. */
DS_MUST_USE int ds_set_post(struct ds_link *l, const struct write *w, int64_t deadline_ns,
                            uint64_t *ret_wait);
/* A set that is asked for. */
DS_MUST_USE int ds_link_put(struct ds_link *l, enum ds_op op, struct write *w, int64_t deadline_ns,
                            struct ds_request_result *ret);

/* A set of a mode with second-level storage; returns when that has it, or the journal. */
DS_MUST_USE int ds_set_second(struct ds_link *l, struct write *w, bool absent, int64_t deadline_ns);
struct ds_request_item ds_second_item(const struct write *w, bool absent);

static inline bool ds_second_mode(enum ds_write_mode mode)
{
    return mode == DS_WRITE_THROUGH || mode == DS_WRITE_BACK || mode == DS_WRITE_BACK_EVICT;
}

DS_MUST_USE int ds_set_absent(struct ds_link *l, struct write *w, int64_t deadline_ns);

/* --- wait helpers, link.c --- */

/* How often to look before the first yield: not at all while the worker sleeps, since it may have
 * to wake up on this processor. */
unsigned ds_link_looks(const struct ds_link *l);

/* One turn of waiting that leaves the processor to whoever else wants it. False: somebody did, so
 * that spinning keeps the worker, or the rest of the machine, from running: sleep instead. */
bool ds_client_yield(void);

/* Asleep for so long without news: is the worker there? In growing intervals. */
#define DS_CHECK_FIRST_NS 20000000
#define DS_CHECK_MAX_NS 500000000

/* Of one wait. */
struct sleep {
    int64_t deadline_ns;
    int64_t interval_ns; /* 0: not slept yet */
    bool locked;         /* the caller has a lock: the wait cannot be interrupted */
};

/* Sleeps until *word is not `seen`, or for a while. 0: look again. Else the wait is over: the time,
 * the client was closed or wants an end, or the worker is gone, as ds_link_check() has it. */
DS_MUST_USE int ds_link_sleep(struct ds_link *l, _Atomic uint32_t *word, uint32_t seen,
                              struct sleep *s);

/* --- async.c --- */
void ds_async_close(struct ds_client *c);

#endif
