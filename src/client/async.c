/* SPDX-License-Identifier: Apache-2.0 */
/*
 * async.c - waiting gets that call back: one thread per client handle, started by the first of
 * them.
 *
 * The thread asks for many keys with one request, which the worker answers as soon as it has any of
 * them (DS_GET_ANY); the others are asked for again. It sleeps on the done words of all its
 * requests. With several requests each waits for a turn only: so those of few keys grow together,
 * and there is room for more keys than the requests hold.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "client/internal.h"

#define FLIGHTS 16u
#define TURN_NS INT64_C(250000000)
#define GRACE_NS INT64_C(1000000000) /* the worker keeps the time; this is for when it does not */
#define NO_SLOT_NS INT64_C(5000000)  /* until a slot may be free */

struct pending {
    struct pending *next;
    ds_get_callback *callback;
    void *arg;
    int64_t deadline_ns;
    size_t key_size;
    uint8_t key[];
};

struct queue {
    struct pending *first;
    struct pending **last;
};

/* A request under way. */
struct flight {
    struct request request;
    uint32_t n; /* 0: none */
    struct pending *keys[DS_SUB_MAX];
};

struct async {
    struct ds_client *client;
    pthread_t thread;
    pthread_mutex_t lock;
    struct queue come;     /* under lock */
    bool stop;             /* under lock */
    _Atomic uint32_t bell; /* something of the two changed */
    struct queue left;     /* to be asked for; this and the rest: the thread's */
    struct flight flights[FLIGHTS];
};

/* --- queues --- */

static void push(struct queue *q, struct pending *p)
{
    p->next = NULL;
    *q->last = p;
    q->last = &p->next;
}

static struct pending *pop(struct queue *q)
{
    struct pending *p = q->first;

    if (p != NULL) {
        q->first = p->next;
        q->last = q->first == NULL ? &q->first : q->last;
    }
    return p;
}

static void call_back(struct pending *p, int rc, struct ds_view *view)
{
    struct ds_view none = {0};

    p->callback(p->arg, rc, view != NULL ? view : &none);
    ds_free(p);
}

/* What came, but for what is there already. False: to stop. */
static bool take_new(struct async *a)
{
    struct queue come;
    struct pending *p;
    bool stop;

    (void)pthread_mutex_lock(&a->lock);
    come = a->come;
    a->come = (struct queue){NULL, &a->come.first};
    stop = a->stop;
    (void)pthread_mutex_unlock(&a->lock);
    while ((p = come.first) != NULL) {
        struct ds_view view;

        come.first = p->next;
        if (!stop && ds_kv_try_get(a->client, p->key, p->key_size, &view) == 0) {
            call_back(p, 0, &view);
        } else {
            push(&a->left, p);
        }
    }
    return !stop;
}

/* --- requests --- */

/* As many keys as fit. False: there is no slot for them now. */
static bool depart(struct async *a, struct flight *f, bool alone)
{
    struct ds_link *l = ds_load_acquire(&a->client->link);
    int64_t now = ds_monotonic_ns();
    int64_t end = alone ? INT64_MAX : now + TURN_NS;
    int64_t first_deadline = INT64_MAX;
    struct pending *p;

    if (ds_request_begin(&f->request, l, DS_OP_GET, 0, true) != 0) {
        return false;
    }
    while ((p = a->left.first) != NULL) {
        struct ds_request_item item = {.key_size = (uint16_t)p->key_size};

        if (!ds_request_add(&f->request, &item, p->key)) {
            break;
        }
        f->keys[f->n++] = pop(&a->left);
        first_deadline = p->deadline_ns < first_deadline ? p->deadline_ns : first_deadline;
    }
    end = first_deadline < end ? first_deadline : end;
    f->request.deadline_ns = first_deadline + GRACE_NS;
    ds_request_header(&f->request)->value = DS_GET_ANY;
    ds_request_header(&f->request)->timeout_ms = end > now ? (end - now + 999999) / 1000000 : 0;
    ds_store_relaxed(&l->session->request_sleeper[f->request.slot], 1); /* post() fences */
    ds_request_post(&f->request, true);
    return true;
}

/* A key whose answer is `rc`. */
static void arrive(struct async *a, struct pending *p, int rc, struct ds_view *view)
{
    bool again = rc == DS_EAGAIN || rc == DS_ESTALE ||
                 ((rc == DS_ENOTFOUND || rc == DS_ETIMEOUT) && p->deadline_ns > ds_monotonic_ns());

    if (again) {
        push(&a->left, p);
    } else {
        call_back(p, rc, view);
    }
}

static void land(struct async *a, struct flight *f)
{
    struct ds_link *l = f->request.link;
    uint32_t n = f->n;

    f->n = 0;
    ds_store_relaxed(&l->session->request_sleeper[f->request.slot], 0);
    for (uint32_t i = 0; i < n; i++) {
        struct ds_request_result answer = ds_request_result(&f->request, i);
        struct ds_view view = {0};
        struct ds_found found;
        int rc = answer.status;

        if (rc == 0) {
            rc = ds_link_pin_id(l, answer.id, answer.value, &view, &found);
        }
        arrive(a, f->keys[i], rc, &view);
    }
    ds_request_end(&f->request);
}

