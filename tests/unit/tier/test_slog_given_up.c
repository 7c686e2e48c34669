/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slog_given_up.c - a log that is not written any more: after a failed sync, or because its
 * files were removed. Nothing is acknowledged from then on but tombstones that their file holds.
 */
#include "base/failpoint.h"
#include "slog_owner.h"

#define SEGMENT (128u << 10)
#define KEPT 8192u
#define ROOM (KEPT / 128) /* a head and a key of up to 64 bytes each */

static void need_failpoints(void)
{
#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
}

static void begin(struct owner *o)
{
    owner_init(o, 4u << 20, SEGMENT, false);
    o->s = ds_slog_close(o->s, true);
    o->config.kept_size = KEPT;
    owner_reopen(o, true);
    for (unsigned k = 0; k < 5; k++) {
        CHECK_OK(put(o, k, 5000, true));
    }
}

static void give_up(struct owner *o)
{
    begin(o);
    ds_failpoint_arm("slog.sync.before=errno:5@1");
    CHECK_EQ(put(o, 5, 5000, true), DS_EIO);
    ds_failpoint_arm(NULL);
    CHECK_EQ(o->told_error, DS_EIO);
}

static void check_there(struct owner *o, unsigned there)
{
    owner_reopen(o, false);
    for (unsigned k = 0; k < 5; k++) {
        CHECK_EQ(o->recs[k].at != 0, (there >> k & 1) != 0);
        CHECK(o->recs[k].at == 0 || get(o, k) == 0);
    }
}

DS_TEST(slog_given_up__tombstones_go_to_their_file)
{
    struct owner o;
    uint64_t syncs;

    need_failpoints();
    give_up(&o);
    syncs = stats_of(&o).syncs;
    CHECK(!keep(&o, 1)); /* not without a sync */
    CHECK_OK(del(&o, 1, true));
    CHECK_OK(del(&o, 3, true));
    CHECK_GE(stats_of(&o).syncs, syncs + 2);
    CHECK_EQ(put(&o, 1, 6000, true), DS_EIO);
    check_there(&o, 0x15);
    CHECK_OK(put(&o, 1, 7000, true)); /* it is newer than its tombstone */
    CHECK_OK(put(&o, 3, 7000, true));
    CHECK_OK(del(&o, 3, true));
    check_there(&o, 0x17);
    owner_fini(&o, true);
}

/* Whether it was asked for in time or not, nobody can tell. */
DS_TEST(slog_given_up__a_tombstone_that_met_the_error_goes_there_too)
{
    struct owner o;

    need_failpoints();
    begin(&o);
    ds_failpoint_arm("slog.sync.before=errno:5@1");
    CHECK_OK(del(&o, 2, true));
    ds_failpoint_arm(NULL);
    CHECK_EQ(o.told_error, DS_EIO);
    check_there(&o, 0x1b);
    owner_fini(&o, true);
}

/* As what is kept at once, and has no room in a segment. */
DS_TEST(slog_given_up__what_was_kept_is_synced)
{
    struct owner o;

    need_failpoints();
    begin(&o);
    CHECK(keep(&o, 1));
    ds_failpoint_arm("slog.sync.before=errno:5@1");
    CHECK_OK(del(&o, 2, true));
    ds_failpoint_arm(NULL);
    CHECK(!keep(&o, 3));
    check_there(&o, 0x19);
    owner_fini(&o, true);
}

DS_TEST(slog_given_up__a_file_that_cannot_be_synced_is_told)
{
    struct owner o;

    need_failpoints();
    begin(&o);
    ds_failpoint_arm("slog.sync.before=errno:5");
    CHECK_EQ(del(&o, 1, true), DS_EIO);
    ds_failpoint_arm(NULL);
    CHECK_EQ(del(&o, 2, true), DS_EIO); /* a second sync would not tell */
    check_there(&o, 0x19);              /* it is worth the try */
    owner_fini(&o, true);
}

/* Answers come in the order of requests, those that find no room as well. */
DS_TEST(slog_given_up__a_full_file_is_told)
{
    struct owner o;
    struct ds_slog_event e[16];
    unsigned n = 0;

    need_failpoints();
    give_up(&o);
    for (unsigned k = 0; k < ROOM + 10; k++) {
        char key[32];

        CHECK_OK(ds_slog_tombstone(o.s, key, key_of(k + 100, key), true, k));
    }
    while (n < ROOM + 10) {
        struct pollfd p = {.fd = ds_slog_fd(o.s), .events = POLLIN};
        size_t got = ds_slog_poll(o.s, e, 16);

        for (size_t i = 0; i < got; i++) {
            CHECK_EQ(e[i].type, DS_SLOG_TOMBSTONE_DONE);
            CHECK_EQ(e[i].cookie, n);
            CHECK_EQ(e[i].rc, n < ROOM ? 0 : DS_EIO);
            n++;
        }
        CHECK(got > 0 || poll(&p, 1, 30000) == 1);
    }
    CHECK_EQ(del(&o, 1, true), DS_EIO);
    check_there(&o, 0x1f);
    owner_fini(&o, true);
}

