/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/slog_format.h"

#include <string.h>

#include "base/base.h"
#include "base/crc32c.h"

#define SEGMENT_MAGIC 0x31474553474f4c53ull /* "SLOGSEG1" */
#define TRAILER_MAGIC 0x31444e45474f4c53ull /* "SLOGEND1" */

static uint32_t anchor(const struct slog_anchor *a, uint64_t offset)
{
    uint32_t crc = ds_crc32c(0, a->log_id, sizeof(a->log_id));

    crc = ds_crc32c(crc, &a->number, sizeof(a->number));
    return ds_crc32c(crc, &offset, sizeof(offset));
}

static uint32_t head_crc(const struct slog_anchor *a, uint64_t offset, const struct slog_head *h,
                         const void *key)
{
    uint32_t crc =
        ds_crc32c(anchor(a, offset), &h->lsn, sizeof(*h) - offsetof(struct slog_head, lsn));

    return ds_crc32c(crc, key, h->key_size);
}

void ds_slog_head_seal(const struct slog_anchor *a, uint64_t offset, struct slog_head *h,
                       const void *key)
{
    h->magic = SLOG_RECORD_MAGIC;
    h->crc = head_crc(a, offset, h, key);
}

/* What a head may say, whatever its checksum. */
static bool plausible(const struct slog_head *h)
{
    return h->type >= SLOG_PUT && h->type <= SLOG_NOTE && h->value_size <= SLOG_VALUE_MAX &&
           (h->type == SLOG_PUT || h->value_size == 0) && h->key_size > 0;
}

bool ds_slog_head_check(const struct slog_anchor *a, uint64_t offset, uint64_t end,
                        const void *bytes, size_t size, struct slog_head *ret)
{
    struct slog_head h;

    if (size < sizeof(h)) {
        return false;
    }
    memcpy(&h, bytes, sizeof(h));
    if (h.magic != SLOG_RECORD_MAGIC || !plausible(&h) || size - sizeof(h) < h.key_size ||
        offset > end || slog_record_size(h.key_size, h.value_size) > end - offset ||
        h.crc != head_crc(a, offset, &h, (const uint8_t *)bytes + sizeof(h))) {
        return false;
    }
    *ret = h;
    return true;
}

uint32_t ds_slog_crcs_seal(const struct slog_head *h, const uint32_t *crcs)
{
    return ds_crc32c(h->crc, crcs, slog_chunks(h->value_size) * 4);
}

void ds_slog_segment_head_seal(struct slog_segment_head *h)
{
    h->magic = SEGMENT_MAGIC;
    h->format = SLOG_FORMAT;
    h->crc = 0;
    h->crc = ds_crc32c(0, h, sizeof(*h));
}

static bool size_is_sound(uint64_t size, uint64_t segment_size)
{
    return size == segment_size ||
           (size > segment_size && size <= SLOG_OWN_MAX && size % SLOG_BLOCK == 0);
}

bool ds_slog_segment_head_check(const struct slog_anchor *a, uint64_t segment_size,
                                const struct slog_segment_head *h)
{
    struct slog_segment_head copy = *h;

    copy.crc = 0;
    return h->magic == SEGMENT_MAGIC && h->format == SLOG_FORMAT &&
           h->crc == ds_crc32c(0, &copy, sizeof(copy)) && h->number == a->number &&
           size_is_sound(h->segment_size, segment_size) &&
           memcmp(h->log_id, a->log_id, sizeof(h->log_id)) == 0;
}

static uint32_t trailer_crc(const struct slog_anchor *a, const struct slog_trailer *t)
{
    struct slog_trailer copy = *t;

    copy.crc = 0;
    return ds_crc32c(anchor(a, UINT64_MAX), &copy, sizeof(copy));
}

void ds_slog_trailer_seal(const struct slog_anchor *a, struct slog_trailer *t)
{
    t->magic = TRAILER_MAGIC;
    t->crc = trailer_crc(a, t);
}

bool ds_slog_trailer_check(const struct slog_anchor *a, uint64_t segment_size,
                           const struct slog_trailer *t)
{
    return t->magic == TRAILER_MAGIC && t->crc == trailer_crc(a, t) &&
           t->summary_size <= segment_size - SLOG_BLOCK - sizeof(*t) && t->data_end >= SLOG_BLOCK &&
           t->data_end <= segment_size - sizeof(*t) - t->summary_size;
}

uint64_t ds_slog_summary_next(const uint8_t *summary, uint64_t size, uint64_t data_end,
                              struct slog_head *ret, const uint8_t **ret_key)
{
    struct slog_head h;
    uint64_t offset;

    if (size < sizeof(h)) {
        return 0;
    }
    memcpy(&h, summary, sizeof(h));
    offset = (uint64_t)h.magic * SLOG_UNIT;
    if (!plausible(&h) || slog_summary_size(h.key_size) > size || offset < SLOG_BLOCK ||
        offset > data_end || slog_record_size(h.key_size, h.value_size) > data_end - offset) {
        return 0;
    }
    *ret = h;
    *ret_key = summary + sizeof(h);
    return slog_summary_size(h.key_size);
}
