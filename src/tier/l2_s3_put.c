/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_s3_put.c - writes objects to a bucket, large ones in parts.
 *
 * A value is read part by part into a buffer that is hashed for the signature, sent and sent again;
 * or, where payloads are not signed, while it is sent, in small pieces. Either way checksums are of
 * the copy: what clients write meanwhile cannot make checksum and bytes differ. An upload that
 * fails in any way is aborted; one that nobody could abort is found by ds_l2_s3_abort_stale().
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "tier/l2_s3.h"
#include "tier/l2_xml.h"

#define PARTS_MAX 9000u /* the protocol's limit is 10000 */
#define ABORT_NS ((int64_t)5 * 1000000000)
#define ABORTS_MAX 3
#define SMALL ((size_t)1 << 20) /* up to here the body is hashed whatever the way is */

struct upload {
    struct ds_l2_s3 *s3;
    struct ds_l2_call *call;
    const struct ds_l2_item *item;
    uint8_t head[DS_L2_HEAD_MAX];
    size_t head_size;
    uint32_t crc;
    uint64_t part_chunks;
    uint64_t parts, next;
    char key[DS_L2_S3_KEY_MAX + 1];
    char id[1024];
    char id_encoded[3 * 1024];
    char (*etags)[sizeof(((struct ds_l2_s3_headers *)0)->etag)];
    uint8_t *buffers; /* one per slot; NULL: parts are read while they are sent */
    size_t buffer_size;
    struct part {
        struct upload *upload;
        struct ds_l2_flow flow;
    } under_way[DS_L2_S3_SLOTS_MAX];
    int rc; /* of reading the value */
};

/* Bytes of part `number`, from 0. */
static size_t part_size(const struct upload *u, uint64_t number)
{
    uint64_t chunks = ds_l2_chunks(u->item->meta.size);
    uint64_t from = number * u->part_chunks;
    uint64_t to = ds_min_u64(from + u->part_chunks, chunks);
    uint64_t end = to < chunks ? ds_l2_chunk_offset(u->item->key_size, to)
                               : ds_l2_object_size(u->item->key_size, u->item->meta.size);

    return end - (number == 0 ? 0 : ds_l2_chunk_offset(u->item->key_size, from));
}

/* Every try reads the value again; what is sent has its own checksum each time. */
static int give_piece(struct ds_l2_s3_request *q, size_t at, uint8_t *buf, size_t size)
{
    struct part *p = q->arg;
    const struct upload *u = p->upload;
    size_t head = q->tag == 0 ? u->head_size : 0;
    size_t n = at < head ? ds_min_u64(size, head - at) : 0;

    if (at == 0) {
        p->flow = (struct ds_l2_flow){.span = &u->item->value,
                                      .value_size = u->item->meta.size,
                                      .head_crc = u->crc,
                                      .chunk = q->tag * u->part_chunks};
    }
    if (n > 0) {
        memcpy(buf, u->head + at, n);
    }
    return ds_l2_flow_make(u->call, &p->flow, buf + n, size - n);
}

/* A PUT of part `number`. DS_EIO: the value cannot be read. */
static int make_request(struct upload *u, unsigned slot, uint64_t number,
                        struct ds_l2_s3_request *ret)
{
    uint8_t *buf = u->buffers != NULL ? u->buffers + slot * u->buffer_size : NULL;

    ret->method = "PUT";
    ret->tag = number;
    ret->arg = &u->under_way[slot];
    u->under_way[slot].upload = u;
    ret->body_size = part_size(u, number);
    (void)snprintf(ret->key, sizeof(ret->key), "%s", u->key);
    if (buf == NULL) {
        ret->give = give_piece;
        return 0;
    }
    DS_ASSERT(ret->body_size <= u->buffer_size);
    ret->body = buf;
    return give_piece(ret, 0, buf, ret->body_size);
}

static bool next_part(struct ds_l2_s3_run *run, unsigned slot, struct ds_l2_s3_request *ret)
{
    struct upload *u = run->arg;

    if (u->rc < 0 || u->next >= u->parts) {
        return false;
    }
    u->rc = make_request(u, slot, u->next++, ret);
    if (u->rc < 0) {
        return false;
    }
    (void)snprintf(ret->query, sizeof(ret->query), "partNumber=%" PRIu64 "&uploadId=%s",
                   ret->tag + 1, u->id_encoded);
    (void)ds_failpoint("l2.s3.part");
    return true;
}

