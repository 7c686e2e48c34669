/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power loss: everything that the log does to its files is recorded (the linker puts the functions
 * below in front of the C library's), together with what was asked and what was acknowledged. Then,
 * for every prefix of the record, states of the directory are made in which what was not synced
 * before is there, is not there, or is there in part (by sectors of 512 bytes), and recovered.
 */
#include <pthread.h>
#include <stdarg.h>

#include "slog_owner.h"

#define SEGMENT (64u << 10)
#define LIMIT (9u * SEGMENT + (64u << 10))
#define EVENTS_MAX 8192
#define FILES_MAX 256
#define SECTOR 512u

enum what { CREATE, WRITE, SYNC, SYNC_DIR, UNLINK, BEGIN, ACK };

struct event {
    enum what what;
    int file;
    uint64_t offset, size;
    uint8_t *bytes;
    unsigned key; /* BEGIN, ACK */
    uint64_t version;
    bool durable;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct event events[EVENTS_MAX];
static int n_events = -1; /* not recording */
static char names[FILES_MAX][32];
static int n_files;
static int file_of_fd[1024]; /* + 1 */

int __real_openat(int dir, const char *path, int flags, mode_t mode);
ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t at);
int __real_unlinkat(int dir, const char *path, int flags);
int __wrap_openat(int dir, const char *path, int flags, mode_t mode);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_unlinkat(int dir, const char *path, int flags);

static struct event *add(enum what what, int file)
{
    static struct event unused;

    if (n_events < 0) {
        return &unused;
    }
    CHECK_LT(n_events, EVENTS_MAX);
    events[n_events] = (struct event){.what = what, .file = file};
    return &events[n_events++];
}

static int file_named(const char *name)
{
    for (int i = 0; i < n_files; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    CHECK_LT(n_files, FILES_MAX);
    (void)snprintf(names[n_files], sizeof(names[0]), "%s", name);
    return n_files++;
}

int __wrap_openat(int dir, const char *path, int flags, mode_t mode)
{
    int fd = __real_openat(dir, path, flags, mode);

    (void)pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < 1024) {
        bool segment = n_events >= 0 && strstr(path, ".seg") != NULL;

        file_of_fd[fd] = segment ? file_named(path) + 1 : 0;
        if ((flags & O_CREAT) != 0 && file_of_fd[fd] > 0) {
            (void)add(CREATE, file_of_fd[fd] - 1);
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return fd;
}

ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at)
{
    ssize_t done;

    (void)pthread_mutex_lock(&lock);
    done = __real_pwrite(fd, p, n, at);
    if (n_events >= 0 && file_of_fd[fd] > 0 && done > 0) {
        struct event *e = add(WRITE, file_of_fd[fd] - 1);

        e->offset = (uint64_t)at;
        e->size = (uint64_t)done;
        e->bytes = malloc(e->size);
        CHECK(e->bytes != NULL);
        memcpy(e->bytes, p, e->size);
    }
    (void)pthread_mutex_unlock(&lock);
    return done;
}

int __wrap_fsync(int fd)
{
    (void)pthread_mutex_lock(&lock);
    if (file_of_fd[fd] > 0) {
        (void)add(SYNC, file_of_fd[fd] - 1);
    } else {
        (void)add(SYNC_DIR, -1);
    }
    (void)pthread_mutex_unlock(&lock);
    return 0;
}

int __wrap_fdatasync(int fd)
{
    return __wrap_fsync(fd);
}

int __wrap_unlinkat(int dir, const char *path, int flags)
{
    (void)pthread_mutex_lock(&lock);
    if (n_events >= 0 && strstr(path, ".seg") != NULL) {
        (void)add(UNLINK, file_named(path));
    }
    (void)pthread_mutex_unlock(&lock);
    return __real_unlinkat(dir, path, flags);
}

/* version 0: a deletion */
static void record(enum what what, unsigned key, uint64_t version, bool durable)
{
    struct event *e;

    (void)pthread_mutex_lock(&lock);
    e = add(what, -1);
    e->key = key;
    e->version = version;
    e->durable = durable;
    (void)pthread_mutex_unlock(&lock);
}

static void work(struct owner *o, uint64_t *x, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        unsigned k;
        bool durable;
        bool remove;
        int rc;

        *x = *x * 6364136223846793005u + 1442695040888963407u;
        k = (unsigned)(*x >> 33) % 40;
        durable = (*x >> 20) % 3 == 0;
        remove = (*x >> 24) % 4 == 0;
        record(BEGIN, k, remove ? 0 : o->version + 1, durable);
        rc = remove ? del(o, k, durable) : put(o, k, (*x >> 40) % 9000, durable);
        if (rc == DS_EAGAIN) {
            struct pollfd p = {.fd = ds_slog_fd(o->s), .events = POLLIN};
            struct ds_slog_event e;

            CHECK_EQ(poll(&p, 1, 30000), 1);
            CHECK_EQ(ds_slog_poll(o->s, &e, 1), 0u);
            continue;
        }
        CHECK_OK(rc);
        record(ACK, k, remove ? 0 : o->version, durable);
    }
}

/* --- states of the disk --- */

struct disk {
    bool exists[FILES_MAX];
    uint8_t *bytes[FILES_MAX];
};

static bool coin(uint64_t *x)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return (*x >> 40) % 2 != 0;
}

