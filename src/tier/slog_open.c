/* SPDX-License-Identifier: Apache-2.0 */
/* Beginning and end: the directory, its lock and identity, what was there, the last seal. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <dirent.h>

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "base/sys.h"
#include "base/sys_file.h"
#include "tier/slog_internal.h"
#include "tier/slog_ring.h"

#define IDENTITY_MAGIC 0x31444947474f4c53ull

/* The file "identity". */
struct identity {
    uint64_t magic;
    uint32_t format;
    uint32_t crc;
    uint8_t log_id[16];
    uint64_t segment_size;
    uint64_t reserved;
};
_Static_assert(sizeof(struct identity) == 48, "on disk");

struct opening {
    struct ds_slog *s;
    char *err;
    size_t err_size;
};

__attribute__((format(printf, 3, 4))) static int fail(struct opening *o, int rc, const char *format,
                                                      ...)
{
    va_list args;

    va_start(args, format);
    if (o->err_size > 0) {
        (void)vsnprintf(o->err, o->err_size, format, args);
    }
    va_end(args);
    return rc;
}

void ds_slog_notice(const struct ds_slog *s, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (s->config.notice != NULL) {
        s->config.notice(s->config.arg, text);
    }
}

void ds_slog_segment_name(char *ret, uint32_t slot, uint64_t number)
{
    (void)snprintf(ret, SLOG_NAME_MAX, "%04x-%016llx.seg", slot, (unsigned long long)number);
}

static bool parse_name(const char *name, uint32_t *ret_slot, uint64_t *ret_number)
{
    char again[SLOG_NAME_MAX];
    char *end;

    if (strlen(name) != 25) {
        return false;
    }
    *ret_slot = (uint32_t)strtoul(name, &end, 16);
    *ret_number = strtoull(name + 5, &end, 16);
    ds_slog_segment_name(again, *ret_slot & 0xffff, *ret_number);
    return strcmp(name, again) == 0 && *ret_number != 0;
}

/* Of a segment that was set aside: its number, and the LSN that was next then. */
static void aside_name(char *ret, uint64_t number, uint64_t lsn)
{
    (void)snprintf(ret, SLOG_NAME_MAX, "%016llx-%016llx.bad", (unsigned long long)number,
                   (unsigned long long)lsn);
}

static bool parse_aside(const char *name, uint64_t *ret_number, uint64_t *ret_lsn)
{
    char again[SLOG_NAME_MAX];
    char *end;

    if (strlen(name) != 37) {
        return false;
    }
    *ret_number = strtoull(name, &end, 16);
    *ret_lsn = strtoull(name + 17, &end, 16);
    aside_name(again, *ret_number, *ret_lsn);
    return strcmp(name, again) == 0;
}

/* It may come back, while a segment is set aside for good. */
bool ds_slog_disk_fails(uint32_t unread, uint32_t all)
{
    return unread > all / 2;
}

/* For good, under another name: under its own it might be read again one day, when keys have been
 * set and deleted of which nobody knew that it had them. It keeps its room in the limit. */
int ds_slog_set_aside(struct ds_slog *s, uint32_t slot, int err)
{
    struct slog_segment *g = &s->segments[slot];
    char name[SLOG_NAME_MAX];
    char aside[SLOG_NAME_MAX];
    int rc;

    ds_slog_segment_name(name, slot, g->number);
    aside_name(aside, g->number, s->next_lsn);
    ds_sys_close(g->fd);
    *g = (struct slog_segment){.fd = -1};
    s->io_errors++; /* the threads have not started */
    s->doubt_lsn = s->next_lsn;
    rc = ds_sys_renameat(s->dir, name, aside);
    rc = rc < 0 ? rc : ds_sys_fsync(s->dir);
    if (rc < 0) {
        return ds_slog_errno(rc);
    }
    ds_slog_notice(s,
                   "%s/%s cannot be read (%s): it is %s from now on, and what it held is lost. See "
                   "the system log for errors of the disk; remove the file when nobody needs it",
                   s->shown, name, strerror(err), aside);
    return 0;
}

