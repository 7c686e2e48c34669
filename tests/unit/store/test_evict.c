/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction through the whole store, with every policy. test_policy.c has the policies' order. */
#include "base/failpoint.h"
#include "driver.h"

#define VALUE (60 * KIB) /* 64 KiB blocks: 62 or so of them fit beside the rest */

static const char *const policies[] = {"lru", "s3fifo", "auto"};

static void world_with(struct world *w, const char *policy)
{
    world_make(w, 4 * MIB);
    w->config.policy = policy;
    world_start(w);
}

static const char *name(char *text, const char *prefix, unsigned i)
{
    (void)snprintf(text, 32, "%s%u", prefix, i);
    return text;
}

static void read_logged(struct world *w, struct peer *p, const char *key)
{
    struct ds_found f;

    CHECK(look(w, p, key, 1, &f));
    w->now.ticks += 10;
    log_read(p, &f, w->now.ticks);
    unpin(p, 1);
    ds_store_drain_logs(w->s);
}

static void set_many(struct world *w, struct peer *p, const char *prefix, unsigned n)
{
    char key[32];

    for (unsigned i = 0; i < n; i++) {
        (void)set(w, p, name(key, prefix, i), VALUE);
    }
}

static unsigned there(struct world *w, const char *prefix, unsigned n)
{
    char key[32];
    unsigned found = 0;

    for (unsigned i = 0; i < n; i++) {
        found += id_of(w, name(key, prefix, i)) != DS_ID_NONE;
    }
    return found;
}

DS_TEST(evict__refuses_a_policy_that_there_is_not)
{
    struct world w;

    world_make(&w, 1 * MIB);
    w.config.policy = "fifo";
    CHECK_EQ(ds_store_create(&w.config, &w.index, &w.state, &w.now, &w.s), DS_EINVAL);
    ds_segment_close(&w.index);
    ds_segment_close(&w.state);
    ds_segment_close(&w.data);
}

/* Whatever is first in the order: what is being read stays, all else can go. */
DS_TEST(evict__takes_the_one_object_that_nobody_reads)
{
    for (unsigned i = 0; i < DS_ARRAY_SIZE(policies); i++) {
        for (unsigned free = 0; free < 4; free++) {
            struct world w;
            struct peer *p;
            struct ds_found f;
            char key[32];

            world_with(&w, policies[i]);
            p = peer_open(&w, 0);
            for (unsigned k = 0; k < 4; k++) {
                (void)set(&w, p, name(key, "k", k), 1000 * KIB);
                if (k != free) {
                    CHECK(look(&w, p, key, k, &f));
                }
            }
            (void)set(&w, p, "n", 1000 * KIB);
            CHECK_EQ(id_of(&w, name(key, "k", free)), DS_ID_NONE);
            CHECK_EQ(there(&w, "k", 4), 3);
            CHECK_EQ(world_stats(&w).evictions, 1);
            for (unsigned k = 0; k < 4; k++) {
                unpin(p, k);
            }
            world_end(&w);
        }
    }
}

/* Held while the worker looked at the slots for something else, and not any more. */
static void check_goes_when_it_was_held(const char *policy, const char *failpoint)
{
    struct world w;
    struct peer *p;
    struct ds_found f;

    world_with(&w, policy);
    p = peer_open(&w, 0);
    (void)set(&w, p, "held", VALUE);
    (void)set(&w, p, "gone", VALUE);
    CHECK(look(&w, p, "held", 1, &f));
    ds_failpoint_arm(failpoint);
    CHECK_OK(ask(&w, p, DS_OP_DELETE, "gone", 0));
    reclaim(&w);
    ds_failpoint_arm(NULL);
    CHECK_EQ(world_stats(&w).memory_doomed, 0);
    unpin(p, 1);
    set_many(&w, p, "scan", 200);
    CHECK_EQ(id_of(&w, "held"), DS_ID_NONE);
    world_end(&w);
}

DS_TEST(evict__what_was_held_goes_like_all_else)
{
    for (unsigned i = 0; i < DS_ARRAY_SIZE(policies); i++) {
        check_goes_when_it_was_held(policies[i], NULL);
    }
    check_goes_when_it_was_held("lru", "alloc=errno:12"); /* after one more turn */
}

/* S3-FIFO through the store: uses come from the log, ghosts by the hash of the key. */
DS_TEST(evict__with_s3fifo_keeps_what_was_used_through_a_scan)
{
    struct world w;
    struct peer *p;
    char key[32];

    world_with(&w, "s3fifo");
    p = peer_open(&w, 0);
    set_many(&w, p, "hot", 20);
    for (unsigned i = 0; i < 40; i++) {
        read_logged(&w, p, name(key, "hot", i % 20));
    }
    set_many(&w, p, "scan", 300);
    CHECK_EQ(there(&w, "hot", 20), 20);
    CHECK_EQ(there(&w, "scan", 200), 0);

    set_many(&w, p, "hot", 20); /* replaced: as good as before */
    set_many(&w, p, "more", 300);
    CHECK_EQ(there(&w, "hot", 20), 20);

    (void)set(&w, p, "cold", VALUE);
    set_many(&w, p, "push", 60);
    CHECK_EQ(id_of(&w, "cold"), DS_ID_NONE);
    (void)set(&w, p, "cold", VALUE); /* a ghost */
    set_many(&w, p, "push", 100);
    CHECK_NE(id_of(&w, "cold"), DS_ID_NONE);
    world_end(&w);
}

/* And LRU does not: the test above tests something. */
DS_TEST(evict__with_lru_lets_a_scan_sweep_everything_out)
{
    struct world w;
    struct peer *p;
    char key[32];

    world_with(&w, "lru");
    p = peer_open(&w, 0);
    set_many(&w, p, "hot", 20);
    for (unsigned i = 0; i < 40; i++) {
        read_logged(&w, p, name(key, "hot", i % 20));
    }
    set_many(&w, p, "scan", 300);
    CHECK_EQ(there(&w, "hot", 20), 0);
    world_end(&w);
}

DS_TEST(evict__goes_on_after_a_restart_with_another_policy)
{
    for (unsigned from = 0; from < DS_ARRAY_SIZE(policies); from++) {
        for (unsigned to = 0; to < DS_ARRAY_SIZE(policies); to++) {
            struct world w;
            struct peer *p;

            world_with(&w, policies[from]);
            p = peer_open(&w, 0);
            set_many(&w, p, "a", 100);
            w.config.policy = policies[to];
            world_restart(&w);
            settle(&w);
            CHECK_EQ(ds_policy_count(w.s->policy), world_stats(&w).objects);
            CHECK_GT(world_stats(&w).objects, 50);
            set_many(&w, p, "b", 100);
            CHECK_EQ(there(&w, "a", 100), 0);
            CHECK_GT(there(&w, "b", 100), 50);
            CHECK_EQ(ds_policy_count(w.s->policy), world_stats(&w).objects);
            world_end(&w);
        }
    }
}
