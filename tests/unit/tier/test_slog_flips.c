/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slog_flips.c - bits of the golden directory flip, one at a time: each is found, or does no
 * harm. Never are there wrong bytes, a wrong key or a value that was deleted, without a word.
 */
#include "base/failpoint.h"
#include "slog_owner.h"
#include "tier/slog_format.h"

#define GOLDEN DS_TEST_SOURCE_DIR "/golden/slog-v1"
#define FILE_MAX 65536u
#define SPARSE 1009u /* bits of values and gaps: one in so many */
#define N 10u        /* keys */

static uint8_t bytes[FILE_MAX];
static bool dense[FILE_MAX];
static struct rec truth[N];

struct target {
    const char *name;
    size_t size;
    size_t last; /* where the last record begins */
};

static struct target read_golden(const char *name)
{
    struct target t = {.name = name};
    char path[512];
    int fd;
    ssize_t n;

    (void)snprintf(path, sizeof(path), GOLDEN "/%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_GE(fd, 0);
    n = read(fd, bytes, sizeof(bytes));
    CHECK_GT(n, 0);
    (void)close(fd);
    t.size = (size_t)n;
    memset(dense, 0, sizeof(dense));
    return t;
}

static void put_golden(const struct owner *o, const struct target *t)
{
    char path[512];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", o->dir, t->name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, bytes, t->size), (ssize_t)t->size);
    (void)close(fd);
}

static void mark(size_t at, size_t size)
{
    memset(dense + at, 1, size);
}

/* All but values and gaps. */
static void mark_segment(struct target *t)
{
    struct slog_trailer trailer;

    mark(0, 64);
    for (size_t at = SLOG_BLOCK; at < t->size;) {
        struct slog_head h;

        memcpy(&h, bytes + at, sizeof(h));
        if (h.magic != SLOG_RECORD_MAGIC) {
            break;
        }
        mark(at, sizeof(h) + h.key_size);
        mark(at + sizeof(h) + h.key_size + h.value_size, slog_crcs_size(h.value_size));
        t->last = at;
        at += slog_record_size(h.key_size, h.value_size);
    }
    memcpy(&trailer, bytes + t->size - sizeof(trailer), sizeof(trailer));
    mark(t->size - sizeof(trailer) - trailer.summary_size, sizeof(trailer) + trailer.summary_size);
}

/* DS_E code of the open, with what was found in o. */
static int open_flipped(struct owner *o)
{
    char err[256] = "";
    int rc;

    memset(o->recs, 0, N * sizeof(o->recs[0]));
    rc = ds_slog_open(&o->config, err, sizeof(err), &o->s);
    if (rc == 0) {
        rc = ds_slog_recover(o->s, recovered, o);
    } else {
        CHECK(err[0] != '\0');
    }
    return rc;
}

/* What is there must be as it was, or it was told that something is not. */
static void judge(struct owner *o, bool told, bool read_all, unsigned hit)
{
    for (unsigned k = 0; k < N; k++) {
        const struct rec *r = &o->recs[k];
        bool same = r->at == truth[k].at && r->version == truth[k].version &&
                    r->size == truth[k].size && r->flags == truth[k].flags;

        CHECK(same || told);
        /* Nothing but what was put under this key once. */
        CHECK(r->at == 0 || r->version == truth[k].version || r->version == k + 1);
        if (r->at != 0 && (read_all || k == hit)) {
            int rc = get(o, k);

            CHECK(rc == 0 || rc == DS_ECORRUPT);
        }
    }
}

static unsigned key_at(size_t at)
{
    for (size_t i = SLOG_BLOCK; i < FILE_MAX;) {
        struct slog_head h;
        size_t size;

        memcpy(&h, bytes + i, sizeof(h));
        if (h.magic != SLOG_RECORD_MAGIC) {
            break;
        }
        size = slog_record_size(h.key_size, h.value_size);
        if (at >= i && at < i + size) {
            return key_number(bytes + i + sizeof(h), h.key_size);
        }
        i += size;
    }
    return N;
}

/* `unsealed`: damage to the head of the very last record cannot be told from a write that was cut
 * off (docs/segment-log.md). */
static void flip_all(struct owner *o, const struct target *t, bool segment, bool unsealed)
{
    char path[512];
    int fd;
    unsigned tried = 0;

    (void)snprintf(path, sizeof(path), "%s/%s", o->dir, t->name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK_GE(fd, 0);
    for (size_t bit = 0; bit < t->size * 8; bit++) {
        size_t at = bit / 8;
        uint8_t flipped = bytes[at] ^ (uint8_t)(1u << bit % 8);
        bool tail = unsealed && at >= t->last && at < t->last + 128;

        if (!dense[at] && bit % SPARSE != 0) {
            continue;
        }
        CHECK_EQ(pwrite(fd, &flipped, 1, (off_t)at), 1);
        if (open_flipped(o) == 0) {
            bool told = tail || stats_of(o).corrupt > 0;

            CHECK(!segment || at >= sizeof(struct slog_segment_head) || told);
            judge(o, told, ++tried % 64 == 0, segment ? key_at(at) : N);
        }
        o->s = ds_slog_close(o->s, false);
        CHECK_EQ(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
    }
    (void)close(fd);
}

/* Nothing is written meanwhile, so that the files stay what they are but for one bit. */
static void begin(struct owner *o, bool kept)
{
    static const char *const names[] = {"identity", "0000-0000000000000001.seg",
                                        "0001-0000000000000002.seg", "tombstones"};

#ifndef DS_FAILPOINTS
    DS_SKIP("built without failpoints");
#endif
    owner_init(o, 1 << 20, FILE_MAX, false);
    o->s = ds_slog_close(o->s, false);
    for (size_t i = 0; i < (kept ? 4u : 3u); i++) {
        struct target t = read_golden(names[i]);

        put_golden(o, &t);
    }
    ds_failpoint_arm("sys.reserve=errno:28");
    CHECK_OK(open_flipped(o));
    CHECK_EQ(stats_of(o).corrupt, 0u);
    for (unsigned k = 0; k < N; k++) {
        truth[k] = o->recs[k];
        CHECK(truth[k].at == 0 || get(o, k) == 0);
    }
    o->s = ds_slog_close(o->s, false);
}

static void end(struct owner *o)
{
    ds_failpoint_arm(NULL);
    owner_fini(o, false);
}

DS_TEST_TIMEOUT(slog_flips__of_the_identity, 120)
{
    struct owner o;
    struct target t;

    begin(&o, false);
    t = read_golden("identity");
    mark(0, t.size);
    flip_all(&o, &t, false, false);
    end(&o);
}

DS_TEST_TIMEOUT(slog_flips__of_a_sealed_segment, 300)
{
    struct owner o;
    struct target t;

    begin(&o, false);
    t = read_golden("0000-0000000000000001.seg");
    mark_segment(&t);
    flip_all(&o, &t, true, false);
    end(&o);
}

DS_TEST_TIMEOUT(slog_flips__of_a_segment_that_was_left_open, 300)
{
    struct owner o;
    struct target t;

    begin(&o, false);
    t = read_golden("0001-0000000000000002.seg");
    mark_segment(&t);
    flip_all(&o, &t, true, true);
    end(&o);
}

DS_TEST_TIMEOUT(slog_flips__of_the_file_of_tombstones, 120)
{
    struct owner o;
    struct target t;

    begin(&o, true);
    t = read_golden("tombstones");
    mark(0, 128);
    flip_all(&o, &t, false, false);
    end(&o);
}
