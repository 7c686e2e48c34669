/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optional.h - a value that may be missing.
 *
 * Unlike std::optional it always holds a T: an empty one is default-constructed, and may be used
 * through -> without harm (a missing buffer has size 0 and no data).
 */
#ifndef DS_DATASYSTEM_UTILS_OPTIONAL_H
#define DS_DATASYSTEM_UTILS_OPTIONAL_H

#include <type_traits>
#include <utility>

namespace datasystem {
template <typename T> class Optional {
public:
    Optional() = default;
    Optional(const Optional &) = default;
    Optional &operator=(const Optional &) = default;
    Optional(Optional &&) noexcept = default;
    Optional &operator=(Optional &&) noexcept = default;
    ~Optional() = default;

    /* Constructs the value from `args`. Not for another Optional: that is a copy. */
    template <typename Arg, typename... Args,
              typename = std::enable_if_t<!std::is_same_v<std::decay_t<Arg>, Optional> &&
                                          std::is_constructible_v<T, Arg, Args...>>>
    explicit Optional(Arg &&arg, Args &&...args)
        : present_(true), value_(std::forward<Arg>(arg), std::forward<Args>(args)...)
    {}

    explicit operator bool() const noexcept { return present_; }
    bool has_value() const noexcept { return present_; }

    T &value() noexcept { return value_; }
    T &operator*() noexcept { return value_; }
    T *operator->() noexcept { return &value_; }
    const T &value() const noexcept { return value_; }
    const T &operator*() const noexcept { return value_; }
    const T *operator->() const noexcept { return &value_; }

private:
    bool present_ = false;
    T value_{};
};
} // namespace datasystem

#endif
