/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiers_disk.c - the segment log behind the store's table: spill, and journal of write-back.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <linux/magic.h>

#include <ds/kv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/sys_file.h"
#include "shm/layout.h"
#include "tier/slog.h"
#include "worker/tiers.h"
#include "worker/worker.h"

#define DIRTY 1u /* flag of a record: second-level storage does not have it */
#define EVENTS 64u
#define BURIAL_NS INT64_C(3000000000)
#define OPEN_NS INT64_C(5000000000)

/* What may be on its way to disk for room in memory. Enough to keep the writer busy; what comes
 * behind it, such as the tombstone that a set waits for, waits for all of it. */
#define SPILLING_MAX (UINT64_C(2) << 20)
#define KEPT_SIZE (UINT64_C(256) << 10) /* 2,000 tombstones and more that nobody waits for */
#define RESERVED_SEGMENTS 2u            /* that puts leave free: see docs/segment-log.md */

/* Cookies of what the log answers: an op of the store, or one of these. */
#define COOKIE_TOMBSTONE 1u
#define COOKIE_NOTE 2u

/* --- callbacks of the log --- */

static bool is_live(void *arg, const void *key, size_t key_size, ds_slog_at at, uint16_t *flags)
{
    struct ds_tiers *t = arg;
    bool dirty = false;

    if (!ds_store_has_place(t->w->store, key, key_size, at, &dirty)) {
        return false;
    }
    *flags = dirty ? DIRTY : 0;
    return true;
}

static bool moved(void *arg, const void *key, size_t key_size, ds_slog_at from, ds_slog_at to,
                  uint16_t flags, int rc)
{
    struct ds_tiers *t = arg;
    bool dirty = false;

    if (to == 0 && rc == DS_ECORRUPT) {
        ds_store_lost(t->w->store, key, key_size, from); /* its end is told to the log, too */
    }
    if (to == 0 || !ds_store_moved(t->w->store, key, key_size, from, to, &dirty)) {
        return false;
    }
    if (!dirty && (flags & DIRTY) != 0) {
        (void)!ds_slog_note(t->log, to, key, key_size, 0, false, COOKIE_NOTE);
    }
    return true;
}

static void notice(void *arg, const char *text)
{
    (void)arg;
    ds_log(DS_LOG_ERROR, "spill_directory: %s", text);
}

static void progress(void *arg)
{
    struct ds_tiers *t = arg;

    ds_worker_progress(t->w);
}

/* --- store -> log --- */

int ds_disk_start(struct ds_tiers *t, struct ds_tier_op *op)
{
    struct ds_slog_item item;
    int rc;

    if (t->log == NULL && op->kind == DS_TIER_FETCH) {
        return DS_EIO;
    }
    if (t->log == NULL || (op->kind == DS_TIER_SPILL && !t->spill) ||
        (t->stopped && op->kind != DS_TIER_FETCH)) {
        return DS_ENOTSUPPORTED;
    }
    if (op->kind == DS_TIER_FETCH) {
        rc = ds_slog_get(t->log, op->place, op->size, op->key, op->key_size, op->order, op->offset,
                         (uint64_t)(uintptr_t)op);
        return rc == DS_ENOTFOUND ? DS_ECORRUPT : rc; /* the key is there, but not its value */
    }
    if (op->size > ds_slog_value_max(t->log, op->key_size)) {
        return DS_ENOTSUPPORTED;
    }
    if (op->kind == DS_TIER_SPILL && t->spilling > 0 && t->spilling + op->size > SPILLING_MAX) {
        return DS_EAGAIN;
    }
    item = (struct ds_slog_item){
        .key = op->key,
        .key_size = op->key_size,
        .version = op->order,
        .expiry_unix_ns = ds_tiers_real(t, op->expiry_ns),
        .mode = op->mode,
        .kind = op->object_kind,
        .flags = op->kind == DS_TIER_JOURNAL || op->dirty ? DIRTY : 0,
        .offset = op->offset,
        .size = op->size,
        .cookie = (uint64_t)(uintptr_t)op,
    };
    rc = ds_slog_put(t->log, &item, op->kind == DS_TIER_JOURNAL);
    t->spilling += rc == 0 && op->kind == DS_TIER_SPILL ? op->size : 0;
    return rc;
}

