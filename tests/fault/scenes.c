/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenes.c - one client's life in unusual circumstances. Each scene prints what it waits for; the
 * test then does its part and writes a line.
 *
 * fault_scenes fork dies|releases|closes   views in a forked child
 * fault_scenes closed                      views of a closed handle
 * fault_scenes unplugged free|reused|copied    the application closes the session's socket; another
 *                                          file gets its number; a copy of it stays open
 * fault_scenes impatient                   short timeouts while the worker is away
 * fault_scenes late                        gives up what the worker does later
 * fault_scenes reopen MS                   opens within so long, then again: one session is there
 * fault_scenes restart                     the node is stopped and started under a client
 * fault_scenes session                     opens, uses and ends handles, with and without goodbye
 * fault_scenes fill MIB                    writes and reads so much
 * fault_scenes through MIB                 the same in one value, through to second-level storage
 * fault_scenes as UID                      opens as another user, prints the result's name
 * fault_scenes ttl-set KEY MS, ttl-watch KEY    expiry to the millisecond, on the wall clock
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

#define VIEWS 8u
#define SIZE 20000u

struct outcome {
    _Atomic uint64_t violations;
    _Atomic uint64_t checks;
    _Atomic bool child_done;
};

static struct outcome *outcome;
static uint8_t buf[SIZE];

static void tell(const char *line)
{
    (void)printf("%s\n", line);
    (void)fflush(stdout);
}

static void wait_for_line(void)
{
    char line[16];

    if (fgets(line, sizeof(line), stdin) == NULL) {
        fatal("the test went away");
    }
}

static void view_key(char *to, size_t size, unsigned i)
{
    (void)snprintf(to, size, "view%u", i);
}

static void set_views(struct ds_client *c)
{
    for (unsigned i = 0; i < VIEWS; i++) {
        char key[16];

        view_key(key, sizeof(key), i);
        value_fill(buf, SIZE, key, 7, i + 1);
        if (ds_kv_set(c, key, strlen(key), buf, SIZE, NULL) != 0) {
            fatal("set of %s", key);
        }
    }
}

static void get_views(struct ds_client *c, struct ds_view *views)
{
    for (unsigned i = 0; i < VIEWS; i++) {
        char key[16];

        view_key(key, sizeof(key), i);
        if (ds_kv_get(c, key, strlen(key), 1000, &views[i]) != 0) {
            fatal("get of %s", key);
        }
    }
}

static void check_views(const struct ds_view *views, const char *whose)
{
    for (unsigned i = 0; i < VIEWS; i++) {
        uint64_t writer = 0;
        uint64_t seq = 0;
        const char *wrong;
        char key[16];

        view_key(key, sizeof(key), i);
        wrong = value_check(views[i].data, views[i].size, key, &writer, &seq);
        if (wrong != NULL || seq != i + 1) {
            violation(&outcome->violations, "%s view of %s is %s", whose, key,
                      wrong != NULL ? wrong : "another value");
        }
        atomic_fetch_add(&outcome->checks, 1);
    }
}

/* Deletes the viewed objects and writes their blocks full of other things, again and again. */
static void churn(struct ds_client *c, unsigned ms)
{
    int64_t end = now_ns() + ms * INT64_C(1000000);
    uint64_t rng = 1;

    for (unsigned i = 0; i < VIEWS; i++) {
        char key[16];
        struct ds_bytes k;

        view_key(key, sizeof(key), i);
        k = bytes_of(key);
        (void)!ds_kv_delete(c, &k, 1, NULL);
    }
    while (now_ns() < end) {
        unsigned i = (unsigned)random_below(&rng, 400);
        char key[16];
        struct ds_bytes k;
        int rc;

        (void)snprintf(key, sizeof(key), "churn%u", i);
        k = bytes_of(key);
        value_fill(buf, SIZE, key, 8, i + 1);
        rc = ds_kv_set(c, key, strlen(key), buf, SIZE, NULL);
        if (rc != 0 && rc != DS_ENOMEM) {
            violation(&outcome->violations, "set of %s: %s", key, ds_error_name(rc));
        }
        if (random_below(&rng, 2) == 0 || rc == DS_ENOMEM) {
            (void)!ds_kv_delete(c, &k, 1, NULL);
        }
    }
    for (unsigned i = 0; i < 400; i++) {
        char key[16];
        struct ds_bytes k;

        (void)snprintf(key, sizeof(key), "churn%u", i);
        k = bytes_of(key);
        (void)!ds_kv_delete(c, &k, 1, NULL);
    }
}

