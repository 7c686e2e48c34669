/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read.c - reading what is needed of a value: parts of it, or a copy piece by piece. Of a large
 * value on disk that is served while the rest still comes (DS_GET_PART).
 */
#include <string.h>

#include "base/alloc.h"
#include "client/internal.h"

#define PARTS 16 /* on the stack */

/* How much of a pinned value is in place; 0 of one that is whole but not settled: it will be in a
 * moment. It may have been read anew since it was pinned: into the same block, the same bytes
 * (src/store/fetch.c). */
static uint64_t arrived(const struct ds_link *l, const struct ds_found *f)
{
    uint64_t meta = ds_load_acquire(&l->index.desc[f->id].meta); /* ds_store_tier_arrived() */

    return (meta & DS_META_SETTLED) != 0 ? f->size : ds_min_u64(f->size, DS_META_ARRIVED(meta));
}

/* A copy under way. What is copied of one incarnation of the key goes on with no other. */
struct copy {
    struct ds_gets gets; /* of the one key */
    uint64_t need;
    uint64_t have;
    struct ds_view pinned; /* keeps what was copied from, or it might leave and come back */
    uint64_t gen;
    uint32_t id;
};

/* One round: more of it is there. */
static void copy_more(struct copy *c, const struct ds_link *l, const struct ds_view *view,
                      const struct ds_found *f, uint8_t *buffer)
{
    uint64_t end;

    if (c->pinned.owner != view->owner || c->id != f->id || c->gen != f->gen) {
        c->have = 0;
        c->id = f->id;
        c->gen = f->gen;
    }
    ds_view_release(&c->pinned);
    c->pinned = *view;
    end = arrived(l, f);
    if (end > c->have) {
        memcpy(buffer + c->have, (const uint8_t *)view->data + c->have, end - c->have);
        c->have = end;
    }
}

static int copy_as_it_comes(struct ds_client *client, const struct ds_bytes *key,
                            int64_t timeout_ms, void *buffer, size_t capacity, size_t *ret_size)
{
    struct ds_view view;
    struct ds_found found;
    struct ds_link *l;
    int result;
    struct copy c = {.gets = {.keys = key,
                              .need = &c.need,
                              .n = 1,
                              .timeout_ms = timeout_ms,
                              .views = &view,
                              .found = &found,
                              .results = &result}};
    int rc;

    do {
        view = (struct ds_view){0};
        c.need = c.have + 1;
        rc = ds_client_get(client, &c.gets, &l);
        rc = rc != 0 ? rc : result;
        if (rc != 0) {
            break;
        }
        *ret_size = view.size;
        if (view.size > capacity) {
            ds_view_release(&view);
            rc = DS_ERANGE;
            break;
        }
        copy_more(&c, l, &view, &found, buffer);
        c.gets.timeout_ms = 0; /* the key has come */
    } while (c.have < *ret_size);
    ds_view_release(&c.pinned);
    return rc;
}

int ds_kv_get_into(struct ds_client *client, const void *key, size_t key_size, int64_t timeout_ms,
                   void *buffer, size_t capacity, size_t *ret_size)
{
    struct ds_bytes k = {key, key_size};
    struct ds_view view;
    int rc = ds_kv_try_get(client, key, key_size, &view);

    if (rc == DS_ENOTFOUND || rc == DS_ESTALE) {
        return copy_as_it_comes(client, &k, timeout_ms, buffer, capacity, ret_size);
    }
    if (rc != 0) {
        return rc;
    }
    *ret_size = view.size;
    if (view.size > capacity) {
        rc = DS_ERANGE;
    } else {
        memcpy(buffer, view.data, view.size);
    }
    ds_view_release(&view);
    return rc;
}

static uint64_t end_of(const struct ds_part *part)
{
    return part->size == 0 || part->offset > UINT64_MAX - part->size ? UINT64_MAX
                                                                     : part->offset + part->size;
}

/* `keys` and `need` have room for g->n. */
static int read_parts(struct ds_client *client, const struct ds_part *parts, struct ds_gets *g,
                      struct ds_bytes *keys, uint64_t *need)
{
    for (size_t i = 0; i < g->n; i++) {
        keys[i] = (struct ds_bytes){parts[i].key, parts[i].key_size};
        need[i] = end_of(&parts[i]);
    }
    g->keys = keys;
    g->need = need;
    (void)!ds_client_mget(client, g); /* the results say all of it */
    for (size_t i = 0; i < g->n; i++) {
        if (g->results[i] == 0) {
            g->results[i] = ds_view_slice(&g->views[i], parts[i].offset, parts[i].size);
        } else if (g->results[i] == DS_ERANGE) {
            g->results[i] = DS_EAGAIN; /* too many views: not to be taken for the offset */
        }
    }
    return ds_batch_status(g->results, g->n);
}

int ds_kv_mread(struct ds_client *client, const struct ds_part *parts, size_t n, int64_t timeout_ms,
                struct ds_view *views, int *results)
{
    struct ds_bytes own_keys[PARTS];
    uint64_t own_need[PARTS];
    int own_results[PARTS];
    struct ds_gets g = {.n = n, .timeout_ms = timeout_ms, .views = views, .results = results};
    struct ds_bytes *keys;
    int rc;

    if (n > DS_BATCH_MAX || (n > 0 && parts == NULL) || views == NULL) {
        return DS_EINVAL;
    }
    if (n <= PARTS) {
        g.results = results != NULL ? results : own_results;
        return read_parts(client, parts, &g, own_keys, own_need);
    }
    keys = ds_zalloc(n * (sizeof(*keys) + sizeof(uint64_t) + sizeof(int)), "parts");
    if (keys == NULL) {
        memset(views, 0, n * sizeof(*views));
        for (size_t i = 0; results != NULL && i < n; i++) {
            results[i] = DS_ENOMEM;
        }
        return DS_ENOMEM;
    }
    g.results = results != NULL ? results : (int *)((uint64_t *)(keys + n) + n);
    rc = read_parts(client, parts, &g, keys, (uint64_t *)(keys + n));
    ds_free(keys);
    return rc;
}

int ds_kv_read(struct ds_client *client, const void *key, size_t key_size, uint64_t offset,
               uint64_t size, struct ds_view *ret)
{
    struct ds_part part = {key, key_size, offset, size};
    struct ds_view view;
    int rc = ds_kv_try_get(client, key, key_size, &view);

    if (rc == 0) {
        rc = ds_view_slice(&view, offset, size);
    } else if (rc == DS_ENOTFOUND || rc == DS_ESTALE || rc == DS_ERANGE) {
        rc = ds_kv_mread(client, &part, 1, 0, &view, NULL);
    }
    *ret = rc == 0 ? view : (struct ds_view){0};
    return rc;
}
