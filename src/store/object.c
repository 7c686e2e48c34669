/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.c - objects come and go.
 *
 *            ds_store_grant          ds_store_publish         ds_store_unpublish ds_store_reclaim
 *   FREE ---------------> GRANTED -------------> LIVE ----------------> DOOMED ------------> FREE
 *            ds_store_grant_drop: GRANTED -> FREE
 *
 * The order of stores in publish (P1 to P7) and unpublish (U1 to U6) is that of
 * docs/concurrency.md; every prefix of it is a legal state for recover.c.
 *
 * Order of eviction: a settled object that may be evicted is in s->policy; no other is.
 * While unsettled it stands in `newer` (published in this pass) or `earlier`.
 */
#include "base/alloc.h"
#include "base/failpoint.h"
#include "store/internal.h"

static bool may_drop(const struct ds_store *s, uint8_t mode, bool in_l2)
{
    return mode == DS_WRITE_NONE_EVICT || (mode == DS_WRITE_NONE && s->config.drop_none) || in_l2;
}

bool ds_store_droppable(const struct ds_store *s, uint32_t id)
{
    return may_drop(s, s->record[id].mode, ds_store_in_l2(s, id));
}

bool ds_store_found_droppable(const struct ds_store *s, const struct ds_store_found *f)
{
    return may_drop(s, f->mode, ds_store_mode_in_l2(f->mode, f->uploaded));
}

bool ds_store_found_in_l2(const struct ds_store *s, const struct ds_store_found *f)
{
    return s->config.l2 && ds_store_mode_in_l2(f->mode, f->uploaded);
}

bool ds_store_rankable(const struct ds_store *s, uint32_t id)
{
    return s->config.spill || ds_store_droppable(s, id) || ds_store_copied(s, id);
}

void ds_store_rank(struct ds_store *s, uint32_t id)
{
    ds_store_guest(s, id);
    if (ds_store_rankable(s, id)) {
        struct ds_desc *d = &s->index.desc[id];

        ds_policy_insert(s->policy, id);
        s->flags[id] |= FLAG_RANKED;
        ds_store_release(&d->meta, ds_load_relaxed(&d->meta) | DS_META_RANKED);
    }
}

void ds_store_touch(struct ds_store *s, uint32_t id)
{
    s->flags[id] |= FLAG_READ;
    if ((s->flags[id] & FLAG_RANKED) != 0) {
        ds_policy_touch(s->policy, id);
    }
}

void ds_store_unlist(struct ds_store *s, uint32_t id)
{
    if ((s->flags[id] & FLAG_RANKED) != 0) {
        ds_policy_remove(s->policy, id);
    } else if ((s->flags[id] & (FLAG_LOWER | FLAG_SPARE)) != 0) {
        ds_list_remove((s->flags[id] & FLAG_LOWER) != 0 ? &s->lower : &s->spare, s->link, id);
        s->stats.spilled_objects--;
        s->stats.spilled_bytes -= s->record[id].size;
    } else if ((s->flags[id] & FLAG_EARLIER) != 0) {
        ds_list_remove(&s->earlier, s->link, id);
    } else if ((s->flags[id] & FLAG_NEWER) != 0) {
        ds_list_remove(&s->newer, s->link, id);
    }
    ds_store_unguest(s, id);
    ds_store_unstall(s, id);
    s->flags[id] &= (uint16_t) ~(FLAG_RANKED | FLAG_LOWER | FLAG_SPARE | FLAG_EARLIER | FLAG_NEWER);
}

/* A grant guarantees that its set cannot fail later: room for the longest key as well. */
static int key_room(struct ds_store *s)
{
    struct ds_arena_stats st;
    uint64_t want = (s->n_grants + 64) * DS_KEY_SIZE_MAX;

    ds_arena_stats(s->keys, &st);
    if (st.usable - st.used >= want) {
        return 0;
    }
    return ds_store_need_keys(s, st.used + 2 * want);
}

/* Part of the segment has no pages behind it yet: those come before anybody's objects go. */
static bool more_is_coming(struct ds_store *s, uint64_t bytes)
{
    return s->usable < s->config.data_size && s->config.more_memory != NULL &&
           s->config.more_memory(s->config.more_memory_arg, bytes);
}

