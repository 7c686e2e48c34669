/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_format.h - the bytes of an object in L2 (docs/disk-format.md, "L2 objects"), and its name.
 *
 *     header, 64 bytes | key | chunk 0 | CRC | chunk 1 | CRC | ...
 *
 * The value is cut into chunks of 1 MiB, the last one shorter. The header's CRC-32C covers header
 * and key; a chunk's covers the header's CRC, the chunk's number and its bytes, so that a chunk of
 * another object, or of another place, does not pass. All sizes follow from the header: a truncated
 * or longer object is found by its size.
 *
 * Ownership: none; all buffers are the caller's.
 * Threads:   any.
 * Errors:    DS_ECORRUPT: not what was written. DS_EVERSION: written by a newer format.
 */
#ifndef DS_TIER_L2_FORMAT_H
#define DS_TIER_L2_FORMAT_H

#include "tier/l2.h"

#define DS_L2_FORMAT_VERSION 1u
#define DS_L2_HEADER_SIZE 64u
#define DS_L2_HEAD_MAX (DS_L2_HEADER_SIZE + DS_L2_KEY_MAX) /* header and key */
#define DS_L2_CHUNK ((uint64_t)1 << 20)
#define DS_L2_CHUNK_STORED (DS_L2_CHUNK + 4) /* with its CRC */

struct ds_l2_head {
    struct ds_l2_meta meta;
    uint32_t key_size;
    uint32_t crc;
    uint8_t key[DS_L2_KEY_MAX];
};

/* Bytes of a whole object; value_size <= DS_L2_VALUE_MAX. */
uint64_t ds_l2_object_size(uint32_t key_size, uint64_t value_size);

uint64_t ds_l2_chunks(uint64_t value_size);

/* Bytes of the value in chunk i. */
uint64_t ds_l2_chunk_size(uint64_t value_size, uint64_t i);

/* Where chunk i begins in the object. */
uint64_t ds_l2_chunk_offset(uint32_t key_size, uint64_t i);

/* Writes header and key; `buf` has room for DS_L2_HEAD_MAX. Returns their size, and the CRC that
 * the chunks need. */
size_t ds_l2_head_encode(const struct ds_l2_meta *meta, const void *key, uint32_t key_size,
                         uint8_t *buf, uint32_t *ret_crc);

/* `size` bytes from an object's beginning, at least those of header and key; object_size: of the
 * whole object as the store tells it. DS_ECORRUPT, DS_EVERSION. */
DS_MUST_USE int ds_l2_head_decode(const uint8_t *buf, size_t size, uint64_t object_size,
                                  struct ds_l2_head *ret);

/* The CRC that stands behind chunk i. */
uint32_t ds_l2_chunk_crc(uint32_t head_crc, uint64_t i, const void *data, uint64_t size);

/* The same before any byte of the chunk: ds_crc32c() goes on from there. */
uint32_t ds_l2_chunk_seed(uint32_t head_crc, uint64_t i);

/* Little-endian, as all numbers of the format. */
void ds_l2_store_crc(uint8_t *at, uint32_t crc);
uint32_t ds_l2_load_crc(const uint8_t *at);

/* --- names --- */

#define DS_L2_NAME_MAX 200u /* leaves room for what stores put around it: 255 is a file's limit */

/*
 * The name of a key in a store: "k-" and the key, in which all but A-Z a-z 0-9 - . is written as
 * _XX; or, where that is longer than DS_L2_NAME_MAX, "h-" and a 128-bit hash in hex (the key
 * itself is in the header). Of letters that need no escape in a URL, a file name or a shell.
 * Returns its length; `buf` has room for DS_L2_NAME_MAX + 1 bytes.
 */
size_t ds_l2_name(const void *key, uint32_t key_size, char *buf);

/* The key of a "k-" name. DS_EINVAL: not one that ds_l2_name() makes (an "h-" name too). */
DS_MUST_USE int ds_l2_name_decode(const char *name, uint8_t *key, uint32_t *ret_size);

/* A byte by which stores spread names over folders. */
uint8_t ds_l2_shard(const void *key, uint32_t key_size);

/* A number per key, for locks. */
uint64_t ds_l2_key_hash(const void *key, uint32_t key_size);

#endif
