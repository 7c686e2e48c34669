/* SPDX-License-Identifier: Apache-2.0 */
/* device_blob.h - pieces of device memory. */
#ifndef DS_DATASYSTEM_UTILS_DEVICE_BLOB_H
#define DS_DATASYSTEM_UTILS_DEVICE_BLOB_H

#include <cstdint>
#include <vector>

namespace datasystem {
struct Blob {
    void *pointer = nullptr;
    uint64_t size = 0;
};

/* All blobs are on one device. */
struct DeviceBlobList {
    std::vector<Blob> blobs;
    int32_t deviceIdx = -1;
    int32_t srcOffset = 0; /* where the sender's data starts, in bytes */
};
} // namespace datasystem

#endif
