/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_recover.c - a worker killed anywhere leaves a state from which the next one goes on.
 *
 * A script of operations of three clients runs in a child that is killed: at a failpoint, at a
 * random time, or between two instructions. What the child knows stands in shared memory (struct
 * progress), like what a client knows in its own process. Another process then attaches to the same
 * segments, recovers and goes on with the script; it may be killed as well. After every step the
 * whole state is compared with a model, and every answer with what the model says.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "base/failpoint.h"
#include "driver.h"

#define CLIENTS 3
#define VISITOR 3 /* the session that comes and goes */
#define KEYS 10
#define CROWD 1276 /* other keys: so that new ones split buckets */
#define OPS 60
#define PINS 4

enum kind { SET, ABSENT, PUT, DELETE, REF, UNREF, GET, DROP, NEST, PIN, UNPIN, VISIT, KINDS };

struct op {
    enum kind kind;
    unsigned peer;
    unsigned key[3];
    unsigned n;    /* keys */
    uint64_t size; /* of the first value; each is one more */
    unsigned slot; /* request slot, pin slot */
};

struct model {
    uint64_t size[KEYS]; /* 0: absent */
    unsigned refs[CLIENTS][KEYS];
    int status[3]; /* of the last operation, by item */
};

enum phase { NEED, GRANTING, READY, POSTED };

struct progress {
    struct ds_store_now now;
    _Atomic uint64_t at; /* operation << 8 | phase */
    uint64_t expect;     /* ring tail or request number when posted */
    struct lent lent[3];
    struct ds_found pin[PINS];
    _Atomic uint32_t pinned[PINS];
    unsigned stop_at; /* operation at whose POSTED the child stops for its tracer */
};

struct trial {
    struct world w;
    struct op ops[OPS + 1]; /* the last one is never run */
    struct progress *g;
    uint64_t random;
};

