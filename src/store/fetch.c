/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.c - spilled objects come back into memory.
 *
 *                ds_store_fetch                      tier_done
 *   spilled ---------------------> being read ---------------------> in memory
 *      |          small ones         (no block yet)                      ^
 *      |                                                                 | complete()
 *      +--------------------------> arriving ----------------------------+
 *                 large ones        |      ^
 *                            stall()|      | ds_store_fetch
 *                                   v      |
 *      <-------------------------- stalled +
 *        ds_store_let_stalled_go()
 *
 * Taking a block (docs/concurrency.md, 9): the record's block and check change while `moving` names
 * the record, so that recovery does not take the torn check for damage. F1 moving; F2 block, check;
 * F3 generation odd; F4 the word, release; F5 moving = 0; F6 the descriptor.
 *
 * A small object takes its block when its bytes are there. A large one takes it before
 * (DS_WORD_ARRIVING) and is published unsettled, so that those who asked for a part (DS_GET_PART)
 * can pin it and read what is there; the descriptor says how much. When all is there it is settled,
 * under the same generation. If the read fails, or the worker is killed, the generation ends. The
 * block stays with the record until no pin names it: it holds bytes of this very object, and
 * nothing else is ever written there meanwhile, not even by the next read, which writes the same.
 */
#include "base/alloc.h"
#include "base/failpoint.h"
#include "store/internal.h"

#define FRESH_NS INT64_C(20000000)

static uint64_t block_of(const struct ds_store *s, uint32_t id)
{
    return ds_store_block(s->record[id].size);
}

/* F1 to F5; `arriving`: DS_WORD_ARRIVING, or 0: the object is whole. */
static void take_block(struct ds_store *s, uint32_t id, uint64_t offset, uint64_t arriving)
{
    struct ds_record *r = &s->record[id];
    uint64_t word = ds_load_relaxed(&r->word);

    ds_store_release(&s->state->moving, id + UINT64_C(1));
    (void)ds_failpoint("install.moving");
    r->offset = offset;
    (void)ds_failpoint("install.torn");
    r->check = ds_store_check_of(s, id);
    ds_store_release(&r->gen, ds_load_relaxed(&r->gen) + 1);
    (void)ds_failpoint("install.before_word");
    ds_store_release(&r->word, arriving != 0 ? word | arriving : word & ~DS_WORD_SPILLED);
    (void)ds_failpoint("install.live");
    ds_store_release(&s->state->moving, 0);
    s->stats.memory_live += block_of(s, id);
    ds_store_renew_expiry(s, id);
}

/* While a full disk drops objects that are nowhere else, a second copy of one that is in memory
 * takes the place of such an object: it goes instead, as in an exclusive cache (Wong and Wilkes,
 * "My Cache or Yours?", ATC 2002). The price is a write when the object leaves memory again. */
static void leave_no_copy(struct ds_store *s, uint32_t id)
{
    const struct ds_record *r = &s->record[id];

    if (s->exclusive > 0 && s->exclusive >= r->size && ds_store_droppable(s, id) &&
        !ds_store_second_hides(s, id) && (r->kind & DS_KIND_DISK) == 0) {
        s->exclusive -= r->size;
        ds_store_forget(s, id, true);
    }
}

/* F6, of an object that is whole. */
static void enter_memory(struct ds_store *s, uint32_t id)
{
    ds_store_project(s, id, true);
    s->stats.fetches++;
    ds_store_rank(s, id);
    if (ds_store_mutable(s, id)) {
        ds_store_changed(s, id);
    } else {
        leave_no_copy(s, id);
    }
    ds_store_freshen(s, id);
}

static void leave_lower(struct ds_store *s, uint32_t id)
{
    if (ds_store_unreadable(s, id)) { /* the copy was lost after it had been read */
        s->unreadable--;
        s->stats.losses--;
    }
    ds_store_unlist(s, id);
}

static void install(struct ds_store *s, uint32_t id, uint64_t offset)
{
    leave_lower(s, id);
    take_block(s, id, offset, 0);
    enter_memory(s, id);
}

/* --- large ones --- */

/* One that has its block already is: what that says was another worker's. */
static bool large(const struct ds_store *s, uint32_t id)
{
    return (s->flags[id] & FLAG_STALLED) != 0 ||
           (s->config.arriving_min > 0 && s->record[id].size > s->config.arriving_min);
}

/* It is being read back into a block of its own, where readers who want a part may look. */
static bool arriving(const struct ds_store *s, uint32_t id)
{
    return ds_store_state(s, id) == DS_RECORD_LIVE && (s->flags[id] & FLAG_STALLED) == 0 &&
           (ds_load_relaxed(&s->record[id].word) & DS_WORD_ARRIVING) != 0;
}

