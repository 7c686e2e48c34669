/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "l2_dir_scene.h"
#include "tier/l2_dir.h"

/* Where the object of a key is. */
static const char *path_of(const char *key)
{
    static char path[512];
    char name[DS_L2_NAME_MAX + 1];

    (void)ds_l2_name(key, (uint32_t)strlen(key), name);
    (void)snprintf(path, sizeof(path), "%s/%02x/%s", root, ds_l2_shard(key, (uint32_t)strlen(key)),
                   name);
    return path;
}

static int n_temps;

static int count_temp(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type;
    n_temps += strncmp(path + ftw->base, ".t-", 3) == 0;
    return 0;
}

static int temps(void)
{
    n_temps = 0;
    CHECK_EQ(nftw(root, count_temp, 16, FTW_PHYS), 0);
    return n_temps;
}

DS_TEST(dir__returns_what_was_put)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_meta meta;
    struct ds_l2_item item = item_of("a/../b", "value", 7);

    item.meta.mode = 3;
    item.meta.kind = 1;
    item.meta.flags = DS_L2_SEALED;
    item.meta.expiry_unix_ns = INT64_MAX;
    CHECK_OK(ds_l2_put(l2, &call, &item));
    CHECK_OK(put(l2, "empty", "", 1));
    ds_l2_close(l2);
    l2 = reopen();
    CHECK_STR(get(l2, "a/../b"), "value");
    CHECK_STR(get(l2, "empty"), "");
    CHECK_OK(ds_l2_head(l2, &call, "a/../b", 6, false, &meta));
    CHECK(meta.written_unix_ns > 0 && meta.written_unix_ns <= ds_now_ns(CLOCK_REALTIME));
    CHECK_EQ(meta.version, 7);
    CHECK_EQ(meta.size, 5);
    CHECK_EQ(meta.mode, 3);
    CHECK_EQ(meta.kind, 1);
    CHECK_EQ(meta.flags, DS_L2_SEALED);
    CHECK_EQ(meta.expiry_unix_ns, INT64_MAX);
    CHECK_EQ(ds_l2_head(l2, &call, "nobody", 6, false, &meta), DS_ENOTFOUND);
    CHECK_STR(get(l2, "nobody"), "error 3");
    CHECK_EQ(temps(), 0);
    end(l2);
}

static int to_span(void *arg, const struct ds_l2_meta *m, struct ds_l2_span *ret)
{
    (void)m;
    *ret = *(struct ds_l2_span *)arg;
    return 0;
}

DS_TEST(dir__streams_large_values_between_descriptors)
{
    struct ds_l2 *l2 = begin();
    static const uint64_t sizes[] = {1, DS_L2_CHUNK - 1, DS_L2_CHUNK, DS_L2_CHUNK + 1,
                                     3 * DS_L2_CHUNK + 12345};

    for (size_t i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
        uint64_t size = sizes[i];
        int fd = memfd_create("data", MFD_CLOEXEC);
        uint8_t *from = malloc(size);
        uint8_t *to = malloc(size);
        struct ds_l2_span out = {.fd = fd, .offset = 8 * DS_L2_CHUNK};
        struct ds_l2_item item = {.key = "big",
                                  .key_size = 3,
                                  .meta = {.version = i + 1, .size = size},
                                  .value = {.fd = fd, .offset = 4096}};
        struct ds_l2_meta meta;

        for (uint64_t j = 0; j < size; j++) {
            from[j] = (uint8_t)((j * 2654435761u) >> 13);
        }
        CHECK_EQ(pwrite(fd, from, size, 4096), size);
        CHECK_OK(ds_l2_put(l2, &call, &item));
        CHECK_OK(ds_l2_get(l2, &call, "big", 3, to_span, &out, &meta));
        CHECK_EQ(meta.size, size);
        CHECK_EQ(pread(fd, to, size, (off_t)out.offset), size);
        CHECK_MEM(to, from, size);
        free(from);
        free(to);
        close(fd);
    }
    end(l2);
}

