/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slog_power.c - what a kill or a loss of power may leave of the segment log.
 *
 * What the log does to its files is recorded (fs_record.h), stores into the mapped file of
 * tombstones too, together with what was asked and what was acknowledged. Then, for moments all
 * over the record, states of the directory are made and recovered: after a kill all that was
 * acknowledged counts, after a loss of power what was durable, and in both cases whatever was asked
 * later may. One of the states is where the next process goes on, so that what it does to the files
 * of an earlier one is looked at as well.
 *
 * DS_CRASH_ROUNDS: how many requests a process makes, 120 otherwise; DS_TEST_SEED=n repeats a run.
 */
#include "base/failpoint.h"
#include "slog_crash.h"

#define SEGMENT (64u << 10)
#define KEPT 4096u
#define LIMIT (24u * SEGMENT + (64u << 10) + KEPT)
#define USED_KEYS 40u
#define LARGE_KEYS 5u /* of these: have values with a segment of their own, too */
#define STEP 5        /* events from one moment that is looked at to the next */

static uint8_t mapped[KEPT]; /* the file of tombstones, as it was when it was looked at last */

/* --- recorded work --- */

/* Records what was stored into the mapping. Of the owner's thread, as all such stores. */
static void look_at_mapped(struct owner *o)
{
    char path[128];
    uint8_t now[KEPT];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/tombstones", o->dir);
    fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    CHECK_EQ(pread(fd, now, sizeof(now), 0), sizeof(now));
    (void)pthread_mutex_lock(&fs_lock);
    for (unsigned at = 0; at < KEPT; at += 64) {
        unsigned to = at;

        while (to < KEPT && memcmp(now + to, mapped + to, 64) != 0) {
            to += 64;
        }
        if (to > at) {
            fs_written(fs_of(fd), at, now + at, to - at);
            at = to;
        }
    }
    (void)pthread_mutex_unlock(&fs_lock);
    memcpy(mapped, now, sizeof(mapped));
    (void)close(fd);
}

static void keep_one(struct owner *o, unsigned k)
{
    fs_note(FS_BEGIN, k, 0, false);
    if (keep(o, k)) {
        look_at_mapped(o);
        fs_note(FS_ACK, k, 0, false);
    }
}

static void poll_once(struct owner *o)
{
    struct ds_slog_event e;

    CHECK_EQ(ds_slog_poll(o->s, &e, 1), 0u);
}

/* More than the file holds, while the writer is slow: some are in segments, some on their way. */
static void keep_many(struct owner *o, unsigned first)
{
    ds_failpoint_arm("slog.write.before=sleep:4");
    for (unsigned i = 0; i < KEPT / 128 + 16; i++) {
        if (i == 8) { /* the first ones are handed to the writer */
            poll_once(o);
        } else if (i == 16) { /* and are done, the next ones are handed over */
            (void)usleep(8000);
            poll_once(o);
        }
        keep_one(o, (first + i) % USED_KEYS);
    }
    ds_failpoint_arm(NULL);
}

static uint64_t size_for(unsigned k, uint64_t x)
{
    return k < LARGE_KEYS && (x >> 30) % 2 == 0 ? SEGMENT + (x >> 40) % SEGMENT : (x >> 40) % 9000;
}

static void work(struct owner *o, uint64_t *x, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        unsigned k;
        bool durable;
        bool remove;
        int rc;

        *x = *x * 6364136223846793005u + 1442695040888963407u;
        k = (unsigned)(*x >> 33) % USED_KEYS;
        durable = (*x >> 20) % 3 == 0;
        remove = (*x >> 24) % 4 == 0;
        if ((*x >> 27) % 8 == 0) {
            keep_one(o, k);
            continue;
        }
        if ((*x >> 27) % 64 == 1) {
            keep_many(o, k);
            continue;
        }
        fs_note(FS_BEGIN, k, remove ? 0 : o->version + 1, durable);
        rc = remove ? del(o, k, durable) : put(o, k, size_for(k, *x), durable);
        if (rc == DS_EAGAIN) {
            wait_a_little(o);
            continue;
        }
        CHECK_OK(rc);
        fs_note(FS_ACK, k, remove ? 0 : o->version, durable);
    }
}

