/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - keeps the values of worker_options.def that one worker was given.
 *
 * A slot holds the text as it was given and what it means. Only an accepted text gets into a slot,
 * so the getters cannot fail. Defaults go through the same parser: a default that its own row
 * refuses is caught by ds_options_create().
 */
#include "base/options.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/options_parse.h"

struct slot {
    char *text; /* own copy; NULL: the default */
    struct ds_option_meaning meaning;
    enum ds_option_origin origin;
};

/* The original's default, which its files name. */
#define OLD_SOCKET_DIR "./datasystem/uds"

struct ds_options {
    struct slot slots[DS_OPTION_COUNT];
    bool socket_dir_moved; /* OLD_SOCKET_DIR was too long where it was to be */
};

static const struct ds_option_info *row(int id)
{
    return ds_option_info((enum ds_option_id)id);
}

/* --- messages --- */

static void add_upper(struct ds_message *m, const char *name)
{
    for (; *name != '\0'; name++) {
        ds_message_add(m, "%c", toupper((unsigned char)*name));
    }
}

/* An option as the user wrote it. */
static void add_option(struct ds_message *m, const char *name, const char *value,
                       enum ds_option_origin origin)
{
    if (origin == DS_ORIGIN_FILE) {
        ds_message_add(m, "\"");
        ds_message_add_value(m, name);
        ds_message_add(m, "\": \"");
        ds_message_add_value(m, value);
        ds_message_add(m, "\"");
        return;
    }
    if (origin == DS_ORIGIN_ENV) {
        ds_message_add(m, "DATASYSTEM_");
        add_upper(m, name);
    } else {
        ds_message_add(m, "--");
        ds_message_add_value(m, name);
    }
    ds_message_add(m, "=");
    ds_message_add_value(m, value);
}

/* --- values --- */

int ds_options_create(struct ds_options **ret)
{
    struct ds_options *options = ds_zalloc(sizeof(*options), "options");

    DS_ASSERT(ret != NULL);
    if (options == NULL) {
        return DS_ENOMEM;
    }
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        int rc = ds_option_parse(row(i), row(i)->def, &options->slots[i].meaning);

        DS_ASSERT(rc == 0);
    }
    *ret = options;
    return 0;
}

struct ds_options *ds_options_free(struct ds_options *options)
{
    if (options != NULL) {
        for (int i = 0; i < DS_OPTION_COUNT; i++) {
            ds_free(options->slots[i].text);
        }
        ds_free(options);
    }
    return NULL;
}

static bool is_text(enum ds_option_type type)
{
    return type == DS_OPTION_STRING || type == DS_OPTION_PATH;
}

/* A copy without the blanks at both ends. */
static int copy_trimmed(const char *value, char **ret)
{
    size_t len;
    char *copy;

    while (isspace((unsigned char)*value)) {
        value++;
    }
    len = strlen(value);
    while (len > 0 && isspace((unsigned char)value[len - 1])) {
        len--;
    }
    copy = ds_zalloc(len + 1, "option value");
    if (copy == NULL) {
        return DS_ENOMEM;
    }
    memcpy(copy, value, len);
    *ret = copy;
    return 0;
}

static int unknown(const char *name, enum ds_option_origin origin, struct ds_message *m)
{
    const char *near = ds_option_nearest(name);
    const char *dashes = origin == DS_ORIGIN_FILE ? "" : "--";

    ds_message_add(m, "unknown flag %s", dashes);
    ds_message_add_value(m, name);
    if (near != NULL) {
        ds_message_add(m, "; did you mean %s%s?", dashes, near);
    }
    return DS_ENOTFOUND;
}

static int bad_value(int id, const char *value, enum ds_option_origin origin, struct ds_message *m)
{
    char accepted[256];

    add_option(m, row(id)->name, ds_option_is_secret((enum ds_option_id)id) ? "***" : value,
               origin);
    ds_message_add(m, " is not accepted: %sgive %s",
                   is_text(row(id)->type) && ds_has_control(value) ? "it has control characters; "
                                                                   : "",
                   ds_option_accepted((enum ds_option_id)id, accepted, sizeof(accepted)));
    return DS_EINVAL;
}

