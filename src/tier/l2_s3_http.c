/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_s3_http.c - see l2_s3_http.h. libcurl makes the signature (AWS SigV4); it signs what it is
 * given as it stands, so everything that goes into a URL comes from ds_l2_s3_encode(), queries are
 * sorted, and the hash of the payload is always in a header: of small bodies, and of all of them
 * where no TLS protects the way, the real one.
 */
#include "tier/l2_s3_http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "tier/l2_s3_auth.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 5000
#define BUDGET_MAX 20.0
#define BUDGET_BACK 0.1
#define CONNECT_MS 5000
#define REQUEST_MS 30000
#define EXPECT_MS 100       /* a large body waits that long for the store's word */
#define SLOWEST_PER_MS 1048 /* bytes: 1 MiB/s */
#define ATTEMPTS 5
#define ERROR_BODY 4096
#define HASH_ALWAYS ((size_t)1 << 20)
#define WAIT_MS 50 /* how soon a stop is seen */
#define URL_SIZE 8192

struct transfer {
    struct ds_l2_s3_http *http;
    struct ds_l2_call *call; /* while it is not FREE */
    struct ds_l2_s3_request request;
    CURL *easy; /* kept for its connection and buffers */
    struct curl_slist *headers;
    enum { FREE, WAITING, ACTIVE } state;
    unsigned tries;
    bool reloaded;
    int64_t again_ns; /* WAITING: not before */
    size_t sent;
    char bad[ERROR_BODY]; /* the body of an answer that is no success */
    size_t bad_size;
    bool overflow; /* the answer was larger than its room */
    char request_id[64];
    char content_range[96];
    char curl_err[CURL_ERROR_SIZE];
};

struct lane {
    struct lane *next;
    CURLM *multi;
    struct transfer transfers[DS_L2_S3_SLOTS_MAX];
};

struct ds_l2_s3_http {
    struct ds_l2_s3_config config; /* its texts: own copies below */
    char base[1024];               /* scheme://host/bucket */
    char sigv4[128];
    char ca_file[1024];
    char *texts[4]; /* access key, secret key, token, credentials file */
    bool tls;

    pthread_mutex_t lock; /* guards all below */
    struct lane *lanes;   /* nobody uses these now */
    struct ds_l2_s3_auth auth;
    double budget;
    uint64_t random;
};

/* --- libcurl's callbacks --- */

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct ds_l2_s3_request *q = &t->request;
    long status = 0;

    (void)one;
    ds_l2_moved(t->call);
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
    memcpy(q->answer + q->answer_size, data, n);
    q->answer_size += n;
    return n;
}

/* "Name: value\r\n" into ret, if it is that header. */
static void take_header(const char *line, size_t n, const char *name, char *ret, size_t size)
{
    size_t len = strlen(name);

    if (n <= len + 1 || strncasecmp(line, name, len) != 0 || line[len] != ':') {
        return;
    }
    for (len++; len < n && line[len] == ' '; len++) {
    }
    while (n > len && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' ')) {
        n--;
    }
    (void)snprintf(ret, size, "%.*s", (int)(n - len), line + len);
}

static size_t on_header(char *line, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;

    (void)one;
    ds_l2_moved(t->call);
    take_header(line, n, "etag", t->request.etag, sizeof(t->request.etag));
    take_header(line, n, "content-range", t->content_range, sizeof(t->content_range));
    take_header(line, n, "x-amz-request-id", t->request_id, sizeof(t->request_id));
    return n;
}

static size_t on_send(char *buf, size_t one, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t take = ds_min_u64(one * n, t->request.body_size - t->sent);

    ds_l2_moved(t->call);
    memcpy(buf, t->request.body + t->sent, take);
    t->sent += take;
    return take;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct transfer *t = arg;

    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->request.body_size) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    t->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* --- one transfer --- */

static bool add_header(struct transfer *t, const char *text)
{
    struct curl_slist *more = curl_slist_append(t->headers, text);

    t->headers = more != NULL ? more : t->headers;
    return more != NULL;
}

