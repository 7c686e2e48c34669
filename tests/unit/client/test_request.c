/* SPDX-License-Identifier: Apache-2.0 */
/* test_request.c - slots, answers and giving up, on a session without a worker: the test answers.
 */
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys.h"
#include "client/internal.h"
#include "harness/ds_test.h"

#define LONG_NS INT64_C(30000000000)
#define SHORT_NS INT64_C(30000000)

static struct ds_client client;
static struct ds_link *l;
static struct ds_index_header *index_header; /* asleep is 0: nobody rings */
static int far_end;

static void set_up(void)
{
    int pair[2];

    l = ds_zalloc(sizeof(*l), "link");
    index_header = ds_zalloc(sizeof(*index_header), "index");
    CHECK(l != NULL && index_header != NULL);
    l->session = ds_sys_map_private(DS_SESSION_SIZE);
    CHECK(l->session != NULL);
    l->slot = (void *)((uint8_t *)l->session + DS_SESSION_REQUEST_OFFSET);
    l->client = &client;
    l->index.header = index_header;
    CHECK_OK(pthread_mutex_init(&l->connect_lock, NULL));
    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    far_end = pair[1];
    ds_store_relaxed(&l->sock, pair[0]);
    ds_store_relaxed(&l->sock_id, ds_sys_socket_id(pair[0]));
    ds_store_relaxed(&l->request_free, UINT64_MAX);
}

static void tear_down(void)
{
    ds_link_close_sock(l);
    ds_sys_close(far_end);
    ds_sys_unmap(l->session, DS_SESSION_SIZE);
    CHECK_OK(pthread_mutex_destroy(&l->connect_lock));
    ds_free(index_header);
    ds_free(l);
}

static int64_t in_ns(int64_t ns)
{
    return ds_monotonic_ns() + ns;
}

static struct request begin(enum ds_op op, int64_t deadline_ns)
{
    struct request r;

    CHECK_OK(ds_request_begin(&r, l, op, deadline_ns, false));
    return r;
}

static void answer(unsigned slot, int status, uint64_t value)
{
    l->slot[slot].result[0] = (struct ds_request_result){.status = status, .value = value};
    ds_store_release(&l->session->done[slot], ds_load_acquire(&l->session->request[slot]));
}

DS_TEST(request__brings_the_answer_and_its_slot_back)
{
    struct ds_request_item item = {.key_size = 3};
    struct request r;

    set_up();
    r = begin(DS_OP_EXIST, in_ns(LONG_NS));
    CHECK_EQ(ds_load_relaxed(&l->request_free), UINT64_MAX & ~(UINT64_C(1) << r.slot));
    CHECK(ds_request_add(&r, &item, "key"));
    ds_request_post(&r, true);
    CHECK_EQ(l->slot[r.slot].header.n, 1);
    CHECK(!ds_request_answered(&r));
    answer(r.slot, 0, 77);
    CHECK_OK(ds_request_wait(&r));
    CHECK_EQ(ds_request_result(&r, 0).value, UINT64_C(77));
    ds_request_end(&r);
    CHECK_EQ(ds_load_relaxed(&l->request_free), UINT64_MAX);
    tear_down();
}

DS_TEST(add__takes_as_much_as_a_slot_holds)
{
    static const uint8_t key[DS_KEY_SIZE_MAX];
    struct ds_request_item item = {.key_size = DS_KEY_SIZE_MAX};
    struct request r;
    unsigned n = 0;

    set_up();
    r = begin(DS_OP_EXIST, in_ns(LONG_NS));
    while (ds_request_fits(&r, sizeof(key))) {
        CHECK(ds_request_add(&r, &item, key));
        n++;
    }
    CHECK(!ds_request_add(&r, &item, key));
    CHECK_EQ(r.n, n);
    CHECK_LE(r.size, DS_REQUEST_BYTES);
    ds_request_end(&r);
    r = begin(DS_OP_EXIST, in_ns(LONG_NS));
    item.key_size = 1;
    for (n = 0; ds_request_add(&r, &item, key); n++) {
    }
    CHECK_EQ(n, DS_SUB_MAX);
    ds_request_end(&r);
    tear_down();
}

