#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Saves a .safetensors file to the cache, tensor by tensor, and restores it without copies.

    checkpoint.py save model.safetensors --name run-7 --shard 0 --shards 2 &
    checkpoint.py save model.safetensors --name run-7 --shard 1 --shards 2 & wait
    checkpoint.py commit --name run-7 --shards 2
    checkpoint.py restore --name run-7          # also by a new worker, after everything was killed

The worker needs second-level storage: dscli start -w --l2_cache_type sfs --sfs_path DIR
"""
import argparse
import json
import zlib

import numpy as np

from yr.datasystem import KVClient, WriteMode

BATCH = 1000  # keys in one call
MODES = {"through": WriteMode.WRITE_THROUGH_L2_CACHE, "back": WriteMode.WRITE_BACK_L2_CACHE}


def save(kv, args):
    with open(args.file, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(length))
        header.pop("__metadata__", None)
        rows = []  # name, key, type, shape, offset in the file, size
        for i, name in enumerate(sorted(header)):
            t = header[name]
            begin, end = t["data_offsets"]
            if i % args.shards == args.shard:
                rows.append([name, f"{args.name}:tensor:{i}", t["dtype"], t["shape"],
                             8 + length + begin, end - begin])  # fmt: skip
        stored = [row for row in rows if row[5]]
        for i in range(0, len(stored), BATCH):
            part = stored[i : i + BATCH]
            buffers = kv.mcreate([r[1] for r in part], [r[5] for r in part], MODES[args.mode])
            for buffer, row in zip(buffers, part):
                f.seek(row[4])
                if f.readinto(buffer.MutableData()) != row[5]:  # from the file to shared memory
                    raise SystemExit(f"{args.file} ends early")
            kv.mset_buffer(buffers)  # durable when it returns
    kv.set(f"{args.name}:shard:{args.shard}", json.dumps([r[:4] + r[5:] for r in rows]),
           MODES[args.mode])  # fmt: skip
    print(f"saved {len(rows)} tensors, {sum(r[5] for r in rows)} bytes")


def commit(kv, args):
    """One set, when all shards are saved: who finds it finds everything."""
    shards = [f"{args.name}:shard:{i}" for i in range(args.shards)]
    if not all(kv.exist(shards)):
        raise SystemExit("not all shards are saved")
    kv.set(f"{args.name}:index", json.dumps(shards), MODES[args.mode])


def restore(kv, args):
    shards = json.loads(kv.get([f"{args.name}:index"])[0])
    rows = [row for shard in kv.get(shards) for row in json.loads(shard)]
    checksum = 0
    for name, key, dtype, shape, size in sorted(rows):
        data = kv.get_buffers([key])[0] if size else b""
        tensor = np.frombuffer(data, np.uint8)  # in place; torch.frombuffer(data, dtype=...) too
        checksum = zlib.crc32(tensor, checksum)
        if args.verbose:
            print(f"{name}: {dtype} {shape}")
    print(f"restored {len(rows)} tensors, {sum(r[4] for r in rows)} bytes, crc32 {checksum:08x}")


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("what", choices=["save", "commit", "restore"])
    p.add_argument("file", nargs="?", help="of save: a .safetensors file")
    p.add_argument("--name", default="checkpoint", help="start of the keys")
    p.add_argument("--mode", choices=MODES, default="through", help="write-through or write-back")
    p.add_argument("--shard", type=int, default=0)
    p.add_argument("--shards", type=int, default=1)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=31501)
    p.add_argument("--verbose", action="store_true", help="print each tensor that is restored")
    args = p.parse_args()
    if args.what == "save" and not args.file:
        p.error("save what? name a .safetensors file")
    with KVClient(args.host, args.port) as kv:
        {"save": save, "commit": commit, "restore": restore}[args.what](kv, args)


if __name__ == "__main__":
    main()
