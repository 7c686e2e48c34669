/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"

#define FALLBACK_NS 2000000

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

int ds_sys_memfd_sealed(const char *name, uint64_t size)
{
    int fd;
    int rc = ds_failpoint("sys.memfd");

    if (rc < 0) {
        return rc;
    }
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    rc = ds_failpoint("sys.memfd_seal");
    /* memfds are born with mode 0777: another uid that holds a read-only descriptor could reopen
     * it for writing through /proc/self/fd. */
    if (rc == 0 && (fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)size) < 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)) {
        rc = -errno;
    }
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    return fd;
}

int ds_sys_memfd_size(int fd, uint64_t *ret)
{
    struct stat st;
    int seals;
    int rc = ds_failpoint("sys.memfd_size");

    if (rc < 0) {
        return rc;
    }
    seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    *ret = (uint64_t)st.st_size;
    return (seals & F_SEAL_SHRINK) != 0 ? 0 : -EINVAL;
}

int ds_sys_reopen_readonly(int fd)
{
    char path[32];
    int ro;
    int rc = ds_failpoint("sys.reopen");

    if (rc < 0) {
        return rc;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ro = open(path, O_RDONLY | O_CLOEXEC);
    return ro < 0 ? -errno : ro;
}

int ds_sys_map(int fd, uint64_t size, bool writable, void **ret)
{
    void *p;
    int rc = ds_failpoint("sys.map");

    if (rc < 0) {
        return rc;
    }
    p = mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }
    *ret = p;
    return 0;
}

void *ds_sys_map_private(uint64_t size)
{
    void *p;

    if (ds_failpoint("sys.map_private") < 0) {
        return NULL;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
             0);
    return p == MAP_FAILED ? NULL : p;
}

void ds_sys_unmap(void *addr, uint64_t size)
{
    if (addr != NULL) {
        (void)munmap(addr, size);
    }
}

