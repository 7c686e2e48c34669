/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/ds_test.h"
#include "tier/l2_breaker.h"

static const struct ds_l2_breaker_config config = {.failures = 3, .first_ns = 100, .most_ns = 350};

static void fail(struct ds_l2_breaker *b, int times, int64_t now_ns)
{
    for (int i = 0; i < times; i++) {
        CHECK_EQ(ds_l2_breaker_admit(b, now_ns), DS_L2_ADMITTED);
        (void)ds_l2_breaker_report(b, DS_L2_ADMITTED, DS_L2_SILENT, now_ns);
    }
}

static struct ds_l2_breaker opened_at(int64_t now_ns)
{
    struct ds_l2_breaker b;

    ds_l2_breaker_init(&b, &config);
    fail(&b, 3, now_ns);
    CHECK_EQ(b.state, DS_L2_OPEN);
    return b;
}

DS_TEST(breaker__opens_after_failures_in_a_row_only)
{
    struct ds_l2_breaker b;

    ds_l2_breaker_init(&b, &config);
    for (int i = 0; i < 10; i++) {
        fail(&b, 2, 5);
        CHECK(!ds_l2_breaker_report(&b, DS_L2_ADMITTED, DS_L2_ANSWERED, 5));
    }
    fail(&b, 2, 5);
    CHECK(!ds_l2_breaker_report(&b, DS_L2_ADMITTED, DS_L2_UNTOLD, 5)); /* counts for nothing */
    CHECK_EQ(b.state, DS_L2_CLOSED);
    CHECK(ds_l2_breaker_report(&b, DS_L2_ADMITTED, DS_L2_SILENT, 7));
    CHECK_EQ(b.state, DS_L2_OPEN);
    CHECK_EQ(b.opens, 1);
    CHECK_EQ(b.opened_ns, 7);
}

DS_TEST(breaker__lets_one_probe_through_when_the_interval_is_over)
{
    struct ds_l2_breaker b = opened_at(1000);

    CHECK(ds_l2_breaker_refuses(&b, 1099));
    CHECK_EQ(ds_l2_breaker_admit(&b, 1099), DS_L2_REFUSED);
    CHECK(!ds_l2_breaker_refuses(&b, 1100));
    CHECK_EQ(b.state, DS_L2_OPEN); /* to ask changes nothing */
    CHECK_EQ(ds_l2_breaker_admit(&b, 1100), DS_L2_PROBE);
    CHECK_EQ(ds_l2_breaker_admit(&b, 5000), DS_L2_REFUSED); /* however long it takes */
    CHECK(!ds_l2_breaker_report(&b, DS_L2_PROBE, DS_L2_ANSWERED, 5000));
    CHECK_EQ(ds_l2_breaker_admit(&b, 5000), DS_L2_ADMITTED);
    CHECK_EQ(b.opens, 1);
}

DS_TEST(breaker__waits_longer_after_each_failed_probe)
{
    struct ds_l2_breaker b = opened_at(0);
    const int64_t intervals[] = {100, 200, 350, 350, 350};
    int64_t now = 0;

    for (size_t i = 0; i < DS_ARRAY_SIZE(intervals); i++) {
        CHECK_EQ(ds_l2_breaker_admit(&b, now + intervals[i] - 1), DS_L2_REFUSED);
        now += intervals[i];
        CHECK_EQ(ds_l2_breaker_admit(&b, now), DS_L2_PROBE);
        CHECK(ds_l2_breaker_report(&b, DS_L2_PROBE, DS_L2_SILENT, now));
    }
    CHECK_EQ(b.opens, 1);
    CHECK_EQ(b.opened_ns, 0);
    now += 350;
    CHECK_EQ(ds_l2_breaker_admit(&b, now), DS_L2_PROBE);
    CHECK(!ds_l2_breaker_report(&b, DS_L2_PROBE, DS_L2_ANSWERED, now));
    fail(&b, 3, now); /* begins anew with the first interval */
    CHECK_EQ(ds_l2_breaker_admit(&b, now + 99), DS_L2_REFUSED);
    CHECK_EQ(ds_l2_breaker_admit(&b, now + 100), DS_L2_PROBE);
    CHECK_EQ(b.opens, 2);
}

DS_TEST(breaker__a_probe_that_says_nothing_is_followed_by_another)
{
    struct ds_l2_breaker b = opened_at(0);

    CHECK_EQ(ds_l2_breaker_admit(&b, 100), DS_L2_PROBE);
    CHECK(ds_l2_breaker_report(&b, DS_L2_PROBE, DS_L2_UNTOLD, 120));
    CHECK_EQ(ds_l2_breaker_admit(&b, 120), DS_L2_PROBE);
    CHECK(ds_l2_breaker_report(&b, DS_L2_PROBE, DS_L2_SILENT, 120));
    CHECK_EQ(ds_l2_breaker_admit(&b, 319), DS_L2_REFUSED);
}

DS_TEST(breaker__what_was_under_way_before_it_opened_may_close_it)
{
    struct ds_l2_breaker b = opened_at(0);

    CHECK(!ds_l2_breaker_report(&b, DS_L2_ADMITTED, DS_L2_SILENT, 90)); /* no news */
    CHECK_EQ(ds_l2_breaker_admit(&b, 100), DS_L2_PROBE);
    CHECK(!ds_l2_breaker_report(&b, DS_L2_ADMITTED, DS_L2_SILENT, 110)); /* not the probe's */
    CHECK_EQ(b.state, DS_L2_HALF_OPEN);
    CHECK(!ds_l2_breaker_report(&b, DS_L2_ADMITTED, DS_L2_ANSWERED, 120));
    CHECK_EQ(b.state, DS_L2_CLOSED);
    CHECK(!ds_l2_breaker_report(&b, DS_L2_PROBE, DS_L2_SILENT, 130)); /* the first failure again */
    CHECK_EQ(b.state, DS_L2_CLOSED);
    CHECK_EQ(b.failed, 1);
}

DS_TEST(breaker__a_refusal_of_one_object_is_an_answer)
{
    const int answers[] = {0, DS_ENOTFOUND, DS_ESTALE, DS_ERANGE, DS_ECORRUPT, DS_EVERSION};
    const int silences[] = {DS_EIO, DS_ETIMEOUT, DS_EUNAVAILABLE};
    const int others[] = {DS_ENOMEM, DS_ESHUTDOWN, DS_EDENIED, DS_EINVAL, DS_ENOSPACE};

    for (size_t i = 0; i < DS_ARRAY_SIZE(answers); i++) {
        CHECK_EQ(ds_l2_outcome_of(answers[i], false), DS_L2_ANSWERED);
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(silences); i++) {
        CHECK_EQ(ds_l2_outcome_of(silences[i], false), DS_L2_SILENT);
        CHECK_EQ(ds_l2_outcome_of(silences[i], true), DS_L2_ANSWERED);
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(others); i++) {
        CHECK_EQ(ds_l2_outcome_of(others[i], false), DS_L2_UNTOLD);
        CHECK_EQ(ds_l2_outcome_of(others[i], true), DS_L2_ANSWERED);
    }
}

DS_TEST(breaker__has_its_own_numbers_where_none_are_given)
{
    struct ds_l2_breaker b;

    ds_l2_breaker_init(&b, &(struct ds_l2_breaker_config){0});
    fail(&b, 3, 0);
    CHECK_EQ(ds_l2_breaker_admit(&b, 999999999), DS_L2_REFUSED);
    CHECK_EQ(ds_l2_breaker_admit(&b, 1000000000), DS_L2_PROBE);
    CHECK_EQ(b.config.most_ns, INT64_C(30000000000));
}
