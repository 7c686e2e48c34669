/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_pool.c - see l2_pool.h.
 *
 *     submit ──> lane of the key ──> ready list ──> thread: run the lane's first ──> done ──> poll
 *                (FIFO of tasks)     0: urgent                                   list
 *                                    1: background
 *
 * A lane exists while its key has tasks. It is in one of three states: ready (in a ready list),
 * running (a thread has its first task; it is in no list), or being made. One mutex guards all of
 * it: tasks take milliseconds, the lock nanoseconds.
 *
 * Pacing: each background put moves `paced_ns` ahead by the time its bytes may take; no thread
 * takes a background lane before that time.
 */
#include "tier/l2_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/clock.h"
#include "base/sys.h"
#include "tier/l2_format.h"

#define BATCH_MAX 32
#define BATCH_BYTES ((uint64_t)64 << 20)
#define THREADS 8
#define QUEUE_MAX 10000
#define INLINE_MAX ((size_t)64 << 10)

enum { URGENT, BACKGROUND, LISTS };

struct task {
    struct task *next; /* in its lane, or in the done list */
    struct ds_l2_request request;
    struct ds_l2_event event;
    uint32_t retries;
    int64_t since_ns;
    uint8_t key[DS_L2_KEY_MAX]; /* allocated to its size: the last member */
};

struct lane {
    struct lane *chain;       /* in the hash table */
    struct lane *prev, *next; /* in a ready list */
    struct task *first, *last;
    uint64_t hash;
    size_t urgent; /* tasks that are not background */
    int list;      /* the ready list it is in; -1: running */
};

struct list {
    struct lane *first, *last;
    size_t n;
};

struct thread {
    pthread_t id;
    enum { NONE, ALIVE, ENDED } state;
    struct ds_l2_pool *pool;
};

struct ds_l2_pool {
    struct ds_l2_pool_config config;
    int fd;
    atomic_bool stop; /* cuts running calls short */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;  /* a ready list or `stopping` changed */
    pthread_cond_t idle;  /* `open_tasks` became 0 */
    struct thread threads[DS_L2_POOL_THREADS_MAX];
    unsigned n_threads, n_idle, n_background; /* alive; waiting; at a background task */
    bool stopping;
    struct lane **table;
    size_t mask;
    struct list ready[LISTS];
    size_t open_tasks;                 /* queued or running */
    _Atomic(struct task *) done_first; /* written with the lock held */
    struct task *done_last;
    int64_t paced_ns;
    struct ds_l2_pool_stats stats;
};

/* --- lanes; all under the lock --- */

static void unlink_ready(struct ds_l2_pool *p, struct lane *l)
{
    struct list *list = &p->ready[l->list];

    *(l->prev != NULL ? &l->prev->next : &list->first) = l->next;
    *(l->next != NULL ? &l->next->prev : &list->last) = l->prev;
    l->prev = l->next = NULL;
    l->list = -1;
    list->n--;
}

static void link_ready(struct ds_l2_pool *p, struct lane *l)
{
    int which = l->urgent > 0 ? URGENT : BACKGROUND;
    struct list *list = &p->ready[which];

    DS_ASSERT(l->list < 0 && l->first != NULL);
    l->list = which;
    l->prev = list->last;
    *(list->last != NULL ? &list->last->next : &list->first) = l;
    list->last = l;
    list->n++;
}

static bool is_key_of(const struct lane *l, uint64_t hash, const void *key, uint32_t size)
{
    return l->hash == hash && l->first->request.key_size == size &&
           (size == 0 || memcmp(l->first->key, key, size) == 0);
}

/* NULL: none and no memory. */
static struct lane *lane_of(struct ds_l2_pool *p, const struct task *t)
{
    uint64_t hash = ds_l2_key_hash(t->key, t->request.key_size);
    struct lane **at = &p->table[hash & p->mask];

    struct lane *l = *at;

