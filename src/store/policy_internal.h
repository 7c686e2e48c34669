/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_internal.h - the table of functions behind policy.h, and the queues that all policies
 * share: so that `auto` can pass from one to another without moving an object.
 *
 *              insert                        touch
 *   lru        tail of main                  to the tail of main
 *   s3fifo     tail of small; of main if     counts, up to 3
 *              its key is a ghost
 *
 * The head of each queue is the oldest.
 */
#ifndef DS_STORE_POLICY_INTERNAL_H
#define DS_STORE_POLICY_INTERNAL_H

#include "store/ghost.h"
#include "store/policy.h"

/* Bits of ds_policy.bits[id]. */
#define DS_POLICY_USES 3u /* how often it was read, up to 3 */
#define DS_POLICY_MAIN 4u /* in main; else in small */

/* Objects that one call of victim passes over at most: then the oldest goes, used or not. */
#define DS_POLICY_STEPS 256u

struct ds_policy_ops {
    const char *name;            /* value of --evict_policy */
    enum ds_evict_policy number; /* of one that can be in force: not `auto` */

    /* What policy.h says of the functions of these names. `insert` links the object, `remove` and
     * `evict` unlink it; `victim` may move it. All slots are set but the last two. */
    void (*insert)(struct ds_policy *p, uint32_t id);
    void (*touch)(struct ds_policy *p, uint32_t id);
    void (*remove)(struct ds_policy *p, uint32_t id);
    uint32_t (*victim)(struct ds_policy *p);
    void (*evict)(struct ds_policy *p, uint32_t id);

    /* State beyond the common one. NULL: none. fini takes what init left half done. */
    int (*init)(struct ds_policy *p);
    void (*fini)(struct ds_policy *p);
};

struct ds_policy {
    const struct ds_policy_ops *ops;
    const struct ds_policy_ops *acting; /* auto: the one chosen; else ops */
    struct ds_policy_env env;
    struct ds_list small;
    struct ds_list main;
    uint64_t small_bytes;
    uint64_t main_bytes;
    uint8_t *bits; /* by number; NULL: all objects are in main, uses are not counted */
    struct ds_ghost ghost;
    struct ds_chooser *chooser; /* auto */
    uint64_t capacity;          /* auto: bytes that were in when something had to go */
};

extern const struct ds_policy_ops ds_policy_lru;
extern const struct ds_policy_ops ds_policy_s3fifo;
extern const struct ds_policy_ops ds_policy_auto;

static inline bool ds_policy_in_main(const struct ds_policy *p, uint32_t id)
{
    return p->bits == NULL || (p->bits[id] & DS_POLICY_MAIN) != 0;
}

/* Appends to a queue, with no uses. */
void ds_policy_link(struct ds_policy *p, uint32_t id, bool to_main);
void ds_policy_unlink(struct ds_policy *p, uint32_t id);

/* Remembers the key of an object that stands in a queue. */
void ds_policy_remember(struct ds_policy *p, uint32_t id);

/* Memory for bits and ghosts. DS_ENOMEM. */
int ds_policy_init_bits(struct ds_policy *p);
void ds_policy_fini_bits(struct ds_policy *p);

#endif