DS_TEST(dir__the_greatest_version_wins)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_meta meta;

    CHECK_OK(put(l2, "k", "two", 2));
    CHECK_EQ(put(l2, "k", "one", 1), DS_ESTALE);
    CHECK_STR(get(l2, "k"), "two");
    CHECK_OK(ds_l2_head(l2, &call, "k", 1, false, &meta));
    CHECK_EQ(meta.version, 2);
    CHECK_OK(put(l2, "k", "two", 2)); /* the same again: an answer was lost */
    CHECK_EQ(del(l2, "k", 1), DS_ESTALE);
    CHECK_STR(get(l2, "k"), "two");
    CHECK_OK(del(l2, "k", 3));
    CHECK_STR(get(l2, "k"), "error 3");
    CHECK_EQ(put(l2, "k", "late", 2), DS_ESTALE); /* no resurrection */
    CHECK_STR(get(l2, "k"), "error 3");
    CHECK_OK(ds_l2_head(l2, &call, "k", 1, true, &meta));
    CHECK_EQ(meta.version, 3);
    CHECK_OK(put(l2, "k", "four", 4));
    CHECK_STR(get(l2, "k"), "four");
    CHECK_OK(ds_l2_head(l2, &call, "k", 1, false, &meta));
    CHECK_EQ(meta.version, 4);
    CHECK_OK(del(l2, "never", 9));
    CHECK_EQ(put(l2, "never", "x", 8), DS_ESTALE);
    CHECK_EQ(temps(), 0);
    end(l2);
}

DS_TEST(dir__a_renewal_goes_over_the_version_before_it_only)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_item item = item_of("k", "again", 6);
    uint64_t newer = 1;

    item.renews = true;
    item.newer = &newer;
    CHECK_EQ(ds_l2_put(l2, &call, &item), DS_ESTALE);
    CHECK_EQ(newer, 0);
    CHECK_OK(put(l2, "k", "other", 6)); /* of the same number, too */
    CHECK_EQ(ds_l2_put(l2, &call, &item), DS_ESTALE);
    CHECK_EQ(newer, 6);
    CHECK_STR(get(l2, "k"), "other");
    item.meta.version = 7;
    CHECK_OK(ds_l2_put(l2, &call, &item));
    CHECK_STR(get(l2, "k"), "again");
    item.meta.version = 9; /* what was before it is unknown */
    CHECK_EQ(ds_l2_put(l2, &call, &item), DS_ESTALE);
    CHECK_OK(del(l2, "k", 8));
    item.meta.version = 8;
    CHECK_EQ(ds_l2_put(l2, &call, &item), DS_ESTALE);
    CHECK_STR(get(l2, "k"), "error 3");
    CHECK_EQ(temps(), 0);
    end(l2);
}

DS_TEST(dir__expired_objects_are_absent)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_item item = item_of("k", "v", 1);
    struct ds_l2_meta meta;

    item.meta.expiry_unix_ns = ds_now_ns(CLOCK_REALTIME) - 1;
    CHECK_OK(ds_l2_put(l2, &call, &item));
    CHECK_STR(get(l2, "k"), "error 3");
    CHECK_EQ(ds_l2_head(l2, &call, "k", 1, false, &meta), DS_ENOTFOUND);
    CHECK_OK(ds_l2_head(l2, &call, "k", 1, true, &meta));
    end(l2);
}

DS_TEST(dir__a_batch_gives_each_item_its_own_result)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_item items[100];
    char keys[100][16];
    uint64_t newer[100] = {0};
    int rcs[100];

    for (int i = 0; i < 100; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "key %d", i);
        items[i] = item_of(keys[i], keys[i], 5);
        items[i].newer = &newer[i];
    }
    CHECK_OK(put(l2, "key 17", "newer", 6));
    ds_l2_put_many(l2, &call, items, 100, rcs);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(rcs[i], i == 17 ? DS_ESTALE : 0);
        CHECK_EQ(newer[i], i == 17 ? 6 : 0);
        CHECK_STR(get(l2, keys[i]), i == 17 ? "newer" : keys[i]);
    }
    items[3].key_size = 0;
    ds_l2_put_many(l2, &call, items, 100, rcs);
    CHECK_EQ(rcs[3], DS_EINVAL);
    end(l2);
}

/* --- damage --- */

