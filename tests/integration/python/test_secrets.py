# SPDX-License-Identifier: Apache-2.0
"""Credentials in options reach keeper and worker, but not their command lines and logs, which others can read."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import WriteMode

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "l2"))
from s3_stub import ACCESS, BUCKET, REGION, SECRET, Stub  # noqa: E402

THROUGH = WriteMode.WRITE_THROUGH_L2_CACHE
KEYS = {"s3_access_key": ACCESS, "obs_secret_key": SECRET}


def figures(worker):
    return json.loads(worker.dscli("status", "--json", "-w", worker.address))


@pytest.mark.parametrize("given", ["flag", "environment", "file", "both"])
def test_secrets_are_in_no_command_line_and_no_log(start_worker, tmp_path, monkeypatch, eventually, given):
    with Stub() as stub:
        flags = {"shared_memory_size_mb": 64, "l2_cache_type": "s3", "s3_endpoint": stub.endpoint,
                 "s3_bucket": BUCKET, "s3_region": REGION, "log_dir": tmp_path}  # fmt: skip
        if given in ("flag", "both"):
            flags |= KEYS
        if given == "file":
            file = tmp_path / "worker_config.json"
            file.write_text(json.dumps(KEYS))
            flags["config_file"] = file
        for name, value in KEYS.items():
            if given == "environment":
                monkeypatch.setenv(f"DATASYSTEM_{name.upper()}", value)
            if given == "both":  # the flag wins
                monkeypatch.setenv(f"DATASYSTEM_{name.upper()}", "other")
        worker = start_worker(**flags)

        def check_hidden():
            assert len(worker.pids()) == 2
            for pid in worker.pids():
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
                assert SECRET not in line and ACCESS not in line
            log = (tmp_path / "datasystem_worker.INFO.log").read_text()
            assert SECRET not in log and ACCESS not in log

        def check_used(key):
            with KVClient(worker.host, worker.port) as kv:
                kv.set(key, b"value", THROUGH)
            assert any(f"k-{key}/" in name for name in stub.objects)
            check_hidden()

        check_used("first")
        for which, key in (("worker_pid", "second"), ("keeper_pid", "third"), ("worker_pid", "fourth")):
            before = figures(worker)[which]
            os.kill(before, signal.SIGKILL)
            eventually(lambda: figures(worker)[which] not in (0, before) and len(worker.pids()) == 2)
            check_used(key)
        worker.dscli("upgrade", "-w", worker.address)
        check_used("fifth")
