/* SPDX-License-Identifier: Apache-2.0 */
/* test_vault.c - what the keeper holds for workers to come. Descriptors that leak fail a test. */
#include "keeper/vault.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "harness/ds_test.h"

static int any_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    CHECK_GE(fd, 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void put(struct ds_vault *v, const char *name, size_t n)
{
    int fds[DS_LINK_FDS_MAX];

    for (size_t i = 0; i < n; i++) {
        fds[i] = any_fd();
    }
    CHECK_OK(ds_vault_put(v, name, fds, n));
}

DS_TEST(put__keeps_descriptors_under_a_name)
{
    struct ds_vault v = {0};
    const struct ds_vault_entry *e;

    put(&v, "data", 1);
    put(&v, "s7", 2);
    e = ds_vault_find(&v, "s7");
    CHECK(e != NULL && e->n_fds == 2 && is_open(e->fds[0]) && is_open(e->fds[1]));
    CHECK(ds_vault_find(&v, "s") == NULL);
    ds_vault_fini(&v);
}

DS_TEST(put__replaces_and_closes_what_had_the_name)
{
    struct ds_vault v = {0};
    int old;

    put(&v, "s7", 2);
    old = ds_vault_find(&v, "s7")->fds[1];
    put(&v, "s7", 1);
    CHECK_EQ(v.n, (size_t)1);
    CHECK_EQ(ds_vault_find(&v, "s7")->n_fds, (size_t)1);
    CHECK(!is_open(old));
    ds_vault_fini(&v);
}

DS_TEST(drop__keeps_the_order_of_the_others)
{
    static const char *const left[] = {"s0", "s1", "s3", "s4"};
    struct ds_vault v = {0};
    char name[16];

    for (int i = 0; i < 5; i++) {
        (void)snprintf(name, sizeof(name), "s%d", i);
        put(&v, name, 1);
    }
    ds_vault_drop(&v, "s2");
    ds_vault_drop(&v, "s9");
    CHECK_EQ(v.n, (size_t)4);
    for (size_t i = 0; i < v.n; i++) {
        CHECK_STR(v.entry[i].name, left[i]);
    }
    ds_vault_fini(&v);
}

DS_TEST(put__holds_more_than_it_had_room_for)
{
    struct ds_vault v = {0};
    char name[16];

    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof(name), "s%d", i);
        put(&v, name, 1);
    }
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof(name), "s%d", i);
        CHECK(ds_vault_find(&v, name) != NULL);
    }
    ds_vault_fini(&v);
}

DS_TEST(send__gives_all_in_order)
{
    struct ds_vault v = {0};
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    int pair[2];
    size_t n;

    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    put(&v, "data", 1);
    put(&v, "s1", 2);
    CHECK_OK(ds_vault_send(&v, pair[0], DS_LINK_FD));
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(ds_link_recv(pair[1], &msg, fds, &n));
        CHECK_EQ(msg.type, (uint32_t)DS_LINK_FD);
        CHECK_STR(msg.name, i == 0 ? "data" : "s1");
        CHECK_EQ(n, i + 1);
        for (size_t k = 0; k < n; k++) {
            CHECK_OK(close(fds[k]));
        }
    }
    CHECK_OK(close(pair[1]));
    CHECK_EQ(ds_vault_send(&v, pair[0], DS_LINK_FD), DS_EDISCONNECTED);
    CHECK_OK(close(pair[0]));
    ds_vault_fini(&v);
}
