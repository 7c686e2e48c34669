/* SPDX-License-Identifier: Apache-2.0 */
/* l2_s3_list.c - listings of a bucket: the newest version of a key, clean-up, list, gc. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "tier/l2_s3.h"
#include "tier/l2_xml.h"

#define XML_PER_ITEM 2048u /* bytes of a listing for one object, plenty */
#define PAGE 500u
#define REFUSED_MAX 64u /* deletes in a row, until a collection ends */
#define SETTLE_MAX 32u  /* versions of one key that are looked at after a put */

/* --- keys of objects --- */

/* 0123456789abcdef-00010200-0123456789abcdef: version, inverted so that the newest is listed
 * first; flags, mode, kind; expiry. */
#define TAIL_SIZE 42

void ds_l2_s3_key(const struct ds_l2_s3 *s3, const void *key, uint32_t key_size,
                  const struct ds_l2_meta *meta, char *buf)
{
    char name[DS_L2_NAME_MAX + 1];
    int n;

    (void)ds_l2_name(key, key_size, name);
    n = snprintf(buf, DS_L2_S3_KEY_MAX + 1, "%s%s/", s3->prefix, name);
    if (meta != NULL) {
        (void)snprintf(buf + n, DS_L2_S3_KEY_MAX + 1 - (size_t)n,
                       "%016" PRIx64 "-%04x%02x%02x-%016" PRIx64, ~meta->version, meta->flags,
                       meta->mode, meta->kind, (uint64_t)meta->expiry_unix_ns);
    }
}

static bool parse_hex(const char *text, size_t n, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < n; i++) {
        const char *digits = "0123456789abcdef";
        const char *at = text[i] != '\0' ? strchr(digits, text[i]) : NULL;

        if (at == NULL) {
            return false;
        }
        *ret = *ret << 4 | (uint64_t)(at - digits);
    }
    return true;
}

/* False: not a key of ours. */
static bool parse_tail(const char *key, struct ds_l2_meta *ret)
{
    const char *slash = strrchr(key, '/');
    uint64_t version;
    uint64_t bits;
    uint64_t expiry;

    if (slash == NULL || strlen(slash + 1) != TAIL_SIZE || slash[17] != '-' || slash[26] != '-' ||
        !parse_hex(slash + 1, 16, &version) || !parse_hex(slash + 18, 8, &bits) ||
        !parse_hex(slash + 27, 16, &expiry)) {
        return false;
    }
    *ret = (struct ds_l2_meta){.version = ~version,
                               .expiry_unix_ns = (int64_t)expiry,
                               .flags = (uint16_t)(bits >> 16),
                               .mode = (uint8_t)(bits >> 8),
                               .kind = (uint8_t)bits};
    return true;
}

#define TIME_MAX_S ((int64_t)9000000000) /* the year 2255: more would not fit in ns */

/* 2026-11-24T16:00:00.000Z; 0: not a time */
static int64_t parse_time(const char *text)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    int64_t seconds = end != NULL ? (int64_t)timegm(&tm) : 0;

    return seconds <= 0 ? 0 : (seconds < TIME_MAX_S ? seconds : TIME_MAX_S) * 1000000000;
}

bool ds_l2_s3_value_size(uint32_t key_size, uint64_t object_size, uint64_t *ret)
{
    uint64_t rest;
    uint64_t chunks;

    if (object_size < DS_L2_HEADER_SIZE + key_size ||
        object_size > ds_l2_object_size(key_size, DS_L2_VALUE_MAX)) {
        return false;
    }
    rest = object_size - DS_L2_HEADER_SIZE - key_size;
    chunks = (rest + DS_L2_CHUNK_STORED - 1) / DS_L2_CHUNK_STORED;
    if (rest < 4 * chunks || ds_l2_object_size(key_size, rest - 4 * chunks) != object_size) {
        return false;
    }
    *ret = rest - 4 * chunks;
    return true;
}

/* --- pages --- */

struct ds_l2_s3_page *ds_l2_s3_page_create(size_t n)
{
    struct ds_l2_s3_page *page =
        ds_zalloc(sizeof(*page) + n * sizeof(page->items[0]), "l2 s3 page");

    if (page != NULL) {
        page->max = n;
    }
    return page;
}

struct reader {
    struct ds_l2_s3_page *page;
    struct ds_l2_s3_listed item;
    bool truncated;
    char before[sizeof(((struct ds_l2_s3_page *)0)->token)]; /* token that led to the page */
};

