/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - the options of keeper and worker: one table, and the values given for one worker.
 *
 * worker_options.def has one row per option: name, type, default, limits, unit, status, a sentence.
 * Parser, --help, the original's JSON file, documents and completion all come from it. The flags of
 * the original that make no sense here are rows too: IGNORED ones are accepted with a warning when
 * they differ from the original's default, REFUSED ones are an error then.
 *
 *     ds_options_create(&o);
 *     ds_options_load_args(o, argc - 1, argv + 1, err, sizeof(err));
 *     ds_options_resolve(o, cwd, err, sizeof(err));
 *     ds_options_check(o, warn, NULL, err, sizeof(err));
 *     size = ds_options_int(o, DS_OPT_shared_memory_size_mb);
 *
 * Ownership: a struct ds_options owns its texts; what the getters return dies with it or with the
 *            next set of that option.
 * Threads:   none of its own; reading from several threads is fine once nobody sets.
 * Errors:    0 or a negative DS_E* code, and one line in `err` that names the option, the value and
 *            what is accepted. `err` is untouched on success.
 */
#ifndef DS_BASE_OPTIONS_H
#define DS_BASE_OPTIONS_H

#include <stdio.h>

#include "base/base.h"

enum ds_option_id {
#define OPTION(name, type, def, min, max, unit, heat, status, sentence, why) DS_OPT_##name,
#include "base/worker_options.def"
#undef OPTION
    DS_OPTION_COUNT
};

enum ds_option_type {
    DS_OPTION_BOOL,
    DS_OPTION_INT,
    DS_OPTION_SIZE, /* bytes; a plain number is in the row's unit */
    DS_OPTION_TIME, /* milliseconds; a plain number is in the row's unit */
    DS_OPTION_RATIO,
    DS_OPTION_STRING,
    DS_OPTION_PATH,    /* a relative one starts at data_home, see ds_options_resolve() */
    DS_OPTION_ADDRESS, /* host:port */
    DS_OPTION_CHOICE,  /* one of the words in `unit`, separated by '|' */
};

enum ds_option_status {
    DS_OPTION_ACTIVE,
    DS_OPTION_IGNORED,
    DS_OPTION_REFUSED,
    DS_OPTION_OBSOLETE, /* ignored by the original, too */
};

/* Whether a running worker may be told to change it. */
enum ds_option_heat { DS_OPTION_COLD, DS_OPTION_HOT };

/* Where a value came from; a higher one wins. */
enum ds_option_origin { DS_ORIGIN_DEFAULT, DS_ORIGIN_FILE, DS_ORIGIN_ENV, DS_ORIGIN_ARGS };

struct ds_option_info {
    const char *name;
    const char *def;      /* in the form a user would write */
    double min, max;      /* in `unit`; both 0: no limits. Of strings: the greatest length */
    const char *unit;     /* "" or that of plain numbers, or the choices */
    const char *sentence; /* what it does */
    const char *why;      /* why it is ignored or refused; NULL for active ones */
    enum ds_option_type type;
    enum ds_option_status status;
    enum ds_option_heat heat;
};

#define DS_OPTION_NAME_MAX 63
#define DS_OPTION_VALUE_MAX 4095
#define DS_OPTION_SOCKET_DIR_MAX 80 /* leaves room for a file name in sockaddr_un.sun_path */
#define DS_OPTIONS_ERROR_SIZE 1024  /* enough for every error and warning text */

/* --- the table --- */

const struct ds_option_info *ds_option_info(enum ds_option_id id);

/* The id of a name, or -1. */
int ds_option_find(const char *name);

/* The name most like `name`, or NULL when none is like it. */
const char *ds_option_nearest(const char *name);

/* What is accepted, a phrase: "true or false", "a whole number from 1 to 10000". Returns buf. */
const char *ds_option_accepted(enum ds_option_id id, char *buf, size_t size);

/* "bool", "int", "size", "duration", "ratio", "string", "path", "address", "choice". */
const char *ds_option_type_name(enum ds_option_type type);

/* "default", "file", "environment", "flag". */
const char *ds_option_origin_name(enum ds_option_origin origin);

/* Whether its values are nobody's business: they appear in no message and no command line. */
bool ds_option_is_secret(enum ds_option_id id);

/* All active options with defaults, for --help. */
void ds_option_print_help(FILE *out);

