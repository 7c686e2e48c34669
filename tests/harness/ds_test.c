/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ds_test.c - the runner: a process per test, a time limit, a leak check.
 *
 * The tests of a program are what DS_TEST put into the section ds_tests. The runner waits for
 * SIGCHLD with a limit, so no test can defeat its time limit by using alarm() itself; whatever is
 * left of a test's process group is killed when the test is over.
 */
#include "harness/ds_test.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SKIP 77
#define FD_MAX 65536

/* Blocks allocated and not freed yet, when the tested module links base. */
__attribute__((weak)) uint64_t ds_alloc_live(void);

enum outcome { PASSED, FAILED, SKIPPED };

extern const struct ds_test *__start_ds_tests[];
extern const struct ds_test *__stop_ds_tests[];

/* Shared with the test's process, which cannot return a text. */
static char *skip_reason;

uint64_t ds_test_seed(void)
{
    const char *fixed = getenv("DS_TEST_SEED");
    struct timespec now;
    uint64_t seed;

    clock_gettime(CLOCK_REALTIME, &now);
    seed = (uint64_t)now.tv_nsec * 2654435761u ^ (uint64_t)now.tv_sec;
    if (fixed != NULL) {
        seed = strtoull(fixed, NULL, 0);
    }
    fprintf(stderr, "# DS_TEST_SEED=%" PRIu64 "\n", seed);
    return seed;
}

_Noreturn void ds_test_skip(const char *reason)
{
    snprintf(skip_reason, 256, "%s", reason);
    exit(EXIT_SKIP);
}

/* ---- in the test's process ---- */

struct fd_set_all {
    bool open[FD_MAX];
};

static void list_fds(struct fd_set_all *ret)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    memset(ret, 0, sizeof(*ret));
    if (dir == NULL) {
        ds_test_fail(__FILE__, __LINE__, "opendir /proc/self/fd: %s", strerror(errno));
    }
    while ((entry = readdir(dir)) != NULL) {
        unsigned long fd = strtoul(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && fd < FD_MAX && fd != (unsigned long)dirfd(dir)) {
            ret->open[fd] = true;
        }
    }
    closedir(dir);
}

static int count_leaked_fds(const struct fd_set_all *before, const struct fd_set_all *after)
{
    int leaked = 0;

    for (int fd = 0; fd < FD_MAX; fd++) {
        if (after->open[fd] && !before->open[fd]) {
            char link[64];
            char target[PATH_MAX] = "";
            snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
            (void)!readlink(link, target, sizeof(target) - 1);
            fprintf(stderr, "# leaked descriptor %d: %s\n", fd, target);
            leaked++;
        }
    }
    return leaked;
}

/* Runs a test in this process; true if it passed. */
static bool run_here(const struct ds_test *test)
{
    static struct fd_set_all before;
    static struct fd_set_all after;
    uint64_t live_before = ds_alloc_live != NULL ? ds_alloc_live() : 0;
    uint64_t live_after;

    list_fds(&before);
    test->run();
    list_fds(&after);
    live_after = ds_alloc_live != NULL ? ds_alloc_live() : 0;
    if (live_after != live_before) {
        fprintf(stderr, "# live blocks: %" PRIu64 " before, %" PRIu64 " after\n", live_before,
                live_after);
    }
    return count_leaked_fds(&before, &after) == 0 && live_after == live_before;
}

/* ---- in the runner ---- */

/* Waits until the test's process has ended: its wait status, or -1 when the time is over. */
static int wait_until_done(pid_t pid, unsigned timeout_s)
{
    struct timespec now;
    struct timespec left = {0, 0};
    sigset_t child_signal;
    time_t deadline;
    int status;

    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    clock_gettime(CLOCK_MONOTONIC, &now);
    deadline = now.tv_sec + (time_t)timeout_s;
    for (;;) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return status;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec >= deadline) {
            return -1;
        }
        left.tv_sec = deadline - now.tv_sec;
        (void)sigtimedwait(&child_signal, NULL, &left);
    }
}

