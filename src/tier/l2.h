/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2.h - second-level storage (L2): a slow place that outlives the node, behind one table of calls.
 *
 * Two implementations: a directory (l2_dir.c) and an object store that speaks S3 (l2_s3.c). Both
 * keep the same objects (l2_format.h), so that any cluster of the same format can read them.
 *
 * Order. Every put and every remove of a key carries a version, a 64-bit order number that its
 *            caller never uses twice for different contents. Of one key the greatest version wins,
 *            whatever the order of arrival: an older put or remove that comes late is refused with
 *            DS_ESTALE (or, in an object store, where the newer one came at the same time, succeeds
 *            behind it) and changes nothing that can be read. A remove leaves a tombstone with its
 *            version, so that a late put of an older value cannot bring the key back; gc() collects
 *            tombstones that are older than any put can still be under way.
 * Values     come from and go to a descriptor by system call, or plain memory. A descriptor may be
 *            written by others meanwhile: every byte is read once, into private memory, and the
 *            checksum is taken over that copy.
 * Ownership: a struct ds_l2 owns its connections and descriptors. Keys, spans and configuration
 *            texts are the caller's and need to live during the call only.
 * Threads:   any thread, several at a time; close() alone needs the caller's own exclusion.
 * Blocking:  every call blocks on the disk or the network, until the deadline of its struct
 *            ds_l2_call at the latest (a directory's system call cannot be cut short). Not
 *            ds_l2_space().
 * Errors:    0 or a negative DS_E* code; call->err then holds one sentence: what, why, what to do.
 *            It never holds a credential. Every call may give, besides those named at each slot:
 *            DS_EIO, DS_ENOMEM, DS_ENOSPACE, DS_EDENIED, DS_ETIMEOUT, DS_EUNAVAILABLE (worth
 *            another try later), DS_ESHUTDOWN (call->stop was set).
 */
#ifndef DS_TIER_L2_H
#define DS_TIER_L2_H

#include <stdatomic.h>

#include "base/base.h"

#define DS_L2_KEY_MAX 1024u
#define DS_L2_VALUE_MAX ((uint64_t)1 << 40)
#define DS_L2_ERROR_SIZE 384

enum ds_l2_type { DS_L2_DIR, DS_L2_S3 };

enum ds_l2_flag {
    DS_L2_SEALED = 1,    /* the object API's seal */
    DS_L2_TOMBSTONE = 2, /* the key was removed at this version; there is no value */
};
#define DS_L2_FLAGS_ALL 3u

/* What an object in L2 says of itself, its key apart. */
struct ds_l2_meta {
    uint64_t version;        /* order number */
    int64_t expiry_unix_ns;  /* CLOCK_REALTIME; 0: never */
    int64_t written_unix_ns; /* when it was put; set by put and remove */
    uint64_t size;           /* of the value */
    uint16_t flags;          /* enum ds_l2_flag */
    uint8_t mode;            /* write mode, enum ds_write_mode */
    uint8_t kind;            /* the owner's: key-value or object */
};

struct ds_window;

/* Where a value is, or is to go: meta.size bytes at `offset` of `fd`, or if fd < 0 at `memory`. */
struct ds_l2_span {
    int fd;
    uint64_t offset;
    void *memory;
    struct ds_window *window; /* NULL, or of fd: what goes there is written through it */
};

struct ds_l2_item {
    const void *key;
    uint32_t key_size; /* 1 to DS_L2_KEY_MAX */
    struct ds_l2_meta meta;
    struct ds_l2_span value;
    bool renews;     /* put only over the version before this one: DS_ESTALE where any other is, or
                        none */
    uint64_t *newer; /* NULL, or out: with DS_ESTALE, the version that is there; 0: none */
};

/* One call: its limits, and what it tells besides its result. Zeroed is fine. */
struct ds_l2_call {
    int64_t deadline_ns;        /* CLOCK_MONOTONIC; 0: none */
    const atomic_bool *stop;    /* NULL, or: give up as soon as this is true */
    _Atomic int64_t moved_ns;   /* out: when it last got on, CLOCK_MONOTONIC; any thread may look */
    uint32_t retries;           /* out: requests that were made again */
    bool answered;              /* out: after an error that the store has sent, for this object */
    char err[DS_L2_ERROR_SIZE]; /* out: one sentence after an error */
};

/* Called once by get(), in its thread, as soon as the header is verified: says where the value
 * goes. An error ends the get with that code. */
typedef int ds_l2_room_fn(void *arg, const struct ds_l2_meta *meta, struct ds_l2_span *ret);

/* One stored object, for list(). */
struct ds_l2_entry {
    const char *name; /* in the store, below its root or prefix */
    int status;       /* 0; DS_ECORRUPT, DS_EVERSION, or that it cannot be read, DS_EIO or
                         DS_EDENIED: key and meta are not known */
    const void *key;  /* dies with the callback */
    uint32_t key_size;
    struct ds_l2_meta meta;
    uint64_t stored_size; /* bytes in the store */
};

/* Negative: list() ends with that code. */
typedef int ds_l2_each_fn(void *arg, const struct ds_l2_entry *entry);

struct ds_l2_gc {
    int64_t now_unix_ns;       /* 0: the clock's */
    int64_t tombstone_age_ns;  /* tombstones and expired objects go when older than this; it must
                                  exceed the longest time for which a put may be under way */
    int64_t unfinished_age_ns; /* temporary files and multipart uploads go when older */
    bool dry_run;              /* counts only */
    uint64_t tombstones, expired, unfinished, superseded; /* out */
    uint64_t objects, bytes;                              /* out: what is left */
    uint64_t gone;    /* out: of these, tombstones and expired objects, too young to go */
    bool whole;       /* out: those three count all there is, whatever the result is */
    uint64_t corrupt; /* out: seen, and left alone */
    uint64_t refused; /* out: not read or not removed; call->err has the last reason */
};

/* Room, as far as it is known: all 0 if not. */
struct ds_l2_space {
    uint64_t capacity; /* bytes, of all users of the file system */
    uint64_t free;     /* of these, what may still be taken */
};

struct ds_l2;

/* What an implementation is. Callers use the functions below. */
struct ds_l2_ops {
    const char *name; /* "directory", "s3" */
    bool batches;     /* put_many of several items costs less than one by one */

    /* Stores items of different keys; rcs[i] is the result of item i, and call->err tells of the
     * last one that failed. Everything whose result is 0 is durable. The calls of one batch share
     * syncs where the store has such. Caller: an I/O thread of the pool. DS_ESTALE, DS_EINVAL. */
    void (*put_many)(struct ds_l2 *l2, struct ds_l2_call *call, const struct ds_l2_item *items,
                     size_t n, int *rcs);

    /* Reads the newest version of a key. DS_ENOTFOUND: never stored, removed, or expired.
     * DS_ECORRUPT: what is there does not verify; the span may then hold anything. */
    int (*get)(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
               ds_l2_room_fn *room, void *arg, struct ds_l2_meta *ret);

    /* As get, without the value: the header is verified, the value is not. With `tombstone`, a
     * tombstone and an expired object are found too. */
    int (*head)(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
                bool tombstone, struct ds_l2_meta *ret);

    /* Every stored object, tombstones too, in no order; what is put meanwhile may be missing. One
     * that cannot be read does not end it. */
    int (*list)(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each, void *arg);

    /* Removes what nobody can need any more. Several workers may run it at a time. 0 also where
     * objects are `refused`. */
    int (*gc)(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc);

    /* As of a call a while ago: it must not block, unlike all others. NULL: never known. */
    void (*space)(struct ds_l2 *l2, struct ds_l2_space *ret);

    struct ds_l2 *(*close)(struct ds_l2 *l2);
};

/* First member of each implementation. */
struct ds_l2 {
    const struct ds_l2_ops *ops;
};

/* Whether the hash of a large payload is a part of the signature, so that the store takes nothing
 * that was changed on the way. AUTO: where neither TLS nor the machine's own loopback is the way.
 */
enum ds_l2_s3_sign { DS_L2_S3_SIGN_AUTO, DS_L2_S3_SIGN_ALWAYS, DS_L2_S3_SIGN_NEVER };

struct ds_l2_s3_config {
    const char *endpoint;   /* "http://127.0.0.1:9000", or host[:port] with `https` saying which */
    const char *bucket;     /* must exist */
    const char *prefix;     /* "" or "some/folder/": in front of every name */
    const char *region;     /* NULL: us-east-1 */
    bool https;             /* when the endpoint names no scheme */
    bool virtual_host;      /* bucket.host instead of host/bucket */
    const char *ca_file;    /* NULL: the system's */
    const char *access_key; /* NULL or "": from credentials_file, or the environment */
    const char *secret_key;
    const char *session_token;
    const char *credentials_file; /* as ~/.aws/credentials, section [default]; read again when the
                                     store says that they have expired */
    uint64_t part_size;           /* 0: 8 MiB. Values above two parts go in parts */
    unsigned parallel;            /* 0: 4 parts of one value at a time */
    unsigned attempts;            /* 0: 5 tries of a request */
    int64_t request_timeout_ms;   /* 0: 30 s for one request, plus its bytes at 1 MiB/s */
    int64_t unfinished_age_ns;    /* 0: 24 h; older multipart uploads are aborted at the open */
    enum ds_l2_s3_sign sign_payload;
};

struct ds_l2_config {
    enum ds_l2_type type;
    const char *directory; /* DS_L2_DIR: made if missing */
    bool existing; /* it was storage before: DS_L2_DIR neither makes nor fills it, since what is
                      missing or empty may be a mount that is lost; DS_L2_S3 is not asked yet */
    struct ds_l2_s3_config s3;
};

/* DS_EINVAL: bad configuration. DS_EVERSION: another format lives there. DS_EDENIED,
 * DS_EUNAVAILABLE, DS_EIO: it cannot be used; `err` says why and what to do. */
DS_MUST_USE int ds_l2_open(const struct ds_l2_config *config, char *err, size_t err_size,
                           struct ds_l2 **ret);

/* Storage that was open before, and is opened by the first call. As long as that fails, calls fail
 * with DS_EUNAVAILABLE and the reason, and it is tried again with growing pauses. The
 * configuration's texts must live until the close. DS_ENOMEM. */
DS_MUST_USE int ds_l2_open_later(const struct ds_l2_config *config, struct ds_l2 **ret);

/* NULL is a no-op. Returns NULL. */
struct ds_l2 *ds_l2_close(struct ds_l2 *l2);

/* The slots of the table, with their arguments checked; see there. */
void ds_l2_put_many(struct ds_l2 *l2, struct ds_l2_call *call, const struct ds_l2_item *items,
                    size_t n, int *rcs);
DS_MUST_USE int ds_l2_put(struct ds_l2 *l2, struct ds_l2_call *call, const struct ds_l2_item *item);
DS_MUST_USE int ds_l2_get(struct ds_l2 *l2, struct ds_l2_call *call, const void *key,
                          uint32_t key_size, ds_l2_room_fn *room, void *arg,
                          struct ds_l2_meta *ret);
DS_MUST_USE int ds_l2_head(struct ds_l2 *l2, struct ds_l2_call *call, const void *key,
                           uint32_t key_size, bool tombstone, struct ds_l2_meta *ret);

/* Makes the key absent at `version`: 0 also when there was no such key. DS_ESTALE: a newer version
 * is there, and stays. */
DS_MUST_USE int ds_l2_remove(struct ds_l2 *l2, struct ds_l2_call *call, const void *key,
                             uint32_t key_size, uint64_t version);
DS_MUST_USE int ds_l2_list(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each,
                           void *arg);
DS_MUST_USE int ds_l2_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc);
void ds_l2_space(struct ds_l2 *l2, struct ds_l2_space *ret);

