/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment without a sound summary is scanned: a place that is not sound does not end the search,
 * since a write before it may be lost while one after it, of another operation, was acknowledged.
 *
 * What is not sound is damage, or was never whole. A stream is written from front to back into a
 * file of zeros, and the checksums of a record are its last bytes. So a record was never whole if
 * they are zeros, or if a sector of it is; and bytes that are no record are the end of a write that
 * was cut off if no record follows them. All else is damage: it is counted, and a record of which
 * the head is sound stays known as the newest of its key, so that no older one comes back in its
 * place.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/sys_file.h"
#include "tier/slog_internal.h"

#define SECTOR 512u /* what a disk writes whole or not at all */

struct scan {
    struct ds_slog *s;
    const struct slog_file *file;
    uint64_t end;    /* of the file, as it is */
    uint8_t *record; /* SLOG_BUFFER */
    bool unsound;    /* bytes since the last record that are none, and not zeros */
    struct slog_contents *to;
};

static bool is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Whether value and checksums, [from, to) of the file, were written; *ret_ended: the last bytes.
 * What the first sector has of them was, together with the head. */
static int was_whole(const struct scan *c, uint64_t from, uint64_t to, bool *ret_ended, bool *ret)
{
    uint64_t sectors = ds_align_up(from, SECTOR);
    bool whole = true;

    *ret_ended = false;
    for (uint64_t at = from; at < to;) {
        uint64_t size = ds_min_u64(to, (at / SLOG_CHUNK + 1) * SLOG_CHUNK) - at;
        uint8_t *p;
        int rc = ds_slog_read_range(c->s, c->file->fd, at, size, c->record, &p);

        if (!c->s->began) {
            ds_slog_progress(c->s);
        }
        if (rc == DS_ECORRUPT) { /* the file ends before */
            whole = false;
            break;
        }
        if (rc < 0) {
            return rc;
        }
        for (uint64_t i = 0; i < size;) {
            uint64_t n = ds_min_u64(size - i, SECTOR - (at + i) % SECTOR);

            whole = whole && (at + i < sectors || !is_zero(p + i, n));
            i += n;
        }
        at += size;
        *ret_ended = at == to && !is_zero(p + size - ds_min_u64(size, 4), ds_min_u64(size, 4));
    }
    *ret = whole && *ret_ended;
    return 0;
}

/* A sound head: is it a record? */
static int look(struct scan *c, uint64_t at, const struct slog_head *h, const uint8_t *key,
                bool *ret)
{
    uint64_t value = at + sizeof(*h) + h->key_size;
    bool ended;
    int rc = ds_slog_read_record(c->s, c->file, at, h, key, -1, 0, c->record);

    *ret = rc == 0;
    if (rc != DS_ECORRUPT) {
        return rc;
    }
    rc = was_whole(c, value, value + h->value_size + slog_crcs_size(h->value_size), &ended, ret);
    c->to->damaged += rc == 0 && *ret;
    c->unsound = c->unsound || (ended && !*ret);
    return rc;
}

static int take(struct scan *c, uint64_t at, const struct slog_head *h, const uint8_t *key)
{
    struct slog_trailer *t = &c->to->trailer;

    c->to->damaged += c->unsound;
    c->unsound = false;
    c->to->records++;
    t->data_end = ds_max_u64(t->data_end, at + slog_record_size(h->key_size, h->value_size));
    t->lsn_max = ds_max_u64(t->lsn_max, h->lsn);
    if (h->type == SLOG_PUT) {
        t->put_lsn_min = ds_min_u64(t->put_lsn_min, h->lsn);
    }
    return ds_slog_summary_add(&c->to->summary, h, key, at);
}

