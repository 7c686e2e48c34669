/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.c - arguments, usage texts and messages of dscli.
 *
 * Options are parsed here and not by getopt_long(): that takes abbreviations, which the original
 * refuses, and knows no option that takes the rest of the line.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "cli/utf8.h"

/* --- messages --- */

__attribute__((format(printf, 3, 0))) static void say(FILE *out, const char *level, const char *fmt,
                                                      va_list args)
{
    (void)fprintf(out, "[%s] ", level);
    (void)vfprintf(out, fmt, args);
    (void)fputc('\n', out);
    (void)fflush(out);
}

void ds_cli_info(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(stdout, "INFO", fmt, args);
    va_end(args);
}

void ds_cli_warn(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(stderr, "WARNING", fmt, args);
    va_end(args);
}

void ds_cli_error(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    say(stderr, "ERROR", fmt, args);
    va_end(args);
}

void ds_cli_print_json(FILE *out, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    (void)fputc('"', out);
    while (*p != '\0') {
        size_t n = ds_utf8_length(p, strlen((const char *)p));

        if (n == 0) {
            (void)fputs("\\ufffd", out);
            n = 1;
        } else if (*p == '"' || *p == '\\') {
            (void)fprintf(out, "\\%c", *p);
        } else if (*p < 0x20) {
            (void)fprintf(out, "\\u%04x", *p);
        } else {
            (void)fwrite(p, 1, n, out);
        }
        p += n;
    }
    (void)fputc('"', out);
}

const char *ds_cli_time_text(uint64_t ms, char *buf, size_t size)
{
    uint64_t s = ms / 1000;

    if (ms < 60000) {
        (void)snprintf(buf, size, "%.1f s", (double)ms / 1000);
    } else {
        (void)snprintf(buf, size, "%" PRIu64 "d %02u:%02u:%02u", s / 86400,
                       (unsigned)(s / 3600 % 24), (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    }
    return buf;
}

int ds_cli_finish(FILE *out, int status)
{
    if (fflush(out) != 0 || ferror(out)) {
        ds_cli_error("cannot write the output: %s", strerror(errno));
        return DS_CLI_FAILED;
    }
    return status;
}

/* --- usage --- */

static void print_option(const struct ds_cli_option *o, FILE *out)
{
    (void)fputs("  ", out);
    for (const char *p = o->letters; *p != '\0'; p++) {
        (void)fprintf(out, "-%c, ", *p);
    }
    (void)fputs("--", out);
    for (const char *p = o->names; *p != '\0'; p++) {
        (void)fputs(*p == '|' ? ", --" : (char[]){*p, '\0'}, out);
    }
    (void)fprintf(out, "%s%s\n      %s\n", o->value != NULL ? " " : "",
                  o->value != NULL ? o->value : "", o->help);
}

void ds_cli_print_usage(const struct ds_cli_command *command, FILE *out)
{
    (void)fprintf(out, "usage: dscli %s%s%s%s\n\n%s\n", command->name,
                  command->n_options > 0 ? " [options]" : "", command->words[0] != '\0' ? " " : "",
                  command->words, command->summary);
    if (command->details != NULL) {
        (void)fprintf(out, "%s\n", command->details);
    }
    if (command->later != NULL) {
        (void)fprintf(out, "Not there yet: %s.\n", command->later);
    }
    if (command->n_options > 0) {
        (void)fputs("\noptions:\n", out);
    }
    for (size_t i = 0; i < command->n_options; i++) {
        print_option(&command->options[i], out);
    }
}

/* --- arguments --- */

const struct ds_cli_command *ds_cli_find(const char *name)
{
    for (size_t i = 0; ds_cli_commands[i] != NULL; i++) {
        if (strcmp(ds_cli_commands[i]->name, name) == 0) {
            return ds_cli_commands[i];
        }
    }
    return NULL;
}

static bool has_name(const char *names, const char *name, size_t len)
{
    for (const char *p = names; p != NULL; p = strchr(p, '|')) {
        p += *p == '|';
        if (strncmp(p, name, len) == 0 && (p[len] == '|' || p[len] == '\0')) {
            return true;
        }
    }
    return false;
}

/* The option's index or -1; *value is what follows in the same argument, or NULL. */
static int find_option(const struct ds_cli_command *c, const char *arg, const char **value)
{
    size_t len = strcspn(arg, "=");

    for (size_t i = 0; i < c->n_options; i++) {
        const struct ds_cli_option *o = &c->options[i];

        if (arg[1] == '-' ? len > 2 && has_name(o->names, arg + 2, len - 2)
                          : (strchr(o->letters, arg[1]) != NULL)) {
            *value = arg[1] == '-' ? (arg[len] == '=' ? arg + len + 1 : NULL)
                                   : (arg[2] != '\0' ? arg + 2 : NULL);
            return (int)i;
        }
    }
    return -1;
}

static int usage_error(const struct ds_cli_command *c, const char *what, const char *arg)
{
    ds_cli_error("dscli %s: %s%s; see dscli %s --help", c->name, what, arg, c->name);
    return DS_CLI_USAGE;
}

/* One option at argv[*i]; moves *i to its last argument. */
static int parse_option(const struct ds_cli_command *c, int argc, char **argv, int *i,
                        struct ds_cli_args *ret)
{
    const char *value;
    int id = find_option(c, argv[*i], &value);
    const struct ds_cli_option *o;

    if (id < 0) {
        return usage_error(c, "unknown option ", argv[*i]);
    }
    o = &c->options[id];
    if (o->rest) {
        if (value != NULL) {
            return usage_error(c, "nothing may be attached to ", argv[*i]);
        }
        ret->rest = argv + *i + 1;
        ret->n_rest = argc - *i - 1;
        *i = argc - 1;
    } else if (o->value == NULL) {
        if (value != NULL) {
            return usage_error(c, "no value is taken by ", argv[*i]);
        }
    } else if (value == NULL) {
        if (*i + 1 >= argc) {
            return usage_error(c, "a value is missing after ", argv[*i]);
        }
        value = argv[++*i];
    }
    ret->values[id] = value != NULL ? value : "";
    return DS_CLI_OK;
}

/* The words are moved to the front of argv. */
static int parse_args(const struct ds_cli_command *c, int argc, char **argv,
                      struct ds_cli_args *ret)
{
    bool options_end = false;

    DS_ASSERT(c->n_options <= DS_CLI_OPTIONS_MAX);
    *ret = (struct ds_cli_args){.words = argv};
    for (int i = 0; i < argc; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1] != '\0') {
            int status = parse_option(c, argc, argv, &i, ret);

            if (status != DS_CLI_OK) {
                return status;
            }
        } else {
            argv[ret->n_words++] = argv[i];
        }
    }
    if (ret->n_words < c->words_min) {
        return usage_error(c, "missing: ", c->words);
    }
    if (ret->n_words > c->words_max) {
        return usage_error(c, "unexpected argument ", argv[c->words_max]);
    }
    return DS_CLI_OK;
}

