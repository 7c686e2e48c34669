/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_again.c - requests whose worker is killed between the change and its done mark, and requests
 * that nobody waits for any more.
 */
#include <signal.h>
#include <sys/wait.h>

#include "base/failpoint.h"
#include "driver.h"

/* What was posted is executed by a worker that is killed at a failpoint; the next one takes over.
 */
static void killed_at(struct world *w, const char *spec)
{
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        ds_failpoint_arm(spec);
        for (int i = 0; i < 10; i++) {
            (void)pass(w);
        }
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    world_restart(w);
}

/* Before it is marked done; the next worker answers. */
static void executed_by_a_killed_worker(struct world *w)
{
    killed_at(w, "request.before_done=kill;request.item=kill");
}

static void count(void *arg)
{
    ++*(unsigned *)arg;
}

DS_TEST(again__recovery_tells_of_its_progress)
{
    struct world w;
    unsigned told = 0;

    world_make(&w, 4 * MIB);
    w.config.progress = count;
    w.config.progress_arg = &told;
    world_start(&w);
    (void)set(&w, peer_open(&w, 0), "k", 100);
    CHECK_EQ(told, 0);
    world_restart(&w);
    CHECK_LE(1, told);
    world_end(&w);
}

#ifdef DS_FAILPOINTS
static const char *const keys_kept[] = {"a", "a-key-that-does-not-fit-into-a-descriptor"};

/* Recovers in a process of its own, where the n-th request for memory fails. Its result, or 1 when
 * it has lost an object. */
