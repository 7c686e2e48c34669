/* SPDX-License-Identifier: Apache-2.0 */
/* test_spill.c - objects whose bytes are on disk, over a disk that does what the test says. */
#include "base/alloc.h"
#include "spill_scene.h"

DS_TEST(spill__four_times_the_memory_comes_back_whole)
{
    struct scene c;
    char key[32];

    scene_init(&c, MIB);
    for (unsigned i = 0; i < 128; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_none(&c, key, 32 * KIB - i));
    }
    CHECK_EQ(world_stats(&c.w).objects, 128);
    CHECK(world_stats(&c.w).spilled_objects >= 96);
    for (unsigned i = 0; i < 128; i++) {
        struct ds_found f;

        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(ask_disk(&c, DS_OP_GET, key, 0));
        CHECK(look(&c.w, c.p, key, 40, &f));
        CHECK_EQ(f.size, 32 * KIB - i);
        CHECK(value_is(&c.w, f.offset, f.size, f.size));
        unpin(c.p, 40);
        world_check(&c.w);
    }
    scene_end(&c);
}

/* Blocks that do not come in time: nothing of an earlier answer in the slot looks like one. */
DS_TEST(spill__blocks_that_must_be_waited_for_are_all_refused)
{
    struct scene c;
    int status = 0;

    scene_init(&c, MIB);
    for (unsigned i = 0; i < 8; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_none(&c, key, 64 * KIB));
    }
    for (unsigned i = 0; i < 16 && status == 0; i++) {
        req_begin(c.p, 63, DS_OP_GRANT, 64 * KIB);
        c.p->slot[63].header.n = 3;
        for (unsigned k = 0; k < 3; k++) {
            c.p->slot[63].result[k] = (struct ds_request_result){.id = 7, .value = 64};
        }
        req_post(c.p, 63);
        req_wait(&c.w, c.p, 63); /* the disk does nothing meanwhile */
        status = req_result(c.p, 63, 0)->status;
    }
    CHECK_EQ(status, DS_ETIMEOUT);
    CHECK_EQ(req_result(c.p, 63, 1)->status, DS_ETIMEOUT);
    CHECK_EQ(req_result(c.p, 63, 2)->status, DS_ETIMEOUT);
    settle_tiers(&c.w, &c.t);
    scene_end(&c);
}

DS_TEST(spill__a_spilled_key_is_there_for_all_but_readers)
{
    struct scene c;
    struct ds_found f;
    uint64_t hash;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    scene_squeeze(&c);
    CHECK(spilled(&c, "a"));
    CHECK_EQ(world_stats(&c.w).memory_live, 0);
    hash = ds_index_hash(&c.w.s->index, "a", 1);
    CHECK(ds_index_maybe_present(&c.w.map, hash));
    CHECK(!look(&c.w, c.p, "a", 40, &f));
    CHECK_OK(ask(&c.w, c.p, DS_OP_EXIST, "a", 0));
    CHECK_EQ(req_result(c.p, 0, 0)->value, 1000);
    CHECK_EQ(c.t.reads, 0);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(c.t.reads, 1);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    scene_end(&c);
}

/* What the tier knows stands beside what the store knows, also in the answer to a client. */
DS_TEST(spill__figures_of_the_tier_come_with_the_stores)
{
    struct scene c;
    struct ds_worker_stats st;

    scene_init(&c, 4 * MIB);
    c.t.capacity = 77;
    CHECK_OK(set_mode(&c, "a", 1000, DS_WRITE_NONE, 0));
    st = world_stats(&c.w);
    CHECK_EQ(st.disk_capacity, 77);
    CHECK_EQ(st.sets, 1);
    CHECK_EQ(st.evict_policy, DS_EVICT_LRU);
    req_begin(c.p, 0, DS_OP_STATS, 0);
    req_post(c.p, 0);
    settle(&c.w);
    CHECK(req_done(c.p, 0));
    memcpy(&st, c.p->slot[0].result, sizeof(st));
    CHECK_EQ(st.disk_capacity, 77);
    CHECK_EQ(st.sets, 1);
    CHECK_EQ(st.reserved[0], 0);
    scene_end(&c);
}

