#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""original.py HOST:PORT TRACE - a request trace through the Python API that the original has too.

For a worker with a spill directory, of this cache or of the original: run it with the interpreter that has the package in
question. One client; for each request exist() tells the prefix that is there, get_buffers() reads it in place (one byte of
each block), set() writes the rest in mode NONE_L2_CACHE. Ends when --blocks different blocks were set. Then some blocks are
read once more, in random order, and compared.
"""

import argparse
import json
import random
import sys
import time

from common import p50_p99_us
from yr.datasystem.kv_client import KVClient


def value_of(block, size):
    return (block * 0x9E3779B97F4A7C15 % (1 << 64)).to_bytes(8, "little") * (size // 8)


def requests(path):
    with open(path, encoding="utf-8") as trace:
        for line in trace:
            yield list(dict.fromkeys(json.loads(line)["hash_ids"]))


def replay(kv, args):
    known, hits, errors = set(), 0, 0
    begin = time.perf_counter()
    for blocks in requests(args.trace):
        keys = [f"block-{block}" for block in blocks]
        there = list(kv.exist(keys))
        n = there.index(False) if False in there else len(there)
        try:
            hits += len([memoryview(view)[0] for view in kv.get_buffers(keys[:n])]) if n else 0
        except RuntimeError:
            errors += 1
        for key, block in zip(keys[n:], blocks[n:]):
            try:
                kv.set(key, value_of(block, args.size))
                known.add(block)
            except RuntimeError:
                errors += 1
        if len(known) >= args.blocks:
            break
    return known, hits, errors, time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worker", metavar="HOST:PORT")
    parser.add_argument("trace", metavar="TRACE")
    parser.add_argument("--size", type=int, default=65536, help="of a block (65536)")
    parser.add_argument("--blocks", type=int, default=16384, help="different blocks (16384)")
    parser.add_argument("--reads", type=int, default=2000, help="afterwards (2000)")
    args = parser.parse_args()
    host, _, port = args.worker.rpartition(":")
    kv = KVClient(host, int(port))
    kv.init()
    known, hits, errors, seconds = replay(kv, args)
    print(f"blocks set {len(known)}, hits {hits}, errors {errors}, {seconds:.2f} s, "
          f"{(len(known) + hits) / seconds:.0f} blocks/s, {(len(known) + hits) * args.size / seconds / 1e6:.0f} MB/s")  # fmt: skip
    sample = random.Random(1).sample(sorted(known), min(args.reads, len(known)))
    times, wrong = [], 0
    for block in sample:
        begin = time.perf_counter_ns()
        view = kv.get_buffers([f"block-{block}"])[0]
        times.append(time.perf_counter_ns() - begin)
        wrong += bytes(memoryview(view)) != value_of(block, args.size)
        del view
    p50, p99 = p50_p99_us(times)
    print(f"one block at random: p50 {p50:.0f} us, p99 {p99:.0f} us, wrong {wrong}")


if __name__ == "__main__":
    sys.exit(main())
