/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - worker_metrics.def as data. */
#include "base/metrics.h"

#include <string.h>

static const struct ds_metric table[DS_METRIC_COUNT] = {
#define METRIC(field_, json_, label_, prometheus_, tier_, kind_, unit_, sentence_)                 \
    [DS_METRIC_##field_] = {                                                                       \
        .field = #field_,                                                                          \
        .json = json_,                                                                             \
        .label = label_,                                                                           \
        .prometheus = prometheus_,                                                                 \
        .sentence = sentence_,                                                                     \
        .tier = DS_METRIC_##tier_,                                                                 \
        .kind = DS_METRIC_##kind_,                                                                 \
        .unit = DS_METRIC_##unit_,                                                                 \
        .offset = offsetof(struct ds_worker_stats, field_),                                        \
    },
#include "base/worker_metrics.def"
#undef METRIC
};

/* Every row names a field (offsetof), no two the same one (their enumerators would collide), each
 * of one word; so as many rows as words means that no field is without. */
#define METRIC(field, json, label, prometheus, tier, kind, unit, sentence)                         \
    _Static_assert(sizeof(((struct ds_worker_stats *)0)->field) == sizeof(uint64_t),               \
                   "a figure is one word");
#include "base/worker_metrics.def"
#undef METRIC

_Static_assert(sizeof(struct ds_worker_stats) ==
                   DS_METRIC_COUNT * sizeof(uint64_t) +
                       sizeof(((struct ds_worker_stats *)0)->reserved),
               "a field of struct ds_worker_stats has no row in worker_metrics.def");

const struct ds_metric *ds_metric(enum ds_metric_id id)
{
    return &table[id];
}

uint64_t ds_metric_value(const struct ds_metric *m, const struct ds_worker_stats *stats)
{
    uint64_t value;

    memcpy(&value, (const char *)stats + m->offset, sizeof(value));
    return value;
}

const struct ds_metric *ds_metric_capacity(enum ds_metric_tier tier)
{
    for (size_t i = 0; i < DS_METRIC_COUNT; i++) {
        if (table[i].tier == tier && table[i].kind == DS_METRIC_CAPACITY) {
            return &table[i];
        }
    }
    return NULL;
}

/* The limit of second-level storage may be unknown; that of its queue never is. */
bool ds_metric_used(enum ds_metric_tier tier, const struct ds_worker_stats *stats)
{
    const struct ds_metric *capacity =
        ds_metric_capacity(tier == DS_METRIC_L2 ? DS_METRIC_L2_QUEUE : tier);

    return capacity == NULL || ds_metric_value(capacity, stats) != 0;
}

bool ds_metric_known(const struct ds_metric *m, const struct ds_worker_stats *stats)
{
    bool used = ds_metric_used(m->tier, stats);

    switch (m - table) {
    case DS_METRIC_l2_capacity:
    case DS_METRIC_l2_free:
        return !used || stats->l2_capacity != 0;
    case DS_METRIC_l2_bytes:
    case DS_METRIC_l2_objects:
    case DS_METRIC_l2_gone:
    case DS_METRIC_l2_seen_ms:
        return !used || stats->l2_collections != 0;
    default:
        return true;
    }
}

const char *ds_metric_tier_name(enum ds_metric_tier tier)
{
    static const char *const names[] = {"node", "memory", "disk", "second-level storage",
                                        "uploads to second-level storage"};

    return names[tier];
}

const char *ds_metric_kind_name(enum ds_metric_kind kind)
{
    static const char *const names[] = {"capacity", "gauge", "counter", "info"};

    return names[kind];
}

const char *ds_metric_unit_name(enum ds_metric_unit unit)
{
    static const char *const names[] = {"", "bytes", "ms", "objects", "requests", "events", ""};

    return names[unit];
}

const char *ds_metric_policy_name(uint64_t policy)
{
    return policy == DS_EVICT_LRU ? "lru" : policy == DS_EVICT_S3FIFO ? "s3fifo" : "unknown";
}
