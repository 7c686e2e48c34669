/* SPDX-License-Identifier: Apache-2.0 */
/* ds.h - the whole C API. */
#ifndef DS_DS_H
#define DS_DS_H

#include <ds/client.h>
#include <ds/error.h>
#include <ds/kv.h>
#include <ds/object.h>
#include <ds/types.h>

#endif
