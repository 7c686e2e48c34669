/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - one process plays the worker and its clients: a store over memfds, and peers that
 * write their sessions as src/client does. Time is what the test says. Everything is deterministic.
 */
#ifndef DS_UNIT_STORE_DRIVER_H
#define DS_UNIT_STORE_DRIVER_H

#include <ds/error.h>
#include <ds/kv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "harness/ds_test.h"
#include "shm/index_read.h"
#include "shm/size_class.h"
#include "store/internal.h"
#include "store/store.h"

#define PEERS 8
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define MS INT64_C(1000000)

struct peer {
    struct ds_segment seg; /* the client's own mapping */
    struct ds_session_header *h;
    uint8_t *ring;
    struct ds_request_slot *slot;
    struct ds_log_entry *log;
    _Atomic uint32_t *pin;
    uint64_t tail;
    uint32_t posted[DS_REQUESTS];
    uint32_t number;
};

struct world {
    struct ds_store_config config;
    struct ds_segment index;
    struct ds_segment state;
    struct ds_segment data;
    struct ds_index_map map;
    struct ds_store *s;
    struct ds_store_now now;
    struct peer peer[PEERS];
    uint64_t found; /* objects that the store began with: no counter has them */
};

struct lent {
    uint32_t id;
    uint64_t offset;
};

/* --- world --- */

static inline void world_make(struct world *w, uint64_t data_size)
{
    memset(w, 0, sizeof(*w));
    w->config = (struct ds_store_config){
        .data_size = data_size, .session_max = PEERS, .evict_high = 1.0, .evict_low = 1.0};
    w->now = (struct ds_store_now){.boot_ns = 1000 * 1000 * MS, .ticks = 1000000};
    CHECK_OK(ds_segment_create("t-index", ds_index_size(data_size), &w->index));
    CHECK_OK(ds_segment_create("t-state", ds_store_state_size(&w->config), &w->state));
    CHECK_OK(ds_segment_create("t-data", data_size, &w->data));
}

static inline void world_start(struct world *w)
{
    CHECK_OK(ds_store_create(&w->config, &w->index, &w->state, &w->now, &w->s));
    ds_store_usable(w->s, w->config.data_size);
    CHECK_OK(ds_index_map_init(&w->map, w->index.base, w->index.size));
}

static inline void world_init(struct world *w, uint64_t data_size)
{
    world_make(w, data_size);
    world_start(w);
}

static inline void world_check(const struct world *w)
{
    struct ds_worker_stats st;

    CHECK_OK(ds_store_check(w->s));
    memset(&st, 0, sizeof(st));
    ds_store_stats(w->s, &st);
    CHECK_EQ(st.memory_live + st.memory_granted + st.memory_doomed + st.memory_free,
             w->config.data_size);
    CHECK_EQ(w->found + st.sets + st.l2_loads, /* every way in and every way out is counted */
             st.objects + st.deletes + st.releases + st.expirations + st.evictions + st.drops +
                 st.losses + st.replacements);
}

static inline struct ds_worker_stats world_stats(const struct world *w)
{
    struct ds_worker_stats st;

    memset(&st, 0, sizeof(st));
    ds_store_stats(w->s, &st);
    return st;
}

/* The objects that recovery or a directory has brought. */
static inline void world_found(struct world *w)
{
    w->found = world_stats(w).objects;
}

/* One pass; the time goes on by a little. True: another one must follow. */
static inline bool pass(struct world *w)
{
    w->now.ticks += 1000;
    w->now.boot_ns += 1000;
    return ds_store_pass(w->s, &w->now);
}

static inline void settle(struct world *w)
{
    for (int i = 0; i < 1000; i++) {
        if (!pass(w)) {
            return;
        }
    }
    ds_test_fail(__FILE__, __LINE__, "the store never comes to rest");
}

/* Pins off, doomed memory back. */
static inline void reclaim(struct world *w)
{
    w->now.boot_ns += 200 * MS;
    settle(w);
}

/* --- peers --- */

