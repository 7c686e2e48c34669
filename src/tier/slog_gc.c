/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cleaner, a state machine of the owner: choose a segment, have its summary read, copy what
 * lives (the writer does), sync, unlink. One segment at a time. The victim is the one with the best
 * ratio of benefit to cost, (1 - u) * time / (1 + u), where u is the part that lives and time is
 * how long the room that is gained will last: Rosenblum and Ousterhout (1992), section 3.6. They
 * take the age for it, as what has lived long will live on. Where the owner drops what is oldest it
 * is the other way round: that segment will soon be empty without a copy.
 *
 * Copies keep their LSN, so a copy and its original mean the same. A tombstone is copied while a
 * dead put older than it may still lie in another segment: without it that put would come back.
 *
 * What cannot be read must not end cleaning, or the disk fills. A segment that could not be cleaned
 * for a reason of its own is left alone for a time that grows, and others are; what it has that can
 * be read has left it. Values that could not be read UNREAD_MAX times are lost.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "tier/slog_internal.h"

#define MOVING_BYTES_MAX (2u << 20) /* queued copies: a put waits for no more than these */
#define ENTRIES_PER_STEP 256
#define AGAIN_NS INT64_C(1000000000) /* after a failure */
#define WAITS_MAX 5u                 /* of a segment: after 1, 4, 16 ... 256 and 1024 s */
#define UNREAD_MAX 5u                /* within 85 s */

static uint64_t dead_of(const struct slog_segment *g)
{
    return g->end - SLOG_BLOCK - g->live - g->keep;
}

/* Whether it may be looked at: a log that has no failures asks no clock. */
static bool cleanable(const struct slog_segment *g)
{
    return g->state == SEG_SEALED && g->pending == 0 &&
           (g->not_before_ns == 0 || ds_monotonic_ns() >= g->not_before_ns);
}

uint64_t ds_slog_gain(const struct ds_slog *s, bool all)
{
    const struct slog_segment *to =
        s->open[STREAM_GC] >= 0 ? &s->segments[s->open[STREAM_GC]] : NULL;
    uint64_t dead = all && to != NULL ? to->size - to->end : 0;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct slog_segment *g = &s->segments[i];

        dead += g->state == SEG_CLEANING || cleanable(g) ? dead_of(g) : 0;
    }
    return dead;
}

/* Whether to clean whatever has something dead: for a tombstone that waits, or when a log without
 * room gains a segment by it. It ends: each segment cleaned has nothing dead any more. */
static bool eager(const struct ds_slog *s)
{
    return s->late.first != NULL ||
           (!ds_slog_room_suffices(s) && ds_slog_gain(s, ds_slog_is_wanted(s)) >= s->segment_size);
}

/* What may stay of a segment that is cleaned: half of it while there is room, 7/8 if not. */
static uint64_t stays_max(const struct ds_slog *s)
{
    bool tight = ds_slog_room(s, STREAM_PUT, true) <= s->segments_max / 8;

    return eager(s) ? s->segment_size : tight ? s->segment_size / 8 * 7 : s->segment_size / 2;
}

/* Whether a dead put older than this may lie in a segment other than `except`. */
static bool covers_something(const struct ds_slog *s, uint32_t except, uint64_t lsn)
{
    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct slog_segment *g = &s->segments[i];

        if (g->state != SEG_FREE && i != except && g->put_lsn_min < lsn && dead_of(g) > 0) {
            return true;
        }
    }
    return false;
}

/* About how much of a segment must be copied. */
static uint64_t stays_of(const struct ds_slog *s, uint32_t slot)
{
    const struct slog_segment *g = &s->segments[slot];

    return g->live + (g->keep > 0 && covers_something(s, slot, g->lsn_max) ? g->keep : 0);
}

static uint64_t oldest_lsn(const struct ds_slog *s)
{
    uint64_t oldest = s->next_lsn;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct slog_segment *g = &s->segments[i];

        oldest = g->state == SEG_SEALED ? ds_min_u64(oldest, g->lsn_max) : oldest;
    }
    return oldest;
}

/* `oldest`: that of oldest_lsn(). */
static double score(const struct ds_slog *s, uint32_t slot, uint64_t stays, uint64_t oldest)
{
    double u = (double)stays / (double)s->segment_size;
    uint64_t lsn = ds_min_u64(s->segments[slot].lsn_max, s->next_lsn);
    double lasts = (double)(s->dropping ? lsn - ds_min_u64(oldest, lsn) : s->next_lsn - lsn) + 1;

    return (1 - u) * lasts / (1 + u);
}

