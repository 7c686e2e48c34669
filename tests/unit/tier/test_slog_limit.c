/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slog_limit.c - the limit of a segment log is never passed, whatever ends its processes, and
 * none of them leaves a log that cannot be cleaned any more.
 *
 * What full logs do to their files is recorded (fs_record.h). The sizes of the files are summed for
 * every moment of the record, not only when nothing happens. Each process begins with what a kill
 * or a loss of power may have left of the one before.
 *
 * DS_CRASH_ROUNDS: how many processes there are, 20 otherwise; DS_TEST_SEED=n repeats a run.
 */
#include "base/failpoint.h"
#include "slog_crash.h"
#include "tier/slog_internal.h"

#define SEGMENT (64u << 10)
#define RESERVED (64u << 10)
#define N_MAX 8u /* segments */
#define LIMIT_OF(n) ((n) * (uint64_t)SEGMENT + RESERVED)
#define USED_KEYS 100u /* with values of 3000 bytes on average more than puts may fill */
#define LARGE_KEYS 5u  /* of these: some have a segment of their own */
#define STEP 29
#define FLOOD 400u

static uint64_t next(uint64_t *x)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return *x >> 33;
}

static int lives(void)
{
    const char *text = getenv("DS_CRASH_ROUNDS");

    return text != NULL ? (int)strtol(text, NULL, 10) : 20;
}

static void begin(struct owner *o, uint64_t limit)
{
    owner_folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : owner_folder; /* much faster */
    owner_init(o, limit, SEGMENT, false);
}

/* --- what the files take --- */

/* A segment counts whole, whatever it has of its size: that may come. One that is larger than the
 * others counts as several. */
static uint64_t size_of(const struct fs_state *s)
{
    uint64_t sum = 0;

    for (int i = 0; i < s->n_entries; i++) {
        bool segment = strstr(fs_names[s->entry[i].name], ".seg") != NULL;
        uint64_t size = s->file[s->entry[i].file].size;

        sum += segment ? ds_max_u64(ds_align_up(size, SEGMENT), SEGMENT) : size;
    }
    return sum;
}

/* At each moment, for who looks, and for who looks after a loss of power. */
static uint64_t largest(struct fs_state *s, int n, uint64_t *x)
{
    uint64_t size = 0;

    for (int end = 0; end <= n; end++) {
        static const enum fs_way ways[] = {FS_MOST, FS_LEAST, FS_CHANCE};

        for (size_t i = 0; i < DS_ARRAY_SIZE(ways); i++) {
            fs_make(s, end, &(struct fs_choices){.way = ways[i], .random = x});
            size = ds_max_u64(size, size_of(s));
        }
    }
    return size;
}

/* --- recorded work --- */

static void begin_del(struct owner *o, unsigned k)
{
    char key[32];
    size_t n = key_of(k, key);

    CHECK_OK(ds_slog_tombstone(o->s, key, n, true, k));
    if (o->recs[k].at != 0) {
        ds_slog_dead(o->s, o->recs[k].at, n, o->recs[k].size);
        o->recs[k].at = 0;
    }
}

/* Deletes in a row of which nobody awaits one: more than a full log has room for at once. Most are
 * of keys that are not there. */
static void flood(struct owner *o, uint64_t *x)
{
    uint64_t before = o->events;
    bool asked[KEYS] = {false};

    for (unsigned i = 0; i < FLOOD; i++) {
        unsigned k = (unsigned)next(x) % KEYS;

        if (!asked[k]) {
            asked[k] = true;
            fs_note(FS_BEGIN, k, 0, true);
            begin_del(o, k);
            before++;
        }
    }
    owner_wait(o, before);
    for (unsigned k = 0; k < KEYS; k++) {
        if (asked[k]) {
            fs_note(FS_ACK, k, 0, true);
        }
    }
}

static uint64_t next_size(unsigned k, uint64_t *x)
{
    return next(x) % (k < LARGE_KEYS ? 2 * SEGMENT : 6000);
}

/* A request of a log that is mostly full. */
static int ask(struct owner *o, uint64_t *x)
{
    unsigned k = (unsigned)next(x) % USED_KEYS;
    bool durable = next(x) % 3 == 0;
    bool remove = next(x) % 3 == 0 && o->recs[k].at != 0;
    int rc;

    fs_note(FS_BEGIN, k, remove ? 0 : o->version + 1, durable);
    rc = remove ? del(o, k, durable) : put(o, k, next_size(k, x), durable);
    if (rc == 0) {
        fs_note(FS_ACK, k, remove ? 0 : o->version, durable);
    } else if (rc == DS_EAGAIN) {
        wait_a_little(o);
    }
    return rc;
}

