/* SPDX-License-Identifier: Apache-2.0 */
/* test_store.c - what the store does for honest clients, step by step and with a clock of its own.
 */
#include "driver.h"

#include "base/failpoint.h"

/* --- sets --- */

DS_TEST(publish__is_present_for_writers_at_once_and_for_readers_once_settled)
{
    struct world w;
    struct peer *p;
    uint64_t hash;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    hash = ds_index_hash(&w.s->index, "k", 1);
    CHECK(!ds_index_maybe_present(&w.map, hash));
    (void)set_post(&w, p, (struct post){.key = "k", .size = 100});
    CHECK(pass(&w)); /* inserted, not settled: another pass must follow */
    CHECK(ds_index_maybe_present(&w.map, hash));
    CHECK_EQ(hit(&w, p, "k"), 0);
    CHECK_EQ(ds_load_relaxed(&p->h->applied), p->tail);
    CHECK(!pass(&w)); /* the full pass that began after the insert */
    CHECK_EQ(hit(&w, p, "k"), 100);
    CHECK_EQ(world_stats(&w).objects, 1);
    CHECK_EQ(world_stats(&w).memory_live, ds_arena_capacity(DS_BLOCK_UNIT, 100));
    world_end(&w);
}

DS_TEST(publish__of_a_present_key_is_visible_at_once_and_never_absent)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    (void)set(&w, p, "k", 100);
    (void)set_post(&w, p, (struct post){.key = "k", .size = 200});
    (void)pass(&w);
    CHECK_EQ(hit(&w, p, "k"), 200);
    CHECK_EQ(world_stats(&w).objects, 1);
    CHECK_EQ(world_stats(&w).memory_doomed, ds_arena_capacity(DS_BLOCK_UNIT, 100));
    reclaim(&w);
    CHECK_EQ(world_stats(&w).memory_doomed, 0);
    world_end(&w);
}

DS_TEST(publish__of_an_unsettled_key_stays_unsettled)
{
    struct world w;
    struct peer *p;
    struct lent g;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    CHECK_OK(grant(&w, p, 200, &g));
    value_fill(&w, g.offset, 200, 200);
    (void)set_post(&w, p, (struct post){.key = "k", .size = 100});
    (void)ring_post(p, DS_RING_SET,
                    &(struct post){.key = "k", .size = 200, .grant = g, .ticket = w.now.ticks + 1});
    (void)pass(&w);
    CHECK_EQ(hit(&w, p, "k"), 0);
    (void)pass(&w);
    CHECK_EQ(hit(&w, p, "k"), 200);
    world_end(&w);
}

DS_TEST(apply__drops_an_older_ticket_in_the_batch_and_later)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    uint64_t t;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    t = w.now.ticks;
    (void)set_post(&w, a, (struct post){.key = "k", .size = 300, .ticket = t + 3});
    (void)set_post(&w, b, (struct post){.key = "k", .size = 200, .ticket = t + 2});
    settle(&w);
    CHECK_EQ(hit(&w, a, "k"), 300); /* applied in the order of tickets, whatever the session */
    (void)set_post(&w, b, (struct post){.key = "k", .size = 100, .ticket = t + 2});
    settle(&w);
    CHECK_EQ(hit(&w, a, "k"), 300);
    CHECK_EQ(ds_load_relaxed(&b->h->applied), b->tail); /* dropped counts as done */
    CHECK_EQ(world_stats(&w).memory_granted, 0);
    (void)set_post(&w, b, (struct post){.key = "k", .size = 400, .ticket = t + 3});
    settle(&w);
    CHECK_EQ(hit(&w, a, "k"), 400); /* a tie: the higher session */
    (void)set_post(&w, a, (struct post){.key = "k", .size = 500, .ticket = t + 3});
    settle(&w);
    CHECK_EQ(hit(&w, a, "k"), 400);
    world_end(&w);
}

DS_TEST(apply__takes_a_ticket_of_the_future_for_one_of_now)
{
    struct world w;
    struct peer *a;
    struct peer *b;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 1);
    b = peer_open(&w, 0);
    (void)set_post(&w, a, (struct post){.key = "k", .size = 100, .ticket = UINT64_MAX});
    settle(&w);
    w.now.ticks += 10;
    (void)set_post(&w, b, (struct post){.key = "k", .size = 200});
    settle(&w);
    CHECK_EQ(hit(&w, a, "k"), 200);
    world_end(&w);
}

