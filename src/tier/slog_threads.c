/* SPDX-License-Identifier: Apache-2.0 */
/* The writer thread and the readers: when they start, sleep and end. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "tier/slog_internal.h"

#define SYNC_AFTER_NS 900000000      /* what is not durable yet, at the latest */
#define READER_IDLE_NS 5000000000ull /* then it ends */

void ds_slog_signal(struct ds_slog *s)
{
    uint64_t one = 1;

    if (!s->signalled) {
        s->signalled = true;
        (void)!write(s->event_fd, &one, sizeof(one));
    }
}

void ds_slog_complete(struct ds_slog *s, struct slog_op *op)
{
    (void)pthread_mutex_lock(&s->lock);
    s->corrupt += op->rc == DS_ECORRUPT;
    slog_push(&s->done, op);
    ds_slog_signal(s);
    (void)pthread_mutex_unlock(&s->lock);
}

void ds_slog_tell_arrived(struct ds_slog *s, struct slog_op *op, uint64_t bytes)
{
    ds_store_release(&op->arrived, bytes); /* pairs with tell_arrivals() */
    (void)pthread_mutex_lock(&s->lock);
    ds_slog_signal(s);
    (void)pthread_mutex_unlock(&s->lock);
}

static int wait_until(struct ds_slog *s, pthread_cond_t *c, int64_t ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};

    return ns == INT64_MAX ? pthread_cond_wait(c, &s->lock)
                           : pthread_cond_timedwait(c, &s->lock, &t);
}

/* Nothing to write: sync what is due, wake the owner when it asked for it. With the lock held. */
static void writer_idle(struct ds_slog *s)
{
    int64_t now = ds_monotonic_ns();
    int64_t since;
    int64_t until = INT64_MAX;

    if (s->wake_ns != 0 && now >= s->wake_ns) {
        s->wake_ns = 0;
        ds_slog_signal(s);
    }
    until = s->wake_ns != 0 ? s->wake_ns : until;
    if (ds_slog_dirty_since(s, &since)) {
        if (now >= since + SYNC_AFTER_NS) {
            (void)pthread_mutex_unlock(&s->lock);
            (void)!ds_slog_sync_streams(s);
            (void)pthread_mutex_lock(&s->lock);
            return;
        }
        until = until < since + SYNC_AFTER_NS ? until : since + SYNC_AFTER_NS;
    }
    (void)wait_until(s, &s->write_work, until);
}

