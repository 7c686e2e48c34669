/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key.h - which keys there are, and how a new one is made.
 *
 * 1 to DS_KEY_SIZE_MAX bytes of: letters, digits and .-_!@#%^*()+=:;
 */
#ifndef DS_DATASYSTEM_DETAIL_KEY_H
#define DS_DATASYSTEM_DETAIL_KEY_H

#include <ds/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

#include "datasystem/utils/status.h"

namespace datasystem::detail {
inline constexpr char kKeyBytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                    ".-_!@#%^*()+=:;";

constexpr std::array<bool, 256> KeyByteTable()
{
    std::array<bool, 256> table{};
    for (size_t i = 0; i + 1 < sizeof(kKeyBytes); i++) {
        table[static_cast<unsigned char>(kKeyBytes[i])] = true;
    }
    return table;
}

inline constexpr std::array<bool, 256> kIsKeyByte = KeyByteTable();

inline bool IsKey(const std::string &key) noexcept
{
    bool fine = true;
    for (char c : key) {
        fine &= kIsKeyByte[static_cast<unsigned char>(c)];
    }
    return fine && !key.empty() && key.size() <= DS_KEY_SIZE_MAX;
}

/* For messages: not too long, no control bytes. */
inline std::string Printable(const std::string &key)
{
    constexpr size_t kShown = 128;
    std::string text = key.substr(0, kShown);
    for (char &c : text) {
        const auto byte = static_cast<unsigned char>(c);
        c = byte < 0x20 || byte == 0x7f ? '?' : c;
    }
    return key.size() > kShown ? text + "..." : text;
}

/* What is wrong with a key that IsKey() refused. */
[[gnu::cold, gnu::noinline]] inline Status KeyFault(const std::string &key)
{
    if (key.empty()) {
        return Status(K_INVALID, Literal("The objectKey should not be empty."));
    }
    return Status(K_INVALID, "The key contains illegal char(s), allowed are letters, digits and "
                             ".-_!@#%^*()+=:; or the length of key must be no more than " +
                                 std::to_string(DS_KEY_SIZE_MAX) + ". Current key: " +
                                 Printable(key) + ", length: " + std::to_string(key.size()) + ".");
}

/* A random UUID (version 4). No state: the child of a fork() makes others than its parent. */
inline std::string NewKey()
{
    constexpr char kDigits[] = "0123456789abcdef";
    std::random_device device;
    std::string key = "xxxxxxxx-xxxx-4xxx-Vxxx-xxxxxxxxxxxx";
    uint32_t bits = 0;
    unsigned left = 0;
    for (char &c : key) {
        if (c != 'x' && c != 'V') {
            continue;
        }
        if (left == 0) {
            bits = device();
            left = 8;
        }
        c = kDigits[c == 'V' ? 8 + bits % 4 : bits % 16];
        bits /= 16;
        left--;
    }
    return key;
}

inline std::string NewKey(const std::string &prefix)
{
    return prefix.empty() ? NewKey() : prefix;
}
} // namespace datasystem::detail

#endif
