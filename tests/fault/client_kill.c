/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_kill.c - forks clients in batches and kills each: at a named point or at a random moment.
 *
 * fault_client_kill KILLS [SEED]
 *
 * DS_FAILPOINTS_LOG tells which points they were. A victim without a point works until it is
 * killed. Victim v of a batch owns the keys "v<v>k<i>". What it began and what was acknowledged
 * stands in memory that it shares with this program. After each batch, when all its sessions are
 * gone, this program checks: each key holds the acknowledged value or one that was begun later;
 * nothing that was never published is visible; references and latches of the dead are free; and the
 * accounts are exact to the byte (live = the blocks of what is there, granted and doomed as before,
 * all four together = the memory).
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "fault.h"
#include "shm/arena.h"
#include "shm/layout.h"

#define BATCH 8u
#define KEYS 8u
#define OPS 96u /* of a victim that waits for its point: enough for almost every one */
#define BIG (96u * 1024)

static const char *const points[] = {
    "client.connected", "client.shaking",   "client.welcomed",       "client.opened",
    "client.closing",   "client.granted",   "client.filled",         "client.before_record",
    "client.posted",    "client.waiting",   "client.before_request", "client.before_tail",
    "client.answered",  "client.requested", "client.pinned",         "client.unpinning",
};
#define POINTS (sizeof(points) / sizeof(points[0]))
#define POINTS_ONCE 5 /* the first ones come once in a life */

/* Operations on a key are numbered. `begun` is raised before the call; `acked`, after it, names the
 * last one that is known to have made the state. */
#define HISTORY 64u
struct key_oracle {
    _Atomic uint64_t begun;
    _Atomic uint64_t acked;
    uint32_t size[HISTORY]; /* that operation n sets; 0: a delete */
};

struct shared {
    struct key_oracle key[BATCH][KEYS];
    _Atomic uint64_t violations;
    _Atomic uint64_t ops;
};

static struct shared *shared;

static void key_name(char *to, size_t size, unsigned victim, unsigned i)
{
    (void)snprintf(to, size, "v%uk%u%s", victim, i,
                   i % 2 == 0 ? "" : "-with-a-name-that-does-not-fit-into-a-descriptor");
}

static uint64_t begin_op(struct key_oracle *o, uint32_t size)
{
    uint64_t n = atomic_load(&o->begun) + 1;

    o->size[n % HISTORY] = size;
    atomic_store(&o->begun, n);
    return n;
}

static void expect(int rc, const char *what, const char *key)
{
    atomic_fetch_add(&shared->ops, 1);
    if (rc < 0) {
        violation(&shared->violations, "%s of %s failed: %s", what, key, ds_error_name(rc));
    }
}

static void do_set(struct ds_client *c, unsigned v, unsigned i, uint64_t *rng, uint8_t *buf)
{
    struct key_oracle *o = &shared->key[v][i];
    struct ds_set_options options = {.only_if_absent = random_below(rng, 4) == 0};
    size_t size = VALUE_MIN + random_below(rng, random_below(rng, 8) == 0 ? BIG : 2048);
    uint64_t n = begin_op(o, (uint32_t)size);
    bool present = o->size[atomic_load(&o->acked) % HISTORY] != 0;
    int rc;
    char key[80];

    key_name(key, sizeof(key), v, i);
    value_fill(buf, size, key, v, n);
    if (random_below(rng, 3) == 0) {
        struct ds_buffer *b = NULL;

        rc = ds_kv_create(c, key, strlen(key), size, NULL, &b);
        if (rc == 0) {
            (void)!ds_buffer_write(b, buf, size);
            rc = ds_kv_publish(c, &b, 1, NULL);
        }
        expect(rc, "publish", key);
        ds_buffer_free(b);
    } else {
        rc = ds_kv_set(c, key, strlen(key), buf, size, &options);
        expect(rc, "set", key);
        if (options.only_if_absent && rc >= 0 && (rc == DS_UNCHANGED) != present) {
            violation(&shared->violations, "set if absent of %s: %d, present %d", key, rc, present);
        }
    }
    if (rc == 0) {
        atomic_store(&o->acked, n);
    }
}

