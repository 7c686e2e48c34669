/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_l2_s3.c - what comes from an object store beside objects and their listings, and what its
 * credentials come from: the first byte chooses listings of multipart uploads, headers, pages of
 * objects, or the credentials file.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tier/l2_s3.h"
#include "tier/l2_s3_auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static bool ends(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

/* A walk over pages ends: the same answer again leads no further. */
static void uploads(const uint8_t *data, size_t size)
{
    struct ds_l2_s3_uploads *u = ds_zalloc(sizeof(*u), "fuzz");
    bool more = true;

    require(u != NULL);
    for (int pages = 0; more; pages++) {
        int rc = ds_l2_s3_uploads_parse((const char *)data, size, u);

        require(pages < 2 && u->n <= DS_ARRAY_SIZE(u->items) && (rc == 0 || !u->more));
        require(!u->more || u->next.key[0] != '\0');
        require(ends(u->next.key, sizeof(u->next.key)) && ends(u->next.id, sizeof(u->next.id)));
        for (size_t i = 0; i < u->n; i++) {
            require(ends(u->items[i].key, sizeof(u->items[i].key)));
            require(ends(u->items[i].id, sizeof(u->items[i].id)) && u->items[i].begun >= 0);
        }
        more = u->more;
    }
    ds_free(u);
}

static void pages(const uint8_t *data, size_t size)
{
    struct ds_l2_s3_page *page = ds_l2_s3_page_create(4);

    require(page != NULL);
    if (ds_l2_s3_page_parse((const char *)data, size, page) == 0 && page->more) {
        require(ds_l2_s3_page_parse((const char *)data, size, page) < 0 && !page->more);
    }
    ds_free(page);
}

/* libcurl's lines have no end but their length: each in memory of its own, so that a byte too many
 * is seen. */
static void headers(const uint8_t *data, size_t size)
{
    struct ds_l2_s3_headers h = {.etag = ""};
    uint64_t from = 0;

    while (size > 0) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t n = end != NULL ? (size_t)(end - data) + 1 : size;
        char *line = malloc(n);

        require(line != NULL);
        memcpy(line, data, n);
        ds_l2_s3_header(line, n, &h);
        free(line);
        data += n;
        size -= n;
    }
    require(ends(h.etag, sizeof(h.etag)) && ends(h.request_id, sizeof(h.request_id)));
    require(ends(h.content_range, sizeof(h.content_range)));
    for (const char *p = h.request_id; *p != '\0'; p++) {
        require(*p >= ' ' && *p <= '~');
    }
    if (sscanf(h.content_range, "bytes %lu", &from) == 1) {
        require(!ds_l2_s3_is_range(h.content_range, from + 1));
    }
}

/* What is taken can be put into a header, and nothing of it is in a message. */
static void credentials(uint8_t *data, size_t size)
{
    static const char secret[] = "secret0123456789";
    struct ds_l2_s3_auth *auth = ds_zalloc(sizeof(*auth), "fuzz");
    FILE *f = size > 0 ? fmemopen(data, size, "r") : NULL;
    char err[256] = "";

    require(auth != NULL);
    if (f != NULL && ds_l2_s3_auth_read(f, "the file", err, sizeof(err), auth) == 0) {
        const char *colon = strchr(auth->user, ':');

        require(ends(auth->user, sizeof(auth->user)) && ends(auth->token, sizeof(auth->token)));
        require(colon != NULL && colon > auth->user && colon[1] != '\0');
        for (const char *p = auth->token; *p != '\0'; p++) {
            require((uint8_t)*p >= ' ');
        }
    }
    require(strstr(err, secret) == NULL);
    if (f != NULL) {
        (void)fclose(f);
    }
    ds_free(auth);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0) {
        return 0;
    }
    switch (data[0] % 4) {
    case 0:
        uploads(data + 1, size - 1);
        break;
    case 1:
        headers(data + 1, size - 1);
        break;
    case 2:
        pages(data + 1, size - 1);
        break;
    default:
        copy = malloc(size);
        require(copy != NULL);
        memcpy(copy, data + 1, size - 1);
        credentials(copy, size - 1);
        free(copy);
    }
    return 0;
}
