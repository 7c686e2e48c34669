/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - what a session asks for in a request slot: L4 of docs/concurrency.md.
 *
 * A request is copied once into s->scratch and only the copy is used. Items are executed in order;
 * after each one that must not be executed twice, the state's done word says how far it got. When
 * all are done: done word, the blocks that sets left unused, number. A request that must wait stays
 * in `waiting` and is executed anew when something changed (wait.c); what it has done already is
 * idempotent.
 */
#include "base/failpoint.h"
#include "store/internal.h"
#include "store/second_op.h"

#define DONE_WORD(number, items) ((uint64_t)(number) << 32 | (items))
#define DONE_ALL UINT32_MAX

bool ds_store_request_copy(struct ds_store *s, struct session *by, unsigned slot)
{
    const struct ds_request_slot *from = &by->slot[slot];
    struct ds_request_header *h = &s->scratch.header;

    memcpy(h, &from->header, sizeof(*h));
    if (h->size > DS_REQUEST_BYTES || h->n > DS_SUB_MAX || h->op == 0 || h->op >= DS_OP_COUNT_) {
        return false;
    }
    memcpy(s->scratch.items, from->items, h->size);
    return true;
}

const struct ds_request_item *ds_store_item(const struct ds_store *s, struct ds_store_cursor *c,
                                            const uint8_t **ret_key)
{
    const struct ds_request_item *item = (const void *)(s->scratch.items + c->at);
    uint32_t size = s->scratch.header.size;
    uint32_t need;

    if (c->i >= s->scratch.header.n || size - c->at < sizeof(*item)) {
        return NULL;
    }
    need = (uint32_t)ds_align_up(sizeof(*item) + item->key_size, 8);
    if (item->key_size > DS_KEY_SIZE_MAX || size - c->at < need) {
        return NULL;
    }
    *ret_key = (const uint8_t *)(item + 1);
    c->at += need;
    c->i++;
    return item;
}

void ds_store_wake(struct ds_store *s, const void *word)
{
    DS_ASSERT(s->wakes_n < s->wakes_capacity); /* one a slot and one a ring: sized by session_max */
    s->wakes[s->wakes_n++] = word;
}

static void mark_finished(struct session *by, unsigned slot)
{
    (void)ds_failpoint("request.before_done");
    ds_store_release(&by->state->done[slot], DONE_WORD(by->known[slot], DONE_ALL));
    (void)ds_failpoint("request.done");
}

static void post_answer(struct ds_store *s, struct session *by, unsigned slot)
{
    /* pairs with the client's wait */
    ds_store_release(&by->header->done[slot], by->known[slot]);
    by->ready &= ~(UINT64_C(1) << slot);
    by->waiting &= ~(UINT64_C(1) << slot);
    by->buried[slot] = 0;
    ds_store_forget_answers(by, slot);
    ds_store_wake(s, &by->header->done[slot]);
}

void ds_store_complete(struct ds_store *s, struct session *by, unsigned slot)
{
    mark_finished(by, slot);
    post_answer(s, by, slot);
}

static void answer(struct session *by, unsigned slot, uint32_t i, int status, uint32_t id,
                   uint64_t value)
{
    struct ds_request_result *r = &by->slot[slot].result[i];

    r->id = id;
    r->value = value;
    r->status = status;
}

/* A grant that this very request was given before the worker was killed: the client does not know
 * of it yet. */
static uint32_t granted_before(const struct ds_store *s, const struct session *by, uint64_t origin)
{
    uint32_t id = by->adopted ? by->grants.first : DS_ID_NONE;

    while (id != DS_ID_NONE && s->record[id].origin != origin) {
        id = s->link[id].next;
    }
    return id;
}

