/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - what the subcommands of dsbench share: options, samples, the report, floors, processes.
 *
 * Ownership: a struct bench_run lives in main() and is passed down; rows and facts are copied in.
 * Threads:   none; where several clients are needed they are processes.
 * Errors:    functions return 0 or print the reason to stderr and return -1.
 */
#ifndef DS_BENCH_BENCH_H
#define DS_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <ds/ds.h>

#include "tick.h"

#define BENCH_ROUNDS_MAX 32u
#define BENCH_ROWS_MAX 128u
#define BENCH_FACTS_MAX 64u
#define BENCH_FLAGS_MAX 32u
#define BENCH_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* --- samples: a histogram of ticks, 0.4 % wide buckets, no allocation while measuring --- */

#define BENCH_HIST_BUCKETS 7424u

struct bench_hist {
    uint64_t n;
    uint64_t sum;
    uint32_t count[BENCH_HIST_BUCKETS];
};

void bench_hist_reset(struct bench_hist *h);
void bench_hist_add(struct bench_hist *h, uint64_t ticks);
void bench_hist_merge(struct bench_hist *to, const struct bench_hist *from);

/* The value, in ticks, that a share q (0 to 1) of the samples does not exceed; 0 if there are none.
 */
double bench_hist_quantile(const struct bench_hist *h, double q);
double bench_hist_mean(const struct bench_hist *h);

/* One figure per round. */
struct bench_series {
    double v[BENCH_ROUNDS_MAX];
    unsigned n;
};

void bench_series_add(struct bench_series *s, double v);
double bench_series_median(const struct bench_series *s);
double bench_series_low(const struct bench_series *s);
double bench_series_high(const struct bench_series *s);

/* --- the run and its report --- */

enum bench_met { BENCH_NO_TARGET, BENCH_MET, BENCH_MISSED };

struct bench_row {
    char what[64];
    uint64_t size;  /* bytes of a value; 0: does not apply */
    unsigned batch; /* keys per call; 0: single calls */
    unsigned procs; /* client processes; 0: does not apply */
    uint64_t n;     /* samples over all rounds */
    const char *unit;
    double value; /* median over the rounds */
    double low, high;
    double p99, p999;       /* same unit, median over the rounds; < 0: does not apply */
    const char *floor_what; /* NULL: none */
    double floor;
    double ratio;       /* value to floor */
    const char *target; /* NULL: none */
    enum bench_met met;
};

struct bench_fact {
    char name[48];
    double value;
};

struct bench_run {
    const char *command;
    char worker[128]; /* host:port as given */
    char host[112];
    uint16_t port;
    uint64_t rounds;
    double seconds; /* per measurement and round */
    bool json;
    double ns_per_tick;
    int cpu[2];    /* two CPUs of ours; cpu[1] is -1 if there is only one */
    unsigned cpus; /* that we may use */
    FILE *human;   /* where lines for people go */
    struct bench_row rows[BENCH_ROWS_MAX];
    unsigned n_rows;
    struct bench_fact facts[BENCH_FACTS_MAX];
    unsigned n_facts;
};

/* A row with everything that does not apply left out. */
struct bench_row bench_row(const char *what, const char *unit);
void bench_row_values(struct bench_row *row, const struct bench_series *values);
void bench_row_floor(struct bench_row *row, const char *what, double floor);

/* The target holds if `figure` (the ratio or the value) is at most, or at least, `limit`. */
void bench_row_at_most(struct bench_row *row, const char *text, double figure, double limit);
void bench_row_at_least(struct bench_row *row, const char *text, double figure, double limit);

/* Copies the row in and prints its line. */
void bench_report_row(struct bench_run *run, const struct bench_row *row);
void bench_report_fact(struct bench_run *run, const char *name, double value);
void bench_report_json(const struct bench_run *run, FILE *out);

/* "64 B", "72 KiB", "64 MiB"; `text` holds at least 24 bytes. */
const char *bench_size_text(uint64_t size, char *text);

/* --- options: one table gives the parser and --help --- */

enum bench_flag_kind {
    BENCH_FLAG_STRING,
    BENCH_FLAG_U64,
    BENCH_FLAG_SIZE, /* with K, M, G, T = powers of 1024 */
    BENCH_FLAG_DOUBLE,
    BENCH_FLAG_BOOL,
};

struct bench_flag {
    const char *name;
    enum bench_flag_kind kind;
    void *target; /* const char **, uint64_t *, uint64_t *, double *, bool * */
    const char *argument;
    const char *help;
};

