/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_lru.c - what an exact LRU would have done with the operations that the clients recorded.
 *
 * The records of all clients are merged by the time at which each operation returned. A lookup uses
 * the block; where the LRU lacks it, the record of its fill inserts it, and where there is no fill
 * (the worker had it) the lookup itself does. Prefix rule per client: each works on one request at
 * a time.
 */
#include "lru.h"
#include "replay.h"

/* The client whose next record is the oldest, or `clients` at the end. */
static unsigned oldest(const struct replay *r, const uint64_t *at)
{
    unsigned best = (unsigned)r->clients;

    for (unsigned c = 0; c < r->clients; c++) {
        if (at[c] < r->shared->client[c].n_records &&
            (best == r->clients || r->records[c][at[c]].ticks < r->records[best][at[best]].ticks)) {
            best = c;
        }
    }
    return best;
}

static bool lookup(struct lru *lru, const struct replay_record *rec, bool *prefix)
{
    bool held = bench_lru_holds(lru, rec->block);

    if ((rec->flags & REPLAY_FIRST) != 0) {
        *prefix = true;
    }
    *prefix = *prefix && held;
    if (held || (rec->flags & REPLAY_HIT) != 0) {
        bench_lru_use(lru, rec->block);
    }
    return *prefix;
}

int64_t bench_replay_lru_hits(const struct replay *r, uint64_t capacity)
{
    struct lru *lru = bench_lru_create(r->trace.distinct, capacity);
    uint64_t at[REPLAY_CLIENTS_MAX] = {0};
    bool prefix[REPLAY_CLIENTS_MAX] = {false};
    const struct replay_record *rec;
    int64_t hits = 0;
    unsigned c;

    if (lru == NULL) {
        fprintf(stderr, "dsbench: no memory\n");
        return -1;
    }
    while ((c = oldest(r, at)) < r->clients) {
        rec = &r->records[c][at[c]++];
        if ((rec->flags & REPLAY_FILL) != 0) {
            bench_lru_use(lru, rec->block);
        } else if (lookup(lru, rec, &prefix[c])) {
            hits++;
        }
    }
    bench_lru_destroy(lru);
    return hits;
}
