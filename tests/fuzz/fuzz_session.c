/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_session.c - a client that writes anything anywhere into its session: rings, request slots,
 * pins, access log. After each change the worker makes passes; its own books must always balance.
 *
 * The input is a list of steps: where:1 | offset:2 | size:1 | bytes. `where` picks header, ring,
 * request slots, log or pins, or posts what lies there by moving the tail or a request number.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/index.h"
#include "shm/layout.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATA_SIZE (UINT64_C(1) << 20)

static struct ds_store *store;
static struct ds_segment index_segment;
static struct ds_segment state_segment;
static struct ds_store_now now = {.boot_ns = 1000000000, .ticks = 1000000};

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void make_store(void)
{
    struct ds_store_config config = {
        .data_size = DATA_SIZE, .session_max = 4, .evict_high = 1.0, .evict_low = 1.0};

    require(ds_segment_create("f-index", ds_index_size(DATA_SIZE), &index_segment) == 0);
    require(ds_segment_create("f-state", ds_store_state_size(&config), &state_segment) == 0);
    require(ds_store_create(&config, &index_segment, &state_segment, &now, &store) == 0);
    ds_store_usable(store, DATA_SIZE);
}

static void pass(void)
{
    now.boot_ns += 1000000;
    now.ticks += 1000000;
    (void)ds_store_pass(store, &now);
}

static uint64_t base_of(uint8_t where)
{
    static const uint32_t bases[] = {0, DS_SESSION_RING_OFFSET, DS_SESSION_REQUEST_OFFSET,
                                     DS_SESSION_LOG_OFFSET, DS_SESSION_PIN_OFFSET};

    return bases[where % 5];
}

static void step(struct ds_segment *mine, uint8_t where, uint16_t offset, const uint8_t *bytes,
                 size_t size)
{
    struct ds_session_header *h = (void *)mine->base;

    if (where < 200) {
        memcpy(mine->base + base_of(where) + offset % 60000, bytes, size);
    } else if (where < 225) { /* post what stands in the ring */
        (void)atomic_fetch_add(&h->ring_tail, (offset % 4096u) * 16u);
        pass();
    } else { /* post what stands in a request slot */
        (void)atomic_fetch_add(&h->request[offset % DS_REQUESTS], 1);
        (void)atomic_fetch_add(&h->requests, 1);
        pass();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ds_session_info info = {.pid = 1};
    struct ds_segment segment;
    struct ds_segment mine;
    uint32_t number;

    if (store == NULL) {
        make_store();
    }
    require(ds_segment_create("f-session", DS_SESSION_SIZE, &segment) == 0);
    mine = segment; /* the same mapping: the fuzzer is the client */
    require(ds_store_session_open(store, &info, &segment, &number) == 0);
    while (size >= 4) {
        size_t n = data[3] < size - 4 ? data[3] : size - 4;

        step(&mine, data[0], (uint16_t)(data[1] | data[2] << 8), data + 4, n);
        data += 4 + n;
        size -= 4 + n;
    }
    pass();
    pass();
    ds_store_session_hangup(store, number);
    pass();
    pass();
    ds_store_session_end(store, number);
    require(ds_store_check(store) == 0);
    return 0;
}
