/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_l2_dir_crash.c - what a loss of power may leave of second-level storage in a directory.
 *
 * All short sequences of operations are recorded. For every moment of the last operation, each
 * state that the model of fs_record.h permits is put into a directory and opened: every put that
 * was acknowledged is there, whole, or a later one of its key that was not; what was removed stays
 * away; nothing else is there; listing, collecting, setting and removing work.
 *
 * DS_CRASH_DEPTH: how many operations a sequence has, 2 otherwise. With 3 it takes some minutes.
 */
#include <stdarg.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "fs_record.h"
#include "tier/l2_format.h"

#define KEYS 3u
#define VERSIONS 64u
#define STALE 5u /* older than all others */
#define LARGE (DS_L2_CHUNK + 100)
#define SEEN (1u << 14)
#define HOUR_NS ((int64_t)3600 * 1000000000)

struct scene {
    char folder[40]; /* of all that follows */
    char run[64], run_root[80], state[64], state_root[80];
    char key[KEYS][16]; /* the first two are in one shard */
    char shard[2][3];
    struct ds_l2 *l2;
    uint64_t version;
    bool gone[VERSIONS]; /* of a tombstone, or expired from the beginning */
    uint64_t size[VERSIONS];
    uint64_t found[KEYS]; /* versions, 0: absent */
    char ops[64];         /* what is told when something is wrong */
    uint64_t seen[SEEN];
    uint64_t states, duplicates, moments;
    struct fs_state *s;
    uint8_t value[LARGE], there[LARGE];
};

static struct scene *scene;
static struct ds_l2_call call;

__attribute__((format(printf, 4, 5))) static void demand(bool fine, const char *ops, int end,
                                                         const char *format, ...)
{
    char text[256];
    va_list args;

    if (!fine) {
        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        for (int i = 0; i < scene->s->n_entries; i++) {
            const struct fs_entry *e = &scene->s->entry[i];

            (void)printf("# file %d is %s in %d, of %lu bytes\n", e->file, fs_names[e->name],
                         e->dir, (unsigned long)scene->s->file[e->file].size);
        }
        ds_test_fail(__FILE__, __LINE__, "power lost before event %d of '%s': %s", end, ops, text);
    }
}

/* --- operations --- */

static void fill(uint8_t *p, uint64_t size, unsigned k, uint64_t version)
{
    uint64_t x = version * 0x9e3779b97f4a7c15u + k;

    for (uint64_t i = 0; i < size; i++) {
        x = i % 8 == 0 ? x * 6364136223846793005u + 1442695040888963407u : x;
        p[i] = (uint8_t)(x >> (8 * (i % 8)));
    }
}

static int open_at(const char *path, struct ds_l2 **ret)
{
    struct ds_l2_config config = {.type = DS_L2_DIR, .directory = path};
    char err[256] = "";

    return ds_l2_open(&config, err, sizeof(err), ret);
}

static struct ds_l2_item item_of(unsigned k, uint64_t version, uint64_t size)
{
    struct scene *c = scene;

    CHECK_LT(version, VERSIONS);
    c->size[version] = size;
    return (struct ds_l2_item){.key = c->key[k],
                               .key_size = (uint32_t)strlen(c->key[k]),
                               .meta = {.version = version, .size = size},
                               .value = {.fd = -1, .memory = c->value}};
}

/* Whether a key certainly has a value that is newer than STALE. */
static bool is_there(unsigned k)
{
    for (int i = fs_n - 1; i >= 0; i--) {
        const struct fs_event *e = &fs_events[i];

        if ((e->what == FS_BEGIN || e->what == FS_ACK) && e->key == k) {
            return e->what == FS_ACK && e->version > STALE && !scene->gone[e->version];
        }
    }
    return false;
}

