/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot.c - dsbench hot: what one client with few small, much used values sees at a modest rate.
 *
 * Every period it reads some keys in place and sets some anew, then sleeps until the next one, so
 * that what others do to the worker at the same time shows in its latencies and its own speed does
 * not. A get that memory does not serve is timed apart: it is no local hit.
 */
#include <time.h>

#include "bench.h"

#define CALLS_MAX 10000u

struct hot {
    struct bench_run *run;
    struct ds_client *client;
    struct bench_keys keys;
    void *value;
    uint64_t size, n_keys, period_us, gets, sets;
    uint64_t next_get, next_set;
    uint64_t hits, asked, set, periods, late;
    struct bench_hist hit, get, all, put;
    struct bench_series hit_v[3], get_v[3], all_v[3], put_v[3]; /* p50, p99, p99.9 of each round */
};

/* Any key, the same order in every run. No fixed stride: the client tells the worker of a part of
 * its hits alone, which must not always be that of the same keys. */
static const struct ds_bytes *next_key(const struct hot *h, uint64_t *at)
{
    *at = *at * 6364136223846793005u + 1442695040888963407u;
    return &h->keys.key[(*at >> 33) % h->keys.n];
}

static int one_get(struct hot *h)
{
    const struct ds_bytes *key = next_key(h, &h->next_get);
    struct ds_view view;
    uint64_t t = bench_ticks();
    int rc = ds_kv_try_get(h->client, key->data, key->size, &view);
    bool local = rc == 0;

    if (!local) {
        rc = ds_kv_get(h->client, key->data, key->size, 0, &view);
    }
    if (rc != 0) {
        return bench_error("get", rc);
    }
    bench_keep(*(const volatile uint8_t *)view.data);
    ds_view_release(&view);
    t = bench_ticks() - t;
    bench_hist_add(&h->all, t);
    bench_hist_add(local ? &h->hit : &h->get, t);
    return 0;
}

static int one_set(struct hot *h)
{
    const struct ds_bytes *key = next_key(h, &h->next_set);
    uint64_t t = bench_ticks();
    int rc = ds_kv_set(h->client, key->data, key->size, h->value, h->size, NULL);

    bench_hist_add(&h->put, bench_ticks() - t);
    return rc == 0 ? 0 : bench_error("set", rc);
}

static int one_period(struct hot *h)
{
    for (uint64_t i = 0; i < h->gets || i < h->sets; i++) {
        if ((i < h->gets && one_get(h) != 0) || (i < h->sets && one_set(h) != 0)) {
            return -1;
        }
    }
    return 0;
}

/* The rate is fixed: a period that begins late is counted, and those that passed are left out. */
static void sleep_until(struct hot *h, uint64_t *next_ns)
{
    uint64_t period = h->period_us * 1000, now = bench_clock_ns();
    struct timespec at;

    *next_ns += period;
    if (*next_ns <= now) {
        h->late++;
        *next_ns = now;
        return;
    }
    at.tv_sec = (time_t)(*next_ns / 1000000000u);
    at.tv_nsec = (long)(*next_ns % 1000000000u);
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void add_quantiles(const struct hot *h, struct bench_series *s, const struct bench_hist *of)
{
    static const double q[] = {0.5, 0.99, 0.999};

    for (size_t i = 0; of->n > 0 && i < BENCH_LEN(q); i++) {
        bench_series_add(&s[i], bench_us(h->run, bench_hist_quantile(of, q[i])));
    }
}

static int one_round(struct hot *h)
{
    uint64_t end = bench_deadline(h->run, h->run->seconds), next = bench_clock_ns();

    bench_hist_reset(&h->hit);
    bench_hist_reset(&h->get);
    bench_hist_reset(&h->all);
    bench_hist_reset(&h->put);
    do {
        if (one_period(h) != 0) {
            return -1;
        }
        h->periods++;
        sleep_until(h, &next);
    } while (bench_ticks() < end);
    h->hits += h->hit.n;
    h->asked += h->get.n;
    h->set += h->put.n;
    add_quantiles(h, h->hit_v, &h->hit);
    add_quantiles(h, h->get_v, &h->get);
    add_quantiles(h, h->all_v, &h->all);
    add_quantiles(h, h->put_v, &h->put);
    return 0;
}

static void report(struct hot *h, const char *what, const struct bench_series *s, uint64_t n)
{
    struct bench_row row = bench_row(what, "us");

    if (s[0].n == 0) {
        return;
    }
    row.size = h->size;
    row.n = n;
    bench_row_values(&row, &s[0]);
    row.p99 = bench_series_median(&s[1]);
    row.p999 = bench_series_median(&s[2]);
    bench_report_row(h->run, &row);
}

static int measure(struct hot *h)
{
    int rc;

    for (size_t i = 0; i < h->keys.n; i++) {
        rc =
            ds_kv_set(h->client, h->keys.key[i].data, h->keys.key[i].size, h->value, h->size, NULL);
        if (rc != 0) {
            return bench_error("set", rc);
        }
    }
    for (uint64_t r = 0; r < h->run->rounds; r++) {
        if (one_round(h) != 0) {
            return -1;
        }
    }
    report(h, "local hit", h->hit_v, h->hits);
    report(h, "get that asks the worker", h->get_v, h->asked);
    report(h, "get, local or not", h->all_v, h->hits + h->asked);
    report(h, "set, existing key", h->put_v, h->set);
    bench_report_fact(h->run, "asked_pct", 100.0 * (double)h->asked / (double)(h->hits + h->asked));
    bench_report_fact(h->run, "late_pct", 100.0 * (double)h->late / (double)h->periods);
    return 0;
}

int bench_hot_main(struct bench_run *run, const struct bench_command *self, int argc, char **argv)
{
    static struct hot h; /* the histograms are large */
    const struct bench_flag flags[] = {
        {"size", BENCH_FLAG_SIZE, &h.size, "SIZE", "bytes of a value (1K)"},
        {"keys", BENCH_FLAG_U64, &h.n_keys, "N", "how many there are (1000)"},
        {"period-us", BENCH_FLAG_U64, &h.period_us, "US", "time between two bursts (1000)"},
        {"gets", BENCH_FLAG_U64, &h.gets, "N", "gets of a burst (8)"},
        {"sets", BENCH_FLAG_U64, &h.sets, "N", "sets of a burst (2)"},
    };
    int rc;

    h = (struct hot){
        .run = run, .size = 1024, .n_keys = 1000, .period_us = 1000, .gets = 8, .sets = 2};
    rc = bench_parse(run, self, flags, BENCH_LEN(flags), argc, argv);
    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    if (h.size == 0 || h.n_keys == 0 || h.gets == 0 || h.gets > CALLS_MAX || h.sets > CALLS_MAX) {
        fprintf(stderr, "dsbench hot: needs --size, --keys, --gets above 0, at most %u calls\n",
                CALLS_MAX);
        return 2;
    }
    h.value = bench_memory(h.size);
    rc = h.value == NULL ? -1 : bench_connect(run, &h.client);
    rc = rc == 0 ? bench_keys_make(&h.keys, "hot", h.n_keys) : rc;
    rc = rc == 0 ? measure(&h) : rc;
    if (h.client != NULL && h.keys.key != NULL) {
        bench_keys_delete(h.client, &h.keys);
    }
    bench_keys_free(&h.keys);
    ds_client_close(h.client);
    bench_memory_free(h.value, h.size);
    return rc == 0 ? 0 : 1;
}
