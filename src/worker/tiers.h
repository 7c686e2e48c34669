/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiers.h - what is below memory, put behind the store's table (store/tier.h): the segment log on
 * the node's disk (spill, journal) and second-level storage (L2).
 *
 *   store -> start()   -> ds_disk_start() or ds_second_start()             never blocks
 *   epoll -> ds_tiers_on_disk(), ds_tiers_on_l2() -> ds_store_tier_done()
 *   ds_tiers_take() -> the same, while the loop is awake
 *
 * Files: tiers.c options, start, end; tiers_disk.c; tiers_l2.c.
 *
 * Threads: the loop. Log and pool have threads of their own.
 */
#ifndef DS_WORKER_TIERS_H
#define DS_WORKER_TIERS_H

#include "base/options.h"
#include "store/store.h"
#include "tier/l2.h"
#include "tier/slog.h"

struct ds_worker;
struct ds_l2_pool;

struct ds_tiers {
    struct ds_worker *w;
    struct ds_slog *log;     /* NULL: no disk, or it cannot be used */
    bool failed;             /* the latter */
    bool stopped;            /* the log is read, and not written any more */
    struct ds_l2 *l2;        /* NULL: no second level, or not entered yet */
    struct ds_l2_pool *pool; /* of l2 */
    bool spill;
    struct ds_slog_config disk_config;
    uint64_t order;      /* the greatest that was given, or seen in L2: docs/concurrency.md, 10 */
    uint64_t spilling;   /* bytes of SPILL ops in the log's hands */
    uint64_t bury_asked; /* of the log */
    uint64_t buried;     /* answered by it, in that order */
    uint64_t unburied;   /* that it did not take: they count once all asked before are answered */
    uint64_t unburied_told, unburied_behind;
    uint64_t written;    /* bytes put since the log was looked at */
    uint64_t look_after; /* bytes until the next look */
    uint64_t dropped;    /* from disk, when the log was looked at */
    uint64_t over;       /* bytes in the log beyond what leaves room to clean it cheaply */
    bool bury_failed;    /* said once */
    bool clock_told;
    int64_t real_offset_ns; /* CLOCK_REALTIME - CLOCK_BOOTTIME, looked at now and then */
    int64_t real_look_ns;
    int64_t complained_ns;
    bool breaker_open;    /* the breaker of the pool is not closed */
    bool breaker_told;    /* the log says so */
    int64_t told_ns;      /* when that was */
    int64_t collect_ns;   /* when second-level storage is to be cleaned up */
    struct ds_l2_gc seen; /* what the last collection that came to the end left */
    int64_t seen_ns;      /* when that was, CLOCK_MONOTONIC */
    uint64_t collections; /* of that kind */
    uint64_t collected;   /* removed, by those cut short too */
    uint64_t erased;
    uint64_t entered; /* objects that the directory held */
    uint64_t refused;
    uint64_t stranded; /* of those, nowhere else */
    uint64_t stranded_size;
    int stranded_rc;
    int adopt_rc;
    uint64_t doubtful; /* that may not be the newest: a segment cannot be read */
    uint64_t doubtful_dropped;
    uint64_t unverified;    /* second-level storage has them, or newer ones */
    uint64_t spare_dropped; /* the same, without a number to compare */
    uint64_t orphans;       /* copies that an earlier worker left without a name */
};

/* Looks at what the options name and completes the store's configuration. Nothing is named: 0, and
 * no tier. Errors with the reason in w->trouble. */
DS_MUST_USE int ds_tiers_open(struct ds_worker *w);

/* After the store was made or recovered, before the first pass: opens all, and enters what the
 * directory holds. With memory to be served a tier that cannot be used is no error. */
DS_MUST_USE int ds_tiers_enter(struct ds_worker *w, bool recovered);

void ds_tiers_on_disk(struct ds_worker *w);
void ds_tiers_on_l2(struct ds_worker *w);

/* Whether one of the two above has something to do; no system call. */
bool ds_tiers_news(const struct ds_worker *w);
void ds_tiers_take(struct ds_worker *w); /* does it */

/* After each pass. */
void ds_tiers_flush(struct ds_worker *w);

/* Finishes uploads, as far as `stop_ns` allows, and closes. The store is still there. */
void ds_tiers_drain(struct ds_worker *w, int64_t stop_ns);

/* After the store has ended. */
void ds_tiers_close(struct ds_worker *w);

/* --- clocks: the store counts in CLOCK_BOOTTIME, disks and L2 in CLOCK_REALTIME --- */
int64_t ds_tiers_real(struct ds_tiers *t, int64_t boot_ns);
int64_t ds_tiers_boot(struct ds_tiers *t, int64_t real_ns);

/* --- tiers_disk.c --- */
DS_MUST_USE int ds_disk_open(struct ds_tiers *t);
DS_MUST_USE int ds_disk_enter(struct ds_tiers *t, bool adopts);
DS_MUST_USE int ds_disk_start(struct ds_tiers *t, struct ds_tier_op *op);
bool ds_disk_forget(struct ds_tiers *t, const uint8_t *key, uint32_t key_size, uint64_t place,
                    uint64_t size, enum ds_bury bury);
int ds_disk_clean(struct ds_tiers *t, const struct ds_tier_op *op, uint64_t place);
void ds_disk_poll(struct ds_tiers *t);
void ds_disk_flush(struct ds_tiers *t);
void ds_disk_stats(const struct ds_tiers *t, struct ds_worker_stats *ret); /* disk_* */
int ds_disk_fd(const struct ds_tiers *t);
void ds_disk_close(struct ds_tiers *t);

/* --- tiers_l2.c --- */
DS_MUST_USE int ds_second_open(struct ds_tiers *t, bool adopts);
uint64_t ds_second_order(struct ds_tiers *t);             /* the next number */
void ds_second_seen(struct ds_tiers *t, uint64_t number); /* the next ones are greater */
DS_MUST_USE int ds_second_start(struct ds_tiers *t, struct ds_tier_op *op);
void ds_second_poll(struct ds_tiers *t);
void ds_second_stats(const struct ds_tiers *t, struct ds_worker_stats *ret); /* l2_* */
int ds_second_fd(const struct ds_tiers *t);
void ds_second_close(struct ds_tiers *t);

#endif
