/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failing.c - a client in which the n-th allocation or system call fails, for all n.
 *
 * fault_failing POINT ERRNO      POINT: alloc, sys.* or net.*; until n is more than there are.
 *
 * fault_failing serve            the same use of the API while something fails in the worker: typed
 *                                errors at first, then none, and exact accounts.
 *
 * For each n a child arms the point, uses the whole API once, and closes. It must end by itself,
 * with typed errors only, without a descriptor, block or mapping more than before; and the worker's
 * accounts must be as before.
 */
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "fault.h"

static _Atomic uint64_t *violations;
static unsigned errors;

static unsigned count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    if (d == NULL) {
        fatal("no /proc/self/fd");
    }
    while (readdir(d) != NULL) {
        n++;
    }
    (void)closedir(d);
    return n;
}

static unsigned count_shared_maps(void)
{
    FILE *f = fopen("/proc/self/maps", "re");
    char line[512];
    unsigned n = 0;

    if (f == NULL) {
        fatal("no /proc/self/maps");
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        n += strstr(line, "memfd:ds-") != NULL;
    }
    (void)fclose(f);
    return n;
}

/* What a call may say when something under it fails once. */
static void allow(int rc, const char *what)
{
    errors += rc < 0;
    switch (rc) {
    case DS_ENOMEM:
    case DS_EIO:
    case DS_EUNAVAILABLE:
    case DS_ETIMEOUT:
    case DS_ENOTFOUND:
    case DS_ENOTINUSE:
        return;
    default:
        if (rc < 0) {
            violation(violations, "%s: %s", what, ds_error_name(rc));
        }
    }
}

static void use_keys(struct ds_client *c)
{
    struct ds_bytes keys[3] = {{"f1", 2}, {"f2", 2}, {"f3", 2}};
    struct ds_bytes values[3] = {{"one", 3}, {"two", 3}, {"three", 5}};
    struct ds_set_options absent = {.only_if_absent = true};
    struct ds_view views[3] = {{0}};
    struct ds_view view = {0};
    uint64_t sizes[3];
    uint64_t count;
    enum ds_gone why;
    bool there[3];
    char to[16];
    size_t size;

    allow(ds_kv_set(c, "f1", 2, "one", 3, NULL), "set");
    allow(ds_kv_set(c, "f1", 2, "uno", 3, NULL), "set again");
    allow(ds_kv_set(c, "f1", 2, "uno", 3, &absent), "set if absent");
    allow(ds_kv_mset(c, keys, values, 3, NULL, NULL), "mset");
    if (ds_kv_get(c, "f1", 2, 0, &view) == 0) {
        ds_view_release(&view);
    }
    allow(ds_kv_mget(c, keys, 3, 10, views, NULL), "mget");
    ds_view_release_many(views, 3);
    allow(ds_kv_get_into(c, "f3", 2, 0, to, sizeof(to), &size), "get into");
    allow(ds_kv_exist(c, keys, 3, there), "exist");
    allow(ds_kv_size(c, keys, 3, sizes, NULL), "size");
    allow(ds_kv_why(c, "f1", 2, &why, &count), "why");
    allow(ds_kv_expire(c, keys, 3, 60000, NULL), "expire");
    allow(ds_object_ref(c, keys, 3, NULL), "ref");
    allow(ds_object_ref_count(c, "f1", 2, &count), "ref count");
    allow(ds_object_unref(c, keys, 3, NULL), "unref");
}

static void use_buffers(struct ds_client *c)
{
    struct ds_bytes key = {"f4", 2};
    struct ds_buffer *b = NULL;
    struct ds_buffer *copy = NULL;

    allow(ds_kv_create(c, "f5", 2, 100, NULL, &b), "create");
    if (b != NULL) {
        (void)!ds_buffer_write(b, "x", 1);
        allow(ds_buffer_copy(b, &copy), "copy");
        ds_buffer_free(copy);
        allow(ds_kv_publish(c, &b, 1, NULL), "publish");
        ds_buffer_free(b);
        b = NULL;
    }
    allow(ds_object_put(c, "f4", 2, "object", 6, NULL, NULL, 0), "put");
    allow(ds_object_get(c, &key, 1, 0, &b, NULL), "object get");
    if (b != NULL) {
        allow(ds_buffer_latch_write(b, 100), "latch");
        allow(ds_buffer_unlatch_write(b), "unlatch");
        allow(ds_buffer_seal(b, NULL, 0), "seal");
        ds_buffer_free(b);
    }
}

static void forget_keys(struct ds_client *c)
{
    struct ds_bytes keys[5] = {{"f1", 2}, {"f2", 2}, {"f3", 2}, {"f4", 2}, {"f5", 2}};

    allow(ds_kv_delete(c, keys, 5, NULL), "delete");
}

static void use_all(void)
{
    struct ds_client *c = NULL;
    int rc = try_open(1000, &c);

    allow(rc, "open");
    if (rc != 0) {
        return;
    }
    forget_keys(c);
    use_keys(c);
    use_buffers(c);
    ds_client_close(c);
}

