/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rundir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static bool given(const struct ds_options *options)
{
    return ds_options_str(options, DS_OPT_unix_domain_socket_dir)[0] != '\0';
}

static int directory(const struct ds_options *options, char *ret, size_t size)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    int n;

    if (given(options)) {
        n = snprintf(ret, size, "%s", ds_options_str(options, DS_OPT_unix_domain_socket_dir));
    } else {
        if (base == NULL || base[0] != '/' || access(base, W_OK) < 0 || strlen(base) > 48) {
            base = "/tmp";
        }
        n = snprintf(ret, size, "%s/datasystem-%u", base, (unsigned)geteuid());
    }
    return n < 0 || (size_t)n >= size ? DS_EINVAL : 0;
}

int ds_rundir_make(const struct ds_options *options)
{
    bool shared = strcmp(ds_options_str(options, DS_OPT_client_access), "user") != 0;
    char dir[DS_RUNDIR_PATH_MAX];
    struct stat st;
    int rc = directory(options, dir, sizeof(dir));

    if (rc != 0) {
        return rc;
    }
    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        return DS_EIO;
    }
    if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode)) {
        return DS_EIO;
    }
    if (st.st_uid != geteuid()) {
        return DS_EDENIED;
    }
    /* Others may pass through, not list; who may connect is decided by the worker. */
    return shared && chmod(dir, 0711) < 0 ? DS_EIO : 0;
}

int ds_rundir_path(const struct ds_options *options, const char *suffix,
                   char ret[DS_RUNDIR_PATH_MAX])
{
    const char *address = ds_options_str(options, DS_OPT_worker_address);
    size_t n;
    int rc = directory(options, ret, DS_RUNDIR_PATH_MAX);

    if (rc != 0) {
        return rc;
    }
    n = strlen(ret);
    if (n + 1 + strlen(address) + strlen(suffix) >= DS_RUNDIR_PATH_MAX) {
        return DS_EINVAL;
    }
    ret[n++] = '/';
    memcpy(ret + n, address, strlen(address));
    n += strlen(address);
    memcpy(ret + n, suffix, strlen(suffix) + 1);
    return 0;
}

void ds_rundir_remove(const struct ds_options *options)
{
    char dir[DS_RUNDIR_PATH_MAX];

    if (!given(options) && directory(options, dir, sizeof(dir)) == 0) {
        (void)rmdir(dir);
    }
}

void ds_log_from_options(const struct ds_options *options, const char *module)
{
    int64_t least = DS_LOG_INFO + ds_options_int(options, DS_OPT_minloglevel);

    if (ds_options_int(options, DS_OPT_v) > 0) {
        least = DS_LOG_DEBUG;
    }
    ds_log_init(2, (enum ds_log_level)least, module);
}
