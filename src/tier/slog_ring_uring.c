/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "tier/slog_ring.h"
#include "tier/uring.h"

#define DEPTH 64u
#define BUFFER (SLOG_RING_BYTES_MAX + 2 * SLOG_BLOCK)

struct slog_ring {
    struct io_uring ring;
    uint8_t *buffers;     /* DEPTH of them; touched as deep as the queue gets */
    uint16_t free[DEPTH]; /* a stack of those not in use */
    unsigned n_free;
    unsigned unsubmitted;
};

static void close_ring(struct slog_ring *r)
{
    io_uring_queue_exit(&r->ring);
    ds_sys_unmap(r->buffers, (uint64_t)DEPTH * BUFFER);
    ds_free(r);
}

static bool try_read(struct slog_ring *r, int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
    struct io_uring_cqe *cqe;
    bool works;

    io_uring_prep_read(sqe, fd, r->buffers, 4, 0);
    if (io_uring_submit(&r->ring) != 1 || io_uring_wait_cqe(&r->ring, &cqe) < 0) {
        return false;
    }
    works = cqe->res == 4;
    io_uring_cqe_seen(&r->ring, cqe);
    return works;
}

struct slog_ring *ds_slog_ring_open(int event_fd, int fd)
{
    struct slog_ring *r;

    if (ds_failpoint("slog.ring.open") < 0) {
        return NULL;
    }
    r = ds_zalloc(sizeof(*r), "slog ring");
    if (r == NULL) {
        return NULL;
    }
    if (io_uring_queue_init(DEPTH, &r->ring, 0) < 0) {
        ds_free(r);
        return NULL;
    }
    r->buffers = ds_sys_map_private((uint64_t)DEPTH * BUFFER);
    if (r->buffers == NULL || !try_read(r, fd) ||
        io_uring_register_eventfd(&r->ring, event_fd) < 0) {
        close_ring(r);
        return NULL;
    }
    while (r->n_free < DEPTH) {
        r->free[r->n_free] = (uint16_t)r->n_free;
        r->n_free++;
    }
    return r;
}

bool ds_slog_ring_read(struct slog_ring *r, struct slog_op *op, int fd, uint64_t offset,
                       uint64_t size)
{
    struct io_uring_sqe *sqe;

    if (r->n_free == 0 || size > BUFFER) {
        return false;
    }
    sqe = io_uring_get_sqe(&r->ring);
    if (sqe == NULL) {
        return false;
    }
    op->buffer = r->free[--r->n_free];
    io_uring_prep_read(sqe, fd, r->buffers + (uint64_t)op->buffer * BUFFER, (unsigned)size, offset);
    io_uring_sqe_set_data(sqe, op);
    r->unsubmitted++;
    return true;
}

/* What the kernel does not take now stays queued for the next call. */
void ds_slog_ring_submit(struct slog_ring *r)
{
    if (r->unsubmitted > 0) {
        int n = io_uring_submit(&r->ring);

        r->unsubmitted -= n > 0 ? (unsigned)n : 0;
    }
}

bool ds_slog_ring_news(const struct slog_ring *r)
{
    return io_uring_cq_ready(&r->ring) > 0;
}

struct slog_op *ds_slog_ring_reap(struct slog_ring *r, uint8_t **ret, ssize_t *ret_n)
{
    struct io_uring_cqe *cqe;
    struct slog_op *op;
    int rc = 0;

    if (io_uring_peek_cqe(&r->ring, &cqe) != 0) {
        return NULL;
    }
    op = io_uring_cqe_get_data(cqe);
    rc = ds_failpoint("slog.ring.read");
    *ret_n = rc < 0 ? rc : cqe->res;
    *ret = r->buffers + (uint64_t)op->buffer * BUFFER;
    io_uring_cqe_seen(&r->ring, cqe);
    return op;
}

void ds_slog_ring_release(struct slog_ring *r, struct slog_op *op)
{
    r->free[r->n_free++] = (uint16_t)op->buffer;
}

void ds_slog_ring_close(struct slog_ring *r, struct slog_ops *ret)
{
    if (r == NULL) {
        return;
    }
    ds_slog_ring_submit(r);
    while (r->n_free < DEPTH && r->unsubmitted == 0) {
        struct io_uring_cqe *cqe;
        struct slog_op *op;
        uint8_t *bytes;
        ssize_t n;
        int rc = io_uring_wait_cqe(&r->ring, &cqe);

        if (rc < 0 && rc != -EINTR) {
            break;
        }
        op = ds_slog_ring_reap(r, &bytes, &n);
        if (op != NULL) {
            ds_slog_ring_release(r, op);
            slog_push(ret, op);
        }
    }
    close_ring(r);
}
