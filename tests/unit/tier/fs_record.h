/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_record.h - records what code does to the files below one directory, and makes the states of it
 * that a loss of power may leave.
 *
 * The linker puts the functions below in front of the C library's: ds_test_records_files() in
 * tests/unit/CMakeLists.txt. Syncs are recorded, not done. One recording at a time; any threads.
 *
 * The model, of what POSIX promises and not of one file system:
 *   - data of a file (its size too) is there after a sync of the file. Before that each write may
 *     be there, be missing, be there in part, or have made the file longer without its bytes;
 *   - an entry of a directory (a name made, renamed, removed) is there, or not, after a sync of
 *     that directory. Before that each may have happened, whichever others did; a rename happens
 *     whole as far as its new name goes, and may leave the old one;
 *   - of one file or name, what came later covers what came before.
 * A sync of a file says nothing of its name, and one of a directory nothing of the files in it nor
 * of its own name. Nothing is taken from what was there at the beginning.
 *
 * A state is one answer to each question "did that happen?": struct fs_choices asks them all one
 * after the other, for every state there is, or by chance.
 */
#ifndef DS_UNIT_TIER_FS_RECORD_H
#define DS_UNIT_TIER_FS_RECORD_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "harness/ds_test.h"

#define FS_EVENTS_MAX 16384
#define FS_FILES_MAX 1024
#define FS_FDS_MAX 1024
#define FS_NAME_SIZE 256
#define FS_SECTOR 512u

enum fs_what { FS_CREATE, FS_RENAME, FS_UNLINK, FS_WRITE, FS_EXTEND, FS_SYNC, FS_BEGIN, FS_ACK };

struct fs_event {
    enum fs_what what;
    int file; /* that is made, moved, written or synced */
    int dir, name, old_name;
    uint64_t offset, size; /* FS_EXTEND: the size of the file */
    uint8_t *bytes;
    int sure_after; /* the event that makes it durable; INT_MAX: none does */
    /* FS_BEGIN, FS_ACK: the test's own */
    unsigned key;
    uint64_t version;
    bool durable;
};

struct fs_entry {
    int dir, name, file;
};

/* A directory with all in it. File 0 is the directory itself. */
struct fs_state {
    struct fs_entry entry[FS_FILES_MAX];
    int n_entries;
    struct {
        uint8_t *bytes;
        uint64_t size, room;
    } file[FS_FILES_MAX];
};

static pthread_mutex_t fs_lock = PTHREAD_MUTEX_INITIALIZER;
static bool fs_recording;
static char fs_base[64];
static struct fs_event fs_events[FS_EVENTS_MAX];
static int fs_n;
static int fs_dies_at = INT_MAX; /* from this event on nothing more happens, as after a kill */
static bool (*fs_passes)(const char *name); /* directories that are not made: nobody looks */
static char fs_names[FS_FILES_MAX][FS_NAME_SIZE];
static int fs_n_names;
static bool fs_is_dir[FS_FILES_MAX];
static int fs_n_files;
static struct fs_state fs_now;        /* entries as the code sees them; no bytes */
static int fs_file_of_fd[FS_FDS_MAX]; /* + 1 */

int __real_openat(int dir, const char *path, int flags, mode_t mode);
ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t at);
int __real_unlinkat(int dir, const char *path, int flags);
int __real_renameat(int dir, const char *from, int to_dir, const char *to);
int __real_mkdir(const char *path, mode_t mode);
int __real_mkdirat(int dir, const char *path, mode_t mode);
int __real_fallocate(int fd, int mode, off_t at, off_t n);
int __wrap_openat(int dir, const char *path, int flags, mode_t mode);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_unlinkat(int dir, const char *path, int flags);
int __wrap_renameat(int dir, const char *from, int to_dir, const char *to);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdirat(int dir, const char *path, mode_t mode);
int __wrap_fallocate(int fd, int mode, off_t at, off_t n);

/* --- recording --- */

static struct fs_event *fs_add(enum fs_what what, int file)
{
    static struct fs_event unused;

    if (!fs_recording) {
        return &unused;
    }
    CHECK_LT(fs_n, FS_EVENTS_MAX);
    fs_events[fs_n] = (struct fs_event){.what = what, .file = file};
    return &fs_events[fs_n++];
}

static bool fs_is_dead(void)
{
    errno = EIO;
    return fs_recording && fs_n >= fs_dies_at;
}