DS_TEST(dir__every_flipped_byte_is_found)
{
    struct ds_l2 *l2 = begin();
    struct stat st;
    int fd;

    CHECK_OK(put(l2, "k", "some value", 1));
    fd = open(path_of("k"), O_RDWR | O_CLOEXEC);
    CHECK_EQ(fstat(fd, &st), 0);
    for (off_t at = 0; at < st.st_size; at++) {
        uint8_t byte;
        const char *got;

        CHECK_EQ(pread(fd, &byte, 1, at), 1);
        byte ^= 0x40;
        CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
        got = get(l2, "k");
        CHECK(strcmp(got, "error 20") == 0 ||
              ((at == 8 || at == 9) && strcmp(got, "error 28") == 0));
        byte ^= 0x40;
        CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
    }
    CHECK_STR(get(l2, "k"), "some value");
    CHECK_EQ(ftruncate(fd, st.st_size - 1), 0);
    CHECK_STR(get(l2, "k"), "error 20");
    close(fd);
    CHECK_OK(put(l2, "k", "repaired", 1)); /* a put over a damaged object is a repair */
    CHECK_STR(get(l2, "k"), "repaired");
    end(l2);
}

DS_TEST(dir__swapped_chunks_are_found)
{
    struct ds_l2 *l2 = begin();
    size_t size = 2 * DS_L2_CHUNK;
    uint8_t *value = calloc(1, size);
    uint8_t *stored = malloc(2 * DS_L2_CHUNK_STORED);
    struct ds_l2_item item = {.key = "k",
                              .key_size = 1,
                              .meta = {.version = 1, .size = size},
                              .value = {.fd = -1, .memory = value}};
    struct ds_l2_span out = {.fd = -1, .memory = value};
    struct ds_l2_meta meta;
    int fd;

    value[0] = 1;
    CHECK_OK(ds_l2_put(l2, &call, &item));
    fd = open(path_of("k"), O_RDWR | O_CLOEXEC);
    CHECK_EQ(pread(fd, stored, 2 * DS_L2_CHUNK_STORED, 65), 2 * DS_L2_CHUNK_STORED);
    CHECK_EQ(pwrite(fd, stored + DS_L2_CHUNK_STORED, DS_L2_CHUNK_STORED, 65), DS_L2_CHUNK_STORED);
    CHECK_EQ(pwrite(fd, stored, DS_L2_CHUNK_STORED, 65 + (off_t)DS_L2_CHUNK_STORED),
             DS_L2_CHUNK_STORED);
    close(fd);
    CHECK_EQ(ds_l2_get(l2, &call, "k", 1, to_span, &out, &meta), DS_ECORRUPT);
    free(value);
    free(stored);
    end(l2);
}

DS_TEST(dir__a_swapped_file_is_found)
{
    struct ds_l2 *l2 = begin();
    char other[512];

    CHECK_OK(put(l2, "k", "value", 1));
    CHECK_OK(put(l2, "other", "value", 1));
    (void)snprintf(other, sizeof(other), "%s", path_of("other"));
    CHECK_EQ(rename(other, path_of("k")), 0);
    CHECK_STR(get(l2, "k"), "error 20");
    end(l2);
}

DS_TEST(dir__a_directory_of_something_else_is_refused)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_config config = {.type = DS_L2_DIR, .directory = root};
    char err[256] = "";
    char path[128];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/FORMAT", root);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    CHECK_EQ(write(fd, "dsL2dir 2\n", 10), 10);
    close(fd);
    ds_l2_close(l2);
    l2 = NULL;
    CHECK_EQ(ds_l2_open(&config, err, sizeof(err), &l2), DS_EVERSION);
    CHECK(strstr(err, "choose another one") != NULL);
    config.directory = "";
    CHECK_EQ(ds_l2_open(&config, err, sizeof(err), &l2), DS_EINVAL);
    CHECK(strstr(err, "sfs_path") != NULL);
    config.directory = "/proc/nothing";
    CHECK_EQ(ds_l2_open(&config, err, sizeof(err), &l2), DS_EINVAL);
    end(NULL);
}

/* --- faults --- */

#ifdef DS_FAILPOINTS
/* Each system call fails in turn, for each way to fail: the put fails, the old value stays or the
 * new one is whole, nothing is leaked, and the next put works. */