    while (l != NULL && !is_key_of(l, hash, t->key, t->request.key_size)) {
        l = l->chain;
    }
    if (l != NULL) {
        return l;
    }
    l = ds_zalloc(sizeof(*l), "l2 lane");
    if (l != NULL) {
        l->hash = hash;
        l->list = -1;
        l->chain = *at;
        *at = l;
    }
    return l;
}

static void lane_free(struct ds_l2_pool *p, struct lane *l)
{
    struct lane **at = &p->table[l->hash & p->mask];

    DS_ASSERT(l->first == NULL && l->list < 0);
    while (*at != l) {
        at = &(*at)->chain;
    }
    *at = l->chain;
    ds_free(l);
}

/* --- results; under the lock --- */

static unsigned bucket_of(int64_t ns)
{
    unsigned i = 0;

    for (int64_t us = ns / 1000; us > 0 && i < DS_L2_POOL_BUCKETS - 1; us >>= 1) {
        i++;
    }
    return i;
}

static void finish(struct ds_l2_pool *p, struct task *t, int rc)
{
    struct ds_l2_pool_stats *s = &p->stats;
    enum ds_l2_pool_op op = t->request.op;

    DS_ASSERT(p->open_tasks > 0);
    t->event.cookie = t->request.cookie;
    t->event.op = op;
    t->event.rc = rc;
    s->ops[op].done++;
    s->ops[op].errors += rc < 0 && rc != DS_ENOTFOUND && rc != DS_ERANGE && rc != DS_ESTALE;
    s->ops[op].retries += t->retries;
    s->ops[op].latency[bucket_of(ds_monotonic_ns() - t->since_ns)]++;
    if (op == DS_L2_POOL_PUT) {
        s->queued_bytes -= t->request.meta.size;
        s->ops[op].bytes += rc == 0 ? t->request.meta.size : 0;
    } else if (op == DS_L2_POOL_GET && rc == 0) {
        s->ops[op].bytes += t->event.meta.size;
    }
    t->next = NULL;
    if (p->done_first == NULL) {
        uint64_t one = 1;

        p->done_first = t;
        (void)!write(p->fd, &one, sizeof(one));
    } else {
        p->done_last->next = t;
    }
    p->done_last = t;
    if (--p->open_tasks == 0) {
        (void)pthread_cond_broadcast(&p->idle);
    }
}

static void finish_unrun(struct ds_l2_pool *p, struct task *t, int rc, const char *why)
{
    (void)snprintf(t->event.err, sizeof(t->event.err), "%s", why);
    finish(p, t, rc);
}

/* --- running; without the lock --- */

struct room {
    const struct ds_l2_request *request;
    struct ds_l2_event *event;
    size_t inline_max;
};

static int make_room(void *arg, const struct ds_l2_meta *meta, struct ds_l2_span *ret)
{
    struct room *r = arg;
    bool own = r->request->value.fd < 0 && r->request->value.memory == NULL;

    r->event->meta = *meta;
    if (!own) {
        *ret = r->request->value;
        return meta->size == r->request->meta.size ? 0 : DS_ERANGE;
    }
    if (meta->size > r->inline_max) {
        return DS_ERANGE;
    }
    r->event->data = ds_zalloc(meta->size + 1, "l2 value"); /* + 1: also of nothing */
    if (r->event->data == NULL) {
        return DS_ENOMEM;
    }
    *ret = (struct ds_l2_span){.fd = -1, .memory = r->event->data};
    return 0;
}

/* Anything but PUT and REMOVE. */
static int run_one(struct ds_l2_pool *p, struct task *t)
{
    const struct ds_l2_request *q = &t->request;
    struct ds_l2_call call = {.deadline_ns = q->deadline_ns, .stop = &p->stop};
    struct room room = {q, &t->event, p->config.inline_max};
    int rc;

    switch (q->op) {
    case DS_L2_POOL_GET:
        rc = ds_l2_get(p->config.l2, &call, t->key, q->key_size, make_room, &room, &t->event.meta);
        if (rc < 0) {
            ds_free(t->event.data);
            t->event.data = NULL;
        }
        break;
    case DS_L2_POOL_HEAD:
        rc = ds_l2_head(p->config.l2, &call, t->key, q->key_size, false, &t->event.meta);
        break;
    default:
        t->event.gc = q->gc;
        rc = ds_l2_gc(p->config.l2, &call, &t->event.gc);
        break;
    }
    t->retries = call.retries;
    memcpy(t->event.err, call.err, sizeof(call.err));
    return rc;
}

