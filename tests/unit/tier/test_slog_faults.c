/* SPDX-License-Identifier: Apache-2.0 */
/* The disk fails, lies, loses power; the process is killed. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/failpoint.h"
#include "slog_owner.h"
#include "tier/slog_format.h"

#define MIB (1u << 20)
#define SEGMENT (128u << 10)

static void need_failpoints(void)
{
#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
}

static void begin(struct owner *o)
{
    owner_init(o, 4 * MIB, SEGMENT, false);
    CHECK_OK(ds_slog_recover(o->s, recovered, o));
}

static void fails_alone(const char *failpoint, int expected)
{
    struct owner o;

    begin(&o);
    CHECK_OK(put(&o, 1, 5000, true));
    ds_failpoint_arm(failpoint);
    CHECK_EQ(put(&o, 1, 5001, false), expected);
    ds_failpoint_arm(NULL);
    CHECK_OK(get(&o, 1));
    CHECK_EQ(o.recs[1].size, 5000u);
    for (unsigned i = 2; i < 60; i++) { /* more than a segment */
        CHECK_OK(put(&o, i, 5000, i % 7 == 0));
    }
    owner_reopen(&o, false);
    for (unsigned i = 1; i < 60; i++) {
        CHECK_EQ(o.recs[i].size, i == 1 && o.recs[i].size == 5001 ? 5001 : 5000);
        CHECK_OK(get(&o, i));
    }
    owner_fini(&o, true);
}

DS_TEST(slog__an_error_of_the_disk_fails_one_put)
{
    need_failpoints();
    fails_alone("slog.write.before=errno:5@1", DS_EIO);
    fails_alone("slog.write.mid=errno:5@1", DS_EIO);
    fails_alone("sys.pwrite=errno:28@1", DS_ENOSPACE);
    fails_alone("sys.pwrite=errno:5@1", DS_EIO);
    fails_alone("sys.pread=errno:5@1", DS_EIO); /* of the value */
}

DS_TEST(slog__short_reads_and_writes_are_gone_on_with)
{
    struct owner o;

    need_failpoints();
    begin(&o);
    ds_failpoint_arm("sys.pwrite.short=errno:1%2;sys.pread.short=errno:1%2");
    for (unsigned i = 0; i < 100; i++) {
        CHECK_OK(put(&o, i, 10000 + i, i % 7 == 0));
        CHECK_OK(get(&o, i));
    }
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 100u);
    ds_failpoint_arm(NULL);
    owner_fini(&o, true);
}

DS_TEST(slog__stops_after_a_failed_sync)
{
    struct owner o;

    need_failpoints();
    begin(&o);
    CHECK_OK(put(&o, 1, 5000, true));
    ds_failpoint_arm("slog.sync.before=errno:5@1");
    CHECK_EQ(put(&o, 2, 5000, true), DS_EIO);
    ds_failpoint_arm(NULL);
    CHECK_EQ(put(&o, 3, 5000, true), DS_EIO);
    CHECK_EQ(o.told_error, DS_EIO);
    CHECK(stats_of(&o).stopped);
    CHECK_OK(get(&o, 1)); /* reads go on */
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[1].size, 5000u);
    CHECK_OK(put(&o, 3, 5000, true));
    owner_fini(&o, true);
}

DS_TEST(slog__gives_the_disk_up_after_errors_in_a_row)
{
    struct owner o;
    int n = 0;

    need_failpoints();
    begin(&o);
    CHECK_OK(put(&o, 1, 5000, true));
    ds_failpoint_arm("slog.write.before=errno:5");
    while (o.told_error == 0) {
        CHECK_EQ(put(&o, 2, 5000, false), DS_EIO);
        CHECK_LT(n++, 100);
    }
    CHECK_GE(n, 8);
    ds_failpoint_arm(NULL);
    CHECK_OK(get(&o, 1));
    owner_fini(&o, true);
}

static bool copied(struct owner *o)
{
    return stats_of(o).moves > 0;
}

static bool counted_another(struct owner *o)
{
    return stats_of(o).io_errors > 1u;
}

