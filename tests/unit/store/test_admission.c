/* SPDX-License-Identifier: Apache-2.0 */
/* test_admission.c - which objects are worth a write to the disk: spill_admission. */
#include "fake_tier.h"

static void second_read(struct fake_tier *t, struct world *w, struct fake_disk *disk)
{
    fake_attach(t, w, disk);
    w->config.spill_second = true;
}

static void second_read_l2(struct fake_tier *t, struct world *w, struct fake_disk *disk)
{
    fake_attach_l2(t, w, disk);
    w->config.spill_second = true;
}

static void set_kind(struct scene *c, const char *key, uint64_t size, enum ds_write_mode mode)
{
    (void)set_post(&c->w, c->p, (struct post){.key = key, .size = size, .mode = mode});
    settle(&c->w);
}

/* A hit in place, which only the log tells of. */
static void read_once(struct scene *c, const char *key)
{
    struct ds_found f;

    CHECK(look(&c->w, c->p, key, 1, &f));
    log_read(c->p, &f, c->w.now.ticks);
    unpin(c->p, 1);
}

static bool there(struct scene *c, const char *key)
{
    return id_of(&c->w, key) != DS_ID_NONE;
}

DS_TEST(admission__all_writes_what_nobody_has_read)
{
    struct scene c;

    scene_make(&c, MIB, fake_attach);
    set_kind(&c, "a", 1000, DS_WRITE_NONE_EVICT);
    scene_squeeze(&c);
    CHECK(there(&c, "a"));
    CHECK_EQ(world_stats(&c.w).spills, 1);
    CHECK_EQ(world_stats(&c.w).spill_written, 1000);
    CHECK_EQ(world_stats(&c.w).spill_refusals, 0);
    scene_end(&c);
}

DS_TEST(admission__second_drops_what_nobody_has_read)
{
    struct scene c;
    struct ds_worker_stats st;

    scene_make(&c, MIB, second_read);
    set_kind(&c, "unread", 1000, DS_WRITE_NONE_EVICT);
    set_kind(&c, "hit", 2000, DS_WRITE_NONE_EVICT);
    set_kind(&c, "asked", 3000, DS_WRITE_NONE_EVICT);
    read_once(&c, "hit");
    CHECK_OK(ask(&c.w, c.p, DS_OP_GET, "asked", 0));
    CHECK_OK(ask(&c.w, c.p, DS_OP_EXIST, "unread", 0)); /* reads nothing */
    scene_squeeze(&c);
    CHECK(!there(&c, "unread"));
    CHECK(there(&c, "hit") && there(&c, "asked"));
    st = world_stats(&c.w);
    CHECK_EQ(c.t.writes, 2);
    CHECK_EQ(st.spilled_objects, 2);
    CHECK_EQ(st.spills, 2);
    CHECK_EQ(st.spill_written, 5000);
    CHECK_EQ(st.spill_refusals, 1);
    CHECK_EQ(st.spill_refused, 1000);
    CHECK_EQ(st.evictions, 1);
    scene_end(&c);
}

DS_TEST(admission__second_takes_what_may_not_be_dropped)
{
    struct scene c;

    scene_make(&c, MIB, second_read);
    set_kind(&c, "a", 1000, DS_WRITE_NONE);
    scene_squeeze(&c);
    CHECK(there(&c, "a"));
    CHECK_EQ(world_stats(&c.w).spills, 1);
    c.w.s->config.drop_none = true; /* --allow_drop_none: it may be */
    set_kind(&c, "b", 1000, DS_WRITE_NONE);
    scene_squeeze(&c);
    CHECK(!there(&c, "b"));
    CHECK_EQ(world_stats(&c.w).spill_refusals, 1);
    scene_end(&c);
}

