/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the object table of one worker: sans-I/O.
 *
 * The store reads the sessions' rings and request slots, keeps the state and index segments, the
 * memory of the data segment, recency, expiry, references and latches, and answers. It makes no
 * system call but for putting memory behind the index and state (segment.h), keeps no global, and
 * takes the time from its caller. A pass over all rings is its one step; docs/concurrency.md
 * numbers the steps L1 to L5 that pass.c implements.
 *
 * Ownership: segments of index and state are borrowed; a session's segment is taken over.
 * Threads:   one thread per store.
 * Errors:    negative DS_E* codes.
 */
#ifndef DS_STORE_STORE_H
#define DS_STORE_STORE_H

#include <ds/client.h>

#include "base/base.h"
#include "shm/segment.h"
#include "store/tier.h"

struct ds_store;

struct ds_store_config {
    uint64_t data_size;   /* bytes of the data segment, a multiple of 4096 */
    uint32_t session_max; /* at most DS_SESSIONS_MAX */
    const char *policy;   /* of eviction, a name that policy.h lists; NULL: "lru" */
    bool drop_none;       /* objects of mode DS_WRITE_NONE may be evicted too */
    double evict_high;    /* eviction starts above this share of memory in use ... */
    double evict_low;     /* ... and goes on down to this one; both 1.0: only as needed */

    /* Asks for `bytes` more of the data segment. True: it is coming, ds_store_usable() will tell.
     * False: there is none (the machine's memory is used up). NULL: all the memory that there will
     * be is announced by ds_store_usable() without asking. */
    bool (*more_memory)(void *arg, uint64_t bytes);
    void *more_memory_arg;

    /* Slower tiers. NULL: there are none. */
    const struct ds_store_tier *tier;
    void *tier_arg;
    bool spill;            /* the disk takes cold objects ... */
    bool spill_second;     /* ... but, of those that may be dropped, only what was read */
    bool journal;          /* the disk takes write-back objects; else they are as write-through */
    bool l2;               /* there is second-level storage */
    size_t upload_max;     /* write-back objects that may wait for their upload */
    uint64_t arriving_min; /* larger ones can be read while they come from disk; 0: none */

    /* Recovery goes on: called every few milliseconds of it. NULL: nobody wants to know. */
    void (*progress)(void *arg);
    void *progress_arg;

    /* Reads the cycle counter (ds_ticks), after a pass has read the rings' tails: an honest ticket
     * is below it. NULL: the time given to the pass is the time of all of it. */
    uint64_t (*ticks)(void *arg);
    void *ticks_arg;
};

struct ds_store_now {
    int64_t boot_ns; /* CLOCK_BOOTTIME of the initial time namespace */
    uint64_t ticks;  /* ds_ticks(), read after boot_ns */
};

/* Bytes of the state segment that go with a data segment. */
uint64_t ds_store_state_size(const struct ds_store_config *config);

/* A new, empty store in fresh segments. DS_ENOMEM. */
DS_MUST_USE int ds_store_create(const struct ds_store_config *config, struct ds_segment *index,
                                struct ds_segment *state, const struct ds_store_now *now,
                                struct ds_store **ret);

/* What an earlier worker left in these segments, in order: attach; session_adopt for each session
 * that the state knows and whose segment still exists; recover. DS_EVERSION, DS_ECORRUPT. */
DS_MUST_USE int ds_store_attach(const struct ds_store_config *config, struct ds_segment *index,
                                struct ds_segment *state, struct ds_store **ret);
DS_MUST_USE int ds_store_session_adopt(struct ds_store *s, uint32_t number,
                                       struct ds_segment *segment);
DS_MUST_USE int ds_store_recover(struct ds_store *s, const struct ds_store_now *now);

/* The segments stay as they are. NULL is a no-op; returns NULL. */
struct ds_store *ds_store_destroy(struct ds_store *s);

/* The first `bytes` of the data segment have memory behind them now. */
void ds_store_usable(struct ds_store *s, uint64_t bytes);

