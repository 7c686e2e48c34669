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
    /* They go into a header as they are. */
    if (n >= (int)sizeof(ret->user) || strchr(access, ':') != NULL || ds_has_control(ret->user) ||
        (given(token) && (strlen(token) >= sizeof(ret->token) || ds_has_control(token)))) {
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

#define LINE_SIZE 8192 /* more than a name and the longest token */

enum { ACCESS, SECRET, TOKEN, VALUES };

struct reading {
    bool ours; /* in a section that counts */
    char values[VALUES][LINE_SIZE];
};

static void read_line(struct reading *r, char *line)
{
    static const char *const names[VALUES] = {"aws_access_key_id", "aws_secret_access_key",
                                              "aws_session_token"};
    char *text = trim(line);
    char *equals = strchr(text, '=');

    if (text[0] == '[') {
        r->ours = strcmp(text, "[default]") == 0;
    } else if (r->ours && text[0] != '#' && equals != NULL) {
        *equals = '\0';
        for (size_t i = 0; i < VALUES; i++) {
            if (strcmp(trim(text), names[i]) == 0) {
                (void)snprintf(r->values[i], sizeof(r->values[i]), "%s", trim(equals + 1));
            }
        }
    }
}

/* Section [default], or what stands before any section. */
int ds_l2_s3_auth_read(FILE *f, const char *source, char *err, size_t err_size,
                       struct ds_l2_s3_auth *ret)
{
    struct reading r = {.ours = true};
    char line[LINE_SIZE];
    bool cut = false;
    int rc;

    while (!cut && fgets(line, sizeof(line), f) != NULL) {
        cut = strlen(line) == sizeof(line) - 1; /* its rest would pass for a line of its own */
        read_line(&r, line);
    }
    if (cut) {
        (void)snprintf(err, err_size, "%s: a line has more than %d bytes", source, LINE_SIZE - 2);
        rc = DS_EDENIED;
    } else {
        rc = fill(r.values[ACCESS], r.values[SECRET], r.values[TOKEN], source, err, err_size, ret);
    }
    explicit_bzero(&r, sizeof(r));
    explicit_bzero(line, sizeof(line));
    return rc;
}

static int from_file(const char *path, char *err, size_t err_size, struct ds_l2_s3_auth *ret)
{
    FILE *f = fopen(path, "re");
    int rc;

    if (f == NULL) {
        (void)snprintf(err, err_size, "cannot read the credentials file %s: %s", path,
                       strerror(errno));
        return DS_EDENIED;
    }
    rc = ds_l2_s3_auth_read(f, path, err, err_size, ret);
    (void)fclose(f);
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
