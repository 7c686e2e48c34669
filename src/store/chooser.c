/* SPDX-License-Identifier: Apache-2.0 */
#include "store/chooser.h"

#include "base/alloc.h"
#include "store/policy.h"

#define ENTRIES 4096u /* of a miniature cache; halved in number when they are used up */
#define ENTRIES_FEW (ENTRIES / 8)
#define SHIFT_MAX 24u
#define MEMORY 128u   /* disagreements after which older ones count half */
#define DEVIATIONS 3u /* that make a difference significant */

struct entry {
    uint64_t size;
    uint32_t hash;
    uint32_t next; /* in the bucket, or free; DS_ID_NONE: the last */
};

struct mini {
    struct ds_policy *policy;
    uint64_t bytes;
    uint32_t free_first;
    uint32_t n;
    uint32_t head[ENTRIES];
    struct entry entry[ENTRIES];
    struct ds_link link[ENTRIES];
};

struct ds_chooser {
    struct mini *mini[DS_CHOICES];
    uint32_t alone[DS_CHOICES]; /* references that this one alone hit, lately */
    uint64_t capacity;
    unsigned shift;
    enum ds_choice choice;
};

/* --- a miniature cache --- */

static uint64_t entry_size(const void *arg, uint32_t id)
{
    const struct mini *m = arg;

    return m->entry[id].size;
}

static uint32_t entry_hash(const void *arg, uint32_t id)
{
    const struct mini *m = arg;

    return m->entry[id].hash;
}

/* The place that names the entry of this hash, or DS_ID_NONE at the end of its bucket. Two keys of
 * one hash are one key here. */
static uint32_t *place(struct mini *m, uint32_t hash)
{
    uint32_t *at = &m->head[hash % ENTRIES];

    while (*at != DS_ID_NONE && m->entry[*at].hash != hash) {
        at = &m->entry[*at].next;
    }
    return at;
}

/* The policy has let it go already. */
static void free_entry(struct mini *m, uint32_t id)
{
    uint32_t *at = place(m, m->entry[id].hash);

    DS_ASSERT(*at == id);
    *at = m->entry[id].next;
    m->bytes -= m->entry[id].size;
    m->entry[id].next = m->free_first;
    m->free_first = id;
    m->n--;
}

static void drop(struct mini *m, uint32_t hash)
{
    uint32_t id = *place(m, hash);

    if (id != DS_ID_NONE) {
        ds_policy_remove(m->policy, id);
        free_entry(m, id);
    }
}

static void make_room(struct mini *m, uint64_t capacity)
{
    while (m->n > 0 && (m->bytes > capacity || m->n == ENTRIES)) {
        uint32_t id = ds_policy_victim(m->policy);

        ds_policy_evict(m->policy, id);
        free_entry(m, id);
    }
}

static bool hit(struct mini *m, uint32_t hash, uint64_t size, uint64_t capacity)
{
    uint32_t id = *place(m, hash);

    if (id != DS_ID_NONE) {
        ds_policy_touch(m->policy, id);
        return true;
    }
    if (size <= capacity) {
        make_room(m, capacity - size);
        DS_ASSERT(m->bytes <= capacity && size <= capacity - m->bytes);
        DS_ASSERT(m->free_first != DS_ID_NONE);
        id = m->free_first;
        m->free_first = m->entry[id].next;
        m->entry[id] = (struct entry){size, hash, DS_ID_NONE};
        *place(m, hash) = id;
        m->bytes += size;
        m->n++;
        ds_policy_insert(m->policy, id);
    }
    return false;
}

static int make_mini(const char *policy, struct mini **ret)
{
    struct mini *m = ds_zalloc(sizeof(*m), "miniature cache");
    struct ds_policy_env env = {.arg = m, .max = ENTRIES, .size = entry_size, .hash = entry_hash};
    int rc;

    if (m == NULL) {
        return DS_ENOMEM;
    }
    env.link = m->link;
    rc = ds_policy_create(policy, &env, &m->policy);
    if (rc != 0) {
        ds_free(m);
        return rc;
    }
    for (uint32_t i = 0; i < ENTRIES; i++) {
        m->head[i] = DS_ID_NONE;
        m->entry[i].next = i + 1 < ENTRIES ? i + 1 : DS_ID_NONE;
    }
    *ret = m;
    return 0;
}

