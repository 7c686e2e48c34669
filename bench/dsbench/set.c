/* SPDX-License-Identifier: Apache-2.0 */
/*
 * set.c - dsbench set: small sets beside a Unix-socket ping-pong; large ones are in set_large.c.
 *
 * The floor is the faster of the two ping-pongs (same CPU, two CPUs) of the same run: what a cache
 * that asks a server pays before any work. After a pause both the worker and the echo process
 * sleep, so a ping-pong after the same pause is reported beside it.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "set.h"

#define VALUE 1024u
#define KEYS_MAX 200000u
#define OVER_KEYS 128u
#define PAUSE_US 20000u
#define PAUSED_SECONDS 1.0

struct figures {
    struct bench_series p50, p99, rate;
    uint64_t n;
};

struct small {
    struct bench_run *run;
    struct ds_client *client;
    struct bench_pingpong *pp;
    struct bench_keys fresh, over;
    struct figures new_key, over_key, asleep, paused_echo;
    uint8_t value[VALUE];
};

static void take(const struct bench_run *run, struct figures *f, const struct bench_hist *h,
                 double seconds)
{
    bench_series_add(&f->p50, bench_us(run, bench_hist_quantile(h, 0.5)));
    bench_series_add(&f->p99, bench_us(run, bench_hist_quantile(h, 0.99)));
    bench_series_add(&f->rate, seconds > 0 ? (double)h->n / seconds : 0);
    f->n += h->n;
}

/* Sets keys in turn until the time is over, or once each if `once`. */
static int sets(struct small *s, const struct bench_keys *keys, bool once, double seconds,
                unsigned pause_us, struct figures *f)
{
    uint64_t begin = bench_ticks(), end = bench_deadline(s->run, seconds), t = begin;
    struct bench_hist h;
    size_t at = 0;
    int rc;

    bench_hist_reset(&h);
    while (t < end && !(once && h.n == keys->n)) {
        if (pause_us != 0) {
            (void)usleep(pause_us);
        }
        t = bench_ticks();
        rc = ds_kv_set(s->client, keys->key[at].data, keys->key[at].size, s->value, VALUE, NULL);
        if (rc != 0) {
            return bench_error("set", rc);
        }
        bench_hist_add(&h, bench_ticks() - t);
        at = at + 1 == keys->n ? 0 : at + 1;
    }
    take(s->run, f, &h, bench_seconds_of(s->run, bench_ticks() - begin));
    return 0;
}

static int small_round(struct small *s)
{
    const struct bench_echo *echo = s->pp->cross.fd >= 0 ? &s->pp->cross : &s->pp->same;
    struct bench_hist h;

    if (bench_pingpong_round(s->run, s->pp) != 0 ||
        sets(s, &s->fresh, true, s->run->seconds, 0, &s->new_key) != 0) {
        return -1;
    }
    bench_keys_delete(s->client, &s->fresh);
    if (sets(s, &s->over, false, s->run->seconds, 0, &s->over_key) != 0 ||
        sets(s, &s->over, false, PAUSED_SECONDS, PAUSE_US, &s->asleep) != 0) {
        return -1;
    }
    bench_hist_reset(&h);
    if (bench_echo_measure(s->run, echo, -1, PAUSED_SECONDS, PAUSE_US, &h) != 0) {
        return -1;
    }
    take(s->run, &s->paused_echo, &h, 0);
    return 0;
}

static struct bench_row row_of(const char *what, const struct figures *f)
{
    struct bench_row row = bench_row(what, "us");

    row.size = VALUE;
    row.n = f->n;
    bench_row_values(&row, &f->p50);
    row.p99 = bench_series_median(&f->p99);
    return row;
}

static void small_report(struct small *s)
{
    double pp = bench_pingpong_us(s->pp);
    struct bench_row row;

    bench_pingpong_report(s->run, s->pp);
    row = row_of("set, new key", &s->new_key);
    bench_row_floor(&row, "ping-pong", pp);
    bench_row_at_most(&row, "<= 0.25 ping-pong", row.ratio, 0.25);
    bench_report_row(s->run, &row);
    bench_report_fact(s->run, "set_new_per_s", bench_series_median(&s->new_key.rate));

    row = row_of("set, existing key", &s->over_key);
    bench_row_floor(&row, "ping-pong", pp);
    bench_row_at_most(&row, "<= 0.5 ping-pong", row.ratio, 0.5);
    bench_report_row(s->run, &row);
    bench_report_fact(s->run, "set_over_per_s", bench_series_median(&s->over_key.rate));

    row = row_of("ping-pong after a pause of 20 ms", &s->paused_echo);
    row.size = 64;
    bench_report_row(s->run, &row);
    row = row_of("set, existing key, worker asleep", &s->asleep);
    bench_row_floor(&row, "ping-pong", pp);
    bench_row_at_most(&row, "<= 1.3 ping-pong", row.ratio, 1.3);
    bench_report_row(s->run, &row);
    row = row_of("set, existing key, worker asleep", &s->asleep);
    bench_row_floor(&row, "paused ping-pong", bench_series_median(&s->paused_echo.p50));
    bench_report_row(s->run, &row);
}

static int small_measure(struct small *s)
{
    size_t n = bench_fit(s->client, 2 * VALUE, KEYS_MAX);

    memset(s->value, 0x5a, sizeof(s->value));
    if (bench_keys_make(&s->fresh, "new", n) != 0 ||
        bench_keys_make(&s->over, "over", OVER_KEYS) != 0 ||
        sets(s, &s->fresh, true, s->run->seconds, 0, &(struct figures){.n = 0}) != 0) {
        return -1; /* the round above only warms up */
    }
    bench_keys_delete(s->client, &s->fresh);
    for (uint64_t r = 0; r < s->run->rounds; r++) {
        if (small_round(s) != 0) {
            return -1;
        }
    }
    small_report(s);
    return 0;
}

static int set_small(struct bench_run *run, struct ds_client *client, struct bench_pingpong *pp)
{
    struct small s = {.run = run, .client = client, .pp = pp};
    int rc = small_measure(&s);

    if (s.fresh.key != NULL) {
        bench_keys_delete(client, &s.fresh);
    }
    if (s.over.key != NULL) {
        bench_keys_delete(client, &s.over);
    }
    bench_keys_free(&s.fresh);
    bench_keys_free(&s.over);
    return rc;
}

int bench_set_main(struct bench_run *run, const struct bench_command *self, int argc, char **argv)
{
    struct bench_pingpong pp;
    struct ds_client *client = NULL;
    bool only_small = false, only_large = false;
    const struct bench_flag flags[] = {
        {"small", BENCH_FLAG_BOOL, &only_small, NULL, "only the 1 KiB cases"},
        {"large", BENCH_FLAG_BOOL, &only_large, NULL, "only the 1 MiB and 64 MiB cases"},
    };
    int rc = bench_parse(run, self, flags, BENCH_LEN(flags), argc, argv);

    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    if (!only_large) {
        rc = bench_pingpong_start(run, &pp);
        if (rc == 0 && (rc = bench_connect(run, &client)) == 0) {
            rc = set_small(run, client, &pp);
        }
        ds_client_close(client);
        bench_pingpong_stop(&pp);
    }
    if (rc == 0 && !only_small) {
        rc = bench_set_large(run);
    }
    return rc == 0 ? 0 : 1;
}