static int read_field(void *arg, const char *parent, const char *name, const char *text)
{
    struct reader *r = arg;
    struct ds_l2_s3_page *page = r->page;

    if (text == NULL && strcmp(name, "Contents") == 0) {
        int64_t written = r->item.meta.written_unix_ns;

        if (page->n < page->max && parse_tail(r->item.key, &r->item.meta)) {
            r->item.meta.written_unix_ns = written;
            page->items[page->n++] = r->item;
        }
        r->item = (struct ds_l2_s3_listed){.size = 0};
    } else if (text == NULL) {
        return 0;
    } else if (strcmp(parent, "Contents") == 0) {
        if (strcmp(name, "Key") == 0) {
            (void)snprintf(r->item.key, sizeof(r->item.key), "%.1024s", text);
        } else if (strcmp(name, "Size") == 0) {
            r->item.size = strtoull(text, NULL, 10);
        } else if (strcmp(name, "LastModified") == 0) {
            r->item.meta.written_unix_ns = parse_time(text);
        }
    } else if (strcmp(parent, "ListBucketResult") == 0) {
        if (strcmp(name, "IsTruncated") == 0) {
            r->truncated = strcmp(text, "true") == 0;
        } else if (strcmp(name, "NextContinuationToken") == 0) {
            if (strlen(text) >= sizeof(page->token)) {
                return DS_ECORRUPT;
            }
            (void)snprintf(page->token, sizeof(page->token), "%.1099s", text);
        }
    }
    return 0;
}

int ds_l2_s3_page_parse(const char *xml, size_t size, struct ds_l2_s3_page *page)
{
    struct reader r = {.page = page};
    int rc;

    memcpy(r.before, page->token, sizeof(r.before));
    page->n = 0;
    page->token[0] = '\0';
    rc = ds_l2_xml_walk(xml, size, read_field, &r);
    page->more = rc == 0 && r.truncated && page->token[0] != '\0';
    if (page->more && strcmp(page->token, r.before) == 0) { /* it would keep us for ever */
        page->more = false;
        rc = DS_ECORRUPT;
    }
    return rc;
}

/* "name=" and the encoded value, "&" in front of all but the first. */
static void add_query(char *query, size_t size, const char *name, const char *value)
{
    size_t n = strlen(query);

    n += (size_t)snprintf(query + n, size - n, "%s%s=", n > 0 ? "&" : "", name);
    if (n < size) {
        (void)ds_l2_s3_encode(value, false, query + n, size - n);
    }
}

int ds_l2_s3_page_read(struct ds_l2_s3 *s3, struct ds_l2_call *call, const char *folder,
                       struct ds_l2_s3_page *page)
{
    struct ds_l2_s3_request q = {.method = "GET"};
    char max[24];
    int rc;

    (void)snprintf(max, sizeof(max), "%zu", page->max);
    if (page->token[0] != '\0') {
        add_query(q.query, sizeof(q.query), "continuation-token", page->token);
    }
    add_query(q.query, sizeof(q.query), "list-type", "2");
    add_query(q.query, sizeof(q.query), "max-keys", max);
    add_query(q.query, sizeof(q.query), "prefix", folder);
    q.answer_max = page->max * XML_PER_ITEM + 8192;
    q.answer = ds_zalloc(q.answer_max, "l2 s3 listing");
    if (q.answer == NULL) {
        return ds_l2_fail(call, DS_ENOMEM, "no memory for a listing");
    }
    page->n = 0;
    page->more = false;
    rc = ds_l2_s3_http_one(s3->http, call, &q);
    if (rc == DS_ENOTFOUND) {
        rc = ds_l2_fail(call, DS_EINVAL, "there is no such bucket: make it first");
    }
    if (rc == 0 && ds_l2_s3_page_parse((const char *)q.answer, q.answer_size, page) < 0) {
        rc = ds_l2_fail(call, DS_EIO, "the store's listing cannot be read");
    }
    ds_free(q.answer);
    return rc;
}

int ds_l2_s3_newest(struct ds_l2_s3 *s3, struct ds_l2_call *call, const void *key,
                    uint32_t key_size, struct ds_l2_s3_listed *ret)
{
    char folder[DS_L2_S3_KEY_MAX + 1];
    struct ds_l2_s3_page *page = ds_l2_s3_page_create(1);
    int rc;

    if (page == NULL) {
        return ds_l2_fail(call, DS_ENOMEM, "no memory for a listing");
    }
    ds_l2_s3_key(s3, key, key_size, NULL, folder);
    do { /* an object of somebody else may lie in between */
        rc = ds_l2_s3_page_read(s3, call, folder, page);
    } while (rc == 0 && page->n == 0 && page->more);
    if (rc == 0 && page->n == 0) {
        rc = ds_l2_fail(call, DS_ENOTFOUND, "not stored, removed or expired");
    }
    if (rc == 0) {
        *ret = page->items[0];
    }
    ds_free(page);
    return rc;
}