DS_TEST(spill__many_readers_of_one_object_cost_one_read)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    scene_squeeze(&c);
    for (unsigned i = 0; i < 10; i++) {
        req_begin(c.p, i, DS_OP_GET, 0);
        req_key(c.p, i, "a");
        req_post(c.p, i);
    }
    settle(&c.w);
    CHECK(!req_done(c.p, 0)); /* though none of them may wait for a key that is missing */
    c.w.now.boot_ns += 60 * 1000 * MS;
    settle(&c.w);
    CHECK(!req_done(c.p, 0));
    settle_tiers(&c.w, &c.t);
    for (unsigned i = 0; i < 10; i++) {
        CHECK(req_done(c.p, i));
        CHECK_OK(req_result(c.p, i, 0)->status);
    }
    CHECK_EQ(c.t.reads, 1);
    scene_end(&c);
}

DS_TEST(spill__leaving_again_costs_no_write)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    for (unsigned i = 0; i < 3; i++) {
        scene_squeeze(&c);
        CHECK(spilled(&c, "a"));
        CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    }
    CHECK_EQ(c.t.writes, 1);
    CHECK_EQ(c.t.reads, 3);
    scene_end(&c);
}

DS_TEST(spill__what_is_pinned_meanwhile_stays_in_memory)
{
    struct scene c;
    struct ds_found f;
    struct ds_found again;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    (void)ds_store_make_room(c.w.s, MIB);
    CHECK_EQ(c.t.n, 1);
    CHECK(look(&c.w, c.p, "a", 3, &f)); /* a hit while it is being written */
    settle_tiers(&c.w, &c.t);
    CHECK(!spilled(&c, "a"));
    CHECK(look(&c.w, c.p, "a", 4, &again));
    CHECK_EQ(again.gen, f.gen);
    CHECK(value_is(&c.w, f.offset, f.size, 1000));
    unpin(c.p, 3);
    unpin(c.p, 4);
    scene_squeeze(&c);
    CHECK(spilled(&c, "a"));
    CHECK_EQ(c.t.writes, 1);
    scene_end(&c);
}

DS_TEST(spill__a_delete_while_it_is_written_or_read_wins)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    (void)ds_store_make_room(c.w.s, MIB);
    req_begin(c.p, 1, DS_OP_DELETE, 0);
    req_key(c.p, 1, "a");
    req_post(c.p, 1);
    settle(&c.w);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK(!req_done(c.p, 1)); /* a copy is on its way to disk: to be buried first */
    reclaim(&c.w);
    CHECK_EQ(c.t.queue[0]->size, 1000); /* the block is still there for the writer */
    settle_tiers(&c.w, &c.t);
    CHECK(req_done(c.p, 1));
    CHECK_EQ(fake_used(&c.t), 0);

    CHECK_OK(set_none(&c, "a", 2000));
    scene_squeeze(&c);
    req_begin(c.p, 2, DS_OP_GET, 0);
    req_key(c.p, 2, "a");
    req_post(c.p, 2);
    settle(&c.w);
    req_begin(c.p, 1, DS_OP_DELETE, 0);
    req_key(c.p, 1, "a");
    req_post(c.p, 1);
    settle_tiers(&c.w, &c.t);
    CHECK(req_done(c.p, 1));
    CHECK(req_done(c.p, 2));
    CHECK_EQ(req_result(c.p, 2, 0)->status, DS_ENOTFOUND);
    reclaim(&c.w);
    CHECK_EQ(world_stats(&c.w).memory_doomed, 0);
    scene_end(&c);
}

DS_TEST(spill__a_delete_and_a_set_are_done_when_the_copy_is_buried)
{
    struct scene c;
    uint64_t before;
    uint64_t end;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    CHECK_OK(set_none(&c, "b", 1100));
    scene_squeeze(&c);
    c.t.hold_burials = true;
    req_begin(c.p, 1, DS_OP_DELETE, 0);
    req_key(c.p, 1, "a");
    req_post(c.p, 1);
    settle_tiers(&c.w, &c.t);
    CHECK(!req_done(c.p, 1));
    before = ds_load_relaxed(&c.p->h->applied);
    CHECK_OK(set_none(&c, "b", 1200));
    end = c.p->tail;
    CHECK_EQ(ds_load_relaxed(&c.p->h->applied), before); /* the mirror waits ... */
    CHECK_EQ(ds_load_relaxed(&c.w.s->session[c.p->number]->state->applied), end); /* it is done */
    CHECK_EQ(hit(&c.w, c.p, "b"), 1200);
    c.t.hold_burials = false;
    settle_tiers(&c.w, &c.t);
    CHECK(req_done(c.p, 1));
    CHECK_OK(req_result(c.p, 1, 0)->status);
    CHECK_EQ(ds_load_relaxed(&c.p->h->applied), end);
    scene_end(&c);
}

