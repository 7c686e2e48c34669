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
#include "tier/l2_pool_task.h"

#define BATCH_BYTES ((uint64_t)64 << 20)
#define THREADS 8
#define QUEUE_MAX 10000
#define INLINE_MAX ((size_t)64 << 10)
#define STALL_NS INT64_C(10000000000)

enum { URGENT, BACKGROUND, LISTS };

struct lane {
    struct lane *chain;       /* in the hash table */
    struct lane *prev, *next; /* in a ready list */
    struct ds_l2_task *first, *last;
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
    struct ds_l2_call *call; /* that it is in; NULL: none */
    int64_t since_ns;        /* when that began */
    enum ds_l2_admission admission;
    bool patient; /* the call is a collection, which may take hours */
    bool stalled; /* the call was reported: it has not moved */
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
    unsigned n_stalled;
    bool stopping;
    struct lane **table;
    size_t mask;
    struct list ready[LISTS];
    size_t open_tasks;                       /* queued or running */
    _Atomic(struct ds_l2_task *) done_first; /* written with the lock held */
    struct ds_l2_task *done_last;
    int64_t paced_ns;
    struct ds_l2_pool_stats stats;
    struct ds_l2_breaker breaker;
    struct ds_l2_pool_breaker tells; /* `refused` and `why` */
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
static struct lane *lane_of(struct ds_l2_pool *p, const struct ds_l2_task *t)
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

static void count(struct ds_l2_pool *p, const struct ds_l2_task *t, int rc)
{
    struct ds_l2_pool_stats *s = &p->stats;
    enum ds_l2_pool_op op = t->request.op;

    s->ops[op].done++;
    s->ops[op].errors += rc < 0 && rc != DS_ENOTFOUND && rc != DS_ERANGE && rc != DS_ESTALE;
    s->ops[op].retries += t->retries;
    s->ops[op].latency[bucket_of(ds_monotonic_ns() - t->since_ns)]++;
    if (op == DS_L2_POOL_PUT) {
        s->ops[op].bytes += rc == 0 ? t->request.meta.size : 0;
    } else if (op == DS_L2_POOL_GET && rc == 0) {
        s->ops[op].bytes += t->event.meta.size;
    }
}

static void finish(struct ds_l2_pool *p, struct ds_l2_task *t, int rc)
{
    DS_ASSERT(p->open_tasks > 0);
    t->event.cookie = t->request.cookie;
    t->event.op = t->request.op;
    t->event.rc = rc;
    if (t->request.op == DS_L2_POOL_PUT) {
        p->stats.queued_bytes -= t->request.meta.size;
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
static size_t take(struct ds_l2_pool *p, int list, enum ds_l2_admission admission,
                   struct lane **lanes, int64_t now)
{
    size_t max = p->config.l2->ops->batches && admission == DS_L2_ADMITTED ? DS_L2_BATCH_MAX : 1;
    uint64_t bytes = 0;
    size_t n = 0;

    while (n < max && p->ready[list].first != NULL) {
        struct lane *l = p->ready[list].first;
        uint64_t size = l->first->request.meta.size;

        if (n > 0 && (!ds_l2_task_writes(l->first) || bytes + size > BATCH_BYTES ||
                      (list == BACKGROUND && p->paced_ns > now))) {
            break;
        }
        unlink_ready(p, l);
        lanes[n++] = l;
        if (!ds_l2_task_writes(l->first)) {
            break;
        }
        bytes += size;
        if (list == BACKGROUND) {
            pace(p, size, now);
        }
    }
    return n;
}

/* Ends the first task of a ready lane, which was not begun. */
static void expire(struct ds_l2_pool *p, struct lane *l, int rc, const char *why)
{
    struct ds_l2_task *t = l->first;

    unlink_ready(p, l);
    l->first = t->next;
    l->last = l->first != NULL ? l->last : NULL;
    l->urgent -= !t->request.background;
    (void)snprintf(t->event.err, sizeof(t->event.err), "%s", why);
    if (rc == DS_EUNAVAILABLE) {
        p->tells.refused++;
    } else {
        count(p, t, rc);
    }
    finish(p, t, rc);
    if (l->first == NULL) {
        lane_free(p, l);
    } else {
        link_ready(p, l);
    }
}

static void expire_ready(struct ds_l2_pool *p, int rc, const char *why)
{
    for (int i = 0; i < LISTS; i++) {
        while (p->ready[i].first != NULL) {
            expire(p, p->ready[i].first, rc, why);
        }
    }
}

static void tell_breaker(struct ds_l2_pool *p, enum ds_l2_admission admission,
                         enum ds_l2_outcome outcome, const char *why)
{
    if (outcome == DS_L2_SILENT) {
        (void)snprintf(p->tells.why, sizeof(p->tells.why), "%s", why);
    }
    if (ds_l2_breaker_report(&p->breaker, admission, outcome, ds_monotonic_ns())) {
        expire_ready(p, DS_EUNAVAILABLE, p->tells.why); /* nobody waits for a thread for that */
    }
}

/* Bytes moved in the second half of its time, so it was too short for them. Those at first may be
 * in buffers of this side. */
static bool was_moving(const struct thread *t, int64_t stall_ns)
{
    int64_t now = ds_monotonic_ns();
    int64_t still_ns = now - atomic_load(&t->call->moved_ns);

    return still_ns < stall_ns && still_ns < (now - t->since_ns) / 2;
}

/* Of a batch one answer says that the store is well. */
static void report(struct ds_l2_pool *p, struct thread *self, struct ds_l2_task *const *tasks,
                   const int *rcs, size_t n)
{
    enum ds_l2_outcome best = DS_L2_UNTOLD;

    for (size_t i = 0; i < n; i++) {
        enum ds_l2_outcome outcome = ds_l2_outcome_of(rcs[i], self->call->answered);

        if (rcs[i] == DS_ETIMEOUT && outcome == DS_L2_SILENT &&
            was_moving(self, p->config.stall_ns)) {
            outcome = DS_L2_UNTOLD;
        }
        best = outcome < best ? outcome : best;
    }
    if (self->stalled) { /* then it counts already */
        p->n_stalled--;
        best = best == DS_L2_SILENT ? DS_L2_UNTOLD : best;
    }
    tell_breaker(p, self->admission, best, tasks[0]->event.err);
}

/* A call that does not get on for long has failed, whenever that may be found. Looked at when more
 * is asked for. */
static void find_stalled(struct ds_l2_pool *p, int64_t now)
{
    for (unsigned i = 0; i < p->config.threads; i++) {
        struct thread *t = &p->threads[i];

        if (t->state == ALIVE && t->call != NULL && !t->stalled && !t->patient &&
            now - atomic_load(&t->call->moved_ns) > p->config.stall_ns) {
            t->stalled = true;
            p->n_stalled++;
            tell_breaker(p, t->admission, DS_L2_SILENT, "a request stands still");
            t->admission = DS_L2_ADMITTED;
        }
    }
}

/* Runs the first tasks of lanes that this thread has taken. Called and returns with the lock. */
static void run(struct thread *self, struct lane **lanes, size_t n, enum ds_l2_admission admission)
{
    struct ds_l2_pool *p = self->pool;
    struct ds_l2_task *tasks[DS_L2_BATCH_MAX];
    int rcs[DS_L2_BATCH_MAX];
    struct ds_l2_call call = {.stop = &p->stop, .moved_ns = ds_monotonic_ns()};

    DS_ASSERT(n >= 1 && n <= DS_L2_BATCH_MAX);
    for (size_t i = 0; i < n; i++) {
        tasks[i] = lanes[i]->first;
    }
    p->stats.running += n;
    self->call = &call;
    self->since_ns = call.moved_ns;
    self->admission = admission;
    self->patient = tasks[0]->request.op == DS_L2_POOL_GC;
    self->stalled = false;
    (void)pthread_mutex_unlock(&p->lock);
    ds_l2_task_run(&p->config, &call, tasks, n, rcs);
    (void)pthread_mutex_lock(&p->lock);
    p->stats.running -= n;
    report(p, self, tasks, rcs, n);
    self->call = NULL;
    for (size_t i = 0; i < n; i++) {
        struct lane *l = lanes[i];

        l->first = tasks[i]->next;
        l->last = l->first != NULL ? l->last : NULL;
        l->urgent -= !tasks[i]->request.background;
        count(p, tasks[i], rcs[i]);
        finish(p, tasks[i], rcs[i]);
        if (l->first == NULL) {
            lane_free(p, l);
        } else {
            link_ready(p, l);
        }
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

/* A collection is no probe: it may take hours. */
static enum ds_l2_admission admit(struct ds_l2_pool *p, const struct ds_l2_task *t, int64_t now)
{
    if (t->request.op == DS_L2_POOL_GC && p->breaker.state != DS_L2_CLOSED) {
        return DS_L2_REFUSED;
    }
    return ds_l2_breaker_admit(&p->breaker, now);
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
    struct lane *lanes[DS_L2_BATCH_MAX];

    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        int64_t now = ds_monotonic_ns();
        int64_t until;
        int list = choose(p, now, &until);
        enum ds_l2_admission admission;
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
        admission = admit(p, p->ready[list].first->first, now);
        if (admission == DS_L2_REFUSED) {
            expire(p, p->ready[list].first, DS_EUNAVAILABLE, p->tells.why);
            continue;
        }
        n = take(p, list, admission, lanes, now);
        p->n_background += list == BACKGROUND;
        run(self, lanes, n, admission);
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
            if (ds_sys_thread(&t->id, thread_main, t) < 0) {
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
    p->config.stall_ns = config->stall_ns != 0 ? config->stall_ns : STALL_NS;
    ds_l2_breaker_init(&p->breaker, &config->breaker);
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

static struct ds_l2_task *task_create(const struct ds_l2_request *q)
{
    uint32_t key_size = q->op == DS_L2_POOL_GC ? 0 : q->key_size;
    struct ds_l2_task *t = ds_zalloc(offsetof(struct ds_l2_task, key) + key_size, "l2 task");

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

static void append(struct ds_l2_pool *p, struct lane *l, struct ds_l2_task *t)
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
    struct ds_l2_task *t;
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
    find_stalled(p, t->since_ns);
    if (p->stopping) {
        rc = DS_ESHUTDOWN;
    } else if (p->open_tasks >= p->config.queue_max) {
        p->stats.refused++;
        rc = DS_EQUEUEFULL;
    } else if (ds_l2_breaker_refuses(&p->breaker, t->since_ns) ||
               p->n_stalled == p->config.threads) { /* nobody is left to ask */
        p->tells.refused++;
        rc = DS_EUNAVAILABLE;
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
        struct ds_l2_task *t = p->done_first;

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
    expire_ready(p, DS_ESHUTDOWN, "the worker stopped before its turn");
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

void ds_l2_pool_breaker(struct ds_l2_pool *p, struct ds_l2_pool_breaker *ret)
{
    (void)pthread_mutex_lock(&p->lock);
    *ret = p->tells;
    ret->state = p->breaker.state;
    ret->opens = p->breaker.opens;
    ret->opened_ns = p->breaker.opened_ns;
    (void)pthread_mutex_unlock(&p->lock);
}
