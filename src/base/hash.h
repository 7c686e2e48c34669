/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - the hash of keys: XXH3-64 (Yann Collet, xxhash 0.8) with a seed. Its values are part of
 * the shared-memory ABI.
 */
#ifndef DS_BASE_HASH_H
#define DS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t ds_hash(const void *data, size_t size, uint64_t seed);

#endif
