/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slog_bench DIRECTORY [direct] - the segment log against bare system calls on the same files.
 *
 * Gets of 4 KiB one at a time against pread of 4 KiB at the same places; puts and gets of 1 MiB, 8
 * under way, against pwrite and pread of 1 MiB in a file of the same size; durable puts.
 */
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

int main(int argc, char **argv)
{
    static struct bench b;
    bool direct = argc > 2 && strcmp(argv[2], "direct") == 0;
    char dir[512];
    char path[600];
    char err[256];
    int64_t w;
    int64_t r;
    struct ds_slog_config c = {.size_limit = 4096ull * MIB,
                               .segment_size = 64 * MIB,
                               .try_uring = true,
                               .direct = direct,
                               .data_size = DEPTH * MIB,
                               .is_live = is_live,
                               .moved = moved};

    must(argc > 1, "usage: slog_bench DIRECTORY [direct]");
    (void)snprintf(dir, sizeof(dir), "%s/slog", argv[1]);
    (void)snprintf(path, sizeof(path), "%s/bare", argv[1]);
    b.data_fd = memfd_create("data", MFD_CLOEXEC);
    must(b.data_fd >= 0 && ftruncate(b.data_fd, DEPTH * MIB) == 0, "memfd");
    must(fallocate(b.data_fd, 0, 0, DEPTH * MIB) == 0, "memfd");
    c.data_fd = b.data_fd;
    c.directory = dir;
    must(ds_slog_open(&c, err, sizeof(err), &b.s) == 0, err);
    must(ds_slog_recover(b.s, none, NULL) == 0, "recover");
    w = run(&b, false, SMALL, 4096, 64, false);
    r = bare(path, direct, true, SMALL, 4096);
    tell("put 4 KiB, 64 under way", SMALL, 4096, w, r);
    (void)run(&b, true, SMALL, 4096, 1, false);
    w = run(&b, true, SMALL, 4096, 1, false);
    r = bare(path, direct, false, SMALL, 4096);
    tell("get 4 KiB, one at a time", SMALL, 4096, w, r);
    w = run(&b, true, SMALL, 4096, 32, false);
    tell("get 4 KiB, 32 under way", SMALL, 4096, w, r);
    w = run(&b, false, LARGE, MIB, DEPTH, false);
    (void)unlink(path);
    r = bare(path, direct, true, LARGE, MIB);
    tell("put 1 MiB, 8 under way", LARGE, MIB, w, r);
    w = run(&b, true, LARGE, MIB, DEPTH, false);
    r = bare(path, direct, false, LARGE, MIB);
    tell("get 1 MiB, 8 under way", LARGE, MIB, w, r);
    w = run(&b, false, 500, 4096, 1, true);
    tell("durable put 4 KiB, 1", 500, 4096, w, w);
    w = run(&b, false, 5000, 4096, 64, true);
    tell("durable put 4 KiB, 64", 5000, 4096, w, w);
    b.s = ds_slog_close(b.s, true);
    (void)unlink(path);
    return 0;
}