/* The latest deadline of a batch: nobody's work is lost because of a neighbour. */
static void run_puts(struct ds_l2_pool *p, struct task *const *tasks, size_t n, int *rcs)
{
    struct ds_l2_item items[BATCH_MAX];
    struct ds_l2_call call = {.deadline_ns = tasks[0]->request.deadline_ns, .stop = &p->stop};

    for (size_t i = 0; i < n; i++) {
        const struct ds_l2_request *q = &tasks[i]->request;

        items[i] = (struct ds_l2_item){.key = tasks[i]->key,
                                       .key_size = q->key_size,
                                       .meta = q->meta,
                                       .value = q->value,
                                       .renews = q->renews,
                                       .newer = &tasks[i]->event.newer};
        if (q->op == DS_L2_POOL_REMOVE) {
            items[i].meta =
                (struct ds_l2_meta){.version = q->meta.version, .flags = DS_L2_TOMBSTONE};
            items[i].value = (struct ds_l2_span){.fd = -1};
        }
        if (q->deadline_ns == 0 || call.deadline_ns == 0) {
            call.deadline_ns = 0;
        } else if (q->deadline_ns > call.deadline_ns) {
            call.deadline_ns = q->deadline_ns;
        }
    }
    ds_l2_put_many(p->config.l2, &call, items, n, rcs);
    tasks[0]->retries = call.retries;
    for (size_t i = 0; i < n; i++) {
        if (rcs[i] < 0) {
            memcpy(tasks[i]->event.err, call.err, sizeof(call.err));
        }
    }
}

static bool is_write(const struct task *t)
{
    return t->request.op == DS_L2_POOL_PUT || t->request.op == DS_L2_POOL_REMOVE;
}

/* --- threads --- */

/* The list to take from, or -1; *ret_wait_ns: when to look again (0: when something changes). */
static int choose(const struct ds_l2_pool *p, int64_t now, int64_t *ret_wait_ns)
{
    unsigned background_max = p->config.threads > 1 ? p->config.threads - 1 : 1;

    *ret_wait_ns = 0;
    if (p->ready[URGENT].n > 0) {
        return URGENT;
    }
    if (p->ready[BACKGROUND].n == 0 || p->n_background >= background_max) {
        return -1;
    }
    if (p->paced_ns > now && !atomic_load(&p->stop)) {
        *ret_wait_ns = p->paced_ns;
        return -1;
    }
    return BACKGROUND;
}

static void pace(struct ds_l2_pool *p, uint64_t bytes, int64_t now)
{
    if (p->config.background_rate > 0) {
        double ns = (double)bytes * 1e9 / (double)p->config.background_rate;

        p->paced_ns = (p->paced_ns > now ? p->paced_ns : now) + (int64_t)ns;
    }
}

/* Takes lanes of one list: one, or where batches pay several whose first tasks write. */
static size_t take(struct ds_l2_pool *p, int list, struct lane **lanes, int64_t now)
{
    size_t max = p->config.l2->ops->batches ? BATCH_MAX : 1;
    uint64_t bytes = 0;
    size_t n = 0;

    while (n < max && p->ready[list].first != NULL) {
        struct lane *l = p->ready[list].first;
        uint64_t size = l->first->request.meta.size;

        if (n > 0 && (!is_write(l->first) || bytes + size > BATCH_BYTES ||
                      (list == BACKGROUND && p->paced_ns > now))) {
            break;
        }
        unlink_ready(p, l);
        lanes[n++] = l;
        if (!is_write(l->first)) {
            break;
        }
        bytes += size;
        if (list == BACKGROUND) {
            pace(p, size, now);
        }
    }
    return n;
}

