/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c - a strict parser of trace lines, and what an infinite cache would make of them.
 *
 * Ids become dense numbers through an open-addressed table, so that everything after the parser
 * works with arrays.
 */
#include "trace.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define NUMBER_MAX ((uint64_t)1 << 53)

struct trace_ids {
    uint64_t *id;
    uint32_t *number; /* NONE: the slot is empty */
    size_t slots, used;
};

/* --- ids --- */

static size_t slot_of(const struct trace_ids *t, uint64_t id)
{
    uint64_t h = (id + 1) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 20) & (t->slots - 1);

    while (t->number[i] != NONE && t->id[i] != id) {
        i = (i + 1) & (t->slots - 1);
    }
    return i;
}

static int ids_resize(struct trace_ids *t, size_t slots)
{
    struct trace_ids old = *t;
    size_t i;

    t->id = malloc(slots * sizeof(*t->id));
    t->number = malloc(slots * sizeof(*t->number));
    if (t->id == NULL || t->number == NULL) {
        free(t->id);
        free(t->number);
        *t = old;
        return -1;
    }
    t->slots = slots;
    memset(t->number, 0xff, slots * sizeof(*t->number));
    for (size_t s = 0; s < old.slots; s++) {
        if (old.number[s] != NONE) {
            i = slot_of(t, old.id[s]);
            t->id[i] = old.id[s];
            t->number[i] = old.number[s];
        }
    }
    free(old.id);
    free(old.number);
    return 0;
}

static int number_of(struct trace *trace, uint64_t id, uint32_t *ret)
{
    struct trace_ids *t = trace->ids;
    size_t i;

    if (t == NULL) {
        t = trace->ids = calloc(1, sizeof(*t));
    }
    if (t == NULL || (t->used * 2 >= t->slots && ids_resize(t, t->slots ? t->slots * 2 : 1024))) {
        return -1;
    }
    i = slot_of(t, id);
    if (t->number[i] == NONE) {
        t->id[i] = id;
        t->number[i] = trace->distinct++;
        t->used++;
    }
    *ret = t->number[i];
    return 0;
}

/* --- growing --- */

static int grow(void **array, size_t *capacity, size_t need, size_t item, size_t most)
{
    size_t want = *capacity ? *capacity * 2 : 1024;
    void *p;

    if (need <= *capacity) {
        return 0;
    }
    if (need > most) {
        return -1;
    }
    while (want < need) {
        want *= 2;
    }
    p = realloc(*array, want * item);
    if (p == NULL) {
        return -1;
    }
    *array = p;
    *capacity = want;
    return 0;
}

int bench_trace_append(struct trace *trace, const struct trace_request *request,
                       const uint64_t *ids, size_t n)
{
    struct trace_request *r;
    void *requests = trace->requests, *blocks = trace->blocks;
    int rc;

    rc = grow(&requests, &trace->capacity, trace->n + 1, sizeof(*r), TRACE_REQUESTS_MAX);
    trace->requests = requests;
    if (rc == 0) {
        rc = grow(&blocks, &trace->blocks_capacity, trace->n_blocks + n, sizeof(uint32_t),
                  TRACE_BLOCKS_MAX);
        trace->blocks = blocks;
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = number_of(trace, ids[i], &trace->blocks[trace->n_blocks + i]);
    }
    if (rc != 0) {
        return -1;
    }
    r = &trace->requests[trace->n++];
    *r = *request;
    r->first = trace->n_blocks;
    r->n = (uint32_t)n;
    trace->n_blocks += n;
    return 0;
}

void bench_trace_free(struct trace *trace)
{
    if (trace->ids != NULL) {
        free(trace->ids->id);
        free(trace->ids->number);
        free(trace->ids);
    }
    free(trace->requests);
    free(trace->blocks);
    memset(trace, 0, sizeof(*trace));
}

/* --- parsing: a cursor over one line --- */

struct cursor {
    const char *at, *end;
    const char *wrong; /* the first thing that was wrong, or NULL */
};

static void blank(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\r')) {
        c->at++;
    }
}

static bool fail(struct cursor *c, const char *why)
{
    if (c->wrong == NULL) {
        c->wrong = why;
    }
    return false;
}