/* Whether cleaning it is worth the copies, and they have a place. */
static bool worth(const struct ds_slog *s, uint32_t slot, uint64_t stays, uint64_t max)
{
    const struct slog_segment *g = &s->segments[slot];
    const struct slog_segment *to =
        s->open[STREAM_GC] >= 0 ? &s->segments[s->open[STREAM_GC]] : NULL;
    bool place =
        ds_slog_room(s, STREAM_GC, false) > 0 ||
        (to != NULL && to->end + to->summary + stays * 2 + 4 * SLOG_BLOCK <= s->segment_size);

    /* a value that has a segment of its own has no place in another */
    return stays <= max && stays + SLOG_BLOCK < g->end && (place || stays == 0) &&
           (g->live == 0 || g->size == s->segment_size);
}

static bool pick(const struct ds_slog *s, uint32_t *ret)
{
    uint64_t max = stays_max(s);
    uint64_t oldest = oldest_lsn(s);
    uint64_t empty = 0; /* the number of the newest one with nothing to copy */
    double best = 0;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct slog_segment *g = &s->segments[i];
        uint64_t stays;
        double value;

        if (!cleanable(g)) {
            continue;
        }
        if (g->live == 0 && !g->keepers) {
            *ret = g->number > empty ? i : *ret; /* what was forgotten first: slog_discard.c */
            empty = ds_max_u64(empty, g->number);
        }
        if (empty > 0) {
            continue;
        }
        stays = stays_of(s, i);
        value = max == s->segment_size ? (double)(g->end - stays) : score(s, i, stays, oldest);
        if (worth(s, i, stays, max) && value > best) {
            best = value;
            *ret = i;
        }
    }
    return empty > 0 || best > 0;
}

void ds_slog_set_dropping(struct ds_slog *s, bool dropping)
{
    s->dropping = dropping;
}

static bool queue(struct ds_slog *s, enum slog_op_type type, struct slog_ops *list)
{
    struct slog_op *op = ds_slog_op_new(type, NULL, 0);

    if (op == NULL) {
        return false;
    }
    op->slot = s->gc.slot;
    op->number = s->segments[s->gc.slot].number;
    slog_push(list, op);
    return true;
}

static void leave(struct ds_slog *s)
{
    s->segments[s->gc.slot].state = SEG_SEALED;
    ds_free(s->gc.summary);
    s->gc = (struct slog_gc){.not_before_ns = s->gc.not_before_ns,
                             .tokens = s->gc.tokens,
                             .refilled_ns = s->gc.refilled_ns};
}

static int64_t again_ns(const struct ds_slog *s)
{
    return s->config.again_ns > 0 ? s->config.again_ns : AGAIN_NS;
}

/* For want of memory or of room, or the disk is not written: no other segment fares better. */
static void give_up(struct ds_slog *s)
{
    leave(s);
    s->gc.not_before_ns = ds_monotonic_ns() + again_ns(s);
    ds_slog_wake_at(s, s->gc.not_before_ns);
}

/* It is this segment that fails. */
static void put_off(struct ds_slog *s)
{
    struct slog_segment *g = &s->segments[s->gc.slot];

    leave(s);
    g->not_before_ns = ds_monotonic_ns() + (again_ns(s) << (2 * g->put_off));
    g->put_off += g->put_off < WAITS_MAX;
    ds_slog_wake_at(s, 1); /* for the others */
}

/* When the first of those that were put off may be tried: the alarm knows one time only. */
static void wake_for_put_off(struct ds_slog *s)
{
    int64_t now = ds_monotonic_ns();
    int64_t first = INT64_MAX;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct slog_segment *g = &s->segments[i];

        if (g->state == SEG_SEALED && g->not_before_ns > now) {
            first = g->not_before_ns < first ? g->not_before_ns : first;
        }
    }
    if (first < INT64_MAX) {
        ds_slog_wake_at(s, first);
    }
}

static void begin(struct ds_slog *s, uint32_t slot)
{
    struct slog_segment *g = &s->segments[slot];

    g->state = SEG_CLEANING;
    s->gc.active = true;
    s->gc.freeing = false;
    s->gc.rc = 0;
    s->gc.slot = slot;
    s->gc.summary = NULL;
    s->gc.summary_size = s->gc.at = 0;
    s->gc.moving = s->gc.moving_bytes = s->gc.unread = 0;
    if (g->live == 0 && !g->keepers) {
        s->gc.summary = ds_zalloc(1, "slog summary"); /* none is needed */
        if (s->gc.summary == NULL) {
            give_up(s);
        }
    } else if (queue(s, OP_SUMMARY, &s->to_read)) {
        g->reads++;
    } else {
        give_up(s);
    }
}