static int fs_name(const char *name)
{
    for (int i = 0; i < fs_n_names; i++) {
        if (strcmp(fs_names[i], name) == 0) {
            return i;
        }
    }
    CHECK_LT(fs_n_names, FS_FILES_MAX);
    (void)snprintf(fs_names[fs_n_names], FS_NAME_SIZE, "%s", name);
    return fs_n_names++;
}

static int *fs_find(struct fs_state *s, int dir, int name)
{
    for (int i = 0; i < s->n_entries; i++) {
        if (s->entry[i].dir == dir && s->entry[i].name == name) {
            return &s->entry[i].file;
        }
    }
    return NULL;
}

static void fs_enter(struct fs_state *s, int dir, int name, int file)
{
    int *there = fs_find(s, dir, name);

    if (there != NULL) {
        *there = file;
        return;
    }
    CHECK_LT(s->n_entries, FS_FILES_MAX);
    s->entry[s->n_entries++] = (struct fs_entry){dir, name, file};
}

static void fs_leave(struct fs_state *s, int dir, int name)
{
    for (int i = 0; i < s->n_entries; i++) {
        if (s->entry[i].dir == dir && s->entry[i].name == name) {
            s->entry[i] = s->entry[--s->n_entries];
            return;
        }
    }
}

/* Where a path leads: its directory and the name there. False: not below the base; a path of the
 * base or "." has the name -1, and *ret_dir is what it names. */
static bool fs_resolve(int fd, const char *path, int *ret_dir, int *ret_name)
{
    char part[FS_NAME_SIZE];
    int dir = fd >= 0 && fd < FS_FDS_MAX ? fs_file_of_fd[fd] - 1 : -1;
    int name = -1;

    if (!fs_recording) {
        return false;
    }
    if (path[0] == '/') {
        size_t n = strlen(fs_base);

        dir = strncmp(path, fs_base, n) == 0 && (path[n] == '/' || path[n] == '\0') ? 0 : -1;
        path += dir == 0 ? n : 0;
    }
    while (dir >= 0 && *(path += strspn(path, "/")) != '\0') {
        size_t n = strcspn(path, "/");

        if (name >= 0) { /* what came before is a directory */
            const int *next = fs_find(&fs_now, dir, name);

            dir = next == NULL ? -1 : *next;
        }
        (void)snprintf(part, sizeof(part), "%.*s", (int)n, path);
        name = strcmp(part, ".") == 0 ? -1 : fs_name(part);
        path += n;
    }
    *ret_dir = dir;
    *ret_name = name;
    return dir >= 0;
}

static int fs_created(int dir, int name, bool is_dir)
{
    int file = fs_n_files++;
    struct fs_event *e = fs_add(FS_CREATE, file);

    CHECK_LT(file, FS_FILES_MAX);
    fs_is_dir[file] = is_dir;
    e->dir = dir;
    e->name = name;
    fs_enter(&fs_now, dir, name, file);
    return file;
}

int __wrap_openat(int dir, const char *path, int flags, mode_t mode)
{
    int where;
    int name;
    int fd = -1;

    (void)pthread_mutex_lock(&fs_lock);
    if (fs_passes != NULL && fs_passes(path)) {
        errno = ENOENT;
    } else if (!fs_is_dead()) {
        fd = __real_openat(dir, path, flags, mode);
    }
    if (fd >= 0 && fd < FS_FDS_MAX) {
        fs_file_of_fd[fd] = 0;
        if (fs_resolve(dir, path, &where, &name)) {
            const int *there = name < 0 ? &where : fs_find(&fs_now, where, name);

            fs_file_of_fd[fd] = 1 + (there != NULL ? *there : fs_created(where, name, false));
        }
    }
    (void)pthread_mutex_unlock(&fs_lock);
    return fd;
}

/* The file of a descriptor, or -1. */
static int fs_of(int fd)
{
    return fs_recording && fd >= 0 && fd < FS_FDS_MAX ? fs_file_of_fd[fd] - 1 : -1;
}

static void fs_written(int file, uint64_t offset, const void *p, uint64_t size)
{
    struct fs_event *e = fs_add(FS_WRITE, file);

    e->offset = offset;
    e->size = size;
    e->bytes = malloc(size);
    CHECK(e->bytes != NULL);
    memcpy(e->bytes, p, size);
}

ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at)
{
    ssize_t done = -1;

    (void)pthread_mutex_lock(&fs_lock);
    if (fs_of(fd) < 0 || !fs_is_dead()) {
        done = __real_pwrite(fd, p, n, at);
    }
    if (done > 0 && fs_of(fd) >= 0) {
        fs_written(fs_of(fd), (uint64_t)at, p, (uint64_t)done);
    }
    (void)pthread_mutex_unlock(&fs_lock);
    return done;
}

