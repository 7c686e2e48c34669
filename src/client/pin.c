/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pin.c - which pin slots of the session are free: known to this process only.
 *
 * A bit per slot, 64 to a word. A thread begins at a word of its own cache line, so that threads
 * meet only when one holds hundreds of pins. Any thread may give a slot back.
 */
#include "client/internal.h"

static _Atomic uint32_t threads_seen; /* spreads threads over words; order means nothing */

static uint32_t thread_number(void)
{
    static _Thread_local uint32_t number; /* 0: not given yet */

    if (DS_UNLIKELY(number == 0)) {
        number = atomic_fetch_add(&threads_seen, 1) + 1;
    }
    return number - 1;
}

/* The worker looks at the slots below pins_used: raised before the first pin in a new slot. The
 * session's word comes first: a thread that finds the private one high enough relies on it. */
static void raise_used(struct ds_link *l, uint32_t to)
{
    uint32_t used = ds_load_relaxed(&l->session->pins_used);

    while (used < to && !atomic_compare_exchange_weak(&l->session->pins_used, &used, to)) {
    }
    used = ds_load_relaxed(&l->pins_used);
    while (used < to && !atomic_compare_exchange_weak(&l->pins_used, &used, to)) {
    }
}

static bool take_from(struct ds_link *l, uint32_t word, uint32_t *ret)
{
    uint64_t bits = ds_load_relaxed(&l->pin_free[word]);

    while (bits != 0) {
        uint64_t bit = bits & -bits;

        if ((atomic_fetch_and_explicit(&l->pin_free[word], ~bit, memory_order_acquire) & bit) !=
            0) {
            *ret = word * 64 + (uint32_t)__builtin_ctzll(bit);
            if (DS_UNLIKELY(*ret >= ds_load_acquire(&l->pins_used))) {
                raise_used(l, *ret + 1);
            }
            return true;
        }
        bits = ds_load_relaxed(&l->pin_free[word]);
    }
    return false;
}

int ds_pin_take(struct ds_link *l, uint32_t *ret)
{
    for (;;) {
        uint32_t limit = ds_load_acquire(&l->session->pins_limit);
        uint32_t words = (limit < DS_PINS_MAX ? limit : DS_PINS_MAX) / 64;
        uint32_t first = words == 0 ? 0 : thread_number() * 8 % words;
        struct ds_request_result result;
        int rc;

        for (uint32_t i = 0; i < words; i++) {
            if (take_from(l, (first + i) % words, ret)) {
                return 0;
            }
        }
        if (ds_load_acquire(&l->dead)) {
            return DS_ESTALE;
        }
        if (limit >= DS_PINS_MAX || words == 0) {
            return DS_ERANGE;
        }
        rc = ds_request_one(l, DS_OP_PINS, 0, 0, NULL, NULL, &result);
        if (rc != 0) {
            return rc;
        }
        if (result.status != 0 && ds_load_acquire(&l->session->pins_limit) == limit) {
            return result.status;
        }
    }
}

void ds_pin_give(struct ds_link *l, uint32_t slot)
{
    (void)atomic_fetch_or_explicit(&l->pin_free[slot / 64], UINT64_C(1) << (slot % 64),
                                   memory_order_release);
}
