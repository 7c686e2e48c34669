/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - records of the state segment and what belongs to them: number, descriptor, key bytes.
 *
 * A record is filled while its state is FREE or GRANTED; one store of `word` makes it valid; later
 * only `word`, `gen` and `expiry_ns` change, each by one store. So a worker killed between any two
 * stores leaves a record that is either what it was or what it became.
 */
#include "base/hash.h"
#include "store/internal.h"

uint64_t ds_store_key_hash(const struct ds_store *s, const void *key, size_t key_size)
{
    return ds_hash(key, key_size, s->state->table_seed);
}

const uint8_t *ds_store_key(const struct ds_store *s, uint32_t id)
{
    return ds_index_key(&s->index, id, s->record[id].key_size);
}

/* Over everything that the word makes valid; a grant's size may still shrink within its block. */
uint32_t ds_store_check_of(const struct ds_store *s, uint32_t id)
{
    const struct ds_record *r = &s->record[id];
    const uint8_t *key = ds_store_key(s, id);
    uint64_t fields[6] = {r->offset,
                          r->size,
                          r->version,
                          r->origin,
                          (uint64_t)r->key_size << 16 | (uint64_t)r->mode << 8 | r->kind,
                          (uint64_t)id};
    uint64_t h = ds_hash(fields, sizeof(fields), DS_STATE_MAGIC);

    if (r->key_size > 0 && key != NULL) {
        h = ds_hash(key, r->key_size, h);
    }
    return (uint32_t)(h ^ h >> 32);
}

int ds_store_record_alloc(struct ds_store *s, uint32_t *ret)
{
    uint64_t used = ds_load_relaxed(&s->state->records_used);
    int rc;

    if (s->free_first != DS_ID_NONE) {
        *ret = s->free_first;
        s->free_first = s->link[*ret].next;
        s->record[*ret].key_size = 0; /* of one that was begun when an earlier worker was killed */
        return 0;
    }
    if (used >= s->state->record_max) {
        return DS_ENOMEM;
    }
    if ((used + 1) * sizeof(struct ds_record) > s->area_record.ready && !ds_segment_may_grow(0)) {
        return DS_ENOMEM;
    }
    rc = ds_area_need(&s->area_record, (used + 1) * sizeof(struct ds_record));
    if (rc == 0) {
        rc = ds_index_need_desc(&s->index, (uint32_t)used);
    }
    if (rc == 0) {
        ds_store_release(&s->state->records_used, used + 1);
        *ret = (uint32_t)used;
    }
    return rc;
}

void ds_store_record_free(struct ds_store *s, uint32_t id)
{
    struct ds_record *r = &s->record[id];

    if (r->key_size > DS_KEY_INLINE) {
        ds_arena_free(s->keys, ds_index_key_block(&s->index, id), r->key_size);
    }
    ds_store_release(&r->word, DS_RECORD_FREE); /* first: its check covers the key */
    r->key_size = 0;
    ds_store_set_order(s, id, 0);
    s->flags[id] = 0;
    s->link[id].next = s->free_first;
    s->free_first = id;
}

int ds_store_need_keys(struct ds_store *s, uint64_t bytes)
{
    uint64_t ready = s->index.area_key.ready;
    int rc = bytes > ready && !ds_segment_may_grow(bytes - ready)
                 ? DS_ENOMEM
                 : ds_index_need_keys(&s->index, bytes);

    if (rc == 0) {
        ds_store_release(&s->state->keys_ready, s->index.area_key.ready);
        ds_arena_grow(s->keys, s->index.area_key.ready);
    }
    return rc;
}

static int key_block(struct ds_store *s, uint32_t key_size, uint64_t *ret)
{
    int rc = ds_arena_alloc(s->keys, key_size, ret);

    /* A size class without a free block needs a whole slab: more than one step may be needed. */
    while (rc != 0 && ds_store_need_keys(s, s->index.area_key.ready + 1) == 0) {
        rc = ds_arena_alloc(s->keys, key_size, ret);
    }
    return rc;
}

int ds_store_write_key(struct ds_store *s, uint32_t id, const void *key, uint32_t key_size)
{
    uint64_t block = 0;
    int rc;

    DS_ASSERT(key_size <= DS_KEY_SIZE_MAX && s->record[id].key_size == 0);
    if (key_size > DS_KEY_INLINE) {
        rc = key_block(s, key_size, &block);
        if (rc != 0) {
            return rc;
        }
    }
    ds_index_write_key(&s->index, id, key, key_size, block);
    s->record[id].key_size = (uint16_t)key_size;
    return 0;
}

