/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a segment of a log, or (4 in the first byte) as its file of tombstones, with
 * checksums made right so that the code behind them is met: heads anywhere, a summary, a trailer.
 * Whatever is found lies inside.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/sys.h"
#include "tier/slog_internal.h"

#define SEGMENT (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* Every head whose magic is there gets the checksum that it should have. */
static void seal_heads(const struct slog_anchor *a, uint8_t *segment, uint64_t from)
{
    for (uint64_t at = from; at + SLOG_UNIT <= SEGMENT; at += SLOG_UNIT) {
        struct slog_head h;

        memcpy(&h, segment + at, sizeof(h));
        if (h.magic == SLOG_RECORD_MAGIC && at + sizeof(h) + h.key_size <= SEGMENT) {
            ds_slog_head_seal(a, at, &h, segment + at + sizeof(h));
            memcpy(segment + at, &h, sizeof(h));
        }
    }
}

static void seal_trailer(const struct slog_anchor *a, uint8_t *segment)
{
    struct slog_trailer t;

    memcpy(&t, segment + SEGMENT - sizeof(t), sizeof(t));
    if (t.summary_size <= SEGMENT - SLOG_BLOCK - sizeof(t)) {
        t.summary_crc =
            ds_crc32c(0, segment + SEGMENT - sizeof(t) - t.summary_size, t.summary_size);
    }
    ds_slog_trailer_seal(a, &t);
    memcpy(segment + SEGMENT - sizeof(t), &t, sizeof(t));
}

static void walk(const struct slog_bytes *b, uint64_t data_end)
{
    struct slog_head h;
    const uint8_t *key;
    uint64_t n;

    for (uint64_t at = 0; at < b->size; at += n) {
        n = ds_slog_summary_next(b->data + at, b->size - at, data_end, &h, &key);
        if (n == 0) {
            return;
        }
        must(n <= b->size - at && key + h.key_size <= b->data + b->size);
        must((uint64_t)h.magic * SLOG_UNIT + slog_record_size(h.key_size, h.value_size) <=
             data_end);
    }
}

static int inside(void *arg, const struct slog_head *h, const uint8_t *key)
{
    const struct slog_kept *k = arg;

    must(h->key_size > 0 && key >= k->found + sizeof(*h));
    must(key + h->key_size <= k->found + k->found_size);
    return 0;
}

static void tombstones(struct ds_slog *s, uint8_t *file, const uint8_t *data, size_t size)
{
    struct slog_anchor a = slog_anchor_of(s, 0);

    memcpy(file, data, ds_min_u64(size, SEGMENT));
    seal_heads(&a, file, 0);
    s->kept.found = file;
    s->kept.found_size = ds_min_u64(size, SEGMENT);
    must(ds_slog_kept_each(s, inside, &s->kept) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ds_slog *s;
    uint8_t *segment;
    uint8_t *buf;
    struct slog_anchor a = {{1}, 7};
    struct slog_contents c = {.summary = {NULL, 0, 0}};
    struct slog_file f;
    int fd;

    if (size == 0) { /* the first byte says what is made right */
        return 0;
    }
    s = ds_zalloc(sizeof(*s), "fuzz");
    segment = ds_zalloc(SEGMENT, "fuzz");
    buf = ds_sys_map_private(SLOG_BUFFER);
    fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(s != NULL && segment != NULL && buf != NULL && fd >= 0);
    s->segment_size = SEGMENT;
    s->anchor = a;
    tombstones(s, segment, data + 1, (data[0] & 4) != 0 ? size - 1 : 0);
    memset(segment, 0, SEGMENT);
    memcpy(segment + SLOG_BLOCK, data + 1, ds_min_u64(size - 1, SEGMENT - SLOG_BLOCK));
    if ((data[0] & 1) != 0) { /* the input's end is the segment's */
        size_t n = ds_min_u64(size - 1, SEGMENT - SLOG_BLOCK);

        memcpy(segment + SEGMENT - n, data + size - n, n);
    }
    seal_heads(&a, segment, SLOG_BLOCK);
    if ((data[0] & 2) != 0) {
        seal_trailer(&a, segment);
    }
    must(write(fd, segment, SEGMENT) == SEGMENT);
    f = (struct slog_file){.fd = fd, .number = a.number, .size = SEGMENT};
    must(ds_slog_read_summary(s, &f, buf, &c) == 0);
    walk(&c.summary, c.trailer.data_end);
    (void)close(fd);
    ds_free(c.summary.data);
    ds_free(segment);
    ds_free(s);
    ds_sys_unmap(buf, SLOG_BUFFER);
    return 0;
}
