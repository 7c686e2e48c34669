/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - a connection to the worker on this node.
 *
 * Ownership: ds_client_open() gives a handle that ds_client_close() ends. Views and buffers may
 *            outlive the close: the shared memory stays mapped until the last of them is released.
 * Threads:   all calls on one handle may run in several threads at the same time.
 * fork():    in the child, calls on the parent's handle are DS_ENOTREADY (ds_client_forked()); it
 *            opens its own. Views and buffers inherited from the parent stay readable in the child,
 *            also after it has closed its copy of the parent's handle.
 * Errors:    negative codes of error.h. Calls that need the worker end at their deadline with
 *            DS_ETIMEOUT; while the worker restarts they wait for it, within the same deadline.
 */
#ifndef DS_CLIENT_H
#define DS_CLIENT_H

#include <ds/error.h>
#include <ds/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Set by ds_client_options_init(); then changed field by field. Strings are the caller's and are
 * copied by ds_client_open(). NULL or "" means: not given. */
struct ds_client_options {
    size_t struct_size;         /* sizeof, set by init: lets the struct grow */
    const char *host;           /* worker address; default DATASYSTEM_HOST, then 127.0.0.1 */
    uint16_t port;              /* default DATASYSTEM_PORT, then 31501 */
    int32_t connect_timeout_ms; /* init: DATASYSTEM_CONNECT_TIME_MS, else 9000; at least 500 */
    int32_t request_timeout_ms; /* 0 = the same as connect_timeout_ms; of a whole call. One that */
                                /* the worker is to end takes a second more when it is silent */
    const char *tenant_id;      /* default DATASYSTEM_TENANT_ID; only "" until tenants exist: else
                                   DS_ENOTSUPPORTED */
    char *ret_reason;           /* or NULL: where a failed open says why, naming the */
    size_t reason_size;         /* address or socket, and what to do; see DS_REASON_SIZE */
    /* A call that waits asks this after a signal and from time to time, in its own thread: true
     * ends it with DS_EINTERRUPTED. As after DS_ETIMEOUT, what it was to write may be written. For
     * languages that run signal handlers between calls. It may use the handle, but not close it.
     * NULL: signals end no call. */
    bool (*interrupted)(void *arg);
    void *interrupted_arg;
};

#define DS_REASON_SIZE 512 /* enough for any reason */

DS_API void ds_client_options_init(struct ds_client_options *options);

/*
 * Connects, maps the shared memory and starts a session.
 * DS_EUNAVAILABLE: nobody listens there, or something that is not a worker. DS_EDENIED: the worker,
 * or the permissions of its socket, refuse this user. DS_ENOTSUPPORTED: the worker is there, but
 * its memory cannot be shared with this process (another host, or a container without the socket's
 * directory). DS_EAGAIN: as many clients as it takes are connected. DS_EVERSION. DS_EINVAL.
 * DS_ETIMEOUT. DS_ENOMEM. options->ret_reason says more.
 */
DS_API DS_MUST_USE int ds_client_open(const struct ds_client_options *options,
                                      struct ds_client **ret);

/* Ends the session; NULL is a no-op. Waiting calls of other threads end with DS_ESHUTDOWN. */
DS_API void ds_client_close(struct ds_client *client);

/* Whether this process is a child, forked after the handle was opened: the session is the
 * parent's. */
DS_API bool ds_client_forked(const struct ds_client *client);

/* 0 if the worker answers within the request timeout. */
DS_API DS_MUST_USE int ds_client_health(struct ds_client *client);

/* Gives the pin back. A zeroed or already released view is a no-op; the struct is zeroed. */
DS_API void ds_view_release(struct ds_view *view);

/* The same for n views. */
DS_API void ds_view_release_many(struct ds_view *views, size_t n);

/* Narrows it to [offset, offset + size) of what it shows, size 0 = to the end, clamped at the end.
 * DS_ERANGE: the offset is not inside; the view is released. */
DS_API DS_MUST_USE int ds_view_slice(struct ds_view *view, uint64_t offset, uint64_t size);

/* What decides which object leaves memory first. */
enum ds_evict_policy { DS_EVICT_LRU = 1, DS_EVICT_S3FIFO = 2 };

/* What the worker holds and did; all sizes in bytes, all counts since the worker (not the keeper)
 * started. docs/metrics.md has a row for each. */
