/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - dsbench replay: deals the requests of a trace to client processes and judges the
 * result: bytes, hit ratio against an infinite cache and an exact LRU, latencies.
 */
#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_SECONDS 60u
#define DELETE_BATCH 1000u
#define LRU_POINTS 0.5
#define LRU_POINTS_TIERS 1.0

static void *shared_memory(size_t size)
{
    void *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        perror("dsbench: mmap");
        return NULL;
    }
    return p;
}

/* A client can get all requests, and each reference can be a lookup and a fill. */
static size_t records_size(const struct replay *r)
{
    return (r->trace.n_blocks * 2 + 1) * sizeof(struct replay_record);
}

static int allocate(struct replay *r)
{
    r->shared = shared_memory(sizeof(*r->shared));
    if (r->shared == NULL) {
        return -1;
    }
    for (unsigned c = 0; c < r->clients; c++) {
        r->records[c] = shared_memory(records_size(r));
        if (r->records[c] == NULL) {
            return -1;
        }
    }
    return 0;
}

static void release(struct replay *r)
{
    for (unsigned c = 0; c < r->clients; c++) {
        if (r->records[c] != NULL) {
            (void)munmap(r->records[c], records_size(r));
        }
    }
    if (r->shared != NULL) {
        (void)munmap(r->shared, sizeof(*r->shared));
    }
    bench_trace_free(&r->trace);
}

static int stats_now(struct replay *r, struct ds_worker_stats *ret)
{
    struct ds_client *client = NULL;
    int rc = bench_connect(r->run, &client);

    if (rc == 0) {
        rc = bench_stats(client, ret);
    }
    ds_client_close(client);
    return rc;
}

static void delete_blocks(struct replay *r)
{
    struct ds_client *client = NULL;
    struct ds_bytes keys[DELETE_BATCH];
    char(*text)[REPLAY_KEY_TEXT] = malloc(sizeof(*text) * DELETE_BATCH);
    uint32_t n;
    int rc = text == NULL ? -1 : bench_connect(r->run, &client);

    for (uint32_t b = 0; rc == 0 && b < r->trace.distinct; b += n) {
        n = r->trace.distinct - b < DELETE_BATCH ? r->trace.distinct - b : DELETE_BATCH;
        for (uint32_t i = 0; i < n; i++) {
            keys[i].data = text[i];
            keys[i].size = bench_replay_key(r, b + i, text[i]);
        }
        rc = ds_kv_delete(client, keys, n, NULL);
    }
    ds_client_close(client);
    free(text);
}

/* --- processes --- */

static void let_go(struct replay *r)
{
    struct replay_shared *s = r->shared;
    uint64_t begin = bench_clock_ns();

    while (__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE) < r->clients &&
           __atomic_load_n(&s->failed, __ATOMIC_ACQUIRE) == 0 &&
           bench_clock_ns() - begin < START_SECONDS * 1000000000ull) {
        (void)usleep(200);
    }
    __atomic_store_n(&s->go, 1, __ATOMIC_RELEASE);
}

static int run_clients(struct replay *r)
{
    pid_t pid[REPLAY_CLIENTS_MAX];
    unsigned started = 0;
    int status, rc = 0;

    for (; started < r->clients; started++) {
        pid[started] = fork();
        if (pid[started] == 0) {
            (void)bench_kill_with_parent();
            status = bench_replay_client(r, started) == 0 ? 0 : 1;
            if (status != 0) {
                (void)__atomic_add_fetch(&r->shared->failed, 1, __ATOMIC_ACQ_REL);
            }
            _exit(status);
        }
        if (pid[started] < 0) {
            perror("dsbench: fork");
            (void)__atomic_add_fetch(&r->shared->failed, 1, __ATOMIC_ACQ_REL);
            rc = -1;
            break;
        }
    }
    let_go(r);
    for (unsigned i = 0; i < started; i++) {
        status = 1;
        while (waitpid(pid[i], &status, 0) < 0 && errno == EINTR) {
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "dsbench: client %u failed\n", i);
            rc = -1;
        }
    }
    return rc;
}

/* --- the report --- */

/* The clients' results in one: counts added, begin the earliest, end the latest. */
static void merge(const struct replay *r, struct replay_client *all)
{
    const struct replay_client *c;

    memset(all, 0, sizeof(*all));
    all->begin = UINT64_MAX;
    for (unsigned i = 0; i < r->clients; i++) {
        c = &r->shared->client[i];
        bench_hist_merge(&all->hit, &c->hit);
        bench_hist_merge(&all->miss, &c->miss);
        bench_hist_merge(&all->fill, &c->fill);
        all->requests += c->requests;
        all->references += c->references;
        all->hits += c->hits;
        all->fills += c->fills;
        all->fills_refused += c->fills_refused;
        all->wrong += c->wrong;
        all->errors += c->errors;
        all->read_bytes += c->read_bytes;
        all->read_ticks += c->read_ticks;
        all->begin = c->begin < all->begin ? c->begin : all->begin;
        all->end = c->end > all->end ? c->end : all->end;
    }
}

