/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spill_recover.c - a worker with a disk is killed at each store that matters.
 *
 * A script of sets, deletes, gets and squeezes (everything leaves memory) runs in a child that dies
 * at a failpoint. Then two things must hold, each tried on its own copy of what is left:
 *   - the next worker, with the same memory, has every value that was acknowledged, and goes on;
 *   - a worker with nothing but the disk (power loss) has no value that was deleted or replaced.
 * The operation that was under way may have happened or not.
 */
#include <signal.h>
#include <sys/wait.h>

#include "base/failpoint.h"
#include "fake_tier.h"

#define KEYS 6u
#define OPS 40u
#define DATA (4 * MIB)
#define LARGE 1500u

enum kind { SET, DELETE, GET, SQUEEZE, THROUGH, BACK };

struct op {
    enum kind kind;
    unsigned key;
    uint64_t size;
};

/* Which operations a script is made of. */
static const enum kind plain[] = {SET, DELETE, GET, SQUEEZE};
static const enum kind with_l2[] = {THROUGH, DELETE, GET, BACK, THROUGH, BACK, DELETE, SQUEEZE};

struct progress {
    struct ds_store_now now;
    _Atomic uint64_t begun; /* operations */
    _Atomic uint64_t done;
};

struct trial {
    struct world w;
    struct fake_tier tier;
    struct op ops[OPS];
    bool l2;
    bool keeps; /* tombstones of plain modes are safe at once; some values are large */
    struct progress *g;
};

static const char *key_name(unsigned k, char buf[64])
{
    (void)snprintf(buf, 64, k % 2 == 1 ? "key-%02u-that-does-not-fit-into-a-descriptor" : "key-%u",
                   k);
    return buf;
}

static void make_script(struct trial *t, uint64_t seed)
{
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;

    for (unsigned i = 0; i < OPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        t->ops[i] = (struct op){t->l2 ? with_l2[x >> 20 & 7] : plain[x >> 20 & 3],
                                (unsigned)(x >> 40) % KEYS, 1000 + i * 64};
        if (i % 3 == 2) {
            t->ops[i].kind = SQUEEZE;
        }
    }
}

/* Sizes of the values after n operations; 0: absent. */
static void model_after(const struct trial *t, uint64_t n, uint64_t size[KEYS])
{
    memset(size, 0, KEYS * sizeof(size[0]));
    for (uint64_t i = 0; i < n; i++) {
        if (t->ops[i].kind == SET || t->ops[i].kind == THROUGH || t->ops[i].kind == BACK) {
            size[t->ops[i].key] = t->ops[i].size;
        } else if (t->ops[i].kind == DELETE) {
            size[t->ops[i].key] = 0;
        }
    }
}

static void until(struct trial *t, const _Atomic uint32_t *done, uint32_t number)
{
    for (unsigned i = 0; ds_load_acquire(done) != number; i++) {
        CHECK(i < 1000);
        (void)pass(&t->w);
        t->g->now = t->w.now;
        (void)fake_work(&t->tier);
    }
}

static int ask_one(struct trial *t, enum ds_op op, const char *key)
{
    struct peer *p = &t->w.peer[0];

    req_begin(p, 0, op, 0);
    req_key(p, 0, key);
    req_post(p, 0);
    until(t, &p->h->done[0], p->posted[0]);
    return req_result(p, 0, 0)->status;
}

static void do_set(struct trial *t, const char *key, uint64_t size)
{
    struct peer *p = &t->w.peer[0];
    struct post a = {.key = key, .size = size, .mode = DS_WRITE_NONE};

    req_begin(p, 63, DS_OP_GRANT, size);
    p->slot[63].header.n = 1;
    req_post(p, 63);
    until(t, &p->h->done[63], p->posted[63]);
    CHECK_OK(req_result(p, 63, 0)->status);
    a.grant = (struct lent){req_result(p, 63, 0)->id, req_result(p, 63, 0)->value};
    value_fill(&t->w, a.grant.offset, size, size);
    a.ticket = t->w.now.ticks;
    (void)ring_post(p, DS_RING_SET, &a);
    while (ds_load_acquire(&p->h->applied) != p->tail) {
        (void)pass(&t->w);
        t->g->now = t->w.now;
        (void)fake_work(&t->tier);
    }
}

