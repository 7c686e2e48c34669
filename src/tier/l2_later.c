/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_later.c - storage that is opened by the first call, and again until it can be.
 *
 *     closed ──call──> opening ──> open, for good: calls go through
 *       ^                 │
 *       └──── refused ────┘        calls fail with the reason until the pause is over; the pauses
 *                                  grow, and the next call behind one opens again
 *
 * A worker that takes over memory must not end because the storage below it refuses at that moment:
 * nobody else has what is in memory. Nor may it wait there for one that does not answer. Whether an
 * object store refuses, each call finds out by itself: there is nothing to be opened again.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/clock.h"
#include "base/log.h"
#include "tier/l2.h"

#define PAUSE_NS INT64_C(100000000)
#define PAUSE_MAX_NS INT64_C(10000000000)
#define WAIT_NS INT64_C(100000000) /* between looks at `stop` */

struct later {
    struct ds_l2 base;
    struct ds_l2_ops ops;
    struct ds_l2_config config;
    _Atomic(struct ds_l2 *) inner; /* NULL: not open yet; written with the lock held */
    pthread_mutex_t lock;          /* guards all below */
    pthread_cond_t tried;          /* `opening` ended */
    bool opening;                  /* a call is at it, without the lock */
    int64_t next_ns, pause_ns;     /* when the next call may; 0: none has failed yet */
    char why[DS_L2_ERROR_SIZE];
};

static struct later *of(struct ds_l2 *l2)
{
    return (struct later *)l2;
}

/* The call that came first. Called and returns with the lock. */
static void try_open(struct later *l)
{
    struct ds_l2 *inner = NULL;
    char why[DS_L2_ERROR_SIZE] = "";
    int rc;

    l->opening = true;
    (void)pthread_mutex_unlock(&l->lock);
    rc = ds_l2_open(&l->config, why, sizeof(why), &inner);
    (void)pthread_mutex_lock(&l->lock);
    l->opening = false;
    if (rc == 0) {
        if (l->pause_ns > 0) {
            ds_log(DS_LOG_INFO, "second-level storage can be used again");
        }
        ds_store_release(&l->inner, inner);
    } else {
        if (l->pause_ns == 0) {
            ds_log(DS_LOG_ERROR,
                   "second-level storage cannot be used (%s: %s): memory and disk are served "
                   "without it, calls that need it fail, and what waits for its upload stays. It "
                   "is opened as soon as it can be",
                   ds_error_text(rc), why);
        }
        l->pause_ns = l->pause_ns == 0
                          ? PAUSE_NS
                          : (int64_t)ds_min_u64((uint64_t)l->pause_ns * 2, (uint64_t)PAUSE_MAX_NS);
        l->next_ns = ds_monotonic_ns() + l->pause_ns;
        (void)snprintf(l->why, sizeof(l->why), "%s", why);
    }
    (void)pthread_cond_broadcast(&l->tried);
}

/* For the first try there is nothing to say yet; later ones are not waited for. */
static int wait_for_first(struct later *l, struct ds_l2_call *call)
{
    int rc = 0;

    while (rc == 0 && l->opening && l->pause_ns == 0) {
        int64_t at = ds_monotonic_ns() + WAIT_NS;
        struct timespec t;

        if (call->deadline_ns != 0 && call->deadline_ns < at) {
            at = call->deadline_ns;
        }
        t = (struct timespec){at / 1000000000, at % 1000000000};
        (void)pthread_cond_timedwait(&l->tried, &l->lock, &t);
        rc = ds_l2_go_on(call);
    }
    return rc;
}

static int enter(struct later *l, struct ds_l2_call *call, struct ds_l2 **ret)
{
    int rc = 0;

    *ret = ds_load_acquire(&l->inner);
    if (*ret != NULL) {
        return 0;
    }
    (void)pthread_mutex_lock(&l->lock);
    if (l->opening) {
        rc = wait_for_first(l, call);
    } else if (ds_load_relaxed(&l->inner) == NULL && ds_monotonic_ns() >= l->next_ns) {
        try_open(l);
    }
    *ret = ds_load_relaxed(&l->inner);
    if (rc == 0 && *ret == NULL) {
        rc = ds_l2_fail(call, DS_EUNAVAILABLE, "it cannot be opened: %.340s", l->why);
    }
    (void)pthread_mutex_unlock(&l->lock);
    return rc;
}

static void later_put_many(struct ds_l2 *l2, struct ds_l2_call *call,
                           const struct ds_l2_item *items, size_t n, int *rcs)
{
    struct ds_l2 *inner;
    int rc = enter(of(l2), call, &inner);

    if (rc == 0) {
        ds_l2_put_many(inner, call, items, n, rcs);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        rcs[i] = rc;
    }
}

static int later_get(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
                     ds_l2_room_fn *room, void *arg, struct ds_l2_meta *ret)
{
    struct ds_l2 *inner;
    int rc = enter(of(l2), call, &inner);

    return rc != 0 ? rc : ds_l2_get(inner, call, key, key_size, room, arg, ret);
}

static int later_head(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
                      bool tombstone, struct ds_l2_meta *ret)
{
    struct ds_l2 *inner;
    int rc = enter(of(l2), call, &inner);

    return rc != 0 ? rc : ds_l2_head(inner, call, key, key_size, tombstone, ret);
}

static int later_list(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each, void *arg)
{
    struct ds_l2 *inner;
    int rc = enter(of(l2), call, &inner);

    return rc != 0 ? rc : ds_l2_list(inner, call, each, arg);
}

static int later_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc)
{
    struct ds_l2 *inner;
    int rc = enter(of(l2), call, &inner);

    return rc != 0 ? rc : ds_l2_gc(inner, call, gc);
}

static void later_space(struct ds_l2 *l2, struct ds_l2_space *ret)
{
    struct ds_l2 *inner = ds_load_acquire(&of(l2)->inner);

    if (inner != NULL) {
        ds_l2_space(inner, ret);
    }
}

static struct ds_l2 *later_close(struct ds_l2 *l2)
{
    struct later *l = of(l2);

    DS_ASSERT(!l->opening);
    (void)ds_l2_close(ds_load_relaxed(&l->inner));
    (void)pthread_cond_destroy(&l->tried);
    (void)pthread_mutex_destroy(&l->lock);
    ds_free(l);
    return NULL;
}

static int init_sync(struct later *l)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    rc = rc != 0 ? rc : pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = rc != 0 ? rc : pthread_mutex_init(&l->lock, NULL);
    rc = rc != 0 ? rc : pthread_cond_init(&l->tried, &attr);
    (void)pthread_condattr_destroy(&attr);
    return rc != 0 ? DS_ENOMEM : 0;
}

int ds_l2_open_later(const struct ds_l2_config *config, struct ds_l2 **ret)
{
    struct later *l = ds_zalloc(sizeof(*l), "l2 later");

    if (l == NULL || init_sync(l) != 0) {
        ds_free(l);
        return DS_ENOMEM;
    }
    l->ops = (struct ds_l2_ops){
        .name = "later",
        .batches = config->type == DS_L2_DIR,
        .put_many = later_put_many,
        .get = later_get,
        .head = later_head,
        .list = later_list,
        .gc = later_gc,
        .space = later_space,
        .close = later_close,
    };
    l->base.ops = &l->ops;
    l->config = *config;
    l->config.existing = true;
    *ret = &l->base;
    return 0;
}
