/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.h - the messages before shared memory: docs/protocol.md.
 *
 *   client                                       worker
 *     TCP to worker_address:  HELLO ---------->
 *                             <--------------- HERE (where the Unix socket is)
 *     Unix socket:            OPEN [pidfd] ---->
 *                             <--------------- WELCOME [data ro, data rw, index, session, eventfd]
 *     later, at will:         CONTROL -------->
 *                             <--------------- ANSWER
 *                             GOODBYE --------> (nothing is mapped any more)
 *                             CLAIM [pidfd] ---> (a forked child takes the ghost session over)
 *
 * Fixed-size little-endian structs; a message of another size, magic or ABI is refused. The
 * decoders take untrusted bytes: they check everything they return, make no system call and keep
 * nothing.
 */
#ifndef DS_WIRE_HANDSHAKE_H
#define DS_WIRE_HANDSHAKE_H

#include <ds/client.h>

#include "base/base.h"

#define DS_WIRE_MAGIC UINT32_C(0x57534458) /* "XDSW" */
#define DS_WIRE_VERSION 1u
#define DS_SOCKET_PATH_MAX 104u

enum ds_wire_type {
    DS_WIRE_HELLO = 1,
    DS_WIRE_HERE,
    DS_WIRE_OPEN,
    DS_WIRE_WELCOME,
    DS_WIRE_CONTROL,
    DS_WIRE_ANSWER,
    DS_WIRE_GOODBYE,
    DS_WIRE_CLAIM,
};

struct ds_wire_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint32_t size;  /* of the whole message */
    int32_t status; /* in replies: 0 or DS_E* */
};

struct ds_wire_hello {
    struct ds_wire_header header;
};

struct ds_wire_here {
    struct ds_wire_header header;
    char path[DS_SOCKET_PATH_MAX]; /* NUL-terminated */
};

/* flags of OPEN */
#define DS_WIRE_RESUME 1u /* only if the session of `token` is there already */
#define DS_WIRE_GHOST 2u  /* for a child about to be forked: its pidfd follows with CLAIM */

struct ds_wire_open {
    struct ds_wire_header header;
    uint32_t flags;
    uint32_t pid;      /* in the client's own namespace: for people only */
    uint8_t token[16]; /* the client's secret: names the session, from the first OPEN on */
    uint32_t pins;     /* slots that must be ready at once; 0: as usual */
    uint32_t reserved;
    char tenant[64]; /* NUL-terminated */
};

enum { DS_FD_DATA_RO, DS_FD_DATA_RW, DS_FD_INDEX, DS_FD_SESSION, DS_FD_WAKE, DS_FD_COUNT };

struct ds_wire_welcome {
    struct ds_wire_header header;
    uint32_t session;
    uint32_t epoch;
    uint64_t data_size;
    int64_t boottime_offset_ns; /* of the worker; see ds_sys_boottime_offset_ns() */
    char text[160];             /* why not, when status != 0 */
};

enum ds_wire_control_op { DS_WIRE_STATUS = 1, DS_WIRE_STOP = 2, DS_WIRE_UPGRADE = 3 };

struct ds_wire_control {
    struct ds_wire_header header;
    uint32_t op;
    uint32_t reserved;
    char arg[512]; /* NUL-terminated */
};

struct ds_wire_answer {
    struct ds_wire_header header;
    struct ds_worker_stats stats;
    char version[32];
    char path[DS_SOCKET_PATH_MAX];
    char text[1024];
};

/* Fills the header of a message of `size` bytes. */
void ds_wire_begin(void *msg, enum ds_wire_type type, size_t size);

/* True if `msg` is a whole message of this type, with all strings terminated. */
DS_MUST_USE bool ds_wire_valid(const void *msg, size_t size, enum ds_wire_type type);

/* True if it begins as a message of any version: a worker or client of another one is told from a
 * stranger. */
DS_MUST_USE bool ds_wire_is_ours(const void *msg, size_t size);

/* The size of a message of this type; 0 for an unknown one. */
size_t ds_wire_size(enum ds_wire_type type);

#endif
