/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.c - dirty objects on their way to second-level storage (L2).
 *
 * The queue of uploads is the list of dirty objects: one place for each key, however often it is
 * set; a newer value takes the place of the one before. upload_max limits those whose write-back
 * was acknowledged (FLAG_COUNTED), also while they are uploaded. A plain set cannot be refused, so
 * what it makes dirty is not counted.
 */
#include "base/failpoint.h"
#include "store/internal.h"
#include "store/second_op.h"

#define RETRY_NS INT64_C(1000000000)

static void unqueue(struct ds_store *s, uint32_t id)
{
    ds_list_remove(&s->uploads, s->upload_link, id);
    s->flags[id] &= (uint16_t)~FLAG_QUEUED;
    DS_ASSERT(s->queued_bytes >= s->record[id].size);
    s->queued_bytes -= s->record[id].size;
}

void ds_store_upload_end(struct ds_store *s, uint32_t id)
{
    if ((s->flags[id] & FLAG_QUEUED) != 0) {
        unqueue(s, id);
        s->stats.l2_outdated++;
    }
    s->upload_counted -= (s->flags[id] & FLAG_COUNTED) != 0;
    s->flags[id] &= (uint16_t)~FLAG_COUNTED;
}

void ds_store_uploaded(struct ds_store *s, uint32_t id)
{
    _Atomic uint64_t *word = &s->record[id].word;

    ds_store_release(word, ds_load_relaxed(word) | DS_WORD_UPLOADED);
    ds_store_upload_end(s, id);
}

static void queue_upload(struct ds_store *s, uint32_t id, uint32_t before, bool counted)
{
    ds_list_insert(&s->uploads, s->upload_link, before, id);
    s->queued_bytes += s->record[id].size;
    s->upload_counted += counted && (s->flags[id] & FLAG_COUNTED) == 0;
    s->flags[id] |= (uint16_t)(FLAG_QUEUED | (counted ? FLAG_COUNTED : 0));
}

/* All count: nothing tells those of plain sets from those of write-backs. */
void ds_store_upload_found(struct ds_store *s, uint32_t id)
{
    if (ds_store_has_l2(s) && ds_store_state(s, id) == DS_RECORD_LIVE && ds_store_dirty(s, id)) {
        s->flags[id] |= FLAG_FOUND;
        queue_upload(s, id, DS_ID_NONE, true);
    }
}

void ds_store_upload_over(struct ds_store *s, uint32_t id)
{
    if (ds_store_unreadable(s, id) && ds_store_hides_l2(s, id) &&
        (s->flags[id] & (FLAG_QUEUED | FLAG_BUSY)) == 0) {
        queue_upload(s, id, DS_ID_NONE, false);
    }
}

void ds_store_publish_dirty(struct ds_store *s, struct session *by, const struct ds_store_set *set,
                            uint32_t old, bool counted)
{
    bool queued = old != DS_ID_NONE && (s->flags[old] & FLAG_QUEUED) != 0;
    uint32_t before = queued ? s->upload_link[old].next : DS_ID_NONE;

    ds_store_publish(s, by, set);
    if (before != DS_ID_NONE && (s->flags[before] & FLAG_QUEUED) == 0) {
        before = DS_ID_NONE; /* ended with the old value, which it was nested in */
    }
    if (ds_store_published(s, set)) {
        queue_upload(s, set->id, before, counted);
    }
}

static bool is_live(const struct ds_store *s, uint32_t id, uint64_t version)
{
    return ds_store_state(s, id) == DS_RECORD_LIVE && s->record[id].version == version;
}

static bool is_current(const struct ds_store *s, uint32_t id, uint64_t version)
{
    return is_live(s, id, version) && ds_store_dirty(s, id);
}

bool ds_store_tier_current(const struct ds_store *s, const struct ds_tier_op *op)
{
    const struct ds_second_op *o = (const void *)op;

    return o->upload ? is_current(s, op->id, o->record_version)
                     : !o->renews || is_live(s, op->id, o->record_version);
}

/* A dirty value stays dirty until it ends: a kill must not leave it as one of L2. */
void ds_store_outrun(struct ds_store *s, const struct ds_second_op *o)
{
    uint32_t id = o->op.id;
    bool over = ds_store_over(s, id);

    (void)ds_failpoint("upload.outrun");
    ds_store_unpublish(s, id, over ? DS_GONE_EXPIRED : DS_GONE_EVICTED);
    if (!over) {
        ds_gone_add(s->gone, o->hash, DS_GONE_L2, s->now.boot_ns, true);
    }
}

/* L2 has the object, under a greater number than it had: a new expiry follows that. A copy on disk
 * has the one before, and would not pass for it. */
static void numbered_anew(struct ds_store *s, uint32_t id, uint64_t order)
{
    ds_store_changed(s, id);
    ds_store_set_order(s, id, order);
}

