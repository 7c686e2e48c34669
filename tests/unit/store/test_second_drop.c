/* SPDX-License-Identifier: Apache-2.0 */
/* test_second_drop.c - what becomes of an older value in second-level storage when a plain value of
 * its key is dropped. */
#include "second_scene.h"

static void begin(struct scene *c, bool spill)
{
    scene_init(c, MIB);
    c->w.config.spill = spill;
    c->w.s->config.spill = spill;
}

/* L2 has 1000 bytes, memory 600 of another write, and the worker knows of both. */
static void hide(struct scene *c, bool spill)
{
    begin(c, false);
    only_in_l2(c, "a", 1000);
    c->w.config.spill = spill;
    c->w.s->config.spill = spill;
    (void)set(&c->w, c->p, "a", 600);
}

static void nothing_shows(struct scene *c)
{
    CHECK_EQ(id_of(&c->w, "a"), DS_ID_NONE);
    CHECK_EQ(ask_l2(c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    CHECK_EQ(in_l2(c, "a"), 0);
    CHECK_EQ(world_stats(&c->w).l2_unerased, 0);
}

DS_TEST(second_drop__writers_do_not_depend_on_l2)
{
    struct scene c;
    char key[32];

    begin(&c, false);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    for (unsigned i = 0; i < 200; i++) { /* eight times the memory; grants wait for nothing */
        (void)snprintf(key, sizeof(key), "k%u", i);
        (void)set(&c.w, c.p, key, 40000);
        CHECK_EQ(hit(&c.w, c.p, key), 40000);
    }
    CHECK_GE(world_stats(&c.w).evictions, 150);
    CHECK_EQ(c.t.n, 0); /* L2 was not asked at all: nothing there is known to be older */
    CHECK_EQ(world_stats(&c.w).tier_errors, 0);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 0);
    c.t.fail_l2 = 0;
    scene_end(&c);
}

DS_TEST(second_drop__what_cannot_be_erased_is_dropped_and_counted)
{
    struct scene c;
    struct lent g;

    hide(&c, false);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    CHECK_EQ(c.t.n, 1);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_OK(grant(&c.w, c.p, 512 * KIB, &g)); /* while L2 has not answered */
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 1);
    c.t.fail_l2 = 0;
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    scene_end(&c);
}

/* Its circuit breaker is open. */
DS_TEST(second_drop__storage_that_is_not_asked_is_not_waited_for)
{
    struct scene c;

    hide(&c, false);
    c.t.silent = true;
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 1);
    c.t.silent = false;
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    scene_end(&c);
}

DS_TEST(second_drop__a_tier_that_takes_no_more_is_not_waited_for)
{
    struct scene c;

    hide(&c, false);
    c.t.limit = 0;
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 1);
    c.t.limit = FAKE_QUEUE;
    scene_end(&c);
}

/* More values than L2 is given to erase at a time: key number i is in L2, hidden by memory. */
#define MANY (DS_STORE_ERASES + 44)

static void hide_many(struct scene *c, bool spill)
{
    begin(c, spill);
    for (unsigned i = 0; i < MANY; i++) {
        struct fake_object *o;
        char key[32];

        (void)snprintf(key, sizeof(key), "k%u", i);
        o = fake_l2(&c->t, key, strlen(key), true);
        memcpy(o->key, key, sizeof(key));
        o->order = ++c->t.disk->orders;
        o->mode = DS_WRITE_THROUGH;
        ds_gone_add(c->w.s->gone, ds_store_key_hash(c->w.s, key, strlen(key)), DS_GONE_L2, 1, true);
        (void)set(&c->w, c->p, key, 1000);
    }
    settle(&c->w);
}

/* Keys that only L2 has: a get would find the older value. */
static unsigned showing(struct scene *c)
{
    unsigned n = 0;
    char key[32];

    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        n += id_of(&c->w, key) == DS_ID_NONE && fake_l2(&c->t, key, strlen(key), false) != NULL;
    }
    return n;
}

