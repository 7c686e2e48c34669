/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/options.h"
#include "harness/ds_test.h"

#define MIB ((int64_t)1 << 20)

static char err[DS_OPTIONS_ERROR_SIZE];

static struct ds_options *create(void)
{
    struct ds_options *o = NULL;

    CHECK_OK(ds_options_create(&o));
    err[0] = '\0';
    return o;
}

static int set(struct ds_options *o, const char *name, const char *value)
{
    return ds_options_set(o, name, value, DS_ORIGIN_ARGS, err, sizeof(err));
}

static int check(const struct ds_options *o)
{
    return ds_options_check(o, NULL, NULL, err, sizeof(err));
}

static void count(void *arg, const char *text)
{
    CHECK(strstr(text, " is ignored: ") != NULL);
    ++*(int *)arg;
}

/* --- the table --- */

DS_TEST(table__rows_are_complete)
{
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        const struct ds_option_info *o = ds_option_info((enum ds_option_id)i);
        size_t len = strlen(o->sentence);

        CHECK(strlen(o->name) <= DS_OPTION_NAME_MAX);
        CHECK_EQ(ds_option_find(o->name), i); /* so no name is there twice */
        CHECK(len > 0 && o->sentence[len - 1] == '.');
        CHECK_EQ(o->why == NULL, o->status == DS_OPTION_ACTIVE);
        CHECK(o->max >= o->min);
        if ((o->type == DS_OPTION_SIZE || o->type == DS_OPTION_TIME) && o->def[0] != '\0') {
            CHECK_STR(o->def + strspn(o->def, "0123456789"), ""); /* its unit stands behind it */
        }
    }
    CHECK_EQ(ds_option_find("no_such_flag"), -1);
    CHECK_EQ(ds_option_find(""), -1);
}

DS_TEST(table__defaults_are_themselves)
{
    struct ds_options *o = create();
    char accepted[256];

    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        enum ds_option_id id = (enum ds_option_id)i;

        CHECK(!ds_options_differs(o, id));
        CHECK_EQ(ds_options_origin(o, id), DS_ORIGIN_DEFAULT);
        CHECK_STR(ds_options_str(o, id), ds_option_info(id)->def);
        CHECK_OK(set(o, ds_option_info(id)->name, ds_option_info(id)->def));
        CHECK(!ds_options_differs(o, id));
        CHECK(strlen(ds_option_accepted(id, accepted, sizeof(accepted))) > 0);
    }
    CHECK_OK(check(o));
    o = ds_options_free(o);
    CHECK_EQ(ds_alloc_live(), 0);
}

