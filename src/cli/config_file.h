/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_file.h - reads worker_config.json: {"flag": {"value": "...", "description": "..."}}, the
 * original's form, or {"flag": value}.
 *
 * The text is input: its size, depth, encoding and every name are checked. Stricter than the
 * original: a flag given twice, an unknown flag, a misspelt "value" and bytes behind the object are
 * errors. "service_type" (only for the original's dscli) is skipped.
 */
#ifndef DS_CLI_CONFIG_FILE_H
#define DS_CLI_CONFIG_FILE_H

#include "base/options.h"

#define DS_CONFIG_SIZE_MAX ((size_t)1 << 20)

/* Sets what the text says, with origin FILE. `text` has `size` bytes and needs no NUL.
 * DS_EINVAL, DS_ENOTFOUND (unknown flag), DS_ENOMEM: `err` says what and where. */
DS_MUST_USE int ds_config_parse(struct ds_options *options, const char *text, size_t size,
                                char *err, size_t err_size);

/* The same from a file; pipes are fine. DS_EIO: it cannot be read. */
DS_MUST_USE int ds_config_read(struct ds_options *options, const char *path, char *err,
                               size_t err_size);

#endif
