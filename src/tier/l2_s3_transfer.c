/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_s3_transfer.c - see l2_s3_transfer.h. libcurl makes the signature (AWS SigV4); it signs what
 * it is given as it stands, so everything that goes into a URL comes from ds_l2_s3_encode(),
 * queries are sorted, and the hash of the payload is always in a header: of small bodies, and of
 * all of them where payloads are to be signed, the real one.
 */
#include "tier/l2_s3_transfer.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define CONNECT_MS 5000
#define EXPECT_MS 100       /* a large body waits that long for the store's word */
#define SLOWEST_PER_MS 1048 /* bytes: 1 MiB/s */
#define HASH_ALWAYS ((size_t)1 << 20)
#define URL_SIZE 8192

/* --- libcurl's callbacks --- */

static bool is_wrong_range(const struct ds_l2_s3_transfer *t)
{
    return t->request.range_from > 0 &&
           !ds_l2_s3_is_range(t->request.head.content_range, t->request.range_from);
}

static size_t on_piece(struct ds_l2_s3_transfer *t, const char *data, size_t n)
{
    struct ds_l2_s3_request *q = &t->request;

    if (is_wrong_range(t)) {
        return 0; /* other bytes; judge() says so */
    }
    t->rc = q->take(q, q->answer_size, (const uint8_t *)data, n);
    t->paused = t->rc > 0;
    if (t->rc != 0) {
        return t->paused ? CURL_WRITEFUNC_PAUSE : 0;
    }
    q->answer_size += n;
    return n;
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
    struct ds_l2_s3_transfer *t = arg;
    struct ds_l2_s3_request *q = &t->request;
    long status = 0;

    (void)one;
    if (!t->paused) { /* what it is asked about again has come before */
        ds_l2_moved(t->call);
    }
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299) {
        size_t take = ds_min_u64(n, sizeof(t->bad) - t->bad_size);

        memcpy(t->bad + t->bad_size, data, take);
        t->bad_size += take;
        return n;
    }
    if (n > q->answer_max - q->answer_size) {
        t->overflow = true;
        return 0;
    }
    if (q->take != NULL) {
        return on_piece(t, data, n);
    }
    memcpy(q->answer + q->answer_size, data, n);
    q->answer_size += n;
    return n;
}

static size_t on_header(char *line, size_t one, size_t n, void *arg)
{
    struct ds_l2_s3_transfer *t = arg;

    (void)one;
    ds_l2_moved(t->call);
    ds_l2_s3_header(line, n, &t->request.head);
    return n;
}

static size_t on_send(char *buf, size_t one, size_t n, void *arg)
{
    struct ds_l2_s3_transfer *t = arg;
    size_t take = ds_min_u64(one * n, t->request.body_size - t->sent);

    ds_l2_moved(t->call);
    if (t->request.give != NULL) {
        t->rc = t->request.give(&t->request, t->sent, (uint8_t *)buf, take);
        if (t->rc < 0) {
            return CURL_READFUNC_ABORT;
        }
    } else {
        memcpy(buf, t->request.body + t->sent, take);
    }
    t->sent += take;
    return take;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct ds_l2_s3_transfer *t = arg;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->request.body_size ||
        (offset > 0 && t->request.give != NULL)) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    t->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* --- one transfer --- */

static bool add_header(struct ds_l2_s3_transfer *t, const char *text)
{
    struct curl_slist *more = curl_slist_append(t->headers, text);

    t->headers = more != NULL ? more : t->headers;
    return more != NULL;
}

static bool set_headers(struct ds_l2_s3_transfer *t, const char *token)
{
    const struct ds_l2_s3_request *q = &t->request;
    char text[sizeof("x-amz-security-token: ") + sizeof(((struct ds_l2_s3_auth *)0)->token)];
    char hex[DS_L2_S3_DIGEST_SIZE] = "UNSIGNED-PAYLOAD";
    bool ok = true;

    if (q->give == NULL && (t->http->signs || q->body_size <= HASH_ALWAYS)) {
        ok = ds_l2_s3_digest(false, q->body != NULL ? q->body : (const uint8_t *)"", q->body_size,
                             hex);
    }
    (void)snprintf(text, sizeof(text), "x-amz-content-sha256: %s", hex);
    ok = ok && add_header(t, text);
    if (token[0] != '\0') {
        (void)snprintf(text, sizeof(text), "x-amz-security-token: %s", token);
        ok = ok && add_header(t, text);
        explicit_bzero(text, sizeof(text));
    }
    if (strcmp(q->method, "POST") == 0) {
        ok = ok && add_header(t, "Content-Type: application/xml");
    } else if (strcmp(q->method, "PUT") == 0) {
        ok = ok && add_header(t, "Content-Type: application/octet-stream");
    }
    return ok;
}