static uint64_t rnd(struct trial *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

static const char *key_name(unsigned k, char buf[64])
{
    /* every third key is too long for a descriptor */
    (void)snprintf(buf, 64, k % 3 == 2 ? "key-%02u-that-does-not-fit-into-a-descriptor" : "key-%u",
                   k);
    return buf;
}

/* --- script and model --- */

static void make_script(struct trial *t)
{
    for (unsigned i = 0; i < OPS; i++) {
        struct op *o = &t->ops[i];

        o->kind = (enum kind)(i < 2 * KINDS ? i % KINDS : rnd(t) % KINDS);
        o->peer = (unsigned)(rnd(t) % CLIENTS);
        o->n = o->kind == SET || o->kind == PUT || o->kind == DROP || o->kind == NEST ? 1 : 3;
        o->size = 100 + i * 40;
        o->slot = (unsigned)(rnd(t) % PINS);
        for (unsigned k = 0; k < 3; k++) {
            o->key[k] = (unsigned)(rnd(t) % KEYS);
        }
        if (o->kind == ABSENT || o->kind == DELETE) { /* items of one request: distinct keys */
            o->key[1] = (o->key[0] + 1) % KEYS;
            o->key[2] = (o->key[0] + 2) % KEYS;
        }
    }
}

static unsigned model_refs(const struct model *m, unsigned key)
{
    return m->refs[0][key] + m->refs[1][key] + m->refs[2][key];
}

static void model_item(struct model *m, const struct op *o, unsigned i)
{
    unsigned k = o->key[i];

    m->status[i] = 0;
    switch (o->kind) {
    case SET:
    case PUT:
        m->size[k] = o->size + i;
        break;
    case ABSENT:
        m->status[i] = m->size[k] != 0 ? DS_UNCHANGED : 0;
        m->size[k] = m->size[k] != 0 ? m->size[k] : o->size + i;
        break;
    case DELETE:
        m->size[k] = 0;
        break;
    case REF:
        m->refs[o->peer][k]++;
        break;
    case UNREF:
        if (m->refs[o->peer][k] == 0) {
            m->status[i] = DS_ENOTINUSE;
        } else if (--m->refs[o->peer][k] == 0 && model_refs(m, k) == 0) {
            m->size[k] = 0;
        }
        break;
    case GET:
        m->status[i] = m->size[k] != 0 ? 0 : DS_ENOTFOUND;
        break;
    default:
        break;
    }
}

static void model_apply(struct model *m, const struct op *o)
{
    for (unsigned i = 0; i < o->n; i++) {
        model_item(m, o, i);
    }
}

static struct model model_after(const struct trial *t, uint64_t n)
{
    struct model m;

    memset(&m, 0, sizeof(m));
    for (uint64_t i = 0; i < n; i++) {
        model_apply(&m, &t->ops[i]);
    }
    return m;
}

/* --- checks --- */

static void check_pins(struct trial *t)
{
    for (unsigned i = 0; i < PINS; i++) {
        const struct ds_found *f = &t->g->pin[i];

        if (ds_load_relaxed(&t->g->pinned[i]) != 0) {
            CHECK(value_is(&t->w, f->offset, f->size, f->size));
        }
    }
}

static void check_against(struct trial *t, const struct model *m)
{
    struct ds_worker_stats st = world_stats(&t->w);
    uint64_t present = 0;
    char buf[64];

    world_check(&t->w);
    check_pins(t);
    for (unsigned k = 0; k < KEYS; k++) {
        const char *key = key_name(k, buf);
        uint32_t id = ds_store_find(t->w.s, key, strlen(key));

        CHECK_EQ(id != DS_ID_NONE, m->size[k] != 0);
        CHECK_EQ(hit(&t->w, &t->w.peer[0], key), m->size[k]);
        CHECK_EQ(ds_store_ref_count(t->w.s, key, (uint32_t)strlen(key)), model_refs(m, k));
        present += m->size[k] != 0;
    }
    CHECK_EQ(st.objects, present + CROWD);
    CHECK_EQ(st.memory_granted, 0);
    CHECK_EQ(t->w.s->lost_records, 0);
}

/* --- operations --- */

static bool needs_grants(const struct op *o)
{
    return o->kind == SET || o->kind == ABSENT || o->kind == PUT || o->kind == DROP;
}

static bool by_ring(const struct op *o)
{
    return o->kind == SET || o->kind == DROP;
}

static void enter_phase(struct trial *t, uint64_t at, enum phase phase)
{
    ds_store_release(&t->g->at, at << 8 | phase);
}

static void one_pass(struct trial *t)
{
    (void)pass(&t->w);
    t->g->now = t->w.now;
}

static void post_grants(struct trial *t, const struct op *o)
{
    struct peer *p = &t->w.peer[o->peer];

    req_begin(p, 63, DS_OP_GRANT, o->size + 2); /* one class for the three sizes, or nearly */
    p->slot[63].header.n = (uint16_t)o->n;
    req_post(p, 63);
}

static void take_grants(struct trial *t, const struct op *o)
{
    struct peer *p = &t->w.peer[o->peer];

    while (!req_done(p, 63)) {
        one_pass(t);
    }
    for (unsigned i = 0; i < o->n; i++) {
        CHECK_OK(req_result(p, 63, i)->status);
        t->g->lent[i] = (struct lent){req_result(p, 63, i)->id, req_result(p, 63, i)->value};
        value_fill(&t->w, t->g->lent[i].offset, o->size + i, o->size + i);
    }
}

static void post_request(struct trial *t, const struct op *o)
{
    static const enum ds_op ops[KINDS] = {
        [ABSENT] = DS_OP_SET_ABSENT, [PUT] = DS_OP_PUT,     [DELETE] = DS_OP_DELETE,
        [REF] = DS_OP_REF,           [UNREF] = DS_OP_UNREF, [GET] = DS_OP_GET};
    struct peer *p = &t->w.peer[o->peer];
    char buf[64];

    req_begin(p, o->slot, ops[o->kind], 0);
    for (unsigned i = 0; i < o->n; i++) {
        uint32_t id = t->g->lent[i].id;

        req_add(p, o->slot,
                (struct ds_request_item){.id = id,
                                         .value_size = o->size + i,
                                         .grant_origin =
                                             needs_grants(o) ? t->w.s->record[id].origin : 0},
                key_name(o->key[i], buf));
    }
    req_post(p, o->slot);
}

static void post_op(struct trial *t, const struct op *o)
{
    char buf[64];

    if (by_ring(o)) {
        (void)ring_post(&t->w.peer[o->peer], o->kind == SET ? DS_RING_SET : DS_RING_DROP,
                        &(struct post){.key = o->kind == SET ? key_name(o->key[0], buf) : NULL,
                                       .grant = t->g->lent[0],
                                       .size = o->size,
                                       .ticket = t->w.now.ticks});
    } else {
        post_request(t, o);
    }
}

static bool op_posted(const struct trial *t, const struct op *o)
{
    const struct peer *p = &t->w.peer[o->peer];

    return by_ring(o) ? p->tail == t->g->expect : p->posted[o->slot] == t->g->expect;
}

static bool op_done(const struct trial *t, const struct op *o)
{
    const struct peer *p = &t->w.peer[o->peer];

    return by_ring(o) ? ds_load_acquire(&p->h->applied) == p->tail : req_done(p, o->slot);
}

static uint64_t expected_position(const struct trial *t, const struct op *o)
{
    const struct peer *p = &t->w.peer[o->peer];
    char buf[64];

    if (!by_ring(o)) {
        return p->posted[o->slot] + 1;
    }
    return p->tail + ds_align_up(sizeof(struct ds_ring_record) +
                                     (o->kind == SET ? strlen(key_name(o->key[0], buf)) : 0),
                                 16);
}

/* A reader's doings: no request. */
static void pin_op(struct trial *t, const struct op *o)
{
    struct peer *p = &t->w.peer[2];
    char buf[64];

    if (ds_load_relaxed(&t->g->pinned[o->slot]) != 0) {
        check_pins(t);
        ds_store_relaxed(&t->g->pinned[o->slot], 0);
        unpin(p, o->slot);
    }
    if (o->kind == PIN && look(&t->w, p, key_name(o->key[0], buf), o->slot, &t->g->pin[o->slot])) {
        ds_store_release(&t->g->pinned[o->slot], 1);
    }
}

/* A session comes, writes, refers, takes blocks and goes: nothing of it remains. */
static void visit_op(struct trial *t)
{
    struct world *w = &t->w;
    struct peer *p = &w->peer[VISITOR];
    struct ds_session_info info = {.token = {9}, .pid = 1};
    struct ds_segment seg;
    uint32_t number;
    struct lent g;
    bool cut_short = ds_store_session_segment(w->s, CLIENTS) != NULL;

    if (!cut_short) {
        CHECK_OK(ds_segment_attach(dup(p->seg.fd), DS_SESSION_SIZE, true, &seg));
        CHECK_OK(ds_store_session_open(w->s, &info, &seg, &number));
        CHECK_EQ(number, CLIENTS);
        peer_resume(p);
        CHECK_OK(grant(w, p, 1000, &g));
        (void)set(w, p, "the visitor's own key, a long one", 77);
        CHECK_OK(ask(w, p, DS_OP_REF, "the visitor's own key, a long one", 0));
    }
    ds_store_session_hangup(w->s, CLIENTS);
    settle(w);
    ds_store_session_end(w->s, CLIENTS);
    if (cut_short) { /* perhaps before it referred to its key */
        CHECK_OK(ask(w, &w->peer[0], DS_OP_DELETE, "the visitor's own key, a long one", 0));
    }
    settle(w);
    t->g->now = w->now;
}

static void finish_op(struct trial *t, const struct op *o, uint64_t at)
{
    struct model m = model_after(t, at + 1);

    while (!op_done(t, o)) {
        one_pass(t);
    }
    for (unsigned i = 0; i < o->n && !by_ring(o); i++) {
        CHECK_EQ(req_result(&t->w.peer[o->peer], o->slot, i)->status, m.status[i]);
    }
}

static void step(struct trial *t)
{
    uint64_t word = ds_load_relaxed(&t->g->at);
    uint64_t at = word >> 8;
    const struct op *o = &t->ops[at];
    struct peer *p = &t->w.peer[o->peer];

    switch ((enum phase)(word & 0xff)) {
    case NEED:
        if (o->kind == PIN || o->kind == UNPIN || o->kind == VISIT || o->kind == NEST) {
            o->kind == VISIT ? visit_op(t) : o->kind == NEST ? (void)0 : pin_op(t, o);
            enter_phase(t, at + 1, NEED);
            break;
        }
        t->g->expect = p->posted[63] + 1;
        enter_phase(t, at, needs_grants(o) ? GRANTING : READY);
        break;
    case GRANTING:
        if (p->posted[63] != t->g->expect) {
            post_grants(t, o);
        }
        take_grants(t, o);
        enter_phase(t, at, READY);
        break;
    case READY:
        t->g->expect = expected_position(t, o);
        enter_phase(t, at, POSTED);
        break;
    case POSTED:
        if (t->g->stop_at == at + 1) {
            (void)raise(SIGSTOP);
        }
        if (!op_posted(t, o)) {
            post_op(t, o);
        }
        finish_op(t, o, at);
        if (t->g->stop_at == at + 1) {
            (void)raise(SIGSTOP);
        }
        enter_phase(t, at + 1, NEED);
        break;
    }
}

static void drive(struct trial *t)
{
    while (ds_load_relaxed(&t->g->at) >> 8 < OPS) {
        step(t);
    }
}

/* --- trials --- */

static void crowd(struct world *w)
{
    struct peer *p = &w->peer[0];
    unsigned done = 0;
    char key[32];

    while (done < CROWD) {
        unsigned n = CROWD - done < 128 ? CROWD - done : 128;

        req_begin(p, 63, DS_OP_GRANT, 8);
        p->slot[63].header.n = (uint16_t)n;
        req_post(p, 63);
        req_wait(w, p, 63);
        for (unsigned i = 0; i < n; i++) {
            (void)snprintf(key, sizeof(key), "crowd-%u", done + i);
            (void)ring_post(p, DS_RING_SET,
                            &(struct post){.key = key,
                                           .size = 8,
                                           .ticket = w->now.ticks,
                                           .grant = {.id = req_result(p, 63, i)->id}});
        }
        done += n;
        (void)pass(w);
    }
    settle(w);
}

static void trial_begin(struct trial *t, uint64_t seed)
{
    struct ds_segment seg;

    memset(t, 0, sizeof(*t));
    t->random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    make_script(t);
    t->g = mmap(NULL, sizeof(*t->g), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(t->g != MAP_FAILED);
    world_init(&t->w, 4 * MIB);
    for (unsigned i = 0; i < CLIENTS; i++) {
        (void)peer_open(&t->w, i);
    }
    CHECK_OK(ds_segment_create("t-visitor", DS_SESSION_SIZE, &seg));
    peer_map(&t->w.peer[VISITOR], dup(seg.fd));
    ds_segment_close(&seg);
    crowd(&t->w);
    t->g->now = t->w.now;
}

/* What the next worker does. */
static void trial_resume(struct trial *t)
{
    struct world *w = &t->w;

    w->s = ds_store_destroy(w->s); /* this process's own view of it, from before */
    w->now = t->g->now;
    w->now.boot_ns += MS;
    w->now.ticks += 1000000;
    t->g->now = w->now;
    world_attach(w);
    for (unsigned i = 0; i < CLIENTS; i++) {
        CHECK_OK(world_adopt(w, &w->peer[i]));
        peer_resume(&w->peer[i]);
    }
    w->peer[VISITOR].number = CLIENTS;
    (void)!world_adopt(w, &w->peer[VISITOR]);
    CHECK_OK(ds_store_recover(w->s, &w->now));
    world_found(w);
    CHECK_OK(ds_store_check(w->s));
    check_pins(t);
}

/* Runs the script in a child from where it stands. True: it was killed; false: it came to the end.
 */
static bool run_child(struct trial *t, bool resume, const char *spec, unsigned kill_after_us)
{
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        ds_failpoint_arm(spec);
        if (resume) {
            trial_resume(t);
        }
        drive(t);
        _exit(0);
    }
    if (kill_after_us > 0) {
        (void)usleep(kill_after_us);
        (void)kill(pid, SIGKILL);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        CHECK_EQ(WTERMSIG(status), SIGKILL);
        return true;
    }
    CHECK_EQ(WEXITSTATUS(status), 0);
    return false;
}

/* The rest in this process: recovery, the operation in doubt, all others; then everybody goes. */
static void trial_end(struct trial *t, bool resume)
{
    struct model m;

    if (resume) {
        uint64_t at;

        trial_resume(t);
        if (ds_store_session_segment(t->w.s, CLIENTS) != NULL) {
            visit_op(t);
        }
        at = ds_load_relaxed(&t->g->at);
        if ((at & 0xff) == NEED) {
            m = model_after(t, at >> 8);
            settle(&t->w);
            if (t->ops[at >> 8].kind != VISIT || at >> 8 == OPS) {
                check_against(t, &m);
            }
        }
        while (ds_load_relaxed(&t->g->at) >> 8 < OPS) {
            uint64_t before = ds_load_relaxed(&t->g->at) >> 8;

            step(t);
            at = ds_load_relaxed(&t->g->at) >> 8;
            if (at != before) {
                settle(&t->w);
                t->g->now = t->w.now;
                m = model_after(t, at);
                check_against(t, &m);
            }
        }
    }
    for (unsigned i = 0; i < PINS; i++) {
        unpin(&t->w.peer[2], i);
    }
    ds_segment_close(&t->w.peer[VISITOR].seg);
    if (resume) {
        world_end(&t->w);
    } else { /* the child did it all: this process knows nothing */
        t->w.s = ds_store_destroy(t->w.s);
        for (unsigned i = 0; i < PEERS; i++) {
            ds_segment_close(&t->w.peer[i].seg);
        }
        ds_segment_close(&t->w.index);
        ds_segment_close(&t->w.state);
        ds_segment_close(&t->w.data);
    }
    (void)munmap(t->g, sizeof(*t->g));
}

static const char *const points[] = {
    "publish.before_record", "publish.live",        "publish.before_bucket", "unpublish.doomed",
    "reclaim.marked",        "apply.before_cursor", "request.item",          "request.before_done",
    "request.done",          "pass.collected",      "pass.applied",          "pass.settled",
    "session.before_live",   "session.ending",      "request.marked",        "publish.filled",
};

DS_TEST(recover__without_a_kill_changes_nothing)
{
    struct trial t;

    trial_begin(&t, 1);
    trial_end(&t, true);
    trial_begin(&t, 2);
    CHECK(!run_child(&t, false, NULL, 0));
    trial_end(&t, true);
}

DS_TEST_TIMEOUT(recover__after_a_kill_at_every_failpoint, 120)
{
    for (size_t i = 0; i < DS_ARRAY_SIZE(points); i++) {
        unsigned kills = 0;

        for (unsigned n = 1, step_n = 1; n<2000; n += step_n, step_n += n> 8 ? step_n : 1) {
            struct trial t;
            char spec[64];
            bool killed;

            (void)snprintf(spec, sizeof(spec), "%s=kill@%u", points[i], n);
            trial_begin(&t, 7 * i + n);
            killed = run_child(&t, false, spec, 0);
            trial_end(&t, true);
            kills += killed;
            if (!killed) {
                break;
            }
        }
        if (kills == 0) {
            ds_test_fail(__FILE__, __LINE__, "%s never fired", points[i]);
        }
    }
}

/* A count that is changed twice, or not at all, shows only if the kill falls between the change and
 * its done mark, on a reference that stays: so nothing but references here, and every such place.
 */
DS_TEST_TIMEOUT(recover__after_a_kill_at_every_change_of_a_count, 120)
{
    for (unsigned n = 1; n <= 30; n++) {
        struct trial t;
        char spec[64];

        trial_begin(&t, 77);
        for (unsigned i = 0; i < OPS; i++) {
            t.ops[i] = (struct op){.kind = i < 2       ? ABSENT
                                           : i % 5 < 3 ? REF
                                                       : UNREF,
                                   .peer = i / 7 % 2,
                                   .key = {2, 3, i < 2 ? 4 : 2},
                                   .n = 3,
                                   .size = 100};
        }
        (void)snprintf(spec, sizeof(spec), "request.item=kill@%u", n);
        CHECK(run_child(&t, false, spec, 0));
        trial_end(&t, true);
    }
}

/* The blocks that inserts of keys which are there leave unused must be given back, wherever between
 * their done marks, the giving back and the answer the kill falls; also if the next worker is
 * killed before it has made up for that. */
DS_TEST_TIMEOUT(recover__after_a_kill_at_every_insert_that_changes_nothing, 120)
{
    static const char *const first[] = {"request.item", "request.marked", "request.before_done",
                                        "request.done"};
    static const char *const then[] = {NULL, "recover.done=kill", "request.done=kill"};

    for (size_t i = 0; i < DS_ARRAY_SIZE(first) * DS_ARRAY_SIZE(then); i++) {
        bool killed = true;

        for (unsigned n = 1; killed; n++) {
            struct trial t;
            char spec[64];

            trial_begin(&t, 78);
            for (unsigned k = 0; k < OPS; k++) {
                t.ops[k] = (struct op){.kind = k < 4 ? ABSENT : GET,
                                       .peer = k % 2,
                                       .key = {2 + k % 4 / 3, 3 + k % 4 / 3, 4 + k % 4 / 3},
                                       .n = 3,
                                       .slot = k % 3,
                                       .size = 600};
            }
            (void)snprintf(spec, sizeof(spec), "%s=kill@%u", first[i % DS_ARRAY_SIZE(first)], n);
            killed = n <= 30 && run_child(&t, false, spec, 0);
            CHECK(killed || n > 12);
            if (killed && then[i / DS_ARRAY_SIZE(first)] != NULL) {
                (void)run_child(&t, true, then[i / DS_ARRAY_SIZE(first)], 0);
            }
            trial_end(&t, true);
        }
    }
}

DS_TEST_TIMEOUT(recover__after_a_kill_inside_recovery, 120)
{
    static const char *const second[] = {"recover.entered",  "recover.done",
                                         "pass.collected",   "publish.live",
                                         "unpublish.doomed", "request.before_done"};

    for (size_t i = 0; i < DS_ARRAY_SIZE(points); i++) {
        for (size_t k = 0; k < DS_ARRAY_SIZE(second); k++) {
            struct trial t;
            char spec[64];

            trial_begin(&t, 1000 + 31 * i + k);
            (void)snprintf(spec, sizeof(spec), "%s=kill@%zu", points[i], 1 + (i + k) % 3);
            if (run_child(&t, false, spec, 0)) {
                (void)snprintf(spec, sizeof(spec), "%s=kill@1", second[k]);
                (void)run_child(&t, true, spec, 0);
            }
            trial_end(&t, true);
        }
    }
}

DS_TEST_TIMEOUT(recover__after_kills_at_random_times, 120)
{
    struct trial t;
    uint64_t seed = ds_test_seed();

    for (unsigned i = 0; i < 60; i++) {
        bool killed;

        trial_begin(&t, seed + i);
        killed = run_child(&t, false, NULL, (unsigned)(rnd(&t) % 8000) + 200);
        for (unsigned k = 0; killed && k < 6; k++) {
            killed = run_child(&t, true, NULL, (unsigned)(rnd(&t) % 6000) + 200);
        }
        trial_end(&t, true);
    }
}

/* --- between two instructions --- */

/* Runs the child up to `steps` instructions into the operation. The number of those it ran. */
static uint64_t run_stepped(struct trial *t, unsigned at, uint64_t steps)
{
    uint64_t n = 0;
    int status = 0;
    pid_t pid;

    t->g->stop_at = at + 1;
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(77);
        }
        drive(t);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        DS_SKIP("no ptrace here");
    }
    while (WIFSTOPPED(status) && n < steps) {
        CHECK_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP) {
            break; /* the operation is done */
        }
        n++;
    }
    if (!WIFEXITED(status)) {
        (void)kill(pid, SIGKILL);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
    }
    t->g->stop_at = 0;
    return n;
}

