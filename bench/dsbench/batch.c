/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.c - dsbench batch: mget of views and mset of many keys in one call.
 *
 * mget counts the call and the release of all views. The floor of mset copies the one value into as
 * many places of a populated shared memfd segment, the same each time, so that small ones stay in
 * the CPU's caches. A second floor goes on to other places each time, over COLD_BYTES.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define BATCH_MAX 512u
#define COLD_BYTES ((uint64_t)256 << 20)

struct batch {
    struct bench_run *run;
    struct ds_client *client;
    uint64_t size;
    unsigned n;
    struct bench_keys keys;
    struct ds_bytes values[BATCH_MAX];
    struct ds_view views[BATCH_MAX];
    struct bench_segment seg;
    uint8_t *value;
    struct bench_series mget, mget_read, mset_new, mset_over, floor, cold;
    uint64_t cold_at;
};

enum op { OP_MGET, OP_MGET_READ, OP_MSET_NEW, OP_MSET_OVER, OP_COPY, OP_COPY_COLD };

static int mget(struct batch *b, bool read_first)
{
    uint64_t sum = 0;
    int rc = ds_kv_mget(b->client, b->keys.key, b->n, 0, b->views, NULL);

    if (rc != 0) {
        return bench_error("mget", rc);
    }
    for (unsigned i = 0; read_first && i < b->n; i++) {
        sum += *(const volatile uint8_t *)b->views[i].data;
    }
    bench_keep(sum);
    if (b->views[b->n - 1].size != b->size) {
        fprintf(stderr, "dsbench: mget gave wrong sizes\n");
        return -1;
    }
    ds_view_release_many(b->views, b->n);
    return 0;
}

static int mset(struct batch *b)
{
    int results[BATCH_MAX];
    int rc = ds_kv_mset(b->client, b->keys.key, b->values, b->n, NULL, results);

    for (unsigned i = 0; rc == 0 && i < b->n; i++) {
        rc = results[i];
    }
    return rc == 0 ? 0 : bench_error("mset", rc);
}

static int copy_to(struct batch *b, uint64_t at)
{
    for (unsigned i = 0; i < b->n; i++) {
        memcpy(b->seg.map + at + (uint64_t)i * b->size, b->value, b->size);
    }
    return 0;
}

static int once(struct batch *b, enum op op)
{
    uint64_t at;

    switch (op) {
    case OP_MGET:
        return mget(b, false);
    case OP_MGET_READ:
        return mget(b, true);
    case OP_MSET_NEW:
    case OP_MSET_OVER:
        return mset(b);
    case OP_COPY_COLD:
        at = b->cold_at;
        b->cold_at += b->n * b->size;
        b->cold_at = b->cold_at + b->n * b->size > COLD_BYTES ? 0 : b->cold_at;
        return copy_to(b, at);
    case OP_COPY:
    default:
        return copy_to(b, 0);
    }
}

/* Keys per second at the median call. */
static int round_of(struct batch *b, enum op op, struct bench_series *ret)
{
    uint64_t spent = 0, t, limit = (uint64_t)(b->run->seconds * 1e9 / b->run->ns_per_tick);
    struct bench_hist h;

    bench_hist_reset(&h);
    while (spent < limit && h.n < 100000) {
        if (op == OP_MSET_NEW) {
            bench_keys_delete(b->client, &b->keys);
        }
        t = bench_ticks();
        if (once(b, op) != 0) {
            return -1;
        }
        t = bench_ticks() - t;
        bench_hist_add(&h, t);
        spent += t;
    }
    bench_series_add(ret, (double)b->n / bench_us(b->run, bench_hist_quantile(&h, 0.5)) * 1e6);
    return 0;
}

static void report_mget(struct batch *b)
{
    struct bench_row row = bench_row("mget and release", "keys/s");

    row.size = b->size;
    row.batch = b->n;
    bench_row_values(&row, &b->mget);
    if (b->size == 4096 && b->n == 512) {
        bench_row_at_least(&row, ">= 5 M keys/s", row.value, 5e6);
    }
    bench_report_row(b->run, &row);
    row = bench_row("mget, read a byte each, release", "keys/s");
    row.size = b->size;
    row.batch = b->n;
    bench_row_values(&row, &b->mget_read);
    bench_report_row(b->run, &row);
}