__attribute__((noreturn)) static void child(const char *arm)
{
    unsigned fds = count_fds();
    unsigned maps = count_shared_maps();
    uint64_t blocks = ds_alloc_live();

#ifdef DS_FAILPOINTS
    ds_failpoint_arm(arm);
    use_all();
    ds_failpoint_arm(NULL);
#else
    (void)arm;
    use_all();
#endif
    if (count_fds() != fds || count_shared_maps() != maps || ds_alloc_live() != blocks) {
        violation(violations, "%s leaves %d descriptors, %d mappings, %d blocks", arm,
                  (int)(count_fds() - fds), (int)(count_shared_maps() - maps),
                  (int)(ds_alloc_live() - blocks));
    }
    _exit(0);
}

static off_t log_size(void)
{
    const char *path = getenv("DS_FAILPOINTS_LOG");
    struct stat st;

    return path != NULL && stat(path, &st) == 0 ? st.st_size : 0;
}

/* An object whose set was acknowledged, whatever it took. */
static void set_kept(void)
{
    struct ds_client *c = NULL;
    int rc = DS_EAGAIN;

    for (unsigned i = 0; rc != 0 && i < 20; i++) {
        if (c == NULL && try_open(9000, &c) != 0) {
            continue;
        }
        rc = ds_kv_set(c, "kept", 4, "acknowledged", 12, NULL);
    }
    if (rc != 0) {
        fatal("nothing can be set: %s", ds_error_name(rc));
    }
    ds_client_close(c);
}

static void check_kept(struct ds_client *c)
{
    struct ds_bytes key = bytes_of("kept");
    struct ds_view view;
    int rc = ds_kv_get(c, "kept", 4, 0, &view);

    if (rc != 0) {
        violation(violations, "an acknowledged object is lost: %s", ds_error_name(rc));
        return;
    }
    if (view.size != 12 || memcmp(view.data, "acknowledged", 12) != 0) {
        violation(violations, "an acknowledged object has changed");
    }
    ds_view_release(&view);
    allow(ds_kv_delete(c, &key, 1, NULL), "delete");
}

/* Something in the worker fails once, and once again whenever that makes it start anew. */
static int serve(void)
{
    struct ds_worker_stats st;
    struct ds_client *c = NULL;
    unsigned rounds = 0;

    set_kept();
    do {
        errors = 0;
        use_all();
    } while (errors > 0 && ++rounds < 20);
    if (errors > 0) {
        violation(violations, "%u calls still fail", errors);
    }
    while (try_open(9000, &c) != 0 && ++rounds < 20) {
    }
    if (c == NULL) {
        fatal("nobody can connect");
    }
    check_kept(c);
    forget_keys(c);
    if (!settle_stats(c, 1, &st) || st.memory_granted != 0 || st.memory_live != 0) {
        violation(violations, "%lu sessions, %lu bytes granted, %lu live, %lu doomed",
                  (unsigned long)st.sessions, (unsigned long)st.memory_granted,
                  (unsigned long)st.memory_live, (unsigned long)st.memory_doomed);
    }
    ds_client_close(c);
    (void)printf("rounds %u\n", rounds);
    return atomic_load(violations) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct ds_client *c;
    struct ds_worker_stats base;
    unsigned n = 0;
    off_t before;

    violations = shared_memory(sizeof(*violations));
    if (argc == 2 && strcmp(argv[1], "serve") == 0) {
        return serve();
    }
    if (argc < 3) {
        return 2;
    }
    c = must_open(9000);
    base = must_stats(c);
    do {
        struct ds_worker_stats st;
        char arm[80];
        int64_t started = now_ns();
        int status;
        pid_t pid;

        before = log_size();
        (void)snprintf(arm, sizeof(arm), "%s=errno:%s@%u", argv[1], argv[2], ++n);
        pid = fork();
        if (pid == 0) {
            child(arm);
        }
        status = kill_after(pid, 20000000);
        if (status != 0) {
            violation(violations, "%s: the client ended with status %x after %ld ms", arm,
                      (unsigned)status, (long)((now_ns() - started) / 1000000));
        }
        forget_keys(c);
        if (!settle_stats(c, base.sessions, &st) || st.memory_granted != base.memory_granted ||
            st.memory_live != base.memory_live) {
            violation(violations, "%s: %lu sessions, %lu bytes granted, %lu live, %lu doomed", arm,
                      (unsigned long)st.sessions, (unsigned long)st.memory_granted,
                      (unsigned long)st.memory_live, (unsigned long)st.memory_doomed);
        }
    } while (log_size() > before && n < 500);
    ds_client_close(c);
    (void)printf("calls %u violations %lu\n", n - 1, (unsigned long)atomic_load(violations));
    return atomic_load(violations) == 0 && n > 1 ? 0 : 1;
}
