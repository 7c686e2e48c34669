/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CRC is a remainder of polynomials over GF(2): appending n bytes multiplies it by x^(8n). So
 * three pieces are run at the same time, which hides the latency of the instruction (3 cycles, one
 * each cycle), and put together by two multiplications (V. Gopal et al., "Fast CRC Computation for
 * iSCSI Polynomial Using CRC32 Instruction", Intel 2011). Polynomials are bit-reversed: 1 << 31
 * is 1.
 */
#include "base/crc32c.h"

#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82f63b78u

/* The remainder of four zero bits after i. */
static const uint32_t by_nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t ds_crc32c_portable(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;

    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        crc = (crc >> 4) ^ by_nibble[crc & 15];
        crc = (crc >> 4) ^ by_nibble[crc & 15];
    }
    return ~crc;
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (int i = 0; i < 32; i++) {
        product ^= b & (0u - (a >> 31));
        a <<= 1;
        b = (b >> 1) ^ (POLYNOMIAL & (0u - (b & 1)));
    }
    return product;
}

uint32_t ds_crc32c_combine(uint32_t a, uint32_t b, uint64_t b_size)
{
    uint32_t square = 1u << 23; /* x^8 */

    for (; b_size > 0; b_size >>= 1) {
        if ((b_size & 1) != 0) {
            a = multiply(a, square);
        }
        square = multiply(square, square);
    }
    return a ^ b;
}

#if defined(__x86_64__) || defined(__aarch64__)

#if defined(__x86_64__)
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_8(crc, v) ((uint32_t)__builtin_ia32_crc32di((crc), (v)))
#define CRC_1(crc, v) __builtin_ia32_crc32qi((crc), (v))
#elif defined(__clang__)
#define CRC_TARGET __attribute__((target("crc")))
#define CRC_8(crc, v) __builtin_arm_crc32cd((crc), (v))
#define CRC_1(crc, v) __builtin_arm_crc32cb((crc), (v))
#else
#define CRC_TARGET __attribute__((target("+crc")))
#define CRC_8(crc, v) __builtin_aarch64_crc32cx((crc), (v))
#define CRC_1(crc, v) __builtin_aarch64_crc32cb((crc), (v))
#endif

static inline uint64_t load_8(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* Three pieces of `piece` bytes each; x_piece is x^(8 piece), x_two is x^(16 piece). */
CRC_TARGET static uint32_t three(uint32_t crc, const uint8_t *p, size_t piece, uint32_t x_piece,
                                 uint32_t x_two)
{
    uint32_t b = 0;
    uint32_t c = 0;

    for (size_t i = 0; i < piece; i += 8) {
        crc = CRC_8(crc, load_8(p + i));
        b = CRC_8(b, load_8(p + i + piece));
        c = CRC_8(c, load_8(p + i + 2 * piece));
    }
    return multiply(crc, x_two) ^ multiply(b, x_piece) ^ c;
}

CRC_TARGET static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t size)
{
    enum { LARGE = 8192, SMALL = 1344 }; /* three small ones fit in a value of 4 KiB */

    for (; size >= 3 * LARGE; p += 3 * LARGE, size -= 3 * LARGE) {
        crc = three(crc, p, LARGE, 0x28461564, 0xbf455269);
    }
    for (; size >= 3 * SMALL; p += 3 * SMALL, size -= 3 * SMALL) {
        crc = three(crc, p, SMALL, 0xd27285db, 0x46bf959e);
    }
    for (; size >= 8; p += 8, size -= 8) {
        crc = CRC_8(crc, load_8(p));
    }
    for (; size > 0; p++, size--) {
        crc = CRC_1(crc, *p);
    }
    return crc;
}

static bool has_instruction(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("sse4.2") != 0;
#else
    return (getauxval(AT_HWCAP) & (1ul << 7)) != 0; /* HWCAP_CRC32 */
#endif
}

uint32_t ds_crc32c(uint32_t crc, const void *data, size_t size)
{
    return has_instruction() ? ~by_instruction(~crc, data, size)
                             : ds_crc32c_portable(crc, data, size);
}

#else

uint32_t ds_crc32c(uint32_t crc, const void *data, size_t size)
{
    return ds_crc32c_portable(crc, data, size);
}

#endif
