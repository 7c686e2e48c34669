/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_s3.c - L2 in an object store that speaks S3 (AWS, OBS, MinIO, ...).
 *
 *     PREFIX dsl2/ k-some-key / fffffffffffffff8-00010000-0000000000000000
 *                  ds_l2_name()  ~version       - flags, mode, kind - expiry
 *
 * Every version is an object of its own, and a tombstone is one too. The version is inverted, so a
 * listing of the key's folder shows the newest first. Order thus needs no lock and no conditional
 * request (which not every store has): a late put of an older version lies behind the newer one,
 * where no reader looks. What is older is deleted by the next put, or by gc().
 *
 *     put     list the folder, PUT the version (or its parts), delete what was listed and is older
 *     get     list the folder (one entry), GET the parts of the newest in parallel
 *     remove  put of a tombstone
 *
 * A newer version that comes while an older one is being put does not make that put fail: it is
 * stored, hidden, and removed by the next put or gc().
 *
 * It takes what S3 promises since 2020 and its followers too: a listing shows what was put before.
 *
 * Not covered: a put that is under way for longer than gc's tombstone_age_ns can come back.
 */
#include "tier/l2_s3.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"

#define PART_SIZE ((uint64_t)8 << 20)
#define PARALLEL 4u
#define GET_TRIES 3
#define OPEN_NS ((int64_t)10 * 1000000000)
#define UNFINISHED_NS ((int64_t)24 * 3600 * 1000000000)

static struct ds_l2_s3 *of(struct ds_l2 *l2)
{
    return (struct ds_l2_s3 *)l2;
}

/* --- get --- */

struct download {
    struct ds_l2_s3 *s3;
    struct ds_l2_call *call;
    const void *key;
    uint32_t key_size;
    ds_l2_room_fn *room;
    void *arg;

    struct ds_l2_s3_listed at; /* what is read in this try */
    uint64_t value_size;
    uint64_t parts, next;
    uint8_t start[DS_L2_HEAD_MAX]; /* of the first part: header and key, and some bytes perhaps */
    bool have_head;                /* the other parts wait for it */
    struct ds_l2_head head;
    struct part {
        struct download *download;
        struct ds_l2_flow flow;
    } under_way[DS_L2_S3_SLOTS_MAX];

    bool have_room; /* kept over tries */
    struct ds_l2_meta room_meta;
    struct ds_l2_span span;
};

static uint64_t part_offset(const struct download *d, uint64_t part)
{
    uint64_t chunk = part * d->s3->part_chunks;

    return part == 0 ? 0 : ds_min_u64(ds_l2_chunk_offset(d->key_size, chunk), d->at.size);
}

/* The header, from the first part; then room for the value. */
static int take_head(struct download *d, size_t size)
{
    int rc = ds_l2_head_check(d->call, d->at.key, d->key, d->key_size, d->start, size, d->at.size,
                              &d->head);

    if (rc < 0) {
        return rc;
    }
    if (d->head.meta.version != d->at.meta.version || d->head.meta.size != d->value_size) {
        return ds_l2_fail(d->call, DS_ECORRUPT, "%s holds another version", d->at.key);
    }
    if (d->have_room && d->room_meta.size != d->head.meta.size) {
        return ds_l2_fail(d->call, DS_EUNAVAILABLE, "the object was replaced while it was read");
    }
    if (!d->have_room) {
        rc = d->room(d->arg, &d->head.meta, &d->span);
    }
    d->room_meta = d->head.meta;
    d->have_room = d->have_head = rc == 0;
    return rc;
}

/* What comes goes to where it belongs at once; a part that is sent again goes there again. */
static int take_piece(struct ds_l2_s3_request *q, size_t at, const uint8_t *data, size_t size)
{
    struct part *p = q->arg;
    struct download *d = p->download;
    size_t start = q->tag == 0 ? ds_min_u64(DS_L2_HEAD_MAX, q->range_size) : 0;
    size_t n = at < start ? ds_min_u64(size, start - at) : 0;
    size_t head_size = DS_L2_HEADER_SIZE + d->key_size;
    int rc = 0;

    if (q->tag > 0 && !d->have_head) {
        return 1;
    }
    if (at == 0) {
        p->flow = (struct ds_l2_flow){.span = &d->span,
                                      .value_size = d->value_size,
                                      .head_crc = d->head.crc,
                                      .chunk = q->tag * d->s3->part_chunks};
    }
    if (n > 0) {
        memcpy(d->start + at, data, n);
        if (at + n < start) {
            return 0;
        }
        rc = take_head(d, start);
        p->flow.head_crc = d->head.crc;
        rc = rc < 0 ? rc
                    : ds_l2_flow_take(d->call, &p->flow, d->start + head_size, start - head_size);
    }
    return rc < 0 ? rc : ds_l2_flow_take(d->call, &p->flow, data + n, size - n);
}