static void set_method(struct ds_l2_s3_transfer *t)
{
    const struct ds_l2_s3_request *q = &t->request;
    char range[64];

    if (strcmp(q->method, "PUT") == 0) {
        (void)curl_easy_setopt(t->easy, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(t->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->body_size);
    } else if (strcmp(q->method, "POST") == 0) {
        (void)curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_size);
        (void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS,
                               q->body != NULL ? (const char *)q->body : "");
    } else if (strcmp(q->method, "DELETE") == 0) {
        (void)curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, "DELETE");
    }
    if (q->range_size > 0) {
        (void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)q->range_from,
                       (unsigned long long)(q->range_from + q->range_size - 1));
        (void)curl_easy_setopt(t->easy, CURLOPT_RANGE, range);
    }
}

static void set_common(struct ds_l2_s3_transfer *t, long timeout_ms)
{
    const struct ds_l2_s3_http *http = t->http;
    CURL *e = t->easy;

    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(e, CURLOPT_AWS_SIGV4, http->sigv4);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->curl_err);
    (void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    (void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, timeout_ms);
    /* Not "Expect:" as a header, which libcurl 7.88 signs but does not send. */
    (void)curl_easy_setopt(e, CURLOPT_EXPECT_100_TIMEOUT_MS, (long)EXPECT_MS);
    (void)curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
    (void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 256L << 10);
    (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_READFUNCTION, on_send);
    (void)curl_easy_setopt(e, CURLOPT_READDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
    (void)curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
    (void)curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    (void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L); /* no option turns these off */
    (void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    (void)curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (http->local) { /* a proxy would be another way than the one that needs no signature */
        (void)curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
    }
    if (http->ca_file[0] != '\0') {
        (void)curl_easy_setopt(e, CURLOPT_CAINFO, http->ca_file);
    }
}

static long timeout_of(const struct ds_l2_s3_transfer *t, const struct ds_l2_call *call)
{
    const struct ds_l2_s3_request *q = &t->request;
    int64_t ms = t->http->config.request_timeout_ms +
                 (int64_t)(q->body_size + q->answer_max) / SLOWEST_PER_MS;

    if (call->deadline_ns != 0) {
        int64_t left_ms = (call->deadline_ns - ds_monotonic_ns()) / 1000000 + 1;

        ms = left_ms < ms ? left_ms : ms;
    }
    return ms > 1 ? (long)ms : 1;
}

int ds_l2_s3_transfer_start(struct ds_l2_s3_transfer *t, CURLM *multi, struct ds_l2_call *call)
{
    struct ds_l2_s3_http *http = t->http;
    struct ds_l2_s3_auth auth;
    char url[URL_SIZE];
    size_t n = (size_t)snprintf(url, sizeof(url), "%s/", http->base);
    bool ok;

    n += ds_l2_s3_encode(t->request.key, true, url + n, sizeof(url) - n);
    if (t->request.query[0] != '\0') {
        (void)snprintf(url + n, sizeof(url) - n, "?%s", t->request.query);
    }
    if (t->easy == NULL) {
        t->easy = curl_easy_init();
    }
    if (t->easy == NULL) {
        return DS_ENOMEM;
    }
    curl_easy_reset(t->easy); /* keeps connections */
    t->call = call;
    t->sent = t->bad_size = 0;
    t->overflow = t->paused = false;
    t->rc = 0;
    t->curl_err[0] = '\0';
    t->request.head = (struct ds_l2_s3_headers){.etag = ""};
    t->request.answer_size = 0;
    set_common(t, timeout_of(t, call));
    set_method(t);
    (void)pthread_mutex_lock(&http->lock);
    auth = http->auth;
    (void)pthread_mutex_unlock(&http->lock);
    ok = set_headers(t, auth.token) && curl_easy_setopt(t->easy, CURLOPT_URL, url) == CURLE_OK &&
         curl_easy_setopt(t->easy, CURLOPT_USERPWD, auth.user) == CURLE_OK &&
         curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) == CURLE_OK &&
         curl_multi_add_handle(multi, t->easy) == CURLM_OK;
    explicit_bzero(&auth, sizeof(auth));
    t->state = DS_L2_S3_ACTIVE;
    t->tries++;
    return ok ? 0 : DS_ENOMEM;
}

CURLcode ds_l2_s3_transfer_resume(struct ds_l2_s3_transfer *t)
{
    return curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

void ds_l2_s3_transfer_end(struct ds_l2_s3_transfer *t, CURLM *multi)
{
    if (t->state == DS_L2_S3_ACTIVE) {
        (void)curl_multi_remove_handle(multi, t->easy);
    }
    if (t->easy != NULL) {
        curl_easy_reset(t->easy); /* forgets the secret key too */
    }
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    t->state = DS_L2_S3_FREE;
}

/* --- verdicts --- */

/* The ETag of a plain PUT is the body's MD5, unless the store encrypts with keys of its own: then
 * it does not look like one or the store says so; those who rewrite it cannot be told from a store
 * that kept other bytes, so it is only asked of small bodies, which cost nothing to send again. */
static bool is_wrong_etag(const struct ds_l2_s3_transfer *t)
{
    const struct ds_l2_s3_request *q = &t->request;
    char md5[DS_L2_S3_DIGEST_SIZE];

    if (strcmp(q->method, "PUT") != 0) {
        return false;
    }
    if (q->head.etag[0] == '\0') {
        return true;
    }
    return q->give == NULL && q->body_size <= HASH_ALWAYS && strlen(q->head.etag) == 34 &&
           q->head.etag[0] == '"' && strspn(q->head.etag + 1, "0123456789abcdef") == 32 &&
           ds_l2_s3_digest(true, q->body, q->body_size, md5) &&
           strncmp(q->head.etag + 1, md5, 32) != 0;
}

void ds_l2_s3_transfer_judge(const struct ds_l2_s3_transfer *t, CURLcode code,
                             struct ds_l2_s3_verdict *v)
{
    const struct ds_l2_s3_request *q = &t->request;
    const char *body = t->bad;
    size_t size = t->bad_size;
    long status = 0;
    long verified = 0;

    *v = (struct ds_l2_s3_verdict){0};
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->overflow) {
        v->rc = DS_EIO;
        (void)snprintf(v->text, sizeof(v->text), "the answer is larger than what was asked for");
        return;
    }
    if (t->rc < 0) {
        v->rc = t->rc;
        v->answered = status >= 200 && status <= 299;
        (void)snprintf(v->text, sizeof(v->text), "%.199s", t->call->err);
        return;
    }
    if (code == CURLE_WRITE_ERROR && is_wrong_range(t)) {
        v->rc = DS_EIO;
        v->answered = true;
        (void)snprintf(v->text, sizeof(v->text), "the store ignores ranges");
        return;
    }
    if (code != CURLE_OK) {
        (void)curl_easy_getinfo(t->easy, CURLINFO_SSL_VERIFYRESULT, &verified);
        ds_l2_s3_judge_curl((int)code, verified, t->curl_err, v);
        return;
    }
    if (status >= 200 && status <= 299 && strcmp(q->method, "POST") == 0) {
        body = (const char *)q->answer; /* a 200 that may hold an error */
        size = q->answer_size;
    }
    ds_l2_s3_judge(status, q->range_size > 0, size > 0 ? body : NULL, size, v);
    v->answered = !v->retry; /* or it is overloaded, or a proxy says that it is not there */
    if (v->rc == 0 && is_wrong_range(t)) {
        v->rc = DS_EIO;
        (void)snprintf(v->text, sizeof(v->text), "the store ignores ranges");
    } else if (v->rc == 0 && q->range_size > q->answer_size) {
        v->rc = DS_ECORRUPT;
        v->retry = true;
        (void)snprintf(v->text, sizeof(v->text), "the answer is shorter than what was asked for");
    } else if (v->rc == 0 && is_wrong_etag(t)) {
        v->rc = DS_EUNAVAILABLE;
        v->retry = true;
        (void)snprintf(v->text, sizeof(v->text), "the ETag is not that of what was sent");
    }
}
