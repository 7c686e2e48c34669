/* SPDX-License-Identifier: Apache-2.0 */
/* Values that do not fit a segment have one of their own, which counts for several. */
#include "slog_own.h"

/* --- it is what was put --- */

/* From what fits a segment to the most there may be; all around the borders. */
static void round_trip(bool direct)
{
    struct owner o;
    uint64_t max;
    uint64_t sizes[64];
    unsigned n = 0;

    begin(&o, 258, direct);
    max = ds_slog_value_max(o.s, 6);
    CHECK_GT(max, 127 * SEGMENT);
    for (unsigned blocks = 0; blocks < 6; blocks++) { /* where a segment begins not to suffice */
        for (unsigned i = 0; i < 4; i++) {
            sizes[n++] = SEGMENT - blocks * 4096 - i * 64;
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        sizes[n++] = 3 * SEGMENT - i * 4096 - i;
    }
    sizes[n++] = 1 << 20;
    sizes[n++] = (1 << 20) + 1;
    sizes[n++] = max;
    for (unsigned i = 0; i < n; i++) {
        CHECK_OK(put_in_time(&o, 100 + i, sizes[i], i % 2 == 0));
        CHECK_OK(get(&o, 100 + i));
        CHECK(sizes[i] <= 1 << 20 || o.arrived > 0); /* told while it comes */
        CHECK_LE(disk_use(&o), o.config.size_limit);
    }
    for (int way = 0; way < 3; way++) {
        uint64_t used = stats_of(&o).segments;

        for (unsigned i = 0; i < n; i++) {
            CHECK_EQ(o.recs[100 + i].size, sizes[i]);
            CHECK_OK(get(&o, 100 + i));
        }
        owner_reopen(&o, way == 0);
        CHECK_LE(stats_of(&o).segments, used);
        CHECK_EQ(stats_of(&o).corrupt, 0u);
        CHECK_EQ(o.notices, 0u);
    }
    owner_fini(&o, true);
}

DS_TEST(slog_own__gives_back_what_was_put)
{
    round_trip(false);
}

DS_TEST(slog_own__gives_back_what_was_put_with_direct_io)
{
    round_trip(true);
}

DS_TEST(slog_own__counts_for_as_many_as_it_takes)
{
    struct owner o;

    begin(&o, 16, false);
    CHECK_OK(put(&o, 1, VALUE, true));
    CHECK_EQ(stats_of(&o).segments, 3u);
    CHECK_EQ(file_size_of(&o, slot_of(&o, 1)), 41 * 4096); /* no more than it needs */
    CHECK_OK(put(&o, 2, 1000, true));
    CHECK_EQ(stats_of(&o).segments, 4u);
    for (int clean = 0; clean < 2; clean++) {
        owner_reopen(&o, clean);
        CHECK_EQ(o.recovered, 2u);
        CHECK_EQ(stats_of(&o).segments, 4u);
        CHECK_GE(ds_slog_disk_use(o.dir), 41 * 4096 + SEGMENT);
    }
    CHECK_OK(del(&o, 1, true));
    while (stats_of(&o).segments > 2) { /* it is freed, the tombstone began one */
        poll_once(&o, 30000);
    }
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 1u);
    CHECK_EQ(o.recs[1].at, 0u);
    owner_fini(&o, true);
}

DS_TEST(slog_own__notes_and_tombstones_hold_for_it)
{
    struct owner o;
    struct rec before;
    char key[32];

    begin(&o, 24, false);
    CHECK_OK(put(&o, 1, VALUE, true));
    CHECK_OK(ds_slog_note(o.s, o.recs[1].at, key, key_of(1, key), 9, true, 1));
    owner_wait(&o, o.events + 1);
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[1].flags, 9);
    before = o.recs[1];
    o.s = ds_slog_close(o.s, false);
    owner_open(&o); /* an owner that knows its place */
    CHECK_EQ(ds_slog_adopt(o.s, before.at, 5, (uint64_t)VALUE * 2), DS_ENOTFOUND);
    CHECK_OK(ds_slog_adopt(o.s, before.at, 5, VALUE));
    CHECK_OK(ds_slog_adopted(o.s, NULL, NULL));
    o.recs[1] = before;
    CHECK_OK(get(&o, 1));
    CHECK_OK(put(&o, 1, VALUE + 5000, true)); /* the old one goes */
    CHECK_OK(put(&o, 2, VALUE, true));
    CHECK_OK(del(&o, 2, true));
    while (stats_of(&o).segments > 3 + 2) { /* and one that each stream fills */
        poll_once(&o, 30000);
    }
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 1u);
    CHECK_EQ(o.recs[1].size, VALUE + 5000u);
    CHECK_EQ(o.recs[1].flags, 0);
    owner_fini(&o, true);
}

/* --- room --- */

