/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tombstones that are safe before the writer has them: in pages of a mapped file, which outlive
 * every process. Only a loss of power takes them with it, as it takes what a segment has not
 * synced. So a set over a key that was spilled need not wait for a disk that is busy.
 *
 * The file holds records as a segment does, of the number 0, which no segment has. It is a ring: a
 * record may be overwritten when the tombstone stands in a segment too. What has not been
 * overwritten yet does no harm: that all puts of a key below an LSN are void stays true. LSNs go on
 * above those in the file, even where the segments have lost theirs.
 *
 * When segments are not written any more, the file is where tombstones go, until it is full.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/sys.h"
#include "base/sys_file.h"
#include "tier/slog_internal.h"

#define FILE_NAME "tombstones"

/* A head that was begun and does not verify: damage, since a record is made so that no kill leaves
 * one. The checksum does not cover the magic: where that alone is wrong, it is put right. Inside a
 * sound record there is none, whatever its key looks like. */
static bool look(const struct ds_slog *s, uint64_t at, struct slog_head *ret, bool *ret_damaged)
{
    const uint32_t magic = SLOG_RECORD_MAGIC;
    const struct slog_kept *k = &s->kept;
    struct slog_anchor a = slog_anchor_of(s, 0);
    uint8_t *p = k->found + at;
    uint32_t found;
    bool sound;

    memcpy(&found, p, sizeof(found));
    memcpy(p, &magic, sizeof(magic));
    sound = ds_slog_head_check(&a, at, k->found_size, p, k->found_size - at, ret);
    *ret_damaged = found == magic ? !sound : sound;
    if (!sound) {
        memcpy(p, &found, sizeof(found));
    }
    return sound;
}

static uint64_t step(bool sound, const struct slog_head *h)
{
    return sound ? slog_record_size(h->key_size, h->value_size) : SLOG_UNIT;
}

int ds_slog_kept_each(struct ds_slog *s, slog_kept_fn *each, void *arg)
{
    const struct slog_kept *k = &s->kept;
    int rc = 0;

    for (uint64_t at = 0; at + SLOG_UNIT <= k->found_size && rc == 0;) {
        struct slog_head h;
        bool damaged;
        bool sound = look(s, at, &h, &damaged);

        if (sound && h.type == SLOG_TOMBSTONE) {
            rc = each(arg, &h, k->found + at + sizeof(h));
        }
        at += step(sound, &h);
    }
    return rc;
}

static int note_lsn(void *arg, const struct slog_head *h, const uint8_t *key)
{
    struct ds_slog *s = arg;

    (void)key;
    s->next_lsn = ds_max_u64(s->next_lsn, h->lsn + 1);
    return 0;
}

/* What an earlier process has left; the begin of the log takes it. */
static int read_found(struct ds_slog *s)
{
    struct slog_kept *k = &s->kept;
    struct stat st;
    uint64_t n = 0;
    int rc = ds_sys_fstat(k->fd, &st);

    k->found_size = rc == 0 ? ds_min_u64((uint64_t)st.st_size, SLOG_KEPT_MAX) : 0;
    if (rc == 0 && k->found_size > 0) {
        k->found = ds_sys_map_private(k->found_size);
        rc = k->found == NULL ? -ENOMEM : ds_sys_pread_all(k->fd, k->found, k->found_size, 0);
    }
    for (uint64_t at = 0; rc == 0 && at + SLOG_UNIT <= k->found_size;) {
        struct slog_head h;
        bool damaged;
        bool sound = look(s, at, &h, &damaged);

        n += damaged;
        at += step(sound, &h);
    }
    if (n > 0) {
        s->corrupt_read += n;
        ds_slog_notice(
            s,
            "%s/" FILE_NAME " is damaged: %llu tombstones in it do not verify, and keys "
            "that were deleted may come back: check the disk, and what else writes there",
            s->shown, (unsigned long long)n);
    }
    return rc == 0 ? ds_slog_kept_each(s, note_lsn, s) : rc;
}

int ds_slog_kept_open(struct ds_slog *s)
{
    struct slog_kept *k = &s->kept;
    uint64_t size = ds_min_u64(s->config.kept_size, SLOG_KEPT_MAX) / SLOG_BLOCK * SLOG_BLOCK;
    void *map = NULL;
    int rc;

    k->fd = ds_sys_openat(s->dir, FILE_NAME, O_RDWR | (size > 0 ? O_CREAT : 0), 0600);
    if (k->fd < 0) {
        return k->fd == -ENOENT ? 0 : k->fd;
    }
    rc = read_found(s);
    if (rc == 0 && size > 0 && size >= k->found_size && ds_sys_reserve(k->fd, 0, size) == 0 &&
        ds_sys_map(k->fd, size, true, &map) == 0) { /* without it tombstones wait for the writer */
        ds_sys_populate(map, size, true);
        ds_sys_pin(map, size); /* a page that is read anew from a disk that fails is a SIGBUS */
        k->map = map;
        k->size = size;
    }
    return rc;
}

