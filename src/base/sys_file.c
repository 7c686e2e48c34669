/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sys_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/failpoint.h"

int ds_sys_openat(int dir, const char *path, int flags, mode_t mode)
{
    int fd = ds_failpoint("sys.openat");

    if (fd < 0) {
        return fd;
    }
    do {
        fd = openat(dir, path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

int ds_sys_mkdirat(int dir, const char *path, mode_t mode)
{
    int rc = ds_failpoint("sys.mkdirat");

    return rc < 0 ? rc : mkdirat(dir, path, mode) < 0 ? -errno : 0;
}

int ds_sys_renameat(int dir, const char *from, const char *to)
{
    int rc = ds_failpoint("sys.renameat");

    return rc < 0 ? rc : renameat(dir, from, dir, to) < 0 ? -errno : 0;
}

int ds_sys_unlinkat(int dir, const char *path)
{
    int rc = ds_failpoint("sys.unlinkat");

    return rc < 0 ? rc : unlinkat(dir, path, 0) < 0 ? -errno : 0;
}

int ds_sys_fstat(int fd, struct stat *ret)
{
    int rc = ds_failpoint("sys.fstat");

    return rc < 0 ? rc : fstat(fd, ret) < 0 ? -errno : 0;
}

int ds_sys_fsync(int fd)
{
    int rc = ds_failpoint("sys.fsync");

    if (rc < 0) {
        return rc;
    }
    do {
        rc = fsync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int ds_sys_fdatasync(int fd)
{
    int rc = ds_failpoint("sys.fdatasync");

    if (rc < 0) {
        return rc;
    }
    do {
        rc = fdatasync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

static int sync_directory(const char *path)
{
    int fd = ds_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    int rc = fd < 0 ? fd : ds_sys_fsync(fd);

    if (fd >= 0) {
        (void)close(fd);
    }
    return rc == -EACCES || rc == -EPERM || rc == -EINVAL || rc == -EROFS ? 0 : rc;
}

int ds_sys_sync_parents(const char *path)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    int rc = path[0] == '/' ? 0 : sync_directory(".");

    if (n >= sizeof(part)) {
        return -ENAMETOOLONG;
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (path[i] == '/') {
            memcpy(part, path, i + 1);
            part[i + 1] = '\0';
            rc = sync_directory(part);
        }
    }
    return rc;
}

void ds_sys_start_writeback(int fd)
{
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static ssize_t pread_once(int fd, void *buf, size_t size, uint64_t offset)
{
    ssize_t n = ds_failpoint("sys.pread");

    if (n < 0) {
        return n;
    }
    if (size > 1 && ds_failpoint("sys.pread.short") < 0) {
        size /= 2;
    }
    do {
        n = pread(fd, buf, size, (off_t)offset);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t ds_sys_pread_some(int fd, void *buf, size_t size, uint64_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread_once(fd, (uint8_t *)buf + done, size - done, offset + done);

        if (n <= 0) {
            return n < 0 ? n : (ssize_t)done;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int ds_sys_pread_all(int fd, void *buf, size_t size, uint64_t offset)
{
    ssize_t n = ds_sys_pread_some(fd, buf, size, offset);

    return n < 0 ? (int)n : (size_t)n < size ? -EIO : 0;
}

static ssize_t pwrite_once(int fd, const void *buf, size_t size, uint64_t offset)
{
    ssize_t n = ds_failpoint("sys.pwrite");

    if (n < 0) {
        return n;
    }
    if (size > 1 && ds_failpoint("sys.pwrite.short") < 0) {
        size /= 2;
    }
    do {
        n = pwrite(fd, buf, size, (off_t)offset);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int ds_sys_pwrite_all(int fd, const void *buf, size_t size, uint64_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pwrite_once(fd, (const uint8_t *)buf + done, size - done, offset + done);

        if (n <= 0) {
            return n < 0 ? (int)n : -EIO;
        }
        done += (size_t)n;
    }
    return 0;
}

int ds_sys_lock_byte(int fd, uint64_t offset)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    int rc = ds_failpoint("sys.lock_byte");

    if (rc < 0) {
        return rc;
    }
    lock.l_start = (off_t)(offset & INT64_MAX) >> 1; /* l_start + l_len must not wrap */
    do {
        rc = fcntl(fd, F_OFD_SETLKW, &lock);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int ds_sys_try_lock(int fd)
{
    int rc = ds_failpoint("sys.try_lock");

    return rc < 0 ? rc : flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

const char *ds_sys_file_advice(int error)
{
    switch (error) {
    case ENOENT:
        return "; make it, or what a symbolic link in its path leads to";
    case ENOTDIR:
        return "; a file is in its place: move that away, or choose another directory";
    case ELOOP:
        return "; a symbolic link in its path leads back to itself";
    case EROFS:
        return "; make its file system writable, or choose another directory";
    case EACCES:
    case EPERM:
        return "; let the user of the worker read, write and search it (chown, chmod, also those "
               "above it)";
    case ENOSPC:
        return "; make room there, or inodes ('df -i'), or choose another directory";
    case EDQUOT:
        return "; raise the quota there, of bytes or of files, or choose another directory";
    case ENAMETOOLONG:
        return "; choose a shorter path: each name in it has at most 255 bytes";
    case EMFILE:
    case ENFILE:
        return "; raise the limit of open files (ulimit -n)";
    case EIO:
        return "; see the system log for errors of the disk";
    default:
        return "";
    }
}

const char *ds_sys_show_path(const char *path, char buf[DS_SYS_SHOWN_MAX])
{
    size_t n = strlen(path);
    size_t half = (DS_SYS_SHOWN_MAX - 1 - 3) / 2;

    if (n < DS_SYS_SHOWN_MAX) {
        return path;
    }
    (void)snprintf(buf, DS_SYS_SHOWN_MAX, "%.*s...%s", (int)half, path, path + n - half);
    return buf;
}
