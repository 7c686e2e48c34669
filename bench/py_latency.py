#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Latency of the Python client: hits by size, sets, beside a Unix-socket ping-pong from Python.

Prints lines like dsbench; with --json one JSON object of the same form on stdout.
"""
import argparse
import datetime
import json
import os
import platform
import socket
import statistics
import sys
import time

from yr.datasystem.kv_client import KVClient

SIZES = [64, 1024, 4096, 65536, 1 << 20, 64 << 20]


def percentiles(call, seconds):
    """(p50, p99, n) in microseconds."""
    now, samples = time.perf_counter_ns, []
    end = now() + int(seconds * 1e9)
    while True:
        t = now()
        call()
        t2 = now()
        samples.append(t2 - t)
        if t2 > end:
            break
    samples.sort()
    return samples[len(samples) // 2] / 1e3, samples[len(samples) * 99 // 100] / 1e3, len(samples)


def row(what, size, rounds, target=None):
    p50 = statistics.median(r[0] for r in rounds)
    r = {
        "what": what, "size": size, "batch": 0, "procs": 0, "unit": "us",
        "n": sum(r[2] for r in rounds), "value": p50,
        "low": min(r[0] for r in rounds), "high": max(r[0] for r in rounds),
        "p99": statistics.median(r[1] for r in rounds),
    }  # fmt: skip
    if target:
        text, limit = target
        r.update(target=text, met=p50 <= limit)
    return r


class Echo:
    """A forked process that sends 64 bytes back."""

    def __init__(self):
        self.socket, other = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self.socket.close()
            while data := other.recv(64):
                other.send(data)
            os._exit(0)
        other.close()

    def round_trip(self):
        self.socket.send(b"x" * 64)
        self.socket.recv(64)

    def close(self):
        self.socket.close()
        os.waitpid(self.pid, 0)


def cases(kv, echo):
    """(what, size, target, call)"""
    value = os.urandom(1024)
    counter = iter(range(1 << 60))
    out = [("ping-pong", 64, None, echo.round_trip)]
    for size in SIZES:
        key = [f"py-{os.getpid()}-{size}"]
        kv.set(key[0], bytes(size))
        out.append(("hit: get_buffers", size, ("<= 2 us", 2.0), lambda k=key: kv.get_buffers(k)))
    small = [f"py-{os.getpid()}-64"]
    out += [
        ("copy: get", 64, None, lambda: kv.get(small)),
        ("set, new key", 1024, None, lambda: kv.set(f"py-new-{next(counter)}", value)),
        ("set, existing key", 1024, None, lambda: kv.set("py-over", value)),
    ]
    return out, counter


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", default="127.0.0.1:31501", metavar="HOST:PORT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="per case and round (0.2)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    echo = Echo()  # forks, so before the client
    host, port = args.worker.rsplit(":", 1)
    kv = KVClient(host, int(port))
    kv.init()
    todo, counter = cases(kv, echo)
    rounds = [[] for _ in todo]
    for _ in range(args.rounds):
        for i, (_, _, _, call) in enumerate(todo):
            rounds[i].append(percentiles(call, args.seconds))
    rows = [row(what, size, r, target) for (what, size, target, _), r in zip(todo, rounds)]
    for i in range(0, next(counter), 1000):
        kv.delete([f"py-new-{k}" for k in range(i, i + 1000)])
    kv.delete(["py-over"] + [f"py-{os.getpid()}-{size}" for size in SIZES])
    echo.close()

    for r in rows:
        print(f"python {r['what']}, {r['size']} B: {r['value']:.3f} us "
              f"({r['low']:.3f}..{r['high']:.3f}) p99 {r['p99']:.3f}",
              file=sys.stderr if args.json else sys.stdout)  # fmt: skip
    if args.json:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        facts = {"python": float(".".join(platform.python_version_tuple()[:2]))}
        print(json.dumps({"bench": "python", "date": now, "facts": facts, "rows": rows}))


if __name__ == "__main__":
    main()
