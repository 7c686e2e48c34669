/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserver.c - puts pages behind the data segment ahead of use, so that start is quick and no
 * writer meets a page without memory. fallocate() on a memfd allocates and clears pages; nothing is
 * mapped.
 */
#include "base/atomics.h"
#include "base/sys.h"
#include "worker/worker.h"

#define STEP (UINT64_C(8) << 20)
#define SPARE (UINT64_C(64) << 20) /* memory left to the rest of the machine */

static bool reserve_step(struct ds_reserver *r)
{
    uint64_t ready = ds_load_relaxed(&r->ready);
    uint64_t step = ds_min_u64(STEP, r->size - ready);

    /* Beyond the cgroup's limit comes an OOM kill, not an error: so look first. */
    if (ds_sys_memory_available() < step + SPARE || ds_sys_reserve(r->fd, ready, step) < 0) {
        atomic_store(&r->failed, true);
        return false;
    }
    ds_store_release(&r->ready, ready + step); /* pairs with the loop's load */
    return true;
}

static void tell(struct ds_reserver *r, bool progress)
{
    uint64_t urgent = atomic_load(&r->urgent);

    if (urgent != 0 && (!progress || ds_load_relaxed(&r->ready) >= urgent)) {
        atomic_store(&r->urgent, 0);
        ds_sys_event_ring(r->news);
    }
}

static void *reserver_main(void *arg)
{
    struct ds_reserver *r = arg;

    while (!atomic_load(&r->stop)) {
        uint32_t bell = atomic_load(&r->bell);
        bool progress = false;

        if (ds_load_relaxed(&r->ready) < ds_min_u64(atomic_load(&r->wanted), r->size)) {
            progress = reserve_step(r);
        }
        tell(r, progress);
        if (!progress) {
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
    r->news = ds_sys_eventfd();
    if (r->news < 0) {
        return DS_EIO;
    }
    if (ds_sys_thread(&r->thread, reserver_main, r) < 0) {
        ds_sys_close(r->news);
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

bool ds_reserver_more(struct ds_reserver *r, uint64_t seen, uint64_t bytes)
{
    uint64_t ready = ds_load_relaxed(&r->ready);
    uint64_t want = ds_min_u64(ds_align_up(ready + bytes, STEP), r->size);

    if (ready > seen) {
        ds_sys_event_ring(r->news);
        return true;
    }
    if (atomic_exchange(&r->failed, false) || ready >= r->size) {
        return false; /* the next one tries again */
    }
    if (want > atomic_load(&r->wanted)) {
        atomic_store(&r->wanted, want);
    }
    atomic_store(&r->urgent, want);
    ring(r);
    return true;
}

void ds_reserver_stop(struct ds_reserver *r)
{
    if (r->running) {
        atomic_store(&r->stop, true);
        ring(r);
        (void)pthread_join(r->thread, NULL);
        ds_sys_close(r->news);
        r->running = false;
    }
}
