/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c.h - CRC-32C (Castagnoli), as in iSCSI (RFC 3720, B.4): "123456789" gives 0xE3069283.
 *
 * By the processor's instruction where it has one (x86-64 with SSE4.2, ARMv8 with CRC32), else by
 * tables in the code. Threads: any.
 */
#ifndef DS_BASE_CRC32C_H
#define DS_BASE_CRC32C_H

#include "base/base.h"

/* Goes on from `crc`, the result for all bytes before these; 0 at the start. */
uint32_t ds_crc32c(uint32_t crc, const void *data, size_t size);

/* The CRC of two pieces one after the other, from the CRC of each and the size of the second. */
uint32_t ds_crc32c_combine(uint32_t a, uint32_t b, uint64_t b_size);

/* The same as ds_crc32c() without the processor's instruction; for tests. */
uint32_t ds_crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