DS_TEST(spill__nobody_waits_for_a_copy_that_is_buried_at_once)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.keeps = true;
    CHECK_OK(set_none(&c, "a", 1000));
    CHECK_OK(set_none(&c, "b", 1100));
    scene_squeeze(&c);
    c.t.hold_burials = true;
    CHECK_OK(ask(&c.w, c.p, DS_OP_DELETE, "a", 0));
    CHECK_OK(set_none(&c, "b", 1200));
    CHECK_EQ(ds_load_relaxed(&c.p->h->applied), c.p->tail);
    CHECK_EQ(hit(&c.w, c.p, "b"), 1200);
    CHECK_EQ(fake_used(&c.t), 0);
    scene_end(&c);
}

DS_TEST(spill__the_mirror_keeps_its_place_over_many_buried_copies)
{
    struct scene c;
    char key[32];

    scene_init(&c, MIB);
    for (unsigned i = 0; i < 3 * DS_STORE_MIRROR_HOLDS; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_none(&c, key, 500));
    }
    scene_squeeze(&c);
    c.t.hold_burials = true;
    for (unsigned i = 0; i < 3 * DS_STORE_MIRROR_HOLDS; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_none(&c, key, 600));
    }
    ds_store_buried(c.w.s, 1);
    settle(&c.w);
    CHECK(ds_load_relaxed(&c.p->h->applied) < c.p->tail);
    c.t.hold_burials = false;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ds_load_relaxed(&c.p->h->applied), c.p->tail);
    scene_end(&c);
}

DS_TEST(spill__a_failed_read_is_told_once_damage_for_good)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    scene_squeeze(&c);
    c.t.fail = DS_EIO;
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_EIO);
    c.t.fail = 0;
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    scene_squeeze(&c);
    c.t.fail = DS_ECORRUPT;
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    c.t.fail = 0;
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    CHECK_EQ(world_stats(&c.w).tier_errors, 2);
    CHECK_EQ(world_stats(&c.w).losses, 1);
    world_check(&c.w);
    CHECK_OK(set_none(&c, "a", 1200));
    CHECK_EQ(hit(&c.w, c.p, "a"), 1200);
    scene_end(&c);
}

DS_TEST(spill__a_failed_write_leaves_the_object_in_memory)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    c.t.fail = DS_EIO;
    scene_squeeze(&c);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    c.t.fail = 0;
    c.w.now.boot_ns += 1000 * MS;
    scene_squeeze(&c);
    CHECK(spilled(&c, "a"));
    scene_end(&c);
}

DS_TEST(spill__writers_do_not_wait_for_a_disk_that_fails)
{
    struct scene c;
    struct lent g;
    char key[32];
    int rc = 0;

    scene_init(&c, MIB);
    c.t.fail = DS_EIO;
    for (unsigned i = 0; rc == 0 && i < 40; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        rc = set_none(&c, key, 60 * KIB);
    }
    CHECK_EQ(rc, DS_ENOMEM);
    CHECK_EQ(hit(&c.w, c.p, "k0"), 60 * KIB);
    c.t.fail = 0;
    c.w.now.boot_ns += 1000 * MS;
    CHECK_OK(grant_disk(&c, 60 * KIB, &g));
    scene_end(&c);
}

DS_TEST(spill__drops_the_oldest_on_disk_when_it_is_told_to)
{
    struct scene c;
    char key[32];
    uint64_t before;

    scene_init(&c, MIB);
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), 0);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_mode(&c, key, 60 * KIB, i == 0 ? DS_WRITE_NONE : DS_WRITE_NONE_EVICT, 0));
    }
    before = world_stats(&c.w).spilled_objects;
    CHECK(spilled(&c, "k0") && spilled(&c, "k1") && spilled(&c, "k2") && spilled(&c, "k3"));
    CHECK_EQ(ds_store_drop_disk(c.w.s, 61 * KIB), 120 * KIB); /* whole objects */
    CHECK_EQ(world_stats(&c.w).drops, 2);
    CHECK_EQ(world_stats(&c.w).spilled_objects, before - 2);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "k0", 0)); /* may not be dropped */
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "k1", 0), DS_ENOTFOUND);
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "k2", 0), DS_ENOTFOUND);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "k3", 0));
    scene_end(&c);
}