int ds_l2_s3_delete(struct ds_l2_s3 *s3, struct ds_l2_call *call, const char *key)
{
    struct ds_l2_s3_request q = {.method = "DELETE"};
    int rc;

    (void)snprintf(q.key, sizeof(q.key), "%s", key);
    rc = ds_l2_s3_http_one(s3->http, call, &q);
    return rc == DS_ENOTFOUND ? 0 : rc;
}

int ds_l2_s3_before_put(struct ds_l2_s3 *s3, struct ds_l2_call *call, const struct ds_l2_item *item,
                        struct ds_l2_s3_page **ret)
{
    char folder[DS_L2_S3_KEY_MAX + 1];
    struct ds_l2_s3_page *page = ds_l2_s3_page_create(SETTLE_MAX);
    int rc;

    if (page == NULL) {
        return ds_l2_fail(call, DS_ENOMEM, "no memory for a listing");
    }
    ds_l2_s3_key(s3, item->key, item->key_size, NULL, folder);
    rc = ds_l2_s3_page_read(s3, call, folder, page);
    if (rc == 0) {
        rc = ds_l2_check_order(call, item, page->n > 0 ? &page->items[0].meta : NULL);
    }
    if (rc < 0) {
        ds_free(page);
        return rc;
    }
    *ret = page;
    return 0;
}

void ds_l2_s3_after_put(struct ds_l2_s3 *s3, struct ds_l2_call *call, uint64_t version,
                        const struct ds_l2_s3_page *older)
{
    int rc = 0;

    for (size_t i = older->n; rc == 0 && i-- > 0;) { /* the oldest first */
        (void)ds_failpoint("l2.s3.before_delete");
        if (older->items[i].meta.version < version) {
            rc = ds_l2_s3_delete(s3, call, older->items[i].key);
        }
    }
}

/* --- multipart uploads --- */

static int read_upload(void *arg, const char *parent, const char *name, const char *text)
{
    struct ds_l2_s3_uploads *u = arg;

    if (text == NULL && strcmp(name, "Upload") == 0) {
        if (u->n < DS_ARRAY_SIZE(u->items)) {
            u->items[u->n++] = u->now;
        } else {
            u->over = true;
        }
        u->now = (struct ds_l2_s3_upload){.begun = 0};
    } else if (text != NULL && strcmp(parent, "Upload") == 0) {
        if (strcmp(name, "Key") == 0) {
            (void)snprintf(u->now.key, sizeof(u->now.key), "%.1024s", text);
        } else if (strcmp(name, "UploadId") == 0) {
            (void)snprintf(u->now.id, sizeof(u->now.id), "%.1023s", text);
        } else if (strcmp(name, "Initiated") == 0) {
            u->now.begun = parse_time(text);
        }
    } else if (text != NULL && strcmp(parent, "ListMultipartUploadsResult") == 0) {
        if (strcmp(name, "IsTruncated") == 0) {
            u->more = strcmp(text, "true") == 0;
        } else if (strcmp(name, "NextKeyMarker") == 0) {
            (void)snprintf(u->next.key, sizeof(u->next.key), "%.1024s", text);
        } else if (strcmp(name, "NextUploadIdMarker") == 0) {
            (void)snprintf(u->next.id, sizeof(u->next.id), "%.1023s", text);
        }
    }
    return 0;
}

int ds_l2_s3_uploads_parse(const char *xml, size_t size, struct ds_l2_s3_uploads *u)
{
    struct ds_l2_s3_upload before = u->next;
    int rc;

    memset(u, 0, sizeof(*u));
    rc = ds_l2_xml_walk(xml, size, read_upload, u);
    if (u->over) {
        u->more = true;
        u->next = u->items[u->n - 1];
    }
    /* A store that does not get on would keep us for ever. */
    u->more = rc == 0 && u->more && u->next.key[0] != '\0' &&
              (strcmp(u->next.key, before.key) != 0 || strcmp(u->next.id, before.id) != 0);
    return rc;
}

/* The page behind u->next; `q` brings its buffer. */
static int read_uploads(struct ds_l2_s3 *s3, struct ds_l2_call *call, struct ds_l2_s3_request *q,
                        struct ds_l2_s3_uploads *u)
{
    const struct ds_l2_s3_upload *before = &u->next;
    char max[24];
    int rc;

