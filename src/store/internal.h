/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - what the files of store/ share. */
#ifndef DS_STORE_INTERNAL_H
#define DS_STORE_INTERNAL_H

#include <ds/kv.h>

#include "base/atomics.h"
#include "base/heap.h"
#include "shm/arena.h"
#include "shm/index.h"
#include "shm/layout.h"
#include "store/gone.h"
#include "store/list.h"
#include "store/policy.h"
#include "store/store.h"
#include "store/table.h"

/* Bits of ds_store.flags[id], private. */
#define FLAG_EARLIER 1u /* unsettled since before this pass: in the list `earlier` */
#define FLAG_NEWER 2u   /* unsettled since this pass: in the list `newer` */
#define FLAG_RANKED 4u  /* in the policy: may be evicted */
#define FLAG_PINNED 8u  /* between ds_store_mark_pinned() and ds_store_unmark_pinned() */
#define FLAG_NESTS 16u  /* has nested records */
#define FLAG_BUSY 32u   /* a tier works on it: neither the record nor its block may be freed */
#define FLAG_LOWER 64u  /* in the list `lower` */
#define FLAG_FAILED                                                                                \
    128u /* spilled: the last fetch failed, the next reader is told; being spilled: it has changed \
            since */
#define FLAG_READ 256u      /* somebody has read it, or may have */
#define FLAG_QUEUED 512u    /* in the list `uploads` */
#define FLAG_COUNTED 1024u  /* a write-back that was acknowledged: counts against upload_max */
#define FLAG_FOUND 2048u    /* dirty since before this worker started */
#define FLAG_GUEST 4096u    /* in the list `guests` */
#define FLAG_SPARE 8192u    /* in the list `spare` */
#define FLAG_STALLED 16384u /* in the list `stalled` */

/* Write modes that the ring of sets and plain inserts take; the others go through DS_OP_SET. */
#define ds_store_plain_mode(mode) ((mode) == DS_WRITE_NONE || (mode) == DS_WRITE_NONE_EVICT)

#define DS_STORE_MIRROR_HOLDS 16u
#define DS_STORE_FRESH 256u
#define DS_STORE_UPLOADS 64u   /* at a time, and values of an eighth of the memory at most */
#define DS_STORE_ERASES 256u   /* of what dropped objects have hidden, at a time */
#define DS_STORE_VICTIMS 4096u /* looked at in one go */
#define DS_STORE_SECOND_BUCKETS 1024u
#define DS_STORE_LEAVERS_MAX 4096u

struct session {
    struct ds_segment segment;
    struct ds_session_header *header;
    const uint8_t *ring;
    struct ds_request_slot *slot;
    const struct ds_log_entry *log;
    const _Atomic uint32_t *pin;
    struct ds_state_session *state;
    uint64_t pins_ready;    /* bytes of the pin area that have memory */
    uint64_t requests_seen; /* header->requests when the slots were looked at last */
    uint64_t log_seen;
    uint64_t collected; /* ring position up to which this pass has read */
    uint64_t tail;      /* of the ring, and header->requests, when this pass began */
    uint64_t requests;
    uint64_t last_ticket; /* tickets of one ring never go back */
    struct {
        uint64_t position; /* of the record: the mirror of the cursor stays before it ... */
        uint64_t buried;   /* ... until so many tombstones are written */
    } hold[DS_STORE_MIRROR_HOLDS];
    unsigned hold_n;
    uint64_t asked[DS_REQUESTS][2];    /* items for which L2 has given its answer */
    uint64_t answered[DS_REQUESTS][2]; /* items with their final answer: not executed again */
    uint64_t unused[DS_REQUESTS][2];   /* items of sets whose grant is to be dropped */
    uint64_t buried[DS_REQUESTS];      /* tombstones that the request in this slot waits for */
    uint64_t fresh;                    /* request slots seen in this pass */
    uint64_t ready;                    /* seen in an earlier pass: may be executed */
    uint64_t waiting;                  /* executed, but for something to come */
    int64_t deadline_ns[DS_REQUESTS];
    uint32_t known[DS_REQUESTS]; /* number of the newest request seen */
    uint8_t tries[DS_REQUESTS];  /* since one found no memory but what is not settled yet */
    struct ds_list grants;
    struct ds_list holds; /* references and latches */
    uint32_t number;
    bool hungup;
    bool adopted; /* from an earlier worker: a request may have been begun already */
    bool broken;  /* broke the protocol: its ring is read no more */
};

