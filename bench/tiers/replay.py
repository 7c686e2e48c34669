#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A trace over two tiers: the working set is 4 times the memory, the disk twice the memory.

Working set: the blocks that come again. With all others, which come once, a trace is larger still.
dsbench replay fills blocks in as evictable values. With a disk those are spilled when memory is
short, and dropped only from the disk, when that is full. The hit ratio stands beside an exact LRU
as large as memory and disk together (on the recorded operations, and dsbench simulate beside it),
the speed beside a worker whose memory holds everything.
"""

import collections
import json
import math
import subprocess
import sys
import tempfile

from common import MIB, Node, Report, arguments, dsbench


def write_trace(args, file):
    subprocess.run([args.bin / "dsbench", "generate", "--seed", "1", "--requests",
                    str(args.requests)],
                   stdout=file, check=True, stderr=subprocess.DEVNULL)  # fmt: skip


def count_blocks(path):
    """(blocks, those of them that come again)"""
    uses = collections.Counter()
    with open(path, encoding="utf-8") as trace:
        for line in trace:
            uses.update(json.loads(line)["hash_ids"])
    return len(uses), sum(n > 1 for n in uses.values())


def simulated(args, blocks):
    """Prefix hits in % of an exact LRU of so many blocks, from dsbench simulate."""
    out = dsbench(args.bin, "simulate", "--trace", args.trace, "--capacity", blocks)
    return out["facts"][f"exact_lru_{blocks}_pct"]


def replay(args, report, node):
    out = node.dsbench("replay", "--trace", args.trace, "--clients", args.clients,
                       "--block-size", args.block_size, "--verify")  # fmt: skip
    facts = out["facts"]
    stats = node.stats()
    facts["spilled"] = stats["disk_written_bytes"]
    facts["written"] = stats["disk_written_bytes"] + stats["disk_rewritten_bytes"]
    report.say("  one round: " + ", ".join(
        f"{name} {facts[name]:.6g}" for name in ("seconds", "hit_pct", "spills", "fetches", "drops",
                                                 "evictions", "fills", "fills_refused")))  # fmt: skip
    return facts


def rounds(args, report, memory_mb, disk, whole_mb):
    """Rounds in turn on fresh workers: (two tiers, memory for everything)."""
    tiers, memory = [], []
    for _ in range(args.rounds):
        with Node(args, memory_mb, disk, evict_policy=args.evict_policy) as node:
            tiers.append(replay(args, report, node))
        with Node(args, whole_mb, evict_policy=args.evict_policy) as node:
            memory.append(replay(args, report, node))
    return tiers, memory


def speed(facts):
    return [f["references"] / f["seconds"] for f in facts]


def main():
    parser = arguments(__doc__, 3)
    parser.add_argument("--trace", metavar="FILE", help="in the Mooncake form (a generated one)")
    parser.add_argument("--requests", type=int, default=4000, help="of a generated trace (4000)")
    parser.add_argument("--clients", type=int, default=2, help="processes (2)")
    parser.add_argument("--block-size", type=int, default=16384, help="bytes (16384)")
    parser.add_argument("--working-set", type=float, default=4, help="times the memory (4)")
    parser.add_argument("--disk", type=float, default=2, help="times the memory (2)")
    parser.add_argument("--evict_policy", default="auto", help="of the worker (auto)")
    args = parser.parse_args()
    report = Report("tiers: replay", args)
    with tempfile.NamedTemporaryFile("w") as generated:
        if args.trace is None:
            args.trace = generated.name
            write_trace(args, generated)
        blocks, again = count_blocks(args.trace)
        memory_mb = max(round(again * args.block_size / args.working_set / MIB), 16)
        disk = int(args.disk * memory_mb) * MIB
        whole_mb = math.ceil(blocks * args.block_size / MIB * 1.15) + 16
        report.fact("memory MiB", memory_mb)
        report.fact("disk MiB", disk // MIB)
        report.fact("working set MiB", again * args.block_size / MIB)
        report.fact("all blocks MiB", blocks * args.block_size / MIB)
        tiers, memory = rounds(args, report, memory_mb, disk, whole_mb)
        for name, size in (("memory", memory_mb * MIB), ("memory + disk", memory_mb * MIB + disk)):
            report.fact(f"simulated LRU of {name} %", simulated(args, size // args.block_size))
    report_all(report, tiers, memory)
    report.end()


def report_all(report, tiers, memory):
    hits = [f["hit_pct"] for f in tiers]
    exact = [f["lru_tiers_pct"] for f in tiers]
    worst = min(h - e for h, e in zip(hits, exact))
    report.row("prefix hit ratio of memory + disk", "%", hits,
               floor=("exact LRU of memory + disk", exact),
               target=("at most 1 point less", lambda row: worst >= -1))  # fmt: skip
    report.row("prefix hit ratio of memory + disk", "%", hits,
               floor=("exact LRU of as many blocks", [f["lru_pct"] for f in tiers]))  # fmt: skip
    report.row("blocks looked up, memory + disk", "blocks/s", speed(tiers),
               floor=("memory for everything", speed(memory)))  # fmt: skip
    for name in ("spills", "fetches", "drops"):
        report.fact(name, sorted(f[name] for f in tiers)[len(tiers) // 2])
    report.row("written to disk of what was spilled", "x",
               [f["written"] / f["spilled"] for f in tiers])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
