/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the directory held. All summaries are read, and a table by key keeps the newest put, the
 * newest tombstone and the newest note of each. A put counts if no tombstone is newer; a note if it
 * is newer than the flags that the put carries.
 *
 * The same table finds orphans for an owner that knows its places: keys of which the newest record
 * is a put that he has not adopted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/sys.h"
#include "tier/slog_internal.h"

#define PROGRESS_KEYS 4096u /* told of between two calls of progress() */

struct known {
    struct slog_head put; /* lsn 0: none */
    const uint8_t *key;
    uint32_t key_size;
    uint32_t slot; /* of the put */
    uint64_t hash;
    uint64_t tombstone_lsn, note_lsn;
    uint64_t kept_lsn;    /* of a tombstone that only the file of tombstones may have */
    uint64_t adopted_lsn; /* of the newest put that the owner knows; 0: of none */
    uint16_t note_flags;
};

struct recovery {
    struct ds_slog *s;
    struct slog_bytes *summaries; /* one a slot */
    bool *unread;                 /* by slot: it cannot be read */
    struct known *known;
    size_t n, room;
    uint32_t *table; /* index + 1; 0: empty */
    size_t buckets;  /* a power of two */
};

static int compare_places(const void *a, const void *b)
{
    ds_slog_at x = *(const ds_slog_at *)a;
    ds_slog_at y = *(const ds_slog_at *)b;

    return (x > y) - (x < y);
}

static bool is_adopted(const struct ds_slog *s, uint32_t slot, const struct slog_head *h)
{
    ds_slog_at at = ds_slog_at_of(slot, s->segments[slot].number, (uint64_t)h->magic * SLOG_UNIT);

    return s->adopted_n > 0 && bsearch(&at, s->adopted, s->adopted_n, sizeof(at), compare_places);
}

static int grow(struct recovery *r)
{
    size_t room = r->room != 0 ? r->room * 2 : 1024;
    struct known *known = ds_realloc_array(r->known, room, sizeof(*known), "slog recovery");
    uint32_t *table;

    if (known == NULL) {
        return DS_ENOMEM;
    }
    r->known = known;
    table = ds_zalloc(room * 2 * sizeof(*table), "slog recovery");
    if (table == NULL) {
        return DS_ENOMEM;
    }
    ds_free(r->table);
    r->table = table;
    r->room = room;
    r->buckets = room * 2;
    for (size_t i = 0; i < r->n; i++) {
        size_t b = known[i].hash & (r->buckets - 1);

        while (table[b] != 0) {
            b = (b + 1) & (r->buckets - 1);
        }
        table[b] = (uint32_t)i + 1;
    }
    return 0;
}

static struct known *find(struct recovery *r, const uint8_t *key, uint32_t key_size)
{
    uint64_t hash = ds_hash(key, key_size, 0);
    size_t b;
    struct known *k;

    if (r->n == r->room && grow(r) < 0) {
        return NULL;
    }
    for (b = hash & (r->buckets - 1); r->table[b] != 0; b = (b + 1) & (r->buckets - 1)) {
        k = &r->known[r->table[b] - 1];
        if (k->hash == hash && k->key_size == key_size && memcmp(k->key, key, key_size) == 0) {
            return k;
        }
    }
    k = &r->known[r->n++];
    *k = (struct known){.key = key, .key_size = key_size, .hash = hash};
    r->table[b] = (uint32_t)r->n;
    return k;
}

static int take(void *arg, uint32_t slot, const struct slog_head *h, const uint8_t *key)
{
    struct recovery *r = arg;
    struct known *k = find(r, key, h->key_size);

    if (k == NULL) {
        return DS_ENOMEM;
    }
    if (h->type == SLOG_PUT && h->lsn > k->adopted_lsn && is_adopted(r->s, slot, h)) {
        k->adopted_lsn = h->lsn;
    }
    if (h->type == SLOG_TOMBSTONE) {
        k->tombstone_lsn = ds_max_u64(k->tombstone_lsn, h->lsn);
    } else if (h->type == SLOG_NOTE) {
        k->note_flags = h->lsn > k->note_lsn ? h->flags : k->note_flags;
        k->note_lsn = ds_max_u64(k->note_lsn, h->lsn);
    } else if (h->lsn > k->put.lsn || (h->lsn == k->put.lsn && h->flags_lsn > k->put.flags_lsn)) {
        k->put = *h;
        k->slot = slot;
    }
    return 0;
}