/* True if it must wait for memory to come. What could be had at once is given without waiting. */
static bool do_grant(struct ds_store *s, struct session *by, unsigned slot)
{
    uint32_t n = s->scratch.header.n;
    bool wait = false;
    int rc = 0;

    if (s->stats.memory_doomed >= s->scratch.header.value) {
        ds_store_reclaim(s); /* memory that was in use a moment ago is still in the caches */
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t origin = DS_ORIGIN(by->number, slot, by->known[slot], i);
        uint32_t id = granted_before(s, by, origin);

        if (id == DS_ID_NONE && rc == 0) {
            rc = ds_store_grant(s, by, s->scratch.header.value, origin, &id);
        }
        if (id == DS_ID_NONE) {
            answer(by, slot, i, rc, 0, 0);
        } else {
            answer(by, slot, i, 0, id, s->record[id].offset);
        }
        wait = wait || (i == 0 && rc == DS_EAGAIN); /* the others get their answers all the same */
    }
    s->starved = s->starved || wait;
    return wait;
}

#define TRIES_MAX 3u

/* What was set a moment ago, or by an earlier worker, cannot be evicted yet: two more passes settle
 * it. The request stays among those to be executed. */
static void wait_for_settling(struct session *by, unsigned slot)
{
    by->tries[slot]++;
    by->waiting &= ~(UINT64_C(1) << slot);
    by->ready |= UINT64_C(1) << slot;
}

static bool may_settle(const struct ds_store *s, const struct session *by, unsigned slot, int rc)
{
    return rc == DS_ENOMEM && by->tries[slot] < TRIES_MAX && s->earlier.n + s->newer.n > 0;
}

static void do_pins(struct ds_store *s, struct session *by, unsigned slot)
{
    uint64_t now = by->pins_ready;
    uint64_t want = ds_min_u64(now * 2, DS_PINS_MAX * UINT64_C(4));
    int rc = now == want ? DS_ERANGE : 0;

    (void)s;
    if (rc == 0) {
        rc = ds_segment_may_grow(want - now)
                 ? ds_segment_reserve(&by->segment, DS_SESSION_PIN_OFFSET + now, want - now)
                 : DS_ENOMEM;
    }
    if (rc == 0) {
        by->pins_ready = want;
        ds_store_release(&by->header->pins_limit, (uint32_t)(want / 4));
    }
    answer(by, slot, 0, rc, 0, 0);
}

/* The blocks of a cancelled set that it did not use. Those that a tier still reads are left to
 * abandoned() in second.c. */
static void drop_items(struct ds_store *s, struct session *by)
{
    struct ds_store_cursor c = {0, 0};
    const struct ds_request_item *item;
    const uint8_t *key;

    while ((item = ds_store_item(s, &c, &key)) != NULL) {
        if (ds_store_lent(s, by, item->id) && s->record[item->id].origin == item->grant_origin) {
            ds_store_grant_drop(s, by, item->id);
        }
    }
}

/* The client gave up waiting for the last request of this slot, and does not know what that was
 * given. It was executed before, or never will be: its number is not the newest any more. */
static void do_cancel(struct ds_store *s, struct session *by, unsigned slot)
{
    uint32_t number = (uint32_t)s->scratch.header.value2;
    uint64_t of_request = DS_ORIGIN(by->number, slot, number, 0);
    uint32_t id = by->grants.first;

    while (id != DS_ID_NONE) {
        uint32_t next = s->link[id].next;

        if ((s->record[id].origin & ~(UINT64_C(0xff) << 32)) == of_request) {
            ds_store_grant_drop(s, by, id);
        }
        id = next;
    }
    drop_items(s, by);
    ds_store_latch_cancel(s, by, slot, number);
    answer(by, slot, 0, 0, 0, 0);
}

static struct ds_store_set set_of(const struct ds_request_item *item, const uint8_t *key)
{
    return (struct ds_store_set){
        .key = key,
        .key_size = item->key_size,
        .id = item->id,
        .value_size = item->value_size,
        .ttl_ms = item->ttl_ms,
        .mode = item->mode,
        .kind = item->kind,
    };
}

/* Insert if absent, here and in second-level storage. An item behind one that waits for that is
 * executed without being marked as done: an earlier worker may have, and used the grant up. */
