/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_fetch.c - large values are read while they come from disk, over a disk that does what the
 * test says. What must not happen: bytes that are not the value's, a block that is somebody else's
 * while a reader has it, a block that is never free again.
 */
#include "base/alloc.h"
#include "spill_scene.h"

#define LARGE (8 * KIB)
#define SIZE (48 * KIB)
#define PIN 41u

/* "a" of SIZE bytes is on disk. */
static void begin(struct scene *c)
{
    scene_init(c, MIB);
    c->w.s->config.arriving_min = LARGE;
    CHECK_OK(set_none(c, "a", SIZE));
    scene_squeeze(c);
    CHECK(spilled(c, "a"));
    CHECK_EQ(world_stats(&c->w).memory_live, 0);
}

static void ask_part(struct scene *c, unsigned slot, uint64_t need)
{
    req_begin(c->p, slot, DS_OP_GET, DS_GET_PART);
    req_add(c->p, slot, (struct ds_request_item){.value_size = need}, "a");
    req_post(c->p, slot);
    settle(&c->w);
}

/* The answer names an object that can be pinned under that generation. */
static struct ds_found pin_answer(struct scene *c, unsigned slot, unsigned pin)
{
    const struct ds_request_result *r = req_result(c->p, slot, 0);
    struct ds_found f;

    CHECK(req_done(c->p, slot));
    CHECK_OK(r->status);
    if (ds_load_relaxed(&c->p->h->pins_used) <= pin) {
        ds_store_relaxed(&c->p->h->pins_used, pin + 1);
    }
    CHECK(ds_index_load(&c->w.map, r->id, &f));
    ds_store_relaxed(&c->p->pin[pin], r->id + 1);
    ds_fence_full();
    CHECK(ds_index_recheck(&c->w.map, &f));
    CHECK_EQ(f.gen, r->value);
    CHECK_EQ(f.size, SIZE);
    return f;
}

/* Its first 16 KiB have come, and a reader has pinned it. */
static struct ds_found pin_first(struct scene *c)
{
    ask_part(c, 0, 1);
    fake_arrive(&c->t, 16 * KIB);
    settle(&c->w);
    return pin_answer(c, 0, PIN);
}

/* The first `bytes` of a value of SIZE bytes stand there. */
static bool has(const struct scene *c, const struct ds_found *f, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        if (c->w.data.base[f->offset + i] != value_byte(SIZE, i)) {
            return false;
        }
    }
    return true;
}

/* Everything that can be had of memory is lent. */
static void take_all(struct scene *c)
{
    struct lent l;

    while (grant(&c->w, c->p, 4 * KIB, &l) == 0) {
        memset(c->w.data.base + l.offset, 0xee, 4 * KIB);
    }
}

static void after_reclaim(struct scene *c)
{
    reclaim(&c->w);
    world_check(&c->w);
}

DS_TEST(fetch__a_part_is_answered_before_the_rest_is_there)
{
    struct scene c;
    struct ds_found f;
    struct ds_found whole;

    begin(&c);
    ask_part(&c, 0, 10000);
    ask_part(&c, 1, 30000);
    ask_part(&c, 2, UINT64_MAX);
    req_begin(c.p, 3, DS_OP_GET, 0);
    req_key(c.p, 3, "a");
    req_post(c.p, 3);
    settle(&c.w);
    world_check(&c.w);
    for (unsigned i = 0; i < 4; i++) {
        CHECK(!req_done(c.p, i));
    }
    fake_arrive(&c.t, 16 * KIB);
    settle(&c.w);
    f = pin_answer(&c, 0, PIN);
    CHECK((f.meta & DS_META_SETTLED) == 0);
    CHECK_EQ(DS_META_ARRIVED(f.meta), 16 * KIB);
    CHECK(has(&c, &f, 16 * KIB));
    CHECK(!look(&c.w, c.p, "a", 40, &whole)); /* to others it is a miss */
    CHECK(!req_done(c.p, 1));
    fake_arrive(&c.t, 32 * KIB);
    settle(&c.w);
    CHECK(req_done(c.p, 1));
    CHECK_OK(req_result(c.p, 1, 0)->status);
    CHECK(!req_done(c.p, 2));
    CHECK(!req_done(c.p, 3));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(c.t.reads, 1u);
    for (unsigned i = 1; i < 4; i++) {
        CHECK(req_done(c.p, i));
        CHECK_OK(req_result(c.p, i, 0)->status);
        CHECK_EQ(req_result(c.p, i, 0)->value, f.gen); /* it is the same object */
    }
    CHECK(look(&c.w, c.p, "a", 40, &whole));
    CHECK_EQ(whole.offset, f.offset);
    CHECK_EQ(hit(&c.w, c.p, "a"), SIZE);
    world_check(&c.w);
    unpin(c.p, PIN);
    scene_end(&c);
}

