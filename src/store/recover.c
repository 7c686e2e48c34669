/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.c - a store from what a killed worker left in its state segment.
 *
 *   1. Every record is looked at once: bounds, check, generation. A block that two records claim,
 * or a record that does not verify, is left out and counted; nothing else can be told about it.
 *   2. Of two live records of one key the newer one stays (a kill between P4 and U1 of an
 * overwrite).
 *   3. The index is made to follow, in place: readers go on meanwhile. An entry that nobody owns
 *      goes; a missing one comes; generations never go back.
 *   4. Pins are left alone and honoured: doomed records stay doomed until a reclaim finds no pin.
 *   5. All objects are unsettled until a full pass over the rings has been made; what the passes
 *      find in rings and request slots is applied as ever.
 */
#include "base/failpoint.h"
#include "store/internal.h"

#define PROGRESS_RECORDS 16384 /* between two words of progress: some milliseconds */

static bool sound(const struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];

    /* A kill between F1 and F4 of fetch.c: the block was not its own yet, the rest never changed.
     */
    if (ds_load_relaxed(&s->state->moving) == id + UINT64_C(1) && ds_store_spilled(s, id)) {
        r->check = ds_store_check_of(s, id);
    }

    return r->key_size <= DS_KEY_SIZE_MAX && (r->key_size == 0 || ds_store_key(s, id) != NULL) &&
           r->check == ds_store_check_of(s, id);
}

static void leave_out(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    uint64_t gen = ds_load_relaxed(&r->gen);

    s->lost_records++;
    ds_store_release(&r->word, DS_RECORD_FREE);
    ds_store_relaxed(&r->gen, gen + (gen & 1));
    r->key_size = 0;
}

static void note_lost(struct ds_store *s, uint32_t id)
{
    const struct ds_record *r = &s->record[id];

    if (ds_store_state(s, id) == DS_RECORD_LIVE) {
        ds_gone_add(s->gone, ds_store_key_hash(s, ds_store_key(s, id), r->key_size), DS_GONE_LOST,
                    s->now.boot_ns, false);
    }
}

static bool claim_key(struct ds_store *s, uint32_t id)
{
    uint32_t key_size = s->record[id].key_size;

    return key_size <= DS_KEY_INLINE ||
           ds_arena_claim(s->keys, ds_index_key_block(&s->index, id), key_size) == 0;
}

static bool claim_block(struct ds_store *s, uint32_t id)
{
    const struct ds_record *r = &s->record[id];

    if (ds_store_holds(s, id) == 0) {
        return true;
    }
    return r->size <= s->config.data_size &&
           ds_arena_claim(s->data, r->offset, ds_max_u64(r->size, 1)) == 0;
}

/* Newer by ticket, then by session: as ds_store_publish() decides. */
static bool newer_than(const struct ds_record *a, const struct ds_record *b)
{
    return a->version > b->version || (a->version == b->version &&
                                       DS_ORIGIN_SESSION(a->origin) > DS_ORIGIN_SESSION(b->origin));
}

static void doom(struct ds_store *s, uint32_t id)
{
    uint64_t where = ds_store_where(s, id);

    ds_store_release(&s->record[id].word, DS_RECORD_DOOMED | where);
    ds_list_append(&s->doomed, s->link, id);
    s->stats.memory_doomed += ds_store_holds(s, id);
}

/* Its bytes are on a disk that this worker was not given. */
static void lose(struct ds_store *s, uint32_t id)
{
    note_lost(s, id);
    if (ds_store_holds(s, id) == 0) {
        leave_out(s, id);
    } else { /* somebody may be reading what had arrived */
        s->lost_records++;
        doom(s, id);
    }
}

