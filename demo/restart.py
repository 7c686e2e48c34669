#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that outlives everything: the second part of checkpoint.py.

Two cases, each with a worker of its own. In "write-through" a save returns when second-level
storage, here a directory, holds it; in "write-back" when the journal in the spill directory does.
Several processes save a shard of the weights each, tensor by tensor from the .safetensors files
into shared memory, and the list of all is set last. Then savers, worker and keeper are killed. A
new worker on the same directories serves one process that maps every tensor, without copies, and
then a second one. The page cache of all files is dropped before, and for the second figures not.

Beside it: reading a .safetensors file and NumPy's and PyTorch's own from the same disk.
"""
import argparse
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

import common
import roles

WAIT_MS = 60000
KILL_S = 20
MIB = 1 << 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """A worker of the program's own, its files in `folder`."""

    def __init__(self, folder, memory, *flags):
        self.folder, self.port = folder, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.flags = ["--worker_address", self.address, "--shared_memory_size_mb", str(memory),
                      "--unix_domain_socket_dir", folder, *flags]  # fmt: skip

    def dscli(self, *args):
        done = subprocess.run(["dscli", *args], cwd=self.folder, capture_output=True, text=True,
                              check=False)  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"dscli {args[0]}: {done.stdout}{done.stderr}")

    def start(self):
        self.dscli("start", "-w", *self.flags)

    def pids(self):
        """Keeper and worker: the processes that were given this node's address."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:  # it ended meanwhile
                continue
            if f"--worker_address={self.address}".encode() in words:
                found.append(int(path.split("/")[2]))
        return found

    def kill(self):
        """End keeper, worker and memory at once, as a crash does."""
        end = time.monotonic() + KILL_S
        while pids := self.pids():  # the keeper may just have started another worker
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if time.monotonic() > end:
                raise RuntimeError(f"processes {pids} do not end")


class Role:
    """A saver or restorer: see roles.serve()."""

    def __init__(self, args):
        self.args = args
        self.tensors = roles.read_model(args.model_dir)
        self.keys = roles.keys_of("model", self.tensors)
        self.kv = None
        self.arrays = []

    def do_connect(self, port):
        from yr.datasystem.kv_client import KVClient

        self.kv = KVClient("127.0.0.1", int(port))
        self.kv.init()

    def do_save(self, mode, shard, shards):
        """The tensors of this shard, then their list. The shards have about the same size."""
        from yr.datasystem.object_client import WriteMode

        mode, shard, sizes = WriteMode[mode], int(shard), [0] * int(shards)
        mine = []
        for t, key in sorted(zip(self.tensors, self.keys), key=lambda p: -p[0].size):
            least = sizes.index(min(sizes))
            sizes[least] += t.size
            if least == shard:
                mine.append((key, t))
        roles.publish(self.kv, mine, mode)
        index = [[k, t.dtype, t.shape, t.size] for k, t in mine]
        self.kv.set(f"model:shard:{shard}", json.dumps(index), mode)

    def do_commit(self, mode, shards):
        """Set when all shards are there: who finds it finds everything."""
        from yr.datasystem.object_client import WriteMode

        self.kv.set("model:index", json.dumps({"shards": int(shards)}), WriteMode[mode])

    def do_restore(self):
        (index,) = self.kv.get(["model:index"], False, WAIT_MS)
        shards = self.kv.get([f"model:shard:{i}" for i in range(json.loads(index)["shards"])])
        index = [row for shard in shards for row in json.loads(shard)]
        arrays = dict(zip((row[0] for row in index), roles.map_arrays(self.kv, index, WAIT_MS)))
        self.arrays = [arrays[key] for key in self.keys]

    def do_file(self):
        self.arrays = roles.map_files(self.tensors)

    def do_numpy(self):
        with np.load(os.path.join(self.args.model_dir, "model.npz")) as npz:
            self.arrays = [npz[f"{i}"] for i in range(len(self.tensors))]

    def do_torch(self):
        import torch

        loaded = torch.load(os.path.join(self.args.model_dir, "model.pt"), weights_only=True)
        self.arrays = [t.numpy() for t in loaded]

    def do_write_others(self):
        """The same tensors in the formats of NumPy and, if it is installed, PyTorch."""
        arrays = roles.map_files(self.tensors)
        np.savez(os.path.join(self.args.model_dir, "model.npz"),
                 **{f"{i}": a for i, a in enumerate(arrays)})  # fmt: skip
        try:
            import torch
        except ImportError:
            return {"formats": ["file", "numpy"]}
        torch.save([torch.from_numpy(a) for a in arrays],
                   os.path.join(self.args.model_dir, "model.pt"))  # fmt: skip
        return {"formats": ["file", "numpy", "torch"]}

    def do_check(self):
        sums = roles.checksums(self.arrays)
        self.arrays = []
        return {"sums": sums}


def drop_page_cache(folder):
    """So that the next reads come from the disk."""
    for path, _, names in os.walk(folder):
        for name in names:
            fd = os.open(os.path.join(path, name), os.O_RDONLY | os.O_NONBLOCK) \
                if os.path.isfile(os.path.join(path, name)) else -1  # fmt: skip
            if fd >= 0:
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)


class Scene:
    """What runs, so that all of it can be ended."""

    def __init__(self, args, work):
        self.args, self.work = args, work
        self.model = os.path.join(work, "model")
        self.processes, self.nodes = [], []
        os.mkdir(self.model)
        for path in sorted(glob.glob(os.path.join(args.model_dir, "*.safetensors"))):
            shutil.copy(path, self.model)  # the same disk for everything
        tensors = roles.read_model(self.model)
        self.total, self.count = sum(t.size for t in tensors), len(tensors)
        self.largest = max(t.size for t in tensors)
        self.sums = roles.checksums(
            [roles.read_into(t, np.empty(t.size, np.uint8)) for t in tensors]
        )

    def processes_of(self, count, port=None):
        new = []
        for _ in range(count):
            new.append(roles.Process(__file__, "--model-dir", self.model))
            self.processes.append(new[-1])
        for p in new:
            p.hear()
        if port:
            roles.ask(new, f"connect {port}")
        return new

    def node(self, name, spill):
        folder = os.path.join(self.work, name)
        os.mkdir(folder)
        flags = ["--l2_cache_type", "sfs", "--sfs_path", os.path.join(folder, "l2")]
        if spill:
            segment = min(1024, max(64, self.largest * 5 // 4 // MIB))  # a tensor is one record
            flags += ["--spill_directory", os.path.join(folder, "spill"),
                      "--spill_file_max_size_mb", str(segment),
                      "--spill_size_limit", str(4 * self.total + 16 * segment * MIB)]  # fmt: skip
        node = Node(folder, max(256, 2 * self.total // MIB + 64), *flags)
        self.nodes.append(node)
        return node

    def take(self, what, port=None, check=True):
        """(seconds, process) of one new process that does `what`; its checksums are compared."""
        (p,) = self.processes_of(1, port)
        answer = roles.ask([p], what)[0]
        if check and roles.ask([p], "check")[0]["sums"] != self.sums:
            sys.exit(f"{what}: checksums differ from the file's")
        p.kill()
        return answer["end"] - answer["begin"]

    def end(self):
        for p in self.processes:
            p.kill()
        for node in self.nodes:
            node.kill()


def save_kill_restore(scene, name, mode, spill):
    """Seconds: save, then of a new worker: start, restore cold, restore again, restore warm."""
    n, result = scene.args.savers, {}
    node = scene.node(name, spill)
    node.start()
    savers = scene.processes_of(n, node.port)
    for i, saver in enumerate(savers):
        saver.tell(f"save {mode} {i} {n}")
    answers = [saver.hear() for saver in savers]
    committed = roles.ask(savers[:1], f"commit {mode} {n}")[0]
    result["save"] = committed["end"] - min(a["begin"] for a in answers)
    for kind in ("cold", "warm"):
        for saver in savers:
            saver.kill()
        node.kill()
        if kind == "cold":
            drop_page_cache(node.folder)
        begin = time.perf_counter()
        node.start()
        result["start"] = time.perf_counter() - begin
        result[kind] = scene.take("restore", node.port)
        result["again"] = scene.take("restore", node.port)
    node.dscli("stop", "--worker_address", node.address)
    return result


def others(scene):
    """{format: (seconds from the disk, seconds from the page cache)}"""
    formats = roles.ask(scene.processes_of(1), "write_others")[0]["formats"]
    result = {}
    for name in formats:
        drop_page_cache(scene.model)
        result[name] = scene.take(name), scene.take(name)
    return result


def report(scene, through, back, beside):
    ms = common.ms
    print(f"{scene.count} tensors, {scene.total / 1e6:.1f} MB, saved by {scene.args.savers} "
          "processes, everything killed, restored by a new worker: checksums equal")
    for what, r in (("write-through, from second-level storage", through),
                    ("write-back, from the spill directory", back)):
        print(f"  {what}: saved in {ms(r['save'])} ({scene.total / r['save'] / 1e9:.2f} GB/s)")
        print(f"    new worker serves after {ms(r['start'])}; restored in {ms(r['cold'])} from the "
              f"disk, {ms(r['warm'])} with page cache; by one more process in {ms(r['again'])}")
    names = {"file": "reading .safetensors", "numpy": "numpy.load", "torch": "torch.load"}
    for name, (cold, warm) in beside.items():
        print(f"  instead, {names[name]}: {ms(cold)} from the disk, {ms(warm)} with page cache")
    common.add_row(
        scene.args.row,
        f"Restart: the weights saved by {scene.args.savers} processes, everything killed, a new "
        "worker",
        "checksums equal, from second-level storage and from the spill directory",
        f"saved: write-through {ms(through['save'])}, write-back {ms(back['save'])}; restored: "
        f"{ms(through['cold'])} from second level, {ms(back['cold'])} from spill (page cache: "
        f"{ms(through['warm'])}, {ms(back['warm'])}); one more process {ms(back['again'])}",
        "; ".join(f"{names[name]} {ms(cold)} (page cache: {ms(warm)})"
                  for name, (cold, warm) in beside.items()),
    )  # fmt: skip


def run(args):
    work = args.work or tempfile.mkdtemp()
    if args.work:
        os.mkdir(work)
    scene = None
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        scene = Scene(args, work)
        report(
            scene,
            save_kill_restore(scene, "through", "WRITE_THROUGH_L2_CACHE", False),
            save_kill_restore(scene, "back", "WRITE_BACK_L2_CACHE", True),
            others(scene),
        )
    finally:
        if scene:
            scene.end()
        shutil.rmtree(work)
        signal.signal(signal.SIGTERM, former)


if __name__ == "__main__":  # a process of it; checkpoint.py is the program
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-dir", required=True, help="a directory with .safetensors files")
    roles.serve(Role(parser.parse_args()))
