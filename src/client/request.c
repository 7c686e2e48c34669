/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - asking the worker: a slot in the session, a number, an answer.
 *
 * A thread takes a free slot, fills it, stores the slot's next number, fences, and rings the worker
 * if that sleeps. It spins a little, then sleeps on the slot's done word. A request whose caller
 * has run out of time stays with the worker, or is cancelled there; its slot is used again once
 * that is answered.
 */
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "client/internal.h"

#define SPIN_NS 100000                                 /* about one wake-up of a sleeping worker */
#define SLOTS_FOR_WAITING UINT64_C(0x00ffffffffffffff) /* eight stay free of long waits */

/* Whether one came back. */
static bool take_back_late(struct ds_link *l)
{
    uint64_t late = ds_load_acquire(&l->request_late);
    bool any = false;

    for (; late != 0; late &= late - 1) {
        unsigned i = (unsigned)__builtin_ctzll(late);
        uint64_t bit = UINT64_C(1) << i;

        if (ds_load_acquire(&l->session->done[i]) == l->request_number[i] &&
            (atomic_fetch_and(&l->request_late, ~bit) & bit) != 0) {
            (void)atomic_fetch_or(&l->request_free, bit);
            any = true;
        }
    }
    return any;
}

static bool try_slot(struct ds_link *l, uint64_t allowed, uint32_t *ret)
{
    uint64_t bits = ds_load_relaxed(&l->request_free) & allowed;

    while (bits != 0) {
        uint64_t bit = bits & -bits;

        if ((atomic_fetch_and_explicit(&l->request_free, ~bit, memory_order_acquire) & bit) != 0) {
            *ret = (uint32_t)__builtin_ctzll(bit);
            return true;
        }
        bits = ds_load_relaxed(&l->request_free) & allowed;
    }
    return false;
}

static int take_slot(struct ds_link *l, uint64_t allowed, int64_t deadline_ns, uint32_t *ret)
{
    while (!try_slot(l, allowed, ret)) {
        uint32_t bell = atomic_load(&l->request_bell);
        int64_t left = deadline_ns - ds_monotonic_ns();

        if (take_back_late(l)) {
            continue;
        }
        if (left <= 0) {
            return DS_ETIMEOUT;
        }
        if (ds_load_relaxed(&l->client->closing)) {
            return DS_ESHUTDOWN;
        }
        (void)atomic_fetch_add(&l->request_waiters, 1);
        if ((atomic_load(&l->request_free) & allowed) == 0) {
            (void)ds_sys_futex_wait(&l->request_bell, bell, left < 10000000 ? left : 10000000);
        }
        (void)atomic_fetch_sub(&l->request_waiters, 1);
        if (ds_client_interrupted(l->client)) {
            return DS_EINTERRUPTED;
        }
    }
    return 0;
}

static void give_slot(struct ds_link *l, uint32_t slot)
{
    (void)atomic_fetch_or(&l->request_free, UINT64_C(1) << slot);
    if (atomic_load(&l->request_waiters) != 0) {
        (void)atomic_fetch_add(&l->request_bell, 1);
        (void)ds_sys_futex_wake(&l->request_bell, 1);
    }
}

int ds_request_begin(struct request *r, struct ds_link *l, enum ds_op op, int64_t deadline_ns,
                     bool waits)
{
    struct ds_request_header *h;
    int rc;

    *r = (struct request){.link = l, .deadline_ns = deadline_ns};
    rc = take_slot(l, waits ? SLOTS_FOR_WAITING : UINT64_MAX, deadline_ns, &r->slot);
    if (rc != 0) {
        return rc;
    }
    h = ds_request_header(r);
    *h = (struct ds_request_header){.op = (uint16_t)op};
    return 0;
}

bool ds_request_waits(const struct ds_link *l, enum ds_op op)
{
    if (ds_load_relaxed(&l->index.header->tiers) == 0) {
        return false;
    }
    return op == DS_OP_GET || op == DS_OP_EXIST || op == DS_OP_EXPIRE || op == DS_OP_DELETE ||
           op == DS_OP_SET || op == DS_OP_SET_ABSENT;
}

struct ds_request_header *ds_request_header(struct request *r)
{
    return &r->link->slot[r->slot].header;
}

bool ds_request_fits(const struct request *r, size_t key_size)
{
    return r->n < DS_SUB_MAX &&
           ds_align_up(sizeof(struct ds_request_item) + key_size, 8) <= DS_REQUEST_BYTES - r->size;
}

bool ds_request_add(struct request *r, const struct ds_request_item *item, const void *key)
{
    uint32_t need = (uint32_t)ds_align_up(sizeof(*item) + item->key_size, 8);
    uint8_t *at = r->link->slot[r->slot].items + r->size;

    if (r->n == DS_SUB_MAX || need > DS_REQUEST_BYTES - r->size) {
        return false;
    }
    memcpy(at, item, sizeof(*item));
    if (item->key_size > 0) {
        memcpy(at + sizeof(*item), key, item->key_size);
    }
    r->size += need;
    r->n++;
    return true;
}

bool ds_request_answered(const struct request *r)
{
    return ds_load_acquire(&r->link->session->done[r->slot]) == r->number;
}