static enum outcome judge(int status, unsigned timeout_s)
{
    if (status == -1) {
        fprintf(stderr, "# timed out after %u s\n", timeout_s);
    } else if (WIFSIGNALED(status)) {
        fprintf(stderr, "# killed by signal %d: %s\n", WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) == EXIT_SKIP) {
        return SKIPPED;
    } else if (WEXITSTATUS(status) != 0) {
        fprintf(stderr, "# exit status %d\n", WEXITSTATUS(status));
    } else {
        return PASSED;
    }
    return FAILED;
}

static enum outcome run_forked(const struct ds_test *test, unsigned timeout_s)
{
    sigset_t child_signal;
    sigset_t old_mask;
    int status;
    pid_t pid;

    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_signal, &old_mask);
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        ds_test_fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
    }
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* when ctest ends the runner, the test must go too */
        sigprocmask(SIG_SETMASK, &old_mask, NULL);
        dup2(STDERR_FILENO, STDOUT_FILENO); /* stdout carries TAP only */
        exit(run_here(test) ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    setpgid(pid, pid);
    status = wait_until_done(pid, timeout_s);
    kill(-pid, SIGKILL);
    if (status == -1) {
        waitpid(pid, NULL, 0);
    }
    sigprocmask(SIG_SETMASK, &old_mask, NULL);
    return judge(status, timeout_s);
}

static int run_all(size_t n, unsigned slowdown)
{
    size_t counts[3] = {0, 0, 0};

    printf("1..%zu\n", n);
    for (size_t i = 0; i < n; i++) {
        const struct ds_test *test = __start_ds_tests[i];
        enum outcome outcome = run_forked(test, test->timeout_s * slowdown);
        counts[outcome]++;
        printf("%s %zu - %s%s%s\n", outcome == FAILED ? "not ok" : "ok", i + 1, test->name,
               outcome == SKIPPED ? " # SKIP " : "", outcome == SKIPPED ? skip_reason : "");
        fflush(stdout);
    }
    if (counts[FAILED] > 0) {
        return EXIT_FAILURE;
    }
    return counts[SKIPPED] == n ? EXIT_SKIP : EXIT_SUCCESS;
}

static int run_named(size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(__start_ds_tests[i]->name, name) == 0) {
            bool passed = run_here(__start_ds_tests[i]);
            printf("%s 1 - %s\n", passed ? "ok" : "not ok", name);
            return passed ? EXIT_SUCCESS : EXIT_FAILURE;
        }
    }
    fprintf(stderr, "no test '%s'; -l lists them\n", name);
    return 2;
}

static int by_line(const void *a, const void *b)
{
    const struct ds_test *const *left = a;
    const struct ds_test *const *right = b;

    return ((*left)->line > (*right)->line) - ((*left)->line < (*right)->line);
}

int main(int argc, char **argv)
{
    size_t n = (size_t)(__stop_ds_tests - __start_ds_tests);
    const char *slowdown = getenv("DS_TEST_SLOWDOWN");
    int rc = EXIT_SUCCESS;

    skip_reason = mmap(NULL, 256, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (skip_reason == MAP_FAILED) {
        ds_test_fail(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    }
    qsort(__start_ds_tests, n, sizeof(__start_ds_tests[0]), by_line);
    if (argc == 2 && strcmp(argv[1], "-l") == 0) {
        for (size_t i = 0; i < n; i++) {
            puts(__start_ds_tests[i]->name);
        }
        return EXIT_SUCCESS;
    }
    if (argc == 1) {
        return run_all(n, slowdown != NULL ? (unsigned)strtoul(slowdown, NULL, 10) : 1);
    }
    for (int i = 1; i < argc && rc == EXIT_SUCCESS; i++) {
        rc = run_named(n, argv[i]);
    }
    return rc;
}