DS_TEST(spill__a_full_disk_refuses_or_drops_what_may_go)
{
    struct scene c;
    struct lent g;
    char key[32];
    int rc = 0;

    world_make(&c.w, MIB);
    c.w.config.evict_high = 0.9; /* as the worker has it with a disk */
    c.w.config.evict_low = 0.8;
    fake_attach(&c.t, &c.w, fake_disk_make());
    world_start(&c.w);
    c.p = peer_open(&c.w, 0);
    c.t.capacity = 8;
    for (unsigned i = 0; rc == 0; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        rc = set_none(&c, key, 60 * KIB);
        CHECK(i < 40);
    }
    CHECK_EQ(rc, DS_ENOMEM);
    CHECK_EQ(world_stats(&c.w).spilled_objects, 8);
    CHECK_EQ(world_stats(&c.w).evictions + world_stats(&c.w).drops, 0);
    for (unsigned i = 0; i < world_stats(&c.w).objects; i++) { /* and all can still be read */
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(ask_disk(&c, DS_OP_GET, key, 0));
        CHECK_EQ(hit(&c.w, c.p, key), 60 * KIB);
    }
    (void)snprintf(key, sizeof(key), "k%u", 0);
    CHECK_OK(ask_disk(&c, DS_OP_DELETE, "k0", 0)); /* spilled: room on disk */
    CHECK_OK(grant_disk(&c, 60 * KIB, &g));
    scene_end(&c);

    scene_init(&c, MIB);
    c.t.capacity = 8;
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_mode(&c, key, 60 * KIB, DS_WRITE_NONE_EVICT, 0));
    }
    CHECK(world_stats(&c.w).drops > 60);
    CHECK_EQ(hit(&c.w, c.p, "k99"), 60 * KIB);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "k80", 0)); /* among the newest 16 + 8 */
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "k60", 0), DS_ENOTFOUND);
    scene_end(&c);
}

/* Background eviction runs after every pass: what was just brought back must not be its victim. */
DS_TEST(spill__what_came_back_stays_until_it_can_be_pinned)
{
    struct scene c;
    char key[32];
    struct ds_found f;

    world_make(&c.w, MIB);
    c.w.config.evict_high = 0.5;
    c.w.config.evict_low = 0.4;
    fake_attach(&c.t, &c.w, fake_disk_make());
    world_start(&c.w);
    c.p = peer_open(&c.w, 0);
    c.t.capacity = 8;
    for (unsigned i = 0; i < 22; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_none(&c, key, 60 * KIB));
        settle_tiers(&c.w, &c.t);
    }
    CHECK(spilled(&c, "k0"));
    CHECK_OK(ask_disk(&c, DS_OP_GET, "k0", 0));
    settle_tiers(&c.w, &c.t);
    CHECK(look(&c.w, c.p, "k0", 3, &f));
    unpin(c.p, 3);
    c.w.now.boot_ns += 30 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK(spilled(&c, "k0")); /* it has a copy on the disk, nothing else can go */
    scene_end(&c);
}

DS_TEST(spill__a_busy_disk_makes_writers_wait_not_fail)
{
    struct scene c;
    char key[32];

    scene_init(&c, MIB);
    c.t.limit = 1;
    for (unsigned i = 0; i < 60; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_none(&c, key, 60 * KIB));
    }
    scene_end(&c);
}

DS_TEST(spill__spilled_objects_expire)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_mode(&c, "a", 1000, DS_WRITE_NONE, 1000));
    CHECK_OK(set_mode(&c, "b", 1000, DS_WRITE_NONE, 0));
    scene_squeeze(&c);
    CHECK(spilled(&c, "a"));
    CHECK_OK(ask_disk(&c, DS_OP_EXPIRE, "b", 2000)); /* its copy would not know: comes back */
    CHECK(!spilled(&c, "b"));
    scene_squeeze(&c);
    CHECK(spilled(&c, "b"));
    CHECK_EQ(c.t.writes, 3);
    c.w.now.boot_ns += 1100 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(world_stats(&c.w).objects, 1);
    CHECK_EQ(fake_used(&c.t), 1);
    c.w.now.boot_ns += 1000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    CHECK_EQ(world_stats(&c.w).spilled_bytes, 0);
    CHECK_EQ(fake_used(&c.t), 0);
    scene_end(&c);
}