static bool set_headers(struct transfer *t, const char *token)
{
    const struct ds_l2_s3_request *q = &t->request;
    char text[sizeof("x-amz-security-token: ") + sizeof(((struct ds_l2_s3_auth *)0)->token)];
    char hex[DS_L2_S3_DIGEST_SIZE] = "UNSIGNED-PAYLOAD";
    bool ok = true;

    if (!t->http->tls || q->body_size <= HASH_ALWAYS) {
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

static void set_method(struct transfer *t)
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

static void set_common(struct transfer *t, long timeout_ms)
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
    (void)curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 1L << 20);
    (void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 512L << 10);
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
    if (http->ca_file[0] != '\0') {
        (void)curl_easy_setopt(e, CURLOPT_CAINFO, http->ca_file);
    }
}

static long timeout_of(const struct transfer *t, const struct ds_l2_call *call)
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

/* Hands the request to libcurl. */
static int start(struct lane *lane, struct transfer *t, struct ds_l2_call *call)
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
    t->overflow = false;
    t->curl_err[0] = t->request_id[0] = t->content_range[0] = t->request.etag[0] = '\0';
    t->request.answer_size = 0;
    set_common(t, timeout_of(t, call));
    set_method(t);
    (void)pthread_mutex_lock(&http->lock);
    auth = http->auth;
    (void)pthread_mutex_unlock(&http->lock);
    ok = set_headers(t, auth.token) && curl_easy_setopt(t->easy, CURLOPT_URL, url) == CURLE_OK &&
         curl_easy_setopt(t->easy, CURLOPT_USERPWD, auth.user) == CURLE_OK &&
         curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) == CURLE_OK &&
         curl_multi_add_handle(lane->multi, t->easy) == CURLM_OK;
    explicit_bzero(&auth, sizeof(auth));
    t->state = ACTIVE;
    t->tries++;
    return ok ? 0 : DS_ENOMEM;
}

static void end_transfer(struct lane *lane, struct transfer *t)
{
    if (t->state == ACTIVE) {
        (void)curl_multi_remove_handle(lane->multi, t->easy);
    }
    if (t->easy != NULL) {
        curl_easy_reset(t->easy); /* forgets the secret key too */
    }
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    t->state = FREE;
}

/* --- verdicts --- */

/* The ETag of a plain PUT is the body's MD5, unless the store encrypts with keys of its own: then
 * it does not look like one or the store says so; those who rewrite it cannot be told from a store
 * that kept other bytes, so it is only asked of small bodies, which cost nothing to send again. */
static bool is_wrong_etag(const struct transfer *t)
{
    const struct ds_l2_s3_request *q = &t->request;
    char md5[DS_L2_S3_DIGEST_SIZE];

    if (strcmp(q->method, "PUT") != 0) {
        return false;
    }
    if (q->etag[0] == '\0') {
        return true;
    }
    return q->body_size <= HASH_ALWAYS && strlen(q->etag) == 34 && q->etag[0] == '"' &&
           strspn(q->etag + 1, "0123456789abcdef") == 32 &&
           ds_l2_s3_digest(true, q->body, q->body_size, md5) && strncmp(q->etag + 1, md5, 32) != 0;
}

/* By the header, not by a status of 206: rclone answers ranges with 200. */
static bool is_range(const struct transfer *t)
{
    unsigned long long from;

    return sscanf(t->content_range, "bytes %llu-", &from) == 1 && from == t->request.range_from;
}