static void do_set_l2(struct trial *t, const char *key, uint64_t size, enum ds_write_mode mode)
{
    struct peer *p = &t->w.peer[0];

    req_begin(p, 63, DS_OP_GRANT, size);
    p->slot[63].header.n = 1;
    req_post(p, 63);
    until(t, &p->h->done[63], p->posted[63]);
    CHECK_OK(req_result(p, 63, 0)->status);
    value_fill(&t->w, req_result(p, 63, 0)->value, size, size);
    req_begin(p, 1, DS_OP_SET, 0);
    req_add(p, 1,
            (struct ds_request_item){
                .id = req_result(p, 63, 0)->id, .value_size = size, .mode = (uint8_t)mode},
            key);
    req_post(p, 1);
    until(t, &p->h->done[1], p->posted[1]);
    CHECK_OK(req_result(p, 1, 0)->status);
}

static void squeeze(struct trial *t)
{
    while (ds_store_make_room(t->w.s, DATA) == DS_ROOM_MADE) {
    }
    settle_tiers(&t->w, &t->tier);
    if (t->l2 && ds_load_relaxed(&t->g->done) % 2 == 0) { /* what L2 has leaves the disk, too */
        (void)ds_store_drop_disk(t->w.s, DATA);
        settle_tiers(&t->w, &t->tier);
    }
    t->g->now = t->w.now;
}

/* What comes back must find another block than it left. */
static void fill_its_place(struct trial *t, const struct op *o)
{
    uint64_t size[KEYS];

    model_after(t, (uint64_t)(o - t->ops), size);
    if (size[o->key] != 0 && !t->l2) {
        do_set(t, "filler", size[o->key]);
    }
}

static void do_op(struct trial *t, const struct op *o)
{
    char buf[64];
    const char *key = key_name(o->key, buf);

    switch (o->kind) {
    case SET:
        do_set(t, key, o->size);
        break;
    case DELETE:
        CHECK_OK(ask_one(t, DS_OP_DELETE, key));
        break;
    case GET:
        fill_its_place(t, o);
        t->tier.fail = t->keeps ? DS_EIO : 0;
        (void)ask_one(t, DS_OP_GET, key);
        t->tier.fail = 0;
        if ((o - t->ops) % 2 == 0) {
            squeeze(t);
        }
        (void)ask_one(t, DS_OP_GET, key);
        break;
    case THROUGH:
        do_set_l2(t, key, o->size, DS_WRITE_THROUGH);
        break;
    case BACK:
        do_set_l2(t, key, o->size, DS_WRITE_BACK);
        break;
    default:
        squeeze(t);
    }
}

static void drive(struct trial *t)
{
    while (ds_load_relaxed(&t->g->done) < OPS) {
        uint64_t at = ds_load_relaxed(&t->g->done);

        ds_store_release(&t->g->begun, at + 1);
        do_op(t, &t->ops[at]);
        ds_store_release(&t->g->done, at + 1);
    }
}

static void attach(struct trial *t, struct fake_disk *disk)
{
    if (t->l2) {
        fake_attach_l2(&t->tier, &t->w, disk);
    } else {
        fake_attach(&t->tier, &t->w, disk);
    }
    t->tier.keeps = t->keeps;
    t->w.config.arriving_min = t->keeps ? LARGE : 0;
}