static void do_delete(struct ds_client *c, unsigned v, unsigned i)
{
    struct key_oracle *o = &shared->key[v][i];
    uint64_t n = begin_op(o, 0);
    char key[80];
    struct ds_bytes k;
    int rc;

    key_name(key, sizeof(key), v, i);
    k = bytes_of(key);
    rc = ds_kv_delete(c, &k, 1, NULL);
    expect(rc == DS_ENOTFOUND ? 0 : rc, "delete", key);
    atomic_store(&o->acked, n);
}

/* Filled, never published: nobody may ever see it. One stays open. */
static void do_unpublished(struct ds_client *c, unsigned v, uint64_t *rng, uint8_t *buf,
                           struct ds_buffer **open)
{
    size_t size = VALUE_MIN + random_below(rng, BIG);
    char key[32];

    (void)snprintf(key, sizeof(key), "never%u", v);
    value_fill(buf, size, key, v, 1);
    ds_buffer_free(*open);
    *open = NULL;
    expect(ds_kv_create(c, key, strlen(key), size, NULL, open), "create", key);
    (void)!ds_buffer_write(*open, buf, size);
}

static void do_holds(struct ds_client *c, uint64_t *rng)
{
    struct ds_bytes k = bytes_of("lock");
    struct ds_buffer *b = NULL;
    int rc;

    if (random_below(rng, 2) == 0) {
        k = bytes_of("referenced");
        expect(ds_object_ref(c, &k, 1, NULL), "ref", "referenced");
        return;
    }
    expect(ds_object_get(c, &k, 1, 0, &b, NULL), "get", "lock");
    if (b != NULL) {
        rc = ds_buffer_latch_write(b, 20);
        expect(rc == DS_ETIMEOUT ? 0 : rc, "latch", "lock");
        ds_buffer_free(b);
    }
}

static void do_read(struct ds_client *c, unsigned v, unsigned i, struct ds_view *held)
{
    struct ds_view view;
    uint64_t writer;
    uint64_t seq;
    char key[80];
    int rc;

    key_name(key, sizeof(key), v, i);
    rc = ds_kv_get(c, key, strlen(key), 0, &view);
    expect(rc == DS_ENOTFOUND ? 0 : rc, "get", key);
    if (rc == 0) {
        const char *wrong = value_check(view.data, view.size, key, &writer, &seq);

        if (wrong != NULL) {
            violation(&shared->violations, "value of %s is %s", key, wrong);
        }
        ds_view_release(held);
        *held = view;
    }
}

__attribute__((noreturn)) static void victim(unsigned v, uint64_t seed, const char *arm)
{
    static uint8_t buf[BIG + VALUE_MIN];
    struct ds_view held = {0};
    struct ds_buffer *open = NULL;
    struct ds_client *c;
    uint64_t rng = seed;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (arm != NULL) {
#ifdef DS_FAILPOINTS
        ds_failpoint_arm(arm);
#endif
    }
    c = must_open(9000);
    for (unsigned n = 0; arm == NULL || n < OPS; n++) {
        unsigned other = (unsigned)random_below(&rng, BATCH);
        unsigned i = (unsigned)random_below(&rng, KEYS);

        switch (random_below(&rng, 8)) {
        case 0:
        case 1:
        case 2:
            do_set(c, v, i, &rng, buf);
            break;
        case 3:
            do_delete(c, v, i);
            break;
        case 4:
            do_unpublished(c, v, &rng, buf, &open);
            break;
        case 5:
            do_holds(c, &rng);
            break;
        default:
            do_read(c, other, i, &held);
        }
    }
    ds_view_release(&held); /* a session with pins is not closed */
    ds_buffer_free(open);
    ds_client_close(c);
    _exit(0); /* its point did not come */
}

