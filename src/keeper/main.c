/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - dskeeper: usually started by `dscli start`. Takes the worker's options. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/rundir.h"
#include "base/sys.h"
#include "keeper/keeper.h"

static int env_fd(const char *name)
{
    const char *text = getenv(name);
    int fd = text != NULL ? (int)strtol(text, NULL, 10) : -1;

    (void)unsetenv(name);
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    return fd;
}

/* Where the lines of this process go. */
struct log {
    char path[PATH_MAX]; /* "": it stays, since log_dir was asked for */
    int starter_fd;      /* where they went before; -1: nobody waits there */
    bool created;        /* by this process: nobody else writes into it */
};

/* Standard error becomes the log; the starter's terminal is let go. */
static int open_log(const struct ds_options *options, bool has_starter, struct log *ret)
{
    const char *dir = ds_options_str(options, DS_OPT_log_dir);
    const char *name = ds_options_str(options, DS_OPT_log_filename);
    int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC;
    char path[PATH_MAX];
    int fd;

    *ret = (struct log){.starter_fd = -1};
    if (dir[0] != '\0') {
        (void)snprintf(path, sizeof(path), "%s/%s.INFO.log", dir,
                       name[0] != '\0' ? name : "datasystem_worker");
        ds_sys_make_parents(path);
    } else if (ds_rundir_make(options) != 0 || ds_rundir_path(options, ".log", path) != 0) {
        return -1;
    }
    fd = ds_sys_open(path, flags | O_EXCL, 0640);
    ret->created = fd >= 0;
    if (fd < 0) {
        fd = ds_sys_open(path, flags, 0640);
    }
    if (fd >= 0) {
        ret->starter_fd = has_starter ? fcntl(2, F_DUPFD_CLOEXEC, 3) : -1;
        if (dir[0] == '\0') {
            memcpy(ret->path, path, sizeof(path));
        }
        (void)dup2(fd, 2);
        (void)dup2(fd, 1);
        (void)close(fd);
    }
    return fd;
}

/* After a start that failed: its lines go to who waits, and the file goes. */
static void give_back_log(const struct ds_options *options, const struct log *log)
{
    char buf[4096];
    off_t at = 0;
    ssize_t n;

    if (!log->created || log->path[0] == '\0') {
        return;
    }
    while (log->starter_fd >= 0 && (n = pread(2, buf, sizeof(buf), at)) > 0) {
        at += n;
        if (write(log->starter_fd, buf, (size_t)n) != n) {
            break;
        }
    }
    (void)unlink(log->path);
    ds_rundir_remove(options);
}

/* The worker's program lies beside the keeper's. */
static int worker_program(char *ret, size_t size)
{
    int rc = ds_sys_program_dir(ret, size - 10);

    if (rc == 0) {
        (void)snprintf(ret + strlen(ret), 10, "/dsworker");
    }
    return rc;
}

static void warn(void *arg, const char *text)
{
    (void)arg;
    ds_log(DS_LOG_WARNING, "%s", text);
}

int main(int argc, char **argv)
{
    struct ds_options *options = NULL;
    char err[DS_OPTIONS_ERROR_SIZE];
    char cwd[PATH_MAX];
    char program[PATH_MAX];
    struct log log;
    int ready_fd = env_fd("DS_READY_FD");
    int adopt_fd = env_fd("DS_ADOPT_FD");
    int status = 2;

    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        (void)printf("dskeeper is started by `dscli start`. Options:\n");
        ds_option_print_help(stdout);
        return 0;
    }
    if (ds_options_create(&options) != 0 || getcwd(cwd, sizeof(cwd)) == NULL) {
        return 1;
    }
    if (ds_options_load_secrets(options, err, sizeof(err)) != 0 ||
        ds_options_load_args(options, argc - 1, argv + 1, err, sizeof(err)) != 0 ||
        ds_options_resolve(options, cwd, err, sizeof(err)) != 0 ||
        ds_options_check(options, warn, NULL, err, sizeof(err)) != 0) {
        (void)dprintf(ready_fd >= 0 ? ready_fd : 2, "FAILED %s\n", err);
    } else {
        (void)umask(077);
        (void)ds_sys_raise_open_files(); /* it holds two for each client */
        if (open_log(options, ready_fd >= 0, &log) < 0 && ready_fd >= 0) {
            (void)dprintf(ready_fd, "cannot open the log file; logging to the terminal\n");
        }
        ds_log_from_options(options, "keeper");
        if (worker_program(program, sizeof(program)) == 0) {
            status = ds_keeper_run(options, argv, program, ready_fd, adopt_fd);
        } else {
            (void)dprintf(ready_fd >= 0 ? ready_fd : 2,
                          "FAILED /proc/self/exe does not tell where the programs lie\n");
        }
        if (status != 0) {
            give_back_log(options, &log);
        }
    }
    options = ds_options_free(options);
    return status;
}
