/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_format.c - see l2_format.h. Numbers are little-endian on every machine.
 *
 *      0  magic "dsL2obj\n"           40  value size          u64
 *      8  format version      u16     48  key size            u32
 *     10  flags               u16     52  chunk size, log 2   u8
 *     12  CRC-32C             u32     53  mode                u8
 *     16  version             u64     54  kind                u8
 *     24  expiry, unix ns     i64     55  0, nine bytes
 *     32  written, unix ns    i64     64  key
 *
 * The CRC is taken over the 64 bytes, with itself as 0, and the key.
 */
#include "tier/l2_format.h"

#include <endian.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/hash.h"

#define CHUNK_LOG 20
#define SEED_NAME_LOW 0x6c32 /* part of the format */
#define SEED_NAME_HIGH 0x6e616d65
#define SEED_SHARD 0x73686172

static const uint8_t magic[8] = "dsL2obj\n";

_Static_assert(DS_L2_CHUNK == (uint64_t)1 << CHUNK_LOG, "the header names the chunk size");

static void put16(uint8_t *at, uint16_t v)
{
    v = htole16(v);
    memcpy(at, &v, sizeof(v));
}

static void put32(uint8_t *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, sizeof(v));
}

static void put64(uint8_t *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, sizeof(v));
}

static uint16_t get16(const uint8_t *at)
{
    uint16_t v;

    memcpy(&v, at, sizeof(v));
    return le16toh(v);
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof(v));
    return le32toh(v);
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof(v));
    return le64toh(v);
}

void ds_l2_store_crc(uint8_t *at, uint32_t crc)
{
    put32(at, crc);
}

uint32_t ds_l2_load_crc(const uint8_t *at)
{
    return get32(at);
}

uint64_t ds_l2_chunks(uint64_t value_size)
{
    return (value_size + DS_L2_CHUNK - 1) / DS_L2_CHUNK;
}

uint64_t ds_l2_chunk_size(uint64_t value_size, uint64_t i)
{
    return ds_min_u64(DS_L2_CHUNK, value_size - i * DS_L2_CHUNK);
}

uint64_t ds_l2_chunk_offset(uint32_t key_size, uint64_t i)
{
    return DS_L2_HEADER_SIZE + key_size + i * DS_L2_CHUNK_STORED;
}

uint64_t ds_l2_object_size(uint32_t key_size, uint64_t value_size)
{
    DS_ASSERT(value_size <= DS_L2_VALUE_MAX);
    return DS_L2_HEADER_SIZE + key_size + value_size + 4 * ds_l2_chunks(value_size);
}

/* Over the header with a zero in the place of the CRC, and the key. */
static uint32_t head_crc(const uint8_t *buf, uint32_t key_size)
{
    static const uint8_t zero[4];
    uint32_t crc = ds_crc32c(0, buf, 12);

    crc = ds_crc32c(crc, zero, sizeof(zero));
    return ds_crc32c(crc, buf + 16, DS_L2_HEADER_SIZE - 16 + key_size);
}

size_t ds_l2_head_encode(const struct ds_l2_meta *meta, const void *key, uint32_t key_size,
                         uint8_t *buf, uint32_t *ret_crc)
{
    DS_ASSERT(key_size >= 1 && key_size <= DS_L2_KEY_MAX && meta->size <= DS_L2_VALUE_MAX);
    DS_ASSERT((meta->flags & ~DS_L2_FLAGS_ALL) == 0);
    memset(buf, 0, DS_L2_HEADER_SIZE);
    memcpy(buf, magic, sizeof(magic));
    put16(buf + 8, DS_L2_FORMAT_VERSION);
    put16(buf + 10, meta->flags);
    put64(buf + 16, meta->version);
    put64(buf + 24, (uint64_t)meta->expiry_unix_ns);
    put64(buf + 32, (uint64_t)meta->written_unix_ns);
    put64(buf + 40, meta->size);
    put32(buf + 48, key_size);
    buf[52] = CHUNK_LOG;
    buf[53] = meta->mode;
    buf[54] = meta->kind;
    memcpy(buf + DS_L2_HEADER_SIZE, key, key_size);
    *ret_crc = head_crc(buf, key_size);
    put32(buf + 12, *ret_crc);
    return DS_L2_HEADER_SIZE + key_size;
}