DS_TEST(table__names_are_found_despite_slips)
{
    CHECK_STR(ds_option_nearest("shared_memroy_size_mb"), "shared_memory_size_mb");
    CHECK_STR(ds_option_nearest("shared-memory-size-mb"), "shared_memory_size_mb");
    CHECK_STR(ds_option_nearest("worker_adress"), "worker_address");
    CHECK_STR(ds_option_nearest("w_orker_address"), "worker_address");
    CHECK_STR(ds_option_nearest("worker_address"), "worker_address");
    CHECK(ds_option_nearest("completely_different_thing_here") == NULL);
    CHECK(ds_option_nearest(
              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") == NULL);
}

DS_TEST(table__help_names_active_options_only)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    ds_option_print_help(out);
    CHECK_OK(fclose(out));
    CHECK(strstr(text, "--shared_memory_size_mb=size\n") != NULL);
    CHECK(strstr(text, "Accepted: a size from 1 to 16777216 MiB") != NULL);
    CHECK(strstr(text, "Accepted: user, group or all. Default: user\n") != NULL);
    CHECK(strstr(text, "--etcd_address") == NULL);
    free(text);
}

/* --- values by type --- */

static void check_values(const char *name, const char *const *good, const char *const *bad)
{
    struct ds_options *o = create();

    for (; *good != NULL; good++) {
        CHECK_OK(set(o, name, *good));
    }
    for (; *bad != NULL; bad++) {
        if (set(o, name, *bad) != DS_EINVAL) {
            ds_test_fail(__FILE__, __LINE__, "%s=%s is accepted", name, *bad);
        }
    }
    ds_options_free(o);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

DS_TEST(values__by_type)
{
    check_values("enable_thp",
                 LIST("true", "TRUE", "1", "yes", "on", "t", "y", "false", "0", "no", "off", " f "),
                 LIST("2", "tru", "truee", "-", "true false"));
    check_values("max_client_num", LIST("1", "10000", " 7 ", "0012"),
                 LIST("0", "10001", "-1", "1.5", "1k", "0x10", "seven", "+5", "1 2",
                      "99999999999999999999"));
    check_values("io_thread_nice", LIST("-20", "19"), LIST("-", "--1", "- 1"));
    check_values("shared_memory_size_mb",
                 LIST("1", "64M", "64 MiB", "64mb", "1g", "1T", "16777216", "16TiB", "1048576B"),
                 LIST("0", "1023K", "16777217", "17T", "64X", "M", "-1", "1.5G", "1 2", "64MM",
                      "9223372036854775807", "9223372036854775808T"));
    check_values("client_dead_timeout_s", LIST("3", "500ms", "2min", "1h", "1d", "10 s"),
                 LIST("s", "1w", "-3s", "106751991168d"));
    check_values("eviction_high_watermark_ratio", LIST("0.02", "1", "1.0", ".5", "9e-1"),
                 LIST("0.01", "1.01", "nan", "inf", "0x1", "half", "0.5.5", "e", "-0.5"));
    check_values("client_access", LIST("user", "group", "all"),
                 LIST("use", "users", "user|group", "ALL", "|"));
    check_values("memory_alignment", LIST("64"), LIST("6", "128", "640"));
    check_values("log_filename", LIST("", "worker_1"), LIST("a\nb", "a\x7f"));
}

DS_TEST(values__addresses)
{
    check_values("worker_address",
                 LIST("127.0.0.1:31501", "[::1]:1", "[fe80::1%eth0]:65535", "host-1.example:80"),
                 LIST("127.0.0.1", "127.0.0.1:", ":31501", "h:0", "h:65536", "h:-1", "h:1x",
                      "[::1]", "[]:1", "::1:31501 x", "a b:1", "h:031501", "[::1:1", "h/x:1"));
    check_values("bind_address", LIST("", "0.0.0.0:31501"), LIST("0.0.0.0"));
}

DS_TEST(address_parse__splits)
{
    char host[DS_ADDRESS_HOST_MAX + 1] = "";
    char name[300];
    uint16_t port = 0;

    CHECK_OK(ds_address_parse("[::1]:31501", host, &port));
    CHECK_STR(host, "::1");
    CHECK_EQ(port, 31501);
    CHECK_OK(ds_address_parse("127.0.0.1:1", host, &port));
    CHECK_STR(host, "127.0.0.1");
    CHECK_EQ(port, 1);

    memset(name, 'a', sizeof(name));
    memcpy(name + DS_ADDRESS_HOST_MAX, ":7", 3);
    CHECK_OK(ds_address_parse(name, host, &port));
    CHECK_EQ(strlen(host), (size_t)DS_ADDRESS_HOST_MAX);
    memset(name, 'a', sizeof(name));
    memcpy(name + DS_ADDRESS_HOST_MAX + 1, ":7", 3);
    CHECK_EQ(ds_address_parse(name, host, &port), DS_EINVAL);
}

DS_TEST(values__have_their_meaning)
{
    struct ds_options *o = create();

    CHECK_EQ(ds_options_int(o, DS_OPT_shared_memory_size_mb), 1024 * MIB);
    CHECK_OK(set(o, "shared_memory_size_mb", "64"));
    CHECK_EQ(ds_options_int(o, DS_OPT_shared_memory_size_mb), 64 * MIB);
    CHECK_OK(set(o, "shared_memory_size_mb", "2g"));
    CHECK_EQ(ds_options_int(o, DS_OPT_shared_memory_size_mb), 2048 * MIB);
    CHECK_STR(ds_options_str(o, DS_OPT_shared_memory_size_mb), "2g");
    CHECK_OK(set(o, "client_dead_timeout_s", "3"));
    CHECK_EQ(ds_options_int(o, DS_OPT_client_dead_timeout_s), 3000);
    CHECK_OK(set(o, "client_dead_timeout_s", "2min"));
    CHECK_EQ(ds_options_int(o, DS_OPT_client_dead_timeout_s), 120000);
    CHECK(!ds_options_differs(o, DS_OPT_client_dead_timeout_s)); /* 120 s, said differently */
    CHECK_OK(set(o, "allow_drop_none", "on"));
    CHECK(ds_options_bool(o, DS_OPT_allow_drop_none));
    CHECK(ds_options_differs(o, DS_OPT_allow_drop_none));
    CHECK_OK(set(o, "eviction_low_watermark_ratio", "0.5"));
    CHECK(ds_options_double(o, DS_OPT_eviction_low_watermark_ratio) == 0.5);
    CHECK_OK(set(o, "client_access", "all"));
    CHECK_STR(ds_options_str(o, DS_OPT_client_access), "all");
    ds_options_free(o);
}

DS_TEST(values__empty_is_not_given_unless_text)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "max_client_num", "7"));
    CHECK_OK(set(o, "max_client_num", ""));
    CHECK_OK(set(o, "max_client_num", "  "));
    CHECK_EQ(ds_options_int(o, DS_OPT_max_client_num), 7);
    CHECK_OK(set(o, "log_dir", "/tmp/x"));
    CHECK_OK(set(o, "log_dir", ""));
    CHECK_STR(ds_options_str(o, DS_OPT_log_dir), "");
    ds_options_free(o);
}

