/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ds.c - this cache, as an adapter of the peer benchmark. The URL is HOST:PORT.
 *
 * A view of the benchmark has room for one private pointer: it points to our own view, which lies
 * in a ring of slots in the handle. The benchmark holds at most a batch of views at a time.
 */
#include "../adapter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ds/ds.h>

#define BATCH 1024u
#define SLOTS (2 * BATCH)
#define ERRORS_SHOWN 8

struct handle {
    struct ds_client *client;
    size_t next; /* slot */
    int shown;
    struct ds_view views[SLOTS];
    struct ds_bytes keys[BATCH], values[BATCH];
    struct ds_buffer *buffers[BATCH];
    int results[BATCH];
};

/* 0, or -1 after saying why, for the first few times. */
static int check(struct handle *h, const char *what, int rc)
{
    if (rc < 0 && h->shown++ < ERRORS_SHOWN) {
        fprintf(stderr, "ds %s: %s (%s)\n", what, ds_error_text(rc), ds_error_hint(rc));
    }
    return rc < 0 ? -1 : 0;
}

/* n adjacent slots that hold no view, or NULL. */
static struct ds_view *slots(struct handle *h, size_t n)
{
    struct ds_view *v;

    if (h->next + n > SLOTS) {
        h->next = 0;
    }
    v = h->views + h->next;
    for (size_t i = 0; i < n; i++) {
        if (v[i].data != NULL) {
            return NULL;
        }
    }
    h->next += n;
    return v;
}

static int take_keys(struct handle *h, char *const *keys, size_t n)
{
    if (n > BATCH) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        h->keys[i] = (struct ds_bytes){.data = keys[i], .size = strlen(keys[i])};
    }
    return 0;
}

/* The first failed item of a batch, or 0. */
static int first_failure(const struct handle *h, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (h->results[i] < 0) {
            return h->results[i];
        }
    }
    return 0;
}

static void *adapter_open(const char *url)
{
    const char *colon = strrchr(url, ':');
    struct handle *h = calloc(1, sizeof(*h));
    struct ds_client_options options;
    char host[128];

    if (h == NULL || colon == NULL || (size_t)(colon - url) >= sizeof(host)) {
        free(h);
        return NULL;
    }
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - url), url);
    ds_client_options_init(&options);
    options.host = host;
    options.port = (uint16_t)strtoul(colon + 1, NULL, 10);
    if (check(h, "open", ds_client_open(&options, &h->client)) != 0) {
        free(h);
        return NULL;
    }
    return h;
}

static void adapter_close(void *handle)
{
    struct handle *h = handle;

    ds_client_close(h->client);
    free(h);
}

static int adapter_set(void *handle, const char *key, const void *value, size_t size)
{
    struct handle *h = handle;

    return check(h, "set", ds_kv_set(h->client, key, strlen(key), value, size, NULL));
}

static int adapter_set_zc(void *handle, const char *key, const void *value, size_t size)
{
    struct handle *h = handle;
    struct ds_buffer *buffer = NULL;
    int rc = ds_kv_create(h->client, key, strlen(key), size, NULL, &buffer);

    if (rc == 0) {
        memcpy(ds_buffer_mutable_data(buffer), value, size);
        rc = ds_kv_publish(h->client, &buffer, 1, NULL);
    }
    ds_buffer_free(buffer);
    return check(h, "create and publish", rc);
}

static int adapter_get(void *handle, const char *key, struct view *ret)
{
    struct handle *h = handle;
    struct ds_view *v = slots(h, 1);

    if (v == NULL || check(h, "get", ds_kv_get(h->client, key, strlen(key), 0, v)) != 0) {
        return -1;
    }
    *ret = (struct view){.data = v->data, .len = v->size, .priv = v};
    return 0;
}

static void adapter_release(void *handle, struct view *view)
{
    (void)handle;
    ds_view_release(view->priv);
}

static int adapter_get_copy(void *handle, const char *key, void *buffer, size_t capacity,
                            size_t *ret_size)
{
    struct handle *h = handle;

    return check(h, "get_into",
                 ds_kv_get_into(h->client, key, strlen(key), 0, buffer, capacity, ret_size));
}

static int adapter_del(void *handle, char *const *keys, size_t n)
{
    struct handle *h = handle;

    if (take_keys(h, keys, n) != 0) {
        return -1;
    }
    return check(h, "delete", ds_kv_delete(h->client, h->keys, n, NULL));
}

static int adapter_mset(void *handle, char *const *keys, size_t n, const void *value, size_t size)
{
    struct handle *h = handle;
    int rc;

    if (take_keys(h, keys, n) != 0) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        h->values[i] = (struct ds_bytes){.data = value, .size = size};
    }
    rc = ds_kv_mset(h->client, h->keys, h->values, n, NULL, h->results);
    return check(h, "mset", rc < 0 ? rc : first_failure(h, n));
}

static int adapter_mset_zc(void *handle, char *const *keys, size_t n, const void *value,
                           size_t size)
{
    struct handle *h = handle;
    int rc = take_keys(h, keys, n);
    size_t created = 0;

    while (rc == 0 && created < n) {
        rc = ds_kv_create(h->client, h->keys[created].data, h->keys[created].size, size, NULL,
                          &h->buffers[created]);
        if (rc == 0) {
            memcpy(ds_buffer_mutable_data(h->buffers[created]), value, size);
            created++;
        }
    }
    if (rc == 0) {
        rc = ds_kv_publish(h->client, h->buffers, n, h->results);
        rc = rc < 0 ? rc : first_failure(h, n);
    }
    while (created > 0) {
        ds_buffer_free(h->buffers[--created]);
    }
    return check(h, "create and publish", rc);
}

static int adapter_mget(void *handle, char *const *keys, size_t n, struct view *ret)
{
    struct handle *h = handle;
    struct ds_view *v;
    int rc = take_keys(h, keys, n);

    v = rc == 0 ? slots(h, n) : NULL;
    if (v == NULL) {
        return -1;
    }
    rc = ds_kv_mget(h->client, h->keys, n, 0, v, h->results);
    rc = rc < 0 ? rc : first_failure(h, n);
    if (rc < 0) {
        ds_view_release_many(v, n);
        return check(h, "mget", rc);
    }
    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct view){.data = v[i].data, .len = v[i].size, .priv = &v[i]};
    }
    return 0;
}

static int adapter_mget_copy(void *handle, char *const *keys, size_t n, void *buffer, size_t size)
{
    struct handle *h = handle;
    struct ds_view *v = slots(h, n <= BATCH ? n : 0);
    int rc = take_keys(h, keys, n);

    if (v == NULL || rc != 0) {
        return -1;
    }
    rc = ds_kv_mget(h->client, h->keys, n, 0, v, h->results);
    rc = rc < 0 ? rc : first_failure(h, n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = v[i].size == size ? 0 : DS_ERANGE;
        if (rc == 0) {
            memcpy((char *)buffer + i * size, v[i].data, size);
        }
    }
    ds_view_release_many(v, n);
    return check(h, "mget", rc);
}

__attribute__((visibility("default"))) extern const struct adapter adapter;

const struct adapter adapter = {
    .name = "ds",
    .open = adapter_open,
    .close = adapter_close,
    .set = adapter_set,
    .set_zc = adapter_set_zc,
    .get = adapter_get,
    .release = adapter_release,
    .get_copy = adapter_get_copy,
    .del = adapter_del,
    .mset = adapter_mset,
    .mset_zc = adapter_mset_zc,
    .mget = adapter_mget,
    .mget_copy = adapter_mget_copy,
};
