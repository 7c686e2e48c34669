/* SPDX-License-Identifier: Apache-2.0 */
/* string_view.h - bytes that somebody else owns. */
#ifndef DS_DATASYSTEM_UTILS_STRING_VIEW_H
#define DS_DATASYSTEM_UTILS_STRING_VIEW_H

#include <cstddef>
#include <string>

namespace datasystem {
class StringView {
public:
    constexpr StringView() noexcept = default;
    constexpr StringView(const StringView &) noexcept = default;
    constexpr StringView &operator=(const StringView &) noexcept = default;
    ~StringView() = default;

    /* Up to the NUL; nullptr is empty. */
    constexpr StringView(const char *string)
        : data_(string), size_(string == nullptr ? 0 : std::char_traits<char>::length(string))
    {}
    constexpr StringView(const char *data, size_t size) noexcept : data_(data), size_(size) {}
    StringView(const std::string &string) noexcept : data_(string.data()), size_(string.size()) {}

    constexpr const char *data() const noexcept { return data_; }
    constexpr size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }

private:
    const char *data_ = nullptr;
    size_t size_ = 0;
};
} // namespace datasystem

#endif