/* Runs the first tasks of lanes that this thread has taken. Called and returns with the lock. */
static void run(struct ds_l2_pool *p, struct lane **lanes, size_t n)
{
    struct task *tasks[BATCH_MAX];
    int rcs[BATCH_MAX];

    DS_ASSERT(n >= 1 && n <= BATCH_MAX);
    for (size_t i = 0; i < n; i++) {
        tasks[i] = lanes[i]->first;
    }
    p->stats.running += n;
    (void)pthread_mutex_unlock(&p->lock);
    if (is_write(tasks[0])) {
        run_puts(p, tasks, n, rcs);
    } else {
        rcs[0] = run_one(p, tasks[0]);
    }
    (void)pthread_mutex_lock(&p->lock);
    p->stats.running -= n;
    for (size_t i = 0; i < n; i++) {
        struct lane *l = lanes[i];

        l->first = tasks[i]->next;
        l->last = l->first != NULL ? l->last : NULL;
        l->urgent -= !tasks[i]->request.background;
        finish(p, tasks[i], rcs[i]);
        if (l->first == NULL) {
            lane_free(p, l);
        } else {
            link_ready(p, l);
        }
    }
}

/* Ends the first task of a ready lane, whose turn has come too late. */
static void expire(struct ds_l2_pool *p, struct lane *l, int rc, const char *why)
{
    struct task *t = l->first;

    unlink_ready(p, l);
    l->first = t->next;
    l->last = l->first != NULL ? l->last : NULL;
    l->urgent -= !t->request.background;
    finish_unrun(p, t, rc, why);
    if (l->first == NULL) {
        lane_free(p, l);
    } else {
        link_ready(p, l);
    }
}

static bool expire_late(struct ds_l2_pool *p, struct lane *l, int64_t now)
{
    int64_t deadline_ns = l->first->request.deadline_ns;

    if (atomic_load(&p->stop)) {
        expire(p, l, DS_ESHUTDOWN, "the worker stopped before its turn");
        return true;
    }
    if (deadline_ns != 0 && deadline_ns <= now) {
        expire(p, l, DS_ETIMEOUT, "the deadline passed in the queue");
        return true;
    }
    return false;
}

/* Sleeps until something changes or until that time (0: for the idle time). False: idle for too
 * long. */
static bool sleep_until(struct ds_l2_pool *p, int64_t now, int64_t until)
{
    int64_t at = until != 0 ? until : now + (int64_t)DS_L2_POOL_IDLE_MS * 1000000;
    struct timespec t = {at / 1000000000, at % 1000000000};
    int rc;

    p->n_idle++;
    rc = pthread_cond_timedwait(&p->work, &p->lock, &t);
    p->n_idle--;
    return rc != ETIMEDOUT || until != 0;
}

static void *thread_main(void *arg)
{
    struct thread *self = arg;
    struct ds_l2_pool *p = self->pool;
    struct lane *lanes[BATCH_MAX];

    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        int64_t now = ds_monotonic_ns();
        int64_t until;
        int list = choose(p, now, &until);
        size_t n;

        if (list < 0) {
            bool stopped = p->stopping && p->ready[BACKGROUND].n == 0;

            /* A signal may have met the end of the sleep: look once more. */
            if (stopped || (!sleep_until(p, now, until) && choose(p, now, &until) < 0)) {
                break;
            }
            continue;
        }
        if (expire_late(p, p->ready[list].first, now)) {
            continue;
        }
        n = take(p, list, lanes, now);
        p->n_background += list == BACKGROUND;
        run(p, lanes, n);
        p->n_background -= list == BACKGROUND;
        (void)pthread_cond_signal(&p->work); /* a lane may be ready again, or its turn has come */
    }
    self->state = ENDED;
    p->n_threads--;
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* One more thread if there is work that no idle one can take. Without one the others do it. */
static int add_thread(struct ds_l2_pool *p)
{
    size_t ready = p->ready[URGENT].n + p->ready[BACKGROUND].n;

    if (p->n_threads >= p->config.threads || p->n_idle >= ready) {
        return 0;
    }
    for (unsigned i = 0; i < p->config.threads; i++) {
        struct thread *t = &p->threads[i];

        if (t->state == ENDED) {
            (void)pthread_join(t->id, NULL);
            t->state = NONE;
        }
        if (t->state == NONE) {
            t->pool = p;
            if (pthread_create(&t->id, NULL, thread_main, t) != 0) {
                return DS_ENOMEM;
            }
            t->state = ALIVE;
            p->n_threads++;
            return 0;
        }
    }
    return 0;
}

