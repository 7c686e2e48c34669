/* SPDX-License-Identifier: Apache-2.0 */
/* spill_scene.h - one client of a store over a disk that does what the test says. */
#ifndef DS_UNIT_STORE_SPILL_SCENE_H
#define DS_UNIT_STORE_SPILL_SCENE_H

#include "fake_tier.h"

static inline void scene_init(struct scene *c, uint64_t data_size)
{
    scene_make(c, data_size, fake_attach);
}

static inline void disk_until_done(struct scene *c, unsigned slot)
{
    for (int i = 0; i < 20 && !req_done(c->p, slot); i++) {
        settle_tiers(&c->w, &c->t);
        c->w.now.boot_ns += 2 * MS;
    }
    CHECK(req_done(c->p, slot));
}

/* A request that may have to wait for the disk. */
static inline int ask_disk(struct scene *c, enum ds_op op, const char *key, uint64_t value)
{
    req_begin(c->p, 0, op, value);
    req_key(c->p, 0, key);
    req_post(c->p, 0);
    disk_until_done(c, 0);
    return req_result(c->p, 0, 0)->status;
}

static inline int grant_disk(struct scene *c, uint64_t size, struct lent *ret)
{
    req_begin(c->p, 63, DS_OP_GRANT, size);
    c->p->slot[63].header.n = 1;
    c->p->slot[63].header.timeout_ms = 1000;
    req_post(c->p, 63);
    disk_until_done(c, 63);
    *ret = (struct lent){req_result(c->p, 63, 0)->id, req_result(c->p, 63, 0)->value};
    return req_result(c->p, 63, 0)->status;
}

static inline int set_mode(struct scene *c, const char *key, uint64_t size, enum ds_write_mode mode,
                           uint64_t ttl_ms)
{
    struct post a = {
        .key = key, .size = size, .mode = mode, .ttl_ms = ttl_ms, .ticket = c->w.now.ticks};
    int rc = grant_disk(c, size, &a.grant);

    if (rc == 0) {
        value_fill(&c->w, a.grant.offset, size, size);
        a.ticket = c->w.now.ticks;
        (void)ring_post(c->p, DS_RING_SET, &a);
        settle(&c->w);
    }
    return rc;
}

static inline int set_none(struct scene *c, const char *key, uint64_t size)
{
    return set_mode(c, key, size, DS_WRITE_NONE, 0);
}

static inline bool spilled(struct scene *c, const char *key)
{
    uint32_t id = id_of(&c->w, key);

    return id != DS_ID_NONE && ds_store_spilled(c->w.s, id);
}

#endif
