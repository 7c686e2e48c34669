/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mixed.c - dsbench mixed: several client processes at the same time.
 *
 * Each process opens its own client, sets its own 128 keys of 4 KiB, waits for the others, then
 * works for the time of a round: half sets over its keys and half zero-copy reads of a byte per
 * page, or reads alone. A round's figure is the sum over the processes. How far the machine itself
 * lets processes run side by side shows a loop over memory of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define VALUE 4096u
#define KEYS 128u
#define PROCS_MAX 64u
#define START_SECONDS 30u

enum role { ROLE_MIXED, ROLE_READS, ROLE_LOOP };

/* In memory shared by all processes of a round. */
struct shared {
    unsigned ready;  /* atomic: processes that wait at the start */
    unsigned go;     /* atomic: set by the parent */
    unsigned failed; /* atomic */
    double ops_per_s[PROCS_MAX];
    struct bench_hist hist[PROCS_MAX]; /* each written by its process only */
};

struct mixed_case {
    const char *what;
    enum role role;
    unsigned procs;
    struct bench_series ops, p50, p99;
    uint64_t n;
};

struct mixed {
    struct bench_run *run;
    struct shared *shared;
};

static int one_op(struct ds_client *client, const struct ds_bytes *key, const uint8_t *value,
                  bool write)
{
    struct ds_view view;
    int rc;

    if (write) {
        return ds_kv_set(client, key->data, key->size, value, VALUE, NULL);
    }
    rc = ds_kv_get(client, key->data, key->size, 0, &view);
    if (rc == 0) {
        bench_keep(bench_touch(view.data, view.size));
        ds_view_release(&view);
    }
    return rc;
}

/* About as long as a read, in the caches of its processor. */
static int loop_once(void)
{
    static _Alignas(64) unsigned own[16]; /* a process each */

    for (unsigned i = 0; i < 8; i++) {
        (void)__atomic_exchange_n(&own[0], i, __ATOMIC_SEQ_CST);
    }
    return 0;
}

static int wait_for_go(struct shared *shared)
{
    uint64_t begin = bench_clock_ns();

    (void)__atomic_add_fetch(&shared->ready, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&shared->go, __ATOMIC_ACQUIRE) == 0) {
        if (bench_clock_ns() - begin > START_SECONDS * 1000000000ull) {
            return -1;
        }
        (void)usleep(200);
    }
    return 0;
}

static int client_work(struct mixed *m, enum role role, unsigned id, struct ds_client *client,
                       const struct bench_keys *keys)
{
    struct bench_hist *h = &m->shared->hist[id];
    uint8_t value[VALUE];
    uint64_t begin, end, t = 0;
    int rc = 0;

    memset(value, 0x5a, sizeof(value));
    for (unsigned i = 0; rc == 0 && i < KEYS; i++) {
        rc = one_op(client, &keys->key[i], value, true);
    }
    if (rc != 0) {
        return bench_error("set", rc);
    }
    if (wait_for_go(m->shared) != 0) {
        return -1;
    }
    begin = bench_ticks();
    end = bench_deadline(m->run, m->run->seconds);
    for (uint64_t i = 0; rc == 0 && t < end; i++) {
        bool write = role == ROLE_MIXED && i % 2 == 0;

        t = bench_ticks();
        rc = role == ROLE_LOOP ? loop_once()
                               : one_op(client, &keys->key[i / 2 % KEYS], value, write);
        bench_hist_add(h, bench_ticks() - t);
    }
    if (rc != 0) {
        return bench_error(role == ROLE_MIXED ? "set or get" : "get", rc);
    }
    m->shared->ops_per_s[id] = (double)h->n / bench_seconds_of(m->run, bench_ticks() - begin);
    return 0;
}

static int client_process(struct mixed *m, enum role role, unsigned id)
{
    struct ds_client *client = NULL;
    struct bench_keys keys = {.n = 0};
    int rc = bench_connect(m->run, &client);

    if (rc == 0 && (rc = bench_keys_make(&keys, "mix", KEYS)) == 0) {
        rc = client_work(m, role, id, client, &keys);
        bench_keys_delete(client, &keys);
    }
    bench_keys_free(&keys);
    ds_client_close(client);
    if (rc != 0) {
        (void)__atomic_add_fetch(&m->shared->failed, 1, __ATOMIC_ACQ_REL);
    }
    return rc;
}

static void start_all(struct shared *shared, unsigned procs)
{
    uint64_t begin = bench_clock_ns();

    while (__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) < procs &&
           __atomic_load_n(&shared->failed, __ATOMIC_ACQUIRE) == 0 &&
           bench_clock_ns() - begin < START_SECONDS * 1000000000ull) {
        (void)usleep(200);
    }
    __atomic_store_n(&shared->go, 1, __ATOMIC_RELEASE);
}