/* A set read from a ring, in private memory but for its key. */
struct set_entry {
    struct ds_ring_record record;
    struct session *session;
    uint64_t position; /* of the record in the ring */
    uint64_t ticket;
};

struct ds_store {
    struct ds_store_config config;
    struct ds_index index;
    struct ds_segment *state_segment;
    struct ds_state_header *state;
    struct ds_state_session *session_state;
    struct ds_record *record;
    struct ds_area area_record;
    struct ds_arena *data;
    struct ds_arena *keys;
    uint64_t usable;

    struct ds_table objects;     /* LIVE records by key */
    struct ds_table refs;        /* REF records by key */
    struct ds_table nest_child;  /* NESTED records by the child's key */
    struct ds_table nest_parent; /* NESTED records by the parent's number */
    struct ds_table latches;     /* LATCH records by the object's number */
    struct ds_link *link;        /* by record */
    uint16_t *flags;             /* by record */
    uint32_t free_first;         /* free records below records_used, through link[].next */
    struct ds_policy *policy;    /* the order of evictable objects */
    struct ds_list lower;        /* spilled objects, the one that was spilled first in front */
    struct ds_list spare;        /* those of them that L2 has too */
    struct ds_list guests;       /* objects of DS_KIND_DISK that are in memory */
    struct ds_list stalled;      /* spilled objects with a block that nobody reads into */
    struct ds_link *guest_link;  /* by record: of these two lists */
    struct ds_place *place;      /* by record, in the state: see spill.c */
    uint64_t order_seen;         /* the greatest that a record has or had */
    struct ds_area area_place;
    uint32_t *leavers; /* written to disk, their blocks are given up in one batch */
    size_t leavers_n;
    uint32_t *marked; /* FLAG_PINNED */
    size_t marked_n, marked_room;
    uint64_t leaving; /* bytes of objects whose spill is under way */
    struct {
        int64_t until_ns;
        uint32_t id;
    } fresh[DS_STORE_FRESH]; /* a ring: came back for somebody who has not pinned it yet */
    uint32_t fresh_first;
    uint32_t fresh_n;
    uint64_t disk_slack;
    uint64_t disk_dropped; /* bytes, ever */
    uint64_t exclusive;    /* bytes dropped from disk for which a copy may go instead: fetch.c */
    int64_t disk_bad_until_ns; /* its last write failed */
    bool disk_away;            /* it cannot be used: see ds_store_without_disk() */
    bool disk_tight;           /* the disk had no room for the last object that was to go there */
    uint64_t looked;           /* victims that could not go, one after the other */
    bool search_left;          /* make_room() found none, but has not looked at all */
    int64_t stuck_until_ns;    /* nothing can go: not looked at again before */
    uint64_t lower_freed;      /* bytes dropped from disk since it took something last */
    int64_t lower_freed_ns;    /* when the last of them were */
    uint64_t unreadable;       /* spilled objects that have no copy: ds_store_lose() */
    uint64_t lower_max;        /* largest block that a spilled object will need again */
    uint64_t fetching;         /* bytes of blocks that objects are read back into */
    struct ds_second_op *second[DS_STORE_SECOND_BUCKETS]; /* by key: see second.c */
    uint64_t second_n;
    uint64_t erasing;            /* of what dropped objects have hidden */
    bool second_done;            /* some are finished */
    struct ds_list uploads;      /* dirty objects but for those being uploaded: see upload.c */
    struct ds_link *upload_link; /* by record; NULL: no second-level storage */
    uint64_t uploading;
    uint64_t uploading_bytes; /* their values: blocks that cannot leave memory meanwhile */
    uint64_t queued_bytes;    /* values of `uploads` */
    uint64_t upload_counted;  /* records with FLAG_COUNTED */
    uint64_t journalling;     /* sets that will be counted, if the journal takes them */
    int64_t upload_next_ns;
    bool uploads_paused; /* L2 does not answer */
    uint64_t buried;     /* copies ever to be buried that were not at once */
    uint64_t buried_done;
    struct ds_list doomed;
    struct ds_list earlier;
    struct ds_list newer;
    struct ds_heap expiry;
    size_t expiry_kept; /* entries when void ones were dropped last */

