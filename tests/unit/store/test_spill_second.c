/* SPDX-License-Identifier: Apache-2.0 */
/* test_spill_second.c - memory, disk and second-level storage one below the other. */
#include "second_scene.h"

static bool on_disk(struct scene *c, const char *key)
{
    uint32_t id = id_of(&c->w, key);

    return id != DS_ID_NONE && ds_store_spilled(c->w.s, id);
}

/* Only in memory before. */
static void put_plain(struct scene *c, const char *key, enum ds_write_mode mode)
{
    (void)set_post(&c->w, c->p, (struct post){.key = key, .size = 700, .mode = mode});
    settle(&c->w);
}

DS_TEST(spill_second__what_l2_has_goes_to_disk_first)
{
    struct scene c;

    scene_init(&c, MIB);
    only_in_l2(&c, "loaded", 1200);
    CHECK_OK(set_l2(&c, "through", 1000, DS_WRITE_THROUGH));
    CHECK_OK(set_l2(&c, "back", 1100, DS_WRITE_BACK));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "loaded", 0));
    settle_tiers(&c.w, &c.t);
    scene_squeeze(&c);
    CHECK(on_disk(&c, "through") && on_disk(&c, "back") && on_disk(&c, "loaded"));
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(ask_l2(&c, DS_OP_GET, "through", 0));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "back", 0));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "loaded", 0));
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "through"), 1000);
    CHECK_EQ(hit(&c.w, c.p, "back"), 1100);
    CHECK_EQ(hit(&c.w, c.p, "loaded"), 1200);
    CHECK_EQ(c.t.loads, 1);
    c.t.fail_l2 = 0;
    scene_end(&c);
}

DS_TEST(spill_second__admission_holds_for_it)
{
    struct scene c;

    scene_init(&c, MIB);
    c.w.s->config.spill_second = true;
    CHECK_OK(set_l2(&c, "unread", 1000, DS_WRITE_THROUGH));
    CHECK_OK(set_l2(&c, "read", 1100, DS_WRITE_THROUGH));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "read", 0));
    scene_squeeze(&c);
    CHECK_EQ(id_of(&c.w, "unread"), DS_ID_NONE);
    CHECK(on_disk(&c, "read"));
    CHECK_EQ(world_stats(&c.w).spill_refusals, 1);
    scene_end(&c);
}

DS_TEST(spill_second__the_disk_drops_it_first)
{
    struct scene c;

    scene_init(&c, MIB);
    put_plain(&c, "evict", DS_WRITE_NONE_EVICT);
    put_plain(&c, "none", DS_WRITE_NONE);
    scene_squeeze(&c);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    CHECK_OK(set_l2(&c, "b", 1000, DS_WRITE_THROUGH));
    scene_squeeze(&c);
    CHECK(on_disk(&c, "evict") && on_disk(&c, "none") && on_disk(&c, "a") && on_disk(&c, "b"));
    CHECK_OK(ds_store_check(c.w.s));
    CHECK_EQ(ds_store_drop_disk(c.w.s, 900), 1000);
    CHECK(!on_disk(&c, "a") && on_disk(&c, "b")); /* the older one, though "evict" is older still */
    CHECK_EQ(ds_store_drop_disk(c.w.s, 1001), 1700);
    CHECK(!on_disk(&c, "b") && !on_disk(&c, "evict") && on_disk(&c, "none"));
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), 0);
    CHECK_OK(ds_store_check(c.w.s));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    scene_end(&c);
}

DS_TEST(spill_second__a_full_disk_leaves_it_to_l2)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.capacity = 0;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    scene_squeeze(&c);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(c.t.writes, 0);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    scene_end(&c);
}

/* The disk takes no more and gives nothing up just now: writers leave a block for what it has. */
DS_TEST(spill_second__a_full_memory_keeps_a_block_for_its_readers)
{
    struct scene c;
    struct lent g;
    int rc = 0;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 60 * KIB, DS_WRITE_THROUGH));
    scene_squeeze(&c);
    CHECK(on_disk(&c, "a"));
    CHECK_EQ(c.w.s->lower.n, 0);
    c.t.capacity = 0;
    c.w.s->lower_freed = MIB; /* the log has not made room of what was dropped */
    put_plain(&c, "none", DS_WRITE_NONE);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_NONE);
    for (unsigned i = 0; rc == 0; i++) {
        rc = grant(&c.w, c.p, 60 * KIB, &g);
        CHECK(i < 20);
    }
    CHECK_EQ(rc, DS_ENOMEM);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 60 * KIB);
    CHECK_EQ(c.t.loads, 0);
    scene_end(&c);
}

/* With the memory of a killed worker the copies are known, and served. */
DS_TEST(spill_second__stays_over_a_restart_of_the_worker)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    scene_squeeze(&c);
    world_restart(&c.w);
    settle_tiers(&c.w, &c.t);
    CHECK(on_disk(&c, "a"));
    CHECK_OK(ds_store_check(c.w.s));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(c.t.loads, 0);
    CHECK_EQ(c.t.reads, 1);
    scene_end(&c);
}

/* A set over a copy that a worker which knows it alone would compare with L2 first need not wait
 * for its tombstone to last. */
DS_TEST(spill_second__an_overwrite_waits_for_l2_alone)
{
    struct scene c;
    uint64_t place;

    scene_init(&c, MIB);
    c.t.keeps = true;
    c.t.hold_burials = true;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    scene_squeeze(&c);
    CHECK(on_disk(&c, "a"));
    place = ds_store_place(c.w.s, id_of(&c.w, "a"));
    CHECK_OK(set_l2(&c, "a", 1100, DS_WRITE_THROUGH));
    CHECK(fake_at(&c.t, place)->buried);
    CHECK_EQ(c.t.bury_n, 0);
    scene_squeeze(&c);
    CHECK_OK(ask_l2(&c, DS_OP_DELETE, "a", 0));
    CHECK_EQ(c.t.bury_n, 0);
    scene_end(&c);
}

/* A plain set over a key of L2 is to be uploaded: what the disk has of it says so. */
DS_TEST(spill_second__a_copy_that_l2_lacks_says_so)
{
    struct scene c;

    scene_init(&c, MIB);
    c.w.s->config.journal = false;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    c.t.fail_l2 = DS_EUNAVAILABLE;
    (void)set(&c.w, c.p, "a", 600);
    settle_tiers(&c.w, &c.t);
    scene_squeeze(&c);
    CHECK(on_disk(&c, "a"));
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), 0);
    CHECK(!fake_at(&c.t, ds_store_place(c.w.s, id_of(&c.w, "a")))->uploaded);
    c.t.fail_l2 = 0;
    for (unsigned i = 0; i < 3; i++) {
        c.w.now.boot_ns += 2000 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK_EQ(in_l2(&c, "a"), 600);
    CHECK(fake_at(&c.t, ds_store_place(c.w.s, id_of(&c.w, "a")))->uploaded);
    scene_end(&c);
}

/* Memory is served without its disk: of what L2 has, from there. */
DS_TEST(spill_second__without_the_disk_l2_serves)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    put_plain(&c, "none", DS_WRITE_NONE);
    scene_squeeze(&c);
    CHECK(on_disk(&c, "a") && on_disk(&c, "none"));
    world_restart(&c.w);
    ds_store_without_disk(c.w.s);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK(on_disk(&c, "none"));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(c.t.loads, 1);
    CHECK_OK(ds_store_check(c.w.s));
    scene_end(&c);
}