DS_TEST(second_drop__those_that_l2_has_no_room_for_stay_until_it_has)
{
    struct scene c;

    hide_many(&c, false);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    CHECK_EQ(c.t.n, DS_STORE_ERASES);
    CHECK_EQ(world_stats(&c.w).objects, MANY - DS_STORE_ERASES);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_COMING); /* none may go now */
    CHECK_EQ(showing(&c), DS_STORE_ERASES);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(showing(&c), 0);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    CHECK_EQ(showing(&c), 0);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 0);
    scene_end(&c);
}

DS_TEST(second_drop__a_writer_waits_while_l2_erases_all_it_can)
{
    struct scene c;

    hide_many(&c, false);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    req_begin(c.p, 1, DS_OP_GRANT, MIB);
    c.p->slot[1].header.n = 1;
    c.p->slot[1].header.timeout_ms = 10000;
    req_post(c.p, 1);
    settle(&c.w);
    CHECK(!req_done(c.p, 1));
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    scene_end(&c);
}

/* Its circuit breaker is open: nothing is waited for. */
DS_TEST(second_drop__many_are_dropped_where_l2_is_not_asked)
{
    struct scene c;

    hide_many(&c, false);
    CHECK_EQ(ds_store_make_room(c.w.s, 100 * KIB), DS_ROOM_MADE);
    c.w.s->erasing += DS_STORE_ERASES;
    ds_store_pause_uploads(c.w.s, true);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    CHECK_GE(world_stats(&c.w).l2_unerased, 100);
    c.w.s->erasing -= DS_STORE_ERASES;
    ds_store_pause_uploads(c.w.s, false);
    scene_end(&c);
}

DS_TEST(second_drop__the_disk_keeps_those_that_l2_has_no_room_for)
{
    struct scene c;

    hide_many(&c, false);
    c.t.capacity = FAKE_COPIES;
    c.w.config.spill = true;
    c.w.s->config.spill = true;
    scene_squeeze(&c);
    CHECK_EQ(world_stats(&c.w).spilled_objects, MANY);
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), DS_STORE_ERASES * 1000);
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), 0);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), (MANY - DS_STORE_ERASES) * 1000);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(showing(&c), 0);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 0);
    scene_end(&c);
}

DS_TEST(second_drop__a_get_waits_for_the_erase)
{
    struct scene c;

    hide(&c, false);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    CHECK_EQ(c.t.n, 1);
    post(&c, 3, DS_OP_GET, "a");
    settle(&c.w);
    CHECK(!req_done(c.p, 3));
    work_until_done(&c, 3);
    CHECK_EQ(req_result(c.p, 3, 0)->status, DS_ENOTFOUND);
    nothing_shows(&c);
    scene_end(&c);
}

DS_TEST(second_drop__holds_for_newer_plain_values_and_after_a_restart)
{
    struct scene c;

    hide(&c, false);
    (void)set(&c.w, c.p, "a", 700);
    world_restart(&c.w);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(hit(&c.w, c.p, "a"), 700);
    scene_squeeze(&c);
    nothing_shows(&c);
    scene_end(&c);
}

DS_TEST(second_drop__holds_on_disk)
{
    struct scene c;

    hide(&c, true);
    scene_squeeze(&c);
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "a")));
    CHECK_EQ(in_l2(&c, "a"), 1000);
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), 600);
    settle_tiers(&c.w, &c.t);
    nothing_shows(&c);
    scene_end(&c);
}

DS_TEST(second_drop__holds_for_the_end_of_its_time)
{
    struct scene c;

    begin(&c, false);
    only_in_l2(&c, "a", 1000);
    (void)set_post(
        &c.w, c.p,
        (struct post){.key = "a", .size = 600, .mode = DS_WRITE_NONE_EVICT, .ttl_ms = 100});
    settle(&c.w);
    c.w.now.boot_ns += 200 * MS;
    settle_tiers(&c.w, &c.t);
    nothing_shows(&c);
    scene_end(&c);
}

