/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slog_internal.h - what the files of the segment log share.
 *
 * The owner decides where each record goes and hands operations to the threads; it alone touches
 * segments, counters and the cleaner. The writer alone touches its streams. Operations cross under
 * `lock`, which is also what makes a segment's descriptor visible to readers.
 */
#ifndef DS_TIER_SLOG_INTERNAL_H
#define DS_TIER_SLOG_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/sys_file.h"
#include "tier/slog.h"
#include "tier/slog_format.h"

#define SLOG_THREADS_MAX 16u
#define SLOG_BUFFER (SLOG_CHUNK + 4 * SLOG_BLOCK) /* of a reader: a chunk, its head and edges */
#define SLOG_WRITE (1u << 20)                     /* one write of the writer */
#define SLOG_WRITE_ERRORS_MAX 8                   /* in a row: then the disk is given up */
#define SLOG_NAME_MAX 40
#define SLOG_SLOTS_MAX 65536u
#define SLOG_SIZE_RESERVED (64u << 10) /* of the limit: directory, identity, lock */
#define SLOG_KEPT_MAX (1u << 20)       /* bytes of the file of tombstones */
#define SLOG_OPEN_AGAIN_NS 1000000000  /* after the disk was full */

enum slog_op_type {
    OP_PUT,
    OP_TOMBSTONE,
    OP_NOTE,
    OP_MOVE,
    OP_OPEN,    /* writer: makes the segment of a stream */
    OP_SEAL,    /* writer: sync, summary */
    OP_FREE,    /* writer: syncs everything, unlinks a segment */
    OP_GET,     /* reader */
    OP_SUMMARY, /* reader */
};

enum { STREAM_PUT, STREAM_GC, STREAM_OWN, STREAMS };

/* A segment's file, for who reads or seals it. */
struct slog_file {
    int fd;
    uint64_t number, size;
};

struct slog_op {
    struct slog_op *next;
    enum slog_op_type type;
    int rc;
    bool durable;
    bool unread; /* OP_MOVE: its source could not be read: an error of the disk, not damage */
    uint8_t stream;
    uint32_t slot; /* with number and offset: the place of the record */
    uint64_t number, offset;
    uint32_t from_slot;    /* OP_MOVE */
    uint32_t segments_max; /* OP_OPEN */
    uint64_t size;         /* OP_OPEN: of the segment */
    uint64_t from_number, from_offset;
    uint64_t cookie;
    uint64_t data_offset;
    uint32_t buffer;   /* of the ring */
    uint64_t kept_end; /* OP_TOMBSTONE: where its record in the file of tombstones ends; 0: none */
    bool quiet;        /* OP_TOMBSTONE: without an event */
    bool delayed;      /* OP_TOMBSTONE: see struct slog_kept */
    bool owed;         /* the same */
    bool last;         /* OP_TOMBSTONE: no segment takes it: see ds_slog_kept_last() */
    bool early;        /* OP_TOMBSTONE: the cleaner has written it: see copy_late() */
    struct slog_head head;                 /* OP_GET: what is expected */
    struct slog_op *next_long, *prev_long; /* OP_GET of more than one chunk: in the owner's list */
    _Atomic uint64_t arrived;              /* bytes of it that are in place */
    uint64_t told;                         /* to the owner */
    uint8_t *summary;                      /* OP_SUMMARY: result */
    uint64_t summary_size;
    uint8_t key[];
};

struct slog_ops {
    struct slog_op *first, *last;
};

enum slog_state { SEG_FREE, SEG_OPEN, SEG_SEALED, SEG_CLEANING };

struct slog_segment {
    enum slog_state state;
    uint32_t units; /* of the limit: what its file takes, in ordinary segments */
    uint64_t number;
    uint64_t size;        /* as it was made */
    uint64_t end;         /* of the records */
    uint64_t summary;     /* bytes that its summary will have */
    uint64_t live, keep;  /* bytes of live puts; of tombstones and notes */
    uint64_t put_lsn_min; /* UINT64_MAX: no puts */
    uint64_t lsn_max;
    uint64_t reads;        /* under way */
    uint64_t pending;      /* records placed here whose event was not given yet */
    int64_t not_before_ns; /* the cleaner failed with it: not again before; 0: it did not */
    unsigned put_off;      /* how often */
    unsigned unread;       /* how often there were records that could not be read */
    bool keepers;          /* may hold tombstones or notes */
    bool told;             /* its damage was counted */
    int fd;                /* set by the writer before the first record is done, closed by it */
};

struct slog_bytes {
    uint8_t *data;
    uint64_t size, room;
};