static void enter_live(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    const uint8_t *key = ds_store_key(s, id);
    uint64_t hash = ds_store_key_hash(s, key, r->key_size);
    uint32_t other = ds_store_lookup(s, hash, &s->objects, key, r->key_size, DS_ID_NONE);
    int64_t expiry = ds_load_relaxed(&r->expiry_ns);
    uint64_t capacity = ds_store_holds(s, id);

    if (other != DS_ID_NONE) {
        const struct ds_record *o = &s->record[other];

        if (newer_than(o, r)) {
            doom(s, id);
            return;
        }
        ds_table_remove(&s->objects, hash, other);
        ds_store_unlist(s, other);
        s->stats.objects--;
        s->unreadable -= ds_store_unreadable(s, other);
        s->stats.memory_live -= ds_store_holds(s, other);
        doom(s, other);
    }
    ds_table_insert(&s->objects, hash, id);
    if (ds_store_spilled(s, id)) {
        ds_store_enter_lower(s, id);
        if (capacity > 0) { /* readers of what had arrived may still hold it */
            ds_store_enter_stalled(s, id);
        }
    } else {
        s->flags[id] = FLAG_NEWER | FLAG_READ;
        ds_list_append(&s->newer, s->link, id);
    }
    s->stats.objects++;
    s->stats.memory_live += capacity;
    if (expiry != 0) {
        (void)!ds_heap_push(&s->expiry, expiry, id, ds_load_relaxed(&r->gen));
    }
}

static bool lost_on_disk(const struct ds_store *s, uint32_t id)
{
    return ds_store_spilled(s, id) && ds_store_state(s, id) == DS_RECORD_LIVE &&
           s->config.tier == NULL;
}

/* S5 may have stopped between word and generation, F3 between generation and word. */
static void enter_spilled(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    uint64_t gen = ds_load_relaxed(&r->gen);

    ds_store_release(&r->gen, gen + (gen & 1));
    enter_live(s, id);
}

static struct session *session_of(const struct ds_store *s, const struct ds_record *r)
{
    uint32_t number = DS_ORIGIN_SESSION(r->origin);

    return number < s->config.session_max ? s->session[number] : NULL;
}

static void enter_granted(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    struct session *x = session_of(s, r);
    uint64_t capacity = ds_store_block(r->size);
    uint64_t gen = ds_load_relaxed(&r->gen);

    r->size = capacity; /* a publish may have begun to shrink it */
    r->key_size = 0;
    r->version = 0;
    ds_store_relaxed(&r->gen, gen + (gen & 1));
    if (x == NULL) {
        doom(s, id);
        return;
    }
    ds_list_append(&x->grants, s->link, id);
    s->stats.memory_granted += capacity;
    s->n_grants++;
}

static void enter_note(struct ds_store *s, uint32_t id, enum ds_record_state state)
{
    struct ds_record *r = &s->record[id];
    struct session *x = session_of(s, r);
    uint64_t hash = r->key_size > 0 ? ds_store_key_hash(s, ds_store_key(s, id), r->key_size) : 0;
    uint64_t object_hash = ds_store_object_hash(r->size);

    if (state == DS_RECORD_NESTED) {
        ds_table_insert(&s->nest_child, hash, id);
        ds_table_insert(&s->nest_parent, object_hash, id);
    } else if (x == NULL && state == DS_RECORD_LATCH) {
        leave_out(s, id);
    } else {
        if (x != NULL) { /* else tidy_notes() ends it */
            ds_list_append(&x->holds, s->link, id);
        }
        ds_table_insert(state == DS_RECORD_REF ? &s->refs : &s->latches,
                        state == DS_RECORD_REF ? hash : object_hash, id);
    }
}