/* --- checks --- */

/* What is set now counts, whatever was found. */
static void check_use(struct owner *o, uint64_t *x)
{
    uint64_t versions[4];
    uint64_t events = o->events;
    unsigned first = (unsigned)((*x = *x * 6364136223846793005u + 1) >> 40) % USED_KEYS;

    for (unsigned i = 0; i < 4; i++) {
        int rc = put_begin(o, (first + i) % USED_KEYS, 300, true, 4096 * i);

        CHECK(rc == 0 || rc == DS_EAGAIN);
        versions[i] = rc == 0 ? o->version : 0;
        events += rc == 0;
    }
    owner_wait(o, events);
    owner_reopen(o, false);
    for (unsigned i = 0; i < 4; i++) {
        const struct rec *r = &o->recs[(first + i) % USED_KEYS];

        CHECK(versions[i] == 0 || (r->at != 0 && r->version == versions[i]));
    }
}

static void check_state(struct owner *o, struct fs_state *s, int end, enum fs_way way, uint64_t *x)
{
    uint64_t version = o->version;

    fs_put(s, o->dir);
    owner_reopen(o, false);
    check_keys(o, USED_KEYS, end, way == FS_MOST);
    check_use(o, x);
    o->s = ds_slog_close(o->s, false);
    o->version = version;
}

/* --- processes --- */

static bool nothing_queued(struct owner *o)
{
    return stats_of(o).queued == 0;
}

static void begin_life(struct owner *o)
{
    int fd;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/tombstones", o->dir);
    memset(mapped, 0, sizeof(mapped));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd < 0 || pread(fd, mapped, sizeof(mapped), 0) >= 0);
    if (fd >= 0) {
        (void)close(fd);
    }
    fs_begin(o->dir);
    owner_reopen(o, false);
    note_found(o, USED_KEYS);
}

/* `next`: what is left to the next one. */
static void live(struct owner *o, struct fs_state *s, uint64_t *x, int rounds, enum fs_way next)
{
    static const enum fs_way ways[] = {FS_LEAST, FS_MOST, FS_CHANCE, FS_CHANCE};
    int from;
    int to;
    int n;

    begin_life(o);
    from = fs_n;
    keep_many(o, 0); /* over those of the last one, as early as it lets us */
    owner_until(o, nothing_queued);
    keep_many(o, 7);
    work(o, x, rounds);
    keep_many(o, 14);
    to = fs_n; /* the writer still has most of them */
    o->s = ds_slog_close(o->s, false);
    n = fs_end();
    for (int end = from; end <= n; end += STEP) {
        for (size_t i = 0; i < DS_ARRAY_SIZE(ways); i++) {
            struct fs_choices c = {.way = ways[i], .random = x};

            fs_make(s, end, &c);
            check_state(o, s, end, ways[i], x);
        }
    }
    fs_make(s, to, &(struct fs_choices){.way = next, .random = x});
    fs_put(s, o->dir);
}

DS_TEST_TIMEOUT(slog__power_loss_takes_nothing_durable, 3600)
{
    struct owner o;
    struct fs_state *s = calloc(1, sizeof(*s));
    uint64_t x = ds_test_seed() | 1;
    const char *text = getenv("DS_CRASH_ROUNDS");
    int rounds = text != NULL ? (int)strtol(text, NULL, 10) : 120;

    CHECK(s != NULL);
    owner_folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : owner_folder; /* much faster */
    owner_init(&o, LIMIT, SEGMENT, false);
    o.s = ds_slog_close(o.s, false);
    o.config.kept_size = KEPT;
    for (int i = 0; i < 3; i++) {
        live(&o, s, &x, rounds, i == 0 ? FS_MOST : FS_CHANCE);
    }
    owner_open(&o);
    fs_free(s);
    owner_fini(&o, false);
}