static int set_absent(struct ds_store *s, struct session *by, unsigned slot, uint32_t i,
                      const struct ds_request_item *item, const uint8_t *key)
{
    struct ds_store_set set = set_of(item, key);
    uint64_t size;
    uint32_t id;
    int rc;

    set.origin = DS_ORIGIN(by->number, slot, by->known[slot], i);
    if (!ds_store_plain_mode(set.mode) || !ds_store_set_valid(s, by, &set)) {
        if (by->adopted && ds_store_has_l2(s) && ds_store_plain_mode(set.mode) &&
            set.key_size > 0) {
            return 0;
        }
        s->bad_records++;
        return DS_EINVAL;
    }
    rc = ds_store_second_find(s, key, item->key_size, &id);
    if (rc != 0 || id != DS_ID_NONE) {
        return rc != 0 ? rc : DS_UNCHANGED;
    }
    rc = ds_store_second_look(s, by, slot, i, key, item->key_size, false, &size);
    if (rc != DS_ENOTFOUND) {
        return rc == 0 ? DS_UNCHANGED : rc;
    }
    set.version = 0; /* counts as the oldest: any set that races with it wins */
    ds_store_publish_plain(s, by, &set);
    return 0;
}

/* A publish of the object API: a sealed object is never replaced. */
static int put(struct ds_store *s, struct session *by, const struct ds_request_item *item,
               const uint8_t *key, uint64_t origin, uint64_t *ret_gen)
{
    struct ds_store_set set = set_of(item, key);
    uint32_t old;
    int rc;

    if (!ds_store_plain_mode(set.mode) || !ds_store_set_valid(s, by, &set)) {
        s->bad_records++;
        return DS_EINVAL;
    }
    old = ds_store_find(s, key, item->key_size);
    if (old != DS_ID_NONE && (ds_load_relaxed(&s->record[old].word) & DS_WORD_SEALED) != 0) {
        rc = ds_store_second_find(s, key, item->key_size, &old);
        if (rc != 0 || old != DS_ID_NONE) {
            return rc != 0 ? rc : DS_ESEALED;
        }
    }
    old = ds_store_find_any(s, key, item->key_size);
    if (old != DS_ID_NONE && (ds_store_in_l2(s, old) || ds_store_dirty(s, old))) {
        rc = ds_store_second_delete(s, key, item->key_size, origin); /* it would be back one day */
        if (rc != 0) {
            return rc;
        }
    }
    set.origin = origin;
    set.version = s->now.ticks; /* above what is there, even if that was put in this very pass */
    if (old != DS_ID_NONE) {
        set.version = ds_max_u64(set.version, s->record[old].version + 1);
    }
    ds_store_number(s, &set, old);
    ds_store_publish(s, by, &set);
    *ret_gen = ds_load_relaxed(&s->record[set.id].gen);
    return 0;
}

/* The live object that a client names by number and generation, or DS_ID_NONE. */
static uint32_t named(const struct ds_store *s, const struct ds_request_item *item)
{
    uint32_t id = item->id;

    if (id >= ds_load_relaxed(&s->state->records_used) || ds_store_state(s, id) != DS_RECORD_LIVE ||
        ds_store_spilled(s, id) || ds_load_relaxed(&s->record[id].gen) != item->value_size) {
        return DS_ID_NONE;
    }
    return id;
}

static int seal(struct ds_store *s, uint32_t id, bool for_good, uint64_t origin)
{
    _Atomic uint64_t *word = &s->record[id].word;
    struct ds_desc *d = &s->index.desc[id];

    if ((ds_load_relaxed(word) & DS_WORD_SEALED) != 0) {
        return DS_ESEALED;
    }
    ds_store_changed(s, id);
    if (for_good) {
        ds_store_note_change(s, id, ds_load_relaxed(word) | DS_WORD_SEALED, origin);
        ds_store_release(word, ds_load_relaxed(word) | DS_WORD_SEALED);
        ds_store_release(&d->meta, ds_load_relaxed(&d->meta) | DS_META_SEALED);
    }
    return 0;
}

