/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "harness/ds_test.h"
#include "tier/l2_value.h"

#define KEY "golden/key \xff"
#define KEY_SIZE ((uint32_t)sizeof(KEY) - 1)
#define VALUE "the value of a golden object"
#define VALUE_SIZE (sizeof(VALUE) - 1)

static const struct ds_l2_meta golden = {
    .version = 0x0102030405060708,
    .expiry_unix_ns = 1893456000000000000,
    .written_unix_ns = 1764000000000000000,
    .size = VALUE_SIZE,
    .flags = DS_L2_SEALED,
    .mode = 1,
    .kind = 2,
};

/* The whole object into buf; its size. */
static size_t encode(const struct ds_l2_meta *meta, const void *key, uint32_t key_size,
                     const void *value, uint8_t *buf)
{
    struct ds_l2_call call = {0};
    struct ds_l2_span span = {.fd = -1, .memory = (void *)(uintptr_t)value};
    uint32_t crc;
    size_t n = ds_l2_head_encode(meta, key, key_size, buf, &crc);

    for (uint64_t i = 0; i < ds_l2_chunks(meta->size); i++) {
        CHECK_EQ(ds_l2_chunk_offset(key_size, i), n);
        CHECK_OK(ds_l2_chunk_make(&call, &span, meta->size, crc, i, buf + n));
        n += ds_l2_chunk_size(meta->size, i) + 4;
    }
    CHECK_EQ(ds_l2_object_size(key_size, meta->size), n);
    return n;
}

static void check_meta(const struct ds_l2_meta *a, const struct ds_l2_meta *b)
{
    CHECK_EQ(a->version, b->version);
    CHECK_EQ(a->expiry_unix_ns, b->expiry_unix_ns);
    CHECK_EQ(a->written_unix_ns, b->written_unix_ns);
    CHECK_EQ(a->size, b->size);
    CHECK_EQ(a->flags, b->flags);
    CHECK_EQ(a->mode, b->mode);
    CHECK_EQ(a->kind, b->kind);
}

/* 0: the bytes are an object with KEY and VALUE. */
static int decode(const uint8_t *buf, size_t size)
{
    struct ds_l2_call call = {0};
    struct ds_l2_head h;
    uint8_t value[VALUE_SIZE];
    struct ds_l2_span span = {.fd = -1, .memory = value};
    int rc = ds_l2_head_check(&call, "name", KEY, KEY_SIZE, buf, size, size, &h);

    if (rc == 0) {
        CHECK_EQ(h.meta.size, VALUE_SIZE); /* bounds were checked: what follows is in buf */
        rc = ds_l2_chunk_take(&call, &span, h.meta.size, h.crc, 0,
                              buf + ds_l2_chunk_offset(h.key_size, 0));
    }
    if (rc == 0) {
        CHECK_MEM(value, VALUE, VALUE_SIZE);
        check_meta(&h.meta, &golden);
    }
    return rc;
}

