/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_l2.c - dscli l2: looks into second-level storage, without a worker. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/load.h"
#include "tier/l2_options.h"

#define NS_PER_MS 1000000
#define GC_AGE_LEAST_MS (3600 * 1000) /* a put may be under way for that long */

enum { CONFIG, HOME, WORKER_ARGS, TIMEOUT, AGE, DRY_RUN, JSON, PREFIX };

static const struct ds_cli_option options[] = {
    [CONFIG] = {"f", false, "worker_config_path|config_path", "FILE", "As for dscli start."},
    [HOME] = {"d", false, "datasystem_home_dir", "DIR", "As for dscli start."},
    [WORKER_ARGS] = {"w", true, "worker_args", "FLAGS...",
                     "As for dscli start: --l2_cache_type and what belongs to it count."},
    [TIMEOUT] = {"t", false, "timeout", "SECONDS", "How long it may take (no limit)."},
    [AGE] =
        {"", false, "age", "TIME",
         "gc: how old what it removes must be (l2_cache_tombstone_age); at least 1h, since nothing "
         "may be put for longer than that."},
    [DRY_RUN] = {"n", false, "dry_run", NULL, "gc: counts only."},
    [JSON] = {"", false, "json", NULL, "Prints one JSON object."},
    [PREFIX] =
        {"", false, "prefix", "TEXT",
         "ls, verify: only keys that begin so; other bytes as ls prints them, in the form of "
         "\\x20. What has no key that can be read is shown all the same."},
};

/* What ls and verify go through. */
struct walker {
    struct ds_l2 *l2;
    struct ds_l2_call call;
    bool json, verify;
    uint8_t prefix[DS_L2_KEY_MAX];
    size_t prefix_size;
    int null; /* where verified values go */
    int64_t now_unix_ns;
    uint64_t objects, bytes, tombstones, expired, corrupt, newer, unreadable;
};

/* --- printing --- */

/* Keys are bytes. */
static void print_key(const uint8_t *key, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (key[i] > ' ' && key[i] <= '~' && key[i] != '\\') {
            (void)putchar(key[i]);
        } else {
            (void)printf("\\x%02x", key[i]);
        }
    }
}

static const char *state_of(const struct walker *w, const struct ds_l2_entry *e)
{
    if (e->status != 0) {
        return e->status == DS_EVERSION      ? "newer"
               : ds_l2_is_refused(e->status) ? "unreadable"
                                             : "corrupt";
    }
    if ((e->meta.flags & DS_L2_TOMBSTONE) != 0) {
        return "removed";
    }
    return ds_l2_is_gone(&e->meta, w->now_unix_ns) ? "expired" : "ok";
}

static void print_entry(const struct walker *w, const struct ds_l2_entry *e, bool first)
{
    const char *state = state_of(w, e);

    if (!w->json) {
        (void)printf("%-8s %20" PRIu64 " %14" PRIu64 " ", state, e->meta.version, e->meta.size);
        if (e->status == 0) {
            print_key(e->key, e->key_size);
        } else {
            (void)printf("[%s]", e->name);
        }
        (void)putchar('\n');
        return;
    }
    (void)printf("%s\n    {\"state\": \"%s\", \"name\": ", first ? "" : ",", state);
    ds_cli_print_json(stdout, e->name);
    (void)printf(", \"stored_bytes\": %" PRIu64, e->stored_size);
    if (e->status == 0) {
        char key[DS_L2_KEY_MAX + 1];

        memcpy(key, e->key, e->key_size);
        key[e->key_size] = '\0';
        (void)fputs(", \"key\": ", stdout);
        ds_cli_print_json(stdout, key); /* for people: ends at a NUL, and takes UTF-8 alone */
        (void)fputs(", \"key_hex\": \"", stdout);
        for (uint32_t i = 0; i < e->key_size; i++) {
            (void)printf("%02x", ((const uint8_t *)e->key)[i]);
        }
        (void)putchar('"');
        (void)printf(
            ", \"version\": %" PRIu64 ", \"value_bytes\": %" PRIu64 ", \"expiry_unix_ns\": %" PRId64
            ", \"written_unix_ns\": %" PRId64 ", \"write_mode\": %u, \"kind\": %u, \"sealed\": %s",
            e->meta.version, e->meta.size, e->meta.expiry_unix_ns, e->meta.written_unix_ns,
            e->meta.mode, e->meta.kind, (e->meta.flags & DS_L2_SEALED) != 0 ? "true" : "false");
    }
    (void)putchar('}');
}

struct count {
    const char *name;
    uint64_t value;
};

static void print_counts(const struct count *counts, size_t n, bool json)
{
    for (size_t i = 0; i < n; i++) {
        if (json) {
            (void)printf("  \"%s\": %" PRIu64 "%s\n", counts[i].name, counts[i].value,
                         i + 1 < n ? "," : "");
        } else {
            (void)printf("%-12s %" PRIu64 "\n", counts[i].name, counts[i].value);
        }
    }
}

/* --- ls, verify --- */