static void report_mset(struct batch *b, const char *what, const struct bench_series *keys)
{
    struct bench_series gbs = *keys;
    struct bench_row row = bench_row(what, "GB/s");

    for (unsigned i = 0; i < gbs.n; i++) {
        gbs.v[i] *= (double)b->size / 1e9;
    }
    row.size = b->size;
    row.batch = b->n;
    bench_row_values(&row, &gbs);
    bench_row_floor(&row, "memcpy", bench_series_median(&b->floor) * (double)b->size / 1e9);
    if (b->size == 4096 && b->n == 512) {
        bench_row_at_least(&row, ">= 0.5 memcpy", row.ratio, 0.5);
    }
    bench_report_row(b->run, &row);
    row.met = BENCH_NO_TARGET;
    bench_row_floor(&row, "cold memcpy", bench_series_median(&b->cold) * (double)b->size / 1e9);
    bench_report_row(b->run, &row);
}

static int measure(struct batch *b)
{
    struct bench_series ignored = {.n = 0};

    if (bench_keys_make(&b->keys, "batch", b->n) != 0 ||
        bench_segment_open(&b->seg, COLD_BYTES, true) != 0) {
        return -1;
    }
    b->value = bench_memory(b->size);
    for (unsigned i = 0; i < b->n; i++) {
        b->values[i] = (struct ds_bytes){.data = b->value, .size = b->size};
    }
    if (b->value == NULL || round_of(b, OP_MSET_NEW, &ignored) != 0 ||
        round_of(b, OP_MSET_OVER, &ignored) != 0 || round_of(b, OP_MSET_NEW, &ignored) != 0) {
        return -1;
    }
    for (uint64_t r = 0; r < b->run->rounds; r++) {
        if (round_of(b, OP_COPY, &b->floor) != 0 || round_of(b, OP_COPY_COLD, &b->cold) != 0 ||
            round_of(b, OP_MSET_NEW, &b->mset_new) != 0 ||
            round_of(b, OP_MSET_OVER, &b->mset_over) != 0 || round_of(b, OP_MGET, &b->mget) != 0 ||
            round_of(b, OP_MGET_READ, &b->mget_read) != 0) {
            return -1;
        }
    }
    report_mget(b);
    report_mset(b, "mset, new keys", &b->mset_new);
    report_mset(b, "mset, existing keys", &b->mset_over);
    return 0;
}

static int one_case(struct bench_run *run, struct ds_client *client, uint64_t size, unsigned n)
{
    struct batch *b = calloc(1, sizeof(*b));
    int rc;

    if (b == NULL) {
        fprintf(stderr, "dsbench: no memory\n");
        return -1;
    }
    b->run = run;
    b->client = client;
    b->size = size;
    b->n = n;
    b->seg.fd = -1;
    rc = measure(b);
    if (b->keys.key != NULL) {
        bench_keys_delete(client, &b->keys);
    }
    bench_keys_free(&b->keys);
    bench_segment_close(&b->seg);
    bench_memory_free(b->value, size);
    free(b);
    return rc;
}

int bench_batch_main(struct bench_run *run, const struct bench_command *self, int argc, char **argv)
{
    static const struct {
        uint64_t size;
        unsigned n;
    } cases[] = {{4096, 512}, {4096, 64}, {73728, 512}, {73728, 64}};
    struct ds_client *client = NULL;
    int rc = bench_parse(run, self, NULL, 0, argc, argv);

    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    rc = bench_connect(run, &client);
    if (rc == 0) {
        rc = bench_warm(client);
    }
    for (size_t i = 0; rc == 0 && i < BENCH_LEN(cases); i++) {
        rc = one_case(run, client, cases[i].size, cases[i].n);
    }
    ds_client_close(client);
    return rc == 0 ? 0 : 1;
}
