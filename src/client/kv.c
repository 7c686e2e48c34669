/* SPDX-License-Identifier: Apache-2.0 */
/* kv.c - the key-value calls that write or ask: set, mset, delete, exist, expire, size. */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "client/internal.h"
#include "client/object.h"

static const struct ds_set_options default_options;

int ds_check_set(const void *value, size_t size, const struct ds_set_options *o)
{
    if ((size == 0 && !o->allow_empty) || (size > 0 && value == NULL)) {
        return DS_EINVAL;
    }
    return ds_check_options(o);
}

int ds_check_options(const struct ds_set_options *o)
{
    switch (o->mode) {
    case DS_WRITE_NONE:
    case DS_WRITE_NONE_EVICT:
    case DS_WRITE_THROUGH:
    case DS_WRITE_BACK:
    case DS_WRITE_BACK_EVICT:
        break;
    default:
        return DS_EINVAL;
    }
    return o->cache_type == DS_CACHE_MEMORY || o->cache_type == DS_CACHE_DISK ? 0 : DS_EINVAL;
}

int ds_check_tiers(const struct ds_link *l, const struct ds_set_options *o)
{
    uint32_t tiers = ds_load_relaxed(&l->index.header->tiers);

    if ((ds_second_mode(o->mode) && (tiers & DS_TIERS_L2) == 0) ||
        (o->cache_type == DS_CACHE_DISK && (tiers & DS_TIERS_SPILL) == 0)) {
        return DS_ENOTSUPPORTED;
    }
    return 0;
}

static struct write write_of(const struct ds_link *l, const struct ds_bytes *key, uint64_t size,
                             const struct ds_set_options *o)
{
    return (struct write){
        .key = key->data,
        .key_size = key->size,
        .hash = ds_hash(key->data, key->size, l->index.seed),
        .value_size = size,
        .ttl_ms = o->ttl_ms,
        .mode = (uint8_t)o->mode,
        .kind = o->cache_type == DS_CACHE_DISK ? DS_KIND_DISK : 0,
    };
}

static void copy_in(struct ds_link *l, const struct ds_grant *g, const void *value, size_t size)
{
    if (size > 0) {
        memcpy(l->data_rw.base + g->offset, value, size);
    }
    (void)ds_failpoint("client.filled");
}

static int set_on(struct ds_link *l, const struct ds_bytes *key, const struct ds_bytes *value,
                  const struct ds_set_options *o, int64_t deadline_ns)
{
    struct write w = write_of(l, key, value->size, o);
    uint64_t position = 0;
    int rc = ds_check_tiers(l, o);

    if (rc == 0) {
        rc = ds_grant_take(l, value->size, deadline_ns, &w.grant);
    }
    if (rc != 0) {
        return rc;
    }
    copy_in(l, &w.grant, value->data, value->size);
    if (ds_second_mode(o->mode) || o->only_if_absent) {
        rc = ds_second_mode(o->mode) ? ds_set_second(l, &w, o->only_if_absent, deadline_ns)
                                     : ds_set_absent(l, &w, deadline_ns);
        if (!w.posted) {
            ds_grant_keep(l, &w.grant);
        }
        return rc;
    }
    rc = ds_set_post(l, &w, deadline_ns, &position);
    if (rc == DS_ETIMEOUT || rc == DS_EINTERRUPTED) {
        ds_grant_keep(l, &w.grant);
    }
    if (rc == 0) {
        ds_link_wake(l, position != 0, deadline_ns);
        if (position != 0) {
            rc = ds_ring_wait(l, position, deadline_ns);
        }
    }
    return rc;
}

int ds_kv_set(struct ds_client *client, const void *key, size_t key_size, const void *value,
              size_t value_size, const struct ds_set_options *options)
{
    const struct ds_set_options *o = options != NULL ? options : &default_options;
    struct ds_bytes k = {key, key_size};
    struct ds_bytes v = {value, value_size};
    int64_t deadline_ns;
    int rc = ds_check_key(key, key_size);

    if (rc == 0) {
        rc = ds_check_set(value, value_size, o);
    }
    if (rc != 0) {
        return rc;
    }
    if (ds_client_enter(client) == NULL) {
        return DS_ENOTREADY;
    }
    deadline_ns = ds_client_deadline(client);
    do {
        rc = set_on(ds_load_acquire(&client->link), &k, &v, o, deadline_ns);
    } while (rc == DS_ESTALE);
    ds_client_leave(client);
    return rc;
}

/* --- mset --- */

