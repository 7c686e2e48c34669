/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int log_fd = 2;
static enum ds_log_level log_least = DS_LOG_INFO;
static const char *log_module = "ds";

void ds_log_init(int fd, enum ds_log_level least, const char *module)
{
    log_fd = fd;
    log_least = least;
    log_module = module;
}

void ds_log(enum ds_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    char line[1024];
    struct timespec now;
    struct tm tm;
    va_list ap;
    size_t n;
    int k;

    if (level < log_least) {
        return;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    n = strftime(line, sizeof(line), "ts=%Y-%m-%dT%H:%M:%S", &tm);
    k = snprintf(line + n, sizeof(line) - n, ".%06ldZ level=%s mod=%s pid=%d msg=\"",
                 now.tv_nsec / 1000, names[level], log_module, (int)getpid());
    n += (size_t)(k > 0 ? k : 0);
    va_start(ap, fmt);
    k = vsnprintf(line + n, sizeof(line) - n - 3, fmt, ap);
    va_end(ap);
    if (k > 0) {
        n += ds_min_u64((uint64_t)k, sizeof(line) - n - 4);
    }
    line[n++] = '"';
    line[n++] = '\n';
    (void)!write(log_fd, line, n);
}