    (void)snprintf(max, sizeof(max), "%u", DS_L2_S3_UPLOADS_PAGE);
    q->query[0] = '\0';
    if (before->key[0] != '\0') {
        add_query(q->query, sizeof(q->query), "key-marker", before->key);
    }
    add_query(q->query, sizeof(q->query), "max-uploads", max);
    add_query(q->query, sizeof(q->query), "prefix", s3->prefix);
    if (before->key[0] != '\0' && before->id[0] != '\0') {
        add_query(q->query, sizeof(q->query), "upload-id-marker", before->id);
    }
    add_query(q->query, sizeof(q->query), "uploads", "");
    if (strlen(q->query) + 1 >= sizeof(q->query)) {
        return ds_l2_fail(call, DS_EIO, "the store's listing has markers that are too long");
    }
    rc = ds_l2_s3_http_one(s3->http, call, q);
    if (rc == 0 && ds_l2_s3_uploads_parse((const char *)q->answer, q->answer_size, u) < 0) {
        rc = ds_l2_fail(call, DS_EIO, "the store's listing cannot be read");
    }
    return rc;
}

static int abort_listed(struct ds_l2_s3 *s3, struct ds_l2_call *call,
                        const struct ds_l2_s3_uploads *u, int64_t before, bool dry, uint64_t *count)
{
    int rc = 0;

    for (size_t i = 0; i < u->n && rc == 0; i++) {
        const struct ds_l2_s3_upload *one = &u->items[i];
        struct ds_l2_s3_request q = {.method = "DELETE"};

        if (one->begun == 0 || one->begun >= before || one->id[0] == '\0' ||
            strncmp(one->key, s3->prefix, strlen(s3->prefix)) != 0) {
            continue;
        }
        ++*count;
        (void)snprintf(q.key, sizeof(q.key), "%s", one->key);
        add_query(q.query, sizeof(q.query), "uploadId", one->id);
        rc = dry ? 0 : ds_l2_s3_http_one(s3->http, call, &q);
        rc = rc == DS_ENOTFOUND ? 0 : rc;
    }
    return rc;
}

int ds_l2_s3_abort_stale(struct ds_l2_s3 *s3, struct ds_l2_call *call, int64_t before_unix_ns,
                         bool dry, uint64_t *count)
{
    struct ds_l2_s3_request q = {.method = "GET", .answer_max = 1 << 20};
    struct ds_l2_s3_uploads *u = ds_zalloc(sizeof(*u), "l2 s3 uploads");
    int rc = DS_ENOMEM;

    q.answer = ds_zalloc(q.answer_max, "l2 s3 uploads");
    if (u == NULL || q.answer == NULL) {
        rc = ds_l2_fail(call, DS_ENOMEM, "no memory for a listing");
        goto err_free;
    }
    do {
        rc = read_uploads(s3, call, &q, u);
        rc = rc < 0 ? rc : abort_listed(s3, call, u, before_unix_ns, dry, count);
    } while (rc == 0 && u->more);
err_free:
    ds_free(q.answer);
    ds_free(u);
    return rc;
}

/* --- walking all --- */

/* `newest`: the first version of its key. */
typedef int visit_fn(void *arg, struct ds_l2_s3 *s3, struct ds_l2_call *call,
                     const struct ds_l2_s3_listed *item, bool newest);

static int walk(struct ds_l2_s3 *s3, struct ds_l2_call *call, visit_fn *visit, void *arg)
{
    struct ds_l2_s3_page *page = ds_l2_s3_page_create(PAGE);
    char last[DS_L2_S3_KEY_MAX + 1] = "";
    int rc;

    if (page == NULL) {
        return ds_l2_fail(call, DS_ENOMEM, "no memory for a listing");
    }
    do {
        rc = ds_l2_s3_page_read(s3, call, s3->prefix, page);
        for (size_t i = 0; rc == 0 && i < page->n; i++) {
            const char *key = page->items[i].key;
            size_t folder = (size_t)(strrchr(key, '/') + 1 - key); /* parse_tail() saw it */
            bool newest = strncmp(key, last, folder) != 0;

            memcpy(last, key, folder);
            last[folder] = '\0';
            rc = visit(arg, s3, call, &page->items[i], newest);
        }
    } while (rc == 0 && page->more);
    ds_free(page);
    return rc;
}