/* What cannot be done with the directory, why, and what helps. */
static int refuse(struct opening *o, int rc, const char *what)
{
    return fail(o, ds_slog_errno(rc), "cannot %s %s: %s%s", what, o->s->shown, strerror(-rc),
                ds_sys_file_advice(-rc));
}

static int lock_directory(struct opening *o)
{
    struct ds_slog *s = o->s;
    const char *path = s->config.directory;
    char pid[24] = "";
    int rc;

    ds_sys_make_parents(path);
    rc = ds_sys_mkdirat(AT_FDCWD, path, 0700);
    if (rc < 0 && rc != -EEXIST) {
        return refuse(o, rc, "make the directory");
    }
    s->dir = ds_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (s->dir < 0) {
        return refuse(o, s->dir, "open the directory");
    }
    s->lock_fd = ds_sys_openat(s->dir, "lock", O_RDWR | O_CREAT, 0600);
    if (s->lock_fd < 0) {
        return refuse(o, s->lock_fd, "write to the directory");
    }
    rc = ds_sys_try_lock(s->lock_fd);
    if (rc < 0) {
        (void)!ds_sys_pread_some(s->lock_fd, pid, sizeof(pid) - 1, 0);
        pid[strcspn(pid, " ")] = '\0'; /* it is padded, so that a shorter one overwrites it */
        return fail(o, DS_EAGAIN, "%s is in use by process %s: end it or choose another directory",
                    s->shown, pid);
    }
    (void)snprintf(pid, sizeof(pid), "%-20ld", (long)getpid());
    (void)!ds_sys_pwrite_all(s->lock_fd, pid, strlen(pid), 0);
    return 0;
}

static uint32_t identity_crc(const struct identity *id)
{
    struct identity copy = *id;

    copy.crc = 0;
    return ds_crc32c(0, &copy, sizeof(copy));
}