DS_TEST(duration_parse__units)
{
    int64_t ms = -1;

    CHECK_OK(ds_duration_parse("5", "s", &ms));
    CHECK_EQ(ms, 5000);
    CHECK_OK(ds_duration_parse("5", "ms", &ms));
    CHECK_EQ(ms, 5);
    CHECK_OK(ds_duration_parse("1h", "s", &ms));
    CHECK_EQ(ms, 3600000);
    CHECK_EQ(ds_duration_parse("1y", "s", &ms), DS_EINVAL);
    CHECK_EQ(ds_duration_parse("", "s", &ms), DS_EINVAL);
    CHECK_EQ(ms, 3600000); /* untouched on failure */
}

/* --- messages --- */

DS_TEST(errors__name_flag_value_and_what_is_accepted)
{
    struct ds_options *o = create();

    CHECK_EQ(set(o, "max_client_num", "0"), DS_EINVAL);
    CHECK_STR(err, "--max_client_num=0 is not accepted: give a whole number from 1 to 10000");
    CHECK_EQ(ds_options_set(o, "client_access", "me", DS_ORIGIN_FILE, err, sizeof(err)), DS_EINVAL);
    CHECK_STR(err, "\"client_access\": \"me\" is not accepted: give user, group or all");
    CHECK_EQ(ds_options_set(o, "enable_thp", "x", DS_ORIGIN_ENV, err, sizeof(err)), DS_EINVAL);
    CHECK_STR(err, "DATASYSTEM_ENABLE_THP=x is not accepted: give true or false");
    CHECK_EQ(set(o, "shared_memroy_size_mb", "1"), DS_ENOTFOUND);
    CHECK_STR(err, "unknown flag --shared_memroy_size_mb; did you mean --shared_memory_size_mb?");
    CHECK_EQ(set(o, "zzz", "1"), DS_ENOTFOUND);
    CHECK_STR(err, "unknown flag --zzz");
    CHECK_EQ(set(o, "enable_thp", "\x1b[31mred"), DS_EINVAL); /* no colours from a config file */
    CHECK_STR(err, "--enable_thp=?[31mred is not accepted: give true or false");
    ds_options_free(o);
}

