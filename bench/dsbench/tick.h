/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tick.h - the cheapest clock of the machine: one instruction, the same on all CPUs.
 *
 * clock_gettime() costs 20 to 60 ns in a virtual machine, as much as what we measure. Ticks become
 * nanoseconds by a factor that bench_ticks_calibrate() measures.
 */
#ifndef DS_BENCH_TICK_H
#define DS_BENCH_TICK_H

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t bench_clock_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t bench_ticks(void)
{
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t v;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
#else
    return bench_clock_ns();
#endif
}

#endif