static void sum_up(struct mixed *m, struct mixed_case *c)
{
    struct bench_hist all;
    double ops = 0;

    bench_hist_reset(&all);
    for (unsigned i = 0; i < c->procs; i++) {
        ops += m->shared->ops_per_s[i];
        bench_hist_merge(&all, &m->shared->hist[i]);
    }
    bench_series_add(&c->ops, ops);
    bench_series_add(&c->p50, bench_us(m->run, bench_hist_quantile(&all, 0.5)));
    bench_series_add(&c->p99, bench_us(m->run, bench_hist_quantile(&all, 0.99)));
    c->n += all.n;
}

static int case_round(struct mixed *m, struct mixed_case *c)
{
    pid_t pid[PROCS_MAX];
    unsigned started = 0;

    memset(m->shared, 0, sizeof(*m->shared));
    for (; started < c->procs; started++) {
        pid[started] = fork();
        if (pid[started] == 0) {
            (void)bench_kill_with_parent();
            _exit(client_process(m, c->role, started) == 0 ? 0 : 1);
        }
        if (pid[started] < 0) {
            perror("dsbench: fork");
            (void)__atomic_add_fetch(&m->shared->failed, 1, __ATOMIC_ACQ_REL);
            break;
        }
    }
    start_all(m->shared, c->procs);
    for (unsigned i = 0; i < started; i++) {
        while (waitpid(pid[i], NULL, 0) < 0 && errno == EINTR) {
        }
    }
    if (m->shared->failed != 0) {
        return -1;
    }
    sum_up(m, c);
    return 0;
}

static struct bench_row row_of(const struct mixed_case *c)
{
    struct bench_row row = bench_row(c->what, "ops/s");

    row.size = VALUE;
    row.procs = c->procs;
    row.n = c->n;
    bench_row_values(&row, &c->ops);
    return row;
}

static void report(struct bench_run *run, struct mixed_case *c, unsigned cores)
{
    double one_reader = bench_series_median(&c[0].ops), two = bench_series_median(&c[2].ops);
    double loops = bench_series_median(&c[5].ops);
    struct bench_row row = row_of(&c[0]);

    bench_report_row(run, &row);
    row = row_of(&c[1]);
    bench_row_floor(&row, "1 reader x cores", one_reader * cores);
    bench_row_at_least(&row, ">= 0.9 per core", row.ratio, 0.9);
    bench_report_row(run, &row);
    row = row_of(&c[1]);
    bench_row_floor(&row, "as the loop", one_reader * loops / bench_series_median(&c[4].ops));
    bench_report_row(run, &row);
    row = row_of(&c[5]);
    row.size = 0;
    bench_row_floor(&row, "1 process x cores", bench_series_median(&c[4].ops) * cores);
    bench_report_row(run, &row);
    row = row_of(&c[2]);
    bench_report_row(run, &row);
    row = row_of(&c[3]);
    bench_row_floor(&row, "2 processes", two);
    bench_row_at_least(&row, ">= 0.8 of two", row.ratio, 0.8);
    bench_report_row(run, &row);
    for (unsigned i = 0; i < 4; i++) {
        row = bench_row(c[i].role == ROLE_MIXED ? "one operation, 50/50" : "one read", "us");
        row.procs = c[i].procs;
        row.size = VALUE;
        bench_row_values(&row, &c[i].p50);
        row.p99 = bench_series_median(&c[i].p99);
        bench_report_row(run, &row);
    }
}

static int measure(struct mixed *m)
{
    unsigned cores = m->run->cpus < 1 ? 1 : m->run->cpus > PROCS_MAX ? PROCS_MAX : m->run->cpus;
    struct mixed_case cases[] = {
        {.what = "reads alone", .role = ROLE_READS, .procs = 1},
        {.what = "reads alone", .role = ROLE_READS, .procs = cores},
        {.what = "50 % sets, 50 % reads", .role = ROLE_MIXED, .procs = 2},
        {.what = "50 % sets, 50 % reads", .role = ROLE_MIXED, .procs = 4},
        {.what = "loop that shares nothing", .role = ROLE_LOOP, .procs = 1},
        {.what = "loop that shares nothing", .role = ROLE_LOOP, .procs = cores},
    };

    for (uint64_t r = 0; r < m->run->rounds; r++) {
        for (size_t i = 0; i < BENCH_LEN(cases); i++) {
            if (case_round(m, &cases[i]) != 0) {
                return -1;
            }
        }
    }
    report(m->run, cases, cores);
    return 0;
}

int bench_mixed_main(struct bench_run *run, const struct bench_command *self, int argc, char **argv)
{
    struct mixed m = {.run = run};
    void *p;
    int rc;

    run->seconds = 1.0;
    rc = bench_parse(run, self, NULL, 0, argc, argv);
    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    p = mmap(NULL, sizeof(*m.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("dsbench: mmap");
        return 1;
    }
    m.shared = p;
    rc = measure(&m);
    (void)munmap(p, sizeof(*m.shared));
    return rc == 0 ? 0 : 1;
}
