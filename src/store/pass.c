/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pass.c - one pass over all rings: steps L1 to L5 of docs/concurrency.md.
 *
 *   L1  read all tails and request numbers          collect_*
 *   L2  copy and validate                           collect_ring
 *   L3  apply the sets in the order of tickets      apply
 *   L4  execute requests seen in an earlier pass    execute_ready
 *   L5  settle what was in the index before L1      ds_store_settle
 *   full fence, next L1
 *
 * Requests that do not depend on sets (blocks, pin slots, figures) are executed in the pass that
 * sees them.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "store/internal.h"

static void broken(struct ds_store *s, struct session *x)
{
    s->bad_records++;
    x->broken = true;
    s->n_broken++;
}

static bool batch_room(struct ds_store *s)
{
    struct set_entry *grown;
    size_t capacity = s->batch_capacity == 0 ? 1024 : s->batch_capacity * 2;

    if (s->batch_n < s->batch_capacity) {
        return true;
    }
    grown = ds_realloc_array(s->batch, capacity, sizeof(*grown), "batch");
    if (grown == NULL) {
        return false;
    }
    s->batch = grown;
    s->batch_capacity = capacity;
    return true;
}

/* L2. The header is copied before it is looked at; the key is copied when it is applied. */
static void collect_ring(struct ds_store *s, struct session *x, uint64_t tail)
{
    while (x->collected != tail) {
        struct set_entry *e;
        uint64_t at = x->collected % DS_RING_SIZE;
        uint64_t left = ds_min_u64(tail - x->collected, DS_RING_SIZE - at);

        if (!batch_room(s)) {
            s->partial = true;
            return;
        }
        e = &s->batch[s->batch_n];
        if (left < 16) {
            broken(s, x);
            return;
        }
        memset(&e->record, 0, sizeof(e->record));
        memcpy(&e->record, x->ring + at, ds_min_u64(left, sizeof(e->record)));
        if (e->record.size < 16 || e->record.size % 16 != 0 || e->record.size > left ||
            (e->record.op != DS_RING_PAD &&
             (e->record.key_size > DS_KEY_SIZE_MAX ||
              sizeof(e->record) + e->record.key_size > e->record.size))) {
            broken(s, x);
            return;
        }
        e->session = x;
        e->position = x->collected;
        /* A ticket from the future would win over everybody: refused. Nor do they go back. */
        e->ticket = ds_min_u64(ds_max_u64(e->record.ticket, x->last_ticket), s->now.ticks);
        x->last_ticket = e->ticket;
        x->collected += e->record.size;
        s->batch_n++;
    }
}

/* A slot whose last request is not answered yet is used again only to cancel that one. */
static void collect_requests(struct session *x, uint64_t requests)
{
    x->requests_seen = requests;
    for (unsigned i = 0; i < DS_REQUESTS; i++) {
        uint32_t number = ds_load_acquire(&x->header->request[i]); /* pairs with the post */

        if (number != x->known[i]) {
            x->known[i] = number;
            x->tries[i] = 0;
            x->ready &= ~(UINT64_C(1) << i);
            x->waiting &= ~(UINT64_C(1) << i);
            x->buried[i] = 0;
            ds_store_forget_answers(x, i);
            x->fresh |= UINT64_C(1) << i;
        }
    }
}

/* L1. The clock is read behind the tails: a record that was posted while the pass began would have
 * a ticket of the future otherwise, and lose its place among the others by being cut to the
 * present. */
static void collect(struct ds_store *s)
{
    s->batch_n = 0;
    s->partial = false;
    for (uint32_t i = 0; i < s->n_active; i++) {
        struct session *x = s->active[i];

        x->tail = ds_load_acquire(&x->header->ring_tail); /* pairs with W2 */
        x->requests = ds_load_acquire(&x->header->requests);
    }
    if (s->config.ticks != NULL) {
        s->now.ticks = s->config.ticks(s->config.ticks_arg);
    }
    for (uint32_t i = 0; i < s->n_active; i++) {
        struct session *x = s->active[i];

        if (x->broken) {
            continue;
        }
        if (x->tail - x->collected > DS_RING_SIZE || x->tail % 16 != 0) {
            broken(s, x);
            continue;
        }
        collect_ring(s, x, x->tail);
        if (x->requests != x->requests_seen) {
            collect_requests(x, x->requests);
        }
    }
}

static int by_ticket(const void *a, const void *b)
{
    const struct set_entry *x = a;
    const struct set_entry *y = b;

    if (x->ticket != y->ticket) {
        return x->ticket < y->ticket ? -1 : 1;
    }
    if (x->session != y->session) {
        return x->session->number < y->session->number ? -1 : 1;
    }
    return x->position < y->position ? -1 : 1;
}

