/* SPDX-License-Identifier: Apache-2.0 */
/* Segments that cannot be read are set aside: the log goes on with the others. */
#include "base/failpoint.h"
#include "slog_owner.h"

#define MIB (1u << 20)
#define SEGMENT (128u << 10)
#define N 60u /* records, in three segments */

static unsigned n_bad(const struct owner *o)
{
    DIR *d = opendir(o->dir);
    struct dirent *e;
    unsigned n = 0;

    CHECK(d != NULL);
    while ((e = readdir(d)) != NULL) {
        n += strstr(e->d_name, ".bad") != NULL;
    }
    (void)closedir(d);
    return n;
}

static void filled(struct owner *o)
{
    owner_init(o, 4 * MIB, SEGMENT, false);
    CHECK_OK(ds_slog_recover(o->s, recovered, o));
    for (unsigned i = 0; i < N; i++) {
        CHECK_OK(put(o, i, 5000, true));
    }
}

static unsigned in_slot(const struct owner *o, unsigned slot)
{
    unsigned n = 0;

    for (unsigned i = 0; i < N; i++) {
        n += o->recs[i].at != 0 && ((o->recs[i].at >> 24) & 0xffff) == slot;
    }
    return n;
}

/* Nobody, not even root, reads a directory as a file. */
static void make_unreadable(const struct owner *o, unsigned slot)
{
    char name[128];

    segment_name(o, slot, name, sizeof(name));
    CHECK_EQ(unlink(name), 0);
    CHECK_EQ(mkdir(name, 0700), 0);
}

DS_TEST(slog__goes_on_without_a_segment_that_cannot_be_read)
{
    struct owner o;
    unsigned lost;

    filled(&o);
    lost = in_slot(&o, 1);
    CHECK_GT(lost, 10u);
    o.s = ds_slog_close(o.s, false);
    make_unreadable(&o, 1);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, N - lost);
    CHECK_EQ(o.doubtful, N - lost);
    CHECK_EQ(stats_of(&o).io_errors, 1u);
    CHECK_EQ(stats_of(&o).segments, 3u); /* it keeps its room */
    CHECK_EQ(o.notices, 1u);
    CHECK(strstr(o.notice, "cannot be read (Is a directory)") != NULL);
    CHECK_EQ(n_bad(&o), 1u);
    for (unsigned i = 0; i < N; i++) {
        CHECK(o.recs[i].at == 0 || get(&o, i) == 0);
    }
    for (unsigned i = 0; i < 10; i++) {
        CHECK_OK(put(&o, i, 4000, true)); /* these are newer than anything that was lost */
    }
    owner_reopen(&o, true);
    CHECK_EQ(n_bad(&o), 1u);
    CHECK_EQ(stats_of(&o).io_errors, 0u);
    for (unsigned i = 0; i < 10; i++) {
        CHECK_EQ(o.recs[i].size, 4000u);
    }
    CHECK_EQ(o.doubtful, o.recovered - 10); /* until the file is removed */
    owner_fini(&o, true);
}

/* It counts in the limit, which is computed from what the files here use and what is free. */
DS_TEST(slog__a_segment_that_was_set_aside_is_in_use)
{
    struct owner o;
    char name[128];
    char aside[128];
    uint64_t use;

    filled(&o);
    o.s = ds_slog_close(o.s, true);
    use = ds_slog_disk_use(o.dir);
    CHECK_GE(use, 3 * SEGMENT);
    segment_name(&o, 1, name, sizeof(name));
    (void)snprintf(aside, sizeof(aside), "%s/%016x-%016x.bad", o.dir, 2, 9);
    CHECK_EQ(rename(name, aside), 0);
    CHECK_EQ(ds_slog_disk_use(o.dir), use);
    CHECK_EQ(unlink(aside), 0);
    CHECK_LE(ds_slog_disk_use(o.dir), use - SEGMENT);
    owner_reopen(&o, true);
    owner_fini(&o, true);
}

static void orphan(void *arg, const void *key, size_t key_size)
{
    struct owner *o = arg;

    o->buried++;
    CHECK_OK(ds_slog_tombstone(o->s, key, key_size, true, KEYS - 1));
}

/* The owner knows what is newest. */
DS_TEST(slog__an_owner_is_told_of_places_in_a_segment_that_cannot_be_read)
{
    struct owner o;
    struct rec before[KEYS];
    char key[32];
    unsigned lost;

    filled(&o);
    CHECK_OK(put(&o, 0, 100, true)); /* in the third; the one before is in the first */
    lost = in_slot(&o, 2);
    memcpy(before, o.recs, sizeof(before));
    o.s = ds_slog_close(o.s, false);
    make_unreadable(&o, 2);
    owner_open(&o);
    for (unsigned i = 0; i < N; i++) {
        int rc = ds_slog_adopt(o.s, before[i].at, key_of(i, key), before[i].size);

        CHECK_EQ(rc, ((before[i].at >> 24) & 0xffff) == 2 ? DS_ENOTFOUND : 0);
        lost -= rc != 0;
    }
    CHECK_EQ(lost, 0u);
    o.buried = o.events = 0;
    CHECK_OK(ds_slog_adopted(o.s, orphan, &o));
    CHECK_EQ(o.buried, 1u); /* the older one of key 0 */
    owner_wait(&o, 1);
    owner_reopen(&o, true);
    CHECK_EQ(o.recs[0].at, 0u);
    owner_fini(&o, true);
}

