/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_tier.h - a disk and a second level of a few shared pages: they outlive the process that
 * plays the worker, what is queued does not. Work is done when the test says so, in order.
 */
#ifndef DS_UNIT_STORE_FAKE_TIER_H
#define DS_UNIT_STORE_FAKE_TIER_H

#include <sys/mman.h>

#include "driver.h"

#define FAKE_COPIES 512u
#define FAKE_VALUE_MAX (64 * KIB)
#define FAKE_QUEUE 512u
#define FAKE_L2 384u

struct fake_copy {
    uint64_t number; /* of the write, from 1; 0: empty */
    uint64_t order;
    char key[80];
    uint64_t size;
    int64_t expiry_ns;
    uint8_t mode;
    uint8_t kind;
    bool uploaded;
    bool dead;   /* may be reused */
    bool buried; /* is not found after a restart */
    uint8_t value[FAKE_VALUE_MAX];
};

struct fake_object {
    char key[80]; /* "": empty */
    uint64_t size;
    uint64_t order;
    int64_t expiry_ns;
    uint8_t mode;
    uint8_t kind;
    uint8_t value[FAKE_VALUE_MAX];
};

struct fake_disk {
    uint64_t numbers;
    uint64_t orders;
    struct fake_copy copy[FAKE_COPIES];
    struct fake_object l2[FAKE_L2];
};

struct fake_tier {
    struct world *w;
    struct fake_disk *disk;
    struct ds_tier_op *queue[FAKE_QUEUE];
    uint64_t queued_number[FAKE_QUEUE];
    unsigned n;
    unsigned limit;    /* ops that may be queued */
    uint64_t capacity; /* copies that the disk holds */
    uint64_t bury_asked;
    bool journal_limited;
    bool hold_burials; /* tombstones stay unwritten */
    bool keeps;        /* those of plain modes are safe at once */
    bool gone;         /* the disk knows that it has no copy of what is to be read */
    bool ahead;        /* the clocks of others are, in L2 */
    bool silent;       /* L2 is not asked */
    bool fails_late;   /* the disk: what it has written all the same may be there after a restart */
    int fail;          /* status of what is done next */
    int fail_l2;
    unsigned writes;
    unsigned reads;
    unsigned stores;
    unsigned loads;
    unsigned lookups;
    unsigned rejected;
    struct {
        char key[80];
        uint64_t number;
    } bury[FAKE_COPIES];
    unsigned bury_n;
};

static inline struct fake_disk *fake_disk_make(void)
{
    void *p = mmap(NULL, sizeof(struct fake_disk), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

static inline uint64_t fake_used(const struct fake_tier *t)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        n += t->disk->copy[i].number != 0 && !t->disk->copy[i].dead;
    }
    for (unsigned i = 0; i < t->n; i++) {
        n += t->queue[i]->kind == DS_TIER_SPILL;
    }
    return n;
}

static inline int fake_start(void *arg, struct ds_tier_op *op)
{
    struct fake_tier *t = arg;

    CHECK_LE(op->size, FAKE_VALUE_MAX);
    CHECK(op->key_size < 80);
    if (op->kind == DS_TIER_FETCH && t->gone) {
        return DS_ECORRUPT;
    }
    if (t->silent && op->kind > DS_TIER_JOURNAL) {
        t->rejected++;
        return DS_EUNAVAILABLE;
    }
    if (t->n == t->limit) {
        return DS_EAGAIN;
    }
    if ((op->kind == DS_TIER_SPILL || (op->kind == DS_TIER_JOURNAL && t->journal_limited)) &&
        fake_used(t) >= t->capacity) {
        return DS_ENOSPACE;
    }
    for (unsigned i = 0; i < t->n && op->kind >= DS_TIER_JOURNAL; i++) { /* one of a key */
        CHECK(t->queue[i]->kind < DS_TIER_JOURNAL || t->queue[i]->key_size != op->key_size ||
              memcmp(t->queue[i]->key, op->key, op->key_size) != 0);
    }
    t->queued_number[t->n] = ++t->disk->numbers;
    t->queue[t->n++] = op;
    return 0;
}

static inline struct fake_copy *fake_at(struct fake_tier *t, uint64_t place)
{
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        if (t->disk->copy[i].number == place) {
            return &t->disk->copy[i];
        }
    }
    return NULL;
}

/* Of the copies that there were when so many numbers were given. */
static inline void fake_bury_copies(struct fake_tier *t, const char *key, uint64_t number)
{
    for (unsigned i = 0; i < FAKE_COPIES; i++) {
        struct fake_copy *c = &t->disk->copy[i];

        if (c->number != 0 && c->number <= number && strcmp(c->key, key) == 0) {
            c->buried = true;
        }
    }
}

