/* SPDX-License-Identifier: Apache-2.0 */
/* test_config_file.c - worker_config.json: what is taken, and what each refusal says. */
#include "cli/config_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/ds_test.h"

static struct ds_options *options;
static char err[DS_OPTIONS_ERROR_SIZE + 300];

static int parse(const char *text)
{
    CHECK_OK(ds_options_create(&options));
    return ds_config_parse(options, text, strlen(text), err, sizeof(err));
}

static void refused(const char *text, int code, const char *says)
{
    CHECK_EQ(parse(text), code);
    if (strstr(err, says) == NULL) {
        ds_test_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", err, says);
    }
    options = ds_options_free(options);
}

DS_TEST(parse__takes_the_form_of_the_original)
{
    CHECK_OK(
        parse("{\"shared_memory_size_mb\": {\"value\": \"128\", \"description\": \"memory\"},\n"
              " \"worker_address\": {\"value\": \"127.0.0.1:31501\"},\n"
              " \"service_type\": {\"value\": \"worker\"}}"));
    CHECK_EQ(ds_options_int(options, DS_OPT_shared_memory_size_mb), INT64_C(128) << 20);
    CHECK_EQ(ds_options_origin(options, DS_OPT_shared_memory_size_mb), DS_ORIGIN_FILE);
    CHECK_STR(ds_options_str(options, DS_OPT_worker_address), "127.0.0.1:31501");
    options = ds_options_free(options);
}

DS_TEST(parse__takes_plain_values)
{
    CHECK_OK(parse("{\"shared_memory_size_mb\": 128, \"shared_memory_populate\": true,"
                   " \"eviction_high_watermark_ratio\": 0.5}"));
    CHECK_EQ(ds_options_int(options, DS_OPT_shared_memory_size_mb), INT64_C(128) << 20);
    CHECK(ds_options_bool(options, DS_OPT_shared_memory_populate));
    CHECK(ds_options_double(options, DS_OPT_eviction_high_watermark_ratio) * 2 == 1);
    options = ds_options_free(options);
}

DS_TEST(parse__an_empty_value_is_the_default)
{
    CHECK_OK(parse("{\"shared_memory_size_mb\": {\"value\": \"\", \"default\": \"96\"}}"));
    CHECK_EQ(ds_options_int(options, DS_OPT_shared_memory_size_mb), INT64_C(96) << 20);
    options = ds_options_free(options);
}

DS_TEST(parse__refuses_what_is_wrong_and_says_where)
{
    refused("", DS_EINVAL, "line 1");
    refused("{\n \"shared_memory_size_mb\": ,\n}", DS_EINVAL, "line 2");
    refused("[]", DS_EINVAL, "no JSON object");
    refused("{} {}", DS_EINVAL, "JSON");
    refused("{\"no_such_flag\": 1}", DS_ENOTFOUND, "no_such_flag");
    refused("{\"shared_memory_size_mb\": {\"vaule\": \"1\"}}", DS_EINVAL, "vaule");
    refused("{\"shared_memory_size_mb\": {}}", DS_EINVAL, "no \"value\"");
    refused("{\"shared_memory_size_mb\": {\"value\": \"1\", \"value\": \"2\"}}", DS_EINVAL,
            "twice");
    refused("{\"shared_memory_size_mb\": 64, \"shared_memory_size_mb\": 128}", DS_EINVAL, "twice");
    refused("{\"shared_memory_size_mb\": [64]}", DS_EINVAL, "give a string");
    refused("{\"shared_memory_size_mb\": 1e300}", DS_EINVAL, "give a string");
    refused("{\"shared_memory_size_mb\": \"many\"}", DS_EINVAL, "shared_memory_size_mb");
}

DS_TEST(parse__limits_the_size)
{
    char *text = calloc(1, DS_CONFIG_SIZE_MAX + 2);

    CHECK(text != NULL);
    memset(text, ' ', DS_CONFIG_SIZE_MAX + 1);
    refused(text, DS_EINVAL, "bytes");
    free(text);
}

DS_TEST(read__names_the_file)
{
    char path[] = "/tmp/test_config_file.XXXXXX";
    int fd = mkstemp(path);

    CHECK_GE(fd, 0);
    CHECK_OK(ds_options_create(&options));
    CHECK_EQ(write(fd, "{\"v\": 1}", 8), (ssize_t)8);
    CHECK_OK(ds_config_read(options, path, err, sizeof(err)));
    CHECK_EQ(ds_options_int(options, DS_OPT_v), INT64_C(1));
    CHECK_EQ(write(fd, "x", 1), (ssize_t)1);
    CHECK_EQ(ds_config_read(options, path, err, sizeof(err)), DS_EINVAL);
    CHECK(strstr(err, path) != NULL);
    CHECK_OK(close(fd));
    CHECK_OK(unlink(path));
    CHECK_EQ(ds_config_read(options, path, err, sizeof(err)), DS_EIO);
    CHECK(strstr(err, "No such file") != NULL);
    options = ds_options_free(options);
}
