/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - one table of flags per subcommand gives its parser and its --help.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define HELP_VALUE 1000

int bench_size_parse(const char *text, uint64_t *ret)
{
    static const char suffix[] = "KMGT";
    char *end;
    const char *at;
    unsigned long long v;
    unsigned shift = 0;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || text[0] == '-') {
        return -1;
    }
    if (*end != '\0') {
        at = strchr(suffix, *end);
        if (at == NULL || end[1] != '\0') {
            return -1;
        }
        shift = 10u * (unsigned)(at - suffix + 1);
    }
    if (v > UINT64_MAX >> shift) {
        return -1;
    }
    *ret = (uint64_t)v << shift;
    return 0;
}

static int set_flag(const struct bench_flag *flag, const char *text)
{
    uint64_t u = 0;
    double d;
    char *end;

    switch (flag->kind) {
    case BENCH_FLAG_BOOL:
        *(bool *)flag->target = true;
        return 0;
    case BENCH_FLAG_STRING:
        *(const char **)flag->target = text;
        return 0;
    case BENCH_FLAG_DOUBLE:
        d = strtod(text, &end);
        if (end == text || *end != '\0' || !(d > 0 && d < 1e6)) {
            return -1;
        }
        *(double *)flag->target = d;
        return 0;
    case BENCH_FLAG_U64:
    case BENCH_FLAG_SIZE:
        if (bench_size_parse(text, &u) != 0) {
            return -1;
        }
        *(uint64_t *)flag->target = u;
        return 0;
    default:
        return -1;
    }
}

static void print_help(const struct bench_command *command, const struct bench_flag *flags,
                       size_t n)
{
    char left[64];

    printf("usage: dsbench %s [options]\n\n%s\n\n", command->name, command->summary);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(left, sizeof(left), "--%s%s%s", flags[i].name,
                       flags[i].argument != NULL ? " " : "",
                       flags[i].argument != NULL ? flags[i].argument : "");
        printf("  %-24s %s\n", left, flags[i].help);
    }
    printf("  %-24s %s\n", "--help", "this text");
}

/* "host:port" into its parts. */
static int split_worker(struct bench_run *run, const char *worker)
{
    const char *colon = strrchr(worker, ':');
    uint64_t port;

    if (colon == NULL || colon == worker || (size_t)(colon - worker) >= sizeof(run->host) ||
        bench_size_parse(colon + 1, &port) != 0 || port == 0 || port > UINT16_MAX) {
        fprintf(stderr, "dsbench: --worker is HOST:PORT, not '%s'\n", worker);
        return -1;
    }
    (void)snprintf(run->worker, sizeof(run->worker), "%s", worker);
    (void)snprintf(run->host, sizeof(run->host), "%.*s", (int)(colon - worker), worker);
    run->port = (uint16_t)port;
    return 0;
}

static int parse_all(const struct bench_command *command, const struct bench_flag *flags, size_t n,
                     int argc, char **argv)
{
    struct option options[BENCH_FLAGS_MAX + 2];
    int c;

    memset(options, 0, sizeof(options));
    for (size_t i = 0; i < n; i++) {
        options[i].name = flags[i].name;
        options[i].has_arg = flags[i].kind == BENCH_FLAG_BOOL ? no_argument : required_argument;
        options[i].val = (int)i;
    }
    options[n].name = "help";
    options[n].val = HELP_VALUE;
    optind = 1;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == HELP_VALUE) {
            print_help(command, flags, n);
            return BENCH_HELP_SHOWN;
        }
        if (c < 0 || (size_t)c >= n) {
            fprintf(stderr, "see dsbench %s --help\n", command->name);
            return -1;
        }
        if (set_flag(&flags[c], optarg) != 0) {
            fprintf(stderr, "dsbench: --%s does not take '%s'\n", flags[c].name, optarg);
            return -1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "dsbench %s: what is '%s'?\n", command->name, argv[optind]);
        return -1;
    }
    return BENCH_PARSED;
}

int bench_parse(struct bench_run *run, const struct bench_command *command,
                const struct bench_flag *flags, size_t n_flags, int argc, char **argv)
{
    struct bench_flag all[BENCH_FLAGS_MAX];
    const char *worker = "127.0.0.1:31501";
    const struct bench_flag common[] = {
        {"worker", BENCH_FLAG_STRING, &worker, "HOST:PORT", "the worker (127.0.0.1:31501)"},
        {"rounds", BENCH_FLAG_U64, &run->rounds, "N", "rounds; figures are medians (5)"},
        {"seconds", BENCH_FLAG_DOUBLE, &run->seconds, "S",
         "per measurement and round (0.3; mixed: 1)"},
        {"json", BENCH_FLAG_BOOL, &run->json, NULL,
         "one JSON object on stdout, lines for people on stderr"},
    };
    int rc;

    if (n_flags + BENCH_LEN(common) > BENCH_FLAGS_MAX) {
        return -1;
    }
    for (size_t i = 0; i < n_flags; i++) {
        all[i] = flags[i];
    }
    memcpy(all + n_flags, common, sizeof(common));
    rc = parse_all(command, all, n_flags + BENCH_LEN(common), argc, argv);
    if (rc != BENCH_PARSED) {
        run->json = false;
        return rc;
    }
    if (run->rounds == 0 || run->rounds > BENCH_ROUNDS_MAX) {
        fprintf(stderr, "dsbench: --rounds is 1 to %u\n", BENCH_ROUNDS_MAX);
        return -1;
    }
    run->human = run->json ? stderr : stdout;
    return split_worker(run, worker);
}
