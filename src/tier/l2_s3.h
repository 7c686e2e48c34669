/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_s3.h - what the files of the S3 implementation share; for nobody else. l2_s3.c tells how
 * objects lie in the bucket.
 */
#ifndef DS_TIER_L2_S3_H
#define DS_TIER_L2_S3_H

#include "tier/l2_s3_http.h"
#include "tier/l2_value.h"

#define DS_L2_S3_PREFIX_MAX 200u
#define DS_L2_S3_FOLDER "dsl2/"

struct ds_l2_s3 {
    struct ds_l2 base;
    struct ds_l2_s3_http *http;
    char prefix[DS_L2_S3_PREFIX_MAX + sizeof(DS_L2_S3_FOLDER)]; /* the folder behind it */
    uint64_t part_chunks;
    unsigned parallel;
    int64_t unfinished_age_ns;
};

/* One object as a listing shows it. */
struct ds_l2_s3_listed {
    char key[DS_L2_S3_KEY_MAX + 1]; /* whole */
    uint64_t size;                  /* of the object */
    struct ds_l2_meta meta; /* from the key; size and mode not known; written: by the store */
};

struct ds_l2_s3_page {
    size_t n, max;
    bool more;
    char token[1100]; /* of the next page */
    struct ds_l2_s3_listed items[];
};

#define DS_L2_S3_UPLOADS_PAGE 100u

struct ds_l2_s3_upload {
    char key[DS_L2_S3_KEY_MAX + 1];
    char id[1024];
    int64_t begun; /* CLOCK_REALTIME; 0: not known */
};

/* One page of a listing of multipart uploads. */
struct ds_l2_s3_uploads {
    size_t n;
    bool more;
    bool over;                   /* the store listed more than were asked for */
    struct ds_l2_s3_upload now;  /* being read */
    struct ds_l2_s3_upload next; /* behind which the next page begins */
    struct ds_l2_s3_upload items[DS_L2_S3_UPLOADS_PAGE];
};

/* --- l2_s3_list.c --- */

/* Folder of a key's versions, "prefix/dsl2/k-name/"; `meta`: the object itself. */
void ds_l2_s3_key(const struct ds_l2_s3 *s3, const void *key, uint32_t key_size,
                  const struct ds_l2_meta *meta, char *buf);

/* Room for n items. NULL: no memory. */
struct ds_l2_s3_page *ds_l2_s3_page_create(size_t n);

/* The store's answer to a request for the page of page->token: page->max of its items at most.
 * DS_ECORRUPT, also where the page after it is the same again. */
DS_MUST_USE int ds_l2_s3_page_parse(const char *xml, size_t size, struct ds_l2_s3_page *page);

/* What lies under a folder, in order of names: the newest version of a key first. page->token: ""
 * or of the page before. Objects of others are left out. */
DS_MUST_USE int ds_l2_s3_page_read(struct ds_l2_s3 *s3, struct ds_l2_call *call, const char *folder,
                                   struct ds_l2_s3_page *page);

/* The newest version. DS_ENOTFOUND. */
DS_MUST_USE int ds_l2_s3_newest(struct ds_l2_s3 *s3, struct ds_l2_call *call, const void *key,
                                uint32_t key_size, struct ds_l2_s3_listed *ret);

/* The versions of a key that a put of `item` replaces, in *ret (to be freed). DS_ESTALE: a newer
 * one is there. */
DS_MUST_USE int ds_l2_s3_before_put(struct ds_l2_s3 *s3, struct ds_l2_call *call,
                                    const struct ds_l2_item *item, struct ds_l2_s3_page **ret);

/* Removes them. What fails is left to the next put or to gc(): it lies behind the newer one. */
void ds_l2_s3_after_put(struct ds_l2_s3 *s3, struct ds_l2_call *call, uint64_t version,
                        const struct ds_l2_s3_page *older);

DS_MUST_USE int ds_l2_s3_delete(struct ds_l2_s3 *s3, struct ds_l2_call *call, const char *key);

/* Size of the value in an object. False: no object has that size. */
bool ds_l2_s3_value_size(uint32_t key_size, uint64_t object_size, uint64_t *ret);

/* The store's answer to a request for the page behind ret->next (zeroed: the first). DS_ECORRUPT.
 */
DS_MUST_USE int ds_l2_s3_uploads_parse(const char *xml, size_t size, struct ds_l2_s3_uploads *ret);

/* Aborts multipart uploads that began before that time; *count them, `dry` does only that. */
DS_MUST_USE int ds_l2_s3_abort_stale(struct ds_l2_s3 *s3, struct ds_l2_call *call,
                                     int64_t before_unix_ns, bool dry, uint64_t *count);

int ds_l2_s3_list(struct ds_l2 *l2, struct ds_l2_call *call, ds_l2_each_fn *each, void *arg);
int ds_l2_s3_gc(struct ds_l2 *l2, struct ds_l2_call *call, struct ds_l2_gc *gc);

/* --- l2_s3_put.c --- */

void ds_l2_s3_put_many(struct ds_l2 *l2, struct ds_l2_call *call, const struct ds_l2_item *items,
                       size_t n, int *rcs);

#endif