static void judge(CURLcode code, struct transfer *t, struct ds_l2_s3_verdict *v)
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
    if (v->rc == 0 && q->range_from > 0 && !is_range(t)) {
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

/* --- retries; these lock --- */

static bool take_token(struct ds_l2_s3_http *http)
{
    bool ok;

    (void)pthread_mutex_lock(&http->lock);
    ok = http->budget >= 1;
    http->budget -= ok ? 1 : 0;
    (void)pthread_mutex_unlock(&http->lock);
    return ok;
}

static void return_token(struct ds_l2_s3_http *http)
{
    (void)pthread_mutex_lock(&http->lock);
    http->budget =
        http->budget + BUDGET_BACK < BUDGET_MAX ? http->budget + BUDGET_BACK : BUDGET_MAX;
    (void)pthread_mutex_unlock(&http->lock);
}

/* Full jitter: anything from 0 to the doubled ceiling. */
static int64_t backoff_ns(struct ds_l2_s3_http *http, unsigned tries)
{
    uint64_t most = BACKOFF_FIRST_MS;
    uint64_t r;

    for (unsigned i = 1; i < tries && most < BACKOFF_MOST_MS; i++) {
        most *= 2;
    }
    (void)pthread_mutex_lock(&http->lock);
    http->random = http->random * 6364136223846793005u + 1442695040888963407u;
    r = http->random >> 33;
    (void)pthread_mutex_unlock(&http->lock);
    return (int64_t)(r % (ds_min_u64(most, BACKOFF_MOST_MS) * 1000)) * 1000;
}

/* Whether there are others now than those the store refused. */
static bool reload(struct ds_l2_s3_http *http)
{
    struct ds_l2_s3_auth auth;
    char err[256];
    bool changed = false;

    (void)pthread_mutex_lock(&http->lock);
    if (ds_l2_s3_auth_load(&http->config, err, sizeof(err), &auth) == 0) {
        changed =
            strcmp(auth.user, http->auth.user) != 0 || strcmp(auth.token, http->auth.token) != 0;
        http->auth = auth;
    }
    (void)pthread_mutex_unlock(&http->lock);
    explicit_bzero(&auth, sizeof(auth));
    return changed;
}

/* What comes after a finished transfer: true if it waits for another try. */
static bool try_again(struct transfer *t, struct ds_l2_call *call, struct ds_l2_s3_verdict *v)
{
    struct ds_l2_s3_http *http = t->http;
    int64_t now = ds_monotonic_ns();

    if (v->reload && !t->reloaded) {
        t->reloaded = true;
        t->again_ns = now;
        return reload(http);
    }
    if (!v->retry || t->tries >= http->config.attempts) {
        return false;
    }
    t->again_ns = now + backoff_ns(http, t->tries);
    if (call->deadline_ns != 0 && t->again_ns >= call->deadline_ns) {
        v->rc = DS_ETIMEOUT;
        return false;
    }
    if (!take_token(http)) {
        size_t n = strlen(v->text);

        (void)snprintf(v->text + n, sizeof(v->text) - n, "; not tried again: too many retries");
        return false;
    }
    call->retries++;
    return true;
}

/* --- a run --- */

static int finish(struct lane *lane, struct ds_l2_call *call, struct ds_l2_s3_run *run,
                  struct transfer *t, CURLcode code)
{
    unsigned slot = (unsigned)(t - lane->transfers);
    struct ds_l2_s3_verdict v;
    int rc;

    judge(code, t, &v);
    end_transfer(lane, t);
    if (v.rc < 0 && try_again(t, call, &v)) {
        t->state = WAITING;
        return 0;
    }
    if (v.rc == 0) {
        return_token(t->http);
    } else {
        (void)ds_l2_fail(call, v.rc, "%s %.100s: %s%s%s", t->request.method, t->request.key, v.text,
                         t->request_id[0] != '\0' ? "; request " : "", t->request_id);
        call->answered = v.answered;
    }
    t->request.rc = v.rc;
    rc = run->done(run, slot, &t->request);
    run->busy[slot] = rc > 0;
    return rc < 0 ? rc : 0;
}

/* Starts what may start. *ret: how many are under way or waiting. */
static int start_all(struct lane *lane, struct ds_l2_call *call, struct ds_l2_s3_run *run,
                     unsigned *ret)
{
    int64_t now = ds_monotonic_ns();
    unsigned n = 0;

    for (unsigned i = 0; i < run->slots; i++) {
        struct transfer *t = &lane->transfers[i];
        int rc = 0;

        if (t->state == FREE && !run->busy[i]) {
            struct ds_l2_s3_request q = {0};

            if (run->next(run, i, &q)) {
                t->request = q;
                t->tries = 0;
                t->reloaded = false;
                run->busy[i] = true;
                rc = start(lane, t, call);
            }
        } else if (t->state == WAITING && now >= t->again_ns) {
            rc = start(lane, t, call);
        }
        if (rc < 0) {
            return ds_l2_fail(call, rc, "no memory for a request");
        }
        n += t->state != FREE;
    }
    *ret = n;
    return 0;
}

static int poll_ms(const struct lane *lane, unsigned slots)
{
    int64_t least = WAIT_MS;
    int64_t now = ds_monotonic_ns();

    for (unsigned i = 0; i < slots; i++) {
        const struct transfer *t = &lane->transfers[i];

        if (t->state == WAITING) {
            int64_t ms = t->again_ns <= now ? 0 : (t->again_ns - now) / 1000000 + 1;

            least = ms < least ? ms : least;
        }
    }
    return (int)least;
}

static int run_lane(struct lane *lane, struct ds_l2_call *call, struct ds_l2_s3_run *run)
{
    for (;;) {
        unsigned open = 0;
        CURLMsg *msg;
        int left;
        int rc = ds_l2_go_on(call);

        rc = rc < 0 ? rc : start_all(lane, call, run, &open);
        if (rc < 0 || open == 0) {
            return rc;
        }
        if (curl_multi_perform(lane->multi, &left) != CURLM_OK) {
            return ds_l2_fail(call, DS_ENOMEM, "no memory for a request");
        }
        while ((msg = curl_multi_info_read(lane->multi, &left)) != NULL) {
            struct transfer *t = NULL;
            CURLcode code = msg->data.result;

            if (msg->msg != CURLMSG_DONE ||
                curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t) != CURLE_OK) {
                continue;
            }
            rc = finish(lane, call, run, t, code);
            if (rc < 0) {
                return rc;
            }
            open = 0; /* something may start at once */
        }
        if (open > 0) {
            (void)curl_multi_poll(lane->multi, NULL, 0, poll_ms(lane, run->slots), NULL);
        }
    }
}