static void trial_begin(struct trial *t, bool l2, uint64_t seed)
{
    memset(t, 0, sizeof(*t));
    t->l2 = l2;
    t->keeps = seed % 2 == 1;
    make_script(t, seed);
    t->g = mmap(NULL, sizeof(*t->g), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(t->g != MAP_FAILED);
    world_make(&t->w, DATA);
    attach(t, fake_disk_make());
    world_start(&t->w);
    (void)peer_open(&t->w, 0);
    t->g->now = t->w.now;
}

/* True: the script came to its end. */
static bool run_child(struct trial *t, const char *spec)
{
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        ds_failpoint_arm(spec);
        drive(t);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        CHECK_EQ(WTERMSIG(status), SIGKILL);
        return false;
    }
    CHECK_EQ(WEXITSTATUS(status), 0);
    return true;
}

/* The value of key k is as after `done` or as after `begun` operations. */
static void check_value(const struct trial *t, unsigned k, uint64_t size, bool may_be_lost)
{
    uint64_t before[KEYS];
    uint64_t after[KEYS];

    model_after(t, ds_load_relaxed(&t->g->done), before);
    model_after(t, ds_load_relaxed(&t->g->begun), after);
    if (size != before[k] && size != after[k] && !(may_be_lost && size == 0)) {
        CHECK_EQ(size, before[k]);
    }
}

static uint64_t get_size(struct trial *t, unsigned k)
{
    char buf[64];
    const char *key = key_name(k, buf);
    int rc = ask_one(t, DS_OP_GET, key);

    if (rc == DS_ENOTFOUND) {
        return 0;
    }
    CHECK_OK(rc);
    settle(&t->w);
    return hit(&t->w, &t->w.peer[0], key);
}

/* As the worker does with a log whose places the store still knows: all other copies are void. */
static void bury_unknown(struct trial *t)
{
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        struct fake_copy *c = &t->tier.disk->copy[i];

        if (c->number != 0) {
            bool dirty;

            c->dead = !ds_store_has_place(t->w.s, c->key, strlen(c->key), c->number, &dirty);
            c->buried = c->buried || c->dead;
        }
    }
}

static void next_worker(struct trial *t)
{
    struct world *w = &t->w;

    w->s = ds_store_destroy(w->s);
    w->now = t->g->now;
    w->now.boot_ns += MS;
    w->now.ticks += 1000000;
    attach(t, t->tier.disk);
    world_attach(w);
    CHECK_OK(world_adopt(w, &w->peer[0]));
    peer_resume(&w->peer[0]);
    CHECK_OK(ds_store_recover(w->s, &w->now));
    world_found(w);
    bury_unknown(t);
    settle_tiers(w, &t->tier);
    world_check(w);
    CHECK_EQ(w->s->lost_records, 0);
    for (unsigned k = 0; k < KEYS; k++) {
        check_value(t, k, get_size(t, k), false);
    }
    squeeze(t);
    for (unsigned k = 0; k < KEYS; k++) {
        check_value(t, k, get_size(t, k), false);
    }
    world_check(w);
}

/* Only the disk is left, and of that only what a restart finds: the newest write of each key that
 * is not buried. */
static void power_loss(struct trial *t)
{
    struct world *w = &t->w;
    struct fake_disk *disk = t->tier.disk;

    memset(w, 0, sizeof(*w));
    world_make(w, DATA);
    attach(t, disk);
    world_start(w);
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        struct fake_copy *c = &disk->copy[i];
        bool newest = c->number != 0 && !c->buried;

        for (unsigned k = 0; k < FAKE_COPIES; k++) {
            newest = newest && !(disk->copy[k].number > c->number && !disk->copy[k].buried &&
                                 strcmp(disk->copy[k].key, c->key) == 0);
        }
        c->dead = !newest;
        c->buried = !newest;
        if (newest) {
            struct ds_store_found f = {.key = c->key,
                                       .key_size = strlen(c->key),
                                       .size = c->size,
                                       .place = c->number,
                                       .version = c->order,
                                       .uploaded = c->uploaded,
                                       .mode = c->mode,
                                       .kind = c->kind};

            f.unverified = ds_store_found_in_l2(w->s, &f);
            CHECK(!f.unverified || f.version != 0);
            CHECK_OK(ds_store_enter_spilled(w->s, &f));
        }
    }
    world_found(w);
    (void)peer_open(w, 0);
    settle_tiers(w, &t->tier);
    for (unsigned k = 0; k < KEYS; k++) {
        check_value(t, k, get_size(t, k), !t->l2);
    }
    world_check(w);
    w->s = ds_store_destroy(w->s);
}

