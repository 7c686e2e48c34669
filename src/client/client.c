/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - making and ending a handle, options, health, figures. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "client/internal.h"

const char *ds_version(void)
{
    return DS_VERSION;
}

#define CONNECT_TIME "DATASYSTEM_CONNECT_TIME_MS"
#define CONNECT_TIME_MIN_MS 500

static const char *from_environment(const char *name)
{
    const char *text = getenv(name);

    return text != NULL ? text : "";
}

/* 0 for what is no number: ds_client_open() refuses it. */
static int32_t default_connect_timeout(void)
{
    const char *text = from_environment(CONNECT_TIME);
    char *end;
    long v;

    if (text[0] == '\0') {
        return 9000;
    }
    v = strtol(text, &end, 10);
    return *end == '\0' && v >= 0 && v <= INT32_MAX ? (int32_t)v : 0;
}

void ds_client_options_init(struct ds_client_options *options)
{
    *options = (struct ds_client_options){
        .struct_size = sizeof(*options),
        .connect_timeout_ms = default_connect_timeout(),
    };
}

int64_t ds_client_deadline(const struct ds_client *c)
{
    return ds_monotonic_ns() + c->options.request_timeout_ms * INT64_C(1000000);
}

static int set_address(struct ds_client *c, const struct ds_client_options *o)
{
    const char *host = o->host;
    const char *port = getenv("DATASYSTEM_PORT");
    int n;

    if (host == NULL || host[0] == '\0') {
        host = getenv("DATASYSTEM_HOST");
    }
    if (host == NULL || host[0] == '\0') {
        host = "127.0.0.1";
    }
    n = snprintf(c->host, sizeof(c->host), "%s", host);
    if (n < 0 || (size_t)n >= sizeof(c->host)) {
        return DS_EINVAL;
    }
    if (c->options.port == 0 && port != NULL && port[0] != '\0') {
        char *end;
        unsigned long v = strtoul(port, &end, 10);

        if (*end != '\0' || v == 0 || v > UINT16_MAX) {
            return DS_EINVAL;
        }
        c->options.port = (uint16_t)v;
    }
    if (c->options.port == 0) {
        c->options.port = 31501;
    }
    return 0;
}

/* A tenant that nobody serves must not get everybody's keys. */
static int check_tenant(struct ds_client *c, const struct ds_client_options *o)
{
    const char *tenant = from_environment("DATASYSTEM_TENANT_ID");

    if (o->tenant_id != NULL && o->tenant_id[0] != '\0') {
        ds_reason_set(&c->why, "tenant_id '%.64s': there are no tenants yet: leave it empty",
                      o->tenant_id);
        return DS_ENOTSUPPORTED;
    }
    if (tenant[0] != '\0') {
        ds_reason_set(
            &c->why, "DATASYSTEM_TENANT_ID is '%.64s': there are no tenants yet: unset it", tenant);
        return DS_ENOTSUPPORTED;
    }
    return 0;
}

static int check_options(struct ds_client *c, const struct ds_client_options *o)
{
    int rc;

    if (o->struct_size != sizeof(*o) || o->request_timeout_ms < 0) {
        return DS_EINVAL;
    }
    if (o->connect_timeout_ms < CONNECT_TIME_MIN_MS) {
        ds_reason_set(
            &c->why, "connect_timeout_ms is %d (" CONNECT_TIME " is '%.64s'): give %d or more",
            (int)o->connect_timeout_ms, from_environment(CONNECT_TIME), CONNECT_TIME_MIN_MS);
        return DS_EINVAL;
    }
    rc = check_tenant(c, o);
    if (rc != 0) {
        return rc;
    }
    c->options = *o;
    c->options.host = NULL; /* the caller's; ours is c->host */
    c->options.tenant_id = NULL;
    c->options.ret_reason = NULL;
    if (c->options.request_timeout_ms == 0) {
        c->options.request_timeout_ms = c->options.connect_timeout_ms;
    }
    return set_address(c, o);
}

static void tell_reason(const struct ds_client_options *o, int rc, const struct ds_reason *why)
{
    if (o->struct_size == sizeof(*o) && o->ret_reason != NULL && o->reason_size > 0) {
        (void)snprintf(o->ret_reason, o->reason_size, "%s",
                       why->text[0] != '\0' ? why->text : ds_error_text(rc));
    }
}