static int to_null(void *arg, const struct ds_l2_meta *meta, struct ds_l2_span *ret)
{
    (void)meta;
    *ret = (struct ds_l2_span){.fd = ((const struct walker *)arg)->null};
    return 0;
}

/* Reads the value. What vanishes or is replaced meanwhile is no damage. */
static int verify_value(struct walker *w, struct ds_l2_entry *e)
{
    struct ds_l2_call call = {.deadline_ns = w->call.deadline_ns};
    struct ds_l2_meta meta;
    int rc;

    if (e->status != 0 || ds_l2_is_gone(&e->meta, w->now_unix_ns)) {
        return 0;
    }
    rc = ds_l2_get(w->l2, &call, e->key, e->key_size, to_null, w, &meta);
    if (rc < 0 && rc != DS_ECORRUPT && rc != DS_ENOTFOUND) {
        memcpy(w->call.err, call.err, sizeof(call.err));
    }
    if (rc == DS_ECORRUPT || ds_l2_is_refused(rc)) {
        e->status = rc;
        return 0;
    }
    return rc == DS_ENOTFOUND ? 0 : rc;
}

static bool is_wanted(const struct walker *w, const struct ds_l2_entry *e)
{
    return e->status != 0 ||
           (e->key_size >= w->prefix_size && memcmp(e->key, w->prefix, w->prefix_size) == 0);
}

static int each(void *arg, const struct ds_l2_entry *entry)
{
    struct walker *w = arg;
    struct ds_l2_entry e = *entry;
    int rc;
    bool first =
        w->objects + w->tombstones + w->expired + w->corrupt + w->newer + w->unreadable == 0;

    if (!is_wanted(w, &e)) {
        return 0;
    }
    rc = w->verify ? verify_value(w, &e) : 0;
    if (rc < 0) {
        return rc;
    }
    if (!w->verify || (e.status != 0 && !w->json)) {
        print_entry(w, &e, first);
    }
    if (e.status != 0) {
        *(e.status == DS_EVERSION      ? &w->newer
          : ds_l2_is_refused(e.status) ? &w->unreadable
                                       : &w->corrupt) += 1;
    } else if ((e.meta.flags & DS_L2_TOMBSTONE) != 0) {
        w->tombstones++;
    } else if (ds_l2_is_gone(&e.meta, w->now_unix_ns)) {
        w->expired++;
    } else {
        w->objects++;
        w->bytes += e.meta.size;
    }
    return 0;
}

static int run_walk(struct walker *w)
{
    int rc;

    w->now_unix_ns = ds_now_ns(CLOCK_REALTIME);
    if (w->json) {
        (void)fputs(w->verify ? "{\n" : "{\n  \"entries\": [", stdout);
    }
    rc = ds_l2_list(w->l2, &w->call, each, w);
    if (w->json && !w->verify) {
        (void)fputs("\n  ],\n", stdout);
    }
    if (w->json || w->verify) {
        const struct count counts[] = {
            {"objects", w->objects},       {"value_bytes", w->bytes}, {"removed", w->tombstones},
            {"expired", w->expired},       {"corrupt", w->corrupt},   {"newer", w->newer},
            {"unreadable", w->unreadable},
        };

        print_counts(counts, DS_ARRAY_SIZE(counts), w->json);
        (void)fputs(w->json ? "}\n" : "", stdout);
    }
    return rc;
}

/* --- gc --- */

static int run_gc(struct walker *w, const struct ds_cli_args *args, int64_t age_ms)
{
    struct ds_l2_gc gc = {.tombstone_age_ns = age_ms * NS_PER_MS,
                          .unfinished_age_ns = age_ms * NS_PER_MS,
                          .dry_run = args->values[DRY_RUN] != NULL};
    int rc = ds_l2_gc(w->l2, &w->call, &gc);
    const struct count counts[] = {
        {"tombstones", gc.tombstones}, {"expired", gc.expired},    {"superseded", gc.superseded},
        {"unfinished", gc.unfinished}, {"left", gc.objects},       {"left_bytes", gc.bytes},
        {"corrupt", gc.corrupt},       {"unreadable", gc.refused},
    };

    w->unreadable = gc.refused;
    (void)fputs(w->json ? "{\n" : "", stdout);
    print_counts(counts, DS_ARRAY_SIZE(counts), w->json);
    (void)fputs(w->json ? "}\n" : "", stdout);
    return rc;
}

/* --- the command --- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* As print_key() has written it, or may have. False: no key begins so. */
static bool parse_prefix(const char *text, struct walker *w)
{
    while (*text != '\0') {
        int high = text[0] == '\\' && text[1] == 'x' ? hex_digit(text[2]) : -1;
        int low = high >= 0 ? hex_digit(text[3]) : -1;

        if (w->prefix_size == sizeof(w->prefix)) {
            return false;
        }
        w->prefix[w->prefix_size++] = (uint8_t)(low >= 0 ? high * 16 + low : *text);
        text += low >= 0 ? 4 : 1;
    }
    return true;
}

