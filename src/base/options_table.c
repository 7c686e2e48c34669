/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options_table.c - worker_options.def as data: look-up, nearest name, what a row accepts, help.
 */
#include <string.h>

#include "base/options_parse.h"

static const struct ds_option_info table[DS_OPTION_COUNT] = {
#define OPTION(name_, type_, def_, min_, max_, unit_, heat_, status_, sentence_, why_)             \
    [DS_OPT_##name_] = {                                                                           \
        .name = #name_,                                                                            \
        .def = def_,                                                                               \
        .min = min_,                                                                               \
        .max = max_,                                                                               \
        .unit = unit_,                                                                             \
        .sentence = sentence_,                                                                     \
        .why = why_,                                                                               \
        .type = DS_OPTION_##type_,                                                                 \
        .status = DS_OPTION_##status_,                                                             \
        .heat = DS_OPTION_##heat_,                                                                 \
    },
#include "base/worker_options.def"
#undef OPTION
};

const struct ds_option_info *ds_option_info(enum ds_option_id id)
{
    DS_ASSERT((unsigned)id < DS_OPTION_COUNT);
    return &table[id];
}

int ds_option_find(const char *name)
{
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;

    return least < c ? least : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b; both are at most
 * DS_OPTION_NAME_MAX long. Three rows of the usual table are enough. */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][DS_OPTION_NAME_MAX + 2];
    size_t la = strlen(a);
    size_t lb = strlen(b);

    for (unsigned j = 0; j <= lb; j++) {
        rows[0][j] = j;
    }
    for (unsigned i = 1; i <= la; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *last = rows[(i + 2) % 3];

        row[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            unsigned replace = last[j - 1] + (a[i - 1] != b[j - 1]);

            row[j] = min3(last[j] + 1, row[j - 1] + 1, replace);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = min3(row[j], rows[(i + 1) % 3][j - 2] + 1, row[j]);
            }
        }
    }
    return rows[la % 3][lb];
}

const char *ds_option_nearest(const char *name)
{
    size_t len = strlen(name);
    unsigned best = 1 + (unsigned)len / 4; /* further away is another name, not a slip */
    const char *found = NULL;

    if (len > DS_OPTION_NAME_MAX) {
        return NULL;
    }
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        unsigned d = distance(name, table[i].name);

        if (d < best || (d == best && found == NULL)) {
            best = d;
            found = table[i].name;
        }
    }
    return found;
}

static void add_choices(struct ds_message *m, const char *choices)
{
    for (const char *p = choices; *p != '\0'; p++) {
        if (*p != '|') {
            ds_message_add(m, "%c", *p);
        } else {
            ds_message_add(m, "%s", strchr(p + 1, '|') != NULL ? ", " : " or ");
        }
    }
}

static void add_limits(struct ds_message *m, const struct ds_option_info *o)
{
    if (o->min != 0 || o->max != 0) {
        ds_message_add(m, " from %.15g to %.15g", o->min, o->max);
    }
}

const char *ds_option_accepted(enum ds_option_id id, char *buf, size_t size)
{
    const struct ds_option_info *o = ds_option_info(id);
    struct ds_message m = {buf, size, 0};

    switch (o->type) {
    case DS_OPTION_BOOL:
        ds_message_add(&m, "true or false");
        break;
    case DS_OPTION_INT:
        ds_message_add(&m, "a whole number");
        add_limits(&m, o);
        break;
    case DS_OPTION_SIZE:
        ds_message_add(&m, "a size");
        add_limits(&m, o);
        ds_message_add(&m, " %s, or with a unit as in 64M or 1GiB", o->unit);
        break;
    case DS_OPTION_TIME:
        ds_message_add(&m, "a duration");
        add_limits(&m, o);
        ds_message_add(&m, " %s, or with a unit as in 500ms or 2min", o->unit);
        break;
    case DS_OPTION_RATIO:
        ds_message_add(&m, "a number");
        add_limits(&m, o);
        break;
    case DS_OPTION_STRING:
        ds_message_add(&m, "text");
        break;
    case DS_OPTION_PATH:
        ds_message_add(&m, "a path");
        break;
    case DS_OPTION_ADDRESS:
        ds_message_add(&m, "host:port, as 127.0.0.1:31501");
        break;
    case DS_OPTION_CHOICE:
        add_choices(&m, o->unit);
        break;
    }
    if ((o->type == DS_OPTION_STRING || o->type == DS_OPTION_PATH) && o->max != 0) {
        ds_message_add(&m, " of at most %.0f bytes", o->max);
    }
    return buf;
}

const char *ds_option_type_name(enum ds_option_type type)
{
    static const char *const names[] = {
        [DS_OPTION_BOOL] = "bool",     [DS_OPTION_INT] = "int",
        [DS_OPTION_SIZE] = "size",     [DS_OPTION_TIME] = "duration",
        [DS_OPTION_RATIO] = "ratio",   [DS_OPTION_STRING] = "string",
        [DS_OPTION_PATH] = "path",     [DS_OPTION_ADDRESS] = "address",
        [DS_OPTION_CHOICE] = "choice",
    };

    DS_ASSERT((unsigned)type < DS_ARRAY_SIZE(names));
    return names[type];
}

const char *ds_option_origin_name(enum ds_option_origin origin)
{
    static const char *const names[] = {"default", "file", "environment", "flag"};

    DS_ASSERT((unsigned)origin < DS_ARRAY_SIZE(names));
    return names[origin];
}

bool ds_option_is_secret(enum ds_option_id id)
{
    const char *name = ds_option_info(id)->name;

    return strstr(name, "secret") != NULL || strstr(name, "password") != NULL ||
           strstr(name, "access_key") != NULL || strstr(name, "data_key") != NULL;
}

void ds_option_print_help(FILE *out)
{
    char accepted[256];

    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        const struct ds_option_info *o = &table[i];

        if (o->status == DS_OPTION_ACTIVE) {
            (void)fprintf(out, "  --%s=%s\n      %s\n      Accepted: %s. Default: %s%s%s\n",
                          o->name, ds_option_type_name(o->type), o->sentence,
                          ds_option_accepted((enum ds_option_id)i, accepted, sizeof(accepted)),
                          o->def[0] == '\0' ? "empty" : o->def,
                          o->type == DS_OPTION_SIZE || o->type == DS_OPTION_TIME ? " " : "",
                          o->type == DS_OPTION_SIZE || o->type == DS_OPTION_TIME ? o->unit : "");
        }
    }
}
