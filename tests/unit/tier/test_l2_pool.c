/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "harness/ds_test.h"
#include "tier/l2_pool.h"

/* --- a store that writes down what it is asked, and waits at a gate while that is shut --- */

#define LOG_MAX 4096

struct fake {
    struct ds_l2 base;
    struct ds_l2_ops ops;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool shut;
    int waiting, most_waiting; /* at the gate */
    int heads;                 /* that came to it */
    char log[LOG_MAX];         /* "p:key:version ..." in the order of execution */
    int rc;
    bool lively;                 /* calls at the gate seem to get on */
    struct ds_l2_call *calls[4]; /* that came to it while `lively` */
    int n_calls;
};

static void enter(struct fake *f, struct ds_l2_call *call)
{
    (void)pthread_mutex_lock(&f->lock);
    if (f->lively) {
        atomic_store(&call->moved_ns, INT64_MAX / 2);
        f->calls[f->n_calls++] = call;
    }
    f->waiting++;
    f->most_waiting = f->waiting > f->most_waiting ? f->waiting : f->most_waiting;
    (void)pthread_cond_broadcast(&f->changed);
    while (f->shut && ds_l2_go_on(call) == 0) {
        struct timespec t;

        (void)clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += 2000000;
        t.tv_sec += t.tv_nsec / 1000000000;
        t.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&f->changed, &f->lock, &t);
    }
    f->waiting--;
}

static void leave(struct fake *f, char op, const void *key, uint32_t size, uint64_t version)
{
    size_t n = strlen(f->log);

    if (n + 64 < LOG_MAX) {
        (void)snprintf(f->log + n, LOG_MAX - n, "%c:%.*s:%d ", op, (int)size, (const char *)key,
                       (int)version);
    }
    (void)pthread_mutex_unlock(&f->lock);
}

static void fake_put(struct ds_l2 *l2, struct ds_l2_call *call, const struct ds_l2_item *items,
                     size_t n, int *rcs)
{
    struct fake *f = (struct fake *)l2;

    enter(f, call);
    (void)pthread_mutex_unlock(&f->lock);
    for (size_t i = 0; i < n; i++) {
        (void)pthread_mutex_lock(&f->lock);
        rcs[i] = f->rc != 0 ? ds_l2_fail(call, f->rc, "no") : ds_l2_go_on(call);
        leave(f, (items[i].meta.flags & DS_L2_TOMBSTONE) != 0 ? 'd' : 'p', items[i].key,
              items[i].key_size, items[i].meta.version);
    }
}

static int fake_get(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
                    ds_l2_room_fn *room, void *arg, struct ds_l2_meta *ret)
{
    struct fake *f = (struct fake *)l2;
    struct ds_l2_meta meta = {.version = 1, .size = 10};
    struct ds_l2_span span;
    int rc;

    enter(f, call);
    leave(f, 'g', key, key_size, 0);
    rc = room(arg, &meta, &span);
    if (rc == 0) {
        memcpy(span.memory, "0123456789", 10);
        *ret = meta;
    }
    return rc;
}

static int fake_head(struct ds_l2 *l2, struct ds_l2_call *call, const void *key, uint32_t key_size,
                     bool tombstone, struct ds_l2_meta *ret)
{
    struct fake *f = (struct fake *)l2;

    (void)tombstone;
    (void)pthread_mutex_lock(&f->lock);
    f->heads++;
    (void)pthread_mutex_unlock(&f->lock);
    enter(f, call);
    leave(f, 'h', key, key_size, 0);
    *ret = (struct ds_l2_meta){.size = 77, .version = 78};
    return 0;
}

static int fake_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc)
{
    (void)l2, (void)call;
    gc->objects = 5;
    return 0;
}

static struct fake fake;

static struct ds_l2_pool *begin(struct ds_l2_pool_config config, bool batches, bool shut)
{
    struct ds_l2_pool *pool = NULL;

    fake = (struct fake){.base = {&fake.ops},
                         .ops = {.name = "fake",
                                 .batches = batches,
                                 .put_many = fake_put,
                                 .get = fake_get,
                                 .head = fake_head,
                                 .gc = fake_gc},
                         .shut = shut};
    CHECK_EQ(pthread_mutex_init(&fake.lock, NULL), 0);
    CHECK_EQ(pthread_cond_init(&fake.changed, NULL), 0);
    config.l2 = &fake.base;
    CHECK_OK(ds_l2_pool_create(&config, &pool));
    return pool;
}

