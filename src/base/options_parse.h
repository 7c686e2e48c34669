/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options_parse.h - shared by the files of options: the meaning of one text, and message texts.
 */
#ifndef DS_BASE_OPTIONS_PARSE_H
#define DS_BASE_OPTIONS_PARSE_H

#include "base/options.h"

/* What a text means: `number` of BOOL, INT, SIZE, TIME; `real` of RATIO. */
struct ds_option_meaning {
    int64_t number;
    double real;
};

/* 0, or DS_EINVAL: not a value for this option. */
DS_MUST_USE int ds_option_parse(const struct ds_option_info *info, const char *text,
                                struct ds_option_meaning *ret);

/* The part of ds_option_parse() for STRING and PATH. */
DS_MUST_USE int ds_option_parse_text(const struct ds_option_info *info, const char *text);

/* A text in a buffer of the caller; what does not fit is cut. */
struct ds_message {
    char *buf;
    size_t size;
    size_t len;
};

__attribute__((format(printf, 2, 3))) void ds_message_add(struct ds_message *m, const char *fmt,
                                                          ...);

/* A value of the user: cut, and without anything that a terminal would obey. */
void ds_message_add_value(struct ds_message *m, const char *value);

#endif