static inline void peer_map(struct peer *p, int fd)
{
    CHECK(fd >= 0);
    CHECK_OK(ds_segment_attach(fd, DS_SESSION_SIZE, true, &p->seg));
    p->h = (void *)p->seg.base;
    p->ring = p->seg.base + DS_SESSION_RING_OFFSET;
    p->slot = (void *)(p->seg.base + DS_SESSION_REQUEST_OFFSET);
    p->log = (void *)(p->seg.base + DS_SESSION_LOG_OFFSET);
    p->pin = (void *)(p->seg.base + DS_SESSION_PIN_OFFSET);
}

/* What a client reads after the handshake. */
static inline void peer_resume(struct peer *p)
{
    p->number = p->h->session;
    p->tail = ds_load_relaxed(&p->h->ring_tail);
    for (unsigned i = 0; i < DS_REQUESTS; i++) {
        p->posted[i] = ds_load_relaxed(&p->h->request[i]);
    }
}

static inline struct peer *peer_open(struct world *w, unsigned i)
{
    struct ds_session_info info = {.token = {1, (uint8_t)i}, .pid = 100 + i, .uid = 7};
    struct ds_segment seg;
    struct peer *p = &w->peer[i];
    uint32_t number = 0;

    CHECK_OK(ds_segment_create("t-session", DS_SESSION_SIZE, &seg));
    CHECK_OK(ds_store_session_open(w->s, &info, &seg, &number));
    peer_map(p, dup(seg.fd));
    peer_resume(p);
    CHECK_EQ(p->number, number);
    return p;
}

static inline void peer_close(struct world *w, struct peer *p)
{
    ds_store_session_hangup(w->s, p->number);
    settle(w);
    ds_store_session_end(w->s, p->number);
    ds_segment_close(&p->seg);
    settle(w);
}

static inline void world_fini(struct world *w)
{
    world_check(w);
    w->s = ds_store_destroy(w->s);
    for (unsigned i = 0; i < PEERS; i++) {
        ds_segment_close(&w->peer[i].seg);
    }
    ds_segment_close(&w->index);
    ds_segment_close(&w->state);
    ds_segment_close(&w->data);
}

/* Everybody goes: nothing is lent or doomed then. */
static inline void world_end(struct world *w)
{
    struct ds_worker_stats st;

    for (unsigned i = 0; i < PEERS; i++) {
        if (w->peer[i].seg.base != NULL) {
            peer_close(w, &w->peer[i]);
        }
    }
    reclaim(w);
    st = world_stats(w);
    CHECK_EQ(st.memory_granted, 0);
    CHECK_EQ(st.memory_doomed, 0);
    CHECK_EQ(st.sessions, 0);
    world_fini(w);
}

/* The worker is gone; another one takes the same segments over. */
static inline void world_attach(struct world *w)
{
    CHECK_OK(ds_store_attach(&w->config, &w->index, &w->state, &w->s));
}

static inline int world_adopt(struct world *w, const struct peer *p)
{
    struct ds_segment seg;
    int rc;

    CHECK_OK(ds_segment_attach(dup(p->seg.fd), DS_SESSION_SIZE, true, &seg));
    rc = ds_store_session_adopt(w->s, p->number, &seg);
    if (rc != 0) {
        ds_segment_close(&seg);
    }
    return rc;
}

static inline void world_restart(struct world *w)
{
    w->s = ds_store_destroy(w->s);
    world_attach(w);
    for (unsigned i = 0; i < PEERS; i++) {
        if (w->peer[i].seg.base != NULL) {
            CHECK_OK(world_adopt(w, &w->peer[i]));
        }
    }
    w->now.boot_ns += MS;
    w->now.ticks += 1000;
    CHECK_OK(ds_store_recover(w->s, &w->now));
    world_found(w);
}

/* --- requests --- */

static inline void req_begin(struct peer *p, unsigned slot, enum ds_op op, uint64_t value)
{
    memset(&p->slot[slot].header, 0, sizeof(p->slot[slot].header));
    p->slot[slot].header.op = (uint16_t)op;
    p->slot[slot].header.value = value;
}

