/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.c - holds the node's memory and sockets, and keeps one worker running.
 *
 *            spawn                READY
 *   NONE --------------> STARTING -------> SERVING
 *     ^  death: wait                          |  death: at once; STOP: end
 *     +---------------------------------------+
 *
 * It never touches object data. A worker that dies by itself before it was ready five times in
 * a row, or the first one if it says FAILED, ends the keeper too; SIGKILLs, which others send,
 * count less. An upgrade starts another program; if that one dies or stands still, the old program
 * is started again. The old worker is reaped before the next one starts: two workers never have the
 * state mapped at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/net.h"
#include "base/rundir.h"
#include "base/sys.h"
#include "keeper/keeper.h"
#include "keeper/vault.h"

#define STARTS_MAX 20
#define START_FAILED 4 /* what a death by itself counts; one by SIGKILL, from outside, counts 1 */
#define START_TIMEOUT_NS (INT64_C(60) * 1000000000)
#define QUICK_NS (INT64_C(1) * 1000000000)

struct keeper {
    const struct ds_options *options;
    char **argv;
    struct ds_vault vault;
    char program[PATH_MAX];  /* of the worker */
    char fallback[PATH_MAX]; /* during an upgrade: the program before; else "" */
    char trouble[DS_LINK_TEXT_MAX];
    int signals; /* signalfd */
    int link;    /* to the worker, or -1 */
    int pidfd;   /* of the worker, or -1 */
    pid_t pid;
    bool child; /* false: a worker that has outlived its keeper and started this one */
    bool ready;
    bool served; /* some worker was ready: there may be objects */
    bool stopping;
    bool upgrading;
    bool given_up; /* this worker: SIGKILL is on its way, or at work, which may take a while */
    unsigned failed_starts; /* in a row, weighted; see STARTS_MAX */
    bool killed;            /* the last worker ended by SIGKILL */
    int64_t started_ns;
    int64_t progress_ns; /* when the worker that starts was heard of last */
    int ready_fd;        /* to dscli, until the first READY or FAILED; else -1 */
};

static void tell_starter(struct keeper *k, const char *line)
{
    if (k->ready_fd >= 0) {
        (void)!write(k->ready_fd, line, strlen(line));
        (void)close(k->ready_fd);
        k->ready_fd = -1;
    }
}

/* In the child: becomes the worker. Only async-signal-safe calls. */
__attribute__((noreturn)) static void become_worker(struct keeper *k, int sock)
{
    sigset_t none;
    char fd_text[16];

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)fcntl(sock, F_SETFD, 0);
    (void)snprintf(fd_text, sizeof(fd_text), "%d", sock);
    (void)setenv("DS_KEEPER_FD", fd_text, 1);
    k->argv[0] = k->program; /* the child's copy */
    (void)execv(k->program, k->argv);
    _exit(127);
}

static int spawn(struct keeper *k)
{
    int pair[2];
    int rc = ds_failpoint("keeper.spawn");

    if (rc < 0 || ds_sys_socketpair(pair) < 0) {
        return DS_EIO;
    }
    k->pid = ds_sys_fork();
    if (k->pid == 0) {
        become_worker(k, pair[1]);
    }
    (void)close(pair[1]);
    if (k->pid < 0) {
        (void)close(pair[0]);
        return DS_EIO;
    }
    k->pidfd = ds_sys_pidfd(k->pid);
    if (k->pidfd < 0) { /* nobody would tell us of its death */
        (void)kill(k->pid, SIGKILL);
        (void)waitpid(k->pid, NULL, 0);
        (void)close(pair[0]);
        return DS_EIO;
    }
    k->link = pair[0];
    k->child = true;
    k->ready = false;
    k->given_up = false;
    k->started_ns = ds_monotonic_ns();
    k->progress_ns = k->started_ns;
    if (ds_vault_send(&k->vault, k->link, DS_LINK_FD) != 0 ||
        ds_link_send(k->link, DS_LINK_START, (uint32_t)getpid(), NULL, k->trouble, NULL, 0) != 0) {
        ds_log(DS_LOG_WARNING, "the worker did not get its descriptors: another one is started");
        (void)kill(k->pid, SIGKILL); /* or it would wait for them */
    }
    return 0;
}

static void touch_file(const char *path)
{
    if (path[0] != '\0') {
        ds_sys_make_parents(path);
        ds_sys_close(ds_sys_open(path, O_WRONLY | O_CREAT, 0644));
    }
}

