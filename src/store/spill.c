/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill.c - objects leave memory for a disk; what is known of their copies there.
 *
 *              ds_store_spill      tier_done          ds_store_demote
 *   in memory ---------------> being written ----> in memory, with a copy ----> spilled
 *       ^                                                                          |
 *       +------------------------- install <--------- ds_store_fetch --------------+
 *
 * A spilled object is a LIVE record with DS_WORD_SPILLED: it keeps its number, its key, its entry
 * in the index (so that a set over it waits) and what hangs on it (references, nested keys), but
 * holds no block, and the generation in its descriptor is even: readers miss and ask. exist, size,
 * expire and delete need no disk. place[id] says where its bytes are; it stays valid after the
 * object was read back, so that leaving memory again costs no write.
 *
 * Giving up the block (docs/concurrency.md, 9):
 *
 *   S1 place[id], release       the copy is complete on disk
 *   S2 generation even in the index; for a whole batch
 *   S3 full fence
 *   S4 pin slots of all sessions. Somebody holds it: the same generation again, and it stays.
 *      (Nothing of the descriptor has changed and the block was not freed: who compares the
 *      generation sees what he saw before.)
 *   S5 word | SPILLED, release; generation even in the state; then the block is free
 *
 * Coming back: fetch.c.
 */
#include "base/alloc.h"
#include "base/failpoint.h"
#include "store/internal.h"

static bool has_entry(const struct ds_store *s, uint32_t id)
{
    return s->config.tier != NULL &&
           (id + UINT64_C(1)) * sizeof(struct ds_place) <= s->area_place.ready;
}

uint64_t ds_store_place(const struct ds_store *s, uint32_t id)
{
    return has_entry(s, id) ? ds_load_relaxed(&s->place[id].at) : 0;
}

uint64_t ds_store_order(const struct ds_store *s, uint32_t id)
{
    return has_entry(s, id) ? ds_load_relaxed(&s->place[id].order) : 0;
}

void ds_store_set_order(struct ds_store *s, uint32_t id, uint64_t order)
{
    if (has_entry(s, id)) {
        ds_store_relaxed(&s->place[id].order, order);
        s->order_seen = ds_max_u64(s->order_seen, order);
    }
}

/* Whether L2 is known to have an older value, or may have: what stood here before hides it, or this
 * worker left it there lately, or is erasing it. */
static bool hides(struct ds_store *s, const struct ds_store_set *set, uint32_t old)
{
    if (old != DS_ID_NONE) {
        return ds_store_second_hides(s, old);
    }
    return ds_gone_shows(s->gone, ds_store_key_hash(s, set->key, set->key_size)) ||
           ds_store_second_erasing(s, set->key, set->key_size);
}

void ds_store_number(struct ds_store *s, const struct ds_store_set *set, uint32_t old)
{
    if (s->config.tier != NULL && s->config.l2 &&
        (set->mode == DS_WRITE_BACK || hides(s, set, old)) &&
        ds_store_need_place(s, set->id) == 0) {
        ds_store_set_order(s, set->id, s->config.tier->order(s->config.tier_arg));
    }
}

uint64_t ds_store_order_seen(const struct ds_store *s)
{
    return s->order_seen;
}

static void set_place(struct ds_store *s, uint32_t id, uint64_t place)
{
    ds_store_release(&s->place[id].at, place); /* S1 */
}

int ds_store_need_place(struct ds_store *s, uint32_t id)
{
    return ds_area_need(&s->area_place, (id + UINT64_C(1)) * sizeof(struct ds_place));
}

/* --- leaving memory --- */

struct ds_tier_op *ds_store_tier_op(const struct ds_store *s, enum ds_tier_kind kind, uint32_t id)
{
    const struct ds_record *r = &s->record[id];
    struct ds_tier_op *op = ds_zalloc(sizeof(*op), "tier op");

