/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adapter.h - how the peer benchmark drives a cache. An adapter is a shared object that exports
 *
 *     const struct adapter adapter;
 *
 * The layout is the ABI of that benchmark's driver; README.md says how to run it.
 *
 * Ownership: open() gives a handle that close() ends; get() and mget() lend views until release().
 * Threads:   one thread per handle.
 * Errors:    0 or a negative number. Slots may be NULL where the cache has no such call.
 */
#ifndef DS_BENCH_ADAPTER_H
#define DS_BENCH_ADAPTER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct view {
    const void *data;
    size_t len;
    void *priv; /* the adapter's */
};

/* Keys are NUL-terminated. Batches: n keys; mset and mset_zc give all of them the same value. */
struct adapter {
    const char *name;
    void *(*open)(const char *url);
    void (*close)(void *handle);
    int (*set)(void *handle, const char *key, const void *value, size_t size);
    int (*set_zc)(void *handle, const char *key, const void *value, size_t size); /* in place */
    int (*get)(void *handle, const char *key, struct view *ret);
    void (*release)(void *handle, struct view *view);
    int (*get_copy)(void *handle, const char *key, void *buffer, size_t capacity, size_t *ret_size);
    int (*del)(void *handle, char *const *keys, size_t n);
    int (*mset)(void *handle, char *const *keys, size_t n, const void *value, size_t size);
    int (*mset_zc)(void *handle, char *const *keys, size_t n, const void *value, size_t size);
    int (*mget)(void *handle, char *const *keys, size_t n, struct view *ret);
    /* Value i goes to buffer + i * size. */
    int (*mget_copy)(void *handle, char *const *keys, size_t n, void *buffer, size_t size);
};

#ifdef __cplusplus
}
#endif
#endif
