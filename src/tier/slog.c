/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner's side.
 *
 * A place is  | segment number, low 24 bits | slot, 16 bits | offset / 64, 24 bits |
 */
#include "tier/slog.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/clock.h"
#include "base/sys_file.h"
#include "tier/slog_internal.h"
#include "tier/slog_ring.h"

ds_slog_at ds_slog_at_of(uint32_t slot, uint64_t number, uint64_t offset)
{
    return (number & 0xffffff) << 40 | (uint64_t)slot << 24 | offset / SLOG_UNIT;
}

struct slog_segment *ds_slog_find(const struct ds_slog *s, ds_slog_at at, uint32_t *ret_slot,
                                  uint64_t *ret_offset)
{
    uint32_t slot = (uint32_t)(at >> 24) & 0xffff;
    uint64_t offset = (at & 0xffffff) * SLOG_UNIT;
    struct slog_segment *g = slot < s->n_slots ? &s->segments[slot] : NULL;

    if (g == NULL || g->state == SEG_FREE || (g->number & 0xffffff) != at >> 40 ||
        offset < SLOG_BLOCK || offset >= g->end) {
        return NULL;
    }
    *ret_slot = slot;
    *ret_offset = offset;
    return g;
}

void ds_slog_progress(const struct ds_slog *s)
{
    if (s->config.progress != NULL) {
        s->config.progress(s->config.arg);
    }
}

struct slog_op *ds_slog_op_new(enum slog_op_type type, const void *key, size_t key_size)
{
    struct slog_op *op = ds_zalloc(sizeof(*op) + key_size, "slog operation");

    if (op != NULL) {
        op->type = type;
        op->head.key_size = (uint16_t)key_size;
        if (key_size > 0) {
            memcpy(op->key, key, key_size);
        }
    }
    return op;
}

/* The owner counts on answers in the order of requests, and the puts' stream is answered first. */
static bool tombstone_must_wait(const struct ds_slog *s)
{
    return s->late.first != NULL || s->tombstones_with_copies > 0;
}

static int submit(struct ds_slog *s, struct slog_op *op, enum slog_type type, bool durable,
                  uint64_t cookie)
{
    bool own = ds_slog_own_size(op) > s->segment_size;
    bool late = false;
    int rc;

    op->head.type = (uint8_t)type;
    op->head.lsn = op->head.flags_lsn = s->next_lsn;
    op->durable = durable;
    op->cookie = cookie;
    rc = s->stopped_told                                    ? DS_EIO
         : type == SLOG_TOMBSTONE && tombstone_must_wait(s) ? DS_ENOSPACE
                                                            : ds_slog_place(s, STREAM_PUT, op);
    if (type == SLOG_TOMBSTONE && rc == DS_ENOSPACE) { /* its LSN is given: no put overtakes it */
        ds_slog_push_late(s, op);
        late = true;
        rc = 0;
    } else if (type == SLOG_TOMBSTONE && rc == DS_EIO) { /* an answer like the others before it */
        op->rc = rc;
        slog_push(&s->ready, op);
        ds_slog_wake_at(s, 1);
        rc = 0;
    }
    if (rc == 0) {
        s->next_lsn++;
        s->stats.queued++;
        op->owed = type == SLOG_TOMBSTONE && s->kept.found != NULL;
        s->kept.owed += op->owed;
    } else {
        ds_free(op);
    }
    if ((rc < 0 || late) && !s->polling) { /* not from a callback of the cleaner */
        ds_slog_gc_step(s);
        ds_slog_flush(s);
    }
    /* the cleaner gains a segment, and several where it can */
    return rc == DS_ENOSPACE && type == SLOG_PUT && s->gc.active && (!own || s->wanted > 0)
               ? DS_EAGAIN
               : rc;
}

static bool key_ok(const void *key, size_t key_size)
{
    return key != NULL && key_size > 0 && key_size <= DS_SLOG_KEY_MAX;
}