DS_TEST(slog__failed_reads_are_counted_and_end_nothing)
{
    struct owner o;
    uint64_t errors;

    need_failpoints();
    begin(&o);
    CHECK_OK(put(&o, 0, 100000, true)); /* too long for the ring */
    ds_failpoint_arm("sys.pread=errno:5@1");
    CHECK_EQ(get(&o, 0), DS_EIO);
    CHECK_EQ(stats_of(&o).io_errors, 1u);
    CHECK_OK(get(&o, 0));
    ds_failpoint_arm("slog.move.read=errno:5");
    for (unsigned i = 1; i < 250; i++) { /* two in five live: each segment is worth cleaning */
        char key[32];

        CHECK_OK(put(&o, i, 8000, false));
        if (i % 5 >= 2) {
            ds_slog_dead(o.s, o.recs[i].at, key_of(i, key), 8000);
            o.recs[i].at = 0;
        }
    }
    owner_until(&o, counted_another);
    CHECK_EQ(stats_of(&o).moves, 0u);
    ds_failpoint_arm(NULL);
    owner_until(&o, copied);
    errors = stats_of(&o).io_errors;
    for (unsigned i = 0; i < 250; i++) {
        CHECK(o.recs[i].at == 0 || get(&o, i) == 0);
    }
    CHECK_EQ(stats_of(&o).io_errors, errors);
    CHECK(!stats_of(&o).stopped);
    owner_fini(&o, true);
}

DS_TEST(slog__a_full_disk_refuses_and_comes_back)
{
    struct owner o;

    need_failpoints();
    begin(&o);
    ds_failpoint_arm("sys.openat=errno:24@1"); /* or no descriptor is left */
    CHECK_EQ(put(&o, 1, 5000, true), DS_ENOSPACE);
    while (put(&o, 1, 5000, true) == DS_ENOSPACE) {
        (void)poll(NULL, 0, 20);
    }
    CHECK_EQ(stats_of(&o).io_errors, 0u);
    owner_reopen(&o, true);
    CHECK_EQ(o.recovered, 1u);
    ds_failpoint_arm("sys.reserve=errno:28@1");
    CHECK_EQ(put(&o, 1, 5000, true), DS_ENOSPACE);
    CHECK_EQ(put(&o, 1, 5000, true), DS_ENOSPACE); /* not tried again at once */
    CHECK_EQ(stats_of(&o).segments, 1u);
    while (put(&o, 1, 5000, true) == DS_ENOSPACE) {
        (void)poll(NULL, 0, 20);
    }
    CHECK_OK(get(&o, 1));
    ds_failpoint_arm(NULL);
    owner_fini(&o, true);
}

/* --- a file system that is really full, or does not let go of a file --- */

/* A file system of 1 MiB for this process alone, where the logs of tests lie. */
static void need_small_volume(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", "/var/tmp", "tmpfs", 0, "size=1m") < 0) {
        DS_SKIP("no mount: not root, or not allowed to");
    }
}

DS_TEST(slog__a_full_file_system_refuses_and_comes_back)
{
    struct owner o;
    unsigned n = 0;

    need_small_volume();
    begin(&o); /* its limit is four times that */
    while (put(&o, n, 5000, n % 3 == 0) == 0) {
        CHECK_LT(++n, 200u);
    }
    CHECK_EQ(o.last.rc, DS_ENOSPACE);
    CHECK_GT(n, 100u);
    for (unsigned i = 0; i < n; i++) {
        CHECK_OK(get(&o, i));
    }
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, n);
    for (unsigned i = 0; i < n / 2; i++) { /* none of them has a place before a segment is dead */
        char key[32];
        size_t size = key_of(i, key);

        CHECK_OK(ds_slog_tombstone(o.s, key, size, true, i));
        ds_slog_dead(o.s, o.recs[i].at, size, o.recs[i].size);
        o.recs[i].at = 0;
    }
    owner_wait(&o, o.events + n / 2);
    CHECK_EQ(stats_of(&o).queued, 0u);
    for (unsigned i = 0; put(&o, n, 5000, true) != 0; i++) { /* when the cleaner has made room */
        struct ds_slog_event e;

        CHECK_EQ(ds_slog_poll(o.s, &e, 1), 0u);
        (void)poll(NULL, 0, 20);
        CHECK_LT(i, 500u);
    }
    CHECK_EQ(stats_of(&o).io_errors, 0u);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, n - n / 2 + 1);
    for (unsigned i = n / 2; i <= n; i++) {
        CHECK_OK(get(&o, i));
    }
    owner_fini(&o, true);
}