/* Takes `text`, whatever happens. */
static int set_slot(struct ds_options *options, int id, char *text, enum ds_option_origin origin,
                    struct ds_message *m)
{
    struct slot *slot = &options->slots[id];
    struct ds_option_meaning meaning;
    int rc = 0;

    if (text[0] == '\0' && !is_text(row(id)->type)) {
        goto done; /* not given */
    }
    rc = strlen(text) > DS_OPTION_VALUE_MAX ? DS_EINVAL : ds_option_parse(row(id), text, &meaning);
    if (rc < 0) {
        rc = bad_value(id, text, origin, m);
        goto done;
    }
    if (origin >= slot->origin) {
        ds_free(slot->text);
        *slot = (struct slot){text, meaning, origin};
        return 0;
    }
done:
    ds_free(text);
    return rc;
}

int ds_options_set(struct ds_options *options, const char *name, const char *value,
                   enum ds_option_origin origin, char *err, size_t err_size)
{
    struct ds_message m = {err, err_size, 0};
    int id = ds_option_find(name);
    char *text;
    int rc;

    DS_ASSERT(options != NULL && value != NULL);
    if (id < 0) {
        return unknown(name, origin, &m);
    }
    rc = copy_trimmed(value, &text);
    if (rc < 0) {
        ds_message_add(&m, "out of memory");
        return rc;
    }
    return set_slot(options, id, text, origin, &m);
}

/* One argument, or two: *used says. */
static int load_arg(struct ds_options *options, int argc, char *const *argv, int *used, char *err,
                    size_t err_size)
{
    struct ds_message m = {err, err_size, 0};
    char name[DS_OPTION_NAME_MAX + 1];
    const char *arg = argv[0];
    const char *equals = strchr(arg, '=');
    const char *value = equals == NULL ? NULL : equals + 1;
    size_t len;
    int id;

    *used = 1;
    if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0' || arg[2] == '=') {
        ds_message_add(&m, "unexpected argument '");
        ds_message_add_value(&m, arg);
        ds_message_add(&m, "': flags are written --name=value or --name value");
        return DS_EINVAL;
    }
    len = equals == NULL ? strlen(arg + 2) : (size_t)(equals - arg - 2);
    if (len > DS_OPTION_NAME_MAX) {
        return unknown(arg + 2, DS_ORIGIN_ARGS, &m);
    }
    memcpy(name, arg + 2, len);
    name[len] = '\0';
    id = ds_option_find(name);
    if (id < 0) {
        return unknown(name, DS_ORIGIN_ARGS, &m);
    }
    if (value == NULL && argc > 1 && strncmp(argv[1], "--", 2) != 0) {
        value = argv[1];
        *used = 2;
    }
    if (value == NULL && row(id)->type != DS_OPTION_BOOL) {
        char accepted[256];

        ds_message_add(&m, "--%s needs a value: %s", name,
                       ds_option_accepted((enum ds_option_id)id, accepted, sizeof(accepted)));
        return DS_EINVAL;
    }
    return ds_options_set(options, name, value != NULL ? value : "true", DS_ORIGIN_ARGS, err,
                          err_size);
}

int ds_options_load_args(struct ds_options *options, int argc, char *const *argv, char *err,
                         size_t err_size)
{
    for (int i = 0; i < argc;) {
        int used;
        int rc = load_arg(options, argc - i, argv + i, &used, err, err_size);

        if (rc < 0) {
            return rc;
        }
        i += used;
    }
    return 0;
}

#define VARIABLE_SIZE (sizeof("DATASYSTEM_") + DS_OPTION_NAME_MAX)

static const char *variable_of(int id, char *buf)
{
    struct ds_message m = {buf, VARIABLE_SIZE, 0};

    ds_message_add(&m, "DATASYSTEM_");
    add_upper(&m, row(id)->name);
    return buf;
}

