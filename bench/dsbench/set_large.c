/* SPDX-License-Identifier: Apache-2.0 */
/*
 * set_large.c - sets of 1 MiB and 64 MiB beside a copy into memory of the same kind.
 *
 * Warm: every page of the blocks was written through this process's mapping before. The floor
 * copies the same source round-robin into as many distinct places of a memfd segment that is
 * mapped shared and populated.
 *
 * First touch: a fresh process writes blocks that it never wrote, so that each page faults once
 * in its mapping. Two floors: a copy through a second mapping of a memfd whose pages are there
 * (what a worker that reserves ahead can reach), and into a memfd without pages.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "set.h"

#define RING_BYTES ((uint64_t)256 << 20)
#define FIRST_BYTES ((uint64_t)64 << 20)

struct large {
    struct bench_run *run;
    struct ds_client *client;
    uint64_t size;
    uint8_t *source;
    struct bench_keys keys;
    struct bench_segment seg;
    struct bench_series set, in_place, floor;
    uint64_t n;
};

static double gbs(double bytes, double seconds)
{
    return seconds > 0 ? bytes / seconds / 1e9 : 0;
}

static int set_in_place(struct large *l, const struct ds_bytes *key)
{
    struct ds_buffer *buffer = NULL;
    int rc = ds_kv_create(l->client, key->data, key->size, l->size, NULL, &buffer);

    if (rc == 0) {
        memcpy(ds_buffer_mutable_data(buffer), l->source, l->size);
        rc = ds_kv_publish(l->client, &buffer, 1, NULL);
    }
    ds_buffer_free(buffer);
    return rc;
}

/* Writes for `seconds` and at least each key once; the bandwidth at the median write. */
static int sets_round(struct large *l, bool in_place, struct bench_series *ret)
{
    uint64_t end = bench_deadline(l->run, l->run->seconds), t;
    const struct ds_bytes *key;
    struct bench_hist h;
    int rc;

    bench_hist_reset(&h);
    do {
        key = &l->keys.key[h.n % l->keys.n];
        t = bench_ticks();
        rc = in_place ? set_in_place(l, key)
                      : ds_kv_set(l->client, key->data, key->size, l->source, l->size, NULL);
        if (rc != 0) {
            return bench_error("set", rc);
        }
        bench_hist_add(&h, bench_ticks() - t);
    } while (bench_ticks() < end || h.n < l->keys.n);
    l->n += in_place ? 0 : h.n;
    bench_series_add(ret,
                     gbs((double)l->size, bench_us(l->run, bench_hist_quantile(&h, 0.5)) / 1e6));
    return 0;
}

static void floor_round(struct large *l)
{
    uint64_t end = bench_deadline(l->run, l->run->seconds), t;
    size_t places = l->seg.size / l->size;
    struct bench_hist h;

    bench_hist_reset(&h);
    do {
        t = bench_ticks();
        memcpy(l->seg.map + (h.n % places) * l->size, l->source, l->size);
        bench_hist_add(&h, bench_ticks() - t);
    } while (bench_ticks() < end || h.n < places);
    bench_series_add(&l->floor,
                     gbs((double)l->size, bench_us(l->run, bench_hist_quantile(&h, 0.5)) / 1e6));
}

static void warm_report(struct large *l)
{
    double floor = bench_series_median(&l->floor);
    struct bench_row row = bench_row("set, memory touched before", "GB/s");

    row.size = l->size;
    row.n = l->n;
    bench_row_values(&row, &l->set);
    bench_row_floor(&row, "memcpy", floor);
    bench_row_at_least(&row, ">= 0.9 memcpy", row.ratio, 0.9);
    bench_report_row(l->run, &row);
    row = bench_row("create, fill, publish, touched before", "GB/s");
    row.size = l->size;
    bench_row_values(&row, &l->in_place);
    bench_row_floor(&row, "memcpy", floor);
    bench_report_row(l->run, &row);
}

static int warm_measure(struct large *l)
{
    struct bench_series ignored = {.n = 0};
    size_t n = bench_fit(l->client, l->size, RING_BYTES / l->size);

    n = n < 2 ? 2 : n;
    if (bench_keys_make(&l->keys, "large", n) != 0 || bench_warm(l->client) != 0 ||
        bench_segment_open(&l->seg, n * l->size, true) != 0 ||
        sets_round(l, false, &ignored) != 0) {
        return -1;
    }
    l->n = 0;
    for (uint64_t r = 0; r < l->run->rounds; r++) {
        floor_round(l);
        if (sets_round(l, false, &l->set) != 0 || sets_round(l, true, &l->in_place) != 0) {
            return -1;
        }
    }
    warm_report(l);
    return 0;
}

