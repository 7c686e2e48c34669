/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - client processes that use everything while somebody kills the worker, the keeper, or
 * upgrades; with an oracle outside of all of them.
 *
 * fault_load CLIENTS LIMIT_MS [slow]   until standard input ends; then checks everything, deletes
 *                                      it, and checks the accounts.
 *
 * Each client writes only its own keys, so that its operations on a key are one sequence. The
 * oracle (memory shared by all) knows for each key the last operation acknowledged and the last
 * one begun; whoever reads must see a state from between. No call may fail, none take longer than
 * LIMIT_MS; with `slow` such calls are only told: "SLOW <what> <from> <until>", in ns of
 * CLOCK_MONOTONIC, for whoever knows when the kills were.
 *
 * A line on standard input asks when all clients have gone on: each has finished the call that it
 * was in, and after it one that the worker answered. The answer is "settled <ms>", or a violation
 * after SETTLE_MAX_MS.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "shm/arena.h"
#include "shm/layout.h"

#define CLIENTS_MAX 8u
#define KEYS 32u
#define VIEWS 12u
#define LOCKS 2u
#define LATCH_MS 3000
#define BATCH 8u
#define BIG (256u * 1024)
#define HISTORY 256u
#define SLOW_MAX 200u /* lines: a pipe that nobody reads meanwhile holds them */
#define SETTLE_MAX_MS 15000

struct key_oracle {
    _Atomic uint64_t begun;
    _Atomic uint64_t acked;
    _Atomic uint32_t size[HISTORY]; /* of operation n; 0: a delete */
};

struct shared {
    struct key_oracle key[CLIENTS_MAX][KEYS];
    _Atomic uint64_t fed[CLIENTS_MAX]; /* messages published for this client */
    _Atomic uint64_t locked[LOCKS];    /* times that the latch was held */
    _Atomic uint64_t violations;
    _Atomic uint64_t ops;
    _Atomic uint64_t longest_ns;
    _Atomic uint64_t waited;                /* waiting gets that were answered */
    _Atomic uint64_t answered[CLIENTS_MAX]; /* calls that only the worker can answer */
    _Atomic uint64_t slow_ns;               /* calls beyond are told; 0: none */
    _Atomic unsigned slow;
    _Atomic bool stop;
};

struct held {
    struct ds_view view;
    char key[80];
    uint64_t seq;
};

struct me {
    struct ds_client *client;
    unsigned number;
    unsigned clients;
    uint64_t rng;
    uint64_t refs;
    uint64_t taken; /* messages read from the own mailbox */
    struct held held[VIEWS];
    uint8_t buf[BATCH][BIG];
};

static struct shared *shared;

static void key_name(char *to, size_t size, unsigned who, unsigned i)
{
    (void)snprintf(to, size, "w%uk%u%s", who, i,
                   i % 2 == 0 ? "" : "-with-a-name-that-does-not-fit-into-a-descriptor");
}

/* Notes how long a call took and whether it failed. `may_wait_ms`: that it was asked to wait. */
static void took(const char *what, const char *key, int rc, int64_t since_ns, int64_t may_wait_ms)
{
    uint64_t ns = (uint64_t)(now_ns() - since_ns - may_wait_ms * 1000000);
    uint64_t longest = atomic_load(&shared->longest_ns);

    atomic_fetch_add(&shared->ops, 1);
    while ((int64_t)ns > 0 && ns > longest &&
           !atomic_compare_exchange_weak(&shared->longest_ns, &longest, ns)) {
    }
    if ((int64_t)ns > 0 && shared->slow_ns != 0 && ns > shared->slow_ns &&
        atomic_fetch_add(&shared->slow, 1) < SLOW_MAX) {
        char line[120];
        int n = snprintf(line, sizeof(line), "SLOW %s|%ld|%ld\n", what,
                         (long)(since_ns + may_wait_ms * 1000000), (long)now_ns());

        (void)!write(1, line, (size_t)n);
    }
    if (rc < 0) {
        violation(&shared->violations, "%s of %s failed: %s after %ld ms", what, key,
                  ds_error_name(rc), (long)((now_ns() - since_ns) / 1000000));
    }
}