    struct session **session; /* by number */
    struct session **active;  /* those that exist, dense */
    uint32_t n_active;

    struct set_entry *batch;
    size_t batch_n;
    size_t batch_capacity;
    struct ds_request_slot scratch; /* the request in work, copied */
    uint64_t wait_filter[64];       /* bitmap over hashes that a waiting get misses */
    bool unnesting;                 /* inside the walk of unnest() */
    bool examine;                   /* a waiting request may be able to go on */
    bool starved;                   /* somebody waits for memory: ds_store_memory_news() */
    bool parts_wait;                /* somebody waits for more of an object that arrives */
    bool mirrored;                  /* a mirror moved without a set being applied */
    bool partial;                   /* this pass could not read all rings: nothing settles */
    int64_t wait_next_ns;
    int64_t reclaim_next_ns;
    int64_t guests_next_ns;
    bool guests_wait; /* one could not go: too much was on its way to disk */

    const void **wakes;
    size_t wakes_n;
    size_t wakes_capacity;

    struct ds_store_now now;
    struct ds_worker_stats stats;
    struct ds_gone_table *gone; /* in the state segment */
    uint32_t n_broken;          /* sessions that broke the protocol and are still to be hung up */
    uint64_t n_grants;
    uint64_t bad_records;  /* of rings: refused */
    uint64_t lost_records; /* found damaged in recovery */
};

/* --- record.c: records and their resources --- */

uint64_t ds_store_key_hash(const struct ds_store *s, const void *key, size_t key_size);
const uint8_t *ds_store_key(const struct ds_store *s, uint32_t id);
uint32_t ds_store_check_of(const struct ds_store *s, uint32_t id);
DS_MUST_USE int ds_store_record_alloc(struct ds_store *s, uint32_t *ret);
void ds_store_record_free(struct ds_store *s, uint32_t id); /* with its key block */

/* Makes `id` a record of a key without a block: REF, NESTED or LATCH. DS_ENOMEM. */
DS_MUST_USE int ds_store_record_note(struct ds_store *s, enum ds_record_state state,
                                     const struct ds_record *fields, const void *key,
                                     struct ds_table *table, uint64_t hash, uint32_t *ret);
/* The first `bytes` of the key area can be used. DS_ENOMEM. */
DS_MUST_USE int ds_store_need_keys(struct ds_store *s, uint64_t bytes);
DS_MUST_USE int ds_store_write_key(struct ds_store *s, uint32_t id, const void *key,
                                   uint32_t key_size);

/* A record for what a tier has of a key, its block (if any) at `offset`; complete but for the word.
 * DS_ENOMEM. */
DS_MUST_USE int ds_store_record_found(struct ds_store *s, const struct ds_store_found *f,
                                      uint64_t offset, uint32_t *ret);

/* The word that makes it LIVE. */
uint64_t ds_store_found_word(const struct ds_store_found *f);

/* It is LIVE: enters the index and the table of objects. */
void ds_store_enter_found(struct ds_store *s, uint32_t id, const struct ds_store_found *f);

