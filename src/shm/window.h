/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h - a mapping of the data segment for threads that write values into it.
 *
 * A write call into a memfd takes the lock of its inode and looks up each page: half of what it
 * costs to read a value back. A plain copy does neither, but clients may punch holes into the
 * segment, and a store into a page that the kernel cannot provide raises SIGBUS. So copies are
 * guarded: a fault ends the copy, and the write call, which is told of an error instead, takes its
 * place.
 *
 * Pages are entered into the page table as they are written. A table of all of a large segment
 * would make the end of the process, and so a restart, wait for its removal: beyond a limit pages
 * leave the table again, in the order of a clock, a region at a time.
 *
 * Nothing is ever read through it: what clients may change is read by system call, into a copy.
 *
 * Ownership: the descriptor stays the caller's, and outlives the window.
 * Threads:   ds_window_write() from any thread; open and close from one, alone. The first open
 *            installs the process's handler for SIGBUS: one that no copy has raised ends the
 *            process as before.
 */
#ifndef DS_SHM_WINDOW_H
#define DS_SHM_WINDOW_H

#include "base/base.h"

#define DS_WINDOW_REGION (UINT64_C(2) << 20)

struct ds_window;

/* `table_max`: bytes that are in the page table at a time, about; at least two regions. NULL: no
 * memory, or the system does not map it. */
struct ds_window *ds_window_open(int fd, uint64_t size, uint64_t table_max);
void ds_window_close(struct ds_window *w); /* NULL is a no-op */

/* Writes all of it at `offset` of `fd`, the descriptor of the window; w NULL: by system call. 0 or
 * -errno. */
DS_MUST_USE int ds_window_write(struct ds_window *w, int fd, uint64_t offset, const void *data,
                                size_t size);

#endif