int ds_store_block_alloc(struct ds_store *s, uint64_t size, uint64_t *ret_offset)
{
    int rc = ds_arena_alloc(s->data, size, ret_offset);
    enum ds_room room = DS_ROOM_MADE;

    if (rc == DS_ENOMEM && more_is_coming(s, size)) {
        return DS_EAGAIN;
    }
    while (rc == DS_ENOMEM && room == DS_ROOM_MADE) {
        room = ds_store_make_room(s, size);
        if (room == DS_ROOM_MADE) {
            rc = ds_arena_alloc(s->data, size, ret_offset);
        }
    }
    return rc == DS_ENOMEM && room == DS_ROOM_COMING ? DS_EAGAIN : rc;
}

/* With memory and disk both full, nothing could be read back any more. One block is enough: what
 * was read back still has its copy on disk, and can leave again for the next one. When the disk
 * gets full there is still room, since background eviction begins before memory is full. */
static bool kept_for_reading(const struct ds_store *s)
{
    struct ds_arena_stats st;

    if (!s->disk_tight || s->lower.n + s->spare.n == 0) {
        return false;
    }
    ds_arena_stats(s->data, &st);
    return st.largest_free < ds_min_u64(s->lower_max, s->config.data_size / 8);
}

static int block_for_writing(struct ds_store *s, uint64_t capacity, uint64_t *ret_offset)
{
    enum ds_room room = DS_ROOM_MADE;
    uint64_t offset;
    int rc;

    while (room == DS_ROOM_MADE) {
        rc = ds_store_block_alloc(s, capacity, &offset);
        if (rc != 0) {
            return rc;
        }
        if (!kept_for_reading(s)) {
            *ret_offset = offset;
            return 0;
        }
        ds_arena_free(s->data, offset, capacity);
        room = ds_store_make_room(s, s->lower_max);
    }
    return room == DS_ROOM_COMING ? DS_EAGAIN : DS_ENOMEM;
}

int ds_store_grant(struct ds_store *s, struct session *by, uint64_t size, uint64_t origin,
                   uint32_t *ret)
{
    uint64_t capacity;
    struct ds_record *r;
    uint64_t offset;
    uint32_t id;
    int rc;

    if (size > s->config.data_size) {
        return DS_ENOMEM;
    }
    capacity = ds_store_block(size);
    rc = key_room(s);
    if (rc == 0) {
        rc = ds_store_record_alloc(s, &id);
    }
    if (rc != 0) {
        return rc;
    }
    rc = block_for_writing(s, capacity, &offset);
    if (rc != 0) {
        ds_store_record_free(s, id);
        return rc;
    }
    r = &s->record[id];
    r->offset = offset;
    r->size = capacity;
    r->version = 0;
    r->origin = origin;
    r->key_size = 0;
    r->mode = 0;
    r->kind = 0;
    ds_store_release(&r->word, DS_RECORD_GRANTED);
    ds_list_append(&by->grants, s->link, id);
    s->stats.memory_granted += capacity;
    s->n_grants++;
    *ret = id;
    return 0;
}

static void grant_used(struct ds_store *s, struct session *by, uint32_t id, uint64_t capacity)
{
    ds_list_remove(&by->grants, s->link, id);
    s->stats.memory_granted -= capacity;
    s->n_grants--;
}

/* A pin may name the grant already (a buffer that is being published): then it waits as doomed. */
static void release_block(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];

    ds_store_release(&r->word, DS_RECORD_DOOMED);
    ds_list_append(&s->doomed, s->link, id);
    s->stats.memory_doomed += ds_store_block(r->size);
}

void ds_store_grant_drop(struct ds_store *s, struct session *by, uint32_t id)
{
    grant_used(s, by, id, s->record[id].size);
    release_block(s, id);
}

bool ds_store_lent(const struct ds_store *s, const struct session *by, uint32_t id)
{
    return id < ds_load_relaxed(&s->state->records_used) &&
           ds_store_state(s, id) == DS_RECORD_GRANTED && (s->flags[id] & FLAG_BUSY) == 0 &&
           DS_ORIGIN_SESSION(s->record[id].origin) == by->number;
}

bool ds_store_set_valid(const struct ds_store *s, const struct session *by,
                        const struct ds_store_set *set)
{
    return ds_store_lent(s, by, set->id) && set->key_size >= 1 &&
           set->key_size <= DS_KEY_SIZE_MAX && set->value_size <= s->record[set->id].size &&
           ds_store_block(set->value_size) == s->record[set->id].size &&
           set->mode <= DS_WRITE_BACK_EVICT;
}