DS_TEST(errors__are_cut_to_the_buffer)
{
    struct ds_options *o = create();
    char value[DS_OPTION_VALUE_MAX + 2];
    char small[12] = "12345678901";

    memset(value, 'x', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    CHECK_EQ(set(o, "data_home", value), DS_EINVAL);
    CHECK(strlen(err) < 200);
    CHECK(strstr(err, "xxx... is not accepted: give a path of at most 4000 bytes") != NULL);
    CHECK_EQ(ds_options_set(o, "zzz", "1", DS_ORIGIN_ARGS, small, sizeof(small)), DS_ENOTFOUND);
    CHECK_STR(small, "unknown fla");
    CHECK_EQ(ds_options_set(o, "zzz", "1", DS_ORIGIN_ARGS, small, 1), DS_ENOTFOUND);
    CHECK_STR(small, "unknown fla");
    ds_options_free(o);
}

/* --- origins and arguments --- */

DS_TEST(origins__the_higher_wins_in_any_order)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "max_client_num", "4"));
    CHECK_OK(ds_options_set(o, "max_client_num", "3", DS_ORIGIN_ENV, err, sizeof(err)));
    CHECK_OK(ds_options_set(o, "max_client_num", "2", DS_ORIGIN_FILE, err, sizeof(err)));
    CHECK_EQ(ds_options_int(o, DS_OPT_max_client_num), 4);
    CHECK_EQ(ds_options_origin(o, DS_OPT_max_client_num), DS_ORIGIN_ARGS);
    CHECK_EQ(ds_options_set(o, "max_client_num", "x", DS_ORIGIN_FILE, err, sizeof(err)), DS_EINVAL);
    CHECK_OK(set(o, "max_client_num", "5")); /* the last one given counts */
    CHECK_EQ(ds_options_int(o, DS_OPT_max_client_num), 5);
    ds_options_free(o);
}

static int load(struct ds_options *o, char *const *argv)
{
    int argc = 0;

    while (argv[argc] != NULL) {
        argc++;
    }
    return ds_options_load_args(o, argc, argv, err, sizeof(err));
}

#define ARGS(...) ((char *const[]){__VA_ARGS__, NULL})

DS_TEST(load_args__takes_the_three_forms)
{
    struct ds_options *o = create();

    CHECK_OK(load(o, ARGS("--max_client_num=9", "--shared_memory_size_mb", "2G", "--enable_thp",
                          "--allow_drop_none", "false", "--io_thread_nice", "-5",
                          "--log_dir=", "--log_filename", "a=b")));
    CHECK_EQ(ds_options_int(o, DS_OPT_max_client_num), 9);
    CHECK_EQ(ds_options_int(o, DS_OPT_shared_memory_size_mb), 2048 * MIB);
    CHECK(ds_options_bool(o, DS_OPT_enable_thp));
    CHECK(!ds_options_bool(o, DS_OPT_allow_drop_none));
    CHECK_EQ(ds_options_int(o, DS_OPT_io_thread_nice), -5);
    CHECK_STR(ds_options_str(o, DS_OPT_log_filename), "a=b");
    CHECK_OK(load(o, ARGS("--enable_thp=no", "--shared_memory_populate")));
    CHECK(!ds_options_bool(o, DS_OPT_enable_thp));
    CHECK(ds_options_bool(o, DS_OPT_shared_memory_populate));
    ds_options_free(o);
}

DS_TEST(load_args__says_what_is_wrong)
{
    struct ds_options *o = create();

    CHECK_EQ(load(o, ARGS("--max_client_num")), DS_EINVAL);
    CHECK_STR(err, "--max_client_num needs a value: a whole number from 1 to 10000");
    CHECK_EQ(load(o, ARGS("--max_client_num", "--enable_thp")), DS_EINVAL);
    CHECK_EQ(load(o, ARGS("stray")), DS_EINVAL);
    CHECK_STR(err, "unexpected argument 'stray': flags are written --name=value or --name value");
    CHECK_EQ(load(o, ARGS("-x")), DS_EINVAL);
    CHECK_EQ(load(o, ARGS("--")), DS_EINVAL);
    CHECK_EQ(load(o, ARGS("--=1")), DS_EINVAL);
    CHECK_EQ(load(o, ARGS("")), DS_EINVAL);
    CHECK_EQ(load(o, ARGS("--shared_memory_size=1")), DS_ENOTFOUND);
    CHECK_STR(err, "unknown flag --shared_memory_size; did you mean --shared_memory_size_mb?");
    ds_options_free(o);
}