static int take_kept(void *arg, const struct slog_head *h, const uint8_t *key)
{
    struct known *k = find(arg, key, h->key_size);

    if (k == NULL) {
        return DS_ENOMEM;
    }
    k->kept_lsn = ds_max_u64(k->kept_lsn, h->lsn);
    return 0;
}

static int keep(void *arg, uint32_t slot, const struct slog_head *h, const uint8_t *key)
{
    struct slog_segment *g = &((struct ds_slog *)arg)->segments[slot];

    (void)key;
    if (h->type != SLOG_PUT) {
        g->keepers = true;
        g->keep += slog_record_size(h->key_size, h->value_size);
    }
    return 0;
}

static int load(struct recovery *r, uint32_t slot, uint8_t *buf)
{
    struct ds_slog *s = r->s;
    struct slog_segment *g = &s->segments[slot];
    struct slog_file f = slog_file_of(g);
    struct slog_contents c = {.summary = {NULL, 0, 0}};
    struct slog_bytes *b = &r->summaries[slot];
    int rc = ds_slog_read_summary(s, &f, buf, &c);

    if (rc < 0) {
        ds_free(c.summary.data);
        return rc;
    }
    *b = c.summary;
    ds_slog_tell_damage(s, slot, &c);
    g->keepers = false;
    return ds_slog_summary_each(s, slot, b, keep, s);
}

static int take_all(struct recovery *r)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < r->s->n_slots; i++) {
        ds_slog_progress(r->s);
        rc = ds_slog_summary_each(r->s, i, &r->summaries[i], take, r);
    }
    return rc;
}

static void tell(struct recovery *r, void (*each)(void *arg, const struct ds_slog_entry *e),
                 void *arg)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct known *k = &r->known[i];
        struct slog_segment *g = &r->s->segments[k->slot];
        struct ds_slog_entry e;

        if (i % PROGRESS_KEYS == 0) {
            ds_slog_progress(r->s);
        }
        if (k->put.lsn <= ds_max_u64(k->tombstone_lsn, k->kept_lsn) || k->put.lsn == 0) {
            continue;
        }
        g->live += slog_record_size(k->key_size, k->put.value_size);
        e = (struct ds_slog_entry){
            .key = k->key,
            .key_size = k->key_size,
            .mode = k->put.mode,
            .kind = k->put.kind,
            .flags = k->note_lsn > k->put.flags_lsn ? k->note_flags : k->put.flags,
            .version = k->put.version,
            .expiry_unix_ns = k->put.expiry_unix_ns,
            .size = k->put.value_size,
            .lsn = k->put.lsn,
            .at = ds_slog_at_of(k->slot, g->number, (uint64_t)k->put.magic * SLOG_UNIT),
            .doubtful = k->put.lsn < r->s->doubt_lsn};
        each(arg, &e);
    }
}

/* Of s->adopted: is_adopted() looks into it by halves. */
static void sort_adopted(struct ds_slog *s)
{
    if (s->adopted_n > 0) {
        qsort(s->adopted, s->adopted_n, sizeof(*s->adopted), compare_places);
    }
}

/* When all others are read: nothing is renamed for a disk that fails. */
static int set_aside_unread(struct recovery *r, uint32_t n, uint32_t all)
{
    struct ds_slog *s = r->s;
    int rc = 0;

    if (ds_slog_disk_fails(n, all)) {
        ds_slog_notice(s,
                       "%u of %u segments of %s cannot be read any more: see the system log for "
                       "errors of the disk. All stay as they are",
                       n, all, s->shown);
        return DS_EIO;
    }
    for (uint32_t i = 0; rc == 0 && n > 0 && i < s->n_slots; i++) {
        rc = r->unread[i] ? ds_slog_set_aside(s, i, EIO) : 0;
    }
    return rc;
}

