/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of large values, as a kill, a loss of power or somebody else left them. */
#include "slog_own.h"

static void zero(int fd, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[4096];

    for (; from < to; from += sizeof(zeros)) {
        uint64_t n = ds_min_u64(sizeof(zeros), to - from);

        CHECK_EQ(pwrite(fd, zeros, n, (off_t)from), (ssize_t)n);
    }
}

static void flip(int fd, off_t at)
{
    uint8_t byte;

    CHECK_EQ(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
}

/* A large value between small ones, and a small one that is newer than its segment. */
static int around(struct owner *o, bool sealed, uint64_t *ret_size)
{
    int fd;

    begin(o, 24, false);
    CHECK_OK(put(o, 1, 1000, true));
    CHECK_OK(put(o, 2, VALUE, true));
    for (unsigned k = 3; k < 40; k++) {
        CHECK_OK(put(o, k, 2000, true));
    }
    fd = open_segment(o, slot_of(o, 2));
    *ret_size = file_size_of(o, slot_of(o, 2));
    o->s = ds_slog_close(o->s, true);
    if (!sealed) {
        zero(fd, *ret_size - 4096, *ret_size);
    }
    return fd;
}

/* Returns what a get of it says, 0 to DS_ECORRUPT; DS_ENOTFOUND: it is not known. */
static int find(struct owner *o)
{
    o->notices = 0;
    owner_reopen(o, false);
    for (unsigned k = 1; k < 40; k++) {
        CHECK(k == 2 || get(o, k) == 0);
    }
    return o->recs[2].at == 0 ? DS_ENOTFOUND : get(o, 2);
}

/* When it is gone there are the segments of small ones alone. */
static void check_gone(struct owner *o)
{
    while (stats_of(o).segments > 2) {
        poll_once(o, 30000);
    }
    CHECK_OK(put(o, 2, VALUE, true));
    CHECK_EQ(find(o), 0);
    CHECK_EQ(o->notices, 0u);
}

DS_TEST(slog_own__one_that_was_not_sealed_is_found)
{
    struct owner o;
    uint64_t size;
    int fd = around(&o, false, &size);

    for (int i = 0; i < 2; i++) {
        CHECK_EQ(find(&o), 0);
        CHECK_EQ(o.notices, 0u);
        CHECK_EQ(stats_of(&o).segments, 5u);
    }
    (void)close(fd);
    owner_fini(&o, true);
}

static unsigned steps;

static void step(void *arg)
{
    (void)arg;
    steps++;
}

/* Its value is read whole: who waits for it must hear of that. */
DS_TEST(slog_own__the_scan_of_one_says_that_it_gets_on)
{
    for (int damaged = 0; damaged < 2; damaged++) {
        struct owner o;
        uint64_t size;
        int fd;

        owner_init(&o, 32u << 20, 256u << 10, false);
        CHECK_OK(ds_slog_recover(o.s, recovered, &o));
        CHECK_OK(put(&o, 1, 6u << 20, true));
        size = file_size_of(&o, 0);
        fd = open_segment(&o, 0);
        o.s = ds_slog_close(o.s, true);
        zero(fd, size - 4096, size);
        if (damaged == 1) {
            flip(fd, 4096 + 200); /* found at once, then it is looked for zeros */
        }
        o.config.progress = step;
        steps = 0;
        o.recs[1].at = 0;
        owner_open(&o);
        CHECK_GE(steps, 1 + 6u);
        CHECK_OK(ds_slog_recover(o.s, recovered, &o));
        CHECK_EQ(o.recovered, 1u);
        (void)close(fd);
        owner_fini(&o, true);
    }
}

/* The end of a write that was cut off: no damage, and it goes. */
DS_TEST(slog_own__one_that_is_not_whole_goes)
{
    for (uint64_t cut = 8192; cut < VALUE + 4096; cut += 20480) {
        struct owner o;
        uint64_t size;
        int fd = around(&o, false, &size);

        zero(fd, cut, size);
        CHECK_EQ(find(&o), DS_ENOTFOUND);
        CHECK_EQ(o.notices, 0u);
        CHECK_EQ(stats_of(&o).corrupt, 0u);
        check_gone(&o);
        (void)close(fd);
        owner_fini(&o, true);
    }
}

/* Cut off below its record it is lost; behind that, it is found, and made whole again. */
DS_TEST(slog_own__one_that_was_cut_off_is_told_of)
{
    static const uint64_t cuts[] = {
        0, 4096, 8192, SEGMENT, SEGMENT + 100, 2 * SEGMENT, VALUE, VALUE + 4096 + 4096};

    for (unsigned sealed = 0; sealed < 2; sealed++) {
        for (size_t i = 0; i < DS_ARRAY_SIZE(cuts); i++) {
            struct owner o;
            uint64_t size;
            int fd = around(&o, sealed, &size);
            bool whole = cuts[i] > VALUE + 4096;

            CHECK_EQ(ftruncate(fd, (off_t)cuts[i]), 0);
            CHECK_EQ(find(&o), whole ? 0 : DS_ENOTFOUND);
            CHECK_EQ(o.notices, 1u);
            CHECK(strstr(o.notice, " is damaged: ") != NULL);
            if (whole) {
                CHECK_EQ(stats_of(&o).segments, 5u);
                CHECK_EQ(file_size_of(&o, slot_of(&o, 2)), size);
                CHECK_EQ(find(&o), 0);
                CHECK_EQ(o.notices, 0u);
            } else {
                check_gone(&o);
            }
            (void)close(fd);
            owner_fini(&o, true);
        }
    }
}

/* Another segment's bytes may have its place: what is missing is not taken from others. */
DS_TEST(slog_own__one_that_was_cut_off_takes_no_more_than_it_has)
{
    struct owner o;
    uint64_t size;
    uint8_t p[sizeof(struct slog_segment_head)];
    struct slog_segment_head h;
    int fd = around(&o, false, &size);

    CHECK_EQ(pread(fd, p, sizeof(p), 0), (ssize_t)sizeof(p));
    memcpy(&h, p, sizeof(h));
    CHECK_EQ(h.segment_size, size);
    h.segment_size = 8 * SEGMENT; /* it says so, and verifies */
    ds_slog_segment_head_seal(&h);
    CHECK_EQ(pwrite(fd, &h, sizeof(h), 0), (ssize_t)sizeof(h));
    CHECK_EQ(find(&o), 0);
    CHECK_EQ(stats_of(&o).segments, 5u);
    CHECK_EQ(file_size_of(&o, slot_of(&o, 2)), size);
    CHECK_LE(disk_use(&o), o.config.size_limit);
    drop(&o, 2);
    check_gone(&o);
    (void)close(fd);
    owner_fini(&o, true);
}

/* Sizes that no segment has: the head does not verify, the file's own size counts. */
DS_TEST(slog_own__a_head_with_an_odd_size_is_told_of)
{
    static const uint64_t sizes[] = {0,
                                     1,
                                     4096,
                                     SEGMENT - 4096,
                                     SEGMENT + 1,
                                     SLOG_OWN_MAX + 4096,
                                     UINT64_C(1) << 63,
                                     UINT64_MAX,
                                     UINT64_MAX - 4095};

    for (unsigned sealed = 0; sealed < 2; sealed++) {
        for (size_t i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
            struct owner o;
            uint64_t size;
            struct slog_segment_head h;
            int fd = around(&o, sealed, &size);

            CHECK_EQ(pread(fd, &h, sizeof(h), 0), (ssize_t)sizeof(h));
            h.segment_size = sizes[i];
            ds_slog_segment_head_seal(&h);
            CHECK_EQ(pwrite(fd, &h, sizeof(h), 0), (ssize_t)sizeof(h));
            CHECK_EQ(find(&o), 0);
            CHECK_EQ(o.notices, 1u);
            CHECK_EQ(stats_of(&o).segments, 5u);
            (void)close(fd);
            owner_fini(&o, true);
        }
    }
}

/* A file that somebody made longer takes what it takes; a hole takes nothing, and counts. */
DS_TEST(slog_own__a_file_that_has_grown_counts_as_it_is)
{
    static const uint64_t sizes[] = {5 * SEGMENT, UINT64_C(1) << 40};

    for (unsigned large = 0; large < 2; large++) {
        for (size_t i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
            struct owner o;
            uint64_t size;
            int fd = around(&o, true, &size);
            uint64_t units = sizes[i] / SEGMENT;

            (void)close(fd);
            fd = open_segment(&o, large ? slot_of(&o, 2) : slot_of(&o, 1));
            CHECK_EQ(ftruncate(fd, (off_t)sizes[i]), 0);
            CHECK_EQ(find(&o), 0);
            CHECK(strstr(o.notice, "do not verify") == NULL);
            CHECK_EQ(stats_of(&o).segments, (large ? 2 : 4) + ds_min_u64(units, SLOG_SLOTS_MAX));
            (void)close(fd);
            owner_fini(&o, true);
        }
    }
}

DS_TEST(slog_own__flipped_bits_are_found)
{
    for (unsigned sealed = 0; sealed < 2; sealed++) {
        for (off_t at = 0; at < 41 * 4096; at += at < 64 || at >= 40 * 4096 ? 3 : 1509) {
            struct owner o;
            uint64_t size;
            int fd = around(&o, sealed, &size);
            int rc;

            if (!sealed && at >= 40 * 4096) {
                at = 41 * 4096;
            } else {
                flip(fd, at);
            }
            rc = find(&o);
            CHECK(rc == 0 || rc == DS_ECORRUPT || rc == DS_ENOTFOUND);
            if (at < 64) {
                CHECK_EQ(rc, 0);
                CHECK_EQ(o.notices, 1u);
            } else if (at >= 4096 + 128 && at < 4096 + VALUE) {
                CHECK_EQ(rc, DS_ECORRUPT); /* it is known that there was one */
            }
            CHECK_LE(stats_of(&o).segments, 5u);
            (void)close(fd);
            owner_fini(&o, true);
        }
    }
}

/* Of one in the making no more is there than the name, or a part of its size. */
DS_TEST(slog_own__one_that_was_never_made_is_no_damage)
{
    static const uint64_t sizes[] = {0, 4096, SEGMENT + 512, 2 * SEGMENT, 41 * 4096};

    for (size_t i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
        struct owner o;
        char name[128];
        int fd;

        begin(&o, 24, false);
        CHECK_OK(put(&o, 1, 1000, true));
        o.s = ds_slog_close(o.s, false);
        (void)snprintf(name, sizeof(name), "%s/0001-0000000000000002.seg", o.dir);
        fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && ftruncate(fd, (off_t)sizes[i]) == 0);
        (void)close(fd);
        owner_reopen(&o, false);
        CHECK_EQ(o.recovered, 1u);
        CHECK_EQ(o.notices, 0u);
        CHECK_EQ(stats_of(&o).corrupt, 0u);
        while (stats_of(&o).segments > 1) {
            poll_once(&o, 30000);
        }
        CHECK_OK(put(&o, 2, VALUE, true));
        CHECK_OK(get(&o, 2));
        owner_fini(&o, true);
    }
}