/* P5, P6: the descriptor follows the record. */
void ds_store_project(struct ds_store *s, uint32_t id, bool settled)
{
    const struct ds_record *r = &s->record[id];
    struct ds_desc *d = &s->index.desc[id];
    uint64_t meta = r->key_size;

    meta |= settled ? DS_META_SETTLED : 0;
    meta |= (ds_load_relaxed(&r->word) & DS_WORD_SEALED) != 0 ? DS_META_SEALED : 0;
    meta |= (r->kind & DS_KIND_OBJECT) != 0 ? DS_META_OBJECT : 0;
    meta |= ds_store_rankable(s, id) ? DS_META_RANKED : 0;
    ds_store_relaxed(&d->offset, r->offset);
    ds_store_relaxed(&d->size, r->size);
    ds_store_relaxed(&d->expiry_ns, ds_load_relaxed(&r->expiry_ns));
    ds_store_release(&d->meta, meta);
    ds_store_release(&d->gen, ds_load_relaxed(&r->gen)); /* P6: pairs with ds_index_load() */
}

static bool expiry_holds(void *arg, const struct ds_heap_item *e)
{
    const struct ds_store *s = arg;
    const struct ds_record *r = &s->record[e->id];

    return DS_WORD_STATE(ds_load_relaxed(&r->word)) == DS_RECORD_LIVE &&
           ds_load_relaxed(&r->gen) == e->tag && ds_load_relaxed(&r->expiry_ns) == e->time;
}

/* Readers check the expiry themselves, so without memory for the entry the object only takes up
 * room until somebody looks for it. Entries of what was replaced or deleted go when there are as
 * many of them as of others: a key that is set again and again with a long time to live has one
 * each time. */
int64_t ds_store_expire_in(struct ds_store *s, uint32_t id, uint64_t ttl_ms)
{
    int64_t at;

    if (ttl_ms == 0) {
        return 0;
    }
    if (s->expiry.n >= 1024 && s->expiry.n >= 2 * s->expiry_kept) {
        ds_heap_filter(&s->expiry, expiry_holds, s);
        s->expiry_kept = s->expiry.n;
    }
    at = s->now.boot_ns + (int64_t)ds_min_u64(ttl_ms, UINT64_C(1) << 42) * 1000000;
    (void)!ds_heap_push(&s->expiry, at, id, ds_load_relaxed(&s->record[id].gen));
    return at;
}

static bool older(const struct ds_store *s, const struct ds_store_set *set, uint32_t old)
{
    const struct ds_record *r = &s->record[old];

    return !ds_store_over(s, old) &&
           (set->version < r->version ||
            (set->version == r->version &&
             DS_ORIGIN_SESSION(set->origin) < DS_ORIGIN_SESSION(r->origin)));
}

/* P3: the record, in full, while it is still GRANTED. After a kill the newer one of both counts. */
static void fill_record(struct ds_store *s, const struct ds_store_set *set, uint32_t old)
{
    struct ds_record *r = &s->record[set->id];

    r->size = set->value_size;
    r->version = old == DS_ID_NONE || !ds_store_over(s, old)
                     ? set->version
                     : ds_max_u64(set->version, s->record[old].version + 1);
    r->origin = set->origin;
    r->mode = set->mode;
    r->kind = set->kind & DS_KIND_KEPT;
    ds_store_relaxed(&r->gen, ds_load_relaxed(&r->gen) + 1); /* odd now */
    DS_ASSERT((ds_load_relaxed(&r->gen) & 1) != 0);
    ds_store_relaxed(&r->expiry_ns, ds_store_expire_in(s, set->id, set->ttl_ms));
    r->check = ds_store_check_of(s, set->id);
}

/* Lets the children of a doomed object go, and theirs. Not by recursion: clients choose the depth.
 * Children that go in here are doomed behind `id` in the list, where the walk finds them. */
static void unnest(struct ds_store *s, uint32_t id)
{
    if (s->unnesting || (s->flags[id] & FLAG_NESTS) == 0) {
        return;
    }
    s->unnesting = true;
    for (; id != DS_ID_NONE; id = s->link[id].next) {
        if ((s->flags[id] & FLAG_NESTS) != 0) {
            s->flags[id] &= (uint16_t)~FLAG_NESTS;
            ds_store_unnest(s, id);
        }
    }
    s->unnesting = false;
}

