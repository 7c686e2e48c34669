/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_dir_root.c - the directory and its shards: opened once, and anew when they were replaced.
 *
 * Descriptors outlive what they name: after `rm -rf` and `mkdir` of the directory, or when an NFS
 * server has made another one of it, they lead nowhere, for good. A call that fails so looks
 * whether that is the reason, opens the path anew and begins again, once. Other threads may be
 * using the old descriptors meanwhile: they are closed by the last of them.
 *
 * The path itself is not made again, and an empty directory on another file system is not used:
 * below a mount point that lost its mount is another disk, which nobody sees once it is mounted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/sys_file.h"
#include "tier/l2_dir.h"

#define FORMAT_NAME "FORMAT"
#define FORMAT_TEXT "dsL2dir 1\n"
#define LOOK_NS INT64_C(1000000000) /* between two looks at the room */

void ds_l2_dir_tell(char *err, size_t err_size, int error, const char *what, const char *path)
{
    char shown[DS_SYS_SHOWN_MAX];

    (void)snprintf(err, err_size, "cannot %s %s: %s%s", what, ds_sys_show_path(path, shown),
                   strerror(error), ds_sys_file_advice(error));
}

/* All shards at once, for one sync. What fails here is made, or fails, at the first put. */
static void make_shards(int root)
{
    for (unsigned i = 0; i < DS_L2_DIR_SHARDS; i++) {
        char name[3];

        (void)snprintf(name, sizeof(name), "%02x", i);
        (void)ds_sys_mkdirat(root, name, 0700);
    }
}

/* A worker was killed, or the power failed, while it was written; or another one is at it now. */
static bool is_unfinished(const char *text, size_t n)
{
    size_t i = 0;

    while (i < n && i < sizeof(FORMAT_TEXT) - 1 && (text[i] == FORMAT_TEXT[i] || text[i] == '\0')) {
        i++;
    }
    return i == n && memcmp(text, FORMAT_TEXT, sizeof(FORMAT_TEXT) - 1) != 0;
}

/* Who sees a FORMAT, of whomever, may take it that the directory itself and the shards in it are
 * durable. */
static int make_format(int root, const char *path)
{
    int fd;
    int rc = ds_sys_sync_parents(path);

    if (rc < 0) {
        return rc;
    }
    make_shards(root);
    rc = ds_sys_fsync(root);
    if (rc < 0) {
        return rc;
    }
    fd = ds_sys_openat(root, FORMAT_NAME, O_RDWR | O_CREAT, 0600);
    rc = fd < 0 ? fd : ds_sys_pwrite_all(fd, FORMAT_TEXT, sizeof(FORMAT_TEXT) - 1, 0);
    rc = rc < 0 ? rc : ds_sys_fsync(fd);
    rc = rc < 0 ? rc : ds_sys_fsync(root);
    ds_sys_close(fd);
    return rc;
}

/* Whether FORMAT is ours; made if it is missing. */
static int check_format(int root, const char *path, char *err, size_t err_size)
{
    char text[sizeof(FORMAT_TEXT) + 16] = "";
    char shown[DS_SYS_SHOWN_MAX];
    int fd = ds_sys_openat(root, FORMAT_NAME, O_RDONLY, 0);
    ssize_t n = fd < 0 ? fd : ds_sys_pread_some(fd, text, sizeof(text) - 1, 0);
    int rc;

    ds_sys_close(fd);
    if (fd == -ENOENT || (n >= 0 && is_unfinished(text, (size_t)n))) {
        rc = make_format(root, path);
        if (rc < 0) {
            ds_l2_dir_tell(err, err_size, -rc, "write in", path);
        }
        return rc < 0 ? ds_l2_errno(-rc) : 0;
    }
    if (n < 0) {
        ds_l2_dir_tell(err, err_size, (int)-n, "read the file '" FORMAT_NAME "' in", path);
        return ds_l2_errno((int)-n);
    }
    if (strncmp(text, FORMAT_TEXT, (size_t)n) != 0) {
        (void)snprintf(err, err_size,
                       "%s/" FORMAT_NAME " is not '%.*s': the directory belongs to another program "
                       "or version; choose another one",
                       ds_sys_show_path(path, shown), (int)sizeof(FORMAT_TEXT) - 2, FORMAT_TEXT);
        return DS_EVERSION;
    }
    return 0;
}

