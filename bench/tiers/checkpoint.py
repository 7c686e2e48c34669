#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Restoring a checkpoint after everything was killed, beside reading it from a .safetensors file.

Weights are saved with write-through (they come back from second-level storage, a directory) and with write-
back (from the spill directory). Keeper, worker and memory are killed; a new worker starts, and a new
process maps every tensor in place: "to arrays". Then it reads each byte once and checks the sums: "and read
once". The processor time is that of worker and client until then. "one more" is the same in the next
process. Beside it, in turn in each round: a new process that reads the file at once into private memory
(numpy.fromfile), and safetensors' own load_file(), where that is installed, of the same bytes on the same
disk. Cold: all files were dropped from the page cache before; warm: they lie in it.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from common import MIB, Node, Report, arguments, wait_until
from read import drop, load

LARGE, SMALL = 48, 8  # MiB of a tensor
FILE = "model.safetensors"
TOUCHED = 256 * MIB // 8  # doubles, twice: more than a process that restores needs


def sizes_of(total):
    """Bytes of the tensors: two large ones, as of embeddings, and many of a layer's."""
    sizes = [min(LARGE, total // 4)] * 2
    return [n * MIB for n in sizes + [SMALL] * max(1, (total - sum(sizes)) // SMALL)]


def key(i):
    return f"weights-{i}"


def sums(arrays):
    return [int(np.add.reduce(a.view(np.uint64))) for a in arrays]


def write_file(path, tensors):
    """Length of the header, the header, the bytes."""
    header, at = {}, 0
    for i, t in enumerate(tensors):
        header[key(i)] = {"dtype": "U8", "shape": [t.size], "data_offsets": [at, at + t.size]}
        at += t.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for t in tensors:
            f.write(t)


# --- a process that restores ---


def restore(kv):
    (count,) = kv.get(["weights"], False, 60000)
    return [np.frombuffer(b, np.uint8) for b in kv.get_buffers([key(i) for i in range(int(count))], 60000)]


def from_file(path):
    whole = np.fromfile(path, np.uint8)
    n = int.from_bytes(whole[:8].tobytes(), "little")
    header = json.loads(whole[8 : 8 + n].tobytes())
    return [whole[8 + n + a : 8 + n + b] for a, b in (header[key(i)]["data_offsets"] for i in range(len(header)))]


def take(how, where):
    """Ms to arrays, ms until they were read too, ms of processor time until then, and the sums: one line of
    JSON. Imports and the connection are done before."""
    if how == "restore":
        from yr.datasystem.kv_client import KVClient

        kv = KVClient("127.0.0.1", int(where))
        kv.init()
        call = lambda: restore(kv)  # noqa: E731
    elif how == "file":
        call = lambda: from_file(where)  # noqa: E731
    else:
        from safetensors.numpy import load_file

        call = lambda: (lambda named: [named[key(i)] for i in range(len(named))])(load_file(where))  # noqa: E731
    begin, processor = time.perf_counter(), time.process_time()
    arrays = call()
    mapped = time.perf_counter()
    found = sums(arrays)
    took = time.perf_counter() - begin
    processor = time.process_time() - processor
    print(json.dumps([(mapped - begin) * 1e3, took * 1e3, processor * 1e3, found]))


def taken(how, where, expected):
    # A virtual machine gets its memory from the host at the first touch, which takes up to a second for as much
    # as this: whoever comes first would pay it for the others.
    subprocess.run([sys.executable, "-c", f"import numpy; numpy.ones({2 * TOUCHED})"], check=True)
    done = subprocess.run([sys.executable, __file__, "--take", how, "--where", str(where)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{how}: {done.stderr}")
    *times, found = json.loads(done.stdout)
    if found != expected:
        sys.exit(f"{how}: other bytes than were saved")
    return times


# --- the rounds ---


class Times:
    """[to arrays, and read once, processor time] of each round, by what was done."""

    def __init__(self):
        self.all = {}

    def add(self, name, times):
        self.all.setdefault(name, []).append(times)

    def of(self, name, i):
        return [times[i] for times in self.all[name]]


def save(node, tensors, mode):
    from yr.datasystem.object_client import WriteMode

    with node.client() as kv:
        for i, t in enumerate(tensors):
            kv.set(key(i), t.data, WriteMode[mode])
        kv.set("weights", str(len(tensors)), WriteMode[mode])
        wait_until(lambda: kv.worker_stats()["l2_waiting"] == 0, "the uploads")


def processor_ms(pid):
    """Of all threads of a process, user and kernel."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def one_round(times, nodes, path, expected, formats):
    for state, prepare in ("cold", drop), ("warm", load):
        for name in random.sample([*nodes, *formats], len(nodes) + len(formats)):
            if name in formats:
                prepare(path.parent)
                times.add(f"{name}, {state}", taken(name, path, expected))
                continue
            node = nodes[name]
            node.kill_all()
            prepare(node.folder)
            node.start()
            pid = node.stats()["worker_pid"]
            before = processor_ms(pid)
            *arrays, processor = taken("restore", node.port, expected)
            times.add(f"{name}, {state}", [*arrays, processor + processor_ms(pid) - before])
            times.add(f"{name}, one more", taken("restore", node.port, expected))


def tell(report, times, nodes, formats):
    what = ("to arrays", "and read once", "processor time")
    for state in "cold", "warm":
        for name in formats[1:]:
            for i in range(3):
                report.row(f"{name}, {state}, {what[i]}", "ms", times.of(f"{name}, {state}", i))
        for name in nodes:
            for i in range(3):
                report.row(f"restored from {name}, {state}, {what[i]}", "ms", times.of(f"{name}, {state}", i),
                           floor=("the file", times.of(f"file, {state}", i)))  # fmt: skip
    for name in nodes:
        for i in 0, 1:
            report.row(f"one more process, {name}, {what[i]}", "ms", times.of(f"{name}, one more", i)[1::2],
                       floor=("the file, warm", times.of("file, warm", i)))  # fmt: skip


def main():
    parser = arguments(__doc__, 5)
    parser.add_argument("--mib", type=int, default=256, help="of weights (%(default)s)")
    parser.add_argument("--take", help="of a process that restores: how")
    parser.add_argument("--where", help="and what from")
    args = parser.parse_args()
    if args.take:
        return take(args.take, args.where)
    report = Report("tiers: checkpoint", args)
    rng = np.random.default_rng(7)
    tensors = [rng.integers(0, 256, n, np.uint8) for n in sizes_of(args.mib)]
    expected, total = sums(tensors), sum(t.size for t in tensors)
    formats = ["file"]
    try:
        import safetensors.numpy  # noqa: F401
    except ImportError:
        report.say("safetensors is not installed: pip install safetensors")
    else:
        formats.append("safetensors")
    report.fact("tensors", len(tensors))
    report.fact("MB", total / 1e6)
    times = Times()
    second = {"l2_cache_type": "sfs", "sfs_path": "l2"}  # in the folder of each
    with Node(args, 2 * args.mib, **second) as through, Node(
        args, 2 * args.mib, 4 * total + 16 * LARGE * MIB, spill_file_max_size_mb=2 * LARGE, **second
    ) as back:
        nodes = {"second level": through, "spill": back}
        path = back.folder / "file" / FILE
        path.parent.mkdir()
        write_file(path, tensors)
        save(through, tensors, "WRITE_THROUGH_L2_CACHE")
        save(back, tensors, "WRITE_BACK_L2_CACHE")
        for _ in range(args.rounds):
            one_round(times, nodes, path, expected, formats)
        for name, node in nodes.items():
            stats = node.stats()
            report.fact(f"{name}: read from second level", stats["l2_loads"])
            report.fact(f"{name}: read from spill", stats["fetches"])
    tell(report, times, nodes, formats)
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