/* One that cannot be read keeps its room. */
DS_TEST(slog_own__one_that_was_set_aside_counts_as_before)
{
    struct owner o;
    uint64_t size;
    char name[128];
    char aside[128];
    int fd = around(&o, true, &size);

    (void)close(fd);
    segment_name(&o, slot_of(&o, 2), name, sizeof(name));
    (void)snprintf(aside, sizeof(aside), "%s/%016x-%016x.bad", o.dir, 2, 9);
    CHECK_EQ(rename(name, aside), 0);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 38u);
    CHECK_EQ(stats_of(&o).segments, 5u);
    CHECK_EQ(unlink(aside), 0);
    owner_reopen(&o, false);
    CHECK_EQ(stats_of(&o).segments, 2u);
    owner_fini(&o, true);
}

/* Several of them, and a small segment that cannot be read: that is not the disk. */
DS_TEST(slog_own__one_large_one_is_not_most_of_the_disk)
{
    struct owner o;
    uint64_t size;
    char name[128];
    int fd = around(&o, true, &size);

    (void)close(fd);
    segment_name(&o, slot_of(&o, 2), name, sizeof(name));
    CHECK_EQ(unlink(name), 0);
    CHECK_EQ(mkdir(name, 0700), 0);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 38u);
    owner_fini(&o, true);
}
