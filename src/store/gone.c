/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gone.h"

#include "base/sys.h"

#define NS_PER_MS 1000000
#define ENTRY_BYTES (DS_GONE_KEYS * sizeof(struct ds_gone_entry))
#define BUCKET_BYTES (DS_GONE_KEYS * sizeof(uint32_t)) /* as many buckets as keys */

_Static_assert((DS_GONE_KEYS & (DS_GONE_KEYS - 1)) == 0, "numbers go round a power of two");

int ds_gone_init(struct ds_gone_record *g)
{
    *g = (struct ds_gone_record){.next = 1};
    g->entry = ds_sys_map_private(ENTRY_BYTES);
    g->newest = ds_sys_map_private(BUCKET_BYTES);
    if (g->entry == NULL || g->newest == NULL) {
        ds_gone_fini(g);
        return DS_ENOMEM;
    }
    return 0;
}

void ds_gone_fini(struct ds_gone_record *g)
{
    ds_sys_unmap(g->entry, ENTRY_BYTES);
    ds_sys_unmap(g->newest, BUCKET_BYTES);
    *g = (struct ds_gone_record){0};
}

static uint32_t *bucket(const struct ds_gone_record *g, uint64_t hash)
{
    return &g->newest[hash % DS_GONE_KEYS];
}

void ds_gone_add(struct ds_gone_record *g, uint64_t hash, enum ds_gone why, int64_t when_ns)
{
    uint32_t *b = bucket(g, hash);

    g->entry[g->next % DS_GONE_KEYS] = (struct ds_gone_entry){
        .tag = (uint32_t)(hash >> 32),
        .before = *b,
        .what = (uint64_t)(when_ns / NS_PER_MS) << 8 | (uint64_t)why,
    };
    *b = g->next++;
}

/* Numbers wrap after 2^32 keys. An old one may pass for a new one then: the chain it leads into is
 * a wrong one, whose tags differ; and since each step must go to an older key, it ends. */
enum ds_gone ds_gone_find(const struct ds_gone_record *g, uint64_t hash, int64_t *ret_when_ns)
{
    uint32_t age = 0;
    uint32_t number = *bucket(g, hash);

    while (number != 0 && g->next - number > age && g->next - number <= DS_GONE_KEYS) {
        const struct ds_gone_entry *e = &g->entry[number % DS_GONE_KEYS];

        if (e->tag == (uint32_t)(hash >> 32)) {
            *ret_when_ns = (int64_t)(e->what >> 8) * NS_PER_MS;
            return (enum ds_gone)(e->what & 0xff);
        }
        age = g->next - number;
        number = e->before;
    }
    return DS_GONE_UNKNOWN;
}
