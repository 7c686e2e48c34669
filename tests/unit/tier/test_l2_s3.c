/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the S3 implementation that need no server; the others are in tests/l2. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "harness/ds_test.h"
#include "tier/l2_s3.h"
#include "tier/l2_s3_auth.h"

DS_TEST(encode__is_what_signatures_are_made_of)
{
    char buf[256];

    CHECK_EQ(ds_l2_s3_encode("aZ09-_.~", false, buf, sizeof(buf)), 8);
    CHECK_STR(buf, "aZ09-_.~");
    (void)ds_l2_s3_encode("+ ()!*'=:@,/%\xc3\xa9", false, buf, sizeof(buf));
    CHECK_STR(buf, "%2B%20%28%29%21%2A%27%3D%3A%40%2C%2F%25%C3%A9");
    (void)ds_l2_s3_encode("a/b c", true, buf, sizeof(buf));
    CHECK_STR(buf, "a/b%20c");
    (void)ds_l2_s3_encode("", true, buf, sizeof(buf));
    CHECK_STR(buf, "");
    CHECK_EQ(ds_l2_s3_encode("////", false, buf, 5), 12); /* the length it would have */
    CHECK_STR(buf, "%2F");
}

DS_TEST(is_loopback__takes_no_other_host)
{
    static const char *const yes[] = {"127.0.0.1",      "127.0.0.1:9000", "127.1.2.3:1/",
                                      "localhost:9000", "localhost",      "[::1]:80",
                                      "[::1]"};
    static const char *const no[] = {"127.0.0.1.example", "127x.0.0.1",        "128.0.0.1",
                                     "localhost.example", "localhos",          "[::1]x",
                                     "[::2]:1",           "10.0.0.1:127",      "",
                                     "s3.example:80",     "127.0.0.1example:1"};

    for (size_t i = 0; i < DS_ARRAY_SIZE(yes); i++) {
        CHECK(ds_l2_s3_is_loopback(yes[i]));
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(no); i++) {
        CHECK(!ds_l2_s3_is_loopback(no[i]));
    }
}

static struct ds_l2_s3_verdict judge(long status, const char *body)
{
    struct ds_l2_s3_verdict v;

    ds_l2_s3_judge(status, false, body, body != NULL ? strlen(body) : 0, &v);
    return v;
}

