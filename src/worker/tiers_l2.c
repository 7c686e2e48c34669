/* SPDX-License-Identifier: Apache-2.0 */
/* tiers_l2.c - second-level storage behind the store's table. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/sys_file.h"
#include "shm/layout.h"
#include "shm/window.h"
#include "tier/l2_options.h"
#include "tier/l2_pool.h"
#include "worker/tiers.h"
#include "worker/worker.h"

#define EVENTS 64u
#define DEADLINE_NS INT64_C(60000000000)
#define COMPLAIN_NS INT64_C(10000000000)
#define GC_NS INT64_C(3600000000000) /* between two collections of tombstones */
#define UNFINISHED_NS INT64_C(86400000000000)
#define AHEAD_NS UINT64_C(1000000000)
#define AHEAD_MAX_NS UINT64_C(86400000000000)
#define RAISES_MAX 8u /* others write the key all the time */
/* 4 million numbers a second before they leave the time behind */
#define RENEWALS_MAX UINT64_C(256)

/* Ordinarily the time. Workers need not agree on that: docs/concurrency.md, 10. Also where the
 * clock is behind it is none of the numbers that new expiries of the value before take. */
uint64_t ds_second_order(struct ds_tiers *t)
{
    t->order = ds_max_u64(t->order + RENEWALS_MAX, (uint64_t)ds_now_ns(CLOCK_REALTIME));
    return t->order;
}

/* What is further ahead is of no clock that works: followed once, all later numbers of this worker
 * would be above it, and then those of the others. */
static bool may_follow(const struct ds_tiers *t, uint64_t number)
{
    return number <= ds_max_u64(t->order, (uint64_t)ds_now_ns(CLOCK_REALTIME) + AHEAD_MAX_NS);
}

void ds_second_seen(struct ds_tiers *t, uint64_t number)
{
    t->order = may_follow(t, number) ? ds_max_u64(t->order, number) : t->order;
}

static void fill_put(struct ds_tiers *t, const struct ds_tier_op *op, struct ds_l2_request *r)
{
    r->op = DS_L2_POOL_PUT;
    r->background = op->kind == DS_TIER_UPLOAD;
    r->renews = op->renews;
    r->meta = (struct ds_l2_meta){
        .version = op->order,
        .expiry_unix_ns = ds_tiers_real(t, op->expiry_ns),
        .size = op->size,
        .flags = (op->object_kind & DS_KIND_SEALED) != 0 ? DS_L2_SEALED : 0,
        .mode = op->mode,
        .kind = (uint8_t)(op->object_kind & DS_KIND_KEPT),
    };
    r->value = (struct ds_l2_span){t->w->data_fd, op->offset, NULL, t->w->window};
}

static int submit(struct ds_tiers *t, const struct ds_tier_op *op)
{
    struct ds_l2_request r = {
        .key = op->key,
        .key_size = op->key_size,
        .deadline_ns = ds_monotonic_ns() + DEADLINE_NS,
        .value = {.fd = -1},
        .cookie = (uint64_t)(uintptr_t)op,
    };

    switch (op->kind) {
    case DS_TIER_STORE:
    case DS_TIER_UPLOAD:
        fill_put(t, op, &r);
        break;
    case DS_TIER_ERASE:
        r.op = DS_L2_POOL_REMOVE;
        r.meta.version = op->order;
        break;
    case DS_TIER_LOOKUP:
        r.op = DS_L2_POOL_HEAD;
        break;
    default:
        r.op = DS_L2_POOL_GET;
        if (op->room) {
            r.meta.size = op->size;
            r.value = (struct ds_l2_span){t->w->data_fd, op->offset, NULL, t->w->window};
        }
    }
    return ds_l2_pool_submit(t->pool, &r);
}

/* Storage that comes and goes all the time is told of now and then. */
static void watch_breaker(struct ds_tiers *t)
{
    int64_t now = ds_monotonic_ns();
    struct ds_l2_pool_breaker b;

    ds_l2_pool_breaker(t->pool, &b);
    if ((b.state != DS_L2_CLOSED) == t->breaker_open) {
        return;
    }
    t->breaker_open = !t->breaker_open;
    ds_store_pause_uploads(t->w->store, t->breaker_open);
    if (!t->breaker_open && t->breaker_told) {
        ds_log(DS_LOG_INFO, "second-level storage answers again after %lld s; uploads go on",
               (long long)((now - b.opened_ns) / 1000000000));
    } else if (t->breaker_open) {
        t->breaker_told = t->told_ns == 0 || now - t->told_ns > COMPLAIN_NS;
    }
    if (t->breaker_open && t->breaker_told) {
        t->told_ns = now;
        ds_log(DS_LOG_WARNING,
               "second-level storage does not answer: what needs it fails at once, one request "
               "is let through from time to time, uploads wait. The last error: %s",
               b.why);
    }
}

int ds_second_start(struct ds_tiers *t, struct ds_tier_op *op)
{
    int rc;

    if (t->pool == NULL) {
        return DS_ENOTSUPPORTED;
    }
    if (op->renews) {
        ds_second_seen(t, op->order); /* it is none of ds_second_order() */
    }
    rc = submit(t, op);
    if (rc == DS_EUNAVAILABLE) {
        watch_breaker(t); /* it may be open since just now */
    }
    return rc;
}

