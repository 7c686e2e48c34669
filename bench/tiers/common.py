# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks of the tiers share: a node of their own, figures in the form of dsbench."""

import argparse
import datetime
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def arguments(doc, rounds):
    """The options that all of them have; the caller adds its own."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"repetitions ({rounds})")
    parser.add_argument("--directory", default=tempfile.gettempdir(), metavar="DIR",
                        help="on the disk to be measured (%(default)s)")  # fmt: skip
    parser.add_argument("--bin", type=Path, default=ROOT / "build" / "release" / "bin",
                        help="where dscli and dsbench are (build/release/bin)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the report on stdout as JSON")
    return parser


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, timeout_s=60.0, poll_s=0.02):
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {timeout_s:g} s")
        time.sleep(poll_s)


def gone(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat[stat.rindex(")") + 2] == "Z"


class Node:
    """with Node(...) as node: a running worker in a directory of its own on the measured disk."""

    def __init__(self, args, memory_mb, spill_bytes=0, **flags):
        self.bin = args.bin.resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="dstiers-", dir=args.directory))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.flags = {"shared_memory_size_mb": memory_mb, "log_dir": self.folder / "log", **flags}
        if spill_bytes:
            self.flags |= {
                "spill_directory": self.folder / "spill",
                "spill_size_limit": int(spill_bytes),
            }

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_):
        self.dscli("stop", "--worker_address", self.address)
        shutil.rmtree(self.folder, ignore_errors=True)

    def dscli(self, *words):
        return subprocess.run([self.bin / "dscli", *map(str, words)], cwd=self.folder,
                              capture_output=True, text=True, check=False)  # fmt: skip

    def start(self):
        flags = [f"--{name}={value}" for name, value in self.flags.items()]
        done = self.dscli("start", "-w", "--worker_address", self.address, *flags)
        if done.returncode != 0:
            sys.exit(f"dscli start: {done.stdout}{done.stderr}")

    def client(self):
        from yr.datasystem.kv_client import KVClient  # not needed by all of them

        client = KVClient("127.0.0.1", self.port)
        client.init()
        return client

    def stats(self):
        done = self.dscli("status", "--json", "--worker_address", self.address)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    @staticmethod
    def processor_us(pid):
        """Time that the threads of the worker `pid` have run."""
        times = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(path.read_text().split()[0]) for path in times) / 1e3

    def kill_all(self):
        """Keeper and worker, without a moment for either to replace the other: the memory goes."""
        stats = self.stats()
        pids = stats["keeper_pid"], stats["worker_pid"]
        os.kill(pids[1], signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(map(gone, pids)), "the end of keeper and worker", 30, 0.0005)

    def dsbench(self, command, *words):
        return dsbench(self.bin, command, "--worker", self.address, *words)


def p50_p99_us(times_ns):
    times = sorted(times_ns)
    return times[len(times) // 2] / 1e3, times[len(times) * 99 // 100] / 1e3


def dsbench(bin_dir, command, *words):
    done = subprocess.run([bin_dir / "dsbench", command, *map(str, words), "--json"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"dsbench {command}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


class Report:
    """Rows and facts, printed as they come; end() prints all of it as JSON if that was asked."""

    def __init__(self, name, args):
        self.name, self.json = name, args.json
        self.rows, self.facts = [], {}

    def say(self, text):
        print(text, file=sys.stderr if self.json else sys.stdout, flush=True)

    def row(self, what, unit, values, p99=None, floor=None, target=None, **more):
        """values: one a round. floor: (what, one value a round). target: (text, whether met)."""
        value = statistics.median(values)
        row = {"what": what, "size": 0, "batch": 0, "procs": 0, "unit": unit, "n": len(values),
               "value": value, "low": min(values), "high": max(values), **more}  # fmt: skip
        text = f"{what}: {value:.4g} {unit} ({min(values):.4g}..{max(values):.4g})"
        if p99:
            row["p99"] = statistics.median(p99)
            text += f"  p99 {row['p99']:.4g}"
        if floor:
            row["floor_what"], row["floor"] = floor[0], statistics.median(floor[1])
            row["ratio"] = statistics.median(v / f for v, f in zip(values, floor[1]))
            text += f"  {row['ratio']:.3g} of {floor[0]} {row['floor']:.4g}"
        if target:
            row["target"], row["met"] = target[0], bool(target[1](row))
            text += f"  [{target[0]}: {'yes' if row['met'] else 'NO'}]"
        self.rows.append(row)
        self.say(text)

    def fact(self, name, value):
        self.facts[name] = value
        self.say(f"  {name.replace('_', ' ')}: {value:.6g}")

    def end(self):
        if self.json:
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            print(json.dumps({"bench": self.name, "date": now, "facts": self.facts,
                              "rows": self.rows}))  # fmt: skip


def at_most(limit, unit=""):
    return f"<= {limit:g}{unit}", lambda row: row.get("ratio", row["value"]) <= limit