static bool freed_one(struct owner *o)
{
    return stats_of(o).segments_freed > 0;
}

DS_TEST(slog__a_segment_that_cannot_be_unlinked_is_tried_again)
{
    struct owner o;

    need_failpoints();
    begin(&o);
    for (unsigned i = 0; i < 60; i++) {
        CHECK_OK(put(&o, i, 5000, true));
    }
    ds_failpoint_arm("sys.unlinkat=errno:5@1");
    for (unsigned i = 0; i < 30; i++) {
        CHECK_OK(del(&o, i, true));
    }
    owner_until(&o, freed_one);
    CHECK_EQ(stats_of(&o).io_errors, 1u);
    ds_failpoint_arm(NULL);
    CHECK(!stats_of(&o).stopped);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 30u);
    for (unsigned i = 30; i < 60; i++) {
        CHECK_OK(get(&o, i));
    }
    owner_fini(&o, true);
}

/* --- open: each call that can fail fails once --- */

DS_TEST_TIMEOUT(slog__each_call_of_an_open_may_fail, 120)
{
    static const char *const points[] = {
        "sys.openat",   "sys.pread", "sys.pwrite",  "sys.fsync",   "sys.random",
        "sys.renameat", "alloc",     "sys.reserve", "sys.mkdirat", "sys.map_private"};
    struct owner o;
    char err[256];

    need_failpoints();
    begin(&o);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_OK(put(&o, i, 9000, true));
    }
    o.s = ds_slog_close(o.s, false);
    for (unsigned p = 0; p < DS_ARRAY_SIZE(points); p++) {
        for (int n = 1; n < 12; n++) {
            char spec[64];
            int rc;

            (void)snprintf(spec, sizeof(spec), "%s=errno:5@%d", points[p], n);
            ds_failpoint_arm(spec);
            memset(o.recs, 0, sizeof(o.recs));
            rc = ds_slog_open(&o.config, err, sizeof(err), &o.s);
            if (rc == 0) {
                rc = ds_slog_recover(o.s, recovered, &o);
                o.s = ds_slog_close(o.s, false);
            } else {
                CHECK(err[0] != '\0');
            }
            ds_failpoint_arm(NULL);
        }
    }
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 20u);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_OK(get(&o, i));
    }
    owner_fini(&o, true);
}

/* It may be worth another try: no error of the disk, and nothing is set aside for it. */
DS_TEST(slog__an_open_without_descriptors_says_so)
{
    struct owner o;
    char err[256];
    unsigned failed = 0;

    need_failpoints();
    begin(&o);
    for (unsigned i = 0; i < 60; i++) {
        CHECK_OK(put(&o, i, 5000, true));
    }
    o.s = ds_slog_close(o.s, true);
    for (int n = 1; n < 10; n++) {
        char spec[64];
        int rc;

        (void)snprintf(spec, sizeof(spec), "sys.openat=errno:24@%d", n);
        ds_failpoint_arm(spec);
        rc = ds_slog_open(&o.config, err, sizeof(err), &o.s);
        CHECK(rc == 0 || rc == DS_ENOSPACE);
        failed += rc != 0;
        o.s = rc == 0 ? ds_slog_close(o.s, true) : NULL;
    }
    ds_failpoint_arm(NULL);
    CHECK_GE(failed, 6u);
    owner_reopen(&o, true);
    CHECK_EQ(o.recovered, 60u);
    owner_fini(&o, true);
}