/* Smaller ones, and where nothing is said to be large, come as a whole. */
DS_TEST(fetch__a_small_value_is_there_as_a_whole_or_not)
{
    struct scene c;

    begin(&c);
    c.w.s->config.arriving_min = SIZE;
    ask_part(&c, 0, 1);
    fake_arrive(&c.t, 32 * KIB);
    settle(&c.w);
    CHECK(!req_done(c.p, 0));
    settle_tiers(&c.w, &c.t);
    CHECK(req_done(c.p, 0));
    CHECK_OK(req_result(c.p, 0, 0)->status);
    CHECK_EQ(hit(&c.w, c.p, "a"), SIZE);
    scene_end(&c);
}

DS_TEST(fetch__a_read_that_fails_leaves_the_block_to_its_readers)
{
    struct scene c;
    struct ds_found f;
    struct ds_found again;

    begin(&c);
    f = pin_first(&c);
    ask_part(&c, 1, 20 * KIB);
    c.t.fail = DS_EIO;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(req_result(c.p, 1, 0)->status, DS_EIO);
    CHECK_EQ(world_stats(&c.w).tier_errors, 1u);
    world_check(&c.w);
    after_reclaim(&c);
    take_all(&c);
    CHECK(has(&c, &f, 16 * KIB)); /* nobody else got it */
    CHECK(!ds_index_recheck(&c.w.map, &f));
    world_check(&c.w);
    c.t.fail = 0; /* the next read goes to the same place, and writes the same */
    ask_part(&c, 2, 20 * KIB);
    fake_arrive(&c.t, 24 * KIB);
    settle(&c.w);
    again = pin_answer(&c, 2, PIN + 1);
    CHECK_EQ(again.offset, f.offset);
    CHECK(again.gen > f.gen);
    CHECK(has(&c, &f, 24 * KIB));
    settle_tiers(&c.w, &c.t);
    CHECK(has(&c, &again, SIZE));
    world_check(&c.w);
    unpin(c.p, PIN);
    unpin(c.p, PIN + 1);
    scene_end(&c);
}

DS_TEST(fetch__a_block_that_nobody_reads_is_free_after_a_failure)
{
    struct scene c;

    begin(&c);
    (void)pin_first(&c);
    c.t.fail = DS_EIO;
    settle_tiers(&c.w, &c.t);
    c.t.fail = 0;
    after_reclaim(&c);
    CHECK(world_stats(&c.w).memory_live >= SIZE);
    unpin(c.p, PIN);
    after_reclaim(&c);
    CHECK_EQ(world_stats(&c.w).memory_live, 0);
    CHECK(spilled(&c, "a"));
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_EIO); /* one reader is told */
    CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(hit(&c.w, c.p, "a"), SIZE);
    scene_end(&c);
}

/* Its copy is damaged behind what has arrived: whoever waits for that is told, and so is everybody
 * after. */
