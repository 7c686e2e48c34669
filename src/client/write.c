/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write.c - setting: blocks lent ahead of use, the ring of sets, and when to wait.
 *
 * Steps W1 to W5 of docs/concurrency.md: ticket, record and tail, full fence, an exact look into
 * the index; a key that is not there in any form need not be waited for.
 */
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "base/sys.h"
#include "client/internal.h"
#include "shm/size_class.h"

#define SPIN_NS 200000              /* covers the wake-up of a worker on an idle processor */
#define PREFETCH_BYTES_SHARE 1024   /* blocks held ahead: at most this part of the memory ... */
#define PREFETCH_BYTES (512 * 1024) /* ... and so many bytes, that they stay in a cache */
#define AHEAD_FROM 4                /* blocks at a time, before the next are asked for early */

/* --- grants, under write_lock --- */

static struct grant_class *class_of(struct ds_link *l, uint64_t capacity)
{
    struct grant_class *free_one = NULL;
    struct grant_class *oldest = NULL;

    for (unsigned i = 0; i < GRANT_CLASSES; i++) {
        struct grant_class *g = &l->grants[i];

        if (g->capacity == capacity) {
            return g;
        }
        if (g == l->ahead) { /* its blocks come */
            continue;
        }
        if (g->n == 0) {
            free_one = g;
        } else if (oldest == NULL || g->used < oldest->used) {
            oldest = g;
        }
    }
    if (free_one == NULL) { /* give the blocks of the class that was not used for longest back */
        free_one = oldest;
        while (free_one->n > 0) {
            struct ds_grant drop = {.id = free_one->grant[--free_one->n].id};

            ds_grant_give(l, &drop);
        }
    }
    *free_one = (struct grant_class){.capacity = capacity, .batch = 1};
    return free_one;
}

/* The answer of a request for blocks, which ends it. 0, or why there was not one block. */
static int take_grants(struct ds_link *l, struct grant_class *g, struct request *r)
{
    int rc = DS_ECORRUPT;

    (void)ds_failpoint("client.granted");
    for (uint32_t i = 0; i < r->n; i++) {
        struct ds_request_result one = ds_request_result(r, i);
        struct ds_grant grant = {.id = one.id, .capacity = g->capacity, .offset = one.value};

        if (one.status != 0 || one.value > l->data_size - g->capacity) {
            rc = i == 0 && one.status != 0 ? one.status : rc;
            continue;
        }
        rc = 0;
        if (g->n == GRANTS_MAX) {
            ds_grant_give(l, &grant);
            continue;
        }
        g->grant[g->n].id = one.id;
        g->grant[g->n].origin = DS_ORIGIN(l->session->session, r->slot, r->number, i);
        g->grant[g->n++].offset = one.value;
    }
    ds_request_end(r);
    g->got = g->n;
    g->batch = (uint32_t)ds_min_u64(r->n * UINT64_C(2), GRANTS_MAX);
    return rc;
}

/* Asks for more blocks of a class: the number doubles as long as they are used up. Until the
 * deadline memory may have to be found first; 0: nobody waits. */
static int ask(struct ds_link *l, uint64_t capacity, uint32_t batch, int64_t deadline_ns,
               struct request *ret)
{
    uint64_t share = ds_min_u64(l->data_size / PREFETCH_BYTES_SHARE, PREFETCH_BYTES) / capacity;
    int rc = ds_request_begin(ret, l, DS_OP_GRANT, deadline_ns, false);

    if (rc == 0) {
        ret->n = (uint16_t)ds_max_u64(ds_min_u64(batch, share), 1);
        ds_request_header(ret)->value = capacity;
        ds_request_header(ret)->timeout_ms =
            deadline_ns != 0 ? (deadline_ns - ds_monotonic_ns()) / 1000000 : 0;
        ds_request_post(ret, deadline_ns != 0);
    }
    return rc;
}

/* Before the last block is used, so that nobody waits for the next ones: while this client copies,
 * the worker finds them. */
