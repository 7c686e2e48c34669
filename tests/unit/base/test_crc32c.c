/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "harness/ds_test.h"

DS_TEST(crc32c__has_the_values_of_rfc_3720)
{
    uint8_t zeros[32] = {0};
    uint8_t up[32];

    for (unsigned i = 0; i < sizeof(up); i++) {
        up[i] = (uint8_t)i;
    }
    CHECK_EQ(ds_crc32c(0, "123456789", 9), 0xe3069283u);
    CHECK_EQ(ds_crc32c(0, zeros, 32), 0x8a9136aau);
    CHECK_EQ(ds_crc32c(0, up, 32), 0x46dd794eu);
    CHECK_EQ(ds_crc32c_portable(0, "123456789", 9), 0xe3069283u);
    CHECK_EQ(ds_crc32c(0, "", 0), 0u);
}

DS_TEST(crc32c__goes_on_and_combines_at_any_cut)
{
    enum { SIZE = 70000 };
    static const size_t sizes[] = {1, 7, 8, 63, 4031, 4032, 4033, 8064, 24575, 24576, 49153, SIZE};
    uint8_t *data = ds_zalloc(SIZE, "test");
    uint64_t x = ds_test_seed() | 1;

    CHECK(data != NULL);
    for (size_t i = 0; i < SIZE; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        data[i] = (uint8_t)(x >> 56);
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(sizes); i++) {
        size_t size = sizes[i];
        size_t cut = x % size;
        uint32_t whole = ds_crc32c(0, data, size);
        uint32_t first = ds_crc32c(0, data, cut);

        CHECK_EQ(whole, ds_crc32c_portable(0, data, size));
        CHECK_EQ(whole, ds_crc32c(first, data + cut, size - cut));
        CHECK_EQ(whole, ds_crc32c_combine(first, ds_crc32c(0, data + cut, size - cut), size - cut));
    }
    ds_free(data);
}
