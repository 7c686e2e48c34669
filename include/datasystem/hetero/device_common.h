/* SPDX-License-Identifier: Apache-2.0 */
/* device_common.h - descriptions of device memory. */
#ifndef DS_DATASYSTEM_HETERO_DEVICE_COMMON_H
#define DS_DATASYSTEM_HETERO_DEVICE_COMMON_H

#include <cstdint>
#include <vector>

#include "datasystem/utils/device_blob.h"

namespace datasystem {
struct Tensor {
    uint64_t ptr;
    uint32_t elemSize;
    std::vector<uint64_t> shape;
};
} // namespace datasystem

#endif
