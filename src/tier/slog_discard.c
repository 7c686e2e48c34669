/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for the cleaner in a log that was opened with no segment free, without one more than the
 * limit allows.
 *
 * The last segment is the cleaner's (ds_slog_room()): a log has all of them only from the moment
 * when that one is made to the moment when another one is unlinked. In between nothing but copies
 * goes into it (place_with_copies(), copy_late()), and nothing that they were made of goes. So,
 * whatever ends the process then, the newest segment of a log that has all of them is one of copies
 * whose originals are there. It is forgotten, and freed by the cleaner before all else, which
 * leaves the log as it was before that cleaning began; a log that is killed again and again at that
 * point starts from the same room each time, while one that went on in the half-filled segment
 * would have less of it each time.
 *
 * Nobody relies on that alone: each record is looked up in the other segments, by its LSN. Copies
 * without an original are kept. The flags of a copy may be newer than its original's, but then the
 * note that they came from is still there: it goes only with a segment that is unlinked.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sys_file.h"
#include "tier/slog_internal.h"

struct copy {
    struct slog_head head;
    const uint8_t *key;
    ds_slog_at at, original; /* 0: none was found */
    uint16_t original_flags;
};

struct copies {
    struct ds_slog *s;
    struct copy *copy; /* by LSN; by place when all were looked up */
    size_t n, found;
    bool *has_originals; /* by slot */
};

static ds_slog_at place_of(const struct copies *c, uint32_t slot, const struct slog_head *h)
{
    return ds_slog_at_of(slot, c->s->segments[slot].number, (uint64_t)h->magic * SLOG_UNIT);
}

/* A tombstone that was written before it had its place needs no original: what it covers is there,
 * and nobody was answered. */
static int collect(void *arg, uint32_t slot, const struct slog_head *h, const uint8_t *key)
{
    struct copies *c = arg;
    bool early = h->type == SLOG_TOMBSTONE && (h->flags & SLOG_EARLY) != 0;
    ds_slog_at at = place_of(c, slot, h);

    c->copy[c->n++] = (struct copy){.head = *h, .key = key, .at = at, .original = early ? at : 0};
    c->found += early;
    return 0;
}

static int compare_lsns(const void *a, const void *b)
{
    const struct copy *x = a;
    const struct copy *y = b;

    return (x->head.lsn > y->head.lsn) - (x->head.lsn < y->head.lsn);
}

static bool is_copy_of(const struct copy *x, const struct slog_head *h, const uint8_t *key)
{
    return x->head.lsn == h->lsn && x->head.type == h->type && x->head.key_size == h->key_size &&
           x->head.value_size == h->value_size && memcmp(x->key, key, h->key_size) == 0;
}

/* A tombstone may have been copied twice, when a segment could not be cleaned at once. */
static int match(void *arg, uint32_t slot, const struct slog_head *h, const uint8_t *key)
{
    struct copies *c = arg;
    size_t low = 0;
    size_t high = c->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (c->copy[middle].head.lsn < h->lsn) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < c->n && c->copy[low].head.lsn == h->lsn; low++) {
        struct copy *x = &c->copy[low];

        if (x->original == 0 && is_copy_of(x, h, key)) {
            x->original = place_of(c, slot, h);
            x->original_flags = h->flags;
            c->has_originals[slot] = true;
            c->found++;
        }
    }
    return 0;
}

/* True: nothing is lost without the copies, whatever comes. */
static bool originals_are_safe(const struct copies *c)
{
    bool safe = c->found == c->n;

    for (uint32_t i = 0; safe && i < c->s->n_slots; i++) {
        safe = !c->has_originals[i] || ds_sys_fsync(c->s->segments[i].fd) == 0;
    }
    return safe;
}