static bool next_part(struct ds_l2_s3_run *run, unsigned slot, struct ds_l2_s3_request *ret)
{
    struct download *d = run->arg;

    if (d->next >= d->parts) {
        return false;
    }
    ret->method = "GET";
    ret->tag = d->next++;
    ret->range_from = part_offset(d, ret->tag);
    ret->range_size = part_offset(d, ret->tag + 1) - ret->range_from;
    ret->answer_max = ret->range_size;
    ret->take = take_piece;
    ret->arg = &d->under_way[slot];
    d->under_way[slot].download = d;
    (void)snprintf(ret->key, sizeof(ret->key), "%s", d->at.key);
    return true;
}

static int done_part(struct ds_l2_s3_run *run, unsigned slot, struct ds_l2_s3_request *q)
{
    (void)run;
    (void)slot;
    return q->rc;
}

/* One try: what is newest now. */
static int download(struct download *d)
{
    struct ds_l2_s3_run run = {.arg = d, .next = next_part, .done = done_part};
    int rc = ds_l2_s3_newest(d->s3, d->call, d->key, d->key_size, &d->at);

    if (rc < 0) {
        return rc;
    }
    if (ds_l2_is_gone(&d->at.meta, ds_now_ns(CLOCK_REALTIME))) {
        return ds_l2_fail(d->call, DS_EEXISTS, "removed or expired"); /* no other try */
    }
    if (!ds_l2_s3_value_size(d->key_size, d->at.size, &d->value_size)) {
        return ds_l2_fail(d->call, DS_ECORRUPT, "%s has a size that no object has", d->at.key);
    }
    d->parts = (ds_l2_chunks(d->value_size) + d->s3->part_chunks - 1) / d->s3->part_chunks;
    d->parts = d->parts > 0 ? d->parts : 1;
    d->next = 0;
    d->have_head = false;
    run.slots = (unsigned)ds_min_u64(d->s3->parallel, d->parts);
    return ds_l2_s3_http_run(d->s3->http, d->call, &run);
}

/* A version may be replaced between listing and reading; and bytes may be damaged on the way, not
 * in the store. Both deserve another look. */
static int s3_get(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
                  ds_l2_room_fn *room, void *arg, struct ds_l2_meta *ret)
{
    struct download *d = ds_zalloc(sizeof(*d), "l2 s3 download");
    int rc = DS_ENOTFOUND;

    if (d == NULL) {
        return ds_l2_fail(call, DS_ENOMEM, "no memory for a download");
    }
    d->s3 = of(l2);
    d->call = call;
    d->key = key;
    d->key_size = key_size;
    d->room = room;
    d->arg = arg;
    for (int i = 0; i < GET_TRIES && (rc == DS_ENOTFOUND || rc == DS_ECORRUPT); i++) {
        call->retries += i > 0;
        d->at.key[0] = '\0';
        rc = download(d);
        if (rc == DS_ENOTFOUND && d->at.key[0] == '\0') {
            break; /* the listing itself says so */
        }
    }
    if (rc == 0) {
        *ret = d->head.meta;
    } else if (rc == DS_EEXISTS || rc == DS_ENOTFOUND) {
        rc = ds_l2_fail(call, DS_ENOTFOUND, "not stored, removed or expired");
    }
    ds_free(d);
    return rc;
}

static int s3_head(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
                   bool tombstone, struct ds_l2_meta *ret)
{
    struct ds_l2_s3_listed at;
    struct ds_l2_head h;
    uint8_t buf[DS_L2_HEAD_MAX];
    struct ds_l2_s3_request q = {.method = "GET", .answer = buf, .answer_max = sizeof(buf)};
    int rc = DS_ENOTFOUND;

    for (int i = 0; i < GET_TRIES && rc == DS_ENOTFOUND; i++) {
        rc = ds_l2_s3_newest(of(l2), call, key, key_size, &at);
        if (rc < 0 || (!tombstone && ds_l2_is_gone(&at.meta, ds_now_ns(CLOCK_REALTIME)))) {
            return rc < 0 ? rc : ds_l2_fail(call, DS_ENOTFOUND, "not stored, removed or expired");
        }
        q.range_size = ds_min_u64(sizeof(buf), at.size);
        (void)snprintf(q.key, sizeof(q.key), "%s", at.key);
        rc = at.size > 0 ? ds_l2_s3_http_one(of(l2)->http, call, &q) : DS_ECORRUPT;
    }
    rc = rc < 0 ? rc
                : ds_l2_head_check(call, at.key, key, key_size, buf, q.answer_size, at.size, &h);
    if (rc == 0) {
        *ret = h.meta;
    }
    return rc;
}

/* --- open and close --- */

static struct ds_l2 *s3_close(struct ds_l2 *l2)
{
    (void)ds_l2_s3_http_close(of(l2)->http);
    ds_free(l2);
    return NULL;
}

static const struct ds_l2_ops s3_ops = {
    .name = "s3",
    .put_many = ds_l2_s3_put_many,
    .get = s3_get,
    .head = s3_head,
    .list = ds_l2_s3_list,
    .gc = ds_l2_s3_gc,
    .close = s3_close,
};

