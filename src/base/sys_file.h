/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_file.h - the door to the operating system for files, beside sys.h.
 *
 * As there: every function returns what the system call returns, with -errno instead of -1 and
 * errno, goes on after EINTR, and has the failpoint "sys.<name>". "sys.pread.short" and
 * "sys.pwrite.short" halve the size of that call instead of failing it.
 */
#ifndef DS_BASE_SYS_FILE_H
#define DS_BASE_SYS_FILE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "base/base.h"

/* Close-on-exec. `dir` may be AT_FDCWD. */
DS_MUST_USE int ds_sys_openat(int dir, const char *path, int flags, mode_t mode);
int ds_sys_mkdirat(int dir, const char *path, mode_t mode);
DS_MUST_USE int ds_sys_renameat(int dir, const char *from, const char *to);
int ds_sys_unlinkat(int dir, const char *path);
DS_MUST_USE int ds_sys_fstat(int fd, struct stat *ret);
DS_MUST_USE int ds_sys_fsync(int fd);

/* What reading the file back needs; of directories only fsync makes names durable. */
DS_MUST_USE int ds_sys_fdatasync(int fd);

/* Makes the name of `path` durable, and those of the directories that it is in: what is synced in a
 * new directory is lost with it otherwise. Directories that cannot be read or synced at all are
 * passed over: they are not ours. */
DS_MUST_USE int ds_sys_sync_parents(const char *path);

/* Starts writing dirty pages to the disk without waiting. Best effort. */
void ds_sys_start_writeback(int fd);

/* All of `size` bytes: 0, -EIO where the file ends before, or -errno. */
DS_MUST_USE int ds_sys_pread_all(int fd, void *buf, size_t size, uint64_t offset);
DS_MUST_USE int ds_sys_pwrite_all(int fd, const void *buf, size_t size, uint64_t offset);

/* At most `size` bytes, fewer only at the end of the file: their number, or -errno. */
DS_MUST_USE ssize_t ds_sys_pread_some(int fd, void *buf, size_t size, uint64_t offset);

/* Waits for an exclusive lock of one byte of a file, which belongs to this opening of it
 * (F_OFD_SETLKW, so that threads exclude each other too) and ends with its close. */
DS_MUST_USE int ds_sys_lock_byte(int fd, uint64_t offset);

/* What the owner of a directory or file can do when it cannot be used, to be put behind strerror():
 * "; make room ...". "" where there is no more to say. */
const char *ds_sys_file_advice(int error);

/* A path to be shown: itself, or beginning and end of a long one, written to buf. */
#define DS_SYS_SHOWN_MAX 129
const char *ds_sys_show_path(const char *path, char buf[DS_SYS_SHOWN_MAX]);

/* A lock of the whole file, without waiting: -EWOULDBLOCK when somebody else has it. */
DS_MUST_USE int ds_sys_try_lock(int fd);

#endif