static int compare_places(const void *a, const void *b)
{
    const struct copy *x = a;
    const struct copy *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

/* An owner that knew the copies goes back to the originals. */
static void move_back(struct copies *c)
{
    struct ds_slog *s = c->s;

    if (s->adopted_n > 0) {
        qsort(c->copy, c->n, sizeof(*c->copy), compare_places);
    }
    for (size_t i = 0; i < s->adopted_n; i++) {
        const struct copy wanted = {.at = s->adopted[i]};
        const struct copy *x = bsearch(&wanted, c->copy, c->n, sizeof(wanted), compare_places);
        uint32_t slot;
        uint64_t offset;
        struct slog_segment *g = x != NULL ? ds_slog_find(s, x->original, &slot, &offset) : NULL;

        if (g != NULL && s->config.moved(s->config.arg, x->key, x->head.key_size, x->at,
                                         x->original, x->original_flags, 0)) {
            s->adopted[i] = x->original;
            g->live += slog_record_size(x->head.key_size, x->head.value_size);
        }
    }
}

/* The cleaner frees it first, since there is nothing to copy. */
static void forget(struct ds_slog *s, uint32_t slot, struct slog_bytes *summary)
{
    struct slog_segment *g = &s->segments[slot];

    g->live = g->keep = 0;
    g->keepers = false;
    ds_free(summary->data);
    *summary = (struct slog_bytes){NULL, 0, 0};
}

static int forget_if_copies(struct ds_slog *s, uint32_t slot, struct slog_bytes *summaries,
                            bool *ret)
{
    struct copies c = {.s = s};
    int rc;

    c.copy = ds_zalloc((summaries[slot].size / sizeof(struct slog_head) + 1) * sizeof(*c.copy),
                       "slog copies");
    c.has_originals = ds_zalloc(s->n_slots * sizeof(*c.has_originals), "slog copies");
    rc = c.copy == NULL || c.has_originals == NULL
             ? DS_ENOMEM
             : ds_slog_summary_each(s, slot, &summaries[slot], collect, &c);
    if (rc == 0) {
        qsort(c.copy, c.n, sizeof(*c.copy), compare_lsns);
    }
    for (uint32_t i = 0; rc == 0 && i < s->n_slots; i++) {
        ds_slog_progress(s);
        rc = i != slot ? ds_slog_summary_each(s, i, &summaries[i], match, &c) : 0;
    }
    *ret = rc == 0 && originals_are_safe(&c);
    if (*ret) {
        move_back(&c);
        forget(s, slot, &summaries[slot]);
    }
    ds_free(c.copy);
    ds_free(c.has_originals);
    return rc;
}

/* The slot of the newest segment, if it may be one of copies alone: it took the last place that
 * there was, and nothing was unlinked since. */
static bool newest_is_last(const struct ds_slog *s, uint32_t *ret)
{
    for (uint32_t i = 0; i < s->n_slots; i++) {
        if (s->segments[i].state == SEG_SEALED && s->segments[i].number == s->newest) {
            *ret = i;
            return s->n_used >= s->segments_max && s->n_used >= s->newest_max;
        }
    }
    return false;
}

int ds_slog_make_gc_room(struct ds_slog *s, struct slog_bytes *summaries)
{
    uint32_t slot;
    bool forgot = false;
    uint64_t max = s->newest_max != 0 ? s->newest_max : SLOG_SLOTS_MAX;
    int rc = newest_is_last(s, &slot) ? forget_if_copies(s, slot, summaries, &forgot) : 0;

    /* Above a lowered limit there may be nothing to forget, and one more segment is needed: there
     * was room for it in the limit of before. */
    s->gc_max = ds_slog_gc_max(s, forgot ? s->n_used : (uint32_t)ds_min_u64(max, SLOG_SLOTS_MAX));
    if (s->n_used >= s->gc_max && !forgot) {
        ds_slog_notice(s,
                       "%s is full to its limit, and a segment that was being cleaned cannot be "
                       "read or is damaged: nothing is written or cleaned there until all that is "
                       "in some segment was deleted. Raise the limit, or remove the *.bad files "
                       "there, and start again",
                       s->shown);
    }
    return rc;
}
