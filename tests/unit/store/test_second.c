/* SPDX-License-Identifier: Apache-2.0 */
/* test_second.c - write modes and misses with second-level storage that does what the test says. */
#include "base/alloc.h"
#include "second_scene.h"

DS_TEST(second__write_through_shows_nothing_before_it_is_stored)
{
    struct scene c;

    scene_init(&c, MIB);
    post_set(&c, 1, "a", 1000, DS_WRITE_THROUGH, 0, 0);
    settle(&c.w);
    CHECK(!req_done(c.p, 1));
    CHECK_EQ(ask(&c.w, c.p, DS_OP_REF_COUNT, "a", 0), 0);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    CHECK_EQ(c.t.writes, 0);
    scene_end(&c);
}

DS_TEST(second__a_failed_store_is_told_and_changes_nothing)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_EQ(set_l2(&c, "a", 2000, DS_WRITE_THROUGH), DS_EUNAVAILABLE);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    reclaim(&c.w);
    CHECK_EQ(world_stats(&c.w).memory_granted, 0);
    CHECK_EQ(world_stats(&c.w).memory_doomed, 0);
    CHECK_EQ(ask_l2(&c, DS_OP_DELETE, "a", 0), DS_EUNAVAILABLE);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    squeeze_to_l2(&c);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_EUNAVAILABLE); /* and not: not found */
    c.t.fail_l2 = 0;
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    scene_end(&c);
}

DS_TEST(second__write_back_is_in_the_journal_and_uploaded_later)
{
    struct scene c;

    scene_init(&c, MIB);
    c.w.config.spill = false;
    c.w.s->config.spill = false;
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    CHECK_EQ(c.t.writes, 1);
    CHECK_EQ(fake_used(&c.t), 1);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 0);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 1);
    while (ds_store_make_room(c.w.s, MIB) == DS_ROOM_MADE) { /* to the journal, not to nowhere */
    }
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "a")));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    c.t.fail_l2 = 0;
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(fake_used(&c.t), 0); /* the journal keeps nothing that L2 has */
    scene_squeeze(&c);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(c.t.loads, 1);
    scene_end(&c);
}

DS_TEST(second__overwrites_are_uploaded_once)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    for (unsigned i = 0; i < 10; i++) {
        CHECK_OK(set_l2(&c, "a", 1000 + i, DS_WRITE_BACK));
        (void)fake_work(&c.t);
        CHECK(!fake_at(&c.t, ds_store_place(c.w.s, id_of(&c.w, "a")))->buried);
    }
    c.t.fail_l2 = 0;
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(c.t.stores, 1);
    CHECK_EQ(in_l2(&c, "a"), 1009);
    CHECK_EQ(fake_used(&c.t), 1);
    scene_end(&c);
}

DS_TEST(second__a_full_queue_of_uploads_refuses)
{
    struct scene c;
    char key[32];

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_l2(&c, key, 1000, DS_WRITE_BACK));
    }
    CHECK_EQ(set_l2(&c, "one more", 1000, DS_WRITE_BACK), DS_EQUEUEFULL);
    c.t.fail_l2 = 0;
    for (unsigned i = 0; i < 5; i++) {
        c.w.now.boot_ns += 2000 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK_EQ(c.t.stores, 100);
    CHECK_OK(set_l2(&c, "one more", 1000, DS_WRITE_BACK));
    scene_end(&c);
}