int ds_client_open(const struct ds_client_options *options, struct ds_client **ret)
{
    struct ds_client *c;
    struct ds_link *l = NULL;
    int rc;

    if (options == NULL || ret == NULL) {
        return DS_EINVAL;
    }
    c = ds_zalloc(sizeof(*c), "client");
    if (c == NULL) {
        return DS_ENOMEM;
    }
    c->fork_generation = ds_fork_generation();
    rc = check_options(c, options);
    if (rc == 0 && pthread_mutex_init(&c->lock, NULL) != 0) {
        rc = DS_ENOMEM;
    }
    if (rc == 0) {
        rc =
            ds_link_open(c, ds_monotonic_ns() + options->connect_timeout_ms * INT64_C(1000000), &l);
    }
    if (rc != 0) {
        tell_reason(options, rc, &c->why);
        ds_free(c);
        return rc;
    }
    ds_store_release(&c->link, l);
    ds_clients_add(c);
    *ret = c;
    return 0;
}

/* A handle that was closed lives on for its views; whoever releases the last one frees it. A view's
 * pin is given back under the lock of all clients then, so that nobody frees the handle meanwhile.
 * With the lock of all clients. */
static void finish(struct ds_client *c)
{
    struct ds_link *head = atomic_load(&c->link);
    struct ds_link **at = &head;

    while (*at != NULL) {
        struct ds_link *l = *at;

        if (ds_link_pinned(l)) {
            at = &l->next;
        } else {
            *at = l->next;
            ds_link_close(l);
        }
    }
    atomic_store(&c->link, head);
    if (head == NULL) {
        ds_clients_remove(c);
        (void)pthread_mutex_destroy(&c->lock);
        ds_free(c);
    }
}

bool ds_client_forked(const struct ds_client *client)
{
    return client->fork_generation != ds_fork_generation();
}

/* They end with DS_ESHUTDOWN. */
static void end_calls(struct ds_client *client)
{
    ds_async_close(client);
    while (atomic_load(&client->busy) != 0) {
        for (struct ds_link *l = atomic_load(&client->link); l != NULL; l = l->next) {
            ds_link_wake_waiters(l);
        }
        (void)usleep(100);
    }
}

void ds_client_close(struct ds_client *client)
{
    if (client == NULL || atomic_exchange(&client->closing, true)) {
        return;
    }
    if (!ds_client_forked(client)) { /* else its threads are the parent's */
        end_calls(client);
    }
    ds_clients_lock();
    finish(client);
    ds_clients_unlock();
}

void ds_view_release(struct ds_view *view)
{
    struct ds_link *l = view->owner;
    uint32_t slot = (uint32_t)view->pin;

    *view = (struct ds_view){0};
    if (l != NULL) {
        ds_link_unpin(l, slot);
    }
}

void ds_link_unpin(struct ds_link *l, uint32_t slot)
{
    (void)ds_failpoint("client.unpinning");
    ds_pin_clear(l, slot);
    if (DS_LIKELY(!ds_load_acquire(&l->client->closing))) {
        ds_pin_give(l, slot);
        return;
    }
    ds_clients_lock();
    ds_pin_give(l, slot);
    finish(l->client);
    ds_clients_unlock();
}

int ds_view_slice(struct ds_view *view, uint64_t offset, uint64_t size)
{
    if (offset >= view->size) {
        ds_view_release(view);
        return DS_ERANGE;
    }
    view->data = (const uint8_t *)view->data + offset;
    view->size -= offset;
    if (size != 0 && size < view->size) {
        view->size = size;
    }
    return 0;
}

void ds_view_release_many(struct ds_view *views, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ds_view_release(&views[i]);
    }
}

int ds_client_health(struct ds_client *client)
{
    struct ds_worker_stats stats;

    return ds_client_stats(client, &stats);
}

static int stats_on(struct ds_link *l, int64_t deadline_ns, struct ds_worker_stats *ret)
{
    struct request r;
    int rc = ds_request_begin(&r, l, DS_OP_STATS, deadline_ns, false);

    if (rc == 0) {
        rc = ds_request_call(&r);
    }
    if (rc == 0) {
        memcpy(ret, l->slot[r.slot].result, sizeof(*ret));
        ds_request_end(&r);
    }
    return rc;
}

int ds_client_stats(struct ds_client *client, struct ds_worker_stats *ret)
{
    int64_t deadline_ns;
    int rc;

    if (ds_client_enter(client) == NULL) {
        return DS_ENOTREADY;
    }
    deadline_ns = ds_client_deadline(client);
    do {
        rc = stats_on(ds_load_acquire(&client->link), deadline_ns, ret);
    } while (rc == DS_ESTALE);
    ds_client_leave(client);
    return rc;
}
