/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where records go. That is decided before anything is written: so the limit is kept at every
 * moment, and a request that finds no room is refused at once.
 *
 * A record that does not fit a segment has one of its own, which is made, filled and sealed at once
 * and never cleaned: it goes when the record is dead. It counts for as many ordinary ones as its
 * file takes (`units`), and all of these must be there before it is made. The cleaner gives back
 * one at a time, and puts that need one take each as it comes. So while such a put is refused, and
 * what is dead would suffice for it (`wanted`), the cleaner works until there are enough, and
 * spills that would begin a segment wait. That ends by itself, a second after the put was asked for
 * last: the owner may have given it up.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "tier/slog_internal.h"

#define RESERVED 2u /* segments that puts leave free */
#define WANTED_NS INT64_C(1000000000)

/* The last one is the cleaner's, the one before it is for tombstones: what gives room must not wait
 * for room. */
uint32_t ds_slog_room(const struct ds_slog *s, int stream, bool put)
{
    uint32_t max = stream == STREAM_GC ? s->gc_max : s->segments_max;
    uint32_t reserve = stream == STREAM_GC ? 0 : put ? RESERVED : 1;

    return s->n_used + reserve < max ? max - reserve - s->n_used : 0;
}

/* A log in which nobody wants more than one asks no clock. */
bool ds_slog_is_wanted(const struct ds_slog *s)
{
    return ds_slog_room(s, STREAM_PUT, true) < s->wanted && ds_monotonic_ns() < s->wanted_until_ns;
}

bool ds_slog_room_suffices(const struct ds_slog *s)
{
    return ds_slog_room(s, STREAM_PUT, true) > 0 && !ds_slog_is_wanted(s);
}

/* No more than half of what puts may fill: the next value of the same size has room before the last
 * one is dead, and one key does not drive out all others. */
uint64_t ds_slog_value_max(const struct ds_slog *s, size_t key_size)
{
    uint64_t file = ds_min_u64((s->segments_max - RESERVED) / 2 * s->segment_size, SLOG_OWN_MAX);
    uint64_t fixed = SLOG_BLOCK * 4 + 2 * SLOG_UNIT + slog_summary_size(key_size) +
                     slog_record_size(key_size, 0) + slog_crcs_size(file);

    return ds_min_u64(file - fixed, SLOG_VALUE_MAX);
}

static bool fits(const struct slog_segment *g, uint64_t size, uint64_t summary)
{
    return ds_align_up(g->end + size, SLOG_BLOCK) + SLOG_BLOCK + g->summary + summary +
               sizeof(struct slog_trailer) <=
           g->size;
}

static void close_stream(struct ds_slog *s, int stream, struct slog_op *op)
{
    struct slog_segment *g = &s->segments[s->open[stream]];

    op->stream = (uint8_t)stream;
    op->slot = (uint32_t)s->open[stream];
    op->number = g->number;
    g->state = SEG_SEALED;
    s->open[stream] = -1;
    slog_push(&s->to_write, op);
}

static void open_stream(struct ds_slog *s, int stream, uint64_t size, struct slog_op *op)
{
    uint32_t slot = 0;
    struct slog_segment *g;

    while (s->segments[slot].state != SEG_FREE) {
        slot++;
    }
    g = &s->segments[slot];
    *g = (struct slog_segment){.state = SEG_OPEN,
                               .units = slog_units(s, size),
                               .number = s->next_number++,
                               .size = size,
                               .end = SLOG_BLOCK,
                               .put_lsn_min = UINT64_MAX,
                               .lsn_max = s->next_lsn,
                               .fd = -1};
    op->stream = (uint8_t)stream;
    op->slot = slot;
    op->number = g->number;
    op->head.lsn = s->next_lsn;
    op->segments_max = s->gc_max;
    op->size = size;
    s->open[stream] = (int32_t)slot;
    s->n_used += g->units;
    slog_push(&s->to_write, op);
}