static void gate(bool shut)
{
    (void)pthread_mutex_lock(&fake.lock);
    fake.shut = shut;
    (void)pthread_cond_broadcast(&fake.changed);
    (void)pthread_mutex_unlock(&fake.lock);
}

/* Until n calls stand at the gate. */
static void await(int n)
{
    (void)pthread_mutex_lock(&fake.lock);
    while (fake.waiting < n) {
        (void)pthread_cond_wait(&fake.changed, &fake.lock);
    }
    (void)pthread_mutex_unlock(&fake.lock);
}

static struct ds_l2_request put_of(const char *key, uint64_t version)
{
    return (struct ds_l2_request){.op = DS_L2_POOL_PUT,
                                  .key = key,
                                  .key_size = (uint32_t)strlen(key),
                                  .meta = {.version = version, .size = 4},
                                  .value = {.fd = -1, .memory = (void *)(uintptr_t) "data"},
                                  .cookie = version};
}

static int submit(struct ds_l2_pool *pool, enum ds_l2_pool_op op, const char *key, uint64_t version)
{
    struct ds_l2_request q = put_of(key, version);

    q.op = op;
    if (op == DS_L2_POOL_GET) {
        q.value.memory = NULL;
    }
    return ds_l2_pool_submit(pool, &q);
}

/* Waits on the descriptor for n events. */
static void collect(struct ds_l2_pool *pool, struct ds_l2_event *ret, size_t n)
{
    size_t have = 0;

    while (have < n) {
        struct pollfd p = {.fd = ds_l2_pool_fd(pool), .events = POLLIN};

        CHECK_EQ(poll(&p, 1, -1), 1);
        CHECK(ds_l2_pool_news(pool));
        have += ds_l2_pool_poll(pool, ret + have, n - have);
    }
}

static void end(struct ds_l2_pool *pool)
{
    ds_l2_pool_close(pool);
    (void)pthread_cond_destroy(&fake.changed);
    (void)pthread_mutex_destroy(&fake.lock);
}

DS_TEST(pool__one_key_keeps_its_order_and_others_do_not_wait)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 4}, false, true);
    struct ds_l2_event events[8];

    for (uint64_t v = 1; v <= 4; v++) {
        CHECK_OK(submit(pool, v == 3 ? DS_L2_POOL_GET : DS_L2_POOL_PUT, "a", v));
    }
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "b", 11));
    CHECK_OK(submit(pool, DS_L2_POOL_REMOVE, "c", 12));
    await(3); /* a, b and c together, but a once */
    CHECK_EQ(fake.most_waiting, 3);
    gate(false);
    collect(pool, events, 6);
    CHECK(strstr(strstr(strstr(strstr(fake.log, "p:a:1"), "p:a:2"), "g:a:0"), "p:a:4") != NULL);
    CHECK(strstr(fake.log, "p:b:11") != NULL && strstr(fake.log, "d:c:12") != NULL);
    for (int i = 0; i < 6; i++) {
        CHECK_OK(events[i].rc);
        ds_free(events[i].data);
    }
    CHECK(!ds_l2_pool_news(pool));
    CHECK_EQ(ds_l2_pool_poll(pool, events, 8), 0);
    end(pool);
}

DS_TEST(pool__a_full_queue_refuses_and_recovers)
{
    struct ds_l2_pool *pool =
        begin((struct ds_l2_pool_config){.threads = 1, .queue_max = 3}, false, true);
    struct ds_l2_event events[4];
    struct ds_l2_pool_stats stats;

    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "b", 2));
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "c", 3));
    CHECK_EQ(submit(pool, DS_L2_POOL_PUT, "d", 4), DS_EQUEUEFULL);
    await(1);
    ds_l2_pool_stats(pool, &stats);
    CHECK_EQ(stats.running, 1);
    CHECK_EQ(stats.queued, 2);
    CHECK_EQ(stats.queued_bytes, 12);
    CHECK_EQ(stats.refused, 1);
    gate(false);
    collect(pool, events, 3);
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "d", 4));
    collect(pool, events, 1);
    CHECK_EQ(events[0].cookie, 4);
    ds_l2_pool_stats(pool, &stats);
    CHECK_EQ(stats.queued + stats.running + stats.queued_bytes, 0);
    CHECK_EQ(stats.ops[DS_L2_POOL_PUT].done, 4);
    CHECK_EQ(stats.ops[DS_L2_POOL_PUT].bytes, 16);
    CHECK_EQ(stats.queued_most, 3);
    end(pool);
}

