/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_pool.h - second-level storage for a thread that must not block: requests go into a bounded
 * queue, threads of the pool run them, results come back through a descriptor that can be polled.
 *
 *     ds_l2_pool_submit(pool, &request);        ds_l2_pool_fd(pool) becomes readable
 *     n = ds_l2_pool_poll(pool, events, max);   as many times as it returns max
 *
 * Order:     requests for one key run in the order of their submission, one at a time; requests
 *            for different keys run in any order, several at a time. Those marked `background`
 *            (uploads of the write-back) are paced, and leave at least one thread to the others; a
 *            request that waits behind one of them for its key takes it along.
 * Ownership: the pool borrows the struct ds_l2. Keys are copied. A span belongs to its request
 *            until the event.
 * Threads:   one owner for all functions; the pool's threads start when there is work for them and
 *            end after DS_L2_POOL_IDLE_MS without.
 * Breaker:   storage that does not answer is not asked all the time (l2_breaker.h): submit and what
 *            waits in the queue give DS_EUNAVAILABLE at once then, but for a probe now and then.
 * Errors:    submit says what it refuses; all else is in the event.
 */
#ifndef DS_TIER_L2_POOL_H
#define DS_TIER_L2_POOL_H

#include "tier/l2.h"
#include "tier/l2_breaker.h"

#define DS_L2_POOL_IDLE_MS 10000
#define DS_L2_POOL_THREADS_MAX 64
#define DS_L2_POOL_BUCKETS                                                                         \
    26 /* of the latency: bucket i: below 2^i us; the last one: all others                         \
        */

enum ds_l2_pool_op {
    DS_L2_POOL_PUT,
    DS_L2_POOL_GET,
    DS_L2_POOL_HEAD,
    DS_L2_POOL_REMOVE,
    DS_L2_POOL_GC,
    DS_L2_POOL_OPS,
};

struct ds_l2_pool_config {
    struct ds_l2 *l2;
    unsigned threads;         /* 0: 8 */
    size_t queue_max;         /* requests that have no result yet; 0: 10000 */
    uint64_t background_rate; /* bytes/s of background puts; 0: no limit */
    size_t inline_max;        /* 0: 64 KiB; see DS_L2_POOL_GET below */
    struct ds_l2_breaker_config breaker;
    int64_t stall_ns; /* a call that moves nothing for longer counts as failed; 0: 10 s */
};

struct ds_l2_request {
    enum ds_l2_pool_op op;
    const void *key; /* not of GC */
    uint32_t key_size;
    struct ds_l2_meta meta; /* PUT: all; REMOVE: version; GET: size of the room */
    /* PUT: the value. GET: where it goes, if its size is meta.size. With fd -1 and memory NULL the
     * pool allocates, up to inline_max. A value of another size gives DS_ERANGE, and its meta in
     * the event, so that the owner can make room and ask again. */
    struct ds_l2_span value;
    int64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none */
    bool background;
    bool renews;        /* PUT: see struct ds_l2_item */
    struct ds_l2_gc gc; /* GC */
    uint64_t cookie;    /* comes back in the event */
};

struct ds_l2_event {
    uint64_t cookie;
    enum ds_l2_pool_op op;
    int rc; /* as the call of l2.h; DS_ETIMEOUT, DS_ESHUTDOWN, DS_EUNAVAILABLE also unstarted */
    struct ds_l2_meta meta; /* GET, HEAD: rc 0 or DS_ERANGE */
    uint64_t newer;         /* PUT, REMOVE, DS_ESTALE: the version that is there; 0: none */
    void *data;             /* GET into the pool's memory: meta.size bytes; ds_free() it */
    struct ds_l2_gc gc;     /* GC */
    char err[DS_L2_ERROR_SIZE];
};

struct ds_l2_pool_stats {
    struct {
        uint64_t done, errors, bytes, retries;
        uint64_t latency[DS_L2_POOL_BUCKETS]; /* from submit to result */
    } ops[DS_L2_POOL_OPS];
    uint64_t refused;       /* the queue was full */
    size_t queued, running; /* now */
    uint64_t queued_bytes;  /* of puts, now */
    size_t queued_most;
    unsigned threads, idle; /* now */
};

/* What became of the breaker. */
struct ds_l2_pool_breaker {
    enum ds_l2_breaker_state state;
    uint64_t opens;             /* times that it left CLOSED */
    int64_t opened_ns;          /* the last one, CLOCK_MONOTONIC */
    uint64_t refused;           /* requests that failed at once: no part of the other figures */
    char why[DS_L2_ERROR_SIZE]; /* OPEN, HALF_OPEN: the last error */
};

struct ds_l2_pool;

/* DS_EINVAL, DS_ENOMEM, DS_EIO (no eventfd). */
DS_MUST_USE int ds_l2_pool_create(const struct ds_l2_pool_config *config, struct ds_l2_pool **ret);

/* DS_EQUEUEFULL: nothing is queued; try again after some events. DS_EUNAVAILABLE: the breaker is
 * open. DS_EINVAL: bad key or size. DS_ENOMEM. DS_ESHUTDOWN: after stop. */
DS_MUST_USE int ds_l2_pool_submit(struct ds_l2_pool *pool, const struct ds_l2_request *request);

/* Readable while poll() has something to give. Owned by the pool. */
int ds_l2_pool_fd(const struct ds_l2_pool *pool);

/* The same without a system call, for a caller that is awake. */
bool ds_l2_pool_news(const struct ds_l2_pool *pool);

/* Up to `max` results. */
size_t ds_l2_pool_poll(struct ds_l2_pool *pool, struct ds_l2_event *ret, size_t max);

/* Accepts nothing more and waits until all is done; at the deadline (CLOCK_MONOTONIC) what runs is
 * cut short and what has not run yet ends, with DS_ESHUTDOWN. All results can be polled then. */
void ds_l2_pool_stop(struct ds_l2_pool *pool, int64_t deadline_ns);

/* Stops at once if that is still to be done; drops results nobody polled. NULL is a no-op.
 * Returns NULL. */
struct ds_l2_pool *ds_l2_pool_close(struct ds_l2_pool *pool);

void ds_l2_pool_stats(struct ds_l2_pool *pool, struct ds_l2_pool_stats *ret);
void ds_l2_pool_breaker(struct ds_l2_pool *pool, struct ds_l2_pool_breaker *ret);

#endif