static int load_all(struct recovery *r)
{
    struct ds_slog *s = r->s;
    uint8_t *buf = ds_sys_map_private(SLOG_BUFFER);
    uint32_t n = 0;
    uint32_t all = 0;
    int rc;

    r->summaries = ds_zalloc(s->n_slots * sizeof(*r->summaries), "slog recovery");
    r->unread = ds_zalloc(s->n_slots * sizeof(*r->unread), "slog recovery");
    rc = buf == NULL || r->summaries == NULL || r->unread == NULL ? DS_ENOMEM : 0;
    for (uint32_t i = 0; rc == 0 && i < s->n_slots; i++) {
        ds_slog_progress(s);
        if (s->segments[i].state == SEG_SEALED) {
            rc = load(r, i, buf);
            rc = rc == DS_EIO ? load(r, i, buf) : rc;
            r->unread[i] = rc == DS_EIO;
            n += rc == DS_EIO;
            all++;
            rc = rc == DS_EIO ? 0 : rc;
        }
    }
    rc = rc == 0 ? set_aside_unread(r, n, all) : rc;
    rc = rc == 0 ? ds_slog_make_gc_room(s, r->summaries) : rc;
    sort_adopted(s);
    rc = rc == 0 ? take_all(r) : rc;
    ds_sys_unmap(buf, SLOG_BUFFER);
    return rc;
}

static void forget_all(struct recovery *r)
{
    for (uint32_t i = 0; r->summaries != NULL && i < r->s->n_slots; i++) {
        ds_free(r->summaries[i].data);
    }
    ds_free(r->summaries);
    ds_free(r->unread);
    ds_free(r->known);
    ds_free(r->table);
    ds_slog_kept_forget_found(r->s);
}

/* The segments get the tombstones that only the file has, which is written anew from now on. */
static int bury_kept(struct recovery *r)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->n; i++) {
        const struct known *k = &r->known[i];

        if (k->put.lsn > k->tombstone_lsn && k->put.lsn <= k->kept_lsn) {
            rc = ds_slog_bury_quietly(r->s, k->key, k->key_size);
        }
    }
    return rc;
}

int ds_slog_recover(struct ds_slog *s, void (*each)(void *arg, const struct ds_slog_entry *e),
                    void *arg)
{
    struct recovery r = {.s = s};
    int rc = load_all(&r);

    rc = rc == 0 ? ds_slog_kept_each(s, take_kept, &r) : rc;
    rc = rc == 0 ? bury_kept(&r) : rc;
    if (rc == 0) {
        tell(&r, each, arg);
        s->began = true;       /* now that it is known what lives */
        ds_slog_wake_at(s, 1); /* what is dead can go */
    }
    forget_all(&r);
    return rc;
}

static int note_adopted(struct ds_slog *s, ds_slog_at at)
{
    if (s->adopted_n == s->adopted_room) {
        size_t room = s->adopted_room != 0 ? s->adopted_room * 2 : 1024;
        ds_slog_at *grown = ds_realloc_array(s->adopted, room, sizeof(*grown), "slog places");

        if (grown == NULL) {
            return DS_ENOMEM;
        }
        s->adopted = grown;
        s->adopted_room = room;
    }
    s->adopted[s->adopted_n++] = at;
    return 0;
}

int ds_slog_adopt(struct ds_slog *s, ds_slog_at at, size_t key_size, uint64_t size)
{
    uint32_t slot;
    uint64_t offset;
    struct slog_segment *g = ds_slog_find(s, at, &slot, &offset);
    uint64_t bytes = slog_record_size(key_size, size);
    int rc;

    if (g == NULL || size > g->size || bytes > g->end - offset ||
        bytes > g->end - SLOG_BLOCK - g->live) {
        return DS_ENOTFOUND;
    }
    rc = note_adopted(s, at);
    if (rc == 0) {
        g->live += bytes;
    }
    return rc;
}

bool ds_slog_has(const struct ds_slog *s, ds_slog_at at)
{
    uint32_t slot;
    uint64_t offset;

    return ds_slog_find(s, at, &slot, &offset) != NULL;
}

int ds_slog_adopted(struct ds_slog *s, void (*orphan)(void *arg, const void *key, size_t key_size),
                    void *arg)
{
    struct recovery r = {.s = s};
    int rc;

    rc = load_all(&r);
    s->began = rc == 0;
    for (size_t i = 0; rc == 0 && i < r.n; i++) {
        const struct known *k = &r.known[i];

        if (k->put.lsn > k->tombstone_lsn && k->adopted_lsn == 0) {
            orphan(arg, k->key, k->key_size);
        }
    }
    forget_all(&r);
    ds_free(s->adopted);
    s->adopted = NULL;
    s->adopted_n = s->adopted_room = 0;
    ds_slog_wake_at(s, 1);
    return rc;
}