/* The machine may have no more memory: whoever waits for some must be told. */
void ds_store_memory_news(struct ds_store *s);

/* What ds_store_usable() was told last, also by an earlier worker. */
uint64_t ds_store_ready(const struct ds_store *s);

/* Bytes of the data segment in use. */
uint64_t ds_store_used(const struct ds_store *s);

/* --- tiers --- */

/* A piece of work that the tier's start() took is finished; takes the op. */
void ds_store_tier_done(struct ds_store *s, struct ds_tier_op *op);

/* Of a FETCH: the first `bytes` of the value are in place. Of values of up to arriving_min bytes it
 * need not be told. */
void ds_store_tier_arrived(struct ds_store *s, const struct ds_tier_op *op, uint64_t bytes);

/* Where the value of a LOAD goes, once its size is known: sets op->offset, op->size, op->room.
 * DS_EAGAIN, DS_ENOMEM: the op is to be answered with that. */
DS_MUST_USE int ds_store_tier_room(struct ds_store *s, struct ds_tier_op *op, uint64_t size);

/* Of a STORE, UPLOAD or ERASE, before it is given another number: false, if what it brings has been
 * replaced or has ended since it began. What did that may be acknowledged already, under a number
 * that the new one would be above. */
bool ds_store_tier_current(const struct ds_store *s, const struct ds_tier_op *op);

/* Bytes that may be dropped from disk before that takes something for them again: a log must clean
 * whole segments first. 0 at the start. */
void ds_store_set_disk_slack(struct ds_store *s, uint64_t bytes);

/* Drops the oldest objects on disk that may be dropped until `bytes` of their values are gone, or a
 * bounded number was looked at. What was dropped. */
uint64_t ds_store_drop_disk(struct ds_store *s, uint64_t bytes);

/* The disk is not written any more: what has a copy there keeps it, whatever was dropped before. */
void ds_store_keep_copies(struct ds_store *s);

/* Bytes that it has dropped since the store was made. */
uint64_t ds_store_disk_dropped(const struct ds_store *s);

/* Write-back objects that L2 does not have yet. */
uint64_t ds_store_uploads(const struct ds_store *s);

/* So many copies have been buried since the store was made: see tier.h. */
void ds_store_buried(struct ds_store *s, uint64_t total);

/* A copy on disk of a key that no object names, left behind by a kill: the tier is told to bury it.
 */
void ds_store_bury(struct ds_store *s, const void *key, uint32_t key_size);

/* A copy was moved on disk. False: it is not wanted any more. */
bool ds_store_moved(struct ds_store *s, const void *key, size_t key_size, uint64_t from,
                    uint64_t to, bool *ret_dirty);

/* The copy at `place` cannot be read any more. */
void ds_store_lost(struct ds_store *s, const void *key, size_t key_size, uint64_t place);

/* *ret_dirty: second-level storage is to have the object and has not. */
bool ds_store_has_place(struct ds_store *s, const void *key, size_t key_size, uint64_t place,
                        bool *ret_dirty);

/* The tier can take more work: whoever was told to come again may. */
void ds_store_tier_news(struct ds_store *s);

/* L2 does not answer: one upload at a time is tried, now and then. When it does again, all go. */
void ds_store_pause_uploads(struct ds_store *s, bool paused);

/* An object that a directory held when this store was made anew: before the first pass. */
struct ds_store_found {
    const void *key;
    size_t key_size;
    uint64_t size;
    uint64_t place;
    uint64_t version;  /* as the copy has it: the order number in L2, 0 where there is none */
    int64_t expiry_ns; /* CLOCK_BOOTTIME; 0 = never */
    uint8_t mode;
    uint8_t kind;    /* DS_KIND_* */
    bool uploaded;   /* L2 has it too */
    bool unverified; /* or another version by now: it is asked before anybody sees this one */
};
DS_MUST_USE int ds_store_enter_spilled(struct ds_store *s, const struct ds_store_found *f);

