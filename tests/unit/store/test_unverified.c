/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_unverified.c - a node starts with nothing but its disk, which has copies of what
 * second-level storage has, too. Others may have written that since: it is asked before a copy is
 * used, and only then.
 */
#include "base/alloc.h"
#include "second_scene.h"

static struct fake_object *object(struct scene *c, const char *key)
{
    struct fake_object *o = fake_l2(&c->t, key, strlen(key), false);

    CHECK(o != NULL);
    return o;
}

static struct fake_copy *copy(struct scene *c, const char *key)
{
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        struct fake_copy *x = &c->t.disk->copy[i];

        if (x->number != 0 && !x->dead && strcmp(x->key, key) == 0) {
            return x;
        }
    }
    return NULL;
}

/* Memory, worker and clients are gone. The next node enters what the disk has. */
static void start_with_the_disk(struct scene *c)
{
    struct fake_disk *disk = c->t.disk;
    struct ds_store_now now = c->w.now;

    settle_tiers(&c->w, &c->t);
    world_fini(&c->w);
    world_make(&c->w, MIB);
    c->w.now = now;
    fake_attach_l2(&c->t, &c->w, disk);
    world_start(&c->w);
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        const struct fake_copy *x = &disk->copy[i];
        struct ds_store_found f = {.key = x->key,
                                   .key_size = strlen(x->key),
                                   .size = x->size,
                                   .place = x->number,
                                   .version = x->order,
                                   .expiry_ns = x->expiry_ns,
                                   .mode = x->mode,
                                   .kind = x->kind,
                                   .uploaded = x->uploaded};

        if (x->number != 0 && !x->dead && !x->buried) {
            f.unverified = ds_store_found_in_l2(c->w.s, &f);
            CHECK_OK(ds_store_enter_spilled(c->w.s, &f));
        }
    }
    world_found(&c->w);
    c->p = peer_open(&c->w, 0);
    settle_tiers(&c->w, &c->t);
    CHECK_EQ(c->t.lookups, 0); /* a start asks nothing */
}

/* The disk has "a", of 1000 bytes, and does not know whether L2 still has that. */
static void init_unverified(struct scene *c, enum ds_write_mode mode)
{
    scene_init(c, MIB);
    CHECK_OK(set_l2(c, "a", 1000, mode));
    c->w.now.boot_ns += 2000 * MS;
    scene_squeeze(c);
    CHECK_EQ(in_l2(c, "a"), 1000);
    start_with_the_disk(c);
    CHECK(id_of(&c->w, "a") != DS_ID_NONE && ds_store_unverified(c->w.s, id_of(&c->w, "a")));
}

/* Another worker sets the key. */
static void others_write(struct scene *c, const char *key, uint64_t size)
{
    struct fake_object *o = object(c, key);

    o->order += 1000;
    o->size = size;
    for (uint64_t i = 0; i < size; i++) {
        o->value[i] = value_byte(size, i);
    }
}

static void others_delete(struct scene *c, const char *key)
{
    memset(object(c, key), 0, sizeof(struct fake_object));
}

static uint64_t get_size(struct scene *c, const char *key)
{
    CHECK_OK(ask_l2(c, DS_OP_GET, key, 0));
    settle(&c->w);
    return hit(&c->w, c->p, key);
}

/* What the worker before this one had in hand is lost with it. */
static void kill_worker(struct scene *c)
{
    for (unsigned i = 0; i < c->t.n; i++) {
        if (c->t.queue[i]->kind < DS_TIER_JOURNAL) { /* the others are the store's */
            ds_free(c->t.queue[i]);
        }
    }
    c->t.n = 0;
    world_restart(&c->w);
}

DS_TEST(unverified__the_same_number_is_read_from_disk)
{
    static const enum ds_write_mode modes[] = {DS_WRITE_THROUGH, DS_WRITE_BACK};

    for (unsigned i = 0; i < 2; i++) {
        struct scene c;

        init_unverified(&c, modes[i]);
        memset(object(&c, "a")->value, 0, 1000); /* not asked for */
        CHECK_EQ(get_size(&c, "a"), 1000);
        CHECK_EQ(c.t.lookups, 1);
        CHECK_EQ(c.t.reads, 1);
        CHECK_EQ(c.t.loads, 0);
        scene_squeeze(&c);
        CHECK_EQ(get_size(&c, "a"), 1000);
        CHECK_OK(ask_l2(&c, DS_OP_EXIST, "a", 0));
        CHECK_EQ(c.t.reads, 2);
        CHECK_EQ(c.t.lookups, 1); /* once and for all */
        CHECK_OK(ds_store_check(c.w.s));
        scene_end(&c);
    }
}