static uint64_t late_ticks(void *arg)
{
    struct world *w = arg;

    return w->now.ticks + 500;
}

/* A record posted after the worker has read its clock, but before it reads the ring, has a ticket
 * from "the future" without any wrong: it must keep its place in the order. */
DS_TEST(apply__keeps_the_order_of_sets_posted_while_the_pass_began)
{
    struct world w;
    struct peer *low;
    struct peer *high;
    struct lent g[2];
    uint64_t t;

    world_make(&w, 4 * MIB);
    w.config.ticks = late_ticks;
    w.config.ticks_arg = &w;
    world_start(&w);
    low = peer_open(&w, 0);
    high = peer_open(&w, 1);
    CHECK_OK(grant(&w, high, 100, &g[0]));
    CHECK_OK(grant(&w, low, 200, &g[1]));
    value_fill(&w, g[1].offset, 200, 200);
    t = w.now.ticks + 1000; /* the next pass begins at t and reads the rings until t + 500 */
    (void)ring_post(high, DS_RING_SET,
                    &(struct post){.key = "k", .grant = g[0], .size = 100, .ticket = t + 100});
    (void)ring_post(low, DS_RING_SET,
                    &(struct post){.key = "k", .grant = g[1], .size = 200, .ticket = t + 200});
    settle(&w);
    CHECK_EQ(hit(&w, low, "k"), 200);
    world_end(&w);
}

DS_TEST(set__of_long_keys_gives_their_bytes_back)
{
    struct world w;
    struct peer *p;
    struct ds_arena_stats st;
    char key[DS_KEY_SIZE_MAX + 1];

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    for (size_t n = 20; n <= DS_KEY_SIZE_MAX; n += n < 40 ? 1 : 123) {
        memset(key, 'x', n);
        key[n] = '\0';
        (void)set(&w, p, key, n);
        CHECK_EQ(hit(&w, p, key), n);
        key[n - 1] = 'y';
        CHECK_EQ(hit(&w, p, key), 0);
        key[n - 1] = 'x';
        world_check(&w);
        CHECK_OK(ask(&w, p, DS_OP_DELETE, key, 0));
        CHECK_EQ(hit(&w, p, key), 0);
    }
    reclaim(&w);
    ds_arena_stats(w.s->keys, &st);
    CHECK_EQ(st.used, 0);
    world_end(&w);
}

DS_TEST(ring__wraps_and_a_full_one_goes_on)
{
    struct world w;
    struct peer *p;
    struct lent g[64];
    char key[600];
    unsigned n = 0;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 64; i++) {
            CHECK_OK(grant(&w, p, 64, &g[i]));
        }
        for (unsigned i = 0; i < 64; i++) {
            key[0] = (char)('a' + i % 20);
            (void)ring_post(
                p, DS_RING_SET,
                &(struct post){.key = key, .size = 64, .grant = g[i], .ticket = w.now.ticks});
            n++;
        }
        settle(&w);
        world_check(&w);
    }
    CHECK_GT(p->tail, 4 * DS_RING_SIZE);
    CHECK_EQ(world_stats(&w).sets, n);
    CHECK_EQ(world_stats(&w).objects, 20);
    world_end(&w);
}

/* --- requests --- */

DS_TEST(requests__in_all_slots_at_once_are_all_answered)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    (void)set(&w, p, "k", 10);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < DS_REQUESTS; i++) {
            req_begin(p, i, i % 2 != 0 ? DS_OP_EXIST : DS_OP_GET, 0);
            req_key(p, i, i % 4 < 2 ? "k" : "none");
            req_post(p, i);
        }
        settle(&w);
        for (unsigned i = 0; i < DS_REQUESTS; i++) {
            CHECK(req_done(p, i));
            CHECK_EQ(req_result(p, i, 0)->status, i % 4 < 2 ? 0 : DS_ENOTFOUND);
        }
    }
    world_end(&w);
}