int ds_slog_put(struct ds_slog *s, const struct ds_slog_item *item, bool durable)
{
    struct slog_op *op;

    if (!key_ok(item->key, item->key_size) || item->size > s->config.data_size ||
        item->offset > s->config.data_size - item->size ||
        item->size > ds_slog_value_max(s, item->key_size)) {
        return DS_EINVAL;
    }
    op = ds_slog_op_new(OP_PUT, item->key, item->key_size);
    if (op == NULL) {
        return DS_ENOMEM;
    }
    op->head.version = item->version;
    op->head.expiry_unix_ns = item->expiry_unix_ns;
    op->head.value_size = item->size;
    op->head.flags = item->flags;
    op->head.mode = item->mode;
    op->head.kind = item->kind;
    op->data_offset = item->offset;
    return submit(s, op, SLOG_PUT, durable, item->cookie);
}

int ds_slog_tombstone(struct ds_slog *s, const void *key, size_t key_size, bool durable,
                      uint64_t cookie)
{
    struct slog_op *op = key_ok(key, key_size) ? ds_slog_op_new(OP_TOMBSTONE, key, key_size) : NULL;

    return op != NULL              ? submit(s, op, SLOG_TOMBSTONE, durable, cookie)
           : key_ok(key, key_size) ? DS_ENOMEM
                                   : DS_EINVAL;
}

int ds_slog_bury_quietly(struct ds_slog *s, const void *key, size_t key_size)
{
    struct slog_op *op = ds_slog_op_new(OP_TOMBSTONE, key, key_size);

    if (op == NULL) {
        return DS_ENOMEM;
    }
    op->quiet = true;
    return submit(s, op, SLOG_TOMBSTONE, true, 0);
}

/* Only one that has its place in a segment: what waits for room may wait long. */
bool ds_slog_keep_tombstone(struct ds_slog *s, const void *key, size_t key_size)
{
    struct slog_op *op;

    if (!key_ok(key, key_size) || s->stopped_told || tombstone_must_wait(s) ||
        !ds_slog_kept_room(s, slog_record_size(key_size, 0))) {
        return false;
    }
    op = ds_slog_op_new(OP_TOMBSTONE, key, key_size);
    if (op == NULL) {
        return false;
    }
    op->quiet = true;
    op->head.type = SLOG_TOMBSTONE;
    op->head.lsn = op->head.flags_lsn = s->next_lsn;
    if (ds_slog_place(s, STREAM_PUT, op) < 0) {
        ds_free(op);
        return false;
    }
    ds_slog_kept_write(s, op);
    s->next_lsn++;
    s->stats.queued++;
    return true;
}

int ds_slog_note(struct ds_slog *s, ds_slog_at at, const void *key, size_t key_size, uint16_t flags,
                 bool durable, uint64_t cookie)
{
    uint32_t slot;
    uint64_t offset;
    struct slog_op *op;

    if (!key_ok(key, key_size)) {
        return DS_EINVAL;
    }
    if (ds_slog_find(s, at, &slot, &offset) == NULL) {
        return DS_ENOTFOUND;
    }
    op = ds_slog_op_new(OP_NOTE, key, key_size);
    if (op == NULL) {
        return DS_ENOMEM;
    }
    op->head.version = at;
    op->head.flags = flags;
    return submit(s, op, SLOG_NOTE, durable, cookie);
}

/* Small ones need no thread. */
static void begin_get(struct ds_slog *s, struct slog_op *op)
{
    uint64_t size = slog_record_size(op->head.key_size, op->head.value_size);
    uint64_t from = op->offset / SLOG_BLOCK * SLOG_BLOCK;
    uint64_t to = ds_align_up(op->offset + size, SLOG_BLOCK);

    from = s->direct ? from : op->offset;
    to = s->direct ? to : op->offset + size;
    if (s->ring == NULL || size > SLOG_RING_BYTES_MAX ||
        op->offset + size > s->segments[op->slot].size ||
        !ds_slog_ring_read(s->ring, op, s->segments[op->slot].fd, from, to - from)) {
        slog_push(&s->to_read, op);
    }
}

