/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - what the programs of the fault tests share.
 *
 * Values describe themselves: key, writer, sequence number, size and a pattern that follows from
 * them, so that a reader needs nobody to tell a right value from a wrong one. The worker's port
 * comes from FAULT_PORT. A violated promise is printed to standard output as "VIOLATION: ..." and
 * counted; what cannot go on is fatal().
 */
#ifndef DS_FAULT_FAULT_H
#define DS_FAULT_FAULT_H

#include <ds/ds.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VALUE_MIN 48u

__attribute__((noreturn, format(printf, 1, 2))) void fatal(const char *format, ...);

/* Prints, and counts in *count if given (atomically: it may be shared by processes). */
__attribute__((format(printf, 2, 3))) void violation(_Atomic uint64_t *count, const char *format,
                                                     ...);

uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t n);
int64_t now_ns(void);
int64_t wall_ns(void);
void pause_us(unsigned us);

/* Shared by this process and those it forks; zeroed. */
void *shared_memory(size_t size);

/* A handle for the worker at FAULT_PORT. */
int try_open(int request_timeout_ms, struct ds_client **ret);
int try_open_within(int connect_timeout_ms, int request_timeout_ms, struct ds_client **ret);
struct ds_client *must_open(int request_timeout_ms);

void value_fill(void *buf, size_t size, const char *key, uint64_t writer, uint64_t seq);

/* NULL, or what is wrong with it. */
const char *value_check(const void *buf, size_t size, const char *key, uint64_t *ret_writer,
                        uint64_t *ret_seq);

struct ds_bytes bytes_of(const char *key);
struct ds_worker_stats must_stats(struct ds_client *c);

/* Waits until `sessions` sessions are left and nothing is doomed; false after 5 s. */
bool settle_stats(struct ds_client *c, uint64_t sessions, struct ds_worker_stats *ret);

/* SIGKILL after `us`, unless the child has ended by itself. Returns its wait status. */
int kill_after(int pid, unsigned us);

#endif