/* One with a FORMAT is storage, wherever it is. */
static bool is_bare(int fd)
{
    struct stat st;
    int format = ds_sys_openat(fd, FORMAT_NAME, O_RDONLY, 0);
    bool bare =
        format == -ENOENT || (format >= 0 && ds_sys_fstat(format, &st) == 0 && st.st_size == 0);

    ds_sys_close(format);
    return bare;
}

int ds_l2_dir_root_open(const char *path, const struct ds_l2_dir_root *before, bool existing,
                        char *err, size_t err_size, struct ds_l2_dir_root **ret)
{
    struct ds_l2_dir_root *root;
    char shown[DS_SYS_SHOWN_MAX];
    struct stat st;
    int fd = ds_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    int rc;

    if (fd < 0) {
        ds_l2_dir_tell(err, err_size, -fd, "open directory", path);
        return fd == -ENOENT || fd == -ENOTDIR ? DS_EINVAL : ds_l2_errno(-fd);
    }
    rc = ds_sys_fstat(fd, &st);
    if (rc < 0) {
        ds_l2_dir_tell(err, err_size, -rc, "look at directory", path);
        rc = ds_l2_errno(-rc);
        goto err_close;
    }
    if (before != NULL && before->dev != st.st_dev && is_bare(fd)) {
        (void)snprintf(err, err_size, "the file system at %s is another one",
                       ds_sys_show_path(path, shown));
        rc = DS_EUNAVAILABLE;
        goto err_close;
    }
    if (existing && is_bare(fd)) {
        (void)snprintf(
            err, err_size,
            "%s is empty: mount what belongs there; to begin anew with it as it is, list "
            "it once with 'dscli l2 ls'",
            ds_sys_show_path(path, shown));
        rc = DS_EUNAVAILABLE;
        goto err_close;
    }
    rc = check_format(fd, path, err, err_size);
    if (rc < 0) {
        goto err_close;
    }
    root = ds_zalloc(sizeof(*root), "l2 directory");
    if (root == NULL) {
        (void)snprintf(err, err_size, "no memory");
        rc = DS_ENOMEM;
        goto err_close;
    }
    root->fd = fd;
    root->dev = st.st_dev;
    root->users = 1;
    for (int i = 0; i < DS_L2_DIR_SHARDS; i++) {
        atomic_init(&root->shards[i], -1);
    }
    *ret = root;
    return 0;

err_close:
    ds_sys_close(fd);
    return rc;
}

static void release(struct ds_l2_dir_root *root)
{
    if (--root->users > 0) {
        return;
    }
    for (int i = 0; i < DS_L2_DIR_SHARDS; i++) {
        ds_sys_close(atomic_load(&root->shards[i]));
    }
    ds_sys_close(root->fd);
    ds_free(root);
}

/* By calls, which may block where the file system does; whoever wants to know must not. */
static void look_at_space(struct ds_l2_dir *dir, const struct ds_l2_dir_root *root)
{
    int64_t now = ds_monotonic_ns();
    int64_t next = atomic_load(&dir->look_ns);
    struct statvfs fs;

    if (now >= next && atomic_compare_exchange_strong(&dir->look_ns, &next, now + LOOK_NS) &&
        fstatvfs(root->fd, &fs) == 0) {
        atomic_store(&dir->capacity, (uint64_t)fs.f_blocks * fs.f_frsize);
        atomic_store(&dir->free, (uint64_t)fs.f_bavail * fs.f_frsize);
    }
}

/* Some file systems have no figures: their capacity is 0. */
void ds_l2_dir_space(struct ds_l2 *l2, struct ds_l2_space *ret)
{
    struct ds_l2_dir *dir = (struct ds_l2_dir *)l2;

    ret->capacity = atomic_load(&dir->capacity);
    ret->free = atomic_load(&dir->free);
}

