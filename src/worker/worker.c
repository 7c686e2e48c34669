/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - start, loop, end.
 *
 *   pass over the rings -> wake who sleeps -> (now and then: sockets) -> pass ...
 *   nothing to do: spin a while, then say `asleep`, fence, look once more, epoll_wait
 *
 * The sleep protocol is step 8 of docs/concurrency.md: both sides store, fence, then look.
 */
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/rundir.h"
#include "base/sys.h"
#include "shm/layout.h"
#include "shm/window.h"

#define CONTENDED_NS 5000            /* a yield that nobody takes up lasts a tenth of it */
#define SPIN_NS 50000                /* at first: about what a wake-up across cores costs */
#define SPIN_MAX_NS 250000           /* of a worker that is woken again and again */
#define SOCKETS_EVERY 256            /* passes between looks at the sockets while busy */
#define TIME_SLICE_NS 100000         /* the shortest that the kernel takes */
#define DRAIN_NS INT64_C(4000000000) /* the keeper kills after five seconds */
#define LIFE_NS INT64_C(5000000000)
#define PROGRESS_NS INT64_C(100000000)

static struct ds_store_now now_of(const struct ds_worker *w)
{
    struct ds_store_now now = {.boot_ns = ds_boottime_ns() + w->boottime_offset_ns};

    now.ticks = ds_ticks();
    return now;
}

static uint64_t ticks_now(void *arg)
{
    (void)arg;
    return ds_ticks();
}

static struct ds_index_header *index_header(const struct ds_worker *w)
{
    return (void *)w->index.base;
}

/* --- the keeper --- */

/* Starts a new keeper in the place of a dead one and gives it all descriptors. */
static void start_keeper(struct ds_worker *w)
{
    char program[PATH_MAX];
    int pair[2];
    pid_t pid;
    int rc = ds_sys_program_dir(program, sizeof(program) - 10);

    if (rc == 0) {
        (void)snprintf(program + strlen(program), 10, "/dskeeper");
        rc = ds_sys_socketpair(pair);
    }
    if (rc < 0) {
        ds_log(DS_LOG_ERROR, "no new keeper: %s", strerror(-rc));
        return;
    }
    /* Before the fork: behind it, with threads, only plain system calls are safe. */
    (void)setenv("DS_ADOPT_FD", "3", 1);
    pid = ds_sys_fork();
    if (pid < 0) {
        ds_log(DS_LOG_ERROR, "no new keeper: %s", strerror(-pid));
    }
    if (pid == 0) {
        /* A grandchild, so that it is not this process's to reap. */
        if (fork() == 0) {
            sigset_t none;

            (void)sigemptyset(&none);
            (void)sigprocmask(SIG_SETMASK, &none, NULL);
            (void)setsid();
            (void)dup2(pair[1], 3);
            (void)execv(program, w->argv);
        }
        _exit(127);
    }
    (void)unsetenv("DS_ADOPT_FD");
    (void)close(pair[1]);
    ds_sys_close(w->link);
    w->link = pair[0];
}

static void keep_session(void *arg, uint32_t number, const struct ds_session_info *info)
{
    struct ds_worker *w = arg;
    const struct ds_segment *segment = ds_store_session_segment(w->store, number);
    char name[DS_LINK_NAME_MAX];
    int fds[2] = {-1, -1};

    (void)info;
    if (segment == NULL) {
        return;
    }
    fds[0] = segment->fd;
    for (struct ds_conn *c = w->conns; c != NULL; c = c->next) {
        if (c->session == number && c->pidfd >= 0) {
            fds[1] = c->pidfd;
        }
    }
    (void)snprintf(name, sizeof(name), "s%u", number);
    (void)!ds_link_send(w->link, DS_LINK_PUT, 0, name, NULL, fds, fds[1] >= 0 ? 2 : 1);
}