/* The key is set and dropped once more, with L2 well again. */
static void hidden_again(struct scene *c)
{
    (void)set(&c->w, c->p, "a", 500);
    settle(&c->w);
    CHECK_EQ(ds_store_make_room(c->w.s, MIB), DS_ROOM_MADE);
    settle_tiers(&c->w, &c->t);
    CHECK_EQ(in_l2(c, "a"), 0);
    CHECK_EQ(ask_l2(c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    CHECK_EQ(world_stats(&c->w).l2_unerased, 1);
}

DS_TEST(second_drop__what_could_not_be_erased_is_remembered)
{
    struct scene c;

    hide(&c, false);
    c.t.silent = true;
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 1);
    c.t.silent = false;
    hidden_again(&c);
    scene_end(&c);
}

DS_TEST(second_drop__what_was_not_erased_is_remembered)
{
    struct scene c;

    hide(&c, false);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    settle_tiers(&c.w, &c.t);
    c.t.fail_l2 = 0;
    CHECK_EQ(in_l2(&c, "a"), 1000);
    hidden_again(&c);
    scene_end(&c);
}

/* The next worker knows what the one before has left in L2, and what it was about to erase there.
 */
DS_TEST(second_drop__is_remembered_across_a_kill)
{
    for (int erasing = 0; erasing < 2; erasing++) {
        struct scene c;

        begin(&c, false);
        only_in_l2(&c, "a", 1000);
        if (erasing != 0) {
            (void)set(&c.w, c.p, "a", 600);
            CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
            CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
            CHECK_EQ(c.t.n, 1);
        }
        fake_attach_l2(&c.t, &c.w, c.t.disk); /* the erase is not done */
        c.w.config.spill = false;
        world_restart(&c.w);
        settle_tiers(&c.w, &c.t);
        CHECK_EQ(in_l2(&c, "a"), 1000);
        (void)set(&c.w, c.p, "a", 700);
        CHECK_EQ(hit(&c.w, c.p, "a"), 700);
        scene_squeeze(&c);
        nothing_shows(&c);
        scene_end(&c);
    }
}

/* Nothing is erased for a set of a key whose older value in L2 is gone. */
DS_TEST(second_drop__what_was_erased_needs_no_number)
{
    struct scene c;

    hide(&c, false);
    scene_squeeze(&c);
    nothing_shows(&c);
    (void)set(&c.w, c.p, "a", 500);
    CHECK_EQ(ds_store_order(c.w.s, id_of(&c.w, "a")), 0);
    scene_end(&c);
}

DS_TEST(second_drop__a_set_during_the_erase_hides_what_that_leaves)
{
    struct scene c;

    hide(&c, false);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    (void)set(&c.w, c.p, "a", 500);
    settle(&c.w);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK(fake_work(&c.t));
    c.t.fail_l2 = 0;
    CHECK_EQ(hit(&c.w, c.p, "a"), 500);
    settle(&c.w);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    scene_end(&c);
}

/* L2 has 1000 bytes, and memory 600 for a tenth of a second. */
static void hide_for_now(struct scene *c)
{
    begin(c, false);
    only_in_l2(c, "a", 1000);
    (void)set_post(
        &c->w, c->p,
        (struct post){.key = "a", .size = 600, .mode = DS_WRITE_NONE_EVICT, .ttl_ms = 100});
    settle(&c->w);
}

DS_TEST(second_drop__what_a_delete_erases_is_not_erased_twice)
{
    struct scene c;

    hide_for_now(&c);
    post(&c, 3, DS_OP_DELETE, "a");
    settle(&c.w);
    CHECK(!req_done(c.p, 3));
    c.w.now.boot_ns += 200 * MS;
    CHECK(fake_work(&c.t));
    settle(&c.w);
    CHECK_OK(req_result(c.p, 3, 0)->status);
    CHECK_EQ(c.t.n, 0);
    nothing_shows(&c);
    scene_end(&c);
}

/* What was to be erased stays hidden while L2 cannot be asked, and is erased else. */
static void shows_nothing_in_the_end(struct scene *c, bool silent)
{
    c->t.silent = false;
    if (silent) {
        CHECK_EQ(in_l2(c, "a"), 1000);
        hidden_again(c);
    } else {
        settle_tiers(&c->w, &c->t);
        nothing_shows(c);
    }
    scene_end(c);
}

/* The time of the value is over while L2 works on the key, which fails. `silent`: L2 cannot be
 * asked once more. */
static void fails_over_it(unsigned slot, bool silent)
{
    struct scene c;

    hide_for_now(&c);
    if (slot == 3) {
        post(&c, slot, DS_OP_DELETE, "a");
    } else {
        post_set(&c, slot, "a", 700, DS_WRITE_THROUGH, 0, 0);
    }
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    c.w.now.boot_ns += 200 * MS;
    settle(&c.w);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    c.t.silent = silent;
    CHECK(fake_work(&c.t));
    c.t.fail_l2 = 0;
    settle(&c.w);
    CHECK_EQ(req_result(c.p, slot, 0)->status, DS_EUNAVAILABLE);
    shows_nothing_in_the_end(&c, silent);
}

DS_TEST(second_drop__what_a_delete_has_not_erased_is_erased_behind_it)
{
    fails_over_it(3, false);
    fails_over_it(3, true);
}

DS_TEST(second_drop__what_a_set_has_not_replaced_is_erased_behind_it)
{
    fails_over_it(4, false);
    fails_over_it(4, true);
}

/* The journal fails, and so does what is tried instead. */
static void fails_without_its_journal(bool silent)
{
    struct scene c;

    hide_for_now(&c);
    c.w.s->config.journal = true;
    post_set(&c, 4, "a", 700, DS_WRITE_BACK, 0, 0);
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    c.w.now.boot_ns += 200 * MS;
    settle(&c.w);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    c.t.fail = DS_EIO;
    c.t.fail_l2 = DS_EUNAVAILABLE;
    c.t.silent = silent;
    CHECK(fake_work(&c.t));
    settle(&c.w);
    if (!silent) {
        CHECK(fake_work(&c.t));
        settle(&c.w);
    }
    CHECK_EQ(req_result(c.p, 4, 0)->status, DS_EUNAVAILABLE);
    c.t.fail = c.t.fail_l2 = 0;
    shows_nothing_in_the_end(&c, silent);
}

DS_TEST(second_drop__what_a_set_has_not_replaced_without_its_journal_is_erased_behind_it)
{
    fails_without_its_journal(false);
    fails_without_its_journal(true);
}

DS_TEST(second_drop__a_set_before_that_hides_what_is_left)
{
    struct scene c;

    hide_for_now(&c);
    post(&c, 3, DS_OP_DELETE, "a");
    settle(&c.w);
    c.w.now.boot_ns += 200 * MS;
    settle(&c.w);
    (void)set(&c.w, c.p, "a", 500);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    c.t.silent = true;
    CHECK(fake_work(&c.t));
    settle(&c.w);
    c.t.fail_l2 = 0;
    c.t.silent = false;
    CHECK_EQ(req_result(c.p, 3, 0)->status, DS_EUNAVAILABLE);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 1);
    CHECK_EQ(hit(&c.w, c.p, "a"), 500);
    CHECK_EQ(ds_store_make_room(c.w.s, MIB), DS_ROOM_MADE);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 0);
    scene_end(&c);
}