/* A value of two chunks and a byte, as it is stored. */
static uint8_t *stored(uint8_t **ret_value, uint64_t *ret_size)
{
    uint64_t value_size = 2 * DS_L2_CHUNK + 1;
    uint64_t n = 0;
    uint8_t *value = malloc(value_size);
    uint8_t *buf = malloc(3 * DS_L2_CHUNK_STORED);
    struct ds_l2_span span = {.fd = -1, .memory = value};
    struct ds_l2_call call = {0};

    for (uint64_t i = 0; i < value_size; i++) {
        value[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t size = ds_l2_chunk_size(value_size, i);

        CHECK_OK(ds_l2_chunk_make(&call, &span, value_size, 77, i, buf + n));
        CHECK_EQ(ds_l2_load_crc(buf + n + size),
                 ds_l2_chunk_crc(77, i, value + i * DS_L2_CHUNK, size));
        n += size + 4;
    }
    *ret_value = value;
    *ret_size = n;
    return buf;
}

DS_TEST(flow__is_the_chunks_in_pieces_of_any_size)
{
    static const size_t pieces[] = {1 << 16, 4099, 1 << 20, (1 << 20) + 1, 3 << 20, 3};
    uint8_t *value;
    uint64_t size;
    uint8_t *whole = stored(&value, &size);
    uint8_t *made = malloc(size);
    uint8_t *back = malloc(size);
    uint64_t value_size = size - 3 * 4;
    struct ds_l2_call call = {0};

    for (size_t i = 0; i < DS_ARRAY_SIZE(pieces); i++) {
        struct ds_l2_span from = {.fd = -1, .memory = value};
        struct ds_l2_span to = {.fd = -1, .memory = back};
        struct ds_l2_flow make = {.span = &from, .value_size = value_size, .head_crc = 77};
        struct ds_l2_flow take = {.span = &to, .value_size = value_size, .head_crc = 77};

        memset(back, 0, size);
        for (uint64_t at = 0, n; at < size; at += n) {
            n = ds_min_u64(pieces[i], size - at);
            CHECK_OK(ds_l2_flow_make(&call, &make, made + at, n));
            CHECK_OK(ds_l2_flow_take(&call, &take, made + at, n));
        }
        CHECK_MEM(made, whole, size);
        CHECK_MEM(back, value, value_size);
        CHECK_EQ(make.chunk, 3);
        CHECK_EQ(ds_l2_flow_take(&call, &take, made, 1), DS_ECORRUPT); /* more than there is */
    }
    free(whole);
    free(value);
    free(made);
    free(back);
}

DS_TEST(flow__finds_a_flipped_bit_and_says_what_fails)
{
    uint8_t *value;
    uint64_t size;
    uint8_t *whole = stored(&value, &size);
    uint64_t value_size = size - 3 * 4;
    struct ds_l2_span to = {.fd = -1, .memory = value};
    struct ds_l2_call call = {0};
    char byte[2];

    for (uint64_t at = 1; at < size; at = at * 7 + 1) {
        struct ds_l2_flow take = {.span = &to, .value_size = value_size, .head_crc = 77};

        whole[at] ^= 8;
        CHECK_EQ(ds_l2_flow_take(&call, &take, whole, size), DS_ECORRUPT);
        whole[at] ^= 8;
    }
    for (uint64_t at = size - 5; at < size; at++) { /* the last byte and its CRC */
        struct ds_l2_flow take = {.span = &to, .value_size = value_size, .head_crc = 77};

        whole[at] ^= 8;
        CHECK_EQ(ds_l2_flow_take(&call, &take, whole, size), DS_ECORRUPT);
        whole[at] ^= 8;
    }
    to.fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    CHECK_EQ(ds_l2_flow_take(&call, &(struct ds_l2_flow){.span = &to, .value_size = 10}, whole, 1),
             DS_ENOSPACE);
    CHECK(strstr(call.err, "cannot write the value") != NULL);
    close(to.fd);
    to.fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(ds_l2_flow_make(&call, &(struct ds_l2_flow){.span = &to, .value_size = 10},
                             (uint8_t *)byte, 1),
             DS_EIO);
    CHECK(strstr(call.err, "cannot read the value") != NULL);
    close(to.fd);
    free(whole);
    free(value);
}

DS_TEST(crc32c__matches_the_vector_and_chains)
{
    uint32_t half = ds_crc32c(0, "1234", 4);

    CHECK_EQ(ds_crc32c(0, "123456789", 9), 0xE3069283u);
    CHECK_EQ(ds_crc32c(half, "56789", 5), 0xE3069283u);
    CHECK_EQ(ds_crc32c(0, "", 0), 0);
}

DS_TEST(object__is_what_the_golden_file_holds)
{
    uint8_t buf[512];
    uint8_t file[512];
    size_t n = encode(&golden, KEY, KEY_SIZE, VALUE, buf);
    FILE *f = fopen(DS_TEST_SOURCE_DIR "/golden/l2-object-v1.bin", "rb");

    if (f == NULL && getenv("DS_TEST_WRITE_GOLDEN") != NULL) {
        f = fopen(DS_TEST_SOURCE_DIR "/golden/l2-object-v1.bin", "wb");
        CHECK(f != NULL && fwrite(buf, 1, n, f) == n);
        CHECK_EQ(fclose(f), 0);
        DS_SKIP("the golden file is written");
    }
    CHECK(f != NULL);
    CHECK_EQ(fread(file, 1, sizeof(file), f), n);
    (void)fclose(f);
    CHECK_MEM(file, buf, n);
    CHECK_OK(decode(file, n));
}

DS_TEST(object__no_bit_can_flip_unseen)
{
    uint8_t buf[512];
    size_t n = encode(&golden, KEY, KEY_SIZE, VALUE, buf);

    CHECK_OK(decode(buf, n));
    for (size_t bit = 0; bit < n * 8; bit++) {
        int rc;

        buf[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        rc = decode(buf, n);
        /* A format number that is larger is another format, whatever else is there. */
        CHECK(rc == DS_ECORRUPT || (rc == DS_EVERSION && (bit / 8 == 8 || bit / 8 == 9)));
        buf[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

DS_TEST(object__no_length_but_its_own_is_accepted)
{
    uint8_t buf[513] = {0};
    size_t n = encode(&golden, KEY, KEY_SIZE, VALUE, buf);

    for (size_t size = 0; size <= sizeof(buf); size++) {
        CHECK_EQ(decode(buf, size), size == n ? 0 : DS_ECORRUPT);
    }
}

DS_TEST(object__a_chunk_of_another_object_does_not_pass)
{
    uint8_t a[512];
    uint8_t b[512];
    struct ds_l2_meta other = golden;
    size_t n;
    size_t at = ds_l2_chunk_offset(KEY_SIZE, 0);

    other.version++;
    n = encode(&golden, KEY, KEY_SIZE, VALUE, a);
    CHECK_EQ(encode(&other, KEY, KEY_SIZE, VALUE, b), n);
    memcpy(a + at, b + at, n - at); /* the same value, but an older one might stand there */
    CHECK_EQ(decode(a, n), DS_ECORRUPT);
}

DS_TEST(object__of_another_key_is_told_from_a_hash_collision)
{
    struct ds_l2_call call = {0};
    struct ds_l2_head h;
    uint8_t buf[512];
    size_t n = encode(&golden, KEY, KEY_SIZE, VALUE, buf);

    CHECK_EQ(ds_l2_head_check(&call, "k-x", "x", 1, buf, n, n, &h), DS_ECORRUPT);
    CHECK(strstr(call.err, "another key") != NULL);
}

DS_TEST(object__reserved_bytes_and_unknown_flags_are_another_format)
{
    struct ds_l2_head h;
    uint8_t buf[512];
    static const size_t places[] = {11, 52, 55, 56, 63};

    for (size_t i = 0; i < DS_ARRAY_SIZE(places); i++) {
        size_t n = encode(&golden, KEY, KEY_SIZE, VALUE, buf);
        uint8_t copy[512];

        buf[places[i]] ^= 0x80;
        memcpy(copy, buf, n);
        memset(copy + 12, 0, 4); /* a writer of that format computes the CRC the same way */
        ds_l2_store_crc(buf + 12, ds_crc32c(0, copy, DS_L2_HEADER_SIZE + KEY_SIZE));
        CHECK_EQ(ds_l2_head_decode(buf, n, n, &h), DS_EVERSION);
    }
}

DS_TEST(name__is_safe_and_reversible)
{
    char name[DS_L2_NAME_MAX + 1];
    uint8_t key[DS_L2_KEY_MAX];
    uint8_t back[DS_L2_KEY_MAX];
    uint32_t size;

    for (unsigned c = 0; c < 256; c++) {
        key[0] = key[1] = (uint8_t)c;
        size = (uint32_t)ds_l2_name(key, 2, name);
        CHECK_EQ(size, strlen(name));
        CHECK_EQ(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"),
                 strlen(name));
        CHECK_OK(ds_l2_name_decode(name, back, &size));
        CHECK_EQ(size, 2);
        CHECK_MEM(back, key, 2);
    }
    (void)ds_l2_name("..", 2, name);
    CHECK_STR(name, "k-..");
    (void)ds_l2_name("a/b_c", 5, name);
    CHECK_STR(name, "k-a_2Fb_5Fc");
}

DS_TEST(name__of_a_long_key_is_a_hash)
{
    char a[DS_L2_NAME_MAX + 1];
    char b[DS_L2_NAME_MAX + 1];
    uint8_t key[DS_L2_KEY_MAX];
    uint32_t size;

    memset(key, 'x', sizeof(key));
    CHECK_EQ(ds_l2_name(key, DS_L2_NAME_MAX - 2, a), DS_L2_NAME_MAX);
    CHECK_EQ(a[0], 'k');
    CHECK_EQ(ds_l2_name(key, DS_L2_NAME_MAX - 1, a), 34);
    CHECK_EQ(a[0], 'h');
    CHECK_EQ(ds_l2_name(key, sizeof(key), b), 34);
    CHECK(strcmp(a, b) != 0);
    CHECK_EQ(ds_l2_name_decode(a, key, &size), DS_EINVAL);
}

DS_TEST(name__a_second_spelling_is_refused)
{
    static const char *const bad[] = {"",      "k-",    "x-a",   "k-_41",  "k-_",  "k-_2",
                                      "k-_2f", "k-a/b", "k-a b", "h-0123", "k-_5", "k-\xff"};
    uint8_t key[DS_L2_KEY_MAX];
    uint32_t size;

    for (size_t i = 0; i < DS_ARRAY_SIZE(bad); i++) {
        CHECK_EQ(ds_l2_name_decode(bad[i], key, &size), DS_EINVAL);
    }
}
