/* SPDX-License-Identifier: Apache-2.0 */
/* test_second_upload.c - uploads whose object ends meanwhile, or whose key others write too. */
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "second_scene.h"

/* Another worker has stored a value of `size` bytes under the number `order`. */
static void stored_by_another(struct scene *c, const char *key, uint64_t size, uint64_t order)
{
    struct fake_object *o = fake_l2(&c->t, key, strlen(key), true);

    memset(o, 0, sizeof(*o));
    (void)snprintf(o->key, sizeof(o->key), "%s", key);
    o->size = size;
    o->order = order;
    o->mode = DS_WRITE_THROUGH;
    for (uint64_t i = 0; i < size; i++) {
        o->value[i] = value_byte(size, i);
    }
}

DS_TEST(second__an_upload_that_comes_too_late_gives_way)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    stored_by_another(&c, "a", 700, ++c.t.disk->orders);
    c.t.fail_l2 = 0;
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 700);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(world_stats(&c.w).l2_outdated, 1);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE); /* readers find the newer one */
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 700);
    CHECK(c.t.disk->copy[0].buried);
    scene_end(&c);
}

/* Nor does a kill leave it in memory as if it were the one of L2. */
DS_TEST(second__a_kill_does_not_bring_back_what_gives_way)
{
    struct scene c;
    int status;
    pid_t pid;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    stored_by_another(&c, "a", 700, ++c.t.disk->orders);
    c.t.fail_l2 = 0;
    c.w.now.boot_ns += 2000 * MS;
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        ds_failpoint_arm("upload.outrun=kill");
        settle_tiers(&c.w, &c.t);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    fake_attach_l2(&c.t, &c.w, c.t.disk);
    world_restart(&c.w);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(in_l2(&c, "a"), 700);
    scene_end(&c);
}

/* The number that a value was acknowledged under is the one of its upload, whoever makes that. */
DS_TEST(second__an_order_number_outlives_the_worker)
{
    struct scene c;
    uint64_t order;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    order = c.t.disk->copy[0].order;
    CHECK(order != 0);
    c.w.now.boot_ns += 2000 * MS;
    settle(&c.w);
    CHECK_EQ(c.t.queue[0]->order, order);
    CHECK_EQ(c.t.queue[0]->claim, DS_CLAIM_ACKNOWLEDGED);
    fake_attach_l2(&c.t, &c.w, c.t.disk);
    world_restart(&c.w);
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    CHECK_EQ(c.t.queue[0]->order, order);
    CHECK_EQ(c.t.queue[0]->claim, DS_CLAIM_YIELDS);
    CHECK_EQ(ds_store_order_seen(c.w.s), order);
    stored_by_another(&c, "a", 700, order + 1);
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 700);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_OK(set_l2(&c, "a", 1200, DS_WRITE_THROUGH)); /* the last word */
    CHECK_EQ(in_l2(&c, "a"), 1200);
    CHECK_OK(ask_l2(&c, DS_OP_DELETE, "a", 0));
    scene_end(&c);
}

static void nest(struct scene *c, const char *parent, const char *child)
{
    uint32_t id = id_of(&c->w, parent);

    req_begin(c->p, 0, DS_OP_NEST, id);
    c->p->slot[0].header.value2 = ds_load_relaxed(&c->w.s->record[id].gen);
    req_key(c->p, 0, child);
    req_post(c->p, 0);
    req_wait(&c->w, c->p, 0);
    CHECK_OK(req_result(c->p, 0, 0)->status);
}

/* No block of that size is free, nor any that could be cut into one. */
static void fill_memory(struct scene *c, uint64_t size)
{
    struct lent g;
    uint64_t offsets[1024];
    int n = 0;

    while (ds_arena_alloc(c->w.s->data, ds_store_block(size), &offsets[n]) == 0) {
        CHECK_LT(++n, 1024);
    }
    for (int i = 0; i < n; i++) {
        ds_arena_free(c->w.s->data, offsets[i], ds_store_block(size));
    }
    for (int i = 0; i < n; i++) {
        CHECK_OK(grant(&c->w, c->p, size, &g));
    }
}

/* To be uploaded they are read back from disk; room for that is made of the object that they are
 * nested in, and they end with it. */
