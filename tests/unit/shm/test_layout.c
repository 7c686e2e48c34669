/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_layout.c - the ABI, number by number: docs/shm-layout.md says the same.
 *
 * A failure here means that old and new processes on one machine misread each other. Change the
 * numbers together with DS_SHM_ABI and the document, never alone.
 */
#include "harness/ds_test.h"
#include "shm/layout.h"
#include "shm/size_class.h"

#define AT(type, field, offset) CHECK_EQ(offsetof(struct type, field), (size_t)(offset))
#define SIZE(type, size) CHECK_EQ(sizeof(struct type), (size_t)(size))

DS_TEST(layout__abi_numbers)
{
    CHECK_EQ(DS_SHM_ABI, 4u);
    CHECK_EQ(DS_INDEX_MAGIC, UINT64_C(0x3158444e49534458));
    CHECK_EQ(DS_STATE_MAGIC, UINT64_C(0x3145544154534458));
    CHECK_EQ(DS_SESSION_MAGIC, UINT64_C(0x3153534553534458));
    CHECK_EQ(DS_SESSIONS_MAX, 10240u);
    CHECK_EQ(DS_REQUESTS, 64u);
    CHECK_EQ(DS_SUB_MAX, 128u);
    CHECK_EQ(DS_OP_COUNT_, 24);
    CHECK_EQ(DS_OP_GRANT, 1);
    CHECK_EQ(DS_OP_SYNC, 20);
    CHECK_EQ(DS_OP_CANCEL, 21);
    CHECK_EQ(DS_OP_SET, 22);
    CHECK_EQ(DS_OP_WHY, 23);
    CHECK_EQ(DS_RECORD_LATCH, 6);
    CHECK_EQ(DS_WORD_SEALED, 1u << 8);
    CHECK_EQ(DS_WORD_SPILLED, 1u << 9);
    CHECK_EQ(DS_WORD_UPLOADED, 1u << 10);
    CHECK_EQ(DS_WORD_ARRIVING, 1u << 11);
    CHECK_EQ(DS_META_ARRIVED(UINT64_C(3) << 32 | 0xffffffff), 3 * 4096u);
    AT(ds_index_header, tiers, 208);
    AT(ds_state_header, place_offset, 120);
    AT(ds_state_header, moving, 128);
    AT(ds_state_header, unserved, 136);
    AT(ds_state_header, gone_offset, 144);
    AT(ds_gone_table, newest, 64);
    AT(ds_gone_table, entry, 64 + 4 * 65536);
    AT(ds_gone_entry, what, 8);
}

DS_TEST(layout__index)
{
    SIZE(ds_bucket, 64);
    AT(ds_bucket, next, 56);
    SIZE(ds_desc, 64);
    AT(ds_desc, gen, 0);
    AT(ds_desc, offset, 8);
    AT(ds_desc, size, 16);
    AT(ds_desc, expiry_ns, 24);
    AT(ds_desc, meta, 32);
    AT(ds_desc, key, 40);
    SIZE(ds_index_header, 256);
    AT(ds_index_header, abi, 8);
    AT(ds_index_header, segment_size, 16);
    AT(ds_index_header, data_size, 24);
    AT(ds_index_header, hash_seed, 32);
    AT(ds_index_header, bucket_offset, 40);
    AT(ds_index_header, overflow_offset, 48);
    AT(ds_index_header, desc_offset, 56);
    AT(ds_index_header, key_offset, 64);
    AT(ds_index_header, key_area_size, 72);
    AT(ds_index_header, bucket_max, 80);
    AT(ds_index_header, overflow_max, 84);
    AT(ds_index_header, desc_max, 88);
    AT(ds_index_header, buckets, 128);
    AT(ds_index_header, moves, 136);
    AT(ds_index_header, asleep, 192);
    AT(ds_index_header, epoch, 196);
    AT(ds_index_header, data_ready, 200);
}