/* Once: when the disk fails, all of them do. */
static void not_buried(struct ds_tiers *t, int rc)
{
    if (!t->bury_failed) {
        t->bury_failed = true;
        ds_log(DS_LOG_ERROR,
               "a tombstone was not written (%s): deleted keys may come back from disk after a "
               "restart",
               ds_error_text(rc));
    }
}

static bool not_taken(struct ds_tiers *t, int rc)
{
    t->unburied++; /* nobody waits for ever, but all for those before it */
    t->unburied_behind = t->bury_asked;
    not_buried(t, rc);
    return false;
}

bool ds_disk_forget(struct ds_tiers *t, const uint8_t *key, uint32_t key_size, uint64_t place,
                    uint64_t size, enum ds_bury bury)
{
    int rc;

    if (place != 0 && t->log != NULL) {
        ds_slog_dead(t->log, place, key_size, size);
    }
    if (bury == DS_BURY_NOT || (t->log != NULL && (bury == DS_BURY_PLAIN || !t->w->config.l2) &&
                                ds_slog_keep_tombstone(t->log, key, key_size))) {
        return true;
    }
    rc = t->log == NULL
             ? DS_EIO
             : ds_slog_tombstone(t->log, key, key_size, t->w->config.l2, COOKIE_TOMBSTONE);
    if (rc != 0) {
        return not_taken(t, rc);
    }
    t->bury_asked++;
    return false;
}

int ds_disk_clean(struct ds_tiers *t, const struct ds_tier_op *op, uint64_t place)
{
    if (!t->spill) { /* each tombstone is one less for a delete, when no more can be written */
        return t->stopped ? 0 : DS_UNCHANGED;
    }
    if (t->log == NULL) { /* as below; the copy is there when the disk is */
        return 0;
    }
    /* Without the note it is uploaded once more after a restart: no harm. */
    (void)!ds_slog_note(t->log, place, op->key, op->key_size, 0, false, COOKIE_NOTE);
    return 0;
}

/* --- log -> store --- */

static void answer(struct ds_tiers *t, const struct ds_slog_event *e)
{
    struct ds_tier_op *op = (void *)(uintptr_t)e->cookie;

    t->spilling -= op->kind == DS_TIER_SPILL ? op->size : 0;
    op->status = e->rc == DS_ENOTFOUND ? DS_ECORRUPT : e->rc;
    op->place = e->type == DS_SLOG_PUT_DONE ? e->at : op->place;
    if (e->rc != 0 && e->rc != DS_ENOSPACE && !(t->stopped && e->type == DS_SLOG_PUT_DONE)) {
        ds_log(DS_LOG_WARNING, "spill_directory: %s of %llu bytes: %s",
               e->type == DS_SLOG_PUT_DONE ? "write" : "read", (unsigned long long)op->size,
               ds_error_text(e->rc));
    }
    ds_store_tier_done(t->w->store, op);
}

static void tell_buried(struct ds_tiers *t)
{
    if (t->buried >= t->unburied_behind) {
        t->unburied_told = t->unburied;
    }
    ds_store_buried(t->w->store, t->buried + t->unburied_told);
}

static uint64_t put_size(const struct ds_slog_event *e)
{
    const struct ds_tier_op *op = (const void *)(uintptr_t)e->cookie;

    return e->rc == 0 ? op->size : 0;
}

static void tombstone_done(struct ds_tiers *t, const struct ds_slog_event *e)
{
    if (e->rc != 0) {
        not_buried(t, e->rc);
    }
    t->buried++;
}

/* Bytes in the log beyond the low watermark, since it was beyond the high one; 0: it was not. */
static uint64_t over(const struct ds_tiers *t, const struct ds_slog_stats *st)
{
    double puts = (double)((st->segments_max - RESERVED_SEGMENTS) * st->segment_size);
    double high = ds_options_double(t->w->options, DS_OPT_spill_high_watermark_ratio);
    double low = ds_options_double(t->w->options, DS_OPT_spill_low_watermark_ratio);
    uint64_t begin = (uint64_t)(puts * high);
    uint64_t end = ds_min_u64((uint64_t)(puts * low), begin);

    return st->held_bytes > (t->over > 0 ? end : begin) ? st->held_bytes - end : 0;
}