static int put_in_time(struct owner *o, unsigned k, uint64_t size)
{
    int rc;

    while ((rc = put(o, k, size, true)) == DS_EAGAIN) {
        wait_a_little(o);
    }
    return rc;
}

/* Most of it can be deleted and then there is room, however the last process ended. */
static void check_progress(struct owner *o)
{
    for (unsigned k = 0; k < USED_KEYS; k++) {
        if (k % 4 != 0 && o->recs[k].at != 0) {
            CHECK_OK(del(o, k, true));
        }
    }
    CHECK_OK(put_in_time(o, 1, 6000));
}

static void check_state(struct owner *o, struct fs_state *s, int end, enum fs_way way, uint64_t *x)
{
    uint64_t version = o->version;

    fs_make(s, end, &(struct fs_choices){.way = way, .random = x});
    fs_put(s, o->dir);
    CHECK_LE(disk_use(o), o->config.size_limit);
    owner_reopen(o, false);
    check_keys(o, USED_KEYS, end, way == FS_MOST);
    check_progress(o);
    o->s = ds_slog_close(o->s, false);
    CHECK_LE(disk_use(o), o->config.size_limit);
    o->version = version;
}

/* --- processes that know nothing but their directory --- */

static void live(struct owner *o, struct fs_state *s, uint64_t *x)
{
    int from;
    int n;

    fs_begin(o->dir);
    owner_reopen(o, false);
    note_found(o, USED_KEYS);
    from = fs_n;
    for (int i = 0; i < 100; i++) {
        int rc = ask(o, x);

        CHECK(rc == 0 || rc == DS_EAGAIN || rc == DS_ENOSPACE);
        if (rc == DS_ENOSPACE && next(x) % 16 == 0) {
            flood(o, x);
        }
    }
    o->s = ds_slog_close(o->s, next(x) % 4 == 0);
    n = fs_end();
    CHECK_LE(largest(s, n, x), o->config.size_limit);
    for (int end = from + (int)(next(x) % STEP); end <= n; end += STEP) {
        check_state(o, s, end, FS_MOST, x);
        check_state(o, s, end, FS_CHANCE, x);
    }
    fs_make(s, from + (int)next(x) % (n - from + 1),
            &(struct fs_choices){.way = next(x) % 2 == 0 ? FS_MOST : FS_CHANCE, .random = x});
    fs_put(s, o->dir);
}

DS_TEST_TIMEOUT(slog_limit__holds_whatever_ends_the_process, 600)
{
    struct owner o;
    struct fs_state *s = calloc(1, sizeof(*s));
    uint64_t x = ds_test_seed() | 1;

    CHECK(s != NULL);
    begin(&o, LIMIT_OF(N_MAX));
    o.s = ds_slog_close(o.s, false);
    for (int i = 0; i < lives(); i++) {
        live(&o, s, &x);
    }
    owner_open(&o);
    fs_free(s);
    owner_fini(&o, false);
}

/* --- processes that find their places in memory --- */

static void orphan(void *arg, const void *key, size_t key_size)
{
    struct owner *o = arg;

    CHECK_OK(ds_slog_tombstone(o->s, key, key_size, false, KEYS - 1));
    o->buried++;
}

static void adopt_all(struct owner *o)
{
    char key[32];

    owner_open(o);
    for (unsigned k = 0; k < USED_KEYS; k++) {
        if (o->recs[k].at != 0) {
            CHECK_OK(ds_slog_adopt(o->s, o->recs[k].at, key_of(k, key), o->recs[k].size));
        }
    }
    o->buried = o->events = 0;
    CHECK_OK(ds_slog_adopted(o->s, orphan, o));
    for (unsigned k = 0; k < USED_KEYS; k++) {
        CHECK(o->recs[k].at == 0 || get(o, k) == 0);
    }
}

/* Killed between two calls of the owner, wherever the writer is. True: with all segments in use. */
static bool live_with_places(struct owner *o, struct fs_state *s, uint64_t *x)
{
    struct rec known[KEYS];
    bool full;
    int to;
    int n;

    fs_begin(o->dir);
    adopt_all(o);
    owner_wait(o, o->buried);
    for (int i = (int)next(x) % 40; i >= 0; i--) {
        int rc = ask(o, x);

        CHECK(rc == 0 || rc == DS_EAGAIN || rc == DS_ENOSPACE);
    }
    memcpy(known, o->recs, sizeof(known));
    (void)pthread_mutex_lock(&fs_lock);
    to = fs_n;
    (void)pthread_mutex_unlock(&fs_lock);
    full = stats_of(o).segments == stats_of(o).segments_max;
    o->s = ds_slog_close(o->s, false);
    n = fs_end();
    CHECK_LE(largest(s, n, x), o->config.size_limit);
    fs_make(s, to, &(struct fs_choices){.way = FS_MOST, .random = x});
    fs_put(s, o->dir);
    memcpy(o->recs, known, sizeof(known));
    return full;
}

