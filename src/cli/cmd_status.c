/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_status.c - dscli status and dscli upgrade: questions to a running worker. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "cli/cli.h"
#include "cli/programs.h"
#include "client/control.h"

#define STATUS_TIMEOUT_MS 5000
#define UPGRADE_TIMEOUT_MS 60000
#define POLL_NS 20000000

enum { ADDRESS, TIMEOUT, OTHER };

static const struct ds_cli_option status_options[] = {
    [ADDRESS] = {"w", false, "worker_address", "ADDR", "The worker's address."},
    [TIMEOUT] = {"t", false, "timeout", "SECONDS", "How long to wait for the answer (5)."},
    [OTHER] = {"", false, "json", NULL, "Prints one JSON object."},
};

static const struct ds_cli_option upgrade_options[] = {
    [ADDRESS] = {"w", false, "worker_address", "ADDR", "The worker's address."},
    [TIMEOUT] = {"t", false, "timeout", "SECONDS", "How long to wait for the new worker (60)."},
    [OTHER] = {"b", false, "worker_binary", "FILE",
               "The new dsworker (the one beside dscli, or in DS_BIN_DIR)."},
};

/* --- printing --- */

/* 1.5 GiB */
static const char *bytes_text(uint64_t bytes, char *buf, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit < DS_ARRAY_SIZE(units) - 1) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(buf, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buf;
}

/* A gauge of what its tier's capacity limits is shown with its share of that. */
static bool is_share(const struct ds_metric *m, const struct ds_metric *capacity, uint64_t whole)
{
    return m->kind == DS_METRIC_GAUGE && capacity != NULL && m->unit == capacity->unit && whole > 0;
}

static void print_metric(const struct ds_metric *m, const struct ds_worker_stats *stats)
{
    const struct ds_metric *capacity = ds_metric_capacity(m->tier);
    uint64_t value = ds_metric_value(m, stats);
    uint64_t whole = capacity != NULL ? ds_metric_value(capacity, stats) : 0;
    bool known = ds_metric_known(m, stats);
    char text[32];

    if (m->label[0] == '\0' || !ds_metric_used(m->tier, stats)) {
        return;
    }
    if (!known) {
        (void)printf("%-14s unknown", m->label);
    } else if (m->unit == DS_METRIC_BYTES) {
        (void)printf("%-14s %10s", m->label, bytes_text(value, text, sizeof(text)));
    } else if (m->unit == DS_METRIC_MS) {
        (void)printf("%-14s %s", m->label, ds_cli_time_text(value, text, sizeof(text)));
    } else if (m->unit == DS_METRIC_POLICY) {
        (void)printf("%-14s %s", m->label, ds_metric_policy_name(value));
    } else if (is_share(m, capacity, whole)) { /* in line with the sizes and their shares */
        (void)printf("%-14s %10" PRIu64, m->label, value);
    } else {
        (void)printf("%-14s %" PRIu64, m->label, value);
    }
    if (known && is_share(m, capacity, whole)) {
        (void)printf(" %5.1f %%", 100.0 * (double)value / (double)whole);
    }
    if (m == ds_metric(DS_METRIC_disk_rewritten) && stats->disk_written > 0) {
        (void)printf("  (write amplification %.2f)",
                     1 + (double)value / (double)stats->disk_written);
    }
    (void)putchar('\n');
}

static void print_table(const char *address, const struct ds_control_reply *r)
{
    char text[32];

    (void)printf("%-14s %s\n", "worker", address);
    (void)printf("%-14s %s\n", "version", r->version);
    if (r->text[0] != '\0') {
        (void)printf("%-14s %s\n", "last trouble", r->text);
    }
    (void)printf("%-14s %" PRId64 "\n", "worker pid", r->worker_pid);
    (void)printf("%-14s %" PRId64 "\n", "keeper pid", r->keeper_pid);
    (void)printf("%-14s %s\n", "up", ds_cli_time_text(r->uptime_ms, text, sizeof(text)));
    (void)printf("%-14s %" PRIu64 "\n", "restarts", r->restarts);
    (void)printf("%-14s %s\n", "socket", r->socket_path);
    for (int i = 0; i < DS_METRIC_COUNT; i++) {
        print_metric(ds_metric((enum ds_metric_id)i), &r->stats);
    }
}