struct ds_worker_stats {
    uint64_t memory_size;    /* configured */
    uint64_t memory_live;    /* blocks of published objects */
    uint64_t memory_granted; /* blocks lent to clients for writing */
    uint64_t memory_doomed;  /* blocks of deleted or replaced objects that somebody still reads */
    uint64_t memory_free;    /* live + granted + doomed + free = size */
    uint64_t objects;
    uint64_t sessions;
    uint64_t sets; /* published objects since the worker started, counted by the worker */
    uint64_t evictions;
    uint64_t expirations;
    uint64_t deletes;
    uint64_t restarts; /* of the worker, since the keeper started */
    uint64_t worker_pid;
    uint64_t keeper_pid;
    uint64_t uptime_ms;
    uint64_t passes;          /* over the rings, since the worker started */
    uint64_t spilled_objects; /* whose bytes are on disk alone; also counted in `objects` */
    uint64_t spilled_bytes;   /* of their values */
    uint64_t spills;          /* objects written to disk since the worker started */
    uint64_t fetches;         /* objects read back */
    uint64_t drops;           /* spilled objects given up for room on disk */
    uint64_t tier_errors;     /* work of slower tiers that failed */
    uint64_t l2_loads;        /* objects brought back from second-level storage */
    uint64_t l2_uploads;      /* write-back objects uploaded */
    uint64_t l2_waiting;      /* write-back objects that are still to be uploaded */
    uint64_t evict_policy;    /* enum ds_evict_policy: the one in force; `auto` tells its choice */
    uint64_t disk_capacity;   /* that the segment files may take; 0: no disk is used */
    uint64_t disk_used;       /* that they take */
    uint64_t disk_live;       /* of their records, those that are still needed */
    uint64_t disk_written;    /* by spills, the journal and their tombstones */
    uint64_t disk_rewritten;  /* by cleaning; 1 + rewritten / written = write amplification */
    uint64_t disk_errors;     /* reads, writes and syncs that failed */
    uint64_t disk_corrupt;    /* records that did not verify */
    uint64_t l2_waiting_max;  /* write-back objects that may wait; 0: no second level is used */
    uint64_t l2_requests;     /* to second-level storage that ended, well or not */
    uint64_t l2_errors;       /* of these: failed; "not found" is an answer */
    uint64_t l2_retries;      /* made again within requests */
    uint64_t l2_queued;       /* requests that no thread has begun */
    uint64_t replacements;    /* objects that a newer value of their key has replaced */
    uint64_t releases;        /* objects that went with the last reference to them */
    uint64_t misses;          /* keys that the worker was asked for and did not have */
    uint64_t misses_evicted;  /* of these: had been dropped for room, a while ago */
    uint64_t demotions;       /* objects that gave up their memory: the value is on disk */
    uint64_t losses;          /* spilled objects given up, because disk did not give them back */
    uint64_t l2_outdated;     /* waiting uploads that were not needed any more */
    uint64_t spill_written;   /* bytes of values written by spills */
    uint64_t spill_refusals;  /* objects that were not worth a spill, by spill_admission */
    uint64_t spill_refused;   /* bytes of their values: not written */
    uint64_t l2_breaker_open; /* 1: second-level storage does not answer, and is not asked */
    uint64_t l2_trips;        /* times that this began */
    uint64_t l2_rejected;     /* requests that failed at once for it */
    uint64_t l2_unerased;     /* values that dropped objects had hidden and that stay there */
    uint64_t l2_waiting_size; /* values of the objects of l2_waiting */
    uint64_t l2_capacity;     /* of a directory's file system; 0: not known */
    uint64_t l2_free;         /* of it, what this worker's user may take */
    uint64_t l2_objects;      /* in second-level storage, when it was gone through last */
    uint64_t l2_bytes;        /* that they took, and what is counted in l2_gone */
    uint64_t l2_gone;         /* tombstones and expired objects that were kept then */
    uint64_t l2_seen_ms;      /* time since then */
    uint64_t l2_collections;  /* times that this worker has gone through all of it; 0: the four
                                 figures before are not known */
    uint64_t l2_collected;    /* what this worker's collections removed */
    uint64_t l2_erased;       /* keys that this worker's deletes made absent */
    uint64_t disk_stopped;    /* 1: the disk is not written any more, or cannot be used */
    uint64_t reserved[1];
};

DS_API DS_MUST_USE int ds_client_stats(struct ds_client *client, struct ds_worker_stats *ret);

/* "0.1.0" */
DS_API const char *ds_version(void);

#ifdef __cplusplus
}
#endif
#endif