static bool may_be_absent(const struct key_oracle *o)
{
    uint64_t begun = atomic_load(&o->begun);

    for (uint64_t n = atomic_load(&o->acked); n <= begun; n++) {
        if (o->size[n % HISTORY] == 0) {
            return true;
        }
    }
    return false;
}

static void check_value(const struct key_oracle *o, const struct ds_view *view, const char *key,
                        unsigned v, uint64_t *ret_seq)
{
    uint64_t writer = 0;
    const char *wrong = value_check(view->data, view->size, key, &writer, ret_seq);

    if (wrong != NULL) {
        violation(&shared->violations, "after a kill %s is %s", key, wrong);
    } else if (writer != v || *ret_seq > atomic_load(&o->begun) ||
               o->size[*ret_seq % HISTORY] != view->size) {
        violation(&shared->violations, "%s holds %lu of %lu, begun %lu", key,
                  (unsigned long)*ret_seq, (unsigned long)writer,
                  (unsigned long)atomic_load(&o->begun));
    } else if (*ret_seq < atomic_load(&o->acked)) {
        violation(&shared->violations, "%s went back to %lu, acknowledged %lu", key,
                  (unsigned long)*ret_seq, (unsigned long)atomic_load(&o->acked));
    }
}

/* A key holds the state after `acked`, or after an operation begun later. Returns the block that it
 * takes. What there is now is what counts for the next batch: nobody is at work. */
static uint64_t check_key(struct ds_client *c, unsigned v, unsigned i)
{
    struct key_oracle *o = &shared->key[v][i];
    uint64_t block = 0;
    uint64_t seq = 0;
    struct ds_view view;
    char key[80];
    int rc;

    key_name(key, sizeof(key), v, i);
    rc = ds_kv_get(c, key, strlen(key), 0, &view);
    if (rc == 0) {
        check_value(o, &view, key, v, &seq);
        block = ds_arena_capacity(DS_BLOCK_UNIT, view.size);
        ds_view_release(&view);
        atomic_store(&o->begun, seq);
    } else if (rc != DS_ENOTFOUND) {
        violation(&shared->violations, "get of %s: %s", key, ds_error_name(rc));
    } else {
        if (!may_be_absent(o)) {
            violation(&shared->violations, "%s is lost: %lu was acknowledged", key,
                      (unsigned long)atomic_load(&o->acked));
        }
        o->size[atomic_load(&o->begun) % HISTORY] = 0;
    }
    atomic_store(&o->acked, atomic_load(&o->begun));
    return block;
}

static uint64_t check_keys(struct ds_client *c)
{
    uint64_t blocks = 0;

    for (unsigned v = 0; v < BATCH; v++) {
        char never[32];
        struct ds_bytes k;
        bool there = false;

        (void)snprintf(never, sizeof(never), "never%u", v);
        k = bytes_of(never);
        if (ds_kv_exist(c, &k, 1, &there) != 0 || there) {
            violation(&shared->violations, "%s is visible", never);
        }
        for (unsigned i = 0; i < KEYS; i++) {
            blocks += check_key(c, v, i);
        }
    }
    return blocks;
}

static void check_holds(struct ds_client *c)
{
    struct ds_bytes k = bytes_of("lock");
    struct ds_buffer *b = NULL;
    uint64_t refs = 1;

    if (ds_object_ref_count(c, "referenced", 10, &refs) != 0 || refs != 0) {
        violation(&shared->violations, "%lu references of dead clients", (unsigned long)refs);
    }
    if (ds_object_get(c, &k, 1, 0, &b, NULL) != 0 || ds_buffer_latch_write(b, 1000) != 0) {
        violation(&shared->violations, "a dead client's latch is held");
    }
    ds_buffer_free(b);
}

