/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the S3 implementation that need no server; the others are in tests/l2. */
#include <string.h>

#include "harness/ds_test.h"
#include "tier/l2_s3.h"

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
