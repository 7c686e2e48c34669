/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_file.c - worker_config.json through cJSON.
 *
 * cJSON 1.7 lets through what must not pass here, so this file asks in its own way: bytes behind
 * the value and NUL bytes (the length is given, and NUL is looked for first), "\u0000" (it would
 * cut a string), bytes that are no UTF-8, numbers that a double changes, duplicate names (it keeps
 * both). Names are compared here, never by cJSON_GetObjectItem(), which ignores case.
 */
#include "cli/config_file.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/sys.h"
#include "cli/utf8.h"

#define EXACT_MAX 9007199254740991.0 /* 2^53 - 1: what is larger may have been rounded */

struct parser {
    struct ds_options *options;
    char *err;
    size_t err_size;
    bool seen[DS_OPTION_COUNT];
};

__attribute__((format(printf, 3, 4))) static int fail(char *err, size_t err_size, const char *fmt,
                                                      ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(err, err_size, fmt, args);
    va_end(args);
    return DS_EINVAL;
}

/* --- before cJSON --- */

static int check_bytes(const char *text, size_t size, char *err, size_t err_size)
{
    size_t line = 1;

    for (size_t i = 0; i < size;) {
        size_t n = ds_utf8_length((const unsigned char *)text + i, size - i);

        line += text[i] == '\n';
        if (n == 0 || text[i] == '\0') {
            return fail(err, err_size, "line %zu has a byte that is no UTF-8 text", line);
        }
        if (text[i] == '\\') { /* only in strings; what follows it is one character or uXXXX */
            if (size - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0) {
                return fail(err, err_size, "line %zu has a string with \\u0000", line);
            }
            n = size - i > 1 && (unsigned char)text[i + 1] < 0x80 ? 2 : 1;
        }
        i += n;
    }
    return 0;
}

static int syntax_error(const char *text, const char *at, char *err, size_t err_size)
{
    size_t line = 1;
    size_t column = 1;

    for (const char *p = text; at != NULL && p < at; p++) {
        line += *p == '\n';
        column = *p == '\n' ? 1 : column + 1;
    }
    return fail(err, err_size, "no correct JSON at line %zu, column %zu", line, column);
}

/* --- values --- */

/* The text of a value as a flag would have it; `buf` holds numbers. NULL: no value of a flag. */
static const char *value_text(const cJSON *item, char *buf, size_t size)
{
    if (cJSON_IsString(item)) {
        return item->valuestring;
    }
    if (cJSON_IsBool(item)) {
        return cJSON_IsTrue(item) ? "true" : "false";
    }
    if (!cJSON_IsNumber(item) ||
        !(item->valuedouble >= -EXACT_MAX && item->valuedouble <= EXACT_MAX)) {
        return NULL; /* infinite ones too */
    }
    (void)snprintf(buf, size, "%.17g", item->valuedouble);
    if ((double)(int64_t)item->valuedouble == item->valuedouble) {
        (void)snprintf(buf, size, "%.0f", item->valuedouble);
    }
    return buf;
}

static int set_value(struct parser *p, const char *name, const cJSON *item)
{
    char number[64];
    const char *text = value_text(item, number, sizeof(number));

    if (text == NULL) {
        return fail(p->err, p->err_size,
                    "\"%.80s\": give a string, true, false or a number (large ones as a string)",
                    name);
    }
    return ds_options_set(p->options, name, text, DS_ORIGIN_FILE, p->err, p->err_size);
}

