/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/failpoint.h"

static _Atomic uint64_t live; /* for leak checks; relaxed, ordered by the joins of the test */

void *ds_zalloc(size_t size, const char *tag)
{
    void *p;

    (void)tag;
    if (ds_failpoint("alloc") != 0) {
        return NULL;
    }
    p = calloc(1, size);
    if (p != NULL) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    }
    return p;
}

void *ds_realloc_array(void *ptr, size_t n, size_t size, const char *tag)
{
    void *p;

    (void)tag;
    if (ds_failpoint("alloc") != 0) {
        return NULL;
    }
    p = reallocarray(ptr, n, size);
    if (p != NULL && ptr == NULL) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    }
    return p;
}

void ds_free(void *ptr)
{
    if (ptr != NULL) {
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
        free(ptr);
    }
}

uint64_t ds_alloc_live(void)
{
    return atomic_load_explicit(&live, memory_order_relaxed);
}