static bool next_is(struct cursor *c, char ch)
{
    blank(c);
    if (c->at < c->end && *c->at == ch) {
        c->at++;
        return true;
    }
    return false;
}

static bool whole_number(struct cursor *c, uint64_t most, uint64_t *ret)
{
    uint64_t v = 0;
    const char *begin;

    blank(c);
    begin = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        v = v * 10 + (uint64_t)(*c->at - '0');
        c->at++;
        if (v > most) {
            return fail(c, "a number is too large");
        }
    }
    if (c->at == begin || (*begin == '0' && c->at - begin > 1)) {
        return fail(c, "a whole number is missing");
    }
    if (c->at < c->end && (*c->at == '.' || *c->at == 'e' || *c->at == 'E')) {
        return fail(c, "a number is not whole");
    }
    *ret = v;
    return true;
}

static bool id_list(struct cursor *c, uint64_t *ids, size_t *ret_n)
{
    size_t n = 0;

    if (!next_is(c, '[')) {
        return fail(c, "hash_ids is not a list");
    }
    if (next_is(c, ']')) {
        *ret_n = 0;
        return true;
    }
    do {
        if (n == TRACE_BLOCKS_PER_REQUEST_MAX) {
            return fail(c, "hash_ids is too long");
        }
        if (!whole_number(c, NUMBER_MAX, &ids[n])) {
            return false;
        }
        n++;
    } while (next_is(c, ','));
    *ret_n = n;
    return next_is(c, ']') || fail(c, "hash_ids does not end");
}

enum member { M_TIMESTAMP, M_INPUT, M_OUTPUT, M_IDS, M_COUNT };

static const char *const member_name[M_COUNT] = {"timestamp", "input_length", "output_length",
                                                 "hash_ids"};

static bool member_of(struct cursor *c, unsigned *ret)
{
    const char *begin;

    if (!next_is(c, '"')) {
        return fail(c, "a member's name is missing");
    }
    begin = c->at;
    while (c->at < c->end && *c->at != '"') {
        c->at++;
    }
    for (unsigned m = 0; c->at < c->end && m < M_COUNT; m++) {
        if (strlen(member_name[m]) == (size_t)(c->at - begin) &&
            memcmp(member_name[m], begin, (size_t)(c->at - begin)) == 0) {
            c->at++;
            *ret = m;
            return next_is(c, ':') || fail(c, "a colon is missing");
        }
    }
    return fail(c, "a member is none of timestamp, input_length, output_length, hash_ids");
}

static bool object(struct cursor *c, struct trace_request *r, uint64_t *ids, size_t *n)
{
    unsigned seen = 0, m = 0;
    uint64_t v = 0;
    bool ok;

    if (!next_is(c, '{')) {
        return fail(c, "the line is not an object");
    }
    do {
        if (!member_of(c, &m)) {
            return false;
        }
        if ((seen & 1u << m) != 0) {
            return fail(c, "a member is there twice");
        }
        seen |= 1u << m;
        ok = m == M_IDS ? id_list(c, ids, n)
                        : whole_number(c, m == M_TIMESTAMP ? NUMBER_MAX : UINT32_MAX, &v);
        if (!ok) {
            return false;
        }
        r->timestamp_ms = m == M_TIMESTAMP ? v : r->timestamp_ms;
        r->input_length = m == M_INPUT ? (uint32_t)v : r->input_length;
        r->output_length = m == M_OUTPUT ? (uint32_t)v : r->output_length;
    } while (next_is(c, ','));
    if (!next_is(c, '}')) {
        return fail(c, "the object does not end");
    }
    blank(c);
    if (c->at != c->end) {
        return fail(c, "something follows the object");
    }
    return seen == (1u << M_COUNT) - 1 || fail(c, "a member is missing");
}

int bench_trace_parse_line(struct trace *trace, const char *text, size_t size, const char *where,
                           size_t line)
{
    struct cursor c = {.at = text, .end = text + size};
    struct trace_request r = {.n = 0};
    uint64_t ids[TRACE_BLOCKS_PER_REQUEST_MAX];
    size_t n = 0;

    if (!object(&c, &r, ids, &n)) {
        fprintf(stderr, "dsbench: %s:%zu: %s (at column %zu)\n", where, line, c.wrong,
                (size_t)(c.at - text) + 1);
        return -1;
    }
    if (bench_trace_append(trace, &r, ids, n) != 0) {
        fprintf(stderr, "dsbench: %s:%zu: too many requests or blocks, or no memory\n", where,
                line);
        return -1;
    }
    return 0;
}

