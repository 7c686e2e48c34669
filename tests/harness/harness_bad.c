/* SPDX-License-Identifier: Apache-2.0 */
/* harness_bad.c - tests that must fail, each in its own way; selftest.py says how. */
#include "harness/ds_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

DS_TEST(passes)
{
    int x = 0;

    printf("noise on stdout\n");
    CHECK(1);
    CHECK_OK(0);
    CHECK_EQ(-1, (short)-1);
    CHECK_EQ(UINT64_MAX, UINT64_MAX);
    CHECK_EQ(&x, &x);
    CHECK_NE(-1, UINT64_MAX);
    CHECK_LT(-1, 0u);
    CHECK_LE(2u, 2);
    CHECK_GT(INT64_MAX, INT64_MIN);
    CHECK_GE((size_t)3, 3);
    CHECK_STR("a", "a");
    CHECK_STR((const char *)NULL, (const char *)NULL);
    CHECK_MEM("abc", "abd", 2);
}

DS_TEST(skips)
{
    DS_SKIP("no such device");
}

DS_TEST(check)
{
    CHECK(1 + 1 == 3);
}

DS_TEST(check_eq)
{
    CHECK_EQ(40 + 2, 43u);
}

DS_TEST(check_eq_sign)
{
    CHECK_EQ(-1, UINT64_MAX);
}

DS_TEST(check_lt)
{
    CHECK_LT(7, 7);
}

DS_TEST(check_ok)
{
    CHECK_OK(-12);
}

DS_TEST(check_str)
{
    CHECK_STR("left", "right");
}

DS_TEST(check_str_null)
{
    CHECK_STR("left", NULL);
}

DS_TEST(check_mem)
{
    CHECK_MEM("abc", "abd", 3);
}

static void *fail_in_thread(void *arg)
{
    (void)arg;
    CHECK_EQ(1, 2);
    return NULL;
}

DS_TEST(in_thread)
{
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, fail_in_thread, NULL), 0);
    pthread_join(thread, NULL);
}

DS_TEST(crashes)
{
    raise(SIGSEGV);
}

DS_TEST(exits)
{
    exit(3);
}

DS_TEST_TIMEOUT(hangs, 1)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL); /* nothing that a test does may defeat the limit */
    for (;;) {
        pause();
    }
}

DS_TEST(leaks_fd)
{
    CHECK(open("/dev/null", O_RDONLY) >= 0);
}

/* Stands in for base/alloc.c, which the harness knows by this function only. */
uint64_t ds_alloc_live(void);

static uint64_t live;

uint64_t ds_alloc_live(void)
{
    return live;
}

DS_TEST(leaks_block)
{
    live++;
}

/* Not a failure by itself, but the runner must neither wait for it nor leave it behind. */
DS_TEST(leaves_a_child)
{
    if (fork() == 0) {
        pause();
    }
}