static int done_part(struct ds_l2_s3_run *run, unsigned slot, struct ds_l2_s3_request *request)
{
    struct upload *u = run->arg;

    (void)slot;
    memcpy(u->etags[request->tag], request->head.etag, sizeof(u->etags[0]));
    return request->rc == DS_ENOTFOUND
               ? ds_l2_fail(u->call, DS_EUNAVAILABLE, "the store has forgotten the upload")
               : request->rc;
}

static int read_id(void *arg, const char *parent, const char *name, const char *text)
{
    struct upload *u = arg;

    (void)parent; /* stores differ in the name of the outermost element */
    if (text != NULL && strcmp(name, "UploadId") == 0) {
        if (strlen(text) >= sizeof(u->id)) {
            return DS_ECORRUPT;
        }
        (void)snprintf(u->id, sizeof(u->id), "%.1023s", text);
    }
    return 0;
}

static int begin_upload(struct upload *u)
{
    uint8_t answer[4096];
    struct ds_l2_s3_request q = {
        .method = "POST", .query = "uploads=", .answer = answer, .answer_max = sizeof(answer)};
    int rc;

    (void)snprintf(q.key, sizeof(q.key), "%s", u->key);
    rc = ds_l2_s3_http_one(u->s3->http, u->call, &q);
    if (rc < 0) {
        return rc == DS_ENOTFOUND ? ds_l2_fail(u->call, DS_EINVAL, "there is no such bucket") : rc;
    }
    if (ds_l2_xml_walk((const char *)answer, q.answer_size, read_id, u) < 0 || u->id[0] == '\0') {
        return ds_l2_fail(u->call, DS_EIO, "the store gave no upload id");
    }
    (void)ds_l2_s3_encode(u->id, false, u->id_encoded, sizeof(u->id_encoded));
    return 0;
}

/* Also when the call has no time left: what is left behind costs the user money. A part whose
 * request was given up may be stored behind the abort: once more, until the upload is not known.
 * What none of this removes is found by its age. */
static void abort_upload(struct upload *u)
{
    struct ds_l2_call call = {.deadline_ns = ds_monotonic_ns() + ABORT_NS};
    uint8_t answer[4096];
    int rc = u->id[0] != '\0' ? 0 : DS_ENOTFOUND;

    for (int i = 0; i < ABORTS_MAX && rc == 0; i++) {
        struct ds_l2_s3_request q = {.method = "DELETE"};
        struct ds_l2_s3_request parts = {
            .method = "GET", .answer = answer, .answer_max = sizeof(answer)};

        (void)snprintf(q.key, sizeof(q.key), "%s", u->key);
        (void)snprintf(q.query, sizeof(q.query), "uploadId=%s", u->id_encoded);
        (void)snprintf(parts.key, sizeof(parts.key), "%s", u->key);
        (void)snprintf(parts.query, sizeof(parts.query), "max-parts=1&uploadId=%s", u->id_encoded);
        rc = ds_l2_s3_http_one(u->s3->http, &call, &q);
        rc = rc < 0 ? rc : ds_l2_s3_http_one(u->s3->http, &call, &parts);
    }
}

static int complete_upload(struct upload *u)
{
    uint8_t answer[8192];
    struct ds_l2_s3_request q = {.method = "POST", .answer = answer, .answer_max = sizeof(answer)};
    size_t size = (size_t)u->parts * 192 + 128;
    char *body = ds_zalloc(size, "l2 s3 parts");
    size_t n;
    int rc;

    if (body == NULL) {
        return ds_l2_fail(u->call, DS_ENOMEM, "no memory for the list of parts");
    }
    n = (size_t)snprintf(body, size, "<CompleteMultipartUpload>");
    for (uint64_t i = 0; i < u->parts; i++) {
        n += (size_t)snprintf(body + n, size - n,
                              "<Part><PartNumber>%" PRIu64 "</PartNumber><ETag>%s</ETag></Part>",
                              i + 1, u->etags[i]);
    }
    n += (size_t)snprintf(body + n, size - n, "</CompleteMultipartUpload>");
    q.body = (const uint8_t *)body;
    q.body_size = n;
    (void)snprintf(q.key, sizeof(q.key), "%s", u->key);
    (void)snprintf(q.query, sizeof(q.query), "uploadId=%s", u->id_encoded);
    (void)ds_failpoint("l2.s3.before_complete");
    rc = ds_l2_s3_http_one(u->s3->http, u->call, &q);
    (void)ds_failpoint("l2.s3.after_complete");
    ds_free(body);
    return rc;
}

