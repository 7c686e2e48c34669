/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - dsworker: started by dskeeper, with a socket to it in DS_KEEPER_FD. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rundir.h"
#include "worker/worker.h"

int main(int argc, char **argv)
{
    struct ds_options *options = NULL;
    const char *link = getenv("DS_KEEPER_FD");
    char err[DS_OPTIONS_ERROR_SIZE] = "out of memory";
    char cwd[4096];
    int status = 2;

    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        (void)printf("dsworker is started by dskeeper. Options:\n");
        ds_option_print_help(stdout);
        return 0;
    }
    if (link == NULL) {
        (void)fprintf(stderr, "dsworker is started by dskeeper: use `dscli start`\n");
        return 2;
    }
    (void)fcntl((int)strtol(link, NULL, 10), F_SETFD, FD_CLOEXEC);
    if (ds_options_create(&options) == 0 && getcwd(cwd, sizeof(cwd)) != NULL &&
        ds_options_load_secrets(options, err, sizeof(err)) == 0 &&
        ds_options_load_args(options, argc - 1, argv + 1, err, sizeof(err)) == 0 &&
        ds_options_resolve(options, cwd, err, sizeof(err)) == 0) {
        ds_log_from_options(options, "worker");
        status = ds_worker_run(options, argv, (int)strtol(link, NULL, 10));
    } else {
        (void)fprintf(stderr, "%s\n", err);
    }
    options = ds_options_free(options);
    return status;
}