static int hand_over(struct ds_worker *w)
{
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    size_t n_fds;
    int self = ds_sys_pidfd(getpid());
    int rc;

    (void)!ds_link_send(w->link, DS_LINK_PUT, 0, "tcp", NULL, &w->tcp, 1);
    (void)!ds_link_send(w->link, DS_LINK_PUT, 0, "unix", NULL, &w->unix_sock, 1);
    (void)!ds_link_send(w->link, DS_LINK_PUT, 0, "data", NULL, &w->data_fd, 1);
    (void)!ds_link_send(w->link, DS_LINK_PUT, 0, "index", NULL, &w->index.fd, 1);
    ds_store_sessions(w->store, keep_session, w);
    (void)!ds_link_send(w->link, DS_LINK_PUT, 0, "state", NULL, &w->state.fd, 1);
    rc = ds_link_send(w->link, DS_LINK_READY, (uint32_t)getpid(), NULL, NULL, &self,
                      self >= 0 ? 1 : 0);
    ds_sys_close(self);
    if (rc == 0 &&
        ds_sys_wait_readable(w->link, ds_monotonic_ns() + 5 * INT64_C(1000000000)) <= 0) {
        rc = DS_ETIMEOUT;
    }
    if (rc == 0) {
        rc = ds_link_recv(w->link, &msg, fds, &n_fds);
    }
    if (rc == 0) {
        w->keeper_pid = msg.number;
    }
    return rc;
}

static void on_keeper(struct ds_worker *w)
{
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    size_t n_fds;
    int rc = ds_link_recv(w->link, &msg, fds, &n_fds);

    if (rc == DS_EDISCONNECTED) {
        ds_log(DS_LOG_WARNING, "keeper %u is gone: starting another one", w->keeper_pid);
        ds_sys_epoll_remove(w->epoll, w->link);
        start_keeper(w);
        if (hand_over(w) != 0) {
            ds_log(DS_LOG_ERROR, "the new keeper does not answer: going on without one");
        } else {
            ds_store_set_info(w->store, (uint64_t)getpid(), w->keeper_pid);
        }
        if (ds_worker_watch(w, w->link, DS_WATCH_KEEPER, NULL) != 0) {
            ds_log(DS_LOG_ERROR, "the keeper cannot be watched");
        }
        return;
    }
    while (rc == 0 && n_fds > 0) {
        ds_sys_close(fds[--n_fds]);
    }
}

/* --- the loop --- */

static void dispatch(struct ds_worker *w, const struct epoll_event *e)
{
    struct ds_conn *c = (void *)(uintptr_t)(e->data.u64 & ~UINT64_C(15));

    if (c != NULL && c->ending) {
        return; /* an earlier event of this batch ended it */
    }
    switch ((enum ds_watch_kind)(e->data.u64 & 15)) {
    case DS_WATCH_KEEPER:
        on_keeper(w);
        break;
    case DS_WATCH_TCP:
        ds_worker_accept(w, true);
        break;
    case DS_WATCH_UNIX:
        ds_worker_accept(w, false);
        break;
    case DS_WATCH_PEER:
        ds_worker_on_peer(w, c);
        break;
    case DS_WATCH_HELLO:
        ds_worker_on_hello(w, c);
        break;
    case DS_WATCH_PROCESS:
        ds_worker_on_process_end(w, c);
        break;
    case DS_WATCH_WAKE: /* edge-triggered: nothing to take back, and the rings come next anyway */
        break;
    case DS_WATCH_SIGNAL:
        w->stop = true;
        break;
    case DS_WATCH_MEMORY:
        ds_sys_event_take(w->reserver.news);
        ds_store_memory_news(w->store); /* the next pass takes what has come */
        break;
    case DS_WATCH_DISK:
        ds_tiers_on_disk(w);
        break;
    case DS_WATCH_L2:
        ds_tiers_on_l2(w);
        break;
    }
}

static void look_at_sockets(struct ds_worker *w, int timeout_ms)
{
    struct epoll_event events[64];
    int n = ds_sys_epoll_wait(w->epoll, events, 64, timeout_ms);

    for (int i = 0; i < n; i++) {
        dispatch(w, &events[i]);
    }
}

