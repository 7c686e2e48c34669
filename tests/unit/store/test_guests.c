/* SPDX-License-Identifier: Apache-2.0 */
/* test_guests.c - objects that live on disk from the start: in memory while somebody uses them. */
#include "spill_scene.h"

static void set_disk(struct scene *c, const char *key, uint64_t size)
{
    struct lent g;

    CHECK_OK(grant(&c->w, c->p, size, &g));
    value_fill(&c->w, g.offset, size, size);
    req_begin(c->p, 1, DS_OP_SET_ABSENT, 0);
    req_add(c->p, 1, (struct ds_request_item){.id = g.id, .value_size = size, .kind = DS_KIND_DISK},
            key);
    req_post(c->p, 1);
    req_wait(&c->w, c->p, 1);
    CHECK_OK(req_result(c->p, 1, 0)->status);
}

/* What a worker does that has nothing else to do: it sleeps until the store wants to be called. */
static void sleep_and_work(struct scene *c, int64_t ms)
{
    int64_t end = c->w.now.boot_ns + ms * MS;

    settle_tiers(&c->w, &c->t);
    for (int64_t next; (next = ds_store_next_ns(c->w.s)) < end;) {
        c->w.now.boot_ns = next > c->w.now.boot_ns ? next : c->w.now.boot_ns + MS;
        settle_tiers(&c->w, &c->t);
    }
    c->w.now.boot_ns = end > c->w.now.boot_ns ? end : c->w.now.boot_ns;
}

DS_TEST(guests__leave_as_soon_as_they_are_settled)
{
    struct scene c;

    scene_init(&c, MIB);
    set_disk(&c, "a", 1000);
    CHECK_OK(set_none(&c, "b", 1000));
    settle_tiers(&c.w, &c.t);
    CHECK(spilled(&c, "a"));
    CHECK(!spilled(&c, "b"));
    CHECK_EQ(c.t.writes, 1);
    CHECK_EQ(ds_store_next_ns(c.w.s), INT64_MAX);
    scene_end(&c);
}

DS_TEST(guests__leave_after_the_pin_has_gone)
{
    struct scene c;
    struct ds_found f;

    scene_init(&c, MIB);
    set_disk(&c, "a", 1000);
    settle(&c.w);
    CHECK(look(&c.w, c.p, "a", 3, &f));
    sleep_and_work(&c, 500);
    CHECK(!spilled(&c, "a"));
    CHECK(value_is(&c.w, f.offset, f.size, 1000));
    unpin(c.p, 3);
    sleep_and_work(&c, 150);
    CHECK(spilled(&c, "a"));
    CHECK_EQ(c.t.writes, 1);
    CHECK_EQ(world_stats(&c.w).memory_live, 0);
    CHECK_EQ(ds_store_next_ns(c.w.s), INT64_MAX); /* nothing left to look after */
    world_check(&c.w);
    scene_end(&c);
}

DS_TEST(guests__leave_again_after_they_were_read)
{
    struct scene c;
    struct ds_found f;

    scene_init(&c, MIB);
    set_disk(&c, "a", 1000);
    sleep_and_work(&c, 10);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(spilled(&c, "a"));
        CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
        CHECK(look(&c.w, c.p, "a", 3, &f)); /* there is time to pin it */
        CHECK(value_is(&c.w, f.offset, f.size, 1000));
        sleep_and_work(&c, 500);
        CHECK(!spilled(&c, "a"));
        unpin(c.p, 3);
        sleep_and_work(&c, 250);
    }
    CHECK(spilled(&c, "a"));
    CHECK_EQ(c.t.writes, 1);
    CHECK_EQ(c.t.reads, 3);
    scene_end(&c);
}

DS_TEST(guests__wait_for_a_disk_that_is_busy_full_or_bad)
{
    struct scene c;
    char key[32];

    scene_init(&c, MIB);
    c.t.limit = 2;
    for (unsigned i = 0; i < 16; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        set_disk(&c, key, 1000);
    }
    settle_tiers(&c.w, &c.t); /* without a wait: the next ones go when those before are done */
    CHECK_EQ(c.t.writes, 16);
    CHECK_EQ(world_stats(&c.w).memory_live, 0);
    c.t.capacity = 16;
    set_disk(&c, "full", 1000);
    sleep_and_work(&c, 3000);
    CHECK(!spilled(&c, "full"));
    c.t.capacity = 64;
    sleep_and_work(&c, 1100);
    CHECK(spilled(&c, "full"));
    c.t.fail = DS_EIO;
    set_disk(&c, "bad", 1000);
    settle_tiers(&c.w, &c.t);
    c.t.fail = 0;
    CHECK(!spilled(&c, "bad"));
    sleep_and_work(&c, 1200);
    CHECK(spilled(&c, "bad"));
    world_check(&c.w);
    scene_end(&c);
}

DS_TEST(guests__that_end_are_looked_after_no_more)
{
    struct scene c;
    struct ds_found f;

    scene_init(&c, MIB);
    set_disk(&c, "a", 1000);
    set_disk(&c, "b", 1000);
    settle(&c.w);
    CHECK(look(&c.w, c.p, "a", 3, &f));
    CHECK(look(&c.w, c.p, "b", 4, &f));
    sleep_and_work(&c, 200);
    CHECK_OK(ask_disk(&c, DS_OP_DELETE, "a", 0));
    CHECK_OK(set_none(&c, "b", 2000)); /* the key lives in memory now */
    unpin(c.p, 3);
    unpin(c.p, 4);
    sleep_and_work(&c, 1000);
    CHECK(!spilled(&c, "b"));
    CHECK_EQ(hit(&c.w, c.p, "b"), 2000);
    CHECK_EQ(world_stats(&c.w).memory_doomed, 0);
    CHECK_EQ(ds_store_next_ns(c.w.s), INT64_MAX);
    world_check(&c.w);
    scene_end(&c);
}

DS_TEST(guests__leave_after_a_restart_of_the_worker)
{
    struct scene c;
    struct ds_found f;

    scene_init(&c, MIB);
    set_disk(&c, "a", 1000);
    settle(&c.w);
    CHECK(look(&c.w, c.p, "a", 3, &f));
    settle_tiers(&c.w, &c.t);
    fake_attach(&c.t, &c.w, c.t.disk);
    world_restart(&c.w);
    sleep_and_work(&c, 200);
    CHECK(!spilled(&c, "a"));
    unpin(c.p, 3);
    sleep_and_work(&c, 200);
    CHECK(spilled(&c, "a"));
    world_check(&c.w);
    scene_end(&c);
}
