/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_client.c - one client of dsbench replay: looks a request's blocks up, reads what it has
 * as a prefix, fills in what is missing.
 *
 * Lookup: mget in order, --group blocks a call, until a call misses some; one more call then takes
 * all the rest, to learn which of them need a fill. A hit counts while every earlier block of the
 * request was one. Block contents are a sequence that starts at a mix of the block's number, so a
 * wrong byte or another block's bytes are seen.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replay.h"

#define STEP 0x9e3779b97f4a7c15u
#define ERRORS_MAX 100u
#define START_SECONDS 60u

struct work {
    struct replay *r;
    struct replay_client *out;
    struct replay_record *records;
    struct ds_client *client;
    struct ds_bytes keys[TRACE_BLOCKS_PER_REQUEST_MAX];
    struct ds_view views[TRACE_BLOCKS_PER_REQUEST_MAX];
    int results[TRACE_BLOCKS_PER_REQUEST_MAX];
    char text[TRACE_BLOCKS_PER_REQUEST_MAX][REPLAY_KEY_TEXT];
};

size_t bench_replay_key(const struct replay *r, uint32_t block, char *text)
{
    return (size_t)snprintf(text, REPLAY_KEY_TEXT, "kv-%08x-%u", (unsigned)r->tag, block);
}

static uint64_t first_word(const struct replay *r, uint32_t block)
{
    uint64_t z = (r->tag << 32 | block) + STEP;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void write_block(uint64_t *words, size_t n, uint64_t first)
{
    for (size_t i = 0; i < n; i++) {
        words[i] = first + i * STEP;
    }
}

static bool block_is(const uint64_t *words, size_t n, uint64_t first, size_t step)
{
    uint64_t wrong = words[n - 1] ^ (first + (n - 1) * STEP);

    for (size_t i = 0; i < n; i += step) {
        wrong |= words[i] ^ (first + i * STEP);
    }
    return wrong == 0;
}

/* The same with a step of 1, which the compiler can do several words at a time. */
static bool block_is_all(const uint64_t *words, size_t n, uint64_t first)
{
    uint64_t wrong = 0;

    for (size_t i = 0; i < n; i++) {
        wrong |= words[i] ^ (first + i * STEP);
    }
    return wrong == 0;
}

static void record(struct work *w, uint64_t ticks, uint32_t block, uint32_t flags)
{
    w->records[w->out->n_records++] =
        (struct replay_record){.ticks = ticks, .block = block, .flags = flags};
}

static void read_hit(struct work *w, uint32_t block, const struct ds_view *view)
{
    const struct replay *r = w->r;
    size_t n = (size_t)r->block_size / 8;
    uint64_t first = first_word(r, block), t = bench_ticks();
    bool right =
        view->size == r->block_size &&
        (r->verify ? block_is_all(view->data, n, first) : block_is(view->data, n, first, 4096 / 8));

    w->out->read_ticks += bench_ticks() - t;
    w->out->read_bytes += r->block_size;
    if (!right && w->out->wrong++ == 0) {
        fprintf(stderr, "dsbench: WRONG BYTES in block %u\n", block);
    }
}

/* Looks up [from, to) of the request in one call. Returns the number of blocks found. */
static uint32_t lookup(struct work *w, const uint32_t *blocks, uint32_t from, uint32_t to)
{
    uint64_t t = bench_ticks(), done;
    uint32_t found = 0, n = to - from;
    int rc;

    (void)!ds_kv_mget(w->client, w->keys + from, n, 0, w->views + from, w->results + from);
    done = bench_ticks();
    for (uint32_t i = from; i < to; i++) {
        rc = w->results[i];
        found += rc == 0 ? 1 : 0;
        record(w, done, blocks[i], (rc == 0 ? REPLAY_HIT : 0u) | (i == 0 ? REPLAY_FIRST : 0u));
        if (rc != 0 && rc != DS_ENOTFOUND && w->out->errors++ == 0) {
            (void)bench_error("mget", rc);
        }
    }
    if (found == n) {
        bench_hist_add(&w->out->hit, (done - t + n / 2) / n);
    } else {
        bench_hist_add(&w->out->miss, done - t);
    }
    return found;
}

static void use_views(struct work *w, const uint32_t *blocks, uint32_t from, uint32_t to,
                      bool *prefix)
{
    for (uint32_t i = from; i < to; i++) {
        *prefix = *prefix && w->results[i] == 0;
        if (*prefix) {
            w->out->hits++;
            read_hit(w, blocks[i], &w->views[i]);
        }
    }
    ds_view_release_many(w->views + from, to - from); /* views of misses are zeroed: no-ops */
}

static void fill(struct work *w, uint32_t block, const struct ds_bytes *key)
{
    static const struct ds_set_options options = {.mode = DS_WRITE_NONE_EVICT};
    struct ds_buffer *buffer = NULL;
    uint64_t t = bench_ticks(), done;
    int rc;

    rc = ds_kv_create(w->client, key->data, key->size, w->r->block_size, &options, &buffer);
    if (rc == 0) {
        write_block(ds_buffer_mutable_data(buffer), (size_t)w->r->block_size / 8,
                    first_word(w->r, block));
        rc = ds_kv_publish(w->client, &buffer, 1, NULL);
    }
    done = bench_ticks();
    ds_buffer_free(buffer);
    if (rc == 0) {
        w->out->fills++;
        bench_hist_add(&w->out->fill, done - t);
        record(w, done, block, REPLAY_FILL);
    } else if (rc == DS_ENOMEM) {
        w->out->fills_refused++;
    } else if (w->out->errors++ == 0) {
        (void)bench_error("fill", rc);
    }
}

static void one_request(struct work *w, const struct trace_request *q)
{
    const uint32_t *blocks = w->r->trace.blocks + q->first;
    uint32_t from = 0, to, found;
    bool prefix = true, missed = false;

    for (uint32_t i = 0; i < q->n; i++) {
        w->keys[i].data = w->text[i];
        w->keys[i].size = bench_replay_key(w->r, blocks[i], w->text[i]);
    }
    for (; from < q->n; from = to) {
        to = missed || q->n - from < w->r->group ? q->n : from + (uint32_t)w->r->group;
        found = lookup(w, blocks, from, to);
        missed = found < to - from;
        use_views(w, blocks, from, to, &prefix);
    }
    for (uint32_t i = 0; i < q->n; i++) {
        if (w->results[i] == DS_ENOTFOUND) {
            fill(w, blocks[i], &w->keys[i]);
        }
    }
    w->out->requests++;
    w->out->references += q->n;
}

static int wait_for_go(struct replay_shared *shared)
{
    uint64_t begin = bench_clock_ns();

    (void)__atomic_add_fetch(&shared->ready, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&shared->go, __ATOMIC_ACQUIRE) == 0) {
        if (bench_clock_ns() - begin > START_SECONDS * 1000000000ull) {
            return -1;
        }
        (void)usleep(200);
    }
    return 0;
}

static int replay_requests(struct work *w)
{
    struct trace *trace = &w->r->trace;
    uint64_t i;

    if (wait_for_go(w->r->shared) != 0) {
        return -1;
    }
    w->out->begin = bench_ticks();
    while (w->out->errors < ERRORS_MAX &&
           (i = __atomic_fetch_add(&w->r->shared->next, 1, __ATOMIC_RELAXED)) < trace->n) {
        one_request(w, &trace->requests[i]);
    }
    w->out->end = bench_ticks();
    return w->out->errors < ERRORS_MAX ? 0 : -1;
}

int bench_replay_client(struct replay *r, unsigned id)
{
    struct work *w = calloc(1, sizeof(*w));
    int rc;

    if (w == NULL) {
        fprintf(stderr, "dsbench: no memory\n");
        return -1;
    }
    w->r = r;
    w->out = &r->shared->client[id];
    w->records = r->records[id];
    rc = bench_connect(r->run, &w->client);
    if (rc == 0) {
        rc = replay_requests(w);
    }
    ds_client_close(w->client);
    free(w);
    return rc;
}
