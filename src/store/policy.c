/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - the front of the policies, their common queues, and LRU. */
#include "store/policy_internal.h"

#include <string.h>

#include "base/alloc.h"
#include "base/sys.h"

#define SWEEP 4u /* objects that one call of LRU takes over from the small queue */

/* --- queues --- */

void ds_policy_link(struct ds_policy *p, uint32_t id, bool to_main)
{
    uint64_t size = p->env.size(p->env.arg, id);

    DS_ASSERT(id < p->env.max);
    DS_ASSERT(to_main || p->bits != NULL);
    if (p->bits != NULL) {
        p->bits[id] = to_main ? DS_POLICY_MAIN : 0;
    }
    if (to_main) {
        ds_list_append(&p->main, p->env.link, id);
        p->main_bytes += size;
    } else {
        ds_list_append(&p->small, p->env.link, id);
        p->small_bytes += size;
    }
}

void ds_policy_unlink(struct ds_policy *p, uint32_t id)
{
    uint64_t size = p->env.size(p->env.arg, id);
    bool from_main = ds_policy_in_main(p, id);
    uint64_t *bytes = from_main ? &p->main_bytes : &p->small_bytes;

    DS_ASSERT(*bytes >= size);
    *bytes -= size;
    ds_list_remove(from_main ? &p->main : &p->small, p->env.link, id);
}

void ds_policy_remember(struct ds_policy *p, uint32_t id)
{
    uint64_t all = p->small_bytes + p->main_bytes;

    ds_ghost_add(&p->ghost, p->env.hash(p->env.arg, id), p->env.size(p->env.arg, id),
                 all - all / 10, p->small.n + p->main.n);
}

int ds_policy_init_bits(struct ds_policy *p)
{
    p->bits = ds_sys_map_private(p->env.max);
    return p->bits == NULL ? DS_ENOMEM : ds_ghost_init(&p->ghost);
}

void ds_policy_fini_bits(struct ds_policy *p)
{
    ds_ghost_fini(&p->ghost);
    if (p->bits != NULL) {
        ds_sys_unmap(p->bits, p->env.max);
    }
}

/* --- lru: the least recently used goes first --- */

/* After `auto` has come from S3-FIFO there are objects in small: as recent as any, they join main a
 * few at a time. Uses that were counted there are worth one more round in lru_victim(). */
static void sweep(struct ds_policy *p)
{
    for (unsigned i = 0; i < SWEEP && p->small.n > 0; i++) {
        uint32_t id = p->small.first;
        uint8_t uses = p->bits[id] & DS_POLICY_USES;

        ds_policy_unlink(p, id);
        ds_policy_link(p, id, true);
        p->bits[id] |= uses;
    }
}

static void lru_insert(struct ds_policy *p, uint32_t id)
{
    sweep(p);
    ds_policy_link(p, id, true);
}

static void lru_touch(struct ds_policy *p, uint32_t id)
{
    sweep(p);
    if (p->main.last != id) {
        ds_policy_unlink(p, id);
        ds_policy_link(p, id, true);
    }
}

static uint32_t lru_victim(struct ds_policy *p)
{
    sweep(p);
    for (unsigned i = 0; p->bits != NULL && i < DS_POLICY_STEPS && p->main.n > 0; i++) {
        uint32_t id = p->main.first;

        if ((p->bits[id] & DS_POLICY_USES) == 0) {
            break;
        }
        ds_policy_unlink(p, id);
        ds_policy_link(p, id, true);
    }
    return p->main.n > 0 ? p->main.first : p->small.first;
}

static void lru_evict(struct ds_policy *p, uint32_t id)
{
    if (p->bits != NULL) { /* auto may want to know when it turns to S3-FIFO */
        ds_policy_remember(p, id);
    }
    ds_policy_unlink(p, id);
}

const struct ds_policy_ops ds_policy_lru = {
    .name = "lru",
    .number = DS_EVICT_LRU,
    .insert = lru_insert,
    .touch = lru_touch,
    .remove = ds_policy_unlink,
    .victim = lru_victim,
    .evict = lru_evict,
};

/* --- the front --- */

static const struct ds_policy_ops *const policies[] = {&ds_policy_lru, &ds_policy_s3fifo,
                                                       &ds_policy_auto};

int ds_policy_create(const char *name, const struct ds_policy_env *env, struct ds_policy **ret)
{
    const struct ds_policy_ops *ops = NULL;
    struct ds_policy *p;
    int rc = 0;

    DS_ASSERT(env->max > 0 && env->size != NULL && env->hash != NULL);
    for (size_t i = 0; i < DS_ARRAY_SIZE(policies); i++) {
        if (strcmp(policies[i]->name, name) == 0) {
            ops = policies[i];
        }
    }
    if (ops == NULL) {
        return DS_EINVAL;
    }
    p = ds_zalloc(sizeof(*p), "policy");
    if (p == NULL) {
        return DS_ENOMEM;
    }
    p->ops = ops;
    p->acting = ops;
    p->env = *env;
    ds_list_init(&p->small);
    ds_list_init(&p->main);
    if (ops->init != NULL) {
        rc = ops->init(p);
    }
    if (rc != 0) {
        p = ds_policy_destroy(p);
        return rc;
    }
    *ret = p;
    return 0;
}

struct ds_policy *ds_policy_destroy(struct ds_policy *p)
{
    if (p != NULL) {
        if (p->ops->fini != NULL) {
            p->ops->fini(p);
        }
        ds_free(p);
    }
    return NULL;
}

void ds_policy_insert(struct ds_policy *p, uint32_t id)
{
    p->ops->insert(p, id);
}

void ds_policy_touch(struct ds_policy *p, uint32_t id)
{
    p->ops->touch(p, id);
}

void ds_policy_remove(struct ds_policy *p, uint32_t id)
{
    p->ops->remove(p, id);
}

uint32_t ds_policy_victim(struct ds_policy *p)
{
    return p->ops->victim(p);
}

void ds_policy_skip(struct ds_policy *p, uint32_t id)
{
    ds_policy_unlink(p, id);
    ds_policy_link(p, id, true);
}

void ds_policy_evict(struct ds_policy *p, uint32_t id)
{
    p->ops->evict(p, id);
}

uint64_t ds_policy_count(const struct ds_policy *p)
{
    return p->small.n + p->main.n;
}

const char *ds_policy_acting(const struct ds_policy *p)
{
    return p->acting->name;
}

enum ds_evict_policy ds_policy_acting_number(const struct ds_policy *p)
{
    return p->acting->number;
}
