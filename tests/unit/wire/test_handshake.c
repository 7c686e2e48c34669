/* SPDX-License-Identifier: Apache-2.0 */
/* test_handshake.c - the messages' sizes, which docs/protocol.md tells, and what is refused. */
#include <string.h>

#include "harness/ds_test.h"
#include "wire/handshake.h"
#include "wire/keeper_link.h"

DS_TEST(messages__have_the_documented_sizes)
{
    CHECK_EQ(DS_WIRE_VERSION, 1u);
    CHECK_EQ(ds_wire_size(DS_WIRE_HELLO), (size_t)16);
    CHECK_EQ(ds_wire_size(DS_WIRE_HERE), (size_t)120);
    CHECK_EQ(ds_wire_size(DS_WIRE_OPEN), (size_t)112);
    CHECK_EQ(ds_wire_size(DS_WIRE_WELCOME), (size_t)200);
    CHECK_EQ(ds_wire_size(DS_WIRE_CONTROL), (size_t)536);
    CHECK_EQ(ds_wire_size(DS_WIRE_ANSWER), (size_t)1688);
    CHECK_EQ(ds_wire_size(DS_WIRE_GOODBYE), (size_t)16);
    CHECK_EQ(ds_wire_size(DS_WIRE_CLAIM), (size_t)16);
    CHECK_EQ(ds_wire_size((enum ds_wire_type)0), (size_t)0);
    CHECK_EQ(ds_wire_size((enum ds_wire_type)9), (size_t)0);
    CHECK_EQ(sizeof(struct ds_link_msg), (size_t)992);
}

DS_TEST(open__has_the_documented_offsets)
{
    CHECK_EQ(offsetof(struct ds_wire_open, flags), (size_t)16);
    CHECK_EQ(offsetof(struct ds_wire_open, pid), (size_t)20);
    CHECK_EQ(offsetof(struct ds_wire_open, token), (size_t)24);
    CHECK_EQ(offsetof(struct ds_wire_open, pins), (size_t)40);
    CHECK_EQ(offsetof(struct ds_wire_open, tenant), (size_t)48);
    CHECK_EQ(offsetof(struct ds_wire_welcome, data_size), (size_t)24);
    CHECK_EQ(offsetof(struct ds_wire_welcome, boottime_offset_ns), (size_t)32);
    CHECK_EQ(offsetof(struct ds_wire_answer, stats), (size_t)16);
    CHECK_EQ(offsetof(struct ds_wire_answer, version), (size_t)528);
}

DS_TEST(valid__accepts_what_begin_made)
{
    struct ds_wire_open open;

    ds_wire_begin(&open, DS_WIRE_OPEN, sizeof(open));
    CHECK(ds_wire_valid(&open, sizeof(open), DS_WIRE_OPEN));
}

DS_TEST(valid__refuses_everything_else)
{
    struct ds_wire_open open;
    struct ds_wire_open bad;

    ds_wire_begin(&open, DS_WIRE_OPEN, sizeof(open));
    CHECK(!ds_wire_valid(&open, sizeof(open) - 1, DS_WIRE_OPEN));
    CHECK(!ds_wire_valid(&open, sizeof(open), DS_WIRE_CONTROL));
    CHECK(!ds_wire_valid(&open, 3, DS_WIRE_OPEN));
    bad = open;
    bad.header.magic ^= 1;
    CHECK(!ds_wire_valid(&bad, sizeof(bad), DS_WIRE_OPEN));
    bad = open;
    bad.header.version++;
    CHECK(!ds_wire_valid(&bad, sizeof(bad), DS_WIRE_OPEN));
    bad = open;
    bad.header.size--;
    CHECK(!ds_wire_valid(&bad, sizeof(bad), DS_WIRE_OPEN));
    bad = open;
    memset(bad.tenant, 'x', sizeof(bad.tenant)); /* no end */
    CHECK(!ds_wire_valid(&bad, sizeof(bad), DS_WIRE_OPEN));
}
