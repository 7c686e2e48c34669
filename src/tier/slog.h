/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slog.h - segment log: a log-structured store of records on a local directory, used as SSD spill
 * and as write-back journal.
 *
 * After Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File System"
 * (1992): records are appended to segments of one size; a full segment is sealed by a summary of
 * its records; the cleaner copies what still lives out of the emptiest segments and unlinks them. A
 * value that does not fit a segment has one of its own, which counts for as many as it takes.
 * The index is the owner's: it keeps the place (ds_slog_at) of each record it cares for.
 *
 * Order is by LSN, a counter that goes on after a restart: the newest put of a key counts unless a
 * tombstone of the key is newer. Bytes are checked by CRC-32C at every read: what was changed on
 * the disk is DS_ECORRUPT, never wrong bytes.
 *
 * Ownership: keys are copied, values are read from `data_fd` by system calls.
 * Threads: one owner calls everything; calls after ds_slog_open(), _recover() and _adopt() do not
 * touch the disk. A writer thread and up to `threads` - 1 readers do, started when there is work.
 * Errors: DS_EINVAL, DS_ENOMEM, DS_ENOSPACE (limit or disk full), DS_EIO, DS_ECORRUPT,
 * DS_ENOTFOUND (a place that was cleaned), DS_EAGAIN (another process has the directory; a put must
 * wait for the cleaner).
 */
#ifndef DS_TIER_SLOG_H
#define DS_TIER_SLOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/base.h"

typedef uint64_t ds_slog_at; /* the place of a record; 0: none */

#define DS_SLOG_KEY_MAX 4096u
#define DS_SLOG_SEGMENTS_MIN 8u

struct ds_slog;

struct ds_window;

struct ds_slog_config {
    const char *directory; /* made if missing, mode 0700 */
    uint64_t size_limit;   /* bytes; the files never use more, cleaning included, however the
                            * processes before ended. A directory that was filled under a higher
                            * limit shrinks to it; two segments may be made meanwhile, for copies
                            * and tombstones, if that limit has room for them */
    uint64_t segment_size; /* bytes, a multiple of 4096, at most 1 GiB; 0: chosen from the limit */
    uint32_t files_max;    /* segments, each of which has a descriptor; 0: no cap. The size limit is
                            * lowered to what these hold */
    unsigned threads;      /* 0: 4 */
    bool try_uring;        /* small gets by io_uring where it works */
    bool direct;           /* O_DIRECT where it works */
    int data_fd;           /* where values are; not closed here */
    struct ds_window *window; /* NULL, or of data_fd: values that are read are written through it */
    uint64_t data_size;       /* bytes of it */
    uint64_t gc_bytes_per_s;  /* what cleaning may copy while there is room; 0: no cap */
    int64_t again_ns;         /* cleaning that failed waits so long, at first; 0: a second */
    uint64_t kept_size; /* bytes of the file for ds_slog_keep_tombstone(), at most 1 MiB; 0: none */

    /* Called by ds_slog_poll(). Whether the owner's record of the key is at this place, and the
     * flags it has now: those are written into the copy. */
    bool (*is_live)(void *arg, const void *key, size_t key_size, ds_slog_at at, uint16_t *flags);

    /* The record was copied, with `flags`; ds_slog_adopted() may go back to an original. true: the
     * owner refers to `to` from now on; it repeats ds_slog_note() if flags have changed meanwhile.
     * false: the record died. to == 0, with DS_ECORRUPT: it is damaged, or could not be read
     * several times: it is lost. */
    bool (*moved)(void *arg, const void *key, size_t key_size, ds_slog_at from, ds_slog_at to,
                  uint16_t flags, int rc);

    /* May be NULL. A sentence for the owner's log, of a segment that is damaged or cannot be read:
     * during ds_slog_open(), _recover(), _adopted() and _poll(). */
    void (*notice)(void *arg, const char *text);

    /* May be NULL. Called now and then while ds_slog_open(), _recover() and _adopted() read. */
    void (*progress)(void *arg);
    void *arg;
};

struct ds_slog_item {
    const void *key;
    uint32_t key_size;
    uint64_t version;
    int64_t expiry_unix_ns;
    uint8_t mode, kind;
    uint16_t flags;
    uint64_t offset, size; /* the value in data_fd; it must not change before PUT_DONE */
    uint64_t cookie;
};

/* What recovery found; valid during the call. */
struct ds_slog_entry {
    const void *key;
    uint32_t key_size;
    uint8_t mode, kind;
    uint16_t flags;
    uint64_t version;
    int64_t expiry_unix_ns;
    uint64_t size;
    uint64_t lsn;
    ds_slog_at at;
    bool doubtful; /* a newer one, or a tombstone, may have been in a segment that was set aside */
};

enum ds_slog_event_type {
    DS_SLOG_PUT_DONE = 1,   /* rc 0: at */
    DS_SLOG_TOMBSTONE_DONE, /* rc 0: written; durable if that was asked */
    DS_SLOG_NOTE_DONE,
    DS_SLOG_GET_SOME, /* more than one chunk: the first `bytes` of the value are in data_fd */
    DS_SLOG_GET_DONE, /* rc 0: the value is in data_fd; else nothing unverified was written there */
    DS_SLOG_ERROR,    /* once: the disk is not written any more. rc: DS_EIO, or DS_ENOTFOUND when
                         the directory or a file in use was removed */
};

struct ds_slog_event {
    enum ds_slog_event_type type;
    int rc;
    uint64_t cookie;
    ds_slog_at at;
    uint64_t bytes; /* DS_SLOG_GET_SOME */
};

