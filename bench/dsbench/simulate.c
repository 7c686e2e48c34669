/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simulate.c - dsbench simulate: what the worker's eviction policies would hit on a trace, without
 * a worker: the policy code itself over a cache without data.
 *
 * Beside them an exact LRU and a FIFO of the simulator's own, and an infinite cache. A request
 * looks up all its blocks, then fills in those that were missing, as the clients of dsbench replay
 * do. A hit counts while all earlier blocks of its request were hits.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "lru.h"
#include "store/policy.h"
#include "trace.h"

#define CAPACITIES_MAX 32u

struct simulate {
    struct bench_run *run;
    const char *path;
    const char *capacities;
    uint64_t block_size, limit;
    bool mixed;
    uint64_t capacity[CAPACITIES_MAX]; /* in blocks of block_size */
    size_t n_capacities;
    struct trace trace;
    struct trace_summary summary;
};

/* --- sizes --- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

/* Mixed: 1/16, 1/8, ... 16 times the block size, all equally often, the same for the same block. */
static uint64_t size_of(const struct simulate *s, uint32_t block)
{
    if (!s->mixed) {
        return s->block_size;
    }
    return (s->block_size << mix(block) % 9) / 16;
}

/* --- one cache --- */

struct cache {
    const struct simulate *s;
    uint64_t capacity, used; /* bytes */
    bool *held;              /* by block */
    struct ds_policy *policy;
    struct ds_link *link;
    uint32_t *fifo; /* blocks in the order in which they came; policy is NULL then */
    size_t fifo_first, fifo_end;
    uint64_t switches;
};

static uint64_t cache_size(const void *arg, uint32_t id)
{
    const struct cache *c = arg;

    return size_of(c->s, id);
}

static uint32_t cache_hash(const void *arg, uint32_t id)
{
    (void)arg;
    return (uint32_t)mix(id + 0x5851f42du);
}

static void cache_close(struct cache *c)
{
    c->policy = ds_policy_destroy(c->policy);
    free(c->held);
    free(c->link);
    free(c->fifo);
}

/* policy "fifo": the simulator's own. */
static int cache_open(struct cache *c, const struct simulate *s, const char *policy, uint64_t bytes)
{
    struct ds_policy_env env = {.arg = c, .size = cache_size, .hash = cache_hash};
    int rc = 0;

    *c = (struct cache){.s = s, .capacity = bytes};
    c->held = calloc(s->trace.distinct, sizeof(*c->held));
    c->link = calloc(s->trace.distinct, sizeof(*c->link));
    c->fifo = calloc(s->trace.n_blocks, sizeof(*c->fifo));
    env.link = c->link;
    env.max = s->trace.distinct;
    if (c->held == NULL || c->link == NULL || c->fifo == NULL) {
        rc = DS_ENOMEM;
    } else if (strcmp(policy, "fifo") != 0) {
        rc = ds_policy_create(policy, &env, &c->policy);
    }
    if (rc != 0) {
        cache_close(c);
        return bench_error("simulate", rc);
    }
    return 0;
}

static void use(struct cache *c, uint32_t block)
{
    if (c->policy != NULL) {
        ds_policy_touch(c->policy, block);
    }
}

static void fill(struct cache *c, uint32_t block)
{
    uint64_t size = size_of(c->s, block);

    if (size > c->capacity || c->held[block]) { /* a request may name a block twice */
        return;
    }
    while (c->used + size > c->capacity) {
        uint32_t victim =
            c->policy != NULL ? ds_policy_victim(c->policy) : c->fifo[c->fifo_first++];

        if (c->policy != NULL) {
            ds_policy_evict(c->policy, victim);
        }
        c->held[victim] = false;
        c->used -= size_of(c->s, victim);
    }
    c->held[block] = true;
    c->used += size;
    if (c->policy != NULL) {
        ds_policy_insert(c->policy, block);
    } else {
        c->fifo[c->fifo_end++] = block;
    }
}

