/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserver.c - puts pages behind the data segment ahead of use, so that start is quick and no writer
 * meets a page without memory. fallocate() on a memfd allocates and clears pages; nothing is mapped.
 */
#include "base/atomics.h"
#include "base/sys.h"
#include "worker/worker.h"

#define STEP (UINT64_C(8) << 20)
#define SPARE (UINT64_C(64) << 20) /* memory left to the rest of the machine */

/* With the lock held. */
static bool reserve_step(struct ds_reserver *r, uint64_t bytes)
{
    uint64_t ready = ds_load_relaxed(&r->ready);
    uint64_t step = ds_min_u64(ds_align_up(bytes, DS_PAGE_SIZE), r->size - ready);

    if (step == 0) {
        return false;
    }
    /* Beyond the cgroup's limit comes an OOM kill, not an error: so look first. */
    if (ds_sys_memory_available() < step + SPARE || ds_sys_reserve(r->fd, ready, step) < 0) {
        atomic_store(&r->failed, true);
        return false;
    }
    atomic_store(&r->failed, false);
    ds_store_release(&r->ready, ready + step); /* pairs with the loop's load */
    return true;
}

static void *reserver_main(void *arg)
{
    struct ds_reserver *r = arg;

    while (!atomic_load(&r->stop)) {
        uint32_t bell = atomic_load(&r->bell);
        bool more = false;

        if (ds_load_relaxed(&r->ready) < ds_min_u64(atomic_load(&r->wanted), r->size)) {
            (void)pthread_mutex_lock(&r->lock);
            more = reserve_step(r, STEP);
            (void)pthread_mutex_unlock(&r->lock);
        }
        if (!more) {
            (void)ds_sys_futex_wait(&r->bell, bell, -1);
        }
    }
    return NULL;
}

int ds_reserver_start(struct ds_reserver *r, int fd, uint64_t size, uint64_t ready, uint64_t ahead)
{
    *r = (struct ds_reserver){.fd = fd, .size = size, .ahead = ahead};
    atomic_store(&r->ready, ready);
    atomic_store(&r->wanted, ready);
    if (pthread_mutex_init(&r->lock, NULL) != 0) {
        return DS_ENOMEM;
    }
    if (pthread_create(&r->thread, NULL, reserver_main, r) != 0) {
        return DS_ENOMEM;
    }
    r->running = true;
    return 0;
}

static void ring(struct ds_reserver *r)
{
    (void)atomic_fetch_add(&r->bell, 1);
    (void)ds_sys_futex_wake(&r->bell, 1);
}

void ds_reserver_used(struct ds_reserver *r, uint64_t used)
{
    uint64_t want = ds_min_u64(used + r->ahead, r->size);

    /* In steps, so that the thread is not woken for every object. */
    if (want > atomic_load(&r->wanted) &&
        (want - atomic_load(&r->wanted) >= STEP || want == r->size)) {
        atomic_store(&r->wanted, want);
        ring(r);
    }
}

uint64_t ds_reserver_more(struct ds_reserver *r, uint64_t bytes)
{
    (void)pthread_mutex_lock(&r->lock);
    (void)reserve_step(r, ds_max_u64(bytes, STEP));
    (void)pthread_mutex_unlock(&r->lock);
    return ds_load_acquire(&r->ready);
}

void ds_reserver_stop(struct ds_reserver *r)
{
    if (r->running) {
        atomic_store(&r->stop, true);
        ring(r);
        (void)pthread_join(r->thread, NULL);
        (void)pthread_mutex_destroy(&r->lock);
        r->running = false;
    }
}