/* What the process before has kept is in no segment yet, and is not written over. */
DS_TEST(slog_given_up__what_was_found_stays)
{
    struct owner o;

    need_failpoints();
    give_up(&o);
    CHECK_OK(del(&o, 1, true));
    CHECK_OK(del(&o, 3, true));
    o.s = ds_slog_close(o.s, false);
    ds_failpoint_arm("slog.write.before=errno:5");
    owner_reopen(&o, false);
    o.told_error = 0;
    while (o.told_error == 0) {
        CHECK_EQ(del(&o, 2, true), DS_EIO);
    }
    ds_failpoint_arm(NULL);
    CHECK_EQ(del(&o, 4, true), DS_EIO);
    check_there(&o, 0x15);
    owner_fini(&o, true);
}

/* --- files that were removed --- */

static void unlink_one(const struct owner *o, const char *end)
{
    DIR *d = opendir(o->dir);
    struct dirent *e;
    unsigned n = 0;

    CHECK(d != NULL);
    while ((e = readdir(d)) != NULL) {
        size_t size = strlen(e->d_name);

        if (size >= strlen(end) && strcmp(e->d_name + size - strlen(end), end) == 0) {
            CHECK_OK(unlinkat(dirfd(d), e->d_name, 0));
            n++;
        }
    }
    (void)closedir(d);
    CHECK_EQ(n, 1u);
}

static void remove_segment(struct owner *o)
{
    unlink_one(o, ".seg");
}

static void remove_tombstones(struct owner *o)
{
    unlink_one(o, "tombstones");
}

static void replace_all(struct owner *o)
{
    owner_remove_files(o);
    CHECK_OK(mkdir(o->dir, 0700));
}

static void move_the_files_away(struct owner *o)
{
    char to[80];
    DIR *d = opendir(o->dir);
    DIR *other;
    struct dirent *e;

    (void)snprintf(to, sizeof(to), "%s.moved", o->dir);
    CHECK_OK(mkdir(to, 0700));
    other = opendir(to);
    CHECK(d != NULL && other != NULL);
    while ((e = readdir(d)) != NULL) {
        CHECK(e->d_name[0] == '.' || renameat(dirfd(d), e->d_name, dirfd(other), e->d_name) == 0);
    }
    (void)closedir(d);
    (void)closedir(other);
    CHECK_OK(rmdir(o->dir));
}

static void forget_the_files(struct owner *o)
{
    char shown[64];

    (void)snprintf(shown, sizeof(shown), "%s", o->dir);
    (void)snprintf(o->dir, sizeof(o->dir), "%.50s.moved", shown);
    owner_remove_files(o);
    (void)snprintf(o->dir, sizeof(o->dir), "%s", shown);
}

static void check_removed(void (*removes)(struct owner *o))
{
    struct owner o;
    struct stat st;

    begin(&o);
    removes(&o);
    CHECK_EQ(put(&o, 5, 5000, true), DS_EIO);
    CHECK_EQ(o.told_error, DS_ENOTFOUND);
    CHECK(stats_of(&o).stopped);
    CHECK_OK(get(&o, 1)); /* reads go on */
    CHECK_EQ(del(&o, 1, true), removes == remove_segment ? 0 : DS_EIO);
    o.s = ds_slog_close(o.s, true);
    if (removes == move_the_files_away) {
        forget_the_files(&o);
    }
    if (stat(o.dir, &st) == 0) {
        owner_remove_files(&o);
    }
    owner_release(&o);
}

DS_TEST(slog_given_up__nothing_is_acknowledged_that_no_name_leads_to)
{
    check_removed(owner_remove_files);
    check_removed(replace_all);
    check_removed(remove_segment);
    check_removed(remove_tombstones);
    check_removed(move_the_files_away);
}

static bool is_told(struct owner *o)
{
    return o->told_error != 0;
}

/* Nobody waits for a sync: a second later it is told all the same. */
DS_TEST(slog_given_up__a_removed_directory_is_told_without_a_durable_put)
{
    struct owner o;

    begin(&o);
    replace_all(&o);
    CHECK_OK(put(&o, 1, 6000, false));
    owner_until(&o, is_told);
    CHECK_EQ(o.told_error, DS_ENOTFOUND);
    owner_fini(&o, false);
}

DS_TEST(slog_given_up__a_removed_directory_gets_no_first_segment)
{
    struct owner o;

    owner_init(&o, 4u << 20, SEGMENT, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    replace_all(&o);
    CHECK_EQ(put(&o, 1, 5000, false), DS_EIO);
    CHECK_EQ(o.told_error, DS_ENOTFOUND);
    owner_fini(&o, false);
}