static void print_json_text(const char *name, const char *value)
{
    (void)printf("  \"%s\": ", name);
    ds_cli_print_json(stdout, value);
    (void)fputs(",\n", stdout);
}

static void print_json(const char *address, const struct ds_control_reply *r)
{
    (void)puts("{\n  \"running\": true,");
    print_json_text("worker_address", address);
    print_json_text("version", r->version);
    print_json_text("last_trouble", r->text);
    print_json_text("socket_path", r->socket_path);
    for (int i = 0; i < DS_METRIC_COUNT; i++) {
        const struct ds_metric *m = ds_metric((enum ds_metric_id)i);
        uint64_t value = ds_metric_value(m, &r->stats);

        (void)printf("  \"%s\": ", m->json);
        if (m->unit == DS_METRIC_POLICY) {
            ds_cli_print_json(stdout, ds_metric_policy_name(value));
        } else if (!ds_metric_known(m, &r->stats)) {
            (void)fputs("null", stdout);
        } else {
            (void)printf("%" PRIu64, value);
        }
        (void)puts(i + 1 < DS_METRIC_COUNT ? "," : "");
    }
    (void)puts("}");
}

/* --- asking --- */

/* An exit status after a message. */
static int cannot(const struct ds_cli_worker *w, const char *what, int rc, const char *text)
{
    if (rc == DS_EUNAVAILABLE) {
        ds_cli_error("no worker runs @ %s: start it with dscli start -w --worker_address %s",
                     w->address, w->address);
        return DS_CLI_NOT_RUNNING;
    }
    ds_cli_error("%s @ %s failed: %s%s%s; %s", what, w->address, ds_error_text(rc),
                 text[0] != '\0' ? ": " : "", text, ds_error_hint(rc));
    return rc == DS_ETIMEOUT ? DS_CLI_TIMEOUT : DS_CLI_FAILED;
}

/* Replies are from outside: their texts end where their arrays do. */
static int control(const struct ds_cli_worker *w, enum ds_control_op op, const char *arg,
                   int timeout_ms, struct ds_control_reply *ret)
{
    int rc;

    memset(ret, 0, sizeof(*ret));
    rc = ds_control(w->host, w->port, op, arg, timeout_ms, ret);
    ret->version[sizeof(ret->version) - 1] = '\0';
    ret->socket_path[sizeof(ret->socket_path) - 1] = '\0';
    ret->text[sizeof(ret->text) - 1] = '\0';
    return rc;
}

static int run_status(const struct ds_cli_args *args)
{
    struct ds_cli_worker worker;
    struct ds_control_reply reply;
    bool json = args->values[OTHER] != NULL;
    int timeout_ms;
    int status = ds_cli_parse_worker(args->values[ADDRESS], &worker);
    int rc;

    if (status == DS_CLI_OK) {
        status = ds_cli_parse_timeout(args->values[TIMEOUT], STATUS_TIMEOUT_MS, &timeout_ms);
    }
    if (status != DS_CLI_OK) {
        return status;
    }
    rc = control(&worker, DS_CONTROL_STATUS, NULL, timeout_ms, &reply);
    if (rc < 0) {
        if (json && rc == DS_EUNAVAILABLE) {
            (void)printf("{\n  \"running\": false,\n  \"worker_address\": \"%s\"\n}\n",
                         worker.address);
        }
        return cannot(&worker, "Status", rc, reply.text);
    }
    if (json) {
        print_json(worker.address, &reply);
    } else {
        print_table(worker.address, &reply);
    }
    return ds_cli_finish(stdout, DS_CLI_OK);
}

/* The answer to an upgrade says that it begins. It is over when another worker answers: the new
 * program, or the old one again and a text that says why. */
