/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment.h"

#include <errno.h>

#include "base/sys.h"

#define STEP_MIN (64u * 1024)
#define STEP_MAX (4u * 1024 * 1024)
#define SPARE (UINT64_C(16) << 20) /* what grows along: descriptors, buckets, private tables */

static int code_of(int negative_errno)
{
    return negative_errno == -ENOMEM || negative_errno == -ENOSPC ? DS_ENOMEM : DS_EIO;
}

int ds_segment_create(const char *name, uint64_t size, struct ds_segment *ret)
{
    void *base = NULL;
    int rc;
    int fd = ds_sys_memfd_sealed(name, size);

    DS_ASSERT(size > 0 && size % DS_PAGE_SIZE == 0);
    if (fd < 0) {
        return code_of(fd);
    }
    rc = ds_sys_map(fd, size, true, &base);
    if (rc < 0) {
        ds_sys_close(fd);
        return code_of(rc);
    }
    *ret = (struct ds_segment){base, size, fd, true};
    return 0;
}

int ds_segment_attach(int fd, uint64_t size_min, bool writable, struct ds_segment *ret)
{
    uint64_t size = 0;
    void *base = NULL;
    int rc = ds_sys_memfd_size(fd, &size);

    if (rc == -EINVAL || (rc == 0 && (size < size_min || size == 0))) {
        return DS_ECORRUPT;
    }
    if (rc == 0) {
        rc = ds_sys_map(fd, size, writable, &base);
    }
    if (rc < 0) {
        return code_of(rc);
    }
    *ret = (struct ds_segment){base, size, fd, writable};
    return 0;
}

void ds_segment_close(struct ds_segment *seg)
{
    if (seg->base != NULL) {
        ds_sys_unmap(seg->base, seg->size);
        ds_sys_close(seg->fd);
        *seg = (struct ds_segment){.fd = -1};
    }
}

int ds_segment_reserve(struct ds_segment *seg, uint64_t offset, uint64_t size)
{
    int rc;

    DS_ASSERT(offset <= seg->size && size <= seg->size - offset);
    rc = ds_sys_reserve(seg->fd, offset, size);
    if (rc < 0) {
        return code_of(rc);
    }
    ds_sys_populate(seg->base + offset, size, true);
    return 0;
}

bool ds_segment_may_grow(uint64_t bytes)
{
    return ds_sys_memory_available() >= bytes + SPARE;
}

int ds_area_need(struct ds_area *area, uint64_t bytes)
{
    uint64_t step;
    int rc;

    if (DS_LIKELY(bytes <= area->ready)) {
        return 0;
    }
    if (bytes > area->size) {
        return DS_ENOMEM;
    }
    step = ds_min_u64(ds_max_u64(area->ready / 8, STEP_MIN), STEP_MAX);
    bytes = ds_align_up(ds_max_u64(bytes, area->ready + step), DS_PAGE_SIZE);
    bytes = ds_min_u64(bytes, area->size);
    rc = ds_segment_reserve(area->seg, area->offset + area->ready, bytes - area->ready);
    if (rc == 0) {
        area->ready = bytes;
    }
    return rc;
}