static void sort_batch(struct ds_store *s)
{
    for (size_t i = 1; i < s->batch_n; i++) {
        if (by_ticket(&s->batch[i - 1], &s->batch[i]) > 0) {
            qsort(s->batch, s->batch_n, sizeof(*s->batch), by_ticket);
            return;
        }
    }
}

/* The set replaced an object with a copy on disk: it is done once that is buried. */
static void hold_mirror(struct ds_store *s, const struct set_entry *e)
{
    struct session *x = e->session;

    if (x->hold_n == DS_STORE_MIRROR_HOLDS) {
        x->hold_n--; /* the newest one waits for more: earlier ones go on as they were */
    } else {
        x->hold[x->hold_n].position = e->position;
    }
    x->hold[x->hold_n++].buried = s->buried;
}

static void apply_set(struct ds_store *s, const struct set_entry *e)
{
    const struct ds_ring_record *r = &e->record;
    uint8_t key[DS_KEY_SIZE_MAX];
    uint64_t buried = s->buried;
    struct ds_store_set set = {
        .key = key,
        .key_size = r->key_size,
        .id = r->id,
        .value_size = r->value_size,
        .ttl_ms = r->ttl_ms,
        .version = e->ticket,
        .origin = DS_ORIGIN(e->session->number, DS_ORIGIN_RING, (uint32_t)e->position, 0),
        .mode = r->mode,
        .kind = (uint8_t)(r->kind & (DS_KIND_CAUSAL | DS_KIND_DISK)),
    };

    memcpy(key, e->session->ring + (e->position + sizeof(*r)) % DS_RING_SIZE, r->key_size);
    if (ds_store_plain_mode(set.mode) && ds_store_set_valid(s, e->session, &set)) {
        ds_store_publish_plain(s, e->session, &set);
        if (s->buried != buried) {
            hold_mirror(s, e);
        }
    } else {
        s->bad_records++; /* or applied before a kill: then the grant is used up */
    }
}

/* L3 */
static void apply(struct ds_store *s)
{
    sort_batch(s);
    for (size_t i = 0; i < s->batch_n; i++) {
        const struct set_entry *e = &s->batch[i];
        struct session *x = e->session;

        if (e->record.op == DS_RING_SET) {
            apply_set(s, e);
        } else if (e->record.op == DS_RING_DROP && ds_store_lent(s, x, e->record.id)) {
            ds_store_grant_drop(s, x, e->record.id);
        }
        (void)ds_failpoint("apply.before_cursor");
        ds_store_release(&x->state->applied, e->position + e->record.size);
        ds_store_mirror(s, x);
    }
}

static bool at_once(uint16_t op)
{
    return op == DS_OP_GRANT || op == DS_OP_PINS || op == DS_OP_STATS;
}

/* What was seen before this pass began, and what needs no order. */
static void execute_ready(struct ds_store *s)
{
    for (uint32_t i = 0; i < s->n_active; i++) {
        struct session *x = s->active[i];
        uint64_t run = x->ready;

        for (uint64_t left = x->fresh; left != 0; left &= left - 1) {
            unsigned slot = (unsigned)__builtin_ctzll(left);

            if (at_once(x->slot[slot].header.op)) {
                run |= UINT64_C(1) << slot;
            }
        }
        x->ready |= x->fresh;
        x->fresh = 0;
        for (; run != 0; run &= run - 1) {
            ds_store_execute(s, x, (unsigned)__builtin_ctzll(run));
        }
    }
}

static void wake_ring_sleepers(struct ds_store *s)
{
    for (uint32_t i = 0; i < s->n_active; i++) {
        struct session *x = s->active[i];

        if (ds_load_relaxed(&x->header->sleepers) != 0) {
            (void)atomic_fetch_add(&x->header->applied_wake, 1);
            ds_store_wake(s, &x->header->applied_wake);
        }
    }
}

/* Keeps only those words whose clients say that they sleep. */
static void keep_sleeping(struct ds_store *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->wakes_n; i++) {
        const _Atomic uint32_t *done = s->wakes[i];

        /* request_sleeper[] and done[] are arrays of the same header */
        const _Atomic uint32_t *sleeper =
            (const void *)((const uint8_t *)done +
                           offsetof(struct ds_session_header, request_sleeper) -
                           offsetof(struct ds_session_header, done));

        if (ds_load_relaxed(sleeper) != 0) {
            s->wakes[kept++] = done;
        }
    }
    s->wakes_n = kept;
}