static uint64_t begin_op(struct key_oracle *o, size_t size)
{
    uint64_t n = atomic_load(&o->begun) + 1;

    atomic_store(&o->size[n % HISTORY], (uint32_t)size);
    atomic_store(&o->begun, n);
    return n;
}

static bool is_present(const struct key_oracle *o)
{
    return atomic_load(&o->size[atomic_load(&o->acked) % HISTORY]) != 0;
}

static size_t some_size(struct me *me)
{
    uint64_t r = random_below(&me->rng, 32);

    return VALUE_MIN + random_below(&me->rng, r == 0 ? BIG - VALUE_MIN : r < 8 ? 16384 : 1024);
}

/* --- writing the own keys --- */

static void do_set(struct me *me, unsigned i, bool if_absent)
{
    struct key_oracle *o = &shared->key[me->number][i];
    struct ds_set_options options = {.only_if_absent = if_absent};
    bool present = is_present(o);
    size_t size = some_size(me);
    uint64_t n = begin_op(o, size);
    int64_t since = now_ns();
    char key[80];
    int rc;

    key_name(key, sizeof(key), me->number, i);
    value_fill(me->buf[0], size, key, me->number, n);
    since = now_ns();
    rc = ds_kv_set(me->client, key, strlen(key), me->buf[0], size, &options);
    took(if_absent ? "set if absent" : "set", key, rc, since, 0);
    if (if_absent && rc >= 0 && (rc == DS_UNCHANGED) != present) {
        violation(&shared->violations, "set if absent of %s said %s, but it was %s", key,
                  rc == 0 ? "written" : "unchanged", present ? "there" : "absent");
    }
    if (rc == 0) {
        atomic_store(&o->acked, n);
    }
}

static void do_publish(struct me *me, unsigned i)
{
    struct key_oracle *o = &shared->key[me->number][i];
    size_t size = some_size(me);
    uint64_t n = begin_op(o, size);
    struct ds_buffer *b = NULL;
    int64_t since = now_ns();
    char key[80];
    int rc;

    key_name(key, sizeof(key), me->number, i);
    rc = ds_kv_create(me->client, key, strlen(key), size, NULL, &b);
    took("create", key, rc, since, 0);
    if (rc != 0) {
        return;
    }
    value_fill(ds_buffer_mutable_data(b), size, key, me->number, n);
    if (random_below(&me->rng, 8) == 0) {
        ds_buffer_free(b); /* never published */
        return;
    }
    since = now_ns();
    rc = ds_kv_publish(me->client, &b, 1, NULL);
    took("publish", key, rc, since, 0);
    if (rc == 0) {
        const char *wrong;
        uint64_t writer;
        uint64_t seq = 0;

        atomic_store(&o->acked, n);
        wrong = value_check(ds_buffer_data(b), size, key, &writer, &seq);
        if (wrong != NULL || seq != n) {
            violation(&shared->violations, "the published buffer of %s is %s", key,
                      wrong != NULL ? wrong : "another one");
        }
    }
    ds_buffer_free(b);
}

static void do_delete(struct me *me, unsigned i)
{
    struct key_oracle *o = &shared->key[me->number][i];
    uint64_t n = begin_op(o, 0);
    int64_t since = now_ns();
    char key[80];
    struct ds_bytes k;
    int rc;

    key_name(key, sizeof(key), me->number, i);
    k = bytes_of(key);
    rc = ds_kv_delete(me->client, &k, 1, NULL);
    took("delete", key, rc == DS_ENOTFOUND ? 0 : rc, since, 0);
    if (rc == 0 || rc == DS_ENOTFOUND) {
        atomic_store(&o->acked, n);
    }
}

