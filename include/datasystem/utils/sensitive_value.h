/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sensitive_value.h - a secret: its bytes are overwritten before their memory is given back.
 */
#ifndef DS_DATASYSTEM_UTILS_SENSITIVE_VALUE_H
#define DS_DATASYSTEM_UTILS_SENSITIVE_VALUE_H

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace datasystem {
class SensitiveValue {
public:
    SensitiveValue() = default;
    SensitiveValue(const char *string)
    {
        Assign(string, string == nullptr ? 0 : std::strlen(string));
    }
    SensitiveValue(const std::string &string) { Assign(string.data(), string.size()); }
    SensitiveValue(const char *data, size_t size) { Assign(data, size); }
    /* Takes the memory over. */
    SensitiveValue(std::unique_ptr<char[]> data, size_t size) noexcept
        : data_(std::move(data)), size_(data_ == nullptr ? 0 : size)
    {}

    SensitiveValue(const SensitiveValue &other) { Assign(other.data_.get(), other.size_); }
    SensitiveValue(SensitiveValue &&other) noexcept
        : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0))
    {}
    ~SensitiveValue() { Clear(); }

    SensitiveValue &operator=(const SensitiveValue &other)
    {
        if (this != &other) {
            Assign(other.data_.get(), other.size_);
        }
        return *this;
    }
    SensitiveValue &operator=(SensitiveValue &&other) noexcept
    {
        if (this != &other) {
            Clear();
            data_ = std::move(other.data_);
            size_ = std::exchange(other.size_, 0);
        }
        return *this;
    }
    SensitiveValue &operator=(const char *string) { return *this = SensitiveValue(string); }
    SensitiveValue &operator=(const std::string &string) { return *this = SensitiveValue(string); }

    /* Takes a time that depends on the sizes only. */
    bool operator==(const SensitiveValue &other) const noexcept
    {
        unsigned char difference = size_ != other.size_;
        for (size_t i = 0; i < size_ && i < other.size_; i++) {
            difference |= static_cast<unsigned char>(data_[i] ^ other.data_[i]);
        }
        return difference == 0;
    }

    bool Empty() const noexcept { return size_ == 0; }
    /* NUL-terminated; "" if empty. */
    const char *GetData() const noexcept { return data_ == nullptr ? "" : data_.get(); }
    size_t GetSize() const noexcept { return size_; }

    /* Hands the memory over and leaves this empty. False if there is nothing. */
    bool MoveTo(std::unique_ptr<char[]> &outData, size_t &outSize) noexcept
    {
        if (Empty()) {
            return false;
        }
        outData = std::move(data_);
        outSize = std::exchange(size_, 0);
        return true;
    }

    void Clear() noexcept
    {
        volatile char *bytes = data_.get(); /* volatile: these writes must happen */
        for (size_t i = 0; i < size_; i++) {
            bytes[i] = 0;
        }
        data_.reset();
        size_ = 0;
    }

private:
    void Assign(const char *data, size_t size)
    {
        std::unique_ptr<char[]> copy;
        if (size > 0) {
            copy = std::make_unique<char[]>(size + 1);
            std::memcpy(copy.get(), data, size);
        }
        Clear();
        data_ = std::move(copy);
        size_ = size;
    }

    std::unique_ptr<char[]> data_;
    size_t size_ = 0;
};
} // namespace datasystem

#endif