/*
 * A log that is full of live records is cleaned at a high price: nearly all that is read must be
 * written again. What may be dropped is therefore dropped a little early, by default at 9/10 of
 * what puts may fill. The oldest lie together, so whole segments die. In step with what is put: a
 * disk that is only read keeps what it has, and the loop is not held up.
 */
static void keep_slack(struct ds_tiers *t, uint64_t put)
{
    uint64_t dropped;

    if (t->written >= t->look_after) {
        struct ds_slog_stats st;

        ds_slog_stats(t->log, &st);
        ds_slog_set_dropping(t->log, ds_store_disk_dropped(t->w->store) > t->dropped);
        t->dropped = ds_store_disk_dropped(t->w->store);
        t->over = over(t, &st);
        t->look_after = st.segment_size / 8;
        t->written = 0;
    }
    if (t->over > 0 && put > 0) {
        dropped = ds_store_drop_disk(t->w->store, ds_min_u64(t->over, put * 2));
        t->over = dropped > 0 && dropped < t->over ? t->over - dropped : 0;
    }
}

/* What it has is read as before, and uploaded. New write-back values go where those of a worker
 * without a journal go: ds_disk_start() refuses them. */
static void given_up(struct ds_tiers *t, int rc)
{
    const char *sets = t->w->config.l2 ? ", and write-back sets wait for second-level storage, as "
                                         "write-through sets do"
                                       : "";
    char shown[DS_SYS_SHOWN_MAX];

    t->stopped = true;
    ds_store_keep_copies(t->w->store);
    if (rc == DS_ENOTFOUND) {
        ds_log(DS_LOG_ERROR,
               "spill_directory: %s, or a file in it, was removed or replaced while in use: what "
               "it held is lost when the worker ends. Nothing more is written%s. Make it, and "
               "restart the worker",
               ds_sys_show_path(t->disk_config.directory, shown), sets);
    } else {
        ds_log(DS_LOG_ERROR,
               "spill_directory: %s is not written any more after errors (%s), but read. Nothing "
               "is spilled%s. Mend the disk, and restart the worker",
               ds_sys_show_path(t->disk_config.directory, shown), ds_error_text(rc), sets);
    }
}

void ds_disk_poll(struct ds_tiers *t)
{
    struct ds_slog_event events[EVENTS];
    uint64_t put = 0;
    uint64_t told = 0;
    uint64_t arrivals = 0;
    size_t n;

    do {
        n = ds_slog_poll(t->log, events, EVENTS);
        told += n;
        for (size_t i = 0; i < n; i++) {
            switch (events[i].type) {
            case DS_SLOG_PUT_DONE:
                put += put_size(&events[i]);
                answer(t, &events[i]);
                break;
            case DS_SLOG_GET_DONE:
                answer(t, &events[i]);
                break;
            case DS_SLOG_GET_SOME:
                arrivals++;
                ds_store_tier_arrived(t->w->store, (void *)(uintptr_t)events[i].cookie,
                                      events[i].bytes);
                break;
            case DS_SLOG_TOMBSTONE_DONE:
                tombstone_done(t, &events[i]);
                break;
            case DS_SLOG_NOTE_DONE:
                break;
            case DS_SLOG_ERROR:
                given_up(t, events[i].rc);
                break;
            }
        }
    } while (n == EVENTS);
    t->written += put;
    keep_slack(t, put);
    tell_buried(t);
    /* a piece of a value leaves the disk no freer than it was */
    if (told == 0 || arrivals < told) {
        ds_store_tier_news(t->w->store);
    }
}

void ds_disk_flush(struct ds_tiers *t)
{
    tell_buried(t); /* those without memory have no event */
    if (t->log != NULL) {
        ds_slog_flush(t->log);
    }
}