static void on_ready(struct keeper *k)
{
    char line[64];

    k->ready = true;
    k->served = true;
    k->failed_starts = 0;
    k->fallback[0] = '\0';
    ds_log(DS_LOG_INFO, "worker %d is ready after %lld ms", (int)k->pid,
           (long long)(ds_monotonic_ns() - k->started_ns) / 1000000);
    touch_file(ds_options_str(k->options, DS_OPT_ready_check_path));
    touch_file(ds_options_str(k->options, DS_OPT_health_check_path));
    (void)snprintf(line, sizeof(line), "READY %d %d\n", (int)k->pid, (int)getpid());
    tell_starter(k, line);
}

static void on_failed(struct keeper *k, const char *text)
{
    char line[DS_LINK_TEXT_MAX + 16];

    ds_log(DS_LOG_ERROR, "the worker cannot start: %s", text);
    (void)snprintf(k->trouble, sizeof(k->trouble), "%s", text);
    if (k->fallback[0] != '\0') {
        return; /* the old program is tried when this one is gone */
    }
    if (k->served && k->failed_starts < STARTS_MAX) {
        return; /* it may have been a moment's trouble: objects are worth a few more tries */
    }
    (void)snprintf(line, sizeof(line), "FAILED %s\n", text);
    tell_starter(k, line);
    k->stopping = true;
}

static void on_upgrade(struct keeper *k, const char *program)
{
    ds_log(DS_LOG_INFO, "upgrade: %s instead of %s", program, k->program);
    (void)snprintf(k->fallback, sizeof(k->fallback), "%s", k->program);
    (void)snprintf(k->program, sizeof(k->program), "%s", program);
    k->trouble[0] = '\0';
    k->upgrading = true;
    k->ready = false; /* it exits now: not without end either */
    k->started_ns = ds_monotonic_ns();
    k->progress_ns = k->started_ns;
}

static void on_message(struct keeper *k)
{
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    size_t n_fds;
    int rc = ds_link_recv(k->link, &msg, fds, &n_fds);

    if (rc != 0 && rc != DS_EDISCONNECTED) {
        /* Closing would make the worker start another keeper beside this one. */
        ds_log(DS_LOG_ERROR, "a message from the worker is lost: %s", ds_error_text(rc));
        (void)poll(NULL, 0, 1);
        return;
    }
    if (rc != 0) {
        ds_sys_close(k->link); /* its death follows through the pidfd */
        k->link = -1;
        return;
    }
    if (msg.type == DS_LINK_PUT) {
        if (ds_vault_put(&k->vault, msg.name, fds, n_fds) != 0) {
            ds_log(DS_LOG_ERROR, "no memory to keep %s", msg.name);
        }
        return;
    }
    while (n_fds > 0) {
        ds_sys_close(fds[--n_fds]);
    }
    if (msg.type == DS_LINK_DROP) {
        ds_vault_drop(&k->vault, msg.name);
    } else if (msg.type == DS_LINK_PROGRESS) {
        k->progress_ns = ds_monotonic_ns();
    } else if (msg.type == DS_LINK_READY) {
        on_ready(k);
    } else if (msg.type == DS_LINK_STOP) {
        k->stopping = true;
    } else if (msg.type == DS_LINK_FAILED) {
        on_failed(k, msg.text);
    } else if (msg.type == DS_LINK_UPGRADE) {
        on_upgrade(k, msg.text);
    } else {
        ds_log(DS_LOG_ERROR, "unknown message %u from the worker", msg.type);
    }
}