DS_TEST(pool__background_work_leaves_a_thread_to_others)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 3}, false, true);
    struct ds_l2_event events[16];
    struct ds_l2_pool_stats stats;
    char keys[10][16];

    for (int i = 0; i < 10; i++) {
        struct ds_l2_request q;

        (void)snprintf(keys[i], sizeof(keys[i]), "k%d", i);
        q = put_of(keys[i], 1);
        q.background = true;
        CHECK_OK(ds_l2_pool_submit(pool, &q));
    }
    do { /* the third one has looked, and may not take any */
        (void)sched_yield();
        ds_l2_pool_stats(pool, &stats);
    } while (stats.running != 2 || stats.idle != 1);
    CHECK_OK(submit(pool, DS_L2_POOL_HEAD, "urgent", 2));
    (void)pthread_mutex_lock(&fake.lock);
    while (fake.heads == 0) { /* it gets a thread although eight background puts came before it */
        (void)pthread_cond_wait(&fake.changed, &fake.lock);
    }
    (void)pthread_mutex_unlock(&fake.lock);
    await(3);
    ds_l2_pool_stats(pool, &stats);
    CHECK_EQ(stats.running, 3);
    CHECK_OK(submit(pool, DS_L2_POOL_GET, "k9", 3)); /* takes the put before it along */
    gate(false);
    collect(pool, events, 12);
    for (int i = 0; i < 12; i++) {
        ds_free(events[i].data);
    }
    CHECK(strstr(strstr(fake.log, "p:k9:1"), "g:k9:0") != NULL);
    end(pool);
}

DS_TEST(pool__background_puts_are_paced)
{
    struct ds_l2_pool *pool =
        begin((struct ds_l2_pool_config){.threads = 4, .background_rate = 100}, true, false);
    struct ds_l2_event events[4];
    int64_t before = ds_monotonic_ns();

    for (uint64_t v = 1; v <= 4; v++) {
        struct ds_l2_request q = put_of(v % 2 ? "a" : "b", v);

        q.background = true;
        CHECK_OK(ds_l2_pool_submit(pool, &q));
    }
    collect(pool, events, 4); /* 4 bytes each: 40 ms between two, so 120 ms for four */
    CHECK_GE(ds_monotonic_ns() - before, 120 * 1000000);
    end(pool);
}

DS_TEST(pool__puts_of_several_keys_make_a_batch)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 1}, true, true);
    struct ds_l2_event events[20];
    char keys[20][16];

    CHECK_OK(submit(pool, DS_L2_POOL_HEAD, "first", 0));
    await(1);
    for (uint64_t i = 0; i < 19; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%d", (int)i);
        CHECK_OK(submit(pool, i % 3 ? DS_L2_POOL_PUT : DS_L2_POOL_REMOVE, keys[i], i + 1));
    }
    (void)pthread_mutex_lock(&fake.lock);
    fake.shut = false;
    fake.most_waiting = 0;
    (void)pthread_mutex_unlock(&fake.lock);
    collect(pool, events, 20);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(events[i].rc);
        CHECK(events[i].op != DS_L2_POOL_HEAD || events[i].meta.version == 78);
    }
    CHECK_STR(strstr(fake.log, "k17"), "k17:18 d:k18:19 "); /* in order: one thread */
    end(pool);
}

