/* SPDX-License-Identifier: Apache-2.0 */
/* test_slog_unread.c - cleaning goes on around what the disk does not read. */
#include "base/clock.h"
#include "base/failpoint.h"
#include "slog_owner.h"
#include "tier/slog_internal.h"

#define KIB 1024u
#define MIB (1u << 20)
#define SIZE (16 * KIB)
#define FIRST 28u /* values of the first four segments */

static void begin(struct owner *o)
{
#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    owner_init(o, 2 * MIB, 128 * KIB, false);
    o->s = ds_slog_close(o->s, true);
    o->config.again_ns = 1000000;
    owner_open(o);
    CHECK_OK(ds_slog_recover(o->s, recovered, o));
}

/* One poll, and a wait for the next one. */
static void turn(struct owner *o)
{
    struct pollfd p = {.fd = ds_slog_fd(o->s), .events = POLLIN};
    struct ds_slog_event e;

    CHECK_EQ(ds_slog_poll(o->s, &e, 1), 0u);
    (void)poll(&p, 1, 10);
}

/* So many values over the same four keys: several times the log, so all of it must be cleaned. */
static void put_many(struct owner *o, unsigned n)
{
    int64_t end = ds_monotonic_ns() + INT64_C(20000000000);

    for (unsigned i = 0; i < n;) {
        int rc = put(o, 100 + i % 4, SIZE, false);

        CHECK(rc == 0 || rc == DS_EAGAIN || rc == DS_ENOSPACE);
        CHECK_LT(ds_monotonic_ns(), end); /* nothing is cleaned any more */
        i += rc == 0;
        if (rc != 0) {
            turn(o);
        }
    }
}

/* Of the first values two in seven stay. Which one `lsn` is told of: number `k`. */
static uint64_t fill_and_drop(struct owner *o, unsigned k)
{
    uint64_t lsn = 0;

    for (unsigned i = 0; i < FIRST; i++) {
        lsn = i == k ? o->s->next_lsn : lsn;
        CHECK_OK(put(o, i, SIZE, false));
    }
    for (unsigned i = 0; i < FIRST; i++) {
        char key[32];

        if (i % 7 >= 2) {
            ds_slog_dead(o->s, o->recs[i].at, key_of(i, key), SIZE);
            o->recs[i].at = 0;
        }
    }
    return lsn;
}

static void arm(uint64_t lsn)
{
    char point[64];

    (void)snprintf(point, sizeof(point), "slog.source.%llu=errno:5", (unsigned long long)lsn);
    ds_failpoint_arm(point);
}

static void read_the_others(struct owner *o, unsigned lost)
{
    for (unsigned i = 0; i < FIRST; i++) {
        CHECK(i == lost || o->recs[i].at == 0 || get(o, i) == 0);
    }
}

DS_TEST(slog_unread__a_record_costs_itself_alone)
{
    struct owner o;
    uint64_t lsn;

    begin(&o);
    lsn = fill_and_drop(&o, 7);
    arm(lsn);
    put_many(&o, 600);
    while (o.recs[7].at != 0) { /* or the test ends by its timeout */
        turn(&o);
    }
    read_the_others(&o, 7);
    CHECK_EQ(o.recs[8].size, SIZE); /* its neighbour */
    CHECK_OK(get(&o, 8));
    CHECK_EQ(stats_of(&o).corrupt, 1u);
    CHECK_GE(stats_of(&o).io_errors, 5u); /* it was tried again */
    CHECK_LE(stats_of(&o).io_errors, 8u); /* but no more than so often: each try writes a hole */
    CHECK_EQ(o.notices, 1u);
    put_many(&o, 600); /* the room of the holes and of its segment is there again */
    ds_failpoint_arm(NULL);
    owner_reopen(&o, true);
    read_the_others(&o, 7);
    owner_fini(&o, true);
}

/* An error that passes costs nothing. */
DS_TEST(slog_unread__a_record_is_tried_again)
{
    struct owner o;
    uint64_t lsn;

    begin(&o);
    lsn = fill_and_drop(&o, 7);
    arm(lsn);
    while (stats_of(&o).io_errors < 2) {
        turn(&o);
    }
    ds_failpoint_arm(NULL);
    put_many(&o, 600);
    CHECK_OK(get(&o, 7));
    CHECK_EQ(stats_of(&o).corrupt, 0u);
    read_the_others(&o, KEYS);
    owner_fini(&o, true);
}

/* Or the test ends by its timeout. */
static void until_cleaned(struct owner *o, uint32_t slot, uint64_t number)
{
    while (o->s->segments[slot].number == number && o->s->segments[slot].state != SEG_FREE) {
        put_many(o, 1);
        turn(o);
    }
}

/* A descriptor that cannot be read stands for a file that cannot. */
struct hidden {
    uint32_t slot;
    uint64_t number;
    int saved;
};

static void hide(struct owner *o, unsigned k, struct hidden *ret)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    uint64_t offset;

    CHECK(ds_slog_find(o->s, o->recs[k].at, &ret->slot, &offset) != NULL);
    ret->number = o->s->segments[ret->slot].number;
    ret->saved = dup(o->s->segments[ret->slot].fd);
    CHECK(null >= 0 && ret->saved >= 0);
    CHECK_GE(dup2(null, o->s->segments[ret->slot].fd), 0);
    (void)close(null);
}

static void show(struct owner *o, const struct hidden *h)
{
    CHECK_EQ(o->s->segments[h->slot].number, h->number);
    CHECK_GE(dup2(h->saved, o->s->segments[h->slot].fd), 0);
    (void)close(h->saved);
}

/* What a tombstone is stands in the summary: it needs no reading, and must not be lost, or what it
 * covers comes back. */
DS_TEST(slog_unread__a_tombstone_is_copied_all_the_same)
{
    struct owner o;
    struct hidden h;
    uint64_t lsn;
    uint32_t slot;
    uint64_t number;

    begin(&o);
    for (unsigned i = 0; i < 7; i++) { /* a segment */
        CHECK_OK(put(&o, i, SIZE, true));
    }
    CHECK_OK(put(&o, 100, SIZE, true)); /* another one, of which nothing else stays */
    hide(&o, 0, &h);                    /* the segment of the dead put stays */
    lsn = o.s->next_lsn;
    CHECK_OK(del(&o, 1, false));
    arm(lsn);
    slot = (uint32_t)o.s->open[STREAM_PUT];
    number = o.s->segments[slot].number;
    until_cleaned(&o, slot, number);
    ds_failpoint_arm(NULL);
    show(&o, &h);
    owner_reopen(&o, true);
    CHECK_EQ(o.recs[1].at, 0u);
    for (unsigned i = 0; i < 7; i++) {
        CHECK(i == 1 || get(&o, i) == 0);
    }
    owner_fini(&o, true);
}

DS_TEST(slog_unread__a_summary_keeps_its_segment_from_being_cleaned_no_other)
{
    struct owner o;
    struct hidden h;

    begin(&o);
    (void)fill_and_drop(&o, 0);
    CHECK_OK(put(&o, 50, SIZE, true)); /* all before it are written */
    hide(&o, 7, &h);
    put_many(&o, 600);
    CHECK_GT(o.s->segments[h.slot].put_off, 0u);
    show(&o, &h); /* it was not freed: nobody knows what tombstones it has */
    until_cleaned(&o, h.slot, h.number);
    read_the_others(&o, KEYS);
    owner_fini(&o, true);
}
