/* SPDX-License-Identifier: Apache-2.0 */
/* array.h - scratch space of a batch call: on the stack up to the advised batch of 64 keys. */
#ifndef DS_DATASYSTEM_DETAIL_ARRAY_H
#define DS_DATASYSTEM_DETAIL_ARRAY_H

#include <cstddef>
#include <memory>
#include <type_traits>

namespace datasystem::detail {
/* n elements, not initialised. */
template <typename T> class Array {
    static_assert(std::is_trivial_v<T>);

public:
    explicit Array(size_t n) : heap_(n > kInline ? new T[n] : nullptr) {}
    Array(const Array &) = delete;
    Array &operator=(const Array &) = delete;

    T *data() noexcept { return heap_ != nullptr ? heap_.get() : inline_; }
    T &operator[](size_t i) noexcept { return data()[i]; }

private:
    static constexpr size_t kInline = 64;
    std::unique_ptr<T[]> heap_;
    T inline_[kInline];
};
} // namespace datasystem::detail

#endif
