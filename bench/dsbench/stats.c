/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - histograms of ticks and series of rounds.
 *
 * Buckets: values below 256 have one each; above, each power of two has 128. So a quantile is off
 * by at most 0.4 %.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define LINEAR 256u
#define PER_OCTAVE 128u

static unsigned bucket_of(uint64_t v)
{
    unsigned shift;

    if (v < LINEAR) {
        return (unsigned)v;
    }
    shift = (unsigned)(63 - __builtin_clzll(v)) - 7u;
    return LINEAR + (shift - 1) * PER_OCTAVE + (unsigned)((v >> shift) - PER_OCTAVE);
}

static double bucket_middle(unsigned i)
{
    unsigned shift;
    uint64_t low;

    if (i < LINEAR) {
        return (double)i;
    }
    shift = (i - LINEAR) / PER_OCTAVE + 1;
    low = (uint64_t)((i - LINEAR) % PER_OCTAVE + PER_OCTAVE) << shift;
    return (double)low + (double)((uint64_t)1 << shift) / 2.0;
}

_Static_assert(LINEAR + 56 * PER_OCTAVE == BENCH_HIST_BUCKETS, "64-bit values fit");

void bench_hist_reset(struct bench_hist *h)
{
    memset(h, 0, sizeof(*h));
}

void bench_hist_add(struct bench_hist *h, uint64_t ticks)
{
    h->n++;
    h->sum += ticks;
    h->count[bucket_of(ticks)]++;
}

void bench_hist_merge(struct bench_hist *to, const struct bench_hist *from)
{
    to->n += from->n;
    to->sum += from->sum;
    for (unsigned i = 0; i < BENCH_HIST_BUCKETS; i++) {
        to->count[i] += from->count[i];
    }
}

double bench_hist_quantile(const struct bench_hist *h, double q)
{
    uint64_t rank, seen = 0;

    if (h->n == 0) {
        return 0;
    }
    rank = (uint64_t)((double)(h->n - 1) * q) + 1;
    for (unsigned i = 0; i < BENCH_HIST_BUCKETS; i++) {
        seen += h->count[i];
        if (seen >= rank) {
            return bucket_middle(i);
        }
    }
    return bucket_middle(BENCH_HIST_BUCKETS - 1);
}

double bench_hist_mean(const struct bench_hist *h)
{
    return h->n == 0 ? 0 : (double)h->sum / (double)h->n;
}

void bench_series_add(struct bench_series *s, double v)
{
    if (s->n < BENCH_ROUNDS_MAX) {
        s->v[s->n++] = v;
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_series_median(const struct bench_series *s)
{
    struct bench_series t = *s;

    if (t.n == 0) {
        return 0;
    }
    qsort(t.v, t.n, sizeof(t.v[0]), compare);
    return t.n % 2 != 0 ? t.v[t.n / 2] : (t.v[t.n / 2 - 1] + t.v[t.n / 2]) / 2;
}

double bench_series_low(const struct bench_series *s)
{
    double low = s->n == 0 ? 0 : s->v[0];

    for (unsigned i = 1; i < s->n; i++) {
        low = s->v[i] < low ? s->v[i] : low;
    }
    return low;
}

double bench_series_high(const struct bench_series *s)
{
    double high = s->n == 0 ? 0 : s->v[0];

    for (unsigned i = 1; i < s->n; i++) {
        high = s->v[i] > high ? s->v[i] : high;
    }
    return high;
}