/* Marks keys that stand in the batch before: a small open-addressing table of hashes. */
static int mark_duplicates(const struct ds_bytes *keys, size_t n, int *results)
{
    size_t size = 16;
    uint32_t *table;

    while (size < n * 2) {
        size *= 2;
    }
    table = ds_zalloc(size * sizeof(*table), "duplicates");
    if (table == NULL) {
        return DS_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t h = ds_hash(keys[i].data, keys[i].size, 0);
        size_t at = h & (size - 1);

        while (table[at] != 0 &&
               (keys[table[at] - 1].size != keys[i].size ||
                memcmp(keys[table[at] - 1].data, keys[i].data, keys[i].size) != 0)) {
            at = (at + 1) & (size - 1);
        }
        if (table[at] != 0) {
            results[i] = DS_EDUPLICATED;
        } else {
            table[at] = (uint32_t)i + 1;
        }
    }
    ds_free(table);
    return 0;
}

struct mset {
    const struct ds_bytes *keys;
    const struct ds_bytes *values;
    size_t n;
    const struct ds_set_options *options;
    int *results;
};

/* Modes with second-level storage: as many as fit into one request, which share its syncs. */
static int second_part(struct ds_link *l, const struct mset *m, size_t *at, int64_t deadline_ns)
{
    size_t index[DS_SUB_MAX];
    struct request r;
    int rc = ds_request_begin(&r, l, DS_OP_SET, deadline_ns, true);

    for (; rc == 0 && *at < m->n; (*at)++) {
        struct write w = write_of(l, &m->keys[*at], m->values[*at].size, m->options);
        struct ds_request_item item;

        if (m->results[*at] != DS_EAGAIN) {
            continue;
        }
        if (!ds_request_fits(&r, w.key_size)) {
            break;
        }
        m->results[*at] = ds_grant_take(l, m->values[*at].size, deadline_ns, &w.grant);
        if (m->results[*at] != 0) {
            continue; /* this one does not fit; a smaller one may */
        }
        copy_in(l, &w.grant, m->values[*at].data, m->values[*at].size);
        item = ds_second_item(&w, m->options->only_if_absent);
        index[r.n] = *at;
        (void)!ds_request_add(&r, &item, w.key);
    }
    if (rc == 0 && r.n == 0) {
        ds_request_end(&r);
        return 0;
    }
    rc = rc == 0 ? ds_request_call(&r) : rc;
    for (uint32_t i = 0; rc == 0 && i < r.n; i++) {
        m->results[index[i]] = ds_request_result(&r, i).status;
    }
    for (uint32_t i = 0; rc != 0 && rc != DS_ESTALE && i < r.n; i++) {
        m->results[index[i]] = rc;
    }
    if (rc == 0) {
        ds_request_end(&r);
    }
    return rc;
}

static int mset_second(struct ds_link *l, const struct mset *m, int64_t deadline_ns)
{
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < m->n;) {
        rc = second_part(l, m, &at, deadline_ns);
    }
    return rc;
}

/* One key after the other is posted; then one look for each, and one wait for the last that needs
 * one. DS_EAGAIN in results: not posted yet. */
static int mset_on(struct ds_link *l, const struct mset *m, int64_t deadline_ns)
{
    uint64_t wait = 0;
    uint64_t position = 0;
    int rc = ds_check_tiers(l, m->options);

    if (rc == 0 && ds_second_mode(m->options->mode)) {
        return mset_second(l, m, deadline_ns);
    }
    for (size_t i = 0; i < m->n && rc == 0; i++) {
        struct write w = write_of(l, &m->keys[i], m->values[i].size, m->options);

        if (m->results[i] != DS_EAGAIN) {
            continue;
        }
        rc = ds_grant_take(l, m->values[i].size, deadline_ns, &w.grant);
        if (rc == DS_ENOMEM) { /* this one does not fit; a smaller one may */
            m->results[i] = rc;
            rc = 0;
            continue;
        }
        if (rc != 0) {
            break;
        }
        copy_in(l, &w.grant, m->values[i].data, m->values[i].size);
        if (m->options->only_if_absent) {
            rc = ds_set_absent(l, &w, deadline_ns);
            if (!w.posted) {
                ds_grant_keep(l, &w.grant);
            }
            m->results[i] = rc >= 0 ? rc : m->results[i];
            rc = rc > 0 ? 0 : rc;
            continue;
        }
        rc = ds_set_post(l, &w, deadline_ns, &position);
        if (rc == DS_ETIMEOUT || rc == DS_EINTERRUPTED) {
            ds_grant_keep(l, &w.grant);
        }
        if (rc == 0) {
            m->results[i] = 0;
            wait = position != 0 ? position : wait;
        }
    }
    ds_fence_full();
    ds_link_wake(l, wait != 0, deadline_ns);
    if (wait != 0) {
        int waited = ds_ring_wait(l, wait, deadline_ns);

        for (size_t i = 0; waited != 0 && waited != DS_ESTALE && i < m->n; i++) {
            m->results[i] = m->results[i] == 0 ? waited : m->results[i];
        }
        rc = rc != 0 ? rc : waited;
    }
    return rc;
}

