/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generate.c - dsbench generate: a seeded trace of chat requests with realistic reuse.
 *
 * Sessions start with a system prompt and a first message of a heavy-tailed length; each later turn
 * repeats the whole conversation and adds to it; most sessions end after one turn. A prefix block
 * is 512 tokens; the last one of a request is usually partial, so the next turn replaces it. The
 * tables below are quantiles counted on a public trace of chat requests (Mooncake, FAST'25); all
 * arithmetic is on integers, so a seed gives the same trace on every machine.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "trace.h"

#define BLOCK_TOKENS 512u
#define BLOCKS_MAX 247u
#define PROMPTS 8u /* longer system prompts that some sessions share */
#define PROMPT_PERMILLE 40u
#define GAP_SPAN 12000u /* requests over which the gaps below were counted */
#define INTERVAL_MS 294u

struct point {
    uint32_t permille, value;
};

/* Tokens of a session's first request. */
static const struct point first_tokens[] = {
    {0, 891},     {150, 943},   {200, 1092},  {300, 1756},  {350, 2767},
    {400, 3914},  {500, 5264},  {600, 7417},  {700, 10775}, {800, 15871},
    {900, 25561}, {950, 38538}, {980, 67212}, {990, 89869}, {1000, 126000},
};
/* Blocks of a later request that its predecessor did not have. */
static const struct point new_blocks[] = {
    {0, 0},    {49, 0},   {50, 1},   {249, 1},  {250, 2},  {650, 2},  {700, 4},  {750, 7},
    {800, 10}, {850, 15}, {900, 20}, {950, 29}, {980, 41}, {990, 53}, {995, 65}, {1000, 180},
};
/* Requests of others between two turns of a session. */
static const struct point gap_requests[] = {
    {0, 5},     {50, 99},    {200, 204},  {400, 324},  {500, 423},   {600, 550},
    {700, 757}, {800, 1087}, {900, 1662}, {950, 2131}, {1000, 8000},
};
static const struct point output_tokens[] = {
    {0, 1},     {100, 24},  {200, 100}, {300, 213},  {400, 291},
    {500, 350}, {700, 447}, {900, 597}, {990, 1120}, {1000, 2000},
};
/* Permille of sessions that go on after turn 1, 2, 3, ... */
static const uint32_t goes_on[] = {310, 420, 510, 580, 600};

struct session {
    uint64_t due; /* number of the request that may be its next turn */
    uint32_t turn, n, input, output;
    uint64_t ids[BLOCKS_MAX];
};

struct generator {
    uint64_t random;
    uint64_t next_id, requests, time_ms;
    struct session **heap; /* of waiting sessions, the earliest due first */
    size_t waiting;
    uint64_t prompt_first[PROMPTS];
    uint32_t prompt_n[PROMPTS];
    struct trace trace; /* for the summary */
};

static uint64_t random_u64(struct generator *g)
{
    uint64_t z = g->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint32_t below(struct generator *g, uint32_t n)
{
    return (uint32_t)((random_u64(g) >> 32) * n >> 32);
}

static uint32_t sample(struct generator *g, const struct point *table, size_t n)
{
    uint64_t at = below(g, 1000000);
    size_t i = 1;
    uint64_t span, rise;

    while (i + 1 < n && at >= (uint64_t)table[i].permille * 1000) {
        i++;
    }
    span = (uint64_t)(table[i].permille - table[i - 1].permille) * 1000;
    rise = table[i].value - table[i - 1].value;
    return table[i - 1].value +
           (uint32_t)(rise * (at - (uint64_t)table[i - 1].permille * 1000) / span);
}

/* --- the heap of waiting sessions --- */

static bool earlier(const struct session *a, const struct session *b)
{
    return a->due < b->due;
}

static void heap_push(struct generator *g, struct session *s)
{
    size_t i = g->waiting++;

    while (i > 0 && earlier(s, g->heap[(i - 1) / 2])) {
        g->heap[i] = g->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    g->heap[i] = s;
}

static struct session *heap_pop(struct generator *g)
{
    struct session *top = g->heap[0], *last = g->heap[--g->waiting];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < g->waiting) {
        if (child + 1 < g->waiting && earlier(g->heap[child + 1], g->heap[child])) {
            child++;
        }
        if (!earlier(g->heap[child], last)) {
            break;
        }
        g->heap[i] = g->heap[child];
        i = child;
    }
    g->heap[i] = last;
    return top;
}

/* --- sessions --- */

static void new_ids(struct generator *g, struct session *s, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        s->ids[i] = g->next_id++;
    }
}

static void set_length(struct generator *g, struct session *s, uint32_t blocks)
{
    s->n = blocks < 1 ? 1 : blocks > BLOCKS_MAX ? BLOCKS_MAX : blocks;
    s->input = (s->n - 1) * BLOCK_TOKENS + 1 + below(g, BLOCK_TOKENS);
}

/* All share block 0; some have more of a prompt in common, the first prompts most often. */
static void first_turn(struct generator *g, struct session *s)
{
    uint32_t tokens = sample(g, first_tokens, BENCH_LEN(first_tokens)), shared = 1, p;

    set_length(g, s, (tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS);
    s->ids[0] = 0;
    if (below(g, 1000) < PROMPT_PERMILLE) {
        p = below(g, 1 + below(g, PROMPTS));
        for (; shared <= g->prompt_n[p] && shared + 1 < s->n; shared++) {
            s->ids[shared] = g->prompt_first[p] + shared - 1;
        }
    }
    new_ids(g, s, shared, s->n);
    s->turn = 1;
}

static void next_turn(struct generator *g, struct session *s)
{
    uint32_t added = sample(g, new_blocks, BENCH_LEN(new_blocks)), kept;

    s->turn++;
    if (added == 0 || s->n == BLOCKS_MAX) {
        return; /* the same question again */
    }
    kept = s->n > 1 ? s->n - 1 : 1;
    set_length(g, s, kept + added);
    new_ids(g, s, kept, s->n);
}

static int emit(struct generator *g, struct session *s)
{
    struct trace_request r = {.timestamp_ms = g->time_ms};

    r.input_length = s->input;
    r.output_length = s->output = sample(g, output_tokens, BENCH_LEN(output_tokens));
    printf("{\"timestamp\": %llu, \"input_length\": %u, \"output_length\": %u, \"hash_ids\": [",
           (unsigned long long)r.timestamp_ms, r.input_length, r.output_length);
    for (uint32_t i = 0; i < s->n; i++) {
        printf("%s%llu", i == 0 ? "" : ", ", (unsigned long long)s->ids[i]);
    }
    printf("]}\n");
    g->time_ms += below(g, 2 * INTERVAL_MS);
    return bench_trace_append(&g->trace, &r, s->ids, s->n);
}

static int one_request(struct generator *g, uint64_t number)
{
    struct session *s;
    uint32_t t;
    uint64_t gap;

    if (g->waiting > 0 && g->heap[0]->due <= number) {
        s = heap_pop(g);
        next_turn(g, s);
    } else {
        s = calloc(1, sizeof(*s));
        if (s == NULL) {
            return -1;
        }
        first_turn(g, s);
    }
    if (emit(g, s) != 0) {
        free(s);
        return -1;
    }
    t = s->turn - 1 < BENCH_LEN(goes_on) ? s->turn - 1 : BENCH_LEN(goes_on) - 1;
    if (below(g, 1000) >= goes_on[t]) {
        free(s);
        return 0;
    }
    gap = sample(g, gap_requests, BENCH_LEN(gap_requests));
    gap = g->requests < GAP_SPAN ? gap * g->requests / GAP_SPAN : gap;
    s->due = number + 1 + gap;
    heap_push(g, s);
    return 0;
}

static int generate(struct generator *g)
{
    struct trace_summary summary;
    int rc = 0;

    g->heap = malloc((size_t)g->requests * sizeof(struct session *));
    if (g->heap == NULL) {
        fprintf(stderr, "dsbench: no memory\n");
        return -1;
    }
    g->next_id = 1;
    for (uint32_t p = 0; p < PROMPTS; p++) {
        g->prompt_first[p] = g->next_id;
        g->prompt_n[p] = 1 + below(g, 6);
        g->next_id += g->prompt_n[p];
    }
    for (uint64_t i = 0; rc == 0 && i < g->requests; i++) {
        rc = one_request(g, i);
    }
    while (g->waiting > 0) {
        free(heap_pop(g));
    }
    free(g->heap);
    if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        perror("dsbench: stdout");
        rc = -1;
    }
    if (rc == 0 && bench_trace_summary(&g->trace, &summary) == 0) {
        bench_trace_print_summary(&summary, stderr);
    }
    return rc;
}

int bench_generate_main(struct bench_run *run, const struct bench_command *self, int argc,
                        char **argv)
{
    struct generator g = {.requests = 12000, .random = 1};
    const struct bench_flag flags[] = {
        {"seed", BENCH_FLAG_U64, &g.random, "S", "equal seeds give equal traces (1)"},
        {"requests", BENCH_FLAG_U64, &g.requests, "N", "how many (12000)"},
    };
    int rc = bench_parse(run, self, flags, BENCH_LEN(flags), argc, argv);

    run->json = false; /* stdout is the trace */
    if (rc != BENCH_PARSED) {
        return rc < 0 ? 2 : 0;
    }
    if (g.requests == 0 || g.requests > TRACE_REQUESTS_MAX) {
        fprintf(stderr, "dsbench: --requests is 1 to %zu\n", TRACE_REQUESTS_MAX);
        return 2;
    }
    rc = generate(&g);
    bench_trace_free(&g.trace);
    return rc == 0 ? 0 : 1;
}