static bool wait_for_successor(const struct ds_cli_worker *w, int64_t old_pid, int timeout_ms,
                               struct ds_control_reply *ret)
{
    int64_t deadline_ns = ds_monotonic_ns() + timeout_ms * INT64_C(1000000);

    while (ds_monotonic_ns() < deadline_ns) {
        struct timespec pause = {.tv_nsec = POLL_NS};

        if (control(w, DS_CONTROL_STATUS, NULL, STATUS_TIMEOUT_MS, ret) == 0 &&
            ret->worker_pid != old_pid) {
            return true;
        }
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

static int find_binary(const char *given, char *buf, size_t size)
{
    char path[PATH_MAX];
    int rc;

    if (given == NULL) {
        if (ds_program_find("dsworker", buf, size) < 0) {
            ds_cli_error("Upgrade failed: %s", buf);
            return DS_CLI_FAILED;
        }
        return DS_CLI_OK;
    }
    rc = realpath(given, path) == NULL ? -errno : ds_program_check(path);
    if (rc < 0) {
        ds_cli_error("Upgrade failed: cannot run %s: %s", given, strerror(-rc));
        return DS_CLI_FAILED;
    }
    (void)snprintf(buf, size, "%s", path);
    return DS_CLI_OK;
}

static int run_upgrade(const struct ds_cli_args *args)
{
    struct ds_cli_worker worker;
    struct ds_control_reply before;
    struct ds_control_reply after;
    char binary[PATH_MAX];
    int timeout_ms;
    int status = ds_cli_parse_worker(args->values[ADDRESS], &worker);
    int rc;

    if (status == DS_CLI_OK) {
        status = ds_cli_parse_timeout(args->values[TIMEOUT], UPGRADE_TIMEOUT_MS, &timeout_ms);
    }
    if (status == DS_CLI_OK) {
        status = find_binary(args->values[OTHER], binary, sizeof(binary));
    }
    if (status != DS_CLI_OK) {
        return status;
    }
    rc = control(&worker, DS_CONTROL_STATUS, NULL, STATUS_TIMEOUT_MS, &before);
    if (rc < 0) {
        return cannot(&worker, "Upgrade of the worker", rc, before.text);
    }
    rc = control(&worker, DS_CONTROL_UPGRADE, binary, STATUS_TIMEOUT_MS, &after);
    if (rc < 0) {
        return cannot(&worker, "Upgrade of the worker", rc, after.text);
    }
    if (!wait_for_successor(&worker, before.worker_pid, timeout_ms, &after)) {
        ds_cli_error("[  FAILED  ] Upgrade worker service @ %s failed: no new worker serves after "
                     "%g seconds; see the log, and dscli status",
                     worker.address, timeout_ms / 1e3);
        return DS_CLI_TIMEOUT;
    }
    if (after.text[0] != '\0') {
        ds_cli_error("[  FAILED  ] Upgrade worker service @ %s failed: %s; the program before runs "
                     "again, PID: %" PRId64,
                     worker.address, after.text, after.worker_pid);
        return DS_CLI_FAILED;
    }
    ds_cli_info("[  OK  ] Upgrade worker service @ %s success, PID: %" PRId64 " -> %" PRId64
                ", version: %s -> %s",
                worker.address, before.worker_pid, after.worker_pid, before.version, after.version);
    return DS_CLI_OK;
}

const struct ds_cli_command ds_cmd_status = {
    .name = "status",
    .summary = "Shows whether a worker runs, its processes, the use of every tier, and counters.",
    .words = "",
    .options = status_options,
    .n_options = DS_ARRAY_SIZE(status_options),
    .details = "Exit status 3: no worker runs there.",
    .run = run_status,
};

const struct ds_cli_command ds_cmd_upgrade = {
    .name = "upgrade",
    .summary = "Replaces the program of a running worker; objects and clients stay.",
    .words = "",
    .options = upgrade_options,
    .n_options = DS_ARRAY_SIZE(upgrade_options),
    .details = "If the new one is not ready in time, the program before is started again.",
    .run = run_upgrade,
};
