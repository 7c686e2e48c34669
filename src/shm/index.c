/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.c - the index segment: layout and changes.
 *
 * Invariants
 *  1. An object that is in the index has exactly one entry, in the chain of its hash, or, between
 *     two stores of a split with `moves` odd, one in each of two chains.
 *  2. Entries never change place except under an odd `moves`; so a reader that finds `moves` even
 *     and unchanged around a fruitless walk knows that nothing slipped past it.
 *  3. A reader that walks a chain while it is cut may miss an entry. It then asks the worker: a
 * miss is never trusted, a hit is always verified.
 *
 *   format/attach -> put, put ... (every DS_LOAD-th entry splits one bucket) -> remove
 */
#include "shm/index.h"

#include "base/hash.h"

#define BUCKETS_START 256u
#define LOAD 5u /* mean entries a bucket: 12.8 bytes an object, about 1 chain in 12 overflows */

static uint64_t desc_max_of(uint64_t data_size)
{
    return ds_min_u64(data_size / DS_BLOCK_UNIT + 65536, UINT64_C(1) << 31);
}

/* Areas in order: header page, buckets, overflow buckets, descriptors, keys. All sparse. */
static uint64_t plan(uint64_t data_size, struct ds_index_header *h)
{
    uint64_t descs = desc_max_of(data_size);
    uint64_t buckets = descs / LOAD + BUCKETS_START;
    uint64_t at = DS_PAGE_SIZE;

    h->desc_max = (uint32_t)descs;
    h->bucket_max = (uint32_t)buckets - 1; /* one behind the last is always there: see sweep */
    h->overflow_max = (uint32_t)buckets;
    h->bucket_offset = at;
    at = ds_align_up(at + buckets * sizeof(struct ds_bucket), DS_PAGE_SIZE);
    h->overflow_offset = at;
    at = ds_align_up(at + buckets * sizeof(struct ds_bucket), DS_PAGE_SIZE);
    h->desc_offset = at;
    at = ds_align_up(at + descs * sizeof(struct ds_desc), DS_PAGE_SIZE);
    h->key_offset = at;
    h->key_area_size = descs * 256;
    at = ds_align_up(at + h->key_area_size, DS_PAGE_SIZE);
    h->key_area_size = at - h->key_offset;
    h->segment_size = at;
    h->data_size = data_size;
    return at;
}

uint64_t ds_index_size(uint64_t data_size)
{
    struct ds_index_header h;

    return plan(data_size, &h);
}

static bool area_inside(uint64_t size, uint64_t offset, uint64_t count, uint64_t each)
{
    return offset % DS_CACHE_LINE == 0 && offset <= size && count <= (size - offset) / each;
}

int ds_index_map_init(struct ds_index_map *map, const void *base, uint64_t size)
{
    const struct ds_index_header *h = base;

    if (size < DS_PAGE_SIZE || h->magic != DS_INDEX_MAGIC) {
        return DS_ECORRUPT;
    }
    if (h->abi != DS_SHM_ABI) {
        return DS_EVERSION;
    }
    if (!area_inside(size, h->bucket_offset, h->bucket_max, sizeof(struct ds_bucket)) ||
        !area_inside(size, h->overflow_offset, h->overflow_max, sizeof(struct ds_bucket)) ||
        !area_inside(size, h->desc_offset, h->desc_max, sizeof(struct ds_desc)) ||
        !area_inside(size, h->key_offset, h->key_area_size, 1) ||
        ds_load_acquire(&h->buckets) == 0 || ds_load_acquire(&h->buckets) > h->bucket_max) {
        return DS_ECORRUPT;
    }
    *map = (struct ds_index_map){
        .header = h,
        .bucket = (const void *)((const uint8_t *)base + h->bucket_offset),
        .overflow = (const void *)((const uint8_t *)base + h->overflow_offset),
        .desc = (const void *)((const uint8_t *)base + h->desc_offset),
        .base = base,
        .size = size,
        .seed = h->hash_seed,
        .desc_max = h->desc_max,
        .overflow_max = h->overflow_max,
    };
    return 0;
}

static void set_pointers(struct ds_index *ix, struct ds_segment *seg)
{
    struct ds_index_header *h = (void *)seg->base;

    ix->header = h;
    ix->bucket = (void *)(seg->base + h->bucket_offset);
    ix->overflow = (void *)(seg->base + h->overflow_offset);
    ix->desc = (void *)(seg->base + h->desc_offset);
    ix->keys = seg->base + h->key_offset;
    ix->area_bucket =
        (struct ds_area){seg, h->bucket_offset, h->bucket_max * sizeof(struct ds_bucket), 0};
    ix->area_overflow =
        (struct ds_area){seg, h->overflow_offset, h->overflow_max * sizeof(struct ds_bucket), 0};
    ix->area_desc = (struct ds_area){seg, h->desc_offset, h->desc_max * sizeof(struct ds_desc), 0};
    ix->area_key = (struct ds_area){seg, h->key_offset, h->key_area_size, 0};
}