/* What the ring has read; a thread tries again where that was not all. */
static void reap(struct ds_slog *s)
{
    struct slog_op *op;
    uint8_t *bytes;
    ssize_t n;

    while (s->ring != NULL && (op = ds_slog_ring_reap(s->ring, &bytes, &n)) != NULL) {
        uint64_t size = slog_record_size(op->head.key_size, op->head.value_size);
        uint64_t skip = s->direct ? op->offset % SLOG_BLOCK : 0;

        if (n >= 0 && (uint64_t)n >= skip + size) {
            op->rc = ds_slog_take_record(s, op, bytes + skip, size);
            s->corrupt_read += op->rc == DS_ECORRUPT;
            slog_push(&s->ready, op);
        } else {
            slog_push(&s->to_read, op);
        }
        ds_slog_ring_release(s->ring, op);
    }
}

int ds_slog_get(struct ds_slog *s, ds_slog_at at, uint64_t size, const void *key, size_t key_size,
                uint64_t version, uint64_t offset, uint64_t cookie)
{
    uint32_t slot;
    uint64_t place;
    struct slog_segment *g = ds_slog_find(s, at, &slot, &place);
    struct slog_op *op;

    if (!key_ok(key, key_size) || size > s->config.data_size ||
        offset > s->config.data_size - size) {
        return DS_EINVAL;
    }
    if (g == NULL) {
        return DS_ENOTFOUND;
    }
    op = ds_slog_op_new(OP_GET, key, key_size);
    if (op == NULL) {
        return DS_ENOMEM;
    }
    op->slot = slot;
    op->number = g->number;
    op->offset = place;
    op->head.type = SLOG_PUT;
    op->head.value_size = size;
    op->head.version = version;
    op->data_offset = offset;
    op->cookie = cookie;
    g->reads++;
    s->stats.queued++;
    if (size > SLOG_CHUNK) {
        op->next_long = s->long_gets;
        if (s->long_gets != NULL) {
            s->long_gets->prev_long = op;
        }
        s->long_gets = op;
    }
    begin_get(s, op);
    return 0;
}

void ds_slog_dead(struct ds_slog *s, ds_slog_at at, size_t key_size, uint64_t size)
{
    uint32_t slot;
    uint64_t offset;
    struct slog_segment *g = ds_slog_find(s, at, &slot, &offset);
    uint64_t bytes = slog_record_size(key_size, size);

    if (g != NULL) {
        uint64_t half = g->size / 2;
        bool crosses = (g->live > half) != (g->live - bytes > half) || g->live == bytes ||
                       !ds_slog_room_suffices(s) || s->late.first != NULL;

        DS_ASSERT(g->live >= bytes);
        g->live -= bytes;
        if (crosses && g->state == SEG_SEALED && !s->gc.active) {
            ds_slog_wake_at(s, 1); /* it may be worth cleaning */
        }
    }
}