/* A stream with room for the record. */
static int make_room(struct ds_slog *s, int stream, const struct slog_op *op, uint64_t size,
                     uint64_t summary)
{
    bool put = op->head.type != SLOG_TOMBSTONE;
    bool reserved = stream == STREAM_PUT && ds_slog_room(s, STREAM_PUT, true) == 0;
    struct slog_segment *g = s->open[stream] >= 0 ? &s->segments[s->open[stream]] : NULL;
    struct slog_op *seal;
    struct slog_op *open;

    if (stream == STREAM_PUT && s->n_used + 2 <= s->segments_max) {
        s->put_reserved = false;
    }
    if (stream == STREAM_PUT && put && s->put_reserved) {
        return DS_ENOSPACE;
    }
    if (g != NULL && fits(g, size, summary)) {
        return 0;
    }
    if (ds_slog_room(s, stream, put) == 0 || ds_monotonic_ns() < s->no_open_before_ns) {
        return DS_ENOSPACE;
    }
    if (stream == STREAM_PUT && op->head.type == SLOG_PUT && !op->durable &&
        !ds_slog_room_suffices(s)) { /* it is kept for a larger one */
        ds_slog_wake_at(s, s->wanted_until_ns);
        return DS_EAGAIN;
    }
    seal = ds_slog_op_new(OP_SEAL, NULL, 0);
    open = ds_slog_op_new(OP_OPEN, NULL, 0);
    if (seal == NULL || open == NULL) {
        ds_free(seal);
        ds_free(open);
        return DS_ENOMEM;
    }
    if (g != NULL) {
        close_stream(s, stream, seal);
    } else {
        ds_free(seal);
    }
    s->put_reserved = stream == STREAM_PUT ? reserved : s->put_reserved;
    open_stream(s, stream, s->segment_size, open);
    return 0;
}

/* A put waits for so many. Only where they can be had: nothing is kept for it otherwise. */
static void want(struct ds_slog *s, uint32_t units)
{
    uint64_t room = (uint64_t)ds_slog_room(s, STREAM_PUT, true) * s->segment_size;
    bool possible = room + ds_slog_gain(s, true) >= units * s->segment_size;

    s->wanted = possible ? units : 0;
    s->wanted_until_ns = ds_monotonic_ns() + WANTED_NS;
}

/* A segment for one record; *ret_seal ends it. */
static int make_own(struct ds_slog *s, uint64_t size, struct slog_op **ret_seal)
{
    uint32_t units = slog_units(s, size);
    struct slog_op *open;

    if (ds_slog_room(s, STREAM_PUT, true) < units || ds_monotonic_ns() < s->no_own_before_ns) {
        want(s, units);
        return DS_ENOSPACE;
    }
    open = ds_slog_op_new(OP_OPEN, NULL, 0);
    *ret_seal = ds_slog_op_new(OP_SEAL, NULL, 0);
    if (open == NULL || *ret_seal == NULL) {
        ds_free(open);
        ds_free(*ret_seal);
        return DS_ENOMEM;
    }
    s->wanted = 0;
    open_stream(s, STREAM_OWN, size, open);
    return 0;
}

uint64_t ds_slog_own_size(const struct slog_op *op)
{
    return slog_file_size(slog_record_size(op->head.key_size, op->head.value_size),
                          slog_summary_size(op->head.key_size));
}

