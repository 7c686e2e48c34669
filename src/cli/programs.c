/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/programs.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

/* The directory of this very program, "" if it cannot be found. */
static void own_dir(char *buf, size_t size)
{
    if (ds_sys_program_dir(buf, size) < 0) {
        buf[0] = '\0';
    }
}

int ds_program_check(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || access(path, X_OK) < 0) {
        return -errno;
    }
    return S_ISREG(st.st_mode) ? 0 : -EISDIR;
}

int ds_program_find(const char *name, char *buf, size_t size)
{
    const char *given = getenv("DS_BIN_DIR");
    char dir[PATH_MAX];
    char path[PATH_MAX + 32];
    int rc;

    if (given != NULL && given[0] != '\0' && realpath(given, dir) == NULL) {
        (void)snprintf(buf, size, "DS_BIN_DIR=%.200s: %s", given, strerror(errno));
        return DS_EIO;
    }
    if (given == NULL || given[0] == '\0') {
        own_dir(dir, sizeof(dir));
    }
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    rc = ds_program_check(path);
    if (rc < 0) {
        (void)snprintf(buf, size, "cannot run %s: %s", path, strerror(-rc));
        return DS_EIO;
    }
    (void)snprintf(buf, size, "%s", path);
    return 0;
}

bool ds_program_in_path(const char *name)
{
    const char *path = getenv("PATH");

    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");
        char full[PATH_MAX];
        int n = snprintf(full, sizeof(full), "%.*s/%s", (int)(len < INT_MAX ? len : 0), path, name);

        if (n > 0 && (size_t)n < sizeof(full) && ds_program_check(full) == 0) {
            return true;
        }
        path += len + (path[len] == ':');
    }
    return false;
}
