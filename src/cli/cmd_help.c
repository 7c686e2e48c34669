/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_help.c - dscli help, version and completion: the tables as text, as JSON and as a script. */
#include <ds/client.h>
#include <string.h>

#include "base/metrics.h"
#include "base/options.h"
#include "cli/cli.h"

enum { AS_JSON };

static const struct ds_cli_option help_options[] = {
    [AS_JSON] = {"", false, "json", NULL,
                 "Prints all commands, options and metrics of the worker as JSON."},
};

/* --- text --- */

static void print_overview(void)
{
    (void)puts("usage: dscli COMMAND [options]\n\ncommands:");
    for (size_t i = 0; ds_cli_commands[i] != NULL; i++) {
        const struct ds_cli_command *c = ds_cli_commands[i];

        if (c->later == NULL) {
            (void)printf("  %-17s %s\n", c->name, c->summary);
        }
    }
    (void)puts("\nof the original, not there yet:");
    for (size_t i = 0; ds_cli_commands[i] != NULL; i++) {
        const struct ds_cli_command *c = ds_cli_commands[i];

        if (c->later != NULL) {
            (void)printf("  %-27s %s\n", c->name, c->summary);
        }
    }
    (void)puts("\nexit status: 0 done, 1 failed, 2 wrong usage, 3 not running (status), "
               "4 timed out (start: 1)\n\n"
               "dscli COMMAND --help     options of a command\n"
               "dscli help options       options of the worker\n"
               "dscli --version");
}

/* --- JSON --- */

static void print_member(const char *indent, const char *name, const char *value, bool last)
{
    (void)printf("%s\"%s\": ", indent, name);
    ds_cli_print_json(stdout, value != NULL ? value : "");
    (void)puts(last ? "" : ",");
}

static void print_command_json(const struct ds_cli_command *c)
{
    print_member("      ", "name", c->name, false);
    print_member("      ", "summary", c->summary, false);
    print_member("      ", "words", c->words, false);
    print_member("      ", "details", c->details, false);
    print_member("      ", "later", c->later, false);
    (void)fputs("      \"options\": [", stdout);
    for (size_t i = 0; i < c->n_options; i++) {
        const struct ds_cli_option *o = &c->options[i];

        (void)puts(i == 0 ? "{" : ", {");
        print_member("        ", "letters", o->letters, false);
        print_member("        ", "names", o->names, false);
        print_member("        ", "value", o->value, false);
        print_member("        ", "help", o->help, true);
        (void)fputs("      }", stdout);
    }
    (void)puts("]");
}

static void print_option_json(enum ds_option_id id)
{
    static const char *const status[] = {"active", "ignored", "refused", "obsolete"};
    const struct ds_option_info *o = ds_option_info(id);
    char accepted[256];

    print_member("      ", "name", o->name, false);
    print_member("      ", "type", ds_option_type_name(o->type), false);
    print_member("      ", "default", o->def, false);
    print_member("      ", "unit", o->type == DS_OPTION_CHOICE ? "" : o->unit, false);
    print_member("      ", "accepted", ds_option_accepted(id, accepted, sizeof(accepted)), false);
    print_member("      ", "status", status[o->status], false);
    print_member("      ", "sentence", o->sentence, false);
    print_member("      ", "why", o->why, true);
}

static void print_metric_json(const struct ds_metric *m)
{
    print_member("      ", "field", m->field, false);
    print_member("      ", "json", m->json, false);
    print_member("      ", "prometheus", m->prometheus, false);
    print_member("      ", "tier", ds_metric_tier_name(m->tier), false);
    print_member("      ", "kind", ds_metric_kind_name(m->kind), false);
    print_member("      ", "unit", ds_metric_unit_name(m->unit), false);
    print_member("      ", "sentence", m->sentence, true);
}

static void print_json(void)
{
    (void)puts("{");
    print_member("  ", "version", ds_version(), false);
    (void)puts("  \"commands\": [");
    for (size_t i = 0; ds_cli_commands[i] != NULL; i++) {
        (void)puts(i == 0 ? "    {" : "    }, {");
        print_command_json(ds_cli_commands[i]);
    }
    (void)puts("    }\n  ],\n  \"options\": [");
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        (void)puts(i == 0 ? "    {" : "    }, {");
        print_option_json((enum ds_option_id)i);
    }
    (void)puts("    }\n  ],\n  \"metrics\": [");
    for (int i = 0; i < DS_METRIC_COUNT; i++) {
        (void)puts(i == 0 ? "    {" : "    }, {");
        print_metric_json(ds_metric((enum ds_metric_id)i));
    }
    (void)puts("    }\n  ]\n}");
}