static struct bench_row one_value(const char *what, const char *unit, double value)
{
    struct bench_series s = {.v = {value}, .n = 1};
    struct bench_row row = bench_row(what, unit);

    bench_row_values(&row, &s);
    return row;
}

static void report_latency(struct replay *r, const char *what, const struct bench_hist *h,
                           uint64_t size)
{
    struct bench_row row = one_value(what, "us", bench_us(r->run, bench_hist_quantile(h, 0.5)));

    if (h->n == 0) {
        return;
    }
    row.n = h->n;
    row.size = size;
    row.p99 = bench_us(r->run, bench_hist_quantile(h, 0.99));
    row.p999 = bench_us(r->run, bench_hist_quantile(h, 0.999));
    bench_report_row(r->run, &row);
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

/* Beside an exact LRU of `capacity` blocks; at most `points` less, 0: no target. */
static int report_lru(struct replay *r, const struct replay_client *all, const char *what,
                      const char *fact, uint64_t capacity, double points, const char *target)
{
    double real = percent(all->hits, all->references), exact;
    int64_t hits = bench_replay_lru_hits(r, capacity);
    struct bench_row row = one_value("prefix hit ratio", "%", real);

    if (hits < 0) {
        return -1;
    }
    exact = percent((uint64_t)hits, all->references);
    bench_row_floor(&row, what, exact);
    if (points > 0) {
        bench_row_at_least(&row, target, real - exact, -points);
    }
    bench_report_row(r->run, &row);
    bench_report_fact(r->run, fact, exact);
    return 0;
}

/* With a disk the cache is as large as both tiers; a block that is in both counts for one. */
static int report_ratio(struct replay *r, const struct replay_client *all, uint64_t held,
                        const struct ds_worker_stats *after)
{
    double real = percent(all->hits, all->references);
    double ideal = percent(r->summary.ideal_hits, r->summary.references);
    struct bench_row row = one_value("prefix hit ratio", "%", real);
    int rc;

    bench_row_floor(&row, "infinite cache", ideal);
    bench_report_row(r->run, &row);
    bench_report_fact(r->run, "hit_pct", real);
    bench_report_fact(r->run, "ideal_pct", ideal);
    if (after->disk_capacity == 0) {
        return report_lru(r, all, "exact LRU", "lru_pct", held, LRU_POINTS,
                          "at most 0.5 points less");
    }
    rc = report_lru(r, all, "exact LRU of as many blocks", "lru_pct", held, 0, NULL);
    return rc != 0 ? rc
                   : report_lru(r, all, "exact LRU of memory + disk", "lru_tiers_pct",
                                (after->memory_size + after->disk_capacity) / r->block_size,
                                LRU_POINTS_TIERS, "at most 1 point less");
}

static void report_facts(struct replay *r, const struct replay_client *all, double seconds,
                         const struct ds_worker_stats *before, const struct ds_worker_stats *after,
                         uint64_t capacity)
{
    const struct {
        const char *name;
        double value;
    } facts[] = {
        {"clients", (double)r->clients},
        {"block_size", (double)r->block_size},
        {"requests", (double)all->requests},
        {"references", (double)all->references},
        {"distinct", (double)r->trace.distinct},
        {"hits", (double)all->hits},
        {"fills", (double)all->fills},
        {"fills_refused", (double)all->fills_refused},
        {"wrong", (double)all->wrong},
        {"errors", (double)all->errors},
        {"evictions", (double)(after->evictions - before->evictions)},
        {"spills", (double)(after->spills - before->spills)},
        {"fetches", (double)(after->fetches - before->fetches)},
        {"drops", (double)(after->drops - before->drops)},
        {"capacity_blocks", (double)capacity},
        {"memory_size", (double)after->memory_size},
        {"disk_capacity", (double)after->disk_capacity},
        {"free_pct", percent(after->memory_free, after->memory_size)},
        {"seconds", seconds},
        {"verified_all_bytes", r->verify ? 1 : 0},
    };

    for (size_t i = 0; i < BENCH_LEN(facts); i++) {
        bench_report_fact(r->run, facts[i].name, facts[i].value);
    }
    fprintf(r->run->human,
            "%llu requests by %llu clients in %.2f s; worker held %llu blocks, %.2f %% of its "
            "memory free; %llu evictions, %llu fills refused, %llu errors, %llu wrong blocks\n",
            (unsigned long long)all->requests, (unsigned long long)r->clients, seconds,
            (unsigned long long)capacity, percent(after->memory_free, after->memory_size),
            (unsigned long long)(after->evictions - before->evictions),
            (unsigned long long)all->fills_refused, (unsigned long long)all->errors,
            (unsigned long long)all->wrong);
}

static int report(struct replay *r, const struct ds_worker_stats *before,
                  const struct ds_worker_stats *after)
{
    struct replay_client *all = malloc(sizeof(*all));
    uint64_t held = after->objects > before->objects ? after->objects - before->objects : 0;
    struct bench_row row;
    double seconds;
    int rc;

    if (all == NULL) {
        return -1;
    }
    merge(r, all);
    seconds = bench_seconds_of(r->run, all->end - all->begin);
    if (after->evictions == before->evictions && after->drops == before->drops) {
        held = r->trace.distinct; /* nothing ever left */
    }
    report_facts(r, all, seconds, before, after, held);
    rc = report_ratio(r, all, held, after);
    report_latency(r, "hit, per block", &all->hit, r->block_size);
    report_latency(r, "lookup that misses some, per call", &all->miss, 0);
    report_latency(r, "fill: create, write, publish", &all->fill, r->block_size);
    row =
        one_value("hits served", "GB/s", (double)all->hits * (double)r->block_size / seconds / 1e9);
    row.procs = (unsigned)r->clients;
    bench_report_row(r->run, &row);
    if (r->verify && all->read_ticks != 0) {
        row = one_value("hits read and verified, per client", "GB/s",
                        (double)all->read_bytes / bench_seconds_of(r->run, all->read_ticks) / 1e9);
        bench_report_row(r->run, &row);
    }
    rc = rc == 0 && all->wrong == 0 && all->errors == 0 && all->fills_refused == 0 ? 0 : -1;
    free(all);
    return rc;
}

static int replay(struct replay *r)
{
    struct ds_worker_stats before, after;
    int rc;

    if (bench_trace_load(r->path, r->limit, &r->trace) != 0 ||
        bench_trace_summary(&r->trace, &r->summary) != 0 || allocate(r) != 0) {
        return -1;
    }
    bench_trace_print_summary(&r->summary, r->run->human);
    (void)fflush(r->run->human);
    if (stats_now(r, &before) != 0) {
        return -1;
    }
    rc = run_clients(r);
    if (rc == 0) {
        rc = stats_now(r, &after);
    }
    if (rc == 0) {
        rc = report(r, &before, &after);
    }
    delete_blocks(r);
    return rc;
}

int bench_replay_main(struct bench_run *run, const struct bench_command *self, int argc,
                      char **argv)
{
    struct replay r = {.run = run, .clients = 4, .block_size = 72 << 10, .group = 8};
    const struct bench_flag flags[] = {
        {"trace", BENCH_FLAG_STRING, &r.path, "FILE", "the trace; - reads stdin"},
        {"clients", BENCH_FLAG_U64, &r.clients, "N", "client processes (4)"},
        {"block-size", BENCH_FLAG_SIZE, &r.block_size, "SIZE", "bytes of a block (72K)"},
        {"group", BENCH_FLAG_U64, &r.group, "N", "blocks looked up per call (8)"},
        {"limit", BENCH_FLAG_U64, &r.limit, "N", "only the first N requests"},
        {"verify", BENCH_FLAG_BOOL, &r.verify, NULL,
         "check every byte of a hit (without it: a word per page)"},
    };
    int rc = bench_parse(run, self, flags, BENCH_LEN(flags), argc, argv);

    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    if (r.path == NULL || r.clients == 0 || r.clients > REPLAY_CLIENTS_MAX || r.group == 0 ||
        r.group > TRACE_BLOCKS_PER_REQUEST_MAX || r.block_size < 8 || r.block_size % 8 != 0) {
        fprintf(stderr,
                "dsbench replay: needs --trace FILE, --clients 1 to %u, --group 1 to %u "
                "and a --block-size that is a multiple of 8\n",
                REPLAY_CLIENTS_MAX, TRACE_BLOCKS_PER_REQUEST_MAX);
        return 2;
    }
    run->rounds = 1;
    r.limit = r.limit == 0 ? SIZE_MAX : r.limit;
    r.tag = (uint64_t)getpid();
    rc = replay(&r);
    release(&r);
    return rc == 0 ? 0 : 1;
}