static void ask_ahead(struct ds_link *l, struct grant_class *g)
{
    if (g->got < AHEAD_FROM || g->n != g->got / 2) {
        return;
    }
    if (l->ahead != NULL && ds_request_answered(&l->ahead_request)) { /* another class's */
        (void)!take_grants(l, l->ahead, &l->ahead_request);
        l->ahead = NULL;
    }
    if (l->ahead == NULL && ask(l, g->capacity, g->batch, 0, &l->ahead_request) == 0) {
        l->ahead = g;
    }
}

/* The wait for an answer is over. */
static int lock_and_take(struct ds_link *l, uint64_t capacity, int rc, struct request *r,
                         struct grant_class **ret)
{
    (void)pthread_mutex_lock(&l->write_lock);
    *ret = class_of(l, capacity); /* it may have gone, and come again */
    return rc == 0 ? take_grants(l, *ret, r) : rc;
}

/* 0: *g has a block. Waits without the lock: other threads have blocks, or are given some. */
static int refill(struct ds_link *l, struct grant_class **g, int64_t deadline_ns)
{
    uint64_t capacity = (*g)->capacity;
    uint32_t batch;
    struct request r;
    int rc;

    if (l->ahead == *g) {
        r = l->ahead_request;
        r.deadline_ns = deadline_ns;
        l->ahead = NULL;
        (void)pthread_mutex_unlock(&l->write_lock);
        rc = ds_request_wait(&r);
        rc = lock_and_take(l, capacity, rc, &r, g);
        if (rc == 0 || rc == DS_ESTALE || rc == DS_ESHUTDOWN || rc == DS_EINTERRUPTED) {
            return rc;
        }
    } /* there was no memory then, and that request did not wait for any */
    batch = (*g)->batch;
    (void)pthread_mutex_unlock(&l->write_lock);
    rc = ask(l, capacity, batch, deadline_ns, &r);
    rc = rc == 0 ? ds_request_wait(&r) : rc;
    return lock_and_take(l, capacity, rc, &r, g);
}

static int take_locked(struct ds_link *l, uint64_t size, int64_t deadline_ns, struct ds_grant *ret)
{
    struct grant_class *g;
    int rc = ds_link_map_writable(l);

    if (rc != 0) {
        return rc;
    }
    ret->capacity = ds_arena_capacity(DS_BLOCK_UNIT, ds_max_u64(size, 1));
    if (ret->capacity > l->data_size) {
        return DS_ENOMEM;
    }
    g = class_of(l, ret->capacity);
    g->used = ds_ticks_unordered();
    if (g->n == 0) {
        rc = refill(l, &g, deadline_ns);
    }
    if (rc == 0) {
        g->n--;
        ret->id = g->grant[g->n].id;
        ret->offset = g->grant[g->n].offset;
        ret->origin = g->grant[g->n].origin;
        ask_ahead(l, g);
    }
    return rc;
}

int ds_grant_take(struct ds_link *l, uint64_t size, int64_t deadline_ns, struct ds_grant *ret)
{
    int rc;

    (void)pthread_mutex_lock(&l->write_lock);
    rc = take_locked(l, size, deadline_ns, ret);
    (void)pthread_mutex_unlock(&l->write_lock);
    if (rc == 0) { /* outside the lock: it may take long */
        ds_link_populate(l, ret->offset, ret->capacity);
    }
    return rc;
}

/* Back into the cache of blocks: it was not posted. */
void ds_grant_keep(struct ds_link *l, const struct ds_grant *grant)
{
    struct grant_class *g;

    (void)pthread_mutex_lock(&l->write_lock);
    g = class_of(l, grant->capacity);
    if (g->n < GRANTS_MAX) {
        g->grant[g->n].id = grant->id;
        g->grant[g->n].origin = grant->origin;
        g->grant[g->n++].offset = grant->offset;
    }
    (void)pthread_mutex_unlock(&l->write_lock);
}

/* --- the ring --- */

static bool passed(const struct ds_link *l, uint64_t position)
{
    return (int64_t)(ds_load_acquire(&l->session->applied) - position) >= 0;
}