/* What a segment was found to hold. */
struct slog_contents {
    struct slog_trailer trailer;
    struct slog_bytes summary; /* of the caller, who frees it */
    uint64_t records;          /* by a scan */
    uint64_t damaged;          /* places: see slog_scan.c */
    uint64_t file_size;
};

/* The writer's end of a segment that is being filled. */
struct slog_stream {
    struct slog_file file; /* fd -1: none */
    int rc;                /* why it could not be made */
    uint8_t *buf;
    uint64_t base, fill; /* buf[0 .. fill) is at `base` of the file */
    struct slog_bytes summary;
    uint64_t lsn_max, put_lsn_min;
    struct slog_ops window;  /* have bytes in buf */
    struct slog_ops written; /* durable ones that wait for the sync */
    int64_t dirty_since_ns;  /* 0: clean */
};

/* The file of tombstones: see slog_kept.c. */
struct slog_kept {
    int fd; /* -1: none */
    uint8_t *map;
    uint64_t size;
    uint64_t head, tail; /* bytes given out and given back since the beginning */
    uint64_t reached;    /* the end of the last one that is done */
    uint64_t delayed;    /* that will be done after later ones: nothing is given back meanwhile */
    uint64_t owed;       /* tombstones that may stand in what was found, and in no segment yet */
    bool began;          /* something was written */
    bool closed;         /* a tombstone could not be written to a segment */
    bool unsynced;       /* writer: a sync of the file has failed */
    uint8_t *found;      /* what the file held at the beginning */
    uint64_t found_size;
};

struct slog_gc {
    bool active, freeing;
    int rc; /* a copy failed */
    uint32_t slot;
    uint8_t *summary; /* NULL: on its way */
    uint64_t summary_size, at;
    uint64_t moving, moving_bytes;
    uint64_t unread; /* records that stay, since they could not be read */
    int64_t tokens, refilled_ns, not_before_ns;
};

struct ds_slog {
    struct ds_slog_config config;
    const char *shown; /* the directory, in messages */
    char shown_buf[DS_SYS_SHOWN_MAX];
    uint64_t segment_size;
    int dir, lock_fd, event_fd;
    struct slog_anchor anchor; /* number is not used */
    bool direct;
    bool counts_names;      /* the file system tells what was removed */
    struct slog_ring *ring; /* NULL: small gets go to threads too */

    /* --- owner --- */
    struct slog_segment *segments;
    uint32_t n_slots;
    uint32_t segments_max, n_used; /* units, those of files that were set aside included */
    uint32_t gc_max;       /* for the cleaner: more than segments_max while above a lowered limit */
    uint64_t newest;       /* the highest number that was found */
    uint64_t newest_max;   /* gc_max when that one was made; 0: not known */
    bool dropping;         /* ds_slog_set_dropping() */
    bool put_reserved;     /* the open segment of puts was made for tombstones alone */
    int32_t open[STREAMS]; /* slots, -1: none */
    uint64_t next_lsn, next_number;
    uint64_t doubt_lsn; /* puts below it may have been superseded in a segment set aside */
    struct slog_ops to_write, to_read; /* not handed over yet */
    struct slog_ops ready;             /* taken, not returned yet */
    struct slog_ops late;              /* tombstones without a place yet, by LSN */
    struct slog_op *long_gets;         /* under way */
    uint64_t tombstones_with_copies;   /* in the cleaner's stream, not answered yet */
    struct slog_gc gc;
    struct slog_kept kept;
    int64_t no_open_before_ns; /* the disk was full */
    int64_t no_own_before_ns;  /* for a segment larger than the others */
    uint32_t wanted;           /* units that a put waits for, until: see slog_place.c */
    int64_t wanted_until_ns;
    bool stopped_told, began, polling;
    uint64_t unmade_told; /* that segments of this size cannot be made; 0: none */
    ds_slog_at *adopted;  /* until ds_slog_adopted() */
    size_t adopted_n, adopted_room;
    uint64_t corrupt_read;
    struct ds_slog_stats stats;

    /* --- threads --- */
    pthread_mutex_t lock; /* guards all below, and the lists' contents */
    pthread_cond_t write_work, read_work;
    struct slog_ops write_queue, read_queue, done;
    int64_t wake_ns; /* when the owner wants to be woken; 0: not */
    bool stopping;
    _Atomic bool signalled; /* written with the lock held */
    unsigned readers_max, readers, readers_idle;
    pthread_t writer, reader[SLOG_THREADS_MAX];
    bool writer_started, reader_started[SLOG_THREADS_MAX], reader_ended[SLOG_THREADS_MAX];
    uint64_t syncs, io_errors, corrupt;
    bool stopped;
    bool removed; /* that is why */

