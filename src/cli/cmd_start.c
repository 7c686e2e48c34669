/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_start.c - dscli start: checks all options, then launches a keeper and waits for its worker.
 */
#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/launch.h"
#include "cli/load.h"
#include "cli/programs.h"
#include "client/control.h"

#define READY_TIMEOUT_MS 90000
#define ASK_TIMEOUT_MS 300 /* "is somebody there?", on this machine */
#define ARGS_MAX (DS_OPTION_COUNT + 16)

enum {
    TIMEOUT,
    CONFIG,
    WORKER_ARGS,
    HOME,
    CPUNODEBIND,
    PHYSCPUBIND,
    INTERLEAVE,
    PREFERRED,
    MEMBIND,
    LOCALALLOC,
    COORDINATOR_CONFIG,
    COORDINATOR_ARGS,
    COORDINATOR_WORKER_ARGS,
    ENABLE_UMS,
};

static const struct ds_cli_option options[] = {
    [TIMEOUT] = {"t", false, "timeout", "SECONDS", "How long to wait for the worker (90)."},
    [CONFIG] = {"fW", false, "worker_config_path|config_path", "FILE",
                "Options from a JSON file, as dscli generate_config writes it."},
    [WORKER_ARGS] =
        {"w", true, "worker_args", "FLAGS...",
         "Options from the rest of the line, --name value or --name=value; they win over "
         "the file. See dscli help options."},
    [HOME] = {"d", false, "datasystem_home_dir", "DIR",
              "Where relative paths in options start (the current directory)."},
    [CPUNODEBIND] = {"N", false, "cpunodebind", "NODES", "For numactl; before -w."},
    [PHYSCPUBIND] = {"", false, "physcpubind", "CPUS", "For numactl; before -w."},
    [INTERLEAVE] = {"i", false, "interleave", "NODES", "For numactl; before -w."},
    [PREFERRED] = {"p", false, "preferred", "NODE", "For numactl; before -w."},
    [MEMBIND] = {"m", false, "membind", "NODES", "For numactl; before -w."},
    [LOCALALLOC] = {"l", false, "localalloc", NULL, "For numactl; before -w."},
    [COORDINATOR_CONFIG] = {"C", false, "coordinator_config_path", "FILE",
                            "Not there yet: starts a Coordinator."},
    [COORDINATOR_ARGS] = {"c", true, "coordinator_args", "FLAGS...",
                          "Not there yet: starts a Coordinator."},
    [COORDINATOR_WORKER_ARGS] = {"a", true, "coordinator_worker_args", "FLAGS...",
                                 "Not there yet: starts a Coordinator and a worker."},
    [ENABLE_UMS] = {"", false, "enable_ums", NULL, "Not there: messages over UB."},
};

/* The arguments of the program to start; NULL at the end. */
struct list {
    char *argv[ARGS_MAX];
    int n;
    bool no_memory;
};

/* Appends an argument, given in up to four parts. */
static void push(struct list *list, const char *dashes, const char *name, const char *equals,
                 const char *value)
{
    size_t size = strlen(dashes) + strlen(name) + strlen(equals) + strlen(value) + 1;
    char *text = ds_zalloc(size, "argument");

    DS_ASSERT(list->n < ARGS_MAX - 1);
    if (text == NULL) {
        list->no_memory = true;
        return;
    }
    (void)snprintf(text, size, "%s%s%s%s", dashes, name, equals, value);
    list->argv[list->n++] = text;
}

static void free_list(struct list *list)
{
    while (list->n > 0) {
        ds_free(list->argv[--list->n]);
    }
}

/* --- messages --- */

static void failed(const char *address, const char *why, const char *hint)
{
    ds_cli_error("[  FAILED  ] Start worker service @ %s failed: %s%s%s", address, why,
                 hint != NULL ? "; " : "", hint != NULL ? hint : "");
}

/* --- numactl --- */

