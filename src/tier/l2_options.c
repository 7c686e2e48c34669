/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/l2_options.h"

#include <string.h>

/* Of two options that mean the same, the one given. */
static const char *either(const struct ds_options *o, enum ds_option_id first,
                          enum ds_option_id second)
{
    const char *value = ds_options_str(o, first);

    return value[0] != '\0' ? value : ds_options_str(o, second);
}

static enum ds_l2_s3_sign sign_of(const char *word)
{
    return strcmp(word, "always") == 0  ? DS_L2_S3_SIGN_ALWAYS
           : strcmp(word, "never") == 0 ? DS_L2_S3_SIGN_NEVER
                                        : DS_L2_S3_SIGN_AUTO;
}

bool ds_l2_config_from(const struct ds_options *o, struct ds_l2_config *ret)
{
    const char *type = ds_options_str(o, DS_OPT_l2_cache_type);
    bool obs = strcmp(type, "obs") == 0;
    struct ds_l2_config c = {.type = DS_L2_S3};

    if (strcmp(type, "none") == 0) {
        return false;
    }
    if (strcmp(type, "sfs") == 0) {
        c.type = DS_L2_DIR;
        c.directory = ds_options_str(o, DS_OPT_sfs_path);
    }
    c.s3 = (struct ds_l2_s3_config){
        .endpoint = obs ? either(o, DS_OPT_obs_endpoint, DS_OPT_s3_endpoint)
                        : either(o, DS_OPT_s3_endpoint, DS_OPT_obs_endpoint),
        .bucket = obs ? either(o, DS_OPT_obs_bucket, DS_OPT_s3_bucket)
                      : either(o, DS_OPT_s3_bucket, DS_OPT_obs_bucket),
        .access_key = obs ? either(o, DS_OPT_obs_access_key, DS_OPT_s3_access_key)
                          : either(o, DS_OPT_s3_access_key, DS_OPT_obs_access_key),
        .secret_key = obs ? either(o, DS_OPT_obs_secret_key, DS_OPT_s3_secret_key)
                          : either(o, DS_OPT_s3_secret_key, DS_OPT_obs_secret_key),
        .prefix = ds_options_str(o, DS_OPT_s3_prefix),
        .region = ds_options_str(o, DS_OPT_s3_region),
        .https = ds_options_bool(o, DS_OPT_obs_https_enabled),
        .virtual_host = strcmp(ds_options_str(o, DS_OPT_s3_addressing), "virtual") == 0,
        .sign_payload = sign_of(ds_options_str(o, DS_OPT_s3_sign_payload)),
        .ca_file = ds_options_str(o, DS_OPT_s3_ca_file),
        .credentials_file = ds_options_str(o, DS_OPT_s3_credentials_file),
    };
    *ret = c;
    return true;
}
