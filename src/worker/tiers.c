/* SPDX-License-Identifier: Apache-2.0 */
/* tiers.c - see tiers.h. */
#include "worker/tiers.h"

#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/layout.h"
#include "tier/l2_pool.h"
#include "worker/worker.h"

#define LOOK_NS INT64_C(1000000000)

static int64_t real_offset(struct ds_tiers *t)
{
    int64_t now = ds_boottime_ns();

    if (t->real_look_ns == 0 || now - t->real_look_ns > LOOK_NS) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_REALTIME, &ts);
        t->real_look_ns = now;
        t->real_offset_ns =
            ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec - (now + t->w->boottime_offset_ns);
    }
    return t->real_offset_ns;
}

int64_t ds_tiers_real(struct ds_tiers *t, int64_t boot_ns)
{
    return boot_ns == 0 ? 0 : boot_ns + real_offset(t);
}

int64_t ds_tiers_boot(struct ds_tiers *t, int64_t real_ns)
{
    int64_t at = real_ns - real_offset(t);

    return real_ns == 0 ? 0 : at > 0 ? at : 1;
}

static int start(void *arg, struct ds_tier_op *op)
{
    struct ds_tiers *t = arg;

    return op->kind <= DS_TIER_JOURNAL ? ds_disk_start(t, op) : ds_second_start(t, op);
}

static bool forget(void *arg, const uint8_t *key, uint32_t key_size, uint64_t place, uint64_t size,
                   enum ds_bury bury)
{
    return ds_disk_forget(arg, key, key_size, place, size, bury);
}

static int clean(void *arg, const struct ds_tier_op *op, uint64_t place)
{
    return ds_disk_clean(arg, op, place);
}

static uint64_t order(void *arg)
{
    return ds_second_order(arg);
}

static void stats(void *arg, struct ds_worker_stats *ret)
{
    struct ds_tiers *t = arg;

    if (t->log != NULL || t->failed) {
        ds_disk_stats(t, ret);
    }
    if (t->pool != NULL) {
        ds_second_stats(t, ret);
    }
}

static const struct ds_store_tier table = {start, forget, clean, order, stats};

int ds_tiers_open(struct ds_worker *w)
{
    bool disk = ds_options_str(w->options, DS_OPT_spill_directory)[0] != '\0' ||
                ds_options_str(w->options, DS_OPT_write_back_directory)[0] != '\0';
    const char *l2 = ds_options_str(w->options, DS_OPT_l2_cache_type);
    struct ds_tiers *t;
    int rc;

    if (!disk && strcmp(l2, "none") == 0) {
        return 0;
    }
    t = ds_zalloc(sizeof(*t), "tiers");
    if (t == NULL) {
        return DS_ENOMEM;
    }
    t->w = w;
    w->tiers = t;
    t->spill = ds_options_str(w->options, DS_OPT_spill_directory)[0] != '\0';
    rc = disk ? ds_disk_open(t) : 0;
    w->config.tier = &table;
    w->config.tier_arg = t;
    w->config.spill = t->spill;
    w->config.spill_second =
        strcmp(ds_options_str(w->options, DS_OPT_spill_admission), "second") == 0;
    w->config.arriving_min = DS_SLOG_PIECE;
    w->config.journal = disk;
    w->config.l2 = strcmp(l2, "none") != 0;
    w->config.upload_max =
        (size_t)ds_options_int(w->options, DS_OPT_l2_cache_async_write_queue_size);
    if (t->spill && !ds_options_differs(w->options, DS_OPT_eviction_high_watermark_ratio)) {
        w->config.evict_high = 0.9; /* writing takes its time: begin before the memory is full */
        w->config.evict_low = 0.8;
    }
    return rc;
}

int ds_tiers_enter(struct ds_worker *w, bool recovered)
{
    struct ds_tiers *t = w->tiers;
    struct ds_index_header *h = (void *)w->index.base;
    uint32_t flags = 0;
    int rc = 0;

    if (t != NULL) {
        bool adopts = recovered && !ds_store_unserved(w->store);

        flags = (t->spill ? DS_TIERS_SPILL : 0) | (w->config.l2 ? DS_TIERS_L2 : 0);
        rc = w->config.l2 ? ds_second_open(t, adopts) : 0;
        if (rc == 0 && t->disk_config.directory != NULL) {
            rc = ds_disk_enter(t, adopts);
        }
        ds_second_seen(t, ds_store_order_seen(w->store));
    }
    if (rc == 0) {
        ds_store_serve(w->store);
    }
    ds_store_release(&h->tiers, flags);
    return rc;
}

void ds_tiers_on_disk(struct ds_worker *w)
{
    ds_disk_poll(w->tiers);
}

void ds_tiers_on_l2(struct ds_worker *w)
{
    ds_second_poll(w->tiers);
}

static bool disk_news(const struct ds_tiers *t)
{
    return t != NULL && t->log != NULL && ds_slog_news(t->log);
}

static bool second_news(const struct ds_tiers *t)
{
    return t != NULL && t->pool != NULL && ds_l2_pool_news(t->pool);
}

bool ds_tiers_news(const struct ds_worker *w)
{
    return disk_news(w->tiers) || second_news(w->tiers);
}

void ds_tiers_take(struct ds_worker *w)
{
    if (disk_news(w->tiers)) {
        ds_disk_poll(w->tiers);
    }
    if (second_news(w->tiers)) {
        ds_second_poll(w->tiers);
    }
}

void ds_tiers_flush(struct ds_worker *w)
{
    if (w->tiers != NULL && (w->tiers->log != NULL || w->tiers->failed)) {
        ds_disk_flush(w->tiers);
    }
}

void ds_tiers_drain(struct ds_worker *w, int64_t stop_ns)
{
    struct ds_tiers *t = w->tiers;
    int64_t end = ds_monotonic_ns() + stop_ns;
    bool more = true;

    while (t != NULL && (more || ds_store_uploads(w->store) > 0) && ds_monotonic_ns() < end) {
        struct ds_store_now now = {.boot_ns = ds_boottime_ns() + w->boottime_offset_ns,
                                   .ticks = ds_ticks()};

        more = ds_store_pass(w->store, &now);
        ds_tiers_flush(w);
        if (!more) {
            (void)poll(NULL, 0, 1);
        }
        if (t->log != NULL) {
            ds_disk_poll(t);
        }
        if (t->pool != NULL) {
            ds_second_poll(t);
        }
    }
    if (t != NULL && ds_store_uploads(w->store) > 0) {
        ds_log(DS_LOG_WARNING,
               "%llu write-back objects are not uploaded yet: they stay in the "
               "journal for the next start",
               (unsigned long long)ds_store_uploads(w->store));
    }
}

void ds_tiers_close(struct ds_worker *w)
{
    if (w->tiers != NULL) {
        ds_second_close(w->tiers);
        ds_disk_close(w->tiers);
        ds_free(w->tiers);
        w->tiers = NULL;
    }
}
