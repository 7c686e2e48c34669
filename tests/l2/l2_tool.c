/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2_tool.c - one or several calls of tier/l2.h, for tests in Python.
 *
 * Usage: l2_tool NAME=VALUE ... COMMAND [ARGUMENT ...] [-- COMMAND ...]
 *     dir endpoint bucket prefix region access secret token credentials ca part parallel attempts
 *     timeout_ms deadline_ms style=virtual unfinished_s sign=always|never
 *     put KEY VERSION SIZE SEED   putfile KEY VERSION FILE   expire KEY VERSION UNIX_NS
 *     renew KEY VERSION SIZE SEED: put over the version before it only
 *     get KEY FILE|-   head KEY   remove KEY VERSION   list   gc AGE_S   bench N SIZE BATCH
 * Prints one line of JSON per command; exit status 0 if all went well, else 1.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/sys_file.h"
#include "tier/l2.h"

struct tool {
    struct ds_l2_config config;
    struct ds_l2 *l2;
    int64_t deadline_ms;
};

static const char *option(const char *arg, const char *name)
{
    size_t n = strlen(name);

    return strncmp(arg, name, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

static bool take_option(struct tool *t, const char *arg)
{
    struct ds_l2_s3_config *s3 = &t->config.s3;
    const struct {
        const char *name;
        const char **at;
    } texts[] = {{"dir", &t->config.directory}, {"endpoint", &s3->endpoint},
                 {"bucket", &s3->bucket},       {"prefix", &s3->prefix},
                 {"region", &s3->region},       {"access", &s3->access_key},
                 {"secret", &s3->secret_key},   {"token", &s3->session_token},
                 {"ca", &s3->ca_file},          {"credentials", &s3->credentials_file}};
    const char *v;

    for (size_t i = 0; i < DS_ARRAY_SIZE(texts); i++) {
        v = option(arg, texts[i].name);
        if (v != NULL) {
            *texts[i].at = v;
            return true;
        }
    }
    if ((v = option(arg, "part")) != NULL) {
        s3->part_size = strtoull(v, NULL, 10);
    } else if ((v = option(arg, "parallel")) != NULL) {
        s3->parallel = (unsigned)strtoul(v, NULL, 10);
    } else if ((v = option(arg, "attempts")) != NULL) {
        s3->attempts = (unsigned)strtoul(v, NULL, 10);
    } else if ((v = option(arg, "timeout_ms")) != NULL) {
        s3->request_timeout_ms = strtoll(v, NULL, 10);
    } else if ((v = option(arg, "deadline_ms")) != NULL) {
        t->deadline_ms = strtoll(v, NULL, 10);
    } else if ((v = option(arg, "unfinished_s")) != NULL) {
        s3->unfinished_age_ns = strtoll(v, NULL, 10) * 1000000000;
    } else if ((v = option(arg, "sign")) != NULL) {
        s3->sign_payload = strcmp(v, "always") == 0  ? DS_L2_S3_SIGN_ALWAYS
                           : strcmp(v, "never") == 0 ? DS_L2_S3_SIGN_NEVER
                                                     : DS_L2_S3_SIGN_AUTO;
    } else if (option(arg, "style") != NULL) {
        s3->virtual_host = strcmp(option(arg, "style"), "virtual") == 0;
    } else {
        return false;
    }
    return true;
}

static int64_t begun_ns; /* of the command that runs */

static int report(const char *command, int rc, const struct ds_l2_call *call, const char *more)
{
    char err[2 * DS_L2_ERROR_SIZE];
    int64_t now = ds_monotonic_ns();
    int64_t moved_ns = atomic_load(&call->moved_ns);
    size_t n = 0;

    for (const char *p = rc < 0 ? call->err : ""; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            err[n++] = '\\';
        }
        err[n++] = *p;
    }
    err[n] = '\0';
    printf("{\"command\": \"%s\", \"rc\": %d, \"retries\": %u, \"err\": \"%s\", \"answered\": %s, "
           "\"still\": %.6f, \"took\": %.6f%s}\n",
           command, -rc, call->retries, err, call->answered ? "true" : "false",
           (double)(now - (moved_ns > 0 ? moved_ns : begun_ns)) / 1e9,
           (double)(now - begun_ns) / 1e9, more);
    (void)fflush(stdout);
    return rc;
}

static void fill(uint8_t *p, uint64_t size, uint64_t seed)
{
    for (uint64_t i = 0; i < size; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(seed >> 33);
    }
}

/* SIZE and SEED, FILE or neither; through a memfd, as the worker does. */
static int put(struct tool *t, struct ds_l2_call *call, char **arg, const char *command)
{
    struct ds_l2_item item = {.key = arg[0],
                              .key_size = (uint32_t)strlen(arg[0]),
                              .meta = {.version = strtoull(arg[1], NULL, 10)},
                              .renews = strcmp(command, "renew") == 0};
    int fd = memfd_create("value", MFD_CLOEXEC);
    int rc;

    if (strcmp(command, "put") == 0 || item.renews) {
        uint8_t *p;

        item.meta.size = strtoull(arg[2], NULL, 10);
        p = malloc(item.meta.size + 1);
        fill(p, item.meta.size, strtoull(arg[3], NULL, 10));
        (void)!ds_sys_pwrite_all(fd, p, item.meta.size, 0);
        free(p);
    } else if (strcmp(command, "putfile") == 0) {
        int from = open(arg[2], O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (from < 0 || fstat(from, &st) < 0) {
            perror(arg[2]);
            exit(2);
        }
        item.meta.size = (uint64_t)st.st_size;
        close(fd);
        fd = from;
    } else {
        item.meta.expiry_unix_ns = strtoll(arg[2], NULL, 10);
    }
    item.value = (struct ds_l2_span){.fd = fd};
    rc = ds_l2_put(t->l2, call, &item);
    close(fd);
    return report(command, rc, call, "");
}

static int make_room(void *arg, const struct ds_l2_meta *meta, struct ds_l2_span *ret)
{
    (void)meta;
    *ret = (struct ds_l2_span){.fd = *(int *)arg};
    return 0;
}

static void meta_text(const struct ds_l2_meta *m, char *buf, size_t size)
{
    (void)snprintf(buf, size,
                   ", \"version\": %" PRIu64 ", \"size\": %" PRIu64 ", \"flags\": %u, "
                   "\"expiry\": %" PRId64 ", \"mode\": %u, \"kind\": %u",
                   m->version, m->size, m->flags, m->expiry_unix_ns, m->mode, m->kind);
}

static int get(struct tool *t, struct ds_l2_call *call, char **arg, bool value)
{
    struct ds_l2_meta meta = {0};
    char more[256] = "";
    uint32_t size = (uint32_t)strlen(arg[0]);
    int fd = -1;
    int rc;

    if (value) {
        fd = strcmp(arg[1], "-") == 0 ? memfd_create("value", MFD_CLOEXEC)
                                      : open(arg[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        rc = ds_l2_get(t->l2, call, arg[0], size, make_room, &fd, &meta);
        close(fd);
    } else {
        rc = ds_l2_head(t->l2, call, arg[0], size, false, &meta);
    }
    if (rc == 0) {
        meta_text(&meta, more, sizeof(more));
    }
    return report(value ? "get" : "head", rc, call, more);
}

static int print_entry(void *arg, const struct ds_l2_entry *e)
{
    char more[256] = "";

    (void)arg;
    meta_text(&e->meta, more, sizeof(more));
    printf("{\"name\": \"%s\", \"status\": %d, \"key\": \"%.*s\", \"stored\": %" PRIu64 "%s}\n",
           e->name, -e->status, e->status == 0 ? (int)e->key_size : 0,
           e->status == 0 ? (const char *)e->key : "", e->stored_size, more);
    return 0;
}

static int gc(struct tool *t, struct ds_l2_call *call, char **arg)
{
    int64_t age_ns = strtoll(arg[0], NULL, 10) * 1000000000;
    struct ds_l2_gc g = {.tombstone_age_ns = age_ns, .unfinished_age_ns = age_ns};
    char more[256];
    int rc = ds_l2_gc(t->l2, call, &g);

    (void)snprintf(more, sizeof(more),
                   ", \"tombstones\": %" PRIu64 ", \"expired\": %" PRIu64
                   ", \"unfinished\": %" PRIu64 ", \"superseded\": %" PRIu64
                   ", \"objects\": %" PRIu64 ", \"gone\": %" PRIu64 ", \"corrupt\": %" PRIu64
                   ", \"whole\": %s",
                   g.tombstones, g.expired, g.unfinished, g.superseded, g.objects, g.gone,
                   g.corrupt, g.whole ? "true" : "false");
    return report("gc", rc, call, more);
}

/* N puts of SIZE bytes in batches of BATCH; prints seconds. */
static int bench(struct tool *t, struct ds_l2_call *call, char **arg)
{
    size_t n = strtoull(arg[0], NULL, 10);
    uint64_t size = strtoull(arg[1], NULL, 10);
    size_t batch = strtoull(arg[2], NULL, 10);
    struct ds_l2_item *items = calloc(n, sizeof(*items));
    char(*keys)[32] = calloc(n, sizeof(*keys));
    int *rcs = calloc(n, sizeof(*rcs));
    uint8_t *value = malloc(size + 1);
    int64_t begin;
    char more[64];
    int rc = 0;

    fill(value, size, 1);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "bench-%zu", i);
        items[i] = (struct ds_l2_item){.key = keys[i],
                                       .key_size = (uint32_t)strlen(keys[i]),
                                       .meta = {.version = 1, .size = size},
                                       .value = {.fd = -1, .memory = value}};
    }
    begin = ds_monotonic_ns();
    for (size_t i = 0; i < n; i += batch) {
        ds_l2_put_many(t->l2, call, items + i, n - i < batch ? n - i : batch, rcs + i);
    }
    (void)snprintf(more, sizeof(more), ", \"seconds\": %.6f",
                   (double)(ds_monotonic_ns() - begin) / 1e9);
    for (size_t i = 0; i < n; i++) {
        rc = rcs[i] < 0 ? rcs[i] : rc;
    }
    free(items);
    free(keys);
    free(rcs);
    free(value);
    return report("bench", rc, call, more);
}

static int run(struct tool *t, char **arg)
{
    const char *c = arg[0];
    struct ds_l2_call call = {0};

    begun_ns = ds_monotonic_ns();
    if (t->deadline_ms > 0) {
        call.deadline_ns = ds_monotonic_ns() + t->deadline_ms * 1000000;
    }
    if (strcmp(c, "put") == 0 || strcmp(c, "putfile") == 0 || strcmp(c, "expire") == 0 ||
        strcmp(c, "renew") == 0) {
        return put(t, &call, arg + 1, c);
    } else if (strcmp(c, "get") == 0 || strcmp(c, "head") == 0) {
        return get(t, &call, arg + 1, c[0] == 'g');
    } else if (strcmp(c, "remove") == 0) {
        return report(c,
                      ds_l2_remove(t->l2, &call, arg[1], (uint32_t)strlen(arg[1]),
                                   strtoull(arg[2], NULL, 10)),
                      &call, "");
    } else if (strcmp(c, "list") == 0) {
        return report(c, ds_l2_list(t->l2, &call, print_entry, NULL), &call, "");
    } else if (strcmp(c, "gc") == 0) {
        return gc(t, &call, arg + 1);
    } else if (strcmp(c, "bench") == 0) {
        return bench(t, &call, arg + 1);
    }
    fprintf(stderr, "l2_tool: no command %s\n", c);
    exit(2);
}

int main(int argc, char **argv)
{
    struct tool t = {.deadline_ms = 0};
    char err[DS_L2_ERROR_SIZE];
    struct ds_l2_call call = {0};
    int i = 1;
    int status = 0;
    int rc;

    while (i < argc && take_option(&t, argv[i])) {
        i++;
    }
    t.config.type = t.config.directory != NULL ? DS_L2_DIR : DS_L2_S3;
    rc = ds_l2_open(&t.config, err, sizeof(err), &t.l2);
    if (rc < 0) {
        (void)ds_l2_fail(&call, rc, "%s", err);
        (void)report("open", rc, &call, "");
        return 1;
    }
    while (i < argc) {
        int end = i;

        while (end < argc && strcmp(argv[end], "--") != 0) {
            end++;
        }
        status |= run(&t, argv + i) < 0;
        i = end + 1;
    }
    ds_l2_close(t.l2);
    if (ds_alloc_live() != 0) {
        fprintf(stderr, "l2_tool: %" PRIu64 " blocks are not freed\n", ds_alloc_live());
        return 3;
    }
    return status;
}
