/* SPDX-License-Identifier: Apache-2.0 */
/* own_worker.c - runs dscli start and dscli stop. */
#include "own_worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "procfs.h"

#define LOG "dscli.log"
#define GONE_MS 10000u

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    uint16_t port = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, size) == 0 &&
        getsockname(fd, (struct sockaddr *)&a, &size) == 0) {
        port = ntohs(a.sin_port);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return port;
}

/* "dscli" in this program's directory if there is one, else whatever PATH has. */
static const char *find_dscli(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 8);
    char *slash;

    if (n > 0) {
        path[n] = '\0';
        slash = strrchr(path, '/');
        if (slash != NULL && (size_t)(slash - path) + 8 < size) {
            memcpy(slash + 1, "dscli", 6);
            if (access(path, X_OK) == 0) {
                return path;
            }
        }
    }
    return "dscli";
}

/* Runs dscli in the worker's directory, output to the log there. Returns its exit status or -1. */
static int run_dscli(const struct bench_own_worker *w, const char *const *argv)
{
    pid_t pid = fork();
    int fd, status = -1;

    if (pid < 0) {
        perror("dsbench: fork");
        return -1;
    }
    if (pid == 0) {
        fd = chdir(w->directory) == 0 ? open(LOG, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
        if (fd >= 0 && dup2(fd, 1) == 1 && dup2(fd, 2) == 2) {
            (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        }
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/*
 * A worker must not outlive an interrupted dsbench: the handler becomes a shell that stops it.
 * (exec is async-signal-safe; running our own clean-up in a handler is not.)
 */
static char clean_up_command[8192];

static void on_signal(int sig)
{
    (void)sig;
    (void)execl("/bin/sh", "sh", "-c", clean_up_command, (char *)NULL);
    _exit(1);
}

static void catch_signals(const struct bench_own_worker *w)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    int n = snprintf(clean_up_command, sizeof(clean_up_command),
                     "'%s' stop --worker_address %s >/dev/null 2>&1; rm -rf '%s'; exit 130",
                     w->dscli, w->run.worker, w->directory);

    for (size_t i = 0; i < BENCH_LEN(signals); i++) {
        if (n > 0 && (size_t)n < sizeof(clean_up_command)) {
            (void)signal(signals[i], on_signal);
        }
    }
}

static void uncatch_signals(void)
{
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGHUP, SIG_DFL);
}

static void show_log(const struct bench_own_worker *w)
{
    char path[128], line[512];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", w->directory, LOG);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        fprintf(stderr, "  %s", line);
    }
    if (f != NULL) {
        (void)fclose(f);
    }
}

static double ms_since(uint64_t begin_ns)
{
    return (double)(bench_clock_ns() - begin_ns) / 1e6;
}

static int first_set(struct bench_own_worker *w, uint64_t begin)
{
    struct ds_client *client = NULL;
    struct ds_worker_stats stats;
    const struct ds_bytes key = {.data = "dsbench-first", .size = 13};
    int rc = bench_connect(&w->run, &client);

    if (rc == 0) {
        rc = ds_kv_set(client, key.data, key.size, "x", 1, NULL);
        w->ready_ms = ms_since(begin);
        rc = rc == 0 ? bench_stats(client, &stats) : bench_error("set", rc);
    }
    if (rc == 0) {
        w->worker = (pid_t)stats.worker_pid;
        w->keeper = (pid_t)stats.keeper_pid;
        rc = ds_kv_delete(client, &key, 1, NULL) == 0 ? 0 : -1;
    }
    ds_client_close(client);
    return rc;
}

int bench_own_start(struct bench_own_worker *w, const struct bench_run *run, const char *dscli,
                    uint64_t memory_mb)
{
    static char found[4096];
    char memory[32];
    uint64_t begin;
    int rc;

    memset(w, 0, sizeof(*w));
    w->run = *run;
    w->run.port = free_port();
    (void)snprintf(w->run.host, sizeof(w->run.host), "127.0.0.1");
    (void)snprintf(w->run.worker, sizeof(w->run.worker), "127.0.0.1:%u", w->run.port);
    w->dscli = dscli != NULL ? dscli : find_dscli(found, sizeof(found));
    (void)snprintf(w->directory, sizeof(w->directory), "/tmp/dsbench-XXXXXX");
    if (w->run.port == 0 || mkdtemp(w->directory) == NULL) {
        perror("dsbench: free port or directory");
        w->directory[0] = '\0';
        return -1;
    }
    (void)snprintf(memory, sizeof(memory), "%llu", (unsigned long long)memory_mb);
    catch_signals(w);
    begin = bench_clock_ns();
    rc =
        run_dscli(w, (const char *const[]){w->dscli, "start", "-w", "--worker_address",
                                           w->run.worker, "--shared_memory_size_mb", memory, NULL});
    w->start_ms = ms_since(begin);
    if (rc != 0) {
        fprintf(stderr, "dsbench: %s start failed (%d):\n", w->dscli, rc);
        show_log(w);
        return -1;
    }
    return first_set(w, begin);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void wait_or_kill(pid_t pid)
{
    uint64_t begin = bench_clock_ns();

    while (pid > 1 && bench_proc_alive(pid)) {
        if (bench_clock_ns() - begin > GONE_MS * 1000000ull) {
            fprintf(stderr, "dsbench: process %d outlived dscli stop: killed\n", (int)pid);
            (void)kill(pid, SIGKILL);
            return;
        }
        (void)usleep(1000);
    }
}

void bench_own_stop(struct bench_own_worker *w, double *ret_ms)
{
    uint64_t begin = bench_clock_ns();
    int rc;

    if (w->directory[0] == '\0') {
        return;
    }
    rc = run_dscli(
        w, (const char *const[]){w->dscli, "stop", "--worker_address", w->run.worker, NULL});
    if (ret_ms != NULL) {
        *ret_ms = ms_since(begin);
    }
    if (rc != 0 && w->keeper > 1) {
        fprintf(stderr, "dsbench: %s stop failed (%d):\n", w->dscli, rc);
        show_log(w);
    }
    wait_or_kill(w->keeper);
    wait_or_kill(w->worker);
    (void)nftw(w->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    w->directory[0] = '\0';
    uncatch_signals();
}
