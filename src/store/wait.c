/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - requests that wait for a key or a latch.
 *
 * They are executed again when something changed that may concern them: a key that one of them
 * misses was settled (found through wait_filter, which may err to the safe side), a latch was given
 * back, or a deadline passed. A request is answered at its deadline with what there is then.
 */
#include "store/internal.h"

static void filter_add(struct ds_store *s)
{
    struct ds_store_cursor c = {0, 0};
    const struct ds_request_item *item;
    const uint8_t *key;

    if (s->scratch.header.op != DS_OP_GET) {
        return;
    }
    while ((item = ds_store_item(s, &c, &key)) != NULL) {
        uint64_t h = ds_store_key_hash(s, key, item->key_size);

        s->wait_filter[h >> 6 & 63] |= UINT64_C(1) << (h & 63);
    }
}

static void count_misses(struct ds_store *s, const struct session *x, unsigned slot)
{
    struct ds_store_cursor c = {0, 0};
    const struct ds_request_item *item;
    const uint8_t *key;

    while ((item = ds_store_item(s, &c, &key)) != NULL) {
        if (x->slot[slot].result[c.i - 1].status == DS_EAGAIN) {
            ds_store_count_miss(s, key, item->key_size);
        }
    }
}

static void expire_wait(struct ds_store *s, struct session *x, unsigned slot)
{
    if (s->scratch.header.op == DS_OP_GET) {
        count_misses(s, x, slot);
    }
    for (uint32_t i = 0; i < s->scratch.header.n; i++) {
        struct ds_request_result *r = &x->slot[slot].result[i];

        if (r->status == DS_EAGAIN) {
            r->status = s->scratch.header.op == DS_OP_GET ? DS_ENOTFOUND : DS_ETIMEOUT;
        }
    }
    ds_store_complete(s, x, slot);
}

/* Something of it comes from a tier, which takes the time it takes. */
static bool pending(const struct ds_store *s, const struct session *x, unsigned slot)
{
    for (uint32_t i = 0; i < s->scratch.header.n; i++) {
        if (x->slot[slot].result[i].status == DS_STORE_PENDING) {
            return true;
        }
    }
    return x->buried[slot] > s->buried_done;
}

bool ds_store_enough(const struct ds_store *s, struct session *by, unsigned slot)
{
    if (s->scratch.header.op != DS_OP_GET || (s->scratch.header.value & DS_GET_ANY) == 0 ||
        (by->answered[slot][0] | by->answered[slot][1]) == 0 || pending(s, by, slot)) {
        return false;
    }
    for (uint32_t i = 0; i < s->scratch.header.n; i++) {
        struct ds_request_result *r = &by->slot[slot].result[i];

        r->status = r->status == DS_EAGAIN ? DS_ENOTFOUND : r->status;
    }
    return true;
}

static void examine_slot(struct ds_store *s, struct session *x, unsigned slot)
{
    ds_store_execute(s, x, slot);
    if ((x->waiting >> slot & 1) == 0) {
        return; /* answered */
    }
    if (x->deadline_ns[slot] <= s->now.boot_ns && pending(s, x, slot)) {
        return;
    }
    if (x->deadline_ns[slot] <= s->now.boot_ns) {
        expire_wait(s, x, slot);
        return;
    }
    filter_add(s);
    if (x->deadline_ns[slot] < s->wait_next_ns) {
        s->wait_next_ns = x->deadline_ns[slot];
    }
}

void ds_store_examine_waiting(struct ds_store *s)
{
    s->examine = false;
    s->wait_next_ns = INT64_MAX;
    memset(s->wait_filter, 0, sizeof(s->wait_filter));
    for (uint32_t i = 0; i < s->n_active; i++) {
        struct session *x = s->active[i];

        for (uint64_t left = x->waiting; left != 0; left &= left - 1) {
            examine_slot(s, x, (unsigned)__builtin_ctzll(left));
        }
    }
}