int ds_store_record_note(struct ds_store *s, enum ds_record_state state,
                         const struct ds_record *fields, const void *key, struct ds_table *table,
                         uint64_t hash, uint32_t *ret)
{
    struct ds_record *r;
    uint32_t id;
    int rc = ds_store_record_alloc(s, &id);

    if (rc != 0) {
        return rc;
    }
    r = &s->record[id];
    r->offset = 0;
    r->size = fields->size;
    r->version = fields->version;
    r->origin = fields->origin;
    r->mode = 0;
    r->kind = fields->kind;
    r->key_size = 0;
    rc = fields->key_size > 0 ? ds_store_write_key(s, id, key, fields->key_size) : 0;
    if (rc != 0) {
        ds_store_record_free(s, id);
        return rc;
    }
    r->check = ds_store_check_of(s, id);
    ds_store_release(&r->word, (uint64_t)state | UINT64_C(1) << 32);
    ds_table_insert(table, hash, id);
    *ret = id;
    return 0;
}

int ds_store_record_found(struct ds_store *s, const struct ds_store_found *f, uint64_t offset,
                          uint32_t *ret)
{
    struct ds_record *r;
    uint32_t id;
    int rc = ds_store_record_alloc(s, &id);

    if (rc != 0) {
        return rc;
    }
    rc = ds_store_write_key(s, id, f->key, (uint32_t)f->key_size);
    if (rc != 0) {
        ds_store_record_free(s, id);
        return rc;
    }
    r = &s->record[id];
    r->offset = offset;
    r->size = f->size;
    r->version = 0; /* a tier's clocks mean nothing here: any set is newer */
    r->origin = DS_ORIGIN(0, DS_ORIGIN_RING, 0, 0);
    r->mode = f->mode;
    r->kind = f->kind & DS_KIND_KEPT;
    ds_store_relaxed(&r->expiry_ns, f->expiry_ns);
    r->check = ds_store_check_of(s, id);
    *ret = id;
    return 0;
}

uint64_t ds_store_found_word(const struct ds_store_found *f)
{
    uint64_t word = DS_RECORD_LIVE;

    word |= (f->kind & DS_KIND_SEALED) != 0 ? DS_WORD_SEALED : 0;
    word |= f->unverified ? DS_WORD_UNVERIFIED : 0;
    return word | (f->uploaded ? DS_WORD_UPLOADED : 0); /* means something for modes with L2 only */
}

void ds_store_enter_found(struct ds_store *s, uint32_t id, const struct ds_store_found *f)
{
    ds_store_project(s, id, false);
    ds_index_put(&s->index, ds_index_hash(&s->index, f->key, f->key_size), id, DS_ID_NONE);
    ds_table_insert(&s->objects, ds_store_key_hash(s, f->key, f->key_size), id);
    s->stats.objects++;
}

uint32_t ds_store_lookup(const struct ds_store *s, uint64_t hash, const struct ds_table *t,
                         const void *key, size_t key_size, uint32_t from)
{
    uint32_t id = from == DS_ID_NONE ? ds_table_first(t, hash) : ds_table_next(t, hash, from);

    for (; id != DS_ID_NONE; id = ds_table_next(t, hash, id)) {
        const uint8_t *k = ds_store_key(s, id);

        if (s->record[id].key_size == key_size && k != NULL && memcmp(k, key, key_size) == 0) {
            break;
        }
    }
    return id;
}

bool ds_store_over(const struct ds_store *s, uint32_t id)
{
    int64_t expiry = ds_load_relaxed(&s->record[id].expiry_ns);

    return expiry != 0 && expiry <= s->now.boot_ns;
}

bool ds_store_end_if_over(struct ds_store *s, uint32_t id)
{
    if (!ds_store_over(s, id) || ds_store_hides_l2(s, id)) {
        return false;
    }
    ds_store_unpublish(s, id, DS_GONE_EXPIRED);
    return true;
}

uint32_t ds_store_find_any(struct ds_store *s, const void *key, size_t key_size)
{
    uint64_t hash = ds_store_key_hash(s, key, key_size);
    uint32_t id = ds_store_lookup(s, hash, &s->objects, key, key_size, DS_ID_NONE);

    return id != DS_ID_NONE && ds_store_end_if_over(s, id) ? DS_ID_NONE : id;
}

uint32_t ds_store_find(struct ds_store *s, const void *key, size_t key_size)
{
    uint32_t id = ds_store_find_any(s, key, key_size);

    return id != DS_ID_NONE && ds_store_over(s, id) ? DS_ID_NONE : id;
}
