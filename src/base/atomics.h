/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atomics.h - atomic access with the memory order in the name, for words that processes share.
 *
 * A release store pairs with the acquire load named in the comment at the store. ds_fence_full() is
 * the one order that release and acquire cannot give: an earlier store before a later load.
 */
#ifndef DS_BASE_ATOMICS_H
#define DS_BASE_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

#define ds_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define ds_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define ds_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define ds_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)

/* Orders earlier loads before later loads and stores (no instruction on x86). */
#define ds_fence_acquire() atomic_thread_fence(memory_order_acquire)

/* Orders everything before with everything after (mfence or a locked instruction; dmb ish). */
#define ds_fence_full() atomic_thread_fence(memory_order_seq_cst)

static inline void ds_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

_Static_assert(sizeof(_Atomic uint64_t) == 8, "shared words are plain words");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock inside an atomic would not cross processes");

#endif