DS_TEST(pool__gets_tell_the_size_or_bring_the_bytes)
{
    struct ds_l2_pool *pool =
        begin((struct ds_l2_pool_config){.threads = 1, .inline_max = 10}, false, false);
    struct ds_l2_event e;
    char room[10];
    struct ds_l2_request q = {.op = DS_L2_POOL_GET, .key = "k", .key_size = 1, .value = {.fd = -1}};

    CHECK_OK(ds_l2_pool_submit(pool, &q));
    collect(pool, &e, 1);
    CHECK_OK(e.rc);
    CHECK_EQ(e.meta.size, 10);
    CHECK_MEM(e.data, "0123456789", 10);
    ds_free(e.data);

    q.value.memory = room;
    q.meta.size = 9; /* room for another size */
    CHECK_OK(ds_l2_pool_submit(pool, &q));
    collect(pool, &e, 1);
    CHECK_EQ(e.rc, DS_ERANGE);
    CHECK_EQ(e.meta.size, 10);
    q.meta.size = e.meta.size;
    CHECK_OK(ds_l2_pool_submit(pool, &q));
    collect(pool, &e, 1);
    CHECK_OK(e.rc);
    CHECK(e.data == NULL);
    CHECK_MEM(room, "0123456789", 10);
    q.op = DS_L2_POOL_GC;
    CHECK_OK(ds_l2_pool_submit(pool, &q));
    collect(pool, &e, 1);
    CHECK_EQ(e.gc.objects, 5);
    end(pool);

    pool = begin((struct ds_l2_pool_config){.threads = 1, .inline_max = 9}, false, false);
    q = (struct ds_l2_request){
        .op = DS_L2_POOL_GET, .key = "k", .key_size = 1, .value = {.fd = -1}};
    CHECK_OK(ds_l2_pool_submit(pool, &q));
    collect(pool, &e, 1);
    CHECK_EQ(e.rc, DS_ERANGE);
    CHECK_EQ(e.meta.size, 10);
    end(pool);
}

DS_TEST(pool__errors_come_with_their_text)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 1}, false, false);
    struct ds_l2_event e;
    struct ds_l2_pool_stats stats;
    struct ds_l2_request q = put_of("k", 1);

    fake.rc = DS_EDENIED;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "k", 1));
    collect(pool, &e, 1);
    CHECK_EQ(e.rc, DS_EDENIED);
    CHECK_STR(e.err, "no");
    ds_l2_pool_stats(pool, &stats);
    CHECK_EQ(stats.ops[DS_L2_POOL_PUT].errors, 1);
    CHECK_EQ(stats.ops[DS_L2_POOL_PUT].bytes, 0);
    q.key_size = DS_L2_KEY_MAX + 1;
    CHECK_EQ(ds_l2_pool_submit(pool, &q), DS_EINVAL);
    q.key_size = 0;
    CHECK_EQ(ds_l2_pool_submit(pool, &q), DS_EINVAL);
    end(pool);
}

DS_TEST(pool__deadlines_hold_in_the_queue_and_while_running)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 1}, false, true);
    struct ds_l2_event events[2];
    struct ds_l2_request q = put_of("a", 1);

    q.deadline_ns = ds_monotonic_ns() + 30 * 1000000;
    CHECK_OK(ds_l2_pool_submit(pool, &q)); /* stands at the gate until its deadline */
    q = put_of("b", 2);
    q.deadline_ns = 1;
    CHECK_OK(ds_l2_pool_submit(pool, &q));
    collect(pool, events, 2);
    CHECK_EQ(events[0].rc, DS_ETIMEOUT);
    CHECK_EQ(events[1].rc, DS_ETIMEOUT);
    CHECK(strstr(fake.log, "p:b") == NULL); /* never begun */
    end(pool);
}

DS_TEST(pool__stop_drains)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 2}, false, false);
    struct ds_l2_event events[51];

    for (uint64_t v = 1; v <= 50; v++) {
        CHECK_OK(submit(pool, DS_L2_POOL_PUT, v % 2 ? "a" : "b", v));
    }
    ds_l2_pool_stop(pool, INT64_MAX);
    CHECK_EQ(submit(pool, DS_L2_POOL_PUT, "c", 1), DS_ESHUTDOWN);
    CHECK_EQ(ds_l2_pool_poll(pool, events, 51), 50);
    for (int i = 0; i < 50; i++) {
        CHECK_OK(events[i].rc);
    }
    end(pool);
}

DS_TEST(pool__stop_ends_at_its_deadline)
{
    struct ds_l2_pool *pool =
        begin((struct ds_l2_pool_config){.threads = 2, .background_rate = 1}, false, true);
    struct ds_l2_event events[5];
    struct ds_l2_request q;

    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 2));
    for (uint64_t v = 3; v <= 5; v++) { /* paced: 4 s each */
        q = put_of("b", v);
        q.background = true;
        CHECK_OK(ds_l2_pool_submit(pool, &q));
    }
    await(2);
    ds_l2_pool_stop(pool, ds_monotonic_ns() + 20 * 1000000);
    CHECK_EQ(ds_l2_pool_poll(pool, events, 5), 5);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(events[i].rc, DS_ESHUTDOWN);
    }
    end(pool);
}