DS_TEST(second__what_ends_while_its_upload_is_begun_leaves_the_queue)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "c", 3000, DS_WRITE_BACK));
    CHECK_OK(set_l2(&c, "d", 3000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    scene_squeeze(&c);
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "c")));
    c.t.fail_l2 = 0;
    c.w.s->upload_next_ns = INT64_MAX;
    CHECK_OK(set_l2(&c, "p", 3000, DS_WRITE_THROUGH));
    nest(&c, "p", "c");
    nest(&c, "p", "d");
    settle_tiers(&c.w, &c.t);
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    fill_memory(&c, 3000);
    c.t.capacity = 0; /* "p" is dropped */
    CHECK_EQ(c.w.s->uploads.n, 2);
    c.w.s->upload_next_ns = 0;
    settle(&c.w);
    CHECK_EQ(id_of(&c.w, "p"), DS_ID_NONE);
    CHECK_EQ(id_of(&c.w, "c"), DS_ID_NONE);
    CHECK_EQ(c.w.s->uploads.n, 0);
    CHECK_EQ(c.t.n, 0); /* nothing is read for it */
    CHECK_EQ(world_stats(&c.w).l2_outdated, 2);
    settle_tiers(&c.w, &c.t);
    reclaim(&c.w);
    CHECK_OK(ds_store_check(c.w.s));
    scene_end(&c);
}

/* The clock of another worker is ahead: the upload was given a number above what that had stored.
 */
static uint32_t upload_ahead(struct scene *c)
{
    uint32_t id;

    scene_init(c, MIB);
    c->t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(c, "a", 1000, DS_WRITE_BACK));
    id = id_of(&c->w, "a");
    CHECK(ds_store_place(c->w.s, id) != 0);
    stored_by_another(c, "a", 700, c->t.disk->orders + 1000);
    c->t.fail_l2 = 0;
    c->t.ahead = true;
    c->w.now.boot_ns += 2000 * MS;
    settle_tiers(&c->w, &c->t);
    CHECK_EQ(in_l2(c, "a"), 1000);
    CHECK(ds_store_in_l2(c->w.s, id));
    return id;
}

DS_TEST(second__an_expiry_follows_the_number_of_the_upload)
{
    struct scene c;
    uint32_t id = upload_ahead(&c);
    uint64_t order = fake_l2(&c.t, "a", 1, false)->order;

    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "a", 60000));
    CHECK_EQ(c.t.loads, 0);
    CHECK_EQ(id_of(&c.w, "a"), id); /* the same one */
    CHECK_EQ(fake_l2(&c.t, "a", 1, false)->order, order + 1);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    scene_end(&c);
}

DS_TEST(second__a_copy_with_the_number_before_the_upload_is_not_read)
{
    struct scene c;
    uint32_t id = upload_ahead(&c);

    scene_squeeze(&c);
    CHECK(ds_store_spilled(c.w.s, id));
    CHECK_EQ(c.t.writes, 2); /* the journal's, and one with the number of L2 */
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    CHECK_EQ(c.t.loads, 0);
    CHECK_EQ(c.t.reads, 1);
    scene_end(&c);
}

/* Its number may become greater than that of the value that was acknowledged after it. */
DS_TEST(second__an_upload_that_was_replaced_is_not_numbered_anew)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    (void)set(&c.w, c.p, "a", 1100);
    settle(&c.w);
    CHECK_EQ(c.t.queue[0]->kind, DS_TIER_UPLOAD);
    (void)set(&c.w, c.p, "a", 1200); /* waits for nobody */
    settle(&c.w);
    stored_by_another(&c, "a", 700, c.t.disk->orders + 1000);
    c.t.ahead = true;
    CHECK(fake_work(&c.t));
    CHECK_EQ(in_l2(&c, "a"), 700);
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1200);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1200);
    CHECK_EQ(world_stats(&c.w).l2_outdated, 1);
    scene_end(&c);
}

DS_TEST(second__an_expiry_of_a_value_that_was_replaced_is_not_numbered_anew)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    req_begin(c.p, 2, DS_OP_EXPIRE, 60000);
    req_key(c.p, 2, "a");
    req_post(c.p, 2);
    settle(&c.w);
    CHECK_EQ(c.t.n, 1);
    CHECK_EQ(c.t.queue[0]->kind, DS_TIER_STORE);
    (void)set(&c.w, c.p, "a", 1200);
    settle(&c.w);
    stored_by_another(&c, "a", 700, c.t.disk->orders + 1000);
    c.t.ahead = true;
    CHECK(fake_work(&c.t));
    CHECK_EQ(in_l2(&c, "a"), 700);
    work_until_done(&c, 2);
    CHECK_OK(req_result(c.p, 2, 0)->status);
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1200);
    scene_end(&c);
}