DS_TEST(load_env__reads_what_concerns_the_worker)
{
    struct ds_options *o = create();

    CHECK_OK(setenv("DATASYSTEM_MAX_CLIENT_NUM", "11", 1));
    CHECK_OK(setenv("DATASYSTEM_LOG_COMPRESS", "nonsense", 1)); /* ignored flag: the client's */
    CHECK_OK(ds_options_load_env(o, err, sizeof(err)));
    CHECK_EQ(ds_options_int(o, DS_OPT_max_client_num), 11);
    CHECK_EQ(ds_options_origin(o, DS_OPT_max_client_num), DS_ORIGIN_ENV);
    CHECK_OK(setenv("DATASYSTEM_MAX_CLIENT_NUM", "x", 1));
    CHECK_EQ(ds_options_load_env(o, err, sizeof(err)), DS_EINVAL);
    CHECK_OK(unsetenv("DATASYSTEM_MAX_CLIENT_NUM"));
    CHECK_OK(setenv("DATASYSTEM_ETCD_ADDRESS", "h:2379", 1));
    CHECK_OK(ds_options_load_env(o, err, sizeof(err)));
    CHECK_EQ(check(o), DS_EINVAL); /* what is refused as a flag is not lost in the environment */
    ds_options_free(o);
}

/* --- resolve and check --- */

DS_TEST(resolve__makes_paths_absolute)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "log_dir", "./logs"));
    CHECK_OK(set(o, "ready_check_path", "/abs/ready"));
    CHECK_OK(set(o, "health_check_path", ".//./probe/healthy"));
    CHECK_OK(ds_options_resolve(o, "/srv", err, sizeof(err)));
    CHECK_STR(ds_options_str(o, DS_OPT_log_dir), "/srv/logs");
    CHECK_STR(ds_options_str(o, DS_OPT_ready_check_path), "/abs/ready");
    CHECK_STR(ds_options_str(o, DS_OPT_health_check_path), "/srv/probe/healthy");
    CHECK_STR(ds_options_str(o, DS_OPT_liveness_check_path), "");
    CHECK_STR(ds_options_str(o, DS_OPT_data_home), "");

    CHECK_OK(set(o, "data_home", "home"));
    CHECK_OK(set(o, "log_dir", "."));
    CHECK_OK(ds_options_resolve(o, "/", err, sizeof(err)));
    CHECK_STR(ds_options_str(o, DS_OPT_data_home), "/home");
    CHECK_STR(ds_options_str(o, DS_OPT_log_dir), "/home");
    ds_options_free(o);
}

DS_TEST(resolve__refuses_a_socket_directory_that_is_too_long)
{
    struct ds_options *o = create();
    char cwd[DS_OPTION_SOCKET_DIR_MAX + 1];

    memset(cwd, 'd', sizeof(cwd));
    cwd[0] = '/';
    cwd[sizeof(cwd) - 5] = '\0'; /* the path is then one byte longer than allowed */
    CHECK_OK(set(o, "unix_domain_socket_dir", "./uds"));
    CHECK_EQ(ds_options_resolve(o, cwd, err, sizeof(err)), 0);
    CHECK_OK(set(o, "unix_domain_socket_dir", "./uds2"));
    CHECK_EQ(ds_options_resolve(o, cwd, err, sizeof(err)), DS_EINVAL);
    CHECK(strstr(err, "give a path of at most 80 bytes") != NULL);
    ds_options_free(o);
}

DS_TEST(check__refuses_with_the_reason)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "etcd_address", "127.0.0.1:2379"));
    CHECK_EQ(check(o), DS_EINVAL);
    CHECK_STR(err, "--etcd_address is refused: clusters are not there yet: leave it out to run a "
                   "single node");
    CHECK_OK(set(o, "etcd_address", ""));
    CHECK_OK(check(o));
    CHECK_OK(set(o, "l2_cache_type", "distributed_disk"));
    CHECK_EQ(check(o), DS_EINVAL);
    CHECK(strstr(err, "sfs_path") != NULL);
    CHECK_OK(set(o, "l2_cache_type", "obs"));
    CHECK_OK(check(o));
    CHECK_OK(set(o, "l2_cache_type", "none"));
    CHECK_OK(set(o, "enable_urma", "true"));
    CHECK_EQ(check(o), DS_EINVAL);
    CHECK_OK(set(o, "enable_urma", "0"));
    CHECK_OK(set(o, "system_secret_key", "hunter2"));
    CHECK_EQ(check(o), DS_EINVAL);
    CHECK(strstr(err, "hunter2") == NULL); /* a secret is not repeated */
    ds_options_free(o);
}

DS_TEST(set__takes_no_segment_that_the_log_refuses)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "spill_file_max_size_mb", "1GiB"));
    CHECK_EQ(set(o, "spill_file_max_size_mb", "1025"), DS_EINVAL);
    CHECK(strstr(err, "from 0 to 1024 MiB") != NULL);
    ds_options_free(o);
}

