/* SPDX-License-Identifier: Apache-2.0 */
#include "store/chooser.h"

#include "harness/ds_test.h"

static uint32_t hash_of(uint64_t key)
{
    return (uint32_t)((key + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/* A hot set beside keys that come once: S3-FIFO's case. Its main queue is full of the hot ones. */
static void scan(struct ds_chooser *c, uint64_t objects, uint64_t n, uint64_t *fresh)
{
    uint64_t x = 88172645463325252;

    for (uint64_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        ds_chooser_use(c, hash_of(x % (objects * 17 / 20)), 100);
        ds_chooser_use(c, hash_of(*fresh += 1), 100);
        ds_chooser_use(c, hash_of(*fresh += 1), 100);
    }
}

/* Each key twice, a third of the cache apart: LRU's case, S3-FIFO has let it go by then. */
static void echo(struct ds_chooser *c, uint64_t objects, uint64_t n, uint64_t *fresh)
{
    for (uint64_t i = 0; i < n; i++) {
        ds_chooser_use(c, hash_of(*fresh += 1), 100);
        ds_chooser_use(c, hash_of(*fresh - objects / 3), 100);
    }
}

/* Of small caches all is simulated, of large ones a sample within fixed arrays. */
DS_TEST_TIMEOUT(chooser__chooses_right_for_caches_of_any_size, 120)
{
    for (uint64_t objects = 500; objects <= 500000; objects *= 10) {
        struct ds_chooser *c;
        uint64_t fresh = UINT64_C(1) << 40;

        CHECK_OK(ds_chooser_create(&c));
        CHECK_EQ(ds_chooser_choice(c), DS_CHOICE_LRU);
        ds_chooser_resize(c, objects * 100, objects);
        scan(c, objects, 6 * objects, &fresh);
        CHECK_EQ(ds_chooser_choice(c), DS_CHOICE_S3FIFO);
        echo(c, objects, 8 * objects, &fresh);
        CHECK_EQ(ds_chooser_choice(c), DS_CHOICE_LRU);
        scan(c, objects, 8 * objects, &fresh);
        CHECK_EQ(ds_chooser_choice(c), DS_CHOICE_S3FIFO);
        if (objects <= 2000) {
            CHECK_EQ(ds_chooser_shift(c), 0);
        } else {
            CHECK_LE(objects >> ds_chooser_shift(c), 4096);
            CHECK_GE(objects >> ds_chooser_shift(c), 512);
        }
        c = ds_chooser_destroy(c);
    }
}

/* Before the first eviction there is nothing to choose: both hit the same. */
DS_TEST(chooser__stays_while_the_cache_is_not_full)
{
    struct ds_chooser *c;
    uint64_t fresh = UINT64_C(1) << 40;

    CHECK_OK(ds_chooser_create(&c));
    for (unsigned i = 0; i < 100; i++) {
        scan(c, 1000, 1000, &fresh);
        CHECK_EQ(ds_chooser_choice(c), DS_CHOICE_LRU);
        echo(c, 1000, 1000, &fresh);
        CHECK_EQ(ds_chooser_choice(c), DS_CHOICE_LRU);
    }
    c = ds_chooser_destroy(c);
}

/* Fewer, larger objects: the sample becomes denser again. */
DS_TEST(chooser__samples_as_many_keys_as_it_can_hold)
{
    struct ds_chooser *c;
    uint64_t fresh = 0;
    unsigned coarse;

    CHECK_OK(ds_chooser_create(&c));
    ds_chooser_resize(c, 100000000, 1000000);
    for (unsigned i = 0; i < 1000000; i++) {
        ds_chooser_use(c, hash_of(fresh++), 100);
    }
    coarse = ds_chooser_shift(c);
    CHECK_GE(coarse, 8);
    for (unsigned i = 0; i < 100; i++) {
        ds_chooser_resize(c, 100000000, 5000);
        ds_chooser_use(c, hash_of(fresh++), 20000);
    }
    CHECK_LE(5000 >> ds_chooser_shift(c), 1024);
    CHECK_GE(5000 >> ds_chooser_shift(c), 512);
    c = ds_chooser_destroy(c);
}

/* What was deleted is in neither cache: its next coming tells nothing. */
DS_TEST(chooser__does_not_learn_from_keys_that_were_deleted)
{
    for (unsigned from = 0; from < DS_CHOICES; from++) {
        struct ds_chooser *c;
        uint64_t fresh = UINT64_C(1) << 40;
        enum ds_choice choice;

        CHECK_OK(ds_chooser_create(&c));
        ds_chooser_resize(c, 100000, 1000);
        if (from == DS_CHOICE_S3FIFO) {
            scan(c, 1000, 6000, &fresh);
        }
        choice = ds_chooser_choice(c);
        CHECK_EQ(choice, from);
        for (unsigned i = 0; i < 20000; i++) { /* as in echo() and scan() */
            ds_chooser_use(c, hash_of(i % (from == DS_CHOICE_S3FIFO ? 300 : 850)), 100);
            ds_chooser_forget(c, hash_of(i % (from == DS_CHOICE_S3FIFO ? 300 : 850)));
            ds_chooser_use(c, hash_of(fresh += 1), 100);
        }
        CHECK_EQ(ds_chooser_choice(c), choice);
        c = ds_chooser_destroy(c);
    }
}

/* Where both are equally good, chance must not drive it to and fro. */
DS_TEST(chooser__needs_more_than_chance_to_change)
{
    struct ds_chooser *c;
    uint64_t x = ds_test_seed() | 1;
    enum ds_choice choice = DS_CHOICE_LRU;
    unsigned changes = 0;

    CHECK_OK(ds_chooser_create(&c));
    ds_chooser_resize(c, 100000, 1000);
    for (unsigned i = 0; i < 400000;
         i++) { /* half of them hit; about 2 in 5 are hit by one alone */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        ds_chooser_use(c, hash_of(x % 2000), 100);
        changes += ds_chooser_choice(c) != choice;
        choice = ds_chooser_choice(c);
    }
    CHECK_LE(changes, 400);
    c = ds_chooser_destroy(c);
}

DS_TEST(chooser__leaves_out_what_is_larger_than_its_caches)
{
    struct ds_chooser *c;
    uint64_t fresh = UINT64_C(1) << 40;

    CHECK_OK(ds_chooser_create(&c));
    ds_chooser_resize(c, 100000, 1000);
    ds_chooser_use(c, hash_of(1), 100001);
    ds_chooser_use(c, hash_of(1), UINT64_MAX);
    scan(c, 1000, 6000, &fresh);
    CHECK_EQ(ds_chooser_choice(c), DS_CHOICE_S3FIFO);
    ds_chooser_use(c, hash_of(1), 100000); /* just fits, alone */
    ds_chooser_resize(c, 1000, 10);        /* all must go */
    ds_chooser_use(c, hash_of(2), 1000);
    c = ds_chooser_destroy(c);
    CHECK(ds_chooser_destroy(NULL) == NULL);
}
