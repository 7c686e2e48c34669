/* SPDX-License-Identifier: Apache-2.0 */
/* object.h - checks that kv.c and object.c share. */
#ifndef DS_CLIENT_OBJECT_H
#define DS_CLIENT_OBJECT_H

#include <ds/kv.h>

struct ds_link;

/* DS_ENOTSUPPORTED: write mode or cache type need a tier that this worker does not have. */
DS_MUST_USE int ds_check_tiers(const struct ds_link *l, const struct ds_set_options *options);

/* Write mode and cache type are known ones. */
DS_MUST_USE int ds_check_options(const struct ds_set_options *options);
DS_MUST_USE int ds_check_set(const void *value, size_t size, const struct ds_set_options *options);

#endif
