/* SPDX-License-Identifier: Apache-2.0 */
/* l2_dir_scene.h - second-level storage in a directory of its own. */
#ifndef DS_UNIT_TIER_L2_DIR_SCENE_H
#define DS_UNIT_TIER_L2_DIR_SCENE_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "harness/ds_test.h"
#include "tier/l2_format.h"

#define HOUR_NS ((int64_t)3600 * 1000000000)

static char root[64];
static struct ds_l2_call call;

static inline struct ds_l2 *reopen(void)
{
    struct ds_l2_config config = {.type = DS_L2_DIR, .directory = root};
    struct ds_l2 *l2 = NULL;
    char err[256] = "";

    CHECK_OK(ds_l2_open(&config, err, sizeof(err), &l2));
    return l2;
}

static inline struct ds_l2 *begin(void)
{
    (void)snprintf(root, sizeof(root), "/tmp/ds-l2-test-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    return reopen();
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void end(struct ds_l2 *l2)
{
    ds_failpoint_arm(NULL);
    ds_l2_close(l2);
    CHECK_EQ(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline struct ds_l2_item item_of(const char *key, const char *value, uint64_t version)
{
    return (struct ds_l2_item){.key = key,
                               .key_size = (uint32_t)strlen(key),
                               .meta = {.version = version, .size = strlen(value)},
                               .value = {.fd = -1, .memory = (void *)(uintptr_t)value}};
}

static inline int put(struct ds_l2 *l2, const char *key, const char *value, uint64_t version)
{
    struct ds_l2_item item = item_of(key, value, version);

    return ds_l2_put(l2, &call, &item);
}

static inline int del(struct ds_l2 *l2, const char *key, uint64_t version)
{
    return ds_l2_remove(l2, &call, key, (uint32_t)strlen(key), version);
}

static inline int to_buffer(void *arg, const struct ds_l2_meta *meta, struct ds_l2_span *ret)
{
    CHECK_LT(meta->size, 256);
    *ret = (struct ds_l2_span){.fd = -1, .memory = arg};
    return 0;
}

/* The value, or "error <code>". */
static inline const char *get(struct ds_l2 *l2, const char *key)
{
    static char value[256];
    struct ds_l2_meta meta;
    int rc;

    memset(value, 0, sizeof(value));
    rc = ds_l2_get(l2, &call, key, (uint32_t)strlen(key), to_buffer, value, &meta);
    if (rc < 0) {
        (void)snprintf(value, sizeof(value), "error %d", -rc);
    } else {
        CHECK_EQ(meta.size, strlen(value));
    }
    return value;
}

#endif
