/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/window.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/sys.h"
#include "base/sys_file.h"

#define FAULT_AROUND (UINT64_C(64) << 10) /* what a read fault maps, where pages are there */

struct ds_window {
    uint8_t *base;
    uint64_t size;
    uint64_t regions, regions_max;
    _Atomic uint32_t *written; /* by region: bytes, by system call; ENTERED: its pages are in the
                                  table, or may be */
    pthread_mutex_t lock;
    uint64_t entered_n, hand;
};

#define ENTERED UINT32_MAX

/* Where a fault of this thread goes on; NULL: it is none of ours. */
static _Thread_local sigjmp_buf *fault_exit;

static void on_bus_error(int sig)
{
    if (fault_exit != NULL) {
        siglongjmp(*fault_exit, 1);
    }
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

static bool guard(void)
{
    struct sigaction a = {.sa_handler = on_bus_error, .sa_flags = SA_NODEFER};

    return sigaction(SIGBUS, &a, NULL) == 0;
}

static void unblock(void)
{
    sigset_t bus;

    (void)sigemptyset(&bus);
    (void)sigaddset(&bus, SIGBUS);
    (void)pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
}

struct ds_window *ds_window_open(int fd, uint64_t size, uint64_t table_max)
{
    struct ds_window *w = ds_zalloc(sizeof(*w), "window");
    void *base = NULL;

    if (w == NULL) {
        return NULL;
    }
    w->size = size;
    w->regions = (size + DS_WINDOW_REGION - 1) / DS_WINDOW_REGION;
    w->regions_max = ds_max_u64(table_max / DS_WINDOW_REGION, 2);
    w->written = ds_zalloc(w->regions * sizeof(*w->written), "window regions");
    if (w->written == NULL || !guard() || ds_sys_map(fd, size, true, &base) < 0) {
        ds_free(w->written);
        ds_free(w);
        return NULL;
    }
    w->base = base;
    ds_sys_no_dump(base, size);
    (void)pthread_mutex_init(&w->lock, NULL); /* cannot fail without attributes */
    return w;
}

void ds_window_close(struct ds_window *w)
{
    if (w != NULL) {
        ds_sys_unmap(w->base, w->size);
        (void)pthread_mutex_destroy(&w->lock);
        ds_free(w->written);
        ds_free(w);
    }
}

/* Another region leaves the table, with what faults at its edges have entered around it. A thread
 * that copies there meanwhile faults its pages in again: they leave when that region does the next
 * time. */
static void leave_one(struct ds_window *w, uint64_t but)
{
    uint64_t r;
    uint64_t from;
    uint64_t to;

    do {
        r = w->hand;
        w->hand = (w->hand + 1) % w->regions;
    } while (r == but || ds_load_relaxed(&w->written[r]) != ENTERED);
    ds_store_relaxed(&w->written[r], 0);
    w->entered_n--;
    from = r * DS_WINDOW_REGION - ds_min_u64(r * DS_WINDOW_REGION, FAULT_AROUND);
    to = ds_min_u64((r + 1) * DS_WINDOW_REGION + FAULT_AROUND, w->size);
    ds_sys_leave(w->base + from, to - from);
}

/* Whether to copy into that region: not before it was written once. A page of which there was no
 * use yet would be cleared by the fault, but is not by a write call. */
static bool enter(struct ds_window *w, uint64_t r, size_t size)
{
    uint32_t written;

    (void)pthread_mutex_lock(&w->lock);
    written = ds_load_relaxed(&w->written[r]);
    if (written < DS_WINDOW_REGION) {
        ds_store_relaxed(&w->written[r], written + (uint32_t)ds_min_u64(size, DS_WINDOW_REGION));
    } else if (written != ENTERED) {
        ds_store_relaxed(&w->written[r], ENTERED);
        if (++w->entered_n > w->regions_max) {
            leave_one(w, r);
        }
        written = ENTERED;
    }
    (void)pthread_mutex_unlock(&w->lock);
    return written == ENTERED;
}

/* Read first: a read fault enters the pages around it too, a write fault one. */
static void touch(const uint8_t *from, const uint8_t *to)
{
    for (const volatile uint8_t *p = from; p < to;) {
        (void)*p;
        p += FAULT_AROUND - (uintptr_t)p % FAULT_AROUND;
    }
}

/* false: a page cannot be had; how much was copied is not known. */
static bool copy(uint8_t *to, const void *from, size_t size)
{
    sigjmp_buf here;

    if (sigsetjmp(here, 0) == 0) {
        fault_exit = &here;
        atomic_signal_fence(memory_order_seq_cst); /* set before the first access */
        touch(to, to + size);
        memcpy(to, from, size);
        atomic_signal_fence(memory_order_seq_cst);
        fault_exit = NULL;
        return true;
    }
    fault_exit = NULL;
    unblock(); /* who wraps handlers, as sanitizers do, may block signals in them */
    return false;
}

static bool may_copy(struct ds_window *w, uint64_t offset, size_t size)
{
    bool may = w != NULL && size > 0 && offset < w->size && size <= w->size - offset;

    for (uint64_t at = offset; may && at < offset + size;) {
        uint64_t r = at / DS_WINDOW_REGION;
        uint64_t to = ds_min_u64((r + 1) * DS_WINDOW_REGION, offset + size);

        may = ds_load_relaxed(&w->written[r]) == ENTERED || enter(w, r, to - at);
        at = to;
    }
    return may;
}

int ds_window_write(struct ds_window *w, int fd, uint64_t offset, const void *data, size_t size)
{
    if (may_copy(w, offset, size) && copy(w->base + offset, data, size)) {
        return 0;
    }
    return ds_sys_pwrite_all(fd, data, size, offset);
}