static int recover_without(struct world *w, const char *point, unsigned n)
{
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        char spec[48];
        int rc;

        world_attach(w);
        CHECK_OK(world_adopt(w, &w->peer[0]));
        (void)snprintf(spec, sizeof(spec), "%s=errno:12@%u", point, n);
        ds_failpoint_arm(spec);
        rc = ds_store_recover(w->s, &w->now);
        ds_failpoint_arm(NULL);
        for (unsigned i = 0; rc == 0 && i < DS_ARRAY_SIZE(keys_kept); i++) {
            rc = ds_store_find_any(w->s, (const uint8_t *)keys_kept[i],
                                   (uint32_t)strlen(keys_kept[i])) == DS_ID_NONE;
        }
        _exit(rc == DS_ENOMEM ? 2 : rc != 0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

DS_TEST(again__recovery_without_memory_fails_and_loses_nothing)
{
    static const char *const points[] = {"sys.map_private", "alloc", "sys.reserve"};
    struct world w;
    unsigned failed = 0;

    world_make(&w, 4 * MIB);
    world_start(&w);
    (void)peer_open(&w, 0);
    for (unsigned i = 0; i < DS_ARRAY_SIZE(keys_kept); i++) {
        (void)set(&w, &w.peer[0], keys_kept[i], 100);
    }
    for (unsigned p = 0; p < DS_ARRAY_SIZE(points); p++) {
        for (unsigned n = 1; n < 20; n++) {
            int rc = recover_without(&w, points[p], n);

            CHECK(rc != 1);
            failed += rc != 0;
        }
    }
    CHECK_LE(2, failed);
    world_restart(&w);
    world_end(&w);
}
#endif

struct named {
    uint32_t id;
    uint64_t gen;
};

static struct named put(struct world *w, struct peer *p, const char *key)
{
    struct lent g;

    CHECK_OK(grant(w, p, 100, &g));
    value_fill(w, g.offset, 100, 100);
    req_begin(p, 0, DS_OP_PUT, 0);
    req_add(p, 0, (struct ds_request_item){.id = g.id, .value_size = 100, .kind = DS_KIND_OBJECT},
            key);
    req_post(p, 0);
    req_wait(w, p, 0);
    CHECK_OK(req_result(p, 0, 0)->status);
    return (struct named){req_result(p, 0, 0)->id, req_result(p, 0, 0)->value};
}

static void name_post(struct peer *p, unsigned slot, enum ds_op op, struct named o, int64_t ms)
{
    req_begin(p, slot, op, 0);
    p->slot[slot].header.timeout_ms = ms;
    req_add(p, slot, (struct ds_request_item){.id = o.id, .value_size = o.gen}, NULL);
    req_post(p, slot);
}

static void cancel_post(struct peer *p, unsigned slot)
{
    req_begin(p, slot, DS_OP_CANCEL, 0);
    p->slot[slot].header.value2 = p->posted[slot];
    req_post(p, slot);
}

DS_TEST(again__a_seal_is_answered_as_done)
{
    struct world w;
    struct peer *p;
    struct named o;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    o = put(&w, p, "o");
    name_post(p, 1, DS_OP_SEAL, o, 0);
    executed_by_a_killed_worker(&w);
    req_wait(&w, p, 1);
    CHECK_OK(req_result(p, 1, 0)->status);
    CHECK_EQ(ask_id(&w, p, 1, DS_OP_SEAL, o.id, o.gen), DS_ESEALED);
    world_end(&w);
}

DS_TEST(again__a_nested_key_stands_once)
{
    struct world w;
    struct peer *p;
    struct named o;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    o = put(&w, p, "parent");
    req_begin(p, 1, DS_OP_NEST, o.id);
    p->slot[1].header.value2 = o.gen;
    req_key(p, 1, "child");
    req_key(p, 1, "another child with a name that does not fit into a descriptor");
    req_post(p, 1);
    executed_by_a_killed_worker(&w);
    req_wait(&w, p, 1);
    CHECK_OK(req_result(p, 1, 0)->status);
    CHECK_OK(req_result(p, 1, 1)->status);
    CHECK_EQ(w.s->nest_child.n, 2);
    CHECK_OK(ask(&w, p, DS_OP_DELETE, "parent", 0));
    CHECK_EQ(w.s->nest_child.n, 0);
    world_end(&w);
}

DS_TEST(again__a_delete_takes_only_what_was_there_at_first)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    struct lent g;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    (void)set(&w, a, "k", 100);
    (void)set(&w, a, "k2", 100);
    CHECK_OK(grant(&w, b, 200, &g));
    value_fill(&w, g.offset, 200, 200);
    req_begin(a, 1, DS_OP_DELETE, 0);
    req_key(a, 1, "k");
    req_key(a, 1, "k2");
    req_post(a, 1);
    executed_by_a_killed_worker(&w);
    /* Sees that it is gone, and sets it anew: that one stays. */
    (void)ring_post(b, DS_RING_SET,
                    &(struct post){.key = "k", .grant = g, .size = 200, .ticket = w.now.ticks});
    req_wait(&w, a, 1);
    settle(&w);
    CHECK_OK(req_result(a, 1, 0)->status);
    CHECK_OK(req_result(a, 1, 1)->status);
    CHECK_EQ(hit(&w, b, "k"), 200);
    CHECK_EQ(hit(&w, b, "k2"), 0);
    world_end(&w);
}

DS_TEST(again__the_last_reference_is_given_back_once)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    (void)set(&w, p, "k", 100);
    CHECK_OK(ask(&w, p, DS_OP_REF, "k", 0));
    req_begin(p, 1, DS_OP_UNREF, 0);
    req_key(p, 1, "k");
    req_post(p, 1);
    executed_by_a_killed_worker(&w);
    req_wait(&w, p, 1);
    CHECK_OK(req_result(p, 1, 0)->status);
    CHECK_EQ(hit(&w, p, "k"), 0);
    world_end(&w);
}

DS_TEST(again__a_latch_is_held_once_and_given_back_once)
{
    static const enum ds_op ops[][2] = {{DS_OP_LATCH_READ, DS_OP_UNLATCH_READ},
                                        {DS_OP_LATCH_WRITE, DS_OP_UNLATCH_WRITE}};
    struct world w;
    struct peer *p;
    struct named o;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    o = put(&w, p, "o");
    for (size_t i = 0; i < DS_ARRAY_SIZE(ops); i++) {
        name_post(p, 1, ops[i][0], o, 100);
        executed_by_a_killed_worker(&w);
        req_wait(&w, p, 1);
        CHECK_OK(req_result(p, 1, 0)->status);
        CHECK_EQ(w.s->latches.n, 1);
        name_post(p, 1, ops[i][1], o, 0);
        executed_by_a_killed_worker(&w);
        req_wait(&w, p, 1);
        CHECK_OK(req_result(p, 1, 0)->status);
        CHECK_EQ(w.s->latches.n, 0);
    }
    world_end(&w);
}

