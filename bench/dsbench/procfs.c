/* SPDX-License-Identifier: Apache-2.0 */
/* procfs.c - reads /proc. */
#include "procfs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMFDS_MAX 1024u

/* The number after `name` in a file of "Name:   123 kB" lines. */
static uint64_t field(const char *path, const char *name)
{
    char line[256];
    uint64_t v = 0;
    size_t n = strlen(name);
    FILE *f = fopen(path, "re");

    if (f == NULL) {
        return 0;
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            v = strtoull(line + n + 1, NULL, 10);
            break;
        }
    }
    (void)fclose(f);
    return v;
}

bool bench_proc_alive(pid_t pid)
{
    char path[64], text[512];
    const char *state;
    size_t n;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    if (f == NULL) {
        return false;
    }
    n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    state = strrchr(text, ')');
    return state != NULL && state[1] == ' ' && state[2] != 'Z' && state[2] != 'X';
}

uint64_t bench_proc_threads(pid_t pid)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    return field(path, "Threads");
}

uint64_t bench_proc_private(pid_t pid)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    return (field(path, "Pss_Anon") + field(path, "Pss_File")) * 1024;
}

uint64_t bench_memory_available(void)
{
    return field("/proc/meminfo", "MemAvailable") * 1024;
}

uint64_t bench_proc_cpu_ns(pid_t pid)
{
    char path[320], text[128];
    const struct dirent *e;
    uint64_t sum = 0;
    DIR *d;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", (int)pid, e->d_name);
        f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (f == NULL) {
            continue;
        }
        if (fgets(text, sizeof(text), f) != NULL) {
            sum += strtoull(text, NULL, 10);
        }
        (void)fclose(f);
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return sum;
}

struct memfds {
    ino_t seen[MEMFDS_MAX];
    unsigned n;
};

static void add_memfd(struct memfds *all, const char *path, struct bench_memfds *ret)
{
    char name[256];
    struct stat st;
    ssize_t n = readlink(path, name, sizeof(name) - 1);

    if (n <= 0 || strncmp(name, "/memfd:", 7) != 0 || stat(path, &st) != 0) {
        return;
    }
    name[n] = '\0';
    for (unsigned i = 0; i < all->n; i++) {
        if (all->seen[i] == st.st_ino) {
            return;
        }
    }
    if (all->n < MEMFDS_MAX) {
        all->seen[all->n++] = st.st_ino;
        *(strstr(name, "data") != NULL ? &ret->data : &ret->others) += (uint64_t)st.st_blocks * 512;
    }
}

void bench_proc_memfds(const pid_t *pids, unsigned n, struct bench_memfds *ret)
{
    struct memfds all = {.n = 0};
    char path[320];
    const struct dirent *e;
    DIR *d;

    *ret = (struct bench_memfds){.data = 0};
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pids[i]);
        d = opendir(path);
        while (d != NULL && (e = readdir(d)) != NULL) {
            (void)snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", (int)pids[i], e->d_name);
            add_memfd(&all, path, ret);
        }
        if (d != NULL) {
            (void)closedir(d);
        }
    }
}