/* --- values --- */

struct ds_options;

/* All options at their defaults. DS_ENOMEM. */
DS_MUST_USE int ds_options_create(struct ds_options **ret);

/* NULL is a no-op. Returns NULL. */
struct ds_options *ds_options_free(struct ds_options *options);

/* Gives an option a value, unless a higher origin already did (the value is checked all the same).
 * An empty value of an option that is not text means "not given".
 * DS_ENOTFOUND: no such option. DS_EINVAL: not a value for it. DS_ENOMEM. */
DS_MUST_USE int ds_options_set(struct ds_options *options, const char *name, const char *value,
                               enum ds_option_origin origin, char *err, size_t err_size);

/* --name=value, --name value; a bool also as --name alone. argv[0] is the first argument, not the
 * program. Errors as ds_options_set(); an argument that is no flag: DS_EINVAL. */
DS_MUST_USE int ds_options_load_args(struct ds_options *options, int argc, char *const *argv,
                                     char *err, size_t err_size);

/* DATASYSTEM_<NAME IN CAPITALS>, of options that are not IGNORED. Errors as ds_options_set(). */
DS_MUST_USE int ds_options_load_env(struct ds_options *options, char *err, size_t err_size);

/* The same of secrets alone, for programs that take all else from their arguments: ps shows those
 * to every user, and the environment to nobody else. */
DS_MUST_USE int ds_options_load_secrets(struct ds_options *options, char *err, size_t err_size);

/* Puts them where a child's ds_options_load_secrets() finds them. Changes this process's
 * environment. DS_ENOMEM. */
DS_MUST_USE int ds_options_export_secrets(const struct ds_options *options);

/* Makes every path absolute: a relative data_home starts at `cwd` (absolute), any other relative
 * path at data_home, or at `cwd` without one. The original's default for unix_domain_socket_dir,
 * which its files name, becomes ours where it would be too long for a socket. DS_EINVAL: too long.
 * DS_ENOMEM. */
DS_MUST_USE int ds_options_resolve(struct ds_options *options, const char *cwd, char *err,
                                   size_t err_size);

/* Called once per IGNORED option that was given another value than a default of the original's, and
 * once for all of those that a file gave: it names every flag, on purpose or not. */
typedef void ds_option_warning(void *arg, const char *text);

/* What no single value can tell: REFUSED options, pairs that contradict each other, paths that
 * nobody should write to. `warn` may be NULL. DS_EINVAL. */
DS_MUST_USE int ds_options_check(const struct ds_options *options, ds_option_warning *warn,
                                 void *arg, char *err, size_t err_size);

/* Whether ds_options_resolve() did the latter. */
bool ds_options_socket_dir_moved(const struct ds_options *options);

bool ds_options_bool(const struct ds_options *options, enum ds_option_id id);

/* INT as it is, SIZE in bytes, TIME in milliseconds. */
int64_t ds_options_int(const struct ds_options *options, enum ds_option_id id);

double ds_options_double(const struct ds_options *options, enum ds_option_id id); /* RATIO */

/* The value of any option as text; never NULL. */
const char *ds_options_str(const struct ds_options *options, enum ds_option_id id);

enum ds_option_origin ds_options_origin(const struct ds_options *options, enum ds_option_id id);

/* Whether the value is another one than the default ("0.80" is 0.8). An empty text asks for nothing
 * of an option that is not honoured. */
bool ds_options_differs(const struct ds_options *options, enum ds_option_id id);

/* --- parts, for other users --- */

/* Whether a path lies in a directory of the system (/, /etc, /dev, ...), where it is a slip. */
bool ds_option_is_system_path(const char *path);

#define DS_ADDRESS_HOST_MAX 255

/* "127.0.0.1:31501", "[::1]:31501", "name:31501". `host` (without brackets) has room for
 * DS_ADDRESS_HOST_MAX + 1 bytes; outputs may be NULL. DS_EINVAL. */
DS_MUST_USE int ds_address_parse(const char *text, char *host, uint16_t *ret_port);

/* "500ms", "10s", "2min", "1h", "1d"; a plain number is in `unit` ("ms", "s"). DS_EINVAL. */
DS_MUST_USE int ds_duration_parse(const char *text, const char *unit, int64_t *ret_ms);

#endif
