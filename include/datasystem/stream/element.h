/* SPDX-License-Identifier: Apache-2.0 */
/* element.h - what is sent and received on a stream: borrowed bytes and a number. */
#ifndef DS_DATASYSTEM_STREAM_ELEMENT_H
#define DS_DATASYSTEM_STREAM_ELEMENT_H

#include <climits>
#include <cstdint>

namespace datasystem {
struct Element {
    Element(uint8_t *bytes = nullptr, uint64_t length = 0, uint64_t number = ULONG_MAX)
        : ptr(bytes), size(length), id(number)
    {}

    uint8_t *ptr;
    uint64_t size;
    uint64_t id;
};
} // namespace datasystem

#endif
