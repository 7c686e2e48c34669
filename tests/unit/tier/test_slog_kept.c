/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slog_kept.c - tombstones that are safe before the writer has them. The process ends without
 * having written anything else: a child that never hands its requests to the writer.
 */
#include <signal.h>
#include <sys/wait.h>

#include "base/failpoint.h"
#include "slog_owner.h"
#include "tier/slog_format.h"

#define SEGMENT (128u << 10)
#define KEPT 8192u

static void begin(struct owner *o)
{
    owner_init(o, 4u << 20, SEGMENT, false);
    o->s = ds_slog_close(o->s, true);
    o->config.kept_size = KEPT;
    owner_reopen(o, true);
}

/* Runs `work` on the owner's directory in a process that then ends at once. The owner's log must be
 * closed. */
static void in_a_child(struct owner *o, void (*work)(struct owner *o))
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        owner_reopen(o, false);
        work(o);
        (void)raise(SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static bool nothing_queued(struct owner *o)
{
    return stats_of(o).queued == 0;
}

static void put_five(struct owner *o)
{
    for (unsigned k = 0; k < 5; k++) {
        CHECK_OK(put(o, k, 5000, true));
    }
}

static void keep_two(struct owner *o)
{
    CHECK(keep(o, 1));
    CHECK(keep(o, 3));
}

/* Five keys, and what `work` made of them before its process ended. */
static void after(struct owner *o, void (*work)(struct owner *o))
{
    begin(o);
    put_five(o);
    o->s = ds_slog_close(o->s, false);
    in_a_child(o, work);
}

static void check_two_gone(struct owner *o)
{
    CHECK_EQ(o->recovered, 3u);
    for (unsigned k = 0; k < 5; k++) {
        CHECK_EQ(o->recs[k].at == 0, k == 1 || k == 3);
        CHECK(o->recs[k].at == 0 || get(o, k) == 0);
    }
}

DS_TEST(slog_kept__a_tombstone_outlives_its_process)
{
    struct owner o;

    after(&o, keep_two);
    owner_reopen(&o, false);
    check_two_gone(&o);
    owner_fini(&o, true);
}

static void fill_the_file(struct owner *o)
{
    for (unsigned k = 100; k < 100 + KEPT / 128; k++) {
        CHECK(keep(o, k));
    }
    CHECK(!keep(o, 99)); /* all of it is written anew */
}

/* A file that is written again must not have taken with it what the segments do not have: synced,
 * since its pages may reach the disk before theirs. */
DS_TEST(slog_kept__what_was_found_is_written_to_a_segment_first)
{
    struct owner o;
    uint64_t syncs;

    after(&o, keep_two);
    owner_reopen(&o, false);
    syncs = stats_of(&o).syncs;
    CHECK(!keep(&o, 4)); /* not yet */
    owner_until(&o, nothing_queued);
    CHECK_GT(stats_of(&o).syncs, syncs);
    fill_the_file(&o);
    o.s = ds_slog_close(o.s, false);
    owner_reopen(&o, false);
    check_two_gone(&o);
    owner_fini(&o, true);
}

static void put_keep_put(struct owner *o)
{
    put_five(o);
    CHECK(keep(o, 1));
    CHECK_OK(put(o, 1, 6000, true));
    CHECK(keep(o, 2));
    CHECK_OK(put(o, 0, 6000, true)); /* the tombstones are in a segment, too */
    CHECK(keep(o, 2));
}

DS_TEST(slog_kept__a_later_put_counts)
{
    struct owner o;

    begin(&o);
    o.s = ds_slog_close(o.s, false);
    in_a_child(&o, put_keep_put);
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[0].size, 6000u);
    CHECK_EQ(o.recs[1].size, 6000u);
    CHECK_EQ(o.recs[2].at, 0u);
    CHECK_EQ(o.recovered, 4u);
    owner_fini(&o, true);
}

static void keep_what_is_not_there(struct owner *o)
{
    CHECK(keep(o, 10));
    CHECK(keep(o, 11));
}

/* The order goes on above what the file has seen, though the segments have not: else the put would
 * be older than the tombstone. */
DS_TEST(slog_kept__a_put_of_the_next_process_counts)
{
    struct owner o;

    after(&o, keep_what_is_not_there);
    owner_reopen(&o, false);
    CHECK_OK(put(&o, 11, 7000, true));
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[11].size, 7000u);
    CHECK_EQ(o.recovered, 6u);
    owner_fini(&o, true);
}

