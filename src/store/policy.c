/* SPDX-License-Identifier: Apache-2.0 */
#include "store/policy.h"

#include <string.h>

/* --- lru: the least recently used goes first --- */

static void lru_touch(struct ds_list *order, struct ds_link *links, uint32_t id)
{
    if (order->last != id) {
        ds_list_remove(order, links, id);
        ds_list_append(order, links, id);
    }
}

static uint32_t lru_victim(const struct ds_list *order)
{
    return order->first;
}

static const struct ds_policy policies[] = {
    {"lru", ds_list_append, lru_touch, ds_list_remove, lru_victim},
};

const struct ds_policy *ds_policy_find(const char *name)
{
    for (size_t i = 0; i < DS_ARRAY_SIZE(policies); i++) {
        if (strcmp(policies[i].name, name) == 0) {
            return &policies[i];
        }
    }
    return NULL;
}
