/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - dscli: finds the subcommand and runs it. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

/* A descriptor opened later must not become stdout of something. */
static bool open_standard_fds(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    return fd < 0 || close(fd) == 0;
}

int main(int argc, char **argv)
{
    const struct ds_cli_command *command;
    const char *name = argc > 1 ? argv[1] : "help";

    (void)umask(077);
    (void)signal(SIGPIPE, SIG_IGN); /* a full pipe is an error of write() */
    if (!open_standard_fds()) {
        return DS_CLI_FAILED;
    }
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0) {
        name = "help";
    } else if (strcmp(name, "--version") == 0) {
        name = "version";
    }
    command = ds_cli_find(name);
    if (command == NULL) {
        ds_cli_error("there is no command '%s'; see dscli help", name);
        return DS_CLI_USAGE;
    }
    return ds_cli_run(command, argc > 2 ? argc - 2 : 0, argv + (argc > 2 ? 2 : argc));
}
