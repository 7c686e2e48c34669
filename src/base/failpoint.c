/* SPDX-License-Identifier: Apache-2.0 */
#include "base/failpoint.h"

#ifdef DS_FAILPOINTS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define POINTS_MAX 64

struct point {
    char name[48];
    char action[16];
    long arg;
    long nth;      /* 0 = every hit */
    long chance;   /* 0 = always; n = one hit in n */
    long hits_max; /* 0 = no end; n = only the first n hits */
    bool once;     /* of all processes, the first one */
    atomic_long hits;
};

static struct point points[POINTS_MAX];
static atomic_int n_points = -1; /* -1: the environment has not been read */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The number behind the last `mark` of what follows the name, which it cuts off; else 0. */
static long take_number(char *s, const char *eq, char mark)
{
    char *at = strrchr(s, mark);

    if (at == NULL || at < eq) {
        return 0;
    }
    *at = '\0';
    return strtol(at + 1, NULL, 10);
}

static void parse(const char *spec)
{
    char copy[4096];
    char *save = NULL;
    int n = 0;

    memset(points, 0, sizeof(points));
    (void)snprintf(copy, sizeof(copy), "%s", spec != NULL ? spec : "");
    for (char *next = strtok_r(copy, ";", &save); next != NULL && n < POINTS_MAX;
         next = strtok_r(NULL, ";", &save)) {
        char *s = next;
        struct point *p = &points[n];
        char *eq = strchr(s, '=');
        char *colon;

        if (eq == NULL) {
            continue;
        }
        p->hits_max = take_number(s, eq, '<');
        p->nth = take_number(s, eq, '@');
        p->chance = take_number(s, eq, '%');
        *eq = '\0';
        colon = strchr(s, ':');
        if (colon != NULL) {
            *colon = '\0';
            if (strcmp(s, program_invocation_short_name) != 0) {
                continue;
            }
            s = colon + 1;
        }
        if (eq[1] != '\0' && eq[strlen(eq + 1)] == '!') {
            eq[strlen(eq + 1)] = '\0';
            p->once = true;
        }
        colon = strchr(eq + 1, ':');
        if (colon != NULL) {
            p->arg = strtol(colon + 1, NULL, 10);
            *colon = '\0';
        }
        (void)snprintf(p->name, sizeof(p->name), "%s", s);
        (void)snprintf(p->action, sizeof(p->action), "%s", eq + 1);
        n++;
    }
    atomic_store(&n_points, n);
}

static void read_environment(void)
{
    if (atomic_load(&n_points) < 0) {
        parse(getenv("DS_FAILPOINTS"));
    }
}

void ds_failpoint_arm(const char *spec)
{
    parse(spec);
}

/* Tells the test which point it was: a kill leaves no other word. */
static void note(const struct point *p, const char *name)
{
    const char *path = getenv("DS_FAILPOINTS_LOG");
    char line[64];
    int n = snprintf(line, sizeof(line), "%s %s\n", name, p->action);
    int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;

    if (fd >= 0) {
        (void)!write(fd, line, (size_t)n);
        (void)close(fd);
    }
}

static bool matches(const struct point *p, const char *name)
{
    size_t n = strlen(p->name);

    return n > 0 && p->name[n - 1] == '*' ? strncmp(p->name, name, n - 1) == 0
                                          : strcmp(p->name, name) == 0;
}

/* A coin that needs no state: tests choose rates, not sequences. */
static bool by_chance(long one_in)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return one_in <= 1 ||
           (((uint64_t)t.tv_nsec * UINT64_C(0x9e3779b97f4a7c15)) >> 33) % (uint64_t)one_in == 0;
}

/* Whether no process has been here before: a file beside the log says so. */
static bool is_first(const char *name)
{
    const char *log = getenv("DS_FAILPOINTS_LOG");
    char path[512];
    int fd;

    (void)snprintf(path, sizeof(path), "%s.%s", log != NULL ? log : "", name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) {
        (void)close(fd);
    }
    return fd >= 0;
}

/* While a file beside the log says so. */
static bool is_held(void)
{
    const char *log = getenv("DS_FAILPOINTS_LOG");
    char path[512];

    (void)snprintf(path, sizeof(path), "%s.hold", log != NULL ? log : "");
    return log != NULL && access(path, F_OK) == 0;
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};

    (void)nanosleep(&t, NULL);
}

static int fire(const struct point *p, const char *name)
{
    bool holds = strcmp(p->action, "hold") == 0;

    if (holds && !is_held()) {
        return 0;
    }
    if (p->once && !is_first(name)) {
        return 0;
    }
    note(p, name);
    if (strcmp(p->action, "kill") == 0) {
        (void)kill(getpid(), SIGKILL);
    } else if (strcmp(p->action, "abort") == 0) {
        abort();
    } else if (strcmp(p->action, "exit") == 0) {
        _exit((int)p->arg);
    } else if (strcmp(p->action, "sleep") == 0) {
        pause_ms(p->arg);
    } else if (strcmp(p->action, "errno") == 0) {
        return -(int)p->arg;
    }
    while (holds && is_held()) {
        pause_ms(1);
    }
    return 0;
}

int ds_failpoint(const char *name)
{
    int n = atomic_load_explicit(&n_points, memory_order_acquire);

    if (DS_UNLIKELY(n < 0)) {
        (void)pthread_once(&once, read_environment);
        n = atomic_load_explicit(&n_points, memory_order_acquire);
    }
    for (int i = 0; i < n; i++) {
        struct point *p = &points[i];

        if (matches(p, name)) {
            long hit = atomic_fetch_add(&p->hits, 1) + 1;

            if ((p->nth == 0 || p->nth == hit) && (p->hits_max == 0 || hit <= p->hits_max) &&
                by_chance(p->chance)) {
                return fire(p, name);
            }
        }
    }
    return 0;
}

#else
typedef int ds_failpoint_not_compiled; /* ISO C forbids an empty translation unit */
#endif
