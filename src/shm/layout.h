/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - the bytes that processes share. An ABI: docs/shm-layout.md explains it, the static
 * asserts below pin it, and DS_SHM_ABI changes with it.
 *
 * Segments (memfds): data (object bytes), index (what readers look up), state (the worker's own
 * table, mapped by nobody else) and one session per client. Positions are offsets or numbers of
 * array elements, never pointers. "W" = written by the worker only, "C" = by the client only.
 */
#ifndef DS_SHM_LAYOUT_H
#define DS_SHM_LAYOUT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define DS_SHM_ABI 4u
#define DS_INDEX_MAGIC UINT64_C(0x3158444e49534458)   /* "XDSINDX1" */
#define DS_STATE_MAGIC UINT64_C(0x3145544154534458)   /* "XDSTATE1" */
#define DS_SESSION_MAGIC UINT64_C(0x3153534553534458) /* "XDSSESS1" */

#define DS_BLOCK_UNIT 64u /* alignment and least size of blocks in the data segment */
#define DS_KEY_UNIT 32u   /* the same for long keys in the index segment */
#define DS_ID_NONE UINT32_MAX

/* --- index: W; clients map it read-only --- */

#define DS_BUCKET_ENTRIES 7u
#define DS_KEY_INLINE 24u /* longer keys lie in the key area of the index segment */

/* A hash bucket: entry = tag (upper 32 bits of the hash) << 32 | id + 1; 0 = empty. Order means
 * nothing. `next` = number of an overflow bucket + 1; 0 = none. */
struct ds_bucket {
    _Atomic uint64_t entry[DS_BUCKET_ENTRIES];
    _Atomic uint64_t next;
};

/* An object as readers see it. All other fields are stable while gen is odd and unchanged. */
struct ds_desc {
    _Atomic uint64_t gen; /* odd = published; never goes back, never the same twice */
    _Atomic uint64_t offset;
    _Atomic uint64_t size;
    _Atomic int64_t expiry_ns; /* CLOCK_BOOTTIME of the initial namespace; 0 = never */
    _Atomic uint64_t meta;     /* DS_META_* */
    union {
        uint8_t bytes[DS_KEY_INLINE];
        uint64_t offset; /* in the index segment, for keys longer than DS_KEY_INLINE */
    } key;
};

#define DS_META_KEY_SIZE(meta) ((uint32_t)((meta)&0xffff))
#define DS_META_SETTLED (UINT64_C(1) << 16) /* readers may use it without asking */
#define DS_META_SEALED (UINT64_C(1) << 17)
#define DS_META_OBJECT (UINT64_C(1) << 18) /* made by the object API: mutable until sealed */
#define DS_META_RANKED (UINT64_C(1) << 19) /* may be evicted: readers log their hits */

/* Of an object that is being read back, published but not settled: so many bytes of it are there,
 * from the beginning; at most. */
#define DS_ARRIVED_SHIFT 32
#define DS_ARRIVED_UNIT UINT64_C(4096)
#define DS_META_ARRIVED(meta) (((meta) >> DS_ARRIVED_SHIFT) * DS_ARRIVED_UNIT)

struct ds_index_header {
    uint64_t magic;
    uint32_t abi;
    uint32_t header_size;
    uint64_t segment_size;
    uint64_t data_size;
    uint64_t hash_seed;
    uint64_t bucket_offset;
    uint64_t overflow_offset;
    uint64_t desc_offset;
    uint64_t key_offset;
    uint64_t key_area_size;
    uint32_t bucket_max;
    uint32_t overflow_max;
    uint32_t desc_max;
    uint32_t reserved0;

    /* Changed by structure changes only. */
    alignas(64) _Atomic uint64_t buckets; /* in use; see ds_bucket_of() */
    _Atomic uint64_t moves;               /* odd while entries move between buckets */

