/* SPDX-License-Identifier: Apache-2.0 */
/* object_enum.h - how objects are kept. The numbers are those of the C API. */
#ifndef DS_DATASYSTEM_OBJECT_OBJECT_ENUM_H
#define DS_DATASYSTEM_OBJECT_OBJECT_ENUM_H

#include <cstdint>

#include "datasystem/utils/status.h"

namespace datasystem {
/* What may happen to the only copy in memory, and which lower level has it too. */
enum class WriteMode : int {
    NONE_L2_CACHE = 0,
    WRITE_THROUGH_L2_CACHE = 1,
    WRITE_BACK_L2_CACHE = 2,
    NONE_L2_CACHE_EVICT = 3,
    WRITE_BACK_L2_CACHE_EVICT = 4,
};

enum class ConsistencyType : int { PRAM = 0, CAUSAL = 1 };
enum class CacheType : int { MEMORY = 0, DISK = 1 };
enum class ServerState : uint8_t { NORMAL = 0, REBOOT = 1 };
} // namespace datasystem

#endif