DS_TEST(begin__leaves_some_slots_to_what_does_not_wait)
{
    struct request r;
    unsigned n = 0;

    set_up();
    while (ds_request_begin(&r, l, DS_OP_GET, in_ns(0), true) == 0) {
        n++;
    }
    CHECK_EQ(n, DS_REQUESTS - 8);
    while (ds_request_begin(&r, l, DS_OP_GRANT, in_ns(0), false) == 0) {
        n++;
    }
    CHECK_EQ(n, DS_REQUESTS);
    CHECK_EQ(ds_request_begin(&r, l, DS_OP_GRANT, in_ns(SHORT_NS), false), DS_ETIMEOUT);
    tear_down();
}

DS_TEST(wait__gives_up_by_a_cancel_in_the_same_slot)
{
    struct request r;
    struct request other;
    uint64_t bit;

    set_up();
    r = begin(DS_OP_GET, in_ns(SHORT_NS));
    bit = UINT64_C(1) << r.slot;
    ds_request_post(&r, true);
    CHECK_EQ(ds_request_wait(&r), DS_ETIMEOUT);
    CHECK_EQ(l->slot[r.slot].header.op, DS_OP_CANCEL);
    CHECK_EQ(l->slot[r.slot].header.value2, (uint64_t)r.number - 1);
    CHECK_EQ(ds_load_relaxed(&l->session->request[r.slot]), r.number);
    CHECK_EQ(ds_load_relaxed(&l->request_late), bit);
    while (ds_request_begin(&other, l, DS_OP_GRANT, in_ns(0), false) == 0) {
        CHECK_NE(other.slot, r.slot); /* it is the worker's until that has seen the cancel */
    }
    answer(r.slot, 0, 0);
    other = begin(DS_OP_GRANT, 0); /* also for who does not wait for a slot */
    CHECK_EQ(other.slot, r.slot);
    CHECK_EQ(ds_load_relaxed(&l->request_late), UINT64_C(0));
    tear_down();
}

DS_TEST(wait__ends_when_the_client_is_closed)
{
    struct request r;

    set_up();
    r = begin(DS_OP_STATS, in_ns(LONG_NS));
    ds_request_post(&r, true);
    ds_store_relaxed(&client.closing, true);
    CHECK_EQ(ds_request_wait(&r), DS_ESHUTDOWN);
    tear_down();
}

/* --- interrupted --- */

static unsigned asked;
static unsigned enough; /* asked so often, the caller wants the end */
static int answered_slot = -1;

static bool interrupted(void *arg)
{
    CHECK(arg == &asked);
    if (answered_slot >= 0) {
        answer((unsigned)answered_slot, 0, 5);
    }
    return ++asked == enough;
}

static struct request begin_interruptible(void)
{
    struct request r;

    client.options.interrupted = interrupted;
    client.options.interrupted_arg = &asked;
    r = begin(DS_OP_DELETE, in_ns(LONG_NS));
    ds_request_post(&r, true);
    return r;
}

DS_TEST(wait__asks_whether_to_go_on)
{
    struct request r;

    set_up();
    enough = 3;
    r = begin_interruptible();
    CHECK_EQ(ds_request_wait(&r), DS_EINTERRUPTED);
    CHECK_EQ(asked, 3u);
    CHECK_EQ(l->slot[r.slot].header.op, DS_OP_CANCEL);
    tear_down();
}

DS_TEST(wait__an_answer_that_came_counts_all_the_same)
{
    struct request r;

    set_up();
    enough = 1;
    r = begin_interruptible();
    answered_slot = (int)r.slot;
    CHECK_OK(ds_request_wait(&r));
    CHECK_EQ(ds_request_result(&r, 0).value, UINT64_C(5));
    ds_request_end(&r);
    tear_down();
}
