/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency.c - dsbench latency: one zero-copy hit (get, read a byte, release), by size of the value.
 */
#include <stdlib.h>

#include "bench.h"

#define KEYS_MAX 256u
#define SPREAD_KEYS_MAX 200000u
#define SPREAD_SIZE 64u
#define GROUP 16u
#define TARGET_US 0.5
#define FLAT 1.5 /* slowest size to fastest: what counts as flat */

static const uint64_t sizes[] = {64, 1024, 4096, 65536, 1u << 20, 16u << 20, 64u << 20};
#define SIZES BENCH_LEN(sizes)

struct size_case {
    uint64_t size;
    struct bench_keys keys; /* n == 0: does not fit into the worker */
    struct bench_series p50, p99, copy;
    uint64_t n;
};

struct latency {
    struct bench_run *run;
    struct ds_client *client;
    struct bench_pingpong pp;
    struct size_case cases[SIZES];
    struct bench_keys spread;
    struct bench_series spread_p50, spread_p99;
    uint64_t spread_n;
    uint8_t *source, *target; /* of the largest size */
    uint64_t size_max, hits;
};

static int fill(struct latency *l, const char *prefix, uint64_t size, size_t n,
                struct bench_keys *keys)
{
    int rc;

    if (bench_keys_make(keys, prefix, n) != 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        rc = ds_kv_set(l->client, keys->key[i].data, keys->key[i].size, l->source, size, NULL);
        if (rc != 0) {
            return bench_error("set", rc);
        }
    }
    return 0;
}

static int prepare(struct latency *l)
{
    struct ds_worker_stats stats;
    struct size_case *c;
    char prefix[16];
    size_t spread;

    for (size_t i = 0; i < SIZES && sizes[i] <= l->size_max; i++) {
        c = &l->cases[i];
        c->size = sizes[i];
        if (bench_stats(l->client, &stats) != 0) {
            return -1;
        }
        if (stats.memory_free < 2 * c->size) {
            fprintf(l->run->human, "%llu bytes: skipped, the worker has only %llu free\n",
                    (unsigned long long)c->size, (unsigned long long)stats.memory_free);
            continue;
        }
        (void)snprintf(prefix, sizeof(prefix), "lat%zu", i);
        if (fill(l, prefix, c->size, bench_fit(l->client, c->size, KEYS_MAX), &c->keys) != 0) {
            return -1;
        }
    }
    spread = bench_fit(l->client, 512, l->hits != 0 ? KEYS_MAX : SPREAD_KEYS_MAX);
    return fill(l, "spread", SPREAD_SIZE, spread, &l->spread);
}

static int one_hit(struct latency *l, const struct ds_bytes *key, uint64_t size)
{
    struct ds_view view;
    int rc = ds_kv_get(l->client, key->data, key->size, 0, &view);

    if (rc != 0) {
        return bench_error("get", rc);
    }
    bench_keep(*(const volatile uint8_t *)view.data);
    if (view.size != size) {
        fprintf(stderr, "dsbench: a value of %zu bytes instead of %llu\n", view.size,
                (unsigned long long)size);
        return -1;
    }
    ds_view_release(&view);
    return 0;
}

/* Hits for half of `seconds`, or --hits of them, timed `group` at a time; every `step`-th key. */
static int hits_round(struct latency *l, const struct bench_keys *keys, uint64_t size, size_t step,
                      unsigned group, struct bench_hist *h)
{
    uint64_t end = bench_deadline(l->run, l->run->seconds / 2), t = 0;
    size_t at = 0;

    bench_hist_reset(h);
    while (l->hits != 0 ? h->n * group < l->hits : t < end) {
        t = bench_ticks();
        for (unsigned i = 0; i < group; i++) {
            if (one_hit(l, &keys->key[at], size) != 0) {
                return -1;
            }
            at += step;
            at = at < keys->n ? at : at % keys->n;
        }
        bench_hist_add(h, (bench_ticks() - t + group / 2) / group);
    }
    return 0;
}

/* p50 from groups, since a tick may be as coarse as 10 ns; p99 from single hits. */
static int both_rounds(struct latency *l, const struct bench_keys *keys, uint64_t size, size_t step,
                       struct bench_series *p50, struct bench_series *p99, uint64_t *n)
{
    struct bench_hist h;

    if (hits_round(l, keys, size, step, GROUP, &h) != 0) {
        return -1;
    }
    bench_series_add(p50, bench_us(l->run, bench_hist_quantile(&h, 0.5)));
    *n += h.n * GROUP;
    if (hits_round(l, keys, size, step, 1, &h) != 0) {
        return -1;
    }
    bench_series_add(p99, bench_us(l->run, bench_hist_quantile(&h, 0.99)));
    *n += h.n;
    return 0;
}