/* A new expiry is no later write than the value that it is for: what another worker wrote since
 * stays, and gets it. */
DS_TEST(second__an_expiry_never_brings_an_older_value_back)
{
    struct scene c;
    uint64_t order;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    stored_by_another(&c, "a", 700, ++c.t.disk->orders);
    order = c.t.disk->orders;
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "a", 60000));
    CHECK_EQ(in_l2(&c, "a"), 700);
    CHECK_EQ(fake_l2(&c.t, "a", 1, false)->order, order + 1);
    CHECK(fake_l2(&c.t, "a", 1, false)->expiry_ns != 0);
    CHECK_EQ(c.t.loads, 1);
    settle(&c.w);
    CHECK_EQ(hit(&c.w, c.p, "a"), 700);
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "a", 1000)); /* over the one before, without a look */
    CHECK_EQ(c.t.loads, 1);
    CHECK_EQ(fake_l2(&c.t, "a", 1, false)->order, order + 2);
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    scene_end(&c);
}

DS_TEST(second__an_expiry_of_a_loaded_value_never_brings_it_back)
{
    struct scene c;

    scene_init(&c, MIB);
    only_in_l2(&c, "a", 1000);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "a", 60000));
    CHECK_EQ(c.t.loads, 1);
    scene_squeeze(&c); /* a copy on disk, where there is one, has another number */
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    stored_by_another(&c, "a", 700, ++c.t.disk->orders);
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "a", 60000));
    CHECK_EQ(in_l2(&c, "a"), 700);
    scene_end(&c);
}

/* Also when nothing is left that says so. */
DS_TEST(second__an_expiry_does_not_bring_a_deleted_value_back)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    memset(fake_l2(&c.t, "a", 1, false), 0, sizeof(struct fake_object));
    CHECK_EQ(ask_l2(&c, DS_OP_EXPIRE, "a", 60000), DS_ENOTFOUND);
    CHECK_EQ(in_l2(&c, "a"), 0);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    scene_end(&c);
}

DS_TEST(second__an_expiry_of_a_value_that_waits_for_its_upload_gives_way)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    CHECK_OK(set_l2(&c, "b", 1000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    c.t.fail_l2 = 0;
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "b", 60000));
    CHECK_EQ(in_l2(&c, "b"), 1000);
    stored_by_another(&c, "a", 700, ++c.t.disk->orders);
    CHECK_OK(ask_l2(&c, DS_OP_EXPIRE, "a", 60000));
    CHECK_EQ(in_l2(&c, "a"), 700);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(world_stats(&c.w).tier_errors, 1); /* the upload of before */
    c.w.now.boot_ns += 2000 * MS;
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 700);
    world_check(&c.w);
    scene_end(&c);
}

/* The erase that comes before it is for what was there when the value was set. */
DS_TEST(second__dropping_a_value_leaves_what_another_worker_wrote_since)
{
    struct scene c;

    scene_init(&c, MIB);
    c.w.s->config.spill = false;
    only_in_l2(&c, "older", 1000);
    (void)set(&c.w, c.p, "older", 600);
    (void)set(&c.w, c.p, "a", 600);
    settle_tiers(&c.w, &c.t);
    stored_by_another(&c, "a", 700, ++c.t.disk->orders);
    scene_squeeze(&c);
    CHECK_EQ(id_of(&c.w, "a"), DS_ID_NONE);
    CHECK_EQ(in_l2(&c, "a"), 700);
    CHECK_EQ(in_l2(&c, "older"), 0);
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    scene_end(&c);
}

/* The disk knows at once that it has no copy. */
DS_TEST(second__a_copy_that_is_gone_is_looked_for_in_l2)
{
    struct scene c;
    uint32_t id;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    id = id_of(&c.w, "a");
    ds_store_leave(c.w.s, id);
    ds_store_demote(c.w.s);
    CHECK(ds_store_spilled(c.w.s, id));
    c.t.gone = true;
    CHECK_OK(ask_l2(&c, DS_OP_GET, "a", 0));
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    CHECK_EQ(c.t.loads, 1);
    scene_end(&c);
}

DS_TEST(second__a_dirty_copy_that_is_gone_waits_for_nothing)
{
    struct scene c;

    scene_init(&c, MIB);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    scene_squeeze(&c);
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "a")));
    CHECK_EQ(ds_store_uploads(c.w.s), 1);
    c.t.fail_l2 = 0;
    c.t.gone = true;
    for (unsigned i = 0; i < 3; i++) {
        c.w.now.boot_ns += 2000 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK_EQ(world_stats(&c.w).losses, 1);
    CHECK_EQ(ds_store_uploads(c.w.s), 0);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    scene_end(&c);
}