static void copy_disk(struct fake_disk *to, const struct fake_disk *from)
{
    to->numbers = from->numbers;
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        const struct fake_copy *c = &from->copy[i];

        if (c->number != 0) {
            memcpy(&to->copy[i], c, offsetof(struct fake_copy, value) + c->size);
        }
    }
    for (unsigned i = 0; i < FAKE_L2; i++) {
        const struct fake_object *o = &from->l2[i];

        if (o->key[0] != '\0') {
            memcpy(&to->l2[i], o, offsetof(struct fake_object, value) + o->size);
        }
    }
}

static bool one_trial(bool l2, uint64_t seed, const char *spec)
{
    struct trial t;
    bool whole;
    pid_t pid;
    int status;

    trial_begin(&t, l2, seed);
    whole = run_child(&t, spec);
    pid = fork(); /* the disk is shared with this process: it goes first, over a copy */
    CHECK(pid >= 0);
    if (pid == 0) {
        struct fake_disk *copy = fake_disk_make();

        copy_disk(copy, t.tier.disk);
        t.tier.disk = copy;
        power_loss(&t);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    next_worker(&t);
    t.w.s = ds_store_destroy(t.w.s);
    ds_segment_close(&t.w.peer[0].seg);
    ds_segment_close(&t.w.index);
    ds_segment_close(&t.w.state);
    ds_segment_close(&t.w.data);
    CHECK_OK(munmap(t.tier.disk, sizeof(*t.tier.disk)));
    CHECK_OK(munmap(t.g, sizeof(*t.g)));
    return whole;
}

static void kill_everywhere(bool l2, const char *const *points, size_t n_points)
{
    char spec[64];

    for (size_t i = 0; i < n_points; i++) {
        unsigned kills = 0;

        for (unsigned seed = 1; seed <= 4; seed++) {
            for (unsigned n = 1; n < 8; n++) {
                (void)snprintf(spec, sizeof(spec), "%s=kill@%u", points[i], n * n);
                if (one_trial(l2, seed, spec)) {
                    break;
                }
                kills++;
            }
        }
        if (kills == 0) {
            (void)fprintf(stderr, "# %s is never reached\n", points[i]);
        }
        CHECK(kills > 0);
    }
}

DS_TEST_TIMEOUT(spill__survives_a_kill_at_every_failpoint, 120)
{
    static const char *const points[] = {
        "publish.live",        "unpublish.doomed",    "demote.before_word",
        "demote.spilled",      "install.moving",      "install.torn",
        "install.before_word", "install.live",        "spill.placed",
        "apply.before_cursor", "request.before_done", "request.done",
        "pass.applied",        "reclaim.marked",      "arrive.before_descriptor",
        "arrive.whole",        "arrive.before_word",  "arrive.stalled",
        "arrive.let_go",
    };

    kill_everywhere(false, points, DS_ARRAY_SIZE(points));
}

DS_TEST_TIMEOUT(spill__what_l2_promised_survives_a_kill_at_every_failpoint, 120)
{
    static const char *const points[] = {
        "publish.live", "publish.before_record", "unpublish.doomed", "demote.spilled",
        "load.live",    "install.live",          "upload.marked",    "request.before_done",
        "request.done", "pass.applied",          "reclaim.marked",
    };

    kill_everywhere(true, points, DS_ARRAY_SIZE(points));
}

DS_TEST(spill__a_script_without_a_kill_ends_well)
{
    CHECK(one_trial(false, 1, NULL));
    CHECK(one_trial(true, 2, NULL));
}
