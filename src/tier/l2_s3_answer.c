/* SPDX-License-Identifier: Apache-2.0 */
/* l2_s3_answer.c - the text of requests to an object store, and what its answers mean. */
#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tier/l2_s3_http.h"
#include "tier/l2_xml.h"

/* --- what goes into requests --- */

size_t ds_l2_s3_encode(const char *text, bool keep_slash, char *buf, size_t size)
{
    size_t n = 0;

    for (const uint8_t *p = (const uint8_t *)text; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-_.~", *p) != NULL ||
                     (keep_slash && *p == '/');

        if (n + 4 <= size) {
            (void)snprintf(buf + n, 4, plain ? "%c" : "%%%02X", *p);
        }
        n += plain ? 1 : 3;
    }
    if (n == 0 && size > 0) {
        buf[0] = '\0';
    }
    return n;
}

bool ds_l2_s3_digest(bool md5, const void *data, size_t size, char *hex)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (EVP_Digest(data, size, raw, &n, md5 ? EVP_md5() : EVP_sha256(), NULL) != 1) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(hex + (size_t)i * 2, 3, "%02x", raw[i]);
    }
    return true;
}

bool ds_l2_s3_is_loopback(const char *host)
{
    size_t n = strncmp(host, "[::1]", 5) == 0 ? 5 : strcspn(host, ":/");

    return strchr(":/", host[n]) != NULL && /* its end counts */
           (n == 5 ? host[0] == '['
                   : (n == 9 && strncmp(host, "localhost", 9) == 0) ||
                         (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n));
}

/* --- answers --- */

/* A foreign text goes into our error and log: only what prints. The echo of a request could hold
 * what was signed with, so messages of refused signatures are left out altogether. */
static void clean(char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~') {
            *text = '?';
        }
    }
}

/* "Name: value\r\n" into ret, if it is that header. */
static bool take_header(const char *line, size_t n, const char *name, char *ret, size_t size)
{
    size_t len = strlen(name);

    if (n <= len + 1 || strncasecmp(line, name, len) != 0 || line[len] != ':') {
        return false;
    }
    for (len++; len < n && line[len] == ' '; len++) {
    }
    while (n > len && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' ')) {
        n--;
    }
    (void)snprintf(ret, size, "%.*s", (int)(n - len), line + len);
    return true;
}

void ds_l2_s3_header(const char *line, size_t n, struct ds_l2_s3_headers *ret)
{
    if (take_header(line, n, "x-amz-request-id", ret->request_id, sizeof(ret->request_id))) {
        clean(ret->request_id);
    } else if (!take_header(line, n, "etag", ret->etag, sizeof(ret->etag))) {
        (void)take_header(line, n, "content-range", ret->content_range, sizeof(ret->content_range));
    }
}

/* By the header, not by a status of 206: rclone answers ranges with 200. */
bool ds_l2_s3_is_range(const char *content_range, uint64_t from)
{
    unsigned long long begin;

    return sscanf(content_range, "bytes %llu-", &begin) == 1 && begin == from;
}

struct error_body {
    char code[64];
    char message[100];
};

/* <Error><Code>..</Code><Message>..</Message></Error>, outermost */
static int error_field(void *arg, const char *parent, const char *name, const char *text)
{
    struct error_body *e = arg;

    if (text != NULL && strcmp(parent, "Error") == 0 && strcmp(name, "Code") == 0) {
        (void)snprintf(e->code, sizeof(e->code), "%.63s", text);
    } else if (text != NULL && strcmp(parent, "Error") == 0 && strcmp(name, "Message") == 0) {
        (void)snprintf(e->message, sizeof(e->message), "%.99s", text);
    }
    return 0;
}