DS_TEST_TIMEOUT(slog_limit__holds_for_an_owner_that_knows_its_places, 600)
{
    struct owner o;
    struct fs_state *s = calloc(1, sizeof(*s));
    uint64_t x = ds_test_seed() | 1;
    int full = 0;

    CHECK(s != NULL);
    begin(&o, LIMIT_OF(N_MAX));
    o.s = ds_slog_close(o.s, false);
    for (int i = 0; i < 10 * lives(); i++) {
        full += live_with_places(&o, s, &x);
    }
    CHECK_GT(full, lives() / 4);
    adopt_all(&o);
    owner_wait(&o, o.buried);
    check_progress(&o);
    fs_free(s);
    owner_fini(&o, false);
}

/* --- one moment: all is copied, and nothing was unlinked yet --- */

#ifdef DS_FAILPOINTS

static bool all_in_use(struct owner *o)
{
    return stats_of(o).segments == N_MAX;
}

static bool one_is_free(struct owner *o)
{
    return stats_of(o).segments < N_MAX;
}

static bool fills_up(struct owner *o)
{
    unsigned k = 0;
    int rc;

    while ((rc = put(o, k, 3000, false)) == 0) {
        k++;
    }
    return rc == DS_ENOSPACE && k < USED_KEYS + 60;
}

/* The cleaner keeps up with deletes where it gets the time. */
static void poll_some(struct owner *o)
{
    for (unsigned i = 0; i < 10; i++) {
        (void)usleep(500);
        (void)!ds_slog_poll(o->s, &(struct ds_slog_event){0}, 1);
    }
}

/* A log with all its segments in use, of which some cannot be freed as long as the failpoints are
 * armed: until it is closed. Deletes that outrun the cleaner leave it too little to copy: again. */
static void fill_to_the_last(struct owner *o, const char *failpoints)
{
    for (int tries = 0; tries < 20; tries++) {
        begin(o, LIMIT_OF(N_MAX));
        CHECK_OK(ds_slog_recover(o->s, recovered, o));
        CHECK(fills_up(o));
        ds_failpoint_arm(failpoints);
        for (unsigned k = 0; k < USED_KEYS && !all_in_use(o); k += 3) {
            CHECK_OK(del(o, k, true));
            poll_some(o);
        }
        if (all_in_use(o)) {
            poll_some(o); /* most of what is copied then */
            return;
        }
        owner_fini(o, false);
        ds_failpoint_arm(NULL);
    }
    ds_test_fail(__FILE__, __LINE__, "the cleaner has not taken the last segment");
}

/* Those that were copied cannot be read any more. */
static unsigned lose_originals(const struct owner *o)
{
    unsigned n = 0;

    for (unsigned slot = 0; slot < N_MAX; slot++) {
        bool lives = false;
        char name[128];
        char bad[300];

        for (unsigned k = 0; k < KEYS; k++) {
            lives = lives || (o->recs[k].at != 0 && ((o->recs[k].at >> 24) & 0xffff) == slot);
        }
        if (!lives) {
            segment_name(o, slot, name, sizeof(name));
            (void)snprintf(bad, sizeof(bad), "%s/%016x-%016x.bad", o->dir, slot + 1, 1);
            CHECK_EQ(rename(name, bad), 0);
            n++;
        }
    }
    return n;
}

static void remove_bad(const struct owner *o)
{
    DIR *d = opendir(o->dir);
    struct dirent *e;

    CHECK(d != NULL);
    while ((e = readdir(d)) != NULL) {
        CHECK(strstr(e->d_name, ".bad") == NULL || unlinkat(dirfd(d), e->d_name, 0) == 0);
    }
    (void)closedir(d);
}

/* A value or two of each segment, of keys that are not deleted, have not left it. */
static void fill_by_halves(struct owner *o)
{
    char points[512] = "";
    size_t n = 0;

    for (unsigned lsn = 5; lsn < USED_KEYS; lsn += 12) {
        n += (size_t)snprintf(points + n, sizeof(points) - n, "slog.source.%u=errno:5;", lsn);
    }
    points[n - 1] = '\0';
    fill_to_the_last(o, points);
}

