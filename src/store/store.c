/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - making and ending a store, figures, and the walk that checks everything. */
#include "store/internal.h"

#include "base/alloc.h"
#include "base/sys.h"

static uint64_t record_max(const struct ds_store_config *config)
{
    return ds_min_u64(config->data_size / DS_BLOCK_UNIT + 65536, UINT64_C(1) << 31);
}

static uint64_t record_offset(void)
{
    return DS_PAGE_SIZE + DS_SESSIONS_MAX * sizeof(struct ds_state_session);
}

static uint64_t place_offset(const struct ds_store_config *config)
{
    return ds_align_up(record_offset() + record_max(config) * sizeof(struct ds_record),
                       DS_PAGE_SIZE);
}

static uint64_t gone_offset(const struct ds_store_config *config)
{
    return ds_align_up(place_offset(config) + record_max(config) * sizeof(struct ds_place),
                       DS_PAGE_SIZE);
}

uint64_t ds_store_state_size(const struct ds_store_config *config)
{
    return ds_align_up(gone_offset(config) + sizeof(struct ds_gone_table), DS_PAGE_SIZE);
}

/* Pages for what does not grow. Of the sessions, only those that may be used have some. */
static int reserve_state(const struct ds_store_config *config, struct ds_segment *state)
{
    uint64_t sessions = config->session_max * sizeof(struct ds_state_session);
    uint64_t gone = gone_offset(config);
    int rc = ds_segment_reserve(state, 0, DS_PAGE_SIZE + ds_align_up(sessions, DS_PAGE_SIZE));

    return rc != 0 ? rc : ds_segment_reserve(state, gone, state->size - gone);
}

static uint64_t object_size(const void *arg, uint32_t id)
{
    const struct ds_store *s = arg;

    return ds_store_block(s->record[id].size);
}

/* Outlives the object's entry in the table: until the next one with this number. */
static uint32_t object_hash(const void *arg, uint32_t id)
{
    const struct ds_store *s = arg;

    return s->objects.slot[id].hash;
}

static int make_policy(struct ds_store *s)
{
    const struct ds_policy_env env = {s, s->link, s->state->record_max, object_size, object_hash};

    return ds_policy_create(s->config.policy != NULL ? s->config.policy : "lru", &env, &s->policy);
}

static int make_tables(struct ds_store *s)
{
    struct ds_table *tables[] = {&s->objects, &s->refs, &s->nest_child, &s->nest_parent,
                                 &s->latches};
    uint32_t max = s->state->record_max;
    int rc = 0;

    for (size_t i = 0; i < DS_ARRAY_SIZE(tables); i++) {
        rc = ds_table_init(tables[i], max);

        if (rc != 0) {
            return rc;
        }
    }
    s->link = ds_sys_map_private(max * sizeof(*s->link));
    s->guest_link = ds_sys_map_private(max * sizeof(*s->guest_link));
    s->flags = ds_sys_map_private(max * sizeof(*s->flags));
    if (s->config.tier != NULL && s->config.l2) {
        s->upload_link = ds_sys_map_private(max * sizeof(*s->upload_link));
        rc = s->upload_link == NULL ? DS_ENOMEM : 0;
    }
    s->session = ds_zalloc(s->config.session_max * sizeof(*s->session), "sessions");
    s->active = ds_zalloc(s->config.session_max * sizeof(*s->active), "sessions");
    s->wakes_capacity = s->config.session_max * (DS_REQUESTS + 1);
    s->wakes = ds_zalloc(s->wakes_capacity * sizeof(*s->wakes), "wakes");
    s->leavers = ds_zalloc(DS_STORE_LEAVERS_MAX * sizeof(*s->leavers), "leavers");
    if (rc != 0 || s->link == NULL || s->guest_link == NULL || s->flags == NULL ||
        s->session == NULL || s->active == NULL || s->wakes == NULL || s->leavers == NULL) {
        return DS_ENOMEM;
    }
    return make_policy(s);
}

static int make_arenas(struct ds_store *s)
{
    int rc = ds_arena_create(s->config.data_size, DS_BLOCK_UNIT, &s->data);

    if (rc == 0) {
        rc = ds_arena_create(s->index.area_key.size, DS_KEY_UNIT, &s->keys);
    }
    return rc;
}

