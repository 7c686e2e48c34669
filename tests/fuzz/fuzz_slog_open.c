/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the file `identity` of a directory and, behind its 48, as the one of tombstones: the
 * log opens or says what is wrong. The first byte puts magic, format and checksum right.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "tier/slog.h"

#define IDENTITY 48u
#define DATA (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool is_live(void *arg, const void *key, size_t key_size, ds_slog_at at, uint16_t *flags)
{
    (void)arg;
    (void)key;
    (void)key_size;
    (void)at;
    (void)flags;
    return false;
}

static bool moved(void *arg, const void *key, size_t key_size, ds_slog_at from, ds_slog_at to,
                  uint16_t flags, int rc)
{
    (void)arg;
    (void)key;
    (void)key_size;
    (void)from;
    (void)to;
    (void)flags;
    (void)rc;
    return false;
}

static void found(void *arg, const struct ds_slog_entry *e)
{
    (void)arg;
    (void)e;
    must(false); /* there is no segment */
}

static void write_file(int dir, const char *name, const uint8_t *data, size_t size)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)close(fd);
}

/* Magic at 0, format at 8, checksum of all with itself as 0 at 12. */
static void repair(uint8_t *identity)
{
    const uint32_t format = 1;
    uint32_t crc = 0;

    memcpy(identity, "SLOGGID1", 8);
    memcpy(identity + 8, &format, sizeof(format));
    memcpy(identity + 12, &crc, sizeof(crc));
    crc = ds_crc32c(0, identity, IDENTITY);
    memcpy(identity + 12, &crc, sizeof(crc));
}

static void remove_all(int dir, const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;

    must(d != NULL);
    while ((e = readdir(d)) != NULL) {
        (void)unlinkat(dir, e->d_name, 0);
    }
    (void)closedir(d);
    must(rmdir(path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/dev/shm/ds-fuzz-XXXXXX";
    uint8_t identity[IDENTITY] = {0};
    char err[256] = "";
    struct ds_slog *s = NULL;
    int rc;
    int dir;
    struct ds_slog_config c = {.directory = path,
                               .size_limit = UINT64_C(1) << 30,
                               .segment_size = 1 << 20,
                               .data_fd = memfd_create("fuzz", MFD_CLOEXEC),
                               .data_size = DATA,
                               .is_live = is_live,
                               .moved = moved};

    if (size == 0) {
        (void)close(c.data_fd);
        return 0;
    }
    must(mkdtemp(path) != NULL && c.data_fd >= 0 && ftruncate(c.data_fd, DATA) == 0);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(dir >= 0);
    size--;
    memcpy(identity, data + 1, size < IDENTITY ? size : IDENTITY);
    if ((data[0] & 1) != 0) {
        repair(identity);
    }
    write_file(dir, "identity", identity, (data[0] & 2) != 0 ? size % IDENTITY : IDENTITY);
    if (size > IDENTITY) {
        write_file(dir, "tombstones", data + 1 + IDENTITY, size - IDENTITY);
    }
    rc = ds_slog_open(&c, err, sizeof(err), &s);
    must(rc == 0 || (err[0] != '\0' && s == NULL));
    if (rc == 0) {
        must(ds_slog_recover(s, found, NULL) == 0);
    }
    s = ds_slog_close(s, true);
    remove_all(dir, path);
    (void)close(dir);
    (void)close(c.data_fd);
    return 0;
}