DS_TEST(delete__is_executed_after_the_sets_of_the_pass_that_follows_its_sight)
{
    struct world w;
    struct peer *a;
    struct peer *b;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    (void)set(&w, a, "k", 100);
    req_begin(a, 5, DS_OP_DELETE, 0);
    req_key(a, 5, "k");
    req_post(a, 5);
    (void)pass(&w);
    CHECK(!req_done(a, 5)); /* seen only */
    CHECK_EQ(hit(&w, b, "k"), 100);
    {
        struct lent g;

        CHECK_OK(grant(&w, b, 200, &g)); /* this pass executes the delete */
        CHECK(req_done(a, 5));
        CHECK_EQ(hit(&w, b, "k"), 0);
        (void)ring_post(b, DS_RING_SET,
                        &(struct post){.key = "k", .size = 200, .grant = g, .ticket = w.now.ticks});
    }
    settle(&w);
    CHECK_EQ(id_of(&w, "k") != DS_ID_NONE, true);
    CHECK_EQ(world_stats(&w).deletes, 1);
    CHECK_OK(ask(&w, a, DS_OP_DELETE, "absent", 0)); /* counts as deleted */
    CHECK_EQ(world_stats(&w).deletes, 1);
    world_end(&w);
}

static int absent(struct world *w, struct peer *p, const char *key, uint64_t size)
{
    struct lent g;

    CHECK_OK(grant(w, p, size, &g));
    value_fill(w, g.offset, size, size);
    req_begin(p, 1, DS_OP_SET_ABSENT, 0);
    req_add(p, 1, (struct ds_request_item){.id = g.id, .value_size = size}, key);
    req_post(p, 1);
    req_wait(w, p, 1);
    return req_result(p, 1, 0)->status;
}

DS_TEST(set_absent__writes_once_and_counts_as_the_oldest)
{
    struct world w;
    struct peer *p;
    struct lent g;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    CHECK_EQ(absent(&w, p, "k", 100), 0);
    CHECK_EQ(absent(&w, p, "k", 200), DS_UNCHANGED);
    settle(&w);
    CHECK_EQ(hit(&w, p, "k"), 100);
    CHECK_EQ(world_stats(&w).memory_granted, 0); /* the grant of the second is used up too */
    CHECK_OK(grant(&w, p, 300, &g));
    value_fill(&w, g.offset, 300, 300);
    (void)ring_post(p, DS_RING_SET,
                    &(struct post){.key = "k", .size = 300, .grant = g, .ticket = 1});
    settle(&w);
    CHECK_EQ(hit(&w, p, "k"), 300); /* any set is newer */
    world_end(&w);
}

static void put_post(struct peer *p, unsigned slot, const char *key, struct lent g, uint64_t size,
                     uint8_t kind)
{
    req_begin(p, slot, DS_OP_PUT, 0);
    req_add(p, slot, (struct ds_request_item){.id = g.id, .value_size = size, .kind = kind}, key);
    req_post(p, slot);
}

static int put(struct world *w, struct peer *p, const char *key, uint64_t size, uint8_t kind)
{
    struct lent g;

    CHECK_OK(grant(w, p, size, &g));
    value_fill(w, g.offset, size, size);
    put_post(p, 0, key, g, size, kind);
    req_wait(w, p, 0);
    return req_result(p, 0, 0)->status;
}

DS_TEST(put__replaces_until_sealed)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    CHECK_OK(put(&w, p, "o", 100, DS_KIND_OBJECT));
    CHECK_OK(put(&w, p, "o", 200, DS_KIND_OBJECT | DS_KIND_SEALED));
    settle(&w);
    CHECK_EQ(hit(&w, p, "o"), 200);
    CHECK_EQ(put(&w, p, "o", 300, DS_KIND_OBJECT), DS_ESEALED);
    settle(&w);
    CHECK_EQ(hit(&w, p, "o"), 200);
    world_end(&w);
}

/* Two in one pass have the same time: each is told of a living object when it is answered, and the
 * one executed later stays. */