    if (op != NULL) {
        op->kind = kind;
        op->id = id;
        op->gen = ds_load_relaxed(&r->gen);
        op->key = ds_store_key(s, id);
        op->key_size = r->key_size;
        op->offset = r->offset;
        op->size = r->size;
        op->order = ds_store_order(s, id);
        op->expiry_ns = ds_load_relaxed(&r->expiry_ns);
        op->mode = r->mode;
        op->object_kind = r->kind;
        op->object_kind |= (ds_load_relaxed(&r->word) & DS_WORD_SEALED) != 0 ? DS_KIND_SEALED : 0;
        op->place = ds_store_place(s, id);
        op->dirty = ds_store_dirty(s, id);
    }
    return op;
}

int ds_store_tier_begin(struct ds_store *s, struct ds_tier_op *op)
{
    int rc = s->config.tier->start(s->config.tier_arg, op);

    if (rc != 0) {
        ds_free(op);
    } else {
        s->flags[op->id] |= FLAG_BUSY;
    }
    return rc;
}

bool ds_store_disk_bad(const struct ds_store *s)
{
    return s->now.boot_ns < s->disk_bad_until_ns;
}

int ds_store_spill(struct ds_store *s, uint32_t id)
{
    struct ds_tier_op *op;
    int rc;

    if (s->config.tier == NULL || !s->config.spill || s->disk_away) {
        return DS_ENOTSUPPORTED;
    }
    if ((s->flags[id] & FLAG_BUSY) != 0) {
        return DS_EAGAIN;
    }
    if (ds_store_disk_bad(s)) {
        return DS_ENOSPACE; /* a writer is told, not kept waiting for a disk that fails */
    }
    if (ds_store_need_place(s, id) != 0) {
        return DS_EAGAIN;
    }
    op = ds_store_tier_op(s, DS_TIER_SPILL, id);
    if (op == NULL) {
        return DS_EAGAIN;
    }
    rc = ds_store_tier_begin(s, op);
    if (rc == 0) {
        s->leaving += ds_store_block(s->record[id].size);
    }
    return rc;
}

void ds_store_leave(struct ds_store *s, uint32_t id)
{
    if (s->leavers_n == DS_STORE_LEAVERS_MAX) {
        ds_store_demote(s);
    }
    s->leavers[s->leavers_n++] = id;
}

/* S2; false: it has changed since it was chosen. */
static bool hide(struct ds_store *s, uint32_t id)
{
    uint64_t gen = ds_load_relaxed(&s->record[id].gen);

    if (ds_store_state(s, id) != DS_RECORD_LIVE || ds_store_spilled(s, id) ||
        !ds_store_copied(s, id) || (s->flags[id] & FLAG_BUSY) != 0) {
        return false;
    }
    ds_store_unlist(s, id);
    s->flags[id] &= (uint16_t)~FLAG_PINNED;
    ds_store_release(&s->index.desc[id].gen, gen + 1);
    return true;
}

void ds_store_enter_lower(struct ds_store *s, uint32_t id)
{
    bool spare = s->config.l2 && ds_store_in_l2(s, id); /* stays so while it is spilled */

    ds_list_append(spare ? &s->spare : &s->lower, s->link, id);
    s->flags[id] |= spare ? FLAG_SPARE : FLAG_LOWER;
    s->stats.spilled_objects++;
    s->stats.spilled_bytes += s->record[id].size;
    s->unreadable += ds_store_place(s, id) == 0; /* of an earlier worker */
    s->lower_max = ds_max_u64(s->lower_max, ds_store_block(s->record[id].size));
}

void ds_store_renew_expiry(struct ds_store *s, uint32_t id)
{
    const struct ds_record *r = &s->record[id];
    int64_t at = ds_load_relaxed(&r->expiry_ns);

    if (at != 0) { /* entries name the generation */
        (void)!ds_heap_push(&s->expiry, at, id, ds_load_relaxed(&r->gen));
    }
}

