/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/slog.h"

#include <sched.h>

#include "base/failpoint.h"
#include "slog_owner.h"

#define MIB (1u << 20)

static const uint64_t sizes[] = {0,       1,   63,      64,          4096,        100000,
                                 MIB - 1, MIB, MIB + 1, MIB + 12288, 2 * MIB - 7, 3 * MIB + 5};

static void round_trip(bool direct)
{
    struct owner o;

    owner_init(&o, 100 * MIB, 8 * MIB, direct);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_EQ(o.recovered, 0u);
    for (unsigned i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
        CHECK_OK(put(&o, i, sizes[i], i % 2 == 0));
        CHECK_OK(get(&o, i));
    }
    for (int way = 0; way < 3; way++) { /* as it is, after a clean end, after another one */
        for (unsigned i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
            CHECK_OK(get(&o, i));
        }
        owner_reopen(&o, way == 0);
        CHECK_EQ(o.recovered, DS_ARRAY_SIZE(sizes));
        CHECK_OK(put(&o, 100 + (unsigned)way, 5000, false));
        CHECK_OK(del(&o, 100 + (unsigned)way, false));
    }
    owner_fini(&o, true);
}

DS_TEST(slog__gives_back_what_was_put)
{
    round_trip(false);
}

DS_TEST(slog__gives_back_what_was_put_with_direct_io)
{
    round_trip(true);
}