/* The live, unexpired object of a key, or DS_ID_NONE. */
uint32_t ds_store_find(struct ds_store *s, const void *key, size_t key_size);

/* The same, or an object that is over but stays for now: see second.c. */
uint32_t ds_store_find_any(struct ds_store *s, const void *key, size_t key_size);
bool ds_store_over(const struct ds_store *s, uint32_t id);

/* Unpublishes a live object whose time is over, if it need not stay. */
bool ds_store_end_if_over(struct ds_store *s, uint32_t id);
uint32_t ds_store_lookup(const struct ds_store *s, uint64_t hash, const struct ds_table *t,
                         const void *key, size_t key_size, uint32_t from);

static inline enum ds_record_state ds_store_state(const struct ds_store *s, uint32_t id)
{
    return DS_WORD_STATE(ds_load_relaxed(&s->record[id].word));
}

/* The block that holds an object of `size` bytes, an empty one included. */
static inline uint64_t ds_store_block(uint64_t size)
{
    return ds_arena_capacity(DS_BLOCK_UNIT, ds_max_u64(size, 1));
}

/* Of what belongs to an object by its number: nested keys and latches (Fibonacci hashing, Knuth).
 */
static inline uint64_t ds_store_object_hash(uint64_t id)
{
    return id * UINT64_C(0x9e3779b97f4a7c15) >> 32;
}

/* --- object.c: objects come and go --- */

/* P5, P6: the descriptor follows the record. */
void ds_store_project(struct ds_store *s, uint32_t id, bool settled);

/* A block for a session. DS_ENOMEM: nothing more can be evicted. DS_EAGAIN: memory is coming. */
DS_MUST_USE int ds_store_grant(struct ds_store *s, struct session *by, uint64_t size,
                               uint64_t origin, uint32_t *ret);
void ds_store_grant_drop(struct ds_store *s, struct session *by, uint32_t id);

struct ds_store_set {
    const void *key;
    uint32_t key_size;
    uint32_t id; /* the grant */
    uint64_t value_size;
    uint64_t ttl_ms;
    uint64_t version;
    uint64_t origin;
    uint8_t mode;
    uint8_t kind;
};

/* A block of memory for `size` bytes. DS_EAGAIN: there will be. DS_ENOMEM. */
DS_MUST_USE int ds_store_block_alloc(struct ds_store *s, uint64_t size, uint64_t *ret_offset);

/* A block of this session that no tier is working on. */
bool ds_store_lent(const struct ds_store *s, const struct session *by, uint32_t id);

/* True if the grant is this session's and everything fits it. */
bool ds_store_set_valid(const struct ds_store *s, const struct session *by,
                        const struct ds_store_set *set);

/* P3 to P7, and U1 to U3 of what it replaces. An older one is dropped. The grant is used up. */
void ds_store_publish(struct ds_store *s, struct session *by, const struct ds_store_set *set);

/* U1 to U3; the key is gone. */
void ds_store_unpublish(struct ds_store *s, uint32_t id, enum ds_gone why);
bool ds_store_droppable(const struct ds_store *s, uint32_t id); /* its write mode allows it */
bool ds_store_rankable(const struct ds_store *s, uint32_t id);  /* may leave memory */
void ds_store_touch(struct ds_store *s, uint32_t id);
void ds_store_rank(struct ds_store *s,
                   uint32_t id); /* may be evicted from now on, if its mode allows */
void ds_store_unlist(struct ds_store *s, uint32_t id); /* out of the policy and unsettled lists */
void ds_store_settle(struct ds_store *s);              /* L5 */

/* U4 to U6 for everything doomed. */
void ds_store_reclaim(struct ds_store *s);

enum ds_room { DS_ROOM_NONE, DS_ROOM_COMING, DS_ROOM_MADE };

/* Makes room for `bytes`: by eviction, at once; or by spilling, which takes its time. */
enum ds_room ds_store_make_room(struct ds_store *s, uint64_t bytes);
void ds_store_expire(struct ds_store *s);