DS_TEST(slog_kept__room_comes_back_as_segments_are_written)
{
    struct owner o;
    uint64_t tombstones;

    begin(&o);
    for (unsigned round = 0; round < 5; round++) {
        unsigned n = 0;

        while (keep(&o, n)) {
            n++;
        }
        CHECK_EQ(n, KEPT / 128); /* a head and a key of up to 64 bytes each */
        owner_until(&o, nothing_queued);
    }
    tombstones = o.events;
    CHECK_OK(del(&o, 1, true)); /* the way without the file; events are of that alone */
    CHECK_EQ(o.events, tombstones + 1);
    CHECK_LE(disk_use(&o), o.config.size_limit);
    owner_fini(&o, true);
}

static void keep_across_the_end(struct owner *o)
{
    char key[200];

    memset(key, 'k', sizeof(key));
    for (unsigned i = 0; i < 25; i++) { /* of 320 bytes each: to 192 bytes before the end */
        CHECK(ds_slog_keep_tombstone(o->s, key, sizeof(key)));
    }
    owner_until(o, nothing_queued);
    for (unsigned k = 0; k < 4; k++) { /* of 128 bytes each */
        CHECK(keep(o, k));
    }
}

DS_TEST(slog_kept__records_do_not_cross_the_end_of_the_file)
{
    struct owner o;

    after(&o, keep_across_the_end);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 1u);
    CHECK(o.recs[4].at != 0);
    owner_fini(&o, true);
}

DS_TEST(slog_kept__the_file_counts_for_the_limit)
{
    struct owner o;

    begin(&o);
    o.s = ds_slog_close(o.s, false);
    o.config.size_limit = 9 * SEGMENT + (64u << 10) + KEPT - 1;
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).segments_max, 8u);
    owner_fini(&o, true);
}

static void orphan(void *arg, const void *key, size_t key_size)
{
    struct owner *o = arg;

    o->buried |= UINT64_C(1) << key_number(key, key_size);
}

/* An owner that knows its places buries again what only the file says: it will be written anew. */
DS_TEST(slog_kept__an_adopting_owner_is_told_of_orphans_that_are_kept)
{
    struct owner o;
    struct rec recs[KEYS];

    begin(&o);
    put_five(&o);
    memcpy(recs, o.recs, sizeof(recs));
    o.s = ds_slog_close(o.s, false);
    in_a_child(&o, keep_two);
    owner_open(&o);
    for (unsigned k = 0; k < 5; k += 2) {
        char key[32];

        CHECK_OK(ds_slog_adopt(o.s, recs[k].at, key_of(k, key), recs[k].size));
    }
    o.buried = 0;
    CHECK_OK(ds_slog_adopted(o.s, orphan, &o));
    CHECK_EQ(o.buried, 1u << 1 | 1u << 3);
    owner_fini(&o, true);
}

static int open_file(const struct owner *o)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/tombstones", o->dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

DS_TEST(slog_kept__damage_is_passed_over)
{
    struct owner o;
    uint8_t byte;
    int fd;

    after(&o, keep_two);
    fd = open_file(&o);
    CHECK_EQ(pread(fd, &byte, 1, 64), 1); /* of the first one's key */
    byte ^= 1;
    CHECK_EQ(pwrite(fd, &byte, 1, 64), 1);
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[3].at, 0u);
    CHECK(o.recs[1].at != 0);
    CHECK(get(&o, 1) == 0);
    o.s = ds_slog_close(o.s, false);
    CHECK_EQ(ftruncate(fd, 100), 0);
    owner_reopen(&o, false);
    CHECK(keep(&o, 1));
    o.s = ds_slog_close(o.s, false);
    (void)close(fd);
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[1].at, 0u);
    owner_fini(&o, true);
}

DS_TEST(slog_kept__a_file_of_another_log_means_nothing)
{
    struct owner o[2];
    uint8_t bytes[KEPT];
    int fd;

    for (unsigned i = 0; i < 2; i++) {
        begin(&o[i]);
        put_five(&o[i]);
        o[i].s = ds_slog_close(o[i].s, false);
    }
    in_a_child(&o[0], keep_two);
    fd = open_file(&o[0]);
    CHECK_EQ(pread(fd, bytes, KEPT, 0), KEPT);
    (void)close(fd);
    fd = open_file(&o[1]);
    CHECK_EQ(pwrite(fd, bytes, KEPT, 0), KEPT);
    (void)close(fd);
    owner_reopen(&o[1], false);
    CHECK_EQ(o[1].recovered, 5u);
    owner_fini(&o[0], true);
    owner_fini(&o[1], true);
}

