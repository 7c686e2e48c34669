/* SPDX-License-Identifier: Apache-2.0 */
/* test_hold.c - latches, references and nesting. */
#include "driver.h"

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

DS_TEST(latches__exclude_and_hand_over)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    uint32_t id;
    uint64_t gen;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    CHECK_OK(put(&w, a, "o", 100, DS_KIND_OBJECT));
    id = req_result(a, 0, 0)->id;
    gen = req_result(a, 0, 0)->value;
    CHECK_OK(ask_id(&w, a, 0, DS_OP_LATCH_READ, id, gen));
    CHECK_OK(ask_id(&w, b, 0, DS_OP_LATCH_READ, id, gen));
    req_begin(b, 1, DS_OP_LATCH_WRITE, 0);
    req_add(b, 1, (struct ds_request_item){.id = id, .value_size = gen}, NULL);
    b->slot[1].header.timeout_ms = 20;
    req_post(b, 1);
    settle(&w);
    CHECK(!req_done(b, 1));
    w.now.boot_ns += 30 * MS;
    settle(&w);
    CHECK(req_done(b, 1));
    CHECK_EQ(req_result(b, 1, 0)->status, DS_ETIMEOUT);
    CHECK_OK(ask_id(&w, b, 0, DS_OP_UNLATCH_READ, id, gen));
    CHECK_EQ(ask_id(&w, b, 0, DS_OP_UNLATCH_READ, id, gen), DS_ENOTINUSE);
    req_begin(b, 1, DS_OP_LATCH_WRITE, 0);
    req_add(b, 1, (struct ds_request_item){.id = id, .value_size = gen}, NULL);
    b->slot[1].header.timeout_ms = 1000;
    req_post(b, 1);
    settle(&w);
    CHECK(!req_done(b, 1));
    peer_close(&w, a); /* its latch ends with it: b's request goes on */
    settle(&w);
    CHECK(req_done(b, 1));
    CHECK_OK(req_result(b, 1, 0)->status);
    CHECK_EQ(w.s->latches.n, 1);
    CHECK_EQ(ask_id(&w, b, 0, DS_OP_LATCH_WRITE, id, gen + 2), DS_ESTALE);
    CHECK_OK(ask(&w, b, DS_OP_DELETE, "o", 0));
    CHECK_EQ(w.s->latches.n, 0);
    world_end(&w);
}

DS_TEST(refs__keep_count_over_sessions_and_the_last_one_deletes)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    static const char long_key[] = "a key that does not fit into a descriptor";

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    (void)set(&w, a, long_key, 100);
    CHECK_OK(ask(&w, a, DS_OP_REF, long_key, 0));
    CHECK_OK(ask(&w, a, DS_OP_REF, long_key, 0));
    CHECK_OK(ask(&w, b, DS_OP_REF, long_key, 0));
    CHECK_OK(ask(&w, b, DS_OP_REF_COUNT, long_key, 0));
    CHECK_EQ(req_result(b, 0, 0)->value, 3);
    CHECK_OK(ask(&w, a, DS_OP_UNREF, long_key, 0));
    CHECK_OK(ask(&w, a, DS_OP_UNREF, long_key, 0));
    CHECK_EQ(ask(&w, a, DS_OP_UNREF, long_key, 0), DS_ENOTINUSE);
    CHECK_EQ(hit(&w, a, long_key), 100);
    world_check(&w);
    peer_close(&w, b);
    CHECK_EQ(id_of(&w, long_key), DS_ID_NONE);
    CHECK_EQ(w.s->refs.n, 0);
    world_end(&w);
}

static int nest(struct world *w, struct peer *p, const char *parent, const char *child)
{
    uint32_t id = id_of(w, parent);

    req_begin(p, 0, DS_OP_NEST, id);
    p->slot[0].header.value2 = ds_load_relaxed(&w->s->record[id].gen);
    req_key(p, 0, child);
    req_post(p, 0);
    req_wait(w, p, 0);
    return req_result(p, 0, 0)->status;
}

DS_TEST(nesting__keeps_children_until_the_last_parent_goes)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    (void)set(&w, p, "p1", 10);
    (void)set(&w, p, "p2", 20);
    (void)set(&w, p, "c", 30);
    CHECK_EQ(nest(&w, p, "p1", "p1"), DS_EINVAL);
    CHECK_OK(nest(&w, p, "p1", "c"));
    CHECK_OK(nest(&w, p, "p2", "c"));
    CHECK_OK(nest(&w, p, "c", "p1")); /* a circle */
    CHECK_OK(ask(&w, p, DS_OP_DELETE, "p2", 0));
    CHECK_EQ(hit(&w, p, "c"), 30);
    world_check(&w);
    CHECK_OK(ask(&w, p, DS_OP_DELETE, "p1", 0));
    CHECK_EQ(world_stats(&w).objects, 0);
    CHECK_EQ(w.s->nest_child.n, 0);
    CHECK_EQ(w.s->nest_parent.n, 0);
    world_end(&w);
}

/* A chain of any length comes down without the worker's stack growing. */
DS_TEST(nesting__may_be_deep)
{
    enum { DEPTH = 30000 };
    struct world w;
    struct peer *p;
    char name[2][16];

    world_init(&w, 8 * MIB);
    p = peer_open(&w, 0);
    for (int i = 0; i < DEPTH; i++) {
        (void)snprintf(name[i & 1], sizeof(name[0]), "n%d", i);
        (void)set_post(&w, p, (struct post){.key = name[i & 1], .size = 1});
        (void)pass(&w);
        if (i > 0) {
            CHECK_OK(nest(&w, p, name[~i & 1], name[i & 1]));
        }
    }
    CHECK_EQ(world_stats(&w).objects, DEPTH);
    CHECK_OK(ask(&w, p, DS_OP_DELETE, "n0", 0));
    CHECK_EQ(world_stats(&w).objects, 0);
    world_end(&w);
}