DS_TEST(secrets__go_through_the_environment)
{
    struct ds_options *o = create();
    struct ds_options *child = create();

    CHECK_OK(setenv("DATASYSTEM_S3_ACCESS_KEY", "taken back", 1));
    CHECK_OK(setenv("DATASYSTEM_SFS_PATH", "/no/secret", 1));
    CHECK_OK(ds_options_load_env(o, err, sizeof(err)));
    CHECK_OK(set(o, "s3_access_key", ""));
    CHECK_OK(set(o, "obs_secret_key", "hunter2"));
    CHECK_OK(ds_options_export_secrets(o));
    CHECK_OK(ds_options_load_secrets(child, err, sizeof(err)));
    CHECK_STR(ds_options_str(child, DS_OPT_obs_secret_key), "hunter2");
    CHECK_STR(ds_options_str(child, DS_OPT_s3_access_key), "");
    CHECK_STR(ds_options_str(child, DS_OPT_sfs_path), "");
    ds_options_free(o);
    ds_options_free(child);
}

DS_TEST(secrets__are_not_repeated)
{
    struct ds_options *o = create();
    char value[130] = "hunter2";

    memset(value + 7, 'x', sizeof(value) - 8);
    CHECK_EQ(set(o, "s3_secret_key", value), DS_EINVAL);
    CHECK(strstr(err, "s3_secret_key") != NULL && strstr(err, "hunter2") == NULL);
    ds_options_free(o);
}

DS_TEST(check__warns_once_per_ignored_flag_that_differs)
{
    struct ds_options *o = create();
    int warnings = 0;

    CHECK_OK(set(o, "use_brpc", "True"));
    CHECK_OK(set(o, "spill_file_open_limit", "512"));
    CHECK_OK(ds_options_check(o, count, &warnings, err, sizeof(err)));
    CHECK_EQ(warnings, 0);
    CHECK_OK(set(o, "use_brpc", "false"));
    CHECK_OK(set(o, "cluster_name", "blue"));
    CHECK_OK(ds_options_check(o, count, &warnings, err, sizeof(err)));
    CHECK_EQ(warnings, 2);
    ds_options_free(o);
}

static int set_file(struct ds_options *o, const char *name, const char *value)
{
    return ds_options_set(o, name, value, DS_ORIGIN_FILE, err, sizeof(err));
}

static void keep(void *arg, const char *text)
{
    CHECK(((char *)arg)[0] == '\0'); /* one line */
    (void)snprintf(arg, DS_OPTIONS_ERROR_SIZE, "%s", text);
}

DS_TEST(check__warns_of_a_file_in_one_line)
{
    struct ds_options *o = create();
    char text[DS_OPTIONS_ERROR_SIZE] = "";

    CHECK_OK(set_file(o, "use_brpc", "true"));
    CHECK_OK(set_file(o, "client_reconnect_wait_s", "5")); /* the default of other releases */
    CHECK_OK(set_file(o, "enable_reconciliation", "true"));
    CHECK_OK(set_file(o, "eviction_thread_num", "7")); /* of no effect in the original */
    CHECK_OK(ds_options_check(o, keep, text, err, sizeof(err)));
    CHECK_STR(text, "");
    CHECK_OK(set_file(o, "client_reconnect_wait_s", "6"));
    CHECK_OK(set_file(o, "cluster_name", "blue"));
    CHECK_OK(ds_options_check(o, keep, text, err, sizeof(err)));
    CHECK_STR(text, "ignored in the file (dscli config says why): cluster_name, "
                    "client_reconnect_wait_s");
    ds_options_free(o);
}

/* What is said of the options as they are now, line after line. */
static void collect(void *arg, const char *text)
{
    size_t n = strlen(arg);

    (void)snprintf((char *)arg + n, DS_OPTIONS_ERROR_SIZE * 4 - n, "%s\n", text);
}

static void check_warned(const struct ds_options *o, const char *expected)
{
    char text[DS_OPTIONS_ERROR_SIZE * 4] = "";

    CHECK_OK(ds_options_check(o, collect, text, err, sizeof(err)));
    CHECK_STR(text, expected);
}

