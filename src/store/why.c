/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why.c - every end of an object has a reason: counted, and remembered with the key.
 *
 * The counters are of all ends; the record is of the last ones (gone.h). A key that is missed is
 * looked up there, so that one that had to make room is told from one that never was.
 */
#include "store/internal.h"

static uint64_t *way_out(struct ds_worker_stats *st, enum ds_gone why)
{
    switch (why) {
    case DS_GONE_NOT:
        return &st->replacements;
    case DS_GONE_DELETED:
        return &st->deletes;
    case DS_GONE_RELEASED:
        return &st->releases;
    case DS_GONE_EXPIRED:
        return &st->expirations;
    case DS_GONE_EVICTED:
        return &st->evictions;
    case DS_GONE_DROPPED:
        return &st->drops;
    default:
        DS_ASSERT(why == DS_GONE_LOST);
        return &st->losses;
    }
}

/* Its disk or memory wanted to be rid of it, and it is only further away. */
static bool kept_by_l2(const struct ds_store *s, uint32_t id, enum ds_gone why)
{
    return s->config.l2 && ds_store_in_l2(s, id) &&
           (why == DS_GONE_EVICTED || why == DS_GONE_DROPPED || why == DS_GONE_LOST);
}

void ds_store_note_end(struct ds_store *s, uint32_t id, uint64_t hash, enum ds_gone why, bool shows)
{
    int64_t when_ns =
        why == DS_GONE_EXPIRED ? ds_load_relaxed(&s->record[id].expiry_ns) : s->now.boot_ns;

    if (ds_store_unreadable(s, id)) { /* it counted when it was lost */
        s->unreadable--;
    } else {
        ++*way_out(&s->stats, why);
    }
    if (why != DS_GONE_NOT) {
        bool kept = kept_by_l2(s, id, why);

        ds_gone_add(s->gone, hash, kept ? DS_GONE_L2 : why, when_ns, kept || shows);
    }
}

void ds_store_note_delete(struct ds_store *s, const void *key, size_t key_size)
{
    uint64_t hash = ds_store_key_hash(s, key, key_size);
    int64_t when_ns;

    if (ds_gone_find(s->gone, hash, &when_ns) != DS_GONE_UNKNOWN) {
        ds_gone_add(s->gone, hash, DS_GONE_DELETED, s->now.boot_ns, false);
    }
}

enum ds_gone ds_store_why(struct ds_store *s, const void *key, size_t key_size,
                          uint64_t *ret_age_ms)
{
    uint32_t id = ds_store_find_any(s, key, key_size);
    int64_t when_ns = s->now.boot_ns;
    enum ds_gone why = DS_GONE_NOT;

    if (id != DS_ID_NONE && ds_store_over(s, id)) {
        when_ns = ds_load_relaxed(&s->record[id].expiry_ns);
        why = DS_GONE_EXPIRED;
    } else if (id == DS_ID_NONE || ds_store_unreadable(s, id)) {
        why = ds_gone_find(s->gone, ds_store_key_hash(s, key, key_size), &when_ns);
        why = id != DS_ID_NONE ? DS_GONE_LOST : why;
    }
    *ret_age_ms = (uint64_t)(s->now.boot_ns - when_ns) / 1000000;
    return why;
}

void ds_store_count_miss(struct ds_store *s, const void *key, size_t key_size)
{
    uint64_t age_ms;
    enum ds_gone why = ds_store_why(s, key, key_size, &age_ms);

    s->stats.misses++;
    s->stats.misses_evicted += why == DS_GONE_EVICTED || why == DS_GONE_DROPPED;
}
