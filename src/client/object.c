/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.c - buffers: created ones that are being filled, published ones, and fetched ones.
 *
 *            create                 publish, seal
 *   (grant) -------> UNPUBLISHED -------------------> PUBLISHED (pinned; id and generation known)
 *                                    get ----------->
 *
 * A published buffer holds a pin, taken on the grant before it is published, so that its bytes stay
 * whatever happens to the key.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "client/internal.h"
#include "client/object.h"

/* A latch on something that nobody else can see yet, or that never changes, is ours alone. */
enum held { HELD_NOT, HELD_ALONE, HELD_AT_WORKER };

struct ds_buffer {
    struct ds_link *link;
    struct ds_set_options options;
    struct ds_grant grant; /* until published */
    struct ds_view view;   /* the pin, once published */
    uint64_t gen;
    uint64_t size;
    uint32_t id;
    uint32_t slot; /* pin slot */
    uint32_t key_size;
    uint8_t kind;
    bool published;
    bool lost; /* asked to publish, without success: the grant is gone */
    bool sealed;
    bool writable;      /* may be changed after publish: made by the object API */
    uint8_t read_latch; /* enum held */
    uint8_t write_latch;
    uint8_t key[];
};

static struct ds_buffer *buffer_create(struct ds_link *l, const void *key, size_t key_size)
{
    struct ds_buffer *b = ds_zalloc(sizeof(*b) + key_size, "buffer");

    if (b != NULL) {
        b->link = l;
        b->key_size = (uint32_t)key_size;
        memcpy(b->key, key, key_size);
    }
    return b;
}

/* A grant with a pin on it. */
static int create_on(struct ds_link *l, const struct ds_bytes *key, uint64_t size,
                     const struct ds_set_options *o, int64_t deadline_ns, struct ds_buffer **ret)
{
    struct ds_buffer *b;
    int rc = ds_check_tiers(l, o);

    if (rc != 0) {
        return rc;
    }
    b = buffer_create(l, key->data, key->size);
    if (b == NULL) {
        return DS_ENOMEM;
    }
    rc = ds_pin_take(l, &b->slot);
    if (rc != 0) {
        ds_free(b);
        return rc;
    }
    rc = ds_grant_take(l, size, deadline_ns, &b->grant);
    if (rc != 0) {
        ds_link_unpin(l, b->slot);
        ds_free(b);
        return rc;
    }
    ds_pin_store(l, b->slot, b->grant.id);
    b->id = b->grant.id;
    b->size = size;
    *ret = b;
    return 0;
}

static int create(struct ds_client *client, const void *key, size_t key_size, uint64_t size,
                  const struct ds_set_options *o, struct ds_buffer **ret)
{
    struct ds_bytes k = {key, key_size};
    int64_t deadline_ns;
    int rc = ds_check_key(key, key_size);

    if (rc == 0 && (ret == NULL || client == NULL || (size == 0 && !o->allow_empty))) {
        rc = DS_EINVAL;
    }
    if (rc == 0) {
        rc = ds_check_options(o);
    }
    if (rc != 0) {
        return rc;
    }
    if (ds_client_enter(client) == NULL) {
        return DS_ENOTREADY;
    }
    deadline_ns = ds_client_deadline(client);
    do {
        rc = create_on(ds_load_acquire(&client->link), &k, size, o, deadline_ns, ret);
    } while (rc == DS_ESTALE);
    ds_client_leave(client);
    if (rc == 0) {
        (*ret)->options = *o;
        (*ret)->kind = o->cache_type == DS_CACHE_DISK ? DS_KIND_DISK : 0;
    }
    return rc;
}

int ds_kv_create(struct ds_client *client, const void *key, size_t key_size, size_t size,
                 const struct ds_set_options *options, struct ds_buffer **ret)
{
    static const struct ds_set_options defaults;
    const struct ds_set_options *o = options != NULL ? options : &defaults;

    if (o->only_if_absent && ret != NULL && ds_check_key(key, key_size) == 0) {
        struct ds_bytes k = {key, key_size};
        bool there = false;
        int rc = ds_kv_exist(client, &k, 1, &there);

        if (rc != 0) {
            return rc;
        }
        if (there) {
            *ret = NULL;
            return DS_UNCHANGED;
        }
    }
    return create(client, key, key_size, size, o, ret);
}