DS_TEST(put__of_two_sessions_in_one_pass_both_succeed)
{
    struct world w;
    struct peer *low;
    struct peer *high;
    struct lent g[2];

    world_init(&w, 4 * MIB);
    low = peer_open(&w, 1);
    high = peer_open(&w, 2);
    peer_close(&w, low); /* number 0 again, but executed after the other one */
    low = peer_open(&w, 1);
    CHECK_EQ(low->number, 0);
    CHECK_OK(grant(&w, low, 100, &g[0]));
    CHECK_OK(grant(&w, high, 200, &g[1]));
    put_post(low, 0, "o", g[0], 100, DS_KIND_OBJECT);
    put_post(high, 0, "o", g[1], 200, DS_KIND_OBJECT);
    settle(&w);
    CHECK_OK(req_result(low, 0, 0)->status);
    CHECK_OK(req_result(high, 0, 0)->status);
    CHECK_EQ(req_result(low, 0, 0)->value & 1, 1);
    CHECK_EQ(req_result(high, 0, 0)->value & 1, 1);
    world_end(&w);
}

/* --- time --- */

DS_TEST(ttl__is_exact_for_readers_and_worker)
{
    struct world w;
    struct peer *p;
    int64_t start;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    (void)set_post(&w, p, (struct post){.key = "k", .size = 100, .ttl_ms = 10});
    (void)pass(&w);
    start = w.now.boot_ns;
    (void)pass(&w);
    w.now.boot_ns = start + 10 * MS - 1;
    CHECK_EQ(hit(&w, p, "k"), 100);
    CHECK_EQ(ds_store_next_ns(w.s) <= start + 10 * MS, true);
    w.now.boot_ns = start + 10 * MS;
    CHECK_EQ(hit(&w, p, "k"), 0); /* before any pass: the reader itself sees to it */
    CHECK_EQ(world_stats(&w).objects, 1);
    (void)ds_store_pass(w.s, &w.now);
    CHECK_EQ(world_stats(&w).objects, 0);
    CHECK_EQ(world_stats(&w).expirations, 1);
    world_end(&w);
}

DS_TEST(expire__changes_and_removes_a_ttl)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    (void)set_post(&w, p, (struct post){.key = "a", .size = 100, .ttl_ms = 10});
    (void)set_post(&w, p, (struct post){.key = "b", .size = 200, .ttl_ms = 10});
    settle(&w);
    CHECK_OK(ask(&w, p, DS_OP_EXPIRE, "a", 0));
    CHECK_OK(ask(&w, p, DS_OP_EXPIRE, "b", 100));
    CHECK_EQ(ask(&w, p, DS_OP_EXPIRE, "none", 100), DS_ENOTFOUND);
    w.now.boot_ns += 50 * MS;
    settle(&w);
    CHECK_EQ(hit(&w, p, "a"), 100);
    CHECK_EQ(hit(&w, p, "b"), 200);
    w.now.boot_ns += 60 * MS;
    settle(&w);
    CHECK_EQ(hit(&w, p, "a"), 100);
    CHECK_EQ(hit(&w, p, "b"), 0);
    world_end(&w);
}

/* Void entries do not pile up until their time comes: a key set again and again with a long TTL. */
DS_TEST(ttl__of_what_was_replaced_takes_no_memory)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    for (int i = 0; i < 6000; i++) {
        (void)set_post(&w, p, (struct post){.key = "k", .size = 64, .ttl_ms = 100000000});
        if (i % 100 == 0) {
            settle(&w);
        }
    }
    settle(&w);
    CHECK_LT(w.s->expiry.n, 3000);
    CHECK_EQ(world_stats(&w).objects, 1);
    world_end(&w);
}

DS_TEST(waiting_get__is_answered_when_the_key_settles_or_time_is_over)
{
    struct world w;
    struct peer *p;
    int64_t start;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    for (unsigned i = 0; i < 2; i++) {
        req_begin(p, i, DS_OP_GET, 0);
        p->slot[i].header.timeout_ms = 50;
        req_key(p, i, "here");
        req_key(p, i, i == 0 ? "late" : "never");
        req_post(p, i);
    }
    (void)set(&w, p, "here", 10);
    start = w.now.boot_ns;
    settle(&w);
    CHECK(!req_done(p, 0));
    CHECK_NE(ds_store_next_ns(w.s), INT64_MAX);
    (void)set(&w, p, "late", 20);
    CHECK(req_done(p, 0));
    CHECK_OK(req_result(p, 0, 0)->status);
    CHECK_OK(req_result(p, 0, 1)->status);
    CHECK_EQ(req_result(p, 0, 1)->id, id_of(&w, "late"));
    CHECK(!req_done(p, 1));
    w.now.boot_ns = start + 51 * MS;
    settle(&w);
    CHECK(req_done(p, 1));
    CHECK_OK(req_result(p, 1, 0)->status);
    CHECK_EQ(req_result(p, 1, 1)->status, DS_ENOTFOUND);
    world_end(&w);
}

