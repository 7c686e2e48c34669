# SPDX-License-Identifier: Apache-2.0
"""dscli set, del and exist beside a worker that does not answer, and what the environment says."""
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DSCLI = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build/dev")).resolve() / "bin" / "dscli"
OK, FAILED, TIMED_OUT = 0, 1, 4
SLACK_S = 4  # for a machine that has other things to do

pytestmark = pytest.mark.skipif(not DSCLI.exists(), reason=f"{DSCLI} is not built")


def run(worker, command, *args, **env):
    """The exit status, stderr, and the seconds that it took."""
    start = time.monotonic()
    done = subprocess.run(
        [DSCLI, command, "-w", worker.address, *args],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        env={**os.environ, **env},
    )
    return done.returncode, done.stderr, time.monotonic() - start


@pytest.fixture(name="stopped")
def stopped_fixture(start_worker):
    """A worker whose processes are all stopped."""
    worker = start_worker(shared_memory_size_mb=64)
    pids = worker.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield worker
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    "command", [("set", "k", "v"), ("del", "k", "l", "m", "n"), ("exist", "k", "l", "m", "n")]
)
def test_the_limit_is_that_of_the_whole_command(stopped, command):
    status, stderr, took = run(stopped, command[0], "-t", "1", *command[1:])
    assert status == TIMED_OUT, stderr
    assert 0.9 < took < 1 + SLACK_S


def test_many_keys_share_the_limit(start_worker):
    worker = start_worker(shared_memory_size_mb=64)
    keys = [f"k{i}" for i in range(20_000)]
    status, stderr, took = run(worker, "del", "-t", "1ms", *keys)
    assert status == TIMED_OUT, stderr
    assert stderr.count("cannot delete") == 1
    assert took < SLACK_S
    assert run(worker, "del", *keys)[0] == OK


def test_a_tenant_in_the_environment_is_refused(worker):
    status, stderr, _ = run(worker, "exist", "k", DATASYSTEM_TENANT_ID="somebody")
    assert status == FAILED
    assert "DATASYSTEM_TENANT_ID is 'somebody'" in stderr


def test_the_time_to_connect_in_the_environment_is_for_programs(worker):
    """dscli has -t."""
    assert run(worker, "set", "k", "v", DATASYSTEM_CONNECT_TIME_MS="1")[0] == OK