void ds_store_upload_done(struct ds_store *s, const struct ds_second_op *o)
{
    uint32_t id = o->op.id;

    s->uploading--;
    s->uploading_bytes -= o->op.size;
    if (!is_current(s, id, o->record_version)) {
        s->stats.l2_outdated++;
        return;
    }
    if (o->op.status == DS_ESTALE) {
        s->stats.l2_outdated++;
        ds_store_outrun(s, o);
        return;
    }
    if (o->op.status != 0) {
        s->stats.tier_errors++;
        s->upload_next_ns = s->now.boot_ns + RETRY_NS;
        queue_upload(s, id, DS_ID_NONE, false);
        return;
    }
    s->stats.l2_uploads += o->op.kind == DS_TIER_UPLOAD;
    if (o->op.kind == DS_TIER_UPLOAD && o->op.order != ds_store_order(s, id)) {
        numbered_anew(s, id, o->op.order);
    }
    ds_store_uploaded(s, id);
    (void)ds_failpoint("upload.marked");
    if (ds_store_end_if_over(s, id)) {
        return;
    }
    if (ds_store_place(s, id) != 0) {
        if (s->config.tier->clean(s->config.tier_arg, &o->op, ds_store_place(s, id)) ==
                DS_UNCHANGED &&
            !ds_store_spilled(s, id)) {
            ds_store_forget(s, id, true); /* the journal is no spill: it keeps nothing for long */
        }
    }
    if ((s->flags[id] & FLAG_RANKED) == 0 && !ds_store_spilled(s, id) &&
        (s->flags[id] & (FLAG_EARLIER | FLAG_NEWER)) == 0) {
        ds_store_rank(s, id);
    }
}

void ds_store_publish_plain(struct ds_store *s, struct session *by, struct ds_store_set *set)
{
    uint32_t old = ds_store_has_l2(s) ? ds_store_find_any(s, set->key, set->key_size) : DS_ID_NONE;
    bool upload = old != DS_ID_NONE && (ds_store_in_l2(s, old) || ds_store_dirty(s, old));

    set->mode = upload ? DS_WRITE_BACK : set->mode;
    ds_store_number(s, set, old);
    if (upload) {
        ds_store_publish_dirty(s, by, set, old, false);
    } else {
        ds_store_publish(s, by, set);
    }
}

enum ds_tier_claim ds_store_upload_claim(const struct ds_store *s, uint32_t id)
{
    if (ds_store_order(s, id) == 0) {
        return DS_CLAIM_LAST;
    }
    return (s->flags[id] & FLAG_FOUND) != 0 ? DS_CLAIM_YIELDS : DS_CLAIM_ACKNOWLEDGED;
}

/* 0: it is under way. Otherwise not now; or the object has ended, with others of the queue. */
static int start_upload(struct ds_store *s, uint32_t id)
{
    const struct ds_record *r = &s->record[id];
    bool over = ds_store_over(s, id);
    struct ds_second_op *o;
    int rc;

    if (ds_store_spilled(s, id) && !over) {
        rc = ds_store_fetch(s, id);
        return rc == 0 ? DS_EAGAIN : rc;
    }
    if ((s->flags[id] & FLAG_BUSY) != 0 ||
        ds_store_op_find(s, ds_store_key(s, id), r->key_size) != NULL) {
        return DS_EAGAIN;
    }
    o = ds_store_op_new(s, over ? DS_TIER_ERASE : DS_TIER_UPLOAD, ds_store_key(s, id), r->key_size,
                        0);
    if (o == NULL) {
        return DS_ENOMEM;
    }
    o->upload = true;
    o->op.id = id;
    o->op.offset = r->offset;
    o->op.size = r->size;
    o->op.mode = r->mode;
    o->op.object_kind = r->kind;
    o->op.expiry_ns = ds_load_relaxed(&r->expiry_ns);
    o->op.order = ds_store_order(s, id);
    o->op.claim = ds_store_upload_claim(s, id);
    o->record_version = r->version;
    rc = ds_store_op_start(s, o);
    s->uploading += rc == 0;
    s->uploading_bytes += rc == 0 ? r->size : 0;
    return rc;
}

/* The first of the queue; if not now, it is the last but for what a read brings. */
static void upload_first(struct ds_store *s)
{
    uint32_t id = s->uploads.first;
    bool coming;
    int rc;

    if (ds_store_unreadable(s, id) && !ds_store_over(s, id) && (s->flags[id] & FLAG_BUSY) == 0) {
        ds_store_upload_end(s, id); /* nobody has its bytes or is about to */
        return;
    }
    unqueue(s, id);
    rc = start_upload(s, id);
    if (rc == 0) {
        return;
    }
    if (ds_store_state(s, id) != DS_RECORD_LIVE) { /* room for it was made of what it hung on */
        s->stats.l2_outdated++;
        return;
    }
    /* While L2 is not asked, one value is read for one try: it stays the first until it is there.
     */
    coming = s->uploads_paused && rc == DS_EAGAIN && ds_store_spilled(s, id) &&
             (s->flags[id] & FLAG_BUSY) != 0;
    queue_upload(s, id, coming ? s->uploads.first : DS_ID_NONE, false);
    /* What fails is asked less often than what is busy. */
    s->upload_next_ns =
        s->now.boot_ns + (rc == DS_EIO || rc == DS_EUNAVAILABLE ? RETRY_NS : RETRY_NS / 100);
}

/* Writers need the rest of the memory: else they wait for L2, for all that the disk would take. */
bool ds_store_may_upload(const struct ds_store *s)
{
    return s->uploads.n > 0 && s->uploading < DS_STORE_UPLOADS &&
           (s->uploading == 0 ||
            s->uploading_bytes + s->record[s->uploads.first].size <= s->config.data_size / 8);
}

void ds_store_upload_some(struct ds_store *s)
{
    uint64_t left = s->uploads_paused ? ds_min_u64(s->uploads.n, 1) : s->uploads.n;

    if (!ds_store_has_l2(s) || s->upload_next_ns > s->now.boot_ns) {
        return;
    }
    for (; left > 0 && ds_store_may_upload(s); left--) {
        upload_first(s);
    }
}

void ds_store_pause_uploads(struct ds_store *s, bool paused)
{
    s->uploads_paused = paused;
    s->upload_next_ns = paused ? s->upload_next_ns : 0;
}

uint64_t ds_store_uploads(const struct ds_store *s)
{
    return s->uploads.n + s->uploading;
}