/* The copy on disk would keep the old expiry: it is void, so the object must be in memory. */
static int expire(struct ds_store *s, uint32_t id, uint64_t ttl_ms, uint64_t origin)
{
    struct ds_record *r = &s->record[id];
    int64_t at;
    int rc;

    if (ds_store_spilled(s, id)) {
        return ds_store_fetch(s, id);
    }
    rc = ds_store_second_expire(s, id, ttl_ms, origin);
    if (rc != 0) {
        return rc;
    }
    ds_store_changed(s, id);
    at = ds_store_expire_in(s, id, ttl_ms);

    ds_store_release(&r->expiry_ns, at);
    ds_store_release(&s->index.desc[id].expiry_ns, at);
    return 0;
}

static int on_object(struct ds_store *s, struct session *by, unsigned slot, uint32_t id)
{
    enum ds_op op = (enum ds_op)s->scratch.header.op;
    uint64_t origin = DS_ORIGIN(by->number, slot, by->known[slot], 0);

    switch (op) {
    case DS_OP_SEAL:
    case DS_OP_PUBLISH:
        return seal(s, id, op == DS_OP_SEAL, origin);
    case DS_OP_LATCH_READ:
    case DS_OP_LATCH_WRITE:
        if (op == DS_OP_LATCH_WRITE) {
            ds_store_changed(s, id);
        }
        return ds_store_latch(s, by, id, op == DS_OP_LATCH_WRITE, origin);
    case DS_OP_UNLATCH_READ:
    case DS_OP_UNLATCH_WRITE:
        return ds_store_unlatch(s, by, id, op == DS_OP_UNLATCH_WRITE, origin);
    default:
        return DS_EINVAL;
    }
}

static int delete_key(struct ds_store *s, const uint8_t *key, uint32_t key_size, uint64_t origin)
{
    int rc = ds_store_second_delete(s, key, key_size, origin);
    uint32_t id = rc == 0 ? ds_store_find_any(s, key, key_size) : DS_ID_NONE;

    if (id != DS_ID_NONE) {
        ds_store_note_change(s, id, DS_RECORD_DOOMED, origin);
        ds_store_unpublish(s, id, ds_store_over(s, id) ? DS_GONE_EXPIRED : DS_GONE_DELETED);
    } else if (rc == 0) {
        ds_store_note_delete(s, key, key_size);
    }
    return rc;
}

/* A spilled object is read back; whoever needs a part of it only is answered when that is there. */
static int get_spilled(struct ds_store *s, uint32_t id, uint64_t need)
{
    bool part = (s->scratch.header.value & DS_GET_PART) != 0;
    int rc = ds_store_fetch(s, id);

    if (rc == DS_EAGAIN && part && ds_store_arrived(s, id, need)) {
        s->flags[id] |= FLAG_READ;
        rc = 0;
    }
    return rc;
}

/* A key that is there. DS_EAGAIN: a tier has it in hand. */
static int on_key(struct ds_store *s, uint32_t id, const struct ds_request_item *item,
                  uint64_t origin, uint64_t *ret_value)
{
    int rc = 0;

    switch (s->scratch.header.op) {
    case DS_OP_EXPIRE:
        return expire(s, id, s->scratch.header.value, origin);
    case DS_OP_GET:
        if (ds_store_spilled(s, id)) {
            rc = get_spilled(s, id, item->value_size);
        } else {
            ds_store_touch(s, id);
        }
        *ret_value = ds_load_relaxed(&s->record[id].gen);
        return rc;
    default:
        *ret_value = s->record[id].size;
        return 0;
    }
}

static int set_second(struct ds_store *s, struct session *by, unsigned slot, uint32_t i,
                      const struct ds_request_item *item, const uint8_t *key)
{
    struct ds_store_set set = set_of(item, key);

    set.origin = DS_ORIGIN(by->number, slot, by->known[slot], i);
    return ds_store_second_set(s, by, slot, i, &set);
}

