/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/handshake.h"

#include <string.h>

struct string_field {
    size_t offset;
    size_t size;
};

/* One row per message: its size and its strings. */
static const struct {
    size_t size;
    struct string_field strings[3];
} messages[] = {
    [DS_WIRE_HELLO] = {sizeof(struct ds_wire_hello), {{0, 0}}},
    [DS_WIRE_HERE] = {sizeof(struct ds_wire_here),
                      {{offsetof(struct ds_wire_here, path), DS_SOCKET_PATH_MAX}}},
    [DS_WIRE_OPEN] = {sizeof(struct ds_wire_open), {{offsetof(struct ds_wire_open, tenant), 64}}},
    [DS_WIRE_WELCOME] = {sizeof(struct ds_wire_welcome),
                         {{offsetof(struct ds_wire_welcome, text), 160}}},
    [DS_WIRE_CONTROL] = {sizeof(struct ds_wire_control),
                         {{offsetof(struct ds_wire_control, arg), 512}}},
    [DS_WIRE_ANSWER] = {sizeof(struct ds_wire_answer),
                        {{offsetof(struct ds_wire_answer, version), 32},
                         {offsetof(struct ds_wire_answer, path), DS_SOCKET_PATH_MAX},
                         {offsetof(struct ds_wire_answer, text), 1024}}},
    [DS_WIRE_GOODBYE] = {sizeof(struct ds_wire_header), {{0, 0}}},
    [DS_WIRE_CLAIM] = {sizeof(struct ds_wire_header), {{0, 0}}},
};

size_t ds_wire_size(enum ds_wire_type type)
{
    return (size_t)type < DS_ARRAY_SIZE(messages) ? messages[type].size : 0;
}

void ds_wire_begin(void *msg, enum ds_wire_type type, size_t size)
{
    struct ds_wire_header h = {
        .magic = DS_WIRE_MAGIC,
        .version = DS_WIRE_VERSION,
        .type = (uint16_t)type,
        .size = (uint32_t)size,
    };

    DS_ASSERT(size == ds_wire_size(type));
    memset(msg, 0, size);
    memcpy(msg, &h, sizeof(h));
}

bool ds_wire_is_ours(const void *msg, size_t size)
{
    uint32_t magic;

    if (size < sizeof(struct ds_wire_header)) {
        return false;
    }
    memcpy(&magic, msg, sizeof(magic));
    return magic == DS_WIRE_MAGIC;
}

bool ds_wire_valid(const void *msg, size_t size, enum ds_wire_type type)
{
    struct ds_wire_header h;

    if (size < sizeof(h) || size != ds_wire_size(type)) {
        return false;
    }
    memcpy(&h, msg, sizeof(h));
    if (h.magic != DS_WIRE_MAGIC || h.version != DS_WIRE_VERSION || h.type != (uint16_t)type ||
        h.size != size) {
        return false;
    }
    for (size_t i = 0; i < DS_ARRAY_SIZE(messages[type].strings); i++) {
        struct string_field f = messages[type].strings[i];

        if (f.size > 0 && memchr((const char *)msg + f.offset, '\0', f.size) == NULL) {
            return false;
        }
    }
    return true;
}
