/* SPDX-License-Identifier: Apache-2.0 */
/* test_second_absent.c - insert-if-absent of the plain modes asks second-level storage. */
#include "second_scene.h"

/* In slot 2: two values of 2000 and 2001 bytes. */
static void post_two_by(struct scene *c, enum ds_op op, enum ds_write_mode mode, const char *first,
                        const char *second)
{
    const char *keys[] = {first, second};
    struct lent g[2];

    for (unsigned i = 0; i < 2; i++) {
        CHECK_OK(grant(&c->w, c->p, 2000 + i, &g[i]));
        value_fill(&c->w, g[i].offset, 2000 + i, 2000 + i);
    }
    req_begin(c->p, 2, op, 0);
    for (unsigned i = 0; i < 2; i++) {
        req_add(c->p, 2,
                (struct ds_request_item){.id = g[i].id,
                                         .value_size = 2000 + i,
                                         .mode = (uint8_t)mode,
                                         .grant_origin = c->w.s->record[g[i].id].origin},
                keys[i]);
    }
    req_post(c->p, 2);
}

/* Of the default mode. */
static void post_two(struct scene *c, const char *first, const char *second)
{
    post_two_by(c, DS_OP_SET_ABSENT, DS_WRITE_NONE, first, second);
}

static void no_block_is_lent(struct scene *c)
{
    reclaim(&c->w);
    CHECK_EQ(world_stats(&c->w).memory_granted, 0);
    CHECK_EQ(world_stats(&c->w).memory_doomed, 0);
}

DS_TEST(second_absent__a_key_of_l2_alone_is_there)
{
    struct scene c;

    scene_init(&c, MIB);
    only_in_l2(&c, "a", 1000);
    post_two(&c, "a", "b");
    work_until_done(&c, 2);
    CHECK_EQ(req_result(c.p, 2, 0)->status, DS_UNCHANGED);
    CHECK_OK(req_result(c.p, 2, 1)->status);
    CHECK_EQ(c.t.lookups, 2);
    CHECK_EQ(c.t.loads, 0);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "b"), 2001);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    no_block_is_lent(&c);

    post_two(&c, "a", "b"); /* memory has both: L2 is not asked */
    work_until_done(&c, 2);
    CHECK_EQ(req_result(c.p, 2, 0)->status, DS_UNCHANGED);
    CHECK_EQ(req_result(c.p, 2, 1)->status, DS_UNCHANGED);
    CHECK_EQ(c.t.lookups, 2);
    no_block_is_lent(&c);
    scene_end(&c);
}

DS_TEST(second_absent__nobody_knows_while_l2_does_not_answer)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    post_two(&c, "a", "b");
    work_until_done(&c, 2);
    CHECK_EQ(req_result(c.p, 2, 0)->status, DS_EUNAVAILABLE);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    no_block_is_lent(&c);
    c.t.fail_l2 = 0;
    scene_end(&c);
}

DS_TEST(second_absent__what_is_set_while_l2_is_asked_wins)
{
    struct scene c;

    scene_init(&c, MIB);
    post_two(&c, "a", "b");
    settle(&c.w);
    CHECK(!req_done(c.p, 2));
    (void)set(&c.w, c.p, "a", 600);
    work_until_done(&c, 2);
    CHECK_EQ(req_result(c.p, 2, 0)->status, DS_UNCHANGED);
    CHECK_OK(req_result(c.p, 2, 1)->status);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 600);
    no_block_is_lent(&c);
    scene_end(&c);
}

/* The second item is published while L2 has not answered for the first one. */
static void answer_second(struct scene *c)
{
    struct ds_tier_op *a;

    settle(&c->w);
    CHECK_EQ(c->t.n, 2);
    a = c->t.queue[0];
    c->t.queue[0] = c->t.queue[1];
    c->t.n = 1;
    CHECK(fake_work(&c->t));
    c->t.queue[0] = a;
    c->t.n = 1;
    settle(&c->w);
    CHECK(!req_done(c->p, 2));
    CHECK_EQ(hit(&c->w, c->p, "b"), 2001);
}