/* S4, S5 */
static void give_up_block(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    uint64_t gen = ds_load_relaxed(&r->gen);
    uint64_t capacity = ds_store_block(r->size);

    if ((s->flags[id] & FLAG_PINNED) != 0) {
        ds_store_release(&s->index.desc[id].gen, gen);
        if (ds_store_mutable(s, id)) { /* whoever holds it may write */
            ds_store_changed(s, id);
        }
        ds_store_rank(s, id);
        return;
    }
    (void)ds_failpoint("demote.before_word");
    ds_store_release(&r->word, ds_load_relaxed(&r->word) | DS_WORD_SPILLED);
    (void)ds_failpoint("demote.spilled");
    ds_store_release(&r->gen, gen + 1);
    ds_arena_free(s->data, r->offset, capacity);
    s->stats.memory_live -= capacity;
    s->stats.demotions++;
    ds_store_enter_lower(s, id);
    ds_store_renew_expiry(s, id);
}

void ds_store_demote(struct ds_store *s)
{
    size_t n = 0;

    if (s->leavers_n == 0) {
        return;
    }
    for (size_t i = 0; i < s->leavers_n; i++) {
        if (hide(s, s->leavers[i])) {
            s->leavers[n++] = s->leavers[i];
        }
    }
    s->leavers_n = 0;
    ds_fence_full(); /* S3 */
    ds_store_mark_pinned(s);
    for (size_t i = 0; i < n; i++) {
        give_up_block(s, s->leavers[i]);
    }
    ds_store_unmark_pinned(s);
    ds_store_memory_news(s);
}

/* --- guests: what belongs on disk and is in memory for its writer or for readers --- */

#define GUESTS_NS INT64_C(100000000)    /* readers do not tell when they are done: as reclaim() */
#define DISK_BAD_NS INT64_C(1000000000) /* after a failed write it is left alone for so long */

void ds_store_guest(struct ds_store *s, uint32_t id)
{
    if (s->config.spill && (s->record[id].kind & DS_KIND_DISK) != 0 &&
        (s->flags[id] & FLAG_GUEST) == 0) {
        ds_list_append(&s->guests, s->guest_link, id);
        s->flags[id] |= FLAG_GUEST;
    }
}

void ds_store_unguest(struct ds_store *s, uint32_t id)
{
    if ((s->flags[id] & FLAG_GUEST) != 0) {
        ds_list_remove(&s->guests, s->guest_link, id);
        s->flags[id] &= (uint16_t)~FLAG_GUEST;
    }
}

/* Not ranked: it is on its way already. */
int ds_store_guest_leave(struct ds_store *s, uint32_t id)
{
    int rc = 0;

    if ((s->flags[id] & FLAG_RANKED) == 0 || (s->flags[id] & (FLAG_BUSY | FLAG_PINNED)) != 0 ||
        ds_store_second_busy(s, id) || ds_store_fresh(s, id)) {
        return 0;
    }
    if (ds_store_copied(s, id)) {
        ds_store_leave(s, id);
    } else {
        rc = ds_store_spill(s, id);
    }
    if (rc == 0) {
        ds_store_unlist(s, id);
    } else if (rc == DS_ENOTSUPPORTED) { /* too large for the disk: stays, as any other */
        ds_store_unguest(s, id);
        rc = 0;
    }
    s->guests_wait = s->guests_wait || rc == DS_EAGAIN;
    return rc;
}

void ds_store_guests_leave(struct ds_store *s)
{
    uint64_t left = ds_min_u64(s->guests.n, DS_STORE_VICTIMS);
    int rc = 0;

    s->guests_wait = false;
    ds_store_mark_pinned(s);
    for (; left > 0 && rc == 0; left--) {
        uint32_t id = s->guests.first;

        ds_list_remove(&s->guests, s->guest_link, id); /* those that stay: the others first */
        ds_list_append(&s->guests, s->guest_link, id);
        rc = ds_store_guest_leave(s, id);
    }
    ds_store_unmark_pinned(s);
    s->guests_next_ns = s->now.boot_ns + (rc == DS_ENOSPACE ? DISK_BAD_NS : GUESTS_NS);
}

