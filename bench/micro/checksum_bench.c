/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum_bench - the checksum of disk and second-level storage beside what it was chosen from.
 *
 * CRC-32C (with the processor's instruction, and without), XXH3-64, and memcpy as what the memory
 * gives, over pieces of 4 KiB, 64 KiB and 1 MiB: one piece again and again (in cache), and pieces
 * of 256 MiB in turn (out of cache). All are measured in turn within each round; a figure is the
 * median over the rounds, with the lowest and the highest, in bytes per second of processor time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/base.h"
#include "base/crc32c.h"
#include "base/hash.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define COLD (256 * MIB)
#define ROUNDS 9u
#define ROUND_NS INT64_C(40000000)

static uint8_t copied[MIB];

static uint64_t crc32c(const uint8_t *data, size_t size)
{
    return ds_crc32c(0, data, size);
}

static uint64_t crc32c_portable(const uint8_t *data, size_t size)
{
    return ds_crc32c_portable(0, data, size);
}

static uint64_t xxh3(const uint8_t *data, size_t size)
{
    return ds_hash(data, size, 0);
}

static uint64_t copy(const uint8_t *data, size_t size)
{
    memcpy(copied, data, size);
    return copied[size / 2];
}

static const struct {
    const char *name;
    uint64_t (*run)(const uint8_t *data, size_t size);
} ways[] = {{"CRC-32C", crc32c},
            {"CRC-32C, portable", crc32c_portable},
            {"XXH3-64", xxh3},
            {"memcpy", copy}};

static const size_t sizes[] = {4 * KIB, 64 * KIB, MIB};

static volatile uint64_t sink; /* results are used, or the compiler leaves the work out */

/* Of this thread: what others do on the machine costs caches and memory, but no time here. */
static int64_t cpu_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* GB/s over pieces of `size` bytes, in turn from `span` bytes. */
static double measure(unsigned way, const uint8_t *data, size_t size, size_t span)
{
    int64_t begin = cpu_ns();
    uint64_t bytes = 0;
    int64_t took;

    do {
        for (size_t n = 0; n < MIB; n += size) {
            sink = ways[way].run(data + bytes % span, size);
            bytes += size;
        }
        took = cpu_ns() - begin;
    } while (took < ROUND_NS);
    return (double)bytes / (double)took;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void measure_all(const uint8_t *data, size_t size, size_t span)
{
    double rate[DS_ARRAY_SIZE(ways)][ROUNDS];

    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned w = 0; w < DS_ARRAY_SIZE(ways); w++) {
            rate[w][r] = measure(w, data, size, span);
        }
    }
    for (unsigned w = 0; w < DS_ARRAY_SIZE(ways); w++) {
        qsort(rate[w], ROUNDS, sizeof(rate[w][0]), compare);
        (void)printf("%5zu KiB  %-12s  %-18s %6.2f GB/s  (%.2f to %.2f)%s\n", size / KIB,
                     span == size ? "in cache" : "out of cache", ways[w].name, rate[w][ROUNDS / 2],
                     rate[w][0], rate[w][ROUNDS - 1],
                     w == 0 ? rate[w][ROUNDS / 2] >= 5 ? "  [>= 5: yes]" : "  [>= 5: no]" : "");
    }
}

int main(void)
{
    uint8_t *data = mmap(NULL, COLD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (data == MAP_FAILED) {
        (void)fprintf(stderr, "checksum_bench: no memory: 256 MiB are needed\n");
        return 1;
    }
    for (size_t i = 0; i < COLD; i++) {
        data[i] = (uint8_t)(i * 31 >> 7);
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
        measure_all(data, sizes[i], sizes[i]);
        measure_all(data, sizes[i], COLD);
    }
    (void)munmap(data, COLD);
    return 0;
}
