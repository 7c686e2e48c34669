/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_replay.c - main of a fuzz target without libFuzzer: feeds it the files of a corpus folder,
 * each also cut short, and nothing at all: any compiler's build runs what fuzzing has found.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* From an exact allocation, so that a sanitizer sees a read behind the end. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void replay(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    size_t size;

    if (file == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    size = fread(data, 1, sizeof(data), file);
    fclose(file);
    feed(data, size);
    for (size_t cut = size / 2; cut > 0; cut /= 2) {
        feed(data, size - cut);
    }
}

int main(int argc, char **argv)
{
    const struct dirent *entry;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    int files = 0;

    if (dir == NULL) {
        fprintf(stderr, "usage: %s <corpus folder>\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(dir)) != NULL) {
        char path[4096];
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
            replay(path);
            files++;
        }
    }
    closedir(dir);
    feed((const uint8_t *)"", 0); /* libFuzzer begins with it */
    printf("%d files\n", files);
    return files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