static void put(unsigned k, uint64_t version, uint64_t size, bool expired)
{
    struct ds_l2_item item = item_of(k, version, size);
    uint64_t newer = 0;
    bool there = is_there(k);
    int rc;

    fill(scene->value, size, k, version);
    item.newer = &newer;
    item.meta.expiry_unix_ns = expired ? 1 : 0;
    scene->gone[version] = expired;
    fs_note(FS_BEGIN, k, version, true);
    rc = ds_l2_put(scene->l2, &call, &item);
    demand(rc != 0 || version != STALE || !there, scene->ops, fs_n, "an older one is taken");
    if (rc == 0 || rc == DS_ESTALE) { /* the newer one is promised then */
        fs_note(FS_ACK, k, rc == 0 ? version : newer, true);
    }
}

static void del(unsigned k)
{
    uint64_t version = ++scene->version;

    scene->gone[version] = true;
    scene->size[version] = 0;
    fs_note(FS_BEGIN, k, version, true);
    if (ds_l2_remove(scene->l2, &call, scene->key[k], (uint32_t)strlen(scene->key[k]), version) ==
        0) {
        fs_note(FS_ACK, k, version, true);
    }
}

/* All keys: their syncs are shared. */
static void put_all(void)
{
    struct ds_l2_item items[KEYS];
    int rcs[KEYS];
    uint64_t version = ++scene->version;

    for (unsigned k = 0; k < KEYS; k++) {
        items[k] = item_of(k, version, 40);
        items[k].value.memory = scene->value + k * 1000;
        fill(scene->value + k * 1000, 40, k, version);
        fs_note(FS_BEGIN, k, version, true);
    }
    scene->gone[version] = false;
    ds_failpoint_arm("l2.dir.ring=errno:38"); /* its syncs cannot be recorded */
    ds_l2_put_many(scene->l2, &call, items, KEYS, rcs);
    ds_failpoint_arm(NULL);
    for (unsigned k = 0; k < KEYS; k++) {
        if (rcs[k] == 0) {
            fs_note(FS_ACK, k, version, true);
        }
    }
}

static int collect(struct ds_l2 *l2, struct ds_l2_gc *ret)
{
    *ret = (struct ds_l2_gc){.now_unix_ns = ds_now_ns(CLOCK_REALTIME) + HOUR_NS};
    return ds_l2_gc(l2, &call, ret);
}

static void reopen(void)
{
    scene->l2 = ds_l2_close(scene->l2);
    (void)open_at(scene->run_root, &scene->l2); /* fails where it is killed */
}

#define ALL_OPS "abcAmsg"
#define MORE_OPS "xrL"

static void operate(char op)
{
    struct ds_l2_gc gc;

    if (scene->l2 == NULL && op != 'r') {
        return;
    }
    switch (op) {
    case 'a':
    case 'b':
    case 'c':
        scene->version++;
        put((unsigned)(op - 'a'), scene->version, 40 + 20 * (scene->version % 3), false);
        break;
    case 'L':
        put(0, ++scene->version, LARGE, false);
        break;
    case 'x':
        put(0, ++scene->version, 40, true);
        break;
    case 's':
        put(0, STALE, 40, false);
        break;
    case 'A':
        del(0);
        break;
    case 'm':
        put_all();
        break;
    case 'g':
        (void)collect(scene->l2, &gc);
        break;
    default:
        CHECK_EQ(op, 'r');
        reopen();
    }
}

/* --- checks --- */

static int to_there(void *arg, const struct ds_l2_meta *meta, struct ds_l2_span *ret)
{
    (void)arg;
    if (meta->size > LARGE) {
        return DS_ENOSPACE;
    }
    *ret = (struct ds_l2_span){.fd = -1, .memory = scene->there};
    return 0;
}

static bool was_begun(unsigned k, uint64_t version, int end)
{
    for (int i = 0; i < end; i++) {
        const struct fs_event *e = &fs_events[i];

        if (e->what == FS_BEGIN && e->key == k && e->version == version) {
            return true;
        }
    }
    return false;
}

/* The last acknowledgement of a key binds, or anything that was asked after it. */
static bool may_be(unsigned k, uint64_t found, int end)
{
    for (int i = end - 1; i >= 0; i--) {
        const struct fs_event *e = &fs_events[i];

        if ((e->what == FS_BEGIN || e->what == FS_ACK) && e->key == k) {
            if (found == 0 ? scene->gone[e->version] : found == e->version) {
                return true;
            }
            if (e->what == FS_ACK) {
                return false;
            }
        }
    }
    return found == 0;
}

