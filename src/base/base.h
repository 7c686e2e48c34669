/* SPDX-License-Identifier: Apache-2.0 */
/* base.h - what every file may use: assertions and small helpers. */
#ifndef DS_BASE_BASE_H
#define DS_BASE_BASE_H

#include <ds/error.h>
#include <ds/types.h>

/* Always on, for our own invariants only: bytes from a client, a peer or a disk are input and are
 * answered with an error. */
#define DS_ASSERT(cond)                                                                            \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) {                                                        \
            ds_assert_failed(#cond, __FILE__, __LINE__);                                           \
        }                                                                                          \
    } while (0)

#ifdef DS_DEBUG
#define DS_ASSERT_SLOW(cond) DS_ASSERT(cond)
#else
#define DS_ASSERT_SLOW(cond) ((void)sizeof(cond))
#endif

/* Prints one line to stderr and aborts. */
__attribute__((noreturn, cold)) void ds_assert_failed(const char *cond, const char *file, int line);

#define DS_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define DS_LIKELY(x) __builtin_expect(!!(x), 1)
#define DS_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define DS_CACHE_LINE 64
#define DS_PAGE_SIZE 4096u

/* Of a text in ASCII or UTF-8: whether it has a control character, such as a line break. */
static inline bool ds_has_control(const char *text)
{
    while ((unsigned char)*text >= ' ' && *text != 0x7f) {
        text++;
    }
    return *text != '\0';
}

static inline uint64_t ds_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t ds_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* `align` is a power of two; the caller knows that the sum does not wrap. */
static inline uint64_t ds_align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

#endif