static int load_lines(struct trace *trace, FILE *f, const char *path, size_t limit)
{
    char *text = malloc(TRACE_LINE_MAX + 2);
    size_t line = 0, size;
    int rc = text == NULL ? -1 : 0;

    while (rc == 0 && trace->n < limit && fgets(text, (int)TRACE_LINE_MAX + 2, f) != NULL) {
        line++;
        size = strlen(text);
        if (size > 0 && text[size - 1] == '\n') {
            size--;
        }
        if (size > TRACE_LINE_MAX) {
            fprintf(stderr, "dsbench: %s:%zu: the line is too long\n", path, line);
            rc = -1;
        } else if (size > 0) {
            rc = bench_trace_parse_line(trace, text, size, path, line);
        }
    }
    if (rc == 0 && ferror(f)) {
        perror(path);
        rc = -1;
    }
    free(text);
    return rc;
}

int bench_trace_load(const char *path, size_t limit, struct trace *ret)
{
    struct trace trace = {.n = 0};
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    int rc;

    if (f == NULL) {
        perror(path);
        return -1;
    }
    rc = load_lines(&trace, f, path, limit);
    if (f != stdin) {
        (void)fclose(f);
    }
    if (rc == 0 && trace.n == 0) {
        fprintf(stderr, "dsbench: %s holds no requests\n", path);
        rc = -1;
    }
    if (rc != 0) {
        bench_trace_free(&trace);
        return -1;
    }
    *ret = trace;
    return 0;
}

/* --- summary --- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void count_uses(const struct trace *trace, uint32_t *uses, uint32_t *sizes,
                       struct trace_summary *s)
{
    for (size_t i = 0; i < trace->n; i++) {
        const struct trace_request *r = &trace->requests[i];
        bool prefix = true;

        sizes[i] = r->n;
        for (uint32_t b = 0; b < r->n; b++) {
            prefix = prefix && uses[trace->blocks[r->first + b]] != 0;
            s->ideal_hits += prefix ? 1 : 0;
        }
        for (uint32_t b = 0; b < r->n; b++) {
            uses[trace->blocks[r->first + b]]++;
        }
    }
}

int bench_trace_summary(const struct trace *trace, struct trace_summary *ret)
{
    struct trace_summary s = {.requests = trace->n, .references = trace->n_blocks};
    uint32_t *uses = calloc((size_t)trace->distinct + 1, sizeof(*uses));
    uint32_t *sizes = malloc((trace->n + 1) * sizeof(*sizes));

    if (uses == NULL || sizes == NULL || trace->n == 0) {
        free(uses);
        free(sizes);
        return -1;
    }
    count_uses(trace, uses, sizes, &s);
    for (uint32_t i = 0; i < trace->distinct; i++) {
        s.distinct += uses[i] > 0 ? 1 : 0;
        s.reused += uses[i] > 1 ? 1 : 0;
    }
    qsort(sizes, trace->n, sizeof(*sizes), by_value);
    s.p50 = sizes[trace->n / 2];
    s.p99 = sizes[trace->n * 99 / 100];
    s.max = sizes[trace->n - 1];
    free(uses);
    free(sizes);
    *ret = s;
    return 0;
}

void bench_trace_print_summary(const struct trace_summary *s, FILE *out)
{
    fprintf(out,
            "%llu requests, %llu block references, %llu distinct (%.1f %% used more than once), "
            "blocks per request p50 %u p99 %u max %u, ideal prefix hit ratio %.1f %%\n",
            (unsigned long long)s->requests, (unsigned long long)s->references,
            (unsigned long long)s->distinct,
            s->distinct ? 100.0 * (double)s->reused / (double)s->distinct : 0.0, s->p50, s->p99,
            s->max, s->references ? 100.0 * (double)s->ideal_hits / (double)s->references : 0.0);
}