/* Large and small values, the oldest go when there is no room: what a worker does. */
DS_TEST_TIMEOUT(slog_own__lives_within_its_limit, 120)
{
    enum { ROUNDS = 3000, USED = 300 };
    struct owner o;
    uint64_t x = ds_test_seed() | 1;
    unsigned oldest = 0;
    unsigned large = 0;

    begin(&o, 20, false);
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned k = i % USED;
        bool is_large = (x = x * 6364136223846793005u + 1442695040888963407u) >> 60 < 4;
        uint64_t size = (x >> 33) % (is_large ? ds_slog_value_max(o.s, 7) : 9000);
        int rc;

        if (o.recs[k].at != 0) {
            drop(&o, k);
        }
        while ((rc = put_in_time(&o, k, size, (x >> 20) % 4 == 0)) == DS_ENOSPACE) {
            CHECK_NE(oldest, i); /* all that may go is gone */
            if (o.recs[oldest % USED].at != 0) {
                drop(&o, oldest % USED);
            }
            oldest++;
        }
        CHECK_OK(rc);
        large += size > SEGMENT;
        CHECK_LE(stats_of(&o).segments, 20u);
        if (i % 10 == 0) {
            CHECK_LE(disk_use(&o), o.config.size_limit);
            CHECK_OK(get(&o, k));
        }
        if (i % 500 == 0) {
            for (unsigned j = 0; j < KEYS; j++) {
                CHECK(o.recs[j].at == 0 || get(&o, j) == 0);
            }
        }
    }
    CHECK_GT(large, 100u);
    CHECK_EQ(stats_of(&o).corrupt, 0u);
    owner_fini(&o, true);
}

/* Small values up to what puts may fill. */
static unsigned fill_up(struct owner *o, uint64_t size)
{
    unsigned k = 0;

    while (put_in_time(o, k, size, false) == 0) {
        k++;
    }
    return k;
}

/* Half of what each segment holds dies: nothing but copying makes several free, while small values
 * that are set again and again would take each as it comes. */
DS_TEST(slog_own__gets_its_room_though_others_want_it)
{
    struct owner o;
    unsigned n;
    unsigned small = 0;
    uint64_t asked;
    int rc;

    begin(&o, 24, false);
    n = fill_up(&o, 4000) & ~1u;
    CHECK_GT(n, 200u);
    for (unsigned k = 0; k < n; k += 2) {
        drop(&o, k);
    }
    asked = o.events;
    while ((rc = put_begin(&o, KEYS - 1, 7 * SEGMENT, false, 1 << 20)) == DS_EAGAIN) {
        for (unsigned i = 0; i < 60; i++, small++) {
            rc = put_begin(&o, (small * 2 + 1) % n, 4000, false, i * 4096);
            CHECK(rc == 0 || rc == DS_EAGAIN || rc == DS_ENOSPACE);
            asked += rc == 0;
        }
        CHECK_LT(small, 20000u);
        owner_wait(&o, asked);
        poll_once(&o, 1);
    }
    CHECK_OK(rc);
    owner_wait(&o, asked + 1);
    CHECK_OK(get(&o, KEYS - 1));
    for (unsigned k = 1; k < n; k += 2) {
        CHECK_OK(get(&o, k));
    }
    CHECK_LE(disk_use(&o), o.config.size_limit);
    owner_fini(&o, true);
}

