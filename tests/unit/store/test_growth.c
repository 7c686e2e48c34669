/* SPDX-License-Identifier: Apache-2.0 */
/* test_growth.c - index, state and sessions grow only while the machine has memory for it. */
#include "base/failpoint.h"
#include "driver.h"

/* When the machine has no memory left, whatever grows is refused; what is there goes on. */
DS_TEST(growth__is_refused_when_the_machine_has_no_memory_left)
{
    struct world w;
    struct peer *p;
    struct lent g = {0};
    int given = 0;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    (void)set(&w, p, "k", 100);
    ds_failpoint_arm("sys.memory_available=errno:12");
    CHECK_EQ(ask(&w, p, DS_OP_PINS, NULL, 0), DS_ENOMEM);
    while (given < 100000 && grant(&w, p, 64, &g) == 0) {
        given++;
    }
    CHECK_EQ(req_result(p, 63, 0)->status, DS_ENOMEM);
    CHECK_LE(1, given); /* what had memory already */
    CHECK_LT((uint64_t)given * 64, w.config.data_size / 2);
    CHECK_EQ(hit(&w, p, "k"), 100);
    ds_failpoint_arm(NULL);
    CHECK_OK(grant(&w, p, 64, &g));
    CHECK_OK(ask(&w, p, DS_OP_PINS, NULL, 0));
    ds_failpoint_arm("sys.memory_available=errno:12");
    world_restart(&w); /* its pages are there: nothing is refused */
    ds_failpoint_arm(NULL);
    CHECK_EQ(ds_store_find(w.s, "k", 1) != DS_ID_NONE, true);
    world_end(&w);
}