static void wake_sleepers(const struct ds_worker *w)
{
    size_t n;
    const void *const *words = ds_store_wakes(w->store, &n);

    for (size_t i = 0; i < n; i++) {
        (void)ds_sys_futex_wake(words[i], INT_MAX);
    }
}

static bool one_pass(struct ds_worker *w)
{
    struct ds_store_now now;
    bool more;

    ds_tiers_take(w);
    now = now_of(w);
    w->usable = ds_load_acquire(&w->reserver.ready);
    ds_store_usable(w->store, w->usable);
    more = ds_store_pass(w->store, &now);
    wake_sleepers(w);
    ds_tiers_flush(w);
    ds_worker_hang_up_broken(w);
    ds_reserver_used(&w->reserver, ds_store_used(w->store));
    return more;
}

static bool quiet(const struct ds_worker *w)
{
    return ds_store_quiet(w->store) && !ds_tiers_news(w);
}

/* For w->spin_ns or until there is something to do: whether there is. Leaves the processor to
 * whoever wants it: if somebody does, it is most likely the one whose post we wait for. */
static bool spin(const struct ds_worker *w)
{
    int64_t now = ds_monotonic_ns();
    int64_t end = now + w->spin_ns;

    do {
        int64_t before;

        for (int i = 0; i < 32; i++) {
            if (!quiet(w)) {
                return true;
            }
            ds_cpu_relax();
        }
        before = ds_monotonic_ns();
        (void)sched_yield();
        now = ds_monotonic_ns();
        if (now - before > CONTENDED_NS) {
            return !quiet(w);
        }
    } while (now < end);
    return false;
}

/* The file that tells a probe that the loop goes round. */
static void show_life(struct ds_worker *w)
{
    const char *path = ds_options_str(w->options, DS_OPT_liveness_check_path);
    int64_t now = ds_monotonic_ns();

    if (path[0] != '\0' && now >= w->show_life_ns) {
        w->show_life_ns = now + LIFE_NS;
        ds_sys_make_parents(path);
        ds_sys_close(ds_sys_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    }
}

static int sleep_ms(const struct ds_worker *w)
{
    bool shows_life = ds_options_str(w->options, DS_OPT_liveness_check_path)[0] != '\0';
    int64_t next = ds_store_next_ns(w->store);
    int64_t left = next - (ds_boottime_ns() + w->boottime_offset_ns);

    if (next == INT64_MAX) {
        return shows_life ? LIFE_NS / 1000000 : -1;
    }
    if (shows_life && left > LIFE_NS) {
        left = LIFE_NS;
    }
    return left <= 0 ? 0 : (int)ds_min_u64((uint64_t)left / 1000000 + 1, INT_MAX);
}

/* Sleeps that a longer spin would have spared make the next spins longer, a longer sleep ends that:
 * as halt polling in KVM. Between two sets of 1 MiB a client copies for 150 us, and waking a worker
 * costs it 20 of them. */
static void sleep_until_posted(struct ds_worker *w)
{
    struct ds_index_header *h = index_header(w);
    int64_t since = ds_monotonic_ns();

    ds_store_relaxed(&h->asleep, 1);
    ds_fence_full(); /* pairs with the poster's: one of both sees the other */
    look_at_sockets(w, quiet(w) ? sleep_ms(w) : 0);
    ds_store_relaxed(&h->asleep, 0);
    w->spin_ns = ds_monotonic_ns() - since > SPIN_MAX_NS
                     ? SPIN_NS
                     : (int64_t)ds_min_u64((uint64_t)w->spin_ns * 2, SPIN_MAX_NS);
}

static void loop(struct ds_worker *w)
{
    unsigned busy = 0;

    w->spin_ns = SPIN_NS;
    while (!w->stop) {
        bool more = one_pass(w);

        if (w->endings) {
            more = one_pass(w) || more; /* what they posted before they went comes first */
            ds_worker_end_sessions(w);
        }
        if (more || spin(w)) {
            if (++busy % SOCKETS_EVERY == 0) {
                look_at_sockets(w, 0);
                show_life(w);
            }
            continue;
        }
        show_life(w);
        sleep_until_posted(w);
    }
    (void)one_pass(w);
}

/* --- start and end --- */

static bool more_memory(void *arg, uint64_t bytes)
{
    struct ds_worker *w = arg;

    return ds_reserver_more(&w->reserver, w->usable, bytes);
}

void ds_worker_progress(void *arg)
{
    struct ds_worker *w = arg;
    int64_t now = ds_monotonic_ns();

    if (now - w->progress_ns >= PROGRESS_NS) {
        w->progress_ns = now;
        (void)!ds_link_send(w->link, DS_LINK_PROGRESS, 0, NULL, NULL, NULL, 0);
    }
}

static void configure(struct ds_worker *w)
{
    double size = (double)ds_options_int(w->options, DS_OPT_shared_memory_size_mb);
    double spare = (double)ds_options_int(w->options, DS_OPT_eviction_reserve_mem_threshold_mb);
    double high = ds_options_double(w->options, DS_OPT_eviction_high_watermark_ratio);
    double low = ds_options_double(w->options, DS_OPT_eviction_low_watermark_ratio);

    if (high < 1.0 && 1.0 - spare / size > high) {
        high = 1.0 - spare / size;
    }

    w->config = (struct ds_store_config){
        .data_size = (uint64_t)ds_options_int(w->options, DS_OPT_shared_memory_size_mb),
        .session_max = (uint32_t)ds_options_int(w->options, DS_OPT_max_client_num),
        .policy = ds_options_str(w->options, DS_OPT_evict_policy),
        .drop_none = ds_options_bool(w->options, DS_OPT_allow_drop_none),
        /* "Only as needed" still keeps a little room ahead, or every writer would wait. */
        .evict_high = high >= 1.0 ? 0.9975 : high,
        .evict_low = high >= 1.0 ? 0.995 : low,
        .more_memory = more_memory,
        .more_memory_arg = w,
        .progress = ds_worker_progress,
        .progress_arg = w,
        .ticks = ticks_now,
    };
}

/* Before any thread starts: they inherit the mask, and signals come to the loop alone. */
static int make_signals(struct ds_worker *w)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_IGN);
    w->signals = ds_sys_signalfd(&set);
    return w->signals < 0 ? DS_EIO : 0;
}

