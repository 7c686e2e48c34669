#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Results of the benchmarks as Markdown.

usage: report.py merge OUT.json IN.json...      one list of the JSON objects that dsbench prints
       report.py table RESULTS.json             tables on stdout
       report.py update DOCUMENT RESULTS.json   puts them between the document's result marks
"""
import json
import os
import sys

BEGIN, END = "<!-- results: written by bench/run_all.sh -->", "<!-- end of results -->"
ORDER = ("latency", "system calls", "python", "set", "copy", "batch", "mixed", "replay",
         "footprint", "arena")  # fmt: skip
TITLES = {
    "latency": "Hits",
    "system calls": "System calls of hits",
    "python": "From Python",
    "set": "Sets",
    "copy": "Copying gets",
    "batch": "Batches",
    "mixed": "Several processes",
    "replay": "KV cache replay",
    "footprint": "Footprint",
    "arena": "Allocator",
}


def size_text(n):
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or n % 1024:
            return f"{n} {unit}"
        n //= 1024
    return str(n)


def number(v):
    """Four digits, with thin grouping for large counts."""
    if v is None:
        return ""
    if abs(v) >= 10000:
        return f"{v:,.0f}"
    return f"{v:.4g}"


def label(row):
    parts = [row["what"]]
    if row.get("batch"):
        parts.append(f"{row['batch']} keys")
    if row.get("size"):
        parts.append(size_text(row["size"]))
    if row.get("procs"):
        parts.append(f"{row['procs']} process" + ("es" if row["procs"] > 1 else ""))
    return ", ".join(parts)


def cells(row):
    spread = "" if row["low"] == row["high"] else f"{number(row['low'])} to {number(row['high'])}"
    floor = f"{row['floor_what']} {number(row['floor'])}" if "floor" in row else ""
    target = row.get("target", "")
    met = {True: "yes", False: "**no**"}.get(row.get("met"), "")
    return [label(row), f"{number(row['value'])} {row['unit']}".strip(), spread,
            number(row.get("p99")), floor, number(row.get("ratio")), target, met]  # fmt: skip


def table(rows):
    head = ["what", "median", "rounds", "p99", "beside it", "ratio", "target", "met"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cells(r)) + " |" for r in rows]
    return "\n".join(lines)


def facts(report):
    return ", ".join(f"{k.replace('_', ' ')} {number(v)}" for k, v in report["facts"].items())


def machine(reports):
    r = next((r for r in reports if "cpu" in r), None)
    if r is None:
        return ""
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) / (1 << 20)
    memory = r.get("memory_gib", memory)
    return (f"{r['date'][:10]}, version {r['version']}, {r['cpus']} CPUs of {r['cpu']}, "
            f"{memory:.0f} GiB, Linux {r['kernel']}. Command: `bench/run_all.sh`.")  # fmt: skip


def markdown(reports):
    out = [machine(reports)]
    targets = [row for r in reports for row in r["rows"] if "target" in row]
    if targets:
        met = sum(row["met"] for row in targets)
        out.append(f"{met} of {len(targets)} targets met.")
    for r in reports:
        out.append(f"### {TITLES.get(r['bench'], r['bench'])}")
        if r["rows"]:
            out.append(table(r["rows"]))
        if r["facts"]:
            out.append("Also: " + facts(r) + ".")
        if r.get("text"):
            out.append("```\n" + r["text"].rstrip() + "\n```")
    return "\n\n".join(out) + "\n"


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def merge(out, paths):
    reports = []
    for path in paths:
        loaded = load(path)
        reports += loaded if isinstance(loaded, list) else [loaded]
    reports.sort(key=lambda r: ORDER.index(r["bench"]) if r["bench"] in ORDER else len(ORDER))
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) / (1 << 20)
    for r in reports:
        r["memory_gib"] = round(memory, 1)
    with open(out, "w", encoding="utf-8") as f:
        json.dump(reports, f, indent=1)
        f.write("\n")


def update(document, results):
    with open(document, encoding="utf-8") as f:
        text = f.read()
    if BEGIN not in text or END not in text:
        sys.exit(f"{document} has no lines '{BEGIN}' and '{END}'")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    new = before + BEGIN + "\n\n" + markdown(load(results)) + "\n" + END + after
    with open(document + ".new", "w", encoding="utf-8") as f:
        f.write(new)
    os.replace(document + ".new", document)


def main(argv):
    if len(argv) >= 4 and argv[1] == "merge":
        merge(argv[2], argv[3:])
    elif len(argv) == 3 and argv[1] == "table":
        print(markdown(load(argv[2])), end="")
    elif len(argv) == 4 and argv[1] == "update":
        update(argv[2], argv[3])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
