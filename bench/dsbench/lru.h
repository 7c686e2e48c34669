/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lru.h - an exact LRU over block numbers, to judge the worker's eviction by.
 *
 * Ownership: bench_lru_create() allocates for `blocks` numbers, bench_lru_destroy() frees.
 */
#ifndef DS_BENCH_LRU_H
#define DS_BENCH_LRU_H

#include <stdbool.h>
#include <stdint.h>

struct lru;

/* Holds at most `capacity` of the numbers 0 to blocks - 1. NULL: no memory. */
struct lru *bench_lru_create(uint32_t blocks, uint64_t capacity);
void bench_lru_destroy(struct lru *lru);

bool bench_lru_holds(const struct lru *lru, uint32_t block);

/* Makes the block the most recent one, inserting it if needed; evicts the least recent if full. */
void bench_lru_use(struct lru *lru, uint32_t block);

#endif