void ds_slog_wake_at(struct ds_slog *s, int64_t ns)
{
    (void)pthread_mutex_lock(&s->lock);
    if (ns <= 1) {
        ds_slog_signal(s);
    } else if (s->wake_ns == 0 || ns < s->wake_ns) {
        s->wake_ns = ns;
        ds_slog_threads_start(s);
        (void)pthread_cond_signal(&s->write_work);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void ds_slog_flush(struct ds_slog *s)
{
    ds_slog_place_late(s);
    if (s->ring != NULL) {
        ds_slog_ring_submit(s->ring);
    }
    if (s->to_write.first == NULL && s->to_read.first == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    slog_append(&s->write_queue, &s->to_write);
    slog_append(&s->read_queue, &s->to_read);
    ds_slog_threads_start(s);
    (void)pthread_mutex_unlock(&s->lock);
}

bool ds_slog_news(const struct ds_slog *s)
{
    return ds_load_relaxed(&s->signalled) || (s->ring != NULL && ds_slog_ring_news(s->ring));
}

int ds_slog_fd(const struct ds_slog *s)
{
    return s->event_fd;
}

static uint32_t segments_n(const struct ds_slog *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        n += s->segments[i].state != SEG_FREE;
    }
    return n;
}

/* Once, until one can be made again. */
static void tell_unmade(struct ds_slog *s, uint64_t size, int rc)
{
    if (s->unmade_told > 0 || rc != DS_ENOSPACE) {
        return; /* an error is told by who meets it */
    }
    s->unmade_told = size;
    ds_slog_notice(s,
                   "no file of %llu KiB can be made in %s, with %u there already%s. Until then "
                   "objects stay in memory, or are dropped where their mode allows it",
                   (unsigned long long)(size >> 10), s->shown, segments_n(s) - 1,
                   ds_sys_file_advice(ENOSPC));
}

/* A segment could not be made: the next record tries another one, after a while. */
static void opened(struct ds_slog *s, const struct slog_op *op)
{
    struct slog_segment *g = &s->segments[op->slot];

    if (op->rc == 0) {
        s->unmade_told = op->size >= s->unmade_told ? 0 : s->unmade_told;
        return;
    }
    tell_unmade(s, op->size, op->rc);
    *(op->stream == STREAM_OWN ? &s->no_own_before_ns : &s->no_open_before_ns) =
        ds_monotonic_ns() + SLOG_OPEN_AGAIN_NS;
    if (s->open[op->stream] == (int32_t)op->slot && g->number == op->number) {
        s->open[op->stream] = -1;
    }
    g->state = SEG_FREE; /* the operations behind fail one by one */
    s->n_used -= g->units;
}

/* The record is there; or its space is dead, when it could not be written. */
static void settle(struct ds_slog *s, const struct slog_op *op)
{
    struct slog_segment *g = &s->segments[op->slot];
    uint64_t size = slog_record_size(op->head.key_size, op->head.value_size);

    if (g->state != SEG_FREE && g->number == op->number) {
        g->pending--;
        *(op->head.type == SLOG_PUT ? &g->live : &g->keep) -= op->rc < 0 ? size : 0;
    }
}

static enum ds_slog_event_type count(struct ds_slog *s, const struct slog_op *op)
{
    switch (op->type) {
    case OP_PUT:
        s->stats.puts++;
        return DS_SLOG_PUT_DONE;
    case OP_TOMBSTONE:
        s->stats.tombstones++;
        return DS_SLOG_TOMBSTONE_DONE;
    case OP_NOTE:
        s->stats.notes++;
        return DS_SLOG_NOTE_DONE;
    default:
        s->stats.gets++;
        s->stats.get_bytes += op->rc == 0 ? op->head.value_size : 0;
        return DS_SLOG_GET_DONE;
    }
}

static void unlist_long(struct ds_slog *s, const struct slog_op *op)
{
    if (op->prev_long != NULL) {
        op->prev_long->next_long = op->next_long;
    } else if (s->long_gets == op) {
        s->long_gets = op->next_long;
    }
    if (op->next_long != NULL) {
        op->next_long->prev_long = op->prev_long;
    }
}

/* What the readers have got of long values since the last look. */
static size_t tell_arrivals(struct ds_slog *s, struct ds_slog_event *ret, size_t max)
{
    size_t n = 0;

    for (struct slog_op *op = s->long_gets; op != NULL && n < max; op = op->next_long) {
        uint64_t bytes = ds_load_acquire(&op->arrived); /* pairs with ds_slog_tell_arrived() */

        if (bytes > op->told) {
            op->told = bytes;
            ret[n++] = (struct ds_slog_event){
                .type = DS_SLOG_GET_SOME, .cookie = op->cookie, .bytes = bytes};
        }
    }
    return n;
}

enum finish {
    TOLD,  /* *ret is an event for the user */
    QUIET, /* there is nothing to tell */
    AGAIN, /* not done yet */
};

static enum finish finish(struct ds_slog *s, struct slog_op *op, struct ds_slog_event *ret)
{
    switch (op->type) {
    case OP_OPEN:
        opened(s, op);
        return QUIET;
    case OP_SEAL:
        return QUIET;
    case OP_MOVE:
        settle(s, op);
        ds_slog_gc_done(s, op);
        return QUIET;
    case OP_SUMMARY:
    case OP_FREE:
        ds_slog_gc_done(s, op);
        return QUIET;
    case OP_GET:
        s->segments[op->slot].reads--;
        unlist_long(s, op);
        break;
    case OP_TOMBSTONE:
        settle(s, op);
        s->tombstones_with_copies -= op->stream == STREAM_GC;
        if (op->rc == DS_ENOSPACE && !s->stopped_told) {
            op->rc = 0; /* no segment could be made: once more, when the disk has room */
            op->number = 0;
            op->stream = STREAM_PUT;
            ds_slog_push_late(s, op);
            ds_slog_kept_delay(s, op);
            return AGAIN;
        }
        if (op->rc < 0 && s->stopped_told && ds_slog_kept_last(s, op)) {
            return AGAIN;
        }
        ds_slog_kept_done(s, op);
        break;
    default:
        settle(s, op);
        break;
    }
    s->stats.queued--;
    *ret = (struct ds_slog_event){.type = count(s, op),
                                  .rc = op->rc,
                                  .cookie = op->cookie,
                                  .at = op->type == OP_PUT && op->rc == 0
                                            ? ds_slog_at_of(op->slot, op->number, op->offset)
                                            : 0};
    return op->quiet ? QUIET : TOLD;
}

size_t ds_slog_poll(struct ds_slog *s, struct ds_slog_event *ret, size_t max)
{
    size_t n = 0;
    uint64_t count_read;
    bool stopped;
    bool removed;
    struct slog_op *op;

    (void)pthread_mutex_lock(&s->lock);
    if (s->signalled || s->ring != NULL) {
        (void)!read(s->event_fd, &count_read, sizeof(count_read));
        s->signalled = false;
    }
    slog_append(&s->ready, &s->done);
    stopped = s->stopped;
    removed = s->removed;
    (void)pthread_mutex_unlock(&s->lock);
    if (stopped && !s->stopped_told && n < max) {
        s->stopped_told = true;
        ret[n++] =
            (struct ds_slog_event){.type = DS_SLOG_ERROR, .rc = removed ? DS_ENOTFOUND : DS_EIO};
        for (op = s->late.first; op != NULL; op = op->next) {
            op->rc = DS_EIO; /* its place: none */
        }
        slog_append(&s->ready, &s->late);
    }
    n += tell_arrivals(s, ret + n, max - n);
    s->polling = true;
    reap(s);
    while (n < max && (op = slog_pop(&s->ready)) != NULL) {
        enum finish how = finish(s, op, &ret[n]);

        n += how == TOLD;
        if (how != AGAIN) {
            ds_free(op);
        }
    }
    if (s->ready.first != NULL || n == max) { /* there may be more of what has arrived */
        ds_slog_wake_at(s, 1);
    }
    ds_slog_gc_step(s);
    s->polling = false;
    ds_slog_flush(s);
    return n;
}

void ds_slog_stats(const struct ds_slog *s, struct ds_slog_stats *ret)
{
    struct ds_slog *t = (struct ds_slog *)(uintptr_t)s; /* the lock is not part of the state */

    *ret = s->stats;
    ret->size_limit = s->config.size_limit;
    ret->segment_size = s->segment_size;
    ret->segments = s->n_used;
    ret->segments_max = s->segments_max;
    ret->direct = s->direct;
    ret->uring = s->ring != NULL;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct slog_segment *g = &s->segments[i];

        if (g->state != SEG_FREE) {
            ret->live_bytes += g->live;
            ret->held_bytes +=
                g->size > s->segment_size && g->live > 0 ? g->units * s->segment_size : g->live;
            ret->dead_bytes += g->end - SLOG_BLOCK - g->live;
        }
    }
    (void)pthread_mutex_lock(&t->lock);
    ret->syncs = s->syncs;
    ret->io_errors = s->io_errors;
    ret->corrupt = s->corrupt + s->corrupt_read;
    ret->stopped = s->stopped;
    (void)pthread_mutex_unlock(&t->lock);
}