/* A copy on disk carries the same expiry: it need not be buried. With a journal, which only what L2
 * gets goes to, there may be a newer copy beside it, of a set that a kill cut short. */
static bool over(const struct ds_store *s, uint32_t id)
{
    return !(s->config.journal && s->config.l2) && ds_store_over(s, id);
}

static void end_object(struct ds_store *s, uint32_t id, enum ds_gone why, bool shows, bool bury)
{
    struct ds_record *r = &s->record[id];
    const uint8_t *key = ds_store_key(s, id);
    uint64_t hash = ds_store_key_hash(s, key, r->key_size);
    uint64_t capacity = ds_store_holds(s, id);
    uint64_t gen = ds_load_relaxed(&r->gen);
    uint64_t where = ds_store_where(s, id);

    DS_ASSERT(ds_store_state(s, id) == DS_RECORD_LIVE && key != NULL);
    ds_store_note_end(s, id, hash, why, shows);
    ds_store_release(&r->word,
                     DS_RECORD_DOOMED | where); /* U1 first: a kill must not bring it back */
    (void)ds_failpoint("unpublish.doomed");
    ds_index_remove(&s->index, ds_index_hash(&s->index, key, r->key_size), id); /* U2 */
    ds_store_release(&s->index.desc[id].gen, gen + (gen & 1));                  /* U3 */
    ds_store_forget(s, id, bury && !over(s, id));
    ds_table_remove(&s->objects, hash, id);
    ds_store_unlist(s, id);
    ds_store_upload_end(s, id);
    ds_list_append(&s->doomed, s->link, id);
    s->stats.memory_live -= capacity;
    s->stats.memory_doomed += capacity;
    s->stats.objects--;
    ds_store_unlatch_all(s, id);
    unnest(s, id);
}

void ds_store_unpublish(struct ds_store *s, uint32_t id, enum ds_gone why)
{
    uint64_t hash = ds_store_key_hash(s, ds_store_key(s, id), s->record[id].key_size);
    bool shows = why != DS_GONE_DELETED && /* a delete has reached L2 already */
                 ds_store_second_hides(s, id);
    bool left = shows && !ds_store_second_drop(s, id);

    end_object(s, id, why, shows, true);
    if (left) {
        ds_gone_add(s->gone, hash, DS_GONE_L2, s->now.boot_ns, true);
    }
}

void ds_store_publish(struct ds_store *s, struct session *by, const struct ds_store_set *set)
{
    uint64_t hash = ds_store_key_hash(s, set->key, set->key_size);
    uint64_t shared_hash = ds_index_hash(&s->index, set->key, set->key_size);
    uint64_t capacity = s->record[set->id].size;
    uint32_t old = ds_store_find_any(s, set->key, set->key_size);
    uint16_t unsettled = FLAG_NEWER;
    uint64_t word = DS_RECORD_LIVE;

    if ((old != DS_ID_NONE && older(s, set, old)) ||
        ds_store_write_key(s, set->id, set->key, set->key_size) != 0) {
        ds_store_grant_drop(s, by, set->id);
        return;
    }
    (void)ds_failpoint("publish.before_record");
    grant_used(s, by, set->id, capacity);
    fill_record(s, set, old);
    word |= (set->kind & DS_KIND_SEALED) != 0 ? DS_WORD_SEALED : 0;
    (void)ds_failpoint("publish.filled");
    ds_store_release(&s->record[set->id].word, word); /* P4: from here on it survives a kill */
    (void)ds_failpoint("publish.live");
    if (old != DS_ID_NONE && !ds_store_over(s, old) && ds_index_has(&s->index, shared_hash, old)) {
        unsettled = s->flags[old] & (FLAG_EARLIER | FLAG_NEWER); /* never absent: as the old one */
    }
    ds_store_project(s, set->id, unsettled == 0);
    (void)ds_failpoint("publish.before_bucket");
    ds_index_put(&s->index, shared_hash, set->id, old); /* P7 */
    if (old != DS_ID_NONE) { /* a newer copy on disk need not be told apart from the old one */
        end_object(s, old, DS_GONE_NOT, false, ds_store_place(s, set->id) == 0);
    }
    ds_table_insert(&s->objects, hash, set->id);
    s->flags[set->id] = unsettled;
    if (unsettled == FLAG_NEWER) {
        ds_list_append(&s->newer, s->link, set->id);
    } else if (unsettled == FLAG_EARLIER) {
        ds_list_append(&s->earlier, s->link, set->id);
    } else {
        ds_store_rank(s, set->id);
    }
    s->stats.memory_live += capacity;
    s->stats.objects++;
    s->stats.sets++;
}