static void go_on_from_full(bool adopts, bool clean)
{
    struct owner o;
    struct fs_state *s = calloc(1, sizeof(*s));
    uint64_t x = 1;
    unsigned n = 0;

    CHECK(s != NULL);
    fill_by_halves(&o);
    o.s = ds_slog_close(o.s, clean);
    ds_failpoint_arm(NULL);
    for (unsigned k = 0; k < KEYS; k++) {
        n += o.recs[k].at != 0;
    }
    CHECK_GT(disk_use(&o), N_MAX * (uint64_t)SEGMENT);
    fs_begin(o.dir);
    if (adopts) {
        adopt_all(&o);
        CHECK_EQ(o.buried, 0u);
    } else {
        owner_reopen(&o, false);
        CHECK(all_in_use(&o));
    }
    owner_until(&o, one_is_free);
    check_progress(&o);
    o.s = ds_slog_close(o.s, false);
    CHECK_LE(largest(s, fs_end(), &x), o.config.size_limit);
    owner_reopen(&o, true);
    CHECK_LT(o.recovered, n);
    fs_free(s);
    owner_fini(&o, true);
}

DS_TEST_TIMEOUT(slog_limit__goes_on_from_a_log_that_is_full_to_the_last_segment, 60)
{
    for (int i = 0; i < 4; i++) {
        go_on_from_full(i % 2 == 0, i / 2 == 0);
    }
}

/* The last segment was being made: it goes, for good, before another one is made. */
DS_TEST_TIMEOUT(slog_limit__holds_when_the_last_segment_was_in_the_making, 60)
{
    struct owner o;
    struct fs_state *s = calloc(1, sizeof(*s));
    uint64_t x = ds_test_seed() | 1;
    char name[128];
    int n;

    CHECK(s != NULL);
    fill_by_halves(&o);
    o.s = ds_slog_close(o.s, false);
    ds_failpoint_arm(NULL);
    segment_name(&o, N_MAX - 1, name, sizeof(name)); /* the newest one */
    CHECK_EQ(truncate(name, 0), 0);
    fs_begin(o.dir);
    owner_reopen(&o, false);
    check_progress(&o);
    o.s = ds_slog_close(o.s, false);
    n = fs_end();
    for (int i = 0; i < 8; i++) {
        CHECK_LE(largest(s, n, &x), o.config.size_limit);
    }
    fs_free(s);
    owner_fini(&o, true);
}

/* What was copied is nowhere else: it is kept, and the limit as well. */
DS_TEST(slog_limit__keeps_copies_that_have_no_original)
{
    struct owner o;
    unsigned n = 0;
    unsigned last = KEYS - 1;

    fill_to_the_last(&o, "slog.gc.unlink=errno:5");
    while (o.recs[last].at == 0) {
        last--;
    }
    CHECK_OK(del(&o, last, true)); /* something is left to clean */
    o.s = ds_slog_close(o.s, true);
    ds_failpoint_arm(NULL);
    CHECK_GT(lose_originals(&o), 0u);
    for (unsigned k = 0; k < KEYS; k++) {
        n += o.recs[k].at != 0;
    }
    adopt_all(&o);
    CHECK(strstr(o.notice, " is full to its limit, and a segment that was being cleaned ") != NULL);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, n);
    CHECK(all_in_use(&o));
    CHECK_EQ(put(&o, 1, 100, true), DS_ENOSPACE);
    CHECK_LE(disk_use(&o), o.config.size_limit);
    o.s = ds_slog_close(o.s, false);
    remove_bad(&o); /* what the notice asks for */
    owner_reopen(&o, false);
    check_progress(&o);
    owner_fini(&o, true);
}

#endif

/* --- deletes that wait for room --- */

static unsigned slot_of(const struct owner *o, unsigned k)
{
    return (unsigned)(o->recs[k].at >> 24) & 0xffff;
}

/* A full log: two values of key 0, the older one among others that live. Returns how many keys lie
 * with the newer one. */
static unsigned fill_around_two(struct owner *o, unsigned *with)
{
    unsigned last = 1;
    unsigned n = 0;
    unsigned old;

    CHECK_OK(put(o, 0, 3000, true));
    old = slot_of(o, 0);
    for (; slot_of(o, 0) == old; last++) {
        CHECK_OK(put(o, last, 3000, true));
        if (stats_of(o).segments == N_MAX - 3) {
            CHECK_OK(put(o, 0, 3000, true));
            fs_note(FS_BEGIN, 0, o->recs[0].version, true);
            fs_note(FS_ACK, 0, o->recs[0].version, true);
        }
    }
    for (; put(o, last, 3000, true) == 0; last++) {
    }
    for (unsigned k = 1; k < last; k++) {
        if (slot_of(o, k) == slot_of(o, 0)) {
            with[n++] = k;
        }
    }
    return n;
}