static void check_settled(struct ds_client *c, const struct ds_worker_stats *base)
{
    struct ds_worker_stats st;

    if (!settle_stats(c, base->sessions, &st)) {
        violation(&outcome->violations, "%lu sessions left of %lu, %lu bytes doomed",
                  (unsigned long)st.sessions, (unsigned long)base->sessions,
                  (unsigned long)st.memory_doomed);
    }
    if (st.objects != base->objects || st.memory_live != base->memory_live) {
        violation(&outcome->violations, "%lu objects, %lu bytes are left",
                  (unsigned long)(st.objects - base->objects),
                  (unsigned long)(st.memory_live - base->memory_live));
    }
}

/* --- fork --- */

__attribute__((noreturn)) static void fork_parent(const char *what)
{
    struct ds_client *c = must_open(9000);
    struct ds_view views[VIEWS];
    pid_t pid;

    get_views(c, views);
    pid = fork();
    if (pid == 0) {
        int64_t end = now_ns() + INT64_C(2500000000);

        while (now_ns() < end) {
            check_views(views, "the child's");
            pause_us(3000);
        }
        ds_view_release_many(views, VIEWS);
        atomic_store(&outcome->child_done, true);
        _exit(0);
    }
    pause_us(50000);
    check_views(views, "the parent's");
    if (strcmp(what, "dies") == 0) {
        (void)raise(SIGKILL);
    }
    ds_view_release_many(views, VIEWS);
    if (strcmp(what, "closes") == 0) {
        ds_client_close(c);
    }
    (void)waitpid(pid, NULL, 0);
    if (strcmp(what, "closes") != 0) {
        ds_client_close(c);
    }
    _exit(0);
}

static void scene_fork(const char *what)
{
    struct ds_client *c = must_open(9000);
    struct ds_worker_stats base = must_stats(c);
    int64_t end;
    pid_t pid;

    set_views(c);
    pid = fork();
    if (pid == 0) {
        fork_parent(what);
    }
    pause_us(200000);
    tell("churning");
    churn(c, 2000);
    end = now_ns() + INT64_C(10000000000);
    while (!atomic_load(&outcome->child_done) && now_ns() < end) {
        pause_us(10000);
    }
    if (!atomic_load(&outcome->child_done)) {
        violation(&outcome->violations, "the child did not come to its end");
    }
    (void)waitpid(pid, NULL, 0);
    check_settled(c, &base);
    ds_client_close(c);
}

/* --- closed, impatient, restart --- */

static void scene_closed(void)
{
    struct ds_client *c = must_open(9000);
    struct ds_client *other = must_open(9000);
    struct ds_worker_stats base;
    struct ds_view views[VIEWS];

    base = must_stats(c);
    base.sessions--;
    set_views(c);
    get_views(other, views);
    ds_client_close(other);
    tell("churning");
    churn(c, 1500);
    check_views(views, "a closed client's");
    ds_view_release_many(views, VIEWS);
    check_settled(c, &base);
    ds_client_close(c);
}

/* The socket of the only session that does not use `not_this`; -1 while that one has none. */
static int session_socket(int not_this)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr peer;
        socklen_t size = sizeof(peer);

        if (fd != not_this && getpeername(fd, &peer, &size) == 0 && peer.sa_family == AF_UNIX) {
            return fd;
        }
    }
    return -1;
}

static void check_works(struct ds_client *c)
{
    struct ds_view view;
    int rc = ds_kv_set(c, "again", 5, "value", 5, NULL);

    if (rc != 0) {
        violation(&outcome->violations, "set: %s", ds_error_name(rc));
    }
    rc = ds_kv_get(c, "again", 5, 1000, &view);
    if (rc != 0) {
        violation(&outcome->violations, "get: %s", ds_error_name(rc));
    } else {
        ds_view_release(&view);
    }
    rc = ds_kv_get(c, "absent", 6, 60, &view); /* long enough to ask whether the worker is there */
    if (rc != DS_ENOTFOUND) {
        violation(&outcome->violations, "get of what is absent: %s", ds_error_name(rc));
    }
}

