/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_stop.c - dscli stop: asks the worker to end, waits until its processes are gone, and in the
 * end kills what does not go.
 *
 * The processes are found by their arguments, so that a worker that does not answer can be stopped
 * too, and held by pidfds. A worker of another machine or container has no processes here: then the
 * end of its answers is waited for.
 */
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/load.h"
#include "cli/process.h"
#include "client/control.h"

#define STOP_TIMEOUT_MS 180000
#define ASK_TIMEOUT_MS 5000
#define POLL_NS 20000000

enum { CONFIG, ADDRESS, COORDINATOR, TIMEOUT };

static const struct ds_cli_option options[] = {
    [CONFIG] = {"f", false, "config_path|worker_config_path", "FILE",
                "The file with which it was started; worker_address counts."},
    [ADDRESS] = {"w", false, "worker_address", "ADDR", "The worker's address."},
    [COORDINATOR] = {"", false, "coordinator_address", "ADDR",
                     "Not there yet: stops a Coordinator."},
    [TIMEOUT] = {"t", false, "timeout", "SECONDS",
                 "How long it may take to end before it is killed (180)."},
};

static int failed(const char *address, const char *why)
{
    ds_cli_error("[  FAILED  ] Stop worker service @ %s failed: %s", address, why);
    return DS_CLI_FAILED;
}

/* The address from the option, the file, or the default. */
static int find_address(const struct ds_cli_args *args, struct ds_cli_worker *ret)
{
    struct ds_cli_source source = {.file = args->values[CONFIG]};
    char err[DS_OPTIONS_ERROR_SIZE];
    struct ds_options *o;
    int status = DS_CLI_FAILED;

    if (args->values[CONFIG] == NULL || args->values[ADDRESS] != NULL) {
        return ds_cli_parse_worker(args->values[ADDRESS], ret);
    }
    if (ds_cli_load(&source, &o, err, sizeof(err)) < 0) {
        ds_cli_error("Stop failed: %s", err);
    } else {
        status = ds_cli_parse_worker(ds_options_str(o, DS_OPT_worker_address), ret);
    }
    ds_options_free(o);
    return status;
}

/* True: nobody answers there any more. */
static bool wait_for_silence(const struct ds_cli_worker *w, int64_t deadline_ns)
{
    while (ds_monotonic_ns() < deadline_ns) {
        struct ds_control_reply reply;
        struct timespec pause = {.tv_nsec = POLL_NS};

        if (ds_control(w->host, w->port, DS_CONTROL_STATUS, NULL, ASK_TIMEOUT_MS, &reply) ==
            DS_EUNAVAILABLE) {
            return true;
        }
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

/* True: all processes of the service ended by themselves. */
static bool wait_for_processes(const struct ds_cli_worker *w, struct ds_processes *set,
                               int64_t deadline_ns)
{
    while (set->n > 0) {
        int64_t left_ms = (deadline_ns - ds_monotonic_ns()) / 1000000;

        if (!ds_processes_wait(set, left_ms > 0 ? (int)left_ms : 0)) {
            return false;
        }
        ds_processes_close(set);
        ds_processes_find(w->address, 0, set); /* one may have been born meanwhile */
    }
    return true;
}

static int64_t main_pid(const struct ds_processes *set, int64_t fallback)
{
    for (size_t i = 0; i < set->n; i++) {
        if (set->list[i].keeper) {
            return set->list[i].pid;
        }
    }
    return set->n > 0 ? set->list[0].pid : fallback;
}

static bool any_keeper(const struct ds_processes *set)
{
    for (size_t i = 0; i < set->n; i++) {
        if (set->list[i].keeper) {
            return true;
        }
    }
    return false;
}

/* Says "end" in the way that works: 0, or an exit status after a message. */
static int ask(const struct ds_cli_worker *w, const struct ds_processes *set, int timeout_ms,
               int64_t *ret_pid)
{
    struct ds_control_reply reply = {.keeper_pid = 0};
    int rc = ds_control(w->host, w->port, DS_CONTROL_STOP, NULL,
                        timeout_ms < ASK_TIMEOUT_MS ? timeout_ms : ASK_TIMEOUT_MS, &reply);

    *ret_pid = main_pid(set, reply.keeper_pid);
    if (rc == 0) {
        return DS_CLI_OK;
    }
    if (rc == DS_EDENIED) {
        return failed(w->address, "the worker belongs to another user");
    }
    if (set->n == 0) {
        return failed(w->address,
                      rc == DS_EUNAVAILABLE ? "no worker runs there" : ds_error_text(rc));
    }
    ds_cli_warn("the worker @ %s does not answer (%s): its processes are told to end", w->address,
                ds_error_text(rc));
    ds_processes_signal(set, SIGTERM, any_keeper(set));
    return DS_CLI_OK;
}

static int stop(const struct ds_cli_worker *w, struct ds_processes *set, int timeout_ms)
{
    int64_t deadline_ns = ds_monotonic_ns() + timeout_ms * INT64_C(1000000);
    int64_t pid;
    int status = ask(w, set, timeout_ms, &pid);
    bool local = set->n > 0;

    if (status != DS_CLI_OK) {
        return status;
    }
    if (local ? wait_for_processes(w, set, deadline_ns) : wait_for_silence(w, deadline_ns)) {
        ds_cli_info("[  OK  ] Stop worker service @ %s normally, PID: %lld", w->address,
                    (long long)pid);
        return DS_CLI_OK;
    }
    if (!local) {
        return failed(w->address, "it still answers, and its processes cannot be seen from here");
    }
    ds_cli_warn("the worker @ %s did not end within %g seconds: it is killed", w->address,
                timeout_ms / 1e3);
    if (!ds_processes_kill(w->address, 0)) {
        return failed(w->address, "its processes could not be killed: are they another user's?");
    }
    ds_cli_info("[  OK  ] Force stop worker service @ %s, PID: %lld", w->address, (long long)pid);
    return DS_CLI_OK;
}

static int run(const struct ds_cli_args *args)
{
    struct ds_cli_worker worker;
    struct ds_processes set;
    int timeout_ms;
    int status = ds_cli_parse_timeout(args->values[TIMEOUT], STOP_TIMEOUT_MS, &timeout_ms);

    if (status == DS_CLI_OK && args->values[COORDINATOR] != NULL) {
        ds_cli_error("Stop failed: there is no Coordinator yet");
        status = DS_CLI_FAILED;
    }
    if (status == DS_CLI_OK) {
        status = find_address(args, &worker);
    }
    if (status != DS_CLI_OK) {
        return status;
    }
    ds_processes_find(worker.address, 0, &set);
    status = stop(&worker, &set, timeout_ms);
    ds_processes_close(&set);
    return status;
}

const struct ds_cli_command ds_cmd_stop = {
    .name = "stop",
    .summary = "Stops a worker, and frees its memory.",
    .words = "",
    .options = options,
    .n_options = DS_ARRAY_SIZE(options),
    .details = "Without options the one at DATASYSTEM_HOST and DATASYSTEM_PORT, or "
               "at " DS_CLI_ADDRESS ".",
    .run = run,
};