int ds_object_create(struct ds_client *client, const void *key, size_t key_size, size_t size,
                     const struct ds_create_options *options, struct ds_buffer **ret)
{
    struct ds_set_options o = {0};
    int rc;

    if (options != NULL) {
        o.mode = options->mode;
        o.cache_type = options->cache_type;
    }
    if (ds_second_mode(o.mode)) {
        return DS_ENOTSUPPORTED; /* its bytes change in place: only key-value calls have them */
    }
    rc = create(client, key, key_size, size, &o, ret);
    if (rc == 0) {
        (*ret)->writable = true;
        (*ret)->kind |= DS_KIND_OBJECT;
        (*ret)->kind |= options != NULL && options->consistency == DS_CAUSAL ? DS_KIND_CAUSAL : 0;
    }
    return rc;
}

static struct write write_of(const struct ds_buffer *b)
{
    return (struct write){
        .key = b->key,
        .key_size = b->key_size,
        .hash = ds_hash(b->key, b->key_size, b->link->index.seed),
        .grant = b->grant,
        .value_size = b->size,
        .ttl_ms = b->options.ttl_ms,
        .mode = (uint8_t)b->options.mode,
        .kind = b->kind,
    };
}

/* A buffer that came through fork() is the parent's to publish and to latch. */
static int check_link(const struct ds_buffer *b)
{
    if (b->link->inherited) {
        return DS_ENOTREADY;
    }
    return ds_load_acquire(&b->link->dead) ? DS_ESTALE : 0;
}

/* Whether a first publish may be tried. */
static int check_unpublished(const struct ds_buffer *b)
{
    if (b->published) {
        return DS_EINVAL;
    }
    return b->lost ? DS_ESTALE : check_link(b);
}

int ds_buffer_copy(const struct ds_buffer *buffer, struct ds_buffer **ret)
{
    struct ds_buffer *copy = NULL;
    int rc = check_unpublished(buffer);

    if (rc == 0) {
        rc = create(buffer->link->client, buffer->key, buffer->key_size, buffer->size,
                    &buffer->options, &copy);
    }
    if (rc != 0) {
        return rc;
    }
    copy->kind = buffer->kind;
    copy->writable = buffer->writable;
    rc = ds_buffer_write(copy, ds_buffer_data(buffer), buffer->size);
    if (rc != 0) {
        ds_buffer_free(copy);
        return rc;
    }
    *ret = copy;
    return 0;
}

static void set_published(struct ds_buffer *b)
{
    b->published = true;
    b->view = (struct ds_view){.owner = b->link, .pin = b->slot};
}

/* --- publishing, kv.h --- */

static int publish_one(struct ds_buffer *b, int64_t deadline_ns, uint64_t *wait)
{
    struct write w = write_of(b);
    uint64_t position = 0;
    int rc = check_unpublished(b);

    if (rc != 0) {
        return rc;
    }
    if (ds_second_mode(b->options.mode)) {
        rc = ds_set_second(b->link, &w, b->options.only_if_absent, deadline_ns);
    } else if (b->options.only_if_absent) {
        rc = ds_set_absent(b->link, &w, deadline_ns);
    } else {
        rc = ds_set_post(b->link, &w, deadline_ns, &position);
        *wait = position != 0 ? position : *wait;
    }
    if (rc >= 0) {
        set_published(b);
    }
    b->lost = rc < 0 && w.posted;
    return rc;
}

