/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - what the C++ test programs share: named checks as TAP, the worker's address.
 *
 * Usage: program HOST:PORT. Each CHECK prints "ok N - text" or "not ok N - text"; finish() prints
 * the plan and is the exit status.
 */
#ifndef DS_INTEGRATION_CPP_CHECK_H
#define DS_INTEGRATION_CPP_CHECK_H

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <iostream>
#include <string>

#include "datasystem/datasystem.h"

namespace check {
inline int failures = 0;
inline int checks = 0;

inline bool report(bool fine, const char *text, const char *file, int line)
{
    std::printf("%sok %d - %s\n", fine ? "" : "not ", ++checks, text);
    if (!fine) {
        std::printf("# %s:%d\n", file, line);
        failures++;
    }
    std::fflush(stdout);
    return fine;
}

inline bool status(const datasystem::Status &status, datasystem::StatusCode want, const char *text,
                   const char *file, int line)
{
    bool fine = report(status.GetCode() == want, text, file, line);
    if (!fine) {
        std::cout << "# got " << status << std::endl;
    }
    return fine;
}

inline bool contains(const std::string &text, const std::string &part)
{
    return text.find(part) != std::string::npos;
}

/* A key that no other program nor another run uses. */
inline std::string key(const std::string &name)
{
    static std::atomic<int> count{0};
    return "cpp." + std::to_string(getpid()) + "." + std::to_string(++count) + "." + name;
}

inline datasystem::ConnectOptions options(int argc, char **argv)
{
    const std::string address = argc > 1 ? argv[1] : "127.0.0.1:31501";
    const size_t colon = address.rfind(':');
    datasystem::ConnectOptions result;
    result.host = address.substr(0, colon);
    result.port = std::stoi(address.substr(colon + 1));
    result.connectTimeoutMs = 5000;
    return result;
}

inline std::string text(const void *data, int64_t size)
{
    return std::string(static_cast<const char *>(data), static_cast<size_t>(size));
}

inline int finish()
{
    std::printf("1..%d\n", checks);
    return failures == 0 ? 0 : 1;
}
} // namespace check

/* The text is the claim that the condition proves. */
#define CHECK(condition, text) check::report((condition), (text), __FILE__, __LINE__)
#define CHECK_STATUS(expression, code, text)                                                       \
    check::status((expression), datasystem::code, (text), __FILE__, __LINE__)
#define CHECK_OK(expression, text) CHECK_STATUS(expression, K_OK, text)

#endif
