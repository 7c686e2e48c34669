/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ds_check.c - the checks of ds_test.h: print both sides, then abort.
 *
 * A report is one write(2), so reports of several threads or processes do not mix.
 */
#include "harness/ds_test.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DUMP_BYTES 16

/* The name of a status code, when the tested module links base. */
__attribute__((weak)) const char *ds_error_name(int code);

_Noreturn void ds_test_fail(const char *file, int line, const char *format, ...)
{
    char text[2048];
    int n = snprintf(text, sizeof(text), "# %s:%d: ", file, line);
    size_t used = n < 0 ? 0 : (size_t)n;
    va_list args;

    va_start(args, format);
    if (used < sizeof(text)) {
        n = vsnprintf(text + used, sizeof(text) - used, format, args);
        used += n < 0 ? 0 : (size_t)n;
    }
    va_end(args);
    if (used > sizeof(text) - 1) {
        used = sizeof(text) - 1;
    }
    text[used] = '\n'; /* over the NUL: write needs none */
    (void)!write(STDERR_FILENO, text, used + 1);
    abort();
}

struct ds_test_value ds_test_signed(int64_t x)
{
    return (struct ds_test_value){x < 0 ? DS_TEST_NEGATIVE : DS_TEST_POSITIVE, (uint64_t)x};
}

struct ds_test_value ds_test_unsigned(uint64_t x)
{
    return (struct ds_test_value){DS_TEST_POSITIVE, x};
}

struct ds_test_value ds_test_pointer(const volatile void *x)
{
    return (struct ds_test_value){DS_TEST_POINTER, (uint64_t)(uintptr_t)x};
}

/* -1, 0 or 1 for a < b, a == b, a > b. */
static int compare(struct ds_test_value a, struct ds_test_value b)
{
    bool a_negative = a.kind == DS_TEST_NEGATIVE;
    bool b_negative = b.kind == DS_TEST_NEGATIVE;

    if (a_negative != b_negative) {
        return a_negative ? -1 : 1;
    }
    return (a.bits > b.bits) - (a.bits < b.bits);
}

static const char *show(struct ds_test_value x, char text[64])
{
    if (x.kind == DS_TEST_NEGATIVE) {
        snprintf(text, 64, "%" PRId64, (int64_t)x.bits);
    } else if (x.kind == DS_TEST_POINTER) {
        snprintf(text, 64, "0x%" PRIx64, x.bits);
    } else if (x.bits > 255) {
        snprintf(text, 64, "%" PRIu64 " (0x%" PRIx64 ")", x.bits, x.bits);
    } else {
        snprintf(text, 64, "%" PRIu64, x.bits);
    }
    return text;
}

void ds_test_compare(const char *file, int line, const char *a_text, const char *op,
                     const char *b_text, struct ds_test_value a, struct ds_test_value b)
{
    int order = compare(a, b);
    bool equal_passes = strcmp(op, "==") == 0 || strcmp(op, "<=") == 0 || strcmp(op, ">=") == 0;
    bool passed = order == 0  ? equal_passes
                  : order < 0 ? op[0] == '<' || op[0] == '!'
                              : op[0] == '>' || op[0] == '!';
    char a_shown[64];
    char b_shown[64];

    if (!passed) {
        ds_test_fail(file, line, "%s %s %s: left %s, right %s", a_text, op, b_text,
                     show(a, a_shown), show(b, b_shown));
    }
}

void ds_test_check_ok(const char *file, int line, const char *text, int status)
{
    if (status != 0) {
        ds_test_fail(file, line, "CHECK_OK(%s): %d %s", text, status,
                     ds_error_name != NULL ? ds_error_name(status) : "");
    }
}

void ds_test_check_str(const char *file, int line, const char *a_text, const char *b_text,
                       const char *a, const char *b)
{
    if (a == NULL || b == NULL ? a != b : strcmp(a, b) != 0) {
        ds_test_fail(file, line, "CHECK_STR(%s, %s):\n#  left \"%s\"\n# right \"%s\"", a_text,
                     b_text, a == NULL ? "(NULL)" : a, b == NULL ? "(NULL)" : b);
    }
}

static const char *dump(const unsigned char *bytes, size_t size, char text[3 * DUMP_BYTES + 1])
{
    text[0] = '\0';
    for (size_t i = 0; i < size && i < DUMP_BYTES; i++) {
        snprintf(text + 3 * i, 4, "%02x ", bytes[i]);
    }
    return text;
}

void ds_test_check_mem(const char *file, int line, const char *a_text, const char *b_text,
                       const void *a, const void *b, size_t size)
{
    const unsigned char *left = a;
    const unsigned char *right = b;
    char left_text[3 * DUMP_BYTES + 1];
    char right_text[3 * DUMP_BYTES + 1];

    for (size_t i = 0; i < size; i++) {
        if (left[i] != right[i]) {
            ds_test_fail(file, line,
                         "CHECK_MEM(%s, %s): byte %zu of %zu differs\n#  left %s\n# right %s",
                         a_text, b_text, i, size, dump(left + i, size - i, left_text),
                         dump(right + i, size - i, right_text));
        }
    }
}
