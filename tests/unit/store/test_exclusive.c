/* SPDX-License-Identifier: Apache-2.0 */
/* test_exclusive.c - while a full disk drops objects that are nowhere else, what is read back
 * leaves no copy there. */
#include "spill_scene.h"

static bool copied(struct scene *c, const char *key)
{
    return ds_store_place(c->w.s, id_of(&c->w, key)) != 0;
}

static void evictable(struct scene *c, const char *key)
{
    CHECK_OK(set_mode(c, key, 1000, DS_WRITE_NONE_EVICT, 0));
}

/* "old" was dropped from disk, where `b` and "c" are. */
static void begin(struct scene *c, enum ds_write_mode b)
{
    scene_init(c, MIB);
    evictable(c, "old");
    scene_squeeze(c);
    CHECK_OK(set_mode(c, "b", 1000, b, 0));
    evictable(c, "c");
    scene_squeeze(c);
    CHECK(spilled(c, "b") && spilled(c, "c"));
    CHECK_EQ(ds_store_disk_dropped(c->w.s), 0);
    CHECK_EQ(ds_store_drop_disk(c->w.s, 1), 1000);
    CHECK_EQ(ds_store_disk_dropped(c->w.s), 1000);
    CHECK_EQ(id_of(&c->w, "old"), DS_ID_NONE);
}

DS_TEST(exclusive__copies_stay_while_nothing_is_dropped)
{
    struct scene c;

    scene_init(&c, MIB);
    evictable(&c, "a");
    scene_squeeze(&c);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    CHECK(copied(&c, "a"));
    scene_squeeze(&c);
    CHECK(spilled(&c, "a"));
    CHECK_EQ(c.t.writes, 1u);
    scene_end(&c);
}

/* As many bytes as were dropped, and no more: a disk that is only read is not written. */
DS_TEST(exclusive__a_copy_goes_instead_of_another_object)
{
    struct scene c;

    begin(&c, DS_WRITE_NONE_EVICT);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    CHECK_OK(ask_disk(&c, DS_OP_GET, "c", 0));
    CHECK(!copied(&c, "b"));
    CHECK(copied(&c, "c"));
    CHECK_EQ(hit(&c.w, c.p, "b"), 1000);
    CHECK_EQ(c.t.writes, 3u);
    scene_squeeze(&c);
    CHECK(spilled(&c, "b") && spilled(&c, "c"));
    CHECK_EQ(c.t.writes, 4u);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    CHECK_EQ(hit(&c.w, c.p, "b"), 1000);
    CHECK(copied(&c, "b"));
    scene_end(&c);
}

/* Else a delete, which knows of no copy, would be followed by it after a restart. */
DS_TEST(exclusive__the_copy_is_buried)
{
    struct scene c;

    begin(&c, DS_WRITE_NONE_EVICT);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    settle_tiers(&c.w, &c.t);
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        const struct fake_copy *copy = &c.t.disk->copy[i];

        CHECK(strcmp(copy->key, "b") != 0 || (copy->dead && copy->buried));
    }
    scene_end(&c);
}

/* It would find the disk full when it must leave memory again. */
DS_TEST(exclusive__what_may_not_be_dropped_keeps_its_copy)
{
    struct scene c;

    begin(&c, DS_WRITE_NONE);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    CHECK(copied(&c, "b"));
    scene_end(&c);
}

/* It is in memory for its readers alone. */
DS_TEST(exclusive__what_is_to_live_on_disk_keeps_its_copy)
{
    struct scene c;
    struct ds_request_item item = {
        .value_size = 1000, .mode = DS_WRITE_NONE_EVICT, .kind = DS_KIND_DISK};
    struct lent g;

    begin(&c, DS_WRITE_NONE_EVICT);
    CHECK_OK(grant_disk(&c, 1000, &g));
    value_fill(&c.w, g.offset, 1000, 1000);
    item.id = g.id;
    req_begin(c.p, 1, DS_OP_SET_ABSENT, 0);
    req_add(c.p, 1, item, "disk");
    req_post(c.p, 1);
    disk_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    scene_squeeze(&c);
    CHECK(spilled(&c, "disk"));
    CHECK_OK(ask_disk(&c, DS_OP_GET, "disk", 0));
    CHECK(copied(&c, "disk"));
    scene_end(&c);
}

/* A copy there is worth more than a place for another one. */
DS_TEST(exclusive__copies_stay_on_a_disk_that_fails)
{
    struct scene c;

    begin(&c, DS_WRITE_NONE_EVICT);
    evictable(&c, "bad");
    c.t.fail = DS_EIO;
    scene_squeeze(&c);
    c.t.fail = 0;
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    CHECK(copied(&c, "b"));
    scene_end(&c);
}

DS_TEST(exclusive__copies_stay_on_a_disk_that_is_not_written)
{
    struct scene c;

    begin(&c, DS_WRITE_NONE_EVICT);
    ds_store_keep_copies(c.w.s);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "b", 0));
    CHECK(copied(&c, "b"));
    scene_end(&c);
}

/* It takes no place of anybody. */
DS_TEST(exclusive__an_empty_value_keeps_its_copy)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_mode(&c, "empty", 0, DS_WRITE_NONE_EVICT, 0));
    scene_squeeze(&c);
    CHECK(spilled(&c, "empty"));
    CHECK_OK(ask_disk(&c, DS_OP_GET, "empty", 0));
    CHECK(copied(&c, "empty"));
    scene_end(&c);
}
