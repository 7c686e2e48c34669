/* SPDX-License-Identifier: Apache-2.0 */
/* error.h - from the codes of the C API to Status. */
#ifndef DS_DATASYSTEM_DETAIL_ERROR_H
#define DS_DATASYSTEM_DETAIL_ERROR_H

#include <ds/error.h>

#include <string>

#include "datasystem/detail/key.h"
#include "datasystem/detail/thread_context.h"
#include "datasystem/utils/status.h"

namespace datasystem::detail {
inline constexpr Literal kAllMissing{"Cannot get objects from worker"};
inline constexpr Literal kForked{"This client was made before fork(): call Init() in the child"};
inline constexpr Literal kEmptyValue{"The dataSize value should be bigger than zero."};
inline constexpr Literal kLatchHeld{"Somebody else holds the latch: try again, or with a longer "
                                    "timeoutSec"};
inline constexpr Literal kLatchNotHeld{"The latch is not held through this buffer: take it first"};
inline constexpr Literal kPublished{"The value is published and does not change any more: create "
                                    "another buffer"};
inline constexpr Literal kNestsItself{"An object cannot be nested in itself, and a published value "
                                      "cannot be published again"};
inline constexpr Literal kManyViews{"This client holds as many views as it may: release some"};
inline constexpr Literal kOffset{"The offset is not inside the value"};
inline constexpr Literal kNoBuffer{"The buffer is not initialized"};

/* The status of a negative code; a miss costs no memory. `key` may be nullptr. */
[[gnu::cold, gnu::noinline]] inline Status Failure(int rc, const std::string *key = nullptr)
{
    const auto code = static_cast<StatusCode>(-rc);
    if (rc == DS_ENOTREADY) { /* of an open client only then */
        return Status(code, kForked);
    }
    if (rc == DS_ENOTFOUND && ThreadTraceId().empty()) {
        return Status(code, kAllMissing);
    }
    std::string message = rc == DS_ENOTFOUND
                              ? std::string(kAllMissing.text)
                              : std::string(ds_error_text(rc)) + ": " + ds_error_hint(rc);
    if (key != nullptr) {
        message += ", key: " + Printable(*key);
    }
    if (!ThreadTraceId().empty()) {
        message += ", traceId: " + ThreadTraceId();
    }
    return Status(code, std::move(message));
}

/* A call whose code means something of its own here: then `text` says it. */
inline Status Result(int rc, int code, Literal text)
{
    return rc == code ? Status(static_cast<StatusCode>(-rc), text)
                      : (rc >= 0 ? Status() : Failure(rc));
}

inline Status Result(int rc, const std::string *key = nullptr)
{
    return rc >= 0 ? Status() : Failure(rc, key);
}
} // namespace datasystem::detail

#endif
