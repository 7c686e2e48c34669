/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/l2_value.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/sys_file.h"
#include "shm/window.h"

static int read_span(struct ds_l2_call *call, const struct ds_l2_span *span, uint64_t at,
                     uint8_t *buf, size_t size)
{
    int rc = 0;

    ds_l2_moved(call);
    if (span->fd < 0) {
        memcpy(buf, (const uint8_t *)span->memory + at, size);
    } else {
        rc = ds_sys_pread_all(span->fd, buf, size, span->offset + at);
    }
    return rc == 0 ? 0
                   : ds_l2_fail(call, ds_l2_errno(-rc), "cannot read the value: %s", strerror(-rc));
}

static int write_span(struct ds_l2_call *call, const struct ds_l2_span *span, uint64_t at,
                      const uint8_t *data, size_t size)
{
    int rc = 0;

    ds_l2_moved(call);
    if (span->fd < 0) {
        memcpy((uint8_t *)span->memory + at, data, size);
    } else {
        rc = ds_window_write(span->window, span->fd, span->offset + at, data, size);
    }
    return rc == 0
               ? 0
               : ds_l2_fail(call, ds_l2_errno(-rc), "cannot write the value: %s", strerror(-rc));
}

static int wrong(struct ds_l2_call *call, uint64_t at, uint64_t size)
{
    return ds_l2_fail(call, DS_ECORRUPT, "bytes %llu to %llu of the value do not verify",
                      (unsigned long long)at, (unsigned long long)(at + size));
}

int ds_l2_chunk_make(struct ds_l2_call *call, const struct ds_l2_span *span, uint64_t value_size,
                     uint32_t head_crc, uint64_t i, uint8_t *buf)
{
    struct ds_l2_flow f = {
        .span = span, .value_size = value_size, .head_crc = head_crc, .chunk = i};

    return ds_l2_flow_make(call, &f, buf, ds_l2_chunk_size(value_size, i) + 4);
}

int ds_l2_chunk_take(struct ds_l2_call *call, const struct ds_l2_span *span, uint64_t value_size,
                     uint32_t head_crc, uint64_t i, const uint8_t *buf)
{
    uint64_t size = ds_l2_chunk_size(value_size, i);
    uint64_t at = i * DS_L2_CHUNK;

    DS_ASSERT(i < ds_l2_chunks(value_size));
    if (ds_l2_load_crc(buf + size) != ds_l2_chunk_crc(head_crc, i, buf, size)) {
        return wrong(call, at, size);
    }
    return write_span(call, span, at, buf, size);
}

/* Bytes of a piece that are the value's, or the CRC's, of the chunk under way. */
static size_t flow_step(struct ds_l2_flow *f, size_t size, uint64_t *ret_chunk_size)
{
    uint64_t chunk_size = ds_l2_chunk_size(f->value_size, f->chunk);

    if (f->at == 0) {
        f->crc = ds_l2_chunk_seed(f->head_crc, f->chunk);
    }
    *ret_chunk_size = chunk_size;
    return ds_min_u64(size, (f->at < chunk_size ? chunk_size : chunk_size + 4) - f->at);
}

static void flow_on(struct ds_l2_flow *f, size_t n, uint64_t chunk_size)
{
    f->at += n;
    if (f->at == chunk_size + 4) {
        f->chunk++;
        f->at = 0;
    }
}

int ds_l2_flow_make(struct ds_l2_call *call, struct ds_l2_flow *f, uint8_t *buf, size_t size)
{
    uint64_t chunk_size;

    for (size_t done = 0, n; done < size; done += n) {
        DS_ASSERT(f->chunk < ds_l2_chunks(f->value_size));
        n = flow_step(f, size - done, &chunk_size);
        if (f->at < chunk_size) {
            int rc = read_span(call, f->span, f->chunk * DS_L2_CHUNK + f->at, buf + done, n);

            if (rc < 0) {
                return rc;
            }
            f->crc = ds_crc32c(f->crc, buf + done, n); /* of the copy, whatever comes after it */
        } else {
            ds_l2_store_crc(f->stored, f->crc);
            memcpy(buf + done, f->stored + (f->at - chunk_size), n);
        }
        flow_on(f, n, chunk_size);
    }
    return 0;
}

int ds_l2_flow_take(struct ds_l2_call *call, struct ds_l2_flow *f, const uint8_t *data, size_t size)
{
    uint64_t chunk_size;

    for (size_t done = 0, n; done < size; done += n) {
        if (f->chunk >= ds_l2_chunks(f->value_size)) {
            return ds_l2_fail(call, DS_ECORRUPT, "there is more than the value");
        }
        n = flow_step(f, size - done, &chunk_size);
        if (f->at < chunk_size) {
            int rc = write_span(call, f->span, f->chunk * DS_L2_CHUNK + f->at, data + done, n);

            if (rc < 0) {
                return rc;
            }
            f->crc = ds_crc32c(f->crc, data + done, n);
        } else {
            memcpy(f->stored + (f->at - chunk_size), data + done, n);
            if (f->at + n == chunk_size + 4 && ds_l2_load_crc(f->stored) != f->crc) {
                return wrong(call, f->chunk * DS_L2_CHUNK, chunk_size);
            }
        }
        flow_on(f, n, chunk_size);
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
