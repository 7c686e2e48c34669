/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - what the parent and the client processes of dsbench replay share.
 *
 * The parent loads the trace before it forks, so that all read the same copy. Results and records
 * lie in anonymous shared memory: each client writes its own part only.
 */
#ifndef DS_BENCH_REPLAY_H
#define DS_BENCH_REPLAY_H

#include "bench.h"
#include "trace.h"

#define REPLAY_CLIENTS_MAX 64u

enum {
    REPLAY_FILL = 1,  /* a block was published; else: a block was looked up */
    REPLAY_FIRST = 2, /* the first lookup of a request */
    REPLAY_HIT = 4,   /* the lookup found the block */
};

/* One returned operation. */
struct replay_record {
    uint64_t ticks;
    uint32_t block;
    uint32_t flags;
};

struct replay_client {
    struct bench_hist
        hit; /* per block: a call that found all its blocks, divided by their number */
    struct bench_hist miss; /* per call: a lookup that missed some */
    struct bench_hist fill; /* per block: create, write, publish */
    uint64_t requests, references, hits;
    uint64_t fills, fills_refused; /* refused: out of memory */
    uint64_t wrong, errors;
    uint64_t read_bytes, read_ticks;
    uint64_t begin, end; /* ticks */
    uint64_t n_records;
};

struct replay_shared {
    uint64_t next;   /* atomic: the next request to deal */
    unsigned ready;  /* atomic */
    unsigned go;     /* atomic */
    unsigned failed; /* atomic */
    struct replay_client client[REPLAY_CLIENTS_MAX];
};

struct replay {
    struct bench_run *run;
    const char *path;
    uint64_t clients, block_size, group, limit;
    bool verify;  /* every byte; else one word per page */
    uint64_t tag; /* makes the keys of this run its own */
    struct trace trace;
    struct trace_summary summary;
    struct replay_shared *shared;
    struct replay_record *records[REPLAY_CLIENTS_MAX];
};

#define REPLAY_KEY_TEXT 32u

/* The key of a block, into text of REPLAY_KEY_TEXT bytes. */
size_t bench_replay_key(const struct replay *r, uint32_t block, char *text);

/* The work of client `id`, in its own process. 0, or -1 if it could not go on. */
int bench_replay_client(struct replay *r, unsigned id);

/* Prefix hits that an exact LRU of `capacity` blocks has on the merged records. -1: no memory. */
int64_t bench_replay_lru_hits(const struct replay *r, uint64_t capacity);

#endif