int __wrap_fallocate(int fd, int mode, off_t at, off_t n)
{
    int rc = -1;

    (void)pthread_mutex_lock(&fs_lock);
    if (fs_of(fd) < 0 || !fs_is_dead()) {
        rc = __real_fallocate(fd, mode, at, n);
    }
    if (rc == 0 && fs_of(fd) >= 0) {
        fs_add(FS_EXTEND, fs_of(fd))->size = (uint64_t)at + (uint64_t)n;
    }
    (void)pthread_mutex_unlock(&fs_lock);
    return rc;
}

int __wrap_fsync(int fd)
{
    int rc;

    (void)pthread_mutex_lock(&fs_lock);
    rc = fs_is_dead() ? -1 : 0;
    if (rc == 0 && fs_of(fd) >= 0) {
        (void)fs_add(FS_SYNC, fs_of(fd));
    }
    (void)pthread_mutex_unlock(&fs_lock);
    return rc;
}

int __wrap_fdatasync(int fd)
{
    return __wrap_fsync(fd);
}

int __wrap_unlinkat(int dir, const char *path, int flags)
{
    int where;
    int name;
    int rc = -1;

    (void)pthread_mutex_lock(&fs_lock);
    if (!fs_is_dead()) {
        rc = __real_unlinkat(dir, path, flags);
    }
    if (rc == 0 && fs_resolve(dir, path, &where, &name)) {
        struct fs_event *e = fs_add(FS_UNLINK, -1);

        e->dir = where;
        e->name = name;
        fs_leave(&fs_now, where, name);
    }
    (void)pthread_mutex_unlock(&fs_lock);
    return rc;
}

/* Within one directory. */
int __wrap_renameat(int dir, const char *from, int to_dir, const char *to)
{
    int where;
    int old_name;
    int name;
    int rc = -1;

    (void)pthread_mutex_lock(&fs_lock);
    CHECK_EQ(dir, to_dir);
    if (!fs_is_dead()) {
        rc = __real_renameat(dir, from, to_dir, to);
    }
    if (rc == 0 && fs_resolve(dir, from, &where, &old_name) && fs_resolve(dir, to, &where, &name)) {
        int file = *fs_find(&fs_now, where, old_name);
        struct fs_event *e = fs_add(FS_RENAME, file);

        e->dir = where;
        e->name = name;
        e->old_name = old_name;
        fs_leave(&fs_now, where, old_name);
        fs_enter(&fs_now, where, name, file);
    }
    (void)pthread_mutex_unlock(&fs_lock);
    return rc;
}

int __wrap_mkdirat(int dir, const char *path, mode_t mode)
{
    int where;
    int name;
    int rc = -1;

    (void)pthread_mutex_lock(&fs_lock);
    if (fs_passes != NULL && fs_passes(path)) {
        rc = 0;
    } else if (!fs_is_dead()) {
        rc = __real_mkdirat(dir, path, mode);
        if (rc == 0 && fs_resolve(dir, path, &where, &name)) {
            (void)fs_created(where, name, true);
        }
    }
    (void)pthread_mutex_unlock(&fs_lock);
    return rc;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    return __wrap_mkdirat(AT_FDCWD, path, mode);
}

/* What the test asked for, or was told. */
static void fs_note(enum fs_what what, unsigned key, uint64_t version, bool durable)
{
    struct fs_event *e;

    (void)pthread_mutex_lock(&fs_lock);
    e = fs_add(what, -1);
    e->key = key;
    e->version = version;
    e->durable = durable;
    (void)pthread_mutex_unlock(&fs_lock);
}

/* --- beginning and end --- */

/* What is below a directory when the recording begins. */
static void fs_take(int fd, int dir)
{
    DIR *stream = fdopendir(__real_openat(fd, ".", O_RDONLY | O_CLOEXEC, 0));
    const struct dirent *e;

    CHECK(stream != NULL);
    while ((e = readdir(stream)) != NULL) {
        struct stat st;
        int file;
        int own;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        own = __real_openat(fd, e->d_name, O_RDONLY | O_CLOEXEC, 0);
        CHECK(own >= 0 && fstat(own, &st) == 0);
        file = fs_created(dir, fs_name(e->d_name), S_ISDIR(st.st_mode));
        if (S_ISDIR(st.st_mode)) {
            fs_take(own, file);
        } else if (st.st_size > 0) {
            uint8_t *p = malloc((size_t)st.st_size);

            CHECK(p != NULL && pread(own, p, (size_t)st.st_size, 0) == st.st_size);
            fs_written(file, 0, p, (uint64_t)st.st_size);
            (void)fs_add(FS_SYNC, file);
            free(p);
        }
        (void)close(own);
    }
    (void)closedir(stream);
    (void)fs_add(FS_SYNC, dir);
}