/* Whether help is asked for before any option that takes the rest of the line. */
static bool wants_help(const struct ds_cli_command *c, int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *value;
        int id = argv[i][0] == '-' && argv[i][1] != '\0' ? find_option(c, argv[i], &value) : -1;

        if (id >= 0 && c->options[id].rest) {
            return false;
        }
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            return true;
        }
    }
    return false;
}

int ds_cli_run(const struct ds_cli_command *command, int argc, char **argv)
{
    struct ds_cli_args args;
    int status;

    if (wants_help(command, argc, argv)) {
        ds_cli_print_usage(command, stdout);
        return ds_cli_finish(stdout, DS_CLI_OK);
    }
    if (command->later != NULL) {
        ds_cli_error("dscli %s is not there yet: %s", command->name, command->later);
        return DS_CLI_FAILED;
    }
    status = parse_args(command, argc, argv, &args);
    return status != DS_CLI_OK ? status : command->run(&args);
}

/* --- values --- */

int ds_cli_parse_worker(const char *text, struct ds_cli_worker *ret)
{
    const char *host = getenv("DATASYSTEM_HOST");
    const char *port = getenv("DATASYSTEM_PORT");
    char address[sizeof(ret->address)];

    if (text == NULL) {
        host = host != NULL && host[0] != '\0' ? host : "127.0.0.1";
        port = port != NULL && port[0] != '\0' ? port : "31501";
        (void)snprintf(address, sizeof(address), "%s%s%s:%s", strchr(host, ':') != NULL ? "[" : "",
                       host, strchr(host, ':') != NULL ? "]" : "", port);
        text = address;
    }
    if (strlen(text) >= sizeof(ret->address) || ds_address_parse(text, ret->host, &ret->port) < 0) {
        ds_cli_error("'%s' is no worker address: give host:port, as " DS_CLI_ADDRESS, text);
        return DS_CLI_USAGE;
    }
    (void)snprintf(ret->address, sizeof(ret->address), "%s", text);
    return DS_CLI_OK;
}

int ds_cli_parse_timeout(const char *text, int fallback_ms, int *ret_ms)
{
    int64_t ms;

    if (text == NULL) {
        *ret_ms = fallback_ms;
        return DS_CLI_OK;
    }
    if (ds_duration_parse(text, "s", &ms) < 0 || ms < 1 || ms > INT32_MAX) {
        ds_cli_error("'%s' is no time: give seconds, or a unit as in 500ms or 2min", text);
        return DS_CLI_USAGE;
    }
    *ret_ms = (int)ms;
    return DS_CLI_OK;
}