/* Hits over the trace; `missing` has room for the longest request. */
static uint64_t run_trace(struct cache *c, uint32_t *missing)
{
    const struct trace *t = &c->s->trace;
    const char *acting = c->policy != NULL ? ds_policy_acting(c->policy) : "fifo";
    uint64_t hits = 0;

    for (size_t i = 0; i < t->n; i++) {
        const uint32_t *blocks = t->blocks + t->requests[i].first;
        uint32_t n_missing = 0;

        for (uint32_t b = 0; b < t->requests[i].n; b++) {
            if (c->held[blocks[b]]) {
                hits += n_missing == 0 ? 1 : 0;
                use(c, blocks[b]);
            } else {
                missing[n_missing++] = blocks[b];
            }
        }
        for (uint32_t b = 0; b < n_missing; b++) {
            fill(c, missing[b]);
        }
        if (c->policy != NULL && ds_policy_acting(c->policy) != acting) {
            acting = ds_policy_acting(c->policy);
            c->switches++;
        }
    }
    return hits;
}

/* --- the exact LRU, for blocks of one size --- */

static int64_t exact_lru(const struct simulate *s, uint64_t blocks, uint32_t *missing)
{
    const struct trace *t = &s->trace;
    struct lru *lru = bench_lru_create(t->distinct, blocks);
    int64_t hits = 0;

    for (size_t i = 0; lru != NULL && i < t->n; i++) {
        const uint32_t *at = t->blocks + t->requests[i].first;
        uint32_t n_missing = 0;

        for (uint32_t b = 0; b < t->requests[i].n; b++) {
            if (bench_lru_holds(lru, at[b])) {
                hits += n_missing == 0 ? 1 : 0;
                bench_lru_use(lru, at[b]);
            } else {
                missing[n_missing++] = at[b];
            }
        }
        for (uint32_t b = 0; b < n_missing; b++) {
            bench_lru_use(lru, missing[b]);
        }
    }
    if (lru == NULL) {
        return bench_error("simulate", DS_ENOMEM);
    }
    bench_lru_destroy(lru);
    return hits;
}

/* --- the table --- */

static double percent(const struct simulate *s, uint64_t hits)
{
    return 100.0 * (double)hits / (double)s->summary.references;
}

static void note(struct simulate *s, uint64_t capacity, const char *policy, double value)
{
    char name[48];

    (void)snprintf(name, sizeof(name), "%s_%llu_pct", policy, (unsigned long long)capacity);
    if (s->run->n_facts < BENCH_FACTS_MAX) {
        bench_report_fact(s->run, name, value);
    }
}

static int one_policy(struct simulate *s, uint64_t capacity, const char *policy, uint32_t *missing)
{
    struct cache c;
    uint64_t begin = bench_ticks();
    double value, ns;

    if (cache_open(&c, s, policy, capacity * s->block_size) != 0) {
        return -1;
    }
    value = percent(s, run_trace(&c, missing));
    ns = bench_seconds_of(s->run, bench_ticks() - begin) * 1e9 / (double)s->summary.references;
    fprintf(s->run->human, " %10.2f", value);
    note(s, capacity, policy, value);
    if (c.policy != NULL && strcmp(policy, "auto") == 0) {
        fprintf(s->run->human, "  %s at the end, %llu changes, %.0f ns a reference",
                ds_policy_acting(c.policy), (unsigned long long)c.switches, ns);
    }
    cache_close(&c);
    return 0;
}

