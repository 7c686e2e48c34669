/* SPDX-License-Identifier: Apache-2.0 */
/* test_reserver.c - pages behind the data segment, ahead of their use. */
#include <poll.h>

#include "base/atomics.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "harness/ds_test.h"
#include "worker/worker.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE (64 * MIB)
#define STEP (8 * MIB)

static struct ds_reserver reserver;
static int memory;

static void start(uint64_t ahead)
{
    memory = ds_sys_memfd_sealed("test", SIZE);
    CHECK_GE(memory, 0);
    CHECK_OK(ds_reserver_start(&reserver, memory, SIZE, 0, ahead));
}

static void stop(void)
{
    ds_reserver_stop(&reserver);
    ds_sys_close(memory);
}

static uint64_t ready(void)
{
    return ds_load_acquire(&reserver.ready);
}

static void wait_for_news(void)
{
    struct pollfd p = {.fd = reserver.news, .events = POLLIN};

    CHECK_EQ(poll(&p, 1, 30000), 1);
    ds_sys_event_take(reserver.news);
}

DS_TEST(used__keeps_what_is_ahead_ready)
{
    start(2 * STEP);
    ds_reserver_used(&reserver, 0);
    while (ready() < 2 * STEP) {
        (void)poll(NULL, 0, 1);
    }
    ds_reserver_used(&reserver, 3 * STEP);
    while (ready() < 5 * STEP) {
        (void)poll(NULL, 0, 1);
    }
    ds_reserver_used(&reserver, SIZE); /* beyond the end there is nothing to reserve */
    while (ready() < SIZE) {
        (void)poll(NULL, 0, 1);
    }
    stop();
    CHECK_EQ(ready(), SIZE);
}

DS_TEST(more__rings_when_it_is_there)
{
    start(STEP);
    CHECK(ds_reserver_more(&reserver, 0, 20 * MIB));
    wait_for_news();
    CHECK_GE(ready(), 20 * MIB);
    stop();
}

DS_TEST(more__rings_at_once_for_what_came_unseen)
{
    start(STEP);
    ds_reserver_used(&reserver, SIZE);
    while (ready() < SIZE) {
        (void)poll(NULL, 0, 1);
    }
    CHECK(ds_reserver_more(&reserver, SIZE - STEP, MIB)); /* the last step came unseen */
    wait_for_news();
    CHECK(!ds_reserver_more(&reserver, SIZE, MIB)); /* all is known */
    stop();
}

DS_TEST(more__says_that_the_machine_has_none)
{
    ds_failpoint_arm("sys.memory_available=errno:12");
    start(STEP);
    CHECK(ds_reserver_more(&reserver, 0, MIB));
    wait_for_news(); /* there will be none */
    CHECK_EQ(ready(), UINT64_C(0));
    CHECK(!ds_reserver_more(&reserver, 0, MIB));
    ds_failpoint_arm(NULL);
    CHECK(ds_reserver_more(&reserver, 0, MIB)); /* the next one tries again */
    wait_for_news();
    CHECK_GE(ready(), MIB);
    stop();
}