DS_TEST(fetch__damage_behind_what_has_arrived_is_told)
{
    struct scene c;
    struct ds_found f;

    begin(&c);
    f = pin_first(&c);
    ask_part(&c, 1, SIZE);
    c.t.fail = DS_ECORRUPT;
    settle_tiers(&c.w, &c.t);
    c.t.fail = 0;
    CHECK_EQ(req_result(c.p, 1, 0)->status, DS_ECORRUPT);
    CHECK(has(&c, &f, 16 * KIB));
    CHECK_EQ(ask_disk(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    unpin(c.p, PIN);
    after_reclaim(&c);
    CHECK_EQ(world_stats(&c.w).memory_live, 0);
    CHECK_OK(set_none(&c, "a", 100));
    CHECK_EQ(hit(&c.w, c.p, "a"), 100);
    world_check(&c.w);
    scene_end(&c);
}

DS_TEST(fetch__an_object_that_ends_while_it_arrives_keeps_its_block_while_it_is_read)
{
    for (int how = 0; how < 3; how++) {
        struct scene c;
        struct ds_found f;

        begin(&c);
        f = pin_first(&c);
        ask_part(&c, 1, 40 * KIB);
        if (how == 0) {
            req_begin(c.p, 2, DS_OP_DELETE, 0);
            req_key(c.p, 2, "a");
            req_post(c.p, 2);
            settle(&c.w);
        } else {
            CHECK_OK(set_none(&c, "a", 100));
        }
        world_check(&c.w);
        settle(&c.w);
        CHECK(req_done(c.p, 1)); /* by what there is of the key now */
        CHECK_EQ(req_result(c.p, 1, 0)->status, how == 0 ? DS_ENOTFOUND : 0);
        reclaim(&c.w);
        CHECK(has(&c, &f, 16 * KIB));
        c.t.fail = how == 2 ? DS_EIO : 0;
        settle_tiers(&c.w, &c.t); /* the tier was still writing there */
        c.t.fail = 0;
        after_reclaim(&c);
        take_all(&c);
        CHECK(has(&c, &f, how == 2 ? 16 * KIB : SIZE));
        unpin(c.p, PIN);
        after_reclaim(&c);
        CHECK_EQ(world_stats(&c.w).memory_doomed, 0);
        CHECK_EQ(hit(&c.w, c.p, "a"), how == 0 ? 0 : 100);
        scene_end(&c);
    }
}

/* What is on its way is lost, not what readers of it hold. */
DS_TEST(fetch__a_killed_worker_leaves_the_block_to_its_readers)
{
    for (int with_pin = 0; with_pin < 2; with_pin++) {
        struct scene c;
        struct ds_found f;

        begin(&c);
        f = pin_first(&c);
        if (!with_pin) {
            unpin(c.p, PIN);
        }
        ds_free(c.t.queue[0]);
        c.t.n = 0;
        world_restart(&c.w);
        c.w.s->config.arriving_min = LARGE;
        settle(&c.w);
        world_check(&c.w);
        CHECK(spilled(&c, "a"));
        CHECK(!ds_index_recheck(&c.w.map, &f));
        after_reclaim(&c);
        CHECK_EQ(world_stats(&c.w).memory_live != 0, with_pin == 1);
        take_all(&c);
        CHECK_EQ(has(&c, &f, 16 * KIB), with_pin == 1);
        if (with_pin) {
            CHECK_OK(ask_disk(&c, DS_OP_GET, "a", 0));
            CHECK_EQ(hit(&c.w, c.p, "a"), SIZE);
        }
        unpin(c.p, PIN);
        scene_end(&c);
    }
}

/* A worker that was not given the disk has lost the object; its readers have not lost the block. */
DS_TEST(fetch__a_worker_without_the_disk_leaves_the_block_to_its_readers)
{
    struct scene c;
    struct ds_found f;

    begin(&c);
    f = pin_first(&c);
    ds_free(c.t.queue[0]);
    c.t.n = 0;
    c.w.config.tier = NULL;
    world_restart(&c.w);
    settle(&c.w);
    world_check(&c.w);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    after_reclaim(&c);
    take_all(&c);
    CHECK(has(&c, &f, 16 * KIB));
    unpin(c.p, PIN);
    after_reclaim(&c);
    CHECK_EQ(world_stats(&c.w).memory_doomed, 0);
    scene_end(&c);
}

/* What it names is not whole: nobody may seal or latch it. */
DS_TEST(fetch__what_arrives_cannot_be_named)
{
    struct scene c;
    struct ds_found f;

    begin(&c);
    f = pin_first(&c);
    CHECK_EQ(ask_id(&c.w, c.p, 1, DS_OP_SEAL, f.id, f.gen), DS_ESTALE);
    CHECK_EQ(ask_id(&c.w, c.p, 1, DS_OP_LATCH_WRITE, f.id, f.gen), DS_ESTALE);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ask_id(&c.w, c.p, 1, DS_OP_LATCH_READ, f.id, f.gen), 0);
    unpin(c.p, PIN);
    scene_end(&c);
}

/* Memory that is short makes use of blocks that nobody reads into. */
DS_TEST(fetch__a_stalled_block_makes_room_for_a_writer)
{
    struct scene c;
    struct lent l;

    begin(&c);
    ask_part(&c, 0, 1);
    c.t.fail = DS_EIO;
    settle_tiers(&c.w, &c.t);
    c.t.fail = 0;
    CHECK_OK(grant(&c.w, c.p, MIB - 4 * KIB, &l));
    CHECK_EQ(world_stats(&c.w).memory_live, 0);
    world_check(&c.w);
    scene_end(&c);
}
