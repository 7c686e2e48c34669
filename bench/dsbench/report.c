/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - rows for people, one JSON object for programs.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "bench.h"

const char *bench_size_text(uint64_t size, char *text)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned u = 0;

    while (u + 1 < BENCH_LEN(unit) && size >= 1024 && size % 1024 == 0) {
        size /= 1024;
        u++;
    }
    (void)snprintf(text, 24, "%llu %s", (unsigned long long)size, unit[u]);
    return text;
}

struct bench_row bench_row(const char *what, const char *unit)
{
    struct bench_row row;

    memset(&row, 0, sizeof(row));
    (void)snprintf(row.what, sizeof(row.what), "%s", what);
    row.unit = unit;
    row.p99 = row.p999 = -1;
    return row;
}

void bench_row_values(struct bench_row *row, const struct bench_series *values)
{
    row->value = bench_series_median(values);
    row->low = bench_series_low(values);
    row->high = bench_series_high(values);
}

void bench_row_floor(struct bench_row *row, const char *what, double floor)
{
    row->floor_what = what;
    row->floor = floor;
    row->ratio = floor > 0 ? row->value / floor : 0;
}

void bench_row_at_most(struct bench_row *row, const char *text, double figure, double limit)
{
    row->target = text;
    row->met = figure <= limit ? BENCH_MET : BENCH_MISSED;
}

void bench_row_at_least(struct bench_row *row, const char *text, double figure, double limit)
{
    row->target = text;
    row->met = figure >= limit ? BENCH_MET : BENCH_MISSED;
}

/* Four significant digits, without an exponent where one reads badly. */
static const char *number(double v, char *text, size_t size)
{
    double a = v < 0 ? -v : v;
    int digits = a >= 1000 || a == 0 ? 0 : a >= 100 ? 1 : a >= 10 ? 2 : a >= 0.1 ? 3 : 5;

    (void)snprintf(text, size, "%.*f", digits, v);
    return text;
}

static void print_row(const struct bench_run *run, const struct bench_row *row)
{
    char label[160], size[24], a[32], b[32], c[32];
    FILE *f = run->human;
    int n;

    n = snprintf(label, sizeof(label), "%s", row->what);
    if (row->batch != 0) {
        n += snprintf(label + n, sizeof(label) - (size_t)n, ", %u keys", row->batch);
    }
    if (row->size != 0) {
        n += snprintf(label + n, sizeof(label) - (size_t)n, ", %s",
                      bench_size_text(row->size, size));
    }
    if (row->procs != 0) {
        (void)snprintf(label + n, sizeof(label) - (size_t)n, ", %u process%s", row->procs,
                       row->procs == 1 ? "" : "es");
    }
    fprintf(f, "%-46s %10s %-6s (%s..%s)", label, number(row->value, a, sizeof(a)), row->unit,
            number(row->low, b, sizeof(b)), number(row->high, c, sizeof(c)));
    if (row->p99 >= 0) {
        fprintf(f, "  p99 %s", number(row->p99, a, sizeof(a)));
    }
    if (row->p999 >= 0) {
        fprintf(f, "  p99.9 %s", number(row->p999, a, sizeof(a)));
    }
    if (row->floor_what != NULL) {
        fprintf(f, "  %s %s, ratio %s", row->floor_what, number(row->floor, a, sizeof(a)),
                number(row->ratio, b, sizeof(b)));
    }
    if (row->met != BENCH_NO_TARGET) {
        fprintf(f, "  [%s: %s]", row->target, row->met == BENCH_MET ? "yes" : "NO");
    }
    fputc('\n', f);
    (void)fflush(f);
}

void bench_report_row(struct bench_run *run, const struct bench_row *row)
{
    if (run->n_rows < BENCH_ROWS_MAX) {
        run->rows[run->n_rows++] = *row;
    }
    print_row(run, row);
}

void bench_report_fact(struct bench_run *run, const char *name, double value)
{
    struct bench_fact *fact;

    if (run->n_facts < BENCH_FACTS_MAX) {
        fact = &run->facts[run->n_facts++];
        (void)snprintf(fact->name, sizeof(fact->name), "%s", name);
        fact->value = value;
    }
}

static void json_string(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\') {
            fputc('\\', out);
        }
        if ((unsigned char)*s >= 0x20) {
            fputc(*s, out);
        }
    }
    fputc('"', out);
}

static void json_row(FILE *out, const struct bench_row *row)
{
    fprintf(out, "{\"what\":");
    json_string(out, row->what);
    fprintf(out, ",\"size\":%llu,\"batch\":%u,\"procs\":%u,\"n\":%llu,\"unit\":",
            (unsigned long long)row->size, row->batch, row->procs, (unsigned long long)row->n);
    json_string(out, row->unit);
    fprintf(out, ",\"value\":%.9g,\"low\":%.9g,\"high\":%.9g", row->value, row->low, row->high);
    if (row->p99 >= 0) {
        fprintf(out, ",\"p99\":%.9g", row->p99);
    }
    if (row->p999 >= 0) {
        fprintf(out, ",\"p999\":%.9g", row->p999);
    }
    if (row->floor_what != NULL) {
        fprintf(out, ",\"floor_what\":");
        json_string(out, row->floor_what);
        fprintf(out, ",\"floor\":%.9g,\"ratio\":%.6g", row->floor, row->ratio);
    }
    if (row->met != BENCH_NO_TARGET) {
        fprintf(out, ",\"target\":");
        json_string(out, row->target);
        fprintf(out, ",\"met\":%s", row->met == BENCH_MET ? "true" : "false");
    }
    fputc('}', out);
}

/* "model name" of the first CPU, or the machine's name. */
static void cpu_model(char *text, size_t size)
{
    struct utsname u;
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    char *colon;

    (void)snprintf(text, size, "%s", uname(&u) == 0 ? u.machine : "unknown");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        colon = strchr(line, ':');
        if (colon != NULL && strncmp(line, "model name", 10) == 0) {
            line[strcspn(line, "\n")] = '\0';
            (void)snprintf(text, size, "%s", colon[1] == ' ' ? colon + 2 : colon + 1);
            break;
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
}

void bench_report_json(const struct bench_run *run, FILE *out)
{
    struct utsname u;
    struct tm tm;
    char model[192], date[32] = "";
    time_t now = time(NULL);

    cpu_model(model, sizeof(model));
    if (gmtime_r(&now, &tm) != NULL) {
        (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    fprintf(out, "{\"bench\":\"%s\",\"version\":\"%s\",\"date\":\"%s\",\"cpu\":", run->command,
            ds_version(), date);
    json_string(out, model);
    fprintf(out, ",\"cpus\":%u,\"kernel\":", run->cpus);
    json_string(out, uname(&u) == 0 ? u.release : "");
    fprintf(out, ",\"rounds\":%llu,\"seconds\":%g,\"facts\":{", (unsigned long long)run->rounds,
            run->seconds);
    for (unsigned i = 0; i < run->n_facts; i++) {
        fprintf(out, "%s\"%s\":%.9g", i == 0 ? "" : ",", run->facts[i].name, run->facts[i].value);
    }
    fprintf(out, "},\"rows\":[");
    for (unsigned i = 0; i < run->n_rows; i++) {
        fprintf(out, "%s\n ", i == 0 ? "" : ",");
        json_row(out, &run->rows[i]);
    }
    fprintf(out, "\n]}\n");
}
