/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/l2_s3_auth.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int fill(const char *access, const char *secret, const char *token, const char *source,
                char *err, size_t err_size, struct ds_l2_s3_auth *ret)
{
    int n;

    if (!given(access) || !given(secret)) {
        (void)snprintf(err, err_size, "%s: an access key needs a secret key, and the other way",
                       source);
        return DS_EDENIED;
    }
    n = snprintf(ret->user, sizeof(ret->user), "%s:%s", access, secret);
    if (n >= (int)sizeof(ret->user) || strchr(access, ':') != NULL ||
        (given(token) && strlen(token) >= sizeof(ret->token))) {
        (void)snprintf(err, err_size, "%s: the credentials are too long or malformed", source);
        return DS_EDENIED;
    }
    (void)snprintf(ret->token, sizeof(ret->token), "%s", given(token) ? token : "");
    return 0;
}

/* The text without blanks at its ends, in place. */
static char *trim(char *text)
{
    size_t n;

    while (isspace((unsigned char)*text)) {
        text++;
    }
    for (n = strlen(text); n > 0 && isspace((unsigned char)text[n - 1]); n--) {
        text[n - 1] = '\0';
    }
    return text;
}

/* Section [default], or what stands before any section. */
static int from_file(const char *path, char *err, size_t err_size, struct ds_l2_s3_auth *ret)
{
    char values[3][4096] = {"", "", ""};
    static const char *const names[] = {"aws_access_key_id", "aws_secret_access_key",
                                        "aws_session_token"};
    char line[4200];
    bool ours = true;
    int rc;
    FILE *f = fopen(path, "re");

    if (f == NULL) {
        (void)snprintf(err, err_size, "cannot read the credentials file %s: %s", path,
                       strerror(errno));
        return DS_EDENIED;
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        char *text = trim(line);
        char *equals = strchr(text, '=');

        if (text[0] == '[') {
            ours = strcmp(text, "[default]") == 0;
        } else if (ours && text[0] != '#' && equals != NULL) {
            *equals = '\0';
            for (size_t i = 0; i < DS_ARRAY_SIZE(names); i++) {
                if (strcmp(trim(text), names[i]) == 0) {
                    (void)snprintf(values[i], sizeof(values[i]), "%s", trim(equals + 1));
                }
            }
        }
    }
    (void)fclose(f);
    rc = fill(values[0], values[1], values[2], path, err, err_size, ret);
    explicit_bzero(values, sizeof(values));
    explicit_bzero(line, sizeof(line));
    return rc;
}

int ds_l2_s3_auth_load(const struct ds_l2_s3_config *config, char *err, size_t err_size,
                       struct ds_l2_s3_auth *ret)
{
    const char *access = getenv("AWS_ACCESS_KEY_ID");

    if (given(config->access_key) || given(config->secret_key)) {
        return fill(config->access_key, config->secret_key, config->session_token,
                    "the options obs_access_key and obs_secret_key", err, err_size, ret);
    }
    if (given(config->credentials_file)) {
        return from_file(config->credentials_file, err, err_size, ret);
    }
    if (given(access)) {
        return fill(access, getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN"),
                    "the environment", err, err_size, ret);
    }
    (void)snprintf(err, err_size,
                   "no credentials for the object store: set s3_credentials_file, or the variables "
                   "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    return DS_EDENIED;
}
