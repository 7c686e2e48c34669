/* SPDX-License-Identifier: Apache-2.0 */
#include "tier/l2_pool_task.h"

#include <string.h>

#include "base/alloc.h"

struct room {
    const struct ds_l2_request *request;
    struct ds_l2_event *event;
    size_t inline_max;
};

static int make_room(void *arg, const struct ds_l2_meta *meta, struct ds_l2_span *ret)
{
    struct room *r = arg;
    bool own = r->request->value.fd < 0 && r->request->value.memory == NULL;

    r->event->meta = *meta;
    if (!own) {
        *ret = r->request->value;
        return meta->size == r->request->meta.size ? 0 : DS_ERANGE;
    }
    if (meta->size > r->inline_max) {
        return DS_ERANGE;
    }
    r->event->data = ds_zalloc(meta->size + 1, "l2 value"); /* + 1: also of nothing */
    if (r->event->data == NULL) {
        return DS_ENOMEM;
    }
    *ret = (struct ds_l2_span){.fd = -1, .memory = r->event->data};
    return 0;
}

/* Anything but PUT and REMOVE. */
static int run_one(const struct ds_l2_pool_config *config, struct ds_l2_call *call,
                   struct ds_l2_task *t)
{
    const struct ds_l2_request *q = &t->request;
    struct room room = {q, &t->event, config->inline_max};
    int rc;

    call->deadline_ns = q->deadline_ns;
    switch (q->op) {
    case DS_L2_POOL_GET:
        rc = ds_l2_get(config->l2, call, t->key, q->key_size, make_room, &room, &t->event.meta);
        if (rc < 0) {
            ds_free(t->event.data);
            t->event.data = NULL;
        }
        break;
    case DS_L2_POOL_HEAD:
        rc = ds_l2_head(config->l2, call, t->key, q->key_size, false, &t->event.meta);
        break;
    default:
        t->event.gc = q->gc;
        rc = ds_l2_gc(config->l2, call, &t->event.gc);
        break;
    }
    t->retries = call->retries;
    memcpy(t->event.err, call->err, sizeof(call->err));
    return rc;
}

/* The latest deadline of a batch: nobody's work is lost because of a neighbour. */
static void run_puts(const struct ds_l2_pool_config *config, struct ds_l2_call *call,
                     struct ds_l2_task *const *tasks, size_t n, int *rcs)
{
    struct ds_l2_item items[DS_L2_BATCH_MAX] = {{0}}; /* n is not 0 */

    call->deadline_ns = tasks[0]->request.deadline_ns;
    for (size_t i = 0; i < n; i++) {
        const struct ds_l2_request *q = &tasks[i]->request;

        items[i] = (struct ds_l2_item){.key = tasks[i]->key,
                                       .key_size = q->key_size,
                                       .meta = q->meta,
                                       .value = q->value,
                                       .renews = q->renews,
                                       .newer = &tasks[i]->event.newer};
        if (q->op == DS_L2_POOL_REMOVE) {
            items[i].meta =
                (struct ds_l2_meta){.version = q->meta.version, .flags = DS_L2_TOMBSTONE};
            items[i].value = (struct ds_l2_span){.fd = -1};
        }
        if (q->deadline_ns == 0 || call->deadline_ns == 0) {
            call->deadline_ns = 0;
        } else if (q->deadline_ns > call->deadline_ns) {
            call->deadline_ns = q->deadline_ns;
        }
    }
    ds_l2_put_many(config->l2, call, items, n, rcs);
    tasks[0]->retries = call->retries;
    for (size_t i = 0; i < n; i++) {
        if (rcs[i] < 0) {
            memcpy(tasks[i]->event.err, call->err, sizeof(call->err));
        }
    }
}

bool ds_l2_task_writes(const struct ds_l2_task *t)
{
    return t->request.op == DS_L2_POOL_PUT || t->request.op == DS_L2_POOL_REMOVE;
}

void ds_l2_task_run(const struct ds_l2_pool_config *config, struct ds_l2_call *call,
                    struct ds_l2_task *const *tasks, size_t n, int *rcs)
{
    if (ds_l2_task_writes(tasks[0])) {
        run_puts(config, call, tasks, n, rcs);
    } else {
        DS_ASSERT(n == 1);
        rcs[0] = run_one(config, call, tasks[0]);
    }
}
