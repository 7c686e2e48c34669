/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the list of all subcommands. */
#include "cli/cli.h"

#define CLUSTERS "clusters are not there yet; on this machine use dscli start and dscli stop"

#define LATER(variable, name_, summary_, why)                                                      \
    static const struct ds_cli_command variable = {                                                \
        .name = name_,                                                                             \
        .summary = summary_,                                                                       \
        .words = "",                                                                               \
        .later = why,                                                                              \
    }

LATER(up, "up", "Starts the workers of a cluster.", CLUSTERS);
LATER(down, "down", "Stops the workers of a cluster.", CLUSTERS);
LATER(query, "query", "Shows the nodes of a cluster, or where keys are.",
      "clusters are not there yet; dscli status shows this worker");
LATER(runscript, "runscript", "Runs a script on every node of a cluster.", CLUSTERS);
LATER(generate_helm_chart, "generate_helm_chart", "Writes a Helm chart.",
      "there is no chart yet; in a container run dscli start");
LATER(generate_cpp_template, "generate_cpp_template", "Writes a C++ project.",
      "there is no template yet; find_package(ds) finds the library");
LATER(generate_docker_entryfile, "generate_docker_entryfile", "Writes a container's start script.",
      "there is no script yet; in a container run dscli start");
LATER(collect_log, "collect_log", "Fetches the logs of a cluster.",
      "clusters are not there yet; the log is in the worker's log_dir");

const struct ds_cli_command *const ds_cli_commands[] = {
    &ds_cmd_start,
    &ds_cmd_stop,
    &ds_cmd_status,
    &ds_cmd_upgrade,
    &ds_cmd_get,
    &ds_cmd_set,
    &ds_cmd_del,
    &ds_cmd_exist,
    &ds_cmd_why,
    &ds_cmd_l2,
    &ds_cmd_config,
    &ds_cmd_generate_config,
    &ds_cmd_completion,
    &ds_cmd_version,
    &ds_cmd_help,
    &up,
    &down,
    &query,
    &runscript,
    &generate_helm_chart,
    &generate_cpp_template,
    &generate_docker_entryfile,
    &collect_log,
    NULL,
};