static inline void req_add(struct peer *p, unsigned slot, struct ds_request_item item,
                           const char *key)
{
    struct ds_request_slot *s = &p->slot[slot];
    uint32_t need;

    item.key_size = (uint16_t)(key != NULL ? strlen(key) : 0);
    need = (uint32_t)ds_align_up(sizeof(item) + item.key_size, 8);
    CHECK_LE(s->header.size + need, DS_REQUEST_BYTES);
    memcpy(s->items + s->header.size, &item, sizeof(item));
    if (key != NULL) {
        memcpy(s->items + s->header.size + sizeof(item), key, item.key_size);
    }
    s->header.size += need;
    s->header.n++;
}

static inline void req_key(struct peer *p, unsigned slot, const char *key)
{
    req_add(p, slot, (struct ds_request_item){0}, key);
}

static inline void req_post(struct peer *p, unsigned slot)
{
    ds_store_release(&p->h->request[slot], ++p->posted[slot]);
    (void)atomic_fetch_add(&p->h->requests, 1);
}

static inline bool req_done(const struct peer *p, unsigned slot)
{
    return ds_load_acquire(&p->h->done[slot]) == p->posted[slot];
}

static inline const struct ds_request_result *req_result(const struct peer *p, unsigned slot,
                                                         unsigned i)
{
    return &p->slot[slot].result[i];
}

static inline void req_wait(struct world *w, const struct peer *p, unsigned slot)
{
    for (int i = 0; i < 10 && !req_done(p, slot); i++) {
        (void)pass(w);
    }
    CHECK(req_done(p, slot));
}

/* A request of one key (or none) in slot 0: its status. */
static inline int ask(struct world *w, struct peer *p, enum ds_op op, const char *key,
                      uint64_t value)
{
    req_begin(p, 0, op, value);
    if (key != NULL) {
        req_key(p, 0, key);
    }
    req_post(p, 0);
    req_wait(w, p, 0);
    return req_result(p, 0, 0)->status;
}

/* A request of one named object: id and generation. */
static inline int ask_id(struct world *w, struct peer *p, unsigned slot, enum ds_op op, uint32_t id,
                         uint64_t gen)
{
    req_begin(p, slot, op, 0);
    req_add(p, slot, (struct ds_request_item){.id = id, .value_size = gen}, NULL);
    req_post(p, slot);
    req_wait(w, p, slot);
    return req_result(p, slot, 0)->status;
}

static inline int grant(struct world *w, struct peer *p, uint64_t size, struct lent *ret)
{
    req_begin(p, 63, DS_OP_GRANT, size);
    p->slot[63].header.n = 1;
    req_post(p, 63);
    req_wait(w, p, 63);
    *ret = (struct lent){req_result(p, 63, 0)->id, req_result(p, 63, 0)->value};
    return req_result(p, 63, 0)->status;
}

/* --- values: made of their seed --- */

static inline uint8_t value_byte(uint64_t seed, uint64_t i)
{
    return (uint8_t)((seed * 131 + i * 7 + (i >> 8) + 1) & 0xff);
}

static inline void value_fill(struct world *w, uint64_t offset, uint64_t size, uint64_t seed)
{
    for (uint64_t i = 0; i < size; i++) {
        w->data.base[offset + i] = value_byte(seed, i);
    }
}

static inline bool value_is(const struct world *w, uint64_t offset, uint64_t size, uint64_t seed)
{
    for (uint64_t i = 0; i < size; i++) {
        if (w->data.base[offset + i] != value_byte(seed, i)) {
            return false;
        }
    }
    return true;
}

/* --- the ring --- */

struct post {
    const char *key;
    struct lent grant;
    uint64_t size;
    uint64_t ticket; /* 0: now */
    uint64_t ttl_ms;
    enum ds_write_mode mode;
};