DS_TEST(slog_kept__a_tombstone_that_no_segment_takes_stays_in_the_file)
{
    struct owner o;

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    begin(&o);
    put_five(&o);
    ds_failpoint_arm("slog.write.before=errno:5@1");
    keep_two(&o);
    owner_until(&o, nothing_queued);
    ds_failpoint_arm(NULL);
    CHECK(!keep(&o, 4)); /* it would be written over one day */
    CHECK_OK(del(&o, 4, true));
    o.s = ds_slog_close(o.s, false);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 2u);
    CHECK_EQ(o.recs[1].at, 0u);
    CHECK_EQ(o.recs[3].at, 0u);
    owner_fini(&o, true);
}

/* The segment of key 1's tombstone cannot be made, the next one can: the writer is about to write
 * it behind that of key 3 when the process ends. */
static void delay_one(struct owner *o)
{
    unsigned n = 0;

    ds_failpoint_arm("sys.reserve=errno:28@1;slog.write.before=sleep:60000@2");
    CHECK(keep(o, 1));
    CHECK_OK(put_begin(o, 20, SEGMENT / 2, false, 0));
    CHECK_OK(put_begin(o, 21, SEGMENT / 2, false, 1 << 20)); /* does not fit beside it */
    CHECK(keep(o, 3));
    owner_wait(o, o->events + 2);
    CHECK(o->recs[20].at == 0 && o->recs[21].at != 0);
    while (stats_of(o).queued > 1) {
        struct ds_slog_event e;

        (void)ds_slog_poll(o->s, &e, 1);
    }
    while (keep(o, 200 + n)) {
        n++;
    }
    CHECK_GT(n, 10u);
}

DS_TEST(slog_kept__a_delayed_tombstone_keeps_its_place)
{
    struct owner o;

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    begin(&o);
    put_five(&o);
    o.s = ds_slog_close(o.s, true);
    in_a_child(&o, delay_one);
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[1].at, 0u);
    CHECK_EQ(o.recs[3].at, 0u);
    CHECK_EQ(o.recovered, 4u);
    owner_fini(&o, true);
}

DS_TEST(slog_kept__without_a_file_tombstones_go_the_other_way)
{
    struct owner o;

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    begin(&o);
    put_five(&o);
    o.s = ds_slog_close(o.s, false);
    ds_failpoint_arm("sys.map=errno:12");
    owner_reopen(&o, false);
    ds_failpoint_arm(NULL);
    CHECK(!keep(&o, 1));
    CHECK_OK(del(&o, 1, true));
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[1].at, 0u);
    o.s = ds_slog_close(o.s, false);
    ds_failpoint_arm("sys.fstat=errno:5@1");
    CHECK_EQ(ds_slog_open(&o.config, (char[256]){0}, 256, &o.s), DS_EIO);
    ds_failpoint_arm(NULL);
    o.s = NULL;
    owner_reopen(&o, false);
    owner_fini(&o, true);
}

static void keep_magic(struct owner *o)
{
    CHECK(ds_slog_keep_tombstone(o->s, "SLGR-a-key", 10));
}

DS_TEST(slog_kept__a_key_that_looks_like_a_head_is_no_damage)
{
    struct owner o;

    after(&o, keep_magic);
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).corrupt, 0);
    CHECK_EQ(o.notices, 0);
    owner_fini(&o, true);
}

/* Records of 192 bytes, whose keys have what looks like a head at 64 and at 128. */
static void keep_long(struct owner *o)
{
    char key[100];

    for (unsigned i = 0; i < KEPT / 192; i++) {
        (void)snprintf(key, sizeof(key), "SLGR-%03u", i);
        memset(key + 8, 'x', sizeof(key) - 8);
        memcpy(key + 64, "SLGR", 4);
        CHECK(ds_slog_keep_tombstone(o->s, key, sizeof(key)));
    }
}

/* A record of 128 bytes over the first one of those. */
static void keep_short(struct owner *o)
{
    CHECK(keep(o, 1));
}

DS_TEST(slog_kept__the_rest_of_a_longer_record_is_no_damage)
{
    struct owner o;

    after(&o, keep_long);
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).corrupt, 0);
    o.s = ds_slog_close(o.s, true);
    in_a_child(&o, keep_short);
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).corrupt, 0);
    CHECK_EQ(o.recs[1].at, 0);
    owner_fini(&o, true);
}