int ds_kv_publish(struct ds_client *client, struct ds_buffer *const *buffers, size_t n,
                  int *results)
{
    struct ds_link *l;
    int64_t deadline_ns;
    uint64_t wait = 0;
    int first = 0;
    size_t ok = 0;
    int rc = 0;

    if (n > DS_BATCH_MAX || (n > 0 && buffers == NULL)) {
        rc = DS_EINVAL;
    } else if (ds_client_enter(client) == NULL) {
        rc = DS_ENOTREADY;
    }
    if (rc != 0) {
        for (size_t i = 0; results != NULL && i < n; i++) {
            results[i] = rc;
        }
        return rc;
    }
    l = ds_load_acquire(&client->link);
    deadline_ns = ds_client_deadline(client);
    for (size_t i = 0; i < n; i++) {
        rc = buffers[i] == NULL ? 0 : publish_one(buffers[i], deadline_ns, &wait);
        ok += rc >= 0;
        first = first == 0 && rc < 0 ? rc : first;
        if (results != NULL) {
            results[i] = rc;
        }
    }
    ds_fence_full();
    ds_link_wake(l, wait != 0, deadline_ns);
    rc = wait != 0 ? ds_ring_wait(l, wait, deadline_ns) : 0;
    ds_client_leave(client);
    for (size_t i = 0; rc != 0 && results != NULL && i < n; i++) {
        results[i] = results[i] == 0 ? rc : results[i];
    }
    return rc != 0 ? rc : ok > 0 || n == 0 ? 0 : first;
}

/* --- reading and writing --- */

size_t ds_buffer_size(const struct ds_buffer *buffer)
{
    return buffer->size;
}

const void *ds_buffer_data(const struct ds_buffer *buffer)
{
    return buffer->view.data != NULL ? buffer->view.data
                                     : buffer->link->data.base + buffer->grant.offset;
}

void *ds_buffer_mutable_data(struct ds_buffer *buffer)
{
    struct ds_link *l = buffer->link;
    bool mapped;

    if (buffer->published && (buffer->sealed || !buffer->writable)) {
        return NULL;
    }
    (void)pthread_mutex_lock(&l->write_lock);
    mapped = ds_link_map_writable(l) == 0;
    (void)pthread_mutex_unlock(&l->write_lock);
    return mapped ? l->data_rw.base + buffer->grant.offset : NULL;
}

int ds_buffer_write(struct ds_buffer *buffer, const void *value, size_t size)
{
    void *to;

    if (size > buffer->size) {
        return DS_ERANGE;
    }
    to = ds_buffer_mutable_data(buffer);
    if (to == NULL) {
        return buffer->sealed ? DS_ESEALED : DS_EINVAL;
    }
    if (size > 0) {
        memcpy(to, value, size);
    }
    return 0;
}

/* --- publishing, object.h --- */

