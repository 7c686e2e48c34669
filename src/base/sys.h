/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h - the only door to the operating system for memory, descriptors, sockets, processes and
 * threads (with net.h).
 *
 * Every function returns what the system call returns, with -errno instead of -1 and errno, and has
 * the failpoint "sys.<name>" where it can fail.
 */
#ifndef DS_BASE_SYS_H
#define DS_BASE_SYS_H

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/types.h>

#include "base/base.h"

/* A memfd of mode 0600 and `size` bytes, sealed against shrink, grow and further seals. */
DS_MUST_USE int ds_sys_memfd_sealed(const char *name, uint64_t size);

/* The same file opened O_RDONLY: this descriptor can never be mapped for writing. */
DS_MUST_USE int ds_sys_reopen_readonly(int fd);

/* 0 and *ret, or -errno. Shared mapping of the whole range. */
DS_MUST_USE int ds_sys_map(int fd, uint64_t size, bool writable, void **ret);

/* Private anonymous memory that costs nothing until it is touched; NULL on failure. */
DS_MUST_USE void *ds_sys_map_private(uint64_t size);
void ds_sys_unmap(void *addr, uint64_t size);

/* Replaces a mapping in place by empty private pages. */
void ds_sys_replace(void *addr, uint64_t size);

/* Puts pages behind [offset, offset + size): 0, -ENOMEM, -ENOSPC ... */
DS_MUST_USE int ds_sys_reserve(int fd, uint64_t offset, uint64_t size);

/* Enters resident pages into the own page table. Best effort. */
void ds_sys_populate(void *addr, uint64_t size, bool writable);

/* Whole pages leave the own page table; those of a file keep their contents. Best effort. */
void ds_sys_leave(void *addr, uint64_t size);

/* Not part of a core dump. Best effort. */
void ds_sys_no_dump(void *addr, uint64_t size);

/* Keeps the pages of a mapping resident. Best effort: there is a limit (ulimit -l). */
void ds_sys_pin(const void *addr, uint64_t size);

void ds_sys_close(int fd); /* negative: no-op */

/* Makes `number` mean what `fd` does, atomically, and closes `fd`: a thread that is about to use
 * the number finds the old file or the new one, never somebody else's. */
DS_MUST_USE int ds_sys_take_over(int fd, int number);

/* Which socket a descriptor is: 0 for one that is closed, or that is no socket. */
uint64_t ds_sys_socket_id(int fd);

DS_MUST_USE int ds_sys_dup(int fd);
DS_MUST_USE int ds_sys_open(const char *path, int flags, mode_t mode); /* close-on-exec */

/* The size of a memfd that is sealed against shrinking; -EINVAL for any other file. */
DS_MUST_USE int ds_sys_memfd_size(int fd, uint64_t *ret);

/* --- waiting for many things --- */

DS_MUST_USE int ds_sys_epoll(void);
/* Readable or hung up; `edge`: told once for each time that it becomes so. */
DS_MUST_USE int ds_sys_epoll_add(int epoll, int fd, uint64_t data, bool edge);
void ds_sys_epoll_remove(int epoll, int fd);
DS_MUST_USE int ds_sys_epoll_wait(int epoll, struct epoll_event *events, int n, int timeout_ms);

/* A counter that does not block, to wake a sleeper with. Ringing and taking cannot fail. */
DS_MUST_USE int ds_sys_eventfd(void);
void ds_sys_event_ring(int fd);
void ds_sys_event_take(int fd);
DS_MUST_USE int ds_sys_signalfd(const sigset_t *set); /* does not block */

/* --- processes and threads --- */

DS_MUST_USE pid_t ds_sys_fork(void);
DS_MUST_USE int ds_sys_thread(pthread_t *thread, void *(*main)(void *arg), void *arg);

/* Raises the limit of open files of this process, and of those that it starts, as far as it goes:
 * the limit then. */
uint64_t ds_sys_raise_open_files(void);

/* Asks for time slices of that length for this thread and those that it starts: on kernels whose
 * scheduler takes the hint (EEVDF, Linux 6.12), a thread with short slices is run sooner after it
 * was woken. The share of the processor and the priority stay. Best effort. */
void ds_sys_time_slice(uint64_t ns);

/* Two connected SOCK_SEQPACKET sockets. A pipe: [0] for reading, which does not block. */
DS_MUST_USE int ds_sys_socketpair(int ret[2]);
DS_MUST_USE int ds_sys_pipe(int ret[2]);

/* The directory of the running program, without a slash at the end. */
DS_MUST_USE int ds_sys_program_dir(char *ret, size_t size);

DS_MUST_USE int ds_sys_pidfd(pid_t pid);

/* Whether a descriptor that somebody sent is a pidfd. */
bool ds_sys_is_pidfd(int fd);

/* Waits while *word == expected; timeout_ns < 0: for ever. 0, -EAGAIN, -ETIMEDOUT, -EINTR. */
int ds_sys_futex_wait(const void *word, uint32_t expected, int64_t timeout_ns);

/* The same for several words, DS_SYS_FUTEX_MAX at most; timeout_ns < 0 only for one. Where the
 * kernel cannot (before 5.16) it waits for the first one, 2 ms at most. */
#define DS_SYS_FUTEX_MAX 32u
struct ds_sys_futex {
    const void *word;
    uint32_t expected;
};
int ds_sys_futex_wait_any(const struct ds_sys_futex *words, unsigned n, int64_t timeout_ns);
int ds_sys_futex_wake(const void *word, int n);

/* One message with up to DS_SYS_FDS_MAX descriptors over a SOCK_SEQPACKET socket. The receiver owns
 * the descriptors it gets (close-on-exec); *n_fds is in: capacity, out: number. recv returns the
 * message's size, 0 at the end of the stream; a message larger than `size` is -EMSGSIZE. */
#define DS_SYS_FDS_MAX 8
DS_MUST_USE ssize_t ds_sys_send_fds(int sock, const void *msg, size_t size, const int *fds,
                                    size_t n_fds);
DS_MUST_USE ssize_t ds_sys_recv_fds(int sock, void *msg, size_t size, int *fds, size_t *n_fds);

/* Waits until fd is readable or hung up: 1, 0 at the deadline (CLOCK_MONOTONIC ns), or -errno. */
DS_MUST_USE int ds_sys_wait_readable(int fd, int64_t deadline_ns);

/* Makes the directory that `path` is to lie in, with its parents. Best effort. */
void ds_sys_make_parents(const char *path);

/* Random bytes from the kernel. */
DS_MUST_USE int ds_sys_random(void *buf, size_t size);

/* CLOCK_BOOTTIME of the initial time namespace minus that of this process, in ns. */
DS_MUST_USE int64_t ds_sys_boottime_offset_ns(void);

/* Bytes that this process may still use: the least of free memory and the cgroup's rest. */
uint64_t ds_sys_memory_available(void);

/* The peer of a Unix socket. */
struct ds_sys_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
DS_MUST_USE int ds_sys_peer(int sock, struct ds_sys_peer *ret);

#endif
