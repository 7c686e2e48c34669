# SPDX-License-Identifier: Apache-2.0
"""A node (keeper and worker) for the fault tests: in a folder of its own, on a free port of the
loopback, with failpoints, and with a check that nothing of it is left at the end."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# How much longer everything takes with sanitizers: tools/run_tests.py sets it.
SLOWDOWN = float(os.environ.get("DS_TEST_SLOWDOWN", "1"))
ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build" / "dev")).absolute()
BIN = BUILD / "bin"


SO_ACCEPTCON = 0x10000  # of /proc/net/unix: it listens
SANITIZER = re.compile(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|: runtime error: ")


def program(name):
    return str(BIN / f"fault_{name}")


def has_failpoints():
    """Whether the build kills where it is told to."""
    return b"DS_FAILPOINTS_LOG" in (BIN / "dsworker").read_bytes()


def has_tsan():
    """TSan's shadow memory is the process's own, and it sees the races that a test is about."""
    return b"__tsan_init" in (BIN / "dsworker").read_bytes()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what="the condition", timeout_s=20):
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.003)


class Node:
    """with Node(...) as node: a running worker. Files and processes go at the end."""

    def __init__(self, size_mb=256, env=None, bin_dir=None, **flags):
        self.folder = Path(tempfile.mkdtemp(prefix="dsfault", dir="/tmp"))
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.bin = Path(bin_dir or BIN)
        self.fired_path = self.folder / "fired"
        self.flags = {
            "shared_memory_size_mb": size_mb,
            "unix_domain_socket_dir": self.folder / "run",
            "log_dir": self.folder / "log",
            **flags,
        }
        self.env = {**os.environ, "FAULT_PORT": str(self.port)}
        self.env.pop("DS_FAILPOINTS", None)
        self.node_env = {"DS_FAILPOINTS_LOG": str(self.fired_path), **(env or {})}

    def __enter__(self):
        done = self.start()
        if done.returncode != 0:
            self.clean_up()
            raise AssertionError(f"dscli start: {done.stdout}{done.stderr}")
        return self

    def __exit__(self, kind, *_):
        try:
            if self.processes():
                done = self.dscli("stop", "--worker_address", self.address)
                if kind is None:
                    assert done.returncode == 0, done.stdout + done.stderr
            if kind is None:
                self.check_gone()
        finally:
            if kind is not None:
                print("".join(self.log_lines()[-60:]))
            self.clean_up()

    def dscli(self, *args, env=None, timeout=120, wrap=()):
        return subprocess.run(
            [*wrap, self.bin / "dscli", *args],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def start(self, timeout=120, wrap=()):
        flags = [f"--{name}={value}" for name, value in self.flags.items()]
        return self.dscli(
            "start",
            "-w",
            "--worker_address",
            self.address,
            *flags,
            env=self.node_env,
            timeout=timeout,
            wrap=wrap,
        )

    def processes(self):
        """{pid: command name} of this node's processes, dscli apart."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                if self.address.encode() in line:
                    stat = (entry / "stat").read_text()
                    name = stat[stat.index("(") + 1 : stat.rindex(")")]
                    if name != "dscli" and stat[stat.rindex(")") + 2] != "Z":
                        found[int(entry.name)] = name
            except OSError:  # it ended meanwhile
                continue
        return found

    def pid(self, name):
        return next((p for p, n in self.processes().items() if n == name), None)

    def worker(self):
        return self.pid("dsworker")

    def keeper(self):
        """Its child is called like it until that has become a worker."""
        keepers = [p for p, n in self.processes().items() if n == "dskeeper"]
        return next((p for p in keepers if self.stat(p)[1:2] not in [[str(k)] for k in keepers]), None)

    def children(self, pid):
        """Quicker than processes(): for kill loops."""
        try:
            return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def stat(self, pid):
        """State, parent and so on of /proc/PID/stat; [] for one that is gone."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            return stat[stat.rindex(")") + 2 :].split()
        except OSError:
            return []

    def kill(self, pid, sig=signal.SIGKILL):
        try:
            os.kill(pid, sig)
            return True
        except ProcessLookupError:
            return False

    def kill_both(self):
        """Keeper and worker, without a moment for either to replace the other."""
        keeper, worker = self.keeper(), self.worker()
        self.kill(worker, signal.SIGSTOP)
        self.kill(keeper)
        self.kill(worker)
        wait_until(lambda: not self.processes(), "the end of keeper and worker")

    def open_files(self):
        """{command name: number of descriptors} of keeper and worker."""
        return {name: len(os.listdir(f"/proc/{p}/fd")) for p, name in self.processes().items()}

    def connections(self):
        """How many connections the worker has not closed, those whose client is gone included."""
        rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        path = str(self.folder / "run" / f"{self.address}.sock")
        return sum(r[-1] == path and int(r[3], 16) & SO_ACCEPTCON == 0 for r in rows[1:])

    def run(self, name, *args, timeout=120, env=None, wrap=()):
        return subprocess.run(
            [*wrap, program(name), *map(str, args)],
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def spawn(self, name, *args, env=None, wrap=()):
        return subprocess.Popen(
            [*wrap, program(name), *map(str, args)],
            env={**self.env, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def fired(self, action="", path=None):
        """{failpoint: how often it fired}, with one kind of action only if it is named; path: in
        programs with a log of their own."""
        counts = {}
        path = path or self.fired_path
        if path.exists():
            for line in path.read_text().splitlines():
                name, what = line.split(" ", 1)
                if what.startswith(action):
                    counts[name] = counts.get(name, 0) + 1
        return counts

    def log_lines(self):
        lines = []
        for path in sorted((self.folder / "log").glob("*")):
            lines += path.read_text(errors="replace").splitlines(True)
        return lines

    def sockets(self):
        run = self.folder / "run"
        return sorted(p.name for p in run.iterdir()) if run.exists() else []

    def check_gone(self):
        assert not self.processes(), f"left running: {self.processes()}"
        assert not self.sockets(), f"left in the socket directory: {self.sockets()}"
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", self.port)) != 0, "somebody still listens"

    def check_sanitizers(self):
        """A build with sanitizers tells in the log; a worker that dies of it is only restarted."""
        lines = self.log_lines()
        at = next((i for i, line in enumerate(lines) if SANITIZER.search(line)), None)
        assert at is None, "".join(lines[at : at + 40])

    def clean_up(self):
        try:
            self.check_sanitizers()
        finally:
            self.remove()

    def remove(self):
        for _ in range(10):
            left = self.processes()
            if not left:
                break
            for pid in left:
                self.kill(pid)
            time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)


def check_output(done):
    """A program of ours that found nothing wrong."""
    text = done.stdout if isinstance(done.stdout, str) else ""
    assert done.returncode == 0, f"exit status {done.returncode}\n{text[-4000:]}{done.stderr or ''}"
    assert "VIOLATION" not in text and "FATAL" not in text, text[-4000:]
    return text