/* A fetch has begun: into a block of its own, or into that of a read before it, which failed. */
static void arrive(struct ds_store *s, uint32_t id, uint64_t offset)
{
    struct ds_record *r = &s->record[id];

    if ((s->flags[id] & FLAG_STALLED) != 0) {
        ds_store_unstall(s, id);
        ds_store_release(&r->gen, ds_load_relaxed(&r->gen) + 1);
        ds_store_renew_expiry(s, id);
    } else {
        take_block(s, id, offset, DS_WORD_ARRIVING);
    }
    (void)ds_failpoint("arrive.before_descriptor");
    ds_store_project(s, id, false); /* F6 */
}

static void complete(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    uint64_t flags = DS_WORD_SPILLED | DS_WORD_ARRIVING;

    leave_lower(s, id);
    (void)ds_failpoint("arrive.before_word");
    ds_store_release(&r->word, ds_load_relaxed(&r->word) & ~flags);
    (void)ds_failpoint("arrive.whole");
    enter_memory(s, id);
}

void ds_store_enter_stalled(struct ds_store *s, uint32_t id)
{
    ds_list_append(&s->stalled, s->guest_link, id); /* guests are in memory */
    s->flags[id] |= FLAG_STALLED;
}

void ds_store_unstall(struct ds_store *s, uint32_t id)
{
    if ((s->flags[id] & FLAG_STALLED) != 0) {
        ds_list_remove(&s->stalled, s->guest_link, id);
        s->flags[id] &= (uint16_t)~FLAG_STALLED;
    }
}

/* As S2; S3 and S4 are those of the next reclaim. */
static void stall(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    uint64_t gen = ds_load_relaxed(&r->gen) + 1;

    ds_store_release(&s->index.desc[id].gen, gen);
    (void)ds_failpoint("arrive.stalled");
    ds_store_release(&r->gen, gen);
    ds_store_renew_expiry(s, id);
    ds_store_enter_stalled(s, id);
}

/* S5 */
static void let_go(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];

    ds_store_unstall(s, id);
    ds_store_release(&r->word, ds_load_relaxed(&r->word) & ~DS_WORD_ARRIVING);
    (void)ds_failpoint("arrive.let_go");
    ds_arena_free(s->data, r->offset, block_of(s, id));
    s->stats.memory_live -= block_of(s, id);
}

void ds_store_let_stalled_go(struct ds_store *s)
{
    uint32_t next;

    for (uint32_t id = s->stalled.first; id != DS_ID_NONE; id = next) {
        next = s->guest_link[id].next;
        if ((s->flags[id] & (FLAG_PINNED | FLAG_BUSY)) == 0) {
            let_go(s, id);
        }
    }
}

bool ds_store_arrived(struct ds_store *s, uint32_t id, uint64_t size)
{
    uint64_t need = ds_min_u64(size, s->record[id].size);

    if (!arriving(s, id)) {
        return false;
    }
    if (DS_META_ARRIVED(ds_load_relaxed(&s->index.desc[id].meta)) >= need) {
        return true;
    }
    s->parts_wait = true;
    return false;
}

/* --- asking the tier --- */

/* The tier knows without reading that its copy is not there. What second-level storage has is to be
 * looked for once more. */
static int lose_now(struct ds_store *s, uint32_t id)
{
    bool elsewhere = ds_store_in_l2(s, id);

    s->stats.tier_errors++;
    ds_store_lose(s, id);
    s->examine = true;
    return elsewhere ? DS_EAGAIN : DS_ECORRUPT;
}

/* Where to: *ret_own says that the block is not the record's yet. DS_EAGAIN, DS_ENOMEM. */
static int room_for(struct ds_store *s, uint32_t id, uint64_t *ret_offset, bool *ret_own)
{
    uint64_t capacity = block_of(s, id); /* making room may end the record */
    int rc;

    *ret_own = (s->flags[id] & FLAG_STALLED) == 0;
    if (!*ret_own) {
        *ret_offset = s->record[id].offset;
        return 0;
    }
    rc = ds_store_block_alloc(s, capacity, ret_offset);
    if (rc != 0) {
        s->starved = s->starved || rc == DS_EAGAIN;
        return rc;
    }
    if (ds_store_state(s, id) != DS_RECORD_LIVE) { /* what made room was it, or what it hung on */
        ds_arena_free(s->data, *ret_offset, capacity);
        s->examine = true;
        return DS_EAGAIN;
    }
    return 0;
}