static void scene_unplugged(const char *how)
{
    bool reused = strcmp(how, "reused") == 0;
    bool copied = strcmp(how, "copied") == 0;
    struct ds_bytes key = bytes_of("referenced");
    uint64_t refs = 0;
    struct ds_client *c = must_open(9000);
    int others = session_socket(-1);
    struct ds_client *mine = must_open(9000);
    struct ds_view views[VIEWS];
    struct stat before = {0};
    struct stat after = {0};
    int fd = session_socket(others);

    set_views(c);
    get_views(mine, views);
    if (ds_object_ref(mine, &key, 1, NULL) != 0 || (copied && dup(fd) < 0)) {
        fatal("no reference, or no copy of the socket");
    }
    (void)close(fd);
    if (reused && (memfd_create("the application's", 0) != fd || fstat(fd, &before) != 0)) {
        fatal("the number is not given out again");
    }
    churn(c, 1500);
    check_views(views, "an unplugged client's");
    for (int i = 0; i < 10; i++) { /* then without a moment for the worker to see it */
        check_works(mine);
        if (!copied) {
            (void)close(session_socket(others));
        }
    }
    check_works(mine);
    churn(c, 500);
    check_views(views, "an unplugged client's");
    ds_view_release_many(views, VIEWS);
    /* The worker saw no end of it: then it is the same session that goes on. */
    if (ds_object_ref_count(c, "referenced", 10, &refs) != 0 || refs != copied) {
        violation(&outcome->violations, "%lu references", (unsigned long)refs);
    }
    ds_client_close(mine);
    if (reused && (fstat(fd, &after) != 0 || after.st_ino != before.st_ino || after.st_size != 0)) {
        violation(&outcome->violations, "the application's file is gone, or written to");
    }
    check_works(c);
    ds_client_close(c);
}

static void scene_impatient(void)
{
    struct ds_client *c = must_open(9000);
    struct ds_client *hasty = NULL;
    struct ds_worker_stats base = must_stats(c);
    struct ds_view views[VIEWS];
    unsigned timeouts = 0;
    int rc;

    if (try_open(500, &hasty) != 0) {
        fatal("no second client");
    }
    set_views(c);
    get_views(hasty, views);
    tell("hold");
    wait_for_line(); /* the worker is dead, the next one takes its time */
    for (int i = 0; i < 20; i++) {
        rc = ds_client_health(hasty);
        timeouts += rc == DS_ETIMEOUT;
        if (rc != 0 && rc != DS_ETIMEOUT) {
            violation(&outcome->violations, "health: %s", ds_error_name(rc));
        }
        if (rc == 0 && i > 0) {
            break;
        }
    }
    churn(c, 1000);
    check_views(views, "an impatient client's");
    ds_view_release_many(views, VIEWS);
    rc = ds_client_health(hasty);
    if (rc != 0) {
        violation(&outcome->violations, "afterwards health: %s", ds_error_name(rc));
    }
    ds_client_close(hasty);
    check_settled(c, &base);
    ds_client_close(c);
    (void)printf("timeouts %u\n", timeouts);
}

static void scene_restart(void)
{
    struct ds_client *c = must_open(3000);
    struct ds_worker_stats st;
    struct ds_view views[VIEWS];
    struct ds_view none;
    int64_t end;
    int rc;

    set_views(c);
    get_views(c, views);
    tell("hold");
    wait_for_line(); /* all is gone */
    rc = ds_client_health(c);
    (void)printf("while it is away: %s\n", ds_error_name(rc));
    if (rc == 0) {
        violation(&outcome->violations, "nobody is there, but somebody answers");
    }
    check_views(views, "a lost node's");
    tell("away");
    wait_for_line(); /* another node is there */
    end = now_ns() + INT64_C(5000000000);
    do {
        rc = ds_kv_set(c, "new", 3, "value", 5, NULL);
    } while (rc != 0 && now_ns() < end);
    if (rc != 0) {
        violation(&outcome->violations, "the handle does not work again: %s", ds_error_name(rc));
    }
    rc = ds_kv_get(c, "view0", 5, 0, &none);
    if (rc != DS_ENOTFOUND) {
        violation(&outcome->violations, "an object of the lost node: %s", ds_error_name(rc));
    }
    check_views(views, "an old");
    set_views(c);
    churn(c, 500);
    check_views(views, "an old");
    ds_view_release_many(views, VIEWS);
    rc = ds_client_stats(c, &st);
    if (rc != 0 || st.sessions != 1 || st.objects != 1) {
        violation(&outcome->violations, "%lu sessions, %lu objects", (unsigned long)st.sessions,
                  (unsigned long)st.objects);
    }
    ds_client_close(c);
}