void ds_disk_stats(const struct ds_tiers *t, struct ds_worker_stats *ret)
{
    struct ds_slog_stats st;

    if (t->failed) { /* shown, with an error, though nothing is used */
        ret->disk_capacity = ds_max_u64(t->disk_config.size_limit, 1);
        ret->disk_errors = 1;
        ret->disk_stopped = 1;
        return;
    }
    ds_slog_stats(t->log, &st);
    ret->disk_capacity = st.size_limit;
    ret->disk_used = st.segments * st.segment_size;
    ret->disk_live = st.live_bytes;
    ret->disk_written = st.put_bytes;
    ret->disk_rewritten = st.gc_bytes;
    ret->disk_errors = st.io_errors;
    ret->disk_corrupt = st.corrupt;
    ret->disk_stopped = st.stopped;
}

int ds_disk_fd(const struct ds_tiers *t)
{
    return ds_slog_fd(t->log);
}

/* --- start and end --- */

/* What 0 means: nearly all that is free, or is taken by the files of a worker before this one. */
static uint64_t size_limit(const struct ds_tiers *t, const char *directory)
{
    uint64_t limit = (uint64_t)ds_options_int(t->w->options, DS_OPT_spill_size_limit);
    struct statvfs fs;

    if (limit == 0 && statvfs(directory, &fs) == 0) {
        limit = ((uint64_t)fs.f_bavail * fs.f_frsize + ds_slog_disk_use(directory)) / 100 * 95;
    }
    return limit;
}

/* Descriptors that segments may have. A client has four: its session, its socket, its process, its
 * bell. What else the worker needs is few. */
static uint32_t files_max(const struct ds_tiers *t)
{
    uint64_t all = ds_sys_raise_open_files();
    uint64_t others = (uint64_t)ds_options_int(t->w->options, DS_OPT_max_client_num) * 4 + 128;

    return (uint32_t)ds_min_u64(all > others * 2 ? all - others : all / 2, UINT16_MAX);
}

static void tell_if_in_memory(const char *directory)
{
    struct statfs fs;
    char shown[DS_SYS_SHOWN_MAX];

    if (statfs(directory, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)) {
        ds_log(DS_LOG_WARNING,
               "spill_directory: %s is in the memory of the machine (tmpfs): what is spilled takes "
               "as much of it as before, and write-back objects are lost with it before their "
               "upload. Choose a directory on a disk",
               ds_sys_show_path(directory, shown));
    }
}

static void tell_if_capped(const struct ds_tiers *t)
{
    struct ds_slog_stats st;

    ds_slog_stats(t->log, &st);
    if (st.size_limit < t->disk_config.size_limit) {
        ds_log(DS_LOG_WARNING,
               "spill_directory: %llu of %llu MiB are used: %llu segments of %llu KiB are what "
               "the limit of open files has descriptors for. Raise it (ulimit -Hn, "
               "LimitNOFILE=), or give --spill_file_max_size_mb more",
               (unsigned long long)(st.size_limit >> 20),
               (unsigned long long)(t->disk_config.size_limit >> 20),
               (unsigned long long)st.segments_max, (unsigned long long)(st.segment_size >> 10));
    }
}

int ds_disk_open(struct ds_tiers *t)
{
    const struct ds_options *o = t->w->options;
    const char *directory =
        ds_options_str(o, t->spill ? DS_OPT_spill_directory : DS_OPT_write_back_directory);
    struct ds_slog_config config = {
        .directory = directory,
        .segment_size = (uint64_t)ds_options_int(o, DS_OPT_spill_file_max_size_mb),
        .threads = (unsigned)ds_options_int(o, DS_OPT_spill_thread_num),
        .try_uring = true,
        .data_size = t->w->config.data_size,
        .files_max = files_max(t),
        .gc_bytes_per_s = UINT64_C(64) << 20,
        .kept_size = KEPT_SIZE,
        .is_live = is_live,
        .moved = moved,
        .notice = notice,
        .progress = progress,
        .arg = t,
    };
    char probe[4096];

    (void)snprintf(probe, sizeof(probe), "%s/x", directory);
    ds_sys_make_parents(probe);
    config.size_limit = size_limit(t, directory);
    t->disk_config = config;
    return 0;
}

