# SPDX-License-Identifier: Apache-2.0
"""The log of keeper and worker, as rotation from outside meets it."""

import os
import signal


def test_a_log_that_is_truncated_goes_on_at_its_beginning(start_worker, tmp_path, eventually):
    """What logrotate's copytruncate does: no hole is left where the old lines were."""
    worker = start_worker(shared_memory_size_mb=64, log_dir=tmp_path)
    log = tmp_path / "datasystem_worker.INFO.log"
    assert "is ready after" in log.read_text()
    [worker_pid] = [pid for pid in worker.pids() if log_owner(pid) == "dsworker"]
    os.truncate(log, 0)
    os.kill(worker_pid, signal.SIGKILL)
    eventually(lambda: "is ready after" in log.read_text(), "a worker after the killed one")
    assert log.read_text().startswith("ts=")


def log_owner(pid):
    with open(f"/proc/{pid}/comm", encoding="ascii") as name:
        return name.read().strip()
