#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the demo's table: rows as lines of JSON, and the JSON of dsbench replay."""
import argparse
import json
import textwrap

HEADS = ("what", "result", "time", "beside it")
WIDTHS = (30, 24, 34, 36)


def us(value):
    return f"{value:.3g} us" if value < 1000 else f"{value / 1000:.3g} ms"


def replay_row(report):
    """The row of dsbench replay --json."""
    f = report["facts"]
    rows = {r["what"]: r for r in report["rows"]}
    hit, fill = rows.get("hit, per block"), rows.get("fill: create, write, publish")
    times = [f"{f['seconds']:.2f} s"]
    for name, row in (("hit", hit), ("fill", fill)):
        if row:
            times.append(f"{name} p50 {us(row['value'])}, p99 {us(row['p99'])}")
    return {
        "what": f"KV cache replay: {f['requests']:.0f} requests, {f['clients']:.0f} clients, "
                f"{f['block_size'] / 1024:.0f} KiB blocks",
        "result": f"hit ratio {f['hit_pct']:.2f} %, {f['evictions']:.0f} evictions, "
                  f"{f['wrong']:.0f} wrong blocks",
        "time": "; ".join(times),
        "beside": f"exact LRU of the same capacity: {f['lru_pct']:.2f} %; infinite cache: "
                  f"{f['ideal_pct']:.2f} %",
    }  # fmt: skip


def print_table(rows):
    line = "+".join("-" * (w + 2) for w in WIDTHS)
    print(" " + " | ".join(h.ljust(w) for h, w in zip(HEADS, WIDTHS)).rstrip())
    print(line)
    for row in rows:
        cells = [textwrap.wrap(row[k], w) or [""]
                 for k, w in zip(("what", "result", "time", "beside"), WIDTHS)]
        for i in range(max(map(len, cells))):
            part = [(c[i] if i < len(c) else "").ljust(w) for c, w in zip(cells, WIDTHS)]
            print(" " + " | ".join(part).rstrip())
        print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", help="file of rows, as the programs' --row writes it")
    parser.add_argument("--replay", metavar="FILE", help="output of dsbench replay --json")
    args = parser.parse_args()
    with open(args.rows, encoding="utf-8") as f:
        table = [json.loads(line) for line in f]
    if args.replay:
        with open(args.replay, encoding="utf-8") as f:
            table.append(replay_row(json.load(f)))
    print_table(table)
