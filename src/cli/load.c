/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/load.h"

#include <limits.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/config_file.h"

static int load(const struct ds_cli_source *source, struct ds_options *options, char *err,
                size_t err_size)
{
    char cwd[PATH_MAX];
    int rc = 0;

    if (source->file != NULL) {
        rc = ds_config_read(options, source->file, err, err_size);
    }
    if (rc == 0) {
        rc = ds_options_load_env(options, err, err_size);
    }
    if (rc == 0 && source->home != NULL) {
        rc = ds_options_set(options, "data_home", source->home, DS_ORIGIN_ARGS, err, err_size);
    }
    if (rc == 0) {
        rc = ds_options_load_args(options, source->n_args, source->args, err, err_size);
    }
    if (rc < 0) {
        return rc;
    }
    if (getcwd(cwd, sizeof(cwd)) == NULL) {
        (void)snprintf(err, err_size, "the current directory cannot be found: cd to another one");
        return DS_EIO;
    }
    rc = ds_options_resolve(options, cwd, err, err_size);
    if (rc == 0 && source->home != NULL &&
        ds_option_is_system_path(ds_options_str(options, DS_OPT_data_home))) {
        (void)snprintf(err, err_size,
                       "-d %.200s is refused: it is a directory of the system; choose another",
                       source->home);
        return DS_EINVAL;
    }
    return rc;
}

int ds_cli_load(const struct ds_cli_source *source, struct ds_options **ret, char *err,
                size_t err_size)
{
    int rc = ds_options_create(ret);

    if (rc < 0) {
        (void)snprintf(err, err_size, "out of memory");
        *ret = NULL;
        return rc;
    }
    return load(source, *ret, err, err_size);
}

static void warn(void *arg, const char *text)
{
    (void)arg;
    ds_cli_warn("%s", text);
}

int ds_cli_check(const struct ds_options *options, char *err, size_t err_size)
{
    return ds_options_check(options, warn, NULL, err, err_size);
}
