/* SPDX-License-Identifier: Apache-2.0 */
/*
 * get.c - reading: the local hit that asks nobody, and asking when that misses.
 *
 * Steps R1 to R7 of docs/concurrency.md. A batch looks at all buckets first, then at all
 * descriptors, then pins: each stage prefetches for the next one.
 */
#include <poll.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "client/internal.h"

#define RETRIES 3
#define PAUSE_MAX_MS 32
#define TURN_MS 250
#define BATCH 64 /* keys in flight in one stage */

/* A thread notes what it logged lately: the same object again within this time says nothing new. */
#define LOG_AGAIN_TICKS 1000000 /* below 1 ms on any machine */

int ds_check_key(const void *key, size_t key_size)
{
    return key == NULL || key_size == 0 || key_size > DS_KEY_SIZE_MAX ? DS_EINVAL : 0;
}

int ds_batch_status(const int *results, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (results[i] >= 0) {
            return 0;
        }
    }
    return n == 0 ? 0 : results[0];
}

static void log_hit(struct ds_link *l, const struct ds_found *f)
{
    static _Thread_local struct {
        const struct ds_link *link;
        uint64_t gen;
        uint64_t ticks;
    } recent[64];
    uint64_t now = ds_ticks_unordered();
    unsigned i = f->id % DS_ARRAY_SIZE(recent);
    struct ds_log_entry *e;

    if (recent[i].link == l && recent[i].gen == (f->gen ^ (uint64_t)f->id << 32) &&
        now - recent[i].ticks < LOG_AGAIN_TICKS) {
        return;
    }
    recent[i].link = l;
    recent[i].gen = f->gen ^ (uint64_t)f->id << 32;
    recent[i].ticks = now;
    e = &l->log[atomic_fetch_add_explicit(&l->session->log_head, 1, memory_order_relaxed) %
                DS_LOG_ENTRIES];
    ds_store_relaxed(&e->ticks, now);
    ds_store_relaxed(&e->what, f->gen << 32 | f->id);
}

static bool expired(const struct ds_link *l, const struct ds_found *f)
{
    return f->expiry_ns != 0 && ds_boottime_ns() + l->boottime_offset_ns >= f->expiry_ns;
}

/* R2 to R5 for one candidate, with a slot in hand. False: not this one. */
static bool pin_candidate(struct ds_link *l, uint32_t id, uint32_t slot, struct ds_found *f)
{
    for (int i = 0; i < RETRIES; i++) {
        if (!ds_index_load(&l->index, id, f)) {
            return false;
        }
        ds_pin_store(l, slot, id); /* R4 */
        (void)ds_failpoint("client.pinned");
        if (DS_LIKELY(ds_index_recheck(&l->index, f))) {
            return true;
        }
        ds_pin_clear(l, slot);
    }
    return false;
}

static int lend(struct ds_link *l, uint32_t slot, const struct ds_found *f, struct ds_view *ret)
{
    if (f->offset > l->data_size || f->size > l->data_size - f->offset) {
        return DS_ECORRUPT;
    }
    ret->data = l->data.base + f->offset;
    ret->size = f->size;
    ret->owner = l;
    ret->pin = slot;
    return 0;
}

int ds_link_find(struct ds_link *l, const void *key, size_t key_size, uint64_t hash,
                 struct ds_view *ret, struct ds_found *found)
{
    struct ds_index_iter it = ds_index_begin(&l->index, hash);
    uint32_t slot = 0;
    bool have_slot = false;
    uint32_t id;
    int rc = DS_ENOTFOUND;

    while ((id = ds_index_next(&l->index, &it, hash)) != DS_ID_NONE) {
        if (!have_slot) {
            rc = ds_pin_take(l, &slot);
            if (rc != 0) {
                return rc;
            }
            have_slot = true;
            rc = DS_ENOTFOUND;
        }
        if (!pin_candidate(l, id, slot, found)) {
            continue;
        }
        if (ds_index_key_equal(&l->index, found, key, key_size)) {
            if ((found->meta & DS_META_SETTLED) != 0 && !expired(l, found)) {
                rc = lend(l, slot, found, ret);
            }
            break;
        }
        ds_pin_clear(l, slot);
    }
    if (rc == 0) {
        if ((found->meta & DS_META_RANKED) != 0) {
            log_hit(l, found);
        }
        return 0;
    }
    if (have_slot) {
        ds_link_unpin(l, slot);
    }
    return rc;
}

/* The worker has named the object: no key, no settling to look at. */
int ds_link_pin_id(struct ds_link *l, uint32_t id, uint64_t gen, struct ds_view *ret,
                   struct ds_found *found)
{
    uint32_t slot;
    int rc;

    if (id >= l->index.desc_max) {
        return DS_ECORRUPT;
    }
    rc = ds_pin_take(l, &slot);
    if (rc != 0) {
        return rc;
    }
    rc = DS_EAGAIN;
    if (pin_candidate(l, id, slot, found) && found->gen == gen) {
        rc = lend(l, slot, found, ret);
    }
    if (rc != 0) {
        ds_link_unpin(l, slot);
    }
    return rc;
}

