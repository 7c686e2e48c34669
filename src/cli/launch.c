/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sys.h"
#include "cli/process.h"

#define END_GENTLY_MS 2000 /* between SIGTERM and SIGKILL to a keeper that is not ready */
#define LAST_WORDS_MS 1000 /* from the end of the pipe to the end of the process */

struct start {
    struct ds_launch *ret;
    const char *address;
    pid_t pid;
    uint64_t since; /* when the child was born: what is older is not ours */
    int ready_fd;   /* our end of the pipe */
    int output_fd;  /* memory file behind the child's stdout and stderr */
    int pidfd;
    int signal_fd;
    char line[sizeof(((struct ds_launch *)0)->text)];
    size_t line_len;
};

/* --- the child --- */

__attribute__((noreturn)) static void run_child(char *const *argv, int ready_fd, int output_fd,
                                                const sigset_t *mask)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    char text[512];

    (void)setsid();
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    (void)dup2(null_fd, 0);
    (void)dup2(output_fd >= 0 ? output_fd : null_fd, 1);
    (void)dup2(output_fd >= 0 ? output_fd : null_fd, 2);
    /* A daemon must not keep what the caller of dscli had open (locks, pipes). */
    (void)syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
    (void)fcntl(ready_fd, F_SETFD, 0);
    if (chdir("/") == 0) { /* or it would keep the caller's file system busy */
        (void)execvp(argv[0], argv);
    }
    (void)snprintf(text, sizeof(text), "FAILED cannot run %.400s: %s\n", argv[0], strerror(errno));
    _exit(write(ready_fd, text, strlen(text)) < 0 ? 126 : 127);
}

/* --- waiting --- */

/* True: the line was the answer, and s->ret says what it was. */
static bool take_line(struct start *s, char *line)
{
    int worker;
    int keeper;

    if (sscanf(line, "READY %d %d", &worker, &keeper) == 2) {
        s->ret->outcome = DS_LAUNCH_READY;
        s->ret->worker_pid = worker;
        s->ret->keeper_pid = keeper;
        return true;
    }
    if (strncmp(line, "FAILED", 6) == 0) {
        line += 6 + strspn(line + 6, ": ");
        s->ret->outcome = DS_LAUNCH_FAILED;
        (void)snprintf(s->ret->text, sizeof(s->ret->text), "%s",
                       line[0] != '\0' ? line : "the keeper did not say why");
        return true;
    }
    return false;
}

/* What is in the pipe now: 1 the answer, 0 not yet, -1 the end of the pipe. */
static int read_lines(struct start *s)
{
    for (;;) {
        char c;
        ssize_t n = read(s->ready_fd, &c, 1);

        if (n < 0) {
            return errno == EINTR || errno == EAGAIN ? 0 : -1;
        }
        if (n == 1 && c != '\n') {
            s->line[s->line_len] = c;
            s->line_len += s->line_len < sizeof(s->line) - 1;
            continue;
        }
        s->line[s->line_len] = '\0';
        s->line_len = 0;
        if (take_line(s, s->line)) {
            return 1;
        }
        if (n == 0) {
            return -1;
        }
    }
}

static bool ends_within(const struct start *s, int64_t ms)
{
    return ds_sys_wait_readable(s->pidfd, ds_monotonic_ns() + ms * 1000000) > 0;
}

/* The child has ended, or will within a moment. It stays a zombie: its pid must not be reused. */
static void describe_death(struct start *s)
{
    struct ds_launch *ret = s->ret;
    siginfo_t info = {.si_pid = 0};

    ret->outcome = DS_LAUNCH_FAILED;
    if (!ends_within(s, LAST_WORDS_MS) ||
        waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0) {
        (void)snprintf(ret->text, sizeof(ret->text),
                       "the keeper closed its end of the pipe without a word");
    } else if (info.si_code == CLD_EXITED) {
        (void)snprintf(ret->text, sizeof(ret->text),
                       "the keeper ended with code %d before it was ready", info.si_status);
    } else {
        (void)snprintf(ret->text, sizeof(ret->text),
                       "the keeper was killed by signal %d (%s) before it was ready",
                       info.si_status, strsignal(info.si_status));
    }
}