DS_TEST(layout__state)
{
    SIZE(ds_place, 16);
    SIZE(ds_record, 64);
    AT(ds_record, word, 0);
    AT(ds_record, gen, 8);
    AT(ds_record, expiry_ns, 16);
    AT(ds_record, offset, 24);
    AT(ds_record, size, 32);
    AT(ds_record, version, 40);
    AT(ds_record, origin, 48);
    AT(ds_record, check, 56);
    AT(ds_record, key_size, 60);
    AT(ds_record, mode, 62);
    AT(ds_record, kind, 63);
    SIZE(ds_state_session, 1024);
    AT(ds_state_session, token, 8);
    AT(ds_state_session, applied, 24);
    AT(ds_state_session, pid, 32);
    AT(ds_state_session, uid, 36);
    AT(ds_state_session, done, 64);
    AT(ds_state_header, segment_size, 16);
    AT(ds_state_header, session_offset, 24);
    AT(ds_state_header, record_offset, 32);
    AT(ds_state_header, record_max, 40);
    AT(ds_state_header, session_max, 44);
    AT(ds_state_header, table_seed, 48);
    AT(ds_state_header, records_used, 56);
    AT(ds_state_header, data_ready, 64);
    AT(ds_state_header, keys_ready, 72);
    AT(ds_state_header, restarts, 80);
    AT(ds_state_header, started_ns, 88);
}

DS_TEST(layout__session)
{
    AT(ds_session_header, session, 12);
    AT(ds_session_header, segment_size, 16);
    AT(ds_session_header, ring_tail, 64);
    AT(ds_session_header, requests, 72);
    AT(ds_session_header, sleepers, 80);
    AT(ds_session_header, log_head, 128);
    AT(ds_session_header, pins_used, 136);
    AT(ds_session_header, request, 192);
    AT(ds_session_header, request_sleeper, 448);
    AT(ds_session_header, applied, 704);
    AT(ds_session_header, applied_wake, 712);
    AT(ds_session_header, pins_limit, 716);
    AT(ds_session_header, done, 768);
    SIZE(ds_ring_record, 48);
    AT(ds_ring_record, op, 4);
    AT(ds_ring_record, mode, 5);
    AT(ds_ring_record, key_size, 6);
    AT(ds_ring_record, id, 8);
    AT(ds_ring_record, kind, 12);
    AT(ds_ring_record, ticket, 16);
    AT(ds_ring_record, value_size, 24);
    AT(ds_ring_record, ttl_ms, 32);
    SIZE(ds_request_header, 64);
    SIZE(ds_request_item, 32);
    SIZE(ds_request_result, 16);
    SIZE(ds_request_slot, 8192);
    AT(ds_request_slot, items, 64);
    AT(ds_request_slot, result, 6144);
    SIZE(ds_log_entry, 16);
    CHECK_EQ(DS_SESSION_RING_OFFSET, 4096u);
    CHECK_EQ(DS_SESSION_REQUEST_OFFSET, 266240u);
    CHECK_EQ(DS_SESSION_LOG_OFFSET, 790528u);
    CHECK_EQ(DS_SESSION_PIN_OFFSET, 921600u);
    CHECK_EQ(DS_SESSION_SIZE, 5115904u);
}

/* FNV-1a over the capacities of 1 .. 32768 bytes: one changed class changes it. */
static uint64_t capacities(uint32_t unit)
{
    uint64_t h = UINT64_C(1469598103934665603);

    for (uint64_t size = 1; size <= DS_SMALL_MAX; size++) {
        h = (h ^ ds_arena_capacity(unit, size)) * UINT64_C(1099511628211);
    }
    return h;
}

DS_TEST(layout__size_classes)
{
    CHECK_EQ(capacities(32), UINT64_C(0x6bec2dd8c74dcb83));
    CHECK_EQ(capacities(64), UINT64_C(0xee909e3aa6a6fb83));
    CHECK_EQ(ds_arena_capacity(64, 1), UINT64_C(64));
    CHECK_EQ(ds_arena_capacity(64, 1000), UINT64_C(1024));
    CHECK_EQ(ds_arena_capacity(64, 5000), UINT64_C(5440));
    CHECK_EQ(ds_arena_capacity(64, 32768), UINT64_C(32768));
    CHECK_EQ(ds_arena_capacity(64, 32769), UINT64_C(36864));
    CHECK_EQ(ds_arena_capacity(32, 25), UINT64_C(32));
}