static void kill_between_instructions(enum kind kind, unsigned runs, uint64_t seed)
{
    uint64_t length = UINT64_MAX;

    for (unsigned i = 0; i <= runs; i++) {
        struct trial t;
        unsigned at = 10;
        uint64_t steps;

        trial_begin(&t, seed);
        while (at < OPS && t.ops[at].kind != kind) {
            at++;
        }
        CHECK_LT(at, OPS);
        t.random = seed + i * 7919 + 1;
        (void)rnd(&t);
        steps = i == 0 ? UINT64_MAX : length * (i - 1) / runs + rnd(&t) % (length / runs + 1);
        if (i == 0) {
            length = run_stepped(&t, at, steps);
        } else {
            (void)run_stepped(&t, at, steps);
        }
        trial_end(&t, true);
    }
}

DS_TEST_TIMEOUT(recover__after_a_kill_between_any_two_instructions_of_a_set, 120)
{
    uint64_t seed = ds_test_seed();

    for (unsigned i = 0; i < 3; i++) {
        kill_between_instructions(SET, 8, seed + i);
    }
}

DS_TEST_TIMEOUT(recover__after_a_kill_between_any_two_instructions_of_a_request, 120)
{
    static const enum kind kinds[] = {ABSENT, PUT, DELETE, REF, UNREF};
    uint64_t seed = ds_test_seed();

    for (size_t i = 0; i < DS_ARRAY_SIZE(kinds); i++) {
        kill_between_instructions(kinds[i], 5, seed + i);
    }
}
