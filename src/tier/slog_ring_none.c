/* SPDX-License-Identifier: Apache-2.0 */
/* Without liburing: every read goes to a thread. */
#include "tier/slog_ring.h"

struct slog_ring *ds_slog_ring_open(int event_fd, int fd)
{
    (void)event_fd;
    (void)fd;
    return NULL;
}

bool ds_slog_ring_read(struct slog_ring *r, struct slog_op *op, int fd, uint64_t offset,
                       uint64_t size)
{
    (void)r;
    (void)op;
    (void)fd;
    (void)offset;
    (void)size;
    return false;
}

void ds_slog_ring_submit(struct slog_ring *r)
{
    (void)r;
}

bool ds_slog_ring_news(const struct slog_ring *r)
{
    (void)r;
    return false;
}

struct slog_op *ds_slog_ring_reap(struct slog_ring *r, uint8_t **ret, ssize_t *ret_n)
{
    (void)r;
    (void)ret;
    (void)ret_n;
    return NULL;
}

void ds_slog_ring_release(struct slog_ring *r, struct slog_op *op)
{
    (void)r;
    (void)op;
}

void ds_slog_ring_close(struct slog_ring *r, struct slog_ops *ret)
{
    (void)r;
    (void)ret;
}
