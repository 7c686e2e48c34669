/* SPDX-License-Identifier: Apache-2.0 */
#include "store/table.h"

#include "base/sys.h"

#define BUCKETS_START 256u
#define HEADS_MAX(slot_max) ((uint64_t)(slot_max) + BUCKETS_START)

int ds_table_init(struct ds_table *t, uint32_t slot_max)
{
    *t = (struct ds_table){.buckets = BUCKETS_START, .slot_max = slot_max};
    t->slot = ds_sys_map_private(slot_max * sizeof(*t->slot));
    t->head = ds_sys_map_private(HEADS_MAX(slot_max) * sizeof(*t->head));
    if (t->slot == NULL || t->head == NULL) {
        ds_table_fini(t);
        return DS_ENOMEM;
    }
    return 0;
}

void ds_table_fini(struct ds_table *t)
{
    ds_sys_unmap(t->slot, t->slot_max * sizeof(*t->slot));
    ds_sys_unmap(t->head, HEADS_MAX(t->slot_max) * sizeof(*t->head));
    *t = (struct ds_table){0};
}

/* Moves what belongs there from the next bucket in turn to a new one. */
static void split(struct ds_table *t)
{
    uint64_t n = t->buckets;
    uint64_t low = UINT64_C(1) << (63 - __builtin_clzll(n));
    uint32_t *from = &t->head[n - low];
    uint32_t *to = &t->head[n];

    if (n >= HEADS_MAX(t->slot_max)) {
        return;
    }
    t->buckets = n + 1;
    while (*from != 0) {
        uint32_t id = *from - 1;

        if (ds_bucket_of(t->slot[id].hash, n + 1) == n) {
            *from = t->slot[id].next;
            t->slot[id].next = *to;
            *to = id + 1;
        } else {
            from = &t->slot[id].next;
        }
    }
}

void ds_table_insert(struct ds_table *t, uint64_t hash, uint32_t id)
{
    uint32_t *head = &t->head[ds_bucket_of(hash, t->buckets)];

    DS_ASSERT(id < t->slot_max);
    t->slot[id] = (struct ds_table_slot){(uint32_t)hash, *head};
    *head = id + 1;
    if (++t->n > t->buckets) {
        split(t);
    }
}

void ds_table_remove(struct ds_table *t, uint64_t hash, uint32_t id)
{
    uint32_t *at = &t->head[ds_bucket_of(hash, t->buckets)];

    while (*at != id + 1) {
        DS_ASSERT(*at != 0);
        at = &t->slot[*at - 1].next;
    }
    *at = t->slot[id].next;
    t->n--;
}

static uint32_t match(const struct ds_table *t, uint64_t hash, uint32_t at)
{
    while (at != 0 && t->slot[at - 1].hash != (uint32_t)hash) {
        at = t->slot[at - 1].next;
    }
    return at == 0 ? DS_ID_NONE : at - 1;
}

uint32_t ds_table_first(const struct ds_table *t, uint64_t hash)
{
    return match(t, hash, t->head[ds_bucket_of(hash, t->buckets)]);
}

uint32_t ds_table_next(const struct ds_table *t, uint64_t hash, uint32_t id)
{
    return match(t, hash, t->slot[id].next);
}