static int write_identity(struct ds_slog *s)
{
    struct identity id = {
        .magic = IDENTITY_MAGIC, .format = SLOG_FORMAT, .segment_size = s->segment_size};
    int rc = ds_sys_random(s->anchor.log_id, sizeof(s->anchor.log_id));
    int fd = rc < 0 ? rc : ds_sys_openat(s->dir, "identity.new", O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (fd < 0) {
        return fd;
    }
    memcpy(id.log_id, s->anchor.log_id, sizeof(id.log_id));
    id.crc = identity_crc(&id);
    rc = ds_sys_pwrite_all(fd, &id, sizeof(id), 0);
    rc = rc < 0 ? rc : ds_sys_fsync(fd);
    rc = rc < 0 ? rc : ds_failpoint("slog.identity.before");
    rc = rc < 0 ? rc : ds_sys_renameat(s->dir, "identity.new", "identity");
    rc = rc < 0 ? rc : ds_sys_fsync(s->dir);
    ds_sys_close(fd);
    return rc;
}

/* Reads who this log is; makes it for a new directory. */
static int identify(struct opening *o, bool has_segments)
{
    struct ds_slog *s = o->s;
    struct identity id = {0};
    int fd = ds_sys_openat(s->dir, "identity", O_RDONLY, 0);
    ssize_t n;
    int rc;

    if (fd == -ENOENT && !has_segments) {
        rc = ds_sys_sync_parents(s->config.directory); /* who sees an identity takes it for done */
        rc = rc < 0 ? rc : write_identity(s);
        return rc < 0 ? refuse(o, rc, "write to the directory") : 0;
    }
    n = fd < 0 ? fd : ds_sys_pread_some(fd, &id, sizeof(id), 0);
    ds_sys_close(fd);
    if (n < 0 && n != -ENOENT) {
        return fail(o, ds_slog_errno(n),
                    "cannot read %s/identity: %s: see the system log for errors of the disk",
                    s->shown, strerror((int)-n));
    }
    if (n != sizeof(id) || id.magic != IDENTITY_MAGIC || id.crc != identity_crc(&id) ||
        id.segment_size % SLOG_BLOCK != 0 || id.segment_size < 16 * SLOG_BLOCK ||
        id.segment_size > SLOG_SEGMENT_MAX) {
        return fail(o, DS_ECORRUPT,
                    "%s/identity is missing or damaged: the segments there cannot be read; restore "
                    "it or empty the directory",
                    s->shown);
    }
    if (id.format != SLOG_FORMAT) {
        return fail(o, DS_EVERSION, "%s has format %u, this program reads %u", s->shown, id.format,
                    SLOG_FORMAT);
    }
    memcpy(s->anchor.log_id, id.log_id, sizeof(id.log_id));
    s->segment_size = id.segment_size;
    return 0;
}

/* Whether a file system takes O_DIRECT of whole blocks: by trying. */
static bool direct_works(struct ds_slog *s)
{
    uint8_t *buf = ds_sys_map_private(SLOG_BLOCK);
    int fd = ds_sys_openat(s->dir, "try", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    bool works = buf != NULL && fd >= 0 && ds_sys_pwrite_all(fd, buf, SLOG_BLOCK, 0) == 0 &&
                 ds_sys_pread_all(fd, buf, SLOG_BLOCK, 0) == 0;

    ds_sys_close(fd);
    (void)ds_sys_unlinkat(s->dir, "try");
    ds_sys_unmap(buf, SLOG_BLOCK);
    return works;
}

/* A file that is too short was cut off. Only the last one may have been in the making. */
static bool is_cut(const struct ds_slog *s, const struct slog_segment *g,
                   const struct slog_contents *c)
{
    return c->file_size < g->size && (c->records > 0 || g->number + 1 < s->next_number);
}

void ds_slog_tell_damage(struct ds_slog *s, uint32_t slot, const struct slog_contents *c)
{
    struct slog_segment *g = &s->segments[slot];
    bool cut = is_cut(s, g, c);
    char name[SLOG_NAME_MAX];

    if (g->told || (c->damaged == 0 && !cut)) {
        return;
    }
    g->told = true;
    s->corrupt_read += c->damaged + cut;
    ds_slog_segment_name(name, slot, g->number);
    ds_slog_notice(s,
                   "%s/%s is damaged: %llu places in it do not verify, and it has %llu of %llu "
                   "bytes. %llu records were found, what else it held is lost: check the disk, and "
                   "what else writes there",
                   s->shown, name, (unsigned long long)c->damaged, (unsigned long long)c->file_size,
                   (unsigned long long)g->size, (unsigned long long)c->records);
}

/* A segment that a crash left open: what is sound becomes its summary. Where that cannot be
 * written, it is scanned again the next time; so is one that was cut off by more than a unit, which
 * may be taken by others. */
static int seal_found(struct ds_slog *s, uint32_t slot, uint8_t *buf, struct slog_trailer *ret,
                      bool *ret_unmade)
{
    struct slog_segment *g = &s->segments[slot];
    struct slog_file f = slog_file_of(g);
    struct slog_contents c = {.summary = {NULL, 0, 0}};
    int rc = ds_slog_scan(s, &f, buf, &c);

    if (rc == 0) {
        ds_slog_tell_damage(s, slot, &c);
        *ret = c.trailer;
        *ret_unmade = c.records == 0 && c.file_size < g->size && !is_cut(s, g, &c);
    }
    if (rc == 0 && c.summary.size > 0 && slog_units(s, g->size) <= g->units &&
        ds_sys_reserve(g->fd, 0, g->size) == 0 && ds_sys_fsync(g->fd) == 0) {
        (void)ds_failpoint("slog.recover.seal");
        (void)!ds_slog_write_summary(s, &f, ret, c.summary.data, buf);
    }
    ds_free(c.summary.data);
    return rc;
}

/* Whether it verifies; it says how large the segment was made. */
static bool read_segment_head(struct ds_slog *s, uint32_t slot, uint8_t *buf,
                              struct slog_segment_head *ret)
{
    struct slog_segment *g = &s->segments[slot];
    struct slog_anchor a = slog_anchor_of(s, g->number);
    bool sound;
    uint8_t *p;

    *ret = (struct slog_segment_head){0};
    if (ds_slog_read_range(s, g->fd, 0, sizeof(*ret), buf, &p) == 0) {
        memcpy(ret, p, sizeof(*ret));
    }
    sound = ds_slog_segment_head_check(&a, s->segment_size, ret);
    g->size = sound ? ret->segment_size : g->size; /* else what the file has */
    return sound;
}

/* Records are bound to their log, segment and place each by itself, so they are read all the same:
 * none verifies in a file that is another's. The head was synced before the first of them; one of
 * zeros without any is of a segment in the making. */
static void judge_segment_head(struct ds_slog *s, uint32_t slot, const struct slog_segment_head *h,
                               bool sound)
{
    static const struct slog_segment_head none;
    struct slog_segment *g = &s->segments[slot];
    char name[SLOG_NAME_MAX];

    if (g->number > s->newest) {
        s->newest = g->number;
        s->newest_max = sound ? h->segments_max : 0;
    }
    if (sound || (g->end == SLOG_BLOCK && memcmp(h, &none, sizeof(none)) == 0)) {
        return;
    }
    s->corrupt_read++;
    ds_slog_segment_name(name, slot, g->number);
    ds_slog_notice(s,
                   "%s/%s is damaged: its head does not verify. Records that do are used: check "
                   "the disk, and what else writes there",
                   s->shown, name);
}

/* A kill left it before it had its size. It goes at once: when there are newer ones it would be
 * taken for one that was cut off. For good, too, before there are: with it, after a loss of power,
 * they may be more than the limit allows. False: it stays, as one that holds nothing. */
static bool discard_unmade(struct ds_slog *s, uint32_t slot, const char *name)
{
    struct slog_segment *g = &s->segments[slot];

    if (ds_sys_unlinkat(s->dir, name) < 0) {
        return false;
    }
    if (ds_sys_fsync(s->dir) < 0) {
        s->io_errors++; /* as when the writer cannot sync; the threads have not started */
        s->stopped = true;
    }
    ds_sys_close(g->fd);
    s->n_used -= g->units;
    *g = (struct slog_segment){.fd = -1};
    return true;
}

/* DS_EIO: it cannot be read, with the reason in *ret_err. */
static int load_segment(struct ds_slog *s, uint32_t slot, uint8_t *buf, int *ret_err)
{
    struct slog_segment *g = &s->segments[slot];
    struct slog_anchor a = slog_anchor_of(s, g->number);
    struct slog_segment_head h;
    struct slog_trailer t;
    char name[SLOG_NAME_MAX];
    bool sound;
    bool unmade = false;
    uint8_t *p;
    int rc;

    ds_slog_segment_name(name, slot, g->number);
    g->fd = ds_sys_openat(s->dir, name, O_RDWR | (s->direct ? O_DIRECT : 0), 0);
    *ret_err = g->fd < 0 ? -g->fd : EIO;
    if (g->fd < 0) {
        return ds_slog_errno(g->fd);
    }
    sound = read_segment_head(s, slot, buf, &h);
    rc = ds_slog_read_range(s, g->fd, g->size - sizeof(t), sizeof(t), buf, &p);
    if (rc == 0) {
        memcpy(&t, p, sizeof(t));
    }
    if (rc < 0 || !ds_slog_trailer_check(&a, g->size, &t)) {
        rc = rc == DS_EIO ? rc : seal_found(s, slot, buf, &t, &unmade);
    }
    if (rc < 0) {
        ds_sys_close(g->fd);
        g->fd = -1;
        return rc;
    }
    if (unmade && discard_unmade(s, slot, name)) {
        return 0;
    }
    g->state = SEG_SEALED;
    g->end = t.data_end;
    g->summary = t.summary_size;
    g->put_lsn_min = t.put_lsn_min;
    g->lsn_max = t.lsn_max;
    g->keepers = true;
    s->next_lsn = ds_max_u64(s->next_lsn, t.lsn_max + 1);
    judge_segment_head(s, slot, &h, sound);
    return 0;
}

static int load_kept(struct opening *o)
{
    struct ds_slog *s = o->s;
    int rc = ds_slog_kept_open(s);

    return rc < 0 ? refuse(o, rc, "make or read the file 'tombstones' in") : 0;
}

/* A segment that cannot be read twice is set aside, when the LSNs of the others are known. */
static int load_all(struct opening *o, uint8_t *buf, int *errs)
{
    struct ds_slog *s = o->s;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        int rc = 0;

        if (s->segments[i].number != 0) {
            ds_slog_progress(s);
            rc = load_segment(s, i, buf, &errs[i]);
            rc = rc == DS_EIO ? load_segment(s, i, buf, &errs[i]) : rc;
        }
        if (rc < 0 && rc != DS_EIO) {
            return fail(o, rc, "cannot read segment %u of %s: %s", i, s->shown,
                        rc == DS_ENOMEM ? "out of memory" : strerror(errs[i]));
        }
    }
    return 0;
}

static bool is_unread(const struct slog_segment *g)
{
    return g->number != 0 && g->state == SEG_FREE;
}

static int set_aside_unread(struct opening *o, const int *errs)
{
    struct ds_slog *s = o->s;
    uint32_t unread = 0;
    uint32_t all = 0;
    int rc = 0;

    for (uint32_t i = 0; i < s->n_slots; i++) {
        all += s->segments[i].number != 0;
        unread += is_unread(&s->segments[i]);
    }
    if (ds_slog_disk_fails(unread, all)) {
        return fail(o, DS_EIO,
                    "%u of %u segments of %s cannot be read: see the system log for errors of the "
                    "disk, and whose files these are. If they are lost, move them away",
                    unread, all, s->shown);
    }
    for (uint32_t i = 0; rc == 0 && i < s->n_slots; i++) {
        rc = is_unread(&s->segments[i]) ? ds_slog_set_aside(s, i, errs[i]) : 0;
    }
    return rc == 0 ? 0
                   : fail(o, rc, "a segment of %s cannot be read, nor can it be renamed", s->shown);
}

static int load_segments(struct opening *o)
{
    uint8_t *buf = ds_sys_map_private(SLOG_BUFFER);
    int *errs = ds_zalloc(o->s->n_slots * sizeof(*errs), "slog errors");
    int rc = buf != NULL && errs != NULL ? 0 : fail(o, DS_ENOMEM, "out of memory");

    rc = rc < 0 ? rc : load_all(o, buf, errs);
    rc = rc < 0 ? rc : load_kept(o);
    rc = rc < 0 ? rc : set_aside_unread(o, errs);
    ds_free(errs);
    ds_sys_unmap(buf, SLOG_BUFFER);
    return rc;
}

/* What a file has, whatever it says of itself. */
static uint64_t file_size(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0
               ? (uint64_t)st.st_size
               : 0;
}

/* The newest one in a slot counts. */
static void enter_segment(struct ds_slog *s, uint32_t slot, uint64_t number, uint64_t size)
{
    struct slog_segment *g = slot < s->n_slots ? &s->segments[slot] : NULL;

    s->n_used += slog_units(s, size);
    if (g != NULL && number > g->number) {
        g->number = number;
        g->units = slog_units(s, size);
        g->size =
            ds_max_u64(ds_min_u64(size, SLOG_OWN_MAX) / SLOG_BLOCK * SLOG_BLOCK, s->segment_size);
        s->next_number = ds_max_u64(s->next_number, number + 1);
    }
}

/* What files there are. */
struct listing {
    uint32_t slots; /* that they need */
    uint32_t n, n_aside;
};

/* `fill`: with the size of segments known, what each takes is entered. */
static int list_segments(struct opening *o, bool fill, struct listing *ret)
{
    struct ds_slog *s = o->s;
    int fd = ds_sys_openat(s->dir, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;

    *ret = (struct listing){0};
    if (d == NULL) {
        ds_sys_close(fd);
        return fail(o, ds_slog_errno(fd < 0 ? fd : -ENOMEM), "cannot list %s: %s", s->shown,
                    strerror(fd < 0 ? -fd : ENOMEM));
    }
    while ((e = readdir(d)) != NULL) {
        uint32_t slot;
        uint64_t number;
        uint64_t lsn;

        if (parse_aside(e->d_name, &number, &lsn)) {
            ret->n_aside++;
            s->n_used += fill ? slog_units(s, file_size(dirfd(d), e->d_name)) : 0;
            s->doubt_lsn = ds_max_u64(s->doubt_lsn, lsn);
            s->next_number = ds_max_u64(s->next_number, number + 1);
            continue;
        }
        if (!parse_name(e->d_name, &slot, &number)) {
            continue;
        }
        ret->slots = slot + 1 > ret->slots ? slot + 1 : ret->slots;
        ret->n++;
        if (fill) {
            enter_segment(s, slot, number, file_size(dirfd(d), e->d_name));
        }
    }
    (void)closedir(d);
    return 0;
}

uint64_t ds_slog_disk_use(const char *directory)
{
    DIR *d = opendir(directory);
    uint64_t sum = 0;
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        struct stat st;
        uint32_t slot;
        uint64_t number;
        uint64_t lsn;

        if ((parse_name(e->d_name, &slot, &number) || parse_aside(e->d_name, &number, &lsn)) &&
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            sum += (uint64_t)st.st_blocks * 512;
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return sum;
}

/* Small ones are cleaned at a lower price, but values of 2 MiB are to fit in, where there is room
 * for 64 of those. */
static uint64_t choose_segment_size(const struct ds_slog_config *c)
{
    uint64_t size = ds_max_u64(c->size_limit / 128, ds_min_u64(c->size_limit / 64, 3u << 20));

    return c->segment_size != 0
               ? c->segment_size
               : ds_min_u64(ds_max_u64(size / SLOG_BLOCK * SLOG_BLOCK, 1u << 20), 256u << 20);
}

static int check_config(struct opening *o)
{
    struct ds_slog *s = o->s;
    const struct ds_slog_config *c = &s->config;
    uint64_t reserved = SLOG_SIZE_RESERVED + c->kept_size;
    uint64_t n;

    if (s->segment_size % SLOG_BLOCK != 0 || s->segment_size < 16 * SLOG_BLOCK ||
        s->segment_size > SLOG_SEGMENT_MAX) {
        return fail(o, DS_EINVAL,
                    "a segment size of %llu bytes: choose a multiple of 4096 from 64 KiB to 1 GiB",
                    (unsigned long long)s->segment_size);
    }
    n = c->size_limit > reserved ? (c->size_limit - reserved) / s->segment_size : 0;
    if (n < DS_SLOG_SEGMENTS_MIN) {
        return fail(o, DS_EINVAL,
                    "a limit of %llu bytes is too small for %s: give it at least %llu bytes",
                    (unsigned long long)c->size_limit, o->s->shown,
                    (unsigned long long)(DS_SLOG_SEGMENTS_MIN * s->segment_size + reserved));
    }
    s->segments_max = (uint32_t)ds_min_u64(n, c->files_max != 0 ? c->files_max : SLOG_SLOTS_MAX);
    if (s->segments_max < n) {
        s->config.size_limit = s->segments_max * s->segment_size + reserved;
    }
    return 0;
}

/* Each segment keeps its descriptor. A directory that has more of them than there should be is no
 * other than one above a lowered limit: it is used, and shrinks. */
static int check_files(struct opening *o, uint32_t n)
{
    const struct ds_slog_config *c = &o->s->config;

    if (c->files_max != 0 && c->files_max < DS_SLOG_SEGMENTS_MIN) {
        return fail(o, DS_EINVAL,
                    "%s needs %u open files for its segments, and can have %u: raise the limit of "
                    "open files (ulimit -Hn, LimitNOFILE=), or allow fewer clients",
                    o->s->shown, DS_SLOG_SEGMENTS_MIN, c->files_max);
    }
    if (c->files_max != 0 && c->files_max < n) {
        ds_slog_notice(o->s,
                       "%s has %u segments, and there are open files for %u: clients may find none "
                       "left until it has shrunk. Raise the limit of open files (ulimit -Hn, "
                       "LimitNOFILE=), or allow fewer clients",
                       o->s->shown, n, c->files_max);
    }
    return 0;
}

static int open_directory(struct opening *o)
{
    struct ds_slog *s = o->s;
    struct listing l;
    int rc = lock_directory(o);

    rc = rc < 0 ? rc : list_segments(o, false, &l);
    rc = rc < 0 ? rc : check_files(o, l.n);
    rc = rc < 0 ? rc : l.n == 0 ? check_config(o) : 0;
    rc = rc < 0 ? rc : identify(o, l.n > 0);
    rc = rc < 0 ? rc : check_config(o); /* with the segment size that the directory has */
    if (rc < 0) {
        return rc;
    }
    s->n_used = l.n + l.n_aside; /* each is one at least */
    s->gc_max = ds_slog_gc_max(s, SLOG_SLOTS_MAX);
    s->n_slots = l.slots > s->gc_max ? l.slots : s->gc_max;
    s->segments = ds_zalloc(s->n_slots * sizeof(*s->segments), "slog segments");
    if (s->segments == NULL) {
        return fail(o, DS_ENOMEM, "out of memory");
    }
    for (uint32_t i = 0; i < s->n_slots; i++) {
        s->segments[i].fd = -1;
    }
    if (l.n_aside > 0) {
        ds_slog_notice(s,
                       "%u segments that could not be read lie in %s as *.bad and count in its "
                       "limit: remove them when nobody needs them",
                       l.n_aside, s->shown);
    }
    s->direct = s->config.direct && direct_works(s);
    s->n_used = 0;
    rc = list_segments(o, true, &l);
    s->gc_max = ds_slog_gc_max(s, SLOG_SLOTS_MAX); /* until ds_slog_make_gc_room() */
    s->next_lsn = ds_max_u64(s->next_lsn, s->doubt_lsn);
    return rc < 0 ? rc : load_segments(o);
}

static void destroy(struct ds_slog *s)
{
    for (uint32_t i = 0; s->segments != NULL && i < s->n_slots; i++) {
        ds_sys_close(s->segments[i].fd);
    }
    ds_slog_kept_close(s);
    ds_sys_close(s->event_fd);
    ds_sys_close(s->lock_fd);
    ds_sys_close(s->dir);
    ds_free(s->segments);
    ds_free(s->adopted);
    ds_free(s);
}

int ds_slog_open(const struct ds_slog_config *config, char *err, size_t err_size,
                 struct ds_slog **ret)
{
    struct ds_slog *s = ds_zalloc(sizeof(*s), "slog");
    struct opening o = {s, err, err_size};
    int rc;

    if (s == NULL) {
        return fail(&o, DS_ENOMEM, "out of memory");
    }
    s->config = *config;
    s->shown = ds_sys_show_path(config->directory, s->shown_buf);
    s->segment_size = choose_segment_size(config);
    s->dir = s->lock_fd = s->kept.fd = -1;
    s->next_lsn = s->next_number = 1;
    for (int i = 0; i < STREAMS; i++) {
        s->open[i] = s->streams[i].file.fd = -1;
    }
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = s->event_fd < 0 ? fail(&o, DS_ENOSPACE, "no descriptors left: raise the limit (ulimit -n)")
                         : open_directory(&o);
    rc = rc < 0 ? rc : ds_slog_threads_init(s);
    if (rc < 0) {
        destroy(s);
        return rc;
    }
    s->counts_names = !ds_slog_is_nameless(s->dir) && !ds_slog_is_nameless(s->lock_fd);
    s->ring = config->try_uring ? ds_slog_ring_open(s->event_fd, s->lock_fd) : NULL;
    *ret = s;
    return 0;
}

static void free_ops(struct slog_ops *ops)
{
    struct slog_op *op;

    while ((op = slog_pop(ops)) != NULL) {
        ds_free(op->summary);
        ds_free(op);
    }
}

struct ds_slog *ds_slog_close(struct ds_slog *s, bool clean)
{
    if (s == NULL) {
        return NULL;
    }
    ds_slog_place_late(s);
    for (int i = 0; clean && i < STREAMS; i++) {
        struct slog_op *op = s->open[i] >= 0 ? ds_slog_op_new(OP_SEAL, NULL, 0) : NULL;

        if (op != NULL) {
            op->stream = (uint8_t)i;
            op->slot = (uint32_t)s->open[i];
            op->number = s->segments[op->slot].number;
            slog_push(&s->to_write, op);
        }
    }
    ds_slog_flush(s);
    free_ops(&s->late);
    ds_slog_ring_close(s->ring, &s->ready);
    ds_slog_threads_stop(s);
    free_ops(&s->ready);
    free_ops(&s->done);
    free_ops(&s->to_write);
    free_ops(&s->to_read);
    free_ops(&s->read_queue);
    ds_free(s->gc.summary);
    ds_slog_writer_fini(s);
    destroy(s);
    return NULL;
}
