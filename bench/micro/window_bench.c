/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_bench - writes of values into the data segment: by system call, as a copy into pages that
 * are not in the page table yet, and into pages that are.
 *
 * Pieces of 4 KiB, 64 KiB and 1 MiB, over 256 MiB of a new segment in each round: into pages that
 * were never used, by system call; then all three in turn. A figure is the median over the rounds,
 * with the lowest and the highest, in us of processor time for a piece.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "base/sys.h"
#include "shm/window.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define SIZE (256 * MIB)
#define ROUNDS 7u

static const char *const ways[] = {"system call, pages never used", "copy, pages not in the table",
                                   "copy, pages in the table", "system call"};
static const size_t sizes[] = {4 * KIB, 64 * KIB, MIB};

static int64_t cpu_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* us for a piece; < 0: it failed. */
static double measure(struct ds_window *w, int fd, const uint8_t *data, size_t size)
{
    int64_t begin = cpu_ns();

    for (uint64_t at = 0; at < SIZE; at += size) {
        if (ds_window_write(w, fd, at, data, size) < 0) {
            return -1;
        }
    }
    return (double)(cpu_ns() - begin) / 1e3 / (double)(SIZE / size);
}

static bool measure_round(const uint8_t *data, size_t size, double *ret)
{
    int fd = ds_sys_memfd_sealed("window-bench", SIZE);
    struct ds_window *w = fd < 0 ? NULL : ds_window_open(fd, SIZE, SIZE);
    bool ok = w != NULL && ds_sys_reserve(fd, 0, SIZE) == 0;

    for (size_t i = 0; ok && i < DS_ARRAY_SIZE(ways); i++) {
        ret[i] = measure(i == DS_ARRAY_SIZE(ways) - 1 ? NULL : w, fd, data, size);
        ok = ret[i] >= 0;
    }
    ds_window_close(w);
    ds_sys_close(fd);
    return ok;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

int main(void)
{
    uint8_t *data = calloc(1, MIB);

    for (size_t i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
        double us[ROUNDS][DS_ARRAY_SIZE(ways)];
        double one[ROUNDS];

        for (unsigned r = 0; r < ROUNDS; r++) {
            if (data == NULL || !measure_round(data, sizes[i], us[r])) {
                (void)fprintf(stderr, "window_bench: no memory: 256 MiB are needed\n");
                free(data);
                return 1;
            }
        }
        for (size_t way = 0; way < DS_ARRAY_SIZE(ways); way++) {
            for (unsigned r = 0; r < ROUNDS; r++) {
                one[r] = us[r][way];
            }
            qsort(one, ROUNDS, sizeof(one[0]), compare);
            (void)printf("%5zu KiB  %-30s %8.2f us  (%.2f to %.2f)\n", sizes[i] / KIB, ways[way],
                         one[ROUNDS / 2], one[0], one[ROUNDS - 1]);
        }
    }
    free(data);
    return 0;
}