    /* --- writer --- */
    struct slog_stream streams[STREAMS];
    struct slog_ops last; /* tombstones that wait for the sync of their file */
    uint8_t *scratch;     /* SLOG_BUFFER */
    uint32_t *crcs;       /* of the value that is written */
    uint64_t crcs_room;
    unsigned errors_in_row; /* of writes */
};

static inline void slog_push(struct slog_ops *list, struct slog_op *op)
{
    op->next = NULL;
    if (list->last != NULL) {
        list->last->next = op;
    } else {
        list->first = op;
    }
    list->last = op;
}

static inline void slog_append(struct slog_ops *list, struct slog_ops *more)
{
    if (more->first != NULL) {
        if (list->last != NULL) {
            list->last->next = more->first;
        } else {
            list->first = more->first;
        }
        list->last = more->last;
        *more = (struct slog_ops){NULL, NULL};
    }
}

static inline struct slog_op *slog_pop(struct slog_ops *list)
{
    struct slog_op *op = list->first;

    if (op != NULL) {
        list->first = op->next;
        list->last = op->next != NULL ? list->last : NULL;
    }
    return op;
}

static inline struct slog_anchor slog_anchor_of(const struct ds_slog *s, uint64_t number)
{
    struct slog_anchor a = s->anchor;

    a.number = number;
    return a;
}

static inline struct slog_file slog_file_of(const struct slog_segment *g)
{
    return (struct slog_file){.fd = g->fd, .number = g->number, .size = g->size};
}

/* Ordinary segments that so many bytes count for. The clamp is above all that a limit allows. */
static inline uint32_t slog_units(const struct ds_slog *s, uint64_t size)
{
    uint64_t n = size / s->segment_size + (size % s->segment_size != 0);

    return (uint32_t)ds_min_u64(ds_max_u64(n, 1), SLOG_SLOTS_MAX);
}

/* A directory above a lowered limit shrinks: no more than what there is, one for copies and one for
 * tombstones, and no more than `before`. */
static inline uint32_t ds_slog_gc_max(const struct ds_slog *s, uint32_t before)
{
    uint32_t now = (uint32_t)ds_min_u64(s->n_used + UINT64_C(2), before);

    return now > s->segments_max ? now : s->segments_max;
}

/* slog.c: the owner's side. */
void ds_slog_progress(const struct ds_slog *s);
struct slog_op *ds_slog_op_new(enum slog_op_type type, const void *key, size_t key_size);
/* Durable: its answer lets the file of tombstones be written anew, and that may be what reaches the
 * disk first. */
int ds_slog_bury_quietly(struct ds_slog *s, const void *key, size_t key_size);
ds_slog_at ds_slog_at_of(uint32_t slot, uint64_t number, uint64_t offset);
struct slog_segment *ds_slog_find(const struct ds_slog *s, ds_slog_at at, uint32_t *ret_slot,
                                  uint64_t *ret_offset);
void ds_slog_wake_at(struct ds_slog *s, int64_t ns);

/* slog_place.c */
/* Of the segment that a record would have for itself: more than segment_size where it must. */
uint64_t ds_slog_own_size(const struct slog_op *op);
int ds_slog_place(struct ds_slog *s, int stream, struct slog_op *op);
/* Of tombstones: keeps the order of LSNs. */
void ds_slog_push_late(struct ds_slog *s, struct slog_op *op);
void ds_slog_place_late(struct ds_slog *s);
void ds_slog_place_stuck(struct ds_slog *s); /* nothing can be cleaned */
/* Segments that a stream may still make, `put`: for other than tombstones. */
uint32_t ds_slog_room(const struct ds_slog *s, int stream, bool put);
/* Whether those that puts wait for are there; whether one waits for several. */
bool ds_slog_room_suffices(const struct ds_slog *s);
bool ds_slog_is_wanted(const struct ds_slog *s);

/* slog_gc.c */
void ds_slog_gc_step(struct ds_slog *s);
void ds_slog_gc_done(struct ds_slog *s, struct slog_op *op);
/* Bytes that are dead in what may be cleaned now; `all`: with the rest of the copies' segment. */
uint64_t ds_slog_gain(const struct ds_slog *s, bool all);

/* Each record of a segment that its summary tells of, as long as that gives 0; what it gave last.
 */
