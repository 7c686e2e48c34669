/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hostile.c - clients that write anything into their sessions: the store must stay whole, and
 * honest clients beside them must be served.
 */
#include "driver.h"

static uint64_t state;

static uint64_t rnd(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Sizes near the limits are more telling than any. */
static uint64_t odd_number(void)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     15,
                                     16,
                                     47,
                                     48,
                                     64,
                                     1023,
                                     1024,
                                     1025,
                                     4096,
                                     6080,
                                     6081,
                                     8192,
                                     DS_RING_SIZE - 16,
                                     DS_RING_SIZE,
                                     DS_RING_SIZE + 16,
                                     UINT32_MAX,
                                     UINT64_MAX,
                                     UINT64_MAX - 15};

    return rnd() % 3 == 0   ? rnd()
           : rnd() % 2 == 0 ? rnd() % 3000
                            : edges[rnd() % DS_ARRAY_SIZE(edges)];
}

static void scribble_ring(struct peer *p)
{
    struct ds_ring_record r = {
        .size = (uint32_t)(rnd() % 80 == 0 ? odd_number() : 64 + rnd() % 4 * 16),
        .op = (uint8_t)(rnd() % 4),
        .mode = (uint8_t)(rnd() % 6),
        .key_size = (uint16_t)(rnd() % 80 == 0 ? odd_number() : 1 + rnd() % 16),
        .id = (uint32_t)(rnd() % 8 == 0 ? odd_number() : rnd() % 300),
        .kind = (uint32_t)odd_number(),
        .ticket = odd_number(),
        .value_size = odd_number(),
        .ttl_ms = odd_number()};
    uint64_t at = p->tail % DS_RING_SIZE;

    memcpy(p->ring + at, &r, ds_min_u64(sizeof(r), DS_RING_SIZE - at));
    p->tail += rnd() % 400 == 0 ? odd_number() : ds_min_u64(r.size, DS_RING_SIZE - at);
    ds_store_release(&p->h->ring_tail, p->tail);
}

static void scribble_request(struct peer *p)
{
    unsigned slot = (unsigned)(rnd() % DS_REQUESTS);
    struct ds_request_slot *s = &p->slot[slot];
    uint32_t at = 0;

    s->header.op = (uint16_t)(rnd() % 16 == 0 ? odd_number() : rnd() % (DS_OP_COUNT_ + 1));
    s->header.n = (uint16_t)(rnd() % 16 == 0 ? odd_number() : rnd() % 6);
    s->header.timeout_ms = (int64_t)odd_number();
    s->header.value = odd_number();
    s->header.value2 = odd_number();
    for (unsigned i = 0; i < s->header.n && at + 64 < DS_REQUEST_BYTES; i++) {
        struct ds_request_item item = {
            .key_size = (uint16_t)(rnd() % 12 == 0 ? odd_number() : rnd() % 33),
            .mode = (uint8_t)(rnd() % 5),
            .kind = (uint8_t)rnd(),
            .id = (uint32_t)(rnd() % 8 == 0 ? odd_number() : rnd() % 300),
            .value_size = rnd() % 2 == 0 ? rnd() % 64 : odd_number(),
            .ttl_ms = odd_number()};

        memcpy(s->items + at, &item, sizeof(item));
        memset(s->items + at + sizeof(item), (int)('a' + rnd() % 4), 32);
        at += (uint32_t)ds_align_up(sizeof(item) + item.key_size % 33, 8);
    }
    s->header.size = (uint32_t)(rnd() % 12 == 0 ? odd_number() : at);
    if (rnd() % 2 == 0 && s->header.op == DS_OP_GRANT) {
        s->header.value = rnd() % 300;
    }
    ds_store_release(&p->h->request[slot],
                     (uint32_t)(rnd() % 20 == 0 ? odd_number() : p->posted[slot] + 1));
    p->posted[slot] = ds_load_relaxed(&p->h->request[slot]);
    (void)atomic_fetch_add(&p->h->requests, 1);
}

static void scribble_rest(struct peer *p)
{
    uint64_t at = rnd() % DS_LOG_ENTRIES;

    ds_store_relaxed(&p->h->log_head, odd_number());
    ds_store_relaxed(&p->log[at].ticks, odd_number());
    ds_store_relaxed(&p->log[at].what, rnd() % 2 == 0 ? odd_number() : rnd() % 300);
    ds_store_relaxed(&p->h->pins_used, (uint32_t)(rnd() % 4 == 0 ? odd_number() : rnd() % 100));
    ds_store_relaxed(&p->pin[rnd() % 100], (uint32_t)(rnd() % 4 == 0 ? odd_number() : rnd() % 300));
    ds_store_relaxed(&p->h->pins_limit, (uint32_t)odd_number());
    ds_store_relaxed(&p->h->sleepers, (uint32_t)rnd());
    ds_store_relaxed(&p->h->request_sleeper[rnd() % 64], (uint32_t)rnd());
    if (rnd() % 500 == 0) { /* the whole header */
        for (size_t i = 64; i < sizeof(*p->h); i++) {
            ((uint8_t *)p->h)[i] = (uint8_t)rnd();
        }
        p->tail = ds_load_relaxed(&p->h->ring_tail);
    }
}

static struct peer *reopen(struct world *w, unsigned i)
{
    struct peer *p = &w->peer[i];

    ds_store_session_hangup(w->s, p->number);
    (void)pass(w);
    (void)pass(w);
    ds_store_session_end(w->s, p->number);
    ds_segment_close(&p->seg);
    return peer_open(w, i);
}

