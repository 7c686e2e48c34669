/* SPDX-License-Identifier: Apache-2.0 */
/* l2_s3_http.c - see l2_s3_http.h: what is sent, and sent again. */
#include "tier/l2_s3_http.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "tier/l2_s3_transfer.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 5000
#define BUDGET_MAX 20.0
#define BUDGET_BACK 0.1
#define REQUEST_MS 30000
#define ATTEMPTS 5
#define WAIT_MS 50 /* how soon a stop is seen */

struct ds_l2_s3_lane {
    struct ds_l2_s3_lane *next;
    CURLM *multi;
    struct ds_l2_s3_transfer transfers[DS_L2_S3_SLOTS_MAX];
};

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
static bool try_again(struct ds_l2_s3_transfer *t, struct ds_l2_call *call,
                      struct ds_l2_s3_verdict *v)
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

static int finish(struct ds_l2_s3_lane *lane, struct ds_l2_call *call, struct ds_l2_s3_run *run,
                  struct ds_l2_s3_transfer *t, CURLcode code)
{
    unsigned slot = (unsigned)(t - lane->transfers);
    struct ds_l2_s3_verdict v;
    int rc;

    ds_l2_s3_transfer_judge(t, code, &v);
    ds_l2_s3_transfer_end(t, lane->multi);
    if (v.rc < 0 && try_again(t, call, &v)) {
        t->state = DS_L2_S3_WAITING;
        return 0;
    }
    if (v.rc == 0) {
        return_token(t->http);
    } else {
        (void)ds_l2_fail(call, v.rc, "%s %.100s: %s%s%s", t->request.method, t->request.key, v.text,
                         t->request.head.request_id[0] != '\0' ? "; request " : "",
                         t->request.head.request_id);
        call->answered = v.answered;
    }
    t->request.rc = v.rc;
    rc = run->done(run, slot, &t->request);
    run->busy[slot] = false;
    return rc < 0 ? rc : 0;
}

/* Starts what may start. *ret: how many are under way or waiting. */
static int start_all(struct ds_l2_s3_lane *lane, struct ds_l2_call *call, struct ds_l2_s3_run *run,
                     unsigned *ret)
{
    int64_t now = ds_monotonic_ns();
    unsigned n = 0;

    for (unsigned i = 0; i < run->slots; i++) {
        struct ds_l2_s3_transfer *t = &lane->transfers[i];
        int rc = 0;

        if (t->state == DS_L2_S3_FREE && !run->busy[i]) {
            struct ds_l2_s3_request q = {0};

            if (run->next(run, i, &q)) {
                t->request = q;
                t->tries = 0;
                t->reloaded = false;
                run->busy[i] = true;
                rc = ds_l2_s3_transfer_start(t, lane->multi, call);
            }
        } else if (t->state == DS_L2_S3_WAITING && now >= t->again_ns) {
            rc = ds_l2_s3_transfer_start(t, lane->multi, call);
        }
        if (rc < 0) {
            return ds_l2_fail(call, rc, "no memory for a request");
        }
        n += t->state != DS_L2_S3_FREE;
    }
    *ret = n;
    return 0;
}

/* Those whose taker wanted nothing: it may have what it waited for. */
static int resume_all(struct ds_l2_s3_lane *lane, struct ds_l2_call *call, struct ds_l2_s3_run *run)
{
    for (unsigned i = 0; i < run->slots; i++) {
        struct ds_l2_s3_transfer *t = &lane->transfers[i];

        if (t->state == DS_L2_S3_ACTIVE && t->paused) {
            CURLcode code = ds_l2_s3_transfer_resume(t);
            int rc = code != CURLE_OK ? finish(lane, call, run, t, code) : 0;

            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

static int poll_ms(const struct ds_l2_s3_lane *lane, unsigned slots)
{
    int64_t least = WAIT_MS;
    int64_t now = ds_monotonic_ns();

    for (unsigned i = 0; i < slots; i++) {
        const struct ds_l2_s3_transfer *t = &lane->transfers[i];

        if (t->state == DS_L2_S3_WAITING) {
            int64_t ms = t->again_ns <= now ? 0 : (t->again_ns - now) / 1000000 + 1;

            least = ms < least ? ms : least;
        }
    }
    return (int)least;
}

static int run_lane(struct ds_l2_s3_lane *lane, struct ds_l2_call *call, struct ds_l2_s3_run *run)
{
    for (;;) {
        unsigned open = 0;
        CURLMsg *msg;
        int left;
        int rc = ds_l2_go_on(call);

        rc = rc < 0 ? rc : resume_all(lane, call, run);
        rc = rc < 0 ? rc : start_all(lane, call, run, &open);
        if (rc < 0 || open == 0) {
            return rc;
        }
        if (curl_multi_perform(lane->multi, &left) != CURLM_OK) {
            return ds_l2_fail(call, DS_ENOMEM, "no memory for a request");
        }
        while ((msg = curl_multi_info_read(lane->multi, &left)) != NULL) {
            struct ds_l2_s3_transfer *t = NULL;
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

static struct ds_l2_s3_lane *lane_close(struct ds_l2_s3_lane *lane)
{
    for (unsigned i = 0; i < DS_L2_S3_SLOTS_MAX; i++) {
        ds_l2_s3_transfer_end(&lane->transfers[i], lane->multi);
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

static struct ds_l2_s3_lane *lane_take(struct ds_l2_s3_http *http)
{
    struct ds_l2_s3_lane *lane;

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

bool ds_l2_s3_http_signs(const struct ds_l2_s3_http *http)
{
    return http->signs;
}

int ds_l2_s3_http_run(struct ds_l2_s3_http *http, struct ds_l2_call *call, struct ds_l2_s3_run *run)
{
    struct ds_l2_s3_lane *lane = lane_take(http);
    int rc;

    DS_ASSERT(run->slots >= 1 && run->slots <= DS_L2_S3_SLOTS_MAX);
    if (lane == NULL) {
        return ds_l2_fail(call, DS_ENOMEM, "no memory for connections");
    }
    memset(run->busy, 0, sizeof(run->busy));
    rc = run_lane(lane, call, run);
    for (unsigned i = 0; i < run->slots; i++) {
        ds_l2_s3_transfer_end(&lane->transfers[i], lane->multi);
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
    http->local = !http->tls && !c->virtual_host && ds_l2_s3_is_loopback(host);
    http->signs = c->sign_payload == DS_L2_S3_SIGN_ALWAYS ||
                  (c->sign_payload == DS_L2_S3_SIGN_AUTO && !http->tls && !http->local);
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
        struct ds_l2_s3_lane *lane = http->lanes;

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