DS_TEST(unverified__a_newer_number_is_read_from_l2)
{
    struct scene c;
    struct fake_copy *old;

    init_unverified(&c, DS_WRITE_THROUGH);
    old = copy(&c, "a");
    others_write(&c, "a", 1300);
    CHECK_EQ(get_size(&c, "a"), 1300);
    CHECK_EQ(c.t.lookups, 1);
    CHECK_EQ(c.t.loads, 1);
    CHECK_EQ(c.t.reads, 0);
    CHECK(old->dead && old->buried);
    start_with_the_disk(&c);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    scene_end(&c);
}

DS_TEST(unverified__a_smaller_number_is_another_value)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    others_write(&c, "a", 1300);
    object(&c, "a")->order = copy(&c, "a")->order - 1;
    CHECK_EQ(get_size(&c, "a"), 1300);
    CHECK_EQ(c.t.loads, 1);
    scene_end(&c);
}

DS_TEST(unverified__what_others_deleted_is_gone)
{
    static const enum ds_op ops[] = {DS_OP_GET, DS_OP_EXIST, DS_OP_EXPIRE};

    for (unsigned i = 0; i < 3; i++) {
        struct scene c;
        struct fake_copy *old;

        init_unverified(&c, DS_WRITE_THROUGH);
        old = copy(&c, "a");
        others_delete(&c, "a");
        CHECK_EQ(ask_l2(&c, ops[i], "a", 10000), DS_ENOTFOUND);
        CHECK_EQ(c.t.lookups, 1);
        CHECK_EQ(c.t.loads, 0); /* that it is not there is known by then */
        CHECK_EQ(c.t.reads, 0);
        CHECK(old->dead && old->buried);
        CHECK_EQ(world_stats(&c.w).objects, 0);
        scene_end(&c);
    }
}

/* Neither a stale value nor "not found". */
DS_TEST(unverified__l2_that_cannot_be_asked_is_told)
{
    static const enum ds_op ops[] = {DS_OP_GET, DS_OP_EXIST, DS_OP_EXPIRE};
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    for (unsigned i = 0; i < 3; i++) {
        c.t.silent = true;
        CHECK_EQ(ask_l2(&c, ops[i], "a", 0), DS_EUNAVAILABLE);
        c.t.silent = false;
        c.t.fail_l2 = DS_EIO;
        CHECK_EQ(ask_l2(&c, ops[i], "a", 0), DS_EIO);
        c.t.fail_l2 = 0;
    }
    c.t.silent = true;
    post_set(&c, 1, "a", 600, DS_WRITE_THROUGH, DS_KIND_ABSENT, 0);
    work_until_done(&c, 1);
    CHECK_EQ(req_result(c.p, 1, 0)->status, DS_EUNAVAILABLE);
    c.t.silent = false;
    CHECK_EQ(c.t.reads, 0);
    CHECK_EQ(get_size(&c, "a"), 1000);
    CHECK_EQ(c.t.loads, 0);
    scene_end(&c);
}

DS_TEST(unverified__many_waiters_ask_once)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    for (unsigned slot = 0; slot < 8; slot++) {
        post(&c, slot, slot % 2 == 0 ? DS_OP_GET : DS_OP_EXIST, "a");
        settle(&c.w);
    }
    for (unsigned slot = 0; slot < 8; slot++) {
        work_until_done(&c, slot);
        CHECK_OK(req_result(c.p, slot, 0)->status);
    }
    CHECK_EQ(c.t.lookups, 1);
    CHECK_EQ(c.t.reads, 1);
    scene_end(&c);
}

DS_TEST(unverified__a_client_that_leaves_leaves_nothing_behind)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    post(&c, 0, DS_OP_GET, "a");
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    peer_close(&c.w, c.p);
    settle_tiers(&c.w, &c.t);
    c.p = peer_open(&c.w, 0);
    CHECK_EQ(get_size(&c, "a"), 1000);
    CHECK_EQ(c.t.lookups, 1); /* the answer was for the object */
    scene_end(&c);
}

DS_TEST(unverified__stays_so_over_a_kill_before_the_answer)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    post(&c, 0, DS_OP_GET, "a");
    settle(&c.w);
    CHECK_EQ(c.t.n, 1); /* the lookup */
    kill_worker(&c);
    CHECK(ds_store_unverified(c.w.s, id_of(&c.w, "a")));
    others_write(&c, "a", 1300);
    work_until_done(&c, 0);
    CHECK_OK(req_result(c.p, 0, 0)->status);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1300);
    CHECK_EQ(c.t.reads, 0);
    scene_end(&c);
}