/* The last `n` of `all` segments are away for a while. */
static void most_are_away(unsigned records, unsigned all, unsigned n)
{
    struct owner o;
    char err[256];
    char expected[64];
    char name[3][128];
    char away[136];

    owner_init(&o, 4 * MIB, SEGMENT, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (unsigned i = 0; i < records; i++) {
        CHECK_OK(put(&o, i, 5000, true));
    }
    o.s = ds_slog_close(o.s, true);
    for (unsigned i = all - n; i < all; i++) {
        segment_name(&o, i, name[i], sizeof(name[i]));
        (void)snprintf(away, sizeof(away), "%s.away", name[i]);
        CHECK_EQ(rename(name[i], away), 0);
        CHECK_EQ(mkdir(name[i], 0700), 0);
    }
    CHECK_EQ(ds_slog_open(&o.config, err, sizeof(err), &o.s), DS_EIO);
    (void)snprintf(expected, sizeof(expected), "%u of %u segments of ", n, all);
    CHECK(strstr(err, expected) == err);
    CHECK_EQ(n_bad(&o), 0u);
    for (unsigned i = all - n; i < all; i++) {
        CHECK_EQ(rmdir(name[i]), 0);
        (void)snprintf(away, sizeof(away), "%s.away", name[i]);
        CHECK_EQ(rename(away, name[i]), 0);
    }
    owner_reopen(&o, true);
    CHECK_EQ(o.recovered, records);
    owner_fini(&o, true);
}

DS_TEST(slog__does_not_go_on_without_most_of_its_segments)
{
    most_are_away(N, 3, 3);
    most_are_away(N, 3, 2);
    most_are_away(1, 1, 1);
}

DS_TEST(slog__errors_of_the_disk_at_the_start_are_told)
{
#ifdef DS_FAILPOINTS
    struct owner o;
    char err[256];

    filled(&o);
    o.s = ds_slog_close(o.s, true);
    ds_failpoint_arm("sys.pread=errno:5");
    CHECK_EQ(ds_slog_open(&o.config, err, sizeof(err), &o.s), DS_EIO);
    CHECK(strstr(err, "cannot read ") != NULL && strstr(err, "Input/output error") != NULL);
    ds_failpoint_arm(NULL);
    memset(o.recs, 0, sizeof(o.recs));
    owner_open(&o);
    ds_failpoint_arm("sys.pread=errno:5");
    CHECK_EQ(ds_slog_recover(o.s, recovered, &o), DS_EIO);
    ds_failpoint_arm(NULL);
    CHECK(strstr(o.notice, "3 of 3 segments ") == o.notice);
    CHECK_EQ(n_bad(&o), 0u);
    owner_reopen(&o, false); /* the disk is back */
    CHECK_EQ(o.recovered, N);
    CHECK_EQ(o.doubtful, 0u);
    owner_fini(&o, true);
#else
    DS_SKIP("built without failpoints");
#endif
}

/* Its end could be read when the log was opened, its summary cannot. */
DS_TEST(slog__a_segment_that_fails_after_the_start_is_set_aside)
{
#ifdef DS_FAILPOINTS
    struct owner o;
    struct rec before[KEYS];
    char key[32];
    unsigned lost;

    filled(&o);
    lost = in_slot(&o, 1);
    memcpy(before, o.recs, sizeof(before));
    o.s = ds_slog_close(o.s, true);
    owner_open(&o);
    for (unsigned i = 0; i < N; i++) {
        CHECK_OK(ds_slog_adopt(o.s, before[i].at, key_of(i, key), before[i].size));
    }
    ds_failpoint_arm("sys.pread=errno:5@3;sys.pread=errno:5@3"); /* twice, of the second segment */
    CHECK_OK(ds_slog_adopted(o.s, orphan, &o));
    ds_failpoint_arm(NULL);
    CHECK_EQ(n_bad(&o), 1u);
    CHECK_EQ(stats_of(&o).io_errors, 1u);
    for (unsigned i = 0; i < N; i++) {
        int rc = get(&o, i);

        CHECK(rc == 0 || rc == DS_ENOTFOUND);
        CHECK(ds_slog_has(o.s, o.recs[i].at) == (rc == 0));
        lost -= rc != 0;
    }
    CHECK_EQ(lost, 0u);
    owner_fini(&o, true);
#else
    DS_SKIP("built without failpoints");
#endif
}
