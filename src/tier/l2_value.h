/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_value.h - what the stores of L2 do alike: values between a span and stored chunks, every byte
 * read once; headers; entries of a listing.
 *
 * Ownership: none. Threads: any. Errors: as each function says; call->err is written.
 */
#ifndef DS_TIER_L2_VALUE_H
#define DS_TIER_L2_VALUE_H

#include "tier/l2_format.h"

/* Chunk i of a value as it is stored, its CRC behind it: ds_l2_chunk_size() + 4 bytes into buf.
 * DS_EIO: the span cannot be read. */
DS_MUST_USE int ds_l2_chunk_make(struct ds_l2_call *call, const struct ds_l2_span *span,
                                 uint64_t value_size, uint32_t head_crc, uint64_t i, uint8_t *buf);

/* The same back: verified in buf, then written to the span. DS_ECORRUPT, DS_EIO, DS_ENOSPACE. */
DS_MUST_USE int ds_l2_chunk_take(struct ds_l2_call *call, const struct ds_l2_span *span,
                                 uint64_t value_size, uint32_t head_crc, uint64_t i,
                                 const uint8_t *buf);

/* Chunks as they are stored, each with its CRC, in pieces of any size: what goes over a network
 * needs no room for a whole part, and its checksum is taken while it is in the processor's cache.
 */
struct ds_l2_flow {
    const struct ds_l2_span *span;
    uint64_t value_size;
    uint32_t head_crc;
    uint64_t chunk; /* that comes next, or is under way */
    uint64_t at;    /* bytes of it, CRC included, that are done */
    uint32_t crc;
    uint8_t stored[4];
};

/* The next `size` bytes into buf; the flow must have them. DS_EIO: the span cannot be read. */
DS_MUST_USE int ds_l2_flow_make(struct ds_l2_call *call, struct ds_l2_flow *f, uint8_t *buf,
                                size_t size);

/* The same back: written to the span as it comes, and verified at the end of each chunk, so the
 * span may hold anything until then. More than the flow has, DS_ECORRUPT; DS_EIO, DS_ENOSPACE. */
DS_MUST_USE int ds_l2_flow_take(struct ds_l2_call *call, struct ds_l2_flow *f, const uint8_t *data,
                                size_t size);

/* Decodes a header that was read from `name` and compares its key. DS_ENOTFOUND: another key whose
 * name has the same hash. DS_ECORRUPT, DS_EVERSION. */
DS_MUST_USE int ds_l2_head_check(struct ds_l2_call *call, const char *name, const void *key,
                                 uint32_t key_size, const uint8_t *buf, size_t size,
                                 uint64_t object_size, struct ds_l2_head *ret);

struct ds_l2_lister {
    ds_l2_each_fn *each;
    void *arg;
};

/* Tells of one entry; e->status says what came of reading its header h. 0, also when it has
 * vanished meanwhile (DS_ENOTFOUND); else the listing ends with that code. */
DS_MUST_USE int ds_l2_list_tell(const struct ds_l2_lister *l, struct ds_l2_entry *e,
                                const struct ds_l2_head *h);

/* What came of one object in a gc. 0, and counted, where it is refused: the others have their turn.
 */
DS_MUST_USE int ds_l2_gc_go_on(struct ds_l2_gc *gc, int rc);

#endif