static bool each_place(void *arg, uint64_t place, uint64_t size, size_t key_size)
{
    unsigned *n = arg;

    CHECK(place != 0 && size >= 1000 && key_size == 1);
    (*n)++;
    return true;
}

DS_TEST(spill__survives_the_worker)
{
    struct scene c;
    unsigned places = 0;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    scene_squeeze(&c);
    CHECK_OK(set_none(&c, "b", 1100));
    (void)ds_store_make_room(c.w.s, MIB); /* the kill comes while "b" is being written */
    CHECK_EQ(c.t.n, 1);
    ds_free(c.t.queue[0]);
    fake_attach(&c.t, &c.w, c.t.disk);
    world_restart(&c.w);
    settle_tiers(&c.w, &c.t);
    world_check(&c.w);
    CHECK(spilled(&c, "a"));
    CHECK_EQ(hit(&c.w, c.p, "b"), 1100);
    ds_store_places(c.w.s, each_place, &places);
    CHECK_EQ(places, 1);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    scene_squeeze(&c);

    c.w.config.tier = NULL; /* the next worker is not given the disk */
    world_restart(&c.w);
    settle(&c.w);
    CHECK_EQ(world_stats(&c.w).objects, 0);
    CHECK_EQ(ask(&c.w, c.p, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    world_end(&c.w);
    CHECK_OK(munmap(c.t.disk, sizeof(*c.t.disk)));
}

/* Nothing that a new worker found may leave memory before it is settled: whoever needs room is not
 * told that there is none. */
DS_TEST(spill__a_full_memory_makes_room_for_a_reader_right_after_a_restart)
{
    struct scene c;
    struct ds_arena_stats st;
    struct lent g;
    char key[16];

    scene_init(&c, MIB);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_OK(set_none(&c, key, 32 * KIB));
    }
    CHECK(spilled(&c, "k0"));
    for (ds_arena_stats(c.w.s->data, &st); st.largest_free >= 32 * KIB;
         ds_arena_stats(c.w.s->data, &st)) {
        CHECK_OK(grant_disk(&c, 32 * KIB, &g));
    }
    fake_attach(&c.t, &c.w, c.t.disk);
    req_begin(c.p, 0, DS_OP_GET, 0);
    req_key(c.p, 0, "k0");
    req_post(c.p, 0);
    world_restart(&c.w);
    (void)pass(&c.w);
    CHECK(!req_done(c.p, 0));
    disk_until_done(&c, 0);
    CHECK_OK(req_result(c.p, 0, 0)->status);
    CHECK_EQ(hit(&c.w, c.p, "k0"), 32 * KIB);
    scene_end(&c);
}

/* What cannot be entered may be given up if an object in memory might be. */
DS_TEST(spill__what_was_found_may_be_dropped_like_any_object)
{
    struct scene c;
    struct ds_store_found f = {.key = "a", .key_size = 1, .size = 1000, .place = 1};

    scene_init(&c, MIB);
    for (unsigned i = 0; i < 20; i++) {
        uint32_t id;

        f.mode = (uint8_t)(i / 4);
        f.uploaded = (i & 1) != 0;
        c.w.s->config.drop_none = (i & 2) != 0;
        CHECK_OK(ds_store_record_found(c.w.s, &f, 0, &id));
        ds_store_release(&c.w.s->record[id].word, ds_store_found_word(&f));
        CHECK_EQ(ds_store_found_droppable(c.w.s, &f), ds_store_droppable(c.w.s, id));
        ds_store_record_free(c.w.s, id);
    }
    f.mode = DS_WRITE_NONE;
    CHECK(ds_store_found_droppable(c.w.s, &f));
    c.w.s->config.drop_none = false;
    CHECK(!ds_store_found_droppable(c.w.s, &f));
    scene_end(&c);
}

DS_TEST(spill__a_directory_fills_a_new_store)
{
    struct scene c;
    struct ds_store_found f = {
        .key = "a", .key_size = 1, .size = 1000, .place = 1, .mode = DS_WRITE_NONE};

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    CHECK_OK(set_none(&c, "b", 1100));
    scene_squeeze(&c);
    c.w.s = ds_store_destroy(c.w.s);
    for (unsigned i = 0; i < PEERS; i++) {
        ds_segment_close(&c.w.peer[i].seg);
    }
    ds_segment_close(&c.w.index);
    ds_segment_close(&c.w.state);
    ds_segment_close(&c.w.data);
    world_make(&c.w, MIB); /* power loss: nothing but the disk is left */
    fake_attach(&c.t, &c.w, c.t.disk);
    world_start(&c.w);
    CHECK_OK(ds_store_enter_spilled(c.w.s, &f));
    world_found(&c.w);
    CHECK_EQ(ds_store_enter_spilled(c.w.s, &f), DS_EINVAL); /* twice */
    f.key = "c";
    f.size = 2 * MIB;
    CHECK_EQ(ds_store_enter_spilled(c.w.s, &f), DS_EINVAL); /* never fits */
    f.key_size = 0;
    CHECK_EQ(ds_store_enter_spilled(c.w.s, &f), DS_EINVAL);
    c.p = peer_open(&c.w, 0);
    settle(&c.w);
    world_check(&c.w);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    scene_squeeze(&c);
    CHECK_OK(set_none(&c, "a", 1200)); /* whatever the clocks of before said */
    CHECK_EQ(hit(&c.w, c.p, "a"), 1200);
    scene_end(&c);
}

DS_TEST(spill__a_copy_may_be_moved_on_disk)
{
    struct scene c;
    struct fake_copy *to;
    bool dirty;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "a", 1000));
    scene_squeeze(&c);
    to = &c.t.disk->copy[7];
    *to = *fake_at(&c.t, 1);
    to->number = 77;
    CHECK(ds_store_has_place(c.w.s, "a", 1, 1, &dirty));
    CHECK(!ds_store_has_place(c.w.s, "b", 1, 1, &dirty));
    CHECK(!ds_store_moved(c.w.s, "a", 1, 2, 78, &dirty));
    CHECK(ds_store_moved(c.w.s, "a", 1, 1, 77, &dirty));
    CHECK(!ds_store_moved(c.w.s, "a", 1, 1, 78, &dirty));
    fake_at(&c.t, 1)->number = 0;
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    scene_end(&c);
}