static void check_each(struct owner *o, struct fs_state *s, int from, int to)
{
    static const enum fs_way ways[] = {FS_MOST, FS_LEAST, FS_CHANCE};
    uint64_t x = 1;

    for (int end = from; end <= to; end++) {
        for (size_t i = 0; i < DS_ARRAY_SIZE(ways); i++) {
            fs_make(s, end, &(struct fs_choices){.way = ways[i], .random = &x});
            fs_put(s, o->dir);
            owner_reopen(o, false);
            check_keys(o, 1, end, ways[i] == FS_MOST);
            check_progress(o);
            o->s = ds_slog_close(o->s, false);
            CHECK_LE(disk_use(o), o->config.size_limit);
        }
    }
}

/* The newest value of a key is dead and its segment is cleaned, while the tombstone has no place:
 * an older value, which lies elsewhere, must not be taken for the newest one. */
DS_TEST_TIMEOUT(slog_limit__no_older_value_comes_back_while_its_delete_waits, 60)
{
    struct owner o;
    struct fs_state *s = calloc(1, sizeof(*s));
    unsigned with[KEYS];
    unsigned n_with;
    uint64_t asked;
    int from;

    CHECK(s != NULL);
    begin(&o, LIMIT_OF(N_MAX));
    o.s = ds_slog_close(o.s, false);
    fs_begin(o.dir);
    owner_reopen(&o, false);
    o.s->gc.not_before_ns = INT64_MAX; /* until all is as it has to be */
    n_with = fill_around_two(&o, with);
    CHECK_GT(n_with, 5u);
    asked = o.events;
    o.s->gc.not_before_ns = 0;
    for (unsigned i = 0; i < n_with; i++, asked++) {
        begin_del(&o, with[i]);
    }
    for (; o.s->late.first == NULL; asked++) { /* of what is not there */
        begin_del(&o, KEYS - 1);
    }
    from = fs_n;
    fs_note(FS_BEGIN, 0, 0, true);
    begin_del(&o, 0);
    owner_wait(&o, asked + 1);
    fs_note(FS_ACK, 0, 0, true);
    o.s = ds_slog_close(o.s, false);
    check_each(&o, s, from, fs_end());
    fs_free(s);
    owner_open(&o);
    owner_fini(&o, false);
}

/* A limit below what the directory holds: it is not there at once, but nothing passes the one of
 * before. */
DS_TEST_TIMEOUT(slog_limit__above_a_lowered_one_that_of_before_holds, 600)
{
    struct owner o;
    struct fs_state *s = calloc(1, sizeof(*s));
    uint64_t x = ds_test_seed() | 1;
    uint64_t before = LIMIT_OF(N_MAX + 4);
    bool lower = false;

    CHECK(s != NULL);
    begin(&o, before);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_EQ(stats_of(&o).segments_max, N_MAX + 4);
    for (unsigned k = 0; put(&o, k, 3000, false) == 0; k++) {
        CHECK_LT(k, (unsigned)KEYS);
    }
    o.s = ds_slog_close(o.s, false);
    o.config.size_limit = LIMIT_OF(N_MAX);
    for (int i = 0; i < 300 && !lower; i++) {
        int to;

        fs_begin(o.dir);
        owner_reopen(&o, i % 2 == 0);
        lower = stats_of(&o).segments + 1 < N_MAX;
        for (unsigned j = 0; j < 10; j++) {
            unsigned k = (unsigned)next(&x) % 240;

            CHECK(o.recs[k].at == 0 || del(&o, k, false) == 0);
        }
        for (int j = 0; j <= i / 20; j++) { /* each life makes a segment: later ones clean more */
            (void)usleep((unsigned)next(&x) % 3000);
            (void)!ds_slog_poll(o.s, &(struct ds_slog_event){0}, 1);
        }
        (void)pthread_mutex_lock(&fs_lock);
        to = fs_n;
        (void)pthread_mutex_unlock(&fs_lock);
        o.s = ds_slog_close(o.s, false);
        CHECK_LE(largest(s, fs_end(), &x), lower ? o.config.size_limit : before);
        fs_make(s, to, &(struct fs_choices){.way = FS_MOST, .random = &x});
        fs_put(s, o.dir);
    }
    CHECK(lower);
    owner_reopen(&o, false);
    check_progress(&o);
    fs_free(s);
    owner_fini(&o, true);
}
