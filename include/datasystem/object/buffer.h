/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.h - the bytes of an object, in place: to fill and publish, or to read.
 *
 * Ownership: movable, not copyable. It may outlive its client: the memory stays mapped, with the
 *            same bytes, until the buffer is gone. An unpublished one is discarded with it.
 * Threads:   one at a time; different buffers are independent.
 * Kinds:     - created or fetched as an object: all calls.
 *            - fetched as a value (KVClient::Get): to read. It never changes, so that a read latch
 *              is granted at once; calls that would change it are K_OC_ALREADY_SEALED, and
 *              MutableData() is nullptr.
 *            - empty: size 0, no data; calls are K_RUNTIME_ERROR.
 */
#ifndef DS_DATASYSTEM_OBJECT_BUFFER_H
#define DS_DATASYSTEM_OBJECT_BUFFER_H

#include <ds/object.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>

#include "datasystem/detail/array.h"
#include "datasystem/detail/error.h"
#include "datasystem/detail/value.h"
#include "datasystem/utils/status.h"

namespace datasystem {
class RemoteH2DHostInfoPb; /* of transports that do not exist here */

namespace detail {
struct Access;

/* The nested keys of an object, as the C API takes them. */
class NestedKeys {
public:
    explicit NestedKeys(const std::unordered_set<std::string> &keys)
        : keys_(keys.size()), size_(keys.size())
    {
        size_t i = 0;
        if (size_ > DS_BATCH_MAX) {
            fault_ =
                Status(K_INVALID, "The objectKeys size exceed " + std::to_string(DS_BATCH_MAX));
        }
        for (const std::string &key : keys) {
            if (!IsKey(key)) {
                fault_ = KeyFault(key);
            }
            keys_[i++] = {key.data(), key.size()};
        }
    }

