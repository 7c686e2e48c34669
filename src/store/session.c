/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - sessions: one per client process, in the state and in a segment of their own.
 *
 *           open                 hangup                    end
 *   FREE ---------> LIVE ------------------> ENDING ----------------> FREE
 *                   LIVE: pid and connection     ENDING: nothing can come any more,
 *                                                but a process may still read
 */
#include "base/alloc.h"
#include "base/failpoint.h"
#include "store/internal.h"

void ds_store_session_map(struct session *x, struct ds_store *s, uint32_t number,
                          struct ds_segment *segment)
{
    uint8_t *base = segment->base;

    *x = (struct session){
        .segment = *segment,
        .header = (void *)base,
        .ring = base + DS_SESSION_RING_OFFSET,
        .slot = (void *)(base + DS_SESSION_REQUEST_OFFSET),
        .log = (const void *)(base + DS_SESSION_LOG_OFFSET),
        .pin = (const void *)(base + DS_SESSION_PIN_OFFSET),
        .state = &s->session_state[number],
        .number = number,
    };
    ds_list_init(&x->grants);
    ds_list_init(&x->holds);
}

static int enter(struct ds_store *s, uint32_t number, struct ds_segment *segment)
{
    struct session *x = ds_zalloc(sizeof(*x), "session");

    if (x == NULL) {
        return DS_ENOMEM;
    }
    ds_store_session_map(x, s, number, segment);
    s->session[number] = x;
    s->active[s->n_active++] = x;
    return 0;
}

/* Everything but the pins beyond the first ones gets its pages now: a worker that meets a page
 * without memory would die of it. */
static int reserve_start(struct ds_segment *segment, uint64_t pins)
{
    return ds_segment_reserve(segment, 0, DS_SESSION_PIN_OFFSET + pins * 4);
}

static uint64_t pins_at_start(uint32_t wanted)
{
    uint64_t pins = ds_align_up(ds_max_u64(wanted, DS_PINS_START), DS_PAGE_SIZE / 4);

    return ds_min_u64(pins, DS_PINS_MAX);
}

static void format(struct session *x, uint64_t pins)
{
    struct ds_session_header *h = x->header;

    h->abi = DS_SHM_ABI;
    h->session = x->number;
    h->segment_size = x->segment.size;
    /* Numbers go on where the last session of this number stopped, so that an origin in a record
     * never names two requests. The same holds for the ring's positions. */
    for (unsigned i = 0; i < DS_REQUESTS; i++) {
        x->known[i] = (uint32_t)(ds_load_relaxed(&x->state->done[i]) >> 32);
        ds_store_relaxed(&h->request[i], x->known[i]);
        ds_store_relaxed(&h->done[i], x->known[i]);
    }
    x->collected = ds_load_relaxed(&x->state->applied);
    ds_store_relaxed(&h->ring_tail, x->collected);
    ds_store_relaxed(&h->applied, x->collected);
    ds_store_relaxed(&h->pins_limit, (uint32_t)pins);
    x->pins_ready = pins * 4;
    h->magic = DS_SESSION_MAGIC;
}

int ds_store_session_open(struct ds_store *s, const struct ds_session_info *info,
                          struct ds_segment *segment, uint32_t *ret_number)
{
    uint32_t n = 0;
    int rc;

    DS_ASSERT(segment->size >= DS_SESSION_SIZE);
    while (n < s->config.session_max && s->session[n] != NULL) {
        n++;
    }
    if (n == s->config.session_max) {
        return DS_EAGAIN;
    }
    rc = reserve_start(segment, pins_at_start(info->pins));
    if (rc == 0) {
        rc = enter(s, n, segment);
    }
    if (rc != 0) {
        return rc;
    }
    format(s->session[n], pins_at_start(info->pins));
    memcpy(s->session_state[n].token, info->token, sizeof(info->token));
    s->session_state[n].pid = info->pid;
    s->session_state[n].uid = info->uid;
    (void)ds_failpoint("session.before_live");
    ds_store_release(&s->session_state[n].word, DS_SESSION_LIVE);
    *ret_number = n;
    return 0;
}

