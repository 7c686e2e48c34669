/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - an LLM request trace in the Mooncake JSONL form, in memory.
 *
 * One request per line: {"timestamp": ms, "input_length": tokens, "output_length": tokens,
 * "hash_ids": [id, ...]}. hash_ids are the request's prefix blocks, in order; equal ids are equal
 * prefixes. Exactly these members, in any order, whole numbers only.
 *
 * Ownership: the trace owns its arrays; bench_trace_free() ends it.
 * Errors:    0, or -1 after printing file, line and reason.
 */
#ifndef DS_BENCH_TRACE_H
#define DS_BENCH_TRACE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TRACE_BLOCKS_PER_REQUEST_MAX 8192u
#define TRACE_LINE_MAX ((size_t)256 << 10)
#define TRACE_REQUESTS_MAX ((size_t)4 << 20)
#define TRACE_BLOCKS_MAX ((size_t)256 << 20)

struct trace_request {
    uint64_t timestamp_ms;
    uint32_t input_length, output_length;
    uint64_t first; /* index into blocks */
    uint32_t n;
};

struct trace {
    struct trace_request *requests;
    size_t n, capacity;
    uint32_t *blocks; /* dense numbers from 0, in the order in which ids first appear */
    size_t n_blocks, blocks_capacity;
    uint32_t distinct;
    struct trace_ids *ids; /* private: id to dense number */
};

/* What can be said of a trace without a cache. */
struct trace_summary {
    uint64_t requests, references, distinct, reused; /* reused: blocks used more than once */
    uint64_t ideal_hits;    /* references that an infinite cache serves, prefix rule */
    uint32_t p50, p99, max; /* blocks per request */
};

int bench_trace_load(const char *path, size_t limit, struct trace *ret);
void bench_trace_free(struct trace *trace);

/* One line without its newline. `where` and `line` are for the message. */
int bench_trace_parse_line(struct trace *trace, const char *text, size_t size, const char *where,
                           size_t line);

/* Appends a request; ids as in the file. */
int bench_trace_append(struct trace *trace, const struct trace_request *request,
                       const uint64_t *ids, size_t n);

int bench_trace_summary(const struct trace *trace, struct trace_summary *ret);
void bench_trace_print_summary(const struct trace_summary *s, FILE *out);

#endif