static bool stays(struct ds_slog *s, struct slog_head *h, const uint8_t *key, ds_slog_at at)
{
    uint16_t flags = h->flags;
    uint32_t slot = 0;
    uint64_t offset;

    switch (h->type) {
    case SLOG_PUT:
        if (!s->config.is_live(s->config.arg, key, h->key_size, at, &flags)) {
            return false;
        }
        h->flags = flags;
        h->flags_lsn = s->next_lsn - 1;
        return true;
    case SLOG_TOMBSTONE:
        h->flags = 0; /* it may have been answered since */
        return covers_something(s, s->gc.slot, h->lsn);
    default: /* a note: its target's copy will have the flags */
        return ds_slog_find(s, h->version, &slot, &offset) != NULL && slot != s->gc.slot &&
               s->config.is_live(s->config.arg, key, h->key_size, h->version, &flags);
    }
}

static bool copy(struct ds_slog *s, const struct slog_head *h, const uint8_t *key, uint64_t offset)
{
    uint64_t size = slog_record_size(h->key_size, h->value_size);
    struct slog_op *op = ds_slog_op_new(OP_MOVE, key, h->key_size);

    if (op == NULL) {
        return false;
    }
    op->head = *h;
    op->from_slot = s->gc.slot;
    op->from_number = s->segments[s->gc.slot].number;
    op->from_offset = offset;
    if (ds_slog_place(s, STREAM_GC, op) < 0) {
        ds_free(op);
        return false;
    }
    s->gc.moving++;
    s->gc.moving_bytes += size;
    s->gc.tokens -= (int64_t)size;
    return true;
}

/* The cap does not hold when puts wait for room. */
static bool may_copy(struct ds_slog *s)
{
    int64_t now = ds_monotonic_ns();
    int64_t rate = (int64_t)ds_min_u64(s->config.gc_bytes_per_s, INT64_MAX / 4);

    if (rate == 0 || !ds_slog_room_suffices(s)) {
        s->gc.tokens = 0;
        return true;
    }
    s->gc.tokens += (int64_t)((double)(now - s->gc.refilled_ns) * (double)rate / 1e9);
    s->gc.tokens = s->gc.tokens > rate / 10 ? rate / 10 : s->gc.tokens;
    s->gc.refilled_ns = now;
    if (s->gc.tokens >= 0) {
        return true;
    }
    ds_slog_wake_at(s, now + (int64_t)((double)-s->gc.tokens * 1e9 / (double)rate) + 1000000);
    return false;
}

static void copy_some(struct ds_slog *s)
{
    struct slog_gc *gc = &s->gc;
    struct slog_segment *g = &s->segments[gc->slot];

    for (int n = 0; gc->at < gc->summary_size && gc->rc == 0; n++) {
        struct slog_head h;
        const uint8_t *key;
        uint64_t offset;
        uint64_t size =
            ds_slog_summary_next(gc->summary + gc->at, gc->summary_size - gc->at, g->end, &h, &key);

        if (gc->moving_bytes >= MOVING_BYTES_MAX || !may_copy(s)) {
            return;
        }
        if (n == ENTRIES_PER_STEP) {
            ds_slog_wake_at(s, 1);
            return;
        }
        if (size == 0) {
            gc->rc = DS_ECORRUPT;
            return;
        }
        offset = (uint64_t)h.magic * SLOG_UNIT;
        if (stays(s, &h, key, ds_slog_at_of(gc->slot, g->number, offset)) &&
            !copy(s, &h, key, offset)) {
            gc->rc = DS_ENOSPACE;
            return;
        }
        gc->at += size;
    }
}

static bool is_early(const struct slog_head *h)
{
    return h->type == SLOG_TOMBSTONE && (h->flags & SLOG_EARLY) != 0;
}

/* Before a segment goes: a delete that waits for room may be what made a value in it dead, and an
 * older one of the key, which lies elsewhere, must not pass for the newest. So its tombstone is
 * written with the copies, where they have a place; it is answered when it stands where it is to
 * stay. False: there are more. */
static bool copy_late(struct ds_slog *s)
{
    unsigned n = 0;

    if (s->late.last == NULL || !covers_something(s, s->gc.slot, s->late.last->head.lsn)) {
        return true;
    }
    for (struct slog_op *op = s->late.first; op != NULL; op = op->next) {
        struct slog_head h = op->head;

        if (op->early) {
            continue;
        }
        if (n++ == ENTRIES_PER_STEP) {
            ds_slog_wake_at(s, 1);
            return false;
        }
        h.flags = SLOG_EARLY;
        op->early = copy(s, &h, op->key, 0);
        if (!op->early) {
            return true;
        }
    }
    return true;
}