    /* Changed when the worker starts, sleeps and wakes. */
    alignas(64) _Atomic uint32_t asleep;
    _Atomic uint32_t epoch;      /* +1 for each worker process; 0 = no worker has been ready yet */
    _Atomic uint64_t data_ready; /* bytes of the data segment with memory behind them */
    _Atomic uint32_t tiers;      /* DS_TIERS_*: what this worker was started with */
};

#define DS_TIERS_SPILL 1u
#define DS_TIERS_L2 2u

/* Linear hashing (Litwin 1980): with n buckets in use, those below n - 2^floor(log2 n) have been
 * split and are addressed with one more bit. */
static inline uint64_t ds_bucket_of(uint64_t hash, uint64_t n)
{
    if (n == 0) { /* a segment that was let go: see src/client/link.c */
        return 0;
    }
    uint64_t low = UINT64_C(1) << (63 - __builtin_clzll(n));
    uint64_t b = hash & 0xffffffffu & (2 * low - 1);

    return b < n ? b : b & (low - 1);
}

static inline uint64_t ds_bucket_entry(uint64_t hash, uint32_t id)
{
    return (hash & UINT64_C(0xffffffff00000000)) | ((uint64_t)id + 1);
}

/* --- state: W; mapped by nobody else --- */

enum ds_record_state {
    DS_RECORD_FREE = 0,
    DS_RECORD_GRANTED = 1, /* a block lent to the session in `origin` */
    DS_RECORD_LIVE = 2,    /* an object */
    DS_RECORD_DOOMED = 3,  /* no longer in the index, perhaps still pinned */
    DS_RECORD_REF = 4,     /* a session's references to a key: count in the word, no block */
    DS_RECORD_NESTED = 5,  /* keeps `key` alive while object `size` (an id) lives: no block */
    DS_RECORD_LATCH = 6,   /* session in `origin` holds object `size`; kind 1 = for writing */
};

/* One object, grant or reference; its number is the descriptor's number. `word`, `gen` and
 * `expiry_ns` change by single stores; the rest is covered by `check` and written before `word`
 * makes it valid. The key's bytes stand in the descriptor or its key block; `check` covers them. */
struct ds_record {
    _Atomic uint64_t word; /* state:8 | flags:8 | 0:16 | count:32 */
    _Atomic uint64_t gen;
    _Atomic int64_t expiry_ns;
    uint64_t offset;  /* of the block in the data segment */
    uint64_t size;    /* of the object; of a grant: of its block */
    uint64_t version; /* ticket of the write; 0 for an insert-if-absent */
    uint64_t origin;  /* DS_ORIGIN */
    uint32_t check;
    uint16_t key_size;
    uint8_t mode; /* enum ds_write_mode */
    uint8_t kind; /* DS_KIND_* */
};

#define DS_WORD_STATE(w) ((enum ds_record_state)((w)&0xff))
#define DS_WORD_SEALED (UINT64_C(1) << 8)
#define DS_WORD_SPILLED (UINT64_C(1) << 9)     /* no block: the bytes are at place[id] on disk */
#define DS_WORD_UPLOADED (UINT64_C(1) << 10)   /* second-level storage has this version */
#define DS_WORD_ARRIVING (UINT64_C(1) << 11)   /* spilled, with a block that holds some of them */
#define DS_WORD_UNVERIFIED (UINT64_C(1) << 12) /* spilled: L2 may have a newer one */
#define DS_WORD_COUNT(w) ((uint32_t)((w) >> 32))
#define DS_KIND_OBJECT 1u /* of the object API */
#define DS_KIND_CAUSAL 2u
#define DS_KIND_SEALED 4u /* in requests: publish for good */
#define DS_KIND_DISK 16u  /* lives on disk from the start: leaves memory as soon as it may */
#define DS_KIND_ABSENT 8u /* in DS_OP_SET: only if the key is absent */

/* What a record keeps of a set's kind. */
#define DS_KIND_KEPT (DS_KIND_OBJECT | DS_KIND_CAUSAL | DS_KIND_DISK)