static void enter(void *arg, const struct ds_slog_entry *e)
{
    struct ds_tiers *t = arg;
    struct ds_store_found f = {
        .key = e->key,
        .key_size = e->key_size,
        .size = e->size,
        .place = e->at,
        .version = e->version,
        .expiry_ns = ds_tiers_boot(t, e->expiry_unix_ns),
        .mode = e->mode,
        .kind = e->kind,
        .uploaded = (e->flags & DIRTY) == 0,
    };
    bool dirty;
    /* A worker that was killed before it had entered all may have entered it. */
    bool there =
        t->w->recovered && ds_store_has_place(t->w->store, e->key, e->key_size, e->at, &dirty);
    bool spare = ds_store_found_in_l2(t->w->store, &f);
    bool doubtful;
    int rc;

    f.unverified = spare && f.version != 0;
    doubtful = e->doubtful && !f.unverified; /* L2 is asked anyway */
    spare = spare && !f.unverified;
    if (!there && (spare || (doubtful && ds_store_found_droppable(t->w->store, &f)))) {
        ds_slog_dead(t->log, e->at, e->key_size, e->size);
        ds_store_bury(t->w->store, e->key, e->key_size);
        t->doubtful_dropped += !spare;
        t->spare_dropped += spare;
        return;
    }
    rc = there ? 0 : ds_store_enter_spilled(t->w->store, &f);
    t->doubtful += doubtful;
    t->unverified += f.unverified && rc == 0;
    t->entered += rc == 0;
    t->refused += rc != 0;
    if (rc != 0) {
        ds_slog_dead(t->log, e->at, e->key_size, e->size);
    }
    if (rc != 0 &&
        !ds_store_found_droppable(t->w->store, &f)) { /* acknowledged, and nowhere else */
        t->stranded++;
        t->stranded_rc = rc;
        t->stranded_size = ds_max_u64(t->stranded_size, e->size);
    }
}

static bool adopt(void *arg, uint64_t place, uint64_t size, size_t key_size)
{
    struct ds_tiers *t = arg;
    int rc = ds_slog_adopt(t->log, place, key_size, size);

    t->adopt_rc = rc == DS_ENOMEM ? rc : t->adopt_rc; /* it would be buried */
    t->entered += rc == 0;
    t->refused += rc != 0;
    return rc != DS_ENOTFOUND;
}

static bool still_there(void *arg, uint64_t place, uint64_t size, size_t key_size)
{
    const struct ds_tiers *t = arg;

    (void)size;
    (void)key_size;
    return ds_slog_has(t->log, place);
}

static void bury_orphan(void *arg, const void *key, size_t key_size)
{
    struct ds_tiers *t = arg;

    t->orphans++;
    ds_store_bury(t->w->store, key, (uint32_t)key_size);
}

/* Before anybody is served: a delete of such a key finds nothing to bury. A disk that hangs does
 * not keep the memory from being served for ever. */
static void wait_for_burials(struct ds_tiers *t)
{
    int64_t end = ds_monotonic_ns() + BURIAL_NS;

    while (t->buried < t->bury_asked && ds_monotonic_ns() < end) {
        struct pollfd p = {.fd = ds_slog_fd(t->log), .events = POLLIN};

        ds_worker_progress(t->w);
        ds_slog_flush(t->log);
        (void)poll(&p, 1, 100);
        ds_disk_poll(t);
    }
}

static int adopt_all(struct ds_tiers *t)
{
    int rc;

    ds_store_places(t->w->store, adopt, t);
    if (t->adopt_rc != 0) {
        return t->adopt_rc;
    }
    rc = ds_slog_adopted(t->log, bury_orphan, t);
    if (rc == 0) { /* or what memory has might leave it for a copy that was set aside */
        ds_store_places(t->w->store, still_there, t);
    }
    if (rc == 0 && t->orphans > 0) {
        ds_log(DS_LOG_INFO, "%llu copies on disk that no object names are buried",
               (unsigned long long)t->orphans);
        wait_for_burials(t);
    }
    return rc;
}

/* With fresh memory: what the directory tells. Of what second-level storage has that is asked
 * before each is used: other workers may have written it since. */
