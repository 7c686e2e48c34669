/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slog_format.h - the bytes of a segment log (docs/segment-log.md), version 1. Little-endian.
 *
 *     segment:  header (4096) | record ... | gap | summary | trailer (64)
 *               all of one size; a record that needs more has a larger one of its own
 *     record:   head (64) | key | value | crc of each MiB of the value | crc of those | to 64 bytes
 *     summary:  (head | key | to 8 bytes) ... of all records, written when the segment is full
 *
 * Every checksum starts from one of the log's identity, the segment's number and the record's
 * place: bytes of another log, of another segment, of an earlier use of the file or at another
 * place are not taken for records. No I/O here; any bytes may be given. Threads: any.
 */
#ifndef DS_TIER_SLOG_FORMAT_H
#define DS_TIER_SLOG_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOG_FORMAT 1u
#define SLOG_BLOCK 4096u      /* of the file: what O_DIRECT transfers */
#define SLOG_UNIT 64u         /* records start at multiples of it */
#define SLOG_CHUNK (1u << 20) /* of a value: what has one checksum; DS_SLOG_PIECE */
#define SLOG_SEGMENT_MAX (1ull << 30)
#define SLOG_OWN_MAX (1ull << 38) /* a segment of one record */
/* The checksums of a value are read at once: 256 GiB. */
#define SLOG_VALUE_MAX ((SLOG_CHUNK / 4 - 1) * (uint64_t)SLOG_CHUNK)
#define SLOG_RECORD_MAGIC 0x52474c53u

enum slog_type { SLOG_PUT = 1, SLOG_TOMBSTONE = 2, SLOG_NOTE = 3 };

#define SLOG_EARLY 1u /* flags of a tombstone: nobody was answered when it was written */

/* Where a checksum is anchored. */
struct slog_anchor {
    uint8_t log_id[16];
    uint64_t number; /* of the segment: never used twice */
};

struct slog_head {
    uint32_t magic; /* in a summary: the record's offset / 64 */
    uint32_t crc;   /* of the rest of the head and the key */
    uint64_t lsn;
    uint64_t flags_lsn; /* notes up to here are in `flags` */
    uint64_t version;   /* of a note: the place it speaks of */
    int64_t expiry_unix_ns;
    uint64_t value_size;
    uint16_t key_size;
    uint16_t flags;
    uint8_t type, mode, kind, reserved;
    uint64_t reserved2;
};
_Static_assert(sizeof(struct slog_head) == 64, "on disk");
_Static_assert(offsetof(struct slog_head, key_size) == 48, "on disk");

struct slog_segment_head {
    uint64_t magic;
    uint32_t format;
    uint32_t crc; /* of all but itself */
    uint8_t log_id[16];
    uint64_t number;
    uint64_t lsn_start;    /* all LSNs given before it are lower */
    uint64_t segment_size; /* of this file: more than the log's where it is a record's own */
    uint64_t segments_max; /* there could be so many when it was made; 0: it is not told */
};
_Static_assert(sizeof(struct slog_segment_head) == 64, "on disk");

struct slog_trailer {
    uint64_t magic;
    uint32_t crc; /* of all but itself, anchored */
    uint32_t summary_crc;
    uint64_t summary_size;
    uint64_t data_end;
    uint64_t lsn_max;
    uint64_t put_lsn_min; /* UINT64_MAX: no puts */
    uint64_t reserved[2];
};
_Static_assert(sizeof(struct slog_trailer) == 64, "on disk");

/* Sizes. A value's checksums: one for each chunk and one of the table itself. */
static inline uint64_t slog_chunks(uint64_t value_size)
{
    return value_size / SLOG_CHUNK + (value_size % SLOG_CHUNK != 0);
}

static inline uint64_t slog_crcs_size(uint64_t value_size)
{
    return value_size == 0 ? 0 : (slog_chunks(value_size) + 1) * 4;
}

static inline uint64_t slog_record_size(uint64_t key_size, uint64_t value_size)
{
    uint64_t n = sizeof(struct slog_head) + key_size + value_size + slog_crcs_size(value_size);

    return (n + SLOG_UNIT - 1) / SLOG_UNIT * SLOG_UNIT;
}

static inline uint64_t slog_summary_size(uint64_t key_size)
{
    return sizeof(struct slog_head) + (key_size + 7) / 8 * 8;
}

/* Of the smallest segment that holds the record. */
static inline uint64_t slog_file_size(uint64_t record, uint64_t summary)
{
    uint64_t end = (SLOG_BLOCK + record + SLOG_BLOCK - 1) / SLOG_BLOCK * SLOG_BLOCK;
    uint64_t n = end + SLOG_BLOCK + summary + sizeof(struct slog_trailer);

    return (n + SLOG_BLOCK - 1) / SLOG_BLOCK * SLOG_BLOCK;
}

/* Sets magic and crc. */
void ds_slog_head_seal(const struct slog_anchor *a, uint64_t offset, struct slog_head *h,
                       const void *key);

/* Whether `size` bytes at `offset` of a segment start with a sound head and key; *ret is a copy.
 * What it says fits into [offset, end). */
bool ds_slog_head_check(const struct slog_anchor *a, uint64_t offset, uint64_t end,
                        const void *bytes, size_t size, struct slog_head *ret);

/* The last word of the table of checksums: of the table, anchored by the record's head. */
uint32_t ds_slog_crcs_seal(const struct slog_head *h, const uint32_t *crcs);

void ds_slog_segment_head_seal(struct slog_segment_head *h);

/* Whether it is the head of this segment, in a log of that segment size. */
bool ds_slog_segment_head_check(const struct slog_anchor *a, uint64_t segment_size,
                                const struct slog_segment_head *h);

void ds_slog_trailer_seal(const struct slog_anchor *a, struct slog_trailer *t);
bool ds_slog_trailer_check(const struct slog_anchor *a, uint64_t segment_size,
                           const struct slog_trailer *t);

/* The next entry of a summary: its size there, or 0 at the end or where it is not sound. */
uint64_t ds_slog_summary_next(const uint8_t *summary, uint64_t size, uint64_t data_end,
                              struct slog_head *ret, const uint8_t **ret_key);

#endif
