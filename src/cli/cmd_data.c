/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_data.c - dscli get, set, del, exist and why: one client call each, over the public API. */
#include <ds/ds.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/options.h"
#include "base/sys.h"
#include "cli/cli.h"

#define TIMEOUT_MS 9000
#define CONNECT_MIN_MS 500          /* less is refused by ds_client_open() */
#define READ_STEP ((size_t)1 << 20) /* at first; doubled */

enum { ADDRESS, TIMEOUT, OUTPUT, TTL = OUTPUT, IF_ABSENT, EVICTABLE, ANY_KEY, ALLOW_EMPTY };

/* What the original's programs can ask for. */
#define KEY_CHARACTERS                                                                             \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_!@#%^*()+=:;"

#define ADDRESS_OPTION                                                                             \
    {                                                                                              \
        "w", false, "worker_address", "ADDR", "The worker's address."                              \
    }

static const struct ds_cli_option plain_options[] = {
    [ADDRESS] = ADDRESS_OPTION,
    [TIMEOUT] = {"t", false, "timeout", "SECONDS", "Limit of the whole call (9)."},
};

static const struct ds_cli_option get_options[] = {
    [ADDRESS] = ADDRESS_OPTION,
    [TIMEOUT] = {"t", false, "timeout", "SECONDS", "How long to wait for the key (0)."},
    [OUTPUT] = {"o", false, "output", "FILE", "Where the value goes (stdout)."},
};

static const struct ds_cli_option set_options[] = {
    [ADDRESS] = ADDRESS_OPTION,
    [TIMEOUT] = {"t", false, "timeout", "SECONDS", "Limit of the whole call (9)."},
    [TTL] = {"", false, "ttl", "SECONDS", "Time after which the key is gone (never)."},
    [IF_ABSENT] = {"", false, "if_absent|nx", NULL, "Writes only if the key does not exist."},
    [EVICTABLE] = {"", false, "evictable", NULL, "Lets the worker drop it when memory is short."},
    [ANY_KEY] = {"", false, "any_key", NULL,
                 "Takes a key that Python and C++ programs cannot ask for."},
    [ALLOW_EMPTY] = {"", false, "allow_empty", NULL, "Takes a value of no bytes."},
};

/* --- shared --- */

/* One command's: its worker, and when it ends, whatever it waits for. */
struct session {
    struct ds_cli_worker worker;
    struct ds_client *client;
    int64_t deadline_ns;
};

static int say_error(const struct session *s, const char *what, const char *key, int rc)
{
    const struct ds_cli_worker *w = &s->worker;

    rc = rc == DS_EINTERRUPTED ? DS_ETIMEOUT : rc; /* by is_over() */
    if (rc == DS_EUNAVAILABLE) {
        ds_cli_error("no worker runs @ %s: start it with dscli start -w --worker_address %s",
                     w->address, w->address);
    } else {
        ds_cli_error("%s %s @ %s: %s; %s", what, key, w->address, ds_error_text(rc),
                     ds_error_hint(rc));
    }
    return rc == DS_ETIMEOUT ? DS_CLI_TIMEOUT : DS_CLI_FAILED;
}

static bool is_over(void *session)
{
    return ds_monotonic_ns() >= ((const struct session *)session)->deadline_ns;
}

/* Connects. This and all calls on it end within limit_ms, together. */
static int open_session(const struct ds_cli_args *args, int limit_ms, struct session *ret)
{
    struct ds_client_options options;
    char reason[DS_REASON_SIZE] = "";
    int status = ds_cli_parse_worker(args->values[ADDRESS], &ret->worker);
    int rc;

    if (status != DS_CLI_OK) {
        return status;
    }
    ret->deadline_ns = ds_monotonic_ns() + limit_ms * INT64_C(1000000);
    ds_client_options_init(&options);
    options.host = ret->worker.host;
    options.port = ret->worker.port;
    options.connect_timeout_ms = limit_ms > CONNECT_MIN_MS ? limit_ms : CONNECT_MIN_MS;
    options.request_timeout_ms = limit_ms;
    options.interrupted = is_over;
    options.interrupted_arg = ret;
    options.ret_reason = reason;
    options.reason_size = sizeof(reason);
    rc = ds_client_open(&options, &ret->client);
    if (rc < 0) {
        ds_cli_error("cannot connect: %s", reason);
    }
    return rc == DS_ETIMEOUT ? DS_CLI_TIMEOUT : rc < 0 ? DS_CLI_FAILED : DS_CLI_OK;
}

