/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - which object is evicted first: a table of functions per policy.
 *
 * A policy keeps evictable, settled objects in one list over the store's link arrays; it never sees
 * keys or sizes. All slots are set, are called by the store's thread and must not block.
 */
#ifndef DS_STORE_POLICY_H
#define DS_STORE_POLICY_H

#include "store/list.h"

struct ds_policy {
    const char *name; /* value of --evict_policy */
    void (*insert)(struct ds_list *order, struct ds_link *links, uint32_t id);
    void (*touch)(struct ds_list *order, struct ds_link *links, uint32_t id); /* it was read */
    void (*remove)(struct ds_list *order, struct ds_link *links, uint32_t id);
    uint32_t (*victim)(const struct ds_list *order); /* DS_ID_NONE: nothing can go */
};

/* The policy of that name, or NULL. */
const struct ds_policy *ds_policy_find(const char *name);

#endif