/* Without an answer. */
static void crash(struct async *a, struct flight *f, int rc)
{
    uint32_t n = f->n;

    f->n = 0;
    ds_store_relaxed(&f->request.link->session->request_sleeper[f->request.slot], 0);
    ds_request_give_up(&f->request);
    for (uint32_t i = 0; i < n; i++) {
        arrive(a, f->keys[i], rc, NULL);
    }
}

static unsigned in_flight(const struct async *a)
{
    unsigned n = 0;

    for (unsigned i = 0; i < FLIGHTS; i++) {
        n += a->flights[i].n > 0;
    }
    return n;
}

/* True: one was answered, or given up. */
static bool look(struct async *a)
{
    int64_t now = ds_monotonic_ns();
    bool any = false;

    for (unsigned i = 0; i < FLIGHTS; i++) {
        struct flight *f = &a->flights[i];

        if (f->n > 0 && ds_request_answered(&f->request)) {
            land(a, f);
            any = true;
        } else if (f->n > 0 && now >= f->request.deadline_ns) {
            crash(a, f, DS_ETIMEOUT);
            any = true;
        }
    }
    return any;
}

static void fail_all(struct async *a, int rc)
{
    for (unsigned i = 0; i < FLIGHTS; i++) {
        if (a->flights[i].n > 0) {
            crash(a, &a->flights[i], rc);
        }
    }
}

/* --- the thread --- */

/* Some may be of a link that another thread has replaced meanwhile. */
static void check_workers(struct async *a)
{
    for (unsigned i = 0; i < FLIGHTS; i++) {
        struct flight *f = &a->flights[i];
        int rc = f->n == 0 ? 0 : ds_link_check(f->request.link, ds_monotonic_ns() + GRACE_NS);

        if (rc != 0 && rc != DS_ETIMEOUT) {
            crash(a, f, rc);
        }
    }
}

/* Until the bell is rung, a request is answered, or `ns` have passed. */
static void sleep_for(struct async *a, uint32_t bell, int64_t ns)
{
    struct ds_sys_futex words[FLIGHTS + 1] = {{&a->bell, bell}};
    unsigned n = 1;

    for (unsigned i = 0; i < FLIGHTS; i++) {
        const struct request *r = &a->flights[i].request;

        if (a->flights[i].n > 0) {
            words[n] = (struct ds_sys_futex){&r->link->session->done[r->slot], 0};
            words[n].expected = ds_load_acquire(&r->link->session->done[r->slot]);
            if (words[n++].expected == r->number) {
                return;
            }
        }
    }
    if (ds_sys_futex_wait_any(words, n, ns) == -ETIMEDOUT) {
        check_workers(a);
    }
}

static void *async_main(void *arg)
{
    struct async *a = arg;
    int64_t check_ns = DS_CHECK_FIRST_NS;
    struct pending *p;

    for (;;) {
        uint32_t bell = atomic_load(&a->bell);
        bool slots = true;
        unsigned busy;

        if (!take_new(a)) {
            break;
        }
        if (look(a)) {
            check_ns = DS_CHECK_FIRST_NS;
        }
        busy = in_flight(a);
        for (unsigned i = 0; i < FLIGHTS && slots && a->left.first != NULL; i++) {
            if (a->flights[i].n == 0) {
                slots = depart(a, &a->flights[i], busy == 0);
                busy += slots;
            }
        }
        if (!slots) {
            sleep_for(a, bell, NO_SLOT_NS);
        } else if (busy == 0) {
            sleep_for(a, bell, -1);
        } else {
            sleep_for(a, bell, check_ns);
            check_ns = check_ns < DS_CHECK_MAX_NS / 2 ? check_ns * 2 : DS_CHECK_MAX_NS;
        }
    }
    fail_all(a, DS_ESHUTDOWN);
    while ((p = pop(&a->left)) != NULL) {
        call_back(p, DS_ESHUTDOWN, NULL);
    }
    return NULL;
}

static void ring(struct async *a)
{
    (void)atomic_fetch_add(&a->bell, 1);
    (void)ds_sys_futex_wake(&a->bell, INT_MAX);
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
            a->client = c;
            a->come.last = &a->come.first;
            a->left.last = &a->left.first;
            (void)pthread_mutex_init(&a->lock, NULL);
            if (ds_sys_thread(&a->thread, async_main, a) < 0) {
                (void)pthread_mutex_destroy(&a->lock);
                ds_free(a);
                rc = DS_ENOMEM;
            } else {
                c->async = a;
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
    struct async *a;
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
    if (timeout_ms > client->options.request_timeout_ms) {
        timeout_ms = client->options.request_timeout_ms;
    }
    p->callback = callback;
    p->arg = arg;
    p->deadline_ns = ds_monotonic_ns() + (timeout_ms > 0 ? timeout_ms : 0) * INT64_C(1000000);
    p->key_size = key_size;
    memcpy(p->key, key, key_size);
    a = client->async;
    (void)pthread_mutex_lock(&a->lock);
    push(&a->come, p);
    (void)pthread_mutex_unlock(&a->lock);
    ring(a);
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
    (void)pthread_mutex_unlock(&a->lock);
    ring(a);
    (void)pthread_join(a->thread, NULL);
    (void)pthread_mutex_destroy(&a->lock);
    ds_free(a);
    c->async = NULL;
}