/* All that could be read has left it. */
static void unread(struct ds_slog *s)
{
    struct slog_segment *g = &s->segments[s->gc.slot];

    if (g->unread == 0) {
        ds_slog_notice(s,
                       "%llu records of segment %016llx cannot be read: see the system log for "
                       "errors of the disk. They are tried again, then taken for lost",
                       (unsigned long long)s->gc.unread, (unsigned long long)g->number);
    }
    g->unread += g->unread < UNREAD_MAX;
    put_off(s);
}

void ds_slog_gc_step(struct ds_slog *s)
{
    struct slog_gc *gc = &s->gc;
    uint32_t slot = 0;

    ds_slog_place_late(s);
    if (!gc->active) {
        if (!s->began || s->stopped_told || ds_monotonic_ns() < gc->not_before_ns) {
            return;
        }
        if (!pick(s, &slot)) {
            ds_slog_place_stuck(s);
            wake_for_put_off(s);
            return;
        }
        begin(s, slot);
    }
    if (!gc->active || gc->summary == NULL || gc->freeing) {
        return;
    }
    copy_some(s);
    if (gc->rc == 0 && gc->at == gc->summary_size && !copy_late(s)) {
        return;
    }
    if (gc->moving > 0) {
        return;
    }
    if (gc->rc == DS_ECORRUPT) { /* of the summary */
        put_off(s);
    } else if (gc->rc < 0) {
        give_up(s);
    } else if (gc->at == gc->summary_size && gc->unread > 0) {
        unread(s);
    } else if (gc->at == gc->summary_size && s->segments[gc->slot].reads == 0) {
        gc->freeing = queue(s, OP_FREE, &s->to_write);
        if (!gc->freeing) {
            give_up(s);
        }
    }
}

/* Whether this was the last try. Not while most segments fail: then it is the disk, which may come
 * back, as when the log is opened. */
static bool is_lost(const struct ds_slog *s)
{
    uint32_t failing = 0;
    uint32_t all = 0;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        all += s->segments[i].state != SEG_FREE;
        failing += s->segments[i].state != SEG_FREE && s->segments[i].put_off > 0;
    }
    return s->segments[s->gc.slot].unread + 1 >= UNREAD_MAX && !ds_slog_disk_fails(failing, all);
}

static void moved(struct ds_slog *s, struct slog_op *op)
{
    uint64_t size = slog_record_size(op->head.key_size, op->head.value_size);
    ds_slog_at from = ds_slog_at_of(op->from_slot, op->from_number, op->from_offset);
    ds_slog_at to = op->rc == 0 ? ds_slog_at_of(op->slot, op->number, op->offset) : 0;

    s->gc.moving--;
    s->gc.moving_bytes -= size;
    if (op->unread && is_lost(s)) {
        op->rc = DS_ECORRUPT;
        s->corrupt_read++;
    } else if (op->unread) { /* the others first; the segment stays */
        s->gc.unread++;
        return;
    }
    if (op->rc < 0 && op->rc != DS_ECORRUPT && !(op->rc == DS_ENOSPACE && is_early(&op->head))) {
        s->gc.rc = op->rc; /* the segment stays */
    }
    if (op->head.type != SLOG_PUT || (op->rc < 0 && op->rc != DS_ECORRUPT)) {
        return;
    }
    s->stats.moves += op->rc == 0;
    if (s->config.moved(s->config.arg, op->key, op->head.key_size, from, to, op->head.flags,
                        op->rc)) {
        ds_slog_dead(s, from, op->head.key_size, op->head.value_size);
    } else if (to != 0) {
        ds_slog_dead(s, to, op->head.key_size, op->head.value_size);
    }
}

void ds_slog_gc_done(struct ds_slog *s, struct slog_op *op)
{
    struct slog_segment *g = &s->segments[op->slot];

    switch (op->type) {
    case OP_MOVE:
        moved(s, op);
        break;
    case OP_SUMMARY:
        g->reads--;
        s->gc.rc = op->rc;
        s->gc.summary = op->summary != NULL ? op->summary : ds_zalloc(1, "slog summary");
        s->gc.summary_size = op->summary_size;
        s->gc.rc = s->gc.summary == NULL ? DS_ENOMEM : s->gc.rc;
        if (s->gc.rc == DS_ENOMEM) {
            give_up(s);
        } else if (s->gc.rc < 0) {
            put_off(s);
        }
        break;
    default: /* OP_FREE */
        if (op->rc < 0) {
            put_off(s);
            break;
        }
        ds_free(s->gc.summary);
        s->gc.summary = NULL;
        s->gc.active = false;
        g->state = SEG_FREE;
        s->n_used -= g->units;
        s->gc_max = ds_slog_gc_max(s, s->gc_max);
        s->stats.segments_freed++;
        break;
    }
}