/* --- asking --- */

struct asking {
    struct ds_link *link;
    const struct ds_gets *g;
    int64_t deadline_ns; /* of the waiting for missing keys */
};

/* Many threads wait, and there are not slots for all: each waits for a while, then it is another
 * one's turn. */
static bool many_wait(const struct ds_link *l)
{
    return (unsigned)__builtin_popcountll(ds_load_relaxed(&l->request_free)) < DS_REQUESTS / 2;
}

static int pin_answer(const struct asking *a, size_t i, struct ds_request_result answer)
{
    struct ds_found found;
    int rc = answer.status;

    if (rc == 0) {
        rc = ds_link_pin_id(a->link, answer.id, answer.value, &a->g->views[i],
                            a->g->found != NULL ? &a->g->found[i] : &found);
    }
    return rc;
}

/* One request for as many of the missing keys from *at on as fit. */
static int ask_some(const struct asking *a, size_t *at)
{
    const struct ds_gets *g = a->g;
    int64_t wait_ms = (a->deadline_ns - ds_monotonic_ns() + 999999) / 1000000;
    size_t index[DS_SUB_MAX];
    struct request r;
    bool turn = false;
    int rc;

    if (a->deadline_ns == 0 || wait_ms < 0) {
        wait_ms = 0;
    }
    if (wait_ms > TURN_MS && many_wait(a->link)) {
        wait_ms = TURN_MS;
        turn = true;
    }
    rc = ds_request_begin(&r, a->link, DS_OP_GET,
                          wait_ms > 0 ? a->deadline_ns + INT64_C(1000000000) : g->limit_ns,
                          wait_ms > 0 || ds_request_waits(a->link, DS_OP_GET));
    if (rc != 0) {
        return rc;
    }
    ds_request_header(&r)->timeout_ms = wait_ms;
    ds_request_header(&r)->value = g->need != NULL ? DS_GET_PART : DS_GET_ALL;
    for (; *at < g->n; (*at)++) {
        struct ds_request_item item = {.key_size = (uint16_t)g->keys[*at].size,
                                       .value_size = g->need != NULL ? g->need[*at] : 0};

        if (g->results[*at] != DS_EAGAIN) {
            continue;
        }
        if (!ds_request_add(&r, &item, g->keys[*at].data)) {
            break;
        }
        index[r.n - 1] = *at;
    }
    rc = ds_request_call(&r);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < r.n; i++) {
        rc = pin_answer(a, index[i], ds_request_result(&r, i));
        g->results[index[i]] = turn && rc == DS_ENOTFOUND ? DS_EAGAIN : rc;
    }
    ds_request_end(&r);
    return 0;
}

static size_t count_left(const struct ds_gets *g)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++) {
        n += g->results[i] == DS_EAGAIN;
    }
    return n;
}

/* Before the next round. Without a success in the last one, what vanished is likely to vanish
 * again, as when the batch is larger than memory: the worker is left alone for longer each time. */
static void pause_between(size_t before, size_t left, int *pause_ms)
{
    if (left < before) {
        *pause_ms = 0;
        return;
    }
    if (*pause_ms > 0) {
        (void)poll(NULL, 0, *pause_ms);
    }
    *pause_ms = *pause_ms == 0 ? 1 : *pause_ms < PAUSE_MAX_MS ? *pause_ms * 2 : PAUSE_MAX_MS;
}

/* Asks for everything whose result is DS_EAGAIN. What vanished between answer and pin is asked for
 * again, until the time is over. */
static int ask(struct asking *a)
{
    const struct ds_gets *g = a->g;
    size_t left = count_left(g);
    int pause_ms = 0;

    while (left > 0) {
        size_t before = left;

        for (size_t at = 0; at < g->n;) {
            int rc;

            while (at < g->n && g->results[at] != DS_EAGAIN) {
                at++;
            }
            if (at == g->n) {
                break;
            }
            rc = ask_some(a, &at);
            if (rc != 0) {
                return rc;
            }
        }
        left = count_left(g);
        if (left > 0) {
            if (ds_monotonic_ns() > g->limit_ns) {
                return DS_ETIMEOUT;
            }
            pause_between(before, left, &pause_ms);
        }
    }
    return 0;
}

/* --- batches --- */

static void find_some(struct ds_link *l, const struct ds_bytes *keys, size_t n,
                      struct ds_view *views, struct ds_found *found, int *results)
{
    uint64_t hash[BATCH];
    struct ds_found spare;

