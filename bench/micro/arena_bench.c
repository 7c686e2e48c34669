/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena_bench.c - times alloc and free of the arena and measures what it loses.
 *
 *     arena_bench [MiB of the segment, default 4096] [million steps, default 1]
 *
 * A churn fills the arena to the first failure, then replaces: frees a block chosen at random,
 * allocates one of a random size, and while that fails frees more blocks chosen at random. "Loss"
 * is the share of the segment that is not requested bytes: at the first failure, and at every
 * failure after it (mean and worst, without the block asked for). "Hold" churns keep the requested
 * bytes below a fixed share and count the allocations that fail there.
 *
 * No memory of the segment is touched: times are those of the metadata.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/arena.h"

#define UNIT 64u
#define HISTOGRAM 20000 /* ns; the last cell takes the rest */

struct times {
    uint64_t cells[HISTOGRAM];
    uint64_t count;
    uint64_t max;
};

struct block {
    uint64_t offset;
    uint64_t size;
};

struct churn {
    struct ds_arena *arena;
    uint64_t size;
    uint64_t size_min;
    uint64_t size_max;
    struct block *blocks;
    uint64_t n_blocks;
    uint64_t requested;
    uint64_t random;
    struct times alloc;
    struct times free;
};

static double ticks_per_ns;

static void die(const char *what)
{
    fprintf(stderr, "arena_bench: %s\n", what);
    exit(1);
}

static uint64_t next_random(struct churn *c)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random;
}

static uint64_t random_size(struct churn *c)
{
    double u = (double)(next_random(c) >> 11) / 9007199254740992.0;

    return (uint64_t)((double)c->size_min * pow((double)c->size_max / (double)c->size_min, u));
}

static void calibrate(void)
{
    int64_t t0 = ds_monotonic_ns();
    uint64_t c0 = ds_ticks();

    while (ds_monotonic_ns() - t0 < 50000000) {
    }
    ticks_per_ns = (double)(ds_ticks() - c0) / (double)(ds_monotonic_ns() - t0);
}

static void add_time(struct times *t, uint64_t ticks)
{
    uint64_t ns = (uint64_t)((double)ticks / ticks_per_ns);

    t->cells[ns < HISTOGRAM ? ns : HISTOGRAM - 1]++;
    t->count++;
    t->max = ns > t->max ? ns : t->max;
}

static uint64_t percentile(const struct times *t, double share)
{
    uint64_t seen = 0;

    for (uint64_t ns = 0; ns < HISTOGRAM; ns++) {
        seen += t->cells[ns];
        if ((double)seen >= share * (double)t->count) {
            return ns;
        }
    }
    return t->max;
}

static void print_times(const char *what, const struct times *t)
{
    printf("  %-6s %10" PRIu64 " calls   p50 %4" PRIu64 "   p99 %4" PRIu64 "   p99.9 %5" PRIu64
           "   max %7" PRIu64 " ns\n",
           what, t->count, percentile(t, 0.5), percentile(t, 0.99), percentile(t, 0.999), t->max);
}

static bool add_block(struct churn *c, uint64_t size)
{
    uint64_t offset = 0;
    uint64_t begin = ds_ticks();
    int rc = ds_arena_alloc(c->arena, size, &offset);

    add_time(&c->alloc, ds_ticks() - begin);
    if (rc != 0) {
        return false;
    }
    c->blocks[c->n_blocks++] = (struct block){.offset = offset, .size = size};
    c->requested += size;
    return true;
}

static void drop_block(struct churn *c)
{
    uint64_t i = next_random(c) % c->n_blocks;
    struct block b = c->blocks[i];
    uint64_t begin;

    c->blocks[i] = c->blocks[--c->n_blocks];
    c->requested -= b.size;
    begin = ds_ticks();
    ds_arena_free(c->arena, b.offset, b.size);
    add_time(&c->free, ds_ticks() - begin);
}