DS_TEST(judge__tells_what_may_help)
{
    CHECK_OK(judge(200, NULL).rc);
    CHECK_OK(judge(204, "").rc);
    CHECK(judge(503, NULL).retry && judge(500, "<html>no XML").retry && judge(429, NULL).retry);
    CHECK_EQ(judge(503, NULL).rc, DS_EUNAVAILABLE);
    CHECK(!judge(501, NULL).retry);
    CHECK(!judge(400, "<Error><Code>InvalidPart</Code></Error>").retry);
    CHECK(judge(200, "<Error><Code>InternalError</Code></Error>").retry);
    CHECK_EQ(judge(404, "<Error><Code>NoSuchKey</Code></Error>").rc, DS_ENOTFOUND);
    CHECK_EQ(judge(404, "<Error><Code>NoSuchBucket</Code></Error>").rc, DS_EINVAL);
    CHECK_EQ(judge(403, NULL).rc, DS_EDENIED);
    CHECK(judge(400, "<Error><Code>ExpiredToken</Code></Error>").reload);
    CHECK(strstr(judge(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>").text, "clock"));
    CHECK_EQ(judge(301, NULL).rc, DS_EINVAL);
    CHECK_EQ(judge(416, NULL).rc, DS_ECORRUPT);
    CHECK_EQ(judge(507, NULL).rc, DS_ENOSPACE);
}

DS_TEST(judge__lets_only_printable_text_through)
{
    struct ds_l2_s3_verdict v =
        judge(418, "<Error><Code>Tea\nPot\x1b[2J</Code><Message>m\xff</Message></Error>");

    CHECK(strstr(v.text, "Tea?Pot?[2J") != NULL && strstr(v.text, "m?") != NULL);
}

static void header(struct ds_l2_s3_headers *h, const char *line)
{
    ds_l2_s3_header(line, strlen(line), h);
}

/* The request's id goes into errors and the log, and from there to a terminal. */
DS_TEST(header__takes_three_and_lets_only_printable_text_through)
{
    struct ds_l2_s3_headers h = {.etag = ""};

    header(&h, "ETag:   \"abc\" \r\n");
    header(&h, "content-range: bytes 100-199/1000\r\n");
    header(&h, "X-Amz-Request-Id: 4\x1b[2J\xff"
               "B\r\n");
    header(&h, "X-Amz-Request-Id-2: other\r\n");
    header(&h, "etag\r\n");
    CHECK_STR(h.etag, "\"abc\"");
    CHECK_STR(h.request_id, "4?[2J?B");
    CHECK(ds_l2_s3_is_range(h.content_range, 100) && !ds_l2_s3_is_range(h.content_range, 10));
    header(&h, "etag:\r\n");
    CHECK_STR(h.etag, "");
}

/* With the same token again a listing would have no end. */
DS_TEST(pages__that_do_not_get_on_are_an_error)
{
    static const char xml[] =
        "<ListBucketResult><IsTruncated>true</IsTruncated>"
        "<NextContinuationToken>abc</NextContinuationToken></ListBucketResult>";
    struct ds_l2_s3_page *page = ds_l2_s3_page_create(1);

    CHECK_OK(ds_l2_s3_page_parse(xml, sizeof(xml) - 1, page));
    CHECK(page->more);
    CHECK_EQ(ds_l2_s3_page_parse(xml, sizeof(xml) - 1, page), DS_ECORRUPT);
    CHECK(!page->more);
    ds_free(page);
}

DS_TEST(uploads__that_do_not_get_on_are_the_last)
{
    static const char xml[] = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>"
                              "<NextKeyMarker>k</NextKeyMarker><Upload><Key>k</Key>"
                              "<UploadId>1</UploadId></Upload></ListMultipartUploadsResult>";
    static struct ds_l2_s3_uploads u;

    CHECK_OK(ds_l2_s3_uploads_parse(xml, sizeof(xml) - 1, &u));
    CHECK(u.more && u.n == 1);
    CHECK_STR(u.next.key, "k");
    CHECK_OK(ds_l2_s3_uploads_parse(xml, sizeof(xml) - 1, &u));
    CHECK(!u.more && u.n == 1);
    u = (struct ds_l2_s3_uploads){.n = 0};
    CHECK_LT(ds_l2_s3_uploads_parse(xml, sizeof(xml) - 9, &u), 0);
    CHECK(!u.more);
}

static int credentials(const char *before, size_t size, const char *after, char *err)
{
    static char text[20000];
    static struct ds_l2_s3_auth auth;
    size_t n = (size_t)snprintf(text, sizeof(text), "%s", before);
    FILE *f;
    int rc;

    memset(text + n, 'x', size);
    n += size;
    n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", after);
    f = fmemopen(text, n, "r");
    CHECK(f != NULL);
    err[0] = '\0';
    rc = ds_l2_s3_auth_read(f, "the file", err, 256, &auth);
    (void)fclose(f);
    return rc;
}

/* Cut, it would be refused by the store, with a word on signatures. The rest of a line that is too
 * long would pass for a line of its own. */
DS_TEST(credentials__are_taken_whole_or_not_at_all)
{
    static const char keys[] = "aws_access_key_id = a\naws_secret_access_key = s\n";
    char token[128];
    char err[256];

    (void)snprintf(token, sizeof(token), "%saws_session_token = ", keys);
    CHECK_OK(credentials(token, 4095, "\n", err));
    CHECK_EQ(credentials(token, 4096, "\n", err), DS_EDENIED);
    CHECK(strstr(err, "too long") != NULL);
    CHECK_EQ(credentials(token, 4180, keys, err), DS_EDENIED);
    CHECK_EQ(credentials("x = ", 8187, keys, err), DS_EDENIED);
    CHECK(strstr(err, "the file: a line has more than") != NULL);
    CHECK_EQ(credentials(token, 4, "\rHost: other\n", err), DS_EDENIED); /* into a header */
    CHECK(strstr(err, "malformed") != NULL);
    CHECK_EQ(credentials("aws_access_key_id = a\x01\naws_secret_access_key = s\n", 0, "", err),
             DS_EDENIED);
}

DS_TEST(value_size__is_the_inverse_of_object_size)
{
    uint64_t got;

    for (uint64_t size = 0; size < 5 * DS_L2_CHUNK; size += 4099) {
        CHECK(ds_l2_s3_value_size(7, ds_l2_object_size(7, size), &got));
        CHECK_EQ(got, size);
    }
    CHECK(!ds_l2_s3_value_size(7, 70, &got));                          /* no room for the header */
    CHECK(!ds_l2_s3_value_size(7, 71 + 4, &got));                      /* a CRC of nothing */
    CHECK(!ds_l2_s3_value_size(7, 71 + DS_L2_CHUNK_STORED + 3, &got)); /* a CRC cut short */
    CHECK(!ds_l2_s3_value_size(7, UINT64_MAX, &got));
}

DS_TEST(open__says_what_is_wrong_with_the_configuration)
{
    static const struct {
        struct ds_l2_s3_config config;
        const char *says;
    } bad[] = {
        {{.bucket = "bucket"}, "obs_endpoint"},
        {{.endpoint = "http://h", .bucket = "B"}, "is no bucket"},
        {{.endpoint = "http://h", .bucket = "b/../c"}, "is no bucket"},
        {{.endpoint = "http://h/path", .bucket = "bucket"}, "without a path"},
        {{.endpoint = "http://u@h", .bucket = "bucket"}, "is no endpoint"},
        {{.endpoint = "http://", .bucket = "bucket"}, "is no endpoint"},
        {{.endpoint = "h", .bucket = "bucket", .prefix = "/a"}, "is no prefix"},
        {{.endpoint = "h", .bucket = "bucket", .prefix = "a//b"}, "is no prefix"},
        {{.endpoint = "h", .bucket = "bucket", .prefix = "a/../b"}, "is no prefix"},
        {{.endpoint = "h", .bucket = "bucket", .access_key = "a"}, "secret key"},
        {{.endpoint = "h", .bucket = "bucket", .credentials_file = "/no/such"}, "/no/such"},
        {{.endpoint = "h", .bucket = "bucket", .parallel = 17}, "16 parts"},
    };

    for (size_t i = 0; i < DS_ARRAY_SIZE(bad); i++) {
        struct ds_l2_config config = {.type = DS_L2_S3, .s3 = bad[i].config};
        struct ds_l2 *l2 = NULL;
        char err[DS_L2_ERROR_SIZE] = "";

        CHECK_LT(ds_l2_open(&config, err, sizeof(err), &l2), 0);
        if (strstr(err, bad[i].says) == NULL) {
            CHECK_STR(err, bad[i].says);
        }
        CHECK(l2 == NULL);
    }
}
