/* SPDX-License-Identifier: Apache-2.0 */
/* test_l2_later.c - storage that cannot be opened at first. */
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "l2_dir_scene.h"

static char away[80];

static struct ds_l2 *begin_later(void)
{
    static struct ds_l2_config config = {.type = DS_L2_DIR, .directory = root};
    struct ds_l2 *l2 = begin();

    CHECK_OK(put(l2, "a", "value", 1));
    ds_l2_close(l2);
    (void)snprintf(away, sizeof(away), "%s.away", root);
    CHECK_OK(ds_l2_open_later(&config, &l2));
    return l2;
}

/* Tries come with pauses, so it may take a moment. */
static const char *get_soon(struct ds_l2 *l2, const char *key)
{
    int64_t end_ns = ds_monotonic_ns() + 20 * INT64_C(1000000000);
    const char *got;

    do {
        got = get(l2, key);
        (void)usleep(1000);
    } while (strncmp(got, "error", 5) == 0 && ds_monotonic_ns() < end_ns);
    return got;
}

DS_TEST(later__the_first_call_opens)
{
    struct ds_l2 *l2 = begin_later();
    struct ds_l2_space space = {1, 1};

    ds_l2_space(l2, &space);
    CHECK(space.capacity == 0 && space.free == 0); /* not known: it must not open */
    CHECK_STR(get(l2, "a"), "value");
    ds_l2_space(l2, &space);
    CHECK_GT(space.capacity, 0);
    CHECK_STR(get(l2, "b"), "error 3");
    CHECK_OK(put(l2, "a", "newer", 2));
    CHECK_STR(get(l2, "a"), "newer");
    end(l2);
}

DS_TEST(later__what_cannot_be_opened_is_no_missing_key)
{
    struct ds_l2 *l2 = begin_later();
    struct ds_l2_gc gc = {.tombstone_age_ns = HOUR_NS, .unfinished_age_ns = HOUR_NS};
    struct ds_l2_meta meta;

    CHECK_OK(rename(root, away));
    CHECK_STR(get(l2, "a"), "error 1002");
    CHECK(strstr(call.err, root) != NULL);
    CHECK_STR(get(l2, "b"), "error 1002");
    CHECK_EQ(put(l2, "a", "newer", 2), DS_EUNAVAILABLE);
    CHECK_EQ(del(l2, "a", 2), DS_EUNAVAILABLE);
    CHECK_EQ(ds_l2_head(l2, &call, "a", 1, false, &meta), DS_EUNAVAILABLE);
    CHECK_EQ(ds_l2_gc(l2, &call, &gc), DS_EUNAVAILABLE);
    CHECK(access(root, F_OK) < 0); /* a mount point without its mount is another disk */
    CHECK_OK(rename(away, root));
    CHECK_STR(get_soon(l2, "a"), "value");
    CHECK_OK(put(l2, "a", "newer", 2));
    end(l2);
}

DS_TEST(later__an_empty_directory_is_not_used)
{
    struct ds_l2 *l2 = begin_later();

    CHECK_OK(rename(root, away));
    CHECK_OK(mkdir(root, 0700)); /* what lies below a lost mount */
    CHECK_STR(get(l2, "a"), "error 1002");
    CHECK(strstr(call.err, "is empty") != NULL);
    CHECK_OK(rmdir(root)); /* nothing was made in it */
    CHECK_OK(rename(away, root));
    CHECK_STR(get_soon(l2, "a"), "value");
    end(l2);
}

static void *get_once(void *arg)
{
    struct ds_l2_call own = {0};
    char value[256] = "";
    struct ds_l2_meta meta;

    CHECK_OK(ds_l2_get(arg, &own, "a", 1, to_buffer, value, &meta));
    return NULL;
}

DS_TEST(later__calls_wait_for_the_first_try)
{
    struct ds_l2 *l2 = begin_later();
    pthread_t threads[4];

    ds_failpoint_arm("sys.openat=sleep:200@1");
    for (int i = 0; i < 4; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, get_once, l2));
    }
    for (int i = 0; i < 4; i++) {
        CHECK_OK(pthread_join(threads[i], NULL));
    }
    end(l2);
}

static void *head_in_time(void *arg)
{
    int64_t begin_ns = ds_monotonic_ns();
    struct ds_l2_call own = {.deadline_ns = begin_ns + INT64_C(20000000)};
    struct ds_l2_meta meta;
    int rc = ds_l2_head(arg, &own, "a", 1, false, &meta);

    return rc == DS_ETIMEOUT && ds_monotonic_ns() - begin_ns < INT64_C(1500000000) ? arg : NULL;
}

DS_TEST(later__who_waits_keeps_its_deadline)
{
    struct ds_l2 *l2 = begin_later();
    pthread_t threads[3];
    int in_time = 0;

    ds_failpoint_arm("sys.openat=sleep:2000@1");
    for (int i = 0; i < 3; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, head_in_time, l2));
    }
    for (int i = 0; i < 3; i++) {
        void *ret;

        CHECK_OK(pthread_join(threads[i], &ret));
        in_time += ret != NULL;
    }
    CHECK_EQ(in_time, 2); /* the third one opens */
    end(l2);
}
