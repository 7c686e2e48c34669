/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - dsbench: measures a worker on this node beside the floors of the same machine.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const struct bench_command commands[] = {
    {"latency", "Zero-copy hits, 64 B to 64 MiB, beside a Unix-socket ping-pong and memcpy.",
     bench_latency_main},
    {"set",
     "Sets of 1 KiB, 1 MiB and 64 MiB: new, over an existing key, worker asleep, first "
     "touch.",
     bench_set_main},
    {"copy", "Copying gets beside memcpy.", bench_copy_main},
    {"batch", "mget and mset of many keys in one call.", bench_batch_main},
    {"mixed", "Several processes reading and writing at the same time.", bench_mixed_main},
    {"hot", "Few small values read and set at a modest rate, while others load the worker.",
     bench_hot_main},
    {"footprint",
     "Threads, memory, idle CPU, start, bytes per object, restart: on workers of its own.",
     bench_footprint_main},
    {"replay", "Replays an LLM request trace (Mooncake JSONL) from several client processes.",
     bench_replay_main},
    {"simulate", "Hit ratios of the eviction policies on such a trace, without a worker.",
     bench_simulate_main},
    {"generate", "Writes a request trace of that form to stdout, the same for the same seed.",
     bench_generate_main},
};

static void usage(FILE *out)
{
    fprintf(out, "usage: dsbench COMMAND [options]    (dsbench COMMAND --help)\n\n");
    for (size_t i = 0; i < BENCH_LEN(commands); i++) {
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
}

static int run_command(const struct bench_command *command, int argc, char **argv)
{
    struct bench_run *run = calloc(1, sizeof(*run));
    int rc;

    if (run == NULL) {
        fprintf(stderr, "dsbench: no memory\n");
        return 1;
    }
    run->command = command->name;
    run->rounds = 5;
    run->seconds = 0.3;
    run->human = stdout;
    bench_machine_init(run);
    rc = command->main(run, command, argc, argv);
    if (rc == 0 && run->json) {
        bench_report_json(run, stdout);
    }
    free(run);
    return rc;
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("dsbench %s\n", ds_version());
        return 0;
    }
    for (size_t i = 0; i < BENCH_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return run_command(&commands[i], argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "dsbench: no command '%s'\n", argv[1]);
    usage(stderr);
    return 2;
}