/* {"value": ..., "description": ..., "default": ...}: an empty or missing value is the default. */
static int set_from_object(struct parser *p, const char *name, const cJSON *object)
{
    static const char *const names[] = {"value", "default", "description"};
    const cJSON *found[DS_ARRAY_SIZE(names)] = {NULL};
    const cJSON *item;

    cJSON_ArrayForEach(item, object)
    {
        size_t i = 0;

        while (i < DS_ARRAY_SIZE(names) && strcmp(names[i], item->string) != 0) {
            i++;
        }
        if (i == DS_ARRAY_SIZE(names)) {
            return fail(p->err, p->err_size,
                        "\"%.80s\" has \"%.80s\", where only value, description and default may be",
                        name, item->string);
        }
        if (found[i] != NULL) {
            return fail(p->err, p->err_size, "\"%.80s\" has \"%s\" twice", name, names[i]);
        }
        found[i] = item;
    }
    if (found[0] == NULL && found[1] == NULL) {
        return fail(p->err, p->err_size, "\"%.80s\" has no \"value\"", name);
    }
    if (found[0] == NULL ||
        (found[1] != NULL && cJSON_IsString(found[0]) && found[0]->valuestring[0] == '\0')) {
        found[0] = found[1];
    }
    return set_value(p, name, found[0]);
}

static int set_flag(struct parser *p, const cJSON *item)
{
    int id = ds_option_find(item->string);

    if (strcmp(item->string, "service_type") == 0) {
        return 0;
    }
    if (id >= 0 && p->seen[id]) {
        return fail(p->err, p->err_size, "\"%s\" is given twice", item->string);
    }
    if (id >= 0) {
        p->seen[id] = true;
    }
    if (id >= 0 && cJSON_IsObject(item)) {
        return set_from_object(p, item->string, item);
    }
    if (id >= 0) {
        return set_value(p, item->string, item);
    }
    return ds_options_set(p->options, item->string, "", DS_ORIGIN_FILE, p->err, p->err_size);
}

/* `text` ends with a NUL that is not counted in `size`. */
static int parse_text(struct ds_options *options, const char *text, size_t size, char *err,
                      size_t err_size)
{
    struct parser p = {.options = options, .err = err, .err_size = err_size};
    const char *end = NULL;
    const cJSON *item;
    cJSON *root;
    int rc = check_bytes(text, size, err, err_size);

    if (rc < 0) {
        return rc;
    }
    root = cJSON_ParseWithLengthOpts(text, size + 1, &end, true);
    if (root == NULL) {
        return syntax_error(text, end, err, err_size);
    }
    if (!cJSON_IsObject(root)) {
        rc = fail(err, err_size, "it is no JSON object: { \"flag\": { \"value\": \"...\" } }");
    }
    for (item = root->child; rc == 0 && item != NULL; item = item->next) {
        rc = set_flag(&p, item);
    }
    cJSON_Delete(root);
    return rc;
}

int ds_config_parse(struct ds_options *options, const char *text, size_t size, char *err,
                    size_t err_size)
{
    char *copy;
    int rc;

    if (size > DS_CONFIG_SIZE_MAX) {
        return fail(err, err_size, "it has more than %zu bytes", DS_CONFIG_SIZE_MAX);
    }
    copy = ds_zalloc(size + 1, "config file");
    if (copy == NULL) {
        (void)fail(err, err_size, "out of memory");
        return DS_ENOMEM;
    }
    if (size > 0) {
        memcpy(copy, text, size);
    }
    rc = parse_text(options, copy, size, err, err_size);
    ds_free(copy);
    return rc;
}

/* --- the file --- */

/* Up to `size` bytes to the end of the file: their number, or -errno. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        len += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)len;
}

int ds_config_read(struct ds_options *options, const char *path, char *err, size_t err_size)
{
    char detail[DS_OPTIONS_ERROR_SIZE] = "";
    char *text = ds_zalloc(DS_CONFIG_SIZE_MAX + 1, "config file");
    ssize_t size;
    int fd;
    int rc;

    if (text == NULL) {
        (void)fail(err, err_size, "out of memory");
        return DS_ENOMEM;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? -errno : read_all(fd, text, DS_CONFIG_SIZE_MAX + 1);
    if (size < 0) {
        (void)fail(err, err_size, "cannot read %.200s: %s", path, strerror((int)-size));
        rc = DS_EIO;
        goto done;
    }
    rc = ds_config_parse(options, text, (size_t)size, detail, sizeof(detail));
    if (rc < 0) {
        (void)fail(err, err_size, "%.200s: %.700s", path, detail);
    }
done:
    ds_sys_close(fd);
    ds_free(text);
    return rc;
}
