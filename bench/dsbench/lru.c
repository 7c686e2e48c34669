/* SPDX-License-Identifier: Apache-2.0 */
/* lru.c - a doubly linked list threaded through arrays; index `blocks` is the list's head. */
#include "lru.h"

#include <stdlib.h>

#define NOT_HELD UINT32_MAX

struct lru {
    uint32_t *next, *prev; /* next[b] == NOT_HELD: not in the list */
    uint32_t head;
    uint64_t held, capacity;
};

struct lru *bench_lru_create(uint32_t blocks, uint64_t capacity)
{
    struct lru *lru = calloc(1, sizeof(*lru));
    size_t n = (size_t)blocks + 1;

    if (lru == NULL) {
        return NULL;
    }
    lru->next = malloc(n * sizeof(*lru->next));
    lru->prev = malloc(n * sizeof(*lru->prev));
    if (lru->next == NULL || lru->prev == NULL) {
        bench_lru_destroy(lru);
        return NULL;
    }
    for (uint32_t i = 0; i < blocks; i++) {
        lru->next[i] = NOT_HELD;
    }
    lru->head = blocks;
    lru->next[blocks] = lru->prev[blocks] = blocks;
    lru->capacity = capacity < 1 ? 1 : capacity;
    return lru;
}

void bench_lru_destroy(struct lru *lru)
{
    if (lru != NULL) {
        free(lru->next);
        free(lru->prev);
        free(lru);
    }
}

bool bench_lru_holds(const struct lru *lru, uint32_t block)
{
    return lru->next[block] != NOT_HELD;
}

static void take_out(struct lru *lru, uint32_t b)
{
    lru->next[lru->prev[b]] = lru->next[b];
    lru->prev[lru->next[b]] = lru->prev[b];
    lru->next[b] = NOT_HELD;
    lru->held--;
}

void bench_lru_use(struct lru *lru, uint32_t block)
{
    if (bench_lru_holds(lru, block)) {
        take_out(lru, block);
    } else if (lru->held == lru->capacity) {
        take_out(lru, lru->prev[lru->head]);
    }
    lru->prev[block] = lru->head;
    lru->next[block] = lru->next[lru->head];
    lru->prev[lru->next[block]] = block;
    lru->next[lru->head] = block;
    lru->held++;
}