/* --- copies that cannot be read --- */

bool ds_store_unreadable(const struct ds_store *s, uint32_t id)
{
    return ds_store_spilled(s, id) && ds_store_place(s, id) == 0;
}

/* The copy on disk cannot be read. What second-level storage has is a miss now; an object that is
 * nowhere else stays, so that its readers are told, until the key is set again. It is counted as
 * lost at once: its end does not count then. */
void ds_store_lose(struct ds_store *s, uint32_t id)
{
    const struct ds_record *r = &s->record[id];

    if (!ds_store_spilled(s, id)) {
        ds_store_forget(s, id, true);
    } else if (ds_store_in_l2(s, id)) {
        ds_store_unpublish(s, id, DS_GONE_LOST);
    } else if (!ds_store_unreadable(s, id)) {
        ds_gone_add(s->gone, ds_store_key_hash(s, ds_store_key(s, id), r->key_size), DS_GONE_LOST,
                    s->now.boot_ns, false);
        ds_store_forget(s, id, true);
        s->stats.losses++;
        s->unreadable++;
    }
}

/* --- answers --- */

/* A write-through value is in L2: a worker that begins with its copy on disk alone asks there
 * before it uses that. */
static enum ds_bury how_to_bury(const struct ds_store *s, bool bury, uint8_t mode)
{
    bool plain = ds_store_plain_mode(mode) || (s->config.l2 && mode == DS_WRITE_THROUGH);

    return !bury ? DS_BURY_NOT : plain ? DS_BURY_PLAIN : DS_BURY_SAFE;
}

static void forget(struct ds_store *s, const uint8_t *key, uint32_t key_size, uint64_t place,
                   uint64_t size, enum ds_bury bury)
{
    s->buried += !s->config.tier->forget(s->config.tier_arg, key, key_size, place, size, bury);
}

void ds_store_forget_copy(struct ds_store *s, const struct ds_tier_op *op, bool bury)
{
    forget(s, op->key, op->key_size, op->place, op->size, how_to_bury(s, bury, op->mode));
}

bool ds_store_op_current(const struct ds_store *s, const struct ds_tier_op *op)
{
    return ds_store_state(s, op->id) == DS_RECORD_LIVE &&
           ds_load_relaxed(&s->record[op->id].gen) == op->gen;
}

static void spilled(struct ds_store *s, const struct ds_tier_op *op)
{
    bool changed = (s->flags[op->id] & FLAG_FAILED) != 0;

    s->leaving -= ds_store_block(op->size);
    s->flags[op->id] &= (uint16_t)~FLAG_FAILED;
    if (op->status != 0) {
        s->stats.tier_errors++;
        ds_store_keep_copies(s);
        s->disk_bad_until_ns = s->now.boot_ns + DISK_BAD_NS;
        if (ds_store_op_current(s, op)) {
            ds_store_rank(s, op->id);
        }
        return;
    }
    if (s->guests_wait) {
        s->guests_next_ns = s->now.boot_ns;
    }
    s->stats.spills++;
    s->stats.spill_written += op->size;
    if (changed && ds_store_op_current(s, op)) {
        ds_store_rank(s, op->id);
        ds_store_second_void(s, op->id);
        ds_store_forget_copy(s, op, true);
        return;
    }
    if (!ds_store_op_current(s, op)) { /* the tier was told: see ds_store_forget() */
        ds_store_forget_copy(s, op, false);
        return;
    }
    set_place(s, op->id, op->place);
    (void)ds_failpoint("spill.placed");
    ds_store_leave(s, op->id);
}

void ds_store_tier_done(struct ds_store *s, struct ds_tier_op *op)
{
    if (op->kind >= DS_TIER_JOURNAL) {
        ds_store_second_done(s, op);
        return;
    }
    DS_ASSERT((s->flags[op->id] & FLAG_BUSY) != 0);
    s->flags[op->id] &= (uint16_t)~FLAG_BUSY;
    if (op->kind == DS_TIER_SPILL) {
        spilled(s, op);
    } else {
        ds_store_fetched(s, op);
    }
    ds_free(op);
    s->examine = true;
    ds_store_memory_news(s); /* who was told to come again, may */
}

