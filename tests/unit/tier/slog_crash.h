/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slog_crash.h - what a segment log must know after a crash. Requests and answers stand in the
 * record of what happened to its files (fs_record.h), as FS_BEGIN and FS_ACK: a version of a key, 0
 * for its end.
 */
#ifndef DS_UNIT_TIER_SLOG_CRASH_H
#define DS_UNIT_TIER_SLOG_CRASH_H

#include "fs_record.h"
#include "slog_owner.h"

static inline void wait_a_little(struct owner *o)
{
    struct pollfd p = {.fd = ds_slog_fd(o->s), .events = POLLIN};
    struct ds_slog_event e;

    CHECK_EQ(poll(&p, 1, 30000), 1);
    CHECK_EQ(ds_slog_poll(o->s, &e, 1), 0u);
}

/* What a process finds at its begin is there to stay. */
static inline void note_found(const struct owner *o, unsigned keys)
{
    for (unsigned k = 0; k < keys; k++) {
        uint64_t found = o->recs[k].at != 0 ? o->recs[k].version : 0;

        fs_note(FS_BEGIN, k, found, false);
        fs_note(FS_ACK, k, found, true);
    }
}

/* The last answer of a key that binds, or anything that was asked after it. */
static inline void check_keys(struct owner *o, unsigned keys, int end, bool killed)
{
    for (unsigned k = 0; k < keys; k++) {
        const struct rec *r = &o->recs[k];
        uint64_t found = r->at != 0 ? r->version : 0;
        bool fine = false;
        bool bound = false;

        for (int i = end - 1; i >= 0 && !bound; i--) {
            const struct fs_event *e = &fs_events[i];

            if ((e->what == FS_BEGIN || e->what == FS_ACK) && e->key == k) {
                fine = fine || e->version == found;
                bound = e->what == FS_ACK && (e->durable || killed);
            }
        }
        if (!fine && (bound || found != 0)) {
            ds_test_fail(__FILE__, __LINE__, "%s before event %d: key %u has version %lu",
                         killed ? "killed" : "power lost", end, k, (unsigned long)found);
        }
        CHECK(r->at == 0 || get(o, k) == 0);
    }
}

#endif