/* --- for implementations --- */

/* Writes call->err and returns rc. */
__attribute__((format(printf, 3, 4))) int ds_l2_fail(struct ds_l2_call *call, int rc,
                                                     const char *fmt, ...);

/* 0, or DS_ESTALE: the item may not be put over what is there (NULL: nothing). */
DS_MUST_USE int ds_l2_check_order(struct ds_l2_call *call, const struct ds_l2_item *item,
                                  const struct ds_l2_meta *there);

/* 0, DS_ETIMEOUT or DS_ESHUTDOWN: whether the call may go on. */
DS_MUST_USE int ds_l2_go_on(struct ds_l2_call *call);

/* The call gets on: bytes moved, or the store has answered. */
void ds_l2_moved(struct ds_l2_call *call);

/* Of one object among many: whether that is its own trouble, and the others may do. */
bool ds_l2_is_refused(int rc);

/* DS_E* for an errno value. */
int ds_l2_errno(int error);

/* Whether a meta counts as absent at that time. */
bool ds_l2_is_gone(const struct ds_l2_meta *meta, int64_t now_unix_ns);

DS_MUST_USE int ds_l2_dir_open(const struct ds_l2_config *config, char *err, size_t err_size,
                               struct ds_l2 **ret);
DS_MUST_USE int ds_l2_s3_open(const struct ds_l2_config *config, char *err, size_t err_size,
                              struct ds_l2 **ret);

#endif