DS_TEST(cancel__takes_back_a_latch_that_came_late)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    struct named o;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    o = put(&w, a, "o");
    name_post(a, 1, DS_OP_LATCH_WRITE, o, 10);
    req_wait(&w, a, 1); /* answered, but its caller has just gone */
    CHECK_EQ(w.s->latches.n, 1);
    cancel_post(a, 1);
    req_wait(&w, a, 1);
    CHECK_EQ(w.s->latches.n, 0);
    CHECK_OK(ask_id(&w, b, 0, DS_OP_LATCH_WRITE, o.id, o.gen));
    world_end(&w);
}

DS_TEST(cancel__ends_the_wait_for_a_latch)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    struct named o;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    o = put(&w, a, "o");
    CHECK_OK(ask_id(&w, a, 0, DS_OP_LATCH_READ, o.id, o.gen));
    name_post(b, 1, DS_OP_LATCH_WRITE, o, 60000);
    settle(&w);
    CHECK(!req_done(b, 1));
    cancel_post(b, 1);
    req_wait(&w, b, 1);
    CHECK_OK(ask_id(&w, a, 0, DS_OP_UNLATCH_READ, o.id, o.gen));
    settle(&w);
    CHECK_EQ(w.s->latches.n, 0);
    world_end(&w);
}

DS_TEST(cancel__keeps_the_latches_of_other_requests)
{
    struct world w;
    struct peer *p;
    struct named o;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    o = put(&w, p, "o");
    CHECK_OK(ask_id(&w, p, 1, DS_OP_LATCH_READ, o.id, o.gen));
    name_post(p, 1, DS_OP_LATCH_READ, o, 10);
    cancel_post(p, 1); /* before the worker has seen anything of it */
    name_post(p, 2, DS_OP_LATCH_READ, o, 10);
    req_wait(&w, p, 1);
    req_wait(&w, p, 2);
    CHECK_EQ(w.s->latches.n, 2);
    world_end(&w);
}

static void grants_post(struct peer *p, unsigned slot, uint16_t n)
{
    req_begin(p, slot, DS_OP_GRANT, 4096);
    p->slot[slot].header.n = n;
    req_post(p, slot);
}

DS_TEST(cancel__takes_back_blocks_that_came_late)
{
    struct world w;
    struct peer *p;
    struct lent kept;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    CHECK_OK(grant(&w, p, 4096, &kept));
    grants_post(p, 1, 20);
    req_wait(&w, p, 1);
    CHECK_EQ(world_stats(&w).memory_granted, 21 * 4096);
    cancel_post(p, 1);
    req_wait(&w, p, 1);
    CHECK_EQ(world_stats(&w).memory_granted, 4096);
    world_end(&w);
}

DS_TEST(cancel__takes_back_blocks_that_a_killed_worker_gave)
{
    struct world w;
    struct peer *p;

    world_init(&w, 4 * MIB);
    p = peer_open(&w, 0);
    grants_post(p, 1, 20);
    executed_by_a_killed_worker(&w);
    cancel_post(p, 1);
    req_wait(&w, p, 1);
    CHECK_EQ(world_stats(&w).memory_granted, 0);
    world_end(&w);
}

/* The publish that was cut short has left its own origin in the grant. */
DS_TEST(again__an_insert_that_came_too_late_gives_its_block_back)
{
    struct world w;
    struct peer *a;
    struct peer *b;
    struct lent g;

    world_init(&w, 4 * MIB);
    a = peer_open(&w, 0);
    b = peer_open(&w, 1);
    CHECK_OK(grant(&w, a, 600, &g));
    value_fill(&w, g.offset, 600, 600);
    req_begin(a, 1, DS_OP_SET_ABSENT, 0);
    req_add(a, 1,
            (struct ds_request_item){
                .id = g.id, .value_size = 600, .grant_origin = w.s->record[g.id].origin},
            "k");
    req_post(a, 1);
    killed_at(&w, "publish.filled=kill");
    CHECK_EQ(world_stats(&w).memory_granted, 640);
    (void)set_post(&w, b, (struct post){.key = "k", .size = 100});
    killed_at(&w, "request.marked=kill");
    req_wait(&w, a, 1);
    CHECK_EQ(req_result(a, 1, 0)->status, DS_UNCHANGED);
    settle(&w);
    CHECK_EQ(hit(&w, b, "k"), 100);
    CHECK_EQ(world_stats(&w).memory_granted, 0);
    world_end(&w);
}
