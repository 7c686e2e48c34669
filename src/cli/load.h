/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h - the options of a worker from all places: flag > environment > file > default.
 */
#ifndef DS_CLI_LOAD_H
#define DS_CLI_LOAD_H

#include "base/options.h"

struct ds_cli_source {
    const char *file; /* worker_config.json, or NULL */
    const char *home; /* the directory of -d, or NULL */
    char *const *args;
    int n_args;
};

/* Everything read, paths resolved, nothing checked yet. *ret is set on failure too, with what was
 * read until then; free it. Errors as ds_options_set() and ds_config_read(), one line in `err`. */
DS_MUST_USE int ds_cli_load(const struct ds_cli_source *source, struct ds_options **ret, char *err,
                            size_t err_size);

/* ds_options_check() that prints a warning for each ignored flag. */
DS_MUST_USE int ds_cli_check(const struct ds_options *options, char *err, size_t err_size);

#endif