static inline uint64_t ring_post(struct peer *p, enum ds_ring_op op, const struct post *a)
{
    uint16_t key_size = (uint16_t)(a->key != NULL ? strlen(a->key) : 0);
    uint32_t size = (uint32_t)ds_align_up(sizeof(struct ds_ring_record) + key_size, 16);
    uint64_t at = p->tail % DS_RING_SIZE;
    struct ds_ring_record r = {.size = size,
                               .op = (uint8_t)op,
                               .mode = (uint8_t)a->mode,
                               .key_size = key_size,
                               .id = a->grant.id,
                               .ticket = a->ticket,
                               .value_size = a->size,
                               .ttl_ms = a->ttl_ms};

    if (DS_RING_SIZE - at < size) {
        struct ds_ring_record pad = {.size = (uint32_t)(DS_RING_SIZE - at), .op = DS_RING_PAD};

        memcpy(p->ring + at, &pad, ds_min_u64(pad.size, sizeof(pad)));
        p->tail += pad.size;
        at = 0;
    }
    CHECK_LE(p->tail + size - ds_load_acquire(&p->h->applied), DS_RING_SIZE);
    memcpy(p->ring + at, &r, sizeof(r));
    if (key_size > 0) {
        memcpy(p->ring + at + sizeof(r), a->key, key_size);
    }
    p->tail += size;
    ds_store_release(&p->h->ring_tail, p->tail);
    return p->tail;
}

/* A grant, its bytes, the post. The seed of the bytes is the size. */
static inline struct lent set_post(struct world *w, struct peer *p, struct post a)
{
    CHECK_OK(grant(w, p, a.size, &a.grant));
    value_fill(w, a.grant.offset, a.size, a.size);
    if (a.ticket == 0) {
        a.ticket = w->now.ticks;
    }
    (void)ring_post(p, DS_RING_SET, &a);
    return a.grant;
}

static inline struct lent set(struct world *w, struct peer *p, const char *key, uint64_t size)
{
    struct lent g =
        set_post(w, p, (struct post){.key = key, .size = size, .mode = DS_WRITE_NONE_EVICT});
    settle(w);
    return g;
}

static inline uint32_t id_of(const struct world *w, const char *key)
{
    return ds_store_find(w->s, key, strlen(key));
}

/* --- a reader --- */

/* R1 to R6 with pin slot `slot`: true if it is a hit, pinned. */
static inline bool look(const struct world *w, struct peer *p, const char *key, unsigned slot,
                        struct ds_found *f)
{
    uint64_t hash = ds_index_hash(&w->s->index, key, strlen(key));
    struct ds_index_iter it = ds_index_begin(&w->map, hash);
    uint32_t id;

    if (ds_load_relaxed(&p->h->pins_used) <= slot) {
        ds_store_relaxed(&p->h->pins_used, slot + 1);
    }
    while ((id = ds_index_next(&w->map, &it, hash)) != DS_ID_NONE) {
        if (!ds_index_load(&w->map, id, f)) {
            continue;
        }
        ds_store_relaxed(&p->pin[slot], id + 1);
        ds_fence_full();
        if (ds_index_recheck(&w->map, f) && ds_index_key_equal(&w->map, f, key, strlen(key)) &&
            (f->meta & DS_META_SETTLED) != 0 &&
            (f->expiry_ns == 0 || w->now.boot_ns < f->expiry_ns)) {
            return true;
        }
        ds_store_release(&p->pin[slot], 0);
    }
    return false;
}

static inline void unpin(struct peer *p, unsigned slot)
{
    ds_store_release(&p->pin[slot], 0);
}

/* The size of the value that a reader hits, its bytes verified; 0: a miss. */
static inline uint64_t hit(const struct world *w, struct peer *p, const char *key)
{
    struct ds_found f;

    if (!look(w, p, key, 40, &f)) {
        return 0;
    }
    CHECK(value_is(w, f.offset, f.size, f.size));
    unpin(p, 40);
    return f.size;
}

static inline void log_read(struct peer *p, const struct ds_found *f, uint64_t ticks)
{
    uint64_t at = atomic_fetch_add(&p->h->log_head, 1) % DS_LOG_ENTRIES;

    ds_store_relaxed(&p->log[at].ticks, ticks);
    ds_store_relaxed(&p->log[at].what, f->gen << 32 | f->id);
}

#endif
