/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_s3fifo.c - S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache
 * eviction", SOSP 2023).
 *
 *              small, a tenth of the bytes                   main
 *   insert --> tail ............... head --- used twice --> tail ............... head --> out
 *                                     |                       ^    used: once more   |
 *                                     v                       +----------------------+
 *                                    out, key remembered; comes again --> tail of main
 *
 * Differences to the paper: shares are of the bytes that are in, since the store's memory for
 * evictable objects has no fixed size; and victim passes over at most DS_POLICY_STEPS objects.
 */
#include "store/policy_internal.h"

#define SMALL_SHARE 10u /* small is one part in so many of the bytes */
#define PROMOTE_USES 2u /* in small that make an object stay */

static void s3_insert(struct ds_policy *p, uint32_t id)
{
    bool ghost = ds_ghost_take(&p->ghost, p->env.hash(p->env.arg, id));

    ds_policy_link(p, id, ghost);
}

static void s3_touch(struct ds_policy *p, uint32_t id)
{
    if ((p->bits[id] & DS_POLICY_USES) < DS_POLICY_USES) {
        p->bits[id]++;
    }
}

/* The key that replaces an object of main, or comes again after a delete, belongs there. */
static void s3_remove(struct ds_policy *p, uint32_t id)
{
    if (ds_policy_in_main(p, id)) {
        ds_policy_remember(p, id);
    }
    ds_policy_unlink(p, id);
}

static uint32_t s3_victim(struct ds_policy *p)
{
    for (unsigned i = 0;; i++) {
        bool from_small =
            p->small.n > 0 &&
            (p->main.n == 0 || p->small_bytes > (p->small_bytes + p->main_bytes) / SMALL_SHARE);
        uint32_t id = from_small ? p->small.first : p->main.first;
        unsigned uses;

        if (id == DS_ID_NONE || i == DS_POLICY_STEPS) {
            return id;
        }
        uses = p->bits[id] & DS_POLICY_USES;
        if (uses < (from_small ? PROMOTE_USES : 1)) {
            return id;
        }
        ds_policy_unlink(p, id);
        ds_policy_link(p, id, true);
        if (!from_small) {
            p->bits[id] |= (uint8_t)(uses - 1);
        }
    }
}

static void s3_evict(struct ds_policy *p, uint32_t id)
{
    if (!ds_policy_in_main(p, id)) {
        ds_policy_remember(p, id);
    }
    ds_policy_unlink(p, id);
}

const struct ds_policy_ops ds_policy_s3fifo = {
    .name = "s3fifo",
    .number = DS_EVICT_S3FIFO,
    .insert = s3_insert,
    .touch = s3_touch,
    .remove = s3_remove,
    .victim = s3_victim,
    .evict = s3_evict,
    .init = ds_policy_init_bits,
    .fini = ds_policy_fini_bits,
};
