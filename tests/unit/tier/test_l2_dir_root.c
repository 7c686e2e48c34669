/* SPDX-License-Identifier: Apache-2.0 */
/* test_l2_dir_root.c - the directory is removed or replaced while it is in use. */
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "l2_dir_scene.h"
#include "tier/l2_dir.h"

static void remove_all(void)
{
    while (nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0) { /* a writer was faster */
    }
}

static int write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    return f == NULL || fputs(text, f) < 0 || fclose(f) != 0 ? -1 : 0;
}

static int count_one(void *arg, const struct ds_l2_entry *entry)
{
    *(int *)arg += entry->status == 0;
    return 0;
}

DS_TEST(dir__goes_on_when_the_directory_was_replaced)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_item items[3] = {item_of("x", "1", 1), item_of("y", "2", 1), item_of("z", "3", 1)};
    struct ds_l2_gc gc = {.tombstone_age_ns = HOUR_NS, .unfinished_age_ns = HOUR_NS};
    int rcs[3];
    int n = 0;

    for (int i = 0; i < 5; i++) {
        CHECK_OK(put(l2, "a", "old", 10));
        remove_all();
        CHECK_OK(mkdir(root, 0700));
        switch (i) {
        case 0: /* the first to notice is a put, a batch, a remove, a get or a walk */
            CHECK_OK(put(l2, "a", "new", 2));
            CHECK_STR(get(l2, "a"), "new");
            break;
        case 1:
            ds_l2_put_many(l2, &call, items, 3, rcs);
            CHECK(rcs[0] == 0 && rcs[1] == 0 && rcs[2] == 0);
            CHECK_STR(get(l2, "y"), "2");
            break;
        case 2:
            CHECK_OK(del(l2, "a", 2));
            CHECK_EQ(put(l2, "a", "late", 1), DS_ESTALE);
            break;
        case 3:
            CHECK_STR(get(l2, "a"), "error 3");
            break;
        default:
            CHECK_OK(ds_l2_gc(l2, &call, &gc));
        }
        CHECK_OK(put(l2, "b", "b", 1));
        n = 0;
        CHECK_OK(ds_l2_list(l2, &call, count_one, &n));
        CHECK_EQ(n, i == 0 || i == 2 ? 2 : i == 1 ? 4 : 1);
    }
    end(l2);
}

DS_TEST(dir__a_directory_that_is_gone_is_no_missing_key)
{
    struct ds_l2 *l2 = begin();

    CHECK_OK(put(l2, "a", "old", 1));
    remove_all();
    CHECK_EQ(put(l2, "a", "new", 2), DS_EUNAVAILABLE);
    CHECK(strstr(call.err, root) != NULL);
    CHECK_STR(get(l2, "a"), "error 1002"); /* DS_EUNAVAILABLE, not DS_ENOTFOUND */
    CHECK(access(root, F_OK) < 0);         /* a mount point without its mount is another disk */
    CHECK_OK(mkdir(root, 0700));
    CHECK_OK(put(l2, "a", "new", 2));
    CHECK_STR(get(l2, "a"), "new");
    end(l2);
}

DS_TEST(dir__goes_on_when_its_handles_are_stale)
{
    struct ds_l2 *l2 = begin();

    CHECK_OK(put(l2, "a", "old", 1));
    ds_failpoint_arm("sys.openat=errno:116@1;sys.fstat=errno:116@1"); /* ESTALE, of NFS */
    CHECK_OK(put(l2, "a", "new", 2));
    ds_failpoint_arm("sys.openat=errno:116@1;sys.fstat=errno:116@1");
    CHECK_STR(get(l2, "a"), "new");
    ds_failpoint_arm("sys.openat=errno:116@1"); /* of one file, and for once */
    CHECK_EQ(put(l2, "a", "newer", 3), DS_EUNAVAILABLE);
    end(l2);
}