static void check_key(struct ds_l2 *l2, unsigned k, int end)
{
    struct ds_l2_meta meta = {0};
    const char *key = scene->key[k];
    int rc = ds_l2_get(l2, &call, key, (uint32_t)strlen(key), to_there, NULL, &meta);

    demand(rc == 0 || rc == DS_ENOTFOUND, scene->ops, end, "get of key %u: %d, %s", k, rc,
           call.err);
    scene->found[k] = rc == 0 ? meta.version : 0;
    demand(may_be(k, scene->found[k], end), scene->ops, end, "key %u has version %lu", k,
           (unsigned long)scene->found[k]);
    if (rc == 0) {
        demand(meta.size == scene->size[meta.version], scene->ops, end, "key %u has %lu bytes", k,
               (unsigned long)meta.size);
        fill(scene->value, meta.size, k, meta.version);
        demand(memcmp(scene->value, scene->there, meta.size) == 0, scene->ops, end,
               "key %u has other bytes", k);
    }
}

/* A collection changes nothing that can be read. */
static void check_same(struct ds_l2 *l2, unsigned k, int end)
{
    struct ds_l2_meta meta = {0};
    const char *key = scene->key[k];
    int rc = ds_l2_head(l2, &call, key, (uint32_t)strlen(key), false, &meta);

    demand(rc == (scene->found[k] == 0 ? DS_ENOTFOUND : 0) && meta.version == scene->found[k],
           scene->ops, end, "after gc key %u has version %lu, not %lu: %d", k,
           (unsigned long)meta.version, (unsigned long)scene->found[k], rc);
}

static int check_entry(void *arg, const struct ds_l2_entry *e)
{
    int end = *(int *)arg;
    unsigned k = 0;

    demand(e->status == 0, scene->ops, end, "%s is listed with %d", e->name, e->status);
    while (k < KEYS && (strlen(scene->key[k]) != e->key_size ||
                        memcmp(scene->key[k], e->key, e->key_size) != 0)) {
        k++;
    }
    demand(k < KEYS && was_begun(k, e->meta.version, end), scene->ops, end,
           "%s is listed with version %lu", e->name, (unsigned long)e->meta.version);
    return 0;
}

/* What is there can be used as if nothing had happened. */
static void check_use(struct ds_l2 *l2, int end)
{
    struct ds_l2_item item = item_of(0, VERSIONS - 2, 50);
    struct ds_l2_meta meta;
    int rc;

    fill(scene->value, 50, 0, VERSIONS - 2);
    rc = ds_l2_put(l2, &call, &item);
    demand(rc == 0, scene->ops, end, "a put fails: %d, %s", rc, call.err);
    rc = ds_l2_get(l2, &call, item.key, item.key_size, to_there, NULL, &meta);
    demand(rc == 0 && meta.version == VERSIONS - 2 && memcmp(scene->value, scene->there, 50) == 0,
           scene->ops, end, "what was put now is not there: %d", rc);
    rc = ds_l2_remove(l2, &call, item.key, item.key_size, VERSIONS - 1);
    demand(rc == 0, scene->ops, end, "a remove fails: %d, %s", rc, call.err);
    rc = ds_l2_get(l2, &call, item.key, item.key_size, to_there, NULL, &meta);
    demand(rc == DS_ENOTFOUND, scene->ops, end, "what was removed now is there: %d", rc);
}

