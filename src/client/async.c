/* SPDX-License-Identifier: Apache-2.0 */
/*
 * async.c - waiting gets that call back: one thread per client handle, started by the first of
 * them.
 *
 * The thread asks for each pending key in turn with short waits as long as there are several, with
 * long ones when there is only one.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "client/internal.h"

#define SLICE_MS 5

struct pending {
    struct pending *next;
    ds_get_callback *callback;
    void *arg;
    int64_t deadline_ns;
    size_t key_size;
    uint8_t key[];
};

struct async {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct pending *first; /* under lock */
    struct pending **last; /* under lock */
    bool stop;             /* under lock */
};

static struct pending *take_first(struct async *a, bool *ret_stop)
{
    struct pending *p;

    (void)pthread_mutex_lock(&a->lock);
    while (a->first == NULL && !a->stop) {
        (void)pthread_cond_wait(&a->some, &a->lock);
    }
    p = a->first;
    if (p != NULL) {
        a->first = p->next;
        if (a->first == NULL) {
            a->last = &a->first;
        }
    }
    *ret_stop = a->stop;
    (void)pthread_mutex_unlock(&a->lock);
    return p;
}

static void put_last(struct async *a, struct pending *p)
{
    p->next = NULL;
    (void)pthread_mutex_lock(&a->lock);
    *a->last = p;
    a->last = &p->next;
    (void)pthread_cond_signal(&a->some);
    (void)pthread_mutex_unlock(&a->lock);
}

/* One slice of waiting. True: answered. */
static bool serve(struct ds_client *c, struct pending *p)
{
    struct ds_view view = {0};
    int64_t left_ms = (p->deadline_ns - ds_monotonic_ns()) / 1000000;
    int rc = ds_kv_get(c, p->key, p->key_size,
                       left_ms < 0          ? 0
                       : left_ms < SLICE_MS ? left_ms
                                            : SLICE_MS,
                       &view);

    if (rc == DS_ENOTFOUND && left_ms > 0) {
        return false;
    }
    p->callback(p->arg, rc, &view);
    return true;
}

static void *async_main(void *arg)
{
    struct ds_client *c = arg;
    struct async *a = c->async;
    bool stop = false;
    struct pending *p;

    while ((p = take_first(a, &stop)) != NULL || !stop) {
        struct ds_view none = {0};

        if (p == NULL) {
            continue;
        }
        if (stop) {
            p->callback(p->arg, DS_ESHUTDOWN, &none);
        } else if (!serve(c, p)) {
            put_last(a, p);
            continue;
        }
        ds_free(p);
    }
    return NULL;
}

static int start(struct ds_client *c)
{
    struct async *a;
    int rc = 0;

    (void)pthread_mutex_lock(&c->lock);
    if (c->async == NULL) {
        a = ds_zalloc(sizeof(*a), "async");
        if (a == NULL) {
            rc = DS_ENOMEM;
        } else {
            a->last = &a->first;
            (void)pthread_mutex_init(&a->lock, NULL);
            (void)pthread_cond_init(&a->some, NULL);
            c->async = a;
            if (ds_sys_thread(&a->thread, async_main, c) < 0) {
                c->async = NULL;
                ds_free(a);
                rc = DS_ENOMEM;
            }
        }
    }
    (void)pthread_mutex_unlock(&c->lock);
    return rc;
}

int ds_kv_get_async(struct ds_client *client, const void *key, size_t key_size, int64_t timeout_ms,
                    ds_get_callback *callback, void *arg)
{
    struct pending *p;
    int rc = ds_check_key(key, key_size);

    if (rc == 0 && (client == NULL || callback == NULL)) {
        rc = DS_EINVAL;
    }
    if (rc == 0 && ds_client_link(client) == NULL) {
        rc = DS_ENOTREADY;
    }
    if (rc == 0) {
        rc = start(client);
    }
    if (rc != 0) {
        return rc;
    }
    p = ds_zalloc(sizeof(*p) + key_size, "pending");
    if (p == NULL) {
        return DS_ENOMEM;
    }
    p->callback = callback;
    p->arg = arg;
    p->deadline_ns = ds_monotonic_ns() + (timeout_ms > 0 ? timeout_ms : 0) * INT64_C(1000000);
    p->key_size = key_size;
    memcpy(p->key, key, key_size);
    put_last(client->async, p);
    return 0;
}

void ds_async_close(struct ds_client *c)
{
    struct async *a = c->async;

    if (a == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&a->lock);
    a->stop = true;
    (void)pthread_cond_signal(&a->some);
    (void)pthread_mutex_unlock(&a->lock);
    (void)pthread_join(a->thread, NULL);
    (void)pthread_mutex_destroy(&a->lock);
    (void)pthread_cond_destroy(&a->some);
    ds_free(a);
    c->async = NULL;
}
