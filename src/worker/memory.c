/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - the worker's segments: made once and given to the keeper, or taken from it again.
 *
 * Names in the keeper: "data", "index", "state"; "s<number>" for sessions (with the client's
 * pidfd). "state" is given last: a keeper that has it has them all, and a worker killed before
 * starts anew.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/sys.h"
#include "shm/index.h"
#include "shm/window.h"
#include "worker/worker.h"

/* Of the data segment, in the page table of a worker with tiers: its removal takes 1/4 s. */
#define TABLE_MAX (UINT64_C(4) << 30)

struct kept {
    int data;
    int index;
    int state;
};

static int trouble(struct ds_worker *w, int rc, const char *text)
{
    (void)snprintf(w->trouble, sizeof(w->trouble), "%s", text);
    return rc;
}

/* Refuses what cannot fit, with the numbers, before anything is made. */
static int check_fits(struct ds_worker *w)
{
    uint64_t available = ds_sys_memory_available();
    uint64_t want = w->config.data_size;

    if (want <= available) {
        return 0;
    }
    (void)snprintf(w->trouble, sizeof(w->trouble),
                   "shared_memory_size_mb is %llu MiB, but this machine or control group has "
                   "%llu MiB left: give less, or free memory",
                   (unsigned long long)(want >> 20), (unsigned long long)(available >> 20));
    return DS_ENOMEM;
}

static int make_new(struct ds_worker *w, const struct ds_store_now *now)
{
    int rc = check_fits(w);

    if (rc != 0) {
        return rc;
    }
    w->data_fd = ds_sys_memfd_sealed("ds-data", w->config.data_size);
    if (w->data_fd < 0) {
        return trouble(w, DS_EIO, "the system refuses a memfd for the data segment");
    }
    rc = ds_segment_create("ds-index", ds_index_size(w->config.data_size), &w->index);
    if (rc == 0) {
        rc = ds_segment_create("ds-state", ds_store_state_size(&w->config), &w->state);
    }
    if (rc == 0) {
        rc = ds_store_create(&w->config, &w->index, &w->state, now, &w->store);
    }
    if (rc != 0) {
        return trouble(w, rc, "no memory for the index and the state");
    }
    (void)ds_failpoint("start.before_keep");
    rc = ds_link_send(w->link, DS_LINK_PUT, 0, "data", NULL, &w->data_fd, 1);
    if (rc == 0) {
        rc = ds_link_send(w->link, DS_LINK_PUT, 0, "index", NULL, &w->index.fd, 1);
    }
    (void)ds_failpoint("start.half_kept");
    if (rc == 0) {
        rc = ds_link_send(w->link, DS_LINK_PUT, 0, "state", NULL, &w->state.fd, 1);
    }
    return rc != 0 ? trouble(w, rc, "the keeper is gone") : 0;
}

static void find_lost(void *arg, uint32_t number, const struct ds_session_info *info)
{
    struct ds_worker *w = arg;

    (void)info;
    if (ds_store_session_segment(w->store, number) == NULL) {
        ds_log(DS_LOG_WARNING, "session %u has no segment: ended", number);
    }
}

static int take_session(struct ds_worker *w, const struct ds_link_msg *msg, const int *fds,
                        size_t n_fds)
{
    struct ds_segment segment;
    uint32_t number = msg->number;
    int rc;

    if (n_fds == 0 || sscanf(msg->name, "s%u", &number) != 1) {
        return DS_ECORRUPT;
    }
    rc = ds_segment_attach(fds[0], DS_SESSION_SIZE, true, &segment);
    if (rc != 0) {
        ds_sys_close(fds[0]);
    } else {
        rc = ds_store_session_adopt(w->store, number, &segment);
        if (rc != 0) {
            ds_segment_close(&segment);
        }
    }
    if (rc == 0) {
        return ds_worker_restore_session(w, number, n_fds > 1 ? fds[1] : -1);
    }
    if (rc == DS_ENOMEM || rc == DS_EIO) {
        return rc; /* the next try may succeed: views of that client must not lose their pins */
    }
    for (size_t i = 1; i < n_fds; i++) {
        ds_sys_close(fds[i]);
    }
    (void)!ds_link_send(w->link, DS_LINK_DROP, 0, msg->name, NULL, NULL, 0);
    return 0; /* that session is lost, the others are not */
}

struct pending {
    struct ds_link_msg msg;
    int fds[DS_LINK_FDS_MAX];
    size_t n;
};

