/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read_only_buffer.h - a value, in place.
 *
 * Ownership: copies share the value; it is given back with the last of them. It may outlive its
 *            client, and has the same bytes all the time, whatever happens to the key.
 * Threads:   reading in any number of threads.
 */
#ifndef DS_DATASYSTEM_KV_READ_ONLY_BUFFER_H
#define DS_DATASYSTEM_KV_READ_ONLY_BUFFER_H

#include <cstdint>
#include <utility>

#include "datasystem/detail/error.h"
#include "datasystem/detail/value.h"
#include "datasystem/object/buffer.h"
#include "datasystem/utils/status.h"

namespace datasystem {
class ReadOnlyBuffer {
public:
    ReadOnlyBuffer() = default;

    int64_t GetSize() const noexcept { return static_cast<int64_t>(value_.Size()); }
    const void *ImmutableData() const noexcept { return value_.Data(); }

    /* Granted at once: nobody changes a value in place. K_RUNTIME_ERROR: there is no value. */
    Status RLatch(uint64_t timeout = 60)
    {
        if (timeout == 0) {
            return Status(K_INVALID, detail::Literal("The timeout value should be positive."));
        }
        return UnRLatch();
    }

    Status UnRLatch()
    {
        return value_.Present() ? Status() : Status(K_RUNTIME_ERROR, detail::kNoBuffer);
    }

private:
    friend struct detail::Access;

    explicit ReadOnlyBuffer(detail::Value &&value) noexcept : value_(std::move(value)) {}

    detail::Value value_;
};
} // namespace datasystem

#endif
