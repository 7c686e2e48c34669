/* SPDX-License-Identifier: Apache-2.0 */
/*
 * footprint.c - dsbench footprint: what a worker costs, on workers that it starts itself.
 *
 * Bytes per object: everything the worker and the keeper hold for N objects of 64 B, that is their
 * private memory, all pages of the memfds other than the data segment's, and the blocks in use in
 * the data segment, less one copy of keys and values. "Growth" counts from the empty worker;
 * "total" counts all of it, also what an empty worker has.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "own_worker.h"
#include "procfs.h"

#define VALUE 64u
#define KEY 12u
#define BATCH 1000u
#define MIB ((uint64_t)1 << 20)
#define QUIET_SECONDS_MAX 120u
#define SERVING_MS_MAX 20000u

struct footprint {
    struct bench_run *run;
    const char *dscli;
    uint64_t objects;
    double idle_seconds;
};

static struct bench_row one_value(const char *what, const char *unit, double value)
{
    struct bench_series s = {.v = {value}, .n = 1};
    struct bench_row row = bench_row(what, unit);

    bench_row_values(&row, &s);
    return row;
}

/* --- start, for several sizes --- */

static int start_one(struct footprint *f, uint64_t mb)
{
    struct bench_series start = {.n = 0}, ready = {.n = 0}, stop = {.n = 0};
    struct bench_own_worker w;
    struct bench_row row;
    double stop_ms = 0;
    int rc = 0;

    for (uint64_t r = 0; rc == 0 && r < f->run->rounds; r++) {
        rc = bench_own_start(&w, f->run, f->dscli, mb);
        bench_own_stop(&w, &stop_ms);
        bench_series_add(&start, w.start_ms);
        bench_series_add(&ready, w.ready_ms);
        bench_series_add(&stop, stop_ms);
    }
    if (rc != 0) {
        return -1;
    }
    row = bench_row("dscli start, memory", "ms");
    row.size = mb * MIB;
    bench_row_values(&row, &start);
    bench_row_at_most(&row, "ready <= 150 ms", row.value, 150);
    bench_report_row(f->run, &row);
    row = bench_row("start to the first set, memory", "ms");
    row.size = mb * MIB;
    bench_row_values(&row, &ready);
    bench_report_row(f->run, &row);
    row = bench_row("dscli stop, memory", "ms");
    row.size = mb * MIB;
    bench_row_values(&row, &stop);
    bench_report_row(f->run, &row);
    return 0;
}

static int starts(struct footprint *f)
{
    static const uint64_t sizes_mb[] = {256, 1024, 4096, 16384, 65536};
    uint64_t available = bench_memory_available();

    for (size_t i = 0; i < BENCH_LEN(sizes_mb); i++) {
        if (sizes_mb[i] * MIB < available / 10 * 8 && start_one(f, sizes_mb[i]) != 0) {
            return -1;
        }
    }
    return 0;
}

/* --- idle --- */

static uint64_t cpu_ns(const struct bench_own_worker *w)
{
    return bench_proc_cpu_ns(w->worker) + bench_proc_cpu_ns(w->keeper);
}

/* Waits until worker and keeper use less than 1 % over a second: pages are populated then. */
static double wait_until_quiet(const struct bench_own_worker *w)
{
    uint64_t begin = bench_clock_ns(), before, now;

    for (unsigned i = 0; i < QUIET_SECONDS_MAX; i++) {
        before = cpu_ns(w);
        (void)sleep(1);
        now = cpu_ns(w);
        if (now - before < 10000000u) {
            break;
        }
    }
    return (double)(bench_clock_ns() - begin) / 1e9;
}

static int idle(struct footprint *f)
{
    struct bench_own_worker w;
    struct bench_row row;
    uint64_t before, begin;
    double seconds;

    if (bench_own_start(&w, f->run, f->dscli, 1024) != 0) {
        bench_own_stop(&w, NULL);
        return -1;
    }
    bench_report_fact(f->run, "quiet_after_s", wait_until_quiet(&w));
    begin = bench_clock_ns();
    before = cpu_ns(&w);
    (void)usleep((useconds_t)(f->idle_seconds * 1e6));
    seconds = (double)(bench_clock_ns() - begin) / 1e9;
    row =
        one_value("idle CPU of one core", "%", (double)(cpu_ns(&w) - before) / seconds / 1e9 * 100);
    bench_row_at_most(&row, "<= 0.1 %", row.value, 0.1);
    bench_report_row(f->run, &row);

    row = one_value("threads, worker", "", (double)bench_proc_threads(w.worker));
    bench_row_at_most(&row, "<= 8", row.value, 8);
    bench_report_row(f->run, &row);
    row = one_value("threads, keeper", "", (double)bench_proc_threads(w.keeper));
    bench_report_row(f->run, &row);
    row = one_value("private memory, worker", "MiB",
                    (double)bench_proc_private(w.worker) / (double)MIB);
    bench_row_at_most(&row, "<= 16 MiB", row.value, 16);
    bench_report_row(f->run, &row);
    row = one_value("private memory, keeper", "MiB",
                    (double)bench_proc_private(w.keeper) / (double)MIB);
    bench_report_row(f->run, &row);
    bench_own_stop(&w, NULL);
    return 0;
}