static bool is_bucket(const char *name)
{
    size_t n = name != NULL ? strlen(name) : 0;

    return n >= 3 && n <= 63 && isalnum((unsigned char)name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n;
}

/* Folders that every store takes as they are. */
static bool is_prefix(const char *prefix)
{
    size_t n = strlen(prefix);
    char last = '/';

    for (size_t i = 0; i < n; i++) {
        if ((prefix[i] == '/' && last == '/') || (prefix[i] == '.' && last == '/') ||
            prefix[i] < ' ' || prefix[i] > '~') {
            return false;
        }
        last = prefix[i];
    }
    return n <= DS_L2_S3_PREFIX_MAX - 1;
}

static int check_config(const struct ds_l2_s3_config *c, char *err, size_t err_size)
{
    if (c->endpoint == NULL || c->endpoint[0] == '\0') {
        (void)snprintf(err, err_size, "no endpoint is given: set obs_endpoint or s3_endpoint");
        return DS_EINVAL;
    }
    if (!is_bucket(c->bucket)) {
        (void)snprintf(err, err_size,
                       "'%.80s' is no bucket: 3 to 63 of a-z 0-9 . - (obs_bucket or s3_bucket)",
                       c->bucket != NULL ? c->bucket : "");
        return DS_EINVAL;
    }
    if (c->prefix != NULL && !is_prefix(c->prefix)) {
        (void)snprintf(err, err_size,
                       "'%.80s' is no prefix: at most %u printable characters, no part of which "
                       "is empty or begins with a dot",
                       c->prefix, DS_L2_S3_PREFIX_MAX - 1);
        return DS_EINVAL;
    }
    if (c->parallel > DS_L2_S3_SLOTS_MAX || c->attempts > 100 || c->part_size > (uint64_t)1 << 30) {
        (void)snprintf(err, err_size, "at most %u parts at a time, 100 tries, 1 GiB a part",
                       DS_L2_S3_SLOTS_MAX);
        return DS_EINVAL;
    }
    return 0;
}

/* Says early what is wrong for good, and removes what was left behind. A store that is away for a
 * while must not keep a worker from starting. */
static int probe(struct ds_l2_s3 *s3, char *err, size_t err_size)
{
    struct ds_l2_call call = {.deadline_ns = ds_monotonic_ns() + OPEN_NS};
    uint64_t aborted = 0;
    struct ds_l2_s3_page *page = ds_l2_s3_page_create(1);
    int rc = page != NULL ? ds_l2_s3_page_read(s3, &call, s3->prefix, page) : DS_ENOMEM;

    ds_free(page);
    if (rc == DS_EDENIED || rc == DS_EINVAL || rc == DS_ENOMEM) {
        (void)snprintf(err, err_size, "%s", rc == DS_ENOMEM ? "no memory" : call.err);
        return rc;
    }
    if (rc == 0) {
        int64_t before = ds_now_ns(CLOCK_REALTIME) - s3->unfinished_age_ns;

        (void)!ds_l2_s3_abort_stale(s3, &call, before, false, &aborted); /* gc tries again */
    }
    return 0;
}

int ds_l2_s3_open(const struct ds_l2_config *config, char *err, size_t err_size, struct ds_l2 **ret)
{
    const struct ds_l2_s3_config *c = &config->s3;
    const char *prefix = c->prefix != NULL ? c->prefix : "";
    struct ds_l2_s3 *s3;
    size_t n = strlen(prefix);
    int rc = check_config(c, err, err_size);

    if (rc < 0) {
        return rc;
    }
    s3 = ds_zalloc(sizeof(*s3), "l2 s3");
    if (s3 == NULL) {
        (void)snprintf(err, err_size, "no memory");
        return DS_ENOMEM;
    }
    s3->base.ops = &s3_ops;
    (void)snprintf(s3->prefix, sizeof(s3->prefix), "%s%s" DS_L2_S3_FOLDER, prefix,
                   n > 0 && prefix[n - 1] != '/' ? "/" : "");
    s3->part_chunks = (c->part_size != 0 ? c->part_size : PART_SIZE) / DS_L2_CHUNK;
    s3->part_chunks = s3->part_chunks > 0 ? s3->part_chunks : 1;
    if (ds_failpoint("l2.s3.small_parts") < 0) { /* tests have no values of 16 MiB */
        s3->part_chunks = 1;
    }
    s3->parallel = c->parallel != 0 ? c->parallel : PARALLEL;
    s3->unfinished_age_ns = c->unfinished_age_ns != 0 ? c->unfinished_age_ns : UNFINISHED_NS;
    rc = ds_l2_s3_http_open(c, err, err_size, &s3->http);
    if (rc < 0) {
        ds_free(s3);
        return rc;
    }
    rc = config->existing ? 0 : probe(s3, err, err_size);
    if (rc < 0) {
        (void)s3_close(&s3->base);
        return rc;
    }
    *ret = &s3->base;
    return 0;
}