static void one_round(struct world *w, uint64_t round)
{
    struct peer *honest = &w->peer[0];
    char key[16];

    for (unsigned i = 1; i < 4; i++) {
        struct peer *p = &w->peer[i];

        for (uint64_t k = rnd() % 4; k > 0; k--) {
            scribble_ring(p);
        }
        for (uint64_t k = rnd() % 4; k > 0; k--) {
            scribble_request(p);
        }
        scribble_rest(p);
        if (rnd() % 400 == 0 || w->s->session[p->number]->broken) {
            (void)reopen(w, i);
        }
    }
    w->now.boot_ns += (int64_t)(rnd() % 3) * MS;
    (void)pass(w);
    if (round % 10 == 0) {
        (void)snprintf(key, sizeof(key), "mine-%u", (unsigned)(round / 10 % 20));
        CHECK_OK(ask(w, honest, DS_OP_DELETE, key, 0));
        (void)set_post(w, honest, (struct post){.key = key, .size = 100 + round % 400});
        for (int i = 0; i < 4; i++) {
            (void)pass(w);
        }
        CHECK_EQ(hit(w, honest, key), 100 + round % 400);
        CHECK_OK(ds_store_check(w->s));
    }
}

DS_TEST(hostile_sessions__hurt_nobody_else)
{
    struct world w;

    state = ds_test_seed() | 1;
    world_init(&w, 16 * MIB);
    for (unsigned i = 0; i < 4; i++) {
        (void)peer_open(&w, i);
    }
    for (uint64_t round = 0; round < 4000; round++) {
        one_round(&w, round);
        if (round % 1000 == 999) { /* a worker that is killed meets the same bytes */
            for (unsigned i = 1; i < 4; i++) {
                (void)reopen(&w, i);
                scribble_ring(&w.peer[i]);
                scribble_request(&w.peer[i]);
            }
            world_restart(&w);
            CHECK_OK(ds_store_check(w.s));
        }
    }
    world_end(&w);
}

/* One malformed record each: the session is read no more, and nobody else notices. */
DS_TEST(ring__refuses_each_malformed_record)
{
    static const struct {
        struct ds_ring_record r;
        uint64_t tail;
    } bad[] = {
        {{.size = 0, .op = DS_RING_SET, .key_size = 1}, 64},
        {{.size = 8, .op = DS_RING_SET, .key_size = 1}, 64},
        {{.size = 72, .op = DS_RING_SET, .key_size = 1}, 80},
        {{.size = 128, .op = DS_RING_SET, .key_size = 1}, 64}, /* behind the tail */
        {{.size = 48, .op = DS_RING_SET, .key_size = 1}, 48},  /* no room for the key */
        {{.size = 64, .op = DS_RING_SET, .key_size = 17}, 64},
        {{.size = 2048, .op = DS_RING_SET, .key_size = 1025}, 2048},
        {{.size = 16, .op = DS_RING_DROP}, 16},               /* half a record */
        {{.size = 64, .op = DS_RING_SET, .key_size = 1}, 56}, /* tail not aligned */
        {{.size = 64, .op = DS_RING_SET, .key_size = 1}, DS_RING_SIZE + 16},
        {{.size = 64, .op = DS_RING_SET, .key_size = 1}, UINT64_MAX - 15},
    };

    for (size_t i = 0; i < DS_ARRAY_SIZE(bad); i++) {
        struct world w;
        struct peer *p;
        struct peer *q;

        world_init(&w, 4 * MIB);
        p = peer_open(&w, 0);
        q = peer_open(&w, 1);
        memcpy(p->ring, &bad[i].r, sizeof(bad[i].r));
        ds_store_release(&p->h->ring_tail, bad[i].tail);
        (void)pass(&w);
        CHECK(w.s->session[0]->broken);
        CHECK_EQ(ds_load_relaxed(&p->h->applied), 0);
        CHECK(ds_store_quiet(w.s));
        (void)set(&w, q, "k", 10);
        CHECK_EQ(hit(&w, q, "k"), 10);
        world_end(&w);
    }
}

/* Sets that a client may not make are dropped one by one; the ring goes on. */
DS_TEST(ring__skips_each_invalid_set)
{
    struct world w;
    struct peer *p;
    struct lent g;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    CHECK_OK(grant(&w, p, 1000, &g));
    {
        const struct post bad[] = {
            {.key = "a", .grant = {.id = g.id + 1}, .size = 1000},
            {.key = "b", .grant = {.id = UINT32_MAX}, .size = 1000},
            {.key = "c", .grant = g, .size = 5000}, /* larger than the block */
            {.key = "d", .grant = g, .size = UINT64_MAX},
            {.key = "e", .grant = g, .size = 10}, /* another size's block */
            {.key = "f", .grant = g, .size = 1000, .mode = DS_WRITE_BACK}, /* no second level yet */
            {.key = NULL, .grant = g, .size = 1000},
        };

        for (size_t i = 0; i < DS_ARRAY_SIZE(bad); i++) {
            (void)ring_post(p, DS_RING_SET, &bad[i]);
        }
        settle(&w);
        CHECK_EQ(w.s->bad_records, DS_ARRAY_SIZE(bad));
    }
    CHECK_EQ(world_stats(&w).objects, 0);
    (void)ring_post(p, DS_RING_SET, &(struct post){.key = "g", .grant = g, .size = 1000});
    (void)ring_post(p, DS_RING_SET,
                    &(struct post){.key = "h", .grant = g, .size = 1000}); /* used */
    settle(&w);
    CHECK_EQ(world_stats(&w).objects, 1);
    world_end(&w);
}