    const Status &Fault() const noexcept { return fault_; }
    const struct ds_bytes *Keys() noexcept { return keys_.data(); }
    size_t Size() const noexcept { return size_; }

private:
    Array<struct ds_bytes> keys_;
    size_t size_;
    Status fault_;
};
} // namespace detail

class Buffer : public std::enable_shared_from_this<Buffer> {
public:
    Buffer() = default;
    Buffer(Buffer &&other) noexcept
        : buffer_(std::exchange(other.buffer_, nullptr)), value_(std::move(other.value_))
    {}
    Buffer &operator=(Buffer &&other) noexcept
    {
        std::swap(buffer_, other.buffer_);
        value_ = std::move(other.value_);
        if (this != &other) {
            ds_buffer_free(std::exchange(other.buffer_, nullptr));
        }
        return *this;
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    virtual ~Buffer()
    {
        if (buffer_ != nullptr) {
            ds_buffer_free(buffer_);
        }
    }

    /* To the front of the buffer. K_INVALID: nothing to copy. K_OUT_OF_RANGE: too long. */
    Status MemoryCopy(const void *data, uint64_t length)
    {
        if (buffer_ != nullptr && (data == nullptr || length == 0)) {
            return Status(K_INVALID, detail::kEmptyValue);
        }
        return Change([&] { return ds_buffer_write(buffer_, data, length); }, DS_EINVAL,
                      detail::kPublished);
    }

    int64_t GetSize() const
    {
        return static_cast<int64_t>(buffer_ != nullptr ? ds_buffer_size(buffer_) : value_.Size());
    }

    /* Makes the object visible, or announces that it changed. Nested keys live as long as it. */
    Status Publish(const std::unordered_set<std::string> &nestedKeys = {})
    {
        return Announce(ds_buffer_publish, nestedKeys);
    }

    /* Makes the object visible and unchangeable. */
    Status Seal(const std::unordered_set<std::string> &nestedKeys = {})
    {
        return Announce(ds_buffer_seal, nestedKeys);
    }

    /* Latches are released with the buffer, too. K_RPC_DEADLINE_EXCEEDED: not within the time. */
    Status WLatch(uint64_t timeoutSec = 60)
    {
        if (timeoutSec == 0) {
            return NoTimeout();
        }
        return Change([&] { return ds_buffer_latch_write(buffer_, Milliseconds(timeoutSec)); },
                      DS_ETIMEOUT, detail::kLatchHeld);
    }

    Status RLatch(uint64_t timeoutSec = 60)
    {
        if (timeoutSec == 0) {
            return NoTimeout();
        }
        return Read([&] { return ds_buffer_latch_read(buffer_, Milliseconds(timeoutSec)); },
                    DS_ETIMEOUT, detail::kLatchHeld);
    }

    Status UnRLatch()
    {
        return Read([&] { return ds_buffer_unlatch_read(buffer_); }, DS_ENOTINUSE,
                    detail::kLatchNotHeld);
    }

    Status UnWLatch()
    {
        return Change([&] { return ds_buffer_unlatch_write(buffer_); }, DS_ENOTINUSE,
                      detail::kLatchNotHeld);
    }

    /* Not to be written through after KVClient::Set(), MSet() or Seal() of this buffer: the pointer
     * still reaches the bytes, which everybody else takes for unchangeable. */
    void *MutableData() { return buffer_ != nullptr ? ds_buffer_mutable_data(buffer_) : nullptr; }

    const void *ImmutableData()
    {
        return buffer_ != nullptr ? ds_buffer_data(buffer_) : value_.Data();
    }

    /* Drops this node's copy, if it is not the only one. */
    Status InvalidateBuffer()
    {
        return Read([&] { return ds_buffer_invalidate(buffer_); }, 0, detail::kNoBuffer);
    }

    /* Calls copyFn between RLatch() and UnRLatch(). */
    Status CopyDataWithRLatch(const std::function<Status()> &copyFn)
    {
        Status status = RLatch();
        if (status.IsError()) {
            return status;
        }
        Status copied = copyFn();
        status = UnRLatch();
        return copied.IsError() ? copied : status;
    }

    RemoteH2DHostInfoPb *GetRemoteHostInfo() { return nullptr; }

private:
    friend struct detail::Access;

    explicit Buffer(struct ds_buffer *buffer) noexcept : buffer_(buffer) {}
    explicit Buffer(detail::Value &&value) noexcept : value_(std::move(value)) {}

    static int64_t Milliseconds(uint64_t seconds) noexcept
    {
        return static_cast<int64_t>(std::min<uint64_t>(seconds, INT64_MAX / 1000)) * 1000;
    }

    static Status NoTimeout()
    {
        return Status(K_INVALID, detail::Literal("The timeout value should be positive."));
    }

    /* `text` is what `code` means here. */
    template <typename Call> Status Read(Call call, int code, detail::Literal text) const
    {
        if (buffer_ != nullptr) {
            int rc = call();
            return rc == 0 ? Status() : detail::Result(rc, code, text);
        }
        return value_.Present() ? Status() : Status(K_RUNTIME_ERROR, detail::kNoBuffer);
    }

    template <typename Call> Status Change(Call call, int code, detail::Literal text) const
    {
        if (buffer_ == nullptr && value_.Present()) {
            return Status(K_OC_ALREADY_SEALED, detail::Literal("The buffer is of a key's value, "
                                                               "which never changes in place"));
        }
        return Read(call, code, text);
    }

    Status Announce(int (*call)(struct ds_buffer *, const struct ds_bytes *, size_t),
                    const std::unordered_set<std::string> &nested_keys)
    {
        detail::NestedKeys nested(nested_keys);
        return nested.Fault().IsError()
                   ? nested.Fault()
                   : Change([&] { return call(buffer_, nested.Keys(), nested.Size()); }, DS_EINVAL,
                            detail::kNestsItself);
    }

    struct ds_buffer *buffer_ = nullptr; /* an object, or */
    detail::Value value_;                /* a value, or neither */
};
} // namespace datasystem

#endif