static void check_state(int end)
{
    struct ds_l2_gc gc;
    struct ds_l2 *l2 = NULL;
    int rc;

    fs_put(scene->s, scene->state);
    rc = open_at(scene->state_root, &l2);
    demand(rc == 0, scene->ops, end, "it cannot be opened: %d", rc);
    for (unsigned k = 0; k < KEYS; k++) {
        check_key(l2, k, end);
    }
    rc = ds_l2_list(l2, &call, check_entry, &end);
    demand(rc == 0, scene->ops, end, "list: %d, %s", rc, call.err);
    rc = collect(l2, &gc);
    demand(rc == 0 && gc.corrupt == 0, scene->ops, end, "gc: %d, %lu corrupt", rc,
           (unsigned long)gc.corrupt);
    for (unsigned k = 0; k < KEYS; k++) {
        check_same(l2, k, end);
    }
    rc = collect(l2, &gc);
    demand(rc == 0 && gc.unfinished == 0 && gc.tombstones == 0, scene->ops, end,
           "gc leaves %lu unfinished, %lu tombstones", (unsigned long)gc.unfinished,
           (unsigned long)gc.tombstones);
    check_use(l2, end);
    (void)ds_l2_close(l2);
}

/* --- enumeration --- */

static uint64_t hash_of(struct fs_state *s, int notes)
{
    uint64_t sum = (uint64_t)notes * 0x9e3779b97f4a7c15u + 1;

    for (int i = 0; i < s->n_entries; i++) {
        const struct fs_entry *e = &s->entry[i];
        uint64_t bytes = fs_is_dir[e->file]
                             ? (uint64_t)e->file
                             : ds_hash(s->file[e->file].bytes, s->file[e->file].size, 7);

        sum += ds_hash(fs_names[e->name], strlen(fs_names[e->name]), bytes ^ (uint64_t)e->dir);
    }
    return sum;
}

/* Whether this state was looked at since the last answer to the test. */
static bool is_seen(uint64_t hash)
{
    uint64_t i = hash % SEEN;

    while (scene->seen[i] != 0 && scene->seen[i] != hash) {
        i = (i + 1) % SEEN;
    }
    if (scene->seen[i] == hash) {
        scene->duplicates++;
        return true;
    }
    scene->seen[i] = hash;
    scene->states++;
    return false;
}

/* All states of all moments from event `from` on. */
static void enumerate(int from)
{
    int n = fs_end();
    int notes = 0;

    memset(scene->seen, 0, sizeof(scene->seen));
    for (int end = from; end <= n; end++) {
        struct fs_choices c = {.way = FS_EACH};

        notes += end > 0 && fs_events[end - 1].what > FS_SYNC;
        scene->moments++;
        do {
            fs_make(scene->s, end, &c);
            if (!is_seen(hash_of(scene->s, notes))) {
                check_state(end);
            }
        } while (fs_next(&c));
    }
}

/* Only shards of our keys are made: the others would make each state slower, and no other. */
static bool is_unused_shard(const char *name)
{
    return strlen(name) == 2 && strcmp(name, scene->shard[0]) != 0 &&
           strcmp(name, scene->shard[1]) != 0;
}

static void name_keys(void)
{
    unsigned n = 0;

    for (unsigned i = 0; n < KEYS; i++) {
        char *key = scene->key[n];
        uint8_t shard;

        (void)snprintf(key, sizeof(scene->key[0]), "key/%u", i);
        shard = ds_l2_shard(key, (uint32_t)strlen(key));
        if (n == 0) {
            (void)snprintf(scene->shard[0], 3, "%02x", shard);
        }
        (void)snprintf(scene->shard[1], 3, "%02x", shard);
        n += n == 0 || (strcmp(scene->shard[0], scene->shard[1]) == 0) == (n == 1);
    }
}