/* Sets whose client leaves the block to the worker, whatever becomes of them. */
static bool leaves_blocks(enum ds_op op)
{
    return op == DS_OP_SET || op == DS_OP_SET_ABSENT;
}

/* The item's block is lent still, from the grant that the client names. A publish that was cut
 * short has put its own origin there. */
static bool is_own(const struct ds_store *s, const struct session *by, unsigned slot, uint32_t i,
                   const struct ds_request_item *item)
{
    uint64_t origin = s->record[item->id].origin;

    return origin == item->grant_origin ||
           origin == DS_ORIGIN(by->number, slot, by->known[slot], i);
}

/* An item that an earlier worker has executed may find its block lent again, to another one. */
static int do_set(struct ds_store *s, struct session *by, unsigned slot, uint32_t i,
                  const struct ds_request_item *item, const uint8_t *key)
{
    int rc;

    if (by->adopted && ds_store_lent(s, by, item->id) && !is_own(s, by, slot, i, item)) {
        return 0; /* replaced since */
    }
    rc = s->scratch.header.op == DS_OP_SET ? set_second(s, by, slot, i, item, key)
                                           : set_absent(s, by, slot, i, item, key);
    if (rc != 0 && rc != DS_EAGAIN && ds_store_lent(s, by, item->id)) {
        ds_store_set_bit(by->unused[slot], i);
    }
    return rc;
}

/* One item. DS_EAGAIN: it must wait. */
static int do_item(struct ds_store *s, struct session *by, unsigned slot, uint32_t i,
                   const struct ds_request_item *item, const uint8_t *key)
{
    enum ds_op op = (enum ds_op)s->scratch.header.op;
    uint64_t origin = DS_ORIGIN(by->number, slot, by->known[slot], i);
    uint64_t value = 0;
    uint32_t id = DS_ID_NONE;
    bool pending = false; /* a tier has it in hand */
    int rc = 0;

    switch (op) {
    case DS_OP_SET:
    case DS_OP_SET_ABSENT:
        rc = do_set(s, by, slot, i, item, key);
        pending = rc == DS_EAGAIN;
        break;
    case DS_OP_PUT:
        rc = put(s, by, item, key, origin, &value);
        pending = rc == DS_EAGAIN;
        id = item->id;
        break;
    case DS_OP_REF:
        rc = ds_store_ref(s, by, key, item->key_size, origin);
        break;
    case DS_OP_UNREF:
        rc = ds_store_unref(s, by, key, item->key_size, origin);
        break;
    case DS_OP_REF_COUNT:
        value = ds_store_ref_count(s, key, item->key_size);
        break;
    case DS_OP_WHY:
        id = ds_store_why(s, key, item->key_size, &value);
        break;
    case DS_OP_NEST:
        id = named(s, &(struct ds_request_item){.id = (uint32_t)s->scratch.header.value,
                                                .value_size = s->scratch.header.value2});
        rc = id == DS_ID_NONE ? DS_ESTALE : ds_store_nest(s, id, key, item->key_size, origin);
        break;
    case DS_OP_SEAL:
    case DS_OP_PUBLISH:
    case DS_OP_LATCH_READ:
    case DS_OP_LATCH_WRITE:
    case DS_OP_UNLATCH_READ:
    case DS_OP_UNLATCH_WRITE:
        id = named(s, item);
        rc = id == DS_ID_NONE ? DS_ESTALE : on_object(s, by, slot, id);
        break;
    case DS_OP_DELETE:
        rc = delete_key(s, key, item->key_size, origin);
        pending = rc == DS_EAGAIN;
        break;
    default:
        rc = ds_store_second_find(s, key, item->key_size, &id);
        if (rc == 0) {
            rc = id != DS_ID_NONE ? on_key(s, id, item, origin, &value)
                                  : ds_store_second_look(s, by, slot, i, key, item->key_size,
                                                         op != DS_OP_EXIST, &value);
        }
        pending = rc == DS_EAGAIN;
        if (rc == DS_ENOTFOUND && op == DS_OP_GET && s->scratch.header.timeout_ms > 0) {
            rc = DS_EAGAIN;
        }
    }
    answer(by, slot, i, pending ? DS_STORE_PENDING : rc, id, value);
    return rc;
}

