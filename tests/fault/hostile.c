/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile.c - a client that does everything the kernel lets it do.
 *
 * fault_hostile refused          tries what must be refused; lists what was not
 * fault_hostile scribble MS      writes rubbish over all it can map, punches holes, sends nonsense;
 *                                prints "done" and sleeps until standard input ends
 * fault_hostile innocent MS      another client of the same tenant: its keys stay in the index
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/net.h"
#include "base/sys.h"
#include "client/internal.h"
#include "fault.h"
#include "wire/handshake.h"

#define NOBODY 65534
#define KEYS 4000u

/* --- refused --- */

static _Atomic uint64_t violations;

static void must_fail(bool failed, const char *what, const char *which)
{
    (void)printf("%s %s: %s\n", which, what, failed ? strerror(errno) : "allowed");
    if (!failed) {
        violation(&violations, "%s of the %s descriptor is allowed", what, which);
    }
    (void)fflush(stdout);
}

static void try_mappings(int fd, const char *which)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    must_fail(p == MAP_FAILED, "a writable mapping", which);
    p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        fatal("no mapping for reading");
    }
    must_fail(mprotect(p, 4096, PROT_READ | PROT_WRITE) < 0, "mprotect for writing", which);
    must_fail(madvise(p, 4096, MADV_REMOVE) < 0, "MADV_REMOVE", which);
    (void)munmap(p, 4096);
}

/* True if another user can open the file behind the descriptor for writing. */
static bool others_may_write(int fd)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        char path[64];

        if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0) {
            _exit(0);
        }
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        _exit(open(path, O_RDWR | O_CLOEXEC) >= 0);
    }
    (void)waitpid(pid, &status, 0);
    errno = EACCES;
    return status != 0;
}

static void try_readonly(int fd, const char *which)
{
    must_fail(pwrite(fd, "x", 1, 0) < 0, "pwrite", which);
    must_fail(ftruncate(fd, 0) < 0, "ftruncate", which);
    must_fail(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0, "a hole",
              which);
    must_fail(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0, "a seal", which);
    try_mappings(fd, which);
    if (geteuid() == 0) {
        must_fail(!others_may_write(fd), "reopening as another user", which);
    }
}

static void try_sealed(int fd, const char *which)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        fatal("fstat");
    }
    must_fail(ftruncate(fd, 0) < 0, "shrinking", which);
    must_fail(ftruncate(fd, st.st_size + 4096) < 0, "growing", which);
    must_fail(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0, "a seal", which);
    must_fail((st.st_mode & 0077) == 0, "nothing: mode 0600", which);
}

static int refused(struct ds_link *l)
{
    must_fail((fcntl(l->data.fd, F_GETFL) & O_ACCMODE) != O_RDONLY ? false : (errno = EPERM, true),
              "writing", "data ro");
    try_readonly(l->data.fd, "data ro");
    try_readonly(l->index_segment.fd, "index");
    try_sealed(l->data_rw_fd, "data rw");
    try_sealed(l->session_segment.fd, "session");
    return atomic_load(&violations) == 0 ? 0 : 1;
}

/* --- scribble --- */

/* All over; then with a ring, and with requests, that stay nearly right for longer: a session that
 * breaks the protocol is not read any more. */
enum scribble_mode { ALL_OVER, RING, REQUESTS, MODES };

struct scribbler {
    struct ds_link *link;
    uint64_t seed;
    int64_t end_ns;
    enum scribble_mode mode;
};

/* Bytes that look like something, at places where something is looked for. */
static uint64_t some_word(uint64_t *rng)
{
    static const uint64_t likely[] = {0,          1,          2,         16,      128,
                                      UINT64_MAX, UINT32_MAX, INT64_MAX, 1u << 18};
    uint64_t r = random_below(rng, 4);

    return r == 0   ? random_next(rng)
           : r == 1 ? random_below(rng, 4096)
           : r == 2 ? random_below(rng, UINT64_C(1) << 32)
                    : likely[random_below(rng, DS_ARRAY_SIZE(likely))];
}

static void punch(int fd, uint64_t size, uint64_t *rng)
{
    off_t at = (off_t)(random_below(rng, size / 4096) * 4096);
    off_t n = (off_t)((1 + random_below(rng, 64)) * 4096);

    (void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n);
}

static void scribble_all_over(struct ds_link *l, uint64_t *rng)
{
    const uint64_t small = DS_SESSION_PIN_OFFSET; /* header, ring, requests, log */
    uint64_t area = random_below(rng, 4);
    uint64_t at = random_below(rng, area == 0 ? 4096 : area == 1 ? small : DS_SESSION_SIZE);
    uint64_t word = some_word(rng);

    memcpy(l->session_segment.base + (at & ~UINT64_C(7)), &word, 8);
    at = random_below(rng, l->data_size) & ~UINT64_C(7);
    memcpy(l->data_rw.base + at, &word, 8);
}

