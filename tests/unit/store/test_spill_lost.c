/* SPDX-License-Identifier: Apache-2.0 */
/* Copies that the disk does not have any more, and a disk that cannot be used. */
#include "spill_scene.h"

DS_TEST(spill__a_copy_that_is_lost_on_disk_is_known)
{
    struct scene c;
    uint64_t place;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    CHECK_OK(set_none(&c, "b", 1100));
    scene_squeeze(&c);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0)); /* in memory, with a copy */
    place = ds_store_place(c.w.s, id_of(&c.w, "a"));
    ds_store_lost(c.w.s, "a", 1, place + 100); /* not this one */
    CHECK_EQ(world_stats(&c.w).losses, 0);
    ds_store_lost(c.w.s, "a", 1, place);
    ds_store_lost(c.w.s, "b", 1, ds_store_place(c.w.s, id_of(&c.w, "b")));
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    CHECK_EQ(world_stats(&c.w).losses, 1);
    world_check(&c.w);
    scene_squeeze(&c); /* written again */
    CHECK(spilled(&c, "b"));
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    CHECK_EQ(hit(&c.w, c.p, "b"), 1100);
    CHECK_OK(ask_disk(&c, DS_OP_DELETE, "a", 0));
    world_check(&c.w);
    scene_end(&c);
}

DS_TEST(spill__a_copy_that_the_disk_does_not_have_is_lost_at_once)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    scene_squeeze(&c);
    c.t.gone = true;
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    CHECK_EQ(world_stats(&c.w).losses, 1);
    CHECK_EQ(c.t.bury_asked, 1);
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    CHECK_EQ(world_stats(&c.w).losses, 1);
    CHECK_OK(set_none(&c, "a", 1100));
    CHECK_EQ(hit(&c.w, c.p, "a"), 1100);
    scene_end(&c);
}

static bool no_place(void *arg, uint64_t place, uint64_t size, size_t key_size)
{
    (void)arg;
    return place == 0 || size == 0 || key_size == 0;
}

/* "a" is on disk alone, "b" in memory with a copy; a new worker has both. */
static void both_and_restart(struct scene *c)
{
    scene_init(c, MIB);
    CHECK_OK(set_none(c, "a", 1000));
    CHECK_OK(set_none(c, "b", 1100));
    scene_squeeze(c);
    CHECK_OK(ask_disk(c, DS_OP_GET, "b", 0));
    world_restart(&c->w);
    world_found(&c->w);
    CHECK_EQ(c->w.found, 2);
}

DS_TEST(spill__a_place_that_is_gone_is_a_loss_or_no_matter)
{
    struct scene c;

    both_and_restart(&c);
    ds_store_places(c.w.s, no_place, NULL);
    settle_tiers(&c.w, &c.t);
    world_check(&c.w);
    CHECK_EQ(world_stats(&c.w).losses, 1);
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    scene_squeeze(&c); /* written again */
    CHECK(spilled(&c, "b"));
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    CHECK_EQ(hit(&c.w, c.p, "b"), 1100);
    scene_end(&c);
}

DS_TEST(spill__without_its_disk_a_store_keeps_what_is_in_memory)
{
    struct scene c;

    uint64_t place;
    unsigned writes;

    both_and_restart(&c);
    writes = c.t.writes;
    place = ds_store_place(c.w.s, id_of(&c.w, "b"));
    ds_store_without_disk(c.w.s);
    CHECK_OK(set_none(&c, "c", 1200));
    scene_squeeze(&c);
    CHECK(!spilled(&c, "b") && !spilled(&c, "c"));
    CHECK_EQ(hit(&c.w, c.p, "b"), 1100);
    world_check(&c.w);
    CHECK_OK(ask_disk(&c, DS_OP_DELETE, "c", 0)); /* has no copy */
    CHECK_EQ(c.t.bury_asked, 0);
    CHECK_EQ(c.t.writes, writes);
    world_restart(&c.w); /* with the disk */
    CHECK_EQ(ds_store_place(c.w.s, id_of(&c.w, "b")), place);
    scene_squeeze(&c);
    CHECK(spilled(&c, "b"));
    CHECK_EQ(c.t.writes, writes);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    CHECK_EQ(hit(&c.w, c.p, "b"), 1100);
    scene_end(&c);
}

/* Guests go at once where there is a disk. */
DS_TEST(spill__without_its_disk_a_guest_stays)
{
    struct scene c;
    struct lent g;

    scene_init(&c, MIB);
    CHECK_OK(grant_disk(&c, 1000, &g));
    value_fill(&c.w, g.offset, 1000, 1000);
    req_begin(c.p, 1, DS_OP_SET_ABSENT, 0);
    req_add(c.p, 1, (struct ds_request_item){.id = g.id, .value_size = 1000, .kind = DS_KIND_DISK},
            "g");
    req_post(c.p, 1);
    disk_until_done(&c, 1);
    c.w.now.boot_ns += 200 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK(spilled(&c, "g"));
    CHECK_OK(ask_disk(&c, DS_OP_GET, "g", 0)); /* in memory, with a copy */
    world_restart(&c.w);
    ds_store_without_disk(c.w.s);
    for (int i = 0; i < 5; i++) {
        c.w.now.boot_ns += 200 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK(!spilled(&c, "g"));
    CHECK_EQ(hit(&c.w, c.p, "g"), 1000);
    CHECK_OK(ask_disk(&c, DS_OP_DELETE, "g", 0)); /* the tier is told, and tells that it cannot */
    CHECK_EQ(c.t.bury_asked, 1);
    scene_end(&c);
}
