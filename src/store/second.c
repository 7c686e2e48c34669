/* SPDX-License-Identifier: Apache-2.0 */
/*
 * second.c - keys that second-level storage (L2) holds: write modes, misses, deletes.
 *
 * Of one key at most one piece of work is under way (struct ds_second_op, in a table by key), so
 * that L2 and memory change in the same order. A request that needs another one waits, and is
 * executed again when the first is done. A finished op stays in the table until the waiting
 * requests have looked at it (ds_store_second_sweep), since an answer such as "not found" stands
 * nowhere else.
 *
 *   set, write-through   L2 put of the lent block, then publish
 *   set, write-back      put into the journal, durable; then publish; then an upload in the
 *                        background. Where there is no journal, or it has not taken the value: as
 *                        write-through
 *   get of a missing key L2 get into a new block, then publish as the oldest of all versions
 *   get, exist or insert-if-absent of a copy on disk that is unverified: L2's order number of the
 *                        key. The copy's own: it is good from then on. Else it ends, and the key
 *                        is a missing one
 *   delete               L2 remove, then unpublish, then done
 *
 * In L2 is what has mode DS_WRITE_THROUGH (it is published behind its put), and what has
 * DS_WORD_UPLOADED. Dirty is a write-back object without that: it may leave memory for the journal,
 * but is never dropped. That holds for one whose time is over as well: it is absent for all, but
 * stays until it is erased in L2, or an older value there would be back.
 *
 * A plain set over a key of an L2 mode keeps that mode, as write-back: L2 must not keep the older
 * value for good. An object of the object API, whose bytes may change, has no such mode: the older
 * value is erased first.
 */
#include "base/alloc.h"
#include "base/failpoint.h"
#include "store/internal.h"
#include "store/second_op.h"

static bool back_mode(uint8_t mode)
{
    return mode == DS_WRITE_BACK || mode == DS_WRITE_BACK_EVICT;
}

bool ds_store_mode_in_l2(uint8_t mode, bool uploaded)
{
    return mode == DS_WRITE_THROUGH || (back_mode(mode) && uploaded);
}

bool ds_store_in_l2(const struct ds_store *s, uint32_t id)
{
    return ds_store_mode_in_l2(s->record[id].mode,
                               (ds_load_relaxed(&s->record[id].word) & DS_WORD_UPLOADED) != 0);
}

bool ds_store_dirty(const struct ds_store *s, uint32_t id)
{
    return back_mode(s->record[id].mode) && !ds_store_in_l2(s, id);
}

bool ds_store_hides_l2(const struct ds_store *s, uint32_t id)
{
    return ds_store_has_l2(s) && ds_store_dirty(s, id);
}

/* --- the table of work under way --- */

static struct ds_second_op **bucket(struct ds_store *s, uint64_t hash)
{
    return &s->second[hash % DS_STORE_SECOND_BUCKETS];
}

struct ds_second_op *ds_store_op_find(struct ds_store *s, const void *key, size_t key_size)
{
    uint64_t hash = ds_store_key_hash(s, key, key_size);
    struct ds_second_op *o = *bucket(s, hash);

    while (o != NULL &&
           (o->hash != hash || o->op.key_size != key_size || memcmp(o->key, key, key_size) != 0)) {
        o = o->next;
    }
    return o;
}

bool ds_store_second_busy(struct ds_store *s, uint32_t id)
{
    return s->second_n > 0 &&
           ds_store_op_find(s, ds_store_key(s, id), s->record[id].key_size) != NULL;
}

static void unlink_op(struct ds_store *s, struct ds_second_op *o)
{
    struct ds_second_op **at = bucket(s, o->hash);

    while (*at != o) {
        at = &(*at)->next;
    }
    *at = o->next;
    s->second_n--;
}

static void free_op(struct ds_store *s, struct ds_second_op *o)
{
    unlink_op(s, o);
    ds_free(o);
}

