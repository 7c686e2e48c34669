/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - what is a character in UTF-8. */
#ifndef DS_CLI_UTF8_H
#define DS_CLI_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the sequence at p, of which `left` (> 0) bytes may be read; 0: there is none.
 * Overlong forms, surrogates and points beyond U+10FFFF are none. */
static inline size_t ds_utf8_length(const unsigned char *p, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t point;

    if (n == 1) {
        return 1;
    }
    if (n == 0 || p[0] > 0xf4 || n > left) {
        return 0;
    }
    point = p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (p[i] & 0x3fu);
    }
    return point < least[n] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : n;
}

#endif