/* What is put there, nobody sees once it is mounted again. */
DS_TEST(dir__a_mount_point_that_lost_its_mount_is_not_used)
{
    struct ds_l2 *l2 = begin();
    char bare[] = "/dev/shm/ds-l2-test-XXXXXX"; /* stands for the disk below the mount */
    char aside[80], format[80];
    struct stat here, there;

    (void)snprintf(aside, sizeof(aside), "%s.aside", root);
    CHECK_OK(put(l2, "a", "old", 1));
    CHECK(mkdtemp(bare) != NULL);
    CHECK_EQ(stat(root, &here), 0);
    CHECK_EQ(stat(bare, &there), 0);
    CHECK(here.st_dev != there.st_dev);
    CHECK_OK(rename(root, aside));
    CHECK_OK(symlink(bare, root));
    ds_failpoint_arm("sys.openat=errno:116@1;sys.fstat=errno:116@1");
    CHECK_EQ(put(l2, "a", "new", 2), DS_EUNAVAILABLE);
    CHECK(strstr(call.err, "another one") != NULL && strstr(call.err, "mount it again") != NULL);
    CHECK_OK(rmdir(bare)); /* it is still empty */
    CHECK_OK(mkdir(bare, 0700));
    ds_failpoint_arm("sys.openat=errno:116@1;sys.fstat=errno:116@1");
    CHECK_STR(get(l2, "a"), "error 1002"); /* DS_EUNAVAILABLE */
    CHECK_OK(unlink(root));
    CHECK_OK(rename(aside, root)); /* mounted again */
    ds_failpoint_arm("sys.openat=errno:116@1;sys.fstat=errno:116@1");
    CHECK_OK(put(l2, "b", "new", 3));
    CHECK_STR(get(l2, "a"), "old");

    CHECK_OK(rename(root, aside)); /* a new mount of storage has another number */
    CHECK_OK(symlink(bare, root));
    (void)snprintf(format, sizeof(format), "%s/FORMAT", bare);
    CHECK_OK(write_text(format, "dsL2dir 1\n"));
    ds_failpoint_arm("sys.openat=errno:116@1;sys.fstat=errno:116@1");
    CHECK_OK(put(l2, "a", "moved", 4));
    CHECK_STR(get(l2, "a"), "moved");
    CHECK_EQ(nftw(bare, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    CHECK_OK(unlink(root));
    CHECK_OK(rename(aside, root));
    end(l2);
}

/* The first opening was killed, or lost its power: bytes of a file may be zeros then. */
DS_TEST(dir__finishes_what_a_first_opening_left)
{
    static const char *const left[] = {"", "dsL2d", "\0\0\0\0\0\0\0\0\0\0", "dsL2d\0\0\0\0\0"};
    static const size_t sizes[] = {0, 5, 10, 10};
    struct ds_l2_config config = {.type = DS_L2_DIR, .directory = root};
    struct ds_l2 *l2 = begin();
    char path[80], text[16];

    (void)snprintf(path, sizeof(path), "%s/FORMAT", root);
    for (size_t i = 0; i < DS_ARRAY_SIZE(left); i++) {
        FILE *f = fopen(path, "we");

        CHECK(f != NULL && fwrite(left[i], 1, sizes[i], f) == sizes[i] && fclose(f) == 0);
        ds_l2_close(l2);
        l2 = reopen();
        f = fopen(path, "re");
        CHECK(f != NULL && fgets(text, sizeof(text), f) != NULL);
        (void)fclose(f);
        CHECK_STR(text, "dsL2dir 1\n");
    }
    ds_l2_close(l2);
    CHECK_OK(write_text(path, "dsL2dir 2\n"));
    CHECK_EQ(ds_l2_open(&config, text, sizeof(text), &l2), DS_EVERSION);
    CHECK_OK(write_text(path, "dsL2dir 1\n"));
    end(reopen());
}

/* Nothing is durable in a directory whose own name is not. */
DS_TEST(dir__is_not_used_unless_its_name_is_durable)
{
#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    struct ds_l2 *l2 = begin();
    char deep[80], err[256];
    struct ds_l2_config config = {.type = DS_L2_DIR, .directory = deep};

    (void)snprintf(deep, sizeof(deep), "%s/made/of/it", root);
    for (int n = 1; n <= 5; n++) { /* of /, /tmp, root, made and of */
        char spec[32];

        (void)snprintf(spec, sizeof(spec), "sys.fsync=errno:5@%d", n);
        ds_failpoint_arm(spec);
        CHECK_EQ(ds_l2_open(&config, err, sizeof(err), &l2), DS_EIO);
        (void)snprintf(err, sizeof(err), "%s/FORMAT", deep);
        CHECK(access(err, F_OK) < 0);
    }
    ds_failpoint_arm(NULL);
    end(l2);
}

struct writer {
    struct ds_l2 *l2;
    atomic_bool stop;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;

    for (uint64_t v = 1; !atomic_load(&w->stop); v++) {
        struct ds_l2_item item = item_of("threads", "x", v);
        struct ds_l2_call own = {0};
        struct ds_l2_meta meta;

        (void)!ds_l2_put(w->l2, &own, &item); /* fails while the directory is not there */
        (void)!ds_l2_head(w->l2, &own, "other", 5, false, &meta);
    }
    return NULL;
}

DS_TEST(dir__is_replaced_under_the_hands_of_others)
{
    struct writer w = {.l2 = begin()};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, write_on, &w), 0);
    }
    for (int i = 0; i < 3; i++) {
        remove_all();
        CHECK_OK(mkdir(root, 0700));
        (void)usleep(2000);
        CHECK_OK(put(w.l2, "mine", "1", 1));
    }
    atomic_store(&w.stop, true);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    end(w.l2);
}