struct ds_second_op *ds_store_op_new(struct ds_store *s, enum ds_tier_kind kind, const void *key,
                                     uint32_t key_size, uint64_t origin)
{
    struct ds_second_op *o = ds_zalloc(sizeof(*o) + key_size, "second op");

    if (o != NULL) {
        memcpy(o->key, key, key_size);
        o->hash = ds_store_key_hash(s, key, key_size);
        o->origin = origin;
        o->op.kind = kind;
        o->op.id = DS_ID_NONE;
        o->op.key = o->key;
        o->op.key_size = key_size;
        o->next = *bucket(s, o->hash);
        *bucket(s, o->hash) = o;
        s->second_n++;
    }
    return o;
}

int ds_store_op_start(struct ds_store *s, struct ds_second_op *o)
{
    bool writes = o->op.kind != DS_TIER_LOOKUP && o->op.kind != DS_TIER_LOAD;
    int rc;

    if (writes && o->op.order == 0) {
        o->op.order = s->config.tier->order(s->config.tier_arg);
    }
    rc = s->config.tier->start(s->config.tier_arg, &o->op);
    if (rc != 0) {
        free_op(s, o);
        return rc;
    }
    s->journalling += o->op.kind == DS_TIER_JOURNAL;
    if (o->op.id != DS_ID_NONE) {
        s->flags[o->op.id] |= FLAG_BUSY;
    }
    return 0;
}

/* What a start means for the request. DS_EAGAIN: it waits until something is done, this or what the
 * tier has in hand. */
static int waits(int rc)
{
    return rc == 0 || rc == DS_EQUEUEFULL || rc == DS_ENOMEM ? DS_EAGAIN : rc;
}

static int begin(struct ds_store *s, struct ds_second_op *o)
{
    return o != NULL ? waits(ds_store_op_start(s, o)) : DS_EAGAIN;
}

/* Its answer is looked at, or nobody will any more. */
static void consume(struct ds_store *s, struct ds_second_op *o)
{
    s->journalling -= !o->consumed && o->op.kind == DS_TIER_JOURNAL;
    o->consumed = true;
}

void ds_store_second_void(struct ds_store *s, uint32_t id)
{
    struct ds_second_op *o =
        s->second_n > 0 ? ds_store_op_find(s, ds_store_key(s, id), s->record[id].key_size) : NULL;

    if (o != NULL && o->op.kind == DS_TIER_JOURNAL) {
        o->voided = true;
    }
}

/* What the journal has of a set that is not published from there must not come back. It may have it
 * after an error, too, but for a lack of room. An object that the key has, with a copy on disk,
 * buries that with its own end; a tombstone here would take it along. */
static void unjournal(struct ds_store *s, const struct ds_second_op *o)
{
    uint32_t id = ds_store_find_any(s, o->op.key, o->op.key_size);
    bool copied = id != DS_ID_NONE && ds_store_place(s, id) != 0;

    if (o->op.status != DS_ENOSPACE) {
        ds_store_forget_copy(s, &o->op, !copied);
    }
}

/* The client of a set gave up or died: its block goes. */
static void abandoned(struct ds_store *s, struct ds_second_op *o)
{
    uint32_t grant = o->op.id;

    consume(s, o);
    if (o->op.kind == DS_TIER_JOURNAL) {
        unjournal(s, o);
    }
    if ((o->op.kind == DS_TIER_JOURNAL || o->op.kind == DS_TIER_STORE) && grant != DS_ID_NONE &&
        ds_store_state(s, grant) == DS_RECORD_GRANTED &&
        s->record[grant].origin == o->grant_origin) { /* not lent again since */
        struct session *by = s->session[DS_ORIGIN_SESSION(s->record[grant].origin)];

        if (by != NULL && ds_store_lent(s, by, grant)) {
            ds_store_grant_drop(s, by, grant);
        }
    }
}

/* No work on the key is under way. What L2 has of it with a number below `order` goes, and nobody
 * waits for that. false: not now. */
