/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options_parse.c - turns the text of a value into its meaning, by the type and limits of its row.
 */
#include "base/options_parse.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 80 /* bytes of a value that a message repeats */

void ds_message_add(struct ds_message *m, const char *fmt, ...)
{
    va_list args;
    int n;

    if (m->size == 0 || m->len >= m->size - 1) {
        return;
    }
    va_start(args, fmt);
    n = vsnprintf(m->buf + m->len, m->size - m->len, fmt, args);
    va_end(args);
    if (n > 0) {
        m->len += (size_t)n < m->size - m->len ? (size_t)n : m->size - m->len - 1;
    }
}

void ds_message_add_value(struct ds_message *m, const char *value)
{
    size_t n = 0;

    for (; value[n] != '\0' && n < SHOWN_MAX; n++) {
        ds_message_add(m, "%c",
                       (unsigned char)value[n] < 0x20 || value[n] == 0x7f ? '?' : value[n]);
    }
    if (value[n] != '\0') {
        ds_message_add(m, "...");
    }
}

static int parse_bool(const char *text, int64_t *ret)
{
    static const struct {
        const char *word;
        int value;
    } words[] = {{"true", 1},  {"1", 1}, {"yes", 1}, {"on", 1},  {"t", 1}, {"y", 1},
                 {"false", 0}, {"0", 0}, {"no", 0},  {"off", 0}, {"f", 0}, {"n", 0}};

    for (size_t i = 0; i < DS_ARRAY_SIZE(words); i++) {
        if (strcasecmp(text, words[i].word) == 0) {
            *ret = words[i].value;
            return 0;
        }
    }
    return DS_EINVAL;
}

static int parse_int(const char *text, int64_t *ret)
{
    char *end;

    if (!isdigit((unsigned char)text[text[0] == '-'])) {
        return DS_EINVAL;
    }
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' ? 0 : DS_EINVAL;
}

static int parse_ratio(const char *text, double *ret)
{
    char *end;

    if (strspn(text, "0123456789.eE+-") != strlen(text) || text[0] == '\0') {
        return DS_EINVAL; /* strtod() would take hexadecimal, inf and nan */
    }
    *ret = strtod(text, &end);
    return *end == '\0' && isfinite(*ret) ? 0 : DS_EINVAL;
}

struct unit {
    const char *name;
    int64_t factor;
};

/* Powers of 1024 throughout: the original's "_mb" are MiB. */
static const struct unit sizes[] = {
    {"B", 1},         {"K", 1 << 10},    {"KB", 1 << 10},   {"KiB", 1 << 10}, {"M", 1 << 20},
    {"MB", 1 << 20},  {"MiB", 1 << 20},  {"G", 1 << 30},    {"GB", 1 << 30},  {"GiB", 1 << 30},
    {"T", 1LL << 40}, {"TB", 1LL << 40}, {"TiB", 1LL << 40}};

static const struct unit times[] = {{"ms", 1},      {"s", 1000},    {"sec", 1000},  {"m", 60000},
                                    {"min", 60000}, {"h", 3600000}, {"d", 86400000}};

static int64_t unit_factor(const struct unit *units, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcasecmp(units[i].name, name) == 0) {
            return units[i].factor;
        }
    }
    return 0;
}

/* Digits and an optional unit, with blanks between them if you like. */
static int parse_quantity(const char *text, const struct unit *units, size_t n, const char *unit,
                          int64_t *ret)
{
    char *end;
    long long number;
    int64_t factor;

    if (!isdigit((unsigned char)text[0])) {
        return DS_EINVAL;
    }
    errno = 0;
    number = strtoll(text, &end, 10);
    while (*end == ' ') {
        end++;
    }
    factor = unit_factor(units, n, *end == '\0' ? unit : end);
    if (errno != 0 || factor == 0 || number > INT64_MAX / factor) {
        return DS_EINVAL;
    }
    *ret = number * factor;
    return 0;
}

int ds_duration_parse(const char *text, const char *unit, int64_t *ret_ms)
{
    return parse_quantity(text, times, DS_ARRAY_SIZE(times), unit, ret_ms);
}