/* Whatever is under way: a key that waits already is not refused, and takes no further place. */
DS_TEST(second__overwrites_take_one_place_in_the_queue)
{
    struct scene c;
    char key[32];

    scene_init(&c, MIB);
    for (unsigned i = 0; i < 99; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        c.t.fail_l2 = DS_EUNAVAILABLE;
        CHECK_OK(set_l2(&c, key, 1000, DS_WRITE_BACK));
    }
    for (unsigned i = 0; i < 300; i++) {
        CHECK_OK(set_l2(&c, "a", 1000 + i, DS_WRITE_BACK));
        c.w.now.boot_ns += 20 * MS;
    }
    CHECK_EQ(world_stats(&c.w).l2_waiting, 100);
    CHECK_EQ(set_l2(&c, "one more", 1000, DS_WRITE_BACK), DS_EQUEUEFULL);
    CHECK_OK(set_l2(&c, "k0", 2000, DS_WRITE_BACK));
    c.t.fail_l2 = 0;
    CHECK_OK(ask_l2(&c, DS_OP_DELETE, "k1", 0)); /* makes room at once */
    CHECK_OK(set_l2(&c, "one more", 1000, DS_WRITE_BACK));
    for (unsigned i = 0; i < 5; i++) {
        c.w.now.boot_ns += 2000 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(in_l2(&c, "a"), 1299);
    CHECK_EQ(in_l2(&c, "k0"), 2000);
    scene_end(&c);
}

/* What the journal has in hand will wait as well: many sets at a time are no way around the limit.
 */
DS_TEST(second__sets_at_the_same_time_do_not_overfill_the_queue)
{
    struct scene c;
    unsigned taken = 0;
    char key[32];

    scene_init(&c, MIB);
    c.w.s->config.upload_max = 10;
    c.t.fail_l2 = DS_EUNAVAILABLE;
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        post_set(&c, 1 + i, key, 1000, DS_WRITE_BACK, 0, 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        work_until_done(&c, 1 + i);
        taken += req_result(c.p, 1 + i, 0)->status == 0;
    }
    CHECK_EQ(taken, 10);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 10);
    scene_end(&c);
}

/* A plain set cannot be refused. It must not have others refused either. */
DS_TEST(second__plain_sets_over_keys_of_l2_do_not_fill_the_queue)
{
    struct scene c;
    char key[32];

    scene_init(&c, MIB);
    c.w.s->config.upload_max = 10;
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_l2(&c, key, 1000, DS_WRITE_THROUGH));
    }
    c.t.fail_l2 = DS_EUNAVAILABLE;
    for (unsigned i = 0; i < 500; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i % 20);
        (void)set(&c.w, c.p, key, 600 + i);
    }
    CHECK_EQ(world_stats(&c.w).l2_waiting, 40); /* of each key one under way, the last one waits */
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof(key), "b%u", i);
        CHECK_OK(set_l2(&c, key, 1000, DS_WRITE_BACK));
    }
    CHECK_EQ(set_l2(&c, "one more", 1000, DS_WRITE_BACK), DS_EQUEUEFULL);
    c.t.fail_l2 = 0;
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "k19"), 1099);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    scene_end(&c);
}

/* A key that is set again and again would never be uploaded behind a long queue. */
DS_TEST(second__an_overwrite_keeps_the_place_of_its_key)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    CHECK_OK(set_l2(&c, "b", 1000, DS_WRITE_BACK));
    CHECK_OK(set_l2(&c, "c", 1000, DS_WRITE_BACK));
    CHECK_OK(set_l2(&c, "a", 1100, DS_WRITE_BACK));
    CHECK_OK(set_l2(&c, "c", 1200, DS_WRITE_BACK));
    CHECK_EQ(c.t.n, 0);
    c.t.limit = 1;
    c.t.fail_l2 = 0;
    c.w.now.boot_ns += 2000 * MS;
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    CHECK_EQ(c.t.queue[0]->size, 1100);
    c.t.limit = FAKE_QUEUE;
    scene_end(&c);
}

DS_TEST(second__a_miss_is_read_once_for_all)
{
    struct scene c;

    scene_init(&c, MIB);
    only_in_l2(&c, "a", 1000);
    for (unsigned i = 0; i < 10; i++) {
        post(&c, i, DS_OP_GET, "a");
    }
    settle(&c.w);
    CHECK(!req_done(c.p, 0));
    for (unsigned i = 0; i < 10; i++) {
        work_until_done(&c, i);
        CHECK_OK(req_result(c.p, i, 0)->status);
    }
    CHECK_EQ(c.t.loads, 1);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    scene_end(&c);
}