/* --- bytes that change on the disk --- */

static void flip(int fd, off_t at)
{
    uint8_t b;

    CHECK_EQ(pread(fd, &b, 1, at), 1);
    b ^= 0x10;
    CHECK_EQ(pwrite(fd, &b, 1, at), 1);
}

DS_TEST_TIMEOUT(slog__no_flipped_bit_gives_wrong_bytes, 120)
{
    struct owner o;
    struct rec before[KEYS];
    int fd;
    unsigned lost = 0;

    begin(&o);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_OK(put(&o, i, 300, true));
    }
    memcpy(before, o.recs, sizeof(before));
    fd = open_segment(&o, 0);
    for (off_t at = 4096; at < 4096 + 3 * 512; at++) { /* at a read: an error or the right bytes */
        flip(fd, at);
        for (unsigned i = 0; i < 3; i++) {
            int rc = get(&o, i);

            CHECK(rc == 0 || rc == DS_ECORRUPT);
            lost += rc != 0;
        }
        flip(fd, at);
    }
    CHECK_GT(lost, 1000u);
    for (int clean = 0; clean < 2; clean++) { /* at a recovery: others are kept */
        for (off_t at = 0; at < SEGMENT;
             at += at < 4096 + 1536 || at >= SEGMENT - 600 ? 37 : 4096) {
            static const uint8_t zeros[64];

            o.s = ds_slog_close(o.s, clean);
            if (clean == 0) { /* as if it had not been sealed: it is scanned */
                CHECK_EQ(pwrite(fd, zeros, 64, SEGMENT - 64), 64);
            }
            flip(fd, at);
            owner_reopen(&o, false);
            CHECK_GE(o.recovered, 2u);
            for (unsigned i = 0; i < 3; i++) {
                int rc = o.recs[i].at == 0 ? 0 : get(&o, i); /* the cleaner may lose it meanwhile */

                CHECK(o.recs[i].at == 0 || o.recs[i].version == before[i].version);
                CHECK(rc == 0 || rc == DS_ECORRUPT);
            }
            o.s = ds_slog_close(o.s, false);
            flip(fd, at);
            owner_reopen(&o, false);
        }
    }
    (void)close(fd);
    owner_fini(&o, true);
}

DS_TEST(slog__segments_of_another_place_are_not_taken)
{
    struct owner o;
    uint8_t *a = ds_zalloc(SEGMENT, "test");
    int fd[2];

    begin(&o);
    for (unsigned i = 0; i < 40; i++) {
        CHECK_OK(put(&o, i, 5000, true));
    }
    o.s = ds_slog_close(o.s, true);
    fd[0] = open_segment(&o, 0);
    fd[1] = open_segment(&o, 1);
    CHECK_EQ(pread(fd[0], a, SEGMENT, 0), SEGMENT);
    CHECK_EQ(pwrite(fd[1], a, SEGMENT, 0), SEGMENT); /* a copy under another name */
    owner_reopen(&o, false);
    CHECK_GT(o.recovered, 15u);
    CHECK_LT(o.recovered, 40u);
    for (unsigned i = 0; i < 40; i++) {
        CHECK(o.recs[i].at == 0 || get(&o, i) == 0);
    }
    (void)close(fd[0]);
    (void)close(fd[1]);
    ds_free(a);
    owner_fini(&o, true);
}

/* A value of several chunks is told piece by piece, each verified; behind a damaged one there is
 * nothing more. */