/* --- memory --- */

DS_TEST(evict__goes_by_the_order_of_reads_over_all_sessions)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    struct ds_found f;
    static const char *const keys[] = {"k0", "k1", "k2", "k3"};

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    for (unsigned i = 0; i < 4; i++) {
        (void)set(&w, a, keys[i], 1000 * KIB + 1 + i);
    }
    CHECK(look(&w, a, "k0", 1, &f)); /* read order: k1 (a), k0 (b), k2 (a); k3 never */
    log_read(b, &f, 2000);
    CHECK(look(&w, a, "k1", 2, &f));
    log_read(a, &f, 1000);
    CHECK(look(&w, a, "k2", 3, &f));
    log_read(a, &f, 3000);
    unpin(a, 1);
    unpin(a, 2);
    unpin(a, 3);
    (void)set(&w, a, "n0", 1000 * KIB + 10);
    CHECK_EQ(id_of(&w, "k3"), DS_ID_NONE);
    (void)set(&w, a, "n1", 1000 * KIB + 11);
    CHECK_EQ(id_of(&w, "k1"), DS_ID_NONE);
    (void)set(&w, a, "n2", 1000 * KIB + 12);
    CHECK_EQ(id_of(&w, "k0"), DS_ID_NONE);
    CHECK_EQ(hit(&w, a, "k2"), 1000 * KIB + 3);
    CHECK_EQ(world_stats(&w).evictions, 3);
    world_end(&w);
}

DS_TEST(evict__never_takes_what_was_not_to_be_dropped)
{
    struct world w;
    struct peer *p;
    struct lent g;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    (void)set_post(&w, p, (struct post){.key = "a", .size = 2 * MIB, .mode = DS_WRITE_NONE});
    (void)set_post(&w, p, (struct post){.key = "b", .size = 1 * MIB, .mode = DS_WRITE_NONE});
    (void)set(&w, p, "c", 1000 * KIB);
    CHECK_EQ(grant(&w, p, 2 * MIB, &g), DS_ENOMEM);
    settle(&w);
    CHECK_EQ(hit(&w, p, "a"), 2 * MIB);
    CHECK_EQ(hit(&w, p, "b"), 1 * MIB);
    CHECK_EQ(grant(&w, p, 5 * MIB, &g), DS_ENOMEM);
    CHECK_EQ(grant(&w, p, UINT64_MAX, &g), DS_ENOMEM);
    CHECK_OK(grant(&w, p, 1000 * KIB, &g));
    world_end(&w);
}

DS_TEST(evict__takes_everything_where_the_option_says_so)
{
    struct world w;
    struct peer *p;

    world_make(&w, 4 * MIB);
    w.config.drop_none = true;
    world_start(&w);
    p = peer_open(&w, 0);
    (void)set_post(&w, p, (struct post){.key = "a", .size = 3 * MIB, .mode = DS_WRITE_NONE});
    settle(&w);
    (void)set(&w, p, "b", 3 * MIB);
    CHECK_EQ(id_of(&w, "a"), DS_ID_NONE);
    CHECK_EQ(hit(&w, p, "b"), 3 * MIB);
    world_end(&w);
}

/* Objects that were set a moment ago are not settled yet, and so cannot go yet: the grant waits for
 * that instead of failing. */
DS_TEST(evict__waits_for_what_is_about_to_settle)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    for (unsigned i = 0; i < 6; i++) {
        char key[4] = {'k', (char)('0' + i), 0};

        (void)set_post(&w, p,
                       (struct post){.key = key, .size = 3 * MIB + i, .mode = DS_WRITE_NONE_EVICT});
    }
    settle(&w);
    CHECK_EQ(hit(&w, p, "k5"), 3 * MIB + 5);
    world_end(&w);
}