DS_TEST(second__exist_and_size_look_without_loading)
{
    struct scene c;

    scene_init(&c, MIB);
    only_in_l2(&c, "a", 1000);
    CHECK_OK(ask_l2(&c, DS_OP_EXIST, "a", 0));
    CHECK_EQ(req_result(c.p, 0, 0)->value, 1000);
    CHECK_EQ(c.t.lookups, 1);
    CHECK_EQ(c.t.loads, 0);
    CHECK_EQ(ask_l2(&c, DS_OP_EXIST, "b", 0), DS_ENOTFOUND);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "b", 0), DS_ENOTFOUND);
    scene_end(&c);
}

DS_TEST(second__a_waiting_get_asks_once_and_goes_on_waiting)
{
    struct scene c;

    scene_init(&c, MIB);
    req_begin(c.p, 5, DS_OP_GET, 0);
    c.p->slot[5].header.timeout_ms = 60000;
    req_key(c.p, 5, "a");
    req_post(c.p, 5);
    settle_tiers(&c.w, &c.t);
    settle_tiers(&c.w, &c.t);
    CHECK(!req_done(c.p, 5));
    CHECK_EQ(c.t.loads, 1);
    (void)set(&c.w, c.p, "a", 500);
    CHECK(req_done(c.p, 5));
    CHECK_OK(req_result(c.p, 5, 0)->status);
    CHECK_EQ(c.t.loads, 1);
    scene_end(&c);
}

DS_TEST(second__a_delete_reaches_l2_first_and_nothing_comes_back)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    post(&c, 2, DS_OP_DELETE, "a");
    settle(&c.w);
    CHECK(!req_done(c.p, 2));
    CHECK(id_of(&c.w, "a") != DS_ID_NONE); /* in memory until L2 has forgotten it */
    work_until_done(&c, 2);
    CHECK_EQ(in_l2(&c, "a"), 0);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);

    only_in_l2(&c, "a", 1100);
    post(&c, 3, DS_OP_GET, "a"); /* a load is under way ... */
    settle(&c.w);
    post(&c, 2, DS_OP_DELETE, "a"); /* ... when it is deleted */
    settle(&c.w);
    work_until_done(&c, 2);
    work_until_done(&c, 3);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    scene_end(&c);
}

DS_TEST(second__a_set_while_it_is_loaded_wins)
{
    struct scene c;

    scene_init(&c, MIB);
    only_in_l2(&c, "a", 1000);
    post(&c, 3, DS_OP_GET, "a");
    settle(&c.w);
    (void)set(&c.w, c.p, "a", 600);
    work_until_done(&c, 3);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(hit(&c.w, c.p, "a"), 600);
    CHECK_EQ(world_stats(&c.w).memory_granted, 0);
    scene_end(&c);
}

DS_TEST(second__a_plain_set_over_a_key_of_l2_is_uploaded)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    settle(&c.w);
    (void)set(&c.w, c.p, "a", 600);
    CHECK_EQ(hit(&c.w, c.p, "a"), 600);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 600);
    scene_end(&c);
}

DS_TEST(second__insert_if_absent_asks_l2)
{
    struct scene c;

    scene_init(&c, MIB);
    only_in_l2(&c, "a", 1000);
    post_set(&c, 1, "a", 2000, DS_WRITE_THROUGH, DS_KIND_ABSENT, 0);
    work_until_done(&c, 1);
    CHECK_EQ(req_result(c.p, 1, 0)->status, DS_UNCHANGED);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    post_set(&c, 1, "b", 2000, DS_WRITE_THROUGH, DS_KIND_ABSENT, 0);
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    CHECK_EQ(in_l2(&c, "b"), 2000);
    for (unsigned i = 0; i < 2; i++) { /* both in one request: it is executed several times */
        struct lent g;

        CHECK_OK(grant(&c.w, c.p, 3000, &g));
        value_fill(&c.w, g.offset, 3000, 3000);
        if (i == 0) {
            req_begin(c.p, 1, DS_OP_SET, 0);
        }
        req_add(
            c.p, 1,
            (struct ds_request_item){
                .id = g.id, .value_size = 3000, .mode = DS_WRITE_THROUGH, .kind = DS_KIND_ABSENT},
            i == 0 ? "a" : "c");
    }
    scene_squeeze(&c);
    req_post(c.p, 1);
    work_until_done(&c, 1);
    CHECK_EQ(req_result(c.p, 1, 0)->status, DS_UNCHANGED);
    CHECK_OK(req_result(c.p, 1, 1)->status);
    CHECK_EQ(in_l2(&c, "c"), 3000);
    reclaim(&c.w);
    CHECK_EQ(world_stats(&c.w).memory_granted, 0);
    scene_end(&c);
}

