/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_s3_transfer.h - one request to an object store as libcurl gets it, and what its end means; for
 * l2_s3_http.c alone, which decides what is sent and sent again.
 *
 * Ownership: a transfer's handle, headers and buffers are its own; the request's memory is its
 *            caller's.
 * Threads:   the one that runs the lane of the transfer.
 * Errors:    DS_ENOMEM; all others stand in the verdict.
 */
#ifndef DS_TIER_L2_S3_TRANSFER_H
#define DS_TIER_L2_S3_TRANSFER_H

#include <curl/curl.h>
#include <pthread.h>

#include "tier/l2_s3_auth.h"
#include "tier/l2_s3_http.h"

#define DS_L2_S3_ERROR_BODY 4096

struct ds_l2_s3_transfer {
    struct ds_l2_s3_http *http;
    struct ds_l2_call *call; /* while it is not FREE */
    struct ds_l2_s3_request request;
    CURL *easy; /* kept for its connection and buffers */
    struct curl_slist *headers;
    enum { DS_L2_S3_FREE, DS_L2_S3_WAITING, DS_L2_S3_ACTIVE } state;
    unsigned tries;
    bool reloaded;
    int64_t again_ns; /* waiting: not before */
    size_t sent;
    char bad[DS_L2_S3_ERROR_BODY]; /* the body of an answer that is no success */
    size_t bad_size;
    bool overflow; /* the answer was larger than its room */
    bool paused;   /* request.take() wanted nothing, and was not asked again yet */
    int rc;        /* of request.take() or request.give() */
    char curl_err[CURL_ERROR_SIZE];
};

struct ds_l2_s3_http {
    struct ds_l2_s3_config config; /* its texts: own copies below */
    char base[1024];               /* scheme://host/bucket */
    char sigv4[128];
    char ca_file[1024];
    char *texts[4]; /* access key, secret key, token, credentials file */
    bool tls;
    bool local; /* without TLS, and nothing leaves this machine */
    bool signs; /* payloads of any size */

    pthread_mutex_t lock;        /* guards all below */
    struct ds_l2_s3_lane *lanes; /* nobody uses these now */
    struct ds_l2_s3_auth auth;
    double budget;
    uint64_t random;
};

/* Hands the request to libcurl. DS_ENOMEM; end() is due then, too. */
DS_MUST_USE int ds_l2_s3_transfer_start(struct ds_l2_s3_transfer *t, CURLM *multi,
                                        struct ds_l2_call *call);

/* Asks again who wanted nothing. Not CURLE_OK: the transfer ends with that. */
CURLcode ds_l2_s3_transfer_resume(struct ds_l2_s3_transfer *t);

/* Takes it back from there. Nothing under way is fine. */
void ds_l2_s3_transfer_end(struct ds_l2_s3_transfer *t, CURLM *multi);

/* What a transfer came to; before its end(). */
void ds_l2_s3_transfer_judge(const struct ds_l2_s3_transfer *t, CURLcode code,
                             struct ds_l2_s3_verdict *ret);

#endif