/* The key is in the header. */
static int list_one(void *arg, struct ds_l2_s3 *s3, struct ds_l2_call *call,
                    const struct ds_l2_s3_listed *item, bool newest)
{
    struct ds_l2_entry e = {.name = item->key + strlen(s3->prefix), .stored_size = item->size};
    uint8_t buf[DS_L2_HEAD_MAX];
    struct ds_l2_head h;
    struct ds_l2_s3_request q = {.method = "GET",
                                 .range_size = ds_min_u64(sizeof(buf), item->size),
                                 .answer = buf,
                                 .answer_max = sizeof(buf)};
    char own[DS_L2_S3_KEY_MAX + 1];

    if (!newest) {
        return 0;
    }
    (void)snprintf(q.key, sizeof(q.key), "%s", item->key);
    e.status = item->size > 0 ? ds_l2_s3_http_one(s3->http, call, &q) : DS_ECORRUPT;
    e.status = e.status < 0 ? e.status : ds_l2_head_decode(buf, q.answer_size, item->size, &h);
    if (e.status == 0) {
        ds_l2_s3_key(s3, h.key, h.key_size, &h.meta, own);
        e.status = strcmp(own, item->key) == 0 ? 0 : DS_ECORRUPT;
    }
    return ds_l2_list_tell(arg, &e, &h);
}

int ds_l2_s3_list(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each, void *arg)
{
    struct ds_l2_lister l = {each, arg};

    return walk((struct ds_l2_s3 *)l2, call, list_one, &l);
}

/* --- gc --- */

static bool is_old(const struct ds_l2_meta *m, const struct ds_l2_gc *gc)
{
    bool tombstone = (m->flags & DS_L2_TOMBSTONE) != 0;
    int64_t since = tombstone ? m->written_unix_ns : m->expiry_unix_ns;

    return ds_l2_is_gone(m, gc->now_unix_ns) && since > 0 &&
           gc->now_unix_ns - since >= gc->tombstone_age_ns;
}

/* A key's newest version comes first in the listing, but goes last: it is kept back until the
 * next key begins. */
struct collector {
    struct ds_l2_gc *gc;
    unsigned refused; /* in a row */
    uint64_t *as;     /* what the doomed one counts as */
    char doomed[DS_L2_S3_KEY_MAX + 1];
};

/* An object may be under a lock; where many are, it is the credentials that may not delete. */
static int collect_one(struct collector *c, struct ds_l2_s3 *s3, struct ds_l2_call *call,
                       const char *key, uint64_t *as)
{
    int rc = c->gc->dry_run ? 0 : ds_l2_s3_delete(s3, call, key);

    *as += rc == 0;
    c->refused = ds_l2_is_refused(rc) ? c->refused + 1 : 0;
    return c->refused == REFUSED_MAX ? rc : ds_l2_gc_go_on(c->gc, rc);
}

static int collect_doomed(struct collector *c, struct ds_l2_s3 *s3, struct ds_l2_call *call)
{
    int rc = 0;

    if (c->doomed[0] != '\0') {
        (void)ds_failpoint("l2.s3.gc.before_delete");
        rc = collect_one(c, s3, call, c->doomed, c->as);
        c->doomed[0] = '\0';
    }
    return rc;
}

static int gc_one(void *arg, struct ds_l2_s3 *s3, struct ds_l2_call *call,
                  const struct ds_l2_s3_listed *item, bool newest)
{
    struct collector *c = arg;
    int rc;

    if (!newest) {
        return collect_one(c, s3, call, item->key, &c->gc->superseded);
    }
    rc = collect_doomed(c, s3, call);
    if (rc < 0) {
        return rc;
    }
    if (is_old(&item->meta, c->gc)) {
        (void)snprintf(c->doomed, sizeof(c->doomed), "%s", item->key);
        c->as = (item->meta.flags & DS_L2_TOMBSTONE) != 0 ? &c->gc->tombstones : &c->gc->expired;
        return 0;
    }
    c->gc->gone += ds_l2_is_gone(&item->meta, c->gc->now_unix_ns);
    c->gc->objects++;
    c->gc->bytes += item->size;
    return 0;
}

int ds_l2_s3_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc)
{
    struct ds_l2_s3 *s3 = (struct ds_l2_s3 *)l2;
    struct collector c = {.gc = gc};
    int rc = walk(s3, call, gc_one, &c);

    rc = rc < 0 ? rc : collect_doomed(&c, s3, call);
    gc->whole = rc == 0;
    return rc < 0 ? rc
                  : ds_l2_s3_abort_stale(s3, call, gc->now_unix_ns - gc->unfinished_age_ns,
                                         gc->dry_run, &gc->unfinished);
}
