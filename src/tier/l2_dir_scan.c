/* SPDX-License-Identifier: Apache-2.0 */
/* l2_dir_scan.c - walks a directory of L2: list and gc. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "base/sys_file.h"
#include "tier/l2_dir.h"

static bool is_temp(const char *name)
{
    return strncmp(name, DS_L2_DIR_TEMP, sizeof(DS_L2_DIR_TEMP) - 1) == 0;
}

/* Negative: the walk ends. */
typedef int visit_fn(void *arg, struct ds_l2_call *call, int shard, const char *path,
                     const char *name);

/* *ended: the visitor says so. */
static int walk_shard(struct ds_l2_dir_root *root, struct ds_l2_call *call, unsigned number,
                      visit_fn *visit, void *arg, bool *ended)
{
    const struct dirent *entry;
    char path[sizeof("xx/") + sizeof(entry->d_name)];
    DIR *stream;
    int shard;
    int fd;
    int rc = ds_l2_dir_shard(root, call, (uint8_t)number, false, &shard);

    if (rc < 0) {
        return rc == DS_ENOTFOUND ? 0 : rc;
    }
    fd = ds_sys_openat(shard, ".", O_RDONLY | O_DIRECTORY, 0); /* its own position */
    stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        rc = ds_l2_fail(call, fd < 0 ? ds_l2_errno(-fd) : DS_EIO, "cannot read directory %02x",
                        number);
        ds_sys_close(fd);
        return rc;
    }
    while (rc == 0) {
        errno = 0;
        entry = readdir(stream);
        if (entry == NULL) {
            rc = errno == 0 ? 0 : ds_l2_fail(call, ds_l2_errno(errno), "cannot read directory");
            break;
        }
        /* With a dot begin our lock and temporary files, and those of the system (.nfsXXXX). */
        if (entry->d_name[0] != '.' || is_temp(entry->d_name)) {
            (void)snprintf(path, sizeof(path), "%02x/%s", number, entry->d_name);
            rc = ds_l2_go_on(call);
            rc = rc < 0 ? rc : visit(arg, call, shard, path, entry->d_name);
            *ended = rc < 0;
        }
    }
    (void)closedir(stream);
    return rc;
}

static int walk(struct ds_l2 *l2, struct ds_l2_call *call, visit_fn *visit, void *arg)
{
    struct ds_l2_dir *dir = (struct ds_l2_dir *)l2;
    struct ds_l2_dir_root *root = ds_l2_dir_enter(dir);
    int rc = DS_ENOTFOUND; /* as if there were nothing: is it the directory of the path? */
    char why[DS_L2_ERROR_SIZE];
    int refused = 0;
    bool ended = false;

    if (ds_l2_dir_again(dir, call, root, 0, &rc)) {
        ds_l2_dir_leave(dir, root);
        root = ds_l2_dir_enter(dir);
    }
    rc = rc == DS_ENOTFOUND ? 0 : rc;
    for (unsigned i = 0; i < DS_L2_DIR_SHARDS && rc == 0; i++) {
        rc = walk_shard(root, call, i, visit, arg, &ended);
        if (ds_l2_is_refused(rc) && !ended) { /* the others may do */
            refused = rc;
            memcpy(why, call->err, sizeof(why));
            rc = 0;
        }
    }
    ds_l2_dir_leave(dir, root);
    if (rc == 0 && refused != 0) {
        memcpy(call->err, why, sizeof(why));
        rc = refused;
    }
    return rc;
}

