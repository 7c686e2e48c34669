/* SPDX-License-Identifier: Apache-2.0 */
/* test_why.c - every end of an object has its reason, in the counters and in the record. */
#include "second_scene.h"

static enum ds_gone why(struct scene *c, const char *key)
{
    CHECK_OK(ask_l2(c, DS_OP_WHY, key, 0));
    return (enum ds_gone)req_result(c->p, 0, 0)->id;
}

static uint64_t age_ms(const struct scene *c)
{
    return req_result(c->p, 0, 0)->value;
}

static void set_mode(struct scene *c, const char *key, uint64_t size, enum ds_write_mode mode,
                     uint64_t ttl_ms)
{
    (void)set_post(&c->w, c->p,
                   (struct post){.key = key, .size = size, .mode = mode, .ttl_ms = ttl_ms});
    settle(&c->w);
}

static void set_second(struct scene *c, const char *key, enum ds_write_mode mode, uint64_t ttl_ms)
{
    post_set(c, 1, key, 1000, mode, 0, ttl_ms);
    settle_tiers(&c->w, &c->t);
    CHECK(req_done(c->p, 1));
    CHECK_OK(req_result(c->p, 1, 0)->status);
}

/* Without a disk: what may, is dropped. */
static void no_tier(struct fake_tier *t, struct world *w, struct fake_disk *disk)
{
    fake_attach(t, w, disk);
    w->config.tier = NULL;
    w->config.spill = false;
}

static void later(struct scene *c, int64_t ms)
{
    c->w.now.boot_ns += ms * MS;
    settle(&c->w);
}

DS_TEST(why__clients_and_time_end_objects)
{
    struct scene c;

    scene_make(&c, MIB, no_tier);
    CHECK_EQ(why(&c, "a"), DS_GONE_UNKNOWN);
    set_mode(&c, "a", 1000, DS_WRITE_NONE, 0);
    CHECK_EQ(why(&c, "a"), DS_GONE_NOT);
    set_mode(&c, "a", 2000, DS_WRITE_NONE, 0); /* replaced: it is there */
    CHECK_EQ(why(&c, "a"), DS_GONE_NOT);
    CHECK_EQ(world_stats(&c.w).replacements, 1);
    CHECK_OK(ask(&c.w, c.p, DS_OP_DELETE, "a", 0));
    later(&c, 1500);
    CHECK_EQ(why(&c, "a"), DS_GONE_DELETED);
    CHECK_EQ(age_ms(&c), 1500);

    set_mode(&c, "a", 1000, DS_WRITE_NONE, 50);
    set_mode(&c, "lazy", 1000, DS_WRITE_NONE, 50);
    CHECK_EQ(why(&c, "a"), DS_GONE_NOT);
    later(&c, 2000);
    CHECK_EQ(why(&c, "a"), DS_GONE_EXPIRED);
    CHECK_GE(age_ms(&c), 1949); /* from the end of its time, not from when that was seen */
    CHECK_LE(age_ms(&c), 1951);
    CHECK_EQ(why(&c, "lazy"), DS_GONE_EXPIRED);

    set_mode(&c, "a", 1000, DS_WRITE_NONE, 0);
    CHECK_OK(ask(&c.w, c.p, DS_OP_REF, "a", 0));
    CHECK_OK(ask(&c.w, c.p, DS_OP_UNREF, "a", 0));
    CHECK_EQ(why(&c, "a"), DS_GONE_RELEASED);
    CHECK_EQ(world_stats(&c.w).releases, 1);
    CHECK_EQ(world_stats(&c.w).deletes, 1);
    CHECK_EQ(world_stats(&c.w).expirations, 2);
    CHECK_EQ(why(&c, "b"), DS_GONE_UNKNOWN);
    scene_end(&c);
}

DS_TEST(why__room_in_memory_ends_objects)
{
    struct scene c;

    scene_make(&c, MIB, no_tier);
    set_mode(&c, "a", 1000, DS_WRITE_NONE_EVICT, 0);
    set_mode(&c, "kept", 1000, DS_WRITE_NONE, 0);
    scene_squeeze(&c);
    later(&c, 100);
    CHECK_EQ(why(&c, "a"), DS_GONE_EVICTED);
    CHECK_EQ(age_ms(&c), 100);
    CHECK_EQ(why(&c, "kept"), DS_GONE_NOT);
    CHECK_EQ(world_stats(&c.w).evictions, 1);
    CHECK_OK(ask(&c.w, c.p, DS_OP_DELETE, "a", 0)); /* from now on it would be gone anyway */
    CHECK_EQ(why(&c, "a"), DS_GONE_DELETED);
    CHECK_OK(ask(&c.w, c.p, DS_OP_DELETE, "never", 0));
    CHECK_EQ(why(&c, "never"), DS_GONE_UNKNOWN); /* nor does it take the place of another */
    scene_end(&c);
}

