/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - dsbench copy: gets into the caller's memory beside memcpy out of a segment of the same
 * kind (memfd, shared, populated), round-robin over as many values, into the same target.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define RING_BYTES ((uint64_t)256 << 20)

struct copy {
    struct bench_run *run;
    struct ds_client *client;
    uint64_t size;
    uint8_t *source, *target;
    struct bench_keys keys;
    struct bench_segment seg;
    struct bench_series get, floor;
    uint64_t n;
};

static double gbs_at_median(const struct copy *c, const struct bench_hist *h)
{
    double us = bench_us(c->run, bench_hist_quantile(h, 0.5));

    return us > 0 ? (double)c->size / us / 1e3 : 0;
}

static int gets_round(struct copy *c, struct bench_series *ret)
{
    uint64_t end = bench_deadline(c->run, c->run->seconds), t;
    const struct ds_bytes *key;
    struct bench_hist h;
    size_t got = 0;
    int rc;

    bench_hist_reset(&h);
    do {
        key = &c->keys.key[h.n % c->keys.n];
        t = bench_ticks();
        rc = ds_kv_get_into(c->client, key->data, key->size, 0, c->target, c->size, &got);
        if (rc != 0) {
            return bench_error("get_into", rc);
        }
        bench_hist_add(&h, bench_ticks() - t);
    } while (bench_ticks() < end || h.n < c->keys.n);
    if (got != c->size || memcmp(c->target, c->source, c->size) != 0) {
        fprintf(stderr, "dsbench: get_into gave wrong bytes\n");
        return -1;
    }
    c->n += h.n;
    bench_series_add(ret, gbs_at_median(c, &h));
    return 0;
}

static void floor_round(struct copy *c)
{
    uint64_t end = bench_deadline(c->run, c->run->seconds), t;
    size_t places = c->seg.size / c->size;
    struct bench_hist h;

    bench_hist_reset(&h);
    do {
        t = bench_ticks();
        memcpy(c->target, c->seg.map + (h.n % places) * c->size, c->size);
        bench_hist_add(&h, bench_ticks() - t);
    } while (bench_ticks() < end || h.n < places);
    bench_series_add(&c->floor, gbs_at_median(c, &h));
}

static int measure(struct copy *c)
{
    struct bench_series ignored = {.n = 0};
    struct bench_row row;
    int rc;

    if (bench_keys_make(&c->keys, "copy", bench_fit(c->client, c->size, RING_BYTES / c->size)) ||
        bench_segment_open(&c->seg, c->keys.n * c->size, true) != 0) {
        return -1;
    }
    for (size_t i = 0; i < c->keys.n; i++) {
        rc = ds_kv_set(c->client, c->keys.key[i].data, c->keys.key[i].size, c->source, c->size,
                       NULL);
        if (rc != 0) {
            return bench_error("set", rc);
        }
    }
    if (gets_round(c, &ignored) != 0) {
        return -1;
    }
    c->n = 0;
    for (uint64_t r = 0; r < c->run->rounds; r++) {
        floor_round(c);
        if (gets_round(c, &c->get) != 0) {
            return -1;
        }
    }
    row = bench_row("get into own memory", "GB/s");
    row.size = c->size;
    row.n = c->n;
    bench_row_values(&row, &c->get);
    bench_row_floor(&row, "memcpy", bench_series_median(&c->floor));
    if (c->size >= (uint64_t)1 << 20) {
        bench_row_at_least(&row, ">= 0.9 memcpy", row.ratio, 0.9);
    }
    bench_report_row(c->run, &row);
    return 0;
}

static int one_size(struct bench_run *run, struct ds_client *client, uint64_t size)
{
    struct copy c = {.run = run, .client = client, .size = size, .seg = {.fd = -1}};
    int rc = -1;

    c.source = bench_memory(size);
    c.target = bench_memory(size);
    if (c.source != NULL && c.target != NULL) {
        for (uint64_t i = 0; i < size; i++) {
            c.source[i] = (uint8_t)(i * 31 + (i >> 12));
        }
        rc = measure(&c);
    }
    if (c.keys.key != NULL) {
        bench_keys_delete(client, &c.keys);
    }
    bench_keys_free(&c.keys);
    bench_segment_close(&c.seg);
    bench_memory_free(c.source, size);
    bench_memory_free(c.target, size);
    return rc;
}

int bench_copy_main(struct bench_run *run, const struct bench_command *self, int argc, char **argv)
{
    static const uint64_t sizes[] = {4096, (uint64_t)1 << 20, (uint64_t)64 << 20};
    struct ds_client *client = NULL;
    int rc = bench_parse(run, self, NULL, 0, argc, argv);

    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    rc = bench_connect(run, &client);
    for (size_t i = 0; rc == 0 && i < BENCH_LEN(sizes); i++) {
        rc = one_size(run, client, sizes[i]);
    }
    ds_client_close(client);
    return rc == 0 ? 0 : 1;
}
