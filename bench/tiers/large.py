#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Large spilled values: when their first part can be read, and when all of it, beside one pread after the other of as
many bytes from the same files.

Two values a round. One is asked for as a whole (get_buffers). Of the other the first MiB is asked for (read),
in place, while the rest still comes; then the rest. Cold: the files were dropped from the page cache before; warm: they lie in it.
"""

import os
import random
import sys
import time

from common import MIB, Node, Report, arguments
from read import drop, files, load


def ms(call):
    begin = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - begin) / 1e6


def preads(folder, size):
    path = max(files(folder), key=os.path.getsize)
    buf = bytearray(MIB)
    fd = os.open(path, os.O_RDONLY)
    for at in range(0, size, MIB):
        os.preadv(fd, [buf], at)
    os.close(fd)


def measure(report, node, kv, size, name, prepare, rounds, values):
    from yr.datasystem.kv_client import ReadParam  # as in common.py

    spill = node.flags["spill_directory"]
    whole, first, rest, floors = [], [], [], []
    for i in range(rounds):
        one, other = f"value-{2 * i % values}", f"value-{(2 * i + 1) % values}"
        prepare(spill)
        whole.append(ms(lambda key=one: kv.get_buffers([key])))
        prepare(spill)
        first.append(ms(lambda key=other: kv.read([ReadParam(key, 0, MIB)])))
        rest.append(first[-1] + ms(lambda key=other: kv.read([ReadParam(key, MIB, 0)])))
        prepare(spill)
        floors.append(ms(lambda: preads(spill, size)))
    for what, values_ms in ("all of", whole), ("the first MiB of", first), ("first MiB, then the rest of", rest):
        report.row(f"{what} a spilled value, {name}", "ms", values_ms, floor=("preads of all of it", floors), size=size)  # fmt: skip


def main():
    parser = arguments(__doc__, 9)
    parser.add_argument("--mib", type=int, default=64, help="size of a value (%(default)s)")
    args = parser.parse_args()
    report = Report("tiers: large values", args)
    size, values = args.mib * MIB, 12
    with Node(args, 4 * args.mib, 4 * values * size, spill_file_max_size_mb=4 * args.mib) as node, node.client() as kv:
        for i in range(values + 4):
            kv.set(f"value-{i}", random.randbytes(size))
        for name, prepare in ("cold", drop), ("warm", load):
            measure(report, node, kv, size, name, prepare, args.rounds, values)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