static struct lane *lane_close(struct lane *lane)
{
    for (unsigned i = 0; i < DS_L2_S3_SLOTS_MAX; i++) {
        end_transfer(lane, &lane->transfers[i]);
        if (lane->transfers[i].easy != NULL) {
            curl_easy_cleanup(lane->transfers[i].easy);
        }
    }
    if (lane->multi != NULL) {
        (void)curl_multi_cleanup(lane->multi);
    }
    ds_free(lane);
    return NULL;
}

static struct lane *lane_take(struct ds_l2_s3_http *http)
{
    struct lane *lane;

    (void)pthread_mutex_lock(&http->lock);
    lane = http->lanes;
    http->lanes = lane != NULL ? lane->next : NULL;
    (void)pthread_mutex_unlock(&http->lock);
    if (lane != NULL) {
        return lane;
    }
    lane = ds_zalloc(sizeof(*lane), "l2 s3 lane");
    if (lane != NULL) {
        lane->multi = curl_multi_init();
        for (unsigned i = 0; i < DS_L2_S3_SLOTS_MAX; i++) {
            lane->transfers[i].http = http;
        }
        if (lane->multi == NULL) {
            lane = lane_close(lane);
        }
    }
    return lane;
}

int ds_l2_s3_http_run(struct ds_l2_s3_http *http, struct ds_l2_call *call, struct ds_l2_s3_run *run)
{
    struct lane *lane = lane_take(http);
    int rc;

    DS_ASSERT(run->slots >= 1 && run->slots <= DS_L2_S3_SLOTS_MAX);
    if (lane == NULL) {
        return ds_l2_fail(call, DS_ENOMEM, "no memory for connections");
    }
    memset(run->busy, 0, sizeof(run->busy));
    rc = run_lane(lane, call, run);
    for (unsigned i = 0; i < run->slots; i++) {
        end_transfer(lane, &lane->transfers[i]);
    }
    (void)pthread_mutex_lock(&http->lock);
    lane->next = http->lanes;
    http->lanes = lane;
    (void)pthread_mutex_unlock(&http->lock);
    return rc;
}

struct single {
    struct ds_l2_s3_request *request;
    bool given;
};

static bool next_single(struct ds_l2_s3_run *run, unsigned slot, struct ds_l2_s3_request *ret)
{
    struct single *s = run->arg;

    (void)slot;
    if (s->given) {
        return false;
    }
    s->given = true;
    *ret = *s->request;
    return true;
}

static int done_single(struct ds_l2_s3_run *run, unsigned slot, struct ds_l2_s3_request *request)
{
    struct single *s = run->arg;

    (void)slot;
    *s->request = *request;
    return request->rc;
}

int ds_l2_s3_http_one(struct ds_l2_s3_http *http, struct ds_l2_call *call,
                      struct ds_l2_s3_request *request)
{
    struct single s = {.request = request};
    struct ds_l2_s3_run run = {.arg = &s, .slots = 1, .next = next_single, .done = done_single};

    return ds_l2_s3_http_run(http, call, &run);
}

/* --- open and close --- */

static char *copy_text(const char *text)
{
    size_t n = text != NULL ? strlen(text) : 0;
    char *copy = ds_zalloc(n + 1, "l2 s3 text");

    if (copy != NULL && n > 0) {
        memcpy(copy, text, n);
    }
    return copy;
}

