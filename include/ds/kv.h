/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.h - key-value calls.
 *
 * Ownership: keys and values are read during the call only. Views are lent: ds_view_release().
 * Threads:   any, on one client handle.
 * Order:     single keys are linearizable: a get that starts after a set returned sees that value
 *            or a later one. There are no transactions over several keys.
 * Timeouts:  `timeout_ms` of the get calls is how long to wait for a key that does not exist yet;
 *            0 does not wait. All calls end within the client's request_timeout_ms as well.
 * Batches:   results[i] is 0 or the code of item i; the call itself returns 0 if at least one item
 *            succeeded, else the first item's code, or the code that kept the batch from starting
 *            (then every results[i] is set to it). `results` may be NULL where not needed.
 */
#ifndef DS_KV_H
#define DS_KV_H

#include <ds/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zeroed = defaults: mode DS_WRITE_NONE, no expiry, overwrite, memory, empty values refused. */
struct ds_set_options {
    enum ds_write_mode mode;
    uint64_t ttl_ms; /* 0 = no expiry; counts from the publish */
    bool only_if_absent;
    bool allow_empty; /* accept values of size 0 */
    enum ds_cache_type cache_type;
    uint32_t reserved[4];
};

#define DS_UNCHANGED 1 /* only_if_absent: the key existed, nothing was written */

/* Copies the value into shared memory and publishes it. `options` may be NULL.
 * DS_UNCHANGED. DS_EINVAL: key or value size. DS_ENOMEM: nothing could be evicted. DS_ETIMEOUT. */
DS_API DS_MUST_USE int ds_kv_set(struct ds_client *client, const void *key, size_t key_size,
                                 const void *value, size_t value_size,
                                 const struct ds_set_options *options);

/* n sets; the same options for all. Of equal keys the first is written, others: DS_EDUPLICATED.
 * results[i] of a key that only_if_absent has left as it was: DS_UNCHANGED. */
DS_API DS_MUST_USE int ds_kv_mset(struct ds_client *client, const struct ds_bytes *keys,
                                  const struct ds_bytes *values, size_t n,
                                  const struct ds_set_options *options, int *results);

/* Lends the value in place. DS_ENOTFOUND. DS_ERANGE: more views held than a client may (1 Mi). */
DS_API DS_MUST_USE int ds_kv_get(struct ds_client *client, const void *key, size_t key_size,
                                 int64_t timeout_ms, struct ds_view *ret);

/* A local hit only: never asks the worker, never waits. DS_ENOTFOUND: ask with ds_kv_get(). */
DS_API DS_MUST_USE int ds_kv_try_get(struct ds_client *client, const void *key, size_t key_size,
                                     struct ds_view *ret);

/* views[i] is zeroed where results[i] != 0. */
DS_API DS_MUST_USE int ds_kv_mget(struct ds_client *client, const struct ds_bytes *keys, size_t n,
                                  int64_t timeout_ms, struct ds_view *views, int *results);

/* Copies the value into the caller's memory; a large one that comes from the node's disk while it
 * comes. *ret_size is the value's size; DS_ERANGE if it is more than `capacity` (*ret_size is set).
 * After any error the buffer's bytes are undefined. */
DS_API DS_MUST_USE int ds_kv_get_into(struct ds_client *client, const void *key, size_t key_size,
                                      int64_t timeout_ms, void *buffer, size_t capacity,
                                      size_t *ret_size);

/* [offset, offset + size) of a value, size 0 = to the end, clamped at the end. */
struct ds_part {
    const void *key;
    size_t key_size;
    uint64_t offset;
    uint64_t size;
};

/* Lends parts of values in place. Of a large value that the node's disk has, a part is lent as soon
 * as the value has been read up to its end, while the rest still comes: whoever reads such a value
 * part after part works on the first ones meanwhile. DS_ERANGE: the offset is not inside the value.
 * DS_EAGAIN: more views held than a client may. views[i] is zeroed where results[i] != 0. */
DS_API DS_MUST_USE int ds_kv_mread(struct ds_client *client, const struct ds_part *parts, size_t n,
                                   int64_t timeout_ms, struct ds_view *views, int *results);

