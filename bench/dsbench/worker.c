/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - connecting, keys, and what fits.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define DELETE_BATCH 1000u
#define KEY_TEXT 48u
#define WARM_SIZE ((size_t)4 << 20)

int bench_error(const char *what, int code)
{
    fprintf(stderr, "dsbench: %s: %s (%s)\n", what, ds_error_text(code), ds_error_hint(code));
    return -1;
}

int bench_connect(const struct bench_run *run, struct ds_client **ret)
{
    struct ds_client_options options;
    int rc;

    ds_client_options_init(&options);
    options.host = run->host;
    options.port = run->port;
    rc = ds_client_open(&options, ret);
    if (rc != 0) {
        fprintf(stderr, "dsbench: worker %s: %s (%s)\n", run->worker, ds_error_text(rc),
                ds_error_hint(rc));
        return -1;
    }
    return 0;
}

int bench_stats(struct ds_client *client, struct ds_worker_stats *ret)
{
    int rc = ds_client_stats(client, ret);

    return rc == 0 ? 0 : bench_error("worker statistics", rc);
}

size_t bench_fit(struct ds_client *client, uint64_t size, size_t most)
{
    struct ds_worker_stats stats;
    uint64_t n;

    if (bench_stats(client, &stats) != 0) {
        return 1;
    }
    n = stats.memory_free / 4 / size;
    return n < 1 ? 1 : n > most ? most : (size_t)n;
}

int bench_keys_make(struct bench_keys *keys, const char *prefix, size_t n)
{
    char *text;
    int pid;

    keys->n = 0;
    keys->key = malloc(n * (sizeof(*keys->key) + KEY_TEXT));
    if (keys->key == NULL) {
        fprintf(stderr, "dsbench: no memory for %zu keys\n", n);
        return -1;
    }
    text = (char *)(keys->key + n);
    pid = (int)getpid();
    for (size_t i = 0; i < n; i++, text += KEY_TEXT) {
        keys->key[i].data = text;
        keys->key[i].size = (size_t)snprintf(text, KEY_TEXT, "%.12s-%d-%zu", prefix, pid, i);
    }
    keys->n = n;
    return 0;
}

void bench_keys_free(struct bench_keys *keys)
{
    free(keys->key);
    keys->key = NULL;
    keys->n = 0;
}

void bench_keys_delete(struct ds_client *client, const struct bench_keys *keys)
{
    size_t n;
    int rc;

    for (size_t i = 0; i < keys->n; i += n) {
        n = keys->n - i < DELETE_BATCH ? keys->n - i : DELETE_BATCH;
        rc = ds_kv_delete(client, keys->key + i, n, NULL);
        if (rc != 0) {
            (void)bench_error("delete", rc);
            return;
        }
    }
}

/* A value that is there to touch its pages: one write to each. */
static int touch_one(struct ds_client *client, const struct ds_bytes *key)
{
    struct ds_buffer *buffer = NULL;
    volatile uint8_t *data;
    int rc = ds_kv_create(client, key->data, key->size, WARM_SIZE, NULL, &buffer);

    if (rc == 0) {
        data = ds_buffer_mutable_data(buffer);
        for (size_t i = 0; i < WARM_SIZE; i += 4096) {
            data[i] = 1;
        }
        rc = ds_kv_publish(client, &buffer, 1, NULL);
    }
    ds_buffer_free(buffer);
    return rc;
}

int bench_warm(struct ds_client *client)
{
    struct ds_worker_stats stats;
    struct bench_keys keys;
    int rc = 0;

    if (bench_stats(client, &stats) != 0 ||
        bench_keys_make(&keys, "warm", (size_t)(stats.memory_free / WARM_SIZE) + 1) != 0) {
        return -1;
    }
    for (size_t i = 0; rc == 0 && i < keys.n; i++) {
        rc = touch_one(client, &keys.key[i]);
    }
    bench_keys_delete(client, &keys);
    bench_keys_free(&keys);
    return rc == 0 || rc == DS_ENOMEM ? 0 : bench_error("set", rc);
}