static void do_mset(struct me *me, unsigned from)
{
    struct ds_bytes keys[BATCH];
    struct ds_bytes values[BATCH];
    char name[BATCH][80];
    uint64_t n[BATCH];
    int results[BATCH];
    int64_t since;
    int rc;

    for (unsigned k = 0; k < BATCH; k++) {
        unsigned i = (from + k) % KEYS;
        size_t size = VALUE_MIN + random_below(&me->rng, 4096);

        key_name(name[k], sizeof(name[k]), me->number, i);
        n[k] = begin_op(&shared->key[me->number][i], size);
        value_fill(me->buf[k], size, name[k], me->number, n[k]);
        keys[k] = bytes_of(name[k]);
        values[k] = (struct ds_bytes){me->buf[k], size};
    }
    since = now_ns();
    rc = ds_kv_mset(me->client, keys, values, BATCH, NULL, results);
    took("mset", name[0], rc, since, 0);
    for (unsigned k = 0; k < BATCH; k++) {
        if (results[k] == 0) {
            atomic_store(&shared->key[me->number][(from + k) % KEYS].acked, n[k]);
        } else {
            violation(&shared->violations, "mset of %s: %s", name[k], ds_error_name(results[k]));
        }
    }
}

/* --- reading anybody's --- */

/* `acked` was loaded before the read. */
static void check_seen(const struct key_oracle *o, uint64_t acked, const char *key, unsigned who,
                       const struct ds_view *view, uint64_t *ret_seq)
{
    uint64_t writer = 0;
    const char *wrong = value_check(view->data, view->size, key, &writer, ret_seq);

    if (wrong != NULL) {
        violation(&shared->violations, "value of %s is %s", key, wrong);
    } else if (writer != who || *ret_seq > atomic_load(&o->begun)) {
        violation(&shared->violations, "%s holds %lu of writer %lu", key, (unsigned long)*ret_seq,
                  (unsigned long)writer);
    } else if (*ret_seq < acked) {
        violation(&shared->violations, "%s went back: %lu, acknowledged %lu", key,
                  (unsigned long)*ret_seq, (unsigned long)acked);
    }
}

static void check_missed(const struct key_oracle *o, uint64_t acked, const char *key)
{
    uint64_t begun = atomic_load(&o->begun);

    for (uint64_t n = acked; n <= begun; n++) {
        if (atomic_load(&o->size[n % HISTORY]) == 0) {
            return;
        }
    }
    if (begun - acked < HISTORY / 2) { /* else the history has been overwritten */
        violation(&shared->violations, "%s is lost: %lu acknowledged, %lu begun", key,
                  (unsigned long)acked, (unsigned long)begun);
    }
}

static void drop_held(struct held *h)
{
    uint64_t writer;
    uint64_t seq = 0;
    const char *wrong;

    if (h->view.data == NULL) {
        return;
    }
    wrong = value_check(h->view.data, h->view.size, h->key, &writer, &seq);
    if (wrong != NULL || seq != h->seq) {
        violation(&shared->violations, "a held view of %s is %s (%lu, was %lu)", h->key,
                  wrong != NULL ? wrong : "another value", (unsigned long)seq,
                  (unsigned long)h->seq);
    }
    ds_view_release(&h->view);
}

static void do_get(struct me *me)
{
    unsigned who = (unsigned)random_below(&me->rng, me->clients);
    unsigned i = (unsigned)random_below(&me->rng, KEYS);
    const struct key_oracle *o = &shared->key[who][i];
    struct held *h = &me->held[random_below(&me->rng, VIEWS)];
    uint64_t acked = atomic_load(&o->acked);
    struct ds_view view;
    uint64_t seq = 0;
    int64_t since;
    char key[80];
    int rc;

    key_name(key, sizeof(key), who, i);
    since = now_ns();
    rc = ds_kv_get(me->client, key, strlen(key), 0, &view);
    took("get", key, rc == DS_ENOTFOUND ? 0 : rc, since, 0);
    if (rc == DS_ENOTFOUND) {
        check_missed(o, acked, key);
    } else if (rc == 0) {
        check_seen(o, acked, key, who, &view, &seq);
        drop_held(h);
        h->view = view;
        h->seq = seq;
        memcpy(h->key, key, sizeof(key));
    }
}

