/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/vault.h"

#include <string.h>

#include "base/alloc.h"
#include "base/sys.h"

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ds_sys_close(fds[i]);
    }
}

int ds_vault_put(struct ds_vault *v, const char *name, const int *fds, size_t n_fds)
{
    struct ds_vault_entry *e;

    DS_ASSERT(n_fds <= DS_LINK_FDS_MAX);
    ds_vault_drop(v, name);
    if (v->n == v->capacity) {
        size_t capacity = v->capacity == 0 ? 16 : v->capacity * 2;

        e = ds_realloc_array(v->entry, capacity, sizeof(*e), "vault");
        if (e == NULL) {
            close_all(fds, n_fds);
            return DS_ENOMEM;
        }
        v->entry = e;
        v->capacity = capacity;
    }
    e = &v->entry[v->n++];
    *e = (struct ds_vault_entry){.n_fds = n_fds};
    memcpy(e->name, name, ds_min_u64(strlen(name), sizeof(e->name) - 1));
    memcpy(e->fds, fds, n_fds * sizeof(*fds));
    return 0;
}

const struct ds_vault_entry *ds_vault_find(const struct ds_vault *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++) {
        if (strcmp(v->entry[i].name, name) == 0) {
            return &v->entry[i];
        }
    }
    return NULL;
}

void ds_vault_drop(struct ds_vault *v, const char *name)
{
    const struct ds_vault_entry *found = ds_vault_find(v, name);

    if (found != NULL) {
        size_t i = (size_t)(found - v->entry);

        close_all(found->fds, found->n_fds);
        v->n--;
        /* In order: a worker takes a ghost session after the one that its pins came from. */
        memmove(&v->entry[i], &v->entry[i + 1], (v->n - i) * sizeof(v->entry[0]));
    }
}

int ds_vault_send(const struct ds_vault *v, int sock, enum ds_link_type type)
{
    for (size_t i = 0; i < v->n; i++) {
        const struct ds_vault_entry *e = &v->entry[i];
        int rc = ds_link_send(sock, type, 0, e->name, NULL, e->fds, e->n_fds);

        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

void ds_vault_fini(struct ds_vault *v)
{
    while (v->n > 0) {
        ds_vault_drop(v, v->entry[0].name);
    }
    ds_free(v->entry);
    *v = (struct ds_vault){0};
}