static int check_mset(const struct mset *m)
{
    if (m->n > DS_BATCH_MAX || (m->n > 0 && (m->keys == NULL || m->values == NULL))) {
        return DS_EINVAL;
    }
    for (size_t i = 0; i < m->n; i++) {
        int rc = ds_check_key(m->keys[i].data, m->keys[i].size);

        if (rc == 0) {
            rc = ds_check_set(m->values[i].data, m->values[i].size, m->options);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int ds_kv_mset(struct ds_client *client, const struct ds_bytes *keys, const struct ds_bytes *values,
               size_t n, const struct ds_set_options *options, int *results)
{
    struct mset m = {keys, values, n, options != NULL ? options : &default_options, results};
    int64_t deadline_ns;
    bool entered;
    int rc;

    if (n > DS_BATCH_MAX || client == NULL) {
        return DS_EINVAL;
    }
    if (results == NULL) {
        m.results = ds_zalloc((n + 1) * sizeof(*m.results), "results");
        if (m.results == NULL) {
            return DS_ENOMEM;
        }
    }
    for (size_t i = 0; i < n; i++) {
        m.results[i] = DS_EAGAIN;
    }
    rc = check_mset(&m);
    if (rc == 0) {
        rc = mark_duplicates(keys, n, m.results);
    }
    deadline_ns = ds_client_deadline(client);
    if (rc == 0 && ds_client_enter(client) == NULL) {
        rc = DS_ENOTREADY;
    }
    entered = rc == 0;
    while (rc == 0) {
        rc = mset_on(ds_load_acquire(&client->link), &m, deadline_ns);
        if (rc != DS_ESTALE) {
            break;
        }
        for (size_t i = 0; i < n; i++) { /* what the lost node had taken is gone with it */
            m.results[i] = m.results[i] == 0 ? DS_EAGAIN : m.results[i];
        }
        rc = 0;
    }
    if (entered) {
        ds_client_leave(client);
    }
    for (size_t i = 0; rc != 0 && i < n; i++) {
        m.results[i] = m.results[i] == DS_EAGAIN ? rc : m.results[i];
    }
    rc = ds_batch_status(m.results, n);
    if (results == NULL) {
        ds_free(m.results);
    }
    return rc;
}

/* --- batches of questions --- */

struct question {
    enum ds_op op;
    uint64_t value; /* of the whole request */
    const struct ds_bytes *keys;
    size_t n;
    int *results;     /* or NULL */
    bool *exists;     /* or NULL */
    uint64_t *values; /* or NULL */
    int failure;      /* the first one of an item */
    int error;        /* the same, but that a key is missing is none */
};

static void take_answer(struct question *q, size_t i, struct ds_request_result a)
{
    if (a.status < 0) {
        q->failure = q->failure != 0 ? q->failure : a.status;
        q->error = q->error != 0 || a.status == DS_ENOTFOUND ? q->error : a.status;
    }
    if (q->results != NULL) {
        q->results[i] = a.status;
    }
    if (q->exists != NULL) {
        q->exists[i] = a.status == 0;
    }
    if (q->values != NULL) {
        q->values[i] = a.status == 0 ? a.value : 0;
    }
}

/* As many keys from *at on as fit into one request. */
static int ask_part(struct ds_link *l, struct question *q, size_t *at, size_t *ok,
                    int64_t deadline_ns)
{
    size_t first = *at;
    size_t i = *at;
    struct request r;
    int rc = ds_request_begin(&r, l, q->op, deadline_ns, ds_request_waits(l, q->op));

    if (rc != 0) {
        return rc;
    }
    ds_request_header(&r)->value = q->value;
    for (; i < q->n; i++) {
        struct ds_request_item item = {.key_size = (uint16_t)q->keys[i].size};

        if (!ds_request_add(&r, &item, q->keys[i].data)) {
            break;
        }
    }
    rc = ds_request_call(&r);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t k = 0; k < r.n; k++) {
        struct ds_request_result a = ds_request_result(&r, k);

        *ok += a.status >= 0;
        take_answer(q, first + k, a);
    }
    ds_request_end(&r);
    *at = i;
    return 0;
}

static int fail_all(struct question *q, size_t from, int rc)
{
    for (size_t i = from; i < q->n; i++) {
        take_answer(q, i, (struct ds_request_result){.status = rc});
    }
    return rc;
}

static int ask_all(struct ds_client *client, struct question *q, size_t limit, size_t *ret_ok)
{
    int64_t deadline_ns;
    size_t at = 0;
    int rc = 0;

    *ret_ok = 0;
    if (client == NULL || q->n > limit || (q->n > 0 && q->keys == NULL)) {
        return DS_EINVAL;
    }
    for (size_t i = 0; i < q->n; i++) {
        if (ds_check_key(q->keys[i].data, q->keys[i].size) != 0) {
            return fail_all(q, 0, DS_EINVAL);
        }
    }
    if (ds_client_enter(client) == NULL) {
        return fail_all(q, 0, DS_ENOTREADY);
    }
    deadline_ns = ds_client_deadline(client);
    while (at < q->n && (rc == 0 || rc == DS_ESTALE)) {
        rc = ask_part(ds_load_acquire(&client->link), q, &at, ret_ok, deadline_ns);
    }
    ds_client_leave(client);
    if (rc != 0) {
        (void)fail_all(q, at, rc);
        return *ret_ok > 0 && q->op != DS_OP_EXIST ? 0 : rc;
    }
    return 0;
}

static int first_failure(struct ds_client *client, struct question *q)
{
    size_t ok;
    int rc = ask_all(client, q, DS_BATCH_MAX, &ok);

    return rc != 0 ? rc : ok > 0 || q->n == 0 ? 0 : q->failure;
}

int ds_kv_delete(struct ds_client *client, const struct ds_bytes *keys, size_t n, int *results)
{
    struct question q = {.op = DS_OP_DELETE, .keys = keys, .n = n, .results = results};

    return first_failure(client, &q);
}

int ds_kv_exist(struct ds_client *client, const struct ds_bytes *keys, size_t n, bool *ret_exists)
{
    struct question q = {.op = DS_OP_EXIST, .keys = keys, .n = n, .exists = ret_exists};
    size_t ok;
    int rc = ask_all(client, &q, DS_BATCH_EXIST_MAX, &ok);

    return rc != 0 ? rc : q.error; /* nobody knows: not the same as absent */
}

int ds_kv_expire(struct ds_client *client, const struct ds_bytes *keys, size_t n, uint64_t ttl_ms,
                 int *results)
{
    struct question q = {
        .op = DS_OP_EXPIRE, .value = ttl_ms, .keys = keys, .n = n, .results = results};

    return first_failure(client, &q);
}

int ds_kv_size(struct ds_client *client, const struct ds_bytes *keys, size_t n, uint64_t *ret_sizes,
               int *results)
{
    struct question q = {
        .op = DS_OP_EXIST, .keys = keys, .n = n, .results = results, .values = ret_sizes};

    return first_failure(client, &q);
}

static int why_on(struct ds_link *l, const void *key, size_t key_size,
                  struct ds_request_result *ret)
{
    struct ds_request_item item = {.key_size = (uint16_t)key_size};
    int rc = ds_request_one(l, DS_OP_WHY, 0, 0, &item, key, ret);

    if (rc != 0) {
        return rc;
    }
    return ret->status == DS_EINVAL ? DS_ENOTSUPPORTED : ret->status;
}

int ds_kv_why(struct ds_client *client, const void *key, size_t key_size, enum ds_gone *ret_why,
              uint64_t *ret_age_ms)
{
    struct ds_request_result answer;
    int rc = ds_check_key(key, key_size);

    if (rc != 0) {
        return rc;
    }
    if (ds_client_enter(client) == NULL) {
        return DS_ENOTREADY;
    }
    do {
        rc = why_on(ds_load_acquire(&client->link), key, key_size, &answer);
    } while (rc == DS_ESTALE);
    ds_client_leave(client);
    if (rc == 0) {
        *ret_why = (enum ds_gone)answer.id;
        *ret_age_ms = answer.value;
    }
    return rc;
}

static int ref_call(struct ds_client *client, enum ds_op op, const struct ds_bytes *keys, size_t n,
                    int *results)
{
    struct question q = {.op = op, .keys = keys, .n = n, .results = results};
    size_t ok;
    int rc = ask_all(client, &q, DS_BATCH_MAX, &ok);

    return rc != 0 ? rc : ok > 0 || n == 0 ? 0 : DS_ENOTINUSE;
}

int ds_object_ref(struct ds_client *client, const struct ds_bytes *keys, size_t n, int *results)
{
    return ref_call(client, DS_OP_REF, keys, n, results);
}

int ds_object_unref(struct ds_client *client, const struct ds_bytes *keys, size_t n, int *results)
{
    return ref_call(client, DS_OP_UNREF, keys, n, results);
}

int ds_object_ref_count(struct ds_client *client, const void *key, size_t key_size, uint64_t *ret)
{
    struct ds_bytes k = {key, key_size};
    struct question q = {.op = DS_OP_REF_COUNT, .keys = &k, .n = 1, .values = ret};
    size_t ok;

    return ask_all(client, &q, DS_BATCH_MAX, &ok);
}
