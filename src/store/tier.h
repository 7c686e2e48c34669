/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tier.h - what a store asks of slower tiers: a table of functions, and pieces of work that are
 * answered later. The store makes no I/O itself; the worker (or a test) puts a tier behind it.
 *
 *     store -> tier    start(op)                 the tier reads or writes the data segment by
 *                                                system call: clients can write it and punch holes
 *     tier  -> store   ds_store_tier_done(op)    from the loop, between passes; frees the op
 *
 * Ownership: an op and its key are the store's and stay valid until it is done; the object's block
 *            stays in place as long. After ds_store_destroy() no op may be touched.
 * Threads:   start(), forget() and ds_store_tier_done() are called by the store's thread, and must
 *            not block.
 */
#ifndef DS_STORE_TIER_H
#define DS_STORE_TIER_H

#include <ds/client.h>

#include "base/base.h"

enum ds_tier_kind {
    /* the disk of this node */
    DS_TIER_SPILL, /* write the object; answer: place */
    DS_TIER_FETCH, /* read the object at `place` into [offset, offset + size) of the data segment */
    DS_TIER_JOURNAL, /* as SPILL, but durable before the answer, and found as not uploaded again */
    /* second-level storage (L2); of one key one at a time */
    DS_TIER_STORE,  /* put, durable before the answer */
    DS_TIER_UPLOAD, /* the same in the background */
    DS_TIER_ERASE,  /* remove; a key that is not there counts as removed */
    DS_TIER_LOOKUP, /* answer: size and order, or DS_ENOTFOUND */
    DS_TIER_LOAD, /* get: when the size is known, ds_store_tier_room() says where to. Answer: size,
                     expiry_ns, mode, object_kind, order; DS_ENOTFOUND; DS_EAGAIN or DS_ENOMEM from
                     room */
    DS_TIER_KINDS_
};

/* What becomes of a STORE, UPLOAD or ERASE where L2 has a greater order number than its own. One
 * that is not ds_store_tier_current() gives way, whatever it claims. */
enum ds_tier_claim {
    /* It gets a greater one still: nobody was told of it yet, so it is the last. */
    DS_CLAIM_LAST,
    /* It was acknowledged under its number. One that is not ahead of this worker's clock is of a
     * later write: DS_ESTALE. One that is ahead is of another clock: as DS_CLAIM_LAST. */
    DS_CLAIM_ACKNOWLEDGED,
    /* It gives way: DS_ESTALE. */
    DS_CLAIM_YIELDS,
};

struct ds_tier_op {
    enum ds_tier_kind kind;
    enum ds_tier_claim claim;
    uint32_t id;  /* of the record */
    uint64_t gen; /* of the record when the work began */
    const uint8_t *key;
    uint32_t key_size;
    uint64_t offset;     /* of the block in the data segment */
    uint64_t size;       /* of the value */
    uint64_t order;      /* number of the write in L2, also kept in a copy on disk; answer: the one
                            that it was stored under, or that was loaded */
    int64_t expiry_ns;   /* CLOCK_BOOTTIME; 0 = never */
    uint8_t mode;        /* enum ds_write_mode */
    uint8_t object_kind; /* DS_KIND_* */
    uint64_t place;
    unsigned raised; /* the tier's: how often `order` was */
    bool renews;     /* STORE: only over the value with the number before `order`, else DS_ESTALE */
    bool dirty;      /* SPILL: L2 is to have it, and has not */
    bool arriving;   /* the store's, of a FETCH: readers may look at what has come */
    bool room;       /* LOAD: offset and size are set */
    int status;      /* answer: 0, or DS_EIO, DS_ECORRUPT (fetch), DS_ENOSPACE (spill), DS_ESTALE */
};

/* What is to become of a copy on disk that is void. */
enum ds_bury {
    DS_BURY_NOT,   /* it is harmless, or has gone already */
    DS_BURY_PLAIN, /* it must not be found again when the directory is read after a restart. Of a
                    * plain mode, or L2 has it: a loss of power may take the last second's work */
    DS_BURY_SAFE,  /* nor then */
};

struct ds_store_tier {
    /* 0: ds_store_tier_done() will follow, but not from inside this call. DS_EAGAIN: too much is
     * under way, come again when something is done. DS_ENOSPACE: no room on disk. DS_EQUEUEFULL:
     * L2's queue is full. DS_EUNAVAILABLE: L2 does not answer, and is not asked now. */
    int (*start)(void *arg, struct ds_tier_op *op);

    /* The copy at `place` (0: one that is still being written) is void. true: it is buried, as far
     * as `bury` asks for. false: once it is, the count of buried copies given to ds_store_buried()
     * goes up by one. */
    bool (*forget)(void *arg, const uint8_t *key, uint32_t key_size, uint64_t place, uint64_t size,
                   enum ds_bury bury);

    /* L2 has what `op` stored: its copy at `place` need not be uploaded any more. 0: it stays as a
     * spilled copy; DS_UNCHANGED: there is no spill, the copy may be forgotten. */
    int (*clean)(void *arg, const struct ds_tier_op *op, uint64_t place);

    /* A number above all that this worker has given or seen in L2. Not called without L2. */
    uint64_t (*order)(void *arg);

    /* Writes the fields disk_* and l2_* that it alone knows; the others are not its own. NULL: it
     * knows none. */
    void (*stats)(void *arg, struct ds_worker_stats *ret);
};

#endif