/* --- copies that are void --- */

void ds_store_forget(struct ds_store *s, uint32_t id, bool bury)
{
    const struct ds_record *r = &s->record[id];
    uint64_t place = ds_store_place(s, id);
    bool being_written = (s->flags[id] & FLAG_BUSY) != 0 && !ds_store_spilled(s, id);

    if (s->config.tier == NULL || (place == 0 && !(bury && being_written))) {
        return;
    }
    if (bury) {
        ds_store_second_void(s, id);
    }
    forget(s, ds_store_key(s, id), r->key_size, place, r->size, how_to_bury(s, bury, r->mode));
    if (place != 0) {
        set_place(s, id, 0);
    }
}

void ds_store_bury(struct ds_store *s, const void *key, uint32_t key_size)
{
    forget(s, key, key_size, 0, 0, DS_BURY_SAFE);
}

void ds_store_changed(struct ds_store *s, uint32_t id)
{
    if ((s->flags[id] & FLAG_BUSY) != 0) {
        s->flags[id] |= FLAG_FAILED;
    } else {
        ds_store_forget(s, id, true);
    }
}

static uint64_t drop_of(struct ds_store *s, struct ds_list *list, uint16_t flag, uint64_t bytes)
{
    uint64_t freed = 0;
    uint64_t left = DS_STORE_VICTIMS;
    uint32_t next;

    for (uint32_t id = list->first; id != DS_ID_NONE && freed < bytes && left-- > 0; id = next) {
        next = s->link[id].next;
        if (ds_store_droppable(s, id) && (s->flags[id] & FLAG_BUSY) == 0 &&
            !ds_store_second_full(s, id)) {
            freed += s->record[id].size;
            ds_store_unpublish(s, id, DS_GONE_DROPPED);
            if (next != DS_ID_NONE && (s->flags[next] & flag) == 0) {
                next = list->first; /* it ended with this one, which it was nested in */
            }
        }
    }
    return freed;
}

/* First what is only further away then. */
uint64_t ds_store_drop_disk(struct ds_store *s, uint64_t bytes)
{
    uint64_t freed = drop_of(s, &s->spare, FLAG_SPARE, bytes);

    freed += freed < bytes ? drop_of(s, &s->lower, FLAG_LOWER, bytes - freed) : 0;
    s->disk_dropped += freed;
    s->exclusive = ds_min_u64(s->exclusive + freed, s->config.data_size);
    return freed;
}

uint64_t ds_store_disk_dropped(const struct ds_store *s)
{
    return s->disk_dropped;
}

void ds_store_keep_copies(struct ds_store *s)
{
    s->exclusive = 0;
}

void ds_store_set_disk_slack(struct ds_store *s, uint64_t bytes)
{
    s->disk_slack = bytes;
}

void ds_store_mirror(struct ds_store *s, struct session *x)
{
    uint64_t to = ds_load_relaxed(&x->state->applied);
    unsigned met = 0;

    while (met < x->hold_n && x->hold[met].buried <= s->buried_done) {
        met++;
    }
    x->hold_n -= met;
    memmove(x->hold, x->hold + met, x->hold_n * sizeof(x->hold[0]));
    ds_store_release(&x->header->applied, x->hold_n > 0 ? x->hold[0].position : to);
}

void ds_store_buried(struct ds_store *s, uint64_t total)
{
    if (total <= s->buried_done) {
        return;
    }
    s->buried_done = total;
    s->examine = true;
    for (uint32_t i = 0; i < s->n_active; i++) {
        if (s->active[i]->hold_n > 0) {
            ds_store_mirror(s, s->active[i]);
            s->mirrored = true;
        }
    }
}

/* --- the directory tells --- */