static void begin(void)
{
#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints: syncs by io_uring cannot be recorded");
#endif
    scene = mmap(NULL, sizeof(*scene), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(scene != MAP_FAILED);
    scene->s = calloc(1, sizeof(*scene->s));
    CHECK(scene->s != NULL);
    (void)snprintf(scene->folder, sizeof(scene->folder), "/dev/shm/ds-crash-XXXXXX");
    if (mkdtemp(scene->folder) == NULL) {
        (void)snprintf(scene->folder, sizeof(scene->folder), "/tmp/ds-crash-XXXXXX");
        CHECK(mkdtemp(scene->folder) != NULL);
    }
    (void)snprintf(scene->run, sizeof(scene->run), "%s/run", scene->folder);
    (void)snprintf(scene->state, sizeof(scene->state), "%s/state", scene->folder);
    (void)snprintf(scene->run_root, sizeof(scene->run_root), "%s/made/l2", scene->run);
    (void)snprintf(scene->state_root, sizeof(scene->state_root), "%s/made/l2", scene->state);
    CHECK(mkdir(scene->run, 0700) == 0 && mkdir(scene->state, 0700) == 0);
    name_keys();
    fs_passes = is_unused_shard;
}

static void end(void)
{
    (void)printf("# %lu states at %lu moments, %lu more were the same\n",
                 (unsigned long)scene->states, (unsigned long)scene->moments,
                 (unsigned long)scene->duplicates);
    fs_put(NULL, scene->folder);
    CHECK_EQ(rmdir(scene->folder), 0);
    fs_free(scene->s);
    (void)munmap(scene, sizeof(*scene));
}

static void start(void)
{
    fs_put(NULL, scene->run);
    fs_begin(scene->run);
    scene->version = STALE + 1;
}

static void run(const char *ops)
{
    int from = 0;

    (void)snprintf(scene->ops, sizeof(scene->ops), "%s", ops);
    start();
    reopen();
    for (; *ops != '\0'; ops++) {
        from = fs_n;
        operate(*ops);
    }
    scene->l2 = ds_l2_close(scene->l2);
    enumerate(from);
}

/* `op` is killed before its event `at`; the next process does `after`. False: it had ended. */
static bool run_killed(const char *before, char op, int at, const char *after)
{
    int from;
    bool killed;

    (void)snprintf(scene->ops, sizeof(scene->ops), "%s%c killed at %d, %s", before, op, at, after);
    start();
    if (op != 'r') {
        reopen();
    }
    for (; *before != '\0'; before++) {
        operate(*before);
    }
    fs_dies_at = fs_n + at;
    operate(op);
    scene->l2 = ds_l2_close(scene->l2);
    killed = fs_n >= fs_dies_at; /* notes are taken after it too */
    fs_dies_at = INT_MAX;
    from = fs_n;
    reopen();
    CHECK(scene->l2 != NULL);
    for (; *after != '\0'; after++) {
        operate(*after);
    }
    scene->l2 = ds_l2_close(scene->l2);
    enumerate(from);
    return killed;
}

static void run_all(char *ops, size_t n, size_t depth)
{
    ops[n] = '\0';
    run(ops);
    for (size_t i = 0; n < depth && i < strlen(ALL_OPS); i++) {
        ops[n] = ALL_OPS[i];
        run_all(ops, n + 1, depth);
    }
}

static size_t depth(void)
{
    const char *text = getenv("DS_CRASH_DEPTH");

    return text != NULL ? strtoul(text, NULL, 10) : 2;
}

DS_TEST_TIMEOUT(l2_dir_crash__power_loss_takes_nothing_acknowledged, 3600)
{
    char ops[16];

    begin();
    run_all(ops, 0, depth());
    end();
}

DS_TEST(l2_dir_crash__of_large_expired_and_reopened_ones_neither)
{
    static const char *const ops[] = {"L",   "LL", "La", "aL", "LA",  "ax",
                                      "axg", "xa", "ar", "mr", "arA", "mrm"};

    begin();
    for (size_t i = 0; i < DS_ARRAY_SIZE(ops); i++) {
        run(ops[i]);
    }
    end();
}

/* A process dies first, and leaves to the next one what it has not synced. */
DS_TEST_TIMEOUT(l2_dir_crash__of_a_killed_process_and_the_next_one_neither, 3600)
{
    static const char *const next[] = {"a", "A", "s", "g"};
    const char *killed = depth() > 2 ? "aAgm" : "aAg"; /* of a batch there are too many */

    begin();
    for (size_t i = 0; i < DS_ARRAY_SIZE(next); i++) {
        for (const char *op = killed; *op != '\0'; op++) {
            for (int at = 0; run_killed("a", *op, at, next[i]); at++) {
            }
        }
        for (int at = 0; run_killed("", 'r', at, next[i]); at++) {
        }
    }
    end();
}
