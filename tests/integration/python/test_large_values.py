# SPDX-License-Identifier: Apache-2.0
"""Values larger than a segment of the disk: each has a segment of its own there."""

import os
import signal

import pytest

from yr.datasystem.errors import OutOfMemoryError
from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import WriteMode

from tier_nodes import start_again, used, value  # found through conftest.py

MIB = 1 << 20
BACK = WriteMode.WRITE_BACK_L2_CACHE
EVICTABLE = WriteMode.NONE_L2_CACHE_EVICT
SEGMENT = MIB
LARGE = [2 * MIB + 4097, 5 * MIB, 9 * MIB - 1, SEGMENT, 3 * MIB + 5, 700_000]


def size_of(i):
    return LARGE[i % len(LARGE)]


def kill_worker(kv, eventually):
    before = kv.worker_stats()["worker_pid"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: kv.worker_stats()["worker_pid"] != before)


@pytest.fixture(name="spill")
def spill_fixture(tmp_path):
    return {
        "shared_memory_size_mb": 48,
        "spill_directory": tmp_path / "spill",
        "spill_size_limit": 256 * MIB,
        "spill_file_max_size_mb": SEGMENT // MIB,
    }


@pytest.fixture(name="second")
def second_fixture(spill, tmp_path):
    return {**spill, "l2_cache_type": "sfs", "sfs_path": tmp_path / "l2"}


def test_more_of_them_than_memory_holds_are_read_back(start_worker, spill, eventually):
    worker = start_worker(**spill)
    keys = {f"k{i}": size_of(i) for i in range(45)}  # 160 MiB
    with KVClient(worker.host, worker.port) as kv:
        for key, size in keys.items():
            kv.set(key, value(key, size))
            assert used(spill["spill_directory"]) <= spill["spill_size_limit"]
        assert kv.worker_stats()["spilled_bytes"] > 100 * MIB
        for key, size in keys.items():
            assert kv.get([key]) == [value(key, size)]
        kill_worker(kv, eventually)
        for key, size in keys.items():
            assert kv.get([key]) == [value(key, size)]
        stats = kv.worker_stats()
        assert stats["evictions"] == stats["drops"] == stats["disk_corrupt"] == 0
    assert used(spill["spill_directory"]) <= spill["spill_size_limit"]


def test_they_are_there_after_the_end_of_everything(start_worker, spill):
    worker = start_worker(**spill)
    keys = {f"k{i}": size_of(i) for i in range(45)}
    with KVClient(worker.host, worker.port) as kv:
        for key, size in keys.items():
            kv.set(key, value(key, size))
        there = kv.worker_stats()["spilled_objects"]
        kv.delete(["k0"])
        kv.set("k1", b"newer")
    worker = start_again(start_worker, worker, **spill)
    with KVClient(worker.host, worker.port) as kv:
        found = [key for key, is_there in zip(keys, kv.exist(list(keys))) if is_there]
        assert len(found) >= there - 2
        assert not {"k0", "k1"} & set(found)
        for key in found:
            assert kv.get([key]) == [value(key, keys[key])]
        assert kv.worker_stats()["disk_corrupt"] == 0


def test_those_that_may_go_make_room_for_others(start_worker, spill):
    """Small ones fill the disk, then large ones, which need several segments at once, and again."""
    spill["spill_size_limit"] = 64 * MIB
    worker = start_worker(**spill)
    with KVClient(worker.host, worker.port) as kv:
        for turn in range(3):
            for i in range(300):
                kv.set(f"small{turn}.{i}", value(f"small{i}", 400_000), EVICTABLE)
            for i in range(20):
                key = f"large{turn}.{i}"
                kv.set(key, value(key, 12 * MIB), EVICTABLE)
                assert kv.get([key]) == [value(key, 12 * MIB)]
                assert used(spill["spill_directory"]) <= spill["spill_size_limit"]
        stats = kv.worker_stats()
        assert stats["drops"] > 300
        assert stats["spilled_objects"] > 0
        there = kv.exist([f"large2.{i}" for i in range(20)])
        assert sum(there) > 3  # memory has no room for more


def test_a_disk_full_of_what_must_stay_refuses_them(start_worker, spill):
    """What is on the disk can be read all the same, if it is not larger than 1/8 of the memory."""
    spill["spill_size_limit"] = 64 * MIB
    worker = start_worker(**spill)
    written = {}
    with KVClient(worker.host, worker.port) as kv:
        with pytest.raises(OutOfMemoryError):
            for i in range(100):
                key = f"k{i}"
                size = 700_000 if i % 4 else 5 * MIB
                kv.set(key, value(key, size))
                written[key] = size
        assert len(written) > 20
        for key, size in written.items():
            assert kv.get([key]) == [value(key, size)]
        kv.delete(list(written))
        for i in range(4):  # and takes them again
            kv.set(f"again{i}", value(f"again{i}", 12 * MIB))
        for i in range(4):
            assert kv.get([f"again{i}"]) == [value(f"again{i}", 12 * MIB)]
    assert used(spill["spill_directory"]) <= spill["spill_size_limit"]


def test_write_back_is_journalled_and_uploaded_after_a_kill(start_worker, second, eventually):
    worker = start_worker(**{**second, "l2_cache_async_write_rate_limit_mb": 1})
    keys = [f"k{i}" for i in range(4)]
    with KVClient(worker.host, worker.port) as kv:
        for key in keys:
            kv.set(key, value(key, 6 * MIB), BACK)
        stats = kv.worker_stats()
        assert stats["l2_waiting"] >= 3  # they did not wait for the upload
        assert stats["disk_live"] >= 24 * MIB
    worker = start_again(start_worker, worker, **second)
    with KVClient(worker.host, worker.port) as kv:
        for key in keys:
            assert kv.get([key]) == [value(key, 6 * MIB)]
        eventually(lambda: kv.worker_stats()["l2_waiting"] == 0)
    flags = {name: flag for name, flag in second.items() if not name.startswith("spill")}
    worker = start_again(start_worker, worker, **flags)
    with KVClient(worker.host, worker.port) as kv:
        for key in keys:
            assert kv.get([key]) == [value(key, 6 * MIB)]


def test_one_that_the_disk_cannot_take_is_written_through(start_worker, second):
    second["spill_size_limit"] = 32 * MIB  # 14 MiB are the most
    second["l2_cache_async_write_rate_limit_mb"] = 1
    worker = start_worker(**second)
    with KVClient(worker.host, worker.port) as kv:
        kv.set("k", value("k", 20 * MIB), BACK)
        assert kv.worker_stats()["disk_live"] == 0
    worker = start_again(start_worker, worker, **second)
    with KVClient(worker.host, worker.port) as kv:
        assert kv.get(["k"]) == [value("k", 20 * MIB)]
