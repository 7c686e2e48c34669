/* SPDX-License-Identifier: Apache-2.0 */
/* future.h - the outcome of a device transfer that goes on. None is ever started yet. */
#ifndef DS_DATASYSTEM_HETERO_FUTURE_H
#define DS_DATASYSTEM_HETERO_FUTURE_H

#include <cstdint>

#include "datasystem/utils/status.h"

namespace datasystem {
class Future {
public:
    Status Get(uint64_t subTimeoutMs = 60000)
    {
        (void)subTimeoutMs;
        return Status(K_NOT_SUPPORTED, detail::Literal("Device memory is not supported yet"));
    }

private:
    Future() = default;
};
} // namespace datasystem

#endif
