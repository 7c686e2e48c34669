/* SPDX-License-Identifier: Apache-2.0 */
/* test_window.c - copies into a segment that others may take the pages from. */
#include "shm/window.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "harness/ds_test.h"

#define REGION DS_WINDOW_REGION
#define REGIONS 8u
#define SIZE (REGIONS * REGION)
#define EDGES (128u << 10) /* a fault enters up to 64 KiB around it */

/* Not sealed: the tests take pages away by cutting it. */
static int segment(void)
{
    int fd = memfd_create("window-test", MFD_CLOEXEC);

    CHECK(fd >= 0 && ftruncate(fd, SIZE) == 0);
    return fd;
}

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static void write_and_compare(struct ds_window *w, int fd, uint64_t offset, size_t n, uint32_t seed)
{
    uint8_t *p = ds_zalloc(n, "test");
    uint8_t *q = ds_zalloc(n, "test");

    CHECK(p != NULL && q != NULL);
    fill(p, n, seed);
    CHECK_OK(ds_window_write(w, fd, offset, p, n));
    CHECK_EQ(pread(fd, q, n, (off_t)offset), n);
    CHECK_EQ(memcmp(p, q, n), 0);
    ds_free(p);
    ds_free(q);
}

/* Bytes of the segment that are in this process's page table. */
static uint64_t in_table(void)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool ours = false;
    unsigned long long kib = 0;

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strchr(line, '-') != NULL && strstr(line, " r") != NULL) { /* of a mapping */
            ours = strstr(line, "window-test") != NULL;
        }
        if (ours && sscanf(line, "Rss: %llu kB", &kib) == 1) {
            break;
        }
    }
    (void)fclose(f);
    return kib << 10;
}

static void enter_all(struct ds_window *w, int fd)
{
    for (uint32_t i = 0; i < 2 * REGIONS; i++) {
        write_and_compare(w, fd, i % REGIONS * REGION, REGION, i);
    }
}

DS_TEST(window__writes_what_it_is_given_where_it_is_told)
{
    int fd = segment();
    struct ds_window *w = ds_window_open(fd, SIZE, SIZE);

    CHECK(w != NULL);
    enter_all(w, fd);
    for (uint32_t i = 0; i < 64; i++) { /* across pages and regions */
        write_and_compare(w, fd, i * 250007, 3 + i * 4099, i);
    }
    write_and_compare(w, fd, SIZE - 1, 1, 1);
    CHECK_OK(ds_window_write(w, fd, 0, "", 0));
    ds_window_close(w);
    ds_window_close(NULL);
    (void)close(fd);
}

/* A fault would clear each page first. */
DS_TEST(window__maps_no_page_that_was_never_written)
{
    int fd = segment();
    struct ds_window *w = ds_window_open(fd, SIZE, SIZE);

    CHECK(w != NULL);
    for (uint32_t i = 0; i < 2 * REGIONS; i++) {
        write_and_compare(w, fd, i * (REGION / 2), REGION / 2, i);
    }
    CHECK_EQ(in_table(), 0);
    write_and_compare(w, fd, REGION, REGION, 1);
    CHECK_GE(in_table(), REGION);
    CHECK_LE(in_table(), REGION + EDGES);
    ds_window_close(w);
    (void)close(fd);
}

DS_TEST(window__keeps_its_page_table_small)
{
    int fd = segment();
    struct ds_window *w = ds_window_open(fd, SIZE, 3 * REGION);

    CHECK(w != NULL);
    for (uint32_t i = 0; i < 10 * REGIONS; i++) {
        write_and_compare(w, fd, i * 5 % REGIONS * REGION, REGION, i);
        CHECK_LE(in_table(), 3 * (REGION + EDGES));
    }
    CHECK_GT(in_table(), 0);
    ds_window_close(w);
    (void)close(fd);
}

DS_TEST(window__lives_without_pages)
{
    int fd = segment();
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct ds_window *w = ds_window_open(fd, SIZE, SIZE);

    CHECK(w != NULL && other >= 0);
    enter_all(w, fd);
    CHECK_EQ(ftruncate(fd, REGION), 0);
    CHECK_EQ(ds_window_write(w, other, 2 * REGION, "abc", 3), -EBADF);
    write_and_compare(w, fd, REGION - 5000, 10000, 7); /* half of it is there */
    write_and_compare(w, fd, 0, 100, 8);
    ds_window_close(w);
    (void)close(fd);
    (void)close(other);
}

static void *write_without_pages(void *arg)
{
    struct ds_window *w = arg;
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CHECK_GE(other, 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(ds_window_write(w, other, 2 * REGION, "abc", 3), -EBADF);
    }
    (void)close(other);
    return NULL;
}

/* Threads that begin with all signals blocked write, too. */
DS_TEST(window__lives_without_pages_in_any_thread)
{
    int fd = segment();
    struct ds_window *w = ds_window_open(fd, SIZE, SIZE);
    pthread_t thread;

    CHECK(w != NULL);
    enter_all(w, fd);
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_OK(ds_sys_thread(&thread, write_without_pages, w));
    CHECK_EQ(pthread_join(thread, NULL), 0);
    (void)write_without_pages(w);
    ds_window_close(w);
    (void)close(fd);
}

static void check_dies(bool sent)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        int fd = segment();
        volatile uint8_t *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        (void)ds_window_open(fd, SIZE, SIZE);
        if (sent) {
            (void)kill(getpid(), SIGBUS);
        } else {
            (void)!ftruncate(fd, 0);
            p[0] = 1;
        }
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

/* What it had no part in ends the process as ever. */
DS_TEST(window__leaves_other_faults_alone)
{
    check_dies(false);
    check_dies(true);
}

struct task {
    struct ds_window *w;
    int fd;
    uint32_t number;
};

static void *write_own_part(void *arg)
{
    struct task *t = arg;
    size_t part = REGION / 4;

    for (uint32_t i = 0; i < 30 * REGIONS; i++) {
        write_and_compare(t->w, t->fd, i % REGIONS * REGION + t->number * part, part, i);
    }
    return NULL;
}

/* In the same regions, which leave the table meanwhile. */
DS_TEST(window__takes_many_threads)
{
    int fd = segment();
    struct ds_window *w = ds_window_open(fd, SIZE, 2 * REGION);
    pthread_t threads[4];
    struct task tasks[4];

    CHECK(w != NULL);
    for (uint32_t i = 0; i < 4; i++) {
        tasks[i] = (struct task){w, fd, i};
        CHECK_EQ(pthread_create(&threads[i], NULL, write_own_part, &tasks[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    ds_window_close(w);
    (void)close(fd);
}

DS_TEST(window__is_not_needed)
{
    int fd = ds_sys_memfd_sealed("window-test", SIZE);
    struct ds_window *w;

    CHECK_GE(fd, 0);
#ifdef DS_FAILPOINTS
    ds_failpoint_arm("sys.map=errno:12");
    CHECK(ds_window_open(fd, SIZE, SIZE) == NULL);
    ds_failpoint_arm(NULL);
#endif
    write_and_compare(NULL, fd, 12345, 100000, 1);
    w = ds_window_open(fd, SIZE, SIZE);
    CHECK(w != NULL);
    CHECK_EQ(ds_window_write(w, fd, SIZE - 1, "ab", 2), -EPERM); /* beyond the end */
    ds_window_close(w);
    (void)close(fd);
}