static bool is_numactl_option(const char *arg)
{
    size_t len = strcspn(arg, "=");

    for (int i = CPUNODEBIND; i <= LOCALALLOC; i++) {
        const struct ds_cli_option *o = &options[i];

        if ((arg[0] == '-' && arg[1] != '\0' && arg[1] == o->letters[0] && arg[2] == '\0') ||
            (strncmp(arg, "--", 2) == 0 && len - 2 == strlen(o->names) &&
             strncmp(arg + 2, o->names, len - 2) == 0)) {
            return true;
        }
    }
    return false;
}

/* What can be refused without looking at any option of the worker. */
static int check_extras(const struct ds_cli_args *args)
{
    if (args->values[COORDINATOR_CONFIG] != NULL || args->values[COORDINATOR_ARGS] != NULL ||
        args->values[COORDINATOR_WORKER_ARGS] != NULL) {
        ds_cli_error("Start failed: there is no Coordinator yet; a single node needs none: "
                     "dscli start -w ...");
        return DS_CLI_FAILED;
    }
    if (args->values[ENABLE_UMS] != NULL) {
        ds_cli_error("Start failed: --enable_ums is refused: there is no such transport here");
        return DS_CLI_FAILED;
    }
    for (int i = 0; i < args->n_rest; i++) {
        if (is_numactl_option(args->rest[i])) {
            ds_cli_error("Start failed: %s is an option of numactl: put it before -w",
                         args->rest[i]);
            return DS_CLI_FAILED;
        }
    }
    return DS_CLI_OK;
}

/* numactl and its options to the front of the list. */
static int add_numactl(const struct ds_cli_args *args, struct list *list)
{
    for (int i = CPUNODEBIND; i <= LOCALALLOC; i++) {
        const char *value = args->values[i];

        if (value == NULL) {
            continue;
        }
        if (list->n == 0 && !ds_program_in_path("numactl")) {
            ds_cli_error("Start failed: numactl is not installed on this host, and --%s needs it: "
                         "install it or leave the option out",
                         options[i].names);
            return DS_CLI_FAILED;
        }
        if (list->n == 0) {
            push(list, "numactl", "", "", "");
        }
        push(list, "--", options[i].names, value[0] != '\0' ? "=" : "", value);
    }
    return DS_CLI_OK;
}

/* --- the start itself --- */

/* "--name=value" of every option that is not at its default; the address always, since it is how
 * the processes are found. Secrets never: they go through the environment. */
static void add_options(const struct ds_options *o, struct list *list)
{
    for (int i = 0; i < DS_OPTION_COUNT; i++) {
        enum ds_option_id id = (enum ds_option_id)i;

        if (ds_option_info(id)->status == DS_OPTION_ACTIVE && !ds_option_is_secret(id) &&
            (id == DS_OPT_worker_address || ds_options_differs(o, id) ||
             ds_options_origin(o, id) >= DS_ORIGIN_ENV)) {
            push(list, "--", ds_option_info(id)->name, "=", ds_options_str(o, id));
        }
    }
}

static void print_output(const char *output)
{
    if (output[0] != '\0') {
        ds_cli_error("last output of the worker:\n%s", output);
    }
}

static int report(const struct ds_launch *launch, const char *address, int timeout_ms)
{
    char why[128];

    if (launch->outcome == DS_LAUNCH_READY) {
        ds_cli_info("[  OK  ] Start worker service @ %s success, PID: %d", address,
                    (int)launch->keeper_pid);
        return DS_CLI_OK;
    }
    print_output(launch->output);
    if (!launch->all_gone) {
        ds_cli_warn("some processes of the worker could not be ended: see ps aux | grep %s",
                    address);
    }
    if (launch->outcome == DS_LAUNCH_TIMEOUT) {
        (void)snprintf(why, sizeof(why), "it was not ready within %g seconds", timeout_ms / 1e3);
        failed(address, why, "everything started was ended again; -t gives it more time");
        return DS_CLI_FAILED; /* not DS_CLI_TIMEOUT: scripts know 0 and 1 */
    }
    if (launch->outcome == DS_LAUNCH_INTERRUPTED) {
        failed(address, "interrupted", "everything started was ended again");
        return DS_CLI_INTERRUPTED;
    }
    failed(address, launch->text, NULL);
    return DS_CLI_FAILED;
}

