/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c - what keeps objects alive or closed: global references, nesting, latches.
 *
 * Each is a record of its own without a block, so that it survives the worker: REF (one per session
 * and key, with a count), NESTED (one per parent and child key), LATCH (one per latch held).
 */
#include "store/internal.h"

static uint32_t ref_find(const struct ds_store *s, const struct session *by, uint64_t hash,
                         const void *key, uint32_t key_size)
{
    uint32_t id = ds_store_lookup(s, hash, &s->refs, key, key_size, DS_ID_NONE);

    while (id != DS_ID_NONE && DS_ORIGIN_SESSION(s->record[id].origin) != by->number) {
        id = ds_store_lookup(s, hash, &s->refs, key, key_size, id);
    }
    return id;
}

uint64_t ds_store_ref_count(const struct ds_store *s, const void *key, uint32_t key_size)
{
    uint64_t hash = ds_store_key_hash(s, key, key_size);
    uint32_t id = ds_store_lookup(s, hash, &s->refs, key, key_size, DS_ID_NONE);
    uint64_t sum = 0;

    for (; id != DS_ID_NONE; id = ds_store_lookup(s, hash, &s->refs, key, key_size, id)) {
        sum += DS_WORD_COUNT(ds_load_relaxed(&s->record[id].word));
    }
    return sum;
}

void ds_store_note_change(struct ds_store *s, uint32_t id, uint64_t word, uint64_t origin)
{
    ds_store_release(&s->state->doubt_origin,
                     UINT64_MAX); /* names nothing while the rest changes */
    ds_store_release(&s->state->doubt_id, id);
    ds_store_release(&s->state->doubt_word, word);
    ds_store_release(&s->state->doubt_origin, origin);
}

static void change_word(struct ds_store *s, uint32_t id, uint64_t word, uint64_t origin)
{
    ds_store_note_change(s, id, word, origin);
    ds_store_release(&s->record[id].word, word);
}

int ds_store_ref(struct ds_store *s, struct session *by, const void *key, uint32_t key_size,
                 uint64_t origin)
{
    uint64_t hash = ds_store_key_hash(s, key, key_size);
    uint32_t id;
    int rc;

    if (key_size == 0) {
        return DS_EINVAL;
    }
    id = ref_find(s, by, hash, key, key_size);
    if (id != DS_ID_NONE) {
        uint64_t word = ds_load_relaxed(&s->record[id].word);

        if (DS_WORD_COUNT(word) == UINT32_MAX) {
            return DS_ERANGE;
        }
        change_word(s, id, word + (UINT64_C(1) << 32), origin);
        return 0;
    }
    rc = ds_store_record_note(s, DS_RECORD_REF,
                              &(struct ds_record){.origin = origin, .key_size = (uint16_t)key_size},
                              key, &s->refs, hash, &id);
    if (rc == 0) {
        ds_list_append(&by->holds, s->link, id);
    }
    return rc;
}

/* Nobody holds the key any more, and no parent does: the object goes. */
static void release_key(struct ds_store *s, const void *key, uint32_t key_size)
{
    uint64_t hash = ds_store_key_hash(s, key, key_size);
    uint32_t id;

    if (ds_store_ref_count(s, key, key_size) > 0 ||
        ds_store_lookup(s, hash, &s->nest_child, key, key_size, DS_ID_NONE) != DS_ID_NONE) {
        return;
    }
    id = ds_store_find(s, key, key_size);
    if (id != DS_ID_NONE) {
        ds_store_unpublish(s, id, DS_GONE_RELEASED);
    }
}

static void copy_key(const struct ds_store *s, uint32_t id, uint8_t *to, uint32_t *size)
{
    const uint8_t *key = ds_store_key(s, id);

    *size = key != NULL ? s->record[id].key_size : 0;
    if (key != NULL) {
        memcpy(to, key, *size);
    }
}

static void ref_end(struct ds_store *s, struct session *by, uint32_t id)
{
    uint8_t key[DS_KEY_SIZE_MAX];
    uint32_t key_size;

    copy_key(s, id, key, &key_size);
    ds_table_remove(&s->refs, ds_store_key_hash(s, key, key_size), id);
    ds_list_remove(&by->holds, s->link, id);
    release_key(s, key, key_size); /* before the record goes: a kill in between does it again */
    ds_store_record_free(s, id);
}

void ds_store_ref_orphan(struct ds_store *s, uint32_t id)
{
    uint8_t key[DS_KEY_SIZE_MAX];
    uint32_t key_size;

    copy_key(s, id, key, &key_size);
    ds_table_remove(&s->refs, ds_store_key_hash(s, key, key_size), id);
    release_key(s, key, key_size);
    ds_store_record_free(s, id);
}

int ds_store_unref(struct ds_store *s, struct session *by, const void *key, uint32_t key_size,
                   uint64_t origin)
{
    uint32_t id = ref_find(s, by, ds_store_key_hash(s, key, key_size), key, key_size);
    uint64_t word;

    if (id == DS_ID_NONE) {
        return DS_ENOTINUSE;
    }
    word = ds_load_relaxed(&s->record[id].word);
    if (DS_WORD_COUNT(word) > 1) {
        change_word(s, id, word - (UINT64_C(1) << 32), origin);
    } else {
        ds_store_note_change(s, id, DS_RECORD_FREE, origin);
        ref_end(s, by, id);
    }
    return 0;
}