static bool erase_older(struct ds_store *s, const uint8_t *key, uint32_t key_size, uint64_t order)
{
    struct ds_second_op *o = NULL;

    if (s->erasing < DS_STORE_ERASES) {
        o = ds_store_op_new(s, DS_TIER_ERASE, key, key_size, 0);
    }
    if (o != NULL) {
        o->hidden = true;
        o->op.claim = DS_CLAIM_YIELDS; /* it is for what was there before that number */
        o->op.order = order;
        s->erasing++;
        if (ds_store_op_start(s, o) == 0) {
            return true;
        }
        s->erasing--;
    }
    s->stats.l2_unerased++;
    return false;
}

/* The key has an older value in L2. An object that the key has by now is numbered, since
 * ds_store_second_erasing(), or L2 is to have it; without one, the next is to be. */
static void remember(struct ds_store *s, const uint8_t *key, uint32_t key_size)
{
    if (ds_store_find_any(s, key, key_size) == DS_ID_NONE) {
        ds_gone_add(s->gone, ds_store_key_hash(s, key, key_size), DS_GONE_L2, s->now.boot_ns, true);
    }
}

/* It has left nothing older than itself in L2. */
static bool has_replaced(const struct ds_second_op *o)
{
    return o->op.status == 0 && (o->op.kind == DS_TIER_ERASE || o->op.kind == DS_TIER_STORE);
}

/* All have looked at its answer. What had to wait for it begins. */
static void end_op(struct ds_store *s, struct ds_second_op *o)
{
    unlink_op(s, o);
    if (o->erase_below != 0 && !has_replaced(o) &&
        !erase_older(s, o->key, o->op.key_size, o->erase_below)) {
        remember(s, o->key, o->op.key_size);
    }
    ds_free(o);
}

void ds_store_second_sweep(struct ds_store *s)
{
    if (!s->second_done) {
        return;
    }
    s->second_done = s->starved;
    for (unsigned i = 0; i < DS_STORE_SECOND_BUCKETS; i++) {
        struct ds_second_op *next;

        for (struct ds_second_op *o = s->second[i]; o != NULL; o = next) {
            next = o->next;
            if (o->done && !o->consumed) {
                abandoned(s, o);
            }
            if (o->done && (o->op.status != DS_EAGAIN || !s->starved)) {
                end_op(s, o);
                s->examine = true; /* whoever waited for its end */
            }
        }
    }
}

void ds_store_second_fini(struct ds_store *s)
{
    for (unsigned i = 0; i < DS_STORE_SECOND_BUCKETS; i++) {
        while (s->second[i] != NULL) {
            free_op(s, s->second[i]);
        }
    }
}

/* --- reading --- */

int ds_store_second_find(struct ds_store *s, const uint8_t *key, uint32_t key_size,
                         uint32_t *ret_id)
{
    uint32_t id = ds_store_find(s, key, key_size);
    const struct ds_second_op *o;

    *ret_id = id;
    if (id == DS_ID_NONE || !ds_store_unverified(s, id)) {
        return 0;
    }
    o = ds_store_op_find(s, key, key_size);
    if (o == NULL) {
        return begin(s, ds_store_op_new(s, DS_TIER_LOOKUP, key, key_size, 0));
    }
    return o->done && o->op.kind == DS_TIER_LOOKUP && o->op.status != 0 ? o->op.status : DS_EAGAIN;
}

/* What L2 says of a copy on disk that waits for it. The same number is the same value. A smaller
 * one, too, means that L2 does not have this value: it may be another storage than before. */
static void verify(struct ds_store *s, const struct ds_tier_op *op)
{
    uint32_t id = ds_store_find_any(s, op->key, op->key_size);
    _Atomic uint64_t *word;

    if (id == DS_ID_NONE || !ds_store_unverified(s, id) ||
        (op->status != 0 && op->status != DS_ENOTFOUND)) {
        return;
    }
    (void)ds_failpoint("verify.answered");
    if (op->status == 0 && op->order == ds_store_order(s, id)) {
        word = &s->record[id].word;
        ds_store_release(word, ds_load_relaxed(word) & ~DS_WORD_UNVERIFIED);
        (void)ds_failpoint("verify.good");
    } else {
        ds_store_unpublish(s, id, op->status == 0 ? DS_GONE_EVICTED : DS_GONE_DELETED);
    }
}