/* Points into the state segment; its header has been checked or made. */
static void set_state(struct ds_store *s, struct ds_segment *segment)
{
    s->state_segment = segment;
    s->state = (void *)segment->base;
    s->session_state = (void *)(segment->base + s->state->session_offset);
    s->record = (void *)(segment->base + s->state->record_offset);
    s->area_record = (struct ds_area){segment, s->state->record_offset,
                                      s->state->record_max * sizeof(struct ds_record), 0};
    s->gone = (void *)(segment->base + s->state->gone_offset);
    s->place = (void *)(segment->base + s->state->place_offset);
    s->area_place = (struct ds_area){segment, s->state->place_offset,
                                     s->state->record_max * sizeof(struct ds_place), 0};
}

static struct ds_store *new_store(const struct ds_store_config *config)
{
    struct ds_store *s = ds_zalloc(sizeof(*s), "store");

    DS_ASSERT(config->session_max >= 1 && config->session_max <= DS_SESSIONS_MAX);
    if (s != NULL) {
        s->config = *config;
        s->free_first = DS_ID_NONE;
        s->wait_next_ns = INT64_MAX;
        ds_list_init(&s->lower);
        ds_list_init(&s->spare);
        ds_list_init(&s->guests);
        ds_list_init(&s->stalled);
        ds_list_init(&s->doomed);
        ds_list_init(&s->earlier);
        ds_list_init(&s->newer);
        ds_list_init(&s->uploads);
        s->stats.memory_size = config->data_size;
    }
    return s;
}

static int format_state(const struct ds_store_config *config, struct ds_segment *state,
                        const struct ds_store_now *now)
{
    struct ds_state_header *h = (void *)state->base;
    int rc = reserve_state(config, state);

    if (rc != 0) {
        return rc;
    }
    h->abi = DS_SHM_ABI;
    h->header_size = sizeof(*h);
    h->segment_size = state->size;
    h->session_offset = DS_PAGE_SIZE;
    h->record_offset = record_offset();
    h->record_max = (uint32_t)record_max(config);
    h->place_offset = place_offset(config);
    h->gone_offset = gone_offset(config);
    ds_gone_format((void *)(state->base + h->gone_offset));
    h->session_max = DS_SESSIONS_MAX;
    ds_store_relaxed(&h->started_ns, (uint64_t)now->boot_ns);
    ds_store_relaxed(&h->unserved, 1);
    rc = ds_sys_random(&h->table_seed, sizeof(h->table_seed));
    if (rc < 0) {
        return DS_EIO;
    }
    h->magic = DS_STATE_MAGIC;
    return 0;
}

int ds_store_create(const struct ds_store_config *config, struct ds_segment *index,
                    struct ds_segment *state, const struct ds_store_now *now, struct ds_store **ret)
{
    struct ds_store *s = new_store(config);
    uint64_t seed = 0;
    int rc;

    if (s == NULL) {
        return DS_ENOMEM;
    }
    s->now = *now;
    rc = ds_sys_random(&seed, sizeof(seed)) < 0 ? DS_EIO : 0;
    if (rc == 0) {
        rc = ds_index_format(&s->index, index, config->data_size, seed);
    }
    if (rc == 0) {
        rc = format_state(config, state, now);
    }
    if (rc == 0) {
        set_state(s, state);
        rc = make_tables(s);
    }
    if (rc == 0) {
        rc = make_arenas(s);
    }
    if (rc != 0) {
        s = ds_store_destroy(s);
        return rc;
    }
    ds_arena_rebuilt(s->data);
    ds_arena_rebuilt(s->keys);
    *ret = s;
    return 0;
}

static int check_state(const struct ds_store_config *config, const struct ds_segment *state)
{
    const struct ds_state_header *h = (const void *)state->base;

    if (state->size < record_offset() || h->magic != DS_STATE_MAGIC) {
        return DS_ECORRUPT;
    }
    if (h->abi != DS_SHM_ABI) {
        return DS_EVERSION;
    }
    if (h->session_offset != DS_PAGE_SIZE || h->record_offset != record_offset() ||
        h->record_max != record_max(config) || h->place_offset != place_offset(config) ||
        h->gone_offset != gone_offset(config) || state->size < ds_store_state_size(config) ||
        ds_load_relaxed(&h->records_used) > h->record_max) {
        return DS_ECORRUPT;
    }
    return 0;
}