static int nest(struct ds_buffer *b, const struct ds_bytes *nested, size_t n)
{
    struct ds_link *l = b->link;
    size_t i = 0;

    while (i < n) {
        struct request r;
        size_t first = i;
        int status = 0;
        int rc = ds_request_begin(&r, l, DS_OP_NEST, ds_client_deadline(l->client), false);

        if (rc != 0) {
            return rc;
        }
        ds_request_header(&r)->value = b->id;
        ds_request_header(&r)->value2 = b->gen;
        for (; i < n; i++) {
            struct ds_request_item item = {.key_size = (uint16_t)nested[i].size};

            if (!ds_request_add(&r, &item, nested[i].data)) {
                break;
            }
        }
        rc = ds_request_call(&r);
        if (rc != 0) {
            return rc;
        }
        for (uint32_t k = 0; k < i - first; k++) {
            int one = ds_request_result(&r, k).status;

            status = status == 0 ? one : status;
        }
        ds_request_end(&r);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

static int check_nested(const struct ds_buffer *b, const struct ds_bytes *nested, size_t n)
{
    if (n > DS_BATCH_MAX || (n > 0 && nested == NULL)) {
        return DS_EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (ds_check_key(nested[i].data, nested[i].size) != 0 ||
            (nested[i].size == b->key_size && memcmp(nested[i].data, b->key, b->key_size) == 0)) {
            return DS_EINVAL;
        }
    }
    return 0;
}

static int first_publish(struct ds_buffer *b, bool for_good)
{
    struct write w = write_of(b);
    struct ds_request_result result;
    int rc;

    w.kind |= for_good ? DS_KIND_SEALED : 0;
    rc = ds_link_put(b->link, DS_OP_PUT, &w, ds_client_deadline(b->link->client), &result);
    b->lost = rc != 0 && w.posted; /* it may still be published */
    rc = rc != 0 ? rc : result.status;
    if (rc == 0) {
        set_published(b);
        b->gen = result.value;
    }
    return rc;
}

static int named_op(struct ds_buffer *b, enum ds_op op, int64_t timeout_ms)
{
    struct ds_request_item item = {.id = b->id, .value_size = b->gen};
    struct ds_request_result result;
    int rc = ds_request_one(b->link, op, 0, timeout_ms, &item, NULL, &result);

    return rc != 0 ? rc : result.status;
}

static int publish(struct ds_buffer *b, bool for_good, const struct ds_bytes *nested, size_t n)
{
    int rc = check_nested(b, nested, n);

    if (rc == 0) {
        rc = check_link(b);
    }
    if (rc != 0) {
        return rc;
    }
    if (b->lost) {
        return DS_ESTALE;
    }
    if (b->sealed) {
        return DS_ESEALED;
    }
    if (!b->published) {
        rc = first_publish(b, for_good);
    } else if (!b->writable) {
        rc = DS_EINVAL;
    } else {
        rc = named_op(b, for_good ? DS_OP_SEAL : DS_OP_PUBLISH, 0);
    }
    if (rc == 0 || rc == DS_ESEALED) {
        b->sealed = for_good || rc == DS_ESEALED;
    }
    if (rc == 0 && n > 0) {
        rc = nest(b, nested, n);
    }
    return rc;
}

int ds_buffer_publish(struct ds_buffer *buffer, const struct ds_bytes *nested, size_t n_nested)
{
    return publish(buffer, false, nested, n_nested);
}

int ds_buffer_seal(struct ds_buffer *buffer, const struct ds_bytes *nested, size_t n_nested)
{
    return publish(buffer, true, nested, n_nested);
}

int ds_buffer_invalidate(struct ds_buffer *buffer)
{
    return check_link(buffer);
}

int ds_object_put(struct ds_client *client, const void *key, size_t key_size, const void *value,
                  size_t value_size, const struct ds_create_options *options,
                  const struct ds_bytes *nested, size_t n_nested)
{
    struct ds_buffer *b = NULL;
    int rc = ds_object_create(client, key, key_size, value_size, options, &b);

    if (rc == 0) {
        rc = ds_buffer_write(b, value, value_size);
    }
    if (rc == 0) {
        rc = ds_buffer_publish(b, nested, n_nested);
    }
    ds_buffer_free(b);
    return rc;
}

/* --- fetching --- */

static int buffer_of(struct ds_link *l, const struct ds_bytes *key, const struct ds_view *view,
                     const struct ds_found *found, struct ds_buffer **ret)
{
    struct ds_buffer *b = buffer_create(l, key->data, key->size);

    if (b == NULL) {
        return DS_ENOMEM;
    }
    b->view = *view;
    b->slot = (uint32_t)view->pin;
    b->id = found->id;
    b->gen = found->gen;
    b->size = found->size;
    b->grant.offset = found->offset;
    b->published = true;
    b->sealed = (found->meta & DS_META_SEALED) != 0;
    b->writable = (found->meta & DS_META_OBJECT) != 0;
    *ret = b;
    return 0;
}

static int get_on(struct ds_client *client, struct ds_gets *g, struct ds_link **ret_link)
{
    for (size_t i = 0; i < g->n; i++) {
        g->results[i] = ds_check_key(g->keys[i].data, g->keys[i].size);
        if (g->results[i] != 0) {
            return DS_EINVAL;
        }
    }
    return ds_client_get(client, g, ret_link);
}

int ds_object_get(struct ds_client *client, const struct ds_bytes *keys, size_t n,
                  int64_t timeout_ms, struct ds_buffer **ret_buffers, int *results)
{
    struct ds_view *views;
    struct ds_found *found;
    struct ds_link *l = NULL;
    int *res;
    int rc = DS_ENOMEM;

    if (n == 0 || n > DS_BATCH_MAX || keys == NULL || ret_buffers == NULL) {
        return DS_EINVAL;
    }
    memset(ret_buffers, 0, n * sizeof(*ret_buffers));
    for (size_t i = 0; results != NULL && i < n; i++) {
        results[i] = rc;
    }
    views = ds_zalloc(n * sizeof(*views), "views");
    found = ds_zalloc(n * sizeof(*found), "found");
    res = ds_zalloc(n * sizeof(*res), "results");
    if (views != NULL && found != NULL && res != NULL) {
        rc = get_on(client,
                    &(struct ds_gets){.keys = keys,
                                      .n = n,
                                      .timeout_ms = timeout_ms,
                                      .views = views,
                                      .found = found,
                                      .results = res},
                    &l);
        for (size_t i = 0; i < n; i++) {
            if (res[i] == 0 && rc != DS_EINVAL) {
                res[i] = buffer_of(l, &keys[i], &views[i], &found[i], &ret_buffers[i]);
                if (res[i] != 0) {
                    ds_view_release(&views[i]);
                }
            } else if (res[i] == DS_EAGAIN || rc == DS_EINVAL) {
                res[i] = rc;
            }
        }
        rc = rc == DS_EINVAL ? rc : ds_batch_status(res, n);
        if (results != NULL) {
            memcpy(results, res, n * sizeof(*results));
        }
    }
    ds_free(views);
    ds_free(found);
    ds_free(res);
    return rc;
}

/* --- latches --- */

static int latch(struct ds_buffer *b, bool write, int64_t timeout_ms)
{
    uint8_t *held = write ? &b->write_latch : &b->read_latch;
    int rc;

    rc = check_link(b);
    if (rc != 0) {
        return rc;
    }
    if (!b->published || b->sealed || !b->writable) {
        if (write && b->published) {
            return DS_ESEALED;
        }
        *held = HELD_ALONE; /* of an immutable object the pin is the latch */
        return 0;
    }
    rc = named_op(b, write ? DS_OP_LATCH_WRITE : DS_OP_LATCH_READ, timeout_ms > 0 ? timeout_ms : 0);
    if (rc == DS_EAGAIN) {
        rc = DS_ETIMEOUT;
    }
    if (rc == 0) {
        *held = HELD_AT_WORKER;
    }
    return rc;
}

static int unlatch(struct ds_buffer *b, bool write)
{
    uint8_t *held = write ? &b->write_latch : &b->read_latch;
    uint8_t had = *held;
    int rc;

    if (b->link->inherited) {
        return DS_ENOTREADY;
    }
    *held = HELD_NOT;
    if (had == HELD_AT_WORKER) {
        rc = named_op(b, write ? DS_OP_UNLATCH_WRITE : DS_OP_UNLATCH_READ, 0);
        return rc == DS_ESTALE ? 0 : rc; /* gone with the object */
    }
    return had == HELD_ALONE || !b->published || b->sealed || !b->writable ? 0 : DS_ENOTINUSE;
}

int ds_buffer_latch_read(struct ds_buffer *buffer, int64_t timeout_ms)
{
    return latch(buffer, false, timeout_ms);
}

int ds_buffer_latch_write(struct ds_buffer *buffer, int64_t timeout_ms)
{
    return latch(buffer, true, timeout_ms);
}

int ds_buffer_unlatch_read(struct ds_buffer *buffer)
{
    return unlatch(buffer, false);
}

int ds_buffer_unlatch_write(struct ds_buffer *buffer)
{
    return unlatch(buffer, true);
}

void ds_buffer_free(struct ds_buffer *buffer)
{
    struct ds_link *l;

    if (buffer == NULL) {
        return;
    }
    l = buffer->link;
    if (l->client->fork_generation == ds_fork_generation()) {
        if (buffer->read_latch == HELD_AT_WORKER) {
            (void)!unlatch(buffer, false);
        }
        if (buffer->write_latch == HELD_AT_WORKER) {
            (void)!unlatch(buffer, true);
        }
        if (!buffer->published && !buffer->lost && !ds_load_acquire(&l->dead)) {
            (void)pthread_mutex_lock(&l->write_lock);
            ds_grant_give(l, &buffer->grant);
            (void)pthread_mutex_unlock(&l->write_lock);
        }
    }
    ds_link_unpin(l, buffer->slot);
    ds_free(buffer);
}
