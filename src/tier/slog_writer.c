/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer. It appends records where the owner placed them, through one buffer a stream. The
 * last, partly filled block stays in the buffer and is written again with what follows: its first
 * bytes are the same, so a torn write cannot hurt them.
 *
 * An operation that fails leaves a hole of its size, so that those behind it keep their places.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "base/sys_file.h"
#include "tier/slog_internal.h"

void ds_slog_note_read(struct ds_slog *s, int rc)
{
    if (rc == DS_EIO) {
        (void)pthread_mutex_lock(&s->lock);
        s->io_errors++;
        (void)pthread_mutex_unlock(&s->lock);
    }
}

/* After an error the disk may be given up: reads go on, writes fail. */
static void note_error(struct ds_slog *s, bool final)
{
    s->errors_in_row++;
    (void)pthread_mutex_lock(&s->lock);
    s->io_errors++;
    if (!s->stopped && (final || s->errors_in_row >= SLOG_WRITE_ERRORS_MAX)) {
        s->stopped = true;
        ds_slog_signal(s); /* nobody may be waiting for the sync that failed */
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* Not when the file system does not tell. */
bool ds_slog_is_nameless(int fd)
{
    struct stat st;

    return ds_sys_fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* What no name leads to ends with the process, however often it is synced. Who removes the
 * directory removes all of it, one by one. */
static bool is_removed(const struct ds_slog *s, int fd)
{
    return s->counts_names && (ds_slog_is_nameless(fd) || ds_slog_is_nameless(s->dir) ||
                               (s->kept.fd >= 0 && ds_slog_is_nameless(s->kept.fd)));
}

static void note_removed(struct ds_slog *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->removed = s->removed || !s->stopped;
    (void)pthread_mutex_unlock(&s->lock);
    note_error(s, true);
}

/* What a failed sync has lost cannot be known, and a second sync would not tell (Rebello et al.,
 * "Can Applications Recover from fsync Failures?", ATC 2020): writing ends. */
static int sync_fd(struct ds_slog *s, int fd)
{
    int rc = ds_failpoint("slog.sync.before");

    rc = rc < 0 ? rc : ds_sys_fdatasync(fd);
    if (rc == 0 && is_removed(s, fd)) {
        note_removed(s);
        return DS_EIO;
    }
    if (rc == 0) {
        (void)ds_failpoint("slog.sync.after");
        (void)pthread_mutex_lock(&s->lock);
        s->syncs++;
        (void)pthread_mutex_unlock(&s->lock);
        return 0;
    }
    note_error(s, true);
    return DS_EIO;
}

static int sync_stream(struct ds_slog *s, struct slog_stream *t)
{
    int rc = t->file.fd >= 0 && t->dirty_since_ns != 0 ? sync_fd(s, t->file.fd) : 0;

    t->dirty_since_ns = rc == 0 ? 0 : t->dirty_since_ns;
    return rc;
}

int ds_slog_sync_streams(struct ds_slog *s)
{
    int rc = 0;

    for (int i = 0; i < STREAMS; i++) {
        int rc2 = sync_stream(s, &s->streams[i]);

        rc = rc < 0 ? rc : rc2;
    }
    return rc;
}

bool ds_slog_dirty_since(const struct ds_slog *s, int64_t *ret_ns)
{
    int64_t since = 0;

    for (int i = 0; i < STREAMS; i++) {
        int64_t ns = s->streams[i].dirty_since_ns;

        since = ns != 0 && (since == 0 || ns < since) ? ns : since;
    }
    *ret_ns = since;
    return since != 0 && !s->stopped;
}

/* The operations whose last byte is written: all but `current`. */
static void finish_window(struct ds_slog *s, struct slog_stream *t, struct slog_op *current, int rc)
{
    struct slog_ops ops = t->window;
    struct slog_op *op;

    t->window = (struct slog_ops){NULL, NULL};
    while ((op = slog_pop(&ops)) != NULL) {
        op->rc = op->rc < 0 ? op->rc : rc;
        if (op == current) {
            slog_push(&t->window, op);
            continue;
        }
        if (op->rc == 0) {
            op->rc = ds_slog_summary_add(&t->summary, &op->head, op->key, op->offset);
        }
        if (op->rc == 0) {
            t->lsn_max = ds_max_u64(t->lsn_max, op->head.lsn);
            t->put_lsn_min = op->head.type == SLOG_PUT ? ds_min_u64(t->put_lsn_min, op->head.lsn)
                                                       : t->put_lsn_min;
        }
        if (op->durable && op->rc == 0) {
            slog_push(&t->written, op);
        } else {
            ds_slog_complete(s, op);
        }
    }
}

/* One write; in two halves where failpoints are compiled in, so that tests can end it between. */
static int write_window(const struct slog_stream *t, uint64_t size)
{
    uint64_t half = 0;
    int rc = ds_failpoint("slog.write.before");

#ifdef DS_FAILPOINTS
    half = size / 2 / 512 * 512;
    rc = rc < 0 ? rc : ds_sys_pwrite_all(t->file.fd, t->buf, half, t->base);
    rc = rc < 0 ? rc : ds_failpoint("slog.write.mid");
#endif
    return rc < 0 ? rc : ds_sys_pwrite_all(t->file.fd, t->buf + half, size - half, t->base + half);
}

/* Writes what the buffer holds. */
static void write_out(struct ds_slog *s, struct slog_stream *t, struct slog_op *current)
{
    uint64_t whole = t->fill / SLOG_BLOCK * SLOG_BLOCK;
    uint64_t size = ds_align_up(t->fill, SLOG_BLOCK);
    int rc;

    memset(t->buf + t->fill, 0, size - t->fill);
    rc = s->stopped ? -EIO : write_window(t, size);
    if (rc == 0) {
        (void)ds_failpoint("slog.write.after");
        s->errors_in_row = 0;
        t->dirty_since_ns = t->dirty_since_ns != 0 ? t->dirty_since_ns : ds_monotonic_ns();
        if (size == SLOG_WRITE && !s->direct) {
            ds_sys_start_writeback(t->file.fd); /* so that a sync has little to wait for */
        }
    } else {
        note_error(s, false);
    }
    memmove(t->buf, t->buf + whole, t->fill - whole);
    t->base += whole;
    t->fill -= whole;
    finish_window(s, t, current, ds_slog_errno(rc));
}

static void emit(struct ds_slog *s, struct slog_stream *t, struct slog_op *op, const void *data,
                 uint64_t size)
{
    const uint8_t *p = data;

    while (size > 0) {
        uint64_t n = ds_min_u64(size, SLOG_WRITE - t->fill);

        if (p != NULL) {
            memcpy(t->buf + t->fill, p, n);
            p += n;
        } else {
            memset(t->buf + t->fill, 0, n);
        }
        t->fill += n;
        size -= n;
        if (t->fill == SLOG_WRITE) {
            write_out(s, t, op);
        }
    }
}

/* Bytes of the record that is copied: into the scratch. */
static int read_source(struct ds_slog *s, struct slog_op *op, uint64_t at, uint64_t n,
                       uint8_t **ret)
{
    int rc = ds_failpoint("slog.move.read");

#ifdef DS_FAILPOINTS
    char point[48]; /* a test can name one record */

    (void)snprintf(point, sizeof(point), "slog.source.%llu", (unsigned long long)op->head.lsn);
    rc = rc < 0 ? rc : ds_failpoint(point);
#endif
    rc = rc < 0 ? ds_slog_errno(rc)
                : ds_slog_read_range(s, s->segments[op->from_slot].fd, op->from_offset + at, n,
                                     s->scratch, ret);
    if (rc == DS_EIO && !op->unread) {
        op->unread = true;
        ds_slog_note_read(s, rc);
    }
    return rc;
}

/* A piece of the value to `to`: from the owner's memory, or from the segment that is cleaned. */
static int fetch(struct ds_slog *s, struct slog_op *op, uint64_t at, uint64_t n, uint8_t *to)
{
    uint8_t *p;
    int rc;

    if (op->type != OP_MOVE) {
        return ds_slog_errno(ds_sys_pread_all(s->config.data_fd, to, n, op->data_offset + at));
    }
    rc = read_source(s, op, sizeof(op->head) + op->head.key_size + at, n, &p);
    if (rc == 0) {
        memcpy(to, p, n);
    }
    return rc;
}

static void emit_value(struct ds_slog *s, struct slog_stream *t, struct slog_op *op)
{
    uint64_t size = op->head.value_size;
    uint32_t crc = 0;

    for (uint64_t at = 0; at < size;) {
        uint64_t n = ds_min_u64(SLOG_WRITE - t->fill, SLOG_CHUNK - at % SLOG_CHUNK);
        int rc;

        n = ds_min_u64(n, size - at);
        rc = op->rc == 0 ? fetch(s, op, at, n, t->buf + t->fill) : op->rc;
        if (rc < 0) {
            op->rc = rc;
            emit(s, t, op, NULL, size - at);
            return;
        }
        crc = ds_crc32c(crc, t->buf + t->fill, n);
        t->fill += n;
        at += n;
        if (at % SLOG_CHUNK == 0 || at == size) {
            s->crcs[(at - 1) / SLOG_CHUNK] = crc;
            crc = 0;
        }
        if (t->fill == SLOG_WRITE) {
            write_out(s, t, op);
        }
    }
}

/* Whether the source of a copy has the head that the summary told. */
static int check_source(struct ds_slog *s, struct slog_op *op, struct slog_head *ret)
{
    struct slog_anchor a = slog_anchor_of(s, op->from_number);
    uint64_t size = sizeof(*ret) + op->head.key_size;
    uint8_t *p;
    int rc = read_source(s, op, 0, size, &p);

    if (rc == 0 &&
        (!ds_slog_head_check(&a, op->from_offset, s->segments[op->from_slot].size, p, size, ret) ||
         ret->lsn != op->head.lsn || ret->key_size != op->head.key_size ||
         ret->value_size != op->head.value_size ||
         memcmp(p + sizeof(*ret), op->key, ret->key_size) != 0)) {
        rc = DS_ECORRUPT;
    }
    return rc;
}

/* Whether the source of a copy has the checksums that were computed while it was copied. */
static int check_source_crcs(struct ds_slog *s, struct slog_op *op, const struct slog_head *source)
{
    uint64_t n = slog_chunks(source->value_size) * 4;
    uint32_t seal = ds_slog_crcs_seal(source, s->crcs);
    uint8_t *p;
    int rc = read_source(s, op, sizeof(*source) + source->key_size + source->value_size, n + 4, &p);

    return rc < 0                                                       ? rc
           : memcmp(p, s->crcs, n) == 0 && memcmp(p + n, &seal, 4) == 0 ? 0
                                                                        : DS_ECORRUPT;
}

/* For the checksums of a value and the one of these. */
static int make_crcs_room(struct ds_slog *s, uint64_t value_size)
{
    uint64_t n = slog_chunks(value_size) + 1;
    uint32_t *grown = n > s->crcs_room ? ds_realloc_array(s->crcs, n, 4, "slog crcs") : s->crcs;

    if (grown == NULL) {
        return DS_ENOMEM;
    }
    s->crcs = grown;
    s->crcs_room = ds_max_u64(s->crcs_room, n);
    return 0;
}

static void write_record(struct ds_slog *s, struct slog_op *op)
{
    struct slog_stream *t = &s->streams[op->stream];
    struct slog_anchor a = slog_anchor_of(s, op->number);
    uint64_t total = slog_record_size(op->head.key_size, op->head.value_size);
    uint64_t crcs = slog_crcs_size(op->head.value_size);
    struct slog_head source = {0};

    if (t->file.fd < 0 || t->file.number != op->number) {
        op->rc = t->rc < 0 ? t->rc : DS_EIO;
        ds_slog_complete(s, op);
        return;
    }
    DS_ASSERT(op->offset == t->base + t->fill);
    slog_push(&t->window, op);
    /* Without a value the summary, which was verified, has told all of it: a tombstone must not be
     * lost for an error of the disk. */
    op->rc = make_crcs_room(s, op->head.value_size);
    op->rc = op->rc == 0 && op->type == OP_MOVE && op->head.value_size > 0
                 ? check_source(s, op, &source)
                 : op->rc;
    if (op->rc < 0) {
        emit(s, t, op, NULL, total);
        return;
    }
    ds_slog_head_seal(&a, op->offset, &op->head, op->key);
    emit(s, t, op, &op->head, sizeof(op->head));
    emit(s, t, op, op->key, op->head.key_size);
    if (op->head.value_size > 0) {
        emit_value(s, t, op);
        if (op->rc == 0 && op->type == OP_MOVE) {
            op->rc = check_source_crcs(s, op, &source);
        }
        if (op->rc == 0) {
            s->crcs[slog_chunks(op->head.value_size)] = ds_slog_crcs_seal(&op->head, s->crcs);
        }
        emit(s, t, op, op->rc == 0 ? (void *)s->crcs : NULL, crcs); /* zeros: not a record */
    }
    emit(s, t, op, NULL, total - sizeof(op->head) - op->head.key_size - op->head.value_size - crcs);
}

static int make_segment(struct ds_slog *s, const struct slog_op *op, int *ret_fd, uint8_t *buf)
{
    char name[SLOG_NAME_MAX];
    struct slog_segment_head h = {.number = op->number,
                                  .lsn_start = op->head.lsn,
                                  .segment_size = op->size,
                                  .segments_max = op->segments_max};
    int fd;
    int rc = ds_failpoint("slog.open.before");

    ds_slog_segment_name(name, op->slot, op->number);
    fd = rc < 0 ? rc
                : ds_sys_openat(s->dir, name,
                                O_RDWR | O_CREAT | O_TRUNC | (s->direct ? O_DIRECT : 0), 0600);
    if (fd < 0) {
        return ds_slog_errno(fd);
    }
    memcpy(h.log_id, s->anchor.log_id, sizeof(h.log_id));
    ds_slog_segment_head_seal(&h);
    memset(buf, 0, SLOG_BLOCK);
    memcpy(buf, &h, sizeof(h));
    rc = ds_sys_reserve(fd, 0, op->size);
    rc = rc == 0 ? ds_sys_pwrite_all(fd, buf, SLOG_BLOCK, 0) : rc;
    rc = rc == 0 ? ds_failpoint("slog.open.mid") : rc;
    rc = rc == 0 ? ds_sys_fsync(fd) : rc;
    rc = rc == 0 ? ds_sys_fsync(s->dir) : rc;
    if (rc < 0) {
        (void)ds_sys_unlinkat(s->dir, name);
        ds_sys_close(fd);
        return ds_slog_errno(rc);
    }
    *ret_fd = fd;
    return 0;
}

static void open_segment(struct ds_slog *s, struct slog_op *op)
{
    struct slog_stream *t = &s->streams[op->stream];
    int rc = 0;
    int fd = -1;

    t->buf = t->buf != NULL ? t->buf : ds_sys_map_private(SLOG_WRITE);
    s->scratch = s->scratch != NULL ? s->scratch : ds_sys_map_private(SLOG_BUFFER);
    rc = t->buf == NULL || s->scratch == NULL ? DS_ENOMEM
         : s->stopped                         ? DS_EIO
                                              : make_segment(s, op, &fd, t->buf);
    if (rc == DS_EIO && is_removed(s, s->dir)) {
        note_removed(s);
    } else if (rc == DS_EIO) {
        note_error(s, false);
    }
    t->file = (struct slog_file){.fd = fd, .number = op->number, .size = op->size};
    t->rc = rc;
    t->base = SLOG_BLOCK;
    t->fill = 0;
    t->summary.size = 0;
    t->lsn_max = op->head.lsn;
    t->put_lsn_min = UINT64_MAX;
    t->dirty_since_ns = 0;
    s->segments[op->slot].fd = fd;
    op->rc = rc;
    ds_slog_complete(s, op);
}

/* The end of a segment: the summary ends where the trailer begins. `buf` has SLOG_WRITE bytes. */
int ds_slog_write_summary(struct ds_slog *s, const struct slog_file *f, struct slog_trailer *t,
                          const uint8_t *summary, uint8_t *buf)
{
    struct slog_anchor a = slog_anchor_of(s, f->number);
    uint64_t start = f->size - sizeof(*t) - t->summary_size;
    uint64_t base = start / SLOG_BLOCK * SLOG_BLOCK;
    uint64_t done = 0;

    if (base < ds_align_up(t->data_end, SLOG_BLOCK)) {
        return DS_ENOSPACE;
    }
    t->summary_crc = ds_crc32c(0, summary, t->summary_size);
    ds_slog_trailer_seal(&a, t);
    while (base < f->size) {
        uint64_t size = ds_min_u64(SLOG_WRITE, f->size - base);
        uint64_t skip = base < start ? start - base : 0;
        uint64_t n = ds_min_u64(size - skip, t->summary_size - done);
        int rc;

        memset(buf, 0, size);
        if (n > 0) {
            memcpy(buf + skip, summary + done, n);
        }
        done += n;
        if (base + size == f->size) {
            memcpy(buf + size - sizeof(*t), t, sizeof(*t));
        }
        rc = ds_sys_pwrite_all(f->fd, buf, size, base);
        if (rc < 0) {
            return ds_slog_errno(rc);
        }
        base += size;
    }
    return 0;
}

static void flush(struct ds_slog *s, struct slog_stream *t)
{
    if (t->window.first != NULL) {
        write_out(s, t, NULL);
    }
}

/* The records are on the disk before the summary says so. */
static void seal(struct ds_slog *s, struct slog_op *op)
{
    struct slog_stream *t = &s->streams[op->stream];
    struct slog_trailer trailer = {.summary_size = t->summary.size,
                                   .data_end = t->base + t->fill,
                                   .lsn_max = t->lsn_max,
                                   .put_lsn_min = t->put_lsn_min};

    flush(s, t);
    if (t->file.fd >= 0 && t->file.number == op->number && sync_stream(s, t) == 0 && !s->stopped) {
        trailer.summary_size = t->summary.size;
        trailer.lsn_max = t->lsn_max;
        trailer.put_lsn_min = t->put_lsn_min;
        op->rc = ds_failpoint("slog.seal.before");
        if (op->rc == 0) {
            op->rc = ds_slog_write_summary(s, &t->file, &trailer, t->summary.data, t->buf);
            (void)ds_failpoint("slog.seal.after");
        }
        if (op->rc == DS_EIO) {
            note_error(s, false);
        }
    }
    t->file.fd = -1; /* the descriptor stays with the segment, for reads */
    op->rc = 0;      /* without a summary the segment is scanned */
    ds_slog_complete(s, op);
}

/* What is gone with the segment was copied or superseded: that must be on the disk first. */
static void free_segment(struct ds_slog *s, struct slog_op *op)
{
    char name[SLOG_NAME_MAX];
    int rc;

    for (int i = 0; i < STREAMS; i++) {
        flush(s, &s->streams[i]);
    }
    rc = s->stopped ? DS_EIO : ds_slog_sync_streams(s);
    rc = rc == 0 ? ds_failpoint("slog.gc.unlink") : rc;
    if (rc == 0) {
        ds_slog_segment_name(name, op->slot, op->number);
        rc = ds_sys_unlinkat(s->dir, name);
        rc = rc == -ENOENT ? 0 : rc;
        if (rc == 0) {
            ds_sys_close(s->segments[op->slot].fd);
            s->segments[op->slot].fd = -1;
            (void)!sync_fd(s,
                           s->dir); /* a failure ends writing: no tombstone is dropped after it */
        } else {
            note_error(s, false);
        }
    }
    op->rc = rc < 0 ? DS_EIO : 0;
    ds_slog_complete(s, op);
}

/* Durable operations of both streams; others were answered when they were written. */
static void finish_durable(struct ds_slog *s)
{
    for (int i = 0; i < STREAMS; i++) {
        struct slog_stream *t = &s->streams[i];
        struct slog_op *op;
        int rc = t->written.first != NULL ? sync_stream(s, t) : 0;

        while ((op = slog_pop(&t->written)) != NULL) {
            op->rc = s->stopped ? DS_EIO : rc;
            ds_slog_complete(s, op);
        }
    }
}

/* The same of tombstones that only their file has: see ds_slog_kept_last(). */
static void finish_last(struct ds_slog *s)
{
    struct slog_kept *k = &s->kept;
    struct slog_op *op;

    if (s->last.first != NULL && !k->unsynced) {
        k->unsynced = k->fd < 0 || sync_fd(s, k->fd) < 0;
    }
    while ((op = slog_pop(&s->last)) != NULL) {
        op->rc = k->unsynced ? DS_EIO : op->rc;
        ds_slog_complete(s, op);
    }
}

void ds_slog_write_batch(struct ds_slog *s, struct slog_ops *ops)
{
    struct slog_op *op;

    while ((op = slog_pop(ops)) != NULL) {
        switch (op->type) {
        case OP_OPEN:
            open_segment(s, op);
            break;
        case OP_SEAL:
            seal(s, op);
            break;
        case OP_FREE:
            free_segment(s, op);
            break;
        default:
            if (op->last) {
                slog_push(&s->last, op);
            } else {
                write_record(s, op);
            }
            break;
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        flush(s, &s->streams[i]);
    }
    finish_durable(s);
    finish_last(s);
}

void ds_slog_writer_fini(struct ds_slog *s)
{
    for (int i = 0; i < STREAMS; i++) {
        ds_sys_unmap(s->streams[i].buf, SLOG_WRITE);
        ds_free(s->streams[i].summary.data);
    }
    ds_sys_unmap(s->scratch, SLOG_BUFFER);
    ds_free(s->crcs);
}