static int run_help(const struct ds_cli_args *args)
{
    const struct ds_cli_command *c = args->n_words > 0 ? ds_cli_find(args->words[0]) : NULL;

    if (args->values[AS_JSON] != NULL) {
        print_json();
    } else if (args->n_words == 0) {
        print_overview();
    } else if (strcmp(args->words[0], "options") == 0) {
        (void)puts("options of the worker (dscli start -w ..., or in the file of -f):\n");
        ds_option_print_help(stdout);
        (void)puts("\nEvery other flag of the original is known: those without a meaning here are "
                   "ignored with\na warning, those that ask for what is not there yet are refused. "
                   "dscli config --all shows them.");
    } else if (c != NULL) {
        ds_cli_print_usage(c, stdout);
    } else {
        ds_cli_error("there is no command '%s'; see dscli help", args->words[0]);
        return DS_CLI_USAGE;
    }
    return ds_cli_finish(stdout, DS_CLI_OK);
}

static int run_version(const struct ds_cli_args *args)
{
    (void)args;
    (void)printf("dscli %s\n", ds_version());
    return ds_cli_finish(stdout, DS_CLI_OK);
}

/* --- completion --- */

static void print_long_names(const struct ds_cli_command *c)
{
    for (size_t i = 0; i < c->n_options; i++) {
        (void)fputs(" --", stdout);
        for (const char *p = c->options[i].names; *p != '\0'; p++) {
            (void)fputs(*p == '|' ? " --" : (char[]){*p, '\0'}, stdout);
        }
    }
}

static int run_completion(const struct ds_cli_args *args)
{
    (void)args;
    (void)puts("# bash completion for dscli\n"
               "_dscli() {\n"
               "    local words=\"\" w\n"
               "    if [ \"$COMP_CWORD\" -eq 1 ]; then");
    (void)fputs("        words=\"", stdout);
    for (size_t i = 0; ds_cli_commands[i] != NULL; i++) {
        if (ds_cli_commands[i]->later == NULL) {
            (void)printf("%s%s", i == 0 ? "" : " ", ds_cli_commands[i]->name);
        }
    }
    (void)puts("\"\n    else\n        case \"${COMP_WORDS[1]}\" in");
    for (size_t i = 0; ds_cli_commands[i] != NULL; i++) {
        (void)printf("        %s) words=\"", ds_cli_commands[i]->name);
        print_long_names(ds_cli_commands[i]);
        (void)puts("\" ;;");
    }
    (void)fputs("        esac\n"
                "        for w in \"${COMP_WORDS[@]:2:COMP_CWORD-2}\"; do\n"
                "            if [ \"$w\" = -w ] || [ \"$w\" = --worker_args ]; then\n"
                "                case \"${COMP_WORDS[1]}\" in start|config) words=\"",
                stdout);
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        const struct ds_option_info *o = ds_option_info((enum ds_option_id)i);

        if (o->status == DS_OPTION_ACTIVE) {
            (void)printf(" --%s", o->name);
        }
    }
    (void)puts("\" ;; esac\n"
               "            fi\n"
               "        done\n"
               "    fi\n"
               "    COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
               "}\n"
               "complete -o default -F _dscli dscli");
    return ds_cli_finish(stdout, DS_CLI_OK);
}

/* --- the table --- */

const struct ds_cli_command ds_cmd_help = {
    .name = "help",
    .summary = "Shows the commands, one command, or the options of the worker.",
    .words = "[COMMAND|options]",
    .words_max = 1,
    .options = help_options,
    .n_options = DS_ARRAY_SIZE(help_options),
    .run = run_help,
};

const struct ds_cli_command ds_cmd_version = {
    .name = "version",
    .summary = "Shows the version.",
    .words = "",
    .run = run_version,
};

const struct ds_cli_command ds_cmd_completion = {
    .name = "completion",
    .summary = "Writes a completion script for bash: source <(dscli completion).",
    .words = "[bash]",
    .words_max = 1,
    .run = run_completion,
};