DS_TEST(second__times_to_live_reach_l2)
{
    struct scene c;

    scene_init(&c, MIB);
    post_set(&c, 1, "a", 1000, DS_WRITE_THROUGH, 0, 1000);
    work_until_done(&c, 1);
    CHECK_OK(set_l2(&c, "b", 1000, DS_WRITE_BACK));
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "b", 2000));
    CHECK(fake_l2(&c.t, "b", 1, false)->expiry_ns > c.w.now.boot_ns);
    scene_squeeze(&c);
    c.w.now.boot_ns += 1100 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "b", 4000)); /* not in memory: comes for it */
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "b", 0));
    scene_squeeze(&c);
    c.w.now.boot_ns += 2100 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "b", 0), DS_ENOTFOUND);
    CHECK_EQ(ask_l2(&c, DS_OP_EXPIRE, "b", 4000), DS_ENOTFOUND);
    scene_end(&c);
}

DS_TEST(second__a_load_waits_for_memory_or_is_refused)
{
    struct scene c;
    struct lent g[16];

    scene_init(&c, MIB);
    only_in_l2(&c, "a", 60 * KIB);
    for (unsigned i = 0; i < 15; i++) {
        CHECK_OK(grant(&c.w, c.p, 64 * KIB, &g[i]));
    }
    CHECK_OK(set_l2(&c, "b", 60 * KIB, DS_WRITE_THROUGH));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0)); /* "b" goes for it */
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "b")));
    CHECK_OK(ask_l2(&c, DS_OP_GET, "b", 0));
    squeeze_to_l2(&c);
    CHECK_OK(grant(&c.w, c.p, 64 * KIB, &g[15]));
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOMEM);
    scene_end(&c);
}

DS_TEST(second__a_client_that_dies_leaves_its_block_to_the_store_under_way)
{
    struct scene c;
    struct peer *q;

    scene_init(&c, MIB);
    q = peer_open(&c.w, 1);
    post_set(&c, 1, "a", 1000, DS_WRITE_THROUGH, 0, 0);
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    peer_close(&c.w, c.p);
    reclaim(&c.w);
    CHECK_EQ(world_stats(&c.w).memory_doomed, 1024);
    settle_tiers(&c.w, &c.t);
    reclaim(&c.w);
    CHECK_EQ(world_stats(&c.w).memory_doomed, 0);
    c.p = q;
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0)); /* durable, though nobody was told */
    scene_end(&c);
}

/* A tombstone for the old value, written behind the journal's record of the new one, would take
 * that along at a power loss. */
DS_TEST(second__a_journal_record_that_was_buried_is_written_again)
{
    struct scene c;

    scene_init(&c, MIB);
    (void)set(&c.w, c.p, "a", 600);
    scene_squeeze(&c);
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "a")));
    CHECK_EQ(c.t.writes, 1);
    post_set(&c, 1, "a", 1000, DS_WRITE_BACK, 0, 0);
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    (void)set(&c.w, c.p, "a", 700); /* buries the copy of 600 */
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    CHECK_EQ(c.t.writes, 3);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    CHECK(!fake_at(&c.t, ds_store_place(c.w.s, id_of(&c.w, "a")))->buried);
    scene_end(&c);
}

DS_TEST(second__survives_the_worker_and_the_memory)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    c.t.fail_l2 = 0;
    post_set(&c, 2, "b", 1100, DS_WRITE_THROUGH, 0, 0);
    settle(&c.w);
    CHECK_EQ(c.t.n, 1); /* the kill comes while "b" is being stored */
    fake_attach_l2(&c.t, &c.w, c.t.disk);
    world_restart(&c.w);
    settle_tiers(&c.w, &c.t);
    work_until_done(&c, 2);
    CHECK_OK(req_result(c.p, 2, 0)->status);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1000); /* uploads resume */
    CHECK_EQ(in_l2(&c, "b"), 1100);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    CHECK_EQ(hit(&c.w, c.p, "b"), 1100);
    scene_end(&c);
}

