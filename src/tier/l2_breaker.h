/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_breaker.h - a circuit breaker: storage that does not answer is not asked all the time.
 *
 *              `failures` requests in a row end without an answer
 *     CLOSED ─────────────────────────────────────────────────────> OPEN <──────────┐
 *       ^  any answer                          `until_ns` is over    │   the probe  │
 *       └──────────────────────────────── HALF_OPEN <────────────────┘   fails      │
 *                                             └─────────────────────────────────────┘
 *
 * CLOSED: all requests go. OPEN: none. HALF_OPEN: one, the probe, is under way; no other goes. Each
 * probe that fails doubles the time to the next one. Any answer closes it, also one to a request of
 * before: a refusal of one object, one that a directory cannot read, and a directory that is full
 * are answers; a timeout is none. A timeout while bytes were moving counts for nothing.
 *
 * It has no clock: `now_ns` only must not go back.
 *
 * Threads: the owner's lock. Errors: none.
 */
#ifndef DS_TIER_L2_BREAKER_H
#define DS_TIER_L2_BREAKER_H

#include "base/base.h"

struct ds_l2_breaker_config {
    unsigned failures; /* 0: 3. A request to an object store has tried five times by itself */
    int64_t first_ns;  /* from the opening to the first probe; 0: 1 s */
    int64_t most_ns;   /* between two probes; 0: 30 s, which is how late a recovery is noticed */
};

enum ds_l2_breaker_state { DS_L2_CLOSED, DS_L2_OPEN, DS_L2_HALF_OPEN };
enum ds_l2_admission { DS_L2_ADMITTED, DS_L2_PROBE, DS_L2_REFUSED };
enum ds_l2_outcome { /* the first of these is what several requests say together */
                     DS_L2_ANSWERED,
                     DS_L2_SILENT,
                     DS_L2_UNTOLD, /* it ended for a reason of this side: no memory, a stop,
                                 a deadline too short */
};

struct ds_l2_breaker {
    struct ds_l2_breaker_config config;
    enum ds_l2_breaker_state state;
    unsigned failed;     /* CLOSED: in a row */
    int64_t interval_ns; /* OPEN, HALF_OPEN: to the probe, or after it */
    int64_t until_ns;    /* OPEN: no probe before */
    int64_t opened_ns;   /* the last time that it left CLOSED */
    uint64_t opens;      /* times that it left CLOSED */
};

void ds_l2_breaker_init(struct ds_l2_breaker *b, const struct ds_l2_breaker_config *config);

/* Whether a request may go now. Each one that may is reported when it has ended. */
enum ds_l2_admission ds_l2_breaker_admit(struct ds_l2_breaker *b, int64_t now_ns);

/* Whether that would refuse; changes nothing. */
bool ds_l2_breaker_refuses(const struct ds_l2_breaker *b, int64_t now_ns);

/* True: it is OPEN by this. */
bool ds_l2_breaker_report(struct ds_l2_breaker *b, enum ds_l2_admission admission,
                          enum ds_l2_outcome outcome, int64_t now_ns);

/* What the result of a call of tier/l2.h says; `answered` as in struct ds_l2_call. */
enum ds_l2_outcome ds_l2_outcome_of(int rc, bool answered);

#endif
