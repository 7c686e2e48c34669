#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Spill of 1 MiB objects beside fio in the same directory.

The segment log alone (slog_bench), 8 puts under way, and fio with 8 writes of 1 MiB under way: both
make their files at full size, sync every 64 MiB and at the end, and the end counts. Then 8 reads
under way in random order of what was dropped from the page cache. Buffered, as the worker opens its
files; --direct does both with O_DIRECT.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import Report, arguments

DEPTH = 8
SEGMENT_MIB = 64


def log(args, folder):
    """{"write": bytes/s, "read": bytes/s}"""
    words = [args.bin / "slog_bench", folder, "spill", str(args.objects)]
    done = subprocess.run(words + ["direct"] * args.direct, capture_output=True, text=True,
                          check=False)  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"slog_bench: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    shutil.rmtree(folder / "slog")
    return {name: float(rate) for name, rate in map(str.split, done.stdout.splitlines())}


def one_fio(args, folder, name, *words):
    command = ["fio", "--name=spill", f"--filename={folder / 'fio'}", f"--size={args.objects}M",
               "--bs=1M", f"--ioengine={args.engine}", f"--iodepth={DEPTH}", "--thread",
               "--fallocate=posix", "--invalidate=1", f"--direct={int(args.direct)}",
               "--output-format=json", *words]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"fio: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    job = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
    return job[name]["io_bytes"] * 1e3 / job["job_runtime"]


def fio(args, folder):
    syncs = f"--fdatasync={SEGMENT_MIB}"
    rates = {"write": one_fio(args, folder, "write", "--rw=write", syncs, "--end_fsync=1"),
             "read": one_fio(args, folder, "read", "--rw=randread")}  # fmt: skip
    (folder / "fio").unlink()
    return rates


def main():
    parser = arguments(__doc__, 5)
    parser.add_argument("--objects", type=int, default=1024, help="of 1 MiB (1024)")
    parser.add_argument("--direct", action="store_true", help="O_DIRECT on both sides")
    parser.add_argument("--engine", default="io_uring", help="of fio (io_uring; else libaio)")
    args = parser.parse_args()
    if shutil.which("fio") is None:
        sys.exit("fio is not installed: apt-get install fio")
    report = Report("tiers: disk, direct" if args.direct else "tiers: disk", args)
    folder = Path(tempfile.mkdtemp(prefix="dstiers-", dir=args.directory))
    ours, theirs = [], []
    try:
        for _ in range(args.rounds):
            theirs.append(fio(args, folder))
            ours.append(log(args, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("write", "read"):
        report.row(f"spill, {name}, {DEPTH} under way", "GB/s", [r[name] / 1e9 for r in ours],
                   size=1 << 20, floor=("fio", [r[name] / 1e9 for r in theirs]))  # fmt: skip
    report.end()


if __name__ == "__main__":
    sys.exit(main())
