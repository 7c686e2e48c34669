/* SPDX-License-Identifier: Apache-2.0 */
#include "ds/error.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"

const char *ds_error_text(int code)
{
    switch (code) {
#define X(name, number, kname, text, hint)                                                         \
    case DS_E##name:                                                                               \
        return text;
        DS_ERROR_MAP(X)
#undef X
    default:
        return code >= 0 ? "OK" : "Unknown error";
    }
}

const char *ds_error_name(int code)
{
    switch (code) {
#define X(name, number, kname, text, hint)                                                         \
    case DS_E##name:                                                                               \
        return kname;
        DS_ERROR_MAP(X)
#undef X
    default:
        return code >= 0 ? "K_OK" : "K_UNKNOWN_ERROR";
    }
}

const char *ds_error_hint(int code)
{
    switch (code) {
#define X(name, number, kname, text, hint)                                                         \
    case DS_E##name:                                                                               \
        return hint;
        DS_ERROR_MAP(X)
#undef X
    default:
        return code >= 0 ? "nothing to do" : "report it";
    }
}

void ds_assert_failed(const char *cond, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, cond);
    abort();
}
