/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slog_bench DIRECTORY [direct] - the segment log against bare system calls on the same files.
 * slog_bench DIRECTORY spill N [direct] - N puts of 1 MiB, then as many gets in another order, 8
 * under way; two lines "write BYTES/S" and "read BYTES/S" for bench/tiers/disk.py.
 *
 * Gets of 4 KiB one at a time against pread of 4 KiB at the same places; puts and gets of 1 MiB, 8
 * under way, against pwrite and pread of 1 MiB in a file of the same size; durable puts.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "base/clock.h"
#include "tier/slog.h"

#define MIB (1u << 20)
#define SMALL 20000u
#define LARGE 512u
#define DEPTH 8u

struct bench {
    struct ds_slog *s;
    ds_slog_at at[SMALL];
    uint64_t done;
    int data_fd;
};

static bool is_live(void *arg, const void *key, size_t key_size, ds_slog_at at, uint16_t *flags)
{
    (void)arg;
    (void)key;
    (void)key_size;
    (void)at;
    (void)flags;
    return true;
}

static bool moved(void *arg, const void *key, size_t key_size, ds_slog_at from, ds_slog_at to,
                  uint16_t flags, int rc)
{
    (void)arg;
    (void)key;
    (void)key_size;
    (void)from;
    (void)to;
    (void)flags;
    (void)rc;
    return true;
}

static void none(void *arg, const struct ds_slog_entry *e)
{
    (void)arg;
    (void)e;
}

static void must(bool fine, const char *what)
{
    if (!fine) {
        (void)fprintf(stderr, "slog_bench: %s\n", what);
        exit(1);
    }
}

static void wait_for(struct bench *b, uint64_t done)
{
    struct ds_slog_event e[64];

    ds_slog_flush(b->s);
    while (b->done < done) {
        struct pollfd p = {.fd = ds_slog_fd(b->s), .events = POLLIN};
        size_t n = ds_slog_poll(b->s, e, 64);

        for (size_t i = 0; i < n; i++) {
            must(e[i].rc == 0, "a request failed");
            b->at[e[i].cookie] = e[i].at != 0 ? e[i].at : b->at[e[i].cookie];
        }
        b->done += n;
        if (n == 0) {
            (void)poll(&p, 1, -1);
        }
    }
}

static void put(struct bench *b, uint32_t i, uint64_t size, bool durable)
{
    struct ds_slog_item item = {.key = &i,
                                .key_size = sizeof(i),
                                .version = 1,
                                .offset = i % DEPTH * MIB,
                                .size = size,
                                .cookie = i};

    must(ds_slog_put(b->s, &item, durable) == 0, "no room");
}

static void get(struct bench *b, uint32_t i, uint64_t size)
{
    must(ds_slog_get(b->s, b->at[i], size, &i, sizeof(i), 1, i % DEPTH * MIB, i) == 0, "get");
}

/* n requests, `depth` under way: ns. */
static int64_t run(struct bench *b, bool is_get, uint32_t n, uint64_t size, uint32_t depth,
                   bool durable)
{
    int64_t t = ds_monotonic_ns();
    uint64_t first = b->done;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = is_get ? (uint32_t)((uint64_t)i * 7919 % n) : i;

        if (is_get) {
            get(b, k, size);
        } else {
            put(b, k, size, durable);
        }
        wait_for(b, i + 1 >= depth ? first + i + 2 - depth : first);
    }
    wait_for(b, first + n);
    return ds_monotonic_ns() - t;
}

static int64_t bare(const char *path, bool direct, bool write_it, uint32_t n, uint64_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (direct ? O_DIRECT : 0), 0600);
    void *buf = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int64_t t;

    must(fd >= 0 && buf != MAP_FAILED && fallocate(fd, 0, 0, (off_t)(n * size)) == 0, path);
    memset(buf, 7, MIB);
    t = ds_monotonic_ns();
    for (uint32_t i = 0; i < n; i++) {
        off_t at = (off_t)((write_it ? i : (uint64_t)i * 7919 % n) * size);
        ssize_t done = write_it ? pwrite(fd, buf, size, at) : pread(fd, buf, size, at);

        must(done == (ssize_t)size, "bare");
    }
    t = ds_monotonic_ns() - t;
    (void)munmap(buf, MIB);
    (void)close(fd);
    return t;
}

static void tell(const char *what, uint32_t n, uint64_t size, int64_t ns, int64_t bare_ns)
{
    (void)printf("%-28s %9.1f us %9.1f MB/s   bare %9.1f us   time %.2f of bare\n", what,
                 (double)ns / n / 1e3, (double)size * n * 1e3 / (double)ns,
                 (double)bare_ns / n / 1e3, (double)ns / (double)bare_ns);
}