DS_TEST(unverified__a_kill_between_lookup_and_fetch_reads_on)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    post(&c, 0, DS_OP_GET, "a");
    settle(&c.w);
    CHECK(fake_work(&c.t)); /* the lookup */
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    CHECK(c.t.queue[0]->kind == DS_TIER_FETCH);
    kill_worker(&c);
    CHECK(!ds_store_unverified(c.w.s, id_of(&c.w, "a")));
    work_until_done(&c, 0);
    CHECK_OK(req_result(c.p, 0, 0)->status);
    CHECK_EQ(c.t.lookups, 1);
    CHECK_EQ(c.t.loads, 0);
    CHECK_EQ(c.t.reads, 1);
    scene_end(&c);
}

DS_TEST(unverified__sets_and_deletes_ask_nothing)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    CHECK_OK(set_l2(&c, "a", 1100, DS_WRITE_THROUGH));
    CHECK_EQ(get_size(&c, "a"), 1100);
    CHECK_EQ(in_l2(&c, "a"), 1100);
    scene_squeeze(&c);
    start_with_the_disk(&c);
    CHECK_OK(set_l2(&c, "a", 1200, DS_WRITE_BACK));
    CHECK_EQ(get_size(&c, "a"), 1200);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1200);
    scene_squeeze(&c);
    start_with_the_disk(&c);
    (void)set(&c.w, c.p, "a", 700);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(hit(&c.w, c.p, "a"), 700);
    CHECK_EQ(in_l2(&c, "a"), 700);
    scene_squeeze(&c);
    start_with_the_disk(&c);
    CHECK_OK(ask_l2(&c, DS_OP_DELETE, "a", 0));
    CHECK_EQ(in_l2(&c, "a"), 0);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(c.t.lookups, 0);
    CHECK_EQ(c.t.reads, 0);
    start_with_the_disk(&c);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    scene_end(&c);
}

/* The answer is for what was there before: it says nothing of the value that was set meanwhile. */
DS_TEST(unverified__an_answer_that_comes_late_changes_nothing)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    others_delete(&c, "a");
    post(&c, 0, DS_OP_EXIST, "a");
    settle(&c.w);
    (void)set(&c.w, c.p, "a", 700);
    CHECK_EQ(hit(&c.w, c.p, "a"), 700);
    work_until_done(&c, 0);
    CHECK_OK(req_result(c.p, 0, 0)->status);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(hit(&c.w, c.p, "a"), 700);
    scene_end(&c);
}

/* It needs the value in memory, where all can read it: so it is verified before. */
DS_TEST(unverified__a_new_expiry_is_of_the_value_that_l2_has)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "a", 100000));
    CHECK_EQ(c.t.lookups, 1);
    CHECK_EQ(c.t.reads, 1);
    CHECK_EQ(c.t.loads, 0);
    CHECK(object(&c, "a")->expiry_ns != 0);
    scene_squeeze(&c);
    start_with_the_disk(&c);
    others_write(&c, "a", 1300);
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "a", 100000));
    CHECK_EQ(in_l2(&c, "a"), 1300);
    CHECK_EQ(get_size(&c, "a"), 1300);
    CHECK_EQ(c.t.reads, 0);
    scene_end(&c);
}

DS_TEST(unverified__its_time_ends_without_l2)
{
    struct scene c;

    scene_init(&c, MIB);
    post_set(&c, 1, "a", 1000, DS_WRITE_THROUGH, 0, 5000);
    work_until_done(&c, 1);
    scene_squeeze(&c);
    start_with_the_disk(&c);
    CHECK(id_of(&c.w, "a") != DS_ID_NONE);
    c.w.now.boot_ns += 5000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(world_stats(&c.w).expirations, 1);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    CHECK_EQ(c.t.lookups, 0);
    scene_end(&c);
}

DS_TEST(unverified__exist_tells_the_size_of_what_l2_has)
{
    struct scene c;

    init_unverified(&c, DS_WRITE_THROUGH);
    CHECK_OK(ask_l2(&c, DS_OP_EXIST, "a", 0));
    CHECK_EQ(req_result(c.p, 0, 0)->value, 1000);
    CHECK_EQ(c.t.lookups, 1);
    start_with_the_disk(&c);
    others_write(&c, "a", 1300);
    CHECK_OK(ask_l2(&c, DS_OP_EXIST, "a", 0));
    CHECK_EQ(req_result(c.p, 0, 0)->value, 1300);
    CHECK_EQ(c.t.lookups, 1); /* the same answer tells that */
    CHECK_EQ(c.t.loads + c.t.reads, 0);
    scene_end(&c);
}