/* The worker is stopped while a client asks for a block and a latch, and gives both up. When it
 * goes on, it finds those requests: nobody must hold anything for them. */
static void scene_late(void)
{
    struct ds_client *c = must_open(9000);
    struct ds_client *hasty = NULL;
    struct ds_worker_stats base;
    struct ds_worker_stats st;
    struct ds_bytes key = bytes_of("late");
    struct ds_buffer *b = NULL;
    struct ds_buffer *mine = NULL;
    static uint8_t big[300000];
    int64_t end;
    int rc;

    if (try_open(500, &hasty) != 0 || ds_object_put(c, "late", 4, "word", 4, NULL, NULL, 0) != 0 ||
        ds_object_get(c, &key, 1, 0, &mine, NULL) != 0 ||
        ds_object_get(hasty, &key, 1, 0, &b, NULL) != 0) {
        fatal("no object");
    }
    base = must_stats(c);
    tell("hold");
    wait_for_line(); /* the worker is stopped */
    rc = ds_kv_set(hasty, "big", 3, big, sizeof(big), NULL);
    if (rc != DS_ETIMEOUT) {
        violation(&outcome->violations, "a set without a worker: %s", ds_error_name(rc));
    }
    rc = ds_buffer_latch_write(b, 1);
    if (rc != DS_ETIMEOUT) {
        violation(&outcome->violations, "a latch without a worker: %s", ds_error_name(rc));
    }
    tell("gave up");
    wait_for_line(); /* it goes on */
    for (int i = 0; i < 3; i++) {
        (void)must_stats(c); /* passes: it has seen and executed what was posted */
    }
    rc = ds_buffer_latch_write(mine, 3000);
    if (rc != 0) {
        violation(&outcome->violations, "the latch is not free: %s", ds_error_name(rc));
    } else {
        (void)!ds_buffer_unlatch_write(mine);
    }
    end = now_ns() + INT64_C(3000000000);
    do {
        pause_us(1000);
        st = must_stats(c);
    } while (st.memory_granted != base.memory_granted && now_ns() < end);
    if (st.memory_granted != base.memory_granted) {
        violation(&outcome->violations, "%lu bytes stay lent",
                  (unsigned long)(st.memory_granted - base.memory_granted));
    }
    ds_buffer_free(b);
    ds_buffer_free(mine);
    ds_client_close(hasty);
    ds_client_close(c);
}

static void scene_reopen(int timeout_ms)
{
    struct ds_client *c = NULL;
    struct ds_worker_stats st;
    int rc = try_open_within(timeout_ms, 9000, &c);

    (void)printf("opened: %s\n", ds_error_name(rc));
    if (rc != 0) {
        c = must_open(9000);
    }
    if (!settle_stats(c, 1, &st)) {
        violation(&outcome->violations, "%lu sessions for one client", (unsigned long)st.sessions);
    }
    ds_client_close(c);
}

static void scene_session(void)
{
    for (int i = 0; i < 6; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            struct ds_client *c = must_open(9000);

            set_views(c);
            if (i % 2 == 0) {
                ds_client_close(c);
            }
            _exit(0);
        }
        (void)waitpid(pid, NULL, 0);
    }
}

static void scene_fill(unsigned mib)
{
    struct ds_client *c = must_open(9000);
    const size_t size = 1 << 20;
    uint8_t *value = calloc(1, size);
    struct ds_view view;
    char key[16];

    if (value == NULL) {
        fatal("no memory");
    }
    for (unsigned i = 0; i < mib; i++) {
        int rc;

        (void)snprintf(key, sizeof(key), "fill%u", i);
        value_fill(value, size, key, 1, i);
        rc = ds_kv_set(c, key, strlen(key), value, size, NULL);
        if (rc != 0) {
            violation(&outcome->violations, "set of %s: %s", key, ds_error_name(rc));
        }
    }
    for (unsigned i = 0; i < mib; i++) {
        uint64_t writer = 0;
        uint64_t seq = 0;

        (void)snprintf(key, sizeof(key), "fill%u", i);
        if (ds_kv_get(c, key, strlen(key), 0, &view) != 0 ||
            value_check(view.data, view.size, key, &writer, &seq) != NULL || seq != i) {
            violation(&outcome->violations, "%s is not what it was", key);
        }
        ds_view_release(&view);
    }
    free(value);
    ds_client_close(c);
}