DS_TEST(slog__pieces_of_a_large_value_are_told_up_to_the_damage)
{
    struct owner o;
    int fd;

    owner_init(&o, 80u << 20, 8u << 20, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_OK(put(&o, 1, (3u << 20) + 500000, true));
    CHECK_OK(put(&o, 2, 1u << 20, true)); /* one chunk */
    CHECK_OK(get(&o, 1));
    CHECK_EQ(o.arrived, 3u << 20);
    CHECK_OK(get(&o, 2));
    CHECK_EQ(o.arrived, 0u);
    fd = open_segment(&o, 0);
    flip(fd, 4096 + (2 << 20) + 300000);
    CHECK_EQ(get(&o, 1), DS_ECORRUPT);
    CHECK_EQ(o.arrived, 2u << 20);
    flip(fd, 4096 + (2 << 20) + 300000);
    ds_failpoint_arm("sys.pread=errno:5@4"); /* head with some of the value, checksums, chunk */
    CHECK_EQ(get(&o, 1), DS_EIO);
    ds_failpoint_arm(NULL);
    CHECK_EQ(o.arrived, 1u << 20);
    CHECK_OK(get(&o, 1));
    CHECK_EQ(o.arrived, 3u << 20);
    (void)close(fd);
    owner_fini(&o, true);
}

/* --- damage is counted, the end of a write that was cut off is not --- */

static uint64_t offset_of(const struct owner *o, unsigned k)
{
    return (o->recs[k].at & 0xffffff) * 64;
}

/* Six records in a segment that was not sealed. */
static int unsealed(struct owner *o)
{
    begin(o);
    for (unsigned i = 0; i < 6; i++) {
        CHECK_OK(put(o, i, 3000, true));
    }
    return open_segment(o, 0);
}

static void damaged(off_t in_record, unsigned k, uint64_t corrupt, uint64_t known)
{
    struct owner o;
    int fd = unsealed(&o);
    off_t at = (off_t)offset_of(&o, k) + in_record;

    o.s = ds_slog_close(o.s, false);
    flip(fd, at);
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).corrupt, corrupt);
    CHECK_EQ(o.notices, corrupt);
    CHECK_EQ(o.recovered, known);
    for (unsigned i = 0; i < 6; i++) {
        CHECK_EQ(o.recs[i].at == 0 ? DS_ENOTFOUND : get(&o, i), i != k       ? 0
                                                                : known == 6 ? DS_ECORRUPT
                                                                             : DS_ENOTFOUND);
    }
    o.notices = 0;
    owner_reopen(&o, false); /* sealed: told once */
    CHECK_EQ(o.notices, 0u);
    (void)close(fd);
    owner_fini(&o, true);
}

DS_TEST(slog__damage_in_a_segment_left_open_is_counted)
{
    damaged(1000, 2, 1, 6);          /* a value: its key is known, and that it is lost */
    damaged(1000, 5, 1, 6);          /* of the last record too: its checksums were written */
    damaged(64 + 5 + 3000, 3, 1, 6); /* the checksums */
    damaged(20, 2, 1, 5);            /* a head: a place is lost, whose it was is not known */
    damaged(20, 5, 0, 5);            /* of the last one: as the end of a write */
}

DS_TEST(slog__damage_to_the_newest_brings_no_older_one_back)
{
    struct owner o;
    int fd = unsealed(&o);

    CHECK_OK(put(&o, 1, 3000, true));
    flip(fd, (off_t)offset_of(&o, 1) + 1000);
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).corrupt, 1u);
    CHECK_EQ(get(&o, 1), DS_ECORRUPT);
    (void)close(fd);
    owner_fini(&o, true);
}

/* Up to the end of the sector of its head, which was written whole, as that verifies. */
DS_TEST(slog__a_value_that_begins_with_zeros_may_be_damaged)
{
    struct owner o;
    struct ds_slog_item item = {.key = "key-1",
                                .key_size = 5,
                                .version = 100,
                                .expiry_unix_ns = 77,
                                .mode = 3,
                                .kind = 5,
                                .size = 3000,
                                .cookie = 1};
    int fd = unsealed(&o);
    uint64_t value = offset_of(&o, 5) + slog_record_size(5, 3000) + sizeof(struct slog_head) + 5;

    memset(o.data, 'x', item.size);
    memset(o.data, 0, ds_align_up(value, 512) - value);
    CHECK_EQ(o.data[0], 0);
    o.recs[1].asked_version = item.version;
    o.recs[1].asked_size = item.size;
    CHECK_OK(ds_slog_put(o.s, &item, true));
    owner_wait(&o, o.events + 1);
    CHECK_EQ(offset_of(&o, 1) + sizeof(struct slog_head) + 5, value);
    flip(fd, (off_t)offset_of(&o, 1) + 2000);
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).corrupt, 1u);
    CHECK_EQ(o.recs[1].size, item.size); /* known, and lost: not the one before */
    (void)close(fd);
    owner_fini(&o, true);
}