void ds_slog_kept_forget_found(struct ds_slog *s)
{
    ds_sys_unmap(s->kept.found, s->kept.found_size);
    s->kept.found = NULL;
    s->kept.found_size = 0;
}

void ds_slog_kept_close(struct ds_slog *s)
{
    ds_slog_kept_forget_found(s);
    ds_sys_unmap(s->kept.map, s->kept.size);
    ds_sys_close(s->kept.fd);
}

/* What was found stands in the file until the segments have tombstones in its place. */
static bool has_room(const struct slog_kept *k, uint64_t size)
{
    uint64_t at = k->size > 0 ? k->head % k->size : 0;
    uint64_t skip = at + size > k->size ? k->size - at : 0;

    return k->map != NULL && k->head - k->tail + skip + size <= k->size &&
           (k->began || k->owed == 0);
}

bool ds_slog_kept_room(const struct ds_slog *s, uint64_t size)
{
    return !s->kept.closed && has_room(&s->kept, size);
}

/* What is left of a longer record behind the one that takes its place, up to the next record: a key
 * may look like the begin of a head. */
static void clear_rest(struct slog_kept *k, const struct slog_anchor *a, uint64_t at)
{
    const uint32_t magic = SLOG_RECORD_MAGIC;
    uint64_t end = ds_min_u64(k->size, at + slog_record_size(DS_SLOG_KEY_MAX, 0));

    for (; at < end; at += SLOG_UNIT) {
        struct slog_head h;

        if (memcmp(k->map + at, &magic, sizeof(magic)) != 0) {
            continue;
        }
        if (ds_slog_head_check(a, at, k->size, k->map + at, k->size - at, &h)) {
            return;
        }
        memset(k->map + at, 0, SLOG_UNIT);
    }
}

void ds_slog_kept_write(struct ds_slog *s, struct slog_op *op)
{
    struct slog_kept *k = &s->kept;
    struct slog_anchor a = slog_anchor_of(s, 0);
    struct slog_head h = op->head;
    uint64_t size = slog_record_size(h.key_size, 0);
    uint64_t at = k->head % k->size;
    _Atomic uint64_t *word;
    uint64_t first; /* magic and checksum */

    if (at + size > k->size) {
        k->head += k->size - at;
        at = 0;
    }
    word = (_Atomic uint64_t *)(uintptr_t)(k->map + at);
    ds_slog_head_seal(&a, at, &h, op->key);
    memcpy(&first, &h, sizeof(first));
    ds_store_release(word, 0); /* so that a kill leaves none that looks damaged */
    clear_rest(k, &a, at + size);
    memcpy(k->map + at + sizeof(h), op->key, h.key_size);
    memcpy(k->map + at + sizeof(first), (uint8_t *)&h + sizeof(first), sizeof(h) - sizeof(first));
    ds_store_release(word, first);
    k->head += size;
    k->began = true;
    op->kept_end = k->head;
}

void ds_slog_kept_done(struct ds_slog *s, const struct slog_op *op)
{
    struct slog_kept *k = &s->kept;

    k->owed -= op->owed && op->rc == 0;
    k->delayed -= op->delayed;
    k->closed =
        k->closed || op->rc < 0; /* the file alone has it: nothing is overwritten any more */
    k->reached = ds_max_u64(k->reached, op->kept_end);
    if (k->delayed == 0 && !k->closed) { /* the others are done in the order of requests */
        k->tail = k->reached;
    }
}

void ds_slog_kept_delay(struct ds_slog *s, struct slog_op *op)
{
    s->kept.delayed += op->kept_end != 0 && !op->delayed;
    op->delayed = op->kept_end != 0;
}

/* No segment takes tombstones any more: the file does, as many as it has room for, and the writer
 * syncs it. Nothing of it is given back. One without room fails behind the writer, too: the owner
 * counts on answers in the order of requests. false: it was here before. */
bool ds_slog_kept_last(struct ds_slog *s, struct slog_op *op)
{
    struct slog_kept *k = &s->kept;

    if (op->last) {
        return false;
    }
    k->closed = true;
    op->last = true;
    op->number = 0;
    op->stream = STREAM_PUT;
    if (op->kept_end == 0 && has_room(k, slog_record_size(op->head.key_size, 0))) {
        ds_slog_kept_write(s, op);
    }
    op->rc = op->kept_end != 0 ? 0 : DS_EIO;
    slog_push(&s->to_write, op);
    return true;
}