int ds_store_second_look(struct ds_store *s, struct session *by, unsigned slot, uint32_t i,
                         const uint8_t *key, uint32_t key_size, bool value, uint64_t *ret_size)
{
    struct ds_second_op *o;

    if (!ds_store_has_l2(s) || key_size == 0 || ds_store_bit(by->asked[slot], i) ||
        ds_store_find_any(s, key, key_size) != DS_ID_NONE) { /* over: L2 may have what was before */
        return DS_ENOTFOUND;
    }
    o = ds_store_op_find(s, key, key_size);
    if (o == NULL) {
        return begin(s,
                     ds_store_op_new(s, value ? DS_TIER_LOAD : DS_TIER_LOOKUP, key, key_size, 0));
    }
    if (!o->done || (o->op.kind != DS_TIER_LOAD && o->op.kind != DS_TIER_LOOKUP)) {
        return DS_EAGAIN;
    }
    if (o->op.status == 0 && !value && o->op.order >= o->erase_below) {
        *ret_size = o->op.size;
        return 0;
    }
    if (o->op.status == DS_ENOTFOUND) {
        ds_store_set_bit(by->asked[slot], i);
    }
    return o->op.status == 0 ? DS_EAGAIN : o->op.status;
}

int ds_store_tier_room(struct ds_store *s, struct ds_tier_op *op, uint64_t size)
{
    uint64_t offset;
    int rc;

    DS_ASSERT(op->kind == DS_TIER_LOAD && !op->room);
    if (size > s->config.data_size) {
        return DS_ENOMEM;
    }
    rc = ds_store_block_alloc(s, ds_store_block(size), &offset);
    if (rc != 0) {
        s->starved = true; /* those who wait look again when there is memory */
        return rc;
    }
    op->offset = offset;
    op->size = size;
    op->room = true;
    s->fetching += ds_store_block(size);
    s->stats.memory_granted += ds_store_block(size);
    return 0;
}

/* The block becomes an object, unless the key was set meanwhile. */
static int enter_loaded(struct ds_store *s, const struct ds_tier_op *op)
{
    const struct ds_store_found f = {.key = op->key,
                                     .key_size = op->key_size,
                                     .size = op->size,
                                     .version = op->order,
                                     .expiry_ns = op->expiry_ns,
                                     .mode = op->mode,
                                     .kind = op->object_kind,
                                     .uploaded = true};
    struct ds_record *r;
    uint32_t id;
    int rc;

    if (ds_store_find_any(s, op->key, op->key_size) != DS_ID_NONE ||
        (op->expiry_ns != 0 && op->expiry_ns <= s->now.boot_ns)) {
        return DS_EAGAIN;
    }
    rc = ds_store_record_found(s, &f, op->offset, &id);
    if (rc != 0) {
        return rc;
    }
    rc = ds_store_need_place(s, id);
    if (rc != 0) {
        ds_store_record_free(s, id);
        return rc;
    }
    ds_store_set_order(s, id, f.version);
    r = &s->record[id];
    ds_store_relaxed(&r->gen, ds_load_relaxed(&r->gen) + 1);
    ds_store_release(&r->word, ds_store_found_word(&f));
    (void)ds_failpoint("load.live");
    ds_store_enter_found(s, id, &f);
    s->flags[id] = FLAG_NEWER;
    ds_list_append(&s->newer, s->link, id);
    s->stats.memory_live += ds_store_block(op->size);
    s->stats.l2_loads++;
    ds_store_freshen(s, id);
    ds_store_renew_expiry(s, id);
    return 0;
}

static void loaded(struct ds_store *s, struct ds_second_op *o)
{
    struct ds_tier_op *op = &o->op;

    if (!op->room) {
        return;
    }
    s->fetching -= ds_store_block(op->size);
    s->stats.memory_granted -= ds_store_block(op->size);
    if (op->status != 0 || op->order < o->erase_below || enter_loaded(s, op) != 0) {
        ds_arena_free(s->data, op->offset, ds_store_block(op->size));
    }
}