/* Neither is marked as done when the worker dies. */
static void kill_between(struct scene *c, bool replaced)
{
    scene_init(c, MIB);
    post_two(c, "a", "b");
    answer_second(c);
    if (replaced) {
        (void)set(&c->w, c->p, "b", 700);
        reclaim(&c->w);
    }
    fake_attach_l2(&c->t, &c->w, c->t.disk);
    world_restart(&c->w);
    work_until_done(c, 2);
    CHECK_OK(req_result(c->p, 2, 0)->status);
    CHECK_OK(req_result(c->p, 2, 1)->status);
    settle(&c->w);
    CHECK_EQ(hit(&c->w, c->p, "a"), 2000);
    CHECK_EQ(hit(&c->w, c->p, "b"), replaced ? 700 : 2001);
    no_block_is_lent(c);
    scene_end(c);
}

DS_TEST(second_absent__is_answered_once_though_the_worker_was_killed)
{
    struct scene c;

    kill_between(&c, false);
    kill_between(&c, true);
}

/* The second key is deleted before the kill, and its record lent to another thread. */
static void kill_after_another_grant(struct scene *c, enum ds_op op, enum ds_write_mode mode,
                                     bool set_again)
{
    struct ds_tier_op *a;
    struct lent g;
    unsigned tries = 0;
    uint32_t id;

    scene_init(c, MIB);
    post_two_by(c, op, mode, "a", "b");
    answer_second(c);
    id = id_of(&c->w, "b");
    CHECK_EQ(c->t.n, 1);
    a = c->t.queue[0];
    c->t.n = 0;
    CHECK_OK(ask_l2(c, DS_OP_DELETE, "b", 0));
    reclaim(&c->w);
    do {
        CHECK_OK(grant(&c->w, c->p, 2001, &g));
    } while (g.id != id && ++tries < 8);
    CHECK_EQ(g.id, id);
    if (set_again) {
        (void)set(&c->w, c->p, "b", 700);
    }
    c->t.queue[c->t.n++] = a;
    fake_attach_l2(&c->t, &c->w, c->t.disk);
    world_restart(&c->w);
    work_until_done(c, 2);
    CHECK_OK(req_result(c->p, 2, 0)->status);
    CHECK_OK(req_result(c->p, 2, 1)->status);
    settle(&c->w);
    CHECK_EQ(hit(&c->w, c->p, "a"), 2000);
    CHECK_EQ(id_of(&c->w, "b") != DS_ID_NONE, set_again);
    CHECK_EQ(DS_WORD_STATE(c->w.s->record[id].word), DS_RECORD_GRANTED); /* whose it is, has it */
    scene_end(c);
}

DS_TEST(second_absent__a_block_that_was_lent_again_is_left_alone)
{
    struct scene c;

    kill_after_another_grant(&c, DS_OP_SET_ABSENT, DS_WRITE_NONE, false);
    kill_after_another_grant(&c, DS_OP_SET_ABSENT, DS_WRITE_NONE, true);
    kill_after_another_grant(&c, DS_OP_SET, DS_WRITE_THROUGH, false);
}

DS_TEST(second_absent__a_cancelled_one_gives_its_blocks_back)
{
    struct scene c;
    struct ds_request_header *h;
    uint16_t n;
    uint32_t size;

    scene_init(&c, MIB);
    post_two(&c, "a", "b");
    settle(&c.w);
    CHECK(!req_done(c.p, 2));
    h = &c.p->slot[2].header; /* as ds_request_give_up() */
    n = h->n;
    size = h->size;
    *h = (struct ds_request_header){
        .op = DS_OP_CANCEL, .n = n, .size = size, .value2 = c.p->posted[2]};
    req_post(c.p, 2);
    settle(&c.w);
    CHECK(req_done(c.p, 2));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    no_block_is_lent(&c);
    scene_end(&c);
}