static int build_base(struct ds_l2_s3_http *http, char *err, size_t err_size)
{
    const struct ds_l2_s3_config *c = &http->config;
    const char *host = c->endpoint;
    int n;

    http->tls = c->https;
    if (strncmp(host, "https://", 8) == 0 || strncmp(host, "http://", 7) == 0) {
        http->tls = host[4] == 's';
        host += http->tls ? 8 : 7;
    }
    size_t len = strcspn(host, "/");

    if (len == 0 || host[len + (host[len] == '/' ? 1 : 0)] != '\0' || strcspn(host, "@?#") < len) {
        (void)snprintf(err, err_size,
                       "'%s' is no endpoint: give host:port, or a URL without a path", c->endpoint);
        return DS_EINVAL;
    }
    n = snprintf(http->base, sizeof(http->base), "http%s://%s%s%.*s%s%s", http->tls ? "s" : "",
                 c->virtual_host ? c->bucket : "", c->virtual_host ? "." : "", (int)len, host,
                 c->virtual_host ? "" : "/", c->virtual_host ? "" : c->bucket);
    n |= snprintf(http->sigv4, sizeof(http->sigv4), "aws:amz:%s:s3",
                  c->region != NULL && c->region[0] != '\0' ? c->region : "us-east-1") >= 128
             ? 4096
             : 0;
    n |= snprintf(http->ca_file, sizeof(http->ca_file), "%s",
                  c->ca_file != NULL ? c->ca_file : "") >= 1024
             ? 4096
             : 0;
    if (n >= (int)sizeof(http->base)) {
        (void)snprintf(err, err_size, "endpoint, bucket, region or CA file: too long");
        return DS_EINVAL;
    }
    return 0;
}

static int copy_config(struct ds_l2_s3_http *http, const struct ds_l2_s3_config *config)
{
    const char *const from[] = {config->access_key, config->secret_key, config->session_token,
                                config->credentials_file};
    const char **const to[] = {&http->config.access_key, &http->config.secret_key,
                               &http->config.session_token, &http->config.credentials_file};

    http->config = *config;
    for (size_t i = 0; i < DS_ARRAY_SIZE(from); i++) {
        http->texts[i] = copy_text(from[i]);
        *to[i] = http->texts[i];
        if (http->texts[i] == NULL) {
            return DS_ENOMEM;
        }
    }
    http->config.attempts = config->attempts != 0 ? config->attempts : ATTEMPTS;
    if (config->request_timeout_ms == 0) {
        http->config.request_timeout_ms = REQUEST_MS;
    }
    return 0;
}

int ds_l2_s3_http_open(const struct ds_l2_s3_config *config, char *err, size_t err_size,
                       struct ds_l2_s3_http **ret)
{
    struct ds_l2_s3_http *http;
    int rc;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)snprintf(err, err_size, "libcurl cannot be initialised");
        return DS_ENOMEM;
    }
    http = ds_zalloc(sizeof(*http), "l2 s3");
    if (http == NULL) {
        curl_global_cleanup();
        (void)snprintf(err, err_size, "no memory");
        return DS_ENOMEM;
    }
    (void)pthread_mutex_init(&http->lock, NULL);
    http->budget = BUDGET_MAX;
    rc = copy_config(http, config);
    if (rc == 0 && ds_sys_random(&http->random, sizeof(http->random)) < 0) {
        rc = DS_EIO;
    }
    if (rc < 0) {
        (void)snprintf(err, err_size, "%s", rc == DS_EIO ? "no random numbers" : "no memory");
    }
    rc = rc < 0 ? rc : build_base(http, err, err_size);
    rc = rc < 0 ? rc : ds_l2_s3_auth_load(&http->config, err, err_size, &http->auth);
    if (rc < 0) {
        http = ds_l2_s3_http_close(http);
        return rc;
    }
    *ret = http;
    return 0;
}

struct ds_l2_s3_http *ds_l2_s3_http_close(struct ds_l2_s3_http *http)
{
    while (http->lanes != NULL) {
        struct lane *lane = http->lanes;

        http->lanes = lane->next;
        (void)lane_close(lane);
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(http->texts); i++) {
        if (http->texts[i] != NULL) {
            explicit_bzero(http->texts[i], strlen(http->texts[i]));
        }
        ds_free(http->texts[i]);
    }
    (void)pthread_mutex_destroy(&http->lock);
    explicit_bzero(http, sizeof(*http));
    ds_free(http);
    curl_global_cleanup();
    return NULL;
}