/* Step 7 of docs/concurrency.md: what was done, but not marked so, is marked now. */
void ds_store_item_done(struct ds_store *s, uint64_t origin, uint32_t id, uint64_t value)
{
    uint32_t session = DS_ORIGIN_SESSION(origin);
    uint32_t number = (uint32_t)origin;
    unsigned slot = (unsigned)(origin >> 40) & 0xff;
    unsigned i = (unsigned)(origin >> 32) & 0xff;
    _Atomic uint64_t *word;
    uint64_t done;

    if (session >= s->config.session_max || slot >= DS_REQUESTS || i >= DS_SUB_MAX || number == 0) {
        return;
    }
    word = &s->session_state[session].done[slot];
    done = ds_load_relaxed(word);
    if (done >> 32 == number ? (uint32_t)done != i
                             : i != 0 || (int32_t)(number - (uint32_t)(done >> 32)) < 0) {
        return;
    }
    if (s->session[session] != NULL) {
        answer(s->session[session], slot, i, 0, id, value);
        ds_store_release(word, DONE_WORD(number, i + 1));
    } else { /* a later session of this number must not use the request's number again */
        ds_store_release(word, DONE_WORD(number, DONE_ALL));
    }
}

static bool once_only(enum ds_op op)
{
    return op == DS_OP_SET_ABSENT || op == DS_OP_PUT || op == DS_OP_DELETE || op == DS_OP_REF ||
           op == DS_OP_UNREF || op == DS_OP_NEST || op == DS_OP_SEAL || op == DS_OP_UNLATCH_READ ||
           op == DS_OP_UNLATCH_WRITE;
}

static void count_miss(struct ds_store *s, int rc, const struct ds_request_item *item,
                       const uint8_t *key)
{
    enum ds_op op = (enum ds_op)s->scratch.header.op;

    if (rc == DS_ENOTFOUND && (op == DS_OP_GET || op == DS_OP_EXIST)) {
        ds_store_count_miss(s, key, item->key_size);
    }
}

/* What needs memory of its own for that. */
static bool reads(const struct ds_store *s)
{
    return s->scratch.header.op == DS_OP_GET || s->scratch.header.op == DS_OP_EXPIRE;
}

/* All items from the first one that is not done. True if one of them must wait. *ret_again: one
 * found no memory but what may settle. */
static bool do_items(struct ds_store *s, struct session *by, unsigned slot, bool *ret_again)
{
    uint64_t done = ds_load_relaxed(&by->state->done[slot]);
    uint32_t first = done >> 32 == by->known[slot] ? (uint32_t)done : 0;
    struct ds_store_cursor c = {0, 0};
    const struct ds_request_item *item;
    const uint8_t *key;
    uint64_t buried = s->buried;
    bool wait = false;
    int rc;

    while ((item = ds_store_item(s, &c, &key)) != NULL) {
        if (c.i - 1 < first || ds_store_bit(by->answered[slot], c.i - 1)) {
            continue;
        }
        rc = do_item(s, by, slot, c.i - 1, item, key);
        wait = rc == DS_EAGAIN || wait;
        if (reads(s) && may_settle(s, by, slot, rc)) {
            *ret_again = true;
        } else if (rc != DS_EAGAIN) {
            ds_store_set_bit(by->answered[slot], c.i - 1);
            count_miss(s, rc, item, key);
        }
        if (once_only((enum ds_op)s->scratch.header.op) && !wait) {
            (void)ds_failpoint("request.item");
            ds_store_release(&by->state->done[slot], DONE_WORD(by->known[slot], c.i));
            (void)ds_failpoint("request.marked");
        }
    }
    if (s->buried != buried) { /* copies on disk are void: not done before they are buried */
        by->buried[slot] = s->buried;
    }
    wait = wait || by->buried[slot] > s->buried_done;
    for (uint32_t i = c.i; i < s->scratch.header.n; i++) { /* behind a malformed item */
        answer(by, slot, i, DS_EINVAL, 0, 0);
    }
    return wait;
}

