/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - the machine's clocks.
 *
 * ds_ticks(): the cycle counter, the same on all cores and in all namespaces of this machine. It
 * orders the writes of different processes (tickets) and stamps reads. It is read after all earlier
 * loads: a write that starts after another one was seen to be done gets the larger ticket.
 */
#ifndef DS_BASE_CLOCK_H
#define DS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t ds_ticks(void)
{
#if defined(__x86_64__)
    _mm_lfence();
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(t)::"memory");
    return t;
#else
#error "no cycle counter known for this processor"
#endif
}

/* For stamps that only need to be nearly right. */
static inline uint64_t ds_ticks_unordered(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#else
    return ds_ticks();
#endif
}

static inline int64_t ds_now_ns(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* For deadlines inside one process. */
static inline int64_t ds_monotonic_ns(void)
{
    return ds_now_ns(CLOCK_MONOTONIC);
}

/* For expiry times, which processes share; add ds_boottime_offset_ns() (sys.h) first. */
static inline int64_t ds_boottime_ns(void)
{
    return ds_now_ns(CLOCK_BOOTTIME);
}

#endif