static void do_mget(struct me *me)
{
    const struct key_oracle *o[BATCH];
    unsigned who[BATCH];
    struct ds_bytes keys[BATCH];
    struct ds_view views[BATCH];
    uint64_t acked[BATCH];
    char name[BATCH][80];
    int results[BATCH];
    int64_t since;
    int rc;

    for (unsigned k = 0; k < BATCH; k++) {
        unsigned i = (unsigned)random_below(&me->rng, KEYS);

        who[k] = (unsigned)random_below(&me->rng, me->clients);
        o[k] = &shared->key[who[k]][i];
        acked[k] = atomic_load(&o[k]->acked);
        key_name(name[k], sizeof(name[k]), who[k], i);
        keys[k] = bytes_of(name[k]);
    }
    since = now_ns();
    rc = ds_kv_mget(me->client, keys, BATCH, 0, views, results);
    took("mget", name[0], rc == DS_ENOTFOUND ? 0 : rc, since, 0);
    for (unsigned k = 0; k < BATCH; k++) {
        uint64_t seq;

        if (results[k] == 0) {
            check_seen(o[k], acked[k], name[k], who[k], &views[k], &seq);
            ds_view_release(&views[k]);
        } else if (results[k] == DS_ENOTFOUND) {
            check_missed(o[k], acked[k], name[k]);
        } else {
            violation(&shared->violations, "mget of %s: %s", name[k], ds_error_name(results[k]));
        }
    }
}

static void do_exist(struct me *me, unsigned i)
{
    const struct key_oracle *o = &shared->key[me->number][i];
    bool known = atomic_load(&o->begun) == atomic_load(&o->acked);
    int64_t since = now_ns();
    bool there = false;
    char key[80];
    struct ds_bytes k;
    int rc;

    key_name(key, sizeof(key), me->number, i);
    k = bytes_of(key);
    rc = ds_kv_exist(me->client, &k, 1, &there);
    took("exist", key, rc, since, 0);
    atomic_fetch_add(&shared->answered[me->number], 1);
    if (rc == 0 && known && there != is_present(o)) {
        violation(&shared->violations, "%s is %s, but should not", key, there ? "there" : "absent");
    }
}

/* --- waiting, references, latches --- */

/* Messages from one client to another: w<to>m<n>, published once, deleted by the reader. */
static void do_feed(struct me *me)
{
    unsigned to = me->number ^ 1;
    uint64_t n = atomic_load(&shared->fed[to]);
    int64_t since = now_ns();
    char key[80];
    int rc;

    if (to >= me->clients || n > me->taken + 64) {
        return;
    }
    (void)snprintf(key, sizeof(key), "w%um%lu", to, (unsigned long)n);
    value_fill(me->buf[0], 128, key, me->number, n);
    rc = ds_kv_set(me->client, key, strlen(key), me->buf[0], 128, NULL);
    took("feed", key, rc, since, 0);
    atomic_store(&shared->fed[to], n + 1);
}

/* A call with a limit of its own may say, a second past it, that nobody answered: an upgrade that
 * hangs takes longer than that. Sooner it may not. */
static bool is_late(int rc, int64_t since, int64_t wait_ms)
{
    return rc == DS_ETIMEOUT && now_ns() - since >= (wait_ms + 1000) * 1000000;
}

static void do_take(struct me *me, int64_t wait_ms)
{
    uint64_t fed = atomic_load(&shared->fed[me->number]);
    struct ds_view view;
    struct ds_bytes k;
    int64_t since;
    char key[80];
    bool late;
    int rc;

    if ((me->number ^ 1) >= me->clients) {
        return;
    }
    (void)snprintf(key, sizeof(key), "w%um%lu", me->number, (unsigned long)me->taken);
    k = bytes_of(key);
    since = now_ns();
    rc = ds_kv_get(me->client, key, strlen(key), wait_ms, &view);
    late = is_late(rc, since, wait_ms);
    took("waiting get", key, rc == DS_ENOTFOUND || late ? 0 : rc, since, wait_ms);
    if (rc == DS_ENOTFOUND && fed > me->taken) {
        violation(&shared->violations, "message %s is lost", key);
    }
    if (rc != 0) {
        return;
    }
    atomic_fetch_add(&shared->waited, fed <= me->taken);
    ds_view_release(&view);
    since = now_ns();
    rc = ds_kv_delete(me->client, &k, 1, NULL);
    took("delete", key, rc, since, 0);
    me->taken++;
}