    for (size_t i = 0; i < n; i++) {
        hash[i] = ds_hash(keys[i].data, keys[i].size, l->index.seed);
        __builtin_prefetch(ds_index_chain(&l->index, hash[i]));
    }
    for (size_t i = 0; i < n; i++) {
        struct ds_index_iter it = ds_index_begin(&l->index, hash[i]);
        uint32_t id = ds_index_next(&l->index, &it, hash[i]);

        if (id != DS_ID_NONE) {
            __builtin_prefetch(&l->index.desc[id]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        results[i] = ds_link_find(l, keys[i].data, keys[i].size, hash[i], &views[i],
                                  found != NULL ? &found[i] : &spare);
        if (results[i] == DS_ENOTFOUND || results[i] == DS_ESTALE) {
            results[i] = DS_EAGAIN; /* a miss is never trusted */
        }
    }
}

static int check_batch(const struct ds_bytes *keys, size_t n, int *results)
{
    if (n > DS_BATCH_MAX || (n > 0 && keys == NULL)) {
        return DS_EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (ds_check_key(keys[i].data, keys[i].size) != 0) {
            results[i] = DS_EINVAL;
            return DS_EINVAL;
        }
    }
    return 0;
}

/* On one link: DS_ESTALE when that is lost. Only keys whose result is DS_EAGAIN are asked for. */
static int get_on(struct ds_link *l, const struct ds_gets *g)
{
    struct asking a = {.link = l, .g = g};

    for (size_t at = 0; at < g->n; at += BATCH) {
        size_t some = ds_min_u64(g->n - at, BATCH);

        find_some(l, g->keys + at, some, g->views + at, g->found != NULL ? g->found + at : NULL,
                  g->results + at);
    }
    if (count_left(g) == 0) {
        return 0;
    }
    if (g->timeout_ms > 0) {
        a.deadline_ns = ds_monotonic_ns() +
                        (g->timeout_ms < INT32_MAX ? g->timeout_ms : INT32_MAX) * INT64_C(1000000);
        a.deadline_ns = a.deadline_ns < g->limit_ns ? a.deadline_ns : g->limit_ns;
    }
    return ask(&a);
}

static void fail_rest(const struct ds_gets *g, int rc)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->results[i] == DS_EAGAIN) {
            g->results[i] = rc;
            g->views[i] = (struct ds_view){0};
        }
    }
}

int ds_client_get(struct ds_client *client, struct ds_gets *g, struct ds_link **ret_link)
{
    int rc = DS_ESTALE;

    for (size_t i = 0; i < g->n; i++) {
        g->results[i] = DS_EAGAIN;
    }
    if (ds_client_enter(client) == NULL) {
        return DS_ENOTREADY;
    }
    g->limit_ns = g->limit_ns != 0 ? g->limit_ns : ds_client_deadline(client);
    while (rc == DS_ESTALE) {
        *ret_link = ds_load_acquire(&client->link);
        rc = get_on(*ret_link, g);
        if (rc == DS_ESTALE) {
            ds_view_release_many(g->views, g->n);
        }
    }
    ds_client_leave(client);
    return rc;
}

int ds_client_mget(struct ds_client *client, struct ds_gets *g)
{
    struct ds_link *l;
    int rc;

    memset(g->views, 0, g->n * sizeof(*g->views));
    rc = check_batch(g->keys, g->n, g->results);
    if (rc != 0) {
        for (size_t i = 0; i < g->n; i++) {
            g->results[i] = rc;
        }
        return rc;
    }
    rc = ds_client_get(client, g, &l);
    if (rc != 0) {
        fail_rest(g, rc);
    }
    return ds_batch_status(g->results, g->n);
}

int ds_kv_mget(struct ds_client *client, const struct ds_bytes *keys, size_t n, int64_t timeout_ms,
               struct ds_view *views, int *results)
{
    int own[BATCH];
    int *res = results != NULL ? results : own;
    int rc;

    if (n > DS_BATCH_MAX || views == NULL) {
        return DS_EINVAL;
    }
    if (results == NULL && n > BATCH) {
        res = ds_zalloc(n * sizeof(*res), "results");
        if (res == NULL) {
            memset(views, 0, n * sizeof(*views));
            return DS_ENOMEM;
        }
    }
    rc = ds_client_mget(
        client,
        &(struct ds_gets){
            .keys = keys, .n = n, .timeout_ms = timeout_ms, .views = views, .results = res});
    if (res != own && res != results) {
        ds_free(res);
    }
    return rc;
}

int ds_kv_try_get(struct ds_client *client, const void *key, size_t key_size, struct ds_view *ret)
{
    struct ds_link *l = ds_client_link(client);
    struct ds_found found;
    int rc = ds_check_key(key, key_size);

    if (rc == 0 && l == NULL) {
        rc = DS_ENOTREADY;
    }
    if (rc == 0) {
        rc = ds_link_find(l, key, key_size, ds_hash(key, key_size, l->index.seed), ret, &found);
    }
    return rc;
}

int ds_kv_get(struct ds_client *client, const void *key, size_t key_size, int64_t timeout_ms,
              struct ds_view *ret)
{
    struct ds_bytes k = {key, key_size};
    int result;
    int rc = ds_kv_try_get(client, key, key_size, ret);

    if (DS_LIKELY(rc == 0)) {
        return 0;
    }
    if (rc != DS_ENOTFOUND && rc != DS_ESTALE) {
        *ret = (struct ds_view){0};
        return rc;
    }
    return ds_kv_mget(client, &k, 1, timeout_ms, ret, &result);
}