static bool spin_until_answered(struct request *r)
{
    int64_t end;

    for (unsigned i = ds_link_looks(r->link); i > 0; i--) {
        if (ds_request_answered(r)) {
            return true;
        }
        ds_cpu_relax();
    }
    end = ds_monotonic_ns() + SPIN_NS;
    do {
        bool alone = ds_client_yield();

        for (int i = 0; i < 20; i++) { /* two passes take longer than one yield */
            if (ds_request_answered(r)) {
                return true;
            }
            ds_cpu_relax();
        }
        if (!alone) {
            return false;
        }
    } while (ds_monotonic_ns() < end);
    return false;
}

static int sleep_until_answered(struct request *r)
{
    struct ds_link *l = r->link;
    struct ds_session_header *h = l->session;
    struct sleep sleep = {.deadline_ns = r->deadline_ns};
    int rc = 0;

    ds_store_relaxed(&h->request_sleeper[r->slot], 1);
    ds_fence_full(); /* pairs with the fence before the worker reads request_sleeper */
    while (rc == 0) {
        uint32_t seen = ds_load_acquire(&h->done[r->slot]);

        if (seen == r->number) {
            break;
        }
        rc = ds_link_sleep(l, &h->done[r->slot], seen, &sleep);
    }
    ds_store_relaxed(&h->request_sleeper[r->slot], 0);
    return ds_request_answered(r) ? 0 : rc;
}

static void post(struct request *r)
{
    struct ds_link *l = r->link;

    r->number = ++l->request_number[r->slot];
    (void)ds_failpoint("client.before_request");
    ds_store_release(&l->session->request[r->slot], r->number); /* pairs with collect_requests() */
    (void)atomic_fetch_add_explicit(&l->session->requests, 1, memory_order_release);
    (void)ds_failpoint("client.requested");
    ds_fence_full(); /* the sleep protocol */
}

static bool to_be_cancelled(uint16_t op)
{
    switch (op) {
    case DS_OP_GRANT:
    case DS_OP_LATCH_READ:
    case DS_OP_LATCH_WRITE:
    case DS_OP_GET:
    case DS_OP_SET:
    case DS_OP_SET_ABSENT:
    case DS_OP_EXPIRE:
    case DS_OP_DELETE:
    case DS_OP_EXIST:
        return true;
    default:
        return false;
    }
}

/* Nobody waits for the answer any more. A second request in the same slot ends the first one, which
 * may wait for a tier that never answers, and gives back the blocks and latches that it may bring:
 * whatever becomes of the first one, that one comes after it. The items of sets stay, so that the
 * worker sees whose grants are not needed. So does the value: the worker may be copying the header
 * meanwhile, for one more try of the first request, and get parts of both. */
void ds_request_give_up(struct request *r)
{
    struct ds_link *l = r->link;
    struct ds_request_header *h = ds_request_header(r);

    if (to_be_cancelled(h->op)) {
        bool set = h->op == DS_OP_SET || h->op == DS_OP_SET_ABSENT;

        *h = (struct ds_request_header){.op = DS_OP_CANCEL,
                                        .n = set ? r->n : 0,
                                        .size = set ? r->size : 0,
                                        .value = h->value,
                                        .value2 = r->number};
        post(r);
        if (ds_load_relaxed(&l->index.header->asleep) != 0) { /* no time left to reconnect */
            ds_sys_event_ring(ds_load_relaxed(&l->wake_fd));
        }
    }
    (void)atomic_fetch_or(&l->request_late, UINT64_C(1) << r->slot);
}

void ds_request_post(struct request *r, bool waits)
{
    struct ds_request_header *h = ds_request_header(r);

    h->n = r->n;
    h->size = r->size;
    post(r);
    ds_link_wake(r->link, waits, r->deadline_ns);
}

int ds_request_wait(struct request *r)
{
    int rc = 0;

    if (!spin_until_answered(r)) {
        rc = sleep_until_answered(r);
    }
    (void)ds_failpoint("client.answered");
    if (rc != 0) {
        ds_request_give_up(r);
    }
    return rc;
}

int ds_request_call(struct request *r)
{
    ds_request_post(r, true);
    return ds_request_wait(r);
}

struct ds_request_result ds_request_result(const struct request *r, uint32_t i)
{
    return r->link->slot[r->slot].result[i];
}

void ds_request_end(struct request *r)
{
    give_slot(r->link, r->slot);
}

int ds_request_one(struct ds_link *l, enum ds_op op, uint64_t value, int64_t timeout_ms,
                   const struct ds_request_item *item, const void *key,
                   struct ds_request_result *ret)
{
    int64_t deadline = ds_client_deadline(l->client);
    struct request r;
    int rc;

    if (timeout_ms > 0) { /* the worker keeps the time; this is for when it does not answer */
        deadline = ds_monotonic_ns() + (timeout_ms + 1000) * INT64_C(1000000);
    }
    rc = ds_request_begin(&r, l, op, deadline, timeout_ms > 0);
    if (rc != 0) {
        return rc;
    }
    ds_request_header(&r)->value = value;
    ds_request_header(&r)->timeout_ms = timeout_ms;
    if (item != NULL && !ds_request_add(&r, item, key)) {
        ds_request_end(&r);
        return DS_EINVAL;
    }
    rc = ds_request_call(&r);
    if (rc == 0) {
        *ret = ds_request_result(&r, 0);
        ds_request_end(&r);
    }
    return rc;
}
