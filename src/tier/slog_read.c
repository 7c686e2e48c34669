/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of records; everything is verified here. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/failpoint.h"
#include "base/sys_file.h"
#include "shm/window.h"
#include "tier/slog_internal.h"

_Static_assert(SLOG_CHUNK == DS_SLOG_PIECE, "what is verified is what is told of");

int ds_slog_errno(ssize_t rc)
{
    return rc >= 0                          ? 0
           : rc == -ENOSPC || rc == -EDQUOT ? DS_ENOSPACE
           : rc == -EMFILE || rc == -ENFILE ? DS_ENOSPACE /* no error of the disk */
           : rc == -ENOMEM                  ? DS_ENOMEM
                                            : DS_EIO;
}

/* The bytes are at *ret, inside buf; their edges are read too, for O_DIRECT. */
int ds_slog_read_range(struct ds_slog *s, int fd, uint64_t offset, uint64_t size, uint8_t *buf,
                       uint8_t **ret)
{
    uint64_t from = offset / SLOG_BLOCK * SLOG_BLOCK;
    uint64_t to = s->direct ? ds_align_up(offset + size, SLOG_BLOCK) : offset + size;
    ssize_t n;

    from = s->direct ? from : offset;
    DS_ASSERT(to - from <= SLOG_BUFFER);
    n = ds_sys_pread_some(fd, buf, to - from, from);
    if (n < 0) {
        return ds_slog_errno(n);
    }
    if ((uint64_t)n < offset + size - from) {
        return DS_ECORRUPT; /* the file is shorter than it was made */
    }
    *ret = buf + (offset - from);
    return 0;
}

static bool same(const struct slog_head *h, const struct slog_head *want, const void *key,
                 const uint8_t *found_key)
{
    return h->type == want->type && h->key_size == want->key_size &&
           h->value_size == want->value_size && h->version == want->version &&
           memcmp(key, found_key, h->key_size) == 0;
}

/* The checksums of the chunks; `tail` may lie anywhere. */
static int check_crcs(const struct slog_head *h, const uint8_t *tail, uint32_t *ret)
{
    uint64_t n = slog_chunks(h->value_size);
    uint32_t seal;

    memcpy(ret, tail, n * 4);
    memcpy(&seal, tail + n * 4, 4);
    return seal == ds_slog_crcs_seal(h, ret) ? 0 : DS_ECORRUPT;
}

/* A chunk: verified, then written out if that is asked. */
static int take_chunk(const struct ds_slog *s, const uint8_t *p, size_t n, uint32_t crc, int out_fd,
                      uint64_t out_offset)
{
    if (ds_crc32c(0, p, n) != crc) {
        return DS_ECORRUPT;
    }
    return out_fd < 0 ? 0
                      : ds_slog_errno(ds_window_write(s->config.window, out_fd, out_offset, p, n));
}

/* A value that does not fit into the buffer with its head. `op`: of a get, else NULL. */
static int read_long(struct ds_slog *s, const struct slog_file *f, uint64_t value_at,
                     const struct slog_head *h, int out_fd, uint64_t out_offset, struct slog_op *op,
                     uint8_t *buf)
{
    uint64_t n = slog_chunks(h->value_size);
    uint32_t *crcs = ds_zalloc(n * 4, "slog crcs");
    uint8_t *p;
    int rc = crcs == NULL
                 ? DS_ENOMEM
                 : ds_slog_read_range(s, f->fd, value_at + h->value_size, n * 4 + 4, buf, &p);

    rc = rc == 0 ? check_crcs(h, p, crcs) : rc;
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        uint64_t at = i * SLOG_CHUNK;
        uint64_t size = ds_min_u64(SLOG_CHUNK, h->value_size - at);

        (void)ds_failpoint("slog.read.piece");
        if (!s->began) { /* a scan by the owner, of what may be large */
            ds_slog_progress(s);
        }
        rc = ds_slog_read_range(s, f->fd, value_at + at, size, buf, &p);
        rc = rc == 0 ? take_chunk(s, p, size, crcs[i], out_fd, out_offset + at) : rc;
        if (rc == 0 && op != NULL && i + 1 < n) {
            ds_slog_tell_arrived(s, op, at + size);
        }
    }
    ds_free(crcs);
    return rc;
}

/* The head and, of a value of one chunk whose bytes are all there, the value. */
static int take(struct ds_slog *s, const struct slog_file *f, uint64_t offset,
                const struct slog_head *want, const void *key, const uint8_t *p, uint64_t size,
                int out_fd, uint64_t out_offset, struct slog_head *ret)
{
    struct slog_anchor a = slog_anchor_of(s, f->number);
    uint64_t value = sizeof(*ret) + want->key_size;
    uint32_t crcs[2];
    int rc;

    if (!ds_slog_head_check(&a, offset, f->size, p, size, ret) ||
        !same(ret, want, key, p + sizeof(*ret))) {
        return DS_ECORRUPT;
    }
    if (ret->value_size == 0 || ret->value_size > SLOG_CHUNK ||
        size < slog_record_size(ret->key_size, ret->value_size)) {
        return 0;
    }
    rc = check_crcs(ret, p + value + ret->value_size, crcs);
    return rc < 0 ? rc : take_chunk(s, p + value, ret->value_size, crcs[0], out_fd, out_offset);
}

