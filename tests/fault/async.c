/* SPDX-License-Identifier: Apache-2.0 */
/*
 * async.c - gets that call back. Each scene counts what was called, and with what.
 *
 * fault_async keys N          N keys are waited for and then set, the last one first
 * fault_async gone            a key that never comes, for less and for more than the request
 * timeout fault_async there           keys that are there, and one that is not legal fault_async
 * close N         the handle is closed under N of them fault_async idle            one waits for a
 * second: nobody polls fault_async outage N        prints "waiting"; sets the keys after a line
 * from the test fault_async silent          as outage, but the worker does not answer
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "fault.h"

#define KEYS_MAX 2000u
#define LONG_MS 60000
#define SIZE 100u

static struct waiter {
    char key[32];
    int64_t called_ns;
    int status;
    _Atomic unsigned calls;
} waiters[KEYS_MAX];

static _Atomic uint64_t violations;
static _Atomic unsigned called;

static void on_call(void *arg, int status, struct ds_view *view)
{
    struct waiter *w = arg;
    uint64_t writer = 0;
    uint64_t seq = 0;

    if (status == 0 && (view->size != SIZE ||
                        value_check(view->data, view->size, w->key, &writer, &seq) != NULL)) {
        violation(&violations, "%s has another value", w->key);
    }
    ds_view_release(view);
    w->status = status;
    w->called_ns = now_ns();
    (void)atomic_fetch_add(&w->calls, 1);
    (void)atomic_fetch_add(&called, 1);
}

static void wait_for(struct ds_client *c, unsigned i, int64_t timeout_ms)
{
    struct waiter *w = &waiters[i];
    int rc;

    (void)snprintf(w->key, sizeof(w->key), "async%u", i);
    rc = ds_kv_get_async(c, w->key, strlen(w->key), timeout_ms, on_call, w);
    if (rc != 0) {
        fatal("get of %s: %s", w->key, ds_error_name(rc));
    }
}

static void set(struct ds_client *c, unsigned i)
{
    uint8_t value[SIZE];
    char key[32];

    (void)snprintf(key, sizeof(key), "async%u", i);
    value_fill(value, SIZE, key, 1, i);
    if (ds_kv_set(c, key, strlen(key), value, SIZE, NULL) != 0) {
        fatal("set of %s", key);
    }
}

static void until_called(unsigned n)
{
    int64_t end = now_ns() + INT64_C(30000000000);

    while (atomic_load(&called) < n && now_ns() < end) {
        pause_us(200);
    }
    if (atomic_load(&called) != n) {
        violation(&violations, "%u were called, not %u", atomic_load(&called), n);
    }
}

/* All of the first n, once, with this status. */
static void check(unsigned n, int status)
{
    until_called(n);
    pause_us(20000); /* a second call would come now */
    for (unsigned i = 0; i < n; i++) {
        if (waiters[i].calls != 1 || waiters[i].status != status) {
            violation(&violations, "%s: %u calls, %s", waiters[i].key, waiters[i].calls,
                      ds_error_name(waiters[i].status));
        }
    }
}

static void scene_keys(unsigned n)
{
    struct ds_client *c = must_open(LONG_MS);
    struct ds_client *other = must_open(LONG_MS);
    int64_t worst = 0;

    for (unsigned i = 0; i < n; i++) {
        wait_for(c, i, LONG_MS);
    }
    for (unsigned i = n; i-- > 0;) {
        int64_t before = now_ns();

        set(other, i);
        until_called(n - i);
        if (waiters[i].calls != 1) {
            fatal("another one than %s was called", waiters[i].key);
        }
        worst = waiters[i].called_ns - before > worst ? waiters[i].called_ns - before : worst;
    }
    check(n, 0);
    (void)printf("worst %lld us\n", (long long)worst / 1000);
    ds_client_close(other);
    ds_client_close(c);
}

static void scene_gone(void)
{
    struct ds_client *c = must_open(700);
    int64_t before = now_ns();

    wait_for(c, 0, 300);
    wait_for(c, 1, LONG_MS);
    wait_for(c, 2, 0);
    check(3, DS_ENOTFOUND);
    for (unsigned i = 0; i < 3; i++) {
        static const int64_t least_ms[] = {300, 700, 0};
        int64_t ms = (waiters[i].called_ns - before) / 1000000;

        if (ms < least_ms[i] || ms > least_ms[i] + 10000) {
            violation(&violations, "%s was given up after %lld ms", waiters[i].key, (long long)ms);
        }
    }
    ds_client_close(c);
}

static void scene_there(void)
{
    struct ds_client *c = must_open(LONG_MS);

    for (unsigned i = 0; i < 10; i++) {
        set(c, i);
        wait_for(c, i, i % 2 == 0 ? 0 : LONG_MS);
    }
    check(10, 0);
    if (ds_kv_get_async(c, "", 0, 1, on_call, NULL) != DS_EINVAL ||
        ds_kv_get_async(c, "key", 3, 1, NULL, NULL) != DS_EINVAL) {
        violation(&violations, "what is not legal was begun");
    }
    ds_client_close(c);
}

static void scene_close(unsigned n)
{
    struct ds_client *c = must_open(LONG_MS);

    for (unsigned i = 0; i < n; i++) {
        wait_for(c, i, LONG_MS);
        if (i == n / 2) {
            pause_us(50000); /* some are under way, others were not looked at */
        }
    }
    ds_client_close(c);
    check(n, DS_ESHUTDOWN);
}

static void scene_idle(void)
{
    struct ds_client *c = must_open(LONG_MS);
    struct rusage before;
    struct rusage after;

    wait_for(c, 0, LONG_MS);
    pause_us(300000);
    (void)getrusage(RUSAGE_SELF, &before);
    pause_us(1000000);
    (void)getrusage(RUSAGE_SELF, &after);
    if (after.ru_nvcsw - before.ru_nvcsw > 20) {
        violation(&violations, "woken %ld times in a second", after.ru_nvcsw - before.ru_nvcsw);
    }
    set(c, 0);
    check(1, 0);
    ds_client_close(c);
}

static void scene_outage(unsigned n, bool silent)
{
    struct ds_client *c = must_open(silent ? 1000 : LONG_MS);
    char line[16];

    for (unsigned i = 0; i < n; i++) {
        wait_for(c, i, LONG_MS);
    }
    pause_us(50000);
    (void)printf("waiting\n");
    (void)fflush(stdout);
    if (!silent) {
        if (fgets(line, sizeof(line), stdin) == NULL) {
            fatal("the test went away");
        }
        for (unsigned i = 0; i < n; i++) {
            set(c, i);
        }
    }
    check(n, silent ? DS_ETIMEOUT : 0);
    if (silent && fgets(line, sizeof(line), stdin) == NULL) {
        fatal("the test went away");
    }
    ds_client_close(c);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;

    if (n > KEYS_MAX) {
        fatal("too many");
    }
    if (strcmp(what, "keys") == 0) {
        scene_keys(n);
    } else if (strcmp(what, "gone") == 0) {
        scene_gone();
    } else if (strcmp(what, "there") == 0) {
        scene_there();
    } else if (strcmp(what, "close") == 0) {
        scene_close(n);
    } else if (strcmp(what, "idle") == 0) {
        scene_idle();
    } else if (strcmp(what, "outage") == 0) {
        scene_outage(n, false);
    } else if (strcmp(what, "silent") == 0) {
        scene_outage(n, true);
    } else {
        fatal("usage: see the head of async.c");
    }
    return atomic_load(&violations) == 0 ? 0 : 1;
}
