#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gets of spilled values, end to end, beside preads of as many bytes from the same files.

A get goes from a client in Python (get_buffers, one key at a time) through the worker to the disk, into shared memory and
back. Cold: the files were dropped from the page cache before, as they are when there is more on disk than memory is free;
warm: they lie in it. The keys are read in random order, each once, and no local hits are among them: the report
says how many gets were answered from the disk.
"""

import os
import random
import sys
import time

from common import MIB, Node, Report, arguments, at_most, p50_p99_us

MEMORY_MB = 64


def files(folder):
    return [os.path.join(base, name) for base, _, names in os.walk(folder) for name in names]


def drop(folder):
    """Out of the page cache."""
    for path in files(folder):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def load(folder):
    """Into the page cache."""
    for path in files(folder):
        with open(path, "rb") as whole:
            whole.read()


def timed(calls):
    """(median, p99) in us."""
    times = []
    for call in calls:
        begin = time.perf_counter_ns()
        got = call()
        times.append(time.perf_counter_ns() - begin)
        del got  # a view holds its place in memory
    return p50_p99_us(times)


class Bare:
    """preads at random places of the segments, each place once; the two newest may not be written to their end."""

    def __init__(self, folder, size):
        paths = sorted(files(folder), key=os.path.getmtime)
        paths = [path for path in paths if os.path.getsize(path) >= 4 * MIB][:-2]
        self.size = size
        self.fds = [os.open(path, os.O_RDONLY) for path in paths]
        self.places = [(fd, at) for fd in self.fds
                       for at in range(0, os.fstat(fd).st_size - size, size)]  # fmt: skip
        random.shuffle(self.places)

    def calls(self, n):
        taken = self.places[:n]
        self.places = self.places[n:] + taken
        return [lambda fd=fd, at=at: os.pread(fd, self.size, at) for fd, at in taken]

    def close(self):
        for fd in self.fds:
            os.close(fd)


def measure(args, report, size):
    fit = MEMORY_MB * MIB // size
    values = args.values or 16 * fit
    n = min(args.gets, values // 8 // args.rounds)
    with Node(args, MEMORY_MB, 4 * values * size) as node, node.client() as kv:
        spill = node.flags["spill_directory"]
        for i in range(values):
            kv.set(f"value-{i}", random.randbytes(size))
        for i in range(values - 1, values - 2 * fit, -1):
            kv.get_buffers([f"value-{i}"])  # from now on all that leaves memory is on disk already
        keys = random.sample([f"value-{i}" for i in range(values // 2)], 2 * n * args.rounds)
        gets = [lambda key=key: kv.get_buffers([key]) for key in keys]
        bare = Bare(spill, size)
        before = node.stats()["fetches"]
        pid = node.stats()["worker_pid"]
        for name, prepare in ("cold", drop), ("warm", load):
            ours, floors, processor = [], [], []
            for _ in range(args.rounds):
                prepare(spill)
                floors.append(timed(bare.calls(n)))
                prepare(spill)
                begin = node.processor_us(pid)
                ours.append(timed(gets[:n]))
                processor.append((node.processor_us(pid) - begin) / n)
                del gets[:n]
            report.row(f"get of a spilled value, {name}", "us", [p50 for p50, _ in ours], [p99 for _, p99 in ours],
                       ("pread", [p50 for p50, _ in floors]), at_most(1.3) if size == 4096 else None,
                       size=size)  # fmt: skip
            report.row(f"the worker's processor time for one, {name}", "us", processor, size=size)
        bare.close()
        report.fact(f"answered_from_disk_pct_{size}", 100 * (node.stats()["fetches"] - before) / len(keys))


def main():
    parser = arguments(__doc__, 5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 65536, MIB], help="of values (%(default)s)")
    parser.add_argument("--gets", type=int, default=2000, help="a round, at most (%(default)s)")
    parser.add_argument("--values", type=int, default=0, help="that are set (16 x the memory)")
    args = parser.parse_args()
    report = Report("tiers: read", args)
    for size in args.sizes:
        measure(args, report, size)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