static void start_waiting(struct ds_store *s, struct session *by, unsigned slot)
{
    int64_t ms = s->scratch.header.timeout_ms;

    if (ms < 0) {
        ms = 0;
    }
    by->deadline_ns[slot] = s->now.boot_ns + (ms < INT32_MAX ? ms : INT32_MAX) * INT64_C(1000000);
    by->waiting |= UINT64_C(1) << slot;
    s->examine = true; /* computes the next deadline and what to look for */
}

static void answer_all(struct session *by, unsigned slot, int status)
{
    for (uint32_t i = 0; i < DS_SUB_MAX; i++) {
        answer(by, slot, i, status, 0, 0);
    }
}

/* True if an earlier worker, too, may have found that the set needs no block. What it noted is
 * lost, but a block that is the item's still was not used. */
static bool left_lent(const struct ds_store *s, const struct session *by, unsigned slot, uint32_t i,
                      const struct ds_request_item *item)
{
    return by->adopted && is_own(s, by, slot, i, item);
}

/* The grants of sets that failed or changed nothing. Behind the done mark: executed again after a
 * kill, the request must find them. Before the answer: nobody knows of them afterwards, since the
 * client writes its next request over the items. */
static void drop_unused(struct ds_store *s, struct session *by, unsigned slot)
{
    struct ds_store_cursor c = {0, 0};
    const struct ds_request_item *item;
    const uint8_t *key;

    while ((item = ds_store_item(s, &c, &key)) != NULL) {
        if (ds_store_lent(s, by, item->id) &&
            (ds_store_bit(by->unused[slot], c.i - 1) || left_lent(s, by, slot, c.i - 1, item))) {
            ds_store_grant_drop(s, by, item->id);
        }
    }
}

static void finish(struct ds_store *s, struct session *by, unsigned slot)
{
    mark_finished(by, slot);
    if (leaves_blocks((enum ds_op)s->scratch.header.op)) {
        drop_unused(s, by, slot);
    }
    post_answer(s, by, slot);
}

/* By a worker that was killed before it answered. */
static bool finished(const struct session *by, unsigned slot)
{
    return ds_load_relaxed(&by->state->done[slot]) == DONE_WORD(by->known[slot], DONE_ALL);
}

void ds_store_execute(struct ds_store *s, struct session *by, unsigned slot)
{
    bool first = (by->waiting >> slot & 1) == 0;
    bool wait = false;
    bool again = false;

    if (!ds_store_request_copy(s, by, slot)) {
        s->bad_records++;
        answer_all(by, slot, DS_EINVAL);
        ds_store_complete(s, by, slot);
        return;
    }
    if (finished(by, slot)) {
        finish(s, by, slot);
        return;
    }
    switch (s->scratch.header.op) {
    case DS_OP_GRANT:
        wait = do_grant(s, by, slot);
        again = !wait && may_settle(s, by, slot, by->slot[slot].result[0].status);
        break;
    case DS_OP_PINS:
        do_pins(s, by, slot);
        break;
    case DS_OP_CANCEL:
        do_cancel(s, by, slot);
        break;
    case DS_OP_SYNC:
        answer(by, slot, 0, 0, 0, 0);
        break;
    case DS_OP_STATS: {
        struct ds_worker_stats st = s->stats;

        _Static_assert(sizeof(st) <= sizeof(by->slot->result), "stats fit the results");
        ds_store_stats(s, &st);
        memcpy(by->slot[slot].result, &st, sizeof(st));
        break;
    }
    default:
        wait = do_items(s, by, slot, &again) && !ds_store_enough(s, by, slot);
    }
    if (again) {
        wait_for_settling(by, slot);
        return;
    }
    if (!wait) {
        finish(s, by, slot);
        return;
    }
    if (first) {
        start_waiting(s, by, slot);
    }
    by->ready &= ~(UINT64_C(1) << slot);
}
