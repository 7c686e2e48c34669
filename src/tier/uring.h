/* SPDX-License-Identifier: Apache-2.0 */
/* uring.h - liburing, whose header (2.3) casts and converts freely. */
#ifndef DS_TIER_URING_H
#define DS_TIER_URING_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wcast-align"
#pragma GCC diagnostic ignored "-Wpointer-arith"
#include <liburing.h>
#pragma GCC diagnostic pop

#endif