DS_TEST(reclaim__waits_for_every_pin)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    struct ds_found f;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    (void)set(&w, a, "k", 3 * MIB);
    CHECK(look(&w, a, "k", 7, &f));
    CHECK(look(&w, b, "k", 9000, &f));
    CHECK_OK(ask(&w, a, DS_OP_DELETE, "k", 0));
    for (int i = 0; i < 3; i++) {
        struct lent g;

        reclaim(&w);
        CHECK_EQ(world_stats(&w).memory_doomed, ds_arena_capacity(DS_BLOCK_UNIT, 3 * MIB));
        CHECK_EQ(grant(&w, b, 2 * MIB, &g), DS_ENOMEM);
        CHECK(value_is(&w, f.offset, f.size, f.size));
        if (i == 0) {
            unpin(a, 7);
        }
    }
    peer_close(&w, b); /* ends its pins */
    reclaim(&w);
    CHECK_EQ(world_stats(&w).memory_doomed, 0);
    world_end(&w);
}

DS_TEST(grants__are_given_back_by_drop_and_by_the_end)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    struct lent g;
    struct lent h;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    CHECK_OK(grant(&w, a, 1000, &g));
    CHECK_OK(grant(&w, a, 2000, &h));
    CHECK_EQ(world_stats(&w).memory_granted,
             ds_arena_capacity(DS_BLOCK_UNIT, 1000) + ds_arena_capacity(DS_BLOCK_UNIT, 2000));
    (void)ring_post(b, DS_RING_DROP, &(struct post){.grant = g}); /* not b's: nothing happens */
    settle(&w);
    CHECK_EQ(ds_store_state(w.s, g.id), DS_RECORD_GRANTED);
    (void)ring_post(a, DS_RING_DROP, &(struct post){.grant = g});
    (void)ring_post(a, DS_RING_DROP, &(struct post){.grant = g}); /* twice: once */
    settle(&w);
    reclaim(&w);
    CHECK_EQ(world_stats(&w).memory_granted, ds_arena_capacity(DS_BLOCK_UNIT, 2000));
    CHECK_EQ(world_stats(&w).memory_doomed, 0);
    (void)set_post(&w, b, (struct post){.key = "k", .size = 10}); /* with a's grant: refused */
    (void)ring_post(b, DS_RING_SET, &(struct post){.key = "x", .grant = h, .size = 2000});
    settle(&w);
    CHECK_EQ(id_of(&w, "x"), DS_ID_NONE);
    peer_close(&w, a);
    reclaim(&w);
    CHECK_EQ(world_stats(&w).memory_granted, 0);
    world_end(&w);
}

/* --- sessions --- */

DS_TEST(session__number_is_used_again_without_mixing_up_positions)
{
    struct world w;

    world_init(&w, 4 * MIB);
    for (unsigned i = 0; i < 20; i++) {
        struct peer *p = peer_open(&w, i % 2);
        struct lent g;

        CHECK_EQ(p->number, 0);
        (void)set(&w, p, "k", 100 + i);
        CHECK_EQ(hit(&w, p, "k"), 100 + i);
        CHECK_OK(grant(&w, p, 50, &g));
        CHECK_OK(ask(&w, p, DS_OP_EXIST, "k", 0));
        /* posted and then gone: applied all the same */
        (void)set_post(&w, p, (struct post){.key = "late", .size = 200 + i});
        peer_close(&w, p);
        CHECK_EQ(w.s->record[id_of(&w, "late")].size, 200 + i);
    }
    CHECK_EQ(ds_store_session_find(w.s, (const uint8_t[16]){1, 0}), UINT32_MAX);
    world_end(&w);
}

DS_TEST(session__open_refuses_too_many)
{
    struct world w;
    struct ds_session_info info = {.pid = 1};
    struct ds_segment seg;
    uint32_t number = 77;

    world_init(&w, 4 * MIB);
    for (unsigned i = 0; i < PEERS; i++) {
        (void)peer_open(&w, i);
    }
    CHECK_EQ(ds_store_session_find(w.s, (const uint8_t[16]){1, 3}), 3);
    CHECK_OK(ds_segment_create("t", DS_SESSION_SIZE, &seg));
    CHECK_EQ(ds_store_session_open(w.s, &info, &seg, &number), DS_EAGAIN);
    CHECK_EQ(number, 77);
    ds_segment_close(&seg);
    world_end(&w);
}

