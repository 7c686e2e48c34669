/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/process.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"

#define CMDLINE_MAX 65536 /* of arguments that are looked at */
#define KILL_ROUNDS 20
#define KILL_WAIT_MS 500
#define LOOK_AGAIN_NS 20000000

/* The first bytes of /proc/PID/NAME, NUL at the end: their number, or -1. */
static ssize_t read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
    char path[64];
    size_t len = 0;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    while (len < size - 1) {
        ssize_t n = read(fd, buf + len, size - 1 - len);

        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    ds_sys_close(fd);
    buf[len] = '\0';
    return (ssize_t)len;
}

/* Field `number` (3 or more) of /proc/PID/stat, or NULL. The name before it may hold anything. */
static const char *stat_field(pid_t pid, int number, char *buf, size_t size)
{
    const char *p;

    if (read_proc(pid, "stat", buf, size) <= 0) {
        return NULL;
    }
    p = strrchr(buf, ')');
    for (int i = 2; p != NULL && i < number; i++) {
        p = strchr(p + 1, ' ');
    }
    return p == NULL ? NULL : p + 1;
}

uint64_t ds_process_start_time(pid_t pid)
{
    char buf[1024];
    const char *field = stat_field(pid, 22, buf, sizeof(buf));

    return field == NULL ? 0 : strtoull(field, NULL, 10);
}

static bool is_zombie(pid_t pid)
{
    char buf[1024];
    const char *field = stat_field(pid, 3, buf, sizeof(buf));

    return field == NULL || *field == 'Z' || *field == 'X';
}

static bool is_mine(pid_t pid)
{
    char path[32];
    struct stat st;

    (void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    return geteuid() == 0 || (stat(path, &st) == 0 && st.st_uid == geteuid());
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

/* Whether the process serves `address`. The program's name may be behind an interpreter's. */
static bool serves(pid_t pid, const char *address, char *cmdline, bool *ret_keeper)
{
    ssize_t size = read_proc(pid, "cmdline", cmdline, CMDLINE_MAX);
    bool ours = false;
    int i = 0;

    for (const char *p = cmdline; p < cmdline + size; p += strlen(p) + 1, i++) {
        if (i < 2 && strncmp(base_name(p), "dskeeper", 8) == 0) {
            *ret_keeper = true;
            ours = true;
        } else if (i < 2 && strncmp(base_name(p), "dsworker", 8) == 0) {
            *ret_keeper = false;
            ours = true;
        } else if (ours && strncmp(p, "--worker_address=", 17) == 0) {
            return strcmp(p + 17, address) == 0;
        }
    }
    return false;
}

static void look_at(pid_t pid, const char *address, uint64_t since, struct ds_processes *set)
{
    char cmdline[CMDLINE_MAX];
    bool keeper = false;
    int pidfd;

    if (set->n == DS_PROCESSES_MAX || pid == getpid() || !serves(pid, address, cmdline, &keeper)) {
        return;
    }
    pidfd = ds_sys_pidfd(pid);
    if (pidfd < 0) {
        return;
    }
    /* Now the pid is pinned: ask again. */
    if (!serves(pid, address, cmdline, &keeper) || !is_mine(pid) || is_zombie(pid) ||
        ds_process_start_time(pid) < since) {
        ds_sys_close(pidfd);
        return;
    }
    set->list[set->n++] = (struct ds_process){.pid = pid, .pidfd = pidfd, .keeper = keeper};
}

void ds_processes_find(const char *address, uint64_t since, struct ds_processes *ret)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;

    *ret = (struct ds_processes){.n = 0};
    if (proc == NULL) {
        return;
    }
    while ((entry = readdir(proc)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0])) {
            look_at((pid_t)strtol(entry->d_name, NULL, 10), address, since, ret);
        }
    }
    (void)closedir(proc);
}

void ds_processes_close(struct ds_processes *set)
{
    for (size_t i = 0; i < set->n; i++) {
        ds_sys_close(set->list[i].pidfd);
    }
    set->n = 0;
}

void ds_processes_signal(const struct ds_processes *set, int signal, bool keepers_only)
{
    for (size_t i = 0; i < set->n; i++) {
        if (!keepers_only || set->list[i].keeper) {
            (void)syscall(SYS_pidfd_send_signal, set->list[i].pidfd, signal, NULL, 0);
        }
    }
}

bool ds_processes_wait(const struct ds_processes *set, int timeout_ms)
{
    int64_t deadline = ds_monotonic_ns() + timeout_ms * INT64_C(1000000);

    for (size_t i = 0; i < set->n; i++) {
        struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
        int ended; /* a pidfd is readable when its process has ended */

        while ((ended = ds_sys_wait_readable(set->list[i].pidfd, deadline)) < 0 &&
               ds_monotonic_ns() < deadline) {
            (void)nanosleep(&pause, NULL); /* who cannot look must not take them for hanging */
        }
        if (ended <= 0) {
            return false;
        }
    }
    return true;
}

/* All are stopped before any is killed, or one would start another anew. A process has no arguments
 * for a moment while it executes a program: it takes two looks to be sure that nobody is left. */
bool ds_processes_kill(const char *address, uint64_t since)
{
    int empty = 0;

    for (int round = 0; round < KILL_ROUNDS && empty < 2; round++) {
        struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};
        struct ds_processes set;

        ds_processes_find(address, since, &set);
        ds_processes_signal(&set, SIGSTOP, false);
        ds_processes_signal(&set, SIGKILL, false);
        (void)ds_processes_wait(&set, KILL_WAIT_MS);
        empty = set.n == 0 ? empty + 1 : 0;
        ds_processes_close(&set);
        if (empty == 1) {
            (void)nanosleep(&pause, NULL);
        }
    }
    return empty == 2;
}