/* --- writing --- */

static void describe(struct ds_store *s, struct ds_second_op *o, const struct ds_store_set *set)
{
    o->op.id = set->id;
    o->grant_origin = s->record[set->id].origin;
    o->op.offset = s->record[set->id].offset;
    o->op.size = set->value_size;
    o->op.mode = set->mode;
    o->op.object_kind = set->kind & (DS_KIND_CAUSAL | DS_KIND_DISK);
    if (set->ttl_ms != 0) {
        o->op.expiry_ns =
            s->now.boot_ns + (int64_t)ds_min_u64(set->ttl_ms, UINT64_C(1) << 42) * 1000000;
    }
}

static int begin_set(struct ds_store *s, const struct ds_store_set *set, enum ds_tier_kind kind)
{
    struct ds_second_op *o = ds_store_op_new(s, kind, set->key, set->key_size, set->origin);

    if (o == NULL) {
        return DS_ENOMEM;
    }
    describe(s, o, set);
    return begin(s, o);
}

/* An overwrite of a key that waits already needs no further place. */
static bool queue_full(struct ds_store *s, const struct ds_store_set *set)
{
    uint32_t old;

    if (s->upload_counted + s->journalling < s->config.upload_max) {
        return false;
    }
    old = ds_store_find_any(s, set->key, set->key_size);
    return old == DS_ID_NONE || (s->flags[old] & FLAG_COUNTED) == 0;
}

static int start_set(struct ds_store *s, const struct ds_store_set *set)
{
    bool back = back_mode(set->mode) && s->config.journal;
    int rc;

    if (back && queue_full(s, set)) {
        return DS_EQUEUEFULL;
    }
    if (ds_store_need_place(s, set->id) != 0) {
        return DS_ENOMEM;
    }
    rc = begin_set(s, set, back ? DS_TIER_JOURNAL : DS_TIER_STORE);
    if (back && rc == DS_ENOSPACE && ds_store_drop_disk(s, ds_store_block(set->value_size)) > 0) {
        return DS_EAGAIN; /* the log takes its time to make room of it */
    }
    if (back && (rc == DS_ENOSPACE || rc == DS_ENOTSUPPORTED)) {
        rc = begin_set(s, set, DS_TIER_STORE); /* full, or too large for it: durable all the same */
    }
    return rc;
}

/* L2 or the journal has it: readers may. */
static int publish(struct ds_store *s, struct session *by, struct ds_store_set *set,
                   const struct ds_tier_op *op)
{
    uint32_t old = ds_store_find_any(s, set->key, set->key_size);

    set->version = s->now.ticks;
    if (old != DS_ID_NONE) {
        set->version = ds_max_u64(set->version, s->record[old].version + 1);
    }
    ds_store_set_order(s, set->id, op->order); /* before it is LIVE */
    if (op->kind == DS_TIER_JOURNAL) {
        ds_store_release(&s->place[set->id].at, op->place);
    }
    if (op->kind == DS_TIER_STORE) {
        ds_store_publish(s, by, set);
    } else {
        ds_store_publish_dirty(s, by, set, old, true);
    }
    if (!ds_store_published(s, set)) { /* no room for the key */
        if (op->kind == DS_TIER_JOURNAL) {
            ds_store_forget(s, set->id, true);
        }
        return DS_ENOMEM;
    }
    if (op->kind == DS_TIER_STORE) {
        ds_store_uploaded(s, set->id);
    }
    return 0;
}

/* The set begins anew, without the journal if that has not taken it. What `o` was to erase when it
 * is done is for the work that takes its place. */
static int begin_anew(struct ds_store *s, struct ds_second_op *o, const struct ds_store_set *set)
{
    bool journal = o->op.status == 0;
    uint64_t below = o->erase_below;
    int rc;

    free_op(s, o);
    rc = journal ? start_set(s, set) : begin_set(s, set, DS_TIER_STORE);
    if (below != 0) {
        o = ds_store_op_find(s, set->key, set->key_size);
        if (o != NULL) {
            o->erase_below = ds_max_u64(o->erase_below, below);
        } else if (!erase_older(s, set->key, set->key_size, below)) {
            remember(s, set->key, set->key_size);
        }
    }
    return rc;
}

