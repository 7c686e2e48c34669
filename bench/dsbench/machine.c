/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - clock, CPUs, memory like the worker's, and the two floors: a Unix-socket round trip
 * and a copy.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define MESSAGE 64u

void bench_machine_init(struct bench_run *run)
{
    uint64_t t0, t1, c0, c1;
    cpu_set_t set;
    int found = 0;

    c0 = bench_clock_ns();
    t0 = bench_ticks();
    do {
        c1 = bench_clock_ns();
        t1 = bench_ticks();
    } while (c1 - c0 < 50000000u);
    run->ns_per_tick = (double)(c1 - c0) / (double)(t1 - t0);

    run->cpu[0] = run->cpu[1] = -1;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        for (size_t i = 0; i < CPU_SETSIZE && found < 2; i++) {
            if (CPU_ISSET(i, &set)) {
                run->cpu[found++] = (int)i;
            }
        }
    }
    run->cpus = (unsigned)CPU_COUNT(&set);
}

double bench_us(const struct bench_run *run, double ticks)
{
    return ticks * run->ns_per_tick / 1e3;
}

double bench_seconds_of(const struct bench_run *run, uint64_t ticks)
{
    return (double)ticks * run->ns_per_tick / 1e9;
}

uint64_t bench_deadline(const struct bench_run *run, double seconds)
{
    return bench_ticks() + (uint64_t)(seconds * 1e9 / run->ns_per_tick);
}

void bench_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (cpu < 0 || (int)i == cpu) {
            CPU_SET(i, &set);
        }
    }
    (void)sched_setaffinity(0, sizeof(set), &set);
}

int bench_kill_with_parent(void)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL);
}

uint64_t bench_touch(const void *data, size_t size)
{
    const volatile uint8_t *p = data;
    uint64_t sum = 0;

    for (size_t i = 0; i < size; i += 4096) {
        sum += p[i];
    }
    return sum;
}

void bench_keep(uint64_t value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

/* --- Unix-socket round trips --- */

static void echo_loop(int fd)
{
    char b[MESSAGE];

    while (read(fd, b, sizeof(b)) == (ssize_t)sizeof(b) &&
           write(fd, b, sizeof(b)) == (ssize_t)sizeof(b)) {
    }
}

int bench_echo_start(struct bench_echo *echo, int cpu)
{
    int sv[2];

    echo->fd = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) != 0) {
        perror("dsbench: socketpair");
        return -1;
    }
    echo->pid = fork();
    if (echo->pid < 0) {
        perror("dsbench: fork");
        (void)close(sv[0]);
        (void)close(sv[1]);
        return -1;
    }
    if (echo->pid == 0) {
        (void)close(sv[0]);
        (void)bench_kill_with_parent();
        bench_pin(cpu);
        echo_loop(sv[1]);
        _exit(0);
    }
    (void)close(sv[1]);
    echo->fd = sv[0];
    return 0;
}

void bench_echo_stop(struct bench_echo *echo)
{
    if (echo->fd >= 0) {
        (void)close(echo->fd);
        (void)kill(echo->pid, SIGKILL); /* processes forked later may hold its socket open */
        (void)waitpid(echo->pid, NULL, 0);
        echo->fd = -1;
    }
}

int bench_echo_measure(const struct bench_run *run, const struct bench_echo *echo, int cpu,
                       double seconds, unsigned pause_us, struct bench_hist *hist)
{
    uint64_t end = bench_deadline(run, seconds), t;
    char b[MESSAGE] = {0};
    int rc = 0;

    bench_pin(cpu);
    while (rc == 0 && bench_ticks() < end) {
        if (pause_us != 0) {
            (void)usleep(pause_us);
        }
        t = bench_ticks();
        if (write(echo->fd, b, sizeof(b)) != (ssize_t)sizeof(b) ||
            read(echo->fd, b, sizeof(b)) != (ssize_t)sizeof(b)) {
            fprintf(stderr, "dsbench: the echo process is gone\n");
            rc = -1;
        }
        bench_hist_add(hist, bench_ticks() - t);
    }
    bench_pin(-1);
    return rc;
}