/* --- the owner's side --- */

static int init_sync(struct ds_l2_pool *p)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    rc = rc != 0 ? rc : pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = rc != 0 ? rc : pthread_mutex_init(&p->lock, NULL);
    rc = rc != 0 ? rc : pthread_cond_init(&p->work, &attr);
    rc = rc != 0 ? rc : pthread_cond_init(&p->idle, &attr);
    (void)pthread_condattr_destroy(&attr);
    return rc != 0 ? DS_ENOMEM : 0;
}

int ds_l2_pool_create(const struct ds_l2_pool_config *config, struct ds_l2_pool **ret)
{
    struct ds_l2_pool *p;
    size_t buckets = 64;

    DS_ASSERT(config->l2 != NULL && ret != NULL);
    if (config->threads > DS_L2_POOL_THREADS_MAX) {
        return DS_EINVAL;
    }
    p = ds_zalloc(sizeof(*p), "l2 pool");
    if (p == NULL) {
        return DS_ENOMEM;
    }
    p->config = *config;
    p->config.threads = config->threads != 0 ? config->threads : THREADS;
    p->config.queue_max = config->queue_max != 0 ? config->queue_max : QUEUE_MAX;
    p->config.inline_max = config->inline_max != 0 ? config->inline_max : INLINE_MAX;
    while (buckets < p->config.queue_max && buckets < (1u << 20)) {
        buckets *= 2;
    }
    p->mask = buckets - 1;
    p->table = ds_zalloc(buckets * sizeof(*p->table), "l2 pool");
    p->fd = p->table != NULL ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (p->fd < 0 || init_sync(p) < 0) {
        int rc = p->table == NULL || p->fd >= 0 ? DS_ENOMEM : DS_EIO;

        ds_sys_close(p->fd);
        ds_free(p->table);
        ds_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}

static struct task *task_create(const struct ds_l2_request *q)
{
    uint32_t key_size = q->op == DS_L2_POOL_GC ? 0 : q->key_size;
    struct task *t = ds_zalloc(offsetof(struct task, key) + key_size, "l2 task");

    if (t != NULL) {
        t->request = *q;
        t->request.key_size = key_size;
        t->request.key = NULL;
        t->since_ns = ds_monotonic_ns();
        if (key_size > 0) {
            memcpy(t->key, q->key, key_size);
        }
    }
    return t;
}

static void append(struct ds_l2_pool *p, struct lane *l, struct task *t)
{
    bool running = l->first != NULL && l->list < 0;

    if (l->list >= 0) {
        unlink_ready(p, l); /* it may change lists */
    }
    p->open_tasks++;
    *(l->last != NULL ? &l->last->next : &l->first) = t;
    l->last = t;
    l->urgent += !t->request.background;
    if (t->request.op == DS_L2_POOL_PUT) {
        p->stats.queued_bytes += t->request.meta.size;
    }
    if (p->open_tasks > p->stats.queued_most) {
        p->stats.queued_most = p->open_tasks;
    }
    if (!running) {
        link_ready(p, l);
    }
}

int ds_l2_pool_submit(struct ds_l2_pool *p, const struct ds_l2_request *q)
{
    struct task *t;
    struct lane *l;
    int rc = 0;

    if (q->op != DS_L2_POOL_GC &&
        (q->key == NULL || q->key_size == 0 || q->key_size > DS_L2_KEY_MAX)) {
        return DS_EINVAL;
    }
    t = task_create(q);
    if (t == NULL) {
        return DS_ENOMEM;
    }
    (void)pthread_mutex_lock(&p->lock);
    if (p->stopping) {
        rc = DS_ESHUTDOWN;
    } else if (p->open_tasks >= p->config.queue_max) {
        p->stats.refused++;
        rc = DS_EQUEUEFULL;
    }
    l = rc == 0 ? lane_of(p, t) : NULL;
    if (rc == 0 && l == NULL) {
        rc = DS_ENOMEM;
    }
    if (rc == 0) {
        append(p, l, t);
        if (add_thread(p) < 0 && p->n_threads == 0) {
            expire(p, l, DS_ENOMEM, "no thread could be started");
        }
        (void)pthread_cond_signal(&p->work);
    } else {
        ds_free(t);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return rc;
}

int ds_l2_pool_fd(const struct ds_l2_pool *p)
{
    return p->fd;
}

bool ds_l2_pool_news(const struct ds_l2_pool *p)
{
    return ds_load_relaxed(&p->done_first) != NULL;
}

size_t ds_l2_pool_poll(struct ds_l2_pool *p, struct ds_l2_event *ret, size_t max)
{
    size_t n = 0;

    (void)pthread_mutex_lock(&p->lock);
    while (n < max && p->done_first != NULL) {
        struct task *t = p->done_first;

        p->done_first = t->next;
        ret[n++] = t->event;
        ds_free(t);
    }
    if (p->done_first == NULL) {
        uint64_t count;

        p->done_last = NULL;
        (void)!read(p->fd, &count, sizeof(count));
    }
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

void ds_l2_pool_stop(struct ds_l2_pool *p, int64_t deadline_ns)
{
    struct timespec t = {deadline_ns / 1000000000, deadline_ns % 1000000000};

    (void)pthread_mutex_lock(&p->lock);
    p->stopping = true;
    (void)pthread_cond_broadcast(&p->work);
    while (p->open_tasks > 0 && ds_monotonic_ns() < deadline_ns) {
        (void)pthread_cond_timedwait(&p->idle, &p->lock, &t);
    }
    atomic_store(&p->stop, true);
    for (int i = 0; i < LISTS; i++) {
        while (p->ready[i].first != NULL) {
            expire(p, p->ready[i].first, DS_ESHUTDOWN, "the worker stopped before its turn");
        }
    }
    (void)pthread_cond_broadcast(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->config.threads; i++) {
        bool joinable;

        (void)pthread_mutex_lock(&p->lock);
        joinable = p->threads[i].state != NONE; /* none starts any more */
        (void)pthread_mutex_unlock(&p->lock);
        if (joinable) {
            (void)pthread_join(p->threads[i].id, NULL);
            p->threads[i].state = NONE;
        }
    }
    DS_ASSERT(p->open_tasks == 0);
}

struct ds_l2_pool *ds_l2_pool_close(struct ds_l2_pool *p)
{
    struct ds_l2_event event;

    if (p == NULL) {
        return NULL;
    }
    ds_l2_pool_stop(p, ds_monotonic_ns());
    while (ds_l2_pool_poll(p, &event, 1) > 0) {
        ds_free(event.data);
    }
    (void)pthread_cond_destroy(&p->idle);
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_mutex_destroy(&p->lock);
    ds_sys_close(p->fd);
    ds_free(p->table);
    ds_free(p);
    return NULL;
}

void ds_l2_pool_stats(struct ds_l2_pool *p, struct ds_l2_pool_stats *ret)
{
    (void)pthread_mutex_lock(&p->lock);
    *ret = p->stats;
    ret->queued = p->open_tasks - p->stats.running;
    ret->threads = p->n_threads;
    ret->idle = p->n_idle;
    (void)pthread_mutex_unlock(&p->lock);
}