/* What a kill in a write leaves: zeros behind it. */
DS_TEST(slog__the_end_of_a_write_is_no_damage)
{
    for (uint64_t cut = 512; cut < 3000; cut += 512) {
        struct owner o;
        int fd = unsealed(&o);
        uint64_t at = (offset_of(&o, 5) + cut) / 512 * 512;
        static const uint8_t zeros[4096];

        o.s = ds_slog_close(o.s, false);
        CHECK_EQ(pwrite(fd, zeros, sizeof(zeros), (off_t)at), (ssize_t)sizeof(zeros));
        owner_reopen(&o, false);
        CHECK_EQ(stats_of(&o).corrupt, 0u);
        CHECK_EQ(o.notices, 0u);
        CHECK_EQ(o.recovered, 5u);
        (void)close(fd);
        owner_fini(&o, true);
    }
}

static void cut_off(bool clean, off_t size, uint64_t corrupt)
{
    struct owner o;
    int fd;

    begin(&o);
    for (unsigned i = 0; i < 60; i++) {
        CHECK_OK(put(&o, i, 5000, true));
    }
    o.s = ds_slog_close(o.s, clean);
    fd = open_segment(&o, 0);
    CHECK_EQ(ftruncate(fd, size), 0);
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).corrupt, corrupt);
    CHECK_EQ(o.notices, 1u);
    CHECK(strstr(o.notice, ".seg is damaged: ") != NULL);
    CHECK_GE(o.recovered, 35u); /* all of the others */
    CHECK_EQ(o.recovered > 37, size > 2 * 5000);
    for (unsigned i = 0; i < 60; i++) {
        CHECK(o.recs[i].at == 0 || get(&o, i) == 0);
    }
    (void)close(fd);
    owner_fini(&o, true);
}

DS_TEST(slog__a_segment_that_was_cut_off_is_told_of)
{
    for (int clean = 0; clean < 2; clean++) {
        cut_off(clean != 0, 0, 1);
        cut_off(clean != 0, 4096, 1);
        cut_off(clean != 0, SEGMENT / 2 + 100, 1);
        cut_off(clean != 0, SEGMENT - 1, 1);
    }
}

/* The file of a segment that a kill left empty, newer than all others. */
static void leave_unmade(const struct owner *o, unsigned slot)
{
    unsigned long long newest = 0;
    DIR *d = opendir(o->dir);
    struct dirent *e;
    char name[128];

    CHECK(d != NULL);
    while ((e = readdir(d)) != NULL) {
        unsigned long long number;

        if (sscanf(e->d_name, "%*4x-%16llx.seg", &number) == 1) {
            newest = number > newest ? number : newest;
        }
    }
    (void)closedir(d);
    (void)snprintf(name, sizeof(name), "%s/%04x-%016llx.seg", o->dir, slot, newest + 1);
    CHECK_OK(close(open(name, O_RDWR | O_CREAT | O_EXCL, 0600)));
}

/* Workers that are killed while they make a segment, one after the other. */
DS_TEST(slog__segments_that_were_never_made_are_no_damage)
{
    struct owner o;

    begin(&o);
    CHECK_OK(put(&o, 1, 5000, true));
    for (unsigned i = 0; i < 4; i++) {
        o.s = ds_slog_close(o.s, false);
        leave_unmade(&o, 8 + i);
        owner_reopen(&o, false);
        CHECK_EQ(o.recovered, 1u);
        CHECK_EQ(stats_of(&o).corrupt, 0u);
        CHECK_EQ(o.notices, 0u);
        CHECK_EQ(stats_of(&o).segments, 1u); /* they take no room */
    }
    owner_fini(&o, true);
}

/* --- kill -9 --- */