/* L2 has an older value, which must not come up when the time of the lost one is over. */
DS_TEST(second__a_lost_value_that_is_over_is_erased_in_l2)
{
    struct scene c;

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_BACK));
    settle_tiers(&c.w, &c.t);
    CHECK_EQ(in_l2(&c, "a"), 1000);
    c.t.fail_l2 = DS_EUNAVAILABLE;
    post_set(&c, 1, "a", 1100, DS_WRITE_BACK, 0, 60000);
    work_until_done(&c, 1);
    CHECK_OK(req_result(c.p, 1, 0)->status);
    scene_squeeze(&c);
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "a")));
    c.t.fail_l2 = 0;
    c.t.gone = true;
    for (unsigned i = 0; i < 3; i++) {
        c.w.now.boot_ns += 2000 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK_EQ(ds_store_uploads(c.w.s), 0);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ECORRUPT);
    for (unsigned i = 0; i < 3; i++) {
        c.w.now.boot_ns += 60000 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK_EQ(world_stats(&c.w).objects, 0);
    CHECK_EQ(in_l2(&c, "a"), 0);
    CHECK_EQ(ask_l2(&c, DS_OP_GET, "a", 0), DS_ENOTFOUND);
    scene_end(&c);
}

/* What must ask L2 says that it cannot; nothing else changes, and uploads wait for its return. */
DS_TEST(second__storage_that_is_not_asked_fails_what_needs_it_at_once)
{
    struct scene c;
    const enum ds_op ops[] = {DS_OP_GET, DS_OP_EXIST, DS_OP_DELETE, DS_OP_EXPIRE};

    scene_init(&c, MIB);
    CHECK_OK(set_l2(&c, "a", 1000, DS_WRITE_THROUGH));
    c.t.silent = true;
    ds_store_pause_uploads(c.w.s, true);
    for (size_t i = 0; i < DS_ARRAY_SIZE(ops); i++) {
        post(&c, 2, ops[i], "b");
        settle(&c.w);
        CHECK(req_done(c.p, 2));
        CHECK_EQ(req_result(c.p, 2, 0)->status, DS_EUNAVAILABLE);
    }
    CHECK_EQ(ask_l2(&c, DS_OP_DELETE, "a", 0), DS_EUNAVAILABLE);
    CHECK_EQ(ask_l2(&c, DS_OP_EXPIRE, "a", 1000), DS_EUNAVAILABLE);
    post_set(&c, 1, "a", 1200, DS_WRITE_THROUGH, 0, 0);
    settle(&c.w);
    CHECK(req_done(c.p, 1));
    CHECK_EQ(req_result(c.p, 1, 0)->status, DS_EUNAVAILABLE);
    CHECK_EQ(hit(&c.w, c.p, "a"), 1000);
    reclaim(&c.w);
    CHECK_EQ(world_stats(&c.w).memory_granted, 0); /* its block is not lent any more */
    CHECK_EQ(in_l2(&c, "a"), 1000);
    scene_end(&c);
}

DS_TEST(second__uploads_wait_for_storage_that_is_not_asked)
{
    struct scene c;
    unsigned rejected;

    scene_init(&c, MIB);
    c.t.silent = true;
    ds_store_pause_uploads(c.w.s, true);
    for (int i = 0; i < 20; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "k%d", i);
        CHECK_OK(set_l2(&c, key, (uint64_t)(1000 + i), DS_WRITE_BACK));
    }
    c.w.now.boot_ns += 1000 * MS;
    settle_tiers(&c.w, &c.t);
    rejected = c.t.rejected;
    for (int ms = 0; ms < 10000; ms += 10) { /* one now and then, so that its return is noticed */
        c.w.now.boot_ns += 10 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK(c.t.rejected >= rejected + 9 && c.t.rejected <= rejected + 10);
    CHECK_EQ(world_stats(&c.w).l2_waiting, 20);
    CHECK_EQ(world_stats(&c.w).l2_waiting_size, 20 * 1000 + 19 * 20 / 2);
    CHECK_EQ(world_stats(&c.w).tier_errors, 0);
    c.t.silent = false;
    ds_store_pause_uploads(c.w.s, false);
    settle_tiers(&c.w, &c.t); /* at once */
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(world_stats(&c.w).l2_waiting_size, 0);
    CHECK_EQ(in_l2(&c, "k0"), 1000);
    CHECK_EQ(in_l2(&c, "k19"), 1019);
    scene_end(&c);
}

