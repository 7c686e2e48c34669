/* SPDX-License-Identifier: Apache-2.0 */
/* test_second_end.c - keys of second-level storage whose time is over, sets that are given up. */
#include <signal.h>
#include <sys/wait.h>

#include "base/failpoint.h"
#include "second_scene.h"

/* L2 has an older value without an end, and is away while the newer one comes to its end. */
static void hide_in_l2(struct scene *c)
{
    scene_init(c, MIB);
    CHECK_OK(set_l2(c, "a", 1000, DS_WRITE_BACK));
    settle_tiers(&c->w, &c->t);
    CHECK_EQ(in_l2(c, "a"), 1000);
    c->t.fail_l2 = DS_EUNAVAILABLE;
    post_set(c, 1, "a", 1100, DS_WRITE_BACK, 0, 500);
    work_until_done(c, 1);
    CHECK_OK(req_result(c->p, 1, 0)->status);
    c->w.now.boot_ns += 600 * MS;
    settle_tiers(&c->w, &c->t);
    CHECK_EQ(ask_l2(c, DS_OP_EXIST, "a", 0), DS_ENOTFOUND);
    CHECK_EQ(ask_l2(c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
}

static void l2_is_back(struct scene *c)
{
    c->t.fail_l2 = 0;
    for (unsigned i = 0; i < 3; i++) { /* what has left memory is read for it first */
        c->w.now.boot_ns += 2000 * MS;
        settle_tiers(&c->w, &c->t);
    }
}

DS_TEST(second_end__the_end_of_a_value_does_not_show_an_older_one)
{
    struct scene c;

    hide_in_l2(&c);
    l2_is_back(&c);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    CHECK_EQ(world_stats(&c.w).expirations, 1);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    CHECK_EQ(fake_used(&c.t), 0);
    scene_end(&c);

    hide_in_l2(&c); /* from the journal, by another worker */
    scene_squeeze(&c);
    fake_attach_l2(&c.t, &c.w, c.t.disk);
    world_restart(&c.w);
    l2_is_back(&c);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    scene_end(&c);
}

DS_TEST(second_end__a_value_that_is_over_is_replaced_by_any_other)
{
    static const enum ds_write_mode modes[] = {DS_WRITE_BACK, DS_WRITE_THROUGH, DS_WRITE_NONE};

    for (unsigned i = 0; i < DS_ARRAY_SIZE(modes); i++) {
        struct scene c;

        hide_in_l2(&c);
        if (modes[i] == DS_WRITE_THROUGH) {
            c.t.fail_l2 = 0;
        }
        if (modes[i] == DS_WRITE_NONE) { /* of an earlier time: it was posted before */
            struct lent g;

            CHECK_OK(grant(&c.w, c.p, 1200, &g));
            value_fill(&c.w, g.offset, 1200, 1200);
            (void)ring_post(c.p, DS_RING_SET,
                            &(struct post){.key = "a", .grant = g, .size = 1200, .ticket = 1});
            settle(&c.w);
        } else {
            post_set(&c, 1, "a", 1200, modes[i], DS_KIND_ABSENT, 0);
            work_until_done(&c, 1);
            CHECK_OK(req_result(c.p, 1, 0)->status);
        }
        settle(&c.w);
        CHECK_EQ(hit(&c.w, c.p, "a"), 1200);
        CHECK_EQ(world_stats(&c.w).objects, 1);
        fake_attach_l2(&c.t, &c.w, c.t.disk);
        world_restart(&c.w);
        settle(&c.w);
        CHECK_EQ(hit(&c.w, c.p, "a"), 1200);
        l2_is_back(&c);
        CHECK_EQ(in_l2(&c, "a"), 1200);
        scene_end(&c);
    }
}

static void cancel_set(struct scene *c, unsigned slot) /* as give_up() in client/request.c */
{
    struct ds_request_header *h = &c->p->slot[slot].header;
    uint16_t n = h->n;
    uint32_t size = h->size;

    memset(h, 0, sizeof(*h));
    h->op = DS_OP_CANCEL;
    h->n = n;
    h->size = size;
    h->value2 = c->p->posted[slot];
    req_post(c->p, slot);
}

DS_TEST(second_end__a_cancelled_set_that_waited_gives_its_block_back)
{
    struct scene c;

    scene_init(&c, MIB);
    post_set(&c, 1, "a", 1000, DS_WRITE_THROUGH, 0, 0); /* under way in L2, which is slow */
    settle(&c.w);
    for (int i = 0; i < 5; i++) {
        post_set(&c, 2, "a", 1000, DS_WRITE_THROUGH, 0, 0); /* waits for the first one */
        settle(&c.w);
        CHECK(!req_done(c.p, 2));
        cancel_set(&c, 2);
        settle(&c.w);
        CHECK(req_done(c.p, 2));
    }
    settle_tiers(&c.w, &c.t);
    CHECK(req_done(c.p, 1));
    reclaim(&c.w);
    CHECK_EQ(world_stats(&c.w).memory_granted, 0);
    scene_end(&c);
}

DS_TEST(second_end__an_answered_item_of_a_cancelled_batch_gives_its_block_back)
{
    struct scene c;
    struct lent g[2];

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "there", 1000, DS_WRITE_THROUGH));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(grant(&c.w, c.p, 1000, &g[i]));
    }
    req_begin(c.p, 2, DS_OP_SET, 0);
    req_add(c.p, 2,
            (struct ds_request_item){.id = g[0].id,
                                     .value_size = 1000,
                                     .mode = DS_WRITE_THROUGH,
                                     .kind = DS_KIND_ABSENT,
                                     .grant_origin = c.w.s->record[g[0].id].origin},
            "there");
    req_add(c.p, 2,
            (struct ds_request_item){.id = g[1].id,
                                     .value_size = 1000,
                                     .mode = DS_WRITE_THROUGH,
                                     .grant_origin = c.w.s->record[g[1].id].origin},
            "b");
    req_post(c.p, 2);
    settle(&c.w);
    CHECK(!req_done(c.p, 2));
    cancel_set(&c, 2);
    settle_tiers(&c.w, &c.t);
    CHECK(req_done(c.p, 2));
    reclaim(&c.w);
    CHECK_EQ(world_stats(&c.w).memory_granted, 0);
    scene_end(&c);
}