typedef int slog_each_fn(void *arg, uint32_t slot, const struct slog_head *h, const uint8_t *key);
DS_MUST_USE int ds_slog_summary_each(const struct ds_slog *s, uint32_t slot,
                                     const struct slog_bytes *summary, slog_each_fn *each,
                                     void *arg);

/* slog_discard.c: with the summaries of all segments, by slot. */
DS_MUST_USE int ds_slog_make_gc_room(struct ds_slog *s, struct slog_bytes *summaries);

/* slog_kept.c */
typedef int slog_kept_fn(void *arg, const struct slog_head *h, const uint8_t *key);
int ds_slog_kept_open(struct ds_slog *s); /* 0 or -errno */
/* Calls `each` for every sound record that the file held at the beginning, while it returns 0. */
int ds_slog_kept_each(struct ds_slog *s, slog_kept_fn *each, void *arg);
void ds_slog_kept_forget_found(struct ds_slog *s);
void ds_slog_kept_close(struct ds_slog *s);
bool ds_slog_kept_room(const struct ds_slog *s, uint64_t size);
bool ds_slog_kept_last(struct ds_slog *s, struct slog_op *op); /* writing has ended */
void ds_slog_kept_write(struct ds_slog *s, struct slog_op *op);
void ds_slog_kept_done(struct ds_slog *s, const struct slog_op *op); /* of every tombstone */
void ds_slog_kept_delay(struct ds_slog *s, struct slog_op *op);      /* its segment failed */

/* slog_threads.c */
int ds_slog_threads_init(struct ds_slog *s);
void ds_slog_threads_start(struct ds_slog *s); /* with the lock held: what the queues need */
void ds_slog_threads_stop(struct ds_slog *s);
void ds_slog_signal(struct ds_slog *s); /* with the lock held */
void ds_slog_complete(struct ds_slog *s, struct slog_op *op);
void ds_slog_tell_arrived(struct ds_slog *s, struct slog_op *op, uint64_t bytes);

/* slog_writer.c */
void ds_slog_write_batch(struct ds_slog *s, struct slog_ops *ops);
int ds_slog_sync_streams(struct ds_slog *s);
bool ds_slog_is_nameless(int fd);
bool ds_slog_dirty_since(const struct ds_slog *s, int64_t *ret_ns);
void ds_slog_writer_fini(struct ds_slog *s);
int ds_slog_write_summary(struct ds_slog *s, const struct slog_file *f, struct slog_trailer *t,
                          const uint8_t *summary, uint8_t *buf);

/* slog_read.c: blocking; `buf` is page-aligned, SLOG_BUFFER bytes. */
void ds_slog_note_read(struct ds_slog *s, int rc); /* counts it, if the disk failed */
int ds_slog_errno(ssize_t rc);                     /* a DS_E code for -errno */
int ds_slog_read_range(struct ds_slog *s, int fd, uint64_t offset, uint64_t size, uint8_t *buf,
                       uint8_t **ret);
int ds_slog_read_record(struct ds_slog *s, const struct slog_file *f, uint64_t offset,
                        const struct slog_head *want, const void *key, int out_fd,
                        uint64_t out_offset, uint8_t *buf);
/* A record whose bytes are all at p. */
int ds_slog_take_record(struct ds_slog *s, const struct slog_op *op, const uint8_t *p,
                        uint64_t size);
int ds_slog_bytes_add(struct slog_bytes *b, const void *data, size_t size);
int ds_slog_summary_add(struct slog_bytes *b, const struct slog_head *h, const void *key,
                        uint64_t offset);
void ds_slog_read(struct ds_slog *s, struct slog_op *op, uint8_t *buf);

/* slog_scan.c: blocking, as above. The summary of a segment; by a scan where it is not sound. */
int ds_slog_read_summary(struct ds_slog *s, const struct slog_file *f, uint8_t *buf,
                         struct slog_contents *ret);
/* The records of a segment without a sound summary. The trailer is filled but for its checksums. */
int ds_slog_scan(struct ds_slog *s, const struct slog_file *f, uint8_t *buf,
                 struct slog_contents *ret);

/* slog_open.c */
void ds_slog_segment_name(char *ret, uint32_t slot, uint64_t number);
/* Whether it is the disk that fails, not `unread` of `all` segments. */
bool ds_slog_disk_fails(uint32_t unread, uint32_t all);
int ds_slog_set_aside(struct ds_slog *s, uint32_t slot, int err); /* it cannot be read */
void ds_slog_tell_damage(struct ds_slog *s, uint32_t slot, const struct slog_contents *c);
__attribute__((format(printf, 2, 3))) void ds_slog_notice(const struct ds_slog *s,
                                                          const char *format, ...);

#endif