static void add_set(struct scene *c, unsigned slot, const char *key, uint64_t size,
                    enum ds_write_mode mode, uint8_t kind)
{
    struct lent g;

    CHECK_OK(grant(&c->w, c->p, size, &g));
    value_fill(&c->w, g.offset, size, size);
    req_add(c->p, slot,
            (struct ds_request_item){
                .id = g.id, .value_size = size, .mode = (uint8_t)mode, .kind = kind},
            key);
}

/* What is done is not done again, whatever became of it while others of the batch were waited for.
 */
DS_TEST(second__items_of_a_batch_are_answered_once)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.limit = 1; /* the second item waits until the first is done */
    req_begin(c.p, 1, DS_OP_SET, 0);
    add_set(&c, 1, "a", 1000, DS_WRITE_THROUGH, 0);
    add_set(&c, 1, "b", 1100, DS_WRITE_THROUGH, 0);
    req_post(c.p, 1);
    settle(&c.w);
    CHECK(fake_work(&c.t)); /* "a" */
    settle(&c.w);
    CHECK(!req_done(c.p, 1));
    (void)set(&c.w, c.p, "a", 700); /* replaces it; its record is free for others */
    reclaim(&c.w);
    for (unsigned i = 0; i < 4; i++) {
        struct lent g;

        CHECK_OK(grant(&c.w, c.p, 1000, &g));
    }
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    CHECK_OK(req_result(c.p, 1, 1)->status);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 700);
    CHECK_EQ(hit(&c.w, c.p, "b"), 1100);
    CHECK_EQ(world_stats(&c.w).memory_granted, 4 * 1024);
    c.t.limit = FAKE_QUEUE;
    scene_end(&c);
}

DS_TEST(second__one_block_cannot_be_used_twice)
{
    struct scene c;
    struct lent g;

    scene_init(&c, MIB);
    CHECK_OK(grant(&c.w, c.p, 1000, &g));
    value_fill(&c.w, g.offset, 1000, 1000);
    req_begin(c.p, 1, DS_OP_SET, 0);
    for (unsigned i = 0; i < 2; i++) {
        req_add(c.p, 1,
                (struct ds_request_item){.id = g.id, .value_size = 1000, .mode = DS_WRITE_THROUGH},
                i == 0 ? "a" : "b");
    }
    req_post(c.p, 1);
    settle(&c.w);
    (void)ring_post(c.p, DS_RING_SET,
                    &(struct post){.key = "c", .grant = g, .size = 1000, .ticket = c.w.now.ticks});
    settle(&c.w);
    CHECK_EQ(id_of(&c.w, "c"), DS_ID_NONE);
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    CHECK_EQ(req_result(c.p, 1, 1)->status, DS_EINVAL);
    scene_end(&c);
}

DS_TEST(second__a_disk_object_in_the_journal_leaves_memory_without_a_second_copy)
{
    struct scene c;

    scene_init(&c, MIB);
    req_begin(c.p, 1, DS_OP_SET, 0);
    add_set(&c, 1, "a", 1000, DS_WRITE_BACK, DS_KIND_DISK);
    req_post(c.p, 1);
    work_until_done(&c, 1);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(c.t.writes, 1);
    c.w.now.boot_ns += 100 * MS; /* at first the upload kept it */
    settle_tiers(&c.w, &c.t);
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "a")));
    CHECK_EQ(in_l2(&c, "a"), 1000);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    scene_end(&c);
}

DS_TEST(second__what_the_journal_took_for_nobody_is_buried)
{
    struct scene c;
    struct peer *q;

    scene_init(&c, MIB);
    q = peer_open(&c.w, 1);
    post_set(&c, 1, "a", 1000, DS_WRITE_BACK, 0, 0);
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    peer_close(&c.w, c.p);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(c.t.disk->copy[0].number, 1);
    CHECK(c.t.disk->copy[0].buried);
    CHECK_EQ(fake_used(&c.t), 0);
    c.p = q;
    scene_end(&c);
}