DS_TEST(why__room_on_disk_ends_objects)
{
    struct scene c;

    scene_make(&c, MIB, fake_attach);
    set_mode(&c, "a", 1000, DS_WRITE_NONE_EVICT, 0);
    scene_squeeze(&c);
    CHECK_EQ(why(&c, "a"), DS_GONE_NOT); /* on disk */
    CHECK_EQ(world_stats(&c.w).demotions, 1);
    CHECK_EQ(world_stats(&c.w).spills, 1);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    scene_squeeze(&c);
    CHECK_EQ(world_stats(&c.w).demotions, 2); /* without a write */
    CHECK_EQ(world_stats(&c.w).spills, 1);
    CHECK_EQ(ds_store_drop_disk(c.w.s, 1), 1000);
    CHECK_EQ(why(&c, "a"), DS_GONE_DROPPED);
    CHECK_EQ(world_stats(&c.w).drops, 1);

    c.t.capacity = 0; /* the disk is full, and memory, too */
    set_mode(&c, "a", 1000, DS_WRITE_NONE_EVICT, 0);
    scene_squeeze(&c);
    CHECK_EQ(why(&c, "a"), DS_GONE_EVICTED);
    scene_end(&c);
}

DS_TEST(why__damage_on_disk_ends_objects)
{
    struct scene c;

    scene_make(&c, MIB, fake_attach);
    set_mode(&c, "a", 1000, DS_WRITE_NONE, 0);
    scene_squeeze(&c);
    c.t.fail = DS_ECORRUPT;
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    c.t.fail = 0;
    later(&c, 70);
    CHECK_EQ(why(&c, "a"), DS_GONE_LOST);
    CHECK_GE(age_ms(&c), 70);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    CHECK_EQ(world_stats(&c.w).misses, 0);
    set_mode(&c, "a", 1000, DS_WRITE_NONE, 0);
    CHECK_EQ(why(&c, "a"), DS_GONE_NOT);
    scene_end(&c);
}

DS_TEST(why__second_level_storage_keeps_what_leaves)
{
    struct scene c;

    scene_make(&c, MIB, fake_attach_l2);
    set_second(&c, "a", DS_WRITE_THROUGH, 0);
    set_second(&c, "b", DS_WRITE_THROUGH, 0);
    set_second(&c, "c", DS_WRITE_THROUGH, 0);
    set_second(&c, "d", DS_WRITE_BACK_EVICT, 0);
    c.t.capacity = 0; /* the disk is full */
    scene_squeeze(&c);
    CHECK_EQ(why(&c, "a"), DS_GONE_L2);
    CHECK_EQ(why(&c, "d"), DS_GONE_NOT); /* its copy in the journal is as good */
    CHECK_EQ(ds_store_drop_disk(c.w.s, 1), 1000);
    CHECK_EQ(why(&c, "d"), DS_GONE_L2);
    CHECK_EQ(c.t.lookups + c.t.loads, 0);
    CHECK_EQ(world_stats(&c.w).evictions, 3);
    CHECK_EQ(world_stats(&c.w).drops, 1);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(why(&c, "a"), DS_GONE_NOT);
    CHECK_EQ(world_stats(&c.w).misses, 0);
    CHECK_OK(ask_l2(&c, DS_OP_DELETE, "b", 0)); /* it was there alone */
    CHECK_EQ(why(&c, "b"), DS_GONE_DELETED);
    fake_l2(&c.t, "c", 1, false)->key[0] = '\0'; /* somebody else has deleted it there */
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "c", 0), DS_ENOTFOUND);
    CHECK_EQ(world_stats(&c.w).misses, 1);
    CHECK_EQ(world_stats(&c.w).misses_evicted, 0);
    scene_end(&c);
}

/* A write-back object whose time is over stays until L2 knows of it: absent for all the same. */
DS_TEST(why__what_is_over_but_stays_has_expired)
{
    struct scene c;

    scene_make(&c, MIB, fake_attach_l2);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    set_second(&c, "a", DS_WRITE_BACK, 50);
    set_second(&c, "b", DS_WRITE_BACK, 0);
    later(&c, 100);
    CHECK(ds_store_find_any(c.w.s, "a", 1) != DS_ID_NONE);
    CHECK_EQ(why(&c, "a"), DS_GONE_EXPIRED);
    set_second(&c, "b", DS_WRITE_BACK, 0); /* the first one need not be uploaded any more */
    c.t.fail_l2 = 0;
    c.w.now.boot_ns += 3000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ds_store_find_any(c.w.s, "a", 1), DS_ID_NONE);
    CHECK_EQ(why(&c, "a"), DS_GONE_EXPIRED);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(world_stats(&c.w).l2_uploads, 1);
    CHECK_EQ(world_stats(&c.w).l2_outdated, 1);
    scene_end(&c);
}