/* Whether its mode allows it to be given up: for one that could not be entered. */
bool ds_store_found_droppable(const struct ds_store *s, const struct ds_store_found *f);

/* Whether second-level storage has it too, in this version or, by now, in a newer one. */
bool ds_store_found_in_l2(const struct ds_store *s, const struct ds_store_found *f);

/* True until ds_store_serve(), also over restarts: what is on disk is still being entered, and the
 * store not knowing of it does not make it void. */
bool ds_store_unserved(const struct ds_store *s);
void ds_store_serve(struct ds_store *s);

/* The greatest order number in L2 of what was found or published. */
uint64_t ds_store_order_seen(const struct ds_store *s);

/* Every copy on disk that the store knows of, after recovery. False: it is not there any more. */
void ds_store_places(struct ds_store *s,
                     bool (*there)(void *arg, uint64_t place, uint64_t size, size_t key_size),
                     void *arg);

/* The disk cannot be used, after recovery: nothing leaves memory for it. All objects keep their
 * places, for a worker that has the disk again: a value that was acknowledged because the journal
 * has it would be an orphan there, which is buried. */
void ds_store_without_disk(struct ds_store *s);

/* --- sessions --- */

struct ds_session_info {
    uint8_t token[16];
    uint32_t pid;
    uint32_t uid;
    uint32_t pins; /* slots to make ready at the start, at least; not kept */
};

/* Formats `segment` (of DS_SESSION_SIZE) as a new session. DS_ENOMEM, DS_EAGAIN: too many. */
DS_MUST_USE int ds_store_session_open(struct ds_store *s, const struct ds_session_info *info,
                                      struct ds_segment *segment, uint32_t *ret_number);

/* The live session with this token, or UINT32_MAX. */
uint32_t ds_store_session_find(const struct ds_store *s, const uint8_t token[16]);

/* The state's sessions in use, for recovery: calls back with each number. */
void ds_store_sessions(const struct ds_store *s,
                       void (*each)(void *arg, uint32_t number, const struct ds_session_info *info),
                       void *arg);

/* NULL if there is no such session. */
const struct ds_segment *ds_store_session_segment(const struct ds_store *s, uint32_t number);

/* The connection is gone: what it posted is applied first; then its requests, references and
 * latches end. Pins and grants stay until the end. */
void ds_store_session_hangup(struct ds_store *s, uint32_t number);

/* No process can use its mapping any more: pins and grants end, the segment is closed. */
void ds_store_session_end(struct ds_store *s, uint32_t number);

/* A session that broke the protocol and is to be hung up, one a call; UINT32_MAX: none. */
uint32_t ds_store_next_broken(struct ds_store *s);

/* --- passes --- */

/* One pass. Returns true if another one must follow at once: something is unsettled or deferred. */
bool ds_store_pass(struct ds_store *s, const struct ds_store_now *now);

/* For the moment before sleeping, after `asleep` is set and fenced: true if nothing was posted
 * since the last pass. */
bool ds_store_quiet(const struct ds_store *s);

/* When the next pass is due even if nobody posts (CLOCK_BOOTTIME ns); INT64_MAX: never. */
int64_t ds_store_next_ns(const struct ds_store *s);

/* Futex words whose sleepers the last pass must wake, valid until the next pass. */
const void *const *ds_store_wakes(const struct ds_store *s, size_t *ret_n);

/* All fields that the store knows; the rest of *ret is left alone. */
void ds_store_stats(const struct ds_store *s, struct ds_worker_stats *ret);

/* The fields of stats that only the worker knows, for DS_OP_STATS. */
void ds_store_set_info(struct ds_store *s, uint64_t worker_pid, uint64_t keeper_pid);

/* Walks everything and compares: free + granted + live + doomed = size, tables, lists, index. */
DS_MUST_USE int ds_store_check(const struct ds_store *s);

#endif
