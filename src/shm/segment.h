/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h - one shared-memory segment: a sealed memfd and its mapping, and areas of it that get
 * memory step by step ahead of use.
 *
 * Ownership: a segment owns its descriptor and its mapping; close it once.
 * Threads:   a segment is constant after create or attach; an area needs the caller's exclusion.
 * Errors:    0 or a negative DS_E* code.
 */
#ifndef DS_SHM_SEGMENT_H
#define DS_SHM_SEGMENT_H

#include "base/base.h"

struct ds_segment {
    uint8_t *base; /* NULL: closed */
    uint64_t size;
    int fd;
    bool writable;
};

/* A new sealed memfd, mapped read-write; no page of it is touched. DS_ENOMEM, DS_EIO. */
DS_MUST_USE int ds_segment_create(const char *name, uint64_t size, struct ds_segment *ret);

/* Maps a descriptor that came from somewhere else and takes it over on success. DS_ECORRUPT: it is
 * not sealed against shrinking, or smaller than `size_min`. */
DS_MUST_USE int ds_segment_attach(int fd, uint64_t size_min, bool writable, struct ds_segment *ret);

void ds_segment_close(struct ds_segment *seg); /* a closed one is a no-op */

/* Puts memory behind [offset, offset + size) and enters it into the page table: what is reserved is
 * never a SIGBUS. DS_ENOMEM. */
DS_MUST_USE int ds_segment_reserve(struct ds_segment *seg, uint64_t offset, uint64_t size);

/* Whether so many bytes more are worth asking for. Beyond the limit of a control group the kernel
 * ends somebody instead of refusing: whoever grows on somebody's wish looks first. Recovery must
 * not: its pages are there already. Reads files of /proc and /sys. */
bool ds_segment_may_grow(uint64_t bytes);

/* A part of a segment that is used from its start and grows. */
struct ds_area {
    struct ds_segment *seg;
    uint64_t offset;
    uint64_t size;
    uint64_t ready; /* bytes from `offset` that have memory behind them */
};

/* The first `bytes` of the area have memory afterwards (and some more, in growing steps). */
DS_MUST_USE int ds_area_need(struct ds_area *area, uint64_t bytes);

#endif
