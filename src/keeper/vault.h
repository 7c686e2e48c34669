/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vault.h - the descriptors that the keeper holds for workers to come: name -> one or two of them.
 *
 * Ownership: the vault owns what it holds. Threads: one. Errors: DS_ENOMEM.
 */
#ifndef DS_KEEPER_VAULT_H
#define DS_KEEPER_VAULT_H

#include "wire/keeper_link.h"

struct ds_vault_entry {
    char name[DS_LINK_NAME_MAX];
    int fds[DS_LINK_FDS_MAX];
    size_t n_fds;
};

struct ds_vault {
    struct ds_vault_entry *entry;
    size_t n;
    size_t capacity;
};

/* Takes the descriptors over, also on failure; replaces an entry of the same name. */
DS_MUST_USE int ds_vault_put(struct ds_vault *v, const char *name, const int *fds, size_t n_fds);
void ds_vault_drop(struct ds_vault *v, const char *name); /* a missing one is a no-op */
const struct ds_vault_entry *ds_vault_find(const struct ds_vault *v, const char *name);

/* Sends all entries over a link. */
DS_MUST_USE int ds_vault_send(const struct ds_vault *v, int sock, enum ds_link_type type);
void ds_vault_fini(struct ds_vault *v);

#endif