static int set_absent_plain(struct scene *c, const char *key)
{
    struct lent g;

    CHECK_OK(grant(&c->w, c->p, 500, &g));
    value_fill(&c->w, g.offset, 500, 500);
    req_begin(c->p, 2, DS_OP_SET_ABSENT, 0);
    req_add(c->p, 2,
            (struct ds_request_item){.id = g.id,
                                     .value_size = 500,
                                     .mode = DS_WRITE_NONE,
                                     .grant_origin = c->w.s->record[g.id].origin},
            key);
    req_post(c->p, 2);
    work_until_done(c, 2);
    return req_result(c->p, 2, 0)->status;
}

static int set_absent_through(struct scene *c, const char *key)
{
    post_set(c, 1, key, 500, DS_WRITE_THROUGH, DS_KIND_ABSENT, 0);
    work_until_done(c, 1);
    return req_result(c->p, 1, 0)->status;
}

DS_TEST(unverified__insert_if_absent_asks)
{
    int (*const set_absent[])(struct scene *, const char *) = {set_absent_plain,
                                                               set_absent_through};

    for (unsigned i = 0; i < 2; i++) {
        struct scene c;

        init_unverified(&c, DS_WRITE_THROUGH);
        CHECK_EQ(set_absent[i](&c, "a"), DS_UNCHANGED);
        CHECK_EQ(c.t.lookups, 1);
        CHECK_EQ(get_size(&c, "a"), 1000);
        scene_squeeze(&c);
        start_with_the_disk(&c);
        others_write(&c, "a", 1300);
        CHECK_EQ(set_absent[i](&c, "a"), DS_UNCHANGED);
        CHECK_EQ(get_size(&c, "a"), 1300);
        scene_squeeze(&c);
        start_with_the_disk(&c);
        others_delete(&c, "a");
        CHECK_OK(set_absent[i](&c, "a"));
        CHECK_EQ(get_size(&c, "a"), 500);
        scene_end(&c);
    }
}

/* A seal that others have ended with the object holds nobody. */
DS_TEST(unverified__a_seal_is_looked_at_in_l2)
{
    struct scene c;
    struct lent g;

    for (unsigned deleted = 0; deleted < 2; deleted++) {
        scene_init(&c, MIB);
        post_set(&c, 1, "a", 1000, DS_WRITE_THROUGH, DS_KIND_SEALED, 0);
        work_until_done(&c, 1);
        scene_squeeze(&c);
        start_with_the_disk(&c);
        if (deleted != 0) {
            others_delete(&c, "a");
        }
        CHECK_OK(grant(&c.w, c.p, 500, &g));
        value_fill(&c.w, g.offset, 500, 500);
        req_begin(c.p, 1, DS_OP_PUT, 0);
        req_add(c.p, 1,
                (struct ds_request_item){
                    .id = g.id, .value_size = 500, .mode = DS_WRITE_NONE, .kind = DS_KIND_OBJECT},
                "a");
        req_post(c.p, 1);
        work_until_done(&c, 1);
        CHECK_EQ(req_result(c.p, 1, 0)->status, deleted != 0 ? 0 : DS_ESEALED);
        CHECK_EQ(c.t.lookups, 1);
        scene_end(&c);
    }
}

/* The disk's own housekeeping. */
DS_TEST(unverified__moves_and_drops_ask_nothing)
{
    struct scene c;
    struct fake_copy *x;
    uint64_t from;
    bool dirty = true;

    init_unverified(&c, DS_WRITE_THROUGH);
    x = copy(&c, "a");
    from = x->number;
    x->number = ++c.t.disk->numbers;
    CHECK(ds_store_moved(c.w.s, "a", 1, from, x->number, &dirty));
    CHECK(!dirty);
    CHECK_EQ(get_size(&c, "a"), 1000);
    scene_squeeze(&c);
    start_with_the_disk(&c);
    CHECK_EQ(ds_store_drop_disk(c.w.s, 1), 1000);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(c.t.lookups, 0);
    CHECK_EQ(get_size(&c, "a"), 1000);
    CHECK_EQ(c.t.loads, 1);
    scene_end(&c);
}