static void leave_order(struct ds_store *s, uint32_t id)
{
    ds_policy_evict(s->policy, id);
    s->flags[id] &= (uint16_t)~FLAG_RANKED;
}

#define STUCK_NS INT64_C(10000000) /* all were looked at, none could go: not again before */

struct room {
    uint64_t coming; /* bytes whose objects are on their way to disk */
    bool tier_busy;
    bool disk_full;
    bool fresh; /* something may go in a moment */
};

#define DROP_NS INT64_C(2000000000) /* what was dropped has become room by then, or never will */

/* The disk is full: what may be dropped there makes room, in time. As long as that is likely to
 * come, DS_EAGAIN. A large object needs more of it at once than the others. */
static int spill_instead(struct ds_store *s, uint32_t id, uint64_t block)
{
    uint64_t slack = ds_max_u64(s->disk_slack, block * 4);
    uint64_t freed;
    bool coming;
    int rc;

    if (ds_store_disk_bad(s)) {
        return DS_ENOSPACE; /* it is not full: what it has stays */
    }
    freed = s->lower_freed <= slack ? ds_store_drop_disk(s, block) : 0;
    s->lower_freed += freed;
    s->lower_freed_ns = freed > 0 ? s->now.boot_ns : s->lower_freed_ns;
    coming = s->lower_freed > 0 && s->lower_freed <= slack &&
             s->now.boot_ns < s->lower_freed_ns + DROP_NS;
    rc = ds_store_spill(s, id);
    s->disk_tight = rc == DS_ENOSPACE;
    return rc == DS_ENOSPACE && coming ? DS_EAGAIN : rc;
}

/* Admission to the disk. What nobody has read since it was set is likely not to be read again: it
 * is not worth a write, if it may be dropped at all. */
static bool turned_away(const struct ds_store *s, uint32_t id)
{
    return s->config.spill && s->config.spill_second && (s->flags[id] & FLAG_READ) == 0 &&
           (s->record[id].kind & DS_KIND_DISK) == 0 && ds_store_droppable(s, id);
}

static void count_refusal(struct ds_store *s, uint32_t id)
{
    if (turned_away(s, id)) {
        s->stats.spill_refusals++;
        s->stats.spill_refused += s->record[id].size;
    }
}

/* What is on disk already goes at once; what is not is written there first; without a disk, or when
 * that is full, what may be dropped is. Bytes that will be free, 0: it cannot leave now. */
static uint64_t leave_memory(struct ds_store *s, uint32_t id, struct room *room)
{
    uint64_t block = ds_store_block(s->record[id].size);
    int rc;

    if ((s->flags[id] & FLAG_BUSY) != 0 || ds_store_second_busy(s, id)) {
        room->fresh = true; /* when that work is done */
        ds_policy_skip(s->policy, id);
        return 0;
    }
    if (ds_store_fresh(s, id)) {
        room->fresh = true;
        ds_policy_skip(s->policy, id);
        return 0;
    }
    if (ds_store_copied(s, id)) {
        leave_order(s, id);
        ds_store_leave(s, id);
        return block;
    }
    rc = turned_away(s, id) ? DS_ENOTSUPPORTED
         : room->disk_full  ? DS_ENOSPACE
                            : ds_store_spill(s, id);
    if (rc == DS_ENOSPACE && !room->disk_full) {
        rc = spill_instead(s, id, block);
    }
    if (rc == 0) {
        s->lower_freed = 0;
        s->disk_tight = false;
        leave_order(s, id);
        room->coming += block;
    } else if (rc == DS_EAGAIN) { /* something will come of what it has in hand */
        room->tier_busy = true;
    } else if (ds_store_second_full(s, id)) {
        room->fresh = true;
        ds_policy_skip(s->policy, id);
    } else if (ds_store_droppable(s, id)) {
        count_refusal(s, id);
        leave_order(s, id);
        ds_store_unpublish(s, id, DS_GONE_EVICTED);
        return block;
    } else {
        room->disk_full = room->disk_full || rc == DS_ENOSPACE;
        ds_policy_skip(s->policy, id);
    }
    return 0;
}