static void *writer_main(void *arg)
{
    struct ds_slog *s = arg;

    (void)pthread_mutex_lock(&s->lock);
    while (s->write_queue.first != NULL || !s->stopping) {
        struct slog_ops ops = s->write_queue;
        int64_t since;

        if (ops.first == NULL) {
            writer_idle(s);
            continue;
        }
        s->write_queue = (struct slog_ops){NULL, NULL};
        (void)pthread_mutex_unlock(&s->lock);
        ds_slog_write_batch(s, &ops);
        if (ds_slog_dirty_since(s, &since) && ds_monotonic_ns() >= since + SYNC_AFTER_NS) {
            (void)!ds_slog_sync_streams(s);
        }
        (void)pthread_mutex_lock(&s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

static unsigned my_reader(struct ds_slog *s)
{
    unsigned i = 0;

    while (!(s->reader_started[i] && pthread_equal(s->reader[i], pthread_self()))) {
        i++;
    }
    return i;
}

static void *reader_main(void *arg)
{
    struct ds_slog *s = arg;
    uint8_t *buf = ds_sys_map_private(SLOG_BUFFER);
    bool idle = false;

    (void)pthread_mutex_lock(&s->lock);
    while (!idle || s->read_queue.first != NULL) {
        struct slog_op *op = slog_pop(&s->read_queue);

        if (op == NULL) {
            int64_t until = ds_monotonic_ns() + (int64_t)READER_IDLE_NS;

            if (s->stopping) {
                break;
            }
            s->readers_idle++;
            idle = wait_until(s, &s->read_work, until) == ETIMEDOUT;
            s->readers_idle--;
            continue;
        }
        (void)pthread_mutex_unlock(&s->lock);
        if (buf != NULL) {
            ds_slog_read(s, op, buf);
        } else {
            op->rc = DS_ENOMEM;
        }
        ds_slog_complete(s, op);
        (void)pthread_mutex_lock(&s->lock);
    }
    s->readers--;
    s->reader_ended[my_reader(s)] = true;
    (void)pthread_mutex_unlock(&s->lock);
    ds_sys_unmap(buf, SLOG_BUFFER);
    return NULL;
}

static int start(pthread_t *ret, void *(*run)(void *), void *arg)
{
    return ds_failpoint("slog.thread") < 0 ? -EAGAIN : -pthread_create(ret, NULL, run, arg);
}

static void start_reader(struct ds_slog *s)
{
    unsigned i = 0;

    while (s->reader_started[i] && !s->reader_ended[i]) {
        i++;
    }
    if (s->reader_started[i]) {
        (void)pthread_join(s->reader[i], NULL);
        s->reader_started[i] = s->reader_ended[i] = false;
    }
    if (start(&s->reader[i], reader_main, s) == 0) {
        s->reader_started[i] = true;
        s->readers++;
    }
}

/* What no thread can be had for fails, it does not wait for ever. */
static void refuse(struct ds_slog *s, struct slog_ops *queue)
{
    struct slog_op *op;

    while ((op = slog_pop(queue)) != NULL) {
        op->rc = DS_ENOMEM;
        slog_push(&s->done, op);
        ds_slog_signal(s);
    }
}

void ds_slog_threads_start(struct ds_slog *s)
{
    if ((s->write_queue.first != NULL || s->wake_ns != 0) && !s->writer_started) {
        s->writer_started = start(&s->writer, writer_main, s) == 0;
    }
    if (s->write_queue.first != NULL) {
        if (s->writer_started) {
            (void)pthread_cond_signal(&s->write_work);
        } else {
            refuse(s, &s->write_queue);
        }
    }
    if (s->read_queue.first != NULL) {
        if (s->readers_idle > 0) {
            (void)pthread_cond_signal(&s->read_work);
        } else if (s->readers < s->readers_max) {
            start_reader(s);
        }
        if (s->readers == 0) {
            refuse(s, &s->read_queue);
        }
    }
}

int ds_slog_threads_init(struct ds_slog *s)
{
    pthread_condattr_t attr;
    unsigned threads = s->config.threads != 0 ? s->config.threads : 4;
    int rc = pthread_condattr_init(&attr);

    s->readers_max = (unsigned)ds_min_u64(threads > 1 ? threads - 1 : 1, SLOG_THREADS_MAX);
    rc = rc != 0 ? rc : pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = rc != 0 ? rc : pthread_mutex_init(&s->lock, NULL);
    rc = rc != 0 ? rc : pthread_cond_init(&s->write_work, &attr);
    rc = rc != 0 ? rc : pthread_cond_init(&s->read_work, &attr);
    (void)pthread_condattr_destroy(&attr);
    return rc == 0 ? 0 : DS_ENOMEM;
}

/* After what is queued. */
void ds_slog_threads_stop(struct ds_slog *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->stopping = true;
    (void)pthread_cond_broadcast(&s->write_work);
    (void)pthread_cond_broadcast(&s->read_work);
    (void)pthread_mutex_unlock(&s->lock);
    if (s->writer_started) {
        (void)pthread_join(s->writer, NULL);
    }
    for (unsigned i = 0; i < SLOG_THREADS_MAX; i++) {
        if (s->reader_started[i]) {
            (void)pthread_join(s->reader[i], NULL);
        }
    }
    (void)pthread_cond_destroy(&s->read_work);
    (void)pthread_cond_destroy(&s->write_work);
    (void)pthread_mutex_destroy(&s->lock);
}
