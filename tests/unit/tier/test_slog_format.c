/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/slog_format.h"

#include "slog_owner.h"

DS_TEST(slog_format__a_head_is_bound_to_its_place)
{
    struct slog_anchor a = {{1, 2, 3}, 7};
    struct slog_anchor other_segment = {{1, 2, 3}, 8};
    struct slog_anchor other_log = {{1, 2, 4}, 7};
    struct slog_head h = {.lsn = 5, .value_size = 100, .key_size = 3, .type = SLOG_PUT};
    struct slog_head found;
    uint8_t bytes[sizeof(h) + 3];

    ds_slog_head_seal(&a, 8192, &h, "key");
    memcpy(bytes, &h, sizeof(h));
    memcpy(bytes + sizeof(h), "key", 3);
    CHECK(ds_slog_head_check(&a, 8192, 65536, bytes, sizeof(bytes), &found));
    CHECK_EQ(found.lsn, 5u);
    CHECK(!ds_slog_head_check(&other_segment, 8192, 65536, bytes, sizeof(bytes), &found));
    CHECK(!ds_slog_head_check(&other_log, 8192, 65536, bytes, sizeof(bytes), &found));
    CHECK(!ds_slog_head_check(&a, 8256, 65536, bytes, sizeof(bytes), &found));
    CHECK(!ds_slog_head_check(&a, 8192, 8192 + 128, bytes, sizeof(bytes), &found)); /* too long */
    CHECK(!ds_slog_head_check(&a, 8192, 65536, bytes, sizeof(bytes) - 1, &found));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= 1;
        CHECK(!ds_slog_head_check(&a, 8192, 65536, bytes, sizeof(bytes), &found));
        bytes[i] ^= 1;
    }
}

DS_TEST(slog_format__a_trailer_is_bound_to_its_segment)
{
    struct slog_anchor a = {{1}, 7};
    struct slog_anchor b = {{1}, 8};
    struct slog_trailer t = {.summary_size = 100, .data_end = 8192};

    ds_slog_trailer_seal(&a, &t);
    CHECK(ds_slog_trailer_check(&a, 65536, &t));
    CHECK(!ds_slog_trailer_check(&b, 65536, &t));
    t.data_end = 65536;
    ds_slog_trailer_seal(&a, &t);
    CHECK(!ds_slog_trailer_check(&a, 65536, &t));
}

#define GOLDEN DS_TEST_SOURCE_DIR "/golden/slog-v1"

static void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    static uint8_t bytes[2 * 65536];
    char path[512];
    int from;
    int to;
    ssize_t n;

    (void)snprintf(path, sizeof(path), "%s/%s", from_dir, name);
    from = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof(path), "%s/%s", to_dir, name);
    to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(from >= 0 && to >= 0);
    n = read(from, bytes, sizeof(bytes));
    CHECK_GT(n, 0);
    CHECK_EQ(write(to, bytes, (size_t)n), n);
    (void)close(from);
    (void)close(to);
}

/* A directory that version 1 wrote is read for ever: one segment sealed, one left open. To write it
 * anew (only for a new version of the format), set DS_GOLDEN_WRITE. */
DS_TEST(slog_format__reads_the_golden_directory)
{
    static const char *const files[] = {"identity", "0000-0000000000000001.seg",
                                        "0001-0000000000000002.seg"};
    struct owner o;
    char key[32];

    owner_init(&o, 1 << 20, 65536, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (unsigned k = 0; getenv("DS_GOLDEN_WRITE") != NULL && k < 10; k++) {
        CHECK_OK(put(&o, k, k * 1000, true));
        if (k == 9) {
            CHECK_OK(put(&o, 1, 30000, true));
            CHECK_OK(del(&o, 2, true));
            CHECK_OK(ds_slog_note(o.s, o.recs[3].at, key, key_of(3, key), 4, true, 3));
            owner_wait(&o, o.events + 1);
            for (unsigned i = 0; i < 3; i++) {
                copy_file(o.dir, GOLDEN, files[i]);
            }
        }
    }
    o.s = ds_slog_close(o.s, true);
    for (unsigned i = 0; i < 3; i++) {
        copy_file(GOLDEN, o.dir, files[i]);
    }
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 9u);
    CHECK_EQ(o.recs[1].size, 30000u);
    CHECK_EQ(o.recs[2].at, 0u);
    CHECK_EQ(o.recs[3].flags, 4);
    for (unsigned k = 0; k < 10; k++) {
        CHECK(k == 2 || get(&o, k) == 0);
    }
    owner_fini(&o, true);
}

/* A file of tombstones beside it, with one of key 5; written as above, when that directory is
 * there.
 */
DS_TEST(slog_format__reads_the_golden_file_of_tombstones)
{
    static const char *const files[] = {"identity", "0000-0000000000000001.seg",
                                        "0001-0000000000000002.seg", "tombstones"};
    struct owner o;

    owner_init(&o, 1 << 20, 65536, false);
    o.s = ds_slog_close(o.s, true);
    for (unsigned i = 0; i < 3; i++) {
        copy_file(GOLDEN, o.dir, files[i]);
    }
    if (getenv("DS_GOLDEN_WRITE") != NULL) {
        o.config.kept_size = 4096;
        owner_reopen(&o, false);
        CHECK(keep(&o, 5));
        copy_file(o.dir, GOLDEN, files[3]);
        o.s = ds_slog_close(o.s, true);
        owner_remove_files(&o);
        CHECK_EQ(mkdir(o.dir, 0700), 0);
        for (unsigned i = 0; i < 3; i++) {
            copy_file(GOLDEN, o.dir, files[i]);
        }
    }
    copy_file(GOLDEN, o.dir, files[3]);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 8u);
    CHECK_EQ(o.recs[5].at, 0u);
    owner_fini(&o, true);
}

/* A segment of a value's own beside it, of key 20; written as above, when that directory is there.
 */
DS_TEST(slog_format__reads_the_golden_segment_of_a_large_value)
{
    static const char *const files[] = {"identity", "0000-0000000000000001.seg",
                                        "0001-0000000000000002.seg", "0002-0000000000000003.seg"};
    struct owner o;

    owner_init(&o, 1 << 20, 65536, false);
    for (int way = 0; way < 2; way++) {
        bool write = way == 0 && getenv("DS_GOLDEN_WRITE") != NULL;

        o.s = ds_slog_close(o.s, true);
        owner_remove_files(&o);
        CHECK_EQ(mkdir(o.dir, 0700), 0);
        for (unsigned i = 0; i < (write ? 3u : 4u); i++) {
            copy_file(GOLDEN, o.dir, files[i]);
        }
        owner_reopen(&o, false);
        if (write) {
            o.version = 20;
            CHECK_OK(put(&o, 20, 70000, true));
            o.s = ds_slog_close(o.s, true);
            copy_file(o.dir, GOLDEN, files[3]);
        }
    }
    CHECK_EQ(o.recovered, 10u);
    CHECK_EQ(o.recs[20].size, 70000u);
    CHECK_EQ(stats_of(&o).segments, 4u);
    CHECK_EQ(stats_of(&o).corrupt, 0u);
    CHECK_OK(get(&o, 20));
    owner_fini(&o, true);
}