static int warm(struct bench_run *run, uint64_t size, uint8_t *source)
{
    struct large l = {.run = run, .size = size, .source = source, .seg = {.fd = -1}};
    int rc = bench_connect(run, &l.client);

    if (rc == 0) {
        rc = warm_measure(&l);
    }
    if (l.keys.key != NULL) {
        bench_keys_delete(l.client, &l.keys);
    }
    bench_keys_free(&l.keys);
    bench_segment_close(&l.seg);
    ds_client_close(l.client);
    return rc;
}

/* --- first touch --- */

/* In a process of its own: FIRST_BYTES in values of `size`, each block new to this mapping. */
static double first_touch_sets(struct bench_run *run, uint64_t size, const uint8_t *source)
{
    struct bench_keys keys = {.n = 0};
    struct ds_client *client = NULL;
    uint64_t begin, ticks = 0;
    int rc = bench_connect(run, &client);

    if (rc == 0) {
        rc = bench_keys_make(&keys, "first", (size_t)(FIRST_BYTES / size));
    }
    begin = bench_ticks();
    for (size_t i = 0; rc == 0 && i < keys.n; i++) {
        rc = ds_kv_set(client, keys.key[i].data, keys.key[i].size, source, size, NULL);
        if (rc != 0) {
            (void)bench_error("set", rc);
        }
    }
    ticks = bench_ticks() - begin;
    if (keys.key != NULL) {
        bench_keys_delete(client, &keys);
    }
    bench_keys_free(&keys);
    ds_client_close(client);
    return rc == 0 ? gbs((double)FIRST_BYTES, bench_seconds_of(run, ticks)) : -1;
}

static int first_touch_process(struct bench_run *run, uint64_t size, const uint8_t *source,
                               double *shared)
{
    int status = 0;
    pid_t pid = fork();

    if (pid < 0) {
        perror("dsbench: fork");
        return -1;
    }
    if (pid == 0) {
        (void)bench_kill_with_parent();
        *shared = first_touch_sets(run, size, source);
        _exit(*shared > 0 ? 0 : 1);
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "dsbench: the first-touch process failed\n");
        return -1;
    }
    return 0;
}

/* A copy into pages that are there but not mapped (`resident`), or not there at all. */
static int first_touch_floor(struct bench_run *run, uint64_t size, const uint8_t *source,
                             bool resident, struct bench_series *ret)
{
    struct bench_segment seg = {.fd = -1};
    uint8_t *map = NULL;
    uint64_t begin;

    if (bench_segment_open(&seg, FIRST_BYTES, resident) != 0) {
        return -1;
    }
    map = resident ? bench_segment_map_again(&seg) : seg.map;
    if (map != NULL) {
        begin = bench_ticks();
        for (uint64_t at = 0; at < FIRST_BYTES; at += size) {
            memcpy(map + at, source, size);
        }
        bench_series_add(ret,
                         gbs((double)FIRST_BYTES, bench_seconds_of(run, bench_ticks() - begin)));
    }
    if (map != NULL && map != seg.map) {
        (void)munmap(map, seg.size);
    }
    bench_segment_close(&seg);
    return map != NULL ? 0 : -1;
}

static int first_touch(struct bench_run *run, uint64_t size, const uint8_t *source, double *shared)
{
    struct bench_series set = {.n = 0}, resident = {.n = 0}, fresh = {.n = 0};
    struct bench_row row;

    for (uint64_t r = 0; r < run->rounds; r++) {
        if (first_touch_floor(run, size, source, true, &resident) != 0 ||
            first_touch_process(run, size, source, shared) != 0 ||
            first_touch_floor(run, size, source, false, &fresh) != 0) {
            return -1;
        }
        bench_series_add(&set, *shared);
    }
    row = bench_row("set, first touch", "GB/s");
    row.size = size;
    row.n = run->rounds * (FIRST_BYTES / size);
    bench_row_values(&row, &set);
    bench_row_floor(&row, "copy, pages there", bench_series_median(&resident));
    bench_row_at_least(&row, ">= 0.9 touching", row.ratio, 0.9);
    bench_report_row(run, &row);
    row.met = BENCH_NO_TARGET;
    bench_row_floor(&row, "copy, no pages yet", bench_series_median(&fresh));
    bench_report_row(run, &row);
    return 0;
}

int bench_set_large(struct bench_run *run)
{
    static const uint64_t sizes[] = {(uint64_t)1 << 20, (uint64_t)64 << 20};
    struct bench_segment shared = {.fd = -1};
    uint8_t *source = bench_memory(sizes[1]);
    int rc = source == NULL ? -1 : bench_segment_open(&shared, 4096, true);

    for (size_t i = 0; rc == 0 && i < BENCH_LEN(sizes); i++) { /* forks, so before warm() */
        rc = first_touch(run, sizes[i], source, (double *)(void *)shared.map);
    }
    for (size_t i = 0; rc == 0 && i < BENCH_LEN(sizes); i++) {
        rc = warm(run, sizes[i], source);
    }
    bench_segment_close(&shared);
    bench_memory_free(source, sizes[1]);
    return rc;
}
