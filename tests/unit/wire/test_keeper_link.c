/* SPDX-License-Identifier: Apache-2.0 */
/* test_keeper_link.c - messages between keeper and worker, and what is no such message. */
#include "wire/keeper_link.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness/ds_test.h"

static int pair[2];

static void make_pair(void)
{
    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
}

static void close_pair(void)
{
    CHECK_OK(close(pair[0]));
    CHECK_OK(close(pair[1]));
}

DS_TEST(recv__gives_what_was_sent)
{
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX] = {-1, -1};
    int pipes[2];
    char byte = 0;
    size_t n;

    make_pair();
    CHECK_OK(pipe(pipes));
    CHECK_OK(ds_link_send(pair[0], DS_LINK_PUT, 7, "s7", "why", pipes, 2));
    CHECK_OK(ds_link_recv(pair[1], &msg, fds, &n));
    CHECK_EQ(msg.type, (uint32_t)DS_LINK_PUT);
    CHECK_EQ(msg.number, 7u);
    CHECK_STR(msg.name, "s7");
    CHECK_STR(msg.text, "why");
    CHECK_EQ(n, (size_t)2);
    CHECK_EQ(write(fds[1], "x", 1), (ssize_t)1); /* they are the same pipe */
    CHECK_EQ(read(pipes[0], &byte, 1), (ssize_t)1);
    CHECK_EQ(byte, 'x');
    for (int i = 0; i < 2; i++) {
        CHECK_OK(close(pipes[i]));
        CHECK_OK(close(fds[i]));
    }
    close_pair();
}

DS_TEST(send__cuts_a_text_that_is_too_long)
{
    char text[DS_LINK_TEXT_MAX * 2];
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    size_t n;

    make_pair();
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    CHECK_OK(ds_link_send(pair[0], DS_LINK_FAILED, 0, "", text, NULL, 0));
    CHECK_OK(ds_link_recv(pair[1], &msg, fds, &n));
    CHECK_EQ(strnlen(msg.text, DS_LINK_TEXT_MAX), (size_t)DS_LINK_TEXT_MAX - 1);
    CHECK_EQ(n, (size_t)0);
    close_pair();
}

DS_TEST(recv__refuses_messages_of_another_shape)
{
    struct ds_link_msg whole = {.type = DS_LINK_READY};
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    size_t n;

    make_pair();
    CHECK_EQ(send(pair[0], &whole, sizeof(whole) - 1, 0), (ssize_t)sizeof(whole) - 1);
    CHECK_LT(ds_link_recv(pair[1], &msg, fds, &n), 0);
    memset(whole.name, 'n', sizeof(whole.name)); /* no end */
    CHECK_EQ(send(pair[0], &whole, sizeof(whole), 0), (ssize_t)sizeof(whole));
    if (ds_link_recv(pair[1], &msg, fds, &n) == 0) {
        CHECK_LT(strnlen(msg.name, sizeof(msg.name)), sizeof(msg.name));
    }
    close_pair();
}

DS_TEST(recv__tells_that_the_other_side_is_gone)
{
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    size_t n;

    make_pair();
    CHECK_OK(close(pair[0]));
    CHECK_EQ(ds_link_recv(pair[1], &msg, fds, &n), DS_EDISCONNECTED);
    CHECK_OK(close(pair[1]));
}