int ds_index_format(struct ds_index *ix, struct ds_segment *seg, uint64_t data_size, uint64_t seed)
{
    struct ds_index_header *h = (void *)seg->base;
    int rc = ds_segment_reserve(seg, 0, DS_PAGE_SIZE);

    if (rc != 0) {
        return rc;
    }
    DS_ASSERT(plan(data_size, h) <= seg->size);
    h->segment_size = seg->size;
    h->header_size = sizeof(*h);
    h->abi = DS_SHM_ABI;
    h->hash_seed = seed;
    ds_store_relaxed(&h->buckets, BUCKETS_START);
    ds_store_relaxed(&h->asleep, 0);
    *ix = (struct ds_index){0};
    set_pointers(ix, seg);
    rc = ds_area_need(&ix->area_bucket, BUCKETS_START * sizeof(struct ds_bucket));
    if (rc != 0) {
        return rc;
    }
    h->magic = DS_INDEX_MAGIC;
    return ds_index_map_init(&ix->map, seg->base, seg->size);
}

int ds_index_attach(struct ds_index *ix, struct ds_segment *seg)
{
    uint64_t n;
    int rc;

    *ix = (struct ds_index){0};
    rc = ds_index_map_init(&ix->map, seg->base, seg->size);
    if (rc != 0) {
        return rc;
    }
    set_pointers(ix, seg);
    n = ds_load_relaxed(&ix->header->buckets);
    /* A worker killed in a split left `moves` odd: entries may stand twice; the sweep mends it. */
    return ds_area_need(&ix->area_bucket, (n + 1) * sizeof(struct ds_bucket));
}

int ds_index_need_desc(struct ds_index *ix, uint32_t id)
{
    return ds_area_need(&ix->area_desc, ((uint64_t)id + 1) * sizeof(struct ds_desc));
}

int ds_index_need_keys(struct ds_index *ix, uint64_t end)
{
    return ds_area_need(&ix->area_key, end);
}

uint64_t ds_index_hash(const struct ds_index *ix, const void *key, size_t key_size)
{
    return ds_hash(key, key_size, ix->map.seed);
}

uint64_t ds_index_key_block(const struct ds_index *ix, uint32_t id)
{
    return ix->desc[id].key.offset - ix->header->key_offset;
}

const uint8_t *ds_index_key(const struct ds_index *ix, uint32_t id, uint32_t key_size)
{
    uint64_t block;

    if (key_size <= DS_KEY_INLINE) {
        return ix->desc[id].key.bytes;
    }
    block = ds_index_key_block(ix, id);
    if (block > ix->area_key.ready || key_size > ix->area_key.ready - block) {
        return NULL;
    }
    return ix->keys + block;
}

void ds_index_write_key(struct ds_index *ix, uint32_t id, const void *key, uint32_t key_size,
                        uint64_t key_offset)
{
    struct ds_desc *d = &ix->desc[id];

    if (key_size <= DS_KEY_INLINE) {
        memcpy(d->key.bytes, key, key_size);
        return;
    }
    DS_ASSERT(key_offset + key_size <= ix->area_key.ready);
    d->key.offset = ix->header->key_offset + key_offset;
    memcpy(ix->keys + key_offset, key, key_size);
}

static struct ds_bucket *chain_next(const struct ds_index *ix, const struct ds_bucket *b)
{
    uint64_t next = ds_load_relaxed(&b->next);

    return next == 0 || next > ix->overflow_used ? NULL : &ix->overflow[next - 1];
}

/* Appends an overflow bucket with one entry in it. False: no memory, or the chain is full. */
static bool extend(struct ds_index *ix, struct ds_bucket *last, uint64_t entry)
{
    struct ds_bucket *b;
    uint32_t number = ix->overflow_free;

    if (number != 0) {
        ix->overflow_free = (uint32_t)ds_load_relaxed(&ix->overflow[number - 1].next);
    } else if (ix->overflow_used < ix->header->overflow_max &&
               ds_area_need(&ix->area_overflow, (ix->overflow_used + UINT64_C(1)) * sizeof(*b)) ==
                   0) {
        number = ++ix->overflow_used;
    } else {
        return false;
    }
    b = &ix->overflow[number - 1];
    for (unsigned i = 0; i < DS_BUCKET_ENTRIES; i++) {
        ds_store_relaxed(&b->entry[i], i == 0 ? entry : 0);
    }
    ds_store_relaxed(&b->next, 0);
    ds_store_release(&last->next, number); /* pairs with ds_index_chain_next() */
    return true;
}