static void scene_through(size_t mib)
{
    struct ds_set_options options = {.mode = DS_WRITE_THROUGH};
    struct ds_client *c = must_open(9000);
    uint8_t *value = calloc(mib, 1 << 20);
    int rc = value != NULL ? ds_kv_set(c, "through", 7, value, mib << 20, &options) : DS_ENOMEM;

    if (rc != 0) {
        fatal("set: %s", ds_error_name(rc));
    }
    free(value);
    ds_client_close(c);
}

/* --- other users, other clocks --- */

static int scene_as(const char *uid)
{
    unsigned id = (unsigned)strtoul(uid, NULL, 10);
    struct ds_client *c = NULL;
    struct ds_view view;
    int rc;

    if (setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0) {
        fatal("cannot become user %u", id);
    }
    rc = try_open(2000, &c);
    tell(ds_error_name(rc));
    if (rc != 0) {
        return 0;
    }
    set_views(c);
    rc = ds_kv_get(c, "view1", 5, 0, &view);
    if (rc != 0) {
        violation(&outcome->violations, "get: %s", ds_error_name(rc));
    } else {
        ds_view_release(&view);
    }
    tell("hold");
    wait_for_line();
    ds_client_close(c);
    return 0;
}

static void ttl_set(const char *key, uint64_t ms)
{
    struct ds_client *c = must_open(9000);
    struct ds_set_options o = {.ttl_ms = ms};
    int64_t before = wall_ns();
    int rc = ds_kv_set(c, key, strlen(key), "x", 1, &o);

    if (rc != 0) {
        violation(&outcome->violations, "set: %s", ds_error_name(rc));
    }
    (void)printf("set between %lld %lld\n", (long long)before, (long long)wall_ns());
    ds_client_close(c);
}

static void ttl_watch(const char *key)
{
    struct ds_client *c = must_open(9000);
    int64_t seen = 0;
    int64_t end = now_ns() + INT64_C(10000000000);
    struct ds_view view;
    int rc;

    tell("watching");
    rc = ds_kv_get(c, key, strlen(key), 5000, &view);
    tell("seen"); /* from here on the worker may be stopped: hits ask nobody */
    while (rc == 0 && now_ns() < end) {
        ds_view_release(&view);
        pause_us(100);
        rc = ds_kv_try_get(c, key, strlen(key), &view);
        seen = rc == 0 ? wall_ns() : seen;
    }
    if (rc != DS_ENOTFOUND) {
        violation(&outcome->violations, "get: %s", ds_error_name(rc));
    }
    (void)printf("gone between %lld %lld\n", (long long)seen, (long long)wall_ns());
    ds_client_close(c);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    const char *arg = argc > 2 ? argv[2] : "";

    outcome = shared_memory(sizeof(*outcome));
    if (strcmp(what, "fork") == 0) {
        scene_fork(arg);
    } else if (strcmp(what, "closed") == 0) {
        scene_closed();
    } else if (strcmp(what, "unplugged") == 0) {
        scene_unplugged(arg);
    } else if (strcmp(what, "impatient") == 0) {
        scene_impatient();
    } else if (strcmp(what, "late") == 0) {
        scene_late();
    } else if (strcmp(what, "reopen") == 0) {
        scene_reopen((int)strtol(arg, NULL, 10));
    } else if (strcmp(what, "restart") == 0) {
        scene_restart();
    } else if (strcmp(what, "session") == 0) {
        scene_session();
    } else if (strcmp(what, "fill") == 0) {
        scene_fill((unsigned)strtoul(arg, NULL, 10));
    } else if (strcmp(what, "through") == 0) {
        scene_through(strtoul(arg, NULL, 10));
    } else if (strcmp(what, "as") == 0) {
        (void)scene_as(arg);
    } else if (strcmp(what, "ttl-set") == 0 && argc > 3) {
        ttl_set(arg, strtoull(argv[3], NULL, 10));
    } else if (strcmp(what, "ttl-watch") == 0) {
        ttl_watch(arg);
    } else {
        return 2;
    }
    (void)printf("checks %lu violations %lu\n", (unsigned long)atomic_load(&outcome->checks),
                 (unsigned long)atomic_load(&outcome->violations));
    return atomic_load(&outcome->violations) == 0 ? 0 : 1;
}