DS_TEST(check__warns_of_second_level_storage_without_its_type)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "sfs_path", "/mnt/share"));
    CHECK_OK(set(o, "s3_secret_key", "hunter2"));
    CHECK_OK(set_file(o, "obs_bucket", "b"));
    check_warned(o, "ignored without an l2_cache_type (sfs, s3 or obs): --sfs_path, obs_bucket, "
                    "--s3_secret_key\n");
    CHECK_OK(set(o, "l2_cache_type", "s3"));
    check_warned(o, "");
    ds_options_free(o);
}

DS_TEST(check__warns_of_a_limit_without_a_directory)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "spill_size_limit", "1G"));
    check_warned(o, "--spill_size_limit is ignored: nothing is written to disk without a "
                    "spill_directory\n");
    CHECK_OK(set(o, "write_back_directory", "/var/tmp/journal"));
    check_warned(o, "");
    CHECK_OK(set(o, "write_back_directory", ""));
    CHECK_OK(set(o, "spill_directory", "/var/tmp/spill"));
    check_warned(o, "");
    ds_options_free(o);
}

DS_TEST(check__warns_of_an_admission_to_no_spill)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "spill_admission", "second"));
    CHECK_OK(set(o, "write_back_directory", "/var/tmp/journal"));
    check_warned(o, "--spill_admission is ignored: nothing is spilled without a spill_directory\n");
    CHECK_OK(set(o, "write_back_directory", ""));
    CHECK_OK(set(o, "spill_directory", "/var/tmp/spill"));
    check_warned(o, "");
    CHECK_EQ(set(o, "spill_admission", "third"), DS_EINVAL);
    ds_options_free(o);
}

DS_TEST(check__warns_of_a_journal_beside_the_spill_directory)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "spill_directory", "/var/tmp/spill"));
    CHECK_OK(set(o, "write_back_directory", "/var/tmp/journal"));
    check_warned(o, "--write_back_directory is ignored: the journal of write-back objects is in "
                    "spill_directory\n");
    ds_options_free(o);
}

DS_TEST(check__compares_values_with_each_other)
{
    struct ds_options *o = create();

    CHECK_OK(set(o, "eviction_low_watermark_ratio", "0.95"));
    CHECK_OK(check(o)); /* high is 1: nothing is evicted in the background */
    CHECK_OK(set(o, "eviction_high_watermark_ratio", "0.95"));
    CHECK_EQ(check(o), DS_EINVAL);
    CHECK_OK(set(o, "eviction_high_watermark_ratio", "0.96"));
    CHECK_OK(check(o));
    CHECK_OK(set(o, "log_filename", "../x"));
    CHECK_EQ(check(o), DS_EINVAL);
    CHECK_STR(err, "--log_filename=../x is not accepted: give letters, digits and underscores");
    ds_options_free(o);
}

DS_TEST(check__refuses_paths_of_the_system)
{
    static const char *const bad[] = {"/",          "//",    "/etc",    "/etc/x",
                                      "/dev/shm/x", "/proc", "/lib64/x"};
    static const char *const good[] = {"", "/tmp/x", "/etcetera", "/library", "/opt/etc/x"};
    struct ds_options *o = create();

    for (size_t i = 0; i < DS_ARRAY_SIZE(bad); i++) {
        CHECK_OK(set(o, "log_dir", bad[i]));
        CHECK_EQ(check(o), DS_EINVAL);
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(good); i++) {
        CHECK_OK(set(o, "log_dir", good[i]));
        CHECK_OK(check(o));
    }
    ds_options_free(o);
}

static bool names_an_ignored_option(const char *text)
{
    char word[DS_OPTION_NAME_MAX + 1];
    size_t n;

    for (; *text != '\0'; text += n + (text[n] != '\0')) {
        int id;

        n = strcspn(text, " ,.:;()/");
        (void)snprintf(word, sizeof(word), "%.*s", (int)n, text);
        id = ds_option_find(word);
        if (id >= 0 && ds_option_info((enum ds_option_id)id)->status != DS_OPTION_ACTIVE) {
            return true;
        }
    }
    return false;
}

DS_TEST(table__hints_name_active_options_only)
{
    CHECK(names_an_ignored_option("leave it out, or use enable_thp"));
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        const struct ds_option_info *o = ds_option_info((enum ds_option_id)i);

        CHECK(o->why == NULL || !names_an_ignored_option(o->why));
    }
}
