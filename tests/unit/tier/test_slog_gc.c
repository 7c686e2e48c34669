/* SPDX-License-Identifier: Apache-2.0 */
/* test_slog_gc.c - what cleaning may take of the disk's bandwidth, and what it must give back; what
 * a recovery tells meanwhile. */
#include "base/clock.h"
#include "slog_owner.h"

#define KIB 1024u
#define MIB (1u << 20)
#define SIZE (32 * KIB) /* of a value */

/* Values 0 to n - 1, of which two in five live: each segment is worth cleaning. */
static void fill_and_drop(struct owner *o, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        CHECK_OK(put(o, i, SIZE, false));
    }
    for (unsigned i = 0; i < n; i++) {
        char key[32];

        if (i % 5 >= 2) {
            ds_slog_dead(o->s, o->recs[i].at, key_of(i, key), SIZE);
            o->recs[i].at = 0;
        }
    }
}

static bool copied_2_mib(struct owner *o)
{
    return stats_of(o).gc_bytes >= 2 * MIB;
}

DS_TEST(slog_gc__copies_no_faster_than_it_may_while_there_is_room)
{
    struct owner o;
    int64_t begin = ds_monotonic_ns();
    int64_t took;

    owner_init(&o, 64 * MIB, MIB, false);
    o.s = ds_slog_close(o.s, true);
    o.config.gc_bytes_per_s = 2 * MIB;
    owner_open(&o);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    fill_and_drop(&o, 400);
    owner_until(&o, copied_2_mib);
    took = ds_monotonic_ns() - begin;
    /* a tenth of a second's worth at once, and one record more than is left */
    CHECK_GE(took, INT64_C(850000000));
    CHECK_LE(stats_of(&o).gc_bytes,
             2 * MIB / 10 + 2 * SIZE + (uint64_t)((double)took * 2 * MIB / 1e9));
    for (unsigned i = 0; i < 400; i++) {
        CHECK(o.recs[i].at == 0 || get(&o, i) == 0);
    }
    owner_fini(&o, true);
}

DS_TEST(slog_gc__copies_as_fast_as_it_can_when_puts_wait)
{
    struct owner o;
    unsigned waits = 0;

    owner_init(&o, 16 * MIB, MIB, false);
    o.s = ds_slog_close(o.s, true);
    o.config.gc_bytes_per_s = 4 * KIB;
    owner_open(&o);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    fill_and_drop(&o, 400);
    for (unsigned i = 0; i < 100;) { /* at 4 KiB/s it would take minutes */
        int rc = put(&o, 400 + i, SIZE, false);

        CHECK(rc == 0 || rc == DS_EAGAIN);
        i += rc == 0;
        if (rc == DS_EAGAIN) {
            struct pollfd p = {.fd = ds_slog_fd(o.s), .events = POLLIN};
            struct ds_slog_event e;

            CHECK_EQ(poll(&p, 1, 30000), 1);
            CHECK_EQ(ds_slog_poll(o.s, &e, 1), 0u);
            waits++;
        }
    }
    CHECK_GT(waits, 0u);
    CHECK_GT(stats_of(&o).gc_bytes, 512 * KIB);
    owner_fini(&o, true);
}

static bool freed_one(struct owner *o)
{
    return stats_of(o).segments_freed > 0;
}

/* Two of 16 segments are half dead, an old one and a young one. Which of them is cleaned first? */
static bool cleans_the_old_one(bool dropping)
{
    enum { each = MIB / SIZE - 1 };      /* values in a segment, or about */
    enum { lives = (each / 3 + 2) * 3 }; /* a value in the old one that lives */
    struct owner o;
    bool old;
    ds_slog_at at[KEYS];

    owner_init(&o, 64 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    ds_slog_set_dropping(o.s, dropping);
    for (unsigned i = 0; i < 16 * each; i++) {
        CHECK_OK(put(&o, i, SIZE, false));
    }
    for (unsigned i = 0; i < 16 * each; i++) {
        char key[32];

        at[i] = o.recs[i].at;
        if ((i / each == 1 || i / each == 13) && i % 3 > 0) {
            ds_slog_dead(o.s, at[i], key_of(i, key), SIZE);
            o.recs[i].at = at[i] = 0;
        }
    }
    owner_until(&o, freed_one);
    old = o.recs[lives].at != at[lives];
    owner_fini(&o, true);
    return old;
}

DS_TEST(slog_gc__what_is_old_is_cleaned_first_unless_it_is_dropped_soon)
{
    CHECK(cleans_the_old_one(false));
    CHECK(!cleans_the_old_one(true));
}

/* As above a lowered limit: all is there, and what dies shrinks it. */
DS_TEST(slog_gc__more_segments_than_descriptors_are_used)
{
    struct owner o;

    owner_init(&o, 4 * MIB, 128 * KIB, false);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_OK(put(&o, i, 30000, false));
    }
    CHECK_GT(stats_of(&o).segments, 10u);
    o.s = ds_slog_close(o.s, true);
    o.config.files_max = 8;
    owner_reopen(&o, true);
    CHECK_EQ(o.recovered, 50u);
    CHECK_EQ(o.notices, 1u);
    CHECK(strstr(o.notice, " segments, and there are open files for 8: ") != NULL);
    CHECK_EQ(stats_of(&o).segments_max, 8u);
    for (unsigned i = 0; i < 45; i++) {
        CHECK_OK(get(&o, i));
        CHECK_OK(del(&o, i, false));
    }
    while (stats_of(&o).segments > 8) { /* or the test ends by its timeout */
        struct ds_slog_event e[16];
        struct pollfd p = {.fd = ds_slog_fd(o.s), .events = POLLIN};

        (void)ds_slog_poll(o.s, e, 16);
        ds_slog_flush(o.s);
        (void)poll(&p, 1, 100);
    }
    CHECK_OK(put(&o, 1, 30000, true));
    owner_fini(&o, true);
}

static unsigned steps;

static void step(void *arg)
{
    (void)arg;
    steps++;
}

/* Who waits for it gives it up when it has said nothing for a while: each segment is read, and what
 * it has is looked up. */
DS_TEST(slog_gc__a_recovery_says_that_it_gets_on)
{
    struct owner o;

    owner_init(&o, 17 * MIB, MIB, false);
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    for (unsigned i = 0; put(&o, i, 500000, false) == 0; i++) {
    }
    CHECK_GT(stats_of(&o).segments, 12u);
    o.s = ds_slog_close(o.s, true);
    memset(o.recs, 0, sizeof(o.recs));
    o.config.progress = step;
    owner_open(&o);
    steps = 0;
    CHECK_OK(ds_slog_recover(o.s, recovered, &o));
    CHECK_GE(steps, 2 * stats_of(&o).segments);
    owner_fini(&o, true);
}
