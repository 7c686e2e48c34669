/* SPDX-License-Identifier: Apache-2.0 */
#include "base/failpoint.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/sys.h"
#include "harness/ds_test.h"

#ifdef DS_FAILPOINTS

static int child(const char *spec)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        ds_failpoint_arm(spec);
        (void)ds_failpoint("here");
        _exit(3);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

DS_TEST(failpoint__fires_at_the_nth_hit_of_its_name)
{
    CHECK_EQ(ds_failpoint("here"), 0); /* nothing is armed */
    ds_failpoint_arm("other=errno:5;here=errno:12@2");
    CHECK_EQ(ds_failpoint("here"), 0);
    CHECK_EQ(ds_failpoint("her"), 0);
    CHECK_EQ(ds_failpoint("here"), -ENOMEM);
    CHECK_EQ(ds_failpoint("here"), 0);
    CHECK_EQ(ds_failpoint("other"), -EIO);
    CHECK_EQ(ds_failpoint("other"), -EIO);
    ds_failpoint_arm(NULL);
    CHECK_EQ(ds_failpoint("other"), 0);
}

DS_TEST(failpoint__may_end_after_some_hits)
{
    unsigned fired = 0;

    ds_failpoint_arm("here=errno:5<2;there=errno:5%2<200");
    CHECK_EQ(ds_failpoint("here"), -EIO);
    CHECK_EQ(ds_failpoint("here"), -EIO);
    CHECK_EQ(ds_failpoint("here"), 0);
    for (unsigned i = 0; i < 200; i++) {
        fired += ds_failpoint("there") != 0;
    }
    CHECK_GT(fired, 0);
    CHECK_LT(fired, 200);
    for (unsigned i = 0; i < 200; i++) {
        CHECK_EQ(ds_failpoint("there"), 0);
    }
    ds_failpoint_arm(NULL);
}

DS_TEST(failpoint__may_be_meant_for_one_program)
{
    ds_failpoint_arm("somebody:here=errno:5;test_base_failpoint:here=errno:12");
    CHECK_EQ(ds_failpoint("here"), -ENOMEM);
    ds_failpoint_arm("somebody:here=errno:5");
    CHECK_EQ(ds_failpoint("here"), 0);
    ds_failpoint_arm(NULL);
}

DS_TEST(failpoint__may_fire_in_one_process_only)
{
    char log[64];
    char mark[80];

    (void)snprintf(log, sizeof(log), "/tmp/ds-failpoint-%d", (int)getpid());
    (void)snprintf(mark, sizeof(mark), "%s.here", log);
    CHECK_EQ(setenv("DS_FAILPOINTS_LOG", log, 1), 0);
    CHECK_EQ(child("here=exit:7!"), 7 << 8);
    CHECK_EQ(child("here=exit:7!"), 3 << 8);
    (void)unlink(mark);
    CHECK_EQ(child("here=exit:7!@1"), 7 << 8);
    (void)unlink(mark);
    (void)unlink(log);
    CHECK_EQ(unsetenv("DS_FAILPOINTS_LOG"), 0);
}

DS_TEST(failpoint__kills_aborts_and_exits)
{
    CHECK_EQ(WTERMSIG(child("here=kill")), SIGKILL);
    CHECK_EQ(WTERMSIG(child("here=abort")), SIGABRT);
    CHECK_EQ(WEXITSTATUS(child("here=exit:9")), 9);
    CHECK_EQ(WEXITSTATUS(child("here=kill@2")), 3);
    CHECK_EQ(WEXITSTATUS(child("nonsense;=;@;x=;here")), 3);
}

DS_TEST(failpoint__reaches_allocations_and_system_calls)
{
    void *p;

    ds_failpoint_arm("alloc=errno:12@1");
    CHECK(ds_zalloc(10, "test") == NULL);
    p = ds_zalloc(10, "test");
    CHECK(p != NULL);
    CHECK_EQ(ds_alloc_live(), 1);
    ds_failpoint_arm("alloc=errno:12@1");
    CHECK(ds_realloc_array(p, 100, 8, "test") == NULL); /* the old block is untouched */
    ds_failpoint_arm("sys.memfd=errno:24");
    CHECK_LT(ds_sys_memfd_sealed("t", 4096), 0);
    ds_failpoint_arm(NULL);
    ds_free(p);
    ds_free(NULL);
}

#endif