/* --- the sample --- */

/* Independent of the bits that buckets and fingerprints use. */
static bool sampled(const struct ds_chooser *c, uint32_t hash)
{
    uint32_t mixed = hash * UINT32_C(0x85ebca6b);

    mixed ^= mixed >> 15;
    return (mixed * UINT32_C(0xc2b2ae35) & ((UINT32_C(1) << c->shift) - 1)) == 0;
}

/* Half the keys leave the sample. */
static void thin(struct ds_chooser *c)
{
    c->shift++;
    for (unsigned i = 0; i < DS_CHOICES; i++) {
        struct mini *m = c->mini[i];

        for (uint32_t b = 0; b < ENTRIES; b++) {
            uint32_t id = m->head[b];

            while (id != DS_ID_NONE) {
                uint32_t next = m->entry[id].next;

                if (!sampled(c, m->entry[id].hash)) {
                    ds_policy_remove(m->policy, id);
                    free_entry(m, id);
                }
                id = next;
            }
        }
    }
}

static void count(struct ds_chooser *c, enum ds_choice alone)
{
    enum ds_choice other = c->choice == DS_CHOICE_LRU ? DS_CHOICE_S3FIFO : DS_CHOICE_LRU;
    uint32_t all = c->alone[0] + c->alone[1] + 1;

    c->alone[alone]++;
    if (c->alone[other] > c->alone[c->choice]) {
        uint32_t more = c->alone[other] - c->alone[c->choice];

        if (more * more > DEVIATIONS * DEVIATIONS * all) {
            c->choice = other;
        }
    }
    if (all >= MEMORY) {
        c->alone[0] /= 2;
        c->alone[1] /= 2;
    }
}

int ds_chooser_create(struct ds_chooser **ret)
{
    static const char *const name[DS_CHOICES] = {"lru", "s3fifo"};
    struct ds_chooser *c = ds_zalloc(sizeof(*c), "chooser");

    if (c == NULL) {
        return DS_ENOMEM;
    }
    c->capacity = UINT64_MAX;
    for (unsigned i = 0; i < DS_CHOICES; i++) {
        int rc = make_mini(name[i], &c->mini[i]);

        if (rc != 0) {
            c = ds_chooser_destroy(c);
            return rc;
        }
    }
    *ret = c;
    return 0;
}

struct ds_chooser *ds_chooser_destroy(struct ds_chooser *c)
{
    for (unsigned i = 0; c != NULL && i < DS_CHOICES; i++) {
        if (c->mini[i] != NULL) {
            c->mini[i]->policy = ds_policy_destroy(c->mini[i]->policy);
            ds_free(c->mini[i]);
        }
    }
    ds_free(c);
    return NULL;
}

void ds_chooser_resize(struct ds_chooser *c, uint64_t capacity, uint64_t objects)
{
    c->capacity = capacity;
    if (c->shift > 0 && objects >> c->shift < ENTRIES_FEW) {
        c->shift--;
    }
}

void ds_chooser_use(struct ds_chooser *c, uint32_t hash, uint64_t size)
{
    uint64_t capacity;
    bool lru;
    bool s3fifo;

    if (!sampled(c, hash)) {
        return;
    }
    while (c->shift < SHIFT_MAX && (c->mini[0]->n == ENTRIES || c->mini[1]->n == ENTRIES)) {
        thin(c);
    }
    if (!sampled(c, hash)) {
        return;
    }
    capacity = c->capacity == UINT64_MAX ? UINT64_MAX : c->capacity >> c->shift;
    lru = hit(c->mini[DS_CHOICE_LRU], hash, size, capacity);
    s3fifo = hit(c->mini[DS_CHOICE_S3FIFO], hash, size, capacity);
    if (lru != s3fifo) {
        count(c, lru ? DS_CHOICE_LRU : DS_CHOICE_S3FIFO);
    }
}

void ds_chooser_forget(struct ds_chooser *c, uint32_t hash)
{
    if (sampled(c, hash)) {
        drop(c->mini[DS_CHOICE_LRU], hash);
        drop(c->mini[DS_CHOICE_S3FIFO], hash);
    }
}

enum ds_choice ds_chooser_choice(const struct ds_chooser *c)
{
    return c->choice;
}

unsigned ds_chooser_shift(const struct ds_chooser *c)
{
    return c->shift;
}