/* After an event; rc as of a start that whoever waits asks again for. */
static int submit_again(struct ds_tiers *t, const struct ds_tier_op *op, struct ds_l2_event *e)
{
    int rc = submit(t, op);

    if (rc == DS_EUNAVAILABLE) {
        (void)snprintf(e->err, sizeof(e->err), "it does not answer any more");
    }
    return rc == DS_EQUEUEFULL ? DS_EAGAIN : rc;
}

/* A GET whose size the pool did not know: small values come along, for others there is room to be
 * made first. True: it goes on. */
static bool place(struct ds_tiers *t, struct ds_tier_op *op, struct ds_l2_event *e, int *rc)
{
    if (op->room || (e->rc != 0 && e->rc != DS_ERANGE)) {
        return false;
    }
    *rc = ds_store_tier_room(t->w->store, op, e->meta.size);
    if (*rc != 0) {
        return false;
    }
    if (e->rc == DS_ERANGE) {
        *rc = submit_again(t, op, e);
        return *rc == 0;
    }
    if (e->meta.size > 0) {
        *rc = ds_window_write(t->w->window, t->w->data_fd, op->offset, e->data, e->meta.size) < 0
                  ? DS_EIO
                  : 0;
    }
    return false;
}

static void complain(struct ds_tiers *t, const struct ds_l2_event *e)
{
    int64_t now = ds_monotonic_ns();

    if (now - t->complained_ns > COMPLAIN_NS) {
        t->complained_ns = now;
        ds_log(DS_LOG_WARNING, "second-level storage: %s", e->err);
    }
}

/* A greater number than the op's is there. True: the op was given one above it, and is under way
 * again. */
static bool raise_order(struct ds_tiers *t, struct ds_tier_op *op, struct ds_l2_event *e, int *rc)
{
    uint64_t now = (uint64_t)ds_now_ns(CLOCK_REALTIME);
    uint64_t ahead = e->newer > now ? e->newer - now : 0;

    if (op->claim == DS_CLAIM_YIELDS || (op->claim == DS_CLAIM_ACKNOWLEDGED && ahead == 0) ||
        !ds_store_tier_current(t->w->store, op)) {
        return false;
    }
    if (!may_follow(t, e->newer) || op->raised == RAISES_MAX) {
        *rc = DS_EUNAVAILABLE;
        (void)snprintf(e->err, sizeof(e->err),
                       !may_follow(t, e->newer)
                           ? "version %llu of a key is more than a day ahead of this worker's "
                             "clock: set the clock, or find it with 'dscli l2 ls' and remove it"
                           : "a key is being written by others all the time: a set or delete of it "
                             "was given up behind version %llu",
                       (unsigned long long)e->newer);
        return false;
    }
    if (ahead > AHEAD_NS && !t->clock_told) {
        t->clock_told = true;
        ds_log(DS_LOG_WARNING,
               "second-level storage: a version is %llu s ahead of this worker's clock: "
               "synchronise the clocks of the workers that share it",
               (unsigned long long)(ahead / 1000000000));
    }
    ds_second_seen(t, e->newer);
    op->raised++;
    op->order = ds_second_order(t);
    *rc = submit_again(t, op, e);
    return *rc == 0;
}

static void collected(struct ds_tiers *t, const struct ds_l2_event *e)
{
    t->collected += e->gc.tombstones + e->gc.expired + e->gc.superseded;
    if (e->gc.whole) {
        t->seen = e->gc;
        t->seen_ns = ds_monotonic_ns();
        t->collections++;
    }
    if (e->rc != 0) {
        complain(t, e);
    } else if (e->gc.refused > 0) {
        ds_log(DS_LOG_WARNING,
               "second-level storage: %llu objects cannot be read or removed; the last reason: %s",
               (unsigned long long)e->gc.refused, e->err);
    }
    if (e->rc == 0 && e->gc.tombstones + e->gc.expired + e->gc.unfinished + e->gc.superseded > 0) {
        ds_log(
            DS_LOG_INFO,
            "second-level storage: removed %llu tombstones, %llu expired objects, %llu unfinished, "
            "%llu old versions",
            (unsigned long long)e->gc.tombstones, (unsigned long long)e->gc.expired,
            (unsigned long long)e->gc.unfinished, (unsigned long long)e->gc.superseded);
    }
}

/* Now and then what nobody can need any more is removed, by whichever worker comes to it. */
static void collect(struct ds_tiers *t)
{
    int64_t now = ds_monotonic_ns();
    int64_t age_ms = ds_options_int(t->w->options, DS_OPT_l2_cache_tombstone_age);
    struct ds_l2_request r = {
        .op = DS_L2_POOL_GC,
        .background = true,
        .value = {.fd = -1},
        .gc = {.tombstone_age_ns = age_ms * 1000000, .unfinished_age_ns = UNFINISHED_NS},
    };

    if (ds_failpoint("l2.collect") < 0) { /* tests do not wait for an hour */
        t->collect_ns = now;
    }
    if (t->collect_ns == 0) {
        t->collect_ns = now + GC_NS;
    } else if (now >= t->collect_ns) {
        t->collect_ns = now + GC_NS;
        (void)!ds_l2_pool_submit(t->pool, &r);
    }
}

