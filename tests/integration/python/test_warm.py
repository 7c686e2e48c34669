# SPDX-License-Identifier: Apache-2.0
"""A start without the old memory: what second-level storage has, too, comes from the disk, unless others wrote it."""

import json
import os
import signal
from pathlib import Path

import pytest

from yr.datasystem.errors import DsError
from yr.datasystem.object_client import WriteMode

from tier_nodes import client, start_again, value  # found through conftest.py

MIB = 1 << 20
THROUGH = WriteMode.WRITE_THROUGH_L2_CACHE
BACK = WriteMode.WRITE_BACK_L2_CACHE
KEYS = [f"k{i}" for i in range(160)]


@pytest.fixture(name="spill")
def spill_fixture(tmp_path):
    return {"spill_directory": tmp_path / "spill", "spill_size_limit": 1 << 29}


def fill(worker, mode, eventually):
    """Keys that are on disk and in second-level storage, and have left memory."""
    with client(worker) as kv:
        for key in KEYS:
            kv.set(key, value(key), mode)
        eventually(lambda: kv.worker_stats()["l2_waiting"] == 0)
        assert kv.worker_stats()["spilled_objects"] >= 96
        return KEYS[:90]


def worker_pid(worker):
    return json.loads(worker.dscli("status", "--json", "-w", worker.address))["worker_pid"]


def damage_second_level(second, stub=None):
    """All values there, behind their headers: whoever reads one gets an error."""
    if "sfs_path" not in second:
        for key, (data, when) in list(stub.objects.items()):
            if len(data) > MIB // 2:
                stub.objects[key] = (data[:2048] + bytes(len(data) - 2048), when)
        return
    for path in Path(second["sfs_path"]).rglob("*"):
        if path.is_file() and path.stat().st_size > MIB // 2:
            with open(path, "r+b") as file:
                file.seek(2048)
                file.write(bytes(path.stat().st_size - 2048))


@pytest.mark.parametrize("mode", [THROUGH, BACK])
def test_values_come_from_disk_after_the_end_of_everything(start_worker, spill, second, request, mode, eventually):
    flags = {**second, **spill}
    worker = start_worker(**flags)
    keys = fill(worker, mode, eventually)
    worker = start_again(start_worker, worker, **flags)
    damage_second_level(second, None if "sfs_path" in second else request.getfixturevalue("stub"))
    with client(worker) as kv:
        before = kv.worker_stats()
        assert before["objects"] >= len(keys) and before["l2_requests"] == 0
        for key in keys:
            assert kv.get([key]) == [value(key)]
        after = kv.worker_stats()
        assert after["fetches"] - before["fetches"] == len(keys)
        assert after["l2_loads"] == 0
        assert after["l2_requests"] == len(keys)  # once for each
        assert kv.exist(keys) == [True] * len(keys)
        for key in keys:  # most of them have left memory again
            assert kv.get([key]) == [value(key)]
        assert kv.worker_stats()["l2_requests"] == len(keys)


def test_what_others_wrote_meanwhile_is_seen(start_worker, spill, second, eventually):
    flags = {**second, **spill}
    worker = start_worker(**flags)
    keys = fill(worker, THROUGH, eventually)
    worker = start_again(start_worker, worker, **second)  # another one, without that disk
    with client(worker) as kv:
        for key in keys[:20]:
            kv.set(key, b"newer " + key.encode(), THROUGH)
        kv.delete(keys[20:40])
    worker = start_again(start_worker, worker, **flags)
    with client(worker) as kv:
        assert kv.worker_stats()["objects"] >= len(keys)
        assert kv.exist(keys[10:30]) == [True] * 10 + [False] * 10
        for key in keys[:20]:
            assert kv.get([key]) == [b"newer " + key.encode()]
        assert kv.get([*keys[20:40], keys[40]]) == [None] * 20 + [value(keys[40])]
        loads = kv.worker_stats()["l2_loads"]
        assert loads == 20
        for key in keys[40:]:
            assert kv.get([key]) == [value(key)]
        assert kv.worker_stats()["l2_loads"] == loads
    worker = start_again(start_worker, worker, **flags)  # what has ended does not come back
    with client(worker) as kv:
        assert kv.exist(keys[:40]) == [True] * 20 + [False] * 20
        assert kv.get(keys[:20]) == [b"newer " + key.encode() for key in keys[:20]]


def test_a_killed_worker_leaves_what_was_not_asked_for_unverified(start_worker, spill, second, eventually):
    flags = {**second, **spill}
    worker = start_worker(**flags)
    keys = fill(worker, THROUGH, eventually)
    other = start_again(start_worker, worker, **flags)
    with client(other) as kv:
        assert kv.get([keys[0]]) == [value(keys[0])]
        before = worker_pid(other)
        beside = start_worker(**second)
        with client(beside) as writer:
            writer.set(keys[1], b"newer", THROUGH)
            writer.delete([keys[2]])
        os.kill(before, signal.SIGKILL)
        eventually(lambda: worker_pid(other) not in (0, before))
        assert kv.get(keys[:3]) == [value(keys[0]), b"newer", None]


def test_storage_that_does_not_answer_is_told(start_worker, spill, store, stub, eventually):
    flags = {**store, **spill}
    worker = start_worker(**flags)
    keys = fill(worker, THROUGH, eventually)
    worker = start_again(start_worker, worker, **flags)
    with client(worker) as kv:
        assert kv.get([keys[0]]) == [value(keys[0])]
        stub.fault("status", times=1000000, value=(403, "AccessDenied"))
        for call in (lambda: kv.get([keys[1]]), lambda: kv.exist([keys[1]]), lambda: kv.expire([keys[1]], 60)):
            with pytest.raises(DsError):
                call()
        assert kv.get([keys[0]]) == [value(keys[0])]
        kv.set(keys[2], b"plain", WriteMode.NONE_L2_CACHE)
        assert kv.get([keys[2]]) == [b"plain"]
        stub.faults.clear()
        assert kv.get([keys[1]]) == [value(keys[1])]
        assert kv.worker_stats()["l2_loads"] == 0