/* Records that are well formed, about grants that are somebody's, and change while they are
 * read. */
static void scribble_ring(struct ds_link *l, uint64_t *rng)
{
    struct ds_session_header *h = l->session;
    uint64_t tail = atomic_load(&h->ring_tail);
    struct ds_ring_record r = {
        .size = (uint32_t)(48 + 16 * random_below(rng, 66)),
        .op = (uint8_t)random_below(rng, 4),
        .mode = (uint8_t)random_below(rng, 6),
        .key_size = (uint16_t)random_below(rng, 1024),
        .id = (uint32_t)random_below(rng, 8192),
        .kind = (uint32_t)random_next(rng),
        .ticket = some_word(rng),
        .value_size = some_word(rng),
        .ttl_ms = some_word(rng),
    };

    r.key_size = (uint16_t)(r.key_size % (r.size - 47));
    if (tail % DS_RING_SIZE + r.size <= DS_RING_SIZE) {
        memcpy(l->ring + tail % DS_RING_SIZE, &r, sizeof(r));
    } else {
        r.size = (uint32_t)(DS_RING_SIZE - tail % DS_RING_SIZE);
        r.op = DS_RING_PAD;
        memcpy(l->ring + tail % DS_RING_SIZE, &r, r.size < sizeof(r) ? r.size : sizeof(r));
    }
    if (tail + r.size - atomic_load(&h->applied) < DS_RING_SIZE) {
        atomic_store(&h->ring_tail, tail + r.size);
    }
}

static void scribble_request(struct ds_link *l, uint64_t *rng)
{
    uint64_t slot = random_below(rng, DS_REQUESTS);
    uint64_t word = some_word(rng);

    l->slot[slot].header = (struct ds_request_header){
        .op = (uint16_t)random_below(rng, DS_OP_COUNT_ + 2),
        .n = (uint16_t)random_below(rng, 140),
        .size = (uint32_t)random_below(rng, DS_REQUEST_BYTES + 64),
        .timeout_ms = (int64_t)some_word(rng),
        .value = some_word(rng) & 0xfffff,
        .value2 = some_word(rng),
    };
    memcpy(l->slot[slot].items + random_below(rng, DS_REQUEST_BYTES - 8), &word, 8);
    memcpy(l->slot[slot].items + random_below(rng, 8) * 32, &word, 8);
    atomic_fetch_add(&l->session->request[slot], 1);
    atomic_fetch_add(&l->session->requests, 1);
}

static void *scribble_main(void *arg)
{
    struct scribbler *s = arg;
    struct ds_link *l = s->link;
    uint64_t rng = s->seed;

    while (now_ns() < s->end_ns) {
        for (int i = 0; i < 2000; i++) {
            if (s->mode == ALL_OVER) {
                scribble_all_over(l, &rng);
            } else if (s->mode == RING) {
                scribble_ring(l, &rng);
            } else {
                scribble_request(l, &rng);
            }
        }
        if (s->mode == ALL_OVER) {
            punch(l->session_segment.fd, DS_SESSION_SIZE, &rng);
        }
        punch(l->data_rw_fd, l->data_size, &rng);
        (void)madvise(l->data_rw.base + (random_below(&rng, l->data_size) & ~UINT64_C(4095)), 4096,
                      MADV_REMOVE);
        ds_link_wake(l, false, INT64_MAX);
    }
    return NULL;
}

static void send_nonsense(const char *path, uint64_t *rng)
{
    uint8_t msg[2048];
    size_t size = 1 + random_below(rng, sizeof(msg));
    int sock = ds_net_connect_unix(path);
    int fds[8];

    if (sock < 0) {
        return;
    }
    for (size_t i = 0; i < size; i++) {
        msg[i] = (uint8_t)random_next(rng);
    }
    if (random_below(rng, 2) == 0) {
        enum ds_wire_type type = (enum ds_wire_type)(1 + random_below(rng, 8));

        size = ds_wire_size(type);
        if (size == 0 || size > sizeof(msg)) {
            size = 16;
        } else {
            uint8_t keep[sizeof(struct ds_wire_header)];

            ds_wire_begin(msg, type, size);
            memcpy(keep, msg, sizeof(keep));
            for (size_t i = sizeof(keep); i < size; i++) {
                msg[i] = (uint8_t)random_next(rng);
            }
            memcpy(msg, keep, sizeof(keep));
        }
    }
    for (int i = 0; i < 8; i++) {
        fds[i] = 0;
    }
    (void)!ds_sys_send_fds(sock, msg, size, fds, random_below(rng, 9));
    (void)close(sock);
}