static void fs_forget(void)
{
    for (int i = 0; i < fs_n; i++) {
        free(fs_events[i].bytes);
    }
    fs_n = fs_n_names = fs_n_files = fs_now.n_entries = 0;
    memset(fs_file_of_fd, 0, sizeof(fs_file_of_fd));
}

/* Forgets the last recording; of what is there now nothing gets lost. */
static void fs_begin(const char *base)
{
    int fd = __real_openat(AT_FDCWD, base, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

    CHECK_GE(fd, 0);
    fs_forget();
    (void)snprintf(fs_base, sizeof(fs_base), "%s", base);
    fs_is_dir[fs_n_files++] = true;
    fs_recording = true;
    fs_dies_at = INT_MAX;
    fs_take(fd, 0);
    (void)close(fd);
}

/* Ends the recording and finds out what made each event durable. Returns how many there are. */
static int fs_end(void)
{
    static int synced[FS_FILES_MAX];

    fs_recording = false;
    for (int i = 0; i < FS_FILES_MAX; i++) {
        synced[i] = INT_MAX;
    }
    for (int i = fs_n - 1; i >= 0; i--) {
        struct fs_event *e = &fs_events[i];

        if (e->what == FS_SYNC) {
            synced[e->file] = i;
        } else if (e->what < FS_SYNC) {
            e->sure_after = synced[e->what <= FS_UNLINK ? e->dir : e->file];
        }
    }
    return fs_n;
}

/* --- states --- */

enum fs_way {
    FS_EACH,   /* all states, one after the other: fs_next() */
    FS_CHANCE, /* one by chance, with writes torn by sectors too */
    FS_LEAST,  /* nothing that was not synced */
    FS_MOST,   /* everything: a kill, not a loss of power */
};

struct fs_choices {
    enum fs_way way;
    uint64_t *random;
    uint8_t pick[64], limit[64];
    unsigned at, n;
};

/* 0 to n - 1; 0: it did not happen, 1: it did. */
static unsigned fs_choose(struct fs_choices *c, unsigned n)
{
    if (c->way == FS_CHANCE) {
        *c->random = *c->random * 6364136223846793005u + 1442695040888963407u;
        return (unsigned)(*c->random >> 40) % n;
    }
    if (c->way != FS_EACH) {
        return c->way == FS_MOST;
    }
    if (c->at == c->n) {
        CHECK_LT(c->n, sizeof(c->pick));
        c->pick[c->n] = 0;
        c->limit[c->n++] = (uint8_t)n;
    }
    return c->pick[c->at++];
}

/* FS_EACH: false when all states were made. */
static inline bool fs_next(struct fs_choices *c)
{
    while (c->n > 0 && c->pick[c->n - 1] + 1u >= c->limit[c->n - 1]) {
        c->n--;
    }
    if (c->n > 0) {
        c->pick[c->n - 1]++;
    }
    c->at = 0;
    return c->n > 0;
}

static void fs_grow(struct fs_state *s, int file, uint64_t size)
{
    if (size > s->file[file].room) {
        s->file[file].bytes = realloc(s->file[file].bytes, size);
        CHECK(s->file[file].bytes != NULL);
        s->file[file].room = size;
    }
    if (size > s->file[file].size) {
        memset(s->file[file].bytes + s->file[file].size, 0, size - s->file[file].size);
        s->file[file].size = size;
    }
}

static void fs_apply_write(struct fs_state *s, const struct fs_event *e, struct fs_choices *c,
                           bool sure)
{
    enum { NOT, WHOLE, LENGTH, FIRST, SECOND, SECTORS };
    unsigned what = sure ? WHOLE : fs_choose(c, c->way == FS_CHANCE ? 6 : 5);
    uint64_t half = e->size > 2 * FS_SECTOR ? e->size / 2 / FS_SECTOR * FS_SECTOR : e->size / 2;
    uint8_t *to;

    if (what == NOT) {
        return;
    }
    fs_grow(s, e->file, e->offset + (what == FIRST ? half : e->size));
    to = s->file[e->file].bytes + e->offset;
    if (what == WHOLE || what == FIRST) {
        memcpy(to, e->bytes, what == WHOLE ? e->size : half);
    } else if (what == SECOND) {
        memcpy(to + half, e->bytes + half, e->size - half);
    }
    for (uint64_t at = 0; what == SECTORS && at < e->size; at += FS_SECTOR) {
        if (fs_choose(c, 2) == 1) {
            memcpy(to + at, e->bytes + at, ds_min_u64(FS_SECTOR, e->size - at));
        }
    }
}

static void fs_apply_entry(struct fs_state *s, const struct fs_event *e, struct fs_choices *c,
                           bool sure)
{
    unsigned what = sure ? 1 : fs_choose(c, e->what == FS_RENAME ? 3 : 2);

    if (what == 0) {
        return;
    }
    if (e->what == FS_UNLINK) {
        fs_leave(s, e->dir, e->name);
        return;
    }
    if (e->what == FS_RENAME && what == 1) {
        int *old = fs_find(s, e->dir, e->old_name);

        if (old != NULL && *old == e->file) {
            fs_leave(s, e->dir, e->old_name);
        }
    }
    fs_enter(s, e->dir, e->name, e->file);
}

/* Bytes of files that nobody can find are not asked for. */
static bool fs_is_reachable(struct fs_state *s, int file)
{
    for (int i = 0; i < s->n_entries; i++) {
        if (s->entry[i].file == file) {
            return s->entry[i].dir == 0 || fs_is_reachable(s, s->entry[i].dir);
        }
    }
    return false;
}

/* A state of a loss of power (or FS_MOST: of a kill) before event `end`. */
static void fs_make(struct fs_state *s, int end, struct fs_choices *c)
{
    static bool reachable[FS_FILES_MAX];

    s->n_entries = 0;
    for (int i = 0; i < end; i++) {
        if (fs_events[i].what <= FS_UNLINK) {
            fs_apply_entry(s, &fs_events[i], c, fs_events[i].sure_after < end);
        }
    }
    for (int i = 0; i < fs_n_files; i++) {
        s->file[i].size = 0;
        reachable[i] = fs_is_reachable(s, i);
    }
    for (int i = 0; i < end; i++) {
        const struct fs_event *e = &fs_events[i];
        bool sure = e->sure_after < end;

        if (e->what == FS_WRITE && reachable[e->file]) {
            fs_apply_write(s, e, c, sure);
        } else if (e->what == FS_EXTEND && reachable[e->file] && (sure || fs_choose(c, 2) == 1)) {
            fs_grow(s, e->file, e->size);
        }
    }
}

static void fs_free(struct fs_state *s)
{
    for (int i = 0; i < FS_FILES_MAX; i++) {
        free(s->file[i].bytes);
    }
    free(s);
    fs_forget();
}

/* --- states on a disk --- */

static void fs_empty(int fd)
{
    DIR *stream = fdopendir(__real_openat(fd, ".", O_RDONLY | O_CLOEXEC, 0));
    const struct dirent *e;

    CHECK(stream != NULL);
    while ((e = readdir(stream)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        if (__real_unlinkat(fd, e->d_name, 0) < 0) {
            int own = __real_openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

            CHECK_GE(own, 0);
            fs_empty(own);
            (void)close(own);
            CHECK_EQ(__real_unlinkat(fd, e->d_name, AT_REMOVEDIR), 0);
        }
    }
    (void)closedir(stream);
}

static void fs_fill(struct fs_state *s, int fd, int dir)
{
    for (int i = 0; i < s->n_entries; i++) {
        int file = s->entry[i].file;
        const char *name = fs_names[s->entry[i].name];
        int own;

        if (s->entry[i].dir != dir) {
            continue;
        }
        if (fs_is_dir[file]) {
            CHECK_EQ(__real_mkdirat(fd, name, 0700), 0);
            own = __real_openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
            CHECK_GE(own, 0);
            fs_fill(s, own, file);
        } else { /* two names of one file become two files: nobody here can tell them apart */
            own = __real_openat(fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
            CHECK_GE(own, 0);
            CHECK_EQ(__real_pwrite(own, s->file[file].bytes, s->file[file].size, 0),
                     s->file[file].size);
        }
        (void)close(own);
    }
}

/* Puts a state into a directory, in place of all that is there. */
static void fs_put(struct fs_state *s, const char *path)
{
    int fd = __real_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

    CHECK_GE(fd, 0);
    fs_empty(fd);
    if (s != NULL) {
        fs_fill(s, fd, 0);
    }
    (void)close(fd);
}

#endif
