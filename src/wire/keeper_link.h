/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper_link.h - what keeper and worker say to each other over a SOCK_SEQPACKET pair.
 *
 *   keeper -> worker   FD (one for each descriptor it keeps), then START
 *   worker -> keeper   PROGRESS, PUT, DROP, READY, STOP, UPGRADE, FAILED
 *
 * Both are ours and of one user; still, a message of another shape is refused.
 */
#ifndef DS_WIRE_KEEPER_LINK_H
#define DS_WIRE_KEEPER_LINK_H

#include "base/base.h"

enum ds_link_type {
    DS_LINK_FD = 1,   /* keeper: `name` and its descriptors */
    DS_LINK_START,    /* keeper: that was all; `number` = pid of the keeper, text = last trouble */
    DS_LINK_PUT,      /* worker: keep these descriptors under `name` */
    DS_LINK_DROP,     /* worker: forget them */
    DS_LINK_READY,    /* worker: serving */
    DS_LINK_STOP,     /* worker: end both of us */
    DS_LINK_UPGRADE,  /* worker: start the program `text` in my place; I exit now */
    DS_LINK_FAILED,   /* worker: cannot start, do not try again; text = why */
    DS_LINK_PROGRESS, /* worker: not ready yet, but it goes on: a start may take long, not hang */
};

#define DS_LINK_NAME_MAX 24u
#define DS_LINK_TEXT_MAX 960u
#define DS_LINK_FDS_MAX 2u

struct ds_link_msg {
    uint32_t type;
    uint32_t number;
    char name[DS_LINK_NAME_MAX];
    char text[DS_LINK_TEXT_MAX];
};

/* 0 or a negative DS_E* code. `text` may be NULL; it is cut to fit. */
DS_MUST_USE int ds_link_send(int sock, enum ds_link_type type, uint32_t number, const char *name,
                             const char *text, const int *fds, size_t n_fds);

/* One message; the caller owns the descriptors. DS_EDISCONNECTED: the other side is gone. */
DS_MUST_USE int ds_link_recv(int sock, struct ds_link_msg *ret, int fds[DS_LINK_FDS_MAX],
                             size_t *ret_n_fds);

#endif
