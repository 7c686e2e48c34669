/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_second_journal.c - a journal that does not take a write-back value: second-level storage
 * does before the set returns, and what the journal has of it all the same does not come back.
 */
#include "second_scene.h"

static const struct fake_copy *copy_of(struct scene *c, uint64_t size)
{
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        if (c->t.disk->copy[i].number != 0 && c->t.disk->copy[i].size == size) {
            return &c->t.disk->copy[i];
        }
    }
    return NULL;
}

DS_TEST(second_journal__a_write_back_that_it_fails_is_write_through)
{
    static const int status[] = {DS_EIO, DS_ENOSPACE, DS_ENOMEM};

    for (unsigned i = 0; i < DS_ARRAY_SIZE(status); i++) {
        struct scene c;

        scene_init(&c, MIB);
        c.t.fail = status[i];
        CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
        CHECK_EQ(in_l2(&c, "a"), 1000);
        CHECK_EQ(c.t.stores, 1);
        settle_tiers(&c.w, &c.t);
        CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
        CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
        c.t.fail = 0;
        CHECK_OK(set_l2(&c, "a", 1100, DS_WRITE_BACK)); /* the next one is journalled */
        CHECK_EQ(c.t.writes, 1);
        settle_tiers(&c.w, &c.t);
        CHECK_EQ(in_l2(&c, "a"), 1100);
        world_check(&c.w);
        scene_end(&c);
    }
}

DS_TEST(second_journal__a_set_that_neither_takes_fails)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail = DS_EIO;
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_EQ(set_l2(&c, "a", 1000, DS_WRITE_BACK), DS_EUNAVAILABLE);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(world_stats(&c.w).memory_granted, 0);
    c.t.fail_l2 = 0;
    CHECK_OK(set_l2(&c, "a", 1100, DS_WRITE_BACK));
    CHECK_EQ(in_l2(&c, "a"), 1100);
    scene_end(&c);
}

/* A sync that failed tells nothing of what was written before it. */
DS_TEST(second_journal__what_it_has_after_an_error_is_buried)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail = DS_EIO;
    c.t.fails_late = true;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    CHECK(copy_of(&c, 1000)->buried);
    scene_end(&c);
}

/* Nothing was written, and a tombstone may wait as long as the disk has no room. */
DS_TEST(second_journal__nobody_waits_for_a_tombstone_where_there_was_no_room)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail = DS_ENOSPACE;
    c.t.hold_burials = true;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    CHECK_EQ(c.t.bury_asked, 0);
    scene_end(&c);
}

/* The tombstone would take the value along that was acknowledged. Its own end buries both. */
DS_TEST(second_journal__the_value_before_stays_until_another_one_is_safe)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    c.t.fail = DS_EIO;
    c.t.fails_late = true;
    CHECK_EQ(set_l2(&c, "a", 1100, DS_WRITE_BACK), DS_EUNAVAILABLE);
    settle_tiers(&c.w, &c.t);
    CHECK(!copy_of(&c, 1000)->buried);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    c.t.fail_l2 = 0;
    CHECK_OK(set_l2(&c, "a", 1200, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1200);
    for (uint64_t size = 1000; size <= 1200; size += 100) {
        CHECK(copy_of(&c, size)->buried);
    }
    scene_end(&c);
}

DS_TEST(second_journal__what_it_may_have_for_nobody_is_buried)
{
    struct scene c;
    struct peer *q;

    scene_init(&c, MIB);
    q = peer_open(&c.w, 1);
    post_set(&c, 1, "a", 1000, DS_WRITE_BACK, 0, 0);
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    c.t.fail = DS_EIO;
    c.t.fails_late = true;
    peer_close(&c.w, c.p);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(in_l2(&c, "a"), 0);
    CHECK(copy_of(&c, 1000)->buried);
    c.p = q;
    scene_end(&c);
}

/* The place in the queue of uploads is given back. */
DS_TEST(second_journal__failures_do_not_fill_the_queue)
{
    struct scene c;
    char key[8];

    scene_init(&c, MIB);
    c.w.s->config.upload_max = 4;
    c.t.fail = DS_EIO;
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_l2(&c, key, 1000, DS_WRITE_BACK));
        CHECK_EQ(in_l2(&c, key), 1000);
    }
    scene_end(&c);
}

/* As it was: whoever sets faster than is uploaded is told, whatever becomes of the journal. */
DS_TEST(second_journal__a_full_queue_refuses_all_the_same)
{
    struct scene c;

    scene_init(&c, MIB);
    c.w.s->config.upload_max = 1;
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 1);
    c.t.fail = DS_EIO;
    c.t.fail_l2 = 0;
    CHECK_EQ(set_l2(&c, "b", 1100, DS_WRITE_BACK), DS_EQUEUEFULL);
    CHECK_EQ(in_l2(&c, "b"), 0);
    CHECK_OK(set_l2(&c, "a", 1200, DS_WRITE_BACK)); /* it has a place, and gives it back */
    CHECK_EQ(in_l2(&c, "a"), 1200);
    CHECK_OK(set_l2(&c, "b", 1100, DS_WRITE_BACK));
    scene_end(&c);
}