static void enter(struct ds_store *s, uint32_t id)
{
    enum ds_record_state state = ds_store_state(s, id);

    if (state == DS_RECORD_GRANTED) {
        if (claim_block(s, id)) {
            enter_granted(s, id);
        } else {
            leave_out(s, id);
        }
        return;
    }
    if (state == DS_RECORD_DOOMED && s->record[id].version == 0 && s->record[id].key_size == 0) {
        if (claim_block(s, id)) { /* a dropped grant: it has no check */
            doom(s, id);
        } else {
            leave_out(s, id);
        }
        return;
    }
    if (!sound(s, id) || !claim_key(s, id)) {
        leave_out(s, id);
    } else if (state == DS_RECORD_LIVE || state == DS_RECORD_DOOMED) {
        if (!claim_block(s, id)) {
            note_lost(s, id);
            leave_out(s, id);
        } else if (lost_on_disk(s, id)) {
            lose(s, id);
        } else if (state == DS_RECORD_LIVE && ds_store_spilled(s, id)) {
            enter_spilled(s, id);
        } else if (state == DS_RECORD_LIVE && (ds_load_relaxed(&s->record[id].gen) & 1) != 0) {
            enter_live(s, id);
        } else {
            doom(s, id);
        }
    } else {
        enter_note(s, id, state);
    }
}

static bool keep_entry(void *arg, uint32_t id, uint32_t tag)
{
    struct ds_store *s = arg;
    const uint8_t *key;

    if (id >= ds_load_relaxed(&s->state->records_used) || ds_store_state(s, id) != DS_RECORD_LIVE) {
        return false;
    }
    key = ds_store_key(s, id);
    return key != NULL &&
           s->record[id].key_size == DS_META_KEY_SIZE(ds_load_relaxed(&s->index.desc[id].meta)) &&
           ds_index_hash(&s->index, key, s->record[id].key_size) >> 32 == tag;
}

/* Step 3 for one record: descriptor, generation, bucket. */
static void project_again(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];
    struct ds_desc *d = &s->index.desc[id];
    uint64_t gen = ds_load_relaxed(&r->gen);

    if (ds_store_state(s, id) != DS_RECORD_LIVE) {
        uint64_t seen = ds_load_relaxed(&d->gen);

        ds_store_release(&d->gen, ds_max_u64(seen + (seen & 1), gen + (gen & 1)));
        if (ds_store_state(s, id) == DS_RECORD_FREE) {
            ds_store_relaxed(&r->gen, ds_load_relaxed(&d->gen));
        }
        return;
    }
    ds_store_project(s, id, false);
}

static void project_bucket(struct ds_store *s, uint32_t id)
{
    uint64_t hash = ds_index_hash(&s->index, ds_store_key(s, id), s->record[id].key_size);

    if (!ds_index_has(&s->index, hash, id)) {
        ds_index_put(&s->index, hash, id, DS_ID_NONE);
    }
}

/* Notes that name an object or a key that is not there any more. */
static void tidy_notes(struct ds_store *s, uint32_t used)
{
    for (uint32_t id = 0; id < used; id++) {
        enum ds_record_state state = ds_store_state(s, id);
        const struct ds_record *r = &s->record[id];
        uint32_t object = (uint32_t)r->size;
        bool there;

        if (state == DS_RECORD_REF && session_of(s, r) == NULL) {
            ds_store_ref_orphan(s, id);
            continue;
        }
        if (state != DS_RECORD_NESTED && state != DS_RECORD_LATCH) {
            continue;
        }
        there = r->size < used && ds_store_state(s, object) == DS_RECORD_LIVE &&
                s->record[object].version == r->version; /* its generation changes on disk */
        if (state == DS_RECORD_NESTED && there) {
            s->flags[object] |= FLAG_NESTS;
        } else if (state == DS_RECORD_NESTED) {
            ds_store_unnest(s, object);
        } else if (!there) {
            ds_store_unlatch_all(s, object);
        }
    }
}

static void free_lost_sessions(struct ds_store *s)
{
    for (uint32_t i = 0; i < s->config.session_max; i++) {
        if (s->session[i] == NULL) {
            ds_store_release(&s->session_state[i].word, DS_SESSION_FREE);
        }
    }
}