int bench_pingpong_start(const struct bench_run *run, struct bench_pingpong *pp)
{
    memset(pp, 0, sizeof(*pp));
    pp->same.fd = pp->cross.fd = -1;
    if (bench_echo_start(&pp->same, run->cpu[0]) != 0) {
        return -1;
    }
    return run->cpu[1] < 0 ? 0 : bench_echo_start(&pp->cross, run->cpu[1]);
}

static int pingpong_one(const struct bench_run *run, const struct bench_echo *echo,
                        struct bench_series *p50, struct bench_series *p99)
{
    struct bench_hist h;

    bench_hist_reset(&h);
    if (bench_echo_measure(run, echo, run->cpu[0], run->seconds / 2, 0, &h) != 0) {
        return -1;
    }
    bench_series_add(p50, bench_us(run, bench_hist_quantile(&h, 0.5)));
    bench_series_add(p99, bench_us(run, bench_hist_quantile(&h, 0.99)));
    return 0;
}

int bench_pingpong_round(const struct bench_run *run, struct bench_pingpong *pp)
{
    if (pingpong_one(run, &pp->same, &pp->same_us, &pp->same_p99_us) != 0) {
        return -1;
    }
    return pp->cross.fd < 0 ? 0 : pingpong_one(run, &pp->cross, &pp->cross_us, &pp->cross_p99_us);
}

double bench_pingpong_us(const struct bench_pingpong *pp)
{
    double same = bench_series_median(&pp->same_us), cross = bench_series_median(&pp->cross_us);

    return pp->cross.fd >= 0 && cross < same ? cross : same;
}

void bench_pingpong_report(struct bench_run *run, const struct bench_pingpong *pp)
{
    struct bench_row row = bench_row("Unix-socket ping-pong, same CPU", "us");

    bench_row_values(&row, &pp->same_us);
    row.size = MESSAGE;
    row.p99 = bench_series_median(&pp->same_p99_us);
    bench_report_row(run, &row);
    if (pp->cross.fd >= 0) {
        row = bench_row("Unix-socket ping-pong, two CPUs", "us");
        bench_row_values(&row, &pp->cross_us);
        row.size = MESSAGE;
        row.p99 = bench_series_median(&pp->cross_p99_us);
        bench_report_row(run, &row);
    }
}

void bench_pingpong_stop(struct bench_pingpong *pp)
{
    bench_echo_stop(&pp->same);
    bench_echo_stop(&pp->cross);
}

/* --- memory --- */

int bench_segment_open(struct bench_segment *seg, size_t size, bool populate)
{
    void *p;

    seg->map = NULL;
    seg->size = size;
    seg->fd = memfd_create("dsbench", MFD_CLOEXEC);
    if (seg->fd < 0 || ftruncate(seg->fd, (off_t)size) != 0) {
        perror("dsbench: memfd");
        bench_segment_close(seg);
        return -1;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | (populate ? MAP_POPULATE : 0),
             seg->fd, 0);
    if (p == MAP_FAILED) {
        perror("dsbench: mmap");
        bench_segment_close(seg);
        return -1;
    }
    seg->map = p;
    if (populate) {
        memset(seg->map, 1, size);
    }
    return 0;
}

void bench_segment_close(struct bench_segment *seg)
{
    if (seg->map != NULL) {
        (void)munmap(seg->map, seg->size);
        seg->map = NULL;
    }
    if (seg->fd >= 0) {
        (void)close(seg->fd);
        seg->fd = -1;
    }
}

uint8_t *bench_segment_map_again(const struct bench_segment *seg)
{
    void *p = mmap(NULL, seg->size, PROT_READ | PROT_WRITE, MAP_SHARED, seg->fd, 0);

    if (p == MAP_FAILED) {
        perror("dsbench: mmap");
        return NULL;
    }
    return p;
}

void *bench_memory(size_t size)
{
    void *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED) {
        fprintf(stderr, "dsbench: no memory for %zu bytes: %s\n", size, strerror(errno));
        return NULL;
    }
    memset(p, 0x5a, size);
    return p;
}

void bench_memory_free(void *p, size_t size)
{
    if (p != NULL) {
        (void)munmap(p, size);
    }
}