/* The slot of `entry` in the chain of bucket b, or its first free slot with entry = 0. */
static _Atomic uint64_t *find(const struct ds_index *ix, struct ds_bucket *b, uint64_t entry,
                              struct ds_bucket **ret_last, unsigned *ret_length)
{
    unsigned length = 0;

    for (; b != NULL && length < DS_CHAIN_MAX; b = chain_next(ix, b)) {
        for (unsigned i = 0; i < DS_BUCKET_ENTRIES; i++) {
            if (ds_load_relaxed(&b->entry[i]) == entry) {
                return &b->entry[i];
            }
        }
        *ret_last = b;
        length++;
    }
    *ret_length = length;
    return NULL;
}

static void insert(struct ds_index *ix, struct ds_bucket *chain, uint64_t entry)
{
    struct ds_bucket *last = chain;
    unsigned length = 0;
    _Atomic uint64_t *slot = find(ix, chain, 0, &last, &length);

    if (slot != NULL) {
        ds_store_release(slot, entry); /* P7: pairs with ds_index_next() */
    } else if (length >= DS_CHAIN_MAX || !extend(ix, last, entry)) {
        ix->unindexed++;
        return;
    }
    ix->entries++;
}

static struct ds_bucket *chain_of(const struct ds_index *ix, uint64_t hash)
{
    return &ix->bucket[ds_bucket_of(hash, ds_load_relaxed(&ix->header->buckets))];
}

static uint64_t hash_of(const struct ds_index *ix, uint32_t id)
{
    uint32_t key_size = DS_META_KEY_SIZE(ds_load_relaxed(&ix->desc[id].meta));
    const uint8_t *key = key_size <= DS_KEY_SIZE_MAX ? ds_index_key(ix, id, key_size) : NULL;

    return key != NULL ? ds_index_hash(ix, key, key_size) : 0;
}

static void moves_begin(struct ds_index *ix)
{
    ds_store_relaxed(&ix->header->moves, ds_load_relaxed(&ix->header->moves) | 1);
    ds_fence_full();
}

static void moves_end(struct ds_index *ix)
{
    ds_store_release(&ix->header->moves, (ds_load_relaxed(&ix->header->moves) | 1) + 1);
}

/* Cuts empty overflow buckets out of a chain. Only under odd `moves`. */
static void trim(struct ds_index *ix, struct ds_bucket *b)
{
    struct ds_bucket *o;

    while ((o = chain_next(ix, b)) != NULL) {
        bool empty = true;

        for (unsigned i = 0; i < DS_BUCKET_ENTRIES; i++) {
            empty = empty && ds_load_relaxed(&o->entry[i]) == 0;
        }
        if (!empty) {
            b = o;
            continue;
        }
        ds_store_release(&b->next, ds_load_relaxed(&o->next));
        ds_store_relaxed(&o->next, ix->overflow_free);
        ix->overflow_free = (uint32_t)(o - ix->overflow) + 1;
    }
}

/* Moves the entries that belong there from the next bucket in turn to a new one. */
static void split(struct ds_index *ix)
{
    uint64_t n = ds_load_relaxed(&ix->header->buckets);
    uint64_t low = UINT64_C(1) << (63 - __builtin_clzll(n));
    struct ds_bucket *from = &ix->bucket[n - low];
    struct ds_bucket *to = &ix->bucket[n];

    if (n >= ix->header->bucket_max || ds_area_need(&ix->area_bucket, (n + 1) * sizeof(*to)) != 0) {
        return; /* chains grow longer instead */
    }
    moves_begin(ix);
    for (struct ds_bucket *b = from; b != NULL; b = chain_next(ix, b)) {
        for (unsigned i = 0; i < DS_BUCKET_ENTRIES; i++) {
            uint64_t e = ds_load_relaxed(&b->entry[i]);

            if ((uint32_t)e != 0 && ds_bucket_of(hash_of(ix, (uint32_t)e - 1), n + 1) == n) {
                insert(ix, to, e);
            }
        }
    }
    ds_store_release(&ix->header->buckets, n + 1); /* pairs with ds_index_chain() */
    for (struct ds_bucket *b = from; b != NULL; b = chain_next(ix, b)) {
        for (unsigned i = 0; i < DS_BUCKET_ENTRIES; i++) {
            uint64_t e = ds_load_relaxed(&b->entry[i]);

            if ((uint32_t)e != 0 && ds_bucket_of(hash_of(ix, (uint32_t)e - 1), n + 1) == n) {
                ds_store_release(&b->entry[i], 0);
                ix->entries--;
            }
        }
    }
    trim(ix, from);
    moves_end(ix);
}