static void check_accounts(struct ds_client *c, const struct ds_worker_stats *base)
{
    struct ds_worker_stats st;
    uint64_t blocks;

    if (!settle_stats(c, base->sessions, &st)) {
        violation(&shared->violations, "%lu sessions are left, %lu before; %lu bytes doomed",
                  (unsigned long)st.sessions, (unsigned long)base->sessions,
                  (unsigned long)st.memory_doomed);
    }
    blocks = check_keys(c) + base->memory_live;
    check_holds(c);
    st = must_stats(c);
    if (st.memory_granted != base->memory_granted) {
        violation(&shared->violations, "%lu bytes granted, %lu before",
                  (unsigned long)st.memory_granted, (unsigned long)base->memory_granted);
    }
    if (st.memory_live != blocks) {
        violation(&shared->violations, "%lu bytes live, but %lu in the objects",
                  (unsigned long)st.memory_live, (unsigned long)blocks);
    }
    if (st.memory_live + st.memory_granted + st.memory_doomed + st.memory_free != st.memory_size) {
        violation(&shared->violations, "the sums do not make the memory");
    }
    if (st.restarts != base->restarts || st.worker_pid != base->worker_pid) {
        fatal("the worker did not survive");
    }
}

struct job {
    pid_t pid;
    int point; /* -1: a random moment */
};

static struct job start_victim(unsigned v, uint64_t *rng)
{
    struct job j = {.point = random_below(rng, 3) == 0 ? -1 : (int)random_below(rng, POINTS)};
    uint64_t seed = random_next(rng);
    char arm[80];

    if (j.point >= 0) {
        (void)snprintf(arm, sizeof(arm), "%s=kill@%lu", points[j.point],
                       (unsigned long)(1 + random_below(rng, j.point < POINTS_ONCE ? 1 : 12)));
    }
    j.pid = fork();
    if (j.pid == 0) {
        victim(v, seed, j.point >= 0 ? arm : NULL);
    }
    if (j.pid < 0) {
        fatal("fork failed");
    }
    return j;
}

/* Returns how many of them were killed: the others had an end of their own. */
static unsigned run_batch(uint64_t *rng)
{
    struct job job[BATCH];
    unsigned moment = (unsigned)random_below(rng, 20000);
    unsigned killed = 0;

    for (unsigned v = 0; v < BATCH; v++) {
        job[v] = start_victim(v, rng);
    }
    for (unsigned v = 0; v < BATCH; v++) {
        int64_t started = now_ns();
        bool at_point = job[v].point >= 0;
        int status = kill_after(job[v].pid, at_point ? 10000000 : moment);
        bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;

        if (at_point && now_ns() - started > INT64_C(9900000000)) {
            violation(&shared->violations, "a victim hung (%s)", points[job[v].point]);
        } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
            killed++;
        } else if (!at_point || !ended) {
            violation(&shared->violations, "a victim ended with status %x", (unsigned)status);
        }
    }
    return killed;
}

static void delete_keys(struct ds_client *c)
{
    for (unsigned v = 0; v < BATCH; v++) {
        for (unsigned i = 0; i < KEYS; i++) {
            char key[80];
            struct ds_bytes k;

            key_name(key, sizeof(key), v, i);
            k = bytes_of(key);
            (void)!ds_kv_delete(c, &k, 1, NULL);
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t kills = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    uint64_t rng = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)now_ns();
    struct ds_client *c = must_open(9000);
    struct ds_worker_stats base;
    uint64_t done = 0;

    (void)printf("seed %lu\n", (unsigned long)rng);
    shared = shared_memory(sizeof(*shared));
    if (ds_object_put(c, "lock", 4, "lock", 4, NULL, NULL, 0) != 0) {
        fatal("no lock object");
    }
    delete_keys(c); /* of an earlier run */
    base = must_stats(c);
    (void)fflush(stdout);
    while (done < kills && atomic_load(&shared->violations) == 0) {
        done += run_batch(&rng);
        check_accounts(c, &base);
    }
    delete_keys(c);
    for (size_t i = 0; i < POINTS; i++) {
        (void)printf("point %s\n", points[i]);
    }
    ds_client_close(c);
    (void)printf("kills %lu ops %lu violations %lu\n", (unsigned long)done,
                 (unsigned long)atomic_load(&shared->ops),
                 (unsigned long)atomic_load(&shared->violations));
    return atomic_load(&shared->violations) == 0 ? 0 : 1;
}