static bool spin_until_passed(const struct ds_link *l, uint64_t position)
{
    int64_t end;

    for (unsigned i = ds_link_looks(l); i > 0; i--) {
        if (passed(l, position)) {
            return true;
        }
        ds_cpu_relax();
    }
    end = ds_monotonic_ns() + SPIN_NS;
    do {
        bool alone = ds_client_yield();

        if (passed(l, position)) {
            return true;
        }
        if (!alone) {
            return false;
        }
    } while (ds_monotonic_ns() < end);
    return false;
}

static int wait_until_passed(struct ds_link *l, uint64_t position, bool locked, int64_t deadline_ns)
{
    struct ds_session_header *h = l->session;
    struct sleep sleep = {.deadline_ns = deadline_ns, .locked = locked};
    int rc = 0;

    if (spin_until_passed(l, position)) {
        return 0;
    }
    (void)ds_failpoint("client.waiting");
    (void)atomic_fetch_add(&h->sleepers, 1);
    ds_fence_full(); /* pairs with the worker's before it reads `sleepers` */
    while (rc == 0) {
        uint32_t wake = ds_load_acquire(&h->applied_wake);

        if (passed(l, position)) {
            break;
        }
        rc = ds_link_sleep(l, &h->applied_wake, wake, &sleep);
    }
    (void)atomic_fetch_sub(&h->sleepers, 1);
    return rc;
}

/* What a record that does not wrap leaves free at the end. */
static uint64_t padding(const struct ds_link *l, uint32_t size)
{
    uint64_t left = DS_RING_SIZE - l->ring_tail % DS_RING_SIZE;

    return left < size ? left : 0;
}

/* With write_lock; a `drop` keeps it while it waits. */
static int wait_for_room(struct ds_link *l, uint32_t size, bool drop, int64_t deadline_ns)
{
    int rc = 0;

    while (rc == 0 &&
           l->ring_tail + padding(l, size) + size - ds_load_acquire(&l->session->applied) >
               DS_RING_SIZE) {
        uint64_t half = l->ring_tail - DS_RING_SIZE / 2; /* not one record at a time */

        ds_fence_full();
        ds_link_wake(l, true, deadline_ns);
        if (drop) {
            rc = wait_until_passed(l, half, true, deadline_ns);
        } else {
            (void)pthread_mutex_unlock(&l->write_lock);
            rc = wait_until_passed(l, half, false, deadline_ns);
            (void)pthread_mutex_lock(&l->write_lock);
        }
    }
    return rc;
}

/* With write_lock: room for one record that does not wrap; pads to the end if needed. */
static int ring_reserve(struct ds_link *l, uint32_t size, bool drop, int64_t deadline_ns,
                        struct ds_ring_record **ret)
{
    int rc = wait_for_room(l, size, drop, deadline_ns);
    uint64_t pad = padding(l, size);

    if (rc != 0) {
        return rc;
    }
    if (pad > 0) {
        uint64_t at = l->ring_tail % DS_RING_SIZE;
        struct ds_ring_record p = {.size = (uint32_t)pad, .op = DS_RING_PAD};

        memcpy(l->ring + at, &p, ds_min_u64(pad, sizeof(p)));
        l->ring_tail += pad;
    }
    *ret = (void *)(l->ring + l->ring_tail % DS_RING_SIZE);
    return 0;
}

static int post_locked(struct ds_link *l, const struct write *w, enum ds_ring_op op,
                       int64_t deadline_ns, uint64_t *ret_position)
{
    uint32_t size = (uint32_t)ds_align_up(sizeof(struct ds_ring_record) + w->key_size, 16);
    struct ds_ring_record *r;
    int rc = ring_reserve(l, size, op == DS_RING_DROP, deadline_ns, &r);

    if (rc != 0) {
        return rc;
    }
    (void)ds_failpoint("client.before_record");
    *r = (struct ds_ring_record){
        .size = size,
        .op = (uint8_t)op,
        .mode = w->mode,
        .key_size = (uint16_t)w->key_size,
        .id = w->grant.id,
        .kind = w->kind,
        .ticket = ds_ticks(), /* W1 */
        .value_size = w->value_size,
        .ttl_ms = w->ttl_ms,
    };
    if (w->key_size > 0) {
        memcpy(r + 1, w->key, w->key_size);
    }
    (void)ds_failpoint("client.before_tail");
    l->ring_tail += size;
    ds_store_release(&l->session->ring_tail, l->ring_tail); /* W2: pairs with collect() */
    *ret_position = l->ring_tail;
    (void)ds_failpoint("client.posted");
    return 0;
}

