/* SPDX-License-Identifier: Apache-2.0 */
/* slog_own.h - an owner whose large values have segments of their own. */
#ifndef DS_UNIT_TIER_SLOG_OWN_H
#define DS_UNIT_TIER_SLOG_OWN_H

#include "base/failpoint.h"
#include "slog_owner.h"
#include "tier/slog_internal.h"

#define SEGMENT (64u << 10)
#define RESERVED (64u << 10)
#define LIMIT_OF(n) ((n) * (uint64_t)SEGMENT + RESERVED)
#define VALUE (150u << 10) /* three segments */

static inline void begin(struct owner *o, unsigned segments, bool direct)
{
    if (!direct && access("/dev/shm", W_OK) == 0) { /* much faster */
        owner_folder = "/dev/shm";
    }
    owner_init(o, LIMIT_OF(segments), SEGMENT, direct);
    CHECK_OK(ds_slog_recover(o->s, recovered, o));
}

static inline unsigned slot_of(const struct owner *o, unsigned k)
{
    return (unsigned)(o->recs[k].at >> 24) & 0xffff;
}

static inline void poll_once(struct owner *o, int timeout_ms)
{
    struct pollfd p = {.fd = ds_slog_fd(o->s), .events = POLLIN};
    struct ds_slog_event e;

    (void)poll(&p, 1, timeout_ms);
    if (ds_slog_poll(o->s, &e, 1) > 0) {
        take_event(o, &e);
    }
}

/* DS_ENOSPACE or 0. */
static inline int put_in_time(struct owner *o, unsigned k, uint64_t size, bool durable)
{
    int rc;

    while ((rc = put(o, k, size, durable)) == DS_EAGAIN) {
        poll_once(o, 30000);
    }
    return rc;
}

static inline void drop(struct owner *o, unsigned k)
{
    char key[32];

    ds_slog_dead(o->s, o->recs[k].at, key_of(k, key), o->recs[k].size);
    o->recs[k].at = 0;
}

static inline uint64_t file_size_of(const struct owner *o, unsigned slot)
{
    int fd = open_segment(o, slot);
    struct stat st;

    CHECK_EQ(fstat(fd, &st), 0);
    (void)close(fd);
    return (uint64_t)st.st_size;
}

static inline bool nothing_used(struct owner *o)
{
    return stats_of(o).segments == 0;
}

#endif