int ds_store_nest(struct ds_store *s, uint32_t parent, const void *key, uint32_t key_size,
                  uint64_t origin)
{
    uint64_t hash = ds_store_key_hash(s, key, key_size);
    uint32_t id;
    int rc;

    if (key_size == 0 || ds_store_lookup(s, ds_store_key_hash(s, key, key_size), &s->objects, key,
                                         key_size, DS_ID_NONE) == parent) {
        return DS_EINVAL;
    }
    rc = ds_store_record_note(s, DS_RECORD_NESTED,
                              &(struct ds_record){.size = parent,
                                                  .version = s->record[parent].version,
                                                  .origin = origin,
                                                  .key_size = (uint16_t)key_size},
                              key, &s->nest_child, hash, &id);
    if (rc == 0) {
        ds_table_insert(&s->nest_parent, ds_store_object_hash(parent), id);
        s->flags[parent] |= FLAG_NESTS;
    }
    return rc;
}

void ds_store_unnest(struct ds_store *s, uint32_t parent)
{
    uint64_t hash = ds_store_object_hash(parent);
    uint8_t key[DS_KEY_SIZE_MAX];
    uint32_t key_size;
    uint32_t id;

    for (;;) {
        id = ds_table_first(&s->nest_parent, hash);
        while (id != DS_ID_NONE && s->record[id].size != parent) {
            id = ds_table_next(&s->nest_parent, hash, id);
        }
        if (id == DS_ID_NONE) {
            return;
        }
        copy_key(s, id, key, &key_size);
        ds_table_remove(&s->nest_parent, hash, id);
        ds_table_remove(&s->nest_child, ds_store_key_hash(s, key, key_size), id);
        release_key(s, key, key_size);
        ds_store_record_free(s, id);
    }
}

/* --- latches --- */

/* The next latch record on an object. */
static uint32_t latch_next(const struct ds_store *s, uint32_t object, uint32_t from)
{
    uint64_t hash = ds_store_object_hash(object);
    uint32_t id = from == DS_ID_NONE ? ds_table_first(&s->latches, hash)
                                     : ds_table_next(&s->latches, hash, from);

    while (id != DS_ID_NONE && s->record[id].size != object) {
        id = ds_table_next(&s->latches, hash, id);
    }
    return id;
}

int ds_store_latch(struct ds_store *s, struct session *by, uint32_t id, bool write, uint64_t origin)
{
    uint32_t at;
    uint32_t latch;
    int rc;

    if ((ds_load_relaxed(&s->record[id].word) & DS_WORD_SEALED) != 0) {
        return write ? DS_ESEALED : 0;
    }
    for (at = latch_next(s, id, DS_ID_NONE); at != DS_ID_NONE; at = latch_next(s, id, at)) {
        const struct ds_record *r = &s->record[at];

        if (r->origin == origin) {
            return 0; /* this very request got it, before the worker was killed */
        }
        if (write || r->kind != 0) {
            return DS_EAGAIN;
        }
    }
    rc = ds_store_record_note(
        s, DS_RECORD_LATCH,
        &(struct ds_record){
            .size = id, .version = s->record[id].version, .origin = origin, .kind = write},
        NULL, &s->latches, ds_store_object_hash(id), &latch);
    if (rc == 0) {
        ds_list_append(&by->holds, s->link, latch);
    }
    return rc;
}

static void latch_end(struct ds_store *s, struct session *by, uint32_t latch)
{
    ds_table_remove(&s->latches, ds_store_object_hash((uint32_t)s->record[latch].size), latch);
    ds_list_remove(&by->holds, s->link, latch);
    ds_store_record_free(s, latch);
    s->examine = true;
}

int ds_store_unlatch(struct ds_store *s, struct session *by, uint32_t id, bool write,
                     uint64_t origin)
{
    uint32_t at = latch_next(s, id, DS_ID_NONE);

    while (at != DS_ID_NONE && (DS_ORIGIN_SESSION(s->record[at].origin) != by->number ||
                                (s->record[at].kind != 0) != write)) {
        at = latch_next(s, id, at);
    }
    if (at == DS_ID_NONE) {
        return (ds_load_relaxed(&s->record[id].word) & DS_WORD_SEALED) != 0 ? 0 : DS_ENOTINUSE;
    }
    ds_store_note_change(s, at, DS_RECORD_FREE, origin);
    latch_end(s, by, at);
    return 0;
}

void ds_store_latch_cancel(struct ds_store *s, struct session *by, unsigned slot, uint32_t number)
{
    uint64_t origin = DS_ORIGIN(by->number, slot, number, 0); /* such a request has one item */
    uint32_t id = by->holds.first;

    while (id != DS_ID_NONE) {
        uint32_t next = s->link[id].next;

        if (ds_store_state(s, id) == DS_RECORD_LATCH && s->record[id].origin == origin) {
            latch_end(s, by, id);
        }
        id = next;
    }
}

void ds_store_unlatch_all(struct ds_store *s, uint32_t object)
{
    uint32_t at;

    while (s->latches.n > 0 && (at = latch_next(s, object, DS_ID_NONE)) != DS_ID_NONE) {
        latch_end(s, s->session[DS_ORIGIN_SESSION(s->record[at].origin)], at);
    }
}

void ds_store_holds_end(struct ds_store *s, struct session *by)
{
    while (by->holds.first != DS_ID_NONE) {
        uint32_t id = by->holds.first;

        if (ds_store_state(s, id) == DS_RECORD_LATCH) {
            latch_end(s, by, id);
        } else {
            ref_end(s, by, id);
        }
    }
}