void ds_sys_replace(void *addr, uint64_t size)
{
    /* Not mmap(): TSan takes that for a write to memory that other threads look at meanwhile. */
    (void)syscall(SYS_mmap, addr, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

int ds_sys_reserve(int fd, uint64_t offset, uint64_t size)
{
    int rc = ds_failpoint("sys.reserve");

    if (rc < 0) {
        return rc;
    }
    do {
        rc = fallocate(fd, 0, (off_t)offset, (off_t)size);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

void ds_sys_populate(void *addr, uint64_t size, bool writable)
{
    uintptr_t from = (uintptr_t)addr & ~(uintptr_t)(DS_PAGE_SIZE - 1);
    uint64_t bytes = ds_align_up((uintptr_t)addr + size, DS_PAGE_SIZE) - from;

    (void)madvise((void *)from, bytes, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

void ds_sys_leave(void *addr, uint64_t size)
{
    (void)madvise(addr, size, MADV_DONTNEED);
}

void ds_sys_no_dump(void *addr, uint64_t size)
{
    (void)madvise(addr, size, MADV_DONTDUMP);
}

void ds_sys_pin(const void *addr, uint64_t size)
{
    (void)mlock(addr, size);
}

void ds_sys_close(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

int ds_sys_take_over(int fd, int number)
{
    int rc = ds_failpoint("sys.take_over");

    if (rc == 0) {
        do {
            rc = dup3(fd, number, O_CLOEXEC);
        } while (rc < 0 && (errno == EINTR || errno == EBUSY));
        rc = rc < 0 ? -errno : 0;
    }
    (void)close(fd);
    return rc;
}

uint64_t ds_sys_socket_id(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? st.st_ino : 0;
}

int ds_sys_dup(int fd)
{
    int rc = ds_failpoint("sys.dup");

    if (rc == 0) {
        rc = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

int ds_sys_open(const char *path, int flags, mode_t mode)
{
    int rc = ds_failpoint("sys.open");

    if (rc == 0) {
        rc = open(path, flags | O_CLOEXEC, mode);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

int ds_sys_epoll(void)
{
    int rc = ds_failpoint("sys.epoll");

    if (rc == 0) {
        rc = epoll_create1(EPOLL_CLOEXEC);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

int ds_sys_epoll_add(int epoll, int fd, uint64_t data, bool edge)
{
    struct epoll_event e = {.events = EPOLLIN | (edge ? EPOLLET : 0u), .data.u64 = data};
    int rc = ds_failpoint("sys.epoll_add");

    if (rc == 0) {
        rc = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
    }
    return rc;
}

void ds_sys_epoll_remove(int epoll, int fd)
{
    (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
}

int ds_sys_epoll_wait(int epoll, struct epoll_event *events, int n, int timeout_ms)
{
    int rc = ds_failpoint("sys.epoll_wait");

    if (rc == 0) {
        rc = epoll_wait(epoll, events, n, timeout_ms);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

int ds_sys_eventfd(void)
{
    int rc = ds_failpoint("sys.eventfd");

    if (rc == 0) {
        rc = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

void ds_sys_event_ring(int fd)
{
    uint64_t one = 1;

    (void)!write(fd, &one, sizeof(one));
}

void ds_sys_event_take(int fd)
{
    uint64_t rings;

    (void)!read(fd, &rings, sizeof(rings));
}

int ds_sys_signalfd(const sigset_t *set)
{
    int rc = ds_failpoint("sys.signalfd");

    if (rc == 0) {
        rc = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
        rc = rc < 0 ? -errno : rc;
    }
    return rc;
}

pid_t ds_sys_fork(void)
{
    int rc = ds_failpoint("sys.fork");
    pid_t pid;

    if (rc < 0) {
        return rc;
    }
    pid = fork();
    return pid < 0 ? -errno : pid;
}

int ds_sys_thread(pthread_t *thread, void *(*main)(void *arg), void *arg)
{
    int rc = ds_failpoint("sys.thread");
    sigset_t all, before;

    if (rc < 0) {
        return rc;
    }
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGBUS); /* of a fault: blocked, it ends the process (shm/window.h) */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = -pthread_create(thread, NULL, main, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

uint64_t ds_sys_raise_open_files(void)
{
    struct rlimit r = {.rlim_cur = 0};

    (void)getrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur < r.rlim_max) {
        struct rlimit all = {.rlim_cur = r.rlim_max, .rlim_max = r.rlim_max};

        r = setrlimit(RLIMIT_NOFILE, &all) == 0 ? all : r;
    }
    return r.rlim_cur;
}

/* glibc has no wrapper before 2.41; of the 48 bytes of the first version all are given. */
struct sched_attr_v0 {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void ds_sys_time_slice(uint64_t ns)
{
    struct sched_attr_v0 a;

    if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) == 0 && a.policy == SCHED_OTHER) {
        a.size = sizeof(a);
        a.runtime = ns;
        (void)syscall(SYS_sched_setattr, 0, &a, 0);
    }
}

int ds_sys_socketpair(int ret[2])
{
    int rc = ds_failpoint("sys.socketpair");

    if (rc == 0) {
        rc = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
    }
    return rc;
}

int ds_sys_pipe(int ret[2])
{
    int rc = ds_failpoint("sys.pipe");

    if (rc == 0) {
        rc = pipe2(ret, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
    }
    if (rc == 0) {
        (void)fcntl(ret[1], F_SETFL, 0);
    }
    return rc;
}

int ds_sys_program_dir(char *ret, size_t size)
{
    int rc = ds_failpoint("sys.program_dir");
    ssize_t n;
    char *slash;

    if (rc < 0) {
        return rc;
    }
    n = readlink("/proc/self/exe", ret, size);
    if (n < 0) {
        return -errno;
    }
    if ((size_t)n >= size) {
        return -ENAMETOOLONG;
    }
    ret[n] = '\0';
    slash = strrchr(ret, '/');
    if (slash == NULL) {
        return -ENOENT;
    }
    *slash = '\0';
    return 0;
}

int ds_sys_pidfd(pid_t pid)
{
    long fd;
    int rc = ds_failpoint("sys.pidfd");

    if (rc < 0) {
        return rc;
    }
    fd = syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : (int)fd;
}

bool ds_sys_is_pidfd(int fd)
{
    char path[32];
    char target[64];
    ssize_t n;

    if (ds_failpoint("sys.is_pidfd") < 0) {
        return false;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = '\0';
    return strcmp(target, "anon_inode:[pidfd]") == 0 || strncmp(target, "pidfd:[", 7) == 0;
}

int ds_sys_futex_wait(const void *word, uint32_t expected, int64_t timeout_ns)
{
    struct timespec t = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    long rc = ds_failpoint("sys.futex_wait");

    if (rc < 0) {
        return (int)rc;
    }
    rc = syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout_ns < 0 ? NULL : &t, NULL, 0);
    return rc < 0 ? -errno : 0;
}

#ifdef SYS_futex_waitv
static long futex_waitv(const struct ds_sys_futex *words, unsigned n, int64_t timeout_ns)
{
    struct futex_waitv v[DS_SYS_FUTEX_MAX] = {0};
    struct timespec end;

    for (unsigned i = 0; i < n; i++) {
        v[i].uaddr = (uintptr_t)words[i].word;
        v[i].val = words[i].expected;
        v[i].flags = FUTEX_32;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (timeout_ns + end.tv_nsec) / 1000000000;
    end.tv_nsec = (timeout_ns + end.tv_nsec) % 1000000000;
    return syscall(SYS_futex_waitv, v, n, 0, &end, CLOCK_MONOTONIC) < 0 ? -errno : 0;
}
#else
static long futex_waitv(const struct ds_sys_futex *words, unsigned n, int64_t timeout_ns)
{
    return -ENOSYS;
}
#endif

int ds_sys_futex_wait_any(const struct ds_sys_futex *words, unsigned n, int64_t timeout_ns)
{
    long rc = ds_failpoint("sys.futex_wait_any");

    if (n == 1) {
        return ds_sys_futex_wait(words->word, words->expected, timeout_ns);
    }
    rc = rc < 0 ? rc : futex_waitv(words, n, timeout_ns);
    if (rc == -ENOSYS) {
        rc = ds_sys_futex_wait(words->word, words->expected,
                               timeout_ns < FALLBACK_NS ? timeout_ns : FALLBACK_NS);
    }
    return (int)rc;
}

int ds_sys_futex_wake(const void *word, int n)
{
    long rc = syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);

    return rc < 0 ? -errno : (int)rc;
}

ssize_t ds_sys_send_fds(int sock, const void *msg, size_t size, const int *fds, size_t n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * DS_SYS_FDS_MAX)];
    } control;
    struct iovec iov = {(void *)(uintptr_t)msg, size};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n = ds_failpoint("sys.send");

    DS_ASSERT(n_fds <= DS_SYS_FDS_MAX);
    if (n < 0) {
        return n;
    }
    if (n_fds > 0) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof(control));
        h.msg_control = control.bytes;
        h.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
    }
    do {
        n = sendmsg(sock, &h, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Keeps what fits, closes the rest. */
static void take_fds(struct msghdr *h, int *fds, size_t capacity, size_t *n)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*n < capacity) {
                fds[(*n)++] = fd;
            } else {
                (void)close(fd);
            }
        }
    }
}

ssize_t ds_sys_recv_fds(int sock, void *msg, size_t size, int *fds, size_t *n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * DS_SYS_FDS_MAX)];
    } control;
    struct iovec iov = {msg, size};
    struct msghdr h = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    size_t capacity = *n_fds;
    ssize_t n = ds_failpoint("sys.recv");

    *n_fds = 0;
    if (n < 0) {
        return n;
    }
    do {
        n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    take_fds(&h, fds, capacity, n_fds);
    if ((h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        while (*n_fds > 0) {
            (void)close(fds[--*n_fds]);
        }
        return -EMSGSIZE;
    }
    return n;
}

int ds_sys_wait_readable(int fd, int64_t deadline_ns)
{
    int rc = ds_failpoint("sys.wait_readable");

    if (rc < 0) {
        return rc;
    }
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left_ns = deadline_ns - ds_monotonic_ns();
        int64_t ms = left_ns <= 0 ? 0 : (left_ns + 999999) / 1000000;
        int n = poll(&p, 1, ms > INT_MAX ? INT_MAX : (int)ms);

        if (n >= 0) {
            return n > 0;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

void ds_sys_make_parents(const char *path)
{
    char part[PATH_MAX];
    size_t n = strlen(path);

    for (size_t i = 1; i < n && i < sizeof(part); i++) {
        if (path[i] == '/') {
            memcpy(part, path, i);
            part[i] = '\0';
            (void)mkdir(part, 0750);
        }
    }
}

int ds_sys_random(void *buf, size_t size)
{
    uint8_t *p = buf;
    int rc = ds_failpoint("sys.random");

    if (rc < 0) {
        return rc;
    }
    while (size > 0) {
        ssize_t n = getrandom(p, size, 0);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int64_t ds_sys_boottime_offset_ns(void)
{
    FILE *f = fopen("/proc/self/timens_offsets", "re");
    char line[128];
    int64_t offset = 0;

    if (f == NULL) {
        return 0; /* a kernel without time namespaces */
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        long long s = 0;
        long long ns = 0;

        if (sscanf(line, "boottime %lld %lld", &s, &ns) == 2) {
            offset = s * 1000000000 + ns;
        }
    }
    (void)fclose(f);
    return -offset; /* the namespace shows host time plus its offset */
}

static bool read_number(const char *path, uint64_t *ret)
{
    FILE *f = fopen(path, "re");
    unsigned long long v = 0;
    int n;

    if (f == NULL) {
        return false;
    }
    n = fscanf(f, "%llu", &v); /* "max" does not match: no limit */
    (void)fclose(f);
    *ret = v;
    return n == 1;
}

/* A line "<name> <bytes>" of a cgroup's memory.stat; 0 if there is none. */
static uint64_t cgroup_stat(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    char line[128];
    uint64_t value = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        size_t n = strlen(name);

        if (strncmp(line, name, n) == 0 && line[n] == ' ') {
            value = strtoull(line + n, NULL, 10);
            break;
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return value;
}

/* limit - usage of a memory cgroup, or UINT64_MAX. Cached files that nobody used lately count as
 * free: the kernel drops them first. Cgroup paths are those a container sees. */
static uint64_t cgroup_rest(void)
{
    static const struct {
        const char *limit;
        const char *used;
        const char *stat;
        const char *cached;
    } files[] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat",
         "inactive_file"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
         "/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.stat",
         "total_inactive_file"},
    };

    for (size_t i = 0; i < DS_ARRAY_SIZE(files); i++) {
        uint64_t limit;
        uint64_t used;

        if (read_number(files[i].limit, &limit) && read_number(files[i].used, &used)) {
            uint64_t cached = cgroup_stat(files[i].stat, files[i].cached);

            used -= ds_min_u64(used, cached);
            return limit > used ? limit - used : 0;
        }
    }
    return UINT64_MAX;
}

uint64_t ds_sys_memory_available(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];
    uint64_t available = ds_failpoint("sys.memory_available") < 0 ? 0 : UINT64_MAX;

    if (f != NULL) {
        while (fgets(line, sizeof(line), f) != NULL) {
            unsigned long long kib;

            if (sscanf(line, "MemAvailable: %llu", &kib) == 1) {
                available = ds_min_u64(available, kib * 1024);
            }
        }
        (void)fclose(f);
    }
    return ds_min_u64(available, cgroup_rest());
}

int ds_sys_peer(int sock, struct ds_sys_peer *ret)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);
    int rc = ds_failpoint("sys.peer");

    if (rc < 0) {
        return rc;
    }
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) {
        return -errno;
    }
    *ret = (struct ds_sys_peer){cred.pid, cred.uid, cred.gid};
    return 0;
}