/* Objects of the object API change in place: a copy of before must not come back. */
DS_TEST(spill__a_changed_object_leaves_its_copy)
{
    struct scene c;
    struct ds_found f;
    struct lent g;

    scene_init(&c, MIB);
    CHECK_OK(grant_disk(&c, 1000, &g));
    value_fill(&c.w, g.offset, 1000, 1);
    req_begin(c.p, 0, DS_OP_PUT, 0);
    req_add(c.p, 0,
            (struct ds_request_item){.id = g.id, .value_size = 1000, .kind = DS_KIND_OBJECT}, "a");
    req_post(c.p, 0);
    req_wait(&c.w, c.p, 0);
    settle(&c.w);
    (void)ds_store_make_room(c.w.s, MIB); /* being written ... */
    CHECK(look(&c.w, c.p, "a", 3, &f));
    req_begin(c.p, 1, DS_OP_LATCH_WRITE, 0);
    req_add(c.p, 1, (struct ds_request_item){.id = f.id, .value_size = f.gen}, NULL);
    req_post(c.p, 1);
    req_wait(&c.w, c.p, 1);
    value_fill(&c.w, f.offset, 1000, 1000); /* ... and changed meanwhile */
    req_begin(c.p, 2, DS_OP_UNLATCH_WRITE, 0);
    req_add(c.p, 2, (struct ds_request_item){.id = f.id, .value_size = f.gen}, NULL);
    req_post(c.p, 2);
    req_wait(&c.w, c.p, 2);
    unpin(c.p, 3);
    settle_tiers(&c.w, &c.t);
    CHECK(!spilled(&c, "a"));
    scene_squeeze(&c);
    CHECK(spilled(&c, "a"));
    CHECK_EQ(c.t.writes, 2);
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    CHECK_EQ(ds_store_place(c.w.s, id_of(&c.w, "a")), 0); /* may be changed again at any time */
    scene_end(&c);
}