void ds_index_put(struct ds_index *ix, uint64_t hash, uint32_t id, uint32_t old)
{
    struct ds_bucket *chain = chain_of(ix, hash);
    struct ds_bucket *last = chain;
    unsigned length;

    if (old != DS_ID_NONE) {
        _Atomic uint64_t *slot = find(ix, chain, ds_bucket_entry(hash, old), &last, &length);

        if (slot != NULL) {
            ds_store_release(slot, ds_bucket_entry(hash, id)); /* P7 */
            return;
        }
    }
    insert(ix, chain, ds_bucket_entry(hash, id));
    if (ix->entries > LOAD * ds_load_relaxed(&ix->header->buckets)) {
        split(ix);
    }
}

void ds_index_remove(struct ds_index *ix, uint64_t hash, uint32_t id)
{
    struct ds_bucket *chain = chain_of(ix, hash);
    struct ds_bucket *last = chain;
    unsigned length;
    _Atomic uint64_t *slot = find(ix, chain, ds_bucket_entry(hash, id), &last, &length);

    if (slot != NULL) {
        ds_store_release(slot, 0);
        ix->entries--;
    }
}

bool ds_index_has(const struct ds_index *ix, uint64_t hash, uint32_t id)
{
    struct ds_bucket *last;
    unsigned length;

    return find(ix, chain_of(ix, hash), ds_bucket_entry(hash, id), &last, &length) != NULL;
}

/* Marks every overflow bucket that a chain uses; the rest is free. `used` counts the highest. */
static void sweep_chain(struct ds_index *ix, struct ds_bucket *b, uint64_t number,
                        ds_index_keep *keep, void *arg)
{
    uint64_t n = ds_load_relaxed(&ix->header->buckets);
    unsigned length = 0;

    for (; b != NULL; b = chain_next(ix, b)) {
        for (unsigned i = 0; i < DS_BUCKET_ENTRIES; i++) {
            uint64_t e = ds_load_relaxed(&b->entry[i]);
            uint32_t id = (uint32_t)e - 1;

            if (e == 0) {
                continue;
            }
            if ((uint32_t)e == 0 || id >= ix->header->desc_max ||
                !keep(arg, id, (uint32_t)(e >> 32)) || ds_bucket_of(hash_of(ix, id), n) != number) {
                ds_store_release(&b->entry[i], 0);
            } else {
                ix->entries++;
            }
        }
        if (++length == DS_CHAIN_MAX) {
            ds_store_release(&b->next, 0);
        }
    }
}

void ds_index_sweep(struct ds_index *ix, ds_index_keep *keep, void *arg)
{
    uint64_t n = ds_load_relaxed(&ix->header->buckets);

    moves_begin(ix);
    for (unsigned i = 0; i < DS_BUCKET_ENTRIES; i++) { /* of a split that was not published */
        ds_store_relaxed(&ix->bucket[n].entry[i], 0);
    }
    ds_store_relaxed(&ix->bucket[n].next, 0);
    /* Which overflow buckets were in use is not stored: find the highest that has memory. Overflow
     * buckets that no chain names are lost until the next clean start; a split loses at most one.
     */
    for (uint64_t i = 0; i < n; i++) {
        struct ds_bucket *b = &ix->bucket[i];

        for (unsigned length = 0; length < DS_CHAIN_MAX; length++) {
            uint64_t next = ds_load_relaxed(&b->next);

            if (next == 0 || next > ix->header->overflow_max ||
                ds_area_need(&ix->area_overflow, next * sizeof(*b)) != 0) {
                ds_store_relaxed(&b->next, 0);
                break;
            }
            ix->overflow_used = (uint32_t)ds_max_u64(ix->overflow_used, next);
            b = &ix->overflow[next - 1];
        }
    }
    for (uint64_t i = 0; i < n; i++) {
        sweep_chain(ix, &ix->bucket[i], i, keep, arg);
        trim(ix, &ix->bucket[i]);
    }
    moves_end(ix);
}

int ds_index_check(const struct ds_index *ix)
{
    uint64_t n = ds_load_relaxed(&ix->header->buckets);
    uint64_t entries = 0;

    for (uint64_t i = 0; i < n; i++) {
        unsigned length = 0;

        for (struct ds_bucket *b = &ix->bucket[i]; b != NULL; b = chain_next(ix, b)) {
            if (++length > DS_CHAIN_MAX) {
                return DS_ECORRUPT;
            }
            for (unsigned k = 0; k < DS_BUCKET_ENTRIES; k++) {
                uint64_t e = ds_load_relaxed(&b->entry[k]);
                uint64_t hash = e == 0 ? 0 : hash_of(ix, (uint32_t)e - 1);

                if (e != 0 && (hash >> 32 != e >> 32 || ds_bucket_of(hash, n) != i)) {
                    return DS_ECORRUPT;
                }
                entries += e != 0;
            }
        }
    }
    return entries == ix->entries ? 0 : DS_ECORRUPT;
}