DS_TEST(second__the_disk_is_not_read_for_storage_that_is_not_asked)
{
    struct scene c;
    unsigned reads;
    unsigned rejected;
    char key[16];

    scene_init(&c, MIB);
    c.t.silent = true;
    ds_store_pause_uploads(c.w.s, true);
    for (int i = 0; i < 40; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        CHECK_OK(set_l2(&c, key, (uint64_t)(1000 + i), DS_WRITE_BACK));
    }
    scene_squeeze(&c);
    CHECK(ds_store_spilled(c.w.s, id_of(&c.w, "k0")));
    reads = c.t.reads;
    rejected = c.t.rejected;
    for (int ms = 0; ms < 5000; ms += 5) {
        c.w.now.boot_ns += 5 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK(c.t.reads > reads && c.t.reads <= reads + 6); /* one for each try */
    CHECK(c.t.rejected >= rejected + 4 && c.t.rejected <= rejected + 6);
    c.t.silent = false;
    ds_store_pause_uploads(c.w.s, false);
    for (int ms = 0; ms < 2000; ms += 5) {
        c.w.now.boot_ns += 5 * MS;
        settle_tiers(&c.w, &c.t);
    }
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(in_l2(&c, "k39"), 1039);
    scene_end(&c);
}

/* Values whose upload waits for L2 to be asked again. */
static void waiting_uploads(struct scene *c, unsigned n, uint64_t size)
{
    char key[32];

    c->t.silent = true;
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(key, sizeof(key), "w%u", i);
        CHECK_OK(set_l2(c, key, size, DS_WRITE_BACK));
    }
    settle_tiers(&c->w, &c->t);
    CHECK_EQ(world_stats(&c->w).l2_waiting, n);
    c->t.silent = false;
    c->w.now.boot_ns += 2000 * MS;
    settle(&c->w);
}

static void post_grant(struct scene *c, uint64_t size)
{
    req_begin(c->p, 63, DS_OP_GRANT, size);
    c->p->slot[63].header.n = 1;
    c->p->slot[63].header.timeout_ms = 1000;
    req_post(c->p, 63);
    settle(&c->w);
}

/* What is being uploaded cannot leave memory: all of it would be too much for writers. */
DS_TEST(second__uploads_hold_an_eighth_of_the_memory)
{
    struct scene c;

    scene_init(&c, MIB);
    waiting_uploads(&c, 20, 40000);
    CHECK_EQ(c.t.n, 3);
    CHECK_EQ(c.w.s->uploading_bytes, 3 * 40000);
    post_grant(&c, 512 * KIB); /* the others leave for their copies on disk */
    CHECK(req_done(c.p, 63));
    CHECK_OK(req_result(c.p, 63, 0)->status);
    CHECK_EQ(c.t.n, 3);
    for (int i = 0; i < 50 && world_stats(&c.w).l2_waiting > 0; i++) {
        settle_tiers(&c.w, &c.t);
        CHECK_LE(c.w.s->uploading_bytes, 3 * 40000);
        c.w.now.boot_ns += 20 * MS; /* those on disk are read first */
    }
    CHECK_EQ(world_stats(&c.w).l2_waiting, 0);
    CHECK_EQ(c.w.s->uploading_bytes, 0);
    scene_end(&c);
}

/* Room comes when it is done: that is waited for, as for a spill. */
DS_TEST(second__a_writer_waits_for_the_memory_of_an_upload)
{
    struct scene c;

    scene_init(&c, MIB);
    c.w.config.spill = c.w.s->config.spill = false;
    for (unsigned i = 0; i < 16; i++) { /* of a mode that stays */
        char key[32];

        (void)snprintf(key, sizeof(key), "n%u", i);
        (void)set_post(&c.w, c.p, (struct post){.key = key, .size = 60000, .mode = DS_WRITE_NONE});
    }
    settle(&c.w);
    waiting_uploads(&c, 1, 60000);
    CHECK_EQ(c.t.n, 1);
    post_grant(&c, 60 * KIB);
    CHECK(!req_done(c.p, 63));
    settle_tiers(&c.w, &c.t);
    CHECK(req_done(c.p, 63));
    CHECK_OK(req_result(c.p, 63, 0)->status);
    scene_end(&c);
}