/* A get had missed the key before the set: what it loads does not come back behind that. */
DS_TEST(second_drop__a_get_under_way_does_not_show_it)
{
    static const enum ds_op op[] = {DS_OP_GET, DS_OP_EXIST};

    for (unsigned i = 0; i < DS_ARRAY_SIZE(op); i++) {
        struct scene c;

        begin(&c, false);
        only_in_l2(&c, "a", 1000);
        post(&c, 3, op[i], "a");
        settle(&c.w);
        CHECK_EQ(c.t.n, 1);
        (void)set_post(
            &c.w, c.p,
            (struct post){.key = "a", .size = 600, .mode = DS_WRITE_NONE_EVICT, .ttl_ms = 100});
        settle(&c.w);
        c.w.now.boot_ns += 200 * MS;
        post(&c, 4, op[i], "a");
        settle(&c.w);
        CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
        CHECK_EQ(c.t.n, 1);
        work_until_done(&c, 4);
        CHECK_EQ(req_result(c.p, 4, 0)->status, DS_ENOTFOUND);
        settle_tiers(&c.w, &c.t);
        nothing_shows(&c);
        scene_end(&c);
    }
}

/* Another worker has written since: that stays. */
DS_TEST(second_drop__gives_way_to_a_later_write)
{
    struct scene c;
    struct fake_object *o;

    hide(&c, false);
    o = fake_l2(&c.t, "a", 1, false);
    o->order = c.t.disk->orders + 10;
    scene_squeeze(&c);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 0);
    scene_end(&c);
}
