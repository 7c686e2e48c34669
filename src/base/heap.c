/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include "base/alloc.h"

int ds_heap_push(struct ds_heap *h, int64_t time, uint64_t id, uint64_t tag)
{
    size_t i;

    if (h->n == h->capacity) {
        size_t capacity = h->capacity == 0 ? 64 : h->capacity * 2;
        struct ds_heap_item *items = ds_realloc_array(h->items, capacity, sizeof(*items), "heap");

        if (items == NULL) {
            return DS_ENOMEM;
        }
        h->items = items;
        h->capacity = capacity;
    }
    for (i = h->n++; i > 0 && h->items[(i - 1) / 2].time > time; i = (i - 1) / 2) {
        h->items[i] = h->items[(i - 1) / 2];
    }
    h->items[i] = (struct ds_heap_item){time, id, tag};
    return 0;
}

/* Puts `last` at i or below, where it belongs. */
static void sift_down(struct ds_heap *h, size_t i, struct ds_heap_item last)
{
    for (;;) {
        size_t c = 2 * i + 1;

        if (c >= h->n) {
            break;
        }
        if (c + 1 < h->n && h->items[c + 1].time < h->items[c].time) {
            c++;
        }
        if (h->items[c].time >= last.time) {
            break;
        }
        h->items[i] = h->items[c];
        i = c;
    }
    h->items[i] = last;
}

bool ds_heap_pop_due(struct ds_heap *h, int64_t now, struct ds_heap_item *ret)
{
    if (h->n == 0 || h->items[0].time > now) {
        return false;
    }
    *ret = h->items[0];
    h->n--;
    sift_down(h, 0, h->items[h->n]);
    return true;
}

void ds_heap_filter(struct ds_heap *h, bool (*keep)(void *arg, const struct ds_heap_item *item),
                    void *arg)
{
    size_t kept = 0;

    for (size_t i = 0; i < h->n; i++) {
        if (keep(arg, &h->items[i])) {
            h->items[kept++] = h->items[i];
        }
    }
    h->n = kept;
    for (size_t i = kept / 2; i-- > 0;) {
        sift_down(h, i, h->items[i]);
    }
}

int64_t ds_heap_next(const struct ds_heap *h)
{
    return h->n == 0 ? INT64_MAX : h->items[0].time;
}

void ds_heap_fini(struct ds_heap *h)
{
    ds_free(h->items);
    *h = (struct ds_heap){0};
}
