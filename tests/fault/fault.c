/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

#define VALUE_MAGIC UINT64_C(0x45554c4156534446)

struct value_head {
    uint64_t magic;
    uint64_t key_hash;
    uint64_t writer;
    uint64_t seq;
    uint64_t size;
    uint64_t check;
};

__attribute__((format(printf, 2, 0))) static void say(const char *what, const char *format,
                                                      va_list args)
{
    char text[512];
    char line[600];
    int n;

    (void)vsnprintf(text, sizeof(text), format, args);
    n = snprintf(line, sizeof(line), "%s: %s (pid %d)\n", what, text, (int)getpid());
    (void)!write(1, line, (size_t)n); /* one call: lines of several processes do not mix */
}

void fatal(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say("FATAL", format, args);
    va_end(args);
    _exit(3);
}

void violation(_Atomic uint64_t *count, const char *format, ...)
{
    va_list args;

    if (count != NULL && atomic_fetch_add(count, 1) > 50) {
        return; /* the first ones tell enough */
    }
    va_start(args, format);
    say("VIOLATION", format, args);
    va_end(args);
}

uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t random_below(uint64_t *state, uint64_t n)
{
    return n == 0 ? 0 : random_next(state) % n;
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

void pause_us(unsigned us)
{
    struct timespec t = {us / 1000000, (us % 1000000) * 1000};

    (void)nanosleep(&t, NULL);
}

void *shared_memory(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        fatal("no shared memory for the oracle");
    }
    return p;
}

int try_open(int request_timeout_ms, struct ds_client **ret)
{
    return try_open_within(5000, request_timeout_ms, ret);
}

int try_open_within(int connect_timeout_ms, int request_timeout_ms, struct ds_client **ret)
{
    const char *port = getenv("FAULT_PORT");
    struct ds_client_options o;

    ds_client_options_init(&o);
    o.host = "127.0.0.1";
    o.port = (uint16_t)strtoul(port != NULL ? port : "31501", NULL, 10);
    o.connect_timeout_ms = connect_timeout_ms;
    o.request_timeout_ms = request_timeout_ms;
    return ds_client_open(&o, ret);
}

struct ds_client *must_open(int request_timeout_ms)
{
    struct ds_client *c = NULL;
    int rc = try_open(request_timeout_ms, &c);

    if (rc != 0) {
        fatal("cannot open a client: %s", ds_error_name(rc));
    }
    return c;
}

static uint64_t head_check(const struct value_head *h)
{
    return ds_hash(h, offsetof(struct value_head, check), VALUE_MAGIC);
}

/* The body is one pseudo-random stream of the head's check. */
static uint64_t word_at(uint64_t check, size_t i)
{
    return (check + i) * UINT64_C(0x9e3779b97f4a7c15);
}

void value_fill(void *buf, size_t size, const char *key, uint64_t writer, uint64_t seq)
{
    struct value_head h = {.magic = VALUE_MAGIC,
                           .key_hash = ds_hash(key, strlen(key), 1),
                           .writer = writer,
                           .seq = seq,
                           .size = size};
    uint8_t *to = buf;

    if (size < VALUE_MIN) {
        fatal("a value of %zu bytes is too short", size);
    }
    h.check = head_check(&h);
    memcpy(to, &h, sizeof(h));
    for (size_t at = sizeof(h); at < size; at += 8) {
        uint64_t w = word_at(h.check, at);

        memcpy(to + at, &w, size - at < 8 ? size - at : 8);
    }
}

const char *value_check(const void *buf, size_t size, const char *key, uint64_t *ret_writer,
                        uint64_t *ret_seq)
{
    const uint8_t *from = buf;
    struct value_head h;

    if (size < VALUE_MIN) {
        return "too short";
    }
    memcpy(&h, from, sizeof(h));
    if (h.magic != VALUE_MAGIC || h.check != head_check(&h)) {
        return "no value of ours";
    }
    if (h.size != size) {
        return "of another size";
    }
    if (h.key_hash != ds_hash(key, strlen(key), 1)) {
        return "of another key";
    }
    for (size_t at = sizeof(h); at < size; at += 8) {
        uint64_t w = word_at(h.check, at);

        if (memcmp(from + at, &w, size - at < 8 ? size - at : 8) != 0) {
            return "damaged";
        }
    }
    *ret_writer = h.writer;
    *ret_seq = h.seq;
    return NULL;
}

struct ds_bytes bytes_of(const char *key)
{
    return (struct ds_bytes){key, strlen(key)};
}

struct ds_worker_stats must_stats(struct ds_client *c)
{
    struct ds_worker_stats st;
    int rc = ds_client_stats(c, &st);

    if (rc != 0) {
        fatal("no figures from the worker: %s", ds_error_name(rc));
    }
    return st;
}

bool settle_stats(struct ds_client *c, uint64_t sessions, struct ds_worker_stats *ret)
{
    int64_t end = now_ns() + INT64_C(5000000000);

    do {
        *ret = must_stats(c);
        if (ret->sessions == sessions && ret->memory_doomed == 0) {
            return true;
        }
        pause_us(200);
    } while (now_ns() < end);
    return false;
}

int kill_after(int pid, unsigned us)
{
    int64_t end = now_ns() + us * INT64_C(1000);
    int status = 0;

    while (now_ns() < end) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return status;
        }
        pause_us(100);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return status;
}