/* When a time to live that starts now ends (0: none); its end is noted. */
int64_t ds_store_expire_in(struct ds_store *s, uint32_t id, uint64_t ttl_ms);
void ds_store_drain_logs(struct ds_store *s);

/* --- spill.c: objects whose bytes are on disk --- */

/* The status of a request's item that waits for a tier; never leaves the worker. */
#define DS_STORE_PENDING 2

static inline bool ds_store_spilled(const struct ds_store *s, uint32_t id)
{
    return (ds_load_relaxed(&s->record[id].word) & DS_WORD_SPILLED) != 0;
}

/* What a directory has told of a key that L2 has too: whether L2 has this version still is not
 * known yet. It is never in memory: see ds_store_second_find(). */
static inline bool ds_store_unverified(const struct ds_store *s, uint32_t id)
{
    return s->config.l2 && (ds_load_relaxed(&s->record[id].word) & DS_WORD_UNVERIFIED) != 0;
}

/* The flags that say whether it has a block. */
static inline uint64_t ds_store_where(const struct ds_store *s, uint32_t id)
{
    return ds_load_relaxed(&s->record[id].word) & (DS_WORD_SPILLED | DS_WORD_ARRIVING);
}

/* Bytes of the data segment that the object holds. */
static inline uint64_t ds_store_holds(const struct ds_store *s, uint32_t id)
{
    uint64_t where = ds_store_where(s, id);

    return where == DS_WORD_SPILLED ? 0 : ds_store_block(s->record[id].size);
}

/* Of the object API and not sealed: its bytes change in place. */
static inline bool ds_store_mutable(const struct ds_store *s, uint32_t id)
{
    return (s->record[id].kind & DS_KIND_OBJECT) != 0 &&
           (ds_load_relaxed(&s->record[id].word) & DS_WORD_SEALED) == 0;
}

/* Work for the tier on an object; NULL: no memory. */
struct ds_tier_op *ds_store_tier_op(const struct ds_store *s, enum ds_tier_kind kind, uint32_t id);

/* Its record is FLAG_BUSY until it is done. On failure the op is freed: as ds_store_tier.start().
 */
DS_MUST_USE int ds_store_tier_begin(struct ds_store *s, struct ds_tier_op *op);

/* The object is still the one that the work was begun for. */
bool ds_store_op_current(const struct ds_store *s, const struct ds_tier_op *op);

/* The place of a record may be stored. DS_ENOMEM. */
DS_MUST_USE int ds_store_need_place(struct ds_store *s, uint32_t id);

/* After its generation changed: its expiry is noted again. */
void ds_store_renew_expiry(struct ds_store *s, uint32_t id);

/* Where its copy on disk is; 0: there is none. */
uint64_t ds_store_place(const struct ds_store *s, uint32_t id);

/* It may leave memory for that copy. */
static inline bool ds_store_copied(const struct ds_store *s, uint32_t id)
{
    return !s->disk_away && ds_store_place(s, id) != 0;
}

/* Spilled, and its copy was lost: no reader gets it back, and only a set ends that. */
bool ds_store_unreadable(const struct ds_store *s, uint32_t id);

/* Number of its last write among all workers' in second-level storage; 0: it has none. */
uint64_t ds_store_order(const struct ds_store *s, uint32_t id);
void ds_store_set_order(struct ds_store *s, uint32_t id, uint64_t order);

/* For what is about to be published, over `old`: if it is to be uploaded, or is of a plain mode and
 * hides a value that L2 is known to have: see ds_store_second_drop(). */
void ds_store_number(struct ds_store *s, const struct ds_store_set *set, uint32_t old);

/* The object is on its way to disk. DS_EAGAIN: too many are. DS_ENOSPACE, DS_ENOTSUPPORTED. */
DS_MUST_USE int ds_store_spill(struct ds_store *s, uint32_t id);

