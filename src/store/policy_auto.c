/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_auto.c - LRU or S3-FIFO, whichever misses less now (chooser.h).
 *
 * Both work on the same queues, so a change takes no time: what the one has put in order, the other
 * takes as it is. From LRU to S3-FIFO all objects are in main, and newcomers fill small. From
 * S3-FIFO to LRU, objects that were used get one more round, and small joins main bit by bit
 * (policy.c).
 */
#include "store/chooser.h"
#include "store/policy_internal.h"

static void use(struct ds_policy *p, uint32_t id)
{
    ds_chooser_use(p->chooser, p->env.hash(p->env.arg, id), p->env.size(p->env.arg, id));
    p->acting = ds_chooser_choice(p->chooser) == DS_CHOICE_LRU ? &ds_policy_lru : &ds_policy_s3fifo;
}

static void auto_insert(struct ds_policy *p, uint32_t id)
{
    use(p, id);
    p->acting->insert(p, id);
}

static void auto_touch(struct ds_policy *p, uint32_t id)
{
    use(p, id);
    p->acting->touch(p, id);
}

static void auto_remove(struct ds_policy *p, uint32_t id)
{
    ds_chooser_forget(p->chooser, p->env.hash(p->env.arg, id));
    p->acting->remove(p, id);
}

static uint32_t auto_victim(struct ds_policy *p)
{
    return p->acting->victim(p);
}

/* The capacity is what is in when something must go. Eviction comes in batches, so it is the most
 * that was in lately. */
static void auto_evict(struct ds_policy *p, uint32_t id)
{
    uint64_t bytes = p->small_bytes + p->main_bytes;

    p->capacity = bytes >= p->capacity ? bytes : p->capacity - (p->capacity - bytes) / 64;
    ds_chooser_resize(p->chooser, p->capacity, ds_policy_count(p));
    p->acting->evict(p, id);
}

static int auto_init(struct ds_policy *p)
{
    int rc = ds_policy_init_bits(p);

    p->acting = &ds_policy_lru;
    return rc == 0 ? ds_chooser_create(&p->chooser) : rc;
}

static void auto_fini(struct ds_policy *p)
{
    p->chooser = ds_chooser_destroy(p->chooser);
    ds_policy_fini_bits(p);
}

const struct ds_policy_ops ds_policy_auto = {
    .name = "auto",
    .insert = auto_insert,
    .touch = auto_touch,
    .remove = auto_remove,
    .victim = auto_victim,
    .evict = auto_evict,
    .init = auto_init,
    .fini = auto_fini,
};