static void done(struct ds_tiers *t, struct ds_l2_event *e)
{
    struct ds_tier_op *op = (void *)(uintptr_t)e->cookie;
    int rc = e->rc;

    if (e->op == DS_L2_POOL_GC) {
        collected(t, e);
        return;
    }
    if (op->kind == DS_TIER_LOAD && place(t, op, e, &rc)) {
        ds_free(e->data);
        return;
    }
    ds_free(e->data);
    if (rc == DS_ESTALE && raise_order(t, op, e, &rc)) {
        return;
    }
    if (op->kind == DS_TIER_LOAD || op->kind == DS_TIER_LOOKUP) {
        ds_second_seen(t, e->meta.version);
        op->expiry_ns = ds_tiers_boot(t, e->meta.expiry_unix_ns);
        op->mode = e->meta.mode;
        op->object_kind = e->meta.kind;
        op->object_kind |= (e->meta.flags & DS_L2_SEALED) != 0 ? DS_KIND_SEALED : 0;
        op->order = e->meta.version;
        op->size = op->room ? op->size : e->meta.size;
        if (rc == DS_ERANGE) { /* it was replaced by one of another size meanwhile */
            rc = DS_EAGAIN;
        }
    }
    if (rc != 0 && rc != DS_ENOTFOUND && rc != DS_EAGAIN && rc != DS_ENOMEM && rc != DS_ESTALE) {
        complain(t, e);
    }
    t->erased += op->kind == DS_TIER_ERASE && rc == 0;
    op->status = rc;
    ds_store_tier_done(t->w->store, op);
}

void ds_second_poll(struct ds_tiers *t)
{
    struct ds_l2_event events[EVENTS];
    size_t n;

    do {
        n = ds_l2_pool_poll(t->pool, events, EVENTS);
        for (size_t i = 0; i < n; i++) {
            done(t, &events[i]);
        }
    } while (n == EVENTS);
    watch_breaker(t);
    collect(t);
}

/* Of what the storage holds this worker knows what it has seen there last. */
static void use_stats(const struct ds_tiers *t, struct ds_worker_stats *ret)
{
    struct ds_l2_space space;

    ds_l2_space(t->l2, &space);
    ret->l2_capacity = space.capacity;
    ret->l2_free = space.free;
    ret->l2_objects = t->seen.objects - t->seen.gone;
    ret->l2_bytes = t->seen.bytes;
    ret->l2_gone = t->seen.gone;
    ret->l2_seen_ms = t->collections > 0 ? (uint64_t)(ds_monotonic_ns() - t->seen_ns) / 1000000 : 0;
    ret->l2_collections = t->collections;
    ret->l2_collected = t->collected;
    ret->l2_erased = t->erased;
}

void ds_second_stats(const struct ds_tiers *t, struct ds_worker_stats *ret)
{
    struct ds_l2_pool_stats st;
    struct ds_l2_pool_breaker breaker;

    ds_l2_pool_stats(t->pool, &st);
    ds_l2_pool_breaker(t->pool, &breaker);
    use_stats(t, ret);
    ret->l2_breaker_open = breaker.state != DS_L2_CLOSED;
    ret->l2_trips = breaker.opens;
    ret->l2_rejected = breaker.refused;
    ret->l2_waiting_max = t->w->config.upload_max;
    ret->l2_queued = st.queued;
    ret->l2_requests = 0;
    ret->l2_errors = 0;
    ret->l2_retries = 0;
    for (int op = 0; op < DS_L2_POOL_OPS; op++) {
        ret->l2_requests += st.ops[op].done;
        ret->l2_errors += st.ops[op].errors;
        ret->l2_retries += st.ops[op].retries;
    }
}

int ds_second_fd(const struct ds_tiers *t)
{
    return ds_l2_pool_fd(t->pool);
}

/* `adopts`: there is memory to be served, whatever the storage says now. */
int ds_second_open(struct ds_tiers *t, bool adopts)
{
    const struct ds_options *o = t->w->options;
    struct ds_l2_config config = {0};
    struct ds_l2_pool_config pool = {0};
    int rc;

    if (!ds_l2_config_from(o, &config)) {
        return 0;
    }
    rc = adopts ? ds_l2_open_later(&config, &t->l2)
                : ds_l2_open(&config, t->w->trouble, sizeof(t->w->trouble), &t->l2);
    if (rc != 0) {
        return rc;
    }
    pool.l2 = t->l2;
    pool.background_rate = (uint64_t)ds_options_int(o, DS_OPT_l2_cache_async_write_rate_limit_mb)
                           << 20;
    rc = ds_l2_pool_create(&pool, &t->pool);
    return rc;
}

void ds_second_close(struct ds_tiers *t)
{
    t->pool = ds_l2_pool_close(t->pool);
    t->l2 = ds_l2_close(t->l2);
}
