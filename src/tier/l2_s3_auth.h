/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_s3_auth.h - where the credentials of an object store come from: the options, a file in the
 * form of ~/.aws/credentials, or the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN), the first that has any.
 *
 * Ownership: copies. Threads: the caller's exclusion.
 * Errors:    DS_EDENIED: there are none. Texts name the source, never a value.
 */
#ifndef DS_TIER_L2_S3_AUTH_H
#define DS_TIER_L2_S3_AUTH_H

#include <stdio.h>

#include "tier/l2.h"

struct ds_l2_s3_auth {
    char user[512];   /* access key ':' secret key, as libcurl takes it */
    char token[4096]; /* of temporary credentials, or "" */
};

DS_MUST_USE int ds_l2_s3_auth_load(const struct ds_l2_s3_config *config, char *err, size_t err_size,
                                   struct ds_l2_s3_auth *ret);

/* Of a file that is open; `source` names it. */
DS_MUST_USE int ds_l2_s3_auth_read(FILE *f, const char *source, char *err, size_t err_size,
                                   struct ds_l2_s3_auth *ret);

#endif
