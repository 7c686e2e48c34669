/* SPDX-License-Identifier: Apache-2.0 */
/* second_op.h - what second.c and upload.c share: the work for second-level storage under way. */
#ifndef DS_STORE_SECOND_OP_H
#define DS_STORE_SECOND_OP_H

#include "store/internal.h"

struct ds_second_op {
    struct ds_tier_op op; /* first: it is what the tier knows */
    struct ds_second_op *next;
    uint64_t hash;
    uint64_t origin;       /* of the request item that it works for; 0: for any */
    uint64_t grant_origin; /* JOURNAL, STORE: of the record that it is to be published in */
    uint64_t record_version;
    uint64_t
        erase_below; /* when it is done: what L2 still has with a lower number goes; 0: nothing */
    bool done;
    bool consumed; /* the request that it was for has seen the answer */
    bool voided;   /* JOURNAL: an older copy was buried behind it, and it with that */
    bool upload;   /* UPLOAD, or the ERASE instead of it for an object that is over */
    bool renews;   /* STORE: of an object that is published, for its new expiry */
    bool hidden;   /* ERASE: of what an object hid that was dropped */
    uint8_t key[];
};

static inline bool ds_store_has_l2(const struct ds_store *s)
{
    return s->config.tier != NULL && s->config.l2;
}

/* This set was published, in an earlier execution of its request or just now. */
static inline bool ds_store_published(const struct ds_store *s, const struct ds_store_set *set)
{
    return set->id < ds_load_relaxed(&s->state->records_used) &&
           ds_store_state(s, set->id) == DS_RECORD_LIVE && s->record[set->id].origin == set->origin;
}

/* --- second.c --- */

/* What is under way or done for the key, or NULL. */
struct ds_second_op *ds_store_op_find(struct ds_store *s, const void *key, size_t key_size);

/* NULL: no memory. */
struct ds_second_op *ds_store_op_new(struct ds_store *s, enum ds_tier_kind kind, const void *key,
                                     uint32_t key_size, uint64_t origin);

/* 0: it is under way. Otherwise it is freed. */
DS_MUST_USE int ds_store_op_start(struct ds_store *s, struct ds_second_op *o);

/* --- upload.c --- */

/* Of a dirty object. */
enum ds_tier_claim ds_store_upload_claim(const struct ds_store *s, uint32_t id);

/* L2 has the object. */
void ds_store_uploaded(struct ds_store *s, uint32_t id);

/* ds_store_publish() of what is to be uploaded: it takes the place of the value that it replaces,
 * or a key that is set all the time would never come to the front. `counted`: its write-back is
 * acknowledged. */
void ds_store_publish_dirty(struct ds_store *s, struct session *by, const struct ds_store_set *set,
                            uint32_t old, bool counted);

/* Another worker has set or deleted the key since the value of `o` was acknowledged: L2 has that,
 * and a reader must find it. The value ends. */
void ds_store_outrun(struct ds_store *s, const struct ds_second_op *o);

/* An op that has `upload` is done. */
void ds_store_upload_done(struct ds_store *s, const struct ds_second_op *o);

#endif