struct ds_l2_dir_root *ds_l2_dir_enter(struct ds_l2_dir *dir)
{
    struct ds_l2_dir_root *root;

    (void)pthread_mutex_lock(&dir->lock);
    root = dir->root;
    root->users++;
    (void)pthread_mutex_unlock(&dir->lock);
    look_at_space(dir, root);
    return root;
}

void ds_l2_dir_leave(struct ds_l2_dir *dir, struct ds_l2_dir_root *root)
{
    (void)pthread_mutex_lock(&dir->lock);
    release(root);
    (void)pthread_mutex_unlock(&dir->lock);
}

static bool leads_nowhere(int fd)
{
    struct stat st;
    int rc = fd < 0 ? 0 : ds_sys_fstat(fd, &st);

    return fd >= 0 && (rc == -ESTALE || (rc == 0 && st.st_nlink == 0));
}

bool ds_l2_dir_again(struct ds_l2_dir *dir, struct ds_l2_call *call, struct ds_l2_dir_root *root,
                     uint8_t shard, int *rc)
{
    struct ds_l2_dir_root *anew;
    char err[DS_L2_ERROR_SIZE];
    int opened = 0;

    if (*rc != DS_ENOTFOUND && *rc != DS_EUNAVAILABLE) {
        return false;
    }
    (void)pthread_mutex_lock(&dir->lock);
    if (dir->root == root) { /* else another thread has done it */
        if (!leads_nowhere(root->fd) && !leads_nowhere(atomic_load(&root->shards[shard]))) {
            (void)pthread_mutex_unlock(&dir->lock);
            return false;
        }
        opened = ds_l2_dir_root_open(dir->path, root, false, err, sizeof(err), &anew);
        if (opened == 0) {
            dir->root = anew;
            release(root);
            ds_log(DS_LOG_WARNING,
                   "second-level storage: %s was removed or replaced while in use. It is opened "
                   "anew; what it held before is gone",
                   dir->path);
        }
    }
    (void)pthread_mutex_unlock(&dir->lock);
    if (opened < 0) {
        *rc = ds_l2_fail(call, DS_EUNAVAILABLE,
                         "the directory was removed, or its mount is lost: mount it again, or "
                         "make it; %.240s",
                         err);
    }
    return opened == 0;
}

bool ds_l2_dir_is_well(const struct ds_l2_dir_root *root)
{
    char text[sizeof(FORMAT_TEXT) - 1];
    int fd = ds_sys_openat(root->fd, FORMAT_NAME, O_RDONLY, 0); /* NFS asks its server for that */
    bool well = fd >= 0 && ds_sys_pread_all(fd, text, sizeof(text), 0) == 0 &&
                memcmp(text, FORMAT_TEXT, sizeof(text)) == 0;

    ds_sys_close(fd);
    return well;
}

int ds_l2_dir_shard(struct ds_l2_dir_root *root, struct ds_l2_call *call, uint8_t shard, bool make,
                    int *ret)
{
    int fd = atomic_load(&root->shards[shard]);
    int expected = -1;
    char name[3];
    int rc;

    if (fd >= 0) {
        *ret = fd;
        return 0;
    }
    (void)snprintf(name, sizeof(name), "%02x", shard);
    fd = ds_sys_openat(root->fd, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -ENOENT && make) {
        rc = ds_sys_mkdirat(root->fd, name, 0700);
        if (rc < 0 && rc != -EEXIST) {
            return ds_l2_dir_fail(call, -rc, "make directory", name);
        }
        rc = ds_sys_fsync(root->fd); /* also if somebody else made it: is it durable yet? */
        if (rc < 0) {
            return ds_l2_dir_fail(call, -rc, "sync", "the root directory");
        }
        fd = ds_sys_openat(root->fd, name, O_RDONLY | O_DIRECTORY, 0);
    }
    if (fd < 0) {
        return ds_l2_dir_fail(call, -fd, "open directory", name);
    }
    if (!atomic_compare_exchange_strong(&root->shards[shard], &expected, fd)) {
        ds_sys_close(fd);
        fd = expected;
    }
    *ret = fd;
    return 0;
}