DS_TEST(why__misses_are_told_apart)
{
    struct scene c;
    struct ds_worker_stats st;

    scene_make(&c, MIB, no_tier);
    set_mode(&c, "evicted", 1000, DS_WRITE_NONE_EVICT, 0);
    scene_squeeze(&c);
    set_mode(&c, "deleted", 1000, DS_WRITE_NONE, 0);
    CHECK_OK(ask(&c.w, c.p, DS_OP_DELETE, "deleted", 0));
    CHECK_EQ(world_stats(&c.w).misses, 0);
    CHECK_EQ(ask(&c.w, c.p, DS_OP_GET, "never", 0), DS_ENOTFOUND);
    CHECK_EQ(ask(&c.w, c.p, DS_OP_EXIST, "deleted", 0), DS_ENOTFOUND);
    CHECK_EQ(ask(&c.w, c.p, DS_OP_EXPIRE, "evicted", 1), DS_ENOTFOUND); /* nobody reads */
    st = world_stats(&c.w);
    CHECK_EQ(st.misses, 2);
    CHECK_EQ(st.misses_evicted, 0);
    CHECK_EQ(ask(&c.w, c.p, DS_OP_GET, "evicted", 0), DS_ENOTFOUND);
    CHECK_EQ(ask(&c.w, c.p, DS_OP_EXIST, "evicted", 0), DS_ENOTFOUND);
    st = world_stats(&c.w);
    CHECK_EQ(st.misses, 4);
    CHECK_EQ(st.misses_evicted, 2);
    set_mode(&c, "evicted", 1000, DS_WRITE_NONE, 0);
    CHECK_OK(ask(&c.w, c.p, DS_OP_GET, "evicted", 0));
    CHECK_OK(ask(&c.w, c.p, DS_OP_DELETE, "evicted", 0));
    CHECK_EQ(ask(&c.w, c.p, DS_OP_GET, "evicted", 0), DS_ENOTFOUND); /* not for want of room */
    st = world_stats(&c.w);
    CHECK_EQ(st.misses, 5);
    CHECK_EQ(st.misses_evicted, 2);
    scene_end(&c);
}

/* However often it was looked at meanwhile, a get that waits misses a key once, and at its end. */
DS_TEST(why__a_waiting_get_misses_once)
{
    struct scene c;

    scene_make(&c, MIB, no_tier);
    set_mode(&c, "evicted", 1000, DS_WRITE_NONE_EVICT, 0);
    scene_squeeze(&c);
    req_begin(c.p, 1, DS_OP_GET, 0);
    c.p->slot[1].header.timeout_ms = 100;
    req_key(c.p, 1, "never");
    req_key(c.p, 1, "comes");
    req_key(c.p, 1, "evicted");
    req_post(c.p, 1);
    settle(&c.w);
    CHECK(!req_done(c.p, 1));
    CHECK_EQ(world_stats(&c.w).misses, 0);
    for (unsigned i = 0; i < 3; i++) {
        later(&c, 10);
        set_mode(&c, "comes", 1000, DS_WRITE_NONE, 0);
        c.w.s->examine = true;
        settle(&c.w);
    }
    CHECK_EQ(world_stats(&c.w).misses, 0);
    later(&c, 100);
    CHECK(req_done(c.p, 1));
    CHECK_EQ(req_result(c.p, 1, 0)->status, DS_ENOTFOUND);
    CHECK_OK(req_result(c.p, 1, 1)->status);
    CHECK_EQ(req_result(c.p, 1, 2)->status, DS_ENOTFOUND);
    CHECK_EQ(world_stats(&c.w).misses, 2);
    CHECK_EQ(world_stats(&c.w).misses_evicted, 1);
    scene_end(&c);
}

DS_TEST(why__is_remembered_across_a_restart_of_the_worker)
{
    struct scene c;

    scene_make(&c, MIB, no_tier);
    set_mode(&c, "a", 1000, DS_WRITE_NONE, 0);
    set_mode(&c, "b", 1000, DS_WRITE_NONE, 0);
    CHECK_OK(ask(&c.w, c.p, DS_OP_DELETE, "a", 0));
    CHECK_EQ(why(&c, "a"), DS_GONE_DELETED);
    world_restart(&c.w);
    later(&c, 1500);
    CHECK_EQ(why(&c, "a"), DS_GONE_DELETED);
    CHECK_GE(age_ms(&c), 1500);
    CHECK_LE(age_ms(&c), 1510);
    CHECK_EQ(why(&c, "b"), DS_GONE_NOT);
    scene_end(&c);
}

/* A worker that is not given the disk any more cannot give back what is there. */
DS_TEST(why__what_is_on_a_disk_that_is_gone_is_lost)
{
    struct scene c;

    scene_make(&c, MIB, fake_attach);
    set_mode(&c, "a", 1000, DS_WRITE_NONE, 0);
    scene_squeeze(&c);
    c.w.config.tier = NULL;
    c.w.config.spill = false;
    world_restart(&c.w);
    CHECK_EQ(why(&c, "a"), DS_GONE_LOST);
    scene_end(&c);
}
