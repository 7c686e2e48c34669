/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.h - objects: buffers that are published again, sealed, latched and reference counted.
 *
 * An object shares its name space with the keys of kv.h. It is created as a buffer, filled in
 * place, and published (may be changed and published again) or sealed (never changes again).
 *
 * Ownership: a ds_buffer is the caller's until ds_buffer_free(). It may outlive the client handle.
 * Threads:   calls on one buffer need the caller's own exclusion; different buffers do not.
 * Bytes:     what a published, unsealed object holds is defined only under a latch, or when writers
 *            and readers agree otherwise. Overwriting a key makes a new object: buffers of the old
 *            one keep their bytes.
 */
#ifndef DS_OBJECT_H
#define DS_OBJECT_H

#include <ds/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zeroed = defaults. */
struct ds_create_options {
    enum ds_consistency consistency;
    enum ds_cache_type cache_type;
    enum ds_write_mode mode;
    uint32_t reserved[5];
};

/* A buffer of `size` (> 0) bytes for `key`, not visible to others before publish or seal.
 * DS_EINVAL, DS_ENOMEM, DS_ETIMEOUT. `options` may be NULL. */
DS_API DS_MUST_USE int ds_object_create(struct ds_client *client, const void *key, size_t key_size,
                                        size_t size, const struct ds_create_options *options,
                                        struct ds_buffer **ret);

/* Create, copy and publish in one call. */
DS_API DS_MUST_USE int ds_object_put(struct ds_client *client, const void *key, size_t key_size,
                                     const void *value, size_t value_size,
                                     const struct ds_create_options *options,
                                     const struct ds_bytes *nested, size_t n_nested);

/* Buffers of existing objects; waits up to timeout_ms for missing ones. ret_buffers[i] is NULL
 * where results[i] != 0. Return value as in kv.h "Batches". */
DS_API DS_MUST_USE int ds_object_get(struct ds_client *client, const struct ds_bytes *keys,
                                     size_t n, int64_t timeout_ms, struct ds_buffer **ret_buffers,
                                     int *results);

/* --- buffers --- */

DS_API size_t ds_buffer_size(const struct ds_buffer *buffer);
DS_API const void *ds_buffer_data(const struct ds_buffer *buffer); /* to read */

/* To write. NULL if the object is sealed or is a published value of kv.h; a pointer that was taken
 * before is not to be written through any more, it reaches what everybody reads. */
DS_API void *ds_buffer_mutable_data(struct ds_buffer *buffer);

/* Copies `size` bytes to the front of the buffer. DS_ERANGE: more than the buffer holds. */
DS_API DS_MUST_USE int ds_buffer_write(struct ds_buffer *buffer, const void *value, size_t size);

/* Another buffer with the key, the options and the bytes of this one, which must not be published
 * (DS_EINVAL): to publish what pointers into the first one do not reach. DS_ENOMEM, DS_ETIMEOUT. */
DS_API DS_MUST_USE int ds_buffer_copy(const struct ds_buffer *buffer, struct ds_buffer **ret);

/* Makes the object visible, or announces a change of it. `nested`: keys that stay alive as long as
 * this object; self reference: DS_EINVAL. DS_ESEALED. DS_ESTALE: the key has a newer object now. */
DS_API DS_MUST_USE int ds_buffer_publish(struct ds_buffer *buffer, const struct ds_bytes *nested,
                                         size_t n_nested);

/* Publishes for good: later publish and seal: DS_ESEALED. */
DS_API DS_MUST_USE int ds_buffer_seal(struct ds_buffer *buffer, const struct ds_bytes *nested,
                                      size_t n_nested);

/* Drops this node's cached copy, so that the next get fetches it anew; on a single node a no-op. */
DS_API DS_MUST_USE int ds_buffer_invalidate(struct ds_buffer *buffer);

/* Latches on the object, cluster-visible, not re-entrant. Wait up to timeout_ms: DS_ETIMEOUT.
 * Released by unlatch, by ds_buffer_free() and when the process dies. A sealed object needs none:
 * a read latch is granted at once, a write latch is DS_ESEALED. Before publish: no-ops. */
DS_API DS_MUST_USE int ds_buffer_latch_read(struct ds_buffer *buffer, int64_t timeout_ms);
DS_API DS_MUST_USE int ds_buffer_latch_write(struct ds_buffer *buffer, int64_t timeout_ms);
DS_API DS_MUST_USE int ds_buffer_unlatch_read(struct ds_buffer *buffer);
DS_API DS_MUST_USE int ds_buffer_unlatch_write(struct ds_buffer *buffer);

/* An unpublished buffer is discarded. NULL is a no-op. */
DS_API void ds_buffer_free(struct ds_buffer *buffer);

/* --- global references --- */

/* Counts per client handle; an object is deleted when the last reference of all clients is gone.
 * References may be taken before the object exists; they end with the process that took them. */
DS_API DS_MUST_USE int ds_object_ref(struct ds_client *client, const struct ds_bytes *keys,
                                     size_t n, int *results);
DS_API DS_MUST_USE int ds_object_unref(struct ds_client *client, const struct ds_bytes *keys,
                                       size_t n, int *results);

/* Sum of all clients' references to the key. */
DS_API DS_MUST_USE int ds_object_ref_count(struct ds_client *client, const void *key,
                                           size_t key_size, uint64_t *ret);

#ifdef __cplusplus
}
#endif
#endif