static void wait_for_answer(struct start *s, int timeout_ms)
{
    int64_t deadline = ds_monotonic_ns() + timeout_ms * INT64_C(1000000);
    struct pollfd fds[] = {{.fd = s->ready_fd, .events = POLLIN},
                           {.fd = s->pidfd, .events = POLLIN},
                           {.fd = s->signal_fd, .events = POLLIN}};

    for (;;) {
        int64_t left_ms = (deadline - ds_monotonic_ns() + 999999) / 1000000;
        int n = poll(fds, DS_ARRAY_SIZE(fds), left_ms > 0 ? (int)left_ms : 0);
        int got;

        if (n < 0 && errno == EINTR) {
            continue;
        }
        got = read_lines(s); /* whatever woke us: the answer may have come just before */
        if (got > 0) {
            return;
        }
        if (got < 0 || fds[1].revents != 0) {
            describe_death(s);
            return;
        }
        if (n == 0 || fds[2].revents != 0) {
            s->ret->outcome = n == 0 ? DS_LAUNCH_TIMEOUT : DS_LAUNCH_INTERRUPTED;
            return;
        }
    }
}

/* --- the end of a start that failed --- */

static void end_all(const struct start *s)
{
    (void)kill(s->pid, SIGTERM);
    if (!ends_within(s, END_GENTLY_MS)) {
        (void)kill(s->pid, SIGKILL);
    }
    (void)kill(-s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    s->ret->all_gone = ds_processes_kill(s->address, s->since);
}

static void read_output(int fd, char *buf, size_t size)
{
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t start = end > (off_t)size - 1 ? end - (off_t)size + 1 : 0;
    ssize_t n = end <= 0 ? 0 : pread(fd, buf, size - 1, start);

    n = n < 0 ? 0 : n;
    while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\0')) {
        n--;
    }
    buf[n] = '\0';
}

/* --- all of it --- */

static int open_signals(sigset_t *ret_old)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, ret_old);
    return ds_sys_signalfd(&set);
}

/* They have had their effect, and must not end us before the result is told. */
static void drop_signals(int signal_fd)
{
    struct signalfd_siginfo info;

    while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
    }
}

static int start_child(struct start *s, char *const *argv, const sigset_t *mask)
{
    char number[16];
    int fds[2];
    int rc = ds_sys_pipe(fds);

    if (rc < 0) {
        return rc;
    }
    (void)snprintf(number, sizeof(number), "%d", fds[1]);
    (void)setenv("DS_READY_FD", number, 1);
    s->pid = ds_sys_fork();
    if (s->pid == 0) {
        run_child(argv, fds[1], s->output_fd, mask);
    }
    (void)unsetenv("DS_READY_FD");
    ds_sys_close(fds[1]);
    s->ready_fd = fds[0];
    if (s->pid < 0) {
        return s->pid;
    }
    s->since = ds_process_start_time(s->pid);
    s->pidfd = ds_sys_pidfd(s->pid);
    return 0;
}

void ds_launch(char *const *argv, const char *address, int timeout_ms, struct ds_launch *ret)
{
    struct start s = {.ret = ret, .address = address, .pid = -1, .ready_fd = -1, .pidfd = -1};
    sigset_t mask;
    int rc;

    *ret = (struct ds_launch){.outcome = DS_LAUNCH_FAILED};
    s.output_fd = memfd_create("dskeeper-output", MFD_CLOEXEC);
    s.signal_fd = open_signals(&mask);
    rc = start_child(&s, argv, &mask);
    if (rc < 0) {
        (void)snprintf(ret->text, sizeof(ret->text), "cannot start a process: %s", strerror(-rc));
    } else {
        wait_for_answer(&s, timeout_ms);
        if (ret->outcome != DS_LAUNCH_READY) {
            end_all(&s);
            read_output(s.output_fd, ret->output, sizeof(ret->output));
        }
    }
    drop_signals(s.signal_fd);
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    ds_sys_close(s.pidfd);
    ds_sys_close(s.ready_fd);
    ds_sys_close(s.output_fd);
    ds_sys_close(s.signal_fd);
}