static void do_refs(struct me *me)
{
    bool more = me->refs == 0 || (me->refs < 50 && random_below(&me->rng, 2) == 0);
    int64_t since = now_ns();
    uint64_t count = 0;
    char key[80];
    struct ds_bytes k;
    int rc;

    (void)snprintf(key, sizeof(key), "ref%u", me->number);
    k = bytes_of(key);
    rc = more ? ds_object_ref(me->client, &k, 1, NULL) : ds_object_unref(me->client, &k, 1, NULL);
    took(more ? "ref" : "unref", key, rc, since, 0);
    me->refs = more ? me->refs + 1 : me->refs - 1;
    rc = ds_object_ref_count(me->client, key, strlen(key), &count);
    took("ref count", key, rc, since, 0);
    atomic_fetch_add(&shared->answered[me->number], 1);
    if (rc == 0 && count != me->refs) {
        violation(&shared->violations, "%s counts %lu references, not %lu", key,
                  (unsigned long)count, (unsigned long)me->refs);
    }
}

/* Under the write latch two words of the object are equal, and count the times it was held. */
static void do_latch(struct me *me)
{
    unsigned which = (unsigned)random_below(&me->rng, LOCKS);
    struct ds_buffer *b = NULL;
    volatile uint64_t *words;
    int64_t since = now_ns();
    char key[16];
    struct ds_bytes k;
    int rc;

    (void)snprintf(key, sizeof(key), "lock%u", which);
    k = bytes_of(key);
    rc = ds_object_get(me->client, &k, 1, 0, &b, NULL);
    took("object get", key, rc, since, 0);
    if (rc != 0) {
        return;
    }
    since = now_ns();
    rc = ds_buffer_latch_write(b, LATCH_MS);
    /* The others hold it for moments only. */
    took("latch", key, is_late(rc, since, LATCH_MS) ? 0 : rc, since, 1000);
    if (rc == 0) {
        words = ds_buffer_mutable_data(b);
        if (words == NULL || words[0] != words[1]) {
            violation(&shared->violations, "two clients hold the write latch of %s", key);
        } else {
            words[0]++;
            pause_us((unsigned)random_below(&me->rng, 50));
            words[1]++;
            atomic_fetch_add(&shared->locked[which], 1);
        }
        since = now_ns();
        rc = ds_buffer_unlatch_write(b);
        took("unlatch", key, rc, since, 0);
    }
    ds_buffer_free(b);
}

/* --- a client --- */

static void one_step(struct me *me)
{
    unsigned i = (unsigned)random_below(&me->rng, KEYS);

    switch (random_below(&me->rng, 24)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        do_set(me, i, false);
        break;
    case 5:
    case 6:
        do_set(me, i, true);
        break;
    case 7:
    case 8:
        do_publish(me, i);
        break;
    case 9:
    case 10:
        do_delete(me, i);
        break;
    case 11:
        do_mset(me, i);
        break;
    case 12:
        do_mget(me);
        break;
    case 13:
        do_exist(me, i);
        break;
    case 14:
        do_feed(me);
        break;
    case 15:
        do_take(me, random_below(&me->rng, 2) == 0 ? 0 : 20);
        break;
    case 16:
        do_refs(me);
        break;
    case 17:
        do_latch(me);
        break;
    case 18:
        pause_us((unsigned)random_below(&me->rng, 1500)); /* lets the worker go to sleep */
        break;
    default:
        do_get(me);
    }
}