/* Who wrote a record: session number, request slot (0xff: the ring of sets), request number and
 * position in the request. */
#define DS_ORIGIN(session, slot, number, sub)                                                      \
    ((uint64_t)(session) << 48 | (uint64_t)(slot) << 40 | (uint64_t)(sub) << 32 |                  \
     (uint32_t)(number))
#define DS_ORIGIN_SESSION(o) ((uint32_t)((o) >> 48))
#define DS_ORIGIN_RING 0xffu

#define DS_REQUESTS 64u /* request slots of a session */
#define DS_SUB_MAX 128u /* items of one request */
#define DS_SESSIONS_MAX 10240u

enum ds_session_state { DS_SESSION_FREE = 0, DS_SESSION_LIVE = 1, DS_SESSION_ENDING = 2 };

/* Of a record, beside it. */
struct ds_place {
    _Atomic uint64_t at;    /* where its copy on disk is; 0 = there is none */
    _Atomic uint64_t order; /* of the write in second-level storage, also in that copy; 0 = none */
};

/* What must outlive the worker about a session; the rest is in its own segment. */
struct ds_state_session {
    _Atomic uint64_t word; /* enum ds_session_state */
    uint8_t token[16];
    _Atomic uint64_t applied; /* ring position up to which sets are done */
    uint32_t pid;
    uint32_t uid;
    uint8_t reserved[24];
    _Atomic uint64_t done[DS_REQUESTS]; /* number of the request:32 | items done:32 (all: ~0) */
    uint64_t reserved2[56];
};

/* The keys that went last: store/gone.h. */
#define DS_GONE_ENTRIES 65536u

struct ds_gone_entry {
    uint32_t tag;          /* upper half of the key's hash */
    uint32_t before;       /* number of the next older key of the same bucket */
    _Atomic uint64_t what; /* when, in ms << 8 | L2 has an older value << 7 | enum ds_gone */
};

struct ds_gone_table {
    _Atomic uint32_t next; /* the number of the next key to go; the first is 1 */
    uint32_t reserved[15];
    _Atomic uint32_t newest[DS_GONE_ENTRIES];    /* its number, by bucket */
    struct ds_gone_entry entry[DS_GONE_ENTRIES]; /* of the key with number n: at n % their number */
};

struct ds_state_header {
    uint64_t magic;
    uint32_t abi;
    uint32_t header_size;
    uint64_t segment_size;
    uint64_t session_offset;
    uint64_t record_offset;
    uint32_t record_max;
    uint32_t session_max;
    uint64_t table_seed;           /* of the worker's private table: clients do not know it */
    _Atomic uint64_t records_used; /* records below this number may be in use */
    _Atomic uint64_t data_ready;   /* bytes of the data segment with memory behind them */
    _Atomic uint64_t keys_ready;   /* bytes of the index's key area that may be in use */
    _Atomic uint64_t restarts;
    _Atomic uint64_t started_ns; /* CLOCK_BOOTTIME of the first worker */

    /* The change of a record's word that was begun last for a request: DS_ORIGIN of the item,
     * record, new word. */
    _Atomic uint64_t doubt_origin;
    _Atomic uint64_t doubt_id;
    _Atomic uint64_t doubt_word;

    uint64_t place_offset;     /* of struct ds_place, one for each record; 0 = none */
    _Atomic uint64_t moving;   /* record + 1 whose block and check are being changed; 0 = none */
    _Atomic uint64_t unserved; /* 1: nobody was served from this memory yet, nor is all in it that
                                  is on disk */
    uint64_t gone_offset;      /* of struct ds_gone_table */
};

/* --- session: one client and the worker, both write --- */

#define DS_RING_SIZE (256u * 1024)
#define DS_LOG_ENTRIES 8192u
#define DS_PINS_MAX (1024u * 1024)
#define DS_PINS_START 16384u /* backed by memory from the start; more on request */

struct ds_session_header {
    uint64_t magic; /* W */
    uint32_t abi;
    uint32_t session;
    uint64_t segment_size;
    uint64_t reserved0[5];

