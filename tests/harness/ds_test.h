/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ds_test.h - unit tests: one process per test, checks that abort, output as TAP.
 *
 *     DS_TEST(segment_at__accepts_exactly_the_payload)
 *     {
 *         CHECK_OK(ds_segment_create(SIZE, &seg));
 *         CHECK_EQ(ds_segment_size(seg), SIZE);
 *     }
 *
 * A failed check prints where, what and both values, and aborts: so checks work in any thread and
 * in any process that a test forks (whose status the test must then look at). A test also fails
 * when it crashes, leaks a descriptor or a block of base/alloc.h, or runs longer than its limit.
 *
 * ./test_x            all tests, each in a process (and process group) of its own
 * ./test_x name       this test in this process, for a debugger; several names run in turn
 * ./test_x -l         the names
 *
 * DS_TEST_SLOWDOWN=n  multiplies time limits, DS_TEST_SEED=n fixes ds_test_seed().
 * Exit status: 0 all passed, 1 some failed, 77 all skipped.
 */
#ifndef DS_HARNESS_DS_TEST_H
#define DS_HARNESS_DS_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DS_TEST(name) DS_TEST_TIMEOUT(name, 60)

#define DS_TEST_TIMEOUT(name, seconds)                                                             \
    static void name##__run(void);                                                                 \
    static const struct ds_test name##__case = {#name, name##__run, seconds, __LINE__};            \
    __attribute__((used, section("ds_tests"))) static const struct ds_test *name##__ref =          \
        &name##__case;                                                                             \
    static void name##__run(void)

#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : ds_test_fail(__FILE__, __LINE__, "CHECK(%s)", #condition))

/* A status code: 0 passes. */
#define CHECK_OK(status) ds_test_check_ok(__FILE__, __LINE__, #status, status)

/* Integers of any type, enums, bools, and pointers to objects; -1 never equals UINT64_MAX. */
#define CHECK_EQ(a, b) DS_TEST_COMPARE(a, "==", b, #a, #b)
#define CHECK_NE(a, b) DS_TEST_COMPARE(a, "!=", b, #a, #b)
#define CHECK_LT(a, b) DS_TEST_COMPARE(a, "<", b, #a, #b)
#define CHECK_LE(a, b) DS_TEST_COMPARE(a, "<=", b, #a, #b)
#define CHECK_GT(a, b) DS_TEST_COMPARE(a, ">", b, #a, #b)
#define CHECK_GE(a, b) DS_TEST_COMPARE(a, ">=", b, #a, #b)

/* Strings; NULL equals NULL only. */
#define CHECK_STR(a, b) ds_test_check_str(__FILE__, __LINE__, #a, #b, a, b)

#define CHECK_MEM(a, b, size) ds_test_check_mem(__FILE__, __LINE__, #a, #b, a, b, size)

/* Ends the test here; the runner counts it as skipped and shows the reason. */
#define DS_SKIP(reason) ds_test_skip(reason)

/* A number for random choices, printed so that a failure can be repeated. */
uint64_t ds_test_seed(void);

/* What the macros above expand to. */
struct ds_test {
    const char *name;
    void (*run)(void);
    unsigned timeout_s;
    int line;
};

struct ds_test_value {
    enum { DS_TEST_NEGATIVE, DS_TEST_POSITIVE, DS_TEST_POINTER } kind;
    uint64_t bits; /* two's complement */
};

#define DS_TEST_COMPARE(a, op, b, a_text, b_text)                                                  \
    ds_test_compare(__FILE__, __LINE__, a_text, op, b_text, DS_TEST_VALUE(a), DS_TEST_VALUE(b))

/* clang-format off */
#define DS_TEST_VALUE(x)                                                                           \
    _Generic((x),                                                                                  \
        char: ds_test_signed,                                                                      \
        signed char: ds_test_signed,                                                               \
        short: ds_test_signed,                                                                     \
        int: ds_test_signed,                                                                       \
        long: ds_test_signed,                                                                      \
        long long: ds_test_signed,                                                                 \
        _Bool: ds_test_unsigned,                                                                   \
        unsigned char: ds_test_unsigned,                                                           \
        unsigned short: ds_test_unsigned,                                                          \
        unsigned: ds_test_unsigned,                                                                \
        unsigned long: ds_test_unsigned,                                                           \
        unsigned long long: ds_test_unsigned,                                                      \
        default: ds_test_pointer)(x)
/* clang-format on */

struct ds_test_value ds_test_signed(int64_t x);
struct ds_test_value ds_test_unsigned(uint64_t x);
struct ds_test_value ds_test_pointer(const volatile void *x);

void ds_test_compare(const char *file, int line, const char *a_text, const char *op,
                     const char *b_text, struct ds_test_value a, struct ds_test_value b);
void ds_test_check_ok(const char *file, int line, const char *text, int status);
void ds_test_check_str(const char *file, int line, const char *a_text, const char *b_text,
                       const char *a, const char *b);
void ds_test_check_mem(const char *file, int line, const char *a_text, const char *b_text,
                       const void *a, const void *b, size_t size);
_Noreturn void ds_test_skip(const char *reason);
_Noreturn void ds_test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
