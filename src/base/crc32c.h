/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c.h - CRC-32C (Castagnoli), as in iSCSI (RFC 3720, B.4): "123456789" gives 0xE3069283.
 *
 * Threads: any.
 */
#ifndef DS_BASE_CRC32C_H
#define DS_BASE_CRC32C_H

#include "base/base.h"

/* Goes on from `crc`, the result for all bytes before these; 0 at the start. */
uint32_t ds_crc32c(uint32_t crc, const void *data, size_t size);

#endif