/* --- get --- */

static int write_all(int fd, const void *data, size_t size)
{
    const char *p = data;

    while (size > 0) {
        ssize_t n = write(fd, p, size);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        p += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int write_value(const struct ds_view *view, const char *path)
{
    int fd =
        path == NULL ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int rc = fd < 0 ? -errno : write_all(fd, view->data, view->size);

    if (path != NULL && fd >= 0 && close(fd) < 0 && rc == 0) {
        rc = -errno;
    }
    if (rc < 0) {
        ds_cli_error("cannot write to %s: %s", path == NULL ? "stdout" : path, strerror(-rc));
        return DS_CLI_FAILED;
    }
    return DS_CLI_OK;
}

static int run_get(const struct ds_cli_args *args)
{
    const char *key = args->words[0];
    struct session session;
    struct ds_view view;
    int wait_ms;
    int status = ds_cli_parse_timeout(args->values[TIMEOUT], 0, &wait_ms);
    int rc;

    if (status == DS_CLI_OK) {
        status = open_session(
            args, wait_ms < INT32_MAX - TIMEOUT_MS ? wait_ms + TIMEOUT_MS : wait_ms, &session);
    }
    if (status != DS_CLI_OK) {
        return status;
    }
    rc = ds_kv_get(session.client, key, strlen(key), wait_ms, &view);
    if (rc == 0) {
        status = write_value(&view, args->values[OUTPUT]);
        ds_view_release(&view);
    } else if (rc == DS_ENOTFOUND || (rc == DS_ETIMEOUT && wait_ms > 0)) {
        ds_cli_error("key %s not found @ %s", key, session.worker.address);
        status = DS_CLI_FAILED;
    } else {
        status = say_error(&session, "cannot get", key, rc);
    }
    ds_client_close(session.client);
    return status;
}

/* --- set --- */

/* All of stdin: 0 and a block to free, or -errno. */
static int read_stdin(char **ret, size_t *ret_size)
{
    size_t capacity = 0;
    size_t size = 0;
    char *buf = NULL;

    for (;;) {
        ssize_t n;

        if (size == capacity) {
            char *bigger;

            capacity = capacity == 0 ? READ_STEP : capacity * 2;
            bigger = ds_realloc_array(buf, capacity, 1, "stdin");
            if (bigger == NULL) {
                ds_free(buf);
                return -ENOMEM;
            }
            buf = bigger;
        }
        n = read(STDIN_FILENO, buf + size, capacity - size);
        if (n == 0) {
            *ret = buf;
            *ret_size = size;
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            int rc = -errno;

            ds_free(buf);
            return rc;
        }
        size += n > 0 ? (size_t)n : 0;
    }
}

static int parse_set_options(const struct ds_cli_args *args, struct ds_set_options *ret)
{
    int64_t ttl_ms = 0;

    if (args->values[TTL] != NULL &&
        (ds_duration_parse(args->values[TTL], "s", &ttl_ms) < 0 || ttl_ms == 0)) {
        ds_cli_error("'%s' is no time to live: give seconds, or a unit as in 500ms or 2h",
                     args->values[TTL]);
        return DS_CLI_USAGE;
    }
    *ret = (struct ds_set_options){
        .mode = args->values[EVICTABLE] != NULL ? DS_WRITE_NONE_EVICT : DS_WRITE_NONE,
        .ttl_ms = (uint64_t)ttl_ms,
        .only_if_absent = args->values[IF_ABSENT] != NULL,
        .allow_empty = args->values[ALLOW_EMPTY] != NULL,
    };
    return DS_CLI_OK;
}

static int check_set(const struct ds_cli_args *args, size_t size)
{
    const char *key = args->words[0];

    if (args->values[ANY_KEY] == NULL &&
        (key[strspn(key, KEY_CHARACTERS)] != '\0' || strlen(key) > DS_KEY_SIZE_MAX)) {
        ds_cli_error(
            "cannot set key %s: allowed are 1 to %d of a-z A-Z 0-9 . - _ ! @ # %% ^ * ( ) + "
            "= : ; (--any_key takes other bytes, for programs in C)",
            key, (int)DS_KEY_SIZE_MAX);
        return DS_CLI_FAILED;
    }
    if (size == 0 && args->values[ALLOW_EMPTY] == NULL) {
        ds_cli_error("cannot set key %s: the value is empty (--allow_empty takes it)", key);
        return DS_CLI_FAILED;
    }
    return DS_CLI_OK;
}

static int run_set(const struct ds_cli_args *args)
{
    const char *key = args->words[0];
    char *value = args->words[1];
    char *input = NULL;
    size_t size = strlen(value);
    struct ds_set_options options;
    struct session session;
    int timeout_ms;
    int status = parse_set_options(args, &options);
    int rc = 0;

    if (status == DS_CLI_OK) {
        status = ds_cli_parse_timeout(args->values[TIMEOUT], TIMEOUT_MS, &timeout_ms);
    }
    if (status == DS_CLI_OK && strcmp(value, "-") == 0) {
        rc = read_stdin(&input, &size);
        value = input;
    }
    if (rc < 0) {
        ds_cli_error("cannot read the value from stdin: %s", strerror(-rc));
        return DS_CLI_FAILED;
    }
    if (status == DS_CLI_OK) {
        status = check_set(args, size);
    }
    if (status == DS_CLI_OK) {
        status = open_session(args, timeout_ms, &session);
    }
    if (status != DS_CLI_OK) {
        ds_free(input);
        return status;
    }
    rc = ds_kv_set(session.client, key, strlen(key), value, size, &options);
    if (rc == DS_UNCHANGED) {
        ds_cli_error("key %s exists @ %s: nothing was written", key, session.worker.address);
        status = DS_CLI_FAILED;
    } else if (rc < 0) {
        status = say_error(&session, "cannot set", key, rc);
    }
    ds_client_close(session.client);
    ds_free(input);
    return status;
}

/* --- del, exist --- */

/* The keys as the API wants them; NULL without memory. */
static struct ds_bytes *make_keys(const struct ds_cli_args *args)
{
    struct ds_bytes *keys = ds_zalloc((size_t)args->n_words * sizeof(*keys), "keys");

    for (int i = 0; keys != NULL && i < args->n_words; i++) {
        keys[i] = (struct ds_bytes){args->words[i], strlen(args->words[i])};
    }
    if (keys == NULL) {
        ds_cli_error("out of memory");
    }
    return keys;
}

static int delete_keys(const struct ds_cli_args *args, struct session *s,
                       const struct ds_bytes *keys)
{
    int status = DS_CLI_OK;

    for (int i = 0; i < args->n_words && status != DS_CLI_TIMEOUT; i++) {
        int rc = is_over(s) ? DS_ETIMEOUT : ds_kv_delete(s->client, &keys[i], 1, NULL);

        if (rc < 0) {
            status = say_error(s, "cannot delete", args->words[i], rc);
        }
    }
    return status;
}

static int print_existence(const struct ds_cli_args *args, struct session *s,
                           const struct ds_bytes *keys)
{
    int status = DS_CLI_OK;

    for (int i = 0; i < args->n_words; i++) {
        bool exists = false;
        int rc = is_over(s) ? DS_ETIMEOUT : ds_kv_exist(s->client, &keys[i], 1, &exists);

        if (rc < 0) {
            return say_error(s, "cannot look for", args->words[i], rc);
        }
        (void)printf("%s %s\n", exists ? "true" : "false", args->words[i]);
        status = exists ? status : DS_CLI_FAILED;
    }
    return ds_cli_finish(stdout, status);
}

static int with_keys(const struct ds_cli_args *args,
                     int (*call)(const struct ds_cli_args *, struct session *,
                                 const struct ds_bytes *))
{
    struct session session;
    struct ds_bytes *keys;
    int timeout_ms;
    int status = ds_cli_parse_timeout(args->values[TIMEOUT], TIMEOUT_MS, &timeout_ms);

    if (status != DS_CLI_OK) {
        return status;
    }
    keys = make_keys(args);
    if (keys == NULL) {
        return DS_CLI_FAILED;
    }
    status = open_session(args, timeout_ms, &session);
    if (status == DS_CLI_OK) {
        status = call(args, &session, keys);
        ds_client_close(session.client);
    }
    ds_free(keys);
    return status;
}

static int run_del(const struct ds_cli_args *args)
{
    return with_keys(args, delete_keys);
}

static int run_exist(const struct ds_cli_args *args)
{
    return with_keys(args, print_existence);
}

/* --- why --- */

static void print_why(enum ds_gone why, uint64_t age_ms)
{
    static const char *const words[] = {
        [DS_GONE_DELETED] = "deleted",
        [DS_GONE_RELEASED] = "released with the last reference to it",
        [DS_GONE_EXPIRED] = "expired",
        [DS_GONE_EVICTED] = "evicted from memory",
        [DS_GONE_DROPPED] = "dropped from disk",
        [DS_GONE_L2] = "left to second-level storage",
        [DS_GONE_LOST] = "lost by damage on disk",
    };
    char age[32];

    if (why == DS_GONE_NOT) {
        (void)puts("there");
    } else if (why < DS_ARRAY_SIZE(words) && words[why] != NULL) {
        (void)printf("%s", words[why]);
        if (age_ms > 0) {
            (void)printf(" %s ago", ds_cli_time_text(age_ms, age, sizeof(age)));
        }
        (void)putchar('\n');
    } else {
        (void)printf("not known: never set, or before the last %u keys that went, or before the "
                     "node was started\n",
                     DS_GONE_KEYS);
    }
}

static int print_reason(const struct ds_cli_args *args, struct session *s,
                        const struct ds_bytes *keys)
{
    enum ds_gone why;
    uint64_t age_ms;
    int rc = ds_kv_why(s->client, keys[0].data, keys[0].size, &why, &age_ms);

    if (rc < 0) {
        return say_error(s, "cannot ask why", args->words[0], rc);
    }
    print_why(why, age_ms);
    return ds_cli_finish(stdout, DS_CLI_OK);
}

static int run_why(const struct ds_cli_args *args)
{
    return with_keys(args, print_reason);
}

/* --- the table --- */

const struct ds_cli_command ds_cmd_get = {
    .name = "get",
    .summary = "Writes the value of a key to stdout, byte for byte.",
    .words = "KEY",
    .words_min = 1,
    .words_max = 1,
    .options = get_options,
    .n_options = DS_ARRAY_SIZE(get_options),
    .details = "Exit status 1: there is no such key. A key that begins with '-' goes behind --.",
    .run = run_get,
};

const struct ds_cli_command ds_cmd_set = {
    .name = "set",
    .summary = "Sets a key. The value '-' is read from stdin.",
    .words = "KEY VALUE|-",
    .words_min = 2,
    .words_max = 2,
    .options = set_options,
    .n_options = DS_ARRAY_SIZE(set_options),
    .run = run_set,
};

const struct ds_cli_command ds_cmd_del = {
    .name = "del",
    .summary = "Deletes keys. One that does not exist counts as deleted.",
    .words = "KEY...",
    .words_min = 1,
    .words_max = INT32_MAX,
    .options = plain_options,
    .n_options = DS_ARRAY_SIZE(plain_options),
    .run = run_del,
};

const struct ds_cli_command ds_cmd_exist = {
    .name = "exist",
    .summary = "Prints 'true KEY' or 'false KEY' for each key.",
    .words = "KEY...",
    .words_min = 1,
    .words_max = INT32_MAX,
    .options = plain_options,
    .n_options = DS_ARRAY_SIZE(plain_options),
    .details = "Exit status 1: one of them does not exist.",
    .run = run_exist,
};

const struct ds_cli_command ds_cmd_why = {
    .name = "why",
    .summary = "Tells why the worker does not have a key, and since when.",
    .words = "KEY",
    .words_min = 1,
    .words_max = 1,
    .options = plain_options,
    .n_options = DS_ARRAY_SIZE(plain_options),
    .details = "Of memory and disk; second-level storage is not asked. The worker remembers the "
               "last 65536 keys that went since it started.",
    .run = run_why,
};