/* An exit status after a message. */
static int open_storage(const struct ds_cli_args *args, struct ds_l2 **ret, int64_t *ret_age_ms)
{
    struct ds_cli_source source = {.file = args->values[CONFIG],
                                   .home = args->values[HOME],
                                   .args = args->rest,
                                   .n_args = args->n_rest};
    char err[DS_OPTIONS_ERROR_SIZE];
    struct ds_l2_config config;
    struct ds_options *o;
    int rc = ds_cli_load(&source, &o, err, sizeof(err));

    rc = rc < 0 ? rc : ds_cli_check(o, err, sizeof(err));
    if (rc == 0 && !ds_l2_config_from(o, &config)) {
        rc = DS_EINVAL;
        (void)snprintf(err, sizeof(err),
                       "no second-level storage is named: give -f FILE, or -w --l2_cache_type sfs "
                       "--sfs_path DIR");
    }
    if (rc == 0 && config.type == DS_L2_DIR && access(config.directory, F_OK) < 0) {
        rc = DS_EINVAL; /* looking must not make it */
        (void)snprintf(err, sizeof(err), "cannot open directory %.900s: %s", config.directory,
                       strerror(errno));
    }
    rc = rc < 0 ? rc : ds_l2_open(&config, err, sizeof(err), ret);
    if (rc == 0) {
        *ret_age_ms = ds_options_int(o, DS_OPT_l2_cache_tombstone_age);
    }
    ds_options_free(o);
    if (rc < 0) {
        ds_cli_error("L2 failed: %s", err);
    }
    return rc < 0 ? DS_CLI_FAILED : DS_CLI_OK;
}

static int execute(struct walker *w, const struct ds_cli_args *args, int64_t age_ms)
{
    int status = DS_CLI_OK;
    int rc = args->words[0][0] == 'g' ? run_gc(w, args, age_ms) : run_walk(w);

    if (rc < 0) {
        (void)fflush(stdout);
        ds_cli_error("L2 failed: %s; %s", w->call.err, ds_error_hint(rc));
        status = rc == DS_ETIMEOUT ? DS_CLI_TIMEOUT : DS_CLI_FAILED;
    } else if (w->unreadable > 0) {
        (void)fflush(stdout);
        ds_cli_error("%" PRIu64 " objects cannot be read or removed; the last reason: %s",
                     w->unreadable, w->call.err);
        status = DS_CLI_FAILED;
    }
    if (rc == 0 && w->corrupt > 0 && w->verify) {
        ds_cli_error("%" PRIu64 " objects do not verify: set their keys again, or delete them",
                     w->corrupt);
        status = DS_CLI_FAILED;
    }
    return ds_cli_finish(stdout, status);
}

static int run(const struct ds_cli_args *args)
{
    const char *what = args->words[0];
    struct walker w = {.json = args->values[JSON] != NULL, .verify = strcmp(what, "verify") == 0};
    int timeout_ms = 0;
    int age_ms;
    int64_t tombstone_age_ms = 0;
    int status;

    if (strcmp(what, "ls") != 0 && strcmp(what, "gc") != 0 && !w.verify) {
        ds_cli_error("dscli l2: there is no '%s': give ls, verify or gc", what);
        return DS_CLI_USAGE;
    }
    status = ds_cli_parse_timeout(args->values[AGE], GC_AGE_LEAST_MS, &age_ms);
    if (status == DS_CLI_OK && age_ms < GC_AGE_LEAST_MS) {
        ds_cli_error("dscli l2: --age must be at least 1h: a put may be under way for that long");
        status = DS_CLI_USAGE;
    }
    if (status == DS_CLI_OK && args->values[PREFIX] != NULL &&
        (what[0] == 'g' || !parse_prefix(args->values[PREFIX], &w))) {
        ds_cli_error("dscli l2: --prefix is for ls and verify, at most %u bytes", DS_L2_KEY_MAX);
        status = DS_CLI_USAGE;
    }
    if (status == DS_CLI_OK) {
        status = ds_cli_parse_timeout(args->values[TIMEOUT], 0, &timeout_ms);
    }
    if (status != DS_CLI_OK) {
        return status;
    }
    if (timeout_ms > 0) {
        w.call.deadline_ns = ds_monotonic_ns() + (int64_t)timeout_ms * NS_PER_MS;
    }
    status = open_storage(args, &w.l2, &tombstone_age_ms);
    if (status != DS_CLI_OK) {
        return status;
    }
    w.null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    status = execute(&w, args, args->values[AGE] != NULL ? age_ms : tombstone_age_ms);
    (void)close(w.null);
    ds_l2_close(w.l2);
    return status;
}

const struct ds_cli_command ds_cmd_l2 = {
    .name = "l2",
    .summary = "Looks into second-level storage: ls shows what is there, verify reads all of it, "
               "gc removes what nobody needs.",
    .words = "ls|verify|gc",
    .words_min = 1,
    .words_max = 1,
    .options = options,
    .n_options = DS_ARRAY_SIZE(options),
    .details =
        "No worker is asked, and none needs to run. Exit status 1: verify found damage, or an "
        "object cannot be read; the others are gone through all the same. gc "
        "removes tombstones and expired objects, versions that a newer one has replaced, and "
        "unfinished writes of workers that died; workers may go on meanwhile.",
    .run = run,
};