static inline bool fake_forget(void *arg, const uint8_t *key, uint32_t key_size, uint64_t place,
                               uint64_t size, enum ds_bury bury)
{
    struct fake_tier *t = arg;
    struct fake_copy *c = place != 0 ? fake_at(t, place) : NULL;
    char text[80] = "";

    (void)size;
    CHECK_LT(key_size, sizeof(text));
    if (place != 0) {
        CHECK(c != NULL && !c->dead);
        CHECK(strlen(c->key) == key_size && memcmp(c->key, key, key_size) == 0);
        c->dead = true;
    }
    if (bury == DS_BURY_NOT) {
        return true;
    }
    memcpy(text, key, key_size);
    if (t->keeps && bury == DS_BURY_PLAIN) {
        fake_bury_copies(t, text, t->disk->numbers);
        return true;
    }
    t->bury_asked++;
    CHECK(t->bury_n < FAKE_COPIES);
    memcpy(t->bury[t->bury_n].key, text, sizeof(text));
    t->bury[t->bury_n++].number = t->disk->numbers;
    return false;
}

static inline int fake_clean(void *arg, const struct ds_tier_op *op, uint64_t place)
{
    struct fake_tier *t = arg;
    struct fake_copy *c = fake_at(t, place);

    CHECK(c != NULL && !c->dead && strlen(c->key) == op->key_size);
    c->uploaded = true;
    return t->w->config.spill ? 0 : DS_UNCHANGED;
}

static inline void fake_stats(void *arg, struct ds_worker_stats *ret)
{
    const struct fake_tier *t = arg;

    ret->disk_capacity = t->capacity;
}

static inline uint64_t fake_order(void *arg)
{
    struct fake_tier *t = arg;

    return ++t->disk->orders;
}

static const struct ds_store_tier fake_ops = {fake_start, fake_forget, fake_clean, fake_order,
                                              fake_stats};

static inline void fake_write(struct fake_tier *t, struct ds_tier_op *op, uint64_t number)
{
    struct fake_copy *c = NULL;

    for (unsigned i = 0; i < FAKE_COPIES && c == NULL; i++) {
        if (t->disk->copy[i].number == 0 || (t->disk->copy[i].dead && t->disk->copy[i].buried)) {
            c = &t->disk->copy[i];
        }
    }
    CHECK(c != NULL);
    memset(c, 0, offsetof(struct fake_copy, value));
    memcpy(c->key, op->key, op->key_size);
    memcpy(c->value, t->w->data.base + op->offset, op->size);
    c->size = op->size;
    c->order = op->order;
    c->expiry_ns = op->expiry_ns;
    c->mode = op->mode;
    c->kind = op->object_kind;
    c->uploaded = op->kind != DS_TIER_JOURNAL && !op->dirty;
    c->number = number;
    op->place = number;
    t->writes++;
}

static inline const struct fake_copy *fake_copy_of(struct fake_tier *t, const struct ds_tier_op *op)
{
    const struct fake_copy *c = fake_at(t, op->place);

    CHECK(c != NULL);
    CHECK(strlen(c->key) == op->key_size && memcmp(c->key, op->key, op->key_size) == 0);
    CHECK_EQ(c->size, op->size);
    CHECK_EQ(c->order, op->order);
    return c;
}

static inline void fake_read(struct fake_tier *t, struct ds_tier_op *op)
{
    const struct fake_copy *c = fake_copy_of(t, op);

    memcpy(t->w->data.base + op->offset, c->value, op->size);
    t->reads++;
}

/* Of the one fetch that is queued, the first `bytes` are there. */
static inline void fake_arrive(struct fake_tier *t, uint64_t bytes)
{
    CHECK_EQ(t->n, 1u);
    CHECK(t->queue[0]->kind == DS_TIER_FETCH && bytes <= t->queue[0]->size);
    memcpy(t->w->data.base + t->queue[0]->offset, fake_copy_of(t, t->queue[0])->value, bytes);
    ds_store_tier_arrived(t->w->s, t->queue[0], bytes);
}

/* The object of a key; NULL: there is none. With `make` an empty one. */
static inline struct fake_object *fake_l2(struct fake_tier *t, const void *key, size_t key_size,
                                          bool make)
{
    struct fake_object *o = NULL;

    for (unsigned i = 0; i < FAKE_L2; i++) {
        struct fake_object *x = &t->disk->l2[i];

        if (strlen(x->key) == key_size && memcmp(x->key, key, key_size) == 0) {
            return x;
        }
        if (make && o == NULL && x->key[0] == '\0') {
            o = x;
        }
    }
    CHECK(!make || o != NULL);
    return o;
}