/* The one request item that may have been done without its done mark. */
static void mark_done(struct ds_store *s, uint32_t used)
{
    uint64_t doubt = ds_load_relaxed(&s->state->doubt_id);

    for (uint32_t id = 0; id < used; id++) {
        enum ds_record_state state = ds_store_state(s, id);

        if (state == DS_RECORD_LIVE || state == DS_RECORD_REF || state == DS_RECORD_NESTED) {
            ds_store_item_done(s, s->record[id].origin, id, ds_load_relaxed(&s->record[id].gen));
        }
    }
    if (doubt < used &&
        ds_load_relaxed(&s->record[doubt].word) == ds_load_relaxed(&s->state->doubt_word)) {
        ds_store_item_done(s, ds_load_relaxed(&s->state->doubt_origin), DS_ID_NONE, 0);
    }
}

static void tell_progress(const struct ds_store *s, uint32_t i)
{
    if (i % PROGRESS_RECORDS == 0 && s->config.progress != NULL) {
        s->config.progress(s->config.progress_arg);
    }
}

int ds_store_recover(struct ds_store *s, const struct ds_store_now *now)
{
    uint32_t used = (uint32_t)ds_load_relaxed(&s->state->records_used);
    int rc;

    s->now = *now;
    rc = used == 0 ? 0 : ds_area_need(&s->area_record, used * sizeof(struct ds_record));
    if (rc == 0 && used > 0) {
        rc = ds_index_need_desc(&s->index, used - 1);
    }
    if (rc == 0) {
        rc = ds_index_need_keys(&s->index, ds_load_relaxed(&s->state->keys_ready));
    }
    if (rc != 0) {
        return rc;
    }
    if (s->config.tier != NULL && used > 0) {
        rc = ds_area_need(&s->area_place, used * sizeof(struct ds_place));
        if (rc != 0) {
            return rc;
        }
    }
    s->usable = ds_store_ready(s);
    ds_store_release(&s->index.header->data_ready, s->usable);
    ds_arena_grow(s->data, s->usable);
    ds_arena_grow(s->keys, s->index.area_key.ready);
    rc = ds_arena_begin_claims(s->data); /* a claim that failed would be taken for damage */
    rc = rc == 0 ? ds_arena_begin_claims(s->keys) : rc;
    if (rc != 0) {
        return rc;
    }
    for (uint32_t id = 0; id < used; id++) {
        tell_progress(s, id);
        if (ds_store_state(s, id) != DS_RECORD_FREE) {
            enter(s, id);
        }
    }
    ds_store_release(&s->state->moving, 0);
    mark_done(s, used);
    (void)ds_failpoint("recover.entered");
    for (uint32_t id = 0; id < used; id++) {
        tell_progress(s, id);
        project_again(s, id);
        ds_store_upload_found(s, id);
        if (s->config.tier != NULL && ds_store_state(s, id) != DS_RECORD_LIVE) {
            ds_store_release(&s->place[id].at, 0); /* was to be forgotten, or was not published */
            ds_store_set_order(s, id, 0);
        }
        s->order_seen = ds_max_u64(s->order_seen, ds_store_order(s, id));
    }
    ds_index_sweep(&s->index, keep_entry, s);
    for (uint32_t id = used; id-- > 0;) {
        tell_progress(s, id);
        if (ds_store_state(s, id) == DS_RECORD_LIVE) {
            project_bucket(s, id);
        } else if (ds_store_state(s, id) == DS_RECORD_FREE) {
            s->link[id].next = s->free_first;
            s->free_first = id;
        }
    }
    ds_arena_rebuilt(s->data);
    ds_arena_rebuilt(s->keys);
    tidy_notes(s, used);
    free_lost_sessions(s);
    ds_store_relaxed(&s->state->restarts, ds_load_relaxed(&s->state->restarts) + 1);
    (void)ds_failpoint("recover.done");
    return 0;
}