__attribute__((noreturn)) static void client_main(unsigned number, unsigned clients, uint64_t seed)
{
    static struct me me;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    me.number = number;
    me.clients = clients;
    me.rng = seed;
    me.client = must_open(9000);
    while (!atomic_load(&shared->stop)) {
        one_step(&me);
    }
    for (unsigned i = 0; i < VIEWS; i++) {
        drop_held(&me.held[i]);
    }
    ds_client_close(me.client);
    _exit(0);
}

/* --- the end --- */

static void check_all(struct ds_client *c, unsigned clients)
{
    for (unsigned who = 0; who < clients; who++) {
        for (unsigned i = 0; i < KEYS; i++) {
            const struct key_oracle *o = &shared->key[who][i];
            struct ds_view view;
            uint64_t seq;
            char key[80];
            int rc;

            key_name(key, sizeof(key), who, i);
            rc = ds_kv_get(c, key, strlen(key), 0, &view);
            if (rc == 0) {
                check_seen(o, atomic_load(&o->acked), key, who, &view, &seq);
                ds_view_release(&view);
            } else {
                check_missed(o, atomic_load(&o->acked), key);
            }
        }
    }
    for (unsigned i = 0; i < LOCKS; i++) {
        struct ds_view view;
        uint64_t words[2] = {0, 0};
        char key[16];

        (void)snprintf(key, sizeof(key), "lock%u", i);
        if (ds_kv_get(c, key, strlen(key), 0, &view) == 0) {
            memcpy(words, view.data, sizeof(words));
            ds_view_release(&view);
        }
        if (words[0] != atomic_load(&shared->locked[i]) || words[1] != words[0]) {
            violation(&shared->violations, "%s was held %lu times, but says %lu and %lu", key,
                      (unsigned long)atomic_load(&shared->locked[i]), (unsigned long)words[0],
                      (unsigned long)words[1]);
        }
    }
}

static void delete_all(struct ds_client *c, unsigned clients)
{
    for (unsigned who = 0; who < clients; who++) {
        char key[80];
        struct ds_bytes k;

        for (unsigned i = 0; i < KEYS; i++) {
            key_name(key, sizeof(key), who, i);
            k = bytes_of(key);
            (void)!ds_kv_delete(c, &k, 1, NULL);
        }
        for (uint64_t n = 0; n < atomic_load(&shared->fed[who]); n++) {
            (void)snprintf(key, sizeof(key), "w%um%lu", who, (unsigned long)n);
            k = bytes_of(key);
            (void)!ds_kv_delete(c, &k, 1, NULL);
        }
    }
    for (unsigned i = 0; i < LOCKS; i++) {
        char key[16];
        struct ds_bytes k;

        (void)snprintf(key, sizeof(key), "lock%u", i);
        k = bytes_of(key);
        (void)!ds_kv_delete(c, &k, 1, NULL);
    }
    for (unsigned i = 0; i < 8; i++) { /* what `fault_scenes session` has set */
        char key[16];
        struct ds_bytes k;

        (void)snprintf(key, sizeof(key), "view%u", i);
        k = bytes_of(key);
        (void)!ds_kv_delete(c, &k, 1, NULL);
    }
}

static void check_accounts(struct ds_client *c, const struct ds_worker_stats *base)
{
    struct ds_worker_stats st;

    if (!settle_stats(c, base->sessions, &st)) {
        violation(&shared->violations, "%lu sessions left of %lu, %lu bytes doomed",
                  (unsigned long)st.sessions, (unsigned long)base->sessions,
                  (unsigned long)st.memory_doomed);
    }
    if (st.objects != base->objects || st.memory_live != base->memory_live ||
        st.memory_granted != base->memory_granted ||
        st.memory_live + st.memory_granted + st.memory_doomed + st.memory_free != st.memory_size) {
        violation(&shared->violations,
                  "accounts: %lu objects, %lu live, %lu granted, %lu doomed, %lu free of %lu",
                  (unsigned long)st.objects, (unsigned long)st.memory_live,
                  (unsigned long)st.memory_granted, (unsigned long)st.memory_doomed,
                  (unsigned long)st.memory_free, (unsigned long)st.memory_size);
    }
}

