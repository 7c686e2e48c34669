/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_config.c - dscli config and dscli generate_config: options shown and written. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/load.h"

#define FILE_NAME "worker_config.json"

enum { CONFIG, HOME, WORKER_ARGS, JSON, ALL };
enum { OUTPUT, EVERY };

static const struct ds_cli_option config_options[] = {
    [CONFIG] = {"fW", false, "worker_config_path|config_path", "FILE", "As for dscli start."},
    [HOME] = {"d", false, "datasystem_home_dir", "DIR", "As for dscli start."},
    [WORKER_ARGS] = {"w", true, "worker_args", "FLAGS...", "As for dscli start."},
    [JSON] = {"", false, "json", NULL, "Prints one JSON object."},
    [ALL] = {"", false, "all", NULL, "Shows the flags that are ignored or refused as well."},
};

static const struct ds_cli_option generate_options[] = {
    [OUTPUT] = {"o", false, "output_path", "DIR", "Where the file goes (the current directory)."},
    [EVERY] = {"", false, "all", NULL, "Writes the flags that are ignored or refused as well."},
};

/* --- config --- */

static const char *shown_value(const struct ds_options *o, enum ds_option_id id)
{
    const char *value = ds_options_str(o, id);

    return ds_option_is_secret(id) && value[0] != '\0' ? "***" : value;
}

static void print_line(const struct ds_options *o, enum ds_option_id id, bool json, bool first)
{
    const char *name = ds_option_info(id)->name;
    const char *origin = ds_option_origin_name(ds_options_origin(o, id));
    const char *value = shown_value(o, id);
    const char *why = ds_option_info(id)->why;
    const char *fate = ds_option_info(id)->status == DS_OPTION_REFUSED ? "refused" : "ignored";

    if (!json) {
        (void)printf("%-36s %-11s %s", name, origin, value[0] != '\0' ? value : "-");
        (void)(why != NULL ? printf("  (%s: %s)\n", fate, why) : puts(""));
        return;
    }
    (void)printf("%s\n  \"%s\": {\"value\": ", first ? "" : ",", name);
    ds_cli_print_json(stdout, value);
    (void)printf(", \"source\": \"%s\"", origin);
    if (why != NULL) {
        (void)printf(", \"%s\": ", fate);
        ds_cli_print_json(stdout, why);
    }
    (void)fputs("}", stdout);
}

static void print_options(const struct ds_options *o, bool json, bool all)
{
    bool first = true;

    (void)fputs(json ? "{" : "", stdout);
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        enum ds_option_id id = (enum ds_option_id)i;

        if (all || ds_option_info(id)->status == DS_OPTION_ACTIVE || ds_options_differs(o, id)) {
            print_line(o, id, json, first);
            first = false;
        }
    }
    (void)fputs(json ? "\n}\n" : "", stdout);
}

static int run_config(const struct ds_cli_args *args)
{
    struct ds_cli_source source = {.file = args->values[CONFIG],
                                   .home = args->values[HOME],
                                   .args = args->rest,
                                   .n_args = args->n_rest};
    char err[DS_OPTIONS_ERROR_SIZE];
    struct ds_options *o;
    int rc = ds_cli_load(&source, &o, err, sizeof(err));

    if (rc == 0) {
        print_options(o, args->values[JSON] != NULL, args->values[ALL] != NULL);
        rc = ds_cli_check(o, err, sizeof(err));
    }
    if (rc < 0) {
        ds_cli_error("%s", err);
    }
    ds_options_free(o);
    return ds_cli_finish(stdout, rc < 0 ? DS_CLI_FAILED : DS_CLI_OK);
}

/* --- generate_config --- */

static void write_entry(FILE *out, enum ds_option_id id, bool first)
{
    const struct ds_option_info *info = ds_option_info(id);
    char accepted[256];
    char text[1024];

    if (info->why != NULL) {
        (void)snprintf(text, sizeof(text), "%s %s: %s.", info->sentence,
                       info->status == DS_OPTION_REFUSED ? "Refused" : "Ignored", info->why);
    } else {
        (void)snprintf(text, sizeof(text), "%s Accepted: %s.", info->sentence,
                       ds_option_accepted(id, accepted, sizeof(accepted)));
    }
    (void)fprintf(out, "%s\n    \"%s\": {\n        \"value\": ", first ? "" : ",", info->name);
    ds_cli_print_json(out, info->def);
    (void)fputs(",\n        \"description\": ", out);
    ds_cli_print_json(out, text);
    (void)fputs("\n    }", out);
}

static int write_file(const char *path, bool all)
{
    FILE *out = fopen(path, "we");
    bool first = true;
    bool failed;

    if (out == NULL) {
        return -errno;
    }
    (void)fputc('{', out);
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        enum ds_option_id id = (enum ds_option_id)i;

        if (all || ds_option_info(id)->status == DS_OPTION_ACTIVE) {
            write_entry(out, id, first);
            first = false;
        }
    }
    (void)fputs("\n}\n", out);
    failed = ferror(out) != 0;
    return fclose(out) != 0 || failed ? -errno : 0;
}

static int run_generate(const struct ds_cli_args *args)
{
    const char *given = args->values[OUTPUT] != NULL ? args->values[OUTPUT] : ".";
    char dir[PATH_MAX];
    char path[PATH_MAX + sizeof(FILE_NAME) + 1];
    struct stat st;
    int rc;

    if (realpath(given, dir) == NULL || stat(dir, &st) < 0) {
        ds_cli_error("Generate failed: %s: %s", given, strerror(errno));
        return DS_CLI_FAILED;
    }
    if (!S_ISDIR(st.st_mode)) {
        ds_cli_error("Generate failed: Path is not a directory: %s", dir);
        return DS_CLI_FAILED;
    }
    if (ds_option_is_system_path(dir)) {
        ds_cli_error("Generate failed: %s is a directory of the system: choose another", dir);
        return DS_CLI_FAILED;
    }
    (void)snprintf(path, sizeof(path), "%s/" FILE_NAME, dir);
    rc = write_file(path, args->values[EVERY] != NULL);
    if (rc < 0) {
        ds_cli_error("Generate failed: cannot write %s: %s", path, strerror(-rc));
        return DS_CLI_FAILED;
    }
    ds_cli_info("Configuration file " FILE_NAME " has been generated to %s", path);
    ds_cli_info("Configuration generation completed successfully");
    return DS_CLI_OK;
}

/* --- the table --- */

const struct ds_cli_command ds_cmd_config = {
    .name = "config",
    .summary = "Shows which options dscli start would use, and where each comes from.",
    .words = "",
    .options = config_options,
    .n_options = DS_ARRAY_SIZE(config_options),
    .details = "Exit status 1: dscli start would refuse them.",
    .run = run_config,
};

const struct ds_cli_command ds_cmd_generate_config = {
    .name = "generate_config",
    .summary = "Writes " FILE_NAME " with all options at their defaults, for dscli start -f.",
    .words = "",
    .options = generate_options,
    .n_options = DS_ARRAY_SIZE(generate_options),
    .run = run_generate,
};