/* Between the done mark and the answer. */
DS_TEST(second_end__a_set_refused_by_a_killed_worker_gives_its_block_back)
{
    struct scene c;
    int status = 0;
    pid_t pid;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "there", 1000, DS_WRITE_THROUGH));
    post_set(&c, 2, "there", 2000, DS_WRITE_THROUGH, DS_KIND_ABSENT, 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ds_failpoint_arm("request.done=kill");
        settle(&c.w);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    world_restart(&c.w);
    CHECK_LE(2000, world_stats(&c.w).memory_granted);
    work_until_done(&c, 2);
    CHECK_EQ(req_result(c.p, 2, 0)->status, DS_UNCHANGED);
    CHECK_EQ(world_stats(&c.w).memory_granted, 0);
    scene_end(&c);
}

DS_TEST(second_end__insert_if_absent_over_a_value_that_is_over)
{
    struct scene c;
    struct lent g;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    post_set(&c, 1, "a", 2000, DS_WRITE_BACK, 0, 100);
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    c.w.now.boot_ns += 500 * MS; /* over; L2 has not heard of it */
    CHECK_OK(grant(&c.w, c.p, 3000, &g));
    value_fill(&c.w, g.offset, 3000, 3000);
    req_begin(c.p, 3, DS_OP_SET_ABSENT, 0);
    req_add(c.p, 3,
            (struct ds_request_item){
                .id = g.id, .value_size = 3000, .mode = DS_WRITE_NONE, .ttl_ms = 100},
            "a");
    req_post(c.p, 3);
    work_until_done(&c, 3);
    CHECK_OK(req_result(c.p, 3, 0)->status);
    c.w.now.boot_ns += 500 * MS;
    c.t.fail_l2 = 0;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    scene_end(&c);
}

DS_TEST(second_end__delete_of_a_value_that_is_over_lets_the_mode_change)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    post_set(&c, 1, "a", 2000, DS_WRITE_BACK, 0, 100);
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    settle_tiers(&c.w, &c.t);
    c.w.now.boot_ns += 500 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 0);
    /* the delete alone reaches L2, uploads are not tried again before a second is over */
    c.t.fail_l2 = 0;
    c.w.s->upload_next_ns = INT64_MAX;
    CHECK_OK(ask_l2(&c, DS_OP_DELETE, "a", 0));
    CHECK_EQ(ds_store_find_any(c.w.s, "a", 1), DS_ID_NONE);
    c.w.s->upload_next_ns = 0;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 0);
    c.w.s->upload_next_ns = 0;
    scene_end(&c);
}

/* Its grant's number may have been lent again since: the same cancel, executed by another worker,
 * must not take that. */
DS_TEST(second_end__a_cancelled_set_drops_its_own_block_only)
{
    struct scene c;
    struct lent g;

    scene_init(&c, MIB);
    CHECK_OK(grant(&c.w, c.p, 1000, &g));
    req_begin(c.p, 2, DS_OP_SET, 0);
    req_add(c.p, 2,
            (struct ds_request_item){.id = g.id,
                                     .value_size = 1000,
                                     .mode = DS_WRITE_THROUGH,
                                     .grant_origin = c.w.s->record[g.id].origin + 1},
            "a");
    c.p->posted[2]++; /* overwritten before the worker has seen it */
    cancel_set(&c, 2);
    settle(&c.w);
    CHECK(req_done(c.p, 2));
    CHECK_EQ(world_stats(&c.w).memory_granted, 1024);
    scene_end(&c);
}

/* Bytes of the object API change in place, so it has no copy in L2: the older one must go. */
DS_TEST(second_end__an_object_over_a_value_of_l2_erases_that)
{
    struct scene c;
    struct lent g;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    CHECK_OK(grant(&c.w, c.p, 1200, &g));
    value_fill(&c.w, g.offset, 1200, 1200);
    req_begin(c.p, 3, DS_OP_PUT, 0);
    req_add(c.p, 3,
            (struct ds_request_item){.id = g.id, .value_size = 1200, .kind = DS_KIND_OBJECT}, "a");
    req_post(c.p, 3);
    work_until_done(&c, 3);
    CHECK_OK(req_result(c.p, 3, 0)->status);
    CHECK_EQ(in_l2(&c, "a"), 0);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1200);
    scene_end(&c);
}