static int one_capacity(struct simulate *s, uint64_t capacity, uint32_t *missing)
{
    static const char *const policies[] = {"fifo", "lru", "s3fifo", "auto"};
    int64_t exact;
    int rc = 0;

    fprintf(s->run->human, "%10llu", (unsigned long long)capacity);
    if (s->mixed) {
        fprintf(s->run->human, " %10s", "-");
    } else {
        exact = exact_lru(s, capacity, missing);
        if (exact < 0) {
            return -1;
        }
        fprintf(s->run->human, " %10.2f", percent(s, (uint64_t)exact));
        note(s, capacity, "exact_lru", percent(s, (uint64_t)exact));
    }
    for (size_t i = 0; rc == 0 && i < BENCH_LEN(policies); i++) {
        rc = one_policy(s, capacity, policies[i], missing);
    }
    fprintf(s->run->human, "\n");
    return rc;
}

static int simulate(struct simulate *s)
{
    uint32_t *missing;
    int rc = 0;

    if (bench_trace_load(s->path, s->limit, &s->trace) != 0 ||
        bench_trace_summary(&s->trace, &s->summary) != 0) {
        return -1;
    }
    missing = malloc(((size_t)s->summary.max + 1) * sizeof(*missing));
    if (missing == NULL) {
        return bench_error("simulate", DS_ENOMEM);
    }
    bench_trace_print_summary(&s->summary, s->run->human);
    fprintf(s->run->human, "prefix hits in %%%s:\n%10s %10s %10s %10s %10s %10s\n",
            s->mixed ? ", blocks of mixed sizes" : "", "blocks", "exact LRU", "fifo", "lru",
            "s3fifo", "auto");
    bench_report_fact(s->run, "ideal_pct", percent(s, s->summary.ideal_hits));
    for (size_t i = 0; rc == 0 && i < s->n_capacities; i++) {
        rc = one_capacity(s, s->capacity[i], missing);
    }
    free(missing);
    return rc;
}

/* "1000,5000,..." */
static int parse_capacities(struct simulate *s)
{
    char text[24];

    for (const char *at = s->capacities; *at != '\0';) {
        size_t n = strcspn(at, ",");

        if (n >= sizeof(text) || s->n_capacities == CAPACITIES_MAX) {
            return -1;
        }
        memcpy(text, at, n);
        text[n] = '\0';
        if (bench_size_parse(text, &s->capacity[s->n_capacities]) != 0 ||
            s->capacity[s->n_capacities] == 0 || s->capacity[s->n_capacities] > UINT32_MAX) {
            return -1;
        }
        s->n_capacities++;
        at += at[n] == ',' ? n + 1 : n;
    }
    return s->n_capacities > 0 ? 0 : -1;
}

int bench_simulate_main(struct bench_run *run, const struct bench_command *self, int argc,
                        char **argv)
{
    struct simulate s = {
        .run = run, .block_size = 72 << 10, .capacities = "1000,5000,10000,20000,50000"};
    const struct bench_flag flags[] = {
        {"trace", BENCH_FLAG_STRING, &s.path, "FILE", "the trace; - reads stdin"},
        {"capacity", BENCH_FLAG_STRING, &s.capacities, "N,N,...",
         "capacities in blocks (1000,5000,10000,20000,50000)"},
        {"block-size", BENCH_FLAG_SIZE, &s.block_size, "SIZE", "bytes of a block (72K)"},
        {"mixed", BENCH_FLAG_BOOL, &s.mixed, NULL, "sizes from 1/16 to 16 blocks"},
        {"limit", BENCH_FLAG_U64, &s.limit, "N", "only the first N requests"},
    };
    int rc = bench_parse(run, self, flags, BENCH_LEN(flags), argc, argv);

    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    if (s.path == NULL || s.block_size < 1024 || s.block_size > (uint64_t)1 << 30 ||
        parse_capacities(&s) != 0) {
        fprintf(stderr,
                "dsbench simulate: needs --trace FILE, --block-size 1K to 1G and --capacity with "
                "at most %u numbers of blocks, such as 1000,5000\n",
                CAPACITIES_MAX);
        return 2;
    }
    s.limit = s.limit == 0 ? SIZE_MAX : s.limit;
    rc = simulate(&s);
    bench_trace_free(&s.trace);
    return rc == 0 ? 0 : 1;
}