int ds_store_second_set(struct ds_store *s, struct session *by, unsigned slot, uint32_t i,
                        struct ds_store_set *set)
{
    struct ds_second_op *o;
    uint64_t size;
    uint32_t id;
    int rc;

    if (!ds_store_has_l2(s)) {
        return DS_ENOTSUPPORTED;
    }
    if (ds_store_published(s, set)) { /* in an earlier execution of this request */
        return 0;
    }
    o = set->key_size > 0 ? ds_store_op_find(s, set->key, set->key_size) : NULL;
    if (o != NULL && o->origin == set->origin && !o->done) {
        return DS_EAGAIN;
    }
    if (!ds_store_set_valid(s, by, set)) {
        return by->adopted && set->key_size > 0 ? 0 : DS_EINVAL; /* replaced since */
    }
    if (o != NULL && o->origin == set->origin) {
        consume(s, o);
        if (o->op.status == 0 && o->voided) {
            ds_store_forget_copy(s, &o->op, false);
            return begin_anew(s, o, set);
        }
        if (o->op.status != 0 && o->op.kind == DS_TIER_JOURNAL) {
            unjournal(s, o);
            return begin_anew(s, o, set); /* durable all the same */
        }
        return o->op.status == 0 ? publish(s, by, set, &o->op) : o->op.status;
    }
    if ((set->kind & DS_KIND_ABSENT) != 0) {
        rc = ds_store_second_find(s, set->key, set->key_size, &id);
        if (rc != 0 || id != DS_ID_NONE) {
            return rc != 0 ? rc : DS_UNCHANGED;
        }
        rc = ds_store_second_look(s, by, slot, i, set->key, set->key_size, false, &size);
        if (rc != DS_ENOTFOUND) {
            return rc == 0 ? DS_UNCHANGED : rc;
        }
    }
    return o != NULL ? DS_EAGAIN : start_set(s, set);
}

int ds_store_second_delete(struct ds_store *s, const uint8_t *key, uint32_t key_size,
                           uint64_t origin)
{
    struct ds_second_op *o;

    if (!ds_store_has_l2(s) || key_size == 0) {
        return 0;
    }
    o = ds_store_op_find(s, key, key_size);
    if (o == NULL) {
        return begin(s, ds_store_op_new(s, DS_TIER_ERASE, key, key_size, origin));
    }
    if (!o->done || o->origin != origin) {
        return DS_EAGAIN;
    }
    return o->op.status;
}

bool ds_store_second_hides(const struct ds_store *s, uint32_t id)
{
    return ds_store_has_l2(s) && ds_store_plain_mode(s->record[id].mode) &&
           ds_store_order(s, id) != 0;
}

bool ds_store_second_full(const struct ds_store *s, uint32_t id)
{
    return s->erasing >= DS_STORE_ERASES && !s->uploads_paused && ds_store_second_hides(s, id);
}

/* Not awaited: a writer who needs the memory must not wait for L2, which may be away. A get of the
 * key does wait, since of one key there is one piece of work at a time. What a killed worker had
 * not erased stays. */
bool ds_store_second_drop(struct ds_store *s, uint32_t id)
{
    const uint8_t *key = ds_store_key(s, id);
    uint32_t key_size = s->record[id].key_size;
    struct ds_second_op *o;

    if (!ds_store_second_hides(s, id)) {
        return true;
    }
    o = s->second_n > 0 ? ds_store_op_find(s, key, key_size) : NULL;
    if (o == NULL) {
        return erase_older(s, key, key_size, ds_store_order(s, id));
    }
    o->erase_below = ds_max_u64(o->erase_below, ds_store_order(s, id));
    return true; /* see end_op() */
}