DS_TEST(slog__forgets_what_was_deleted_and_knows_the_newest)
{
    struct owner o;

    owner_init(&o, 16 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (unsigned i = 0; i < 50; i++) {
        CHECK_OK(put(&o, i, 1000, false));
        CHECK_OK(put(&o, i, 2000, false));
        if (i % 2 == 0) {
            CHECK_OK(del(&o, i, true));
        }
        if (i % 4 == 0) {
            CHECK_OK(put(&o, i, 3000, false));
        }
    }
    for (int clean = 0; clean < 2; clean++) {
        owner_reopen(&o, clean);
        for (unsigned i = 0; i < 50; i++) {
            CHECK_EQ(o.recs[i].size, i % 4 == 0 ? 3000 : i % 2 == 0 ? 0 : 2000);
            CHECK(o.recs[i].at == 0 || get(&o, i) == 0);
        }
    }
    owner_fini(&o, false);
}

DS_TEST(slog__keeps_notes)
{
    struct owner o;
    char key[32];

    owner_init(&o, 16 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_OK(put(&o, 1, 1000, true));
    CHECK_OK(put(&o, 2, 1000, true));
    CHECK_OK(ds_slog_note(o.s, o.recs[1].at, key, key_of(1, key), 9, true, 1));
    CHECK_OK(ds_slog_note(o.s, o.recs[2].at, key, key_of(2, key), 8, true, 2));
    owner_wait(&o, o.events + 2);
    CHECK_OK(put(&o, 2, 1000, true)); /* a new record: the note was of the old one */
    owner_reopen(&o, false);
    CHECK_EQ(o.recs[1].flags, 9);
    CHECK_EQ(o.recs[2].flags, 0);
    CHECK_EQ(ds_slog_note(o.s, 12345, key, key_of(1, key), 9, true, 1), DS_ENOTFOUND);
    owner_fini(&o, false);
}

/* Random puts and deletes, many times what fits: all that lives stays right, the limit holds. */
static void churn(bool direct)
{
    enum { LIMIT = 12 * MIB, ROUNDS = 12000 };
    struct owner o;
    uint64_t x = ds_test_seed() | 1;
    struct rec before[KEYS];
    struct ds_slog_stats st;

    owner_init(&o, LIMIT, MIB, direct);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (int i = 0; i < ROUNDS; i++) {
        unsigned k;
        int rc;

        x = x * 6364136223846793005u + 1442695040888963407u;
        k = (unsigned)(x >> 33) % 400;
        if ((x >> 20) % 8 == 0) {
            rc = del(&o, k, (x >> 50) % 16 == 0);
        } else {
            rc = put(&o, k, (x >> 40) % 16384, (x >> 50) % 16 == 0);
        }
        CHECK(rc == 0 || rc == DS_EAGAIN);
        if (rc == DS_EAGAIN) { /* what an owner does: wait for the cleaner */
            struct pollfd p = {.fd = ds_slog_fd(o.s), .events = POLLIN};
            struct ds_slog_event e;

            CHECK_EQ(poll(&p, 1, 30000), 1);
            CHECK_EQ(ds_slog_poll(o.s, &e, 1), 0u);
        }
        if (i % 50 == 0) {
            CHECK_LE(disk_use(&o), LIMIT);
        }
        k = (unsigned)(x >> 23) % 400;
        if (i % 4 == 0 && o.recs[k].at != 0) {
            CHECK_OK(get(&o, k));
        }
    }
    st = stats_of(&o);
    CHECK_GT(st.segments_freed, 20u);
    CHECK_GT(st.moves, 100u);
    CHECK_EQ(st.corrupt, 0u);
    memcpy(before, o.recs, sizeof(before));
    for (int clean = 0; clean < 2; clean++) {
        owner_reopen(&o, clean);
        for (unsigned k = 0; k < KEYS; k++) {
            CHECK_EQ(o.recs[k].at != 0, before[k].at != 0);
            if (before[k].at != 0) {
                CHECK_EQ(o.recs[k].version, before[k].version);
                CHECK_OK(get(&o, k));
            }
        }
    }
    CHECK_LE(disk_use(&o), LIMIT);
    owner_fini(&o, true);
}

DS_TEST_TIMEOUT(slog__lives_within_its_limit, 300)
{
    churn(false);
}

DS_TEST_TIMEOUT(slog__lives_within_its_limit_with_direct_io, 300)
{
    churn(true);
}

DS_TEST(slog__refuses_when_everything_lives)
{
    struct owner o;
    unsigned k = 0;
    int rc;

    owner_init(&o, 9 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    while ((rc = put(&o, k, 200000, false)) == 0) {
        k++;
    }
    CHECK_EQ(rc, DS_ENOSPACE);
    CHECK_GE(k, 25u);
    for (unsigned i = 0; i < k; i++) {
        CHECK_OK(get(&o, i));
    }
    for (unsigned i = 0; i < 5; i++) { /* a segment dies: room again, once it is gone */
        CHECK_EQ(o.recs[i].size, 200000u);
        ds_slog_dead(o.s, o.recs[i].at, 5, 200000);
        o.recs[i].at = 0;
    }
    while ((rc = put(&o, 1, 200000, false)) == DS_EAGAIN) {
        struct pollfd p = {.fd = ds_slog_fd(o.s), .events = POLLIN};
        struct ds_slog_event e;

        CHECK_EQ(poll(&p, 1, 30000), 1);
        CHECK_EQ(ds_slog_poll(o.s, &e, 1), 0u);
    }
    CHECK_OK(rc);
    owner_fini(&o, false);
}

DS_TEST(slog__refuses_bad_requests)
{
    struct owner o;
    char key[32] = "key-1";
    char err[256] = "";
    struct ds_slog_item item = {.key = key, .key_size = 5, .offset = DATA_SIZE, .size = 1};
    struct ds_slog_config c;
    struct ds_slog *again = NULL;

    owner_init(&o, 16 * MIB, MIB, false);
    c = o.config;
    CHECK_EQ(ds_slog_open(&c, err, sizeof(err), &again), DS_EAGAIN);
    (void)snprintf(key, sizeof(key), "process %ld: end", (long)getpid());
    CHECK(strstr(err, key) != NULL);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_EQ(ds_slog_put(o.s, &item, false), DS_EINVAL);
    item.offset = 0;
    item.size = ds_slog_value_max(o.s, 5);
    CHECK_GT(item.size, 6 * MIB - 32768); /* half of what puts may fill */
    item.size++;
    CHECK_EQ(ds_slog_put(o.s, &item, false), DS_EINVAL);
    item.size--;
    CHECK_OK(ds_slog_put(o.s, &item, false));
    owner_wait(&o, 1);
    CHECK_OK(o.last.rc);
    item.key_size = 0;
    CHECK_EQ(ds_slog_put(o.s, &item, false), DS_EINVAL);
    CHECK_EQ(ds_slog_tombstone(o.s, key, DS_SLOG_KEY_MAX + 1, false, 0), DS_EINVAL);
    CHECK_EQ(ds_slog_get(o.s, 99, 1, key, 5, 1, 0, 0), DS_ENOTFOUND);
    CHECK_EQ(ds_slog_get(o.s, 99, 1, key, 5, 1, DATA_SIZE, 0), DS_EINVAL);
    o.s = ds_slog_close(o.s, true);
    c.size_limit = 4 * MIB;
    CHECK_EQ(ds_slog_open(&c, err, sizeof(err), &again), DS_EINVAL);
    CHECK(strstr(err, "too small") != NULL);
    c.size_limit = 100 * MIB;
    c.segment_size = 4097;
    CHECK_OK(ds_slog_open(&c, err, sizeof(err), &again)); /* the directory knows its size */
    again = ds_slog_close(again, true);
    owner_fini(&o, false);
}

static void bury_key(void *arg, const void *key, size_t key_size)
{
    struct owner *o = arg;

    CHECK_OK(ds_slog_tombstone(o->s, key, key_size, false, key_number(key, key_size)));
    o->buried++;
}

static bool only_half_is_live(struct owner *o)
{
    return stats_of(o).live_bytes < 51 * 51000u;
}

DS_TEST(slog__adopts_what_the_owner_remembers)
{
    struct owner o;
    struct rec before[KEYS];
    char key[32];

    owner_init(&o, 16 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (unsigned i = 0; i < 100; i++) {
        CHECK_OK(put(&o, i, 50000, false));
    }
    memcpy(before, o.recs, sizeof(before));
    o.s = ds_slog_close(o.s, false);
    owner_open(&o);
    memset(o.recs, 0, 50 * sizeof(o.recs[0]));
    for (unsigned i = 50; i < 100; i++) {
        CHECK_OK(ds_slog_adopt(o.s, before[i].at, key_of(i, key), before[i].size));
    }
    CHECK_EQ(ds_slog_adopt(o.s, 1, 5, 1000), DS_ENOTFOUND);
    CHECK_EQ(ds_slog_adopt(o.s, before[60].at, 5, UINT64_MAX), DS_ENOTFOUND);
    CHECK_OK(ds_slog_adopted(o.s, bury_key, &o));
    CHECK_EQ(o.buried, 50u);
    owner_wait(&o, o.events + 50);
    for (unsigned i = 50; i < 100; i++) {
        CHECK_OK(get(&o, i));
    }
    owner_until(&o, only_half_is_live); /* a record that is being copied counts twice */
    owner_fini(&o, true);
}

/* What a killed owner was not told of, or did not get to bury, must not come back when the
 * directory is recovered later. */
DS_TEST(slog__names_the_orphans_of_a_killed_owner)
{
    enum { GONE = 1, KEPT, BURIED, ORPHAN, SHADOWED };
    struct owner o;
    struct rec before[KEYS];
    char key[32];

    owner_init(&o, 16 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (unsigned k = GONE; k <= SHADOWED; k++) {
        CHECK_OK(put(&o, k, 5000, false));
    }
    memcpy(before, o.recs, sizeof(before));
    CHECK_OK(del(&o, GONE, false));
    CHECK_OK(del(&o, BURIED, false));
    CHECK_OK(put(&o, BURIED, 300, false));   /* newer than its tombstone, and unknown */
    CHECK_OK(put(&o, SHADOWED, 300, false)); /* beside an older one that is adopted */
    o.s = ds_slog_close(o.s, false);
    owner_open(&o);
    memset(o.recs, 0, sizeof(o.recs));
    o.recs[KEPT] = before[KEPT];
    o.recs[SHADOWED] = before[SHADOWED];
    CHECK_OK(ds_slog_adopt(o.s, before[KEPT].at, key_of(KEPT, key), 5000));
    CHECK_OK(ds_slog_adopt(o.s, before[SHADOWED].at, key_of(SHADOWED, key), 5000));
    o.buried = o.events = 0;
    CHECK_OK(ds_slog_adopted(o.s, bury_key, &o));
    CHECK_EQ(o.buried, 2u); /* BURIED and ORPHAN */
    owner_wait(&o, 2);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 2u);
    CHECK_EQ(o.recs[KEPT].size, 5000u);
    if (o.recs[SHADOWED].size != 5000u) { /* else the newer one was cleaned away: nobody knew it */
        CHECK_EQ(o.recs[SHADOWED].size, 300u);
    }
    owner_fini(&o, true);
}

/* Event by event, with many requests under way: what is not answered yet is not cleaned away. */
static void pipelined(bool direct)
{
    enum { LIMIT = 12 * MIB, DEPTH = 64, PUTS = 6000 };
    struct owner o;
    bool busy[KEYS] = {false};
    uint64_t x = ds_test_seed() | 1;
    uint64_t begun = 0;

    owner_init(&o, LIMIT, MIB, direct);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    while (begun < PUTS) {
        struct pollfd p = {.fd = ds_slog_fd(o.s), .events = POLLIN};
        struct ds_slog_event e;
        unsigned k;

        x = x * 6364136223846793005u + 1442695040888963407u;
        k = (unsigned)(x >> 33) % 320;
        if (!busy[k] && begun - o.events < DEPTH &&
            put_begin(&o, k, (x >> 40) % 16384, (x >> 50) % 16 == 0, k * 16384) == 0) {
            busy[k] = true;
            begun++;
        }
        CHECK(begun - o.events < DEPTH || poll(&p, 1, 30000) == 1);
        if ((x >> 55) % 2 == 0 && ds_slog_poll(o.s, &e, 1) == 1) {
            take_event(&o, &e);
            CHECK_OK(e.rc);
            busy[e.cookie] = false;
        }
    }
    owner_wait(&o, begun);
    CHECK_GT(stats_of(&o).segments_freed, 10u);
    CHECK_LE(disk_use(&o), LIMIT);
    for (int again = 0; again < 2; again++) {
        for (unsigned k = 0; k < 320; k++) {
            CHECK(o.recs[k].at == 0 || get(&o, k) == 0);
        }
        owner_reopen(&o, false);
    }
    owner_fini(&o, true);
}

DS_TEST_TIMEOUT(slog__takes_many_requests_at_once, 120)
{
    pipelined(false);
}

DS_TEST_TIMEOUT(slog__takes_many_requests_at_once_with_direct_io, 120)
{
    pipelined(true);
}

DS_TEST(slog__durable_puts_share_a_sync)
{
    struct owner o;

    owner_init(&o, 16 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (unsigned k = 0; k < 256; k++) {
        CHECK_OK(put_begin(&o, k, 1000, true, k * 1024));
    }
    owner_wait(&o, 256);
    CHECK_GE(stats_of(&o).syncs, 1u);
    CHECK_LE(stats_of(&o).syncs, 8u);
    owner_reopen(&o, false);
    CHECK_EQ(o.recovered, 256u);
    owner_fini(&o, true);
}

DS_TEST(slog__many_gets_at_once_are_all_right)
{
    for (int direct = 0; direct < 2; direct++) {
        struct owner o;
        char key[32];

        owner_init(&o, 64 * MIB, 4 * MIB, direct);
        CHECK_OK(ds_slog_recover(o.s, recovered, &o));
        for (unsigned k = 0; k < 256; k++) {
            CHECK_OK(put(&o, k, 20000 + k, false));
        }
        memset(o.data, 0, DATA_SIZE);
        for (unsigned k = 0; k < 256; k++) {
            CHECK_OK(ds_slog_get(o.s, o.recs[k].at, o.recs[k].size, key, key_of(k, key),
                                 o.recs[k].version, k * 32768, k));
        }
        owner_wait(&o, 512);
        for (unsigned k = 0; k < 256; k++) {
            static uint8_t want[32768];

            fill(want, o.recs[k].size, k, o.recs[k].version);
            CHECK_MEM(o.data + k * 32768, want, o.recs[k].size);
        }
        /* another version, size or key than the record's is not given */
        CHECK_OK(ds_slog_get(o.s, o.recs[7].at, o.recs[7].size, "key-7", 5, 999999, AREA, 7));
        CHECK_OK(
            ds_slog_get(o.s, o.recs[7].at, o.recs[7].size, "key-8", 5, o.recs[7].version, AREA, 7));
        CHECK_OK(ds_slog_get(o.s, o.recs[7].at, 100, "key-7", 5, o.recs[7].version, AREA, 7));
        CHECK_OK(ds_slog_get(o.s, o.recs[7].at + 1, 100, "key-7", 5, o.recs[7].version, AREA, 7));
        owner_wait(&o, 516);
        CHECK_EQ(stats_of(&o).corrupt, 4u);
        owner_fini(&o, true);
    }
}

static void no_news(struct owner *o)
{
    struct ds_slog_event e;

    while (ds_slog_news(o->s)) {
        CHECK_EQ(ds_slog_poll(o->s, &e, 1), 0u);
    }
}

/* Without a look at the descriptor. */
static void wait_for_news(struct owner *o)
{
    struct ds_slog_event e;
    size_t n;

    ds_slog_flush(o->s);
    do {
        while (!ds_slog_news(o->s)) {
            (void)sched_yield();
        }
        n = ds_slog_poll(o->s, &e, 1);
    } while (n == 0); /* a segment was made */
    take_event(o, &e);
    CHECK_OK(e.rc);
    no_news(o);
}

DS_TEST(slog__tells_news_to_an_owner_that_is_awake)
{
    struct owner o;

    for (int uring = 0; uring < 2; uring++) {
        owner_init(&o, 16 * MIB, MIB, false);
        o.config.try_uring = uring;
        owner_reopen(&o, true);
        no_news(&o);
        CHECK_OK(put_begin(&o, 1, 4096, false, 0));
        wait_for_news(&o);
        CHECK_OK(put_begin(&o, 2, 300000, true, 0)); /* more than the ring reads */
        wait_for_news(&o);
        for (unsigned k = 1; k <= 2; k++) {
            const struct rec *r = &o.recs[k];
            char key[32];
            size_t n = key_of(k, key);

            CHECK_OK(ds_slog_get(o.s, r->at, r->size, key, n, r->version, AREA, k));
            wait_for_news(&o);
            CHECK_EQ(o.last.type, DS_SLOG_GET_DONE);
        }
        owner_fini(&o, true);
    }
}

DS_TEST(slog__reads_by_a_thread_what_the_ring_does_not)
{
    struct owner o;

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    owner_init(&o, 16 * MIB, MIB, true);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_OK(put(&o, 1, 5000, false));
    ds_failpoint_arm("slog.ring.read=errno:5");
    CHECK_OK(get(&o, 1));
    ds_failpoint_arm("slog.ring.open=errno:1");
    owner_reopen(&o, false);
    CHECK(!stats_of(&o).uring);
    CHECK_OK(get(&o, 1));
    ds_failpoint_arm(NULL);
    owner_fini(&o, true);
}

/* Notes are cleaned too: the copy of a record has the newest flags, and no older note undoes them.
 */
DS_TEST_TIMEOUT(slog__flags_outlive_cleaning, 120)
{
    struct owner o;
    uint64_t x = ds_test_seed() | 1;
    uint16_t flags[30] = {0};

    owner_init(&o, 12 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (unsigned k = 0; k < 30; k++) {
        CHECK_OK(put(&o, k, 3000, false));
    }
    for (int i = 0; i < 8000; i++) {
        unsigned k;
        int rc;
        char key[32];

        x = x * 6364136223846793005u + 1442695040888963407u;
        k = (unsigned)(x >> 33) % 30;
        if (i % 10 == 0) {
            rc = ds_slog_note(o.s, o.recs[k].at, key, key_of(k, key), (uint16_t)i, false, k);
            CHECK(rc == 0 || rc == DS_ENOSPACE); /* a note does not wait */
            if (rc == 0) {
                o.recs[k].flags = flags[k] = (uint16_t)i;
                owner_wait(&o, o.events + 1);
            }
        }
        rc = put(&o, 30 + (unsigned)(x >> 23) % 300, (x >> 40) % 16384, false);
        CHECK(rc == 0 || rc == DS_EAGAIN);
        if (rc == DS_EAGAIN) {
            struct pollfd p = {.fd = ds_slog_fd(o.s), .events = POLLIN};
            struct ds_slog_event e;

            CHECK_EQ(poll(&p, 1, 30000), 1);
            CHECK_EQ(ds_slog_poll(o.s, &e, 1), 0u);
        }
    }
    CHECK_GT(stats_of(&o).moves, 30u);
    owner_reopen(&o, false);
    for (unsigned k = 0; k < 30; k++) {
        CHECK_EQ(o.recs[k].flags, flags[k]);
        CHECK_OK(get(&o, k));
    }
    owner_fini(&o, true);
}

/* --- full --- */

static void poll_once(struct owner *o, int timeout_ms)
{
    struct pollfd p = {.fd = ds_slog_fd(o->s), .events = POLLIN};
    struct ds_slog_event e[16];
    size_t n;

    CHECK(poll(&p, 1, timeout_ms) == 1);
    n = ds_slog_poll(o->s, e, 16);
    for (size_t i = 0; i < n; i++) {
        take_event(o, &e[i]);
    }
}

static unsigned fill_up(struct owner *o, uint64_t size)
{
    unsigned k = 0;
    int rc;

    while ((rc = put(o, k, size, false)) == 0) {
        k++;
        CHECK_LT(k, (unsigned)KEYS);
    }
    CHECK_EQ(rc, DS_ENOSPACE);
    return k;
}

/* All of a full log can be deleted, before a restart and after it: nothing waits for room. */
DS_TEST(slog__deletes_when_it_is_full)
{
    for (int again = 0; again < 2; again++) {
        struct owner o;
        unsigned n;

        owner_init(&o, 9 * (128u << 10), 128u << 10, false);
        CHECK_OK(ds_slog_recover(o.s, recovered, &o));
        n = fill_up(&o, 2200);
        for (unsigned k = 0; k < n; k += 2) {
            if (again != 0 && k % 20 == 0) {
                owner_reopen(&o, k % 40 == 0);
            }
            CHECK_OK(del(&o, k, true));
        }
        o.s = ds_slog_close(o.s, true); /* while the cleaner works the files change under a walk */
        CHECK_LE(disk_use(&o), o.config.size_limit);
        owner_reopen(&o, true);
        CHECK_EQ(o.recovered, n / 2);
        for (unsigned k = 1; k < n; k += 2) {
            CHECK_OK(get(&o, k));
        }
        owner_fini(&o, true);
    }
}

/* Keys as large as they may be: a record is no larger than its tombstone. */
struct large {
    ds_slog_at at[KEYS];
    unsigned n, found;
};

static const char *large_key(unsigned k)
{
    static char key[DS_SLOG_KEY_MAX];

    (void)snprintf(key, sizeof(key), "key-%08u", k);
    return key;
}

static bool large_is_live(void *arg, const void *key, size_t key_size, ds_slog_at at,
                          uint16_t *flags)
{
    struct large *l = arg;

    CHECK_EQ(key_size, DS_SLOG_KEY_MAX);
    *flags = 0;
    return l->at[number_of(key)] == at;
}

static bool large_moved(void *arg, const void *key, size_t key_size, ds_slog_at from, ds_slog_at to,
                        uint16_t flags, int rc)
{
    struct large *l = arg;
    unsigned k = number_of(key);

    (void)key_size;
    (void)flags;
    CHECK_OK(rc);
    l->at[k] = l->at[k] == from ? to : l->at[k];
    return l->at[k] == to;
}

static void large_found(void *arg, const struct ds_slog_entry *e)
{
    struct large *l = arg;

    CHECK_EQ(number_of(e->key), l->n - 1);
    l->found++;
}

static int large_put(struct owner *o, unsigned k)
{
    struct ds_slog_item item = {
        .key = large_key(k), .key_size = DS_SLOG_KEY_MAX, .cookie = KEYS - 1};

    return ds_slog_put(o->s, &item, true);
}

/* More tombstones at once than the reserved segment takes: they wait, and a put that is accepted
 * meanwhile is newer than they are. */
DS_TEST(slog__a_tombstone_that_waits_is_older_than_a_later_put)
{
    struct owner o;
    static struct large l;
    int rc;

    owner_init(&o, 9 * (128u << 10), 128u << 10, false);
    o.s = ds_slog_close(o.s, true);
    o.config.is_live = large_is_live;
    o.config.moved = large_moved;
    o.config.arg = &l;
    owner_open(&o);
    CHECK_OK(ds_slog_recover(o.s, large_found, &l));
    while ((rc = large_put(&o, l.n)) == 0) {
        owner_wait(&o, o.events + 1);
        CHECK_OK(o.last.rc);
        l.at[l.n++] = o.last.at;
        o.recs[KEYS - 1] = (struct rec){0};
        CHECK_LT(l.n, (unsigned)KEYS);
    }
    CHECK_EQ(rc, DS_ENOSPACE);
    o.events = 0;
    for (unsigned k = l.n; k-- > 0;) {
        ds_slog_dead(o.s, l.at[k], DS_SLOG_KEY_MAX, 0);
        l.at[k] = 0;
        CHECK_OK(ds_slog_tombstone(o.s, large_key(k), DS_SLOG_KEY_MAX, true, KEYS - 2));
    }
    while ((rc = large_put(&o, l.n - 1)) == DS_EAGAIN) { /* comes back */
        poll_once(&o, 30000);
    }
    CHECK_OK(rc);
    owner_wait(&o, l.n + 1);
    CHECK_EQ(stats_of(&o).queued, 0u);
    CHECK_EQ(stats_of(&o).tombstones, l.n);
    CHECK_LE(disk_use(&o), o.config.size_limit);
    o.s = ds_slog_close(o.s, false);
    owner_open(&o);
    CHECK_OK(ds_slog_recover(o.s, large_found, &l));
    CHECK_EQ(l.found, 1u);
    owner_fini(&o, true);
}

DS_TEST(slog__keeps_to_the_descriptors_that_it_may_have)
{
    struct owner o;
    char err[256];

    owner_init(&o, 4 * MIB, 128u << 10, false);
    o.s = ds_slog_close(o.s, true);
    o.config.files_max = 10;
    owner_open(&o);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_EQ(stats_of(&o).segments_max, 10u);
    CHECK_EQ(stats_of(&o).size_limit / (128u << 10), 10u);
    for (unsigned i = 0; put(&o, i, 30000, false) == 0; i++) {
        CHECK_LT(i, (unsigned)KEYS);
    }
    CHECK_LE(stats_of(&o).segments, 10u);
    CHECK_GE(stats_of(&o).segments, 8u);
    o.s = ds_slog_close(o.s, true);
    o.config.files_max = 7;
    CHECK_EQ(ds_slog_open(&o.config, err, sizeof(err), &o.s), DS_EINVAL);
    CHECK(strstr(err, " open files for its segments, and can have 7: ") != NULL);
    o.config.files_max = 0;
    owner_reopen(&o, true);
    CHECK_EQ(stats_of(&o).segments_max, 31u);
    owner_fini(&o, true);
}

/* A limit below what the directory holds: nothing grows, and what dies shrinks it. */
DS_TEST(slog__shrinks_to_a_lower_limit)
{
    struct owner o;
    uint64_t segment = 128u << 10;
    uint64_t before;
    unsigned n;

    owner_init(&o, 33 * segment, segment, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    n = fill_up(&o, 10000);
    before = disk_use(&o);
    o.config.size_limit = 13 * segment;
    for (int clean = 0; clean < 2; clean++) {
        owner_reopen(&o, clean != 0);
        CHECK_EQ(o.recovered, n);
        CHECK_EQ(put(&o, KEYS - 1, 10000, false), DS_ENOSPACE);
        CHECK_LE(disk_use(&o), before + 2 * segment);
    }
    for (unsigned k = 0; k < n; k++) { /* no segment dies whole */
        if (k % 4 != 0) {
            CHECK_OK(del(&o, k, false));
            CHECK_LE(disk_use(&o), before + 2 * segment);
        }
    }
    while (stats_of(&o).segments > stats_of(&o).segments_max) {
        poll_once(&o, 30000);
    }
    CHECK_LE(disk_use(&o), o.config.size_limit);
    owner_reopen(&o, true);
    for (unsigned k = 0; k < n; k += 4) {
        CHECK_OK(get(&o, k));
    }
    owner_fini(&o, true);
}

/* A little dead everywhere, a segment of it in all: the cleaner gathers it while a put waits. */
DS_TEST(slog__says_that_room_is_coming)
{
    struct owner o;
    uint64_t segment = 128u << 10;
    char key[32];
    unsigned n;
    int rc;

    owner_init(&o, 33 * segment, segment, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    n = fill_up(&o, 8500);
    CHECK_GE(n, 30 * 13u);
    for (unsigned k = 0; k < n; k += 13) { /* one of each segment, less than 1/8 of it */
        ds_slog_dead(o.s, o.recs[k].at, key_of(k, key), o.recs[k].size);
        o.recs[k].at = 0;
    }
    CHECK_EQ(put(&o, KEYS - 1, 8500, false), DS_EAGAIN);
    while ((rc = put(&o, KEYS - 1, 8500, false)) == DS_EAGAIN) {
        poll_once(&o, 30000);
    }
    CHECK_OK(rc);
    for (unsigned k = 0; k < n; k++) {
        CHECK(o.recs[k].at == 0 || get(&o, k) == 0);
    }
    CHECK_LE(disk_use(&o), o.config.size_limit);
    owner_fini(&o, true);
}

DS_TEST(slog__tells_what_its_files_take)
{
    struct owner o;
    uint64_t use;

    owner_init(&o, 16 * MIB, MIB, false);
    CHECK_EQ(ds_slog_disk_use(o.dir), 0u);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_OK(put(&o, 1, MIB / 2, false));
    CHECK_OK(put(&o, 2, MIB / 2, false)); /* a second segment */
    use = ds_slog_disk_use(o.dir);
    CHECK_GE(use, 2 * MIB);
    CHECK_LE(use, disk_use(&o));
    owner_fini(&o, true);
    CHECK_EQ(ds_slog_disk_use(o.dir), 0u); /* no such directory */
}