DS_TEST(dir__a_put_survives_every_failing_call)
{
    static const char *const calls[] = {
        "sys.openat", "sys.fdatasync", "sys.fsync",    "sys.pwrite",  "sys.renameat",
        "sys.pread",  "sys.lock_byte", "sys.try_lock", "sys.mkdirat", "alloc"};
    struct ds_l2 *l2 = begin();
    int failed = 0;

    for (size_t c = 0; c < DS_ARRAY_SIZE(calls); c++) {
        for (int n = 1; n < 8; n++) {
            char shard[128];
            char spec[64];
            const char *got;
            char key[32];
            int rc;

            (void)snprintf(key, sizeof(key), "%s %d", calls[c], n);
            if (strcmp(calls[c], "sys.mkdirat") == 0) {
                (void)snprintf(shard, sizeof(shard), "%s/%02x", root,
                               ds_l2_shard(key, (uint32_t)strlen(key)));
                (void)rmdir(shard); /* of an older or half-made directory */
            } else {
                CHECK_OK(put(l2, key, "old", 1));
            }
            (void)snprintf(spec, sizeof(spec), "%s=errno:%d@%d", calls[c], n % 2 ? ENOSPC : EIO, n);
            ds_failpoint_arm(spec);
            rc = put(l2, key, "new", 2);
            ds_failpoint_arm(NULL);
            got = get(l2, key);
            if (rc == 0) {
                CHECK_STR(got, "new");
            } else {
                failed++;
                CHECK(rc == DS_EIO || rc == DS_ENOSPACE || rc == DS_ENOMEM);
                CHECK(strcmp(got, "old") == 0 || strcmp(got, "new") == 0 ||
                      (strcmp(got, "error 3") == 0 && strcmp(calls[c], "sys.mkdirat") == 0));
                CHECK(call.err[0] != '\0');
            }
            CHECK_EQ(temps(), 0);
            CHECK_OK(put(l2, key, "after", 3));
            CHECK_STR(get(l2, key), "after");
        }
    }
    CHECK_GE(failed, 12);
    end(l2);
}

/* What is not on the disk is not acknowledged, and a failed sync is never tried again. */
DS_TEST(dir__a_failed_sync_is_a_failed_put)
{
    struct ds_l2 *l2 = begin();

    CHECK_OK(put(l2, "k", "old", 1));
    ds_failpoint_arm("sys.fdatasync=errno:5@1");
    CHECK_EQ(put(l2, "k", "new", 2), DS_EIO);
    ds_failpoint_arm(NULL);
    CHECK_STR(get(l2, "k"), "old");
    ds_failpoint_arm("sys.fsync=errno:5@1"); /* of the directory */
    CHECK_EQ(put(l2, "k", "new", 2), DS_EIO);
    ds_failpoint_arm("sys.fsync=errno:5@1"); /* what stands against ours may not be durable */
    CHECK_EQ(put(l2, "k", "old", 1), DS_EIO);
    CHECK_EQ(temps(), 0);
    end(l2);
}

/* Of a batch only those fail whose file, or whose directory, was not synced. */
DS_TEST(dir__a_failed_sync_in_a_batch_fails_its_own_put)
{
    static const char *const ring[] = {"", "l2.dir.ring=errno:38;"}; /* at once; one by one */

    for (size_t k = 0; k < DS_ARRAY_SIZE(ring); k++) {
        struct ds_l2 *l2 = begin();
        struct ds_l2_item items[8];
        char keys[8][16];
        char spec[64];
        int rcs[8];
        int failed = 0;

        for (size_t i = 0; i < DS_ARRAY_SIZE(items); i++) {
            (void)snprintf(keys[i], sizeof(keys[i]), "key-%zu", i);
            items[i] = item_of(keys[i], "value", 1);
        }
        (void)snprintf(spec, sizeof(spec), "%ssys.fdatasync=errno:5@3", ring[k]);
        ds_failpoint_arm(spec);
        ds_l2_put_many(l2, &call, items, 8, rcs);
        for (size_t i = 0; i < 8; i++) {
            CHECK_EQ(rcs[i], (i == 2 ? DS_EIO : 0));
        }
        (void)snprintf(spec, sizeof(spec), "%ssys.fsync=errno:5@1", ring[k]);
        ds_failpoint_arm(spec);
        ds_l2_put_many(l2, &call, items, 8, rcs);
        for (size_t i = 0; i < 8; i++) {
            failed += rcs[i] == DS_EIO;
        }
        CHECK(failed >= 1 && failed < 8); /* those of one directory */
        CHECK_EQ(rcs[0], DS_EIO);
        ds_failpoint_arm(NULL);
        CHECK_STR(get(l2, "key-7"), "value");
        CHECK_EQ(temps(), 0);
        end(l2);
    }
}

DS_TEST(dir__short_reads_and_writes_are_continued)
{
    struct ds_l2 *l2 = begin();

    ds_failpoint_arm("sys.pwrite.short=errno:1;sys.pread.short=errno:1");
    CHECK_OK(put(l2, "k", "a value that is cut often", 1));
    CHECK_STR(get(l2, "k"), "a value that is cut often");
    end(l2);
}