    /* C */
    alignas(64) _Atomic uint64_t ring_tail;
    _Atomic uint64_t requests; /* ever posted: changes when the worker must look at `request` */
    _Atomic uint32_t sleepers; /* threads that sleep on `applied_wake` */
    alignas(64) _Atomic uint64_t log_head; /* entries ever written; the newest ones are there */
    _Atomic uint32_t pins_used;            /* slots at and above this number have never been used */
    alignas(64) _Atomic uint32_t request[DS_REQUESTS]; /* number of the newest request */
    alignas(64) _Atomic uint32_t request_sleeper[DS_REQUESTS];

    /* W */
    alignas(64) _Atomic uint64_t applied; /* mirror of the state's cursor */
    _Atomic uint32_t applied_wake;        /* futex: changes when sleepers must look */
    _Atomic uint32_t pins_limit;          /* slots below have memory behind them */
    alignas(
        64) _Atomic uint32_t done[DS_REQUESTS]; /* futex: number of the newest answered request */
};

/* A record of the ring of sets, at a multiple of 16. */
enum ds_ring_op { DS_RING_PAD = 0, DS_RING_SET = 1, DS_RING_DROP = 2 };
struct ds_ring_record {
    uint32_t size; /* of this record with key and padding, a multiple of 16 */
    uint8_t op;
    uint8_t mode;
    uint16_t key_size;
    uint32_t id; /* the grant to publish or to give back */
    uint32_t kind;
    uint64_t ticket;
    uint64_t value_size;
    uint64_t ttl_ms;
    uint64_t reserved;
    /* key bytes follow */
};

enum ds_op {
    DS_OP_GRANT = 1,  /* value = block size, n = how many; results: id, value = offset */
    DS_OP_GET,        /* items: keys; value: enum ds_get_until; results: id, value = generation */
    DS_OP_EXIST,      /* items: keys; status 0 or DS_ENOTFOUND, value = size */
    DS_OP_DELETE,     /* items: keys */
    DS_OP_EXPIRE,     /* items: keys; value = ttl in ms, 0 = none */
    DS_OP_SET_ABSENT, /* items: keys with grants; status 0 or DS_UNCHANGED */
    DS_OP_PUT,        /* items: keys with grants; status 0 or DS_ESEALED; id, value = generation */
    DS_OP_PINS,       /* more pin slots */
    DS_OP_SEAL,       /* item: id and generation in the key's place */
    DS_OP_PUBLISH,    /* announces a change of an object: as SEAL */
    DS_OP_LATCH_READ, /* item: as SEAL; timeout */
    DS_OP_LATCH_WRITE,
    DS_OP_UNLATCH_READ,
    DS_OP_UNLATCH_WRITE,
    DS_OP_REF, /* items: keys */
    DS_OP_UNREF,
    DS_OP_REF_COUNT, /* item: a key; value = the sum over sessions */
    DS_OP_NEST,      /* value = id, value2 = generation of the parent; items: keys of children */
    DS_OP_STATS,     /* the results hold struct ds_worker_stats */
    DS_OP_SYNC,      /* done once everything posted before is applied */
    DS_OP_CANCEL,    /* value2 = number of this slot's last request, which nobody waits for: blocks
                        and latches that it was given are taken back; items: of a set, whose grants
                        are not needed */
    DS_OP_SET,       /* items: keys with grants, of a mode with L2; status 0 or DS_UNCHANGED */
    DS_OP_WHY, /* items: keys; id = enum ds_gone, value = ms since the key went, 0 = unknown */
    DS_OP_COUNT_
};

/* What a DS_OP_GET waits for: a set of these. With a timeout: for all keys, or for one of them. Of
 * a value that is being read back from disk: for the whole of it, or for the first `value_size`
 * bytes. */
enum ds_get_until { DS_GET_ALL = 0, DS_GET_ANY = 1, DS_GET_PART = 2 };

