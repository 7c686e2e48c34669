# SPDX-License-Identifier: Apache-2.0
"""Workers for the integration tests: started by dscli in a folder of their own, and stopped by it.

After each stop, no process of the worker may be left. The dscli of the virtual environment that
runs the tests is used, else the one of DS_BUILD_DIR.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 60
STOP_S = 60


def find_dscli():
    beside = Path(sys.executable).with_name("dscli")
    built = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build" / "dev")) / "bin" / "dscli"
    for candidate in (beside, built, shutil.which("dscli")):
        if candidate and Path(candidate).exists():
            return str(candidate)
    pytest.fail("no dscli: run 'make python-package' or build first")
    return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what="the condition", timeout_s=20):
    """Returns the first true value of condition(); fails after timeout_s."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {timeout_s} s")
        time.sleep(0.005)


def holds_files(pid):
    """Whether a thread of it still runs: a killed process loses its command line before its locks."""
    for thread in Path("/proc").glob(f"{pid}/task/*/stat"):
        try:
            state = thread.read_text().rsplit(")", 1)[1].split()[0]
        except OSError:  # it ended meanwhile
            continue
        if state not in "ZX":
            return True
    return False


class Worker:
    """A running worker at host:port, with its files in folder; config_file is for dscli start -f."""

    host = "127.0.0.1"

    def __init__(self, folder, config_file=None, **flags):
        self.folder = Path(folder)
        self.killed = False
        self.port = free_port()
        self.address = f"{self.host}:{self.port}"
        self._dscli = find_dscli()
        flags.setdefault("shared_memory_size_mb", 256)
        command = ["start", *(["-f", str(config_file)] if config_file else []), "-w", "--worker_address", self.address]
        for name, value in flags.items():
            command += [f"--{name}", str(value)]
        self.start_output = self.dscli(*command, timeout=START_S)

    def dscli(self, *args, timeout=START_S):
        done = subprocess.run(
            [self._dscli, *args],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"dscli {' '.join(args)}: {output}"
        return output

    def pids(self):
        """Processes whose command line names the address, this one's children apart."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:  # it ended meanwhile
                continue
            if self.address.encode() in command:
                found.append(int(entry.name))
        return found

    def kill(self):
        """Ends everything of it at once, keeper and memory too."""
        seen = set()

        def ended():
            for pid in self.pids():  # the keeper may have started a worker just before its end
                seen.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not any(holds_files(pid) for pid in seen) and not self.pids()

        wait_until(ended, "the end of a killed node")
        self.killed = True

    def stop(self):
        if self.killed:
            return
        try:
            self.dscli("stop", "--worker_address", self.address, timeout=STOP_S)
        finally:
            left = self.pids()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        assert left == [], f"processes of {self.address} were left after dscli stop"


@pytest.fixture(name="start_worker")
def start_worker_fixture(tmp_path_factory):
    """start_worker(flag=value, ...) gives a worker that ends with the test."""
    workers = []

    def start(**flags):
        worker = Worker(tmp_path_factory.mktemp("worker"), **flags)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop()


@pytest.fixture(name="worker", scope="module")
def worker_fixture(tmp_path_factory):
    """One worker of 256 MiB for all tests of a file."""
    worker = Worker(tmp_path_factory.mktemp("worker"))
    yield worker
    worker.stop()


@pytest.fixture(name="eventually", scope="session")
def eventually_fixture():
    return wait_until