/* The time of `n` puts until the last byte is on the disk: the log syncs each segment when it is
 * full, the durable put at the end the rest. */
static int64_t put_all(struct bench *b, uint32_t n)
{
    int64_t t = run(b, false, n - 1, MIB, DEPTH, false);
    int64_t begin = ds_monotonic_ns();
    uint64_t first = b->done;

    put(b, n - 1, MIB, true);
    wait_for(b, first + 1);
    return t + ds_monotonic_ns() - begin;
}

/* Reads are to come from the disk: what is written can leave the page cache. */
static void drop_cache(const char *directory)
{
    DIR *d = opendir(directory);
    struct dirent *e;

    must(d != NULL, directory);
    while ((e = readdir(d)) != NULL) {
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);

        if (fd >= 0) {
            (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            (void)close(fd);
        }
    }
    (void)closedir(d);
}

static void spill(struct bench *b, const char *directory, uint32_t n)
{
    int64_t w;
    int64_t r;

    must(n >= 2 && n <= SMALL, "N is 2 to 20000");
    w = put_all(b, n);
    drop_cache(directory);
    r = run(b, true, n, MIB, DEPTH, false);
    (void)printf("write %.0f\nread %.0f\n", (double)n * MIB * 1e9 / (double)w,
                 (double)n * MIB * 1e9 / (double)r);
}

static void beside_bare(struct bench *b, const char *path, bool direct)
{
    int64_t w;
    int64_t r;

    w = run(b, false, SMALL, 4096, 64, false);
    r = bare(path, direct, true, SMALL, 4096);
    tell("put 4 KiB, 64 under way", SMALL, 4096, w, r);
    (void)run(b, true, SMALL, 4096, 1, false);
    w = run(b, true, SMALL, 4096, 1, false);
    r = bare(path, direct, false, SMALL, 4096);
    tell("get 4 KiB, one at a time", SMALL, 4096, w, r);
    w = run(b, true, SMALL, 4096, 32, false);
    tell("get 4 KiB, 32 under way", SMALL, 4096, w, r);
    w = run(b, false, LARGE, MIB, DEPTH, false);
    (void)unlink(path);
    r = bare(path, direct, true, LARGE, MIB);
    tell("put 1 MiB, 8 under way", LARGE, MIB, w, r);
    w = run(b, true, LARGE, MIB, DEPTH, false);
    r = bare(path, direct, false, LARGE, MIB);
    tell("get 1 MiB, 8 under way", LARGE, MIB, w, r);
    w = run(b, false, 500, 4096, 1, true);
    tell("durable put 4 KiB, 1", 500, 4096, w, w);
    w = run(b, false, 5000, 4096, 64, true);
    tell("durable put 4 KiB, 64", 5000, 4096, w, w);
    (void)unlink(path);
}

int main(int argc, char **argv)
{
    static struct bench b;
    bool only_spill = argc > 3 && strcmp(argv[2], "spill") == 0;
    int last = only_spill ? 4 : 2;
    bool direct = argc > last && strcmp(argv[last], "direct") == 0;
    uint32_t n = only_spill ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    char dir[512];
    char path[600];
    char err[256];
    struct ds_slog_config c = {.size_limit = (uint64_t)(n + 4096) * MIB,
                               .segment_size = 64 * MIB,
                               .try_uring = true,
                               .direct = direct,
                               .data_size = DEPTH * MIB,
                               .is_live = is_live,
                               .moved = moved};

    must(argc > 1, "usage: slog_bench DIRECTORY [spill N] [direct]");
    (void)snprintf(dir, sizeof(dir), "%s/slog", argv[1]);
    (void)snprintf(path, sizeof(path), "%s/bare", argv[1]);
    b.data_fd = memfd_create("data", MFD_CLOEXEC);
    must(b.data_fd >= 0 && ftruncate(b.data_fd, DEPTH * MIB) == 0, "memfd");
    must(fallocate(b.data_fd, 0, 0, DEPTH * MIB) == 0, "memfd");
    c.data_fd = b.data_fd;
    c.directory = dir;
    must(ds_slog_open(&c, err, sizeof(err), &b.s) == 0, err);
    must(ds_slog_recover(b.s, none, NULL) == 0, "recover");
    if (only_spill) {
        spill(&b, dir, n);
    } else {
        beside_bare(&b, path, direct);
    }
    b.s = ds_slog_close(b.s, true);
    return 0;
}