/* A directory in the place of a file gives EIO. */
static void make_unreadable(const char *path)
{
    CHECK_OK(unlink(path));
    CHECK_OK(mkdir(path, 0700));
}

static int room_of_none(void *arg, const struct ds_l2_meta *meta, struct ds_l2_span *ret)
{
    (void)arg, (void)meta;
    *ret = (struct ds_l2_span){.fd = -1};
    return 0;
}

/* What the circuit breaker goes by: trouble of one object is no trouble of all. */
DS_TEST(dir__one_object_that_cannot_be_read_is_no_silence)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_item item = item_of("a", "2", 2);
    char path[600];

    CHECK_OK(put(l2, "a", "1", 1));
    (void)snprintf(path, sizeof(path), "%s/%02x/k-a", root, ds_l2_shard("a", 1));
    make_unreadable(path);
    for (int well = 1; well >= 0; well--) {
        struct ds_l2_call calls[3] = {{0}};
        struct ds_l2_meta meta;

        CHECK_EQ(ds_l2_get(l2, &calls[0], "a", 1, room_of_none, NULL, &meta), DS_EIO);
        CHECK_EQ(ds_l2_head(l2, &calls[1], "a", 1, false, &meta), DS_EIO);
        CHECK_EQ(ds_l2_put(l2, &calls[2], &item), DS_EIO);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(calls[i].answered, well);
        }
        (void)snprintf(path, sizeof(path), "%s/FORMAT", root);
        if (well) {
            make_unreadable(path);
        }
    }
    end(l2);
}

DS_TEST(dir__is_full_or_refuses_and_that_is_an_answer)
{
    const int answers[] = {ENOSPC, EDQUOT, EACCES, EROFS};
    const int others[] = {EIO, ESTALE, ENOMEM};

    for (size_t i = 0; i < DS_ARRAY_SIZE(answers); i++) {
        struct ds_l2_call one = {0};

        (void)ds_l2_dir_fail(&one, answers[i], "write", "x");
        CHECK(one.answered);
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(others); i++) {
        struct ds_l2_call one = {0};

        (void)ds_l2_dir_fail(&one, others[i], "write", "x");
        CHECK(!one.answered);
    }
}
