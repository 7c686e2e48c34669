/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "harness/ds_test.h"

#define FIRST_RESERVED offsetof(struct ds_worker_stats, reserved)

static const struct ds_metric *at(int i)
{
    return ds_metric((enum ds_metric_id)i);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_name(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '_') {
            return false;
        }
    }
    return islower((unsigned char)text[0]) != 0;
}

/* Each row reads its own word, and together they read all but the reserved ones. */
DS_TEST(metrics__cover_every_field_once)
{
    unsigned char seen[sizeof(struct ds_worker_stats)] = {0};
    struct ds_worker_stats stats;

    for (int i = 0; i < DS_METRIC_COUNT; i++) {
        const struct ds_metric *m = at(i);
        uint64_t value = UINT64_C(0x0102030405060708) + (uint64_t)i;

        CHECK_LE(m->offset + sizeof(value), FIRST_RESERVED);
        memset(&stats, 0, sizeof(stats));
        memcpy((char *)&stats + m->offset, &value, sizeof(value));
        CHECK_EQ(ds_metric_value(m, &stats), value);
        for (size_t b = 0; b < sizeof(value); b++) {
            CHECK_EQ(seen[m->offset + b], 0);
            seen[m->offset + b] = 1;
        }
    }
    CHECK(memchr(seen, 0, FIRST_RESERVED) == NULL);
    memset(&stats, 0, sizeof(stats));
    stats.l2_retries = 7;
    CHECK_EQ(ds_metric_value(ds_metric(DS_METRIC_l2_retries), &stats), 7);
    CHECK_STR(ds_metric(DS_METRIC_l2_retries)->field, "l2_retries");
}

DS_TEST(metrics__have_names_of_their_own)
{
    for (int i = 0; i < DS_METRIC_COUNT; i++) {
        const struct ds_metric *m = at(i);

        CHECK(is_name(m->json));
        CHECK(is_name(m->prometheus));
        CHECK_LE(strlen(m->label), (size_t)14); /* the column of dscli status */
        CHECK(ends_with(m->sentence, "."));
        for (int j = 0; j < i; j++) {
            CHECK(strcmp(m->json, at(j)->json) != 0);
            CHECK(strcmp(m->prometheus, at(j)->prometheus) != 0);
            CHECK(m->label[0] == '\0' || m->tier != at(j)->tier ||
                  strcmp(m->label, at(j)->label) != 0);
        }
    }
}

/* https://prometheus.io/docs/practices/naming/ */
DS_TEST(metrics__follow_the_conventions_of_prometheus)
{
    for (int i = 0; i < DS_METRIC_COUNT; i++) {
        const struct ds_metric *m = at(i);
        bool counter = m->kind == DS_METRIC_COUNTER;
        char unit[32];

        CHECK(strncmp(m->prometheus, "ds_", 3) == 0);
        CHECK(ends_with(m->prometheus, "_total") == counter);
        if (m->unit == DS_METRIC_BYTES || m->unit == DS_METRIC_MS) {
            (void)snprintf(unit, sizeof(unit), "_%s%s",
                           m->unit == DS_METRIC_BYTES ? "bytes" : "seconds",
                           counter ? "_total" : "");
            CHECK(ends_with(m->prometheus, unit));
            CHECK(ends_with(m->json, m->unit == DS_METRIC_BYTES ? "_bytes" : "_ms"));
        }
    }
}

/* A tier has one capacity, the first of its lines, and shows its use in the same unit. */
DS_TEST(metrics__give_every_tier_a_capacity_a_gauge_and_counters)
{
    const enum ds_metric_tier tiers[] = {DS_METRIC_MEMORY, DS_METRIC_DISK, DS_METRIC_L2,
                                         DS_METRIC_L2_QUEUE};

    CHECK(ds_metric_capacity(DS_METRIC_NODE) == NULL);
    for (size_t t = 0; t < DS_ARRAY_SIZE(tiers); t++) {
        const struct ds_metric *capacity = ds_metric_capacity(tiers[t]);
        unsigned capacities = 0;
        unsigned gauges = 0;
        unsigned counters = 0;

        CHECK(capacity != NULL && capacity->label[0] > ' ');
        for (int i = 0; i < DS_METRIC_COUNT; i++) {
            if (at(i)->tier == tiers[t]) {
                CHECK_GE(i, (int)(capacity - at(0)));
                capacities += at(i)->kind == DS_METRIC_CAPACITY;
                gauges += at(i)->kind == DS_METRIC_GAUGE && at(i)->unit == capacity->unit;
                counters += at(i)->kind == DS_METRIC_COUNTER;
            }
        }
        CHECK_EQ(capacities, 1);
        CHECK_GE(gauges, 1);
        CHECK_GE(counters, 2);
    }
}

/* Of second-level storage the capacity may be unknown, and the rest is before it was gone through:
 * that is no 0. Where there is none, nothing is unknown. */
DS_TEST(metrics__tell_the_unknown_from_nothing)
{
    struct ds_worker_stats st = {.memory_size = 1};
    unsigned unknown = 0;

    CHECK(ds_metric_used(DS_METRIC_NODE, &st) && ds_metric_used(DS_METRIC_MEMORY, &st));
    CHECK(!ds_metric_used(DS_METRIC_DISK, &st));
    CHECK(!ds_metric_used(DS_METRIC_L2, &st) && !ds_metric_used(DS_METRIC_L2_QUEUE, &st));
    for (int i = 0; i < DS_METRIC_COUNT; i++) {
        CHECK(ds_metric_known(at(i), &st));
    }
    st.l2_waiting_max = 10;
    CHECK(ds_metric_used(DS_METRIC_L2, &st) && ds_metric_used(DS_METRIC_L2_QUEUE, &st));
    for (int i = 0; i < DS_METRIC_COUNT; i++) {
        unknown += !ds_metric_known(at(i), &st);
    }
    CHECK_EQ(unknown, 6);
    st.l2_capacity = 1;
    CHECK(ds_metric_known(ds_metric(DS_METRIC_l2_free), &st));
    CHECK(!ds_metric_known(ds_metric(DS_METRIC_l2_objects), &st));
    st.l2_collections = 1;
    CHECK(ds_metric_known(ds_metric(DS_METRIC_l2_objects), &st));
}

DS_TEST(metrics__have_words)
{
    CHECK_STR(ds_metric_tier_name(ds_metric(DS_METRIC_l2_queued)->tier), "second-level storage");
    CHECK_STR(ds_metric_kind_name(ds_metric(DS_METRIC_evict_policy)->kind), "info");
    CHECK_STR(ds_metric_unit_name(ds_metric(DS_METRIC_evict_policy)->unit), "");
    CHECK_STR(ds_metric_unit_name(ds_metric(DS_METRIC_drops)->unit), "objects");
    CHECK_STR(ds_metric_policy_name(DS_EVICT_LRU), "lru");
    CHECK_STR(ds_metric_policy_name(DS_EVICT_S3FIFO), "s3fifo");
    CHECK_STR(ds_metric_policy_name(0), "unknown");
    CHECK_STR(ds_metric_policy_name(3), "unknown");
}