/* 0, or why nothing is to be said of the file: DS_ENOTFOUND (vanished meanwhile). */
static int stored_size(int shard, const char *name, uint64_t *ret)
{
    struct stat st;

    if (fstatat(shard, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return ds_l2_errno(errno);
    }
    *ret = (uint64_t)st.st_size;
    return S_ISREG(st.st_mode) ? 0 : DS_ENOTFOUND;
}

/* Its header, and whether it lies where its key says. */
static int verified_head(struct ds_l2_call *call, int shard, const char *path, const char *name,
                         struct ds_l2_head *ret)
{
    char own[DS_L2_NAME_MAX + 1];
    char place[4];
    int rc = ds_l2_dir_head(call, shard, name, NULL, 0, ret);

    if (rc == 0) {
        (void)ds_l2_name(ret->key, ret->key_size, own);
        (void)snprintf(place, sizeof(place), "%02x/", ds_l2_shard(ret->key, ret->key_size));
        rc = strcmp(own, name) == 0 && strncmp(place, path, 3) == 0 ? 0 : DS_ECORRUPT;
    }
    return rc;
}

/* --- list --- */

static int list_one(void *arg, struct ds_l2_call *call, int shard, const char *path,
                    const char *name)
{
    struct ds_l2_head h;
    struct ds_l2_entry e = {.name = path};

    if (is_temp(name) || stored_size(shard, name, &e.stored_size) < 0) {
        return 0;
    }
    e.status = verified_head(call, shard, path, name, &h);
    return ds_l2_list_tell(arg, &e, &h);
}

int ds_l2_dir_list(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each, void *arg)
{
    struct ds_l2_lister l = {each, arg};

    return walk(l2, call, list_one, &l);
}

/* --- gc --- */

/* A temporary file goes when it is old and nobody has it locked: the writer of a large value may
 * be at it for long. Its age is told by the file server's clock against ours, hence both. */
static int collect_temp(struct ds_l2_call *call, int shard, const char *name, struct ds_l2_gc *gc)
{
    struct stat st;
    int fd = ds_sys_openat(shard, name, O_RDONLY | O_NOFOLLOW, 0);
    int rc = fd < 0 ? fd : ds_sys_fstat(fd, &st);

    if (rc == 0 &&
        gc->now_unix_ns - ((int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec) <
            gc->unfinished_age_ns) {
        rc = -EWOULDBLOCK;
    }
    rc = rc < 0 ? rc : ds_sys_try_lock(fd);
    if (rc == 0) {
        gc->unfinished++;
        rc = gc->dry_run ? 0 : ds_sys_unlinkat(shard, name);
    }
    ds_sys_close(fd);
    if (rc < 0 && rc != -EWOULDBLOCK && rc != -ENOENT) {
        return ds_l2_fail(call, ds_l2_errno(-rc), "cannot remove %s: %s", name, strerror(-rc));
    }
    return 0;
}

static bool is_old(const struct ds_l2_meta *m, const struct ds_l2_gc *gc)
{
    int64_t since = (m->flags & DS_L2_TOMBSTONE) != 0 ? m->written_unix_ns : m->expiry_unix_ns;

    return ds_l2_is_gone(m, gc->now_unix_ns) && gc->now_unix_ns - since >= gc->tombstone_age_ns;
}

/* Under the key's lock and after a second look: a put may have come in between. */
static int collect_object(struct ds_l2_call *call, int shard, const char *name,
                          const struct ds_l2_head *seen, struct ds_l2_gc *gc)
{
    struct ds_l2_head h;
    int lock;
    int rc = gc->dry_run ? 0 : ds_l2_dir_lock(call, shard, seen->key, seen->key_size, &lock);

    if (rc == 0 && !gc->dry_run) {
        rc = ds_l2_dir_head(call, shard, name, seen->key, seen->key_size, &h);
        if (rc == 0 && h.meta.version == seen->meta.version) {
            (void)ds_failpoint("l2.dir.gc.before_unlink");
            rc = ds_sys_unlinkat(shard, name);
            rc = rc < 0 ? ds_l2_fail(call, ds_l2_errno(-rc), "cannot remove %s", name) : 0;
        }
        ds_sys_close(lock);
    }
    if (rc == 0 && (seen->meta.flags & DS_L2_TOMBSTONE) != 0) {
        gc->tombstones++;
    } else if (rc == 0) {
        gc->expired++;
    }
    return rc == DS_ENOTFOUND ? 0 : rc;
}

static int collect(struct ds_l2_gc *gc, struct ds_l2_call *call, int shard, const char *path,
                   const char *name)
{
    struct ds_l2_head h;
    uint64_t size;
    int rc;

    if (is_temp(name)) {
        return collect_temp(call, shard, name, gc);
    }
    if (stored_size(shard, name, &size) < 0) {
        return 0;
    }
    rc = verified_head(call, shard, path, name, &h);
    if (rc == DS_ENOTFOUND) {
        return 0;
    }
    if (rc == 0 && is_old(&h.meta, gc)) {
        return collect_object(call, shard, name, &h, gc);
    }
    if (rc < 0 && rc != DS_ECORRUPT && rc != DS_EVERSION && !ds_l2_is_refused(rc)) {
        return rc;
    }
    gc->corrupt += rc == DS_ECORRUPT;
    gc->gone += rc == 0 && ds_l2_is_gone(&h.meta, gc->now_unix_ns);
    gc->objects++;
    gc->bytes += size;
    return ds_l2_is_refused(rc) ? rc : 0;
}

static int gc_one(void *arg, struct ds_l2_call *call, int shard, const char *path, const char *name)
{
    struct ds_l2_gc *gc = arg;

    return ds_l2_gc_go_on(gc, collect(gc, call, shard, path, name));
}

int ds_l2_dir_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc)
{
    int rc = walk(l2, call, gc_one, gc);

    gc->whole = rc == 0;
    return rc;
}