/* Its copy on disk is good: the block is given up with the next batch unless somebody reads. */
void ds_store_leave(struct ds_store *s, uint32_t id);

/* Gives up the blocks of all that left. */
void ds_store_demote(struct ds_store *s);

/* DS_KIND_DISK: in memory, but to leave it as soon as nobody reads; else a no-op. */
void ds_store_guest(struct ds_store *s, uint32_t id);
void ds_store_unguest(struct ds_store *s, uint32_t id);

/* This guest leaves, if it may now. Else as ds_store_spill(): no other can go either. */
DS_MUST_USE int ds_store_guest_leave(struct ds_store *s, uint32_t id);

/* All guests that nobody reads leave, as many as the disk takes. */
void ds_store_guests_leave(struct ds_store *s);

/* The copy on disk cannot be read. */
void ds_store_lose(struct ds_store *s, uint32_t id);

/* Its bytes or what its copy on disk says of it have changed or are about to. */
void ds_store_changed(struct ds_store *s, uint32_t id);

/* The object is no more: its copy on disk, if there is one, is void. `bury`: it must not come back
 * from there after a restart. */
void ds_store_forget(struct ds_store *s, uint32_t id, bool bury);

/* Its last write failed a moment ago. */
bool ds_store_disk_bad(const struct ds_store *s);

/* The copy that a finished op has made is void, as with ds_store_forget(). */
void ds_store_forget_copy(struct ds_store *s, const struct ds_tier_op *op, bool bury);

/* Recovery: the list and the figures of a spilled object. */
void ds_store_enter_lower(struct ds_store *s, uint32_t id);

/* The mirror of the cursor of applied sets, as far as tombstones allow. */
void ds_store_mirror(struct ds_store *s, struct session *x);

/* --- fetch.c: spilled objects come back --- */

/* Reads a spilled object back. DS_EAGAIN: it comes, or memory for it does. DS_ENOMEM, DS_EIO,
 * DS_ECORRUPT. */
DS_MUST_USE int ds_store_fetch(struct ds_store *s, uint32_t id);
void ds_store_fetched(struct ds_store *s, const struct ds_tier_op *op);

/* Its first `size` bytes are there: all of it, where it has less. false: it does not arrive, or
 * waiting requests will be looked at again when more of it has. */
bool ds_store_arrived(struct ds_store *s, uint32_t id, uint64_t size);

/* Its block is still there though nothing is read into it: until no pin names the object. */
void ds_store_enter_stalled(struct ds_store *s, uint32_t id);
void ds_store_unstall(struct ds_store *s, uint32_t id); /* else a no-op */

/* Between ds_store_mark_pinned() and ds_store_unmark_pinned(). */
void ds_store_let_stalled_go(struct ds_store *s);

/* The object has come for a reader: it stays for some milliseconds, or with little memory it would
 * leave again before he has it. */
void ds_store_freshen(struct ds_store *s, uint32_t id);
bool ds_store_fresh(const struct ds_store *s, uint32_t id);
void ds_store_fresh_end(struct ds_store *s); /* of those whose time is over */

/* --- second.c: second-level storage. What returns DS_EAGAIN is called again when something is
 * done, and goes on where it was. --- */

bool ds_store_mode_in_l2(uint8_t mode, bool uploaded);
bool ds_store_in_l2(const struct ds_store *s, uint32_t id);
bool ds_store_dirty(const struct ds_store *s, uint32_t id);    /* L2 is to have it, and has not */
bool ds_store_hides_l2(const struct ds_store *s, uint32_t id); /* L2 may have an older one */

/* Work on its key is under way. */
bool ds_store_second_busy(struct ds_store *s, uint32_t id);

/* A tombstone for the key was written: what the journal takes of it now is void. */
void ds_store_second_void(struct ds_store *s, uint32_t id);