int ds_ring_post(struct ds_link *l, const struct write *w, int64_t deadline_ns,
                 uint64_t *ret_position)
{
    int rc;

    (void)pthread_mutex_lock(&l->write_lock);
    rc = post_locked(l, w, DS_RING_SET, deadline_ns, ret_position);
    (void)pthread_mutex_unlock(&l->write_lock);
    return rc;
}

/* With write_lock: a drop is not waited for. When the ring is full and the worker away, the block
 * stays lent until the session ends. */
void ds_grant_give(struct ds_link *l, const struct ds_grant *g)
{
    struct write w = {.grant = *g};
    uint64_t position;
    int64_t deadline_ns = ds_monotonic_ns() + INT64_C(1000000000);

    (void)!post_locked(l, &w, DS_RING_DROP, deadline_ns, &position);
    ds_fence_full();
    ds_link_wake(l, false, deadline_ns);
}

/* W5: until the applied cursor passes the record. */
int ds_ring_wait(struct ds_link *l, uint64_t position, int64_t deadline_ns)
{
    return wait_until_passed(l, position, false, deadline_ns);
}

struct ds_request_item ds_second_item(const struct write *w, bool absent)
{
    return (struct ds_request_item){.key_size = (uint16_t)w->key_size,
                                    .mode = w->mode,
                                    .kind = (uint8_t)(w->kind | (absent ? DS_KIND_ABSENT : 0)),
                                    .id = w->grant.id,
                                    .value_size = w->value_size,
                                    .ttl_ms = w->ttl_ms,
                                    .grant_origin = w->grant.origin};
}

static int put_item(struct ds_link *l, enum ds_op op, struct write *w, bool absent,
                    int64_t deadline_ns, struct ds_request_result *ret)
{
    struct ds_request_item item = ds_second_item(w, absent);
    struct request r;
    int rc = ds_request_begin(&r, l, op, deadline_ns, ds_request_waits(l, op));

    if (rc != 0) {
        return rc;
    }
    if (!ds_request_add(&r, &item, w->key)) {
        ds_request_end(&r);
        return DS_EINVAL;
    }
    w->posted = true;
    rc = ds_request_call(&r);
    if (rc != 0) {
        return rc;
    }
    *ret = ds_request_result(&r, 0);
    ds_request_end(&r);
    return 0;
}

/* Insert if absent, and publish of an object: asked for, since the answer matters. */
int ds_link_put(struct ds_link *l, enum ds_op op, struct write *w, int64_t deadline_ns,
                struct ds_request_result *ret)
{
    return put_item(l, op, w, false, deadline_ns, ret);
}

int ds_set_second(struct ds_link *l, struct write *w, bool absent, int64_t deadline_ns)
{
    struct ds_request_result result;
    int rc = put_item(l, DS_OP_SET, w, absent, deadline_ns, &result);

    return rc != 0 ? rc : result.status;
}

int ds_set_absent(struct ds_link *l, struct write *w, int64_t deadline_ns)
{
    struct ds_request_result result;
    int rc = ds_link_put(l, DS_OP_SET_ABSENT, w, deadline_ns, &result);

    return rc != 0 ? rc : result.status;
}

/* Posts, fences, looks. *ret_wait: the position to wait for, 0 if there is nothing to wait for. */
int ds_set_post(struct ds_link *l, const struct write *w, int64_t deadline_ns, uint64_t *ret_wait)
{
    uint64_t position;
    int rc = ds_ring_post(l, w, deadline_ns, &position);

    if (rc == 0) {
        ds_fence_full();                                                       /* W3 */
        *ret_wait = ds_index_maybe_present(&l->index, w->hash) ? position : 0; /* W4 */
        rc = ds_load_acquire(&l->dead) ? DS_ESTALE : 0;
    }
    return rc;
}