int ds_store_attach(const struct ds_store_config *config, struct ds_segment *index,
                    struct ds_segment *state, struct ds_store **ret)
{
    struct ds_store *s;
    int rc = check_state(config, state);

    if (rc != 0) {
        return rc;
    }
    s = new_store(config);
    if (s == NULL) {
        return DS_ENOMEM;
    }
    rc = reserve_state(config, state);
    if (rc == 0) {
        rc = ds_index_attach(&s->index, index);
    }
    if (rc == 0 && s->index.header->data_size != config->data_size) {
        rc = DS_ECORRUPT;
    }
    if (rc == 0) {
        set_state(s, state);
        rc = make_tables(s);
    }
    if (rc == 0) {
        rc = make_arenas(s);
    }
    if (rc != 0) {
        s = ds_store_destroy(s);
        return rc;
    }
    *ret = s;
    return 0;
}

struct ds_store *ds_store_destroy(struct ds_store *s)
{
    if (s == NULL) {
        return NULL;
    }
    s->policy = ds_policy_destroy(s->policy);
    ds_table_fini(&s->objects);
    ds_table_fini(&s->refs);
    ds_table_fini(&s->nest_child);
    ds_table_fini(&s->nest_parent);
    ds_table_fini(&s->latches);
    if (s->state != NULL) {
        ds_sys_unmap(s->link, s->state->record_max * sizeof(*s->link));
        ds_sys_unmap(s->guest_link, s->state->record_max * sizeof(*s->guest_link));
        ds_sys_unmap(s->flags, s->state->record_max * sizeof(*s->flags));
        ds_sys_unmap(s->upload_link, s->state->record_max * sizeof(*s->upload_link));
    }
    for (uint32_t i = 0; i < s->n_active; i++) {
        ds_segment_close(&s->active[i]->segment);
        ds_free(s->active[i]);
    }
    s->data = ds_arena_destroy(s->data);
    s->keys = ds_arena_destroy(s->keys);
    ds_heap_fini(&s->expiry);
    ds_free(s->session);
    ds_free(s->active);
    ds_free(s->wakes);
    ds_free(s->leavers);
    ds_free(s->marked);
    ds_store_second_fini(s);
    ds_free(s->batch);
    ds_free(s);
    return NULL;
}

void ds_store_usable(struct ds_store *s, uint64_t bytes)
{
    if (bytes > s->usable) {
        s->usable = bytes;
        ds_store_release(&s->state->data_ready, bytes); /* before any block of it is lent */
        ds_store_release(&s->index.header->data_ready, bytes);
        ds_arena_grow(s->data, bytes);
        ds_store_memory_news(s);
    }
}

bool ds_store_unserved(const struct ds_store *s)
{
    return ds_load_relaxed(&s->state->unserved) != 0;
}

void ds_store_serve(struct ds_store *s)
{
    ds_store_release(&s->state->unserved, 0);
}

void ds_store_memory_news(struct ds_store *s)
{
    s->examine = s->examine || s->starved;
    s->starved = false;
}

uint64_t ds_store_ready(const struct ds_store *s)
{
    return ds_min_u64(ds_load_relaxed(&s->state->data_ready), s->config.data_size);
}

uint64_t ds_store_used(const struct ds_store *s)
{
    return s->stats.memory_live + s->stats.memory_granted + s->stats.memory_doomed;
}

const void *const *ds_store_wakes(const struct ds_store *s, size_t *ret_n)
{
    *ret_n = s->wakes_n;
    return s->wakes;
}

void ds_store_set_info(struct ds_store *s, uint64_t worker_pid, uint64_t keeper_pid)
{
    s->stats.worker_pid = worker_pid;
    s->stats.keeper_pid = keeper_pid;
}