struct ds_request_header {
    uint16_t op;
    uint16_t n;    /* items or, for DS_OP_GRANT, blocks */
    uint32_t size; /* bytes of items */
    int64_t timeout_ms;
    uint64_t value;
    uint64_t value2;
    uint64_t reserved[4];
};

/* An item: this header, the key, padding to a multiple of 8. */
struct ds_request_item {
    uint16_t key_size;
    uint8_t mode;
    uint8_t kind;
    uint32_t id;         /* DS_OP_SET_ABSENT: the grant */
    uint64_t value_size; /* with DS_GET_PART: how much of it is needed */
    uint64_t ttl_ms;
    uint64_t grant_origin; /* DS_OP_SET, DS_OP_SET_ABSENT: DS_ORIGIN of the item that the grant came
                              from. By it a cancel, and a worker after a kill, know the grant: its
                              number may have been lent again */
};

struct ds_request_result {
    int32_t status;
    uint32_t id;
    uint64_t value;
};

#define DS_REQUEST_BYTES 6080u
struct ds_request_slot {
    struct ds_request_header header;             /* C */
    uint8_t items[DS_REQUEST_BYTES];             /* C */
    struct ds_request_result result[DS_SUB_MAX]; /* W */
};

/* A read, for the recency order: newest entries overwrite the oldest. */
struct ds_log_entry {
    _Atomic uint64_t ticks;
    _Atomic uint64_t what; /* lower half of the generation << 32 | id */
};

#define DS_SESSION_RING_OFFSET 4096u
#define DS_SESSION_REQUEST_OFFSET (DS_SESSION_RING_OFFSET + DS_RING_SIZE)
#define DS_SESSION_LOG_OFFSET                                                                      \
    (DS_SESSION_REQUEST_OFFSET + DS_REQUESTS * (uint32_t)sizeof(struct ds_request_slot))
#define DS_SESSION_PIN_OFFSET                                                                      \
    (DS_SESSION_LOG_OFFSET + DS_LOG_ENTRIES * (uint32_t)sizeof(struct ds_log_entry))
#define DS_SESSION_SIZE (DS_SESSION_PIN_OFFSET + DS_PINS_MAX * 4u)

_Static_assert(sizeof(struct ds_bucket) == 64, "ABI");
_Static_assert(sizeof(struct ds_desc) == 64, "ABI");
_Static_assert(sizeof(struct ds_record) == 64, "ABI");
_Static_assert(sizeof(struct ds_place) == 16, "ABI");
_Static_assert(sizeof(struct ds_index_header) <= 4096, "ABI");
_Static_assert(offsetof(struct ds_index_header, buckets) == 128, "ABI");
_Static_assert(offsetof(struct ds_index_header, asleep) == 192, "ABI");
_Static_assert(sizeof(struct ds_state_session) == 1024, "ABI");
_Static_assert(sizeof(struct ds_state_header) <= 4096, "ABI");
_Static_assert(sizeof(struct ds_gone_entry) == 16, "ABI");
_Static_assert(sizeof(struct ds_gone_table) == 64 + DS_GONE_ENTRIES * 20, "ABI");
_Static_assert(sizeof(struct ds_session_header) <= 4096, "ABI");
_Static_assert(offsetof(struct ds_session_header, ring_tail) == 64, "ABI");
_Static_assert(offsetof(struct ds_session_header, request) == 192, "ABI");
_Static_assert(offsetof(struct ds_session_header, applied) == 704, "ABI");
_Static_assert(offsetof(struct ds_session_header, done) == 768, "ABI");
_Static_assert(sizeof(struct ds_ring_record) == 48, "ABI");
_Static_assert(sizeof(struct ds_request_slot) == 8192, "ABI");
_Static_assert(sizeof(struct ds_request_item) == 32, "ABI");
_Static_assert(DS_SESSION_PIN_OFFSET % 4096 == 0, "pins are reserved by pages");

#endif