DS_TEST(second__damage_on_disk_is_made_good_from_l2)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    scene_squeeze(&c);
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "a")));
    req_begin(c.p, 0, DS_OP_GET, 0);
    req_key(c.p, 0, "a");
    req_post(c.p, 0);
    settle(&c.w);
    c.t.fail = DS_ECORRUPT;
    CHECK(fake_work(&c.t));
    c.t.fail = 0;
    work_until_done(&c, 0);
    CHECK_OK(req_result(c.p, 0, 0)->status);
    CHECK_EQ(c.t.loads, 1);
    scene_end(&c);
}

/* On disk alone, and to be uploaded. */
static void dirty_on_disk(struct scene *c, const char *key)
{
    c->t.fail_l2 = DS_EIO;
    CHECK_OK(set_l2(c, key, 1000, DS_WRITE_BACK));
    scene_squeeze(c);
    CHECK(ds_store_spilled(c->w.s, id_of(&c->w, key)));
    c->t.fail_l2 = 0;
    CHECK_EQ(world_stats(&c->w).l2_waiting, 1);
}

static void let_pass(struct scene *c, int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 5) {
        c->w.now.boot_ns += 5 * MS;
        settle_tiers(&c->w, &c->t);
    }
}

DS_TEST(second__what_cannot_be_read_for_its_upload_is_lost)
{
    struct scene c;

    scene_init(&c, MIB);
    dirty_on_disk(&c, "a");
    c.t.fail = DS_ECORRUPT;
    let_pass(&c, 1500);
    c.t.fail = 0;
    world_check(&c.w);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(world_stats(&c.w).losses, 1);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    CHECK_EQ(ds_store_next_ns(c.w.s), INT64_MAX); /* nothing is tried again */
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    world_restart(&c.w);
    settle_tiers(&c.w, &c.t);
    world_found(&c.w);
    CHECK_EQ(c.w.found, 0);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    CHECK_OK(set_l2(&c, "a", 1200, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1200);
    world_check(&c.w);
    scene_end(&c);
}

DS_TEST(second__a_disk_that_fails_is_asked_for_an_upload_now_and_then)
{
    struct scene c;

    scene_init(&c, MIB);
    dirty_on_disk(&c, "a");
    let_pass(&c, 1500);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    dirty_on_disk(&c, "b");
    c.t.fail = DS_EIO;
    let_pass(&c, 1500);
    CHECK_LE(world_stats(&c.w).tier_errors, 6);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 1);
    c.t.fail = 0;
    let_pass(&c, 3000);
    CHECK_EQ(in_l2(&c, "b"), 1000);
    scene_end(&c);
}

DS_TEST(second__what_l2_does_not_have_is_not_dropped_for_that)
{
    struct scene c;
    struct ds_store_found f = {.key = "a",
                               .key_size = 1,
                               .size = 1000,
                               .place = 1,
                               .mode = DS_WRITE_NONE,
                               .uploaded = true};

    scene_init(&c, MIB);
    CHECK_OK(ds_store_enter_spilled(c.w.s, &f));
    world_found(&c.w);
    CHECK(!ds_store_droppable(c.w.s, id_of(&c.w, "a")));
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), 0);
    c.t.disk->copy[0].number = 1; /* as if it were there */
    memcpy(c.t.disk->copy[0].key, "a", 2);
    scene_end(&c);
}

DS_TEST(second__write_back_with_a_full_journal_is_write_through)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.capacity = 0;
    c.t.journal_limited = true;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    CHECK_EQ(in_l2(&c, "a"), 1000);
    CHECK_EQ(c.t.writes, 0);
    scene_end(&c);
}

/* An evictable value hides an older one in L2: that must go before it does. */
DS_TEST(second__dropping_a_value_does_not_show_an_older_one)
{
    struct scene c;

    scene_init(&c, MIB);
    c.w.s->config.spill = false;
    only_in_l2(&c, "a", 1000);
    (void)set(&c.w, c.p, "a", 600);
    scene_squeeze(&c);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    scene_end(&c);
}