struct bench_command {
    const char *name;
    const char *summary;
    int (*main)(struct bench_run *run, const struct bench_command *self, int argc, char **argv);
};

#define BENCH_PARSED 0
#define BENCH_HELP_SHOWN 1

/* Reads the command's own flags and the common ones (--worker, --rounds, --seconds, --json).
 * BENCH_PARSED, BENCH_HELP_SHOWN, or -1 after printing what is wrong. */
int bench_parse(struct bench_run *run, const struct bench_command *command,
                const struct bench_flag *flags, size_t n_flags, int argc, char **argv);

/* 0 and *ret for "72K"; -1 otherwise. */
int bench_size_parse(const char *text, uint64_t *ret);

int bench_latency_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_set_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_copy_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_batch_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_mixed_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_hot_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_footprint_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_replay_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_simulate_main(struct bench_run *, const struct bench_command *, int, char **);
int bench_generate_main(struct bench_run *, const struct bench_command *, int, char **);

/* --- the machine --- */

/* Sets ns_per_tick, cpu and cpus. */
void bench_machine_init(struct bench_run *run);
double bench_us(const struct bench_run *run, double ticks);
double bench_seconds_of(const struct bench_run *run, uint64_t ticks);
uint64_t bench_deadline(const struct bench_run *run, double seconds); /* in ticks from now */

void bench_pin(int cpu); /* -1: anywhere again */
int bench_kill_with_parent(void);

/* Reads one byte of every page; the sum keeps the compiler from dropping the loads. */
uint64_t bench_touch(const void *data, size_t size);
void bench_keep(uint64_t value);

/* --- floors of the same run --- */

/* A process that echoes 64 bytes over a Unix socket. Start it before any client is opened. */
struct bench_echo {
    pid_t pid;
    int fd;
};

int bench_echo_start(struct bench_echo *echo, int cpu);
void bench_echo_stop(struct bench_echo *echo);

/* Round trips for `seconds`, the caller pinned to `cpu`, after a pause of `pause_us` each. */
int bench_echo_measure(const struct bench_run *run, const struct bench_echo *echo, int cpu,
                       double seconds, unsigned pause_us, struct bench_hist *hist);

/* The echoes of the two floors, and the faster one's p50 over all rounds so far. */
struct bench_pingpong {
    struct bench_echo same, cross; /* cross.fd is -1 on a machine with one CPU */
    struct bench_series same_us, cross_us;
    struct bench_series same_p99_us, cross_p99_us;
};

int bench_pingpong_start(const struct bench_run *run, struct bench_pingpong *pp);
int bench_pingpong_round(const struct bench_run *run, struct bench_pingpong *pp);
double bench_pingpong_us(const struct bench_pingpong *pp);
void bench_pingpong_report(struct bench_run *run, const struct bench_pingpong *pp);
void bench_pingpong_stop(struct bench_pingpong *pp);

/* Memory like the worker's: a memfd, mapped shared, populated if asked. */
struct bench_segment {
    uint8_t *map;
    size_t size;
    int fd;
};

int bench_segment_open(struct bench_segment *seg, size_t size, bool populate);
void bench_segment_close(struct bench_segment *seg);

/* A second mapping of the same pages: its first writes fault, though the pages are there. */
uint8_t *bench_segment_map_again(const struct bench_segment *seg);

/* Private memory, populated. NULL and a message if there is none. */
void *bench_memory(size_t size);
void bench_memory_free(void *p, size_t size);

/* --- the worker --- */

int bench_connect(const struct bench_run *run, struct ds_client **ret);
int bench_stats(struct ds_client *client, struct ds_worker_stats *ret);

/* How many values of `size` bytes fit into a quarter of what is free, between 1 and `most`. */
size_t bench_fit(struct ds_client *client, uint64_t size, size_t most);

/* Writes to every free page of the worker's data segment through this client's mapping, so that
 * what follows measures no first touch. */
int bench_warm(struct ds_client *client);

/* "what: Out of memory (free data or ...)" to stderr; returns -1. */
int bench_error(const char *what, int code);

/* n keys "PREFIX-PID-I". Keys and their text are one allocation. */
struct bench_keys {
    struct ds_bytes *key;
    size_t n;
};

int bench_keys_make(struct bench_keys *keys, const char *prefix, size_t n);
void bench_keys_free(struct bench_keys *keys);

/* Deletes them in batches; what is missing counts as deleted. */
void bench_keys_delete(struct ds_client *client, const struct bench_keys *keys);

#endif
