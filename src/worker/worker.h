/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - the process that serves a node: puts store, sessions and sockets together.
 *
 * Files: worker.c start and loop; conn.c connections and handshake; memory.c segments; reserver.c
 * the thread that puts pages behind the data segment ahead of use; tiers*.c disk and second level.
 *
 * Threads: the loop (everything of the store) and one that reserves memory.
 */
#ifndef DS_WORKER_WORKER_H
#define DS_WORKER_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/options.h"
#include "shm/segment.h"
#include "store/store.h"
#include "wire/handshake.h"
#include "wire/keeper_link.h"
#include "worker/tiers.h"

struct ds_store;

/* Memory behind the data segment: grows ahead of what is used, up to all of it. */
struct ds_reserver {
    pthread_t thread;
    int fd;
    uint64_t size;
    uint64_t ahead; /* bytes to keep ready beyond what is used */
    _Atomic uint64_t ready;
    _Atomic uint64_t wanted;
    _Atomic uint32_t bell;   /* futex: changes when `wanted` does, or at the end */
    _Atomic uint64_t urgent; /* somebody waits for `ready` to get there; 0: nobody */
    _Atomic bool failed;     /* the machine has no more memory for us now */
    int news;                /* eventfd: rung for whoever waits */
    _Atomic bool stop;
    bool running;
};

DS_MUST_USE int ds_reserver_start(struct ds_reserver *r, int fd, uint64_t size, uint64_t ready,
                                  uint64_t ahead);
void ds_reserver_stop(struct ds_reserver *r);

/* `used` bytes are in use: see to it that there is room beyond. Wakes the thread if needed. */
void ds_reserver_used(struct ds_reserver *r, uint64_t used);

/* Somebody who knows of `seen` bytes waits for `bytes` more: `news` is rung when they are ready, or
 * will not be. False: the machine has no more. */
DS_MUST_USE bool ds_reserver_more(struct ds_reserver *r, uint64_t seen, uint64_t bytes);

/* What a descriptor in epoll means. */
enum ds_watch_kind {
    DS_WATCH_KEEPER,
    DS_WATCH_TCP,
    DS_WATCH_UNIX,
    DS_WATCH_PEER,
    DS_WATCH_HELLO,
    DS_WATCH_PROCESS,
    DS_WATCH_WAKE,
    DS_WATCH_SIGNAL,
    DS_WATCH_MEMORY,
    DS_WATCH_DISK,
    DS_WATCH_L2,
};

/* A connection, and the session that it may have opened; or the rest of a session without one. */
struct ds_conn {
    struct ds_conn *next;
    int sock;         /* -1: gone */
    int pidfd;        /* of the client's process; -1: unknown or gone */
    int wake;         /* eventfd: the client rings */
    uint32_t session; /* UINT32_MAX: none */
    bool gone;        /* the process has ended */
    bool hello;       /* a TCP connection that only asks for the socket */
    bool goodbye;     /* the client has unmapped everything */
    bool ghost;       /* waits for CLAIM; until then the socket alone tells of its end */
    bool ending;      /* its end waits for the next pass */
};

struct ds_worker {
    const struct ds_options *options;
    char *const *argv;
    struct ds_store *store;
    struct ds_store_config config;
    struct ds_segment index;
    struct ds_segment state;
    int data_fd;
    struct ds_window *window; /* of it; NULL: the system does not map so much */
    int data_ro_fd;
    int index_ro_fd;
    struct ds_reserver reserver;
    uint64_t usable;        /* of the data segment, as the store knows it */
    struct ds_tiers *tiers; /* NULL: memory is all there is */
    int epoll;
    int link; /* to the keeper */
    uint32_t keeper_pid;
    int tcp;
    int unix_sock;
    int signals;
    int spare; /* given up for a moment when descriptors run out */
    struct ds_conn *conns;
    int64_t spin_ns; /* how long the loop looks for work before it sleeps */
    int64_t boottime_offset_ns;
    int64_t progress_ns;  /* when the keeper was told of progress last */
    int64_t show_life_ns; /* when the liveness file is due */
    char socket_path[DS_SOCKET_PATH_MAX];
    char trouble[DS_LINK_TEXT_MAX];
    bool recovered; /* the memory is an earlier worker's */
    bool stop;      /* leave the loop */
    bool endings;   /* some connection is `ending` */
};

/* Runs until told to stop: the process's exit status. `link`: socket to the keeper. */
int ds_worker_run(const struct ds_options *options, char *const *argv, int link);

/* Tells the keeper that the start goes on; now and then is enough. `arg`: the worker. */
void ds_worker_progress(void *arg);

/* --- memory.c --- */

/* New segments, given to the keeper; or those of the worker before. DS_ENOMEM and others, with the
 * reason in w->trouble. */
DS_MUST_USE int ds_worker_make_memory(struct ds_worker *w, const struct ds_store_now *now);

/* --- conn.c --- */

DS_MUST_USE int ds_worker_watch(struct ds_worker *w, int fd, enum ds_watch_kind kind, void *conn);
void ds_worker_accept(struct ds_worker *w, bool tcp);
void ds_worker_on_peer(struct ds_worker *w, struct ds_conn *c);
void ds_worker_on_hello(struct ds_worker *w, struct ds_conn *c);
void ds_worker_on_process_end(struct ds_worker *w, struct ds_conn *c);

/* Sessions whose client wrote nonsense: their requests, references and latches end. */
void ds_worker_hang_up_broken(struct ds_worker *w);

/* After a pass: ends what hung up before it. */
void ds_worker_end_sessions(struct ds_worker *w);

/* A session of the worker before: its client may come back. Takes the descriptor over. */
DS_MUST_USE int ds_worker_restore_session(struct ds_worker *w, uint32_t number, int pidfd);

void ds_worker_close_all(struct ds_worker *w);

#endif
