/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_l2.c - bytes from second-level storage: the first byte chooses the parser of object headers,
 * of XML answers, of names, or of listings.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "tier/l2_s3.h"
#include "tier/l2_s3_http.h"
#include "tier/l2_value.h"
#include "tier/l2_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* As it is, and with the checksum put right, so that what lies behind it is reached too. */
static void header(const uint8_t *data, size_t size)
{
    static const uint8_t zero[4];
    uint8_t copy[DS_L2_HEAD_MAX];
    struct ds_l2_head h;
    uint64_t stored = size;

    for (int fixed = 0; fixed < 2; fixed++) {
        if (ds_l2_head_decode(data, size, stored, &h) == 0) {
            uint8_t again[DS_L2_HEAD_MAX];
            uint32_t crc;
            size_t n = ds_l2_head_encode(&h.meta, h.key, h.key_size, again, &crc);

            require(stored == ds_l2_object_size(h.key_size, h.meta.size));
            require(n <= size && memcmp(again, data, n) == 0 && crc == h.crc);
        }
        if (size < DS_L2_HEADER_SIZE + 1 || size > sizeof(copy)) {
            return;
        }
        memcpy(copy, data, size);
        uint32_t key_size = (uint32_t)(size - DS_L2_HEADER_SIZE);
        uint64_t value = 0;

        ds_l2_store_crc(copy + 48, key_size); /* a number like any other */
        memcpy(&value, copy + 40, 5);
        memset(copy + 45, 0, 3);
        stored = ds_l2_object_size(key_size, value);
        memcpy(copy, "dsL2obj\n", 8);
        memcpy(copy + 12, zero, 4);
        ds_l2_store_crc(copy + 12, ds_crc32c(0, copy, size));
        data = copy;
    }
}

static int each(void *arg, const char *parent, const char *name, const char *text)
{
    (void)arg;
    require(strlen(parent) <= DS_L2_XML_NAME && strlen(name) <= DS_L2_XML_NAME);
    require(text == NULL || strlen(text) <= DS_L2_XML_TEXT);
    return 0;
}

static void name(const uint8_t *data, size_t size)
{
    char text[DS_L2_NAME_MAX + 2] = "";
    char again[DS_L2_NAME_MAX + 1];
    uint8_t key[DS_L2_KEY_MAX];
    uint32_t key_size;

    memcpy(text, data, size < sizeof(text) - 1 ? size : sizeof(text) - 1);
    if (ds_l2_name_decode(text, key, &key_size) == 0) {
        (void)ds_l2_name(key, key_size, again);
        require(strcmp(text, again) == 0);
    }
}

/* What a page holds are keys of ours, whose tail gives the rest. */
static void listing(const uint8_t *data, size_t size)
{
    struct ds_l2_s3_page *page = ds_l2_s3_page_create(4);
    int rc;

    require(page != NULL);
    rc = ds_l2_s3_page_parse((const char *)data, size, page);
    require(page->n <= page->max && strlen(page->token) < sizeof(page->token));
    require(rc == 0 || !page->more);
    for (size_t i = 0; i < page->n; i++) {
        const struct ds_l2_s3_listed *item = &page->items[i];

        require(strlen(item->key) <= DS_L2_S3_KEY_MAX && strrchr(item->key, '/') != NULL);
        require(item->meta.written_unix_ns >= 0);
    }
    ds_free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ds_l2_s3_verdict v;

    if (size == 0) {
        return 0;
    }
    switch (data[0] % 4) {
    case 0:
        header(data + 1, size - 1);
        break;
    case 1:
        (void)!ds_l2_xml_walk((const char *)data + 1, size - 1, each, NULL);
        ds_l2_s3_judge(size > 1 ? data[1] * 4 : 0, false, (const char *)data + 1, size - 1, &v);
        require(strlen(v.text) < sizeof(v.text));
        break;
    case 2:
        name(data + 1, size - 1);
        break;
    default:
        listing(data + 1, size - 1);
    }
    return 0;
}