/* ds_store_find() for who tells a client of the object, or reads it: one that is not verified is,
 * with L2's number of the key. 0: *ret_id; otherwise it is not known whether there is one:
 * DS_EAGAIN, or what a miss gets where L2 cannot be asked. */
DS_MUST_USE int ds_store_second_find(struct ds_store *s, const uint8_t *key, uint32_t key_size,
                                     uint32_t *ret_id);

/* Item i of the request in `slot` misses a key: looks for it in L2, with `value` brings it into
 * memory. DS_ENOTFOUND: it is not there either. 0: it is (*ret_size), only without `value`. */
DS_MUST_USE int ds_store_second_look(struct ds_store *s, struct session *by, unsigned slot,
                                     uint32_t i, const uint8_t *key, uint32_t key_size, bool value,
                                     uint64_t *ret_size);
DS_MUST_USE int ds_store_second_set(struct ds_store *s, struct session *by, unsigned slot,
                                    uint32_t i, struct ds_store_set *set);

/* 0: L2 has forgotten the key, memory may. */
DS_MUST_USE int ds_store_second_delete(struct ds_store *s, const uint8_t *key, uint32_t key_size,
                                       uint64_t origin);

/* The object is about to end. If it hides an older value in L2 that must not show then, that is
 * erased; nobody waits for it. false: it cannot be now, and stays. */
DS_MUST_USE bool ds_store_second_drop(struct ds_store *s, uint32_t id);

/* What L2 has of the key is being erased, for an object that hid it: nobody knows yet whether it
 * will be. */
bool ds_store_second_erasing(struct ds_store *s, const void *key, size_t key_size);

/* It is of a plain mode, over an older value that L2 has or may have. */
bool ds_store_second_hides(const struct ds_store *s, uint32_t id);

/* It must not be dropped now: L2 answers, but has as many values to erase as it is given at a time,
 * and the one that this object hides would stay. It may be when one of those is done. */
bool ds_store_second_full(const struct ds_store *s, uint32_t id);

/* L2 learns of a new expiry before memory does. 0: it has, or need not. */
DS_MUST_USE int ds_store_second_expire(struct ds_store *s, uint32_t id, uint64_t ttl_ms,
                                       uint64_t origin);
void ds_store_second_done(struct ds_store *s, struct ds_tier_op *op);

/* At the end of a pass. */
void ds_store_second_sweep(struct ds_store *s);
void ds_store_second_fini(struct ds_store *s);

/* --- upload.c: dirty objects on their way there --- */

/* A dirty object that this worker has found waits for its upload. Others: a no-op. */
void ds_store_upload_found(struct ds_store *s, uint32_t id);

/* Its time is over, but it stays: one that had no bytes to be uploaded is to be erased in L2 now.
 */
void ds_store_upload_over(struct ds_store *s, uint32_t id);

/* The object ends: nothing of it is to be uploaded any more. */
void ds_store_upload_end(struct ds_store *s, uint32_t id);

/* At the end of a pass. */
bool ds_store_may_upload(const struct ds_store *s); /* one more now */
void ds_store_upload_some(struct ds_store *s);

/* ds_store_publish() of a set of a plain mode. Over a key of an L2 mode it is one of that. */
void ds_store_publish_plain(struct ds_store *s, struct session *by, struct ds_store_set *set);

/* U5 and its end. */
void ds_store_mark_pinned(struct ds_store *s);
void ds_store_unmark_pinned(struct ds_store *s);

/* --- why.c: why keys are gone --- */

/* A live object is about to end: while its word still tells what L2 has. DS_GONE_NOT: a newer value
 * takes its place. `shows`: L2 has an older one that it hides. */
void ds_store_note_end(struct ds_store *s, uint32_t id, uint64_t hash, enum ds_gone why,
                       bool shows);

/* A key that memory and disk did not have was deleted: nothing else is why it is gone now. */
void ds_store_note_delete(struct ds_store *s, const void *key, size_t key_size);