/* The caller has asked for the disk. */
DS_TEST(admission__second_takes_what_is_to_live_on_disk)
{
    struct scene c;
    struct ds_request_item item = {
        .value_size = 1000, .mode = DS_WRITE_NONE_EVICT, .kind = DS_KIND_DISK};
    struct lent g;

    scene_make(&c, MIB, second_read);
    CHECK_OK(grant(&c.w, c.p, 1000, &g));
    value_fill(&c.w, g.offset, 1000, 1000);
    item.id = g.id;
    c.t.limit = 0; /* not at once, then: as any other */
    req_begin(c.p, 1, DS_OP_SET_ABSENT, 0);
    req_add(c.p, 1, item, "a");
    req_post(c.p, 1);
    settle(&c.w);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    c.t.limit = FAKE_QUEUE;
    scene_squeeze(&c);
    CHECK(there(&c, "a"));
    CHECK_EQ(world_stats(&c.w).spilled_objects, 1);
    scene_end(&c);
}

DS_TEST(admission__a_new_value_must_be_read_itself)
{
    struct scene c;

    scene_make(&c, MIB, second_read);
    set_kind(&c, "a", 1000, DS_WRITE_NONE_EVICT);
    read_once(&c, "a");
    ds_store_drain_logs(c.w.s);
    set_kind(&c, "a", 2000, DS_WRITE_NONE_EVICT);
    reclaim(&c.w);
    set_kind(&c, "b", 1000, DS_WRITE_NONE_EVICT); /* under the number of the first */
    scene_squeeze(&c);
    CHECK(!there(&c, "a") && !there(&c, "b"));
    CHECK_EQ(c.t.writes, 0);
    CHECK_EQ(world_stats(&c.w).spill_refused, 3000);
    scene_end(&c);
}

/* It has come back for a reader, and its copy on disk costs nothing. */
DS_TEST(admission__what_comes_back_may_leave_again)
{
    struct scene c;

    scene_make(&c, MIB, second_read);
    set_kind(&c, "a", 1000, DS_WRITE_NONE);
    scene_squeeze(&c);
    c.w.s->config.drop_none = true;
    for (unsigned i = 0; i < 2; i++) {
        req_begin(c.p, 0, DS_OP_GET, 0);
        req_key(c.p, 0, "a");
        req_post(c.p, 0);
        settle_tiers(&c.w, &c.t);
        CHECK(req_done(c.p, 0));
        CHECK_OK(req_result(c.p, 0, 0)->status);
        scene_squeeze(&c);
        CHECK(there(&c, "a"));
        CHECK_EQ(c.t.writes, 1);
    }
    scene_end(&c);
}

/* Who has read what is forgotten with the worker: nothing is given up for that. */
DS_TEST(admission__after_a_restart_all_counts_as_read)
{
    struct scene c;

    scene_make(&c, MIB, second_read);
    set_kind(&c, "a", 1000, DS_WRITE_NONE_EVICT);
    world_restart(&c.w);
    scene_squeeze(&c);
    CHECK(there(&c, "a"));
    CHECK_EQ(world_stats(&c.w).spills, 1);
    scene_end(&c);
}

DS_TEST(admission__a_refusal_asks_no_second_level)
{
    struct scene c;

    scene_make(&c, MIB, second_read_l2);
    set_kind(&c, "a", 1000, DS_WRITE_NONE_EVICT);
    c.t.limit = 0;
    scene_squeeze(&c);
    CHECK(!there(&c, "a"));
    CHECK_EQ(c.t.writes, 0);
    CHECK_EQ(world_stats(&c.w).spill_refusals, 1);
    CHECK_EQ(world_stats(&c.w).evictions, 1);
    CHECK_EQ(world_stats(&c.w).l2_unerased, 0);
    c.t.limit = FAKE_QUEUE;
    scene_end(&c);
}

DS_TEST(admission__a_failed_write_forgets_no_read)
{
    struct scene c;

    scene_make(&c, MIB, second_read);
    set_kind(&c, "a", 1000, DS_WRITE_NONE_EVICT);
    read_once(&c, "a");
    c.t.fail = DS_EIO;
    scene_squeeze(&c);
    CHECK(there(&c, "a"));
    CHECK_EQ(world_stats(&c.w).tier_errors, 1);
    c.t.fail = 0;
    c.w.now.boot_ns += 2000 * MS; /* the disk is written again */
    scene_squeeze(&c);
    CHECK(there(&c, "a"));
    CHECK_EQ(world_stats(&c.w).spills, 1);
    scene_end(&c);
}