/* Whether what event i did is surely on the disk after event `end`. */
static bool is_synced(int i, int end)
{
    enum what by = events[i].what == WRITE ? SYNC : SYNC_DIR;

    for (int j = i + 1; j < end; j++) {
        if (events[j].what == by && (by == SYNC_DIR || events[j].file == events[i].file)) {
            return true;
        }
    }
    return false;
}

/* way 0: nothing that is not synced; 1: everything; else by chance. */
static void make_state(struct disk *d, int end, int way, uint64_t *x)
{
    memset(d->exists, 0, sizeof(d->exists));
    for (int i = 0; i < end; i++) {
        const struct event *e = &events[i];
        bool sure = way == 1 || (e->what <= UNLINK && is_synced(i, end));

        if (e->what == CREATE && (sure || (way > 1 && coin(x)))) {
            d->exists[e->file] = true;
            memset(d->bytes[e->file], 0, SEGMENT);
        } else if (e->what == UNLINK && (sure || (way > 1 && coin(x)))) {
            d->exists[e->file] = false;
        } else if (e->what == WRITE && (sure || way > 1) && e->offset + e->size <= SEGMENT) {
            bool torn = !sure && coin(x);

            for (uint64_t at = 0; at < e->size && (sure || torn || coin(x)); at += SECTOR) {
                if (sure || !torn || coin(x)) {
                    memcpy(d->bytes[e->file] + e->offset + at, e->bytes + at,
                           ds_min_u64(SECTOR, e->size - at));
                }
            }
        }
    }
}

static void put_state(struct owner *o, const struct disk *d)
{
    DIR *dir = opendir(o->dir);
    struct dirent *e;

    CHECK(dir != NULL);
    while ((e = readdir(dir)) != NULL) {
        if (strstr(e->d_name, ".seg") != NULL) {
            CHECK_EQ(__real_unlinkat(dirfd(dir), e->d_name, 0), 0);
        }
    }
    for (int i = 0; i < n_files; i++) {
        if (d->exists[i]) {
            int fd = __real_openat(dirfd(dir), names[i], O_RDWR | O_CREAT | O_CLOEXEC, 0600);

            CHECK_GE(fd, 0);
            CHECK_EQ(__real_pwrite(fd, d->bytes[i], SEGMENT, 0), SEGMENT);
            (void)close(fd);
        }
    }
    (void)closedir(dir);
}

/* The last durable answer of a key binds, or anything that was asked after it. */
static void check_state(struct owner *o, int end)
{
    for (unsigned k = 0; k < 40; k++) {
        const struct rec *r = &o->recs[k];
        uint64_t found = r->at != 0 ? r->version : 0;
        bool fine = false;
        bool bound = false;

        for (int i = end - 1; i >= 0 && !bound; i--) {
            const struct event *e = &events[i];

            if ((e->what == BEGIN || e->what == ACK) && e->key == k) {
                fine = fine || e->version == found;
                bound = e->what == ACK && e->durable;
            }
        }
        CHECK(fine || (!bound && found == 0));
        CHECK(r->at == 0 || get(o, k) == 0);
    }
}

static void power_loss(int rounds, int step)
{
    struct owner o;
    struct disk *d = ds_zalloc(sizeof(*d), "test");
    uint64_t x = ds_test_seed() | 1;
    int n;

    CHECK(d != NULL);
    owner_init(&o, LIMIT, SEGMENT, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    n_events = 0;
    work(&o, &x, rounds);
    CHECK_GT(stats_of(&o).segments_freed, 0u);
    o.s = ds_slog_close(o.s, false);
    n = n_events;
    n_events = -1;
    for (int i = 0; i < n_files; i++) {
        d->bytes[i] = ds_zalloc(SEGMENT, "test");
        CHECK(d->bytes[i] != NULL);
    }
    for (int end = 1; end <= n; end += step) {
        for (int way = 0; way < 4; way++) {
            for (int i = 0; i < n_files; i++) {
                memset(d->bytes[i], 0, SEGMENT);
            }
            make_state(d, end, way, &x);
            put_state(&o, d);
            owner_reopen(&o, false);
            check_state(&o, end);
            o.s = ds_slog_close(o.s, false);
        }
    }
    for (int i = 0; i < n_files; i++) {
        ds_free(d->bytes[i]);
    }
    for (int i = 0; i < n; i++) {
        free(events[i].bytes);
    }
    ds_free(d);
    owner_open(&o);
    owner_fini(&o, false);
}

DS_TEST_TIMEOUT(slog__power_loss_takes_nothing_durable, 300)
{
    power_loss(400, 4);
}