/* *ret_age_ms: since it went; 0: not known. */
enum ds_gone ds_store_why(struct ds_store *s, const void *key, size_t key_size,
                          uint64_t *ret_age_ms);

/* A get or exist was answered with DS_ENOTFOUND. */
void ds_store_count_miss(struct ds_store *s, const void *key, size_t key_size);

/* --- request.c, wait.c, hold.c --- */

static inline bool ds_store_bit(const uint64_t bits[2], uint32_t i)
{
    return (bits[i / 64] >> (i % 64) & 1) != 0;
}

static inline void ds_store_set_bit(uint64_t bits[2], uint32_t i)
{
    bits[i / 64] |= UINT64_C(1) << (i % 64);
}

/* Before the slot's next request. */
static inline void ds_store_forget_answers(struct session *x, unsigned slot)
{
    memset(x->asked[slot], 0, sizeof(x->asked[slot]));
    memset(x->answered[slot], 0, sizeof(x->answered[slot]));
    memset(x->unused[slot], 0, sizeof(x->unused[slot]));
}

void ds_store_execute(struct ds_store *s, struct session *by, unsigned slot);
void ds_store_complete(struct ds_store *s, struct session *by, unsigned slot);

/* Recovery: the item `origin` was executed, with this result; a no-op if that is marked already. */
void ds_store_item_done(struct ds_store *s, uint64_t origin, uint32_t id, uint64_t value);
bool ds_store_request_copy(struct ds_store *s, struct session *by, unsigned slot);
void ds_store_examine_waiting(struct ds_store *s);

/* Whether a get that waits for any of its keys has one; the others are answered with
 * DS_ENOTFOUND then. */
bool ds_store_enough(const struct ds_store *s, struct session *by, unsigned slot);
void ds_store_wake(struct ds_store *s, const void *word);

/* Walks the items of the request in scratch: NULL at the end or at a malformed one. */
struct ds_store_cursor {
    uint32_t at;
    uint32_t i;
};
const struct ds_request_item *ds_store_item(const struct ds_store *s, struct ds_store_cursor *c,
                                            const uint8_t **ret_key);

/* The word of a record is about to change for the request item `origin`. Noted ahead, so that a
 * worker that comes back can tell whether it was done: doing it twice would be wrong. */
void ds_store_note_change(struct ds_store *s, uint32_t id, uint64_t word, uint64_t origin);

/* `origin` names the request item. */
int ds_store_ref(struct ds_store *s, struct session *by, const void *key, uint32_t key_size,
                 uint64_t origin);
int ds_store_unref(struct ds_store *s, struct session *by, const void *key, uint32_t key_size,
                   uint64_t origin);
uint64_t ds_store_ref_count(const struct ds_store *s, const void *key, uint32_t key_size);
int ds_store_nest(struct ds_store *s, uint32_t parent, const void *key, uint32_t key_size,
                  uint64_t origin);
void ds_store_unnest(struct ds_store *s, uint32_t parent);      /* the parent is gone */
void ds_store_unlatch_all(struct ds_store *s, uint32_t object); /* the object is gone */
void ds_store_ref_orphan(struct ds_store *s, uint32_t id);      /* its session is lost */
void ds_store_holds_end(struct ds_store *s, struct session *by);

/* 0, DS_EAGAIN: somebody holds it, DS_ESEALED, DS_ENOMEM. `origin` names the request. */
int ds_store_latch(struct ds_store *s, struct session *by, uint32_t id, bool write,
                   uint64_t origin);
int ds_store_unlatch(struct ds_store *s, struct session *by, uint32_t id, bool write,
                     uint64_t origin);
/* Ends the latches that the request `number` of a slot was given. */
void ds_store_latch_cancel(struct ds_store *s, struct session *by, unsigned slot, uint32_t number);

/* --- session.c --- */

void ds_store_session_map(struct session *x, struct ds_store *s, uint32_t number,
                          struct ds_segment *segment);

#endif
