/* SPDX-License-Identifier: Apache-2.0 */
/* l2_options.h - which second-level storage the options of a worker name. */
#ifndef DS_TIER_L2_OPTIONS_H
#define DS_TIER_L2_OPTIONS_H

#include "base/options.h"
#include "tier/l2.h"

/* False: none. Texts of *ret belong to `options`. */
bool ds_l2_config_from(const struct ds_options *options, struct ds_l2_config *ret);

#endif