static int load_env(struct ds_options *options, bool secrets_only, char *err, size_t err_size)
{
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        char variable[VARIABLE_SIZE];
        const char *value;
        int rc;

        if (row(i)->status == DS_OPTION_IGNORED || row(i)->status == DS_OPTION_OBSOLETE) {
            continue; /* DATASYSTEM_LOG_COMPRESS and others are the client's */
        }
        if (secrets_only && !ds_option_is_secret((enum ds_option_id)i)) {
            continue;
        }
        value = getenv(variable_of(i, variable));
        if (value == NULL) {
            continue;
        }
        rc = ds_options_set(options, row(i)->name, value, DS_ORIGIN_ENV, err, err_size);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int ds_options_load_env(struct ds_options *options, char *err, size_t err_size)
{
    return load_env(options, false, err, err_size);
}

int ds_options_load_secrets(struct ds_options *options, char *err, size_t err_size)
{
    return load_env(options, true, err, err_size);
}

int ds_options_export_secrets(const struct ds_options *options)
{
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        char variable[VARIABLE_SIZE];
        const char *value = ds_options_str(options, (enum ds_option_id)i);

        if (row(i)->status != DS_OPTION_ACTIVE || !ds_option_is_secret((enum ds_option_id)i)) {
            continue;
        }
        if (value[0] == '\0') { /* a flag may have taken back what the environment says */
            (void)unsetenv(variable_of(i, variable));
        } else if (setenv(variable_of(i, variable), value, 1) != 0) {
            return DS_ENOMEM;
        }
    }
    return 0;
}

static int resolve_one(struct ds_options *options, int id, const char *base, struct ds_message *m)
{
    struct slot *slot = &options->slots[id];
    const char *path = ds_options_str(options, (enum ds_option_id)id);
    char *full;
    size_t size;
    int rc;

    if (path[0] == '\0' || path[0] == '/') {
        return 0;
    }
    while (strncmp(path, "./", 2) == 0) {
        path += 2 + strspn(path + 2, "/");
    }
    if (strcmp(path, ".") == 0) {
        path = "";
    }
    size = strlen(base) + 1 + strlen(path) + 1;
    full = ds_zalloc(size, "option value");
    if (full == NULL) {
        ds_message_add(m, "out of memory");
        return DS_ENOMEM;
    }
    (void)snprintf(full, size, "%s%s%s", strcmp(base, "/") == 0 && path[0] != '\0' ? "" : base,
                   path[0] == '\0' ? "" : "/", path);
    rc = ds_option_parse_text(row(id), full);
    if (rc < 0 && id == DS_OPT_unix_domain_socket_dir && strcmp(slot->text, OLD_SOCKET_DIR) == 0) {
        ds_free(slot->text);
        slot->text = NULL;
        ds_free(full);
        options->socket_dir_moved = true;
        return 0;
    }
    if (rc < 0) {
        (void)bad_value(id, full, slot->origin, m);
        ds_free(full);
        return rc;
    }
    ds_free(slot->text);
    slot->text = full;
    return 0;
}

int ds_options_resolve(struct ds_options *options, const char *cwd, char *err, size_t err_size)
{
    struct ds_message m = {err, err_size, 0};
    int rc = resolve_one(options, DS_OPT_data_home, cwd, &m);
    const char *home = ds_options_str(options, DS_OPT_data_home);

    for (int i = 0; rc == 0 && i < DS_OPTION_COUNT; i++) {
        if (row(i)->type == DS_OPTION_PATH && i != DS_OPT_data_home) {
            rc = resolve_one(options, i, home[0] != '\0' ? home : cwd, &m);
        }
    }
    return rc;
}

/* --- checks over several values --- */

bool ds_option_is_system_path(const char *path)
{
    static const char *const roots[] = {"/bin", "/sbin", "/lib", "/lib64", "/boot",
                                        "/dev", "/etc",  "/sys", "/proc"};

    if (path[strspn(path, "/")] == '\0') {
        return path[0] == '/';
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(roots); i++) {
        size_t len = strlen(roots[i]);

        if (strncmp(path, roots[i], len) == 0 && (path[len] == '/' || path[len] == '\0')) {
            return true;
        }
    }
    return false;
}

static int check_paths(const struct ds_options *options, struct ds_message *m)
{
    const char *name = ds_options_str(options, DS_OPT_log_filename);

    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        const char *path = ds_options_str(options, (enum ds_option_id)i);

        if (row(i)->type == DS_OPTION_PATH && ds_option_is_system_path(path)) {
            add_option(m, row(i)->name, path, options->slots[i].origin);
            ds_message_add(m, " is refused: it is in a directory of the system; choose another");
            return DS_EINVAL;
        }
    }
    for (; *name != '\0'; name++) {
        if (!isalnum((unsigned char)*name) && *name != '_') {
            add_option(m, "log_filename", ds_options_str(options, DS_OPT_log_filename),
                       options->slots[DS_OPT_log_filename].origin);
            ds_message_add(m, " is not accepted: give letters, digits and underscores");
            return DS_EINVAL;
        }
    }
    return 0;
}