/* Gives the record its place and queues it. */
int ds_slog_place(struct ds_slog *s, int stream, struct slog_op *op)
{
    uint64_t size = slog_record_size(op->head.key_size, op->head.value_size);
    uint64_t summary = slog_summary_size(op->head.key_size);
    uint64_t own = ds_slog_own_size(op);
    struct slog_op *seal = NULL;
    struct slog_segment *g;
    int rc;

    if (own <= s->segment_size) {
        rc = make_room(s, stream, op, size, summary);
    } else { /* the cleaner has none to copy, whatever was found in the directory */
        rc = stream == STREAM_PUT ? make_own(s, own, &seal) : DS_ENOSPACE;
        stream = STREAM_OWN;
    }
    if (rc < 0) {
        return rc;
    }
    g = &s->segments[s->open[stream]];
    op->stream = (uint8_t)stream;
    op->slot = (uint32_t)s->open[stream];
    op->number = g->number;
    op->offset = g->end;
    g->pending++;
    g->end += size;
    g->summary += summary;
    g->lsn_max = ds_max_u64(g->lsn_max, op->head.lsn);
    if (op->head.type == SLOG_PUT) {
        g->live += size;
        g->put_lsn_min = ds_min_u64(g->put_lsn_min, op->head.lsn);
    } else {
        g->keep += size;
        g->keepers = true;
    }
    *(stream == STREAM_GC ? &s->stats.gc_bytes : &s->stats.put_bytes) += size;
    slog_push(&s->to_write, op);
    if (seal != NULL) {
        close_stream(s, STREAM_OWN, seal);
    }
    return 0;
}

/* The owner counts on answers in the order of requests. */
void ds_slog_push_late(struct ds_slog *s, struct slog_op *op)
{
    struct slog_op **at = &s->late.first;

    if (s->late.last == NULL || s->late.last->head.lsn < op->head.lsn) {
        slog_push(&s->late, op);
        return;
    }
    while ((*at)->head.lsn < op->head.lsn) {
        at = &(*at)->next;
    }
    op->next = *at;
    *at = op;
}

/* A segment that is being filled by the cleaner takes tombstones too, as long as it may make
 * another one: each has killed a record at least as large, so it has what cleaning gains. */
static bool place_with_copies(struct ds_slog *s, struct slog_op *op)
{
    const struct slog_segment *g =
        s->open[STREAM_GC] >= 0 ? &s->segments[s->open[STREAM_GC]] : NULL;
    bool placed =
        g != NULL && ds_slog_room(s, STREAM_GC, false) > 0 &&
        fits(g, slog_record_size(op->head.key_size, 0), slog_summary_size(op->head.key_size)) &&
        ds_slog_place(s, STREAM_GC, op) == 0;

    s->tombstones_with_copies += placed;
    return placed;
}

/* Above a lowered limit there may be no such segment and none to come, where all that dies are
 * whole segments: it is made for the tombstones. */
void ds_slog_place_stuck(struct ds_slog *s)
{
    struct slog_op *op = s->late.first;
    struct slog_op *next = op != NULL ? op->next : NULL;

    if (op != NULL && s->open[STREAM_GC] < 0 && ds_slog_room(s, STREAM_GC, false) > 1 &&
        ds_slog_place(s, STREAM_GC, op) == 0) {
        s->tombstones_with_copies++;
        s->late.first = next;
        s->late.last = next != NULL ? s->late.last : NULL;
        ds_slog_place_late(s);
    }
}

/* What is dead may lie in the segments being filled: sealed, they can be cleaned. */
static void seal_full(struct ds_slog *s)
{
    for (int i = 0; i < STREAMS && !s->gc.active && ds_slog_room(s, STREAM_GC, false) > 0; i++) {
        struct slog_op *op = s->open[i] >= 0 ? ds_slog_op_new(OP_SEAL, NULL, 0) : NULL;

        if (op != NULL) {
            close_stream(s, i, op);
        }
    }
}

void ds_slog_place_late(struct ds_slog *s)
{
    struct slog_op *op;

    while ((op = s->late.first) != NULL) {
        struct slog_op *next = op->next;

        if ((s->tombstones_with_copies > 0 || ds_slog_place(s, STREAM_PUT, op) < 0) &&
            !place_with_copies(s, op)) {
            seal_full(s);
            ds_slog_wake_at(s, ds_monotonic_ns() + SLOG_OPEN_AGAIN_NS);
            return;
        }
        s->late.first = next;
        s->late.last = next != NULL ? s->late.last : NULL;
    }
}
