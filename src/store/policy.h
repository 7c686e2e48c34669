/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - which object is evicted first.
 *
 *   lru      the least recently used one
 *   s3fifo   S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023):
 *            newcomers prove themselves in a small queue; what is not used there goes early
 *   auto     the better one of the two for what this worker sees, chosen while it runs
 *
 * A policy orders the objects that may be evicted. It links them through the caller's array, knows
 * them by number, and asks the caller for size and hash. Sizes count, not numbers: the queues of
 * S3-FIFO are shares of bytes. The order is private memory: a worker that starts again enters its
 * objects anew, in any order, and what was read is learned again.
 *
 * Cost:      every call is O(1), amortized where objects that were used are passed over: a use paid
 *            for each, and one call does a bounded number. Memory: lru has none of its own; the
 *            others a byte an object, and from the first eviction on 8 to 16 for ghosts; auto 0.4
 *            MiB more for its sample.
 * Ownership: the policy owns its state; the environment is borrowed.
 * Threads:   one.
 * Errors:    create alone can fail.
 */
#ifndef DS_STORE_POLICY_H
#define DS_STORE_POLICY_H

#include <ds/client.h>

#include "store/list.h"

struct ds_policy;

/* What a policy needs of its objects; all of it stays valid and unchanged while `id` is in. */
struct ds_policy_env {
    void *arg;
    struct ds_link *link; /* by number; the policy's while the object is in */
    uint32_t max;         /* numbers are below */
    uint64_t (*size)(const void *arg, uint32_t id); /* bytes that its end would free */
    uint32_t (*hash)(const void *arg, uint32_t id); /* of its key: evenly spread, and the same when
                                                       the key comes again */
};

/* The policy called `name`. DS_EINVAL: there is none of this name. DS_ENOMEM. */
DS_MUST_USE int ds_policy_create(const char *name, const struct ds_policy_env *env,
                                 struct ds_policy **ret);

/* NULL is a no-op; returns NULL. */
struct ds_policy *ds_policy_destroy(struct ds_policy *p);

/* A new object, or one that may be evicted from now on. */
void ds_policy_insert(struct ds_policy *p, uint32_t id);

/* It was read. */
void ds_policy_touch(struct ds_policy *p, uint32_t id);

/* It is deleted, replaced or expired: not the policy's decision. */
void ds_policy_remove(struct ds_policy *p, uint32_t id);

/* The object to evict next, or DS_ID_NONE if there is none. The caller evicts or skips it, or lets
 * it be: asking changes nothing but the order of objects that were used. */
uint32_t ds_policy_victim(struct ds_policy *p);

/* The victim cannot go now: somebody is reading it. It counts as used, and another one is next. */
void ds_policy_skip(struct ds_policy *p, uint32_t id);

/* The object leaves because room is needed; its key may be remembered. */
void ds_policy_evict(struct ds_policy *p, uint32_t id);

uint64_t ds_policy_count(const struct ds_policy *p); /* objects in */

/* "lru" or "s3fifo": what is in force; `auto` tells what it has chosen. */
const char *ds_policy_acting(const struct ds_policy *p);
enum ds_evict_policy ds_policy_acting_number(const struct ds_policy *p);

#endif
