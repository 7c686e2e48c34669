/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_handshake.c - messages of the handshake: whatever the bytes, the decoder
 * says yes only to a whole message whose strings end inside it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int type = 0; type <= DS_WIRE_CLAIM + 1; type++) {
        if (!ds_wire_valid(data, size, (enum ds_wire_type)type)) {
            continue;
        }
        require(size == ds_wire_size((enum ds_wire_type)type));
        if (type == DS_WIRE_HERE) {
            require(strlen(((const struct ds_wire_here *)(const void *)data)->path) <
                    DS_SOCKET_PATH_MAX);
        } else if (type == DS_WIRE_OPEN) {
            require(strlen(((const struct ds_wire_open *)(const void *)data)->tenant) < 64);
        } else if (type == DS_WIRE_CONTROL) {
            require(strlen(((const struct ds_wire_control *)(const void *)data)->arg) < 512);
        } else if (type == DS_WIRE_ANSWER) {
            require(strlen(((const struct ds_wire_answer *)(const void *)data)->text) < 1024);
        }
    }
    return 0;
}