static int check_watermarks(const struct ds_options *options, struct ds_message *m)
{
    double high = ds_options_double(options, DS_OPT_eviction_high_watermark_ratio);
    double low = ds_options_double(options, DS_OPT_eviction_low_watermark_ratio);

    if (high < 1 && low >= high) {
        ds_message_add(
            m,
            "eviction_low_watermark_ratio (%g) must be less than eviction_high_watermark_ratio "
            "(%g): eviction would stop before it starts",
            low, high);
        return DS_EINVAL;
    }
    return 0;
}

static int check_l2(const struct ds_options *options, struct ds_message *m)
{
    if (strcmp(ds_options_str(options, DS_OPT_l2_cache_type), "distributed_disk") == 0) {
        ds_message_add(m, "--l2_cache_type=distributed_disk is refused: it is not there; give sfs, "
                          "and as sfs_path the directory that the workers share");
        return DS_EINVAL;
    }
    return 0;
}

/* Whether an IGNORED option asks for something. */
static bool asks(const struct ds_options *options, int id)
{
    static const struct {
        enum ds_option_id id;
        const char *value;
    } others[] = {
#define OPTION(...)
#define OTHER_DEFAULT(name, value) {DS_OPT_##name, value},
#include "base/worker_options.def"
#undef OTHER_DEFAULT
#undef OPTION
    };
    bool yes =
        row(id)->status == DS_OPTION_IGNORED && ds_options_differs(options, (enum ds_option_id)id);

    for (size_t i = 0; i < DS_ARRAY_SIZE(others); i++) {
        yes = yes && (others[i].id != (enum ds_option_id)id ||
                      strcmp(options->slots[id].text, others[i].value) != 0);
    }
    return yes;
}

static void warn_of_ignored(const struct ds_options *options, ds_option_warning *warn, void *arg)
{
    char names[DS_OPTIONS_ERROR_SIZE - 128];
    char text[DS_OPTIONS_ERROR_SIZE];
    struct ds_message in_file = {names, sizeof(names), 0};
    unsigned n = 0;

    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        struct ds_message w = {text, sizeof(text), 0};

        if (!asks(options, i)) {
            continue;
        }
        if (options->slots[i].origin == DS_ORIGIN_FILE) {
            ds_message_add(&in_file, "%s%s", n++ == 0 ? "" : ", ", row(i)->name);
            continue;
        }
        ds_message_add(&w, "--%s is ignored: %s", row(i)->name, row(i)->why);
        warn(arg, text);
    }
    if (n > 0) {
        struct ds_message w = {text, sizeof(text), 0};

        ds_message_add(&w, "ignored in the file (dscli config says why): %s", names);
        warn(arg, text);
    }
}

/* Names of options as the user writes them, one after the other. */
static void add_name(struct ds_message *m, const struct ds_options *options, int id, unsigned n)
{
    ds_message_add(m, "%s%s%s", n == 0 ? "" : ", ",
                   options->slots[id].origin == DS_ORIGIN_FILE ? "" : "--", row(id)->name);
}

static bool of_second_level(const char *name)
{
    return strncmp(name, "sfs_", 4) == 0 || strncmp(name, "s3_", 3) == 0 ||
           strncmp(name, "obs_", 4) == 0;
}

/* Where second-level storage is, but not that it is to be used. All in one line. */
static void warn_of_second_level(const struct ds_options *options, ds_option_warning *warn,
                                 void *arg)
{
    char text[DS_OPTIONS_ERROR_SIZE];
    struct ds_message w = {text, sizeof(text), 0};
    unsigned n = 0;

    if (strcmp(ds_options_str(options, DS_OPT_l2_cache_type), "none") != 0) {
        return;
    }
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        if (row(i)->status == DS_OPTION_ACTIVE && of_second_level(row(i)->name) &&
            ds_options_differs(options, (enum ds_option_id)i)) {
            if (n == 0) {
                ds_message_add(&w, "ignored without an l2_cache_type (sfs, s3 or obs): ");
            }
            add_name(&w, options, i, n++);
        }
    }
    if (n > 0) {
        warn(arg, text);
    }
}