/* --- objects and restart --- */

struct holdings {
    uint64_t private_bytes, others, live, objects;
};

static int holdings_now(const struct bench_own_worker *w, struct ds_client *client,
                        struct holdings *ret)
{
    const pid_t pids[] = {w->worker, w->keeper};
    struct ds_worker_stats stats;
    struct bench_memfds memfds;

    if (bench_stats(client, &stats) != 0) {
        return -1;
    }
    bench_proc_memfds(pids, 2, &memfds);
    ret->private_bytes = bench_proc_private(w->worker) + bench_proc_private(w->keeper);
    ret->others = memfds.others;
    ret->live = stats.memory_live;
    ret->objects = stats.objects;
    return 0;
}

struct object_batch {
    struct ds_bytes keys[BATCH], values[BATCH];
    char text[BATCH][KEY + 1];
    uint8_t value[VALUE];
};

static void object_keys(struct object_batch *b, uint64_t from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        (void)snprintf(b->text[i], sizeof(b->text[i]), "o%011llu",
                       (unsigned long long)(from + i) % 100000000000ull);
        b->keys[i] = (struct ds_bytes){.data = b->text[i], .size = KEY};
        b->values[i] = (struct ds_bytes){.data = b->value, .size = VALUE};
    }
}

static int set_objects(struct ds_client *client, uint64_t objects, struct object_batch *b)
{
    uint64_t n;
    int rc;

    memset(b->value, 0x5a, sizeof(b->value));
    for (uint64_t from = 0; from < objects; from += n) {
        n = objects - from < BATCH ? objects - from : BATCH;
        object_keys(b, from, n);
        rc = ds_kv_mset(client, b->keys, b->values, n, NULL, NULL);
        if (rc != 0) {
            return bench_error("mset", rc);
        }
    }
    return 0;
}

static int count_objects(struct ds_client *client, uint64_t objects, struct object_batch *b,
                         uint64_t *ret_found)
{
    struct ds_view views[BATCH];
    int results[BATCH];
    uint64_t n;

    *ret_found = 0;
    for (uint64_t from = 0; from < objects; from += n) {
        n = objects - from < BATCH ? objects - from : BATCH;
        object_keys(b, from, n);
        (void)!ds_kv_mget(client, b->keys, n, 0, views, results);
        for (uint64_t i = 0; i < n; i++) {
            *ret_found += results[i] == 0 && views[i].size == VALUE &&
                                  memcmp(views[i].data, b->value, VALUE) == 0
                              ? 1
                              : 0;
        }
        ds_view_release_many(views, n);
    }
    return 0;
}

static void report_objects(struct footprint *f, const struct holdings *empty,
                           const struct holdings *full, double seconds)
{
    double n = (double)f->objects, payload = n * (VALUE + KEY);
    double total = (double)(full->private_bytes + full->others + full->live);
    double before = (double)(empty->private_bytes + empty->others + empty->live);
    struct bench_row row =
        one_value("bytes per object of 64 B, growth", "B", (total - before - payload) / n);

    row.n = f->objects;
    bench_report_row(f->run, &row);
    row = one_value("bytes per object of 64 B, total", "B", (total - payload) / n);
    row.n = f->objects;
    bench_row_at_most(&row, "<= 160 B", row.value, 160);
    bench_report_row(f->run, &row);
    row = one_value("mset of 64 B in batches of 1000", "keys/s", n / seconds);
    bench_report_row(f->run, &row);
    bench_report_fact(f->run, "objects", n);
    bench_report_fact(f->run, "private_bytes", (double)full->private_bytes);
    bench_report_fact(f->run, "index_state_session_bytes", (double)full->others);
    bench_report_fact(f->run, "data_bytes_live", (double)full->live);
}