static int put_parts(struct upload *u)
{
    struct ds_l2_s3_run run = {.arg = u, .next = next_part, .done = done_part};
    int rc = begin_upload(u);

    run.slots = (unsigned)ds_min_u64(u->s3->parallel, u->parts);
    if (rc == 0) {
        rc = ds_l2_s3_http_run(u->s3->http, u->call, &run);
        rc = u->rc < 0 ? u->rc : rc;
    }
    rc = rc < 0 ? rc : complete_upload(u);
    if (rc == DS_ENOTFOUND) {
        /* No such upload: an earlier try went through and its answer was lost, or somebody aborted
         * it. What is listed tells. */
        struct ds_l2_s3_listed newest;
        int looked = ds_l2_s3_newest(u->s3, u->call, u->item->key, u->item->key_size, &newest);

        if (looked == 0 && strcmp(newest.key, u->key) == 0 &&
            newest.size == ds_l2_object_size(u->item->key_size, u->item->meta.size)) {
            return 0;
        }
        rc = looked == 0 ? ds_l2_check_order(u->call, u->item, &newest.meta) : 0;
        if (rc < 0) {
            return rc;
        }
        rc = ds_l2_fail(u->call, DS_EUNAVAILABLE, "the store has forgotten the upload");
    }
    if (rc < 0) {
        abort_upload(u);
    }
    return rc;
}

static int put_whole(struct upload *u)
{
    struct ds_l2_s3_request q = {0};
    int rc = make_request(u, 0, 0, &q);

    (void)ds_failpoint("l2.s3.before_put");
    rc = rc < 0 ? rc : ds_l2_s3_http_one(u->s3->http, u->call, &q);
    (void)ds_failpoint("l2.s3.after_put");
    return rc == DS_ENOTFOUND ? ds_l2_fail(u->call, DS_EINVAL, "there is no such bucket") : rc;
}

/* Sizes of parts and buffers. */
static int plan(struct upload *u)
{
    uint64_t chunks = ds_l2_chunks(u->item->meta.size);
    uint64_t slots = 1;
    bool sent_at_once;

    u->part_chunks = u->s3->part_chunks;
    if (u->part_chunks * PARTS_MAX < chunks) {
        u->part_chunks = (chunks + PARTS_MAX - 1) / PARTS_MAX;
    }
    if (chunks <= 2 * u->part_chunks) {
        u->parts = 1;
        u->part_chunks = chunks > 0 ? chunks : 1;
        u->buffer_size = ds_l2_object_size(u->item->key_size, u->item->meta.size);
    } else {
        u->parts = (chunks + u->part_chunks - 1) / u->part_chunks;
        u->buffer_size = DS_L2_HEAD_MAX + u->part_chunks * DS_L2_CHUNK_STORED;
        slots = ds_min_u64(u->s3->parallel, u->parts);
    }
    sent_at_once = u->buffer_size > SMALL && !ds_l2_s3_http_signs(u->s3->http);
    if (!sent_at_once) {
        u->buffers = ds_zalloc(u->buffer_size * slots, "l2 s3 parts");
    }
    u->etags = ds_zalloc((size_t)u->parts * sizeof(*u->etags), "l2 s3 parts");
    return (u->buffers == NULL && !sent_at_once) || u->etags == NULL
               ? ds_l2_fail(u->call, DS_ENOMEM, "no memory for parts")
               : 0;
}

static int put_one(struct ds_l2_s3 *s3, struct ds_l2_call *call, const struct ds_l2_item *item)
{
    struct upload *u = ds_zalloc(sizeof(*u), "l2 s3 upload");
    struct ds_l2_meta meta = item->meta;
    struct ds_l2_s3_page *older = NULL;
    int rc;

    if (u == NULL) {
        return ds_l2_fail(call, DS_ENOMEM, "no memory for an upload");
    }
    u->s3 = s3;
    u->call = call;
    u->item = item;
    meta.written_unix_ns = ds_now_ns(CLOCK_REALTIME);
    u->head_size = ds_l2_head_encode(&meta, item->key, item->key_size, u->head, &u->crc);
    ds_l2_s3_key(s3, item->key, item->key_size, &meta, u->key);
    rc = ds_l2_s3_before_put(s3, call, item, &older);
    rc = rc < 0 ? rc : plan(u);
    if (rc == 0) {
        rc = u->parts > 1 ? put_parts(u) : put_whole(u);
    }
    if (rc == 0) {
        ds_l2_s3_after_put(s3, call, meta.version, older);
    }
    ds_free(older);
    ds_free(u->buffers);
    ds_free(u->etags);
    ds_free(u);
    return rc;
}

void ds_l2_s3_put_many(struct ds_l2 *l2, struct ds_l2_call *call, const struct ds_l2_item *items,
                       size_t n, int *rcs)
{
    for (size_t i = 0; i < n; i++) {
        rcs[i] = put_one((struct ds_l2_s3 *)l2, call, &items[i]);
    }
}