DS_TEST(wakes__name_those_who_say_that_they_sleep)
{
    struct world w;
    struct peer *p;
    size_t n;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    for (unsigned i = 0; i < 3; i++) {
        req_begin(p, i, DS_OP_EXIST, 0);
        req_key(p, i, "k");
        req_post(p, i);
    }
    ds_store_relaxed(&p->h->request_sleeper[1], 1);
    (void)pass(&w);
    (void)ds_store_wakes(w.s, &n);
    CHECK_EQ(n, 0);
    (void)pass(&w);
    CHECK_EQ((uintptr_t)ds_store_wakes(w.s, &n)[0] - (uintptr_t)w.s->session[0]->header,
             (uintptr_t)&p->h->done[1] - (uintptr_t)p->h);
    CHECK_EQ(n, 1);
    (void)set_post(&w, p, (struct post){.key = "k", .size = 1});
    ds_store_relaxed(&p->h->sleepers, 1);
    (void)pass(&w);
    CHECK_EQ((uintptr_t)ds_store_wakes(w.s, &n)[0] - (uintptr_t)w.s->session[0]->header,
             (uintptr_t)&p->h->applied_wake - (uintptr_t)p->h);
    CHECK_EQ(ds_load_relaxed(&p->h->applied_wake), 1);
    settle(&w);
    CHECK(ds_store_quiet(w.s));
    ds_store_relaxed(&p->h->requests, 99);
    CHECK(!ds_store_quiet(w.s));
    world_end(&w);
}

/* What a killed worker left in a free record is nobody's: it must not be given back. */
DS_TEST(record__free_but_half_written_is_clean_again)
{
    struct world w;
    struct peer *p;
    struct lent g;
    struct lent h;
    uint32_t free_one;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    CHECK_OK(grant(&w, p, 100, &g));
    (void)ring_post(p, DS_RING_DROP, &(struct post){.grant = g});
    settle(&w);
    reclaim(&w);
    CHECK_EQ(ds_store_state(w.s, g.id), DS_RECORD_FREE);
    free_one = g.id;
    CHECK_OK(grant(&w, p, 3 * MIB, &g));
    CHECK_EQ(g.id, free_one);
    CHECK_OK(grant(&w, p, 100, &g)); /* another record, free again before the restart */
    (void)ring_post(p, DS_RING_DROP, &(struct post){.grant = g});
    reclaim(&w);
    CHECK_EQ(ds_store_state(w.s, g.id), DS_RECORD_FREE);
    w.s->record[g.id].key_size = 200;
    world_restart(&w);
    CHECK_EQ(w.s->free_first, g.id);
    CHECK_EQ(grant(&w, p, 3 * MIB, &h), DS_ENOMEM); /* takes that record and gives it back */
    world_end(&w);
}

DS_TEST(destroy__of_nothing_is_a_no_op)
{
    CHECK(ds_store_destroy(NULL) == NULL);
}

/* Each allocation fails in turn: nothing is left behind (the harness counts). */
DS_TEST(create__leaves_nothing_behind_on_any_failure)
{
    int failed = 0;

    for (int n = 1;; n++) {
        struct world w;
        char spec[32];
        int rc;

        world_make(&w, 1 * MIB);
        w.config.policy = "auto"; /* the one with most of its own */
        (void)snprintf(spec, sizeof(spec), "alloc=errno:12@%d", n);
        ds_failpoint_arm(spec);
        rc = ds_store_create(&w.config, &w.index, &w.state, &w.now, &w.s);
        ds_failpoint_arm(NULL);
        if (rc == 0) {
            w.s = ds_store_destroy(w.s);
        }
        ds_segment_close(&w.index);
        ds_segment_close(&w.state);
        ds_segment_close(&w.data);
        if (rc == 0) {
            break;
        }
        CHECK_EQ(rc, DS_ENOMEM);
        failed++;
    }
    CHECK_GT(failed, 10);
}