/* Background eviction keeps room ahead of writers, so that they do not wait for it. Big objects are
 * left to the writer that needs their room: half the memory must not go for a little headroom. */
static void evict_ahead(struct ds_store *s)
{
    uint64_t size = s->config.data_size;
    uint64_t used = ds_store_used(s) - s->leaving;
    uint64_t high = (uint64_t)((double)size * s->config.evict_high);
    uint64_t low = (uint64_t)((double)size * s->config.evict_low);

    if (s->usable < size || used <= high || ds_policy_count(s->policy) == 0 ||
        s->record[ds_policy_victim(s->policy)].size > high - low) {
        return;
    }
    (void)ds_store_make_room(s, used - low + s->leaving);
}

static void end_hungup(struct ds_store *s)
{
    for (uint32_t i = 0; i < s->n_active; i++) {
        struct session *x = s->active[i];

        if (x->hungup && x->fresh == 0 && x->ready == 0) {
            x->waiting = 0;
            ds_store_holds_end(s, x);
        }
    }
}

static bool unfinished(const struct ds_store *s)
{
    if (s->earlier.n > 0 || s->newer.n > 0 || s->leavers_n > 0 || s->partial || s->examine) {
        return true;
    }
    for (uint32_t i = 0; i < s->n_active; i++) {
        if ((s->active[i]->fresh | s->active[i]->ready) != 0) {
            return true;
        }
    }
    return false;
}

/* Somebody waits for memory, and not all that might leave was looked at. */
static bool search_goes_on(const struct ds_store *s)
{
    return s->starved &&
           (s->search_left || (s->looked > 0 && s->looked < ds_policy_count(s->policy)));
}

bool ds_store_pass(struct ds_store *s, const struct ds_store_now *now)
{
    s->now = *now;
    s->wakes_n = 0;
    s->stats.passes++;
    ds_store_fresh_end(s);
    if (search_goes_on(s)) {
        ds_store_memory_news(s);
    }
    ds_store_demote(s);
    collect(s);
    (void)ds_failpoint("pass.collected");
    apply(s);
    (void)ds_failpoint("pass.applied");
    ds_store_expire(s);
    if (!s->partial) { /* else not every set that came before has been applied */
        execute_ready(s);
        ds_store_settle(s);
    }
    (void)ds_failpoint("pass.settled");
    if (s->examine || s->wait_next_ns <= s->now.boot_ns) {
        ds_store_examine_waiting(s);
    }
    ds_store_second_sweep(s);
    ds_store_upload_some(s);
    end_hungup(s);
    if (s->doomed.n >= 256 || s->reclaim_next_ns <= s->now.boot_ns) {
        ds_store_reclaim(s);
        s->reclaim_next_ns = s->now.boot_ns + 100 * INT64_C(1000000);
    }
    if (s->guests.n > 0 && s->guests_next_ns <= s->now.boot_ns) {
        ds_store_guests_leave(s);
    }
    evict_ahead(s);
    ds_fence_full(); /* between L5 and the next L1, and before the sleepers' words are read */
    keep_sleeping(s);
    if (s->batch_n > 0 || s->mirrored) {
        wake_ring_sleepers(s);
        s->mirrored = false;
    }
    return unfinished(s);
}

bool ds_store_quiet(const struct ds_store *s)
{
    for (uint32_t i = 0; i < s->n_active; i++) {
        const struct session *x = s->active[i];

        if (!x->broken && (ds_load_acquire(&x->header->ring_tail) != x->collected ||
                           ds_load_acquire(&x->header->requests) != x->requests_seen)) {
            return false;
        }
    }
    return true;
}

int64_t ds_store_next_ns(const struct ds_store *s)
{
    int64_t next = ds_heap_next(&s->expiry);

    next = s->wait_next_ns < next ? s->wait_next_ns : next;
    if (search_goes_on(s)) {
        next = s->now.boot_ns;
    }
    if (s->starved && s->fresh_n > 0 && s->fresh[s->fresh_first].until_ns < next) {
        next = s->fresh[s->fresh_first].until_ns;
    }
    if (ds_store_may_upload(s) && s->upload_next_ns < next) {
        next = s->upload_next_ns;
    }
    if (s->doomed.n + s->stalled.n > 0 && s->reclaim_next_ns < next) {
        next = s->reclaim_next_ns;
    }
    if (s->guests.n > 0 && s->guests_next_ns < next) {
        next = s->guests_next_ns;
    }
    return next;
}