static inline int fake_second(struct fake_tier *t, struct ds_tier_op *op)
{
    bool put = op->kind == DS_TIER_STORE || op->kind == DS_TIER_UPLOAD;
    struct fake_object *o = fake_l2(t, op->key, op->key_size, put);
    int rc;

    t->stores += put;
    t->loads += op->kind == DS_TIER_LOAD;
    t->lookups += op->kind == DS_TIER_LOOKUP;
    CHECK(op->order != 0 || op->kind == DS_TIER_LOOKUP || op->kind == DS_TIER_LOAD);
    if (op->renews && (o == NULL || o->order != op->order - 1)) {
        return DS_ESTALE;
    }
    t->disk->orders = ds_max_u64(t->disk->orders, op->order);
    if ((put || op->kind == DS_TIER_ERASE) && o != NULL && o->order > op->order) {
        if ((op->claim != DS_CLAIM_LAST && !(op->claim == DS_CLAIM_ACKNOWLEDGED && t->ahead)) ||
            !ds_store_tier_current(t->w->s, op)) {
            return DS_ESTALE;
        }
        op->order = ++o->order;
        t->disk->orders = ds_max_u64(t->disk->orders, op->order);
    }
    if (put) {
        memset(o, 0, sizeof(*o));
        o->order = op->order;
        memcpy(o->key, op->key, op->key_size);
        memcpy(o->value, t->w->data.base + op->offset, op->size);
        o->size = op->size;
        o->expiry_ns = op->expiry_ns;
        o->mode = op->mode;
        o->kind = op->object_kind;
        return 0;
    }
    if (op->kind == DS_TIER_ERASE) {
        if (o != NULL) {
            memset(o, 0, sizeof(*o));
        }
        return 0;
    }
    if (o == NULL || (o->expiry_ns != 0 && o->expiry_ns <= t->w->now.boot_ns)) {
        return DS_ENOTFOUND;
    }
    op->expiry_ns = o->expiry_ns;
    op->mode = o->mode;
    op->object_kind = o->kind;
    op->order = o->order;
    if (op->kind == DS_TIER_LOOKUP) {
        op->size = o->size;
        return 0;
    }
    rc = ds_store_tier_room(t->w->s, op, o->size);
    if (rc == 0) {
        memcpy(t->w->data.base + op->offset, o->value, o->size);
    }
    return rc;
}

static inline void fake_bury(struct fake_tier *t)
{
    for (unsigned i = 0; i < t->bury_n; i++) {
        fake_bury_copies(t, t->bury[i].key, t->bury[i].number);
    }
    t->bury_n = 0;
    ds_store_buried(t->w->s, t->bury_asked);
}

/* Does everything that is queued. True if there was something. */
static inline bool fake_work(struct fake_tier *t)
{
    unsigned n = t->n;
    struct ds_tier_op *op[FAKE_QUEUE];
    uint64_t number[FAKE_QUEUE];

    memcpy(op, t->queue, sizeof(op));
    memcpy(number, t->queued_number, sizeof(number));
    t->n = 0;
    for (unsigned i = 0; i < n; i++) {
        op[i]->status = op[i]->kind > DS_TIER_JOURNAL ? t->fail_l2 : t->fail;
        if (op[i]->status != 0) {
            if (t->fails_late && op[i]->kind == DS_TIER_JOURNAL) {
                fake_write(t, op[i], number[i]);
                fake_at(t, op[i]->place)->dead = true;
                op[i]->place = 0;
            }
        } else if (op[i]->kind == DS_TIER_FETCH) {
            fake_read(t, op[i]);
        } else if (op[i]->kind > DS_TIER_JOURNAL) {
            op[i]->status = fake_second(t, op[i]);
        } else {
            fake_write(t, op[i], number[i]);
        }
        ds_store_tier_done(t->w->s, op[i]);
    }
    if (t->bury_n > 0 && !t->hold_burials) {
        fake_bury(t);
        return true;
    }
    return n > 0;
}

static inline void fake_attach(struct fake_tier *t, struct world *w, struct fake_disk *disk)
{
    *t = (struct fake_tier){.w = w, .disk = disk, .limit = FAKE_QUEUE, .capacity = FAKE_COPIES / 2};
    w->config.tier = &fake_ops;
    w->config.tier_arg = t;
    w->config.spill = true;
}

static inline void fake_attach_l2(struct fake_tier *t, struct world *w, struct fake_disk *disk)
{
    fake_attach(t, w, disk);
    w->config.l2 = true;
    w->config.journal = true;
    w->config.upload_max = 100;
}

/* Passes and work until both rest. */
static inline void settle_tiers(struct world *w, struct fake_tier *t)
{
    do {
        settle(w);
    } while (fake_work(t));
}

/* --- a store over tiers, and a client --- */

struct scene {
    struct world w;
    struct fake_tier t;
    struct peer *p;
};

typedef void fake_attach_fn(struct fake_tier *t, struct world *w, struct fake_disk *disk);

static inline void scene_make(struct scene *c, uint64_t data_size, fake_attach_fn *attach)
{
    world_make(&c->w, data_size);
    attach(&c->t, &c->w, fake_disk_make());
    world_start(&c->w);
    c->p = peer_open(&c->w, 0);
}

static inline void scene_end(struct scene *c)
{
    c->t.hold_burials = false;
    settle_tiers(&c->w, &c->t);
    world_end(&c->w);
    CHECK_OK(munmap(c->t.disk, sizeof(*c->t.disk)));
}

/* Everything that may leaves memory. */
static inline void scene_squeeze(struct scene *c)
{
    c->w.now.boot_ns += 30 * MS; /* what came back has been pinned by now, or never will be */
    settle_tiers(&c->w, &c->t);
    while (ds_store_make_room(c->w.s, c->w.config.data_size) == DS_ROOM_MADE) {
    }
    settle_tiers(&c->w, &c->t);
}

#endif