/* The answer of a spill that was overtaken by a change, and then by the end of the object. */
DS_TEST(spill__a_change_and_a_delete_while_it_is_written)
{
    struct scene c;

    scene_init(&c, MIB);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_OK(set_none(&c, "a", 1000));
        c.t.fail = i == 1 ? DS_EIO : 0;
        c.w.now.boot_ns += 1000 * MS; /* an earlier failure is forgotten */
        settle(&c.w);
        (void)ds_store_make_room(c.w.s, MIB);
        CHECK_EQ(c.t.n, 1);
        CHECK_OK(ask(&c.w, c.p, DS_OP_EXPIRE, "a", 100000));
        req_begin(c.p, 1, DS_OP_DELETE, 0);
        req_key(c.p, 1, "a");
        req_post(c.p, 1);
        settle(&c.w);
        settle_tiers(&c.w, &c.t);
        CHECK(req_done(c.p, 1));
        reclaim(&c.w);
        CHECK_EQ(world_stats(&c.w).memory_doomed, 0);
        world_check(&c.w);
    }
    scene_end(&c);
}

DS_TEST(spill__nested_keys_outlive_a_spilled_parent_and_the_worker)
{
    struct scene c;
    struct lent g;

    scene_init(&c, MIB);
    CHECK_OK(set_none(&c, "child", 500));
    CHECK_OK(ask(&c.w, c.p, DS_OP_REF, "child", 0));
    CHECK_OK(grant_disk(&c, 1000, &g));
    value_fill(&c.w, g.offset, 1000, 1000);
    req_begin(c.p, 0, DS_OP_PUT, 0);
    req_add(c.p, 0,
            (struct ds_request_item){
                .id = g.id, .value_size = 1000, .kind = DS_KIND_OBJECT | DS_KIND_SEALED},
            "parent");
    req_post(c.p, 0);
    req_wait(&c.w, c.p, 0);
    req_begin(c.p, 1, DS_OP_NEST, g.id);
    c.p->slot[1].header.value2 = req_result(c.p, 0, 0)->value;
    req_key(c.p, 1, "child");
    req_post(c.p, 1);
    req_wait(&c.w, c.p, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    settle(&c.w);
    scene_squeeze(&c);
    CHECK(spilled(&c, "parent"));
    fake_attach(&c.t, &c.w, c.t.disk);
    world_restart(&c.w);
    settle_tiers(&c.w, &c.t);
    CHECK_OK(ask_disk(&c, DS_OP_UNREF, "child", 0));
    CHECK_OK(ask(&c.w, c.p, DS_OP_EXIST, "child", 0)); /* the parent keeps it */
    CHECK_OK(ask_disk(&c, DS_OP_DELETE, "parent", 0));
    CHECK_EQ(ask(&c.w, c.p, DS_OP_EXIST, "child", 0), DS_ENOTFOUND);
    scene_end(&c);
}

/* The next one in the order went with it. */
DS_TEST(spill__drops_what_is_nested_in_what_it_drops)
{
    struct scene c;
    uint32_t id;

    scene_init(&c, MIB);
    CHECK_OK(set_mode(&c, "parent", 1000, DS_WRITE_NONE_EVICT, 0));
    CHECK_OK(set_mode(&c, "child", 1000, DS_WRITE_NONE_EVICT, 0));
    CHECK_OK(set_mode(&c, "other", 1000, DS_WRITE_NONE_EVICT, 0));
    settle(&c.w);
    id = id_of(&c.w, "parent");
    req_begin(c.p, 1, DS_OP_NEST, id);
    c.p->slot[1].header.value2 = ds_load_relaxed(&c.w.s->record[id].gen);
    req_key(c.p, 1, "child");
    req_post(c.p, 1);
    req_wait(&c.w, c.p, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    scene_squeeze(&c);
    CHECK(spilled(&c, "parent") && spilled(&c, "child") && spilled(&c, "other"));
    CHECK_EQ(c.w.s->link[id].next, id_of(&c.w, "child"));
    CHECK_EQ(ds_store_drop_disk(c.w.s, MIB), 2000);
    CHECK_EQ(world_stats(&c.w).spilled_objects, 0);
    CHECK_OK(ds_store_check(c.w.s));
    scene_end(&c);
}