static int watch_sockets(struct ds_worker *w)
{
    int rc = ds_worker_watch(w, w->link, DS_WATCH_KEEPER, NULL);

    if (rc == 0) {
        rc = ds_worker_watch(w, w->tcp, DS_WATCH_TCP, NULL);
    }
    if (rc == 0) {
        rc = ds_worker_watch(w, w->unix_sock, DS_WATCH_UNIX, NULL);
    }
    if (rc == 0) {
        rc = ds_worker_watch(w, w->signals, DS_WATCH_SIGNAL, NULL);
    }
    if (rc == 0) {
        rc = ds_worker_watch(w, w->reserver.news, DS_WATCH_MEMORY, NULL);
    }
    if (rc == 0 && w->tiers != NULL && w->tiers->log != NULL) {
        rc = ds_worker_watch(w, ds_disk_fd(w->tiers), DS_WATCH_DISK, NULL);
    }
    if (rc == 0 && w->tiers != NULL && w->tiers->pool != NULL) {
        rc = ds_worker_watch(w, ds_second_fd(w->tiers), DS_WATCH_L2, NULL);
    }
    return rc;
}

/* --shared_memory_populate: all pages before the worker is ready. */
static int populate(struct ds_worker *w)
{
    struct ds_reserver *r = &w->reserver;
    uint64_t ready = 0;

    if (!ds_options_bool(w->options, DS_OPT_shared_memory_populate)) {
        return 0;
    }
    ds_reserver_used(r, w->config.data_size);
    while (ds_load_acquire(&r->ready) < w->config.data_size) {
        if (atomic_load(&r->failed)) {
            (void)snprintf(w->trouble, sizeof(w->trouble),
                           "only %llu of %llu MiB of memory could be had: give "
                           "--shared_memory_size_mb less, or leave out --shared_memory_populate",
                           (unsigned long long)(ds_load_acquire(&r->ready) >> 20),
                           (unsigned long long)(w->config.data_size >> 20));
            return DS_ENOMEM;
        }
        if (ds_load_acquire(&r->ready) != ready) {
            ready = ds_load_acquire(&r->ready);
            ds_worker_progress(w);
        }
        (void)poll(NULL, 0, 5);
    }
    return 0;
}