/* One session in one process. Returns when `ms` are over. */
static void scribble_once(enum scribble_mode mode, unsigned ms)
{
    struct ds_client *c = must_open(9000);
    struct ds_link *l = ds_client_link(c);
    struct scribbler s[2];
    pthread_t thread[2];
    uint64_t rng = (uint64_t)now_ns();
    int64_t end = now_ns() + ms * INT64_C(1000000);

    (void)signal(SIGPIPE, SIG_IGN);
    (void)!ds_kv_set(c, "hostile", 7, "x", 1, NULL);
    if (ds_link_map_writable(l) != 0) {
        fatal("no writable mapping");
    }
    for (int i = 0; i < 2; i++) {
        s[i] = (struct scribbler){l, rng + (uint64_t)i, end, mode};
        if (pthread_create(&thread[i], NULL, scribble_main, &s[i]) != 0) {
            fatal("no thread");
        }
    }
    while (now_ns() < end) {
        send_nonsense(c->path, &rng);
        pause_us(500);
    }
    for (int i = 0; i < 2; i++) {
        (void)pthread_join(thread[i], NULL);
    }
}

/* Rounds of new sessions; the last one of each mode stays. */
static int scribble(unsigned ms)
{
    const unsigned round_ms = 250;
    unsigned rounds = ms / round_ms < MODES ? MODES : ms / round_ms;
    pid_t stay[MODES];
    char byte;

    for (unsigned i = 0; i < rounds; i++) {
        bool last = i + MODES >= rounds;
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            scribble_once((enum scribble_mode)(i % MODES), round_ms);
            if (last) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)raise(SIGSTOP);
            }
            _exit(0);
        }
        (void)waitpid(pid, &status, last ? WUNTRACED : 0);
        if (last) {
            stay[i + MODES - rounds] = pid;
        }
    }
    (void)!write(1, "done\n", 5);
    while (read(0, &byte, 1) > 0) {
    }
    for (unsigned i = 0; i < MODES; i++) {
        (void)kill(stay[i], SIGKILL);
        (void)waitpid(stay[i], NULL, 0);
    }
    return 0;
}

/* --- innocent --- */

static int innocent(struct ds_client *c, unsigned ms)
{
    static uint32_t size[KEYS]; /* 0: absent */
    static uint8_t value[8192];
    int64_t end = now_ns() + ms * INT64_C(1000000);
    uint64_t rng = (uint64_t)end;
    uint64_t n = 0;
    uint64_t full = 0;

    for (unsigned i = 0; i < KEYS; i++) {
        char key[32];
        struct ds_bytes k;

        (void)snprintf(key, sizeof(key), "innocent%u", i);
        k = bytes_of(key);
        (void)!ds_kv_delete(c, &k, 1, NULL);
    }
    for (; now_ns() < end; n++) {
        unsigned i = (unsigned)random_below(&rng, KEYS);
        struct ds_view view;
        struct ds_bytes k;
        char key[32];
        int rc;

        (void)snprintf(key, sizeof(key), "innocent%u", i);
        k = bytes_of(key);
        switch (random_below(&rng, 8)) {
        case 0:
        case 1:
            size[i] = (uint32_t)(1 + random_below(&rng, sizeof(value)));
            rc = ds_kv_set(c, key, strlen(key), value, size[i], NULL);
            if (rc == DS_ENOMEM) { /* the hostile one may take all that a tenant may have */
                full++;
                (void)!ds_kv_delete(c, &k, 1, NULL);
                size[i] = 0;
            } else if (rc != 0) {
                violation(&violations, "set of %s: %s", key, ds_error_name(rc));
            }
            break;
        case 2:
            rc = ds_kv_delete(c, &k, 1, NULL);
            if (rc != 0 && rc != DS_ENOTFOUND) {
                violation(&violations, "delete of %s: %s", key, ds_error_name(rc));
            }
            size[i] = 0;
            break;
        default:
            rc = ds_kv_get(c, key, strlen(key), 0, &view);
            if ((rc == 0) != (size[i] != 0) || (rc == 0 && view.size != size[i])) {
                violation(&violations, "get of %s: %s, %zu bytes of %u", key, ds_error_name(rc),
                          rc == 0 ? view.size : 0, size[i]);
            }
            if (rc == 0) {
                ds_view_release(&view);
            }
        }
    }
    (void)printf("ops %lu full %lu violations %lu\n", (unsigned long)n, (unsigned long)full,
                 (unsigned long)atomic_load(&violations));
    return atomic_load(&violations) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned ms = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000;

    if (strcmp(what, "refused") == 0) {
        return refused(ds_client_link(must_open(9000)));
    }
    if (strcmp(what, "scribble") == 0) {
        return scribble(ms);
    }
    return strcmp(what, "innocent") == 0 ? innocent(must_open(9000), ms) : 2;
}
