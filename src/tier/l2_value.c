/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/l2_value.h"

#include <string.h>

#include "base/sys_file.h"

int ds_l2_chunk_make(struct ds_l2_call *call, const struct ds_l2_span *span, uint64_t value_size,
                     uint32_t head_crc, uint64_t i, uint8_t *buf)
{
    uint64_t size = ds_l2_chunk_size(value_size, i);
    uint64_t at = i * DS_L2_CHUNK;

    DS_ASSERT(i < ds_l2_chunks(value_size));
    ds_l2_moved(call);
    if (span->fd < 0) {
        memcpy(buf, (const uint8_t *)span->memory + at, size);
    } else {
        int rc = ds_sys_pread_all(span->fd, buf, size, span->offset + at);

        if (rc < 0) {
            return ds_l2_fail(call, ds_l2_errno(-rc), "cannot read the value: %s", strerror(-rc));
        }
    }
    ds_l2_store_crc(buf + size, ds_l2_chunk_crc(head_crc, i, buf, size));
    return 0;
}

int ds_l2_chunk_take(struct ds_l2_call *call, const struct ds_l2_span *span, uint64_t value_size,
                     uint32_t head_crc, uint64_t i, const uint8_t *buf)
{
    uint64_t size = ds_l2_chunk_size(value_size, i);
    uint64_t at = i * DS_L2_CHUNK;

    DS_ASSERT(i < ds_l2_chunks(value_size));
    ds_l2_moved(call);
    if (ds_l2_load_crc(buf + size) != ds_l2_chunk_crc(head_crc, i, buf, size)) {
        return ds_l2_fail(call, DS_ECORRUPT, "bytes %llu to %llu of the value do not verify",
                          (unsigned long long)at, (unsigned long long)(at + size));
    }
    if (span->fd < 0) {
        memcpy((uint8_t *)span->memory + at, buf, size);
    } else {
        int rc = ds_sys_pwrite_all(span->fd, buf, size, span->offset + at);

        if (rc < 0) {
            return ds_l2_fail(call, ds_l2_errno(-rc), "cannot write the value: %s", strerror(-rc));
        }
    }
    return 0;
}

int ds_l2_head_check(struct ds_l2_call *call, const char *name, const void *key, uint32_t key_size,
                     const uint8_t *buf, size_t size, uint64_t object_size, struct ds_l2_head *ret)
{
    char own[DS_L2_NAME_MAX + 1];
    char found[DS_L2_NAME_MAX + 1];
    int rc = ds_l2_head_decode(buf, size, object_size, ret);

    if (rc == DS_EVERSION) {
        return ds_l2_fail(call, rc, "%s was written by a newer version: upgrade this program",
                          name);
    }
    if (rc < 0) {
        return ds_l2_fail(call, rc, "%s does not verify: header or size is damaged", name);
    }
    if (ret->key_size == key_size && memcmp(ret->key, key, key_size) == 0) {
        return 0;
    }
    (void)ds_l2_name(key, key_size, own);
    (void)ds_l2_name(ret->key, ret->key_size, found);
    if (strcmp(own, found) == 0) {
        return ds_l2_fail(call, DS_ENOTFOUND, "%s belongs to another key of the same hash", name);
    }
    return ds_l2_fail(call, DS_ECORRUPT, "%s holds another key: it was moved or swapped", name);
}

int ds_l2_list_tell(const struct ds_l2_lister *l, struct ds_l2_entry *e, const struct ds_l2_head *h)
{
    if (e->status == DS_ENOTFOUND) {
        return 0;
    }
    if (e->status < 0 && e->status != DS_ECORRUPT && e->status != DS_EVERSION &&
        !ds_l2_is_refused(e->status)) {
        return e->status;
    }
    if (e->status == 0) {
        e->key = h->key;
        e->key_size = h->key_size;
        e->meta = h->meta;
    }
    return l->each(l->arg, e);
}

int ds_l2_gc_go_on(struct ds_l2_gc *gc, int rc)
{
    gc->refused += ds_l2_is_refused(rc);
    return ds_l2_is_refused(rc) ? 0 : rc;
}
