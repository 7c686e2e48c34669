/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alloc.h - private memory. Every allocation can fail and carries a tag that names what it is for;
 * the failpoint "alloc" (failpoint.h) makes the n-th one fail.
 */
#ifndef DS_BASE_ALLOC_H
#define DS_BASE_ALLOC_H

#include "base/base.h"

/* Zeroed memory or NULL. */
DS_MUST_USE void *ds_zalloc(size_t size, const char *tag);

/* Grows to n * size bytes; the new part is not zeroed. NULL: the old block is untouched. */
DS_MUST_USE void *ds_realloc_array(void *ptr, size_t n, size_t size, const char *tag);

/* NULL is a no-op. */
void ds_free(void *ptr);

/* Blocks allocated and not freed yet, for tests. */
uint64_t ds_alloc_live(void);

#endif
