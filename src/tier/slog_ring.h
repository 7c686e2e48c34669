/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slog_ring.h - small reads without a thread: io_uring, where the build and the kernel have it.
 *
 * Threads: the owner's only. slog_ring_uring.c or, without liburing, slog_ring_none.c.
 */
#ifndef DS_TIER_SLOG_RING_H
#define DS_TIER_SLOG_RING_H

#include "tier/slog_internal.h"

#define SLOG_RING_BYTES_MAX (64u << 10) /* of a record that is read this way */

struct slog_ring;

/* NULL where it does not work, which a real read of `fd` (4 bytes or more) decides. Completions
 * make `event_fd` readable. */
struct slog_ring *ds_slog_ring_open(int event_fd, int fd);

/* Begins to read [offset, offset + size) of fd for op; false: no slot is free, or it is too large.
 */
bool ds_slog_ring_read(struct slog_ring *r, struct slog_op *op, int fd, uint64_t offset,
                       uint64_t size);
void ds_slog_ring_submit(struct slog_ring *r);

/* Whether ds_slog_ring_reap() has something to give. */
bool ds_slog_ring_news(const struct slog_ring *r);

/* The next operation that is done, and what was read: its bytes or -errno in *ret_n, valid until
 * ds_slog_ring_release(). NULL: none. */
struct slog_op *ds_slog_ring_reap(struct slog_ring *r, uint8_t **ret, ssize_t *ret_n);
void ds_slog_ring_release(struct slog_ring *r, struct slog_op *op);

/* Waits for what is under way; gives the operations back. NULL is a no-op. */
void ds_slog_ring_close(struct slog_ring *r, struct slog_ops *ret);

#endif
