/* SPDX-License-Identifier: Apache-2.0 */
/*
 * types.h - types that all parts of the C API share.
 *
 * Keys are 1 to DS_KEY_SIZE_MAX opaque bytes, any bytes: the rule that Python, C++ and dscli have
 * for the characters of keys is theirs, so a key with others can be used from C only. Values are
 * bytes. Nothing is NUL-terminated. Times are milliseconds unless the name says otherwise.
 */
#ifndef DS_TYPES_H
#define DS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define DS_API __attribute__((visibility("default")))
#define DS_MUST_USE __attribute__((warn_unused_result))
#else
#define DS_API
#define DS_MUST_USE
#endif

#define DS_KEY_SIZE_MAX 1024u
#define DS_BATCH_MAX 10000u        /* keys in one batch call */
#define DS_BATCH_EXIST_MAX 100000u /* keys in one ds_kv_exist() */

struct ds_client; /* a connection to a worker; see client.h */
struct ds_buffer; /* an object being written, or an object fetched for reading and writing in place
                   */

/* Bytes that the caller keeps alive for the time of the call. */
struct ds_bytes {
    const void *data;
    size_t size;
};

/*
 * A value lent in place: `data` points into memory shared with the worker and stays valid, with the
 * same bytes, until ds_view_release(), whatever happens to the key or to the worker meanwhile.
 * The struct is the caller's; it may be copied as long as exactly one copy is released.
 */
struct ds_view {
    const void *data;
    size_t size;
    void *owner;  /* private */
    uint64_t pin; /* private */
};

/* What the worker may do with the only copy of an object when memory is short, and which lower tier
 * holds it. Numbers are those of the other language APIs. */
enum ds_write_mode {
    DS_WRITE_NONE = 0,       /* memory only, never dropped silently: a full worker refuses */
    DS_WRITE_THROUGH = 1,    /* second level holds it before the call returns */
    DS_WRITE_BACK = 2,       /* second level gets it in the background */
    DS_WRITE_NONE_EVICT = 3, /* memory only, may be evicted */
    DS_WRITE_BACK_EVICT = 4, /* as DS_WRITE_BACK, may be evicted */
};

enum ds_consistency { DS_PRAM = 0, DS_CAUSAL = 1 };
enum ds_cache_type { DS_CACHE_MEMORY = 0, DS_CACHE_DISK = 1 };

#endif