/* The same size copied: what a cache that copies pays at least. */
static void copy_round(struct latency *l, uint64_t size, struct bench_series *us)
{
    uint64_t end = bench_deadline(l->run, l->run->seconds / 4), t, n = 0;
    uint64_t begin = bench_ticks();

    do {
        __builtin_memcpy(l->target, l->source, size);
        bench_keep((uint64_t)(uintptr_t)l->target);
        n++;
        t = bench_ticks();
    } while (t < end);
    bench_series_add(us, bench_us(l->run, (double)(t - begin) / (double)n));
}

static int round_all(struct latency *l)
{
    struct size_case *c;

    if (l->hits == 0 && bench_pingpong_round(l->run, &l->pp) != 0) {
        return -1;
    }
    for (size_t i = 0; i < SIZES; i++) {
        c = &l->cases[i];
        if (c->keys.n == 0) {
            continue;
        }
        copy_round(l, c->size, &c->copy);
        if (both_rounds(l, &c->keys, c->size, 1, &c->p50, &c->p99, &c->n) != 0) {
            return -1;
        }
    }
    return both_rounds(l, &l->spread, SPREAD_SIZE, 7919, &l->spread_p50, &l->spread_p99,
                       &l->spread_n);
}

static void report(struct latency *l)
{
    double lowest = 1e30, highest = 0, v;
    struct bench_series flat = {.n = 0};
    struct bench_row row;

    if (l->hits == 0) {
        bench_pingpong_report(l->run, &l->pp);
    }
    for (size_t i = 0; i < SIZES; i++) {
        struct size_case *c = &l->cases[i];

        if (c->keys.n == 0) {
            continue;
        }
        row = bench_row("hit", "us");
        row.size = c->size;
        row.n = c->n;
        bench_row_values(&row, &c->p50);
        row.p99 = bench_series_median(&c->p99);
        bench_row_floor(&row, "memcpy", bench_series_median(&c->copy));
        bench_row_at_most(&row, "<= 0.5 us", row.value, TARGET_US);
        bench_report_row(l->run, &row);
        v = row.value;
        lowest = v < lowest ? v : lowest;
        highest = v > highest ? v : highest;
    }
    row = bench_row("hit, many keys in scattered order", "us");
    row.size = SPREAD_SIZE;
    row.n = l->spread_n;
    bench_row_values(&row, &l->spread_p50);
    row.p99 = bench_series_median(&l->spread_p99);
    bench_row_floor(&row, "ping-pong", bench_pingpong_us(&l->pp));
    bench_report_row(l->run, &row);
    bench_report_fact(l->run, "scattered_keys", (double)l->spread.n);
    if (highest > 0) {
        bench_series_add(&flat, highest / lowest);
        row = bench_row("slowest size to fastest", "x");
        bench_row_values(&row, &flat);
        bench_row_at_most(&row, "flat: <= 1.5", row.value, FLAT);
        bench_report_row(l->run, &row);
    }
}

static int measure(struct latency *l)
{
    if (bench_connect(l->run, &l->client) != 0 || prepare(l) != 0) {
        return -1;
    }
    for (uint64_t r = 0; r < l->run->rounds; r++) {
        if (round_all(l) != 0) {
            return -1;
        }
    }
    report(l);
    return 0;
}

static void clean_up(struct latency *l)
{
    for (size_t i = 0; i < SIZES; i++) {
        if (l->client != NULL && l->cases[i].keys.key != NULL) {
            bench_keys_delete(l->client, &l->cases[i].keys);
        }
        bench_keys_free(&l->cases[i].keys);
    }
    if (l->client != NULL && l->spread.key != NULL) {
        bench_keys_delete(l->client, &l->spread);
    }
    bench_keys_free(&l->spread);
    ds_client_close(l->client);
    bench_pingpong_stop(&l->pp);
    bench_memory_free(l->source, sizes[SIZES - 1]);
    bench_memory_free(l->target, sizes[SIZES - 1]);
}

int bench_latency_main(struct bench_run *run, const struct bench_command *self, int argc,
                       char **argv)
{
    struct latency l = {.run = run, .size_max = sizes[SIZES - 1]};
    const struct bench_flag flags[] = {
        {"size-max", BENCH_FLAG_SIZE, &l.size_max, "SIZE", "largest value (64M)"},
        {"hits", BENCH_FLAG_U64, &l.hits, "N",
         "exactly N hits per size and round and no ping-pong, to compare under strace -c"},
    };
    int rc = bench_parse(run, self, flags, BENCH_LEN(flags), argc, argv);

    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    rc = bench_pingpong_start(run, &l.pp);
    if (rc == 0) {
        l.source = bench_memory(sizes[SIZES - 1]);
        l.target = bench_memory(sizes[SIZES - 1]);
        rc = l.source == NULL || l.target == NULL ? -1 : measure(&l);
    }
    clean_up(&l);
    return rc == 0 ? 0 : 1;
}