int ds_store_session_adopt(struct ds_store *s, uint32_t number, struct ds_segment *segment)
{
    const struct ds_session_header *h = (const void *)segment->base;
    struct session *x;
    int rc;

    if (number >= s->config.session_max || s->session[number] != NULL ||
        ds_load_relaxed(&s->session_state[number].word) != DS_SESSION_LIVE ||
        segment->size < DS_SESSION_SIZE || h->magic != DS_SESSION_MAGIC || h->session != number) {
        return DS_ECORRUPT;
    }
    rc = reserve_start(segment, DS_PINS_START);
    if (rc == 0) {
        rc = enter(s, number, segment);
    }
    if (rc != 0) {
        return rc;
    }
    x = s->session[number];
    x->pins_ready = ds_min_u64(ds_load_relaxed(&h->pins_limit), DS_PINS_MAX) * 4;
    x->pins_ready = ds_max_u64(x->pins_ready & ~UINT64_C(4095), DS_PINS_START * UINT64_C(4));
    if (ds_segment_reserve(&x->segment, DS_SESSION_PIN_OFFSET, x->pins_ready) != 0) {
        x->pins_ready = DS_PINS_START * UINT64_C(4);
    }
    x->adopted = true;
    x->collected = ds_load_relaxed(&x->state->applied);
    x->log_seen = ds_load_relaxed(&h->log_head);
    x->requests_seen = ds_load_relaxed(&h->requests) - 1; /* look at all slots once */
    for (unsigned i = 0; i < DS_REQUESTS; i++) {
        uint64_t done = ds_load_relaxed(&x->state->done[i]);

        uint32_t newest = (uint32_t)(done >> 32);
        bool answered = (uint32_t)done == UINT32_MAX && ds_load_relaxed(&h->done[i]) == newest;

        /* A request that was begun is seen again and goes on behind its last finished item. So is
         * one that was finished, but not answered: its unused blocks go before the answer. */
        x->known[i] = newest - (!answered && done != 0);
        ds_store_release(&x->header->done[i], x->known[i]);
    }
    ds_store_release(&x->header->applied, x->collected);
    return 0;
}

uint32_t ds_store_session_find(const struct ds_store *s, const uint8_t token[16])
{
    for (uint32_t i = 0; i < s->n_active; i++) {
        uint8_t diff = 0;

        for (unsigned k = 0; k < 16; k++) { /* in constant time: the token is a secret */
            diff |= (uint8_t)(s->active[i]->state->token[k] ^ token[k]);
        }
        if (diff == 0 && !s->active[i]->hungup) {
            return s->active[i]->number;
        }
    }
    return UINT32_MAX;
}

void ds_store_sessions(const struct ds_store *s,
                       void (*each)(void *arg, uint32_t number, const struct ds_session_info *info),
                       void *arg)
{
    for (uint32_t i = 0; i < s->config.session_max; i++) {
        const struct ds_state_session *st = &s->session_state[i];

        if (ds_load_relaxed(&st->word) == DS_SESSION_LIVE) {
            struct ds_session_info info = {.pid = st->pid, .uid = st->uid};

            memcpy(info.token, st->token, sizeof(info.token));
            each(arg, i, &info);
        }
    }
}

const struct ds_segment *ds_store_session_segment(const struct ds_store *s, uint32_t number)
{
    return number < s->config.session_max && s->session[number] != NULL
               ? &s->session[number]->segment
               : NULL;
}

void ds_store_session_hangup(struct ds_store *s, uint32_t number)
{
    struct session *x = s->session[number];

    DS_ASSERT(x != NULL);
    if (!x->hungup) {
        x->hungup = true; /* the next pass applies what was posted, then ends the rest */
        x->requests_seen--;
    }
}

uint32_t ds_store_next_broken(struct ds_store *s)
{
    for (uint32_t i = 0; s->n_broken > 0 && i < s->n_active; i++) {
        struct session *x = s->active[i];

        if (x->broken && !x->hungup) {
            s->n_broken--;
            return x->number;
        }
    }
    s->n_broken = 0;
    return UINT32_MAX;
}

/* Keeps the order: a ghost session stands behind the one that its pins were copied from, and
 * reclaim looks at them in this order, so that a pin on its way is seen in one of both. */
static void leave_active(struct ds_store *s, const struct session *x)
{
    uint32_t i = 0;

    while (s->active[i] != x) {
        i++;
    }
    s->n_active--;
    memmove(&s->active[i], &s->active[i + 1], (s->n_active - i) * sizeof(s->active[0]));
}

void ds_store_session_end(struct ds_store *s, uint32_t number)
{
    struct session *x = s->session[number];

    DS_ASSERT(x != NULL);
    ds_store_release(&x->state->word, DS_SESSION_ENDING);
    (void)ds_failpoint("session.ending");
    ds_store_holds_end(s, x);
    while (x->grants.first != DS_ID_NONE) {
        ds_store_grant_drop(s, x, x->grants.first);
    }
    leave_active(s, x);
    s->session[number] = NULL;
    ds_store_release(&s->session_state[number].word, DS_SESSION_FREE);
    ds_segment_close(&x->segment);
    ds_free(x);
    ds_store_reclaim(s); /* its pins are gone */
}