bool ds_store_second_erasing(struct ds_store *s, const void *key, size_t key_size)
{
    const struct ds_second_op *o = s->second_n > 0 ? ds_store_op_find(s, key, key_size) : NULL;

    return o != NULL && ((o->hidden && !o->done) || o->erase_below != 0);
}

/* The value with another expiry. It is no later write: it has the number behind the value's own, so
 * that it never replaces what was written since. */
static struct ds_second_op *renewal(struct ds_store *s, uint32_t id, uint64_t ttl_ms,
                                    uint64_t origin)
{
    const struct ds_record *r = &s->record[id];
    struct ds_store_set set = {.key = ds_store_key(s, id),
                               .key_size = r->key_size,
                               .id = id,
                               .value_size = r->size,
                               .ttl_ms = ttl_ms,
                               .mode = r->mode,
                               .kind = r->kind};
    struct ds_second_op *o = ds_store_op_new(s, DS_TIER_STORE, set.key, r->key_size, origin);

    if (o == NULL) {
        return NULL;
    }
    describe(s, o, &set);
    o->renews = true;
    o->record_version = r->version;
    o->op.renews = ds_store_in_l2(s, id);
    o->op.claim = o->op.renews ? DS_CLAIM_YIELDS : ds_store_upload_claim(s, id);
    if (o->op.claim != DS_CLAIM_LAST) {
        o->op.order = ds_store_order(s, id) + 1;
    }
    return o;
}

int ds_store_second_expire(struct ds_store *s, uint32_t id, uint64_t ttl_ms, uint64_t origin)
{
    struct ds_second_op *o;

    if (!ds_store_has_l2(s) || !(ds_store_in_l2(s, id) || ds_store_dirty(s, id))) {
        return 0;
    }
    if ((s->flags[id] & FLAG_BUSY) != 0) {
        return DS_EAGAIN;
    }
    if (ds_store_order(s, id) == UINT64_MAX) { /* damaged: no number is behind it */
        return DS_EUNAVAILABLE;
    }
    o = ds_store_op_find(s, ds_store_key(s, id), s->record[id].key_size);
    if (o == NULL) {
        return begin(s, renewal(s, id, ttl_ms, origin));
    }
    if (!o->done || o->origin != origin || o->op.id != id ||
        o->record_version != s->record[id].version) {
        return DS_EAGAIN; /* also when it was set anew meanwhile: once more, with that */
    }
    if (o->op.status == 0) {
        ds_store_uploaded(s, id);
        ds_store_changed(s, id); /* a copy on disk has the number that it had */
        ds_store_set_order(s, id, o->op.order);
    }
    return o->op.status;
}

/* --- answers --- */

/* See ds_store_second_drop(). Stale: nothing older is there. With erase_below it is tried again. */
static void erased(struct ds_store *s, const struct ds_second_op *o)
{
    s->erasing--;
    if (o->op.status != 0 && o->op.status != DS_ESTALE && o->erase_below == 0) {
        s->stats.l2_unerased++;
        remember(s, o->key, o->op.key_size);
    } else if (o->op.status == 0) {
        ds_gone_hide(s->gone, o->hash);
    }
}

void ds_store_second_done(struct ds_store *s, struct ds_tier_op *op)
{
    struct ds_second_op *o = (void *)op;

    if (op->id != DS_ID_NONE) {
        s->flags[op->id] &= (uint16_t)~FLAG_BUSY;
    }
    if (op->kind == DS_TIER_LOAD) {
        loaded(s, o);
    } else if (op->kind == DS_TIER_LOOKUP) {
        verify(s, op);
    } else if (o->upload) {
        ds_store_upload_done(s, o);
    } else if (o->hidden) {
        erased(s, o);
    } else if (o->renews && op->status == DS_ESTALE && ds_store_tier_current(s, op)) {
        ds_store_outrun(s, o); /* whoever waits for it looks in L2 */
    }
    s->stats.tier_errors += op->status != 0 && op->status != DS_ENOTFOUND &&
                            op->status != DS_EAGAIN && op->status != DS_ESTALE && !o->upload;
    o->done = true;
    s->second_done = true;
    s->examine = true;
}