void ds_store_stats(const struct ds_store *s, struct ds_worker_stats *ret)
{
    *ret = s->stats;
    ret->memory_free = s->config.data_size - ds_store_used(s);
    ret->objects -= s->unreadable; /* their way out was counted */
    ret->sessions = s->n_active;
    ret->l2_waiting = ds_store_uploads(s);
    ret->l2_waiting_size = s->queued_bytes + s->uploading_bytes;
    ret->evict_policy = ds_policy_acting_number(s->policy);
    if (s->config.tier != NULL && s->config.tier->stats != NULL) {
        s->config.tier->stats(s->config.tier_arg, ret);
    }
    ret->restarts = ds_load_relaxed(&s->state->restarts);
    ret->uptime_ms =
        (uint64_t)(s->now.boot_ns - (int64_t)ds_load_relaxed(&s->state->started_ns)) / 1000000;
}

/* --- check --- */

struct sums {
    uint64_t spilled;
    uint64_t stalled;
    uint64_t live;
    uint64_t granted;
    uint64_t doomed;
    uint64_t objects;
    uint64_t indexed;
    uint64_t queued;
    uint64_t queued_bytes;
    uint64_t counted;
};

static bool record_ok(const struct ds_store *s, uint32_t id, struct sums *sum)
{
    const struct ds_record *r = &s->record[id];
    uint64_t capacity = ds_store_holds(s, id);
    const uint8_t *key = ds_store_key(s, id);
    bool spilled = ds_store_spilled(s, id);
    bool stalled = (s->flags[id] & FLAG_STALLED) != 0;

    switch (ds_store_state(s, id)) {
    case DS_RECORD_GRANTED:
        sum->granted += capacity;
        return true;
    case DS_RECORD_DOOMED:
        sum->doomed += capacity;
        return true;
    case DS_RECORD_LIVE:
        sum->live += capacity;
        sum->objects++;
        sum->spilled += spilled;
        sum->stalled += stalled;
        if ((s->flags[id] & FLAG_QUEUED) != 0 && ds_store_dirty(s, id)) {
            sum->queued++;
            sum->queued_bytes += r->size;
        }
        sum->counted += (s->flags[id] & FLAG_COUNTED) != 0;
        if (key == NULL || ds_store_check_of(s, id) != r->check ||
            (stalled && (!spilled || capacity == 0)) ||
            (ds_load_relaxed(&r->gen) & 1) != (capacity > 0 && !stalled) ||
            ds_load_relaxed(&s->index.desc[id].gen) != ds_load_relaxed(&r->gen)) {
            return false;
        }
        sum->indexed += ds_index_has(&s->index, ds_index_hash(&s->index, key, r->key_size), id);
        return ds_store_lookup(s, ds_store_key_hash(s, key, r->key_size), &s->objects, key,
                               r->key_size, DS_ID_NONE) == id;
    case DS_RECORD_FREE:
        return (ds_load_relaxed(&s->index.desc[id].gen) & 1) == 0;
    default:
        return ds_store_check_of(s, id) == r->check;
    }
}

int ds_store_check(const struct ds_store *s)
{
    struct sums sum = {0};
    struct ds_arena_stats a;
    uint64_t used = ds_load_relaxed(&s->state->records_used);

    for (uint32_t id = 0; id < used; id++) {
        if (!record_ok(s, id, &sum)) {
            return DS_ECORRUPT;
        }
    }
    ds_arena_stats(s->data, &a);
    sum.granted += s->fetching;
    if (sum.live != s->stats.memory_live || sum.granted != s->stats.memory_granted ||
        sum.spilled != s->stats.spilled_objects || sum.spilled != s->lower.n + s->spare.n ||
        sum.stalled != s->stalled.n || sum.doomed != s->stats.memory_doomed ||
        sum.objects != s->stats.objects || sum.objects != s->objects.n ||
        sum.indexed + s->index.unindexed < sum.objects || sum.queued != s->uploads.n ||
        sum.counted != s->upload_counted || sum.queued_bytes != s->queued_bytes ||
        (s->uploading == 0 && s->uploading_bytes != 0) ||
        a.used != sum.live + sum.granted + sum.doomed) {
        return DS_ECORRUPT;
    }
    if (ds_arena_check(s->data) != 0 || ds_arena_check(s->keys) != 0) {
        return DS_ECORRUPT;
    }
    return ds_index_check(&s->index);
}