static int start(struct ds_worker *w)
{
    struct ds_store_now now = now_of(w);
    int rc;

    rc = make_signals(w);
    if (rc == 0) {
        w->epoll = ds_sys_epoll();
        rc = w->epoll < 0 || w->spare < 0 ? DS_EIO
                                          : ds_rundir_path(w->options, ".sock", w->socket_path);
    }
    if (rc == 0) {
        rc = ds_tiers_open(w);
    }
    if (rc == 0) {
        rc = ds_worker_make_memory(w, &now);
    }
    if (rc == 0) {
        rc = ds_tiers_enter(w, w->recovered);
    }
    if (rc == 0) {
        rc = populate(w);
    }
    if (rc == 0) {
        rc = watch_sockets(w);
    }
    if (rc != 0) {
        return rc;
    }
    ds_store_set_info(w->store, (uint64_t)getpid(), w->keeper_pid);
    ds_store_relaxed(&index_header(w)->asleep, 0);
    /* One pass applies what was posted, the next ones settle it: then the objects of an earlier
     * worker are open to readers again. */
    for (int i = 0; i < 3; i++) {
        (void)one_pass(w);
    }
    (void)atomic_fetch_add(&index_header(w)->epoch, 1);
    rc = ds_link_send(w->link, DS_LINK_READY, (uint32_t)getpid(), NULL, NULL, NULL, 0);
    return rc == DS_EDISCONNECTED ? 0
                                  : rc; /* a keeper that died meanwhile is replaced: on_keeper() */
}

static void finish(struct ds_worker *w)
{
    ds_tiers_close(w);
    if (w->store != NULL) {
        ds_reserver_stop(&w->reserver);
        ds_worker_close_all(w);
        w->store = ds_store_destroy(w->store);
    }
    ds_segment_close(&w->index);
    ds_segment_close(&w->state);
    ds_window_close(w->window);
    ds_sys_close(w->data_fd);
    ds_sys_close(w->data_ro_fd);
    ds_sys_close(w->index_ro_fd);
    ds_sys_close(w->tcp);
    ds_sys_close(w->unix_sock);
    ds_sys_close(w->signals);
    ds_sys_close(w->spare);
    ds_sys_close(w->epoll);
    ds_sys_close(w->link);
}

int ds_worker_run(const struct ds_options *options, char *const *argv, int link)
{
    struct ds_worker w = {.options = options,
                          .argv = argv,
                          .link = link,
                          .data_fd = -1,
                          .data_ro_fd = -1,
                          .index_ro_fd = -1,
                          .epoll = -1,
                          .tcp = -1,
                          .unix_sock = -1,
                          .signals = -1,
                          .spare = ds_sys_eventfd(),
                          .boottime_offset_ns = ds_sys_boottime_offset_ns()};
    int rc;

    configure(&w);
    (void)ds_sys_raise_open_files(); /* clients need four each */
    if (ds_options_bool(options, DS_OPT_enable_sched_runtime)) {
        ds_sys_time_slice(TIME_SLICE_NS);
    }
    rc = start(&w);
    if (rc != 0) {
        ds_log(DS_LOG_ERROR, "cannot start: %s: %s", ds_error_text(rc), w.trouble);
        (void)!ds_link_send(link, DS_LINK_FAILED, 0, NULL,
                            w.trouble[0] != '\0' ? w.trouble : ds_error_text(rc), NULL, 0);
    } else {
        loop(&w);
        ds_tiers_drain(&w, DRAIN_NS);
    }
    finish(&w);
    return rc == 0 ? 0 : 1;
}