DS_TEST(pool__close_alone_is_enough)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 2}, false, true);

    CHECK_OK(submit(pool, DS_L2_POOL_GET, "a", 1));
    CHECK_OK(submit(pool, DS_L2_POOL_GET, "b", 1));
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "b", 1));
    end(pool);
    CHECK_EQ(ds_alloc_live(), 0);
    CHECK(ds_l2_pool_close(NULL) == NULL);
}

static enum ds_l2_breaker_state breaker_of(struct ds_l2_pool *pool, uint64_t *ret_rejected)
{
    struct ds_l2_pool_breaker b;

    ds_l2_pool_breaker(pool, &b);
    *ret_rejected = b.refused;
    return b.state;
}

#define HOUR_NS INT64_C(3600000000000)

/* Also those that wait for a thread, at once: the only one stands at the gate. */
DS_TEST(pool__storage_that_does_not_answer_is_not_asked)
{
    struct ds_l2_pool *pool = begin(
        (struct ds_l2_pool_config){.threads = 1, .breaker = {.failures = 2, .first_ns = HOUR_NS}},
        false, true);
    struct ds_l2_event events[4];
    uint64_t rejected;

    fake.rc = DS_EUNAVAILABLE;
    for (uint64_t v = 1; v <= 4; v++) {
        CHECK_OK(submit(pool, DS_L2_POOL_PUT, (const char *[]){"a", "b", "c", "d"}[v - 1], v));
    }
    gate(false);
    collect(pool, events, 4);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(events[i].rc, DS_EUNAVAILABLE);
        CHECK_STR(events[i].err, "no");
    }
    CHECK_STR(fake.log, "p:a:1 p:b:2 ");
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_OPEN);
    CHECK_EQ(rejected, 2);
    CHECK_EQ(submit(pool, DS_L2_POOL_GET, "a", 5), DS_EUNAVAILABLE);
    CHECK_EQ(submit(pool, DS_L2_POOL_REMOVE, "a", 6), DS_EUNAVAILABLE);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_OPEN);
    CHECK_EQ(rejected, 4);
    CHECK_STR(fake.log, "p:a:1 p:b:2 ");
    end(pool);
}

DS_TEST(pool__a_timeout_while_bytes_move_is_no_silence)
{
    struct ds_l2_pool *pool = begin(
        (struct ds_l2_pool_config){.threads = 1, .breaker = {.failures = 1, .first_ns = HOUR_NS}},
        false, false);
    struct ds_l2_event event;
    uint64_t rejected;

    fake.rc = DS_ETIMEOUT;
    fake.lively = true;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    collect(pool, &event, 1);
    CHECK_EQ(event.rc, DS_ETIMEOUT);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_CLOSED);
    fake.lively = false;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 2));
    collect(pool, &event, 1);
    CHECK_EQ(event.rc, DS_ETIMEOUT);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_OPEN);
    end(pool);
}

/* Of a batch as well; what others submit meanwhile fails, and one answer lets all through. */
DS_TEST(pool__a_probe_finds_that_storage_is_back)
{
    struct ds_l2_pool *pool =
        begin((struct ds_l2_pool_config){.threads = 2, .breaker = {.failures = 1, .first_ns = 1}},
              true, false);
    struct ds_l2_event events[4];
    uint64_t rejected;

    fake.rc = DS_ETIMEOUT;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    collect(pool, events, 1);
    gate(true);
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "b", 2)); /* the interval is over: the probe */
    await(1);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_HALF_OPEN);
    CHECK_EQ(submit(pool, DS_L2_POOL_PUT, "c", 3), DS_EUNAVAILABLE);
    fake.rc = 0;
    gate(false);
    collect(pool, events, 1);
    CHECK_OK(events[0].rc);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_CLOSED);
    CHECK_EQ(rejected, 1);
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "c", 4));
    collect(pool, events, 1);
    CHECK_OK(events[0].rc);
    end(pool);
}

/* One that takes hours tells nothing for as long. */
DS_TEST(pool__a_collection_is_no_probe)
{
    struct ds_l2_pool *pool =
        begin((struct ds_l2_pool_config){.threads = 1, .breaker = {.failures = 1, .first_ns = 1}},
              false, false);
    struct ds_l2_request gc = {.op = DS_L2_POOL_GC, .value = {.fd = -1}};
    struct ds_l2_event events[2];

    fake.rc = DS_EIO;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    collect(pool, events, 1);
    CHECK_OK(ds_l2_pool_submit(pool, &gc));
    collect(pool, events, 1);
    CHECK_EQ(events[0].rc, DS_EUNAVAILABLE);
    fake.rc = 0;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 2));
    collect(pool, events, 1);
    CHECK_OK(events[0].rc);
    CHECK_OK(ds_l2_pool_submit(pool, &gc));
    collect(pool, events, 1);
    CHECK_OK(events[0].rc);
    end(pool);
}

