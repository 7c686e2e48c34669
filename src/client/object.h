/* SPDX-License-Identifier: Apache-2.0 */
/* object.h - checks that kv.c and object.c share. */
#ifndef DS_CLIENT_OBJECT_H
#define DS_CLIENT_OBJECT_H

#include <ds/kv.h>

/* Write mode and cache type: DS_ENOTSUPPORTED for what needs a second level or a disk. */
DS_MUST_USE int ds_check_options(const struct ds_set_options *options);
DS_MUST_USE int ds_check_set(const void *value, size_t size, const struct ds_set_options *options);

#endif