/* The same for one part of a key that exists. */
DS_API DS_MUST_USE int ds_kv_read(struct ds_client *client, const void *key, size_t key_size,
                                  uint64_t offset, uint64_t size, struct ds_view *ret);

/* A key that does not exist counts as deleted. */
DS_API DS_MUST_USE int ds_kv_delete(struct ds_client *client, const struct ds_bytes *keys, size_t n,
                                    int *results);

/* Up to DS_BATCH_EXIST_MAX keys. */
DS_API DS_MUST_USE int ds_kv_exist(struct ds_client *client, const struct ds_bytes *keys, size_t n,
                                   bool *ret_exists);

/* New expiry from now; 0 removes it. results[i]: DS_ENOTFOUND. */
DS_API DS_MUST_USE int ds_kv_expire(struct ds_client *client, const struct ds_bytes *keys, size_t n,
                                    uint64_t ttl_ms, int *results);

/* sizes[i] is 0 where results[i] is DS_ENOTFOUND. */
DS_API DS_MUST_USE int ds_kv_size(struct ds_client *client, const struct ds_bytes *keys, size_t n,
                                  uint64_t *ret_sizes, int *results);

/* --- why a key is gone --- */

/* Ends of keys that a node remembers, the newest ones; none of those before it was started. */
#define DS_GONE_KEYS 65536u

/* The numbers never change. */
enum ds_gone {
    DS_GONE_NOT = 0,     /* it is there: in memory, or on the worker's disk */
    DS_GONE_UNKNOWN = 1, /* never set, or not remembered */
    DS_GONE_DELETED = 2, /* by a client */
    DS_GONE_RELEASED =
        3, /* with the last reference to it, or the last object that it is nested in */
    DS_GONE_EXPIRED = 4, /* its time to live ended */
    DS_GONE_EVICTED = 5, /* dropped from memory, for room */
    DS_GONE_DROPPED = 6, /* dropped from disk, for room there */
    DS_GONE_L2 = 7,      /* out of memory and disk; second-level storage had it then */
    DS_GONE_LOST = 8,    /* its copy on disk cannot be read, and there is no other */
};

/* Why the worker's memory and disk do not have the key, and how many milliseconds ago it went (0:
 * not known). Second-level storage is not asked. DS_ENOTSUPPORTED: an older worker. */
DS_API DS_MUST_USE int ds_kv_why(struct ds_client *client, const void *key, size_t key_size,
                                 enum ds_gone *ret_why, uint64_t *ret_age_ms);

/* --- writing in place --- */

/* A buffer of `size` bytes in shared memory, not yet visible to anybody: fill ds_buffer_data(),
 * then ds_kv_publish(). With only_if_absent and an existing key: DS_UNCHANGED and *ret = NULL. */
DS_API DS_MUST_USE int ds_kv_create(struct ds_client *client, const void *key, size_t key_size,
                                    size_t size, const struct ds_set_options *options,
                                    struct ds_buffer **ret);

/* Publishes n buffers of ds_kv_create(), each under its key. The buffers stay readable; free them
 * with ds_buffer_free(). NULL entries are skipped. Nothing is copied: a pointer that
 * ds_buffer_mutable_data() gave must not be written through from here on, it would change what
 * readers take for unchangeable. Where such a pointer cannot be given up: ds_buffer_copy(). */
DS_API DS_MUST_USE int ds_kv_publish(struct ds_client *client, struct ds_buffer *const *buffers,
                                     size_t n, int *results);

/* --- without blocking --- */

/* Called once, in a thread of the library: status as ds_kv_get(), the view is the callee's. It must
 * not block nor call ds_client_close(). */
typedef void ds_get_callback(void *arg, int status, struct ds_view *view);

/* Starts a waiting get. 0: the callback will be called, also on failure and on close. */
DS_API DS_MUST_USE int ds_kv_get_async(struct ds_client *client, const void *key, size_t key_size,
                                       int64_t timeout_ms, ds_get_callback *callback, void *arg);

#ifdef __cplusplus
}
#endif
#endif