int ds_slog_take_record(struct ds_slog *s, const struct slog_op *op, const uint8_t *p,
                        uint64_t size)
{
    struct slog_file f = slog_file_of(&s->segments[op->slot]);
    struct slog_head h;

    return take(s, &f, op->offset, &op->head, op->key, p, size, s->config.data_fd, op->data_offset,
                &h);
}

/* `op`: of a get, whose progress is told, else NULL. */
static int read_record(struct ds_slog *s, const struct slog_file *f, uint64_t offset,
                       const struct slog_head *want, const void *key, int out_fd,
                       uint64_t out_offset, struct slog_op *op, uint8_t *buf)
{
    uint64_t size = slog_record_size(want->key_size, want->value_size);
    uint64_t first = ds_min_u64(size, SLOG_BUFFER - 2 * SLOG_BLOCK);
    struct slog_head h;
    uint8_t *p;
    int rc;

    if (offset > f->size || size > f->size - offset) {
        return DS_ECORRUPT;
    }
    rc = ds_slog_read_range(s, f->fd, offset, first, buf, &p);
    rc = rc < 0 ? rc : take(s, f, offset, want, key, p, first, out_fd, out_offset, &h);
    if (rc == 0 && (first < size || h.value_size > SLOG_CHUNK)) {
        rc = read_long(s, f, offset + sizeof(h) + h.key_size, &h, out_fd, out_offset, op, buf);
    }
    return rc;
}

int ds_slog_read_record(struct ds_slog *s, const struct slog_file *f, uint64_t offset,
                        const struct slog_head *want, const void *key, int out_fd,
                        uint64_t out_offset, uint8_t *buf)
{
    return read_record(s, f, offset, want, key, out_fd, out_offset, NULL, buf);
}

int ds_slog_bytes_add(struct slog_bytes *b, const void *data, size_t size)
{
    if (size > b->room - b->size) {
        uint64_t room = ds_max_u64(b->room * 2, b->size + size + 4096);
        uint8_t *p = ds_realloc_array(b->data, room, 1, "slog summary");

        if (p == NULL) {
            return DS_ENOMEM;
        }
        b->data = p;
        b->room = room;
    }
    if (size > 0) {
        memcpy(b->data + b->size, data, size);
    }
    b->size += size;
    return 0;
}

int ds_slog_summary_add(struct slog_bytes *b, const struct slog_head *h, const void *key,
                        uint64_t offset)
{
    static const uint8_t zeros[8];
    struct slog_head entry = *h;
    uint64_t before = b->size;
    int rc;

    entry.magic = (uint32_t)(offset / SLOG_UNIT);
    entry.crc = 0;
    rc = ds_slog_bytes_add(b, &entry, sizeof(entry));
    rc = rc == 0 ? ds_slog_bytes_add(b, key, h->key_size) : rc;
    rc = rc == 0 ? ds_slog_bytes_add(b, zeros,
                                     slog_summary_size(h->key_size) - sizeof(entry) - h->key_size)
                 : rc;
    b->size = rc == 0 ? b->size : before;
    return rc;
}

int ds_slog_summary_each(const struct ds_slog *s, uint32_t slot, const struct slog_bytes *summary,
                         slog_each_fn *each, void *arg)
{
    uint64_t at = 0;
    uint64_t size = 1;
    int rc = 0;

    /* 0 before its end cannot be: the summary's checksum holds */
    while (rc == 0 && size > 0 && at < summary->size) {
        struct slog_head h;
        const uint8_t *key;

        size = ds_slog_summary_next(summary->data + at, summary->size - at, s->segments[slot].end,
                                    &h, &key);
        rc = size > 0 ? each(arg, slot, &h, key) : 0;
        at += size;
    }
    return rc;
}

void ds_slog_read(struct ds_slog *s, struct slog_op *op, uint8_t *buf)
{
    struct slog_file f = slog_file_of(&s->segments[op->slot]);

    if (op->type == OP_GET) {
        op->rc = read_record(s, &f, op->offset, &op->head, op->key, s->config.data_fd,
                             op->data_offset, op, buf);
    } else {
        struct slog_contents c = {.summary = {NULL, 0, 0}};

        op->rc = ds_slog_read_summary(s, &f, buf, &c);
        op->summary = c.summary.data;
        op->summary_size = c.summary.size;
    }
    ds_slog_note_read(s, op->rc);
}