/* A little is dead everywhere, too little for cleaning but for a put that waits. */
DS_TEST(slog_own__gathers_what_is_dead)
{
    const uint64_t mib = 1 << 20;
    struct owner o;
    unsigned n;

    owner_init(&o, 36 * mib + RESERVED, mib, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    n = fill_up(&o, 79000);
    CHECK_EQ(n, 34u * 13);
    for (unsigned k = 0; k < n; k += 13) {
        drop(&o, k);
    }
    for (unsigned k = 1; k < 13; k++) { /* a segment */
        drop(&o, k);
    }
    while (stats_of(&o).segments > 33) {
        poll_once(&o, 30000);
    }
    CHECK_OK(put_in_time(&o, KEYS - 1, mib + 5000, false));
    for (unsigned k = 14; k < n; k++) {
        CHECK(o.recs[k].at == 0 || get(&o, k) == 0);
    }
    owner_fini(&o, true);
}

/* What cannot come is refused, and holds nobody up. */
DS_TEST(slog_own__what_finds_no_room_keeps_none_from_others)
{
    struct owner o;
    unsigned n;

    begin(&o, 24, false);
    n = fill_up(&o, 4000);
    for (unsigned k = 0; k < 30; k++) { /* two segments */
        drop(&o, k);
    }
    while (stats_of(&o).segments > 20) {
        poll_once(&o, 30000);
    }
    for (unsigned k = 0; k < 20; k++) {
        CHECK_EQ(put_in_time(&o, KEYS - 1, 8 * SEGMENT, false), DS_ENOSPACE);
        CHECK_OK(put(&o, k, 4000, false));
    }
    for (unsigned k = 30; k < n; k++) {
        CHECK_OK(get(&o, k));
    }
    owner_fini(&o, true);
}

#ifdef DS_FAILPOINTS

static bool cleans(struct owner *o)
{
    return o->s->gc.active;
}

/* The cleaner is at work, and will not gain enough: who can make room by other means is told. */
DS_TEST(slog_own__what_cleaning_does_not_gain_is_not_waited_for)
{
    struct owner o;
    unsigned n;

    begin(&o, 24, false);
    n = fill_up(&o, 4000);
    ds_failpoint_arm("slog.move.read=sleep:20");
    for (unsigned k = 0; k < 40; k += 2) {
        drop(&o, k);
    }
    owner_until(&o, cleans);
    CHECK_EQ(put(&o, KEYS - 1, 8 * SEGMENT, false), DS_ENOSPACE);
    CHECK(cleans(&o));
    for (unsigned k = 40; k < n; k++) {
        drop(&o, k);
    }
    CHECK_EQ(put(&o, KEYS - 1, 8 * SEGMENT, false), DS_EAGAIN);
    ds_failpoint_arm(NULL);
    CHECK_OK(put_in_time(&o, KEYS - 1, 8 * SEGMENT, false));
    owner_fini(&o, true);
}

#endif

/* It was given up while it was expected: others go on by themselves. */
DS_TEST(slog_own__a_put_that_is_not_repeated_is_forgotten)
{
    struct owner o;
    unsigned n;

    begin(&o, 24, false);
    n = fill_up(&o, 4000);
    for (unsigned k = 0; k < n; k += 2) {
        drop(&o, k);
    }
    CHECK_EQ(put(&o, KEYS - 1, 7 * SEGMENT, false), DS_EAGAIN);
    for (unsigned k = 0; k < n * 3 / 4; k += 2) {
        CHECK_OK(put_in_time(&o, k, 4000, false));
    }
    owner_fini(&o, true);
}

DS_TEST(slog_own__a_disk_without_room_for_it_takes_smaller_ones)
{
    struct owner o;

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    begin(&o, 24, false);
    ds_failpoint_arm("sys.reserve=errno:28");
    CHECK_EQ(put(&o, 1, VALUE, false), DS_ENOSPACE);
    ds_failpoint_arm(NULL);
    CHECK_EQ(stats_of(&o).segments, 0u);
    CHECK_EQ(o.notices, 1u);
    CHECK(strstr(o.notice, "no file of 164 KiB can be made in ") != NULL);
    CHECK_OK(put(&o, 2, 1000, false));
    CHECK_EQ(put(&o, 1, VALUE, false), DS_ENOSPACE); /* it is not tried at once */
    o.s->no_own_before_ns = 0;
    ds_failpoint_arm("sys.reserve=errno:28");
    CHECK_EQ(put(&o, 1, VALUE, false), DS_ENOSPACE);
    CHECK_EQ(o.notices, 1u); /* told once, though there was a smaller one meanwhile */
    ds_failpoint_arm(NULL);
    o.s->no_own_before_ns = 0;
    CHECK_OK(put(&o, 1, VALUE, false));
    CHECK_OK(get(&o, 1));
    owner_fini(&o, true);
}

/* The value cannot be read from memory, the disk fails in the middle of it: one that holds nothing
 * goes. */
DS_TEST(slog_own__one_that_was_not_written_goes)
{
    static const char *const points[] = {"slog.write.before=errno:5@2", "slog.write.mid=errno:5",
                                         "sys.pread=errno:5@3"};

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    for (size_t i = 0; i < DS_ARRAY_SIZE(points); i++) {
        struct owner o;

        owner_init(&o, 32u << 20, 256u << 10, false);
        CHECK_OK(ds_slog_recover(o.s, recovered, &o));
        ds_failpoint_arm(points[i]);
        CHECK_EQ(put(&o, 1, 3u << 20, false), DS_EIO);
        ds_failpoint_arm(NULL);
        owner_until(&o, nothing_used);
        CHECK_OK(put(&o, 1, 3u << 20, false));
        owner_reopen(&o, false);
        CHECK_EQ(o.recovered, 1u);
        CHECK_OK(get(&o, 1));
        owner_fini(&o, true);
    }
}

DS_TEST(slog_own__shrinks_to_a_lower_limit)
{
    struct owner o;

    begin(&o, 40, false);
    for (unsigned k = 0; k < 12; k++) {
        CHECK_OK(put(&o, k, VALUE, false));
    }
    CHECK_EQ(stats_of(&o).segments, 36u);
    o.config.size_limit = LIMIT_OF(12);
    for (int clean = 0; clean < 2; clean++) {
        owner_reopen(&o, clean);
        CHECK_EQ(o.recovered, 12u);
        CHECK_EQ(put(&o, 20, VALUE, false), DS_ENOSPACE);
        CHECK_EQ(put(&o, 20, 100, false), DS_ENOSPACE);
        CHECK_LE(disk_use(&o), LIMIT_OF(40));
    }
    for (unsigned k = 0; k < 12; k++) {
        CHECK_OK(get(&o, k));
        CHECK(k % 4 == 0 || del(&o, k, true) == 0); /* at once: nothing is copied meanwhile */
        CHECK_LE(disk_use(&o), LIMIT_OF(40));
    }
    while (stats_of(&o).segments > 12) {
        poll_once(&o, 30000);
    }
    CHECK_LE(disk_use(&o), o.config.size_limit);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 3u);
    for (unsigned k = 0; k < 12; k += 4) {
        CHECK_OK(get(&o, k));
    }
    owner_fini(&o, true);
}
