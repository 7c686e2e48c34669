/* SPDX-License-Identifier: Apache-2.0 */
/* l2_dir.h - what the files l2_dir*.c share; for nobody else. */
#ifndef DS_TIER_L2_DIR_H
#define DS_TIER_L2_DIR_H

#include <limits.h>
#include <pthread.h>
#include <sys/types.h>

#include "tier/l2_value.h"

#define DS_L2_DIR_SHARDS 256
#define DS_L2_DIR_TEMP ".t-" /* beginning of the names of temporary files */

/* One opening of the directory. */
struct ds_l2_dir_root {
    int fd;
    dev_t dev;                           /* the file system that it is on */
    atomic_int shards[DS_L2_DIR_SHARDS]; /* descriptors, opened at the first use; -1: not yet */
    unsigned users;                      /* calls under way, and dir->root; under dir->lock */
};

struct ds_l2_dir {
    struct ds_l2 base;
    char path[PATH_MAX];
    pthread_mutex_t lock; /* guards root and its users */
    struct ds_l2_dir_root *root;
    atomic_uint temps;               /* numbers temporary files */
    uint32_t random;                 /* tells this opening's temporary files from others' */
    _Atomic uint64_t capacity, free; /* of the file system: struct ds_l2_space */
    _Atomic int64_t look_ns;         /* when to ask it again, CLOCK_MONOTONIC */
};

/* --- l2_dir_root.c --- */

/* Of a directory that is there; makes FORMAT in an empty one. Errors as ds_l2_open(). `before`
 * (NULL: nothing): what was open at the path. On another file system than that, and in one that is
 * `existing`, nothing is made: DS_EUNAVAILABLE. */
DS_MUST_USE int ds_l2_dir_root_open(const char *path, const struct ds_l2_dir_root *before,
                                    bool existing, char *err, size_t err_size,
                                    struct ds_l2_dir_root **ret);

/* "cannot `what` `path`", with the words of an errno value and what helps. */
void ds_l2_dir_tell(char *err, size_t err_size, int error, const char *what, const char *path);

/* What a call works with, until it leaves. */
struct ds_l2_dir_root *ds_l2_dir_enter(struct ds_l2_dir *dir);
void ds_l2_dir_leave(struct ds_l2_dir *dir, struct ds_l2_dir_root *root);

/* A call failed with *rc. True: because the directory was replaced under it; it is open again, and
 * the call may leave and begin anew. False: not so, or *rc says why it cannot be opened. */
DS_MUST_USE bool ds_l2_dir_again(struct ds_l2_dir *dir, struct ds_l2_call *call,
                                 struct ds_l2_dir_root *root, uint8_t shard, int *rc);

void ds_l2_dir_space(struct ds_l2 *l2, struct ds_l2_space *ret);

/* Whether the directory can be read now. */
bool ds_l2_dir_is_well(const struct ds_l2_dir_root *root);

/* *ret: the shard's descriptor, owned by root. With `make`, makes it; else DS_ENOTFOUND. */
DS_MUST_USE int ds_l2_dir_shard(struct ds_l2_dir_root *root, struct ds_l2_call *call, uint8_t shard,
                                bool make, int *ret);

/* --- l2_dir.c --- */

/* "cannot `what` `name`", with the words and the code of an errno value. That it is full, or may
 * not be used, is an answer of the file system. */
int ds_l2_dir_fail(struct ds_l2_call *call, int error, const char *what, const char *name);

/* Waits until this key is ours, among threads and workers; *ret is to be closed then. */
DS_MUST_USE int ds_l2_dir_lock(struct ds_l2_call *call, int shard, const void *key,
                               uint32_t key_size, int *ret);

/* The header of a file of a shard; `key` NULL: of any key. DS_ENOTFOUND, DS_ECORRUPT. */
DS_MUST_USE int ds_l2_dir_head(struct ds_l2_call *call, int shard, const char *name,
                               const void *key, uint32_t key_size, struct ds_l2_head *ret);

int ds_l2_dir_list(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each, void *arg);
int ds_l2_dir_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc);

#endif
