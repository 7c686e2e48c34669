/* SPDX-License-Identifier: Apache-2.0 */
/* l2.c - the calls of l2.h: arguments are checked here once, for all implementations. */
#include "tier/l2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/atomics.h"
#include "base/clock.h"

int ds_l2_open(const struct ds_l2_config *config, char *err, size_t err_size, struct ds_l2 **ret)
{
    DS_ASSERT(ret != NULL && err_size > 0);
    switch (config->type) {
    case DS_L2_DIR:
        return ds_l2_dir_open(config, err, err_size, ret);
    case DS_L2_S3:
        return ds_l2_s3_open(config, err, err_size, ret);
    }
    (void)snprintf(err, err_size, "there is no such kind of second-level storage");
    return DS_EINVAL;
}

struct ds_l2 *ds_l2_close(struct ds_l2 *l2)
{
    return l2 != NULL ? l2->ops->close(l2) : NULL;
}

static bool is_key(const void *key, uint32_t key_size)
{
    return key != NULL && key_size >= 1 && key_size <= DS_L2_KEY_MAX;
}

static bool is_item(const struct ds_l2_item *item)
{
    bool tombstone = (item->meta.flags & DS_L2_TOMBSTONE) != 0;

    return is_key(item->key, item->key_size) && item->meta.size <= DS_L2_VALUE_MAX &&
           (item->meta.flags & ~DS_L2_FLAGS_ALL) == 0 && item->meta.expiry_unix_ns >= 0 &&
           (!tombstone || item->meta.size == 0) &&
           (item->value.fd >= 0 || item->value.memory != NULL || item->meta.size == 0);
}

static int bad_key(struct ds_l2_call *call, uint32_t key_size)
{
    return ds_l2_fail(call, DS_EINVAL, "a key of %u bytes: 1 to %u are accepted", key_size,
                      DS_L2_KEY_MAX);
}

void ds_l2_put_many(struct ds_l2 *l2, struct ds_l2_call *call, const struct ds_l2_item *items,
                    size_t n, int *rcs)
{
    bool good = true;

    call->retries = 0;
    for (size_t i = 0; i < n; i++) {
        rcs[i] = 0;
        if (!is_item(&items[i])) {
            rcs[i] = ds_l2_fail(call, DS_EINVAL, "item %zu: bad key, size, flags or expiry", i);
            good = false;
        }
    }
    for (size_t i = 0; i < n && !good; i++) {
        rcs[i] = DS_EINVAL; /* the whole batch: its caller is wrong */
    }
    if (n > 0 && good) {
        l2->ops->put_many(l2, call, items, n, rcs);
    }
}

int ds_l2_put(struct ds_l2 *l2, struct ds_l2_call *call, const struct ds_l2_item *item)
{
    int rc = DS_EINVAL;

    ds_l2_put_many(l2, call, item, 1, &rc);
    return rc;
}

int ds_l2_remove(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
                 uint64_t version)
{
    struct ds_l2_item item = {.key = key,
                              .key_size = key_size,
                              .meta = {.version = version, .flags = DS_L2_TOMBSTONE},
                              .value = {.fd = -1}};

    return ds_l2_put(l2, call, &item);
}

int ds_l2_get(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
              ds_l2_room_fn *room, void *arg, struct ds_l2_meta *ret)
{
    call->retries = 0;
    return is_key(key, key_size) ? l2->ops->get(l2, call, key, key_size, room, arg, ret)
                                 : bad_key(call, key_size);
}

int ds_l2_head(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
               bool tombstone, struct ds_l2_meta *ret)
{
    call->retries = 0;
    return is_key(key, key_size) ? l2->ops->head(l2, call, key, key_size, tombstone, ret)
                                 : bad_key(call, key_size);
}

int ds_l2_list(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each, void *arg)
{
    call->retries = 0;
    return l2->ops->list(l2, call, each, arg);
}

int ds_l2_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc)
{
    call->retries = 0;
    if (gc->now_unix_ns == 0) {
        gc->now_unix_ns = ds_now_ns(CLOCK_REALTIME);
    }
    return l2->ops->gc(l2, call, gc);
}

void ds_l2_space(struct ds_l2 *l2, struct ds_l2_space *ret)
{
    *ret = (struct ds_l2_space){0};
    if (l2->ops->space != NULL) {
        l2->ops->space(l2, ret);
    }
}

/* --- for implementations --- */

int ds_l2_fail(struct ds_l2_call *call, int rc, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(call->err, sizeof(call->err), fmt, args);
    va_end(args);
    return rc;
}

int ds_l2_check_order(struct ds_l2_call *call, const struct ds_l2_item *item,
                      const struct ds_l2_meta *there)
{
    uint64_t version = there != NULL ? there->version : 0;
    bool stale = item->renews ? there == NULL || version != item->meta.version - 1
                              : version > item->meta.version;

    if (!stale) {
        return 0;
    }
    if (item->newer != NULL) {
        *item->newer = version;
    }
    return ds_l2_fail(call, DS_ESTALE, "version %" PRIu64 " is there already", version);
}

int ds_l2_go_on(struct ds_l2_call *call)
{
    if (call->stop != NULL && atomic_load(call->stop)) {
        return ds_l2_fail(call, DS_ESHUTDOWN, "ended by the shutdown");
    }
    if (call->deadline_ns != 0 && ds_monotonic_ns() >= call->deadline_ns) {
        return ds_l2_fail(call, DS_ETIMEOUT, "the deadline has passed");
    }
    return 0;
}

void ds_l2_moved(struct ds_l2_call *call)
{
    ds_store_relaxed(&call->moved_ns, ds_monotonic_ns());
}

bool ds_l2_is_refused(int rc)
{
    return rc == DS_EIO || rc == DS_EDENIED;
}

int ds_l2_errno(int error)
{
    switch (error) {
    case ENOENT:
        return DS_ENOTFOUND;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return DS_ENOSPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return DS_EDENIED;
    case ENOMEM:
        return DS_ENOMEM;
    case ESTALE: /* of NFS: the directory was replaced */
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EMFILE:
    case ENFILE:
        return DS_EUNAVAILABLE;
    default:
        return DS_EIO;
    }
}

bool ds_l2_is_gone(const struct ds_l2_meta *meta, int64_t now_unix_ns)
{
    return (meta->flags & DS_L2_TOMBSTONE) != 0 ||
           (meta->expiry_unix_ns != 0 && meta->expiry_unix_ns <= now_unix_ns);
}
