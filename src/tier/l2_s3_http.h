/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_s3_http.h - signed requests to an object store: several at a time on one thread, made again
 * where that may help, every answer bounded.
 *
 * Retries: exponential back-off with full jitter (M. Brooker, "Exponential Backoff And Jitter",
 *          AWS 2015), at most `attempts` tries, and a budget that all requests share: a retry takes
 *          one token, a success gives a tenth back. A store that is down is thus not hammered.
 * Ownership: bodies and answers are the caller's memory. Connections belong to lanes; a run takes
 *          one and gives it back, so that they are used again.
 * Threads: any; each run on the thread that calls it.
 * Errors:  as l2.h; call->err names the store's own code and the request's id.
 */
#ifndef DS_TIER_L2_S3_HTTP_H
#define DS_TIER_L2_S3_HTTP_H

#include "tier/l2.h"

#define DS_L2_S3_SLOTS_MAX 16u
#define DS_L2_S3_KEY_MAX 1024u

/* Of an answer's headers what is looked at; "": it has none. What is longer is cut. */
struct ds_l2_s3_headers {
    char etag[96]; /* with its quotes */
    char content_range[96];
    char request_id[64]; /* for people: what does not print is '?' */
};

struct ds_l2_s3_request {
    const char *method;              /* "GET", "PUT", "POST", "DELETE" */
    char key[DS_L2_S3_KEY_MAX + 1];  /* of the object; "": the bucket */
    char query[4096];                /* encoded, sorted, each name with "="; or "" */
    uint64_t range_from, range_size; /* range_size 0: all */
    const uint8_t *body;             /* of PUT and POST; not written by others */
    size_t body_size;

    /* NULL, or instead of `body`: fills buf with the `size` bytes from `at` on; called in order,
     * with 0 again when the request is made again. The payload is not signed then. Negative: the
     * request ends with that code; call->err says why. */
    int (*give)(struct ds_l2_s3_request *request, size_t at, uint8_t *buf, size_t size);

    uint8_t *answer; /* where the body of a good answer goes */
    size_t answer_max;
    uint64_t tag; /* the caller's */
    void *arg;    /* the caller's */

    /* NULL, or instead of `answer`: called with each piece of it, `at` bytes behind its beginning;
     * 0 again when the request is made again. Positive: takes nothing now and is asked again.
     * Negative: the request ends with that code; call->err says why. */
    int (*take)(struct ds_l2_s3_request *request, size_t at, const uint8_t *data, size_t size);

    /* out */
    int rc; /* 0; DS_ENOTFOUND: the object, not the bucket; others as l2.h */
    size_t answer_size;
    struct ds_l2_s3_headers head;
};

/* A run: requests until there are no more, `slots` of them at a time. */
struct ds_l2_s3_run {
    void *arg;
    unsigned slots;
    bool busy[DS_L2_S3_SLOTS_MAX];

    /* Writes the next request (zeroed before) for a slot that is not busy. False: none now. */
    bool (*next)(struct ds_l2_s3_run *run, unsigned slot, struct ds_l2_s3_request *ret);

    /* Its end, good or bad, after all retries. Negative: the run ends with that code. */
    int (*done)(struct ds_l2_s3_run *run, unsigned slot, struct ds_l2_s3_request *request);
};

struct ds_l2_s3_http;

DS_MUST_USE int ds_l2_s3_http_open(const struct ds_l2_s3_config *config, char *err, size_t err_size,
                                   struct ds_l2_s3_http **ret);
struct ds_l2_s3_http *ds_l2_s3_http_close(struct ds_l2_s3_http *http);

/* Whether payloads have to be signed, however large: they are hashed before they are sent, so
 * there is no give(). */
bool ds_l2_s3_http_signs(const struct ds_l2_s3_http *http);

DS_MUST_USE int ds_l2_s3_http_run(struct ds_l2_s3_http *http, struct ds_l2_call *call,
                                  struct ds_l2_s3_run *run);

/* One request; returns request->rc. */
DS_MUST_USE int ds_l2_s3_http_one(struct ds_l2_s3_http *http, struct ds_l2_call *call,
                                  struct ds_l2_s3_request *request);

/* --- l2_s3_answer.c; no I/O --- */

/* Everything but A-Z a-z 0-9 - _ . ~ (and '/', where asked) as %XX: what a signature is made of.
 * Cut at `size`; returns the length the whole would have. */
size_t ds_l2_s3_encode(const char *text, bool keep_slash, char *buf, size_t size);

/* A line of a header, "Name: value\r\n"; others than these leave it as it is. */
void ds_l2_s3_header(const char *line, size_t n, struct ds_l2_s3_headers *ret);

/* Whether a content range begins there. */
bool ds_l2_s3_is_range(const char *content_range, uint64_t from);

#define DS_L2_S3_DIGEST_SIZE 65u

/* SHA-256 or MD5 in hex. False: OpenSSL refuses (MD5, where only approved hashes are). */
DS_MUST_USE bool ds_l2_s3_digest(bool md5, const void *data, size_t size, char *hex);

/* host[:port][/], an address or the name that libcurl itself takes for one: no packet leaves the
 * machine. */
bool ds_l2_s3_is_loopback(const char *host);

struct ds_l2_s3_verdict {
    int rc;         /* 0, or what it ends with if it is not made again */
    bool retry;     /* may help */
    bool reload;    /* so may other credentials */
    bool answered;  /* the store is well: it is about this request */
    char text[200]; /* of an error: what and what to do */
};

/* A status with the body of a bad answer, or of a good one that may hold an error. `ranged`: 206
 * was asked for. */
void ds_l2_s3_judge(long status, bool ranged, const char *body, size_t size,
                    struct ds_l2_s3_verdict *ret);

/* The same of a request without an answer: a CURLcode, OpenSSL's word on the certificate
 * (CURLINFO_SSL_VERIFYRESULT) and the text of the error buffer. */
void ds_l2_s3_judge_curl(int curl_code, long verified, const char *curl_text,
                         struct ds_l2_s3_verdict *ret);

#endif