int ds_l2_head_decode(const uint8_t *buf, size_t size, uint64_t object_size, struct ds_l2_head *ret)
{
    struct ds_l2_head h;

    if (size < DS_L2_HEADER_SIZE || memcmp(buf, magic, sizeof(magic)) != 0) {
        return DS_ECORRUPT;
    }
    if (get16(buf + 8) > DS_L2_FORMAT_VERSION) {
        return DS_EVERSION;
    }
    h.key_size = get32(buf + 48);
    if (h.key_size == 0 || h.key_size > DS_L2_KEY_MAX || h.key_size > size - DS_L2_HEADER_SIZE) {
        return DS_ECORRUPT;
    }
    h.crc = get32(buf + 12);
    if (h.crc != head_crc(buf, h.key_size)) {
        return DS_ECORRUPT;
    }
    h.meta = (struct ds_l2_meta){.version = get64(buf + 16),
                                 .expiry_unix_ns = (int64_t)get64(buf + 24),
                                 .written_unix_ns = (int64_t)get64(buf + 32),
                                 .size = get64(buf + 40),
                                 .flags = get16(buf + 10),
                                 .mode = buf[53],
                                 .kind = buf[54]};
    /* A valid CRC over what this format does not know: the same number was used for two formats. */
    if (get16(buf + 8) != DS_L2_FORMAT_VERSION || buf[52] != CHUNK_LOG || buf[55] != 0 ||
        get64(buf + 56) != 0 || (h.meta.flags & ~DS_L2_FLAGS_ALL) != 0) {
        return DS_EVERSION;
    }
    if (h.meta.size > DS_L2_VALUE_MAX ||
        object_size != ds_l2_object_size(h.key_size, h.meta.size) ||
        ((h.meta.flags & DS_L2_TOMBSTONE) != 0 && h.meta.size != 0)) {
        return DS_ECORRUPT;
    }
    memcpy(h.key, buf + DS_L2_HEADER_SIZE, h.key_size);
    memset(h.key + h.key_size, 0, sizeof(h.key) - h.key_size);
    *ret = h;
    return 0;
}

uint32_t ds_l2_chunk_seed(uint32_t head, uint64_t i)
{
    uint8_t place[12];

    put32(place, head);
    put64(place + 4, i);
    return ds_crc32c(0, place, sizeof(place));
}

uint32_t ds_l2_chunk_crc(uint32_t head, uint64_t i, const void *data, uint64_t size)
{
    return ds_crc32c(ds_l2_chunk_seed(head, i), data, size);
}

/* --- names --- */

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.';
}

static size_t write_hex(char *at, uint64_t v)
{
    for (int i = 15; i >= 0; i--, v >>= 4) {
        at[i] = "0123456789abcdef"[v & 15];
    }
    return 16;
}

size_t ds_l2_name(const void *key, uint32_t key_size, char *buf)
{
    const uint8_t *p = key;
    size_t n = 2;

    memcpy(buf, "k-", 2);
    for (uint32_t i = 0; i < key_size; i++) {
        if (n + (is_plain(p[i]) ? 1 : 3) > DS_L2_NAME_MAX) {
            memcpy(buf, "h-", 2);
            n = 2 + write_hex(buf + 2, ds_hash(key, key_size, SEED_NAME_LOW));
            n += write_hex(buf + n, ds_hash(key, key_size, SEED_NAME_HIGH));
            break;
        }
        if (is_plain(p[i])) {
            buf[n++] = (char)p[i];
        } else {
            buf[n++] = '_';
            buf[n++] = "0123456789ABCDEF"[p[i] >> 4];
            buf[n++] = "0123456789ABCDEF"[p[i] & 15];
        }
    }
    buf[n] = '\0';
    return n;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int ds_l2_name_decode(const char *name, uint8_t *key, uint32_t *ret_size)
{
    size_t len = strnlen(name, DS_L2_NAME_MAX + 1);
    uint32_t n = 0;

    if (len > DS_L2_NAME_MAX || len < 3 || memcmp(name, "k-", 2) != 0) {
        return DS_EINVAL;
    }
    for (size_t i = 2; i < len; i++) {
        if (is_plain((uint8_t)name[i])) {
            key[n++] = (uint8_t)name[i];
            continue;
        }
        /* A letter that needs no escape is never escaped: one name per key. */
        if (name[i] != '_' || hex_digit(name[i + 1]) < 0 || hex_digit(name[i + 2]) < 0) {
            return DS_EINVAL;
        }
        key[n] = (uint8_t)(hex_digit(name[i + 1]) * 16 + hex_digit(name[i + 2]));
        if (is_plain(key[n])) {
            return DS_EINVAL;
        }
        n++;
        i += 2;
    }
    *ret_size = n;
    return 0;
}

uint64_t ds_l2_key_hash(const void *key, uint32_t key_size)
{
    return ds_hash(key, key_size, SEED_SHARD);
}

uint8_t ds_l2_shard(const void *key, uint32_t key_size)
{
    return (uint8_t)(ds_l2_key_hash(key, key_size) >> 56);
}