/* L5: what was in the index before this pass read the first ring is open to readers now. */
void ds_store_settle(struct ds_store *s)
{
    while (s->earlier.first != DS_ID_NONE) {
        uint32_t id = s->earlier.first;
        struct ds_desc *d = &s->index.desc[id];
        uint64_t hash;

        ds_store_unlist(s, id);
        ds_store_release(&d->meta, ds_load_relaxed(&d->meta) | DS_META_SETTLED);
        ds_store_rank(s, id);
        if ((s->flags[id] & FLAG_GUEST) != 0) {
            (void)!ds_store_guest_leave(s, id);
        }
        hash = s->objects.slot[id].hash;
        if ((s->wait_filter[hash >> 6 & 63] >> (hash & 63) & 1) != 0) {
            s->examine = true;
        }
    }
    while (s->newer.first != DS_ID_NONE) {
        uint32_t id = s->newer.first;

        ds_store_unlist(s, id);
        s->flags[id] |= FLAG_EARLIER;
        ds_list_append(&s->earlier, s->link, id);
    }
}

static void mark_pinned(struct ds_store *s, uint32_t id)
{
    if ((s->flags[id] & FLAG_PINNED) != 0) {
        return;
    }
    s->flags[id] |= FLAG_PINNED;
    if (s->marked_n == s->marked_room) {
        size_t room = s->marked_room != 0 ? s->marked_room * 2 : 64;
        uint32_t *grown = ds_realloc_array(s->marked, room, sizeof(*grown), "marked");

        if (grown == NULL) {
            return; /* the mark stays until somebody meets it */
        }
        s->marked = grown;
        s->marked_room = room;
    }
    s->marked[s->marked_n++] = id;
}

/* U5: marks what the pin slots of all sessions name, also those of dead processes not yet ended. */
void ds_store_mark_pinned(struct ds_store *s)
{
    for (uint32_t i = 0; i < s->n_active; i++) {
        const struct session *x = s->active[i];
        uint64_t n = ds_min_u64(ds_load_acquire(&x->header->pins_used), x->pins_ready / 4);

        for (uint64_t k = 0; k < n; k++) {
            uint32_t id = ds_load_acquire(&x->pin[k]); /* pairs with the unpin's release, R7 */

            if (id != 0 && id <= ds_load_relaxed(&s->state->records_used)) {
                mark_pinned(s, id - 1);
            }
        }
    }
}

/* Those and no others: the slots name something else by now, and an object whose mark stayed would
 * be passed over as long as it lives. */
void ds_store_unmark_pinned(struct ds_store *s)
{
    while (s->marked_n > 0) {
        s->flags[s->marked[--s->marked_n]] &= (uint16_t)~FLAG_PINNED;
    }
}

/* U6 */
static void free_doomed(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    uint64_t gen = ds_load_relaxed(&r->gen);
    uint64_t capacity = ds_store_holds(s, id);

    ds_list_remove(&s->doomed, s->link, id);
    s->stats.memory_doomed -= capacity;
    ds_store_relaxed(&r->gen, gen + (gen & 1)); /* even, as the index already says */
    if (capacity > 0) {
        ds_arena_free(s->data, r->offset, capacity);
    }
    ds_store_record_free(s, id);
}

void ds_store_reclaim(struct ds_store *s)
{
    uint32_t next;

    if (s->doomed.n + s->stalled.n == 0) {
        return;
    }
    ds_fence_full(); /* U4: the even generations are visible before the slots are read */
    for (uint32_t id = s->doomed.first; id != DS_ID_NONE; id = s->link[id].next) {
        s->flags[id] &= (uint16_t)~FLAG_PINNED;
    }
    for (uint32_t id = s->stalled.first; id != DS_ID_NONE; id = s->guest_link[id].next) {
        s->flags[id] &= (uint16_t)~FLAG_PINNED;
    }
    ds_store_mark_pinned(s);
    (void)ds_failpoint("reclaim.marked");
    for (uint32_t id = s->doomed.first; id != DS_ID_NONE; id = next) {
        next = s->link[id].next;
        if ((s->flags[id] & (FLAG_PINNED | FLAG_BUSY)) == 0) {
            free_doomed(s, id);
        }
    }
    ds_store_let_stalled_go(s);
    ds_store_unmark_pinned(s);
}