struct ack {
    uint32_t key, size;
    uint64_t version;
};

#define BEGUN 0x10000u /* of a key: not acknowledged yet */

/* The child: puts and deletes, and says what was acknowledged. */
static void work_until_killed(struct owner *o, int fd)
{
    owner_open(o);
    CHECK_OK(ds_slog_recover(o->s, recovered, o));
    for (unsigned i = 0; i < 3000; i++) {
        unsigned k = (i * 7) % 61;
        bool remove = i % 5 == 4;
        struct ack ack = {k | BEGUN, remove ? 0 : 2000 + i, o->version + 1};
        int rc;

        CHECK_EQ(write(fd, &ack, sizeof(ack)), (ssize_t)sizeof(ack));
        rc = !remove ? put(o, k, 2000 + i, i % 3 == 0) : keep(o, k) ? 0 : del(o, k, i % 3 == 0);
        if (rc == DS_EAGAIN) {
            struct pollfd p = {.fd = ds_slog_fd(o->s), .events = POLLIN};
            struct ds_slog_event e;

            (void)poll(&p, 1, 1000);
            (void)ds_slog_poll(o->s, &e, 1);
            continue;
        }
        CHECK_OK(rc);
        ack.key = k;
        CHECK_EQ(write(fd, &ack, sizeof(ack)), (ssize_t)sizeof(ack));
    }
    _exit(0);
}

/* What was acknowledged is there, or what was begun after it. */
static void check_acked(const struct rec *r, const struct rec *acked, uint64_t begun)
{
    bool as_acked = acked->at == 0 ? r->at == 0 : r->at != 0 && r->version == acked->version;
    bool as_begun =
        begun == UINT64_MAX ? r->at == 0 : begun != 0 && r->at != 0 && r->version == begun;

    CHECK(as_acked || as_begun);
}

static void kill_at(const char *point, int nth)
{
    struct owner o;
    struct ack ack;
    struct rec acked[KEYS] = {{0}};
    uint64_t begun[KEYS] = {0};
    char spec[64];
    int fds[2];
    int status;
    pid_t pid;

    owner_init(&o, 2 * MIB, SEGMENT, false);
    o.s = ds_slog_close(o.s, true);
    o.config.kept_size = nth == 7 ? 0 : 8192;
    CHECK_EQ(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        (void)snprintf(spec, sizeof(spec), "%s=kill@%d", point, nth);
        ds_failpoint_arm(spec);
        work_until_killed(&o, fds[1]);
    }
    (void)close(fds[1]);
    while (read(fds[0], &ack, sizeof(ack)) == (ssize_t)sizeof(ack)) {
        unsigned k = ack.key & ~BEGUN;

        if (ack.key >= BEGUN) {
            begun[k] = ack.size == 0 ? UINT64_MAX : ack.version;
        } else {
            acked[k] = (struct rec){.at = ack.size != 0, .version = ack.version, .size = ack.size};
            begun[k] = 0;
        }
    }
    (void)close(fds[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* the point was met */
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).corrupt, 0u);
    for (unsigned k = 0; k < 61; k++) {
        check_acked(&o.recs[k], &acked[k], begun[k]);
        CHECK(o.recs[k].at == 0 || get(&o, k) == 0);
    }
    CHECK_OK(put(&o, 100, 5000, true));
    CHECK_LE(disk_use(&o), 2 * MIB);
    owner_fini(&o, true);
}

DS_TEST_TIMEOUT(slog__a_kill_takes_nothing_acknowledged, 240)
{
    static const char *const points[] = {
        "slog.write.before", "slog.write.mid",   "slog.write.after", "slog.sync.before",
        "slog.sync.after",   "slog.seal.before", "slog.seal.after",  "slog.open.before",
        "slog.open.mid",     "slog.gc.unlink"};

    need_failpoints();
    for (unsigned p = 0; p < DS_ARRAY_SIZE(points); p++) {
        kill_at(points[p], 1);
        kill_at(points[p], 7);
        kill_at(points[p], 20);
    }
}
