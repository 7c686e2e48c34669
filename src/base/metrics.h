/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - the figures of a worker: one table, worker_metrics.def.
 *
 * It has one row per field of struct ds_worker_stats. `dscli status` and its JSON, Python's
 * worker_stats() and docs/metrics.md come from it.
 *
 *     for (int i = 0; i < DS_METRIC_COUNT; i++) {
 *         const struct ds_metric *m = ds_metric((enum ds_metric_id)i);
 *
 *         printf("%s %llu\n", m->json, (unsigned long long)ds_metric_value(m, &stats));
 *     }
 *
 * Threads: any; the table never changes. Errors: none.
 */
#ifndef DS_BASE_METRICS_H
#define DS_BASE_METRICS_H

#include <ds/client.h>

#include "base/base.h"

enum ds_metric_id {
#define METRIC(field, json, label, prometheus, tier, kind, unit, sentence) DS_METRIC_##field,
#include "base/worker_metrics.def"
#undef METRIC
    DS_METRIC_COUNT
};

enum ds_metric_tier {
    DS_METRIC_NODE,
    DS_METRIC_MEMORY,
    DS_METRIC_DISK,
    DS_METRIC_L2,
    DS_METRIC_L2_QUEUE,
};

enum ds_metric_kind {
    DS_METRIC_CAPACITY, /* a gauge that is the hard limit of its tier */
    DS_METRIC_GAUGE,
    DS_METRIC_COUNTER,
    DS_METRIC_INFO,
};

enum ds_metric_unit {
    DS_METRIC_NONE,
    DS_METRIC_BYTES,
    DS_METRIC_MS, /* of the field; seconds in Prometheus */
    DS_METRIC_OBJECTS,
    DS_METRIC_REQUESTS,
    DS_METRIC_EVENTS,
    DS_METRIC_POLICY, /* enum ds_evict_policy */
};

/* A row; worker_metrics.def says what each member is. */
struct ds_metric {
    const char *field;
    const char *json;
    const char *label;
    const char *prometheus;
    const char *sentence;
    enum ds_metric_tier tier;
    enum ds_metric_kind kind;
    enum ds_metric_unit unit;
    size_t offset; /* of the field in struct ds_worker_stats */
};

const struct ds_metric *ds_metric(enum ds_metric_id id);

uint64_t ds_metric_value(const struct ds_metric *m, const struct ds_worker_stats *stats);

/* The row of the tier's hard limit; NULL: it has none. */
const struct ds_metric *ds_metric_capacity(enum ds_metric_tier tier);

/* Whether there is such a tier: its limit is not 0. */
bool ds_metric_used(enum ds_metric_tier tier, const struct ds_worker_stats *stats);

/* False: 0 stands for what the worker does not know, as of a tier that is used. */
bool ds_metric_known(const struct ds_metric *m, const struct ds_worker_stats *stats);

/* Words for people and documents. */
const char *ds_metric_tier_name(enum ds_metric_tier tier);
const char *ds_metric_kind_name(enum ds_metric_kind kind);
const char *ds_metric_unit_name(enum ds_metric_unit unit);

/* "lru", "s3fifo"; "unknown" for what a newer worker may have. */
const char *ds_metric_policy_name(uint64_t policy);

#endif