static bool is_one_of(const char *code, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(code, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void judge_refusal(const struct error_body *e, struct ds_l2_s3_verdict *v)
{
    static const char *const expired[] = {"ExpiredToken", "TokenRefreshRequired", "InvalidToken",
                                          "InvalidAccessKeyId"};

    v->rc = DS_EDENIED;
    if (strcmp(e->code, "RequestTimeTooSkewed") == 0) {
        (void)snprintf(v->text, sizeof(v->text),
                       "the store says that the clock of this machine is wrong "
                       "(RequestTimeTooSkewed): set it, or run a time service");
    } else if (is_one_of(e->code, expired, DS_ARRAY_SIZE(expired))) {
        v->reload = true;
        (void)snprintf(v->text, sizeof(v->text),
                       "the credentials have expired or are not known (%s): renew them", e->code);
    } else if (strcmp(e->code, "SignatureDoesNotMatch") == 0) {
        v->reload = true;
        (void)snprintf(v->text, sizeof(v->text),
                       "the store refuses the signature: check secret key and region");
    } else {
        (void)snprintf(v->text, sizeof(v->text),
                       "the store denies access (%s): check the credentials and their rights",
                       e->code[0] != '\0' ? e->code : "403");
    }
}

static void judge_bad(long status, const struct error_body *e, struct ds_l2_s3_verdict *v)
{
    static const char *const again[] = {
        "InternalError",    "SlowDown",   "RequestTimeout", "ServiceUnavailable",
        "OperationAborted", "Throttling", "BadDigest",      "XAmzContentSHA256Mismatch"};
    static const char *const refused[] = {"RequestTimeTooSkewed", "ExpiredToken",
                                          "TokenRefreshRequired", "InvalidToken"};

    (void)snprintf(v->text, sizeof(v->text), "the store answers %ld %s: %s", status, e->code,
                   e->message);
    v->rc = DS_EIO;
    if (status == 429 || status == 408 || status == 500 || (status >= 502 && status <= 504) ||
        is_one_of(e->code, again, DS_ARRAY_SIZE(again))) {
        v->rc = DS_EUNAVAILABLE;
        v->retry = true;
    } else if (status == 403 || status == 401 ||
               is_one_of(e->code, refused, DS_ARRAY_SIZE(refused))) {
        judge_refusal(e, v);
    } else if (status == 404 && strcmp(e->code, "NoSuchBucket") == 0) {
        v->rc = DS_EINVAL;
        (void)snprintf(v->text, sizeof(v->text), "there is no such bucket: make it first");
    } else if (status == 404) {
        v->rc = DS_ENOTFOUND;
    } else if (status == 416) {
        v->rc = DS_ECORRUPT;
        (void)snprintf(v->text, sizeof(v->text), "the object is shorter than it was listed");
    } else if (status == 507 || strcmp(e->code, "QuotaExceeded") == 0) {
        v->rc = DS_ENOSPACE;
    } else if (status == 301 || status == 307 || status == 308) {
        v->rc = DS_EINVAL;
        (void)snprintf(v->text, sizeof(v->text),
                       "the store redirects (%ld): check endpoint, region and s3_addressing",
                       status);
    }
}

void ds_l2_s3_judge(long status, bool ranged, const char *body, size_t size,
                    struct ds_l2_s3_verdict *ret)
{
    struct error_body e = {"", ""};
    struct ds_l2_s3_verdict v = {0};

    if (body != NULL && ds_l2_xml_walk(body, size, error_field, &e) < 0 && e.code[0] == '\0') {
        e = (struct error_body){"", ""}; /* no XML: a proxy's page */
    }
    clean(e.code);
    clean(e.message);
    if (status >= 200 && status < 300 && e.code[0] == '\0') {
        if (ranged && status != 206 && status != 200) {
            v.rc = DS_EIO;
        }
    } else {
        judge_bad(status, &e, &v);
    }
    *ret = v;
}

void ds_l2_s3_judge_curl(int curl_code, long verified, const char *curl_text,
                         struct ds_l2_s3_verdict *v)
{
    CURLcode code = (CURLcode)curl_code;
    const char *text = curl_text[0] != '\0' ? curl_text : curl_easy_strerror(code);

    /* The text is that of the first failure: of a connection that was cut, perhaps. */
    if (code == CURLE_PEER_FAILED_VERIFICATION && verified != X509_V_OK &&
        verified != X509_V_ERR_UNSPECIFIED) {
        text = X509_verify_cert_error_string(verified);
    }
    *v = (struct ds_l2_s3_verdict){0};
    (void)snprintf(v->text, sizeof(v->text), "no answer from the store: %.150s", text);
    v->rc = DS_EUNAVAILABLE;
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        v->rc = DS_ENOMEM;
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
        v->rc = DS_EDENIED;
        (void)snprintf(v->text, sizeof(v->text),
                       "the store's certificate is not accepted: %.100s; check it and s3_ca_file",
                       text);
        break;
    case CURLE_SSL_CACERT_BADFILE:
        v->rc = DS_EINVAL;
        (void)snprintf(v->text, sizeof(v->text), "no certificates to check with: %.130s", text);
        break;
    case CURLE_SSL_CONNECT_ERROR:
        v->retry = true;
        (void)snprintf(v->text, sizeof(v->text), "no TLS with the store: %.130s; is it https?",
                       text);
        break;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        v->rc = DS_EINVAL;
        break;
    default:
        v->retry = true;
    }
}