static void make_locks(void)
{
    struct ds_client *c = must_open(9000);
    uint64_t words[2] = {0, 0};

    for (unsigned i = 0; i < LOCKS; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "lock%u", i);
        if (ds_object_put(c, key, strlen(key), words, sizeof(words), NULL, NULL, 0) != 0) {
            fatal("no lock object");
        }
    }
    ds_client_close(c);
}

static void wait_for_children(const pid_t *pid, unsigned n)
{
    int64_t end = now_ns() + INT64_C(20000000000);

    for (unsigned i = 0; i < n; i++) {
        int status = 0;

        while (waitpid(pid[i], &status, WNOHANG) == 0) {
            if (now_ns() > end) {
                violation(&shared->violations, "client %u hangs", i);
                (void)kill(pid[i], SIGABRT);
                (void)waitpid(pid[i], &status, 0);
                break;
            }
            pause_us(1000);
        }
        if (status != 0) {
            violation(&shared->violations, "client %u ended with status %x", i, (unsigned)status);
        }
    }
}

/* When each client has had an answer to something it asked from now on. Two more answers: one may
 * have been on its way. */
static void tell_settled(unsigned clients)
{
    int64_t since = now_ns();
    int64_t ms = 0;
    uint64_t before[CLIENTS_MAX];
    char line[40];
    int n;

    for (unsigned i = 0; i < clients; i++) {
        before[i] = atomic_load(&shared->answered[i]);
    }
    for (unsigned i = 0; i < clients && ms <= SETTLE_MAX_MS;) {
        ms = (now_ns() - since) / 1000000;
        if (atomic_load(&shared->answered[i]) >= before[i] + 2) {
            i++;
        } else {
            pause_us(200);
        }
    }
    if (ms > SETTLE_MAX_MS) {
        violation(&shared->violations, "a client did not go on within %d ms", SETTLE_MAX_MS);
    }
    n = snprintf(line, sizeof(line), "settled %ld\n", (long)ms);
    (void)!write(1, line, (size_t)n);
}

static void obey(unsigned clients)
{
    ssize_t n;
    char byte;

    while ((n = read(0, &byte, 1)) > 0 || (n < 0 && errno == EINTR)) {
        if (n == 1 && byte == '\n') {
            tell_settled(clients);
        }
    }
}

int main(int argc, char **argv)
{
    unsigned clients = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 4;
    uint64_t limit_ms = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000;
    struct ds_worker_stats base;
    struct ds_client *c;
    pid_t pid[CLIENTS_MAX];
    uint64_t seed = (uint64_t)now_ns();

    clients = clients > CLIENTS_MAX ? CLIENTS_MAX : clients;
    shared = shared_memory(sizeof(*shared));
    shared->slow_ns = argc > 3 ? limit_ms * 1000000 : 0;
    c = must_open(9000);
    base = must_stats(c);
    ds_client_close(c);
    make_locks();
    for (unsigned i = 0; i < clients; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            client_main(i, clients, seed + i);
        }
    }
    (void)!write(1, "running\n", 8);
    obey(clients);
    atomic_store(&shared->stop, true);
    wait_for_children(pid, clients);
    c = must_open(9000);
    check_all(c, clients);
    delete_all(c, clients);
    check_accounts(c, &base);
    ds_client_close(c);
    if (shared->slow_ns == 0 && atomic_load(&shared->longest_ns) > limit_ms * 1000000) {
        violation(&shared->violations, "the longest outage was too long");
    }
    (void)printf("seed %lu ops %lu waited %lu latched %lu longest_ms %lu violations %lu\n",
                 (unsigned long)seed, (unsigned long)atomic_load(&shared->ops),
                 (unsigned long)atomic_load(&shared->waited),
                 (unsigned long)(shared->locked[0] + shared->locked[1]),
                 (unsigned long)(atomic_load(&shared->longest_ns) / 1000000),
                 (unsigned long)atomic_load(&shared->violations));
    return atomic_load(&shared->violations) == 0 ? 0 : 1;
}