/* It is noticed when more is asked for, long before its end; an answer shows that it was slow. */
DS_TEST(pool__a_call_that_stands_still_has_failed)
{
    struct ds_l2_pool *pool = begin(
        (struct ds_l2_pool_config){
            .threads = 3, .stall_ns = 1, .breaker = {.failures = 2, .first_ns = HOUR_NS}},
        false, true);
    struct ds_l2_event events[3];
    uint64_t rejected;

    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    await(1);
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "b", 2)); /* finds the first one */
    await(2);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_CLOSED);
    CHECK_EQ(submit(pool, DS_L2_POOL_PUT, "c", 3), DS_EUNAVAILABLE);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_OPEN);
    gate(false);
    collect(pool, events, 2);
    CHECK_OK(events[0].rc);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_CLOSED);
    end(pool);
}

/* Those that wait are told by whoever finds that out: all threads stand still. */
DS_TEST(pool__nobody_waits_for_a_thread_just_to_be_told)
{
    struct ds_l2_pool *pool = begin(
        (struct ds_l2_pool_config){
            .threads = 2, .stall_ns = 1, .breaker = {.failures = 2, .first_ns = HOUR_NS}},
        false, true);
    struct ds_l2_event events[3];

    fake.lively = true;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "b", 2));
    await(2);
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "c", 3));
    for (int i = 0; i < 2; i++) {
        atomic_store(&fake.calls[i]->moved_ns, 0);
    }
    CHECK_EQ(submit(pool, DS_L2_POOL_PUT, "d", 4), DS_EUNAVAILABLE);
    collect(pool, events, 1);
    CHECK_EQ(events[0].cookie, 3);
    CHECK_EQ(events[0].rc, DS_EUNAVAILABLE);
    gate(false);
    collect(pool, events, 2);
    CHECK_OK(events[0].rc);
    end(pool);
}

/* The end of such a call is no second failure; and where every thread stands still, nobody can find
 * out that storage is back but they. */
DS_TEST(pool__calls_that_stand_still_count_once)
{
    struct ds_l2_pool *pool =
        begin((struct ds_l2_pool_config){.threads = 1, .stall_ns = 1, .breaker = {.failures = 2}},
              false, true);
    struct ds_l2_event events[2];
    uint64_t rejected;

    fake.rc = DS_ETIMEOUT;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    await(1);
    CHECK_EQ(submit(pool, DS_L2_POOL_PUT, "b", 2), DS_EUNAVAILABLE);
    gate(false);
    collect(pool, events, 1);
    CHECK_EQ(events[0].rc, DS_ETIMEOUT);
    CHECK_EQ(breaker_of(pool, &rejected), DS_L2_CLOSED);
    CHECK_EQ(rejected, 1);
    fake.rc = 0;
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "b", 3));
    collect(pool, events, 1);
    CHECK_OK(events[0].rc);
    end(pool);
}

DS_TEST(pool__work_that_no_thread_can_be_had_for_fails)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 2}, false, false);
    struct ds_l2_event e;

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    ds_failpoint_arm("sys.thread=errno:11");
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    collect(pool, &e, 1);
    CHECK_EQ(e.rc, DS_ENOMEM);
    CHECK_STR(e.err, "no thread could be started");
    ds_failpoint_arm(NULL);
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 2));
    collect(pool, &e, 1);
    CHECK_OK(e.rc);
    end(pool);
}

DS_TEST(pool__a_thread_that_cannot_be_had_leaves_the_work_to_others)
{
    struct ds_l2_pool *pool = begin((struct ds_l2_pool_config){.threads = 2}, false, true);
    struct ds_l2_event e[2];

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "a", 1));
    await(1);
    ds_failpoint_arm("sys.thread=errno:11");
    CHECK_OK(submit(pool, DS_L2_POOL_PUT, "b", 2));
    gate(false);
    collect(pool, e, 2);
    CHECK(e[0].rc == 0 && e[1].rc == 0);
    ds_failpoint_arm(NULL);
    end(pool);
}
