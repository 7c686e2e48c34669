/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the subcommands of dscli share: their table, their arguments, their messages.
 *
 * Each subcommand is one struct ds_cli_command; main.c lists them. Usage texts, completion and the
 * manual page come from these structs. Option texts of the worker come from base/options.h.
 *
 * Ownership: arguments point into argv.
 * Threads:   one.
 * Errors:    functions that run something return an exit status and have said on stderr what is
 *            wrong and what to do.
 */
#ifndef DS_CLI_CLI_H
#define DS_CLI_CLI_H

#include <stdio.h>

#include "base/base.h"

enum ds_cli_exit {
    DS_CLI_OK = 0,
    DS_CLI_FAILED = 1,
    DS_CLI_USAGE = 2,
    DS_CLI_NOT_RUNNING = 3,
    DS_CLI_TIMEOUT = 4,
    DS_CLI_INTERRUPTED = 130,
};

#define DS_CLI_ADDRESS "127.0.0.1:31501"
#define DS_CLI_OPTIONS_MAX 20

struct ds_cli_option {
    const char *letters; /* of -x: "fW", the first one is shown; "": none */
    bool rest;           /* takes the rest of the line */
    const char *names;   /* of --name: "worker_config_path|config_path", the first one is shown */
    const char *value;   /* what it takes: "FILE"; NULL: nothing */
    const char *help;    /* a sentence */
};

struct ds_cli_args {
    const char *values[DS_CLI_OPTIONS_MAX]; /* by the option's index; NULL: not given; flags: "" */
    char **words;                           /* what is no option */
    int n_words;
    char **rest; /* what follows an option with `rest`, which then has the value "" */
    int n_rest;
};

struct ds_cli_command {
    const char *name;
    const char *summary; /* a sentence */
    const char *words;   /* "KEY VALUE|-", or "" */
    int words_min, words_max;
    const struct ds_cli_option *options;
    size_t n_options;
    const char *details; /* more sentences for --help, or NULL */
    const char *later;   /* why it does not exist yet, or NULL; then there is no run */
    int (*run)(const struct ds_cli_args *args);
};

/* The subcommands in the order of the help; NULL ends the list. */
extern const struct ds_cli_command *const ds_cli_commands[];

extern const struct ds_cli_command ds_cmd_start;
extern const struct ds_cli_command ds_cmd_stop;
extern const struct ds_cli_command ds_cmd_status;
extern const struct ds_cli_command ds_cmd_upgrade;
extern const struct ds_cli_command ds_cmd_get;
extern const struct ds_cli_command ds_cmd_set;
extern const struct ds_cli_command ds_cmd_del;
extern const struct ds_cli_command ds_cmd_exist;
extern const struct ds_cli_command ds_cmd_why;
extern const struct ds_cli_command ds_cmd_l2;
extern const struct ds_cli_command ds_cmd_config;
extern const struct ds_cli_command ds_cmd_generate_config;
extern const struct ds_cli_command ds_cmd_version;
extern const struct ds_cli_command ds_cmd_help;
extern const struct ds_cli_command ds_cmd_completion;

/* NULL: no such subcommand. */
const struct ds_cli_command *ds_cli_find(const char *name);

/* Parses the arguments behind the subcommand's name and runs it; --help is handled here. */
int ds_cli_run(const struct ds_cli_command *command, int argc, char **argv);

/* "dscli stop [-f FILE] ...", its options and details. */
void ds_cli_print_usage(const struct ds_cli_command *command, FILE *out);

/* --- messages: "[INFO] ..." on stdout, "[WARNING] ..." and "[ERROR] ..." on stderr --- */

__attribute__((format(printf, 1, 2))) void ds_cli_info(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void ds_cli_warn(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void ds_cli_error(const char *fmt, ...);

/* A string of JSON with its quotes. Bytes that are no UTF-8 become U+FFFD. */
void ds_cli_print_json(FILE *out, const char *text);

/* "12.3 s", "3d 04:05:06". */
const char *ds_cli_time_text(uint64_t ms, char *buf, size_t size);

/* Ends output: DS_CLI_FAILED and a message if it could not be written (a full disk, a pipe). */
DS_MUST_USE int ds_cli_finish(FILE *out, int status);

/* --- values of arguments --- */

struct ds_cli_worker {
    char address[300]; /* as it is shown, and as processes carry it in their arguments */
    char host[256];
    uint16_t port;
};

/* From `text`, or if that is NULL from DATASYSTEM_HOST and DATASYSTEM_PORT, or DS_CLI_ADDRESS. */
DS_MUST_USE int ds_cli_parse_worker(const char *text, struct ds_cli_worker *ret);

/* "-t 90", in seconds unless a unit is given; NULL gives `fallback_ms`. At least 1 ms. */
DS_MUST_USE int ds_cli_parse_timeout(const char *text, int fallback_ms, int *ret_ms);

#endif
