#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Latency of hot values while spill and write-back run at full speed.

One client reads and sets small values at a modest rate (dsbench hot): alone; beside processes that
only copy memory (what a loaded processor costs, without the store); and beside as many that set
values of mode NONE far beyond the memory and of mode WRITE_BACK, as fast as they are taken. The
worker is the same all the time.
"""

import multiprocessing
import os
import signal
import statistics
import sys
import time

from common import MIB, Node, Report, arguments, at_most, wait_until

VALUE = 1 * MIB


def writer(port, mode, span, done):
    """Sets values of `mode` under `span` keys in turn until it is terminated."""
    from yr.datasystem.kv_client import KVClient, WriteMode

    client = KVClient("127.0.0.1", port)
    client.init()
    write_mode = getattr(WriteMode, mode)
    value = bytearray(os.urandom(VALUE))
    i = 0
    while True:
        value[:8] = i.to_bytes(8, "little")
        try:
            client.set(f"load-{mode}-{i % span}", value, write_mode)
        except RuntimeError:  # the queue of uploads is full, or the disk is: what is asked for
            done[1] += 1
            time.sleep(0.001)
            continue
        done[0] += 1
        i += 1


def burner(done):
    """A processor and its memory kept as busy as a writer does it, without the store."""
    source, target = bytes(os.urandom(64 * MIB)), bytearray(64 * MIB)
    while True:
        for at in range(0, 64 * MIB, VALUE):
            target[at : at + VALUE] = source[at : at + VALUE]
        done[0] += 64


class Others:
    """with Others(...) as others: the processes of a phase, running."""

    def __init__(self, jobs):
        context = multiprocessing.get_context("spawn")
        self.done = [context.Array("q", 2, lock=False) for _ in jobs]
        self.processes = [
            context.Process(target=target, args=(*args, done), daemon=True)
            for (target, *args), done in zip(jobs, self.done)
        ]

    def __enter__(self):
        for p in self.processes:
            p.start()
        wait_until(lambda: all(d[0] > 0 for d in self.done), "the load")
        return self

    def __exit__(self, *_):
        for p in self.processes:
            os.kill(p.pid, signal.SIGKILL)
            p.join()

    def moved(self):
        return [d[0] for d in self.done]


def settle(node):
    """Waits until the worker has nothing left to write, so that a quiet phase is one."""
    before = None

    def calm():
        nonlocal before
        s = node.stats()
        now = (s["spills"], s["l2_uploads"], s["l2_waiting"], s["disk_rewritten_bytes"])
        same, before = now == before, now
        return same and s["l2_waiting"] == 0

    wait_until(calm, "the end of spilling and uploading", 60, 0.5)


def measure(node, args):
    """{"hit": {"p50", "p99"}, "set": ...} of one phase, and the share of gets that asked."""
    out = node.dsbench("hot", "--rounds", 1, "--seconds", args.seconds)
    rows = {r["what"]: {"p50": r["value"], "p99": r["p99"]} for r in out["rows"]}
    return {"hit": rows["local hit"], "get": rows["get, local or not"],
            "set": rows["set, existing key"],
            "asked_pct": out["facts"]["asked_pct"], "late_pct": out["facts"]["late_pct"]}  # fmt: skip


def load_phase(node, args, jobs):
    """As measure(), once the disk is written; and MB/s of what was done."""
    before = node.stats()
    with Others(jobs) as others:
        if jobs[0][0] is writer:
            wait_until(lambda: node.stats()["spills"] > before["spills"] + 100, "the first spills")
        first, begin = node.stats(), time.monotonic()
        moved = others.moved()
        result = measure(node, args)
        last, seconds = node.stats(), time.monotonic() - begin
        rates = [(b - a) * VALUE / 1e6 / seconds for a, b in zip(moved, others.moved())]
    for name in ("disk_written_bytes", "disk_rewritten_bytes"):
        result[name] = (last[name] - first[name]) / 1e6 / seconds
    result["uploads"] = (last["l2_uploads"] - first["l2_uploads"]) / seconds
    result["rates"] = rates
    return result


def series(results, call, which):
    return [r[call][which] for r in results]


def report_phases(report, quiet, burn, load):
    for call, name, limit in (("hit", "local hit", 2), ("get", "get, local or not", None),
                              ("set", "set, existing key", 5)):  # fmt: skip
        alone = series(quiet, call, "p99")
        control = series(burn, call, "p99")
        for phase, results in (("quiet", quiet), ("beside copies", burn), ("under load", load)):
            report.row(f"{name}, {phase}", "us", series(results, call, "p50"),
                       p99=series(results, call, "p99"), size=1024)  # fmt: skip
        report.row(f"p99 of {name}, beside copies", "us", control, floor=("quiet", alone))
        report.row(f"p99 of {name}, under load", "us", series(load, call, "p99"),
                   floor=("quiet", alone),
                   target=at_most(limit, " x quiet") if limit else None)  # fmt: skip
        report.row(f"p99 of {name}, under load", "us", series(load, call, "p99"),
                   floor=("beside copies", control))  # fmt: skip


def main():
    parser = arguments(__doc__, 5)
    parser.add_argument("--seconds", type=float, default=3, help="of each phase and round (3)")
    parser.add_argument("--memory-mb", type=int, default=256, help="of the worker (256)")
    parser.add_argument("--spillers", type=int, default=1, help="processes that set NONE (1)")
    parser.add_argument("--uploaders", type=int, default=1, help="and WRITE_BACK (1)")
    args = parser.parse_args()
    report = Report("tiers: hot values", args)
    span = 4 * args.memory_mb * MIB // VALUE  # keys of each kind
    with Node(args, args.memory_mb, 16 * args.memory_mb * MIB, l2_cache_type="sfs",
              l2_cache_async_write_rate_limit_mb=0, sfs_path="l2") as node:  # fmt: skip
        writers = [(writer, node.port, "NONE_L2_CACHE", span // max(args.spillers, 1))]
        writers = writers * args.spillers + [
            (writer, node.port, "WRITE_BACK_L2_CACHE", span)
        ] * args.uploaders
        quiet, burn, load = [], [], []
        for _ in range(args.rounds):
            settle(node)
            quiet.append(measure(node, args))
            burn.append(load_phase(node, args, [(burner,)] * len(writers)))
            load.append(load_phase(node, args, writers))
    report_phases(report, quiet, burn, load)
    for name in ("asked_pct", "late_pct"):
        report.fact(f"{name} quiet", statistics.median(r[name] for r in quiet))
        report.fact(f"{name} under load", statistics.median(r[name] for r in load))
    report.fact("spilled MB/s", statistics.median(r["disk_written_bytes"] for r in load))
    report.fact("cleaned MB/s", statistics.median(r["disk_rewritten_bytes"] for r in load))
    report.fact("uploads per s", statistics.median(r["uploads"] for r in load))
    none = slice(0, args.spillers)
    report.fact("set NONE MB/s", statistics.median(sum(r["rates"][none]) for r in load))
    back = slice(args.spillers, None)
    report.fact("set WRITE_BACK MB/s", statistics.median(sum(r["rates"][back]) for r in load))
    report.fact("copied MB/s beside copies", statistics.median(sum(r["rates"]) for r in burn))
    report.end()


if __name__ == "__main__":
    sys.exit(main())