static struct churn *churn_create(uint64_t size, uint64_t size_min, uint64_t size_max)
{
    struct churn *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        die("out of memory");
    }
    c->size = size;
    c->size_min = size_min;
    c->size_max = size_max;
    c->random = 88172645463325252u;
    c->blocks = calloc(size / size_min + 1, sizeof(*c->blocks));
    if (c->blocks == NULL || ds_arena_create(size, UNIT, &c->arena) != 0) {
        die("out of memory");
    }
    ds_arena_grow(c->arena, size);
    return c;
}

static void churn_destroy(struct churn *c)
{
    if (ds_arena_check(c->arena) != 0) {
        die("the arena is corrupt");
    }
    c->arena = ds_arena_destroy(c->arena);
    free(c->blocks);
    free(c);
}

static double loss(const struct churn *c)
{
    return 100.0 * (1.0 - (double)c->requested / (double)c->size);
}

static void print_stats(const struct churn *c)
{
    struct ds_arena_stats st;

    ds_arena_stats(c->arena, &st);
    printf("  %" PRIu64 " blocks; of the segment: used %.2f %%, slack in slabs %.2f %%, free pages "
           "%.2f %%, largest run %" PRIu64 " KiB\n",
           c->n_blocks, 100.0 * (double)st.used / (double)st.size,
           100.0 * (double)st.slab_slack / (double)st.size,
           100.0 * (double)st.free / (double)st.size, st.largest_free / 1024);
}

static void bench_evict(const char *name, uint64_t size, uint64_t size_min, uint64_t size_max,
                        uint64_t steps)
{
    struct churn *c = churn_create(size, size_min, size_max);
    double first;
    double sum = 0;
    double worst = 0;
    uint64_t n = 0;

    printf("%s, evicting\n", name);
    while (add_block(c, random_size(c))) {
    }
    first = loss(c);
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t want = random_size(c);

        drop_block(c);
        while (!add_block(c, want)) {
            sum += loss(c);
            worst = loss(c) > worst ? loss(c) : worst;
            n++;
            drop_block(c);
        }
    }
    printf("  loss: first failure %.2f %%, %" PRIu64 " later ones mean %.2f %%, worst %.2f %%\n",
           first, n, n > 0 ? sum / (double)n : 0, worst);
    print_stats(c);
    print_times("alloc", &c->alloc);
    print_times("free", &c->free);
    churn_destroy(c);
}

static void bench_hold(const char *name, uint64_t size, uint64_t size_min, uint64_t size_max,
                       uint64_t steps, double share)
{
    struct churn *c = churn_create(size, size_min, size_max);
    uint64_t limit = (uint64_t)((double)size * share);
    uint64_t failed = 0;

    for (uint64_t i = 0; i < steps;) {
        uint64_t want = random_size(c);

        if (c->requested + want > limit) {
            drop_block(c);
            continue;
        }
        i++;
        if (!add_block(c, want)) {
            failed++;
            drop_block(c);
        }
    }
    printf("%s, held at %.1f %%: %" PRIu64 " of %" PRIu64 " allocations failed\n", name,
           share * 100, failed, steps);
    churn_destroy(c);
}

int main(int argc, char **argv)
{
    static const double shares[] = {0.85, 0.875, 0.90, 0.95};
    uint64_t size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 4096) << 20;
    uint64_t steps = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 1000000;

    calibrate();
    bench_evict("mixed 64 B .. 4 MiB", size, 64, (uint64_t)4 << 20, steps);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        bench_hold("mixed 64 B .. 4 MiB", size, 64, (uint64_t)4 << 20, steps, shares[i]);
    }
    bench_evict("small 64 B .. 32 KiB", size, 64, 32768, steps * 4);
    bench_evict("equal 72 KiB", size, 72 * 1024, 72 * 1024, steps);
    bench_evict("equal 64 B", (uint64_t)10000000 * 64 / 65536 * 65536, 64, 64, steps * 4);
    return 0;
}