static void warn_of(const struct ds_options *options, enum ds_option_id id, const char *why,
                    ds_option_warning *warn, void *arg)
{
    char text[DS_OPTIONS_ERROR_SIZE];
    struct ds_message w = {text, sizeof(text), 0};

    add_name(&w, options, (int)id, 0);
    ds_message_add(&w, " is ignored: %s", why);
    warn(arg, text);
}

/* Options that say how, of a thing that no other option asks for. */
static void warn_of_unused(const struct ds_options *options, ds_option_warning *warn, void *arg)
{
    bool spill = ds_options_str(options, DS_OPT_spill_directory)[0] != '\0';
    bool journal = ds_options_str(options, DS_OPT_write_back_directory)[0] != '\0';

    warn_of_second_level(options, warn, arg);
    if (!spill && !journal && ds_options_differs(options, DS_OPT_spill_size_limit)) {
        warn_of(options, DS_OPT_spill_size_limit,
                "nothing is written to disk without a spill_directory", warn, arg);
    }
    if (!spill && ds_options_differs(options, DS_OPT_spill_admission)) {
        warn_of(options, DS_OPT_spill_admission, "nothing is spilled without a spill_directory",
                warn, arg);
    }
    if (spill && journal) {
        warn_of(options, DS_OPT_write_back_directory,
                "the journal of write-back objects is in spill_directory", warn, arg);
    }
}

int ds_options_check(const struct ds_options *options, ds_option_warning *warn, void *arg,
                     char *err, size_t err_size)
{
    struct ds_message m = {err, err_size, 0};
    int rc;

    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        if (row(i)->status == DS_OPTION_REFUSED &&
            ds_options_differs(options, (enum ds_option_id)i)) {
            /* Without the value: some are secrets. */
            ds_message_add(&m, "--%s is refused: %s", row(i)->name, row(i)->why);
            return DS_EINVAL;
        }
    }
    rc = check_paths(options, &m);
    if (rc == 0) {
        rc = check_watermarks(options, &m);
    }
    if (rc == 0) {
        rc = check_l2(options, &m);
    }
    if (rc == 0 && warn != NULL) {
        warn_of_ignored(options, warn, arg);
        warn_of_unused(options, warn, arg);
    }
    return rc;
}

/* --- getters --- */

bool ds_options_bool(const struct ds_options *options, enum ds_option_id id)
{
    DS_ASSERT(ds_option_info(id)->type == DS_OPTION_BOOL);
    return options->slots[id].meaning.number != 0;
}

int64_t ds_options_int(const struct ds_options *options, enum ds_option_id id)
{
    enum ds_option_type type = ds_option_info(id)->type;

    DS_ASSERT(type == DS_OPTION_INT || type == DS_OPTION_SIZE || type == DS_OPTION_TIME);
    return options->slots[id].meaning.number;
}

double ds_options_double(const struct ds_options *options, enum ds_option_id id)
{
    DS_ASSERT(ds_option_info(id)->type == DS_OPTION_RATIO);
    return options->slots[id].meaning.real;
}

const char *ds_options_str(const struct ds_options *options, enum ds_option_id id)
{
    const struct ds_option_info *o = ds_option_info(id);

    return options->slots[id].text != NULL ? options->slots[id].text : o->def;
}

bool ds_options_socket_dir_moved(const struct ds_options *options)
{
    return options->socket_dir_moved;
}

enum ds_option_origin ds_options_origin(const struct ds_options *options, enum ds_option_id id)
{
    DS_ASSERT((unsigned)id < DS_OPTION_COUNT);
    return options->slots[id].origin;
}

bool ds_options_differs(const struct ds_options *options, enum ds_option_id id)
{
    const struct ds_option_info *o = ds_option_info(id);
    const struct slot *slot = &options->slots[id];
    struct ds_option_meaning def;

    if (slot->text == NULL || (slot->text[0] == '\0' && o->status != DS_OPTION_ACTIVE)) {
        return false;
    }
    if (o->type > DS_OPTION_RATIO) {
        return strcmp(slot->text, o->def) != 0;
    }
    if (ds_option_parse(o, o->def, &def) < 0) {
        return true;
    }
    return slot->meaning.number != def.number || slot->meaning.real != def.real;
}
