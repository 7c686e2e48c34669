/* SPDX-License-Identifier: Apache-2.0 */
/* access.h - how the clients make buffers and look into them. */
#ifndef DS_DATASYSTEM_DETAIL_ACCESS_H
#define DS_DATASYSTEM_DETAIL_ACCESS_H

#include <memory>
#include <utility>

#include "datasystem/kv/read_only_buffer.h"
#include "datasystem/object/buffer.h"
#include "datasystem/utils/optional.h"

namespace datasystem::detail {
struct Access {
    /* T: Buffer or ReadOnlyBuffer. */
    template <typename T> static Optional<T> Lend(Value &&value)
    {
        return Optional<T>(T(std::move(value)));
    }

    /* Empty for nullptr. Takes the buffer over. */
    static Optional<Buffer> Wrap(struct ds_buffer *buffer)
    {
        return buffer == nullptr ? Optional<Buffer>() : Optional<Buffer>(Buffer(buffer));
    }

    static std::shared_ptr<Buffer> WrapShared(struct ds_buffer *buffer)
    {
        Buffer wrapped(buffer); /* frees it if the allocation throws */
        return std::make_shared<Buffer>(std::move(wrapped));
    }

    static struct ds_buffer *Handle(const Buffer &buffer) noexcept { return buffer.buffer_; }
};
} // namespace datasystem::detail

#endif