/* The time until the worker answers the same client again: a miss is always asked. */
static int kill_and_wait(struct bench_own_worker *w, struct ds_client *client, double *ret_ms)
{
    struct ds_worker_stats stats;
    struct ds_view view;
    uint64_t begin = bench_clock_ns();
    double ms = 0;
    int rc = kill(w->worker, SIGKILL) == 0 ? DS_EAGAIN : DS_EIO;

    while (bench_proc_alive(w->worker) && ms < SERVING_MS_MAX) {
        ms = (double)(bench_clock_ns() - begin) / 1e6;
    }
    while (rc != DS_ENOTFOUND && ms < SERVING_MS_MAX) {
        rc = ds_kv_get(client, "missing", 7, 0, &view);
        ms = (double)(bench_clock_ns() - begin) / 1e6;
    }
    if (rc != DS_ENOTFOUND) {
        return bench_error("no answer after SIGKILL of the worker", rc);
    }
    if (bench_stats(client, &stats) != 0) {
        return -1;
    }
    w->worker = (pid_t)stats.worker_pid;
    *ret_ms = ms;
    return 0;
}

static int restarts(struct footprint *f, struct bench_own_worker *w, struct ds_client *client,
                    struct object_batch *b)
{
    struct bench_series ms = {.n = 0};
    struct bench_row row;
    uint64_t found = 0;
    double one = 0;

    for (uint64_t r = 0; r < f->run->rounds; r++) {
        if (kill_and_wait(w, client, &one) != 0 ||
            count_objects(client, f->objects, b, &found) != 0) {
            return -1;
        }
        if (found != f->objects) {
            fprintf(stderr, "dsbench: %llu of %llu objects are left after a kill\n",
                    (unsigned long long)found, (unsigned long long)f->objects);
            return -1;
        }
        bench_series_add(&ms, one);
    }
    row = bench_row("SIGKILL of the worker to the next answer", "ms");
    row.n = f->objects;
    bench_row_values(&row, &ms);
    if (f->objects <= 1000000) {
        bench_row_at_most(&row, "<= 1000 ms at 1 M objects", row.value, 1000);
    }
    bench_report_row(f->run, &row);
    return 0;
}

static int with_objects(struct footprint *f, struct bench_own_worker *w, struct ds_client *client,
                        struct object_batch *b)
{
    struct holdings empty, full;
    uint64_t begin;
    double seconds;

    if (holdings_now(w, client, &empty) != 0) {
        return -1;
    }
    begin = bench_clock_ns();
    if (set_objects(client, f->objects, b) != 0) {
        return -1;
    }
    seconds = (double)(bench_clock_ns() - begin) / 1e9;
    if (holdings_now(w, client, &full) != 0) {
        return -1;
    }
    report_objects(f, &empty, &full, seconds);
    return restarts(f, w, client, b);
}

static int objects(struct footprint *f)
{
    struct object_batch *b = malloc(sizeof(*b));
    struct ds_client *client = NULL;
    struct bench_own_worker w;
    uint64_t mb = f->objects * 192 / MIB + 256;
    int rc;

    if (b == NULL) {
        return -1;
    }
    rc = bench_own_start(&w, f->run, f->dscli, mb);
    if (rc == 0) {
        rc = bench_connect(&w.run, &client);
    }
    if (rc == 0) {
        rc = with_objects(f, &w, client, b);
    }
    ds_client_close(client);
    bench_own_stop(&w, NULL);
    free(b);
    return rc;
}

int bench_footprint_main(struct bench_run *run, const struct bench_command *self, int argc,
                         char **argv)
{
    struct footprint f = {.run = run, .objects = 1000000, .idle_seconds = 10};
    bool only_idle = false, only_start = false, only_objects = false;
    const struct bench_flag flags[] = {
        {"dscli", BENCH_FLAG_STRING, &f.dscli, "PATH", "dscli (beside dsbench, else in PATH)"},
        {"objects", BENCH_FLAG_U64, &f.objects, "N", "objects of 64 B (1000000)"},
        {"idle-seconds", BENCH_FLAG_DOUBLE, &f.idle_seconds, "S", "how long to watch (10)"},
        {"only-start", BENCH_FLAG_BOOL, &only_start, NULL, "only start and stop"},
        {"only-idle", BENCH_FLAG_BOOL, &only_idle, NULL, "only threads, memory and CPU"},
        {"only-objects", BENCH_FLAG_BOOL, &only_objects, NULL, "only objects and restart"},
    };
    bool all;
    int rc = bench_parse(run, self, flags, BENCH_LEN(flags), argc, argv);

    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    all = !only_idle && !only_start && !only_objects;
    rc = all || only_start ? starts(&f) : 0;
    if (rc == 0 && (all || only_idle)) {
        rc = idle(&f);
    }
    if (rc == 0 && (all || only_objects)) {
        rc = objects(&f);
    }
    return rc == 0 ? 0 : 1;
}