static uint32_t placed(struct ds_store *s, const void *key, size_t key_size, uint64_t place)
{
    uint64_t hash = ds_store_key_hash(s, key, key_size);
    uint32_t id = ds_store_lookup(s, hash, &s->objects, key, key_size, DS_ID_NONE);

    return id != DS_ID_NONE && ds_store_place(s, id) == place ? id : DS_ID_NONE;
}

bool ds_store_has_place(struct ds_store *s, const void *key, size_t key_size, uint64_t place,
                        bool *ret_dirty)
{
    uint32_t id = placed(s, key, key_size, place);

    *ret_dirty = id != DS_ID_NONE && ds_store_dirty(s, id);
    return id != DS_ID_NONE;
}

void ds_store_tier_news(struct ds_store *s)
{
    s->examine = true;
    ds_store_memory_news(s);
}

void ds_store_lost(struct ds_store *s, const void *key, size_t key_size, uint64_t place)
{
    uint32_t id = placed(s, key, key_size, place);

    if (id != DS_ID_NONE) {
        ds_store_lose(s, id);
        s->examine = true;
    }
}

bool ds_store_moved(struct ds_store *s, const void *key, size_t key_size, uint64_t from,
                    uint64_t to, bool *ret_dirty)
{
    uint32_t id = placed(s, key, key_size, from);

    *ret_dirty = id != DS_ID_NONE && ds_store_dirty(s, id);
    if (id != DS_ID_NONE) {
        set_place(s, id, to);
    }
    return id != DS_ID_NONE;
}

/* As ds_store_lose(), of a copy that the tier does not have: there is nothing to bury. */
static void place_is_gone(struct ds_store *s, uint32_t id)
{
    const uint8_t *key = ds_store_key(s, id);

    set_place(s, id, 0);
    if (!ds_store_spilled(s, id)) {
        return;
    }
    s->stats.losses++;
    s->unreadable++;
    if (ds_store_in_l2(s, id)) {
        ds_store_unpublish(s, id, DS_GONE_LOST);
    } else {
        ds_gone_add(s->gone, ds_store_key_hash(s, key, s->record[id].key_size), DS_GONE_LOST,
                    s->now.boot_ns, false);
    }
}

void ds_store_places(struct ds_store *s,
                     bool (*there)(void *arg, uint64_t place, uint64_t size, size_t key_size),
                     void *arg)
{
    uint64_t used = ds_load_relaxed(&s->state->records_used);

    for (uint32_t id = 0; id < used; id++) {
        if (ds_store_state(s, id) == DS_RECORD_LIVE && ds_store_place(s, id) != 0 &&
            !there(arg, ds_store_place(s, id), s->record[id].size, s->record[id].key_size)) {
            place_is_gone(s, id);
        }
    }
}

void ds_store_without_disk(struct ds_store *s)
{
    s->disk_away = true;
    while (s->spare.first != DS_ID_NONE) { /* L2 has these */
        place_is_gone(s, s->spare.first);
    }
}

int ds_store_enter_spilled(struct ds_store *s, const struct ds_store_found *f)
{
    uint32_t id;
    int rc;

    if (f->key_size < 1 || f->key_size > DS_KEY_SIZE_MAX || f->size > s->config.data_size ||
        ds_store_find_any(s, f->key, f->key_size) != DS_ID_NONE) {
        return DS_EINVAL;
    }
    rc = ds_store_record_found(s, f, 0, &id);
    if (rc != 0) {
        return rc;
    }
    rc = ds_store_need_place(s, id);
    if (rc != 0) {
        ds_store_record_free(s, id);
        return rc;
    }
    ds_store_set_order(s, id, f->version);
    set_place(s, id, f->place);
    ds_store_release(&s->record[id].word, ds_store_found_word(f) | DS_WORD_SPILLED);
    ds_store_enter_found(s, id, f);
    s->flags[id] = 0;
    ds_store_enter_lower(s, id);
    ds_store_renew_expiry(s, id);
    ds_store_upload_found(s, id);
    (void)ds_failpoint("spill.entered");
    return 0;
}
