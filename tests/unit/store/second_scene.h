/* SPDX-License-Identifier: Apache-2.0 */
/* second_scene.h - a client of a store with second-level storage. */
#ifndef DS_UNIT_STORE_SECOND_SCENE_H
#define DS_UNIT_STORE_SECOND_SCENE_H

#include "fake_tier.h"

static inline void scene_init(struct scene *c, uint64_t data_size)
{
    scene_make(c, data_size, fake_attach_l2);
}

static inline void work_until_done(struct scene *c, unsigned slot)
{
    for (int i = 0; i < 50 && !req_done(c->p, slot); i++) {
        settle(&c->w);
        (void)fake_work(&c->t);
        c->w.now.boot_ns += MS;
    }
    CHECK(req_done(c->p, slot));
}

static inline int ask_l2(struct scene *c, enum ds_op op, const char *key, uint64_t value)
{
    req_begin(c->p, 0, op, value);
    req_key(c->p, 0, key);
    req_post(c->p, 0);
    work_until_done(c, 0);
    return req_result(c->p, 0, 0)->status;
}

static inline void post(struct scene *c, unsigned slot, enum ds_op op, const char *key)
{
    req_begin(c->p, slot, op, 0);
    req_key(c->p, slot, key);
    req_post(c->p, slot);
}

static inline void post_set(struct scene *c, unsigned slot, const char *key, uint64_t size,
                            enum ds_write_mode mode, uint8_t kind, uint64_t ttl_ms)
{
    struct lent g;

    CHECK_OK(grant(&c->w, c->p, size, &g));
    value_fill(&c->w, g.offset, size, size);
    req_begin(c->p, slot, DS_OP_SET, 0);
    req_add(c->p, slot,
            (struct ds_request_item){.id = g.id,
                                     .value_size = size,
                                     .mode = (uint8_t)mode,
                                     .kind = kind,
                                     .ttl_ms = ttl_ms,
                                     .grant_origin = c->w.s->record[g.id].origin},
            key);
    req_post(c->p, slot);
}

static inline int set_l2(struct scene *c, const char *key, uint64_t size, enum ds_write_mode mode)
{
    post_set(c, 1, key, size, mode, 0, 0);
    work_until_done(c, 1);
    return req_result(c->p, 1, 0)->status;
}

static inline uint64_t in_l2(struct scene *c, const char *key)
{
    const struct fake_object *o = fake_l2(&c->t, key, strlen(key), false);

    if (o == NULL) {
        return 0;
    }
    for (uint64_t i = 0; i < o->size; i++) {
        CHECK_EQ(o->value[i], value_byte(o->size, i));
    }
    return o->size;
}

/* Everything that may leaves memory and disk. */
static inline void squeeze_to_l2(struct scene *c)
{
    scene_squeeze(c);
    (void)ds_store_drop_disk(c->w.s, c->w.config.data_size);
    settle_tiers(&c->w, &c->t);
}

/* The object is in second-level storage alone. */
static inline void only_in_l2(struct scene *c, const char *key, uint64_t size)
{
    CHECK_OK(set_l2(c, key, size, DS_WRITE_THROUGH));
    squeeze_to_l2(c);
    CHECK_EQ(id_of(&c->w, key), DS_ID_NONE);
    CHECK_EQ(in_l2(c, key), size);
}

#endif