static int parse_port(const char *text, uint16_t *ret)
{
    int64_t port;

    if (strlen(text) > 5 || text[0] == '-' || parse_int(text, &port) < 0 || port == 0 ||
        port > UINT16_MAX) {
        return DS_EINVAL;
    }
    *ret = (uint16_t)port;
    return 0;
}

int ds_address_parse(const char *text, char *host, uint16_t *ret_port)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const char *colon = strrchr(text, ':');
    const char *start = text;
    size_t len;
    uint16_t port;
    bool v6 = text[0] == '[';

    if (colon == NULL || parse_port(colon + 1, &port) < 0) {
        return DS_EINVAL;
    }
    len = (size_t)(colon - text);
    if (v6) {
        if (len < 4 || text[len - 1] != ']') {
            return DS_EINVAL;
        }
        start++;
        len -= 2;
    }
    if (len == 0 || len > DS_ADDRESS_HOST_MAX) {
        return DS_EINVAL;
    }
    for (size_t i = 0; i < len; i++) {
        const char *others = v6 ? "0123456789:.%" : "0123456789.-_";

        if (strchr(letters, start[i]) == NULL && strchr(others, start[i]) == NULL) {
            return DS_EINVAL;
        }
    }
    if (host != NULL) {
        memcpy(host, start, len);
        host[len] = '\0';
    }
    if (ret_port != NULL) {
        *ret_port = port;
    }
    return 0;
}

static int parse_choice(const char *text, const char *choices)
{
    size_t len = strcspn(text, "|");

    if (len == 0 || text[len] != '\0') {
        return DS_EINVAL;
    }
    for (const char *p = choices; p != NULL; p = strchr(p, '|')) {
        p += *p == '|';
        if (strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0')) {
            return 0;
        }
    }
    return DS_EINVAL;
}

int ds_option_parse_text(const struct ds_option_info *o, const char *text)
{
    if (o->max != 0 && (double)strlen(text) > o->max) {
        return DS_EINVAL;
    }
    return ds_has_control(text) ? DS_EINVAL : 0;
}

/* `scale` is how many of the meaning's units make one of the row's. */
static int check_limits(const struct ds_option_info *o, double value, double scale)
{
    if (o->min == 0 && o->max == 0) {
        return 0;
    }
    return value >= o->min * scale && value <= o->max * scale ? 0 : DS_EINVAL;
}

int ds_option_parse(const struct ds_option_info *o, const char *text, struct ds_option_meaning *ret)
{
    struct ds_option_meaning m = {0, 0};
    int64_t scale = 1;
    int rc;

    switch (o->type) {
    case DS_OPTION_BOOL:
        rc = parse_bool(text, &m.number);
        break;
    case DS_OPTION_INT:
        rc = parse_int(text, &m.number);
        break;
    case DS_OPTION_SIZE:
        scale = unit_factor(sizes, DS_ARRAY_SIZE(sizes), o->unit);
        rc = parse_quantity(text, sizes, DS_ARRAY_SIZE(sizes), o->unit, &m.number);
        break;
    case DS_OPTION_TIME:
        scale = unit_factor(times, DS_ARRAY_SIZE(times), o->unit);
        rc = ds_duration_parse(text, o->unit, &m.number);
        break;
    case DS_OPTION_RATIO:
        rc = parse_ratio(text, &m.real);
        break;
    case DS_OPTION_ADDRESS:
        rc = text[0] == '\0' && o->def[0] == '\0' ? 0 : ds_address_parse(text, NULL, NULL);
        break;
    case DS_OPTION_CHOICE:
        rc = parse_choice(text, o->unit);
        break;
    default:
        rc = ds_option_parse_text(o, text);
        break;
    }
    if (rc == 0 && o->type <= DS_OPTION_RATIO) {
        rc = check_limits(o, o->type == DS_OPTION_RATIO ? m.real : (double)m.number, (double)scale);
    }
    if (rc == 0) {
        *ret = m;
    }
    return rc;
}