static void reap(struct keeper *k)
{
    int status = 0;

    if (k->child) {
        (void)waitpid(k->pid, &status, 0);
    }
    k->killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    while (k->link >= 0) { /* what it said before it died */
        struct pollfd p = {.fd = k->link, .events = POLLIN};

        if (poll(&p, 1, 0) <= 0) {
            ds_sys_close(k->link);
            k->link = -1;
            break;
        }
        on_message(k);
    }
    ds_sys_close(k->pidfd);
    k->pidfd = -1;
    if (!k->stopping && !k->upgrading) {
        ds_log(DS_LOG_WARNING, "worker %d is gone (%s %d)", (int)k->pid,
               WIFSIGNALED(status) ? "signal" : "exit status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}

/* After a death: which program next, and after what pause. False: give up. */
static bool plan_restart(struct keeper *k)
{
    int64_t lived = ds_monotonic_ns() - k->started_ns;

    if (k->upgrading) {
        k->upgrading = false;
        return true;
    }
    if (!k->ready) {
        k->failed_starts += k->killed ? 1 : START_FAILED;
        if (k->fallback[0] != '\0') {
            ds_log(DS_LOG_ERROR, "upgrade failed: %s again", k->fallback);
            if (k->trouble[0] == '\0') {
                (void)snprintf(k->trouble, sizeof(k->trouble), "the new program did not start");
            }
            (void)snprintf(k->program, sizeof(k->program), "%s", k->fallback);
            k->fallback[0] = '\0';
            k->failed_starts = 0;
            return true;
        }
        if (k->failed_starts >= STARTS_MAX) {
            on_failed(k,
                      k->trouble[0] != '\0' ? k->trouble : "it died at every start; see the log");
            return false;
        }
    }
    if (!k->ready && lived < QUICK_NS) {
        (void)poll(NULL, 0, 20 << k->failed_starts / START_FAILED);
    }
    return true;
}

static void on_signal(struct keeper *k)
{
    struct signalfd_siginfo info;

    if (read(k->signals, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
        (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)) {
        ds_log(DS_LOG_INFO, "signal %u: stopping", info.ssi_signo);
        k->stopping = true;
    }
}

/* When a worker that is not ready is given up: a minute after it was heard of last, and the new
 * program of an upgrade as soon as it has stood still for a while, since clients wait and there is
 * another one to go on. */
static int64_t give_up_ns(const struct keeper *k)
{
    int64_t stall_ns =
        ds_options_int(k->options, DS_OPT_upgrade_stall_timeout_s) * INT64_C(1000000000);
    int64_t at = k->progress_ns + START_TIMEOUT_NS;

    if (k->fallback[0] != '\0' && k->progress_ns + stall_ns < at) {
        at = k->progress_ns + stall_ns;
    }
    return at;
}

static void give_up_worker(struct keeper *k)
{
    if (k->fallback[0] != '\0' && !k->upgrading) {
        (void)snprintf(k->trouble, sizeof(k->trouble),
                       "the new program made no progress for %lld s (upgrade_stall_timeout_s)",
                       (long long)ds_options_int(k->options, DS_OPT_upgrade_stall_timeout_s));
    }
    ds_log(DS_LOG_ERROR, "worker %d is not %s in time: killed", (int)k->pid,
           k->upgrading ? "gone" : "ready");
    k->given_up = true;
    (void)kill(k->pid, SIGKILL);
}

static void wait_for_events(struct keeper *k)
{
    struct pollfd p[3] = {{.fd = k->signals, .events = POLLIN},
                          {.fd = k->pidfd, .events = POLLIN},
                          {.fd = k->link, .events = POLLIN}};
    int64_t left_ns = give_up_ns(k) - ds_monotonic_ns();
    bool hurry = !k->ready && !k->given_up;
    int timeout = !hurry ? -1 : left_ns > 0 ? (int)(left_ns / 1000000) + 1 : 0;
    int n = poll(p, 3, timeout);

    if (n == 0 && hurry && left_ns <= 0) {
        give_up_worker(k);
    }
    if (n > 0 && p[0].revents != 0) {
        on_signal(k);
    }
    if (n > 0 && p[2].revents != 0) {
        on_message(k);
    }
    if (n > 0 && p[1].revents != 0) {
        reap(k);
    }
}

static void stop_worker(struct keeper *k)
{
    struct pollfd p = {.fd = k->pidfd, .events = POLLIN};

    if (k->pidfd < 0) {
        return;
    }
    (void)kill(k->pid, SIGTERM);
    if (poll(&p, 1, 5000) <= 0) {
        ds_log(DS_LOG_ERROR, "worker %d does not stop: killed", (int)k->pid);
        (void)kill(k->pid, SIGKILL);
        (void)poll(&p, 1, 5000);
    }
    reap(k);
}

static int listen_tcp(struct keeper *k)
{
    const char *address = ds_options_str(k->options, DS_OPT_bind_address);
    char host[DS_ADDRESS_HOST_MAX + 1];
    char text[512];
    uint16_t port;
    int fd;

    if (address[0] == '\0') {
        address = ds_options_str(k->options, DS_OPT_worker_address);
    }
    if (ds_address_parse(address, host, &port) != 0) {
        on_failed(k, "worker_address is not host:port");
        return DS_EINVAL;
    }
    fd = ds_net_listen_tcp(host, port);
    if (fd < 0) {
        (void)snprintf(text, sizeof(text), "cannot listen on %s: %s%s", address, strerror(-fd),
                       fd == -EADDRINUSE ? "; another worker may be running there: dscli status"
                                         : "");
        on_failed(k, text);
        return DS_EIO;
    }
    return ds_vault_put(&k->vault, "tcp", &fd, 1);
}

static int listen_unix(struct keeper *k)
{
    bool all = strcmp(ds_options_str(k->options, DS_OPT_client_access), "user") != 0;
    char path[DS_RUNDIR_PATH_MAX];
    char text[512];
    int fd;
    int rc = ds_rundir_make(k->options);

    if (rc == 0) {
        rc = ds_rundir_path(k->options, ".sock", path);
    }
    if (rc != 0) {
        on_failed(k, "the socket directory cannot be used: give another one with "
                     "--unix_domain_socket_dir (at most 80 characters, owned by this user)");
        return rc;
    }
    fd = ds_net_listen_unix(path, all);
    if (fd < 0) {
        (void)snprintf(text, sizeof(text), "cannot listen on %s: %s", path, strerror(-fd));
        on_failed(k, text);
        return DS_EIO;
    }
    return ds_vault_put(&k->vault, "unix", &fd, 1);
}

/* A worker that lost its keeper started this one: it sends its descriptors and goes on. */
static int adopt(struct keeper *k, int link)
{
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    size_t n_fds;
    int rc;

    k->link = link;
    k->started_ns = ds_monotonic_ns();
    (void)fcntl(link, F_SETFD, FD_CLOEXEC);
    for (;;) {
        rc = ds_link_recv(link, &msg, fds, &n_fds);
        if (rc != 0) {
            return rc;
        }
        if (msg.type == DS_LINK_PUT) {
            rc = ds_vault_put(&k->vault, msg.name, fds, n_fds);
            if (rc != 0) {
                return rc;
            }
        } else if (msg.type == DS_LINK_READY && n_fds == 1) {
            k->pid = (pid_t)msg.number;
            k->pidfd = fds[0];
            k->ready = true;
            k->served = true;
            ds_log(DS_LOG_INFO, "took over from a dead keeper; worker %d", (int)k->pid);
            return ds_link_send(link, DS_LINK_START, (uint32_t)getpid(), NULL, NULL, NULL, 0);
        }
    }
}

static void clean_up(struct keeper *k)
{
    static const char *const suffixes[] = {".sock", ".log"};
    char path[DS_RUNDIR_PATH_MAX];

    (void)unlink(ds_options_str(k->options, DS_OPT_ready_check_path));
    (void)unlink(ds_options_str(k->options, DS_OPT_health_check_path));
    (void)unlink(ds_options_str(k->options, DS_OPT_liveness_check_path));
    if (ds_vault_find(&k->vault, "unix") != NULL) {
        for (size_t i = 0; i < DS_ARRAY_SIZE(suffixes); i++) {
            if (ds_rundir_path(k->options, suffixes[i], path) == 0) {
                (void)unlink(path);
            }
        }
        ds_rundir_remove(k->options);
    }
    ds_vault_fini(&k->vault);
}

static int make_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return ds_sys_signalfd(&set);
}

/* A failure to start a process ends a keeper that holds nothing yet; later the memory is worth
 * trying again for. */
static int next_worker(struct keeper *k)
{
    int rc = k->started_ns == 0 || plan_restart(k) ? spawn(k) : DS_EIO;

    if (rc != 0 && ds_vault_find(&k->vault, "state") != NULL && k->failed_starts < STARTS_MAX) {
        ds_log(DS_LOG_ERROR, "no new process for a worker; trying again");
        k->ready = false;
        k->started_ns = ds_monotonic_ns();
        return 0;
    }
    return rc;
}

int ds_keeper_run(const struct ds_options *options, char **argv, const char *worker_program,
                  int ready_fd, int adopt_fd)
{
    struct keeper k = {.options = options,
                       .argv = argv,
                       .link = -1,
                       .pidfd = -1,
                       .ready_fd = ready_fd,
                       .signals = make_signals()};
    int rc = 0;

    (void)snprintf(k.program, sizeof(k.program), "%s", worker_program);
    if (k.signals < 0) {
        on_failed(&k, "the system refuses a signalfd");
        rc = DS_EIO;
    } else if (adopt_fd >= 0) {
        rc = adopt(&k, adopt_fd);
    } else {
        rc = listen_tcp(&k);
        if (rc == 0) {
            rc = listen_unix(&k);
        }
    }
    while (rc == 0 && !k.stopping) {
        if (k.pidfd < 0) {
            rc = next_worker(&k);
            continue;
        }
        wait_for_events(&k);
    }
    stop_worker(&k);
    tell_starter(&k, "FAILED the keeper could not start a worker; see its log\n");
    ds_log(DS_LOG_INFO, "keeper ends");
    clean_up(&k);
    ds_sys_close(k.signals);
    return rc == 0 && k.trouble[0] == '\0' ? 0 : 1;
}