static int attach_old(struct ds_worker *w, const struct kept *k)
{
    int rc;

    w->data_fd = k->data;
    rc = ds_segment_attach(k->index, DS_PAGE_SIZE, true, &w->index);
    if (rc == 0) {
        rc = ds_segment_attach(k->state, DS_PAGE_SIZE, true, &w->state);
    }
    if (rc == 0) {
        uint64_t size = 0;

        if (ds_sys_memfd_size(k->data, &size) < 0) {
            rc = DS_EIO;
        } else if (size != w->config.data_size) {
            ds_log(DS_LOG_WARNING, "the memory stays at %llu MiB until the worker is stopped",
                   (unsigned long long)size >> 20);
            w->config.data_size = size;
        }
    }
    if (rc == 0) {
        rc = ds_store_attach(&w->config, &w->index, &w->state, &w->store);
    }
    return rc != 0 ? trouble(w, rc, "the memory of the last worker cannot be taken over") : 0;
}

static void keep_socket(struct ds_worker *w, const char *name, int fd)
{
    if (strcmp(name, "tcp") == 0) {
        w->tcp = fd;
    } else if (strcmp(name, "unix") == 0) {
        w->unix_sock = fd;
    } else {
        ds_sys_close(fd);
    }
}

/* Everything up to START; sessions wait until the store is there. */
static int receive(struct ds_worker *w, struct kept *k, struct pending *sessions, size_t *n)
{
    for (;;) {
        struct pending p;
        int rc = ds_link_recv(w->link, &p.msg, p.fds, &p.n);

        if (rc != 0) {
            return trouble(w, rc, "the keeper went away");
        }
        if (p.msg.type == DS_LINK_START) {
            w->keeper_pid = p.msg.number;
            (void)snprintf(w->trouble, sizeof(w->trouble), "%s", p.msg.text);
            return 0;
        }
        if (p.msg.type != DS_LINK_FD || p.n == 0) {
            return trouble(w, DS_ECORRUPT, "the keeper sent something unknown");
        }
        if (strcmp(p.msg.name, "data") == 0) {
            k->data = p.fds[0];
        } else if (strcmp(p.msg.name, "index") == 0) {
            k->index = p.fds[0];
        } else if (strcmp(p.msg.name, "state") == 0) {
            k->state = p.fds[0];
        } else if (p.msg.name[0] == 's' && *n < DS_SESSIONS_MAX) {
            sessions[(*n)++] = p;
        } else {
            keep_socket(w, p.msg.name, p.fds[0]);
        }
    }
}

int ds_worker_make_memory(struct ds_worker *w, const struct ds_store_now *now)
{
    struct kept k = {-1, -1, -1};
    struct pending *sessions = ds_sys_map_private(DS_SESSIONS_MAX * sizeof(*sessions));
    size_t n = 0;
    int rc = sessions == NULL ? DS_ENOMEM : receive(w, &k, sessions, &n);

    w->recovered = k.state >= 0 && k.index >= 0 && k.data >= 0;
    if (rc == 0 && w->recovered) {
        rc = attach_old(w, &k);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            ds_worker_progress(w);
            rc = take_session(w, &sessions[i].msg, sessions[i].fds, sessions[i].n);
        }
        if (rc == 0) {
            rc = ds_store_recover(w->store, now);
        }
        if (rc == 0) {
            ds_store_sessions(w->store, find_lost, w);
        } else if (w->trouble[0] == '\0') {
            (void)trouble(w, rc, "the state of the last worker cannot be recovered");
        }
    } else if (rc == 0) {
        ds_sys_close(k.data);
        ds_sys_close(k.index);
        rc = make_new(w, now);
    }
    ds_sys_unmap(sessions, DS_SESSIONS_MAX * sizeof(*sessions));
    if (rc != 0) {
        return rc;
    }
    w->data_ro_fd = ds_sys_reopen_readonly(w->data_fd);
    w->index_ro_fd = ds_sys_reopen_readonly(w->index.fd);
    if (w->data_ro_fd < 0 || w->index_ro_fd < 0) {
        return trouble(w, DS_EIO,
                       "/proc is needed to make read-only descriptors, but is not there");
    }
    w->window =
        w->config.tier != NULL ? ds_window_open(w->data_fd, w->config.data_size, TABLE_MAX) : NULL;
    return ds_reserver_start(&w->reserver, w->data_fd, w->config.data_size,
                             ds_store_ready(w->store),
                             ds_max_u64(w->config.data_size / 8, UINT64_C(64) << 20));
}
