#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a node with a million spilled objects is away.

Killed worker: its memory stays; from SIGKILL to the first get of an object that is on disk. Power
loss: keeper and worker are killed, the memory goes, and dscli start runs over the same directory;
from that command's start to the first such get. Afterwards all keys that were on disk must be
there. Beside it the first answer of a node that holds nothing.
"""

import os
import signal
import sys
import time

from common import MIB, Node, Report, arguments, gone, wait_until

BATCH = 1000
EXIST_BATCH = 100000
SERVING_S = 300


def key(i):
    return f"restart-{i:08d}"


def value(i, size):
    return (b"%016d" % i) * (size // 16)


def fill(client, first, n, size):
    keys = [key(i) for i in range(first, first + n)]
    client.mset(keys, [value(i, size) for i in range(first, first + n)])


def fill_until_spilled(node, client, objects, size):
    """Sets objects until so many are on disk alone; how many there are in all."""
    n = 0
    while True:
        stats = client.worker_stats()
        missing = objects - stats["spilled_objects"]
        if missing <= 0:
            return n
        for _ in range(0, min(missing, 50 * BATCH), BATCH):
            fill(client, n, BATCH, size)
            n += BATCH
        if n > 3 * objects + 4 * node.flags["shared_memory_size_mb"] * MIB // size:
            sys.exit(f"only {stats['spilled_objects']} of {n} objects were spilled")


def found(client, n):
    return sum(
        sum(client.exist([key(i) for i in range(at, min(at + EXIST_BATCH, n))]))
        for at in range(0, n, EXIST_BATCH)
    )


def until_served(make_client, call, begin):
    """Seconds from `begin` until `call` was answered, and the answer."""
    while True:
        try:
            answer = call(make_client())
            return time.monotonic() - begin, answer
        except RuntimeError as error:
            if time.monotonic() - begin > SERVING_S:
                sys.exit(f"no answer within {SERVING_S} s: {error}")


def first_get(make_client, i, size, begin):
    """The same for a value on disk, right to the last byte."""
    seconds, data = until_served(make_client, lambda c: bytes(c.get_buffers([key(i)])[0]), begin)
    if data != value(i, size):
        sys.exit(f"{key(i)} has other bytes than were set")
    if make_client().worker_stats()["fetches"] == 0:
        sys.exit(f"{key(i)} did not come from disk")
    return seconds


def kill_worker(client):
    """When the kill was sent; returns once the worker is gone."""
    pid = client.worker_stats()["worker_pid"]
    begin = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid), "the worker's end", 30, 0.0005)
    return begin


def lose_power(node):
    """When the new start began; returns once it is done."""
    node.kill_all()
    begin = time.monotonic()
    node.start()
    return begin


def floors(args):
    """The same with a node that holds nothing, to the first answer of the worker."""
    killed, lost = [], []
    with Node(args, args.memory_mb, 256 * MIB) as node:
        client = node.client()
        for _ in range(args.rounds):
            begin = kill_worker(client)
            killed.append(until_served(lambda: client, lambda c: c.exist(["missing"]), begin)[0])
            begin = lose_power(node)
            lost.append(until_served(node.client, lambda c: c.exist(["missing"]), begin)[0])
            client = node.client()
    return killed, lost


def check(what, have, want):
    if have < want:
        sys.exit(f"after {what}: {have} of {want} objects are there")


def main():
    parser = arguments(__doc__, 3)
    parser.add_argument("--objects", type=int, default=1000000, help="on disk alone (1000000)")
    parser.add_argument("--size", type=int, default=512, help="bytes of a value (512)")
    parser.add_argument("--memory-mb", type=int, default=128, help="of the worker (128)")
    args = parser.parse_args()
    args.size = max(args.size // 16 * 16, 16)
    report = Report("tiers: restart", args)
    floor_killed, floor_lost = floors(args)
    with Node(args, args.memory_mb, 4 * args.objects * (args.size + 128) + 512 * MIB) as node:
        client = node.client()
        begin = time.monotonic()
        n = fill_until_spilled(node, client, args.objects, args.size)
        report.fact("objects", n)
        report.fact("set per s", n / (time.monotonic() - begin))
        killed, lost, counts = [], [], []
        for r in range(args.rounds):
            begin = kill_worker(client)
            killed.append(first_get(lambda: client, 2 * r, args.size, begin))
            check("a kill", found(client, n), n)
        for r in range(args.rounds):
            on_disk = client.worker_stats()["spilled_objects"]
            begin = lose_power(node)
            lost.append(first_get(node.client, 2 * r + 1, args.size, begin))
            client = node.client()
            counts.append(found(client, n))
            check("power loss", counts[-1], on_disk)
    million = args.objects <= 1000000
    report.row("worker killed to the first get from disk", "s", killed,
               floor=("an empty node", floor_killed),
               target=("<= 3 s", lambda row: row["value"] <= 3) if million else None)  # fmt: skip
    report.row("start after power loss to the first get from disk", "s", lost,
               floor=("an empty node", floor_lost),
               target=("<= 10 s", lambda row: row["value"] <= 10) if million else None)  # fmt: skip
    report.fact("found after a kill", n)
    report.fact("found after power loss", min(counts))
    report.end()


if __name__ == "__main__":
    sys.exit(main())