DS_TEST(dir__a_full_disk_is_said_so)
{
    struct ds_l2 *l2 = begin();

    ds_failpoint_arm("sys.pwrite=errno:28");
    CHECK_EQ(put(l2, "k", "v", 1), DS_ENOSPACE);
    CHECK(strstr(call.err, "No space left") != NULL);
    end(l2);
}

/* A child is killed at each point of a batch of overwrites, inserts and a delete. */
DS_TEST_TIMEOUT(dir__a_kill_anywhere_leaves_old_or_new, 120)
{
    static const char *const points[] = {
        "l2.dir.mid_write",    "l2.dir.before_sync", "l2.dir.after_sync", "l2.dir.before_rename",
        "l2.dir.after_rename", "l2.dir.before_ack",  "sys.fsync",         "sys.fdatasync",
        "sys.renameat"};
    struct ds_l2 *l2 = begin();
    int kills = 0;

    CHECK_OK(put(l2, "gone", "deleted before", 1));
    CHECK_OK(del(l2, "gone", 2));
    for (uint64_t round = 0; round < DS_ARRAY_SIZE(points) * 4; round++) {
        char before[32];
        char after[32];
        char spec[64];
        const char *got;
        int status;
        int acked[2];
        char seen = 0;
        pid_t pid;

        (void)snprintf(before, sizeof(before), "before %d", (int)round);
        (void)snprintf(after, sizeof(after), "after %d", (int)round);
        CHECK_OK(put(l2, "old", before, 10 + 2 * round));
        CHECK_OK(put(l2, "deleted", before, 10 + 2 * round));
        (void)snprintf(spec, sizeof(spec), "%s=kill@%d", points[round / 4], (int)(round % 4) + 1);
        CHECK_EQ(pipe2(acked, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
            struct ds_l2 *own = reopen();
            struct ds_l2_item items[3] = {item_of("old", after, 11 + 2 * round),
                                          item_of(after, after, 1), item_of("gone", "back", 1)};
            int rcs[3];

            ds_failpoint_arm(spec);
            ds_l2_put_many(own, &call, items, 3, rcs);
            (void)!write(acked[1], "a", 1);
            (void)del(own, "deleted", 11 + 2 * round);
            (void)!write(acked[1], "b", 1);
            _exit(rcs[0] == 0 && rcs[1] == 0 && rcs[2] == DS_ESTALE ? 0 : 1);
        }
        close(acked[1]);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
        kills += WIFSIGNALED(status);
        char answers[3] = "";
        (void)!read(acked[0], answers, 2);
        close(acked[0]);
        seen = answers[0];
        got = get(l2, "old");
        CHECK(strcmp(got, after) == 0 || (seen == 0 && strcmp(got, before) == 0));
        got = get(l2, after);
        CHECK(strcmp(got, after) == 0 || (seen == 0 && strcmp(got, "error 3") == 0));
        got = get(l2, "deleted");
        CHECK(strcmp(got, "error 3") == 0 || (answers[1] == 0 && strcmp(got, before) == 0));
        CHECK_STR(get(l2, "gone"), "error 3");
    }
    CHECK_GE(kills, 20);
    end(l2);
}
#endif

/* --- several workers --- */

enum { WRITERS = 4, ROUNDS = 150 };

static void *write_rounds(void *arg)
{
    struct ds_l2 *l2 = reopen(); /* a descriptor and temporary names of its own, as a worker has */
    struct ds_l2_call own = {0};
    int id = *(int *)arg;

    for (int i = 0; i < ROUNDS; i++) {
        char value[32];
        int version = 1 + (i * 7 + id * 31) % 600; /* comes in no order */
        struct ds_l2_item item;
        int rc;

        (void)snprintf(value, sizeof(value), "version %d", version);
        item = item_of("contended", value, (uint64_t)version);
        rc = version % 5 == 0 ? ds_l2_remove(l2, &own, "contended", 9, (uint64_t)version)
                              : ds_l2_put(l2, &own, &item);
        CHECK(rc == 0 || rc == DS_ESTALE);
    }
    ds_l2_close(l2);
    return NULL;
}

DS_TEST_TIMEOUT(dir__versions_of_a_key_only_grow_whoever_writes, 120)
{
    struct ds_l2 *l2 = begin();
    pthread_t threads[WRITERS];
    int ids[WRITERS];
    uint64_t last = 0;
    struct ds_l2_meta meta;

    for (int i = 0; i < WRITERS; i++) {
        ids[i] = i;
        CHECK_EQ(pthread_create(&threads[i], NULL, write_rounds, &ids[i]), 0);
    }
    while (last < 590) { /* 599 or 600 are written by somebody in the end */
        int rc = ds_l2_head(l2, &call, "contended", 9, true, &meta);

        CHECK(rc == 0 || (rc == DS_ENOTFOUND && last == 0));
        if (rc == 0) {
            CHECK_GE(meta.version, last);
            last = meta.version;
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(temps(), 0);
    end(l2);
}

/* --- list and gc --- */

struct listed {
    int n, tombstones, corrupt;
};

static int count_entry(void *arg, const struct ds_l2_entry *e)
{
    struct listed *l = arg;

    l->n++;
    l->corrupt += e->status == DS_ECORRUPT;
    l->tombstones += e->status == 0 && (e->meta.flags & DS_L2_TOMBSTONE) != 0;
    CHECK(e->status != 0 || e->key_size > 0);
    return 0;
}

static int end_list(void *arg, const struct ds_l2_entry *e)
{
    (void)arg, (void)e;
    return DS_EINTERRUPTED;
}

DS_TEST(dir__list_shows_everything)
{
    struct ds_l2 *l2 = begin();
    struct listed l = {0};
    int fd;

    CHECK_OK(put(l2, "a", "1", 1));
    CHECK_OK(put(l2, "b", "1", 1));
    CHECK_OK(del(l2, "c", 1));
    fd = open(path_of("a"), O_WRONLY | O_TRUNC | O_CLOEXEC);
    close(fd);
    CHECK_OK(ds_l2_list(l2, &call, count_entry, &l));
    CHECK_EQ(l.n, 3);
    CHECK_EQ(l.tombstones, 1);
    CHECK_EQ(l.corrupt, 1);
    CHECK_EQ(ds_l2_list(l2, &call, end_list, NULL), DS_EINTERRUPTED);
    end(l2);
}

DS_TEST(dir__gc_takes_only_what_is_old_and_needless)
{
    struct ds_l2 *l2 = begin();
    int64_t now = ds_now_ns(CLOCK_REALTIME);
    struct ds_l2_gc gc = {.now_unix_ns = now + HOUR_NS - 60 * (int64_t)1000000000,
                          .tombstone_age_ns = HOUR_NS,
                          .unfinished_age_ns = HOUR_NS};
    struct ds_l2_item item = item_of("expired", "v", 1);
    char temp[128];
    int lock;
    int fd;

    item.meta.expiry_unix_ns = now;
    CHECK_OK(ds_l2_put(l2, &call, &item));
    CHECK_OK(put(l2, "kept", "v", 1));
    CHECK_OK(del(l2, "removed", 1));
    (void)snprintf(temp, sizeof(temp), "%s/%02x/.t-left-over", root, ds_l2_shard("kept", 4));
    fd = open(temp, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);

    CHECK_OK(ds_l2_gc(l2, &call, &gc)); /* a minute too early for all */
    CHECK_EQ(gc.tombstones + gc.expired + gc.unfinished, 0);
    CHECK_EQ(gc.objects, 3);
    CHECK_EQ(gc.gone, 2);
    CHECK(gc.whole);

    gc = (struct ds_l2_gc){.now_unix_ns = now + 2 * HOUR_NS,
                           .tombstone_age_ns = HOUR_NS,
                           .unfinished_age_ns = HOUR_NS,
                           .dry_run = true};
    CHECK_OK(ds_l2_gc(l2, &call, &gc));
    CHECK_EQ(gc.tombstones + gc.expired + gc.unfinished, 3);
    CHECK_EQ(temps(), 1);

    lock = open(temp, O_RDONLY | O_CLOEXEC); /* somebody writes it, however long that takes */
    CHECK_EQ(flock(lock, LOCK_EX), 0);
    gc = (struct ds_l2_gc){.now_unix_ns = now + 2 * HOUR_NS,
                           .tombstone_age_ns = HOUR_NS,
                           .unfinished_age_ns = HOUR_NS};
    CHECK_OK(ds_l2_gc(l2, &call, &gc));
    CHECK_EQ(gc.tombstones, 1);
    CHECK_EQ(gc.expired, 1);
    CHECK_EQ(gc.unfinished, 0);
    CHECK_EQ(gc.objects, 1);
    CHECK_EQ(gc.gone, 0);
    close(lock);
    gc.unfinished = 0;
    CHECK_OK(ds_l2_gc(l2, &call, &gc));
    CHECK_EQ(gc.unfinished, 1);
    CHECK_EQ(temps(), 0);
    CHECK_STR(get(l2, "kept"), "v");
    CHECK_EQ(access(path_of("removed"), F_OK), -1);
    end(l2);
}

/* What it counts stands for all there is: a directory that was not read, or a walk that ended, must
 * not pass for storage that holds less. */
DS_TEST(dir__gc_says_whether_it_saw_all)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_gc gc = {.tombstone_age_ns = HOUR_NS, .unfinished_age_ns = HOUR_NS};
    struct ds_l2_gc again = gc;
    struct ds_l2_call late = {.deadline_ns = 1};

    CHECK_OK(put(l2, "a", "v", 1));
    CHECK_OK(ds_l2_gc(l2, &call, &gc));
    CHECK(gc.whole && gc.objects == 1);
    CHECK_EQ(gc.bytes, ds_l2_object_size(1, 1));
    CHECK_EQ(ds_l2_gc(l2, &late, &gc), DS_ETIMEOUT);
    CHECK(!gc.whole);
    ds_l2_close(l2);
    l2 = reopen(); /* its shards are not open yet */
    ds_failpoint_arm("sys.openat=errno:13@4");
    CHECK_EQ(ds_l2_gc(l2, &call, &again), DS_EDENIED);
    CHECK(!again.whole);
    end(l2);
}

/* Asking costs no system call; calls look, but not each of them. */
DS_TEST(dir__knows_the_room_of_its_file_system)
{
    struct ds_l2 *l2 = begin();
    struct ds_l2_dir *dir = (struct ds_l2_dir *)l2;
    struct ds_l2_space space;
    struct statvfs fs;

    CHECK_OK(statvfs(root, &fs));
    ds_l2_space(l2, &space);
    CHECK_EQ(space.capacity, (uint64_t)fs.f_blocks * fs.f_frsize);
    CHECK(space.free > 0 && space.free <= space.capacity);
    atomic_store(&dir->free, 1);
    CHECK_STR(get(l2, "a"), "error 3");
    ds_l2_space(l2, &space);
    CHECK_EQ(space.free, 1); /* within the same second */
    atomic_store(&dir->look_ns, 0);
    CHECK_STR(get(l2, "a"), "error 3");
    ds_l2_space(l2, &space);
    CHECK(space.free > 1);
    end(l2);
}

/* An NFS client renames what is removed while it is open, others leave their own. */
DS_TEST(dir__files_of_the_system_are_no_objects)
{
    struct ds_l2 *l2 = begin();
    struct listed l = {0};
    struct ds_l2_gc gc = {.tombstone_age_ns = HOUR_NS, .unfinished_age_ns = HOUR_NS};
    const char *object = path_of("a");
    char path[512];

    CHECK_OK(put(l2, "a", "v", 1));
    (void)snprintf(path, sizeof(path), "%.*s.nfs00000000000000a1",
                   (int)(strrchr(object, '/') + 1 - object), object);
    CHECK_OK(link(object, path));
    CHECK_OK(ds_l2_list(l2, &call, count_entry, &l));
    CHECK_EQ(l.n, 1);
    CHECK_OK(ds_l2_gc(l2, &call, &gc));
    CHECK(gc.objects == 1 && gc.corrupt == 0);
    CHECK_OK(access(path, F_OK));
    end(l2);
}

DS_TEST(dir__a_call_ends_at_its_deadline_or_stop)
{
    struct ds_l2 *l2 = begin();
    atomic_bool stop = true;
    struct ds_l2_call late = {.deadline_ns = 1};
    struct ds_l2_call stopped = {.stop = &stop};
    struct ds_l2_item item = item_of("k", "v", 1);

    CHECK_EQ(ds_l2_put(l2, &late, &item), DS_ETIMEOUT);
    CHECK_EQ(ds_l2_put(l2, &stopped, &item), DS_ESHUTDOWN);
    CHECK_EQ(temps(), 0);
    CHECK_STR(get(l2, "k"), "error 3");
    end(l2);
}