enum ds_room ds_store_make_room(struct ds_store *s, uint64_t bytes)
{
    uint64_t freed = 0;
    struct room room = {.coming = s->leaving};
    uint64_t unused = s->doomed.n + s->stalled.n;

    s->search_left = false;
    if (unused > 0) { /* what nobody reads any more comes before what somebody may still want */
        ds_store_reclaim(s);
        if (s->doomed.n + s->stalled.n < unused) {
            return DS_ROOM_MADE;
        }
    }
    if (s->leavers_n > 0) {
        ds_store_demote(s);
        return DS_ROOM_MADE;
    }
    if (s->looked >= ds_policy_count(s->policy) && s->looked > DS_STORE_VICTIMS) {
        if (s->now.boot_ns < s->stuck_until_ns) {
            return s->leaving > 0 ? DS_ROOM_COMING : DS_ROOM_NONE;
        }
        s->looked = 0;
    }
    ds_store_drain_logs(s);
    ds_fence_full();
    ds_store_mark_pinned(s);
    for (uint64_t left = ds_min_u64(ds_policy_count(s->policy), DS_STORE_VICTIMS);
         freed + room.coming < bytes && left > 0 && !room.tier_busy; left--) {
        uint32_t victim = ds_policy_victim(s->policy);

        if ((s->flags[victim] & FLAG_PINNED) != 0) { /* its end would free nothing */
            s->flags[victim] &= (uint16_t)~FLAG_PINNED;
            ds_policy_skip(s->policy, victim);
            s->looked++;
            continue;
        }
        s->looked++;
        freed += leave_memory(s, victim, &room);
    }
    ds_store_unmark_pinned(s);
    ds_store_demote(s);
    ds_store_reclaim(s);
    if (freed > 0 || room.coming > 0) {
        s->looked = 0;
    }
    if (freed > 0) {
        return DS_ROOM_MADE;
    }
    if (room.coming > 0 || room.tier_busy || room.fresh) {
        return DS_ROOM_COMING;
    }
    s->search_left = s->looked < ds_policy_count(s->policy);
    s->stuck_until_ns = s->now.boot_ns + (s->search_left ? 0 : STUCK_NS);
    return s->search_left ? DS_ROOM_COMING : DS_ROOM_NONE;
}

void ds_store_expire(struct ds_store *s)
{
    struct ds_heap_item due;

    while (ds_heap_pop_due(&s->expiry, s->now.boot_ns, &due)) {
        if (expiry_holds(s, &due)) {
            if (!ds_store_end_if_over(s, (uint32_t)due.id)) {
                ds_store_upload_over(s, (uint32_t)due.id);
            }
        }
    }
}

/* One entry of each session at a time, the oldest first, so that the order over all sessions is
 * that of the reads. */
static bool log_front(struct session *x, uint64_t *ticks, uint64_t *what)
{
    uint64_t head = ds_load_acquire(&x->header->log_head);
    const struct ds_log_entry *e;

    if (head - x->log_seen > DS_LOG_ENTRIES) { /* overwritten, or nonsense */
        x->log_seen = head - DS_LOG_ENTRIES / 2;
    }
    if (x->log_seen == head) {
        return false;
    }
    e = &x->log[x->log_seen % DS_LOG_ENTRIES];
    *ticks = ds_load_relaxed(&e->ticks);
    *what = ds_load_relaxed(&e->what);
    return true;
}

void ds_store_drain_logs(struct ds_store *s)
{
    for (unsigned budget = 4 * DS_LOG_ENTRIES; budget > 0; budget--) {
        struct session *first = NULL;
        uint64_t first_ticks = 0;
        uint64_t first_what = 0;

        for (uint32_t i = 0; i < s->n_active; i++) {
            uint64_t ticks;
            uint64_t what;

            if (log_front(s->active[i], &ticks, &what) && (first == NULL || ticks < first_ticks)) {
                first = s->active[i];
                first_ticks = ticks;
                first_what = what;
            }
        }
        if (first == NULL) {
            return;
        }
        first->log_seen++;
        if ((uint32_t)first_what < ds_load_relaxed(&s->state->records_used)) {
            uint32_t id = (uint32_t)first_what;

            if ((uint32_t)ds_load_relaxed(&s->record[id].gen) == first_what >> 32) {
                ds_store_touch(s, id);
            }
        }
    }
}