static int recover_all(struct ds_tiers *t)
{
    int rc = ds_slog_recover(t->log, enter, t);

    if (rc == 0 && t->unverified + t->spare_dropped > 0) {
        ds_log(DS_LOG_INFO,
               "of what second-level storage has %llu copies are on disk: each is compared with "
               "its version there before it is used; %llu others have no version and are not used",
               (unsigned long long)t->unverified, (unsigned long long)t->spare_dropped);
    }
    if (rc == 0 && t->doubtful + t->doubtful_dropped > 0) {
        ds_log(DS_LOG_ERROR,
               "spill_directory: newer values and deletes may have been in a segment that cannot "
               "be read: %llu objects that may be dropped were, %llu others were kept and may be "
               "older than the last ones: set or delete what must not be",
               (unsigned long long)t->doubtful_dropped, (unsigned long long)t->doubtful);
        wait_for_burials(t);
    }
    if (rc == 0 && t->stranded > 0) {
        (void)snprintf(t->w->trouble, sizeof(t->w->trouble),
                       "%llu objects that are nowhere but on disk cannot be entered (%s; the "
                       "largest has %llu MiB): start with the --shared_memory_size_mb of before",
                       (unsigned long long)t->stranded, ds_error_text(t->stranded_rc),
                       (unsigned long long)(t->stranded_size >> 20) + 1);
        return DS_ENOMEM;
    }
    return rc;
}

/* What is in memory matters more than what is on the disk, and is served without it. */
static int go_without(struct ds_tiers *t, int rc)
{
    ds_log(
        DS_LOG_ERROR,
        "spill_directory cannot be used (%s: %s): memory is served without it, what was spilled "
        "cannot be read, and nothing is spilled. Mend the directory, then restart the worker: if "
        "the node ends before that, keys that were set or deleted meanwhile may come back from "
        "the directory as they were",
        ds_error_text(rc), t->w->trouble);
    t->log = ds_slog_close(t->log, false);
    t->failed = true;
    t->buried = t->bury_asked; /* whatever was asked has no answer any more */
    ds_store_without_disk(t->w->store);
    return 0;
}

/* `wait`: there is memory to be served, which must not lose its disk for what is over in a moment:
 * a killed worker that still has the lock, a system without descriptors. */
static int open_log(struct ds_tiers *t, bool wait)
{
    int64_t end = ds_monotonic_ns() + OPEN_NS;
    int rc;

    do {
        rc = ds_slog_open(&t->disk_config, t->w->trouble, sizeof(t->w->trouble), &t->log);
        wait = wait && (rc == DS_EAGAIN || rc == DS_ENOSPACE) && ds_monotonic_ns() < end;
        if (wait) {
            ds_worker_progress(t->w);
            (void)poll(NULL, 0, 50);
        }
    } while (wait);
    if (rc == 0) {
        t->w->trouble[0] = '\0'; /* of an earlier try */
        tell_if_in_memory(t->disk_config.directory);
    }
    return rc;
}

int ds_disk_enter(struct ds_tiers *t, bool adopts)
{
    struct ds_slog_stats st;
    int rc;

    t->disk_config.data_fd = t->w->data_fd;
    t->disk_config.window = t->w->window;
    t->disk_config.data_size = t->w->config.data_size;
    rc = open_log(t, adopts);
    if (rc == 0) {
        rc = adopts ? adopt_all(t) : recover_all(t);
    }
    if (rc != 0 && t->w->trouble[0] == '\0') {
        (void)snprintf(t->w->trouble, sizeof(t->w->trouble), "%s cannot be read: see the log",
                       t->disk_config.directory);
    }
    if (adopts && rc != 0 && rc != DS_ENOMEM && rc != DS_EVERSION) {
        return go_without(t, rc);
    }
    if (rc == 0) {
        ds_slog_stats(t->log, &st);
        ds_store_set_disk_slack(t->w->store, st.segment_size * 4);
        tell_if_capped(t);
    }
    if (t->entered + t->refused > 0) {
        ds_log(DS_LOG_INFO, "%llu objects are on disk, %llu others there are not wanted",
               (unsigned long long)t->entered, (unsigned long long)t->refused);
    }
    return rc;
}

void ds_disk_close(struct ds_tiers *t)
{
    t->log = ds_slog_close(t->log, true);
}
