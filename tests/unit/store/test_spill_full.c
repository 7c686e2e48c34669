/* SPDX-License-Identifier: Apache-2.0 */
/* test_spill_full.c - an object that finds no room on a full disk: what is dropped for it. */
#include "spill_scene.h"

/* `n` small objects on disk, that may be dropped, and one in memory that must leave it. */
static void full_disk(struct scene *c, unsigned n, uint64_t size)
{
    char key[32];

    scene_init(c, MIB);
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_mode(c, key, 6 * KIB, DS_WRITE_NONE_EVICT, 0));
    }
    CHECK_EQ(ds_store_make_room(c->w.s, MIB), DS_ROOM_COMING);
    settle_tiers(&c->w, &c->t);
    CHECK_EQ(world_stats(&c->w).spilled_objects, n);
    CHECK_OK(set_none(c, "large", size));
    for (int i = 0; i < 4; i++) {
        settle(&c->w);
    }
}

static enum ds_room make_room(struct scene *c)
{
    enum ds_room room = ds_store_make_room(c->w.s, MIB);

    settle_tiers(&c->w, &c->t);
    return room;
}

/* A log that gives room for it only when nearly all is gone: it goes on until then. */
DS_TEST(spill_full__a_large_object_may_need_several_rounds)
{
    struct scene c;

    full_disk(&c, 8, 30 * KIB);
    c.t.capacity = 1;
    for (int i = 0; i < 10 && !spilled(&c, "large"); i++) {
        CHECK_EQ(make_room(&c), DS_ROOM_COMING);
    }
    CHECK(spilled(&c, "large"));
    CHECK_EQ(world_stats(&c.w).drops, 8);
    scene_end(&c);
}

/* All is dropped, and no room comes of it: nobody waits for that for ever. */
DS_TEST(spill_full__what_gives_no_room_is_not_waited_for)
{
    struct scene c;

    full_disk(&c, 8, 30 * KIB);
    c.t.capacity = 0;
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(make_room(&c), DS_ROOM_COMING);
        c.w.now.boot_ns += 100 * MS;
    }
    CHECK_EQ(world_stats(&c.w).drops, 8);
    c.w.now.boot_ns += 3000 * MS;
    for (int i = 0; i < 3 && make_room(&c) != DS_ROOM_NONE; i++) {
        c.w.now.boot_ns += 1; /* it looks at all there is */
    }
    CHECK_EQ(make_room(&c), DS_ROOM_NONE);
    CHECK(!spilled(&c, "large"));
    c.t.capacity = 1;
    c.w.now.boot_ns += 1000 * MS;
    CHECK_EQ(make_room(&c), DS_ROOM_COMING); /* it came after all */
    CHECK(spilled(&c, "large"));
    scene_end(&c);
}

/* It is not full: what it has is read as before. */
DS_TEST(spill_full__nothing_is_dropped_from_a_disk_that_fails)
{
    struct scene c;

    full_disk(&c, 8, 30 * KIB);
    c.t.fail = DS_EIO;
    for (int i = 0; i < 10; i++) {
        (void)make_room(&c);
        c.w.now.boot_ns += 20 * MS;
    }
    CHECK_EQ(world_stats(&c.w).tier_errors, 1);
    CHECK_EQ(world_stats(&c.w).spilled_objects, 8);
    CHECK_EQ(world_stats(&c.w).drops, 0);
    scene_end(&c);
}
