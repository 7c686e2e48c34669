/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_l2_golden.c - the layout of second-level storage, version 1: names as literals, so that a
 * change of the code that makes them is seen, and a directory that version 1 wrote. To write that
 * anew (only for a new version of the format), remove it and set DS_TEST_WRITE_GOLDEN.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "l2_dir_scene.h"
#include "tier/l2_s3.h"

#define GOLDEN DS_TEST_SOURCE_DIR "/golden/l2-dir-v1"

/* What lies in the directory but for locks: FORMAT; "a/b_c"; 300 times "x"; "gone". */
static const char *const files[] = {
    "FORMAT",
    "53/k-a_2Fb_5Fc",
    "0a/h-2f548de296edcbdbf8b3f40a984bd86d",
    "8f/k-gone",
};

static const char *long_key(void)
{
    static char key[301];

    memset(key, 'x', sizeof(key) - 1);
    return key;
}

static void write_all(struct ds_l2 *l2)
{
    CHECK_OK(put(l2, "a/b_c", "a short key", 7));
    CHECK_OK(put(l2, long_key(), "a long key", 8));
    CHECK_OK(put(l2, "gone", "deleted", 9));
    CHECK_OK(del(l2, "gone", 10));
}

static void make_folder(const char *path)
{
    CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
}

static void copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    uint8_t bytes[1024];
    char path[512];
    int from;
    int to;
    ssize_t n;

    if (strchr(name, '/') != NULL) {
        (void)snprintf(path, sizeof(path), "%s/%.2s", to_dir, name);
        make_folder(path);
    }
    (void)snprintf(path, sizeof(path), "%s/%s", from_dir, name);
    from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        ds_test_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
    }
    (void)snprintf(path, sizeof(path), "%s/%s", to_dir, name);
    to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_GE(to, 0);
    n = read(from, bytes, sizeof(bytes));
    CHECK_GT(n, 0);
    CHECK_EQ(write(to, bytes, (size_t)n), n);
    (void)close(from);
    (void)close(to);
}

static int check_name(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    const char *name = path + strlen(root) + 1;
    bool known = type != FTW_F || path[ftw->base] == '.';

    (void)st;
    for (size_t i = 0; i < DS_ARRAY_SIZE(files); i++) {
        known = known || strcmp(name, files[i]) == 0;
    }
    if (!known) {
        ds_test_fail(__FILE__, __LINE__, "%s is not where version 1 put it", name);
    }
    return 0;
}

DS_TEST(l2_golden__objects_lie_where_version_1_put_them)
{
    struct ds_l2 *l2 = begin();

    write_all(l2);
    CHECK_EQ(nftw(root, check_name, 16, FTW_PHYS), 0);
    if (access(GOLDEN, F_OK) != 0 && getenv("DS_TEST_WRITE_GOLDEN") != NULL) {
        make_folder(GOLDEN);
        for (size_t i = 0; i < DS_ARRAY_SIZE(files); i++) {
            copy_file(root, GOLDEN, files[i]);
        }
    }
    end(l2);
}

DS_TEST(l2_golden__reads_the_directory_of_version_1)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_meta meta;

    ds_l2_close(l2);
    for (size_t i = 0; i < DS_ARRAY_SIZE(files); i++) {
        copy_file(GOLDEN, root, files[i]);
    }
    l2 = reopen();
    CHECK_STR(get(l2, "a/b_c"), "a short key");
    CHECK_STR(get(l2, long_key()), "a long key");
    CHECK_STR(get(l2, "gone"), "error 3");
    CHECK_OK(ds_l2_head(l2, &call, "a/b_c", 5, false, &meta));
    CHECK_EQ(meta.version, 7);
    CHECK_EQ(put(l2, "a/b_c", "older", 6), DS_ESTALE);
    CHECK_EQ(put(l2, long_key(), "older", 7), DS_ESTALE);
    CHECK_EQ(put(l2, "gone", "older", 9), DS_ESTALE); /* the tombstone stands */
    CHECK_OK(put(l2, "gone", "newer", 11));
    CHECK_STR(get(l2, "gone"), "newer");
    end(l2);
}

DS_TEST(l2_golden__names_in_an_object_store)
{
    static struct ds_l2_s3 s3 = {.prefix = "team/dsl2/"};
    struct ds_l2_meta meta = {
        .version = 7, .mode = 2, .kind = 1, .flags = DS_L2_SEALED, .expiry_unix_ns = 0x1234};
    char name[DS_L2_S3_KEY_MAX + 1];

    ds_l2_s3_key(&s3, "a/b_c", 5, NULL, name);
    CHECK_STR(name, "team/dsl2/k-a_2Fb_5Fc/");
    ds_l2_s3_key(&s3, "a/b_c", 5, &meta, name);
    CHECK_STR(name, "team/dsl2/k-a_2Fb_5Fc/fffffffffffffff8-00010201-0000000000001234");
    meta = (struct ds_l2_meta){.version = UINT64_C(0x18d2f0c1a2b3c4d5), .flags = DS_L2_TOMBSTONE};
    ds_l2_s3_key(&s3, long_key(), 300, &meta, name);
    CHECK_STR(name, "team/dsl2/h-2f548de296edcbdbf8b3f40a984bd86d/"
                    "e72d0f3e5d4c3b2a-00020000-0000000000000000");
}