/* The records of a part of the file, `size` bytes at p; *ret_next: where to go on. */
static int scan_part(struct scan *c, uint64_t at, const uint8_t *p, uint64_t size,
                     uint64_t *ret_next)
{
    struct slog_anchor a = slog_anchor_of(c->s, c->file->number);
    uint64_t next = at + size;
    int rc = 0;

    for (uint64_t i = 0; rc == 0 && i + SLOG_UNIT <= size;) {
        struct slog_head h;
        bool there;

        if (size - i < sizeof(h) + DS_SLOG_KEY_MAX && at + size < c->end) {
            next = at + i; /* this head may be cut off here */
            break;
        }
        if (!ds_slog_head_check(&a, at + i, c->file->size, p + i, size - i, &h)) {
            c->unsound = c->unsound || !is_zero(p + i, SLOG_UNIT);
            i += SLOG_UNIT;
            continue;
        }
        rc = look(c, at + i, &h, p + i + sizeof(h), &there);
        rc = rc == 0 && there ? take(c, at + i, &h, p + i + sizeof(h)) : rc;
        i += slog_record_size(h.key_size, h.value_size);
        next = ds_max_u64(next, at + i);
    }
    *ret_next = next;
    return rc;
}

int ds_slog_scan(struct ds_slog *s, const struct slog_file *f, uint8_t *buf,
                 struct slog_contents *ret)
{
    uint8_t *second = ds_zalloc(SLOG_BUFFER + SLOG_BLOCK, "slog scan");
    struct scan c = {.s = s,
                     .file = f,
                     .record = (uint8_t *)ds_align_up((uintptr_t)second, SLOG_BLOCK),
                     .to = ret};
    struct stat st = {0};
    int rc = second == NULL ? DS_ENOMEM : ds_slog_errno(ds_sys_fstat(f->fd, &st));

    ret->summary.size = 0;
    ret->records = ret->damaged = 0;
    ret->trailer = (struct slog_trailer){.data_end = SLOG_BLOCK, .put_lsn_min = UINT64_MAX};
    c.end = ds_min_u64(f->size, (uint64_t)st.st_size / SLOG_BLOCK * SLOG_BLOCK);
    for (uint64_t at = SLOG_BLOCK; rc == 0 && at < c.end;) {
        uint64_t size = ds_min_u64(SLOG_CHUNK, c.end - at);
        uint8_t *p;

        rc = ds_slog_read_range(s, f->fd, at, size, buf, &p);
        rc = rc == 0 ? scan_part(&c, at, p, size, &at) : rc;
    }
    ret->file_size = (uint64_t)st.st_size;
    ret->trailer.summary_size = ret->summary.size;
    ds_free(second);
    return rc;
}

int ds_slog_read_summary(struct ds_slog *s, const struct slog_file *f, uint8_t *buf,
                         struct slog_contents *ret)
{
    struct slog_anchor a = slog_anchor_of(s, f->number);
    struct slog_bytes *b = &ret->summary;
    struct slog_trailer t;
    uint64_t start;
    uint8_t *p;
    int rc = ds_slog_read_range(s, f->fd, f->size - sizeof(t), sizeof(t), buf, &p);

    if (rc < 0 && rc != DS_ECORRUPT) {
        return rc;
    }
    if (rc == 0) {
        memcpy(&t, p, sizeof(t));
    }
    if (rc < 0 || !ds_slog_trailer_check(&a, f->size, &t)) {
        return ds_slog_scan(s, f, buf, ret);
    }
    b->size = 0;
    start = f->size - sizeof(t) - t.summary_size;
    for (uint64_t at = 0; rc == 0 && at < t.summary_size;) {
        uint64_t n = ds_min_u64(SLOG_CHUNK, t.summary_size - at);

        rc = ds_slog_read_range(s, f->fd, start + at, n, buf, &p);
        rc = rc == 0 ? ds_slog_bytes_add(b, p, n) : rc;
        at += n;
    }
    if (rc == 0 && ds_crc32c(0, b->data, b->size) != t.summary_crc) {
        rc = ds_slog_scan(s, f, buf, ret);
        ret->damaged += rc == 0; /* the summary */
        return rc;
    }
    ret->trailer = t;
    ret->damaged = 0;
    ret->file_size = f->size;
    return rc;
}