static int begin_fetch(struct ds_store *s, uint32_t id, uint64_t offset)
{
    struct ds_tier_op *op = ds_store_tier_op(s, DS_TIER_FETCH, id);
    int rc;

    if (op == NULL) {
        return DS_ENOMEM;
    }
    op->offset = offset;
    op->arriving = large(s, id);
    rc = ds_store_tier_begin(s, op);
    if (rc == 0 && op->arriving) {
        arrive(s, id, offset);
        op->gen = ds_load_relaxed(&s->record[id].gen);
    } else if (rc == 0) {
        s->fetching += block_of(s, id);
        s->stats.memory_granted += block_of(s, id);
    }
    return rc;
}

int ds_store_fetch(struct ds_store *s, uint32_t id)
{
    uint64_t offset;
    bool own;
    int rc;

    if ((s->flags[id] & FLAG_BUSY) != 0) {
        return DS_EAGAIN;
    }
    if (ds_store_place(s, id) == 0) {
        return DS_ECORRUPT;
    }
    if ((s->flags[id] & FLAG_FAILED) != 0) { /* one reader is told, the next one tries again */
        s->flags[id] &= (uint16_t)~FLAG_FAILED;
        return DS_EIO;
    }
    rc = room_for(s, id, &offset, &own);
    if (rc != 0) {
        return rc;
    }
    rc = begin_fetch(s, id, offset);
    if (rc == 0) {
        return DS_EAGAIN;
    }
    if (own) {
        ds_arena_free(s->data, offset, block_of(s, id));
    }
    s->starved = s->starved || rc == DS_EAGAIN;
    return rc == DS_ECORRUPT ? lose_now(s, id) : rc;
}

/* --- answers --- */

void ds_store_tier_arrived(struct ds_store *s, const struct ds_tier_op *op, uint64_t bytes)
{
    struct ds_desc *d = &s->index.desc[op->id];
    uint64_t meta = ds_load_relaxed(&d->meta);

    if (!op->arriving || !ds_store_op_current(s, op)) {
        return;
    }
    meta &= (UINT64_C(1) << DS_ARRIVED_SHIFT) - 1;
    ds_store_release(&d->meta, meta | bytes / DS_ARRIVED_UNIT << DS_ARRIVED_SHIFT);
    s->examine = s->examine || s->parts_wait;
    s->parts_wait = false;
}

static void failed(struct ds_store *s, const struct ds_tier_op *op)
{
    s->stats.tier_errors++;
    if (op->status == DS_ECORRUPT || ds_store_in_l2(s, op->id)) {
        ds_store_lose(s, op->id);
    } else {
        s->flags[op->id] |= FLAG_FAILED;
    }
}

/* Ended meanwhile, its block is among the doomed ones. */
static void fetched_large(struct ds_store *s, const struct ds_tier_op *op)
{
    if (!ds_store_op_current(s, op)) {
        return;
    }
    if (op->status == 0) {
        complete(s, op->id);
    } else {
        stall(s, op->id);
        failed(s, op);
    }
}

void ds_store_fetched(struct ds_store *s, const struct ds_tier_op *op)
{
    uint64_t capacity = ds_store_block(op->size);
    bool wanted = ds_store_op_current(s, op);

    s->examine = true;
    if (op->arriving) {
        fetched_large(s, op);
        return;
    }
    s->fetching -= capacity;
    s->stats.memory_granted -= capacity;
    if (op->status == 0 && wanted) {
        install(s, op->id, op->offset);
        return;
    }
    ds_arena_free(s->data, op->offset, capacity);
    if (op->status != 0 && wanted) {
        failed(s, op);
    }
}

/* --- for a moment --- */

void ds_store_freshen(struct ds_store *s, uint32_t id)
{
    uint32_t at;

    if (s->fresh_n == DS_STORE_FRESH) {
        s->fresh_first = (s->fresh_first + 1) % DS_STORE_FRESH;
        s->fresh_n--;
    }
    at = (s->fresh_first + s->fresh_n++) % DS_STORE_FRESH;
    s->fresh[at].id = id;
    s->fresh[at].until_ns = s->now.boot_ns + FRESH_NS;
}

bool ds_store_fresh(const struct ds_store *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->fresh_n; i++) {
        if (s->fresh[(s->fresh_first + i) % DS_STORE_FRESH].id == id) {
            return true;
        }
    }
    return false;
}

void ds_store_fresh_end(struct ds_store *s)
{
    uint32_t before = s->fresh_n;

    while (s->fresh_n > 0 && s->fresh[s->fresh_first].until_ns <= s->now.boot_ns) {
        s->fresh_first = (s->fresh_first + 1) % DS_STORE_FRESH;
        s->fresh_n--;
    }
    if (s->fresh_n < before) {
        ds_store_memory_news(s);
    }
}