/* A worker that is there already would be found only by the new one's failure to listen. */
static bool is_running(const struct ds_cli_worker *worker)
{
    struct ds_control_reply reply = {.keeper_pid = 0};
    char why[64];

    if (ds_control(worker->host, worker->port, DS_CONTROL_STATUS, NULL, ASK_TIMEOUT_MS, &reply) <
        0) {
        return false;
    }
    (void)snprintf(why, sizeof(why), "a worker runs there already, PID: %lld",
                   (long long)reply.keeper_pid);
    failed(worker->address, why, "stop it first with dscli stop, or choose another port");
    return true;
}

static int launch(const struct ds_options *o, const struct ds_cli_args *args, int timeout_ms)
{
    const char *log_dir = ds_options_str(o, DS_OPT_log_dir);
    struct list list = {.n = 0};
    struct ds_cli_worker worker;
    struct ds_launch result;
    char path[PATH_MAX];
    int status = ds_cli_parse_worker(ds_options_str(o, DS_OPT_worker_address), &worker);

    if (status != DS_CLI_OK || is_running(&worker)) {
        return DS_CLI_FAILED;
    }
    if (ds_program_find("dsworker", path, sizeof(path)) < 0 ||
        ds_program_find("dskeeper", path, sizeof(path)) < 0) {
        failed(worker.address, path, "DS_BIN_DIR may name the directory of dskeeper and dsworker");
        return DS_CLI_FAILED;
    }
    status = add_numactl(args, &list);
    push(&list, path, "", "", "");
    add_options(o, &list);
    if (status == DS_CLI_OK && (list.no_memory || ds_options_export_secrets(o) != 0)) {
        failed(worker.address, "out of memory", NULL);
        status = DS_CLI_FAILED;
    }
    if (status == DS_CLI_OK) {
        if (log_dir[0] != '\0') {
            ds_cli_info("Log directory configured at: %s", log_dir);
        }
        if (ds_options_socket_dir_moved(o)) {
            ds_cli_info("unix_domain_socket_dir ./datasystem/uds would be too long here: the "
                        "socket is in a private directory");
        }
        ds_launch(list.argv, worker.address, timeout_ms, &result);
        status = report(&result, worker.address, timeout_ms);
    }
    free_list(&list);
    return status;
}

static int run(const struct ds_cli_args *args)
{
    struct ds_cli_source source = {.file = args->values[CONFIG],
                                   .home = args->values[HOME],
                                   .args = args->rest,
                                   .n_args = args->n_rest};
    char err[DS_OPTIONS_ERROR_SIZE];
    struct ds_options *o;
    int timeout_ms;
    int status = ds_cli_parse_timeout(args->values[TIMEOUT], READY_TIMEOUT_MS, &timeout_ms);
    int rc;

    if (status == DS_CLI_OK) {
        status = check_extras(args);
    }
    if (status != DS_CLI_OK) {
        return status;
    }
    if (args->n_rest > 0 && strcmp(args->rest[0], "--help") == 0) {
        ds_option_print_help(stdout);
        return ds_cli_finish(stdout, DS_CLI_OK);
    }
    rc = ds_cli_load(&source, &o, err, sizeof(err));
    if (rc == 0) {
        rc = ds_cli_check(o, err, sizeof(err));
    }
    if (rc < 0) {
        failed(o != NULL ? ds_options_str(o, DS_OPT_worker_address) : DS_CLI_ADDRESS, err, NULL);
        status = DS_CLI_FAILED;
    } else {
        status = launch(o, args, timeout_ms);
    }
    ds_options_free(o);
    return status;
}

const struct ds_cli_command ds_cmd_start = {
    .name = "start",
    .summary = "Starts a worker in the background and waits until it serves.",
    .words = "",
    .options = options,
    .n_options = DS_ARRAY_SIZE(options),
    .details = "Without options it has 1 GiB of memory and listens on " DS_CLI_ADDRESS ". A value "
               "comes from the flag, else\nfrom the environment (DATASYSTEM_ and the name in "
               "capitals), else from the file, else from the default.",
    .run = run,
};