struct ds_slog_stats {
    /* What counts in the limit: a larger one for several. segments * size: the most they take. */
    uint64_t size_limit, segment_size, segments, segments_max;
    uint64_t live_bytes, dead_bytes; /* of records */
    uint64_t held_bytes;             /* by live ones: with the rest of segments of their own */
    uint64_t put_bytes, gc_bytes;    /* written; amplification = 1+gc/put */
    uint64_t puts, tombstones, notes, gets, get_bytes, moves, segments_freed;
    uint64_t syncs, corrupt, io_errors;
    uint64_t queued; /* requests without their event */
    bool stopped;    /* writing has ended after errors */
    bool uring, direct;
};

/* Bytes that the segments in a directory take of its disk: 0 where there are none. */
uint64_t ds_slog_disk_use(const char *directory);

/* `err` gets a sentence that says what to do. */
DS_MUST_USE int ds_slog_open(const struct ds_slog_config *config, char *err, size_t err_size,
                             struct ds_slog **ret);

/* Exactly one of the two ways to begin, before anything else:
 * 1. ds_slog_recover(): calls `each` for the newest record of every key that no tombstone covers.
 *    The owner calls ds_slog_dead() for those it does not want, from `each` or later.
 * 2. ds_slog_adopt() for each place that the owner still knows, then ds_slog_adopted(): what is not
 *    adopted is dead. DS_ENOTFOUND: there is no such place (any more). ds_slog_adopted() may find
 *    that a segment cannot be read: ds_slog_has() tells whether an adopted place is still there.
 *    An owner that was killed may not have been told of a put, or may not have got to a tombstone:
 *    then a key's newest record is an orphan, which nobody adopted, and ds_slog_recover() would
 *    bring it back one day. `orphan` is called for the key of each, unless an older record of that
 *    key was adopted (its end will write a tombstone), after the log takes requests: the owner
 *    writes a tombstone. */
DS_MUST_USE int ds_slog_recover(struct ds_slog *s,
                                void (*each)(void *arg, const struct ds_slog_entry *e), void *arg);
DS_MUST_USE int ds_slog_adopt(struct ds_slog *s, ds_slog_at at, size_t key_size, uint64_t size);
bool ds_slog_has(const struct ds_slog *s, ds_slog_at at);
DS_MUST_USE int ds_slog_adopted(struct ds_slog *s,
                                void (*orphan)(void *arg, const void *key, size_t key_size),
                                void *arg);

/* The largest value that is taken with a key of that size: half of what puts may fill. */
uint64_t ds_slog_value_max(const struct ds_slog *s, size_t key_size);

/* Requests. 0: an event with the cookie will come. Other: nothing was begun. A durable one is
 * answered after a sync (many share one); others after the write, and are synced within a second.
 *
 * A put that finds no room, or whose room is kept for a larger one, is DS_EAGAIN while the cleaner
 * works (ds_slog_fd() tells when it has a segment), DS_ENOSPACE when nothing can be gained. A
 * tombstone is taken without room too, in the order of the calls, and answered when the cleaner has
 * made it some: only DS_EINVAL and DS_ENOMEM refuse it. When the disk is given up the file of
 * ds_slog_keep_tombstone() takes it, which is synced; with DS_EIO it is in that file at best. */
DS_MUST_USE int ds_slog_put(struct ds_slog *s, const struct ds_slog_item *item, bool durable);
DS_MUST_USE int ds_slog_tombstone(struct ds_slog *s, const void *key, size_t key_size, bool durable,
                                  uint64_t cookie);

/* As ds_slog_tombstone(), but safe at once from the end of this process and of every other: true.
 * There is no event. A loss of power soon after may undo it, like a tombstone that is not durable.
 * false: there is no room for that, and nothing was done. */
DS_MUST_USE bool ds_slog_keep_tombstone(struct ds_slog *s, const void *key, size_t key_size);

/* New flags for the key's newest record, which is at `at`; they survive a restart. */
DS_MUST_USE int ds_slog_note(struct ds_slog *s, ds_slog_at at, const void *key, size_t key_size,
                             uint16_t flags, bool durable, uint64_t cookie);

/* Reads the value into data_fd at `offset`, after verifying that the record has this key, version
 * and size. Values over DS_SLOG_PIECE are written there in pieces, from the beginning, each
 * verified first; events tell how far that is. */
#define DS_SLOG_PIECE (UINT64_C(1) << 20)
DS_MUST_USE int ds_slog_get(struct ds_slog *s, ds_slog_at at, uint64_t size, const void *key,
                            size_t key_size, uint64_t version, uint64_t offset, uint64_t cookie);

/* The owner does not refer to this record any more. O(1). */
void ds_slog_dead(struct ds_slog *s, ds_slog_at at, size_t key_size, uint64_t size);

/* Hands what was requested to the threads; ds_slog_poll() does it too. */
void ds_slog_flush(struct ds_slog *s);

/* Whether the owner drops what is oldest, as a cache that is full does: the cleaner leaves alone
 * what will soon be dead. At first it is not so. */
void ds_slog_set_dropping(struct ds_slog *s, bool dropping);

/* Readable when ds_slog_poll() has something to do. */
int ds_slog_fd(const struct ds_slog *s);

/* The same without a system call, for an owner that is awake. */
bool ds_slog_news(const struct ds_slog *s);
size_t ds_slog_poll(struct ds_slog *s, struct ds_slog_event *ret, size_t max);
void ds_slog_stats(const struct ds_slog *s, struct ds_slog_stats *ret);

/* Waits for what is under way (its events are lost). clean: syncs and seals, so that the next open
 * reads summaries only. NULL is a no-op; returns NULL. */
struct ds_slog *ds_slog_close(struct ds_slog *s, bool clean);

#endif
