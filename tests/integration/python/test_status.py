# SPDX-License-Identifier: Apache-2.0
"""What dscli status and worker_stats() say of memory, disk and second-level storage."""

import ctypes
import json
import os
import platform
import re
import shutil
import signal
import struct
import subprocess

import pytest

from yr.datasystem.errors import DsError
from yr.datasystem.object_client import WriteMode

from tier_nodes import client, value  # found through conftest.py

MIB = 1 << 20
THROUGH = WriteMode.WRITE_THROUGH_L2_CACHE
BACK = WriteMode.WRITE_BACK_L2_CACHE
EVICTABLE = WriteMode.NONE_L2_CACHE_EVICT


def figures(worker):
    return json.loads(worker.dscli("status", "--json", "-w", worker.address))


def lines(worker):
    """{"memory/live": "1.0 MiB   1.6 %", ...}: a line that is indented belongs to the one before."""
    found = {}
    group = ""
    for line in worker.dscli("status", "-w", worker.address).splitlines():
        label, text = line[:14].rstrip(), line[15:].strip()
        if label.startswith("  "):
            label = f"{group}/{label.strip()}"
        else:
            group = label
        assert label not in found
        found[label] = text
    return found


@pytest.fixture(name="table")
def table_fixture(worker):
    return json.loads(worker.dscli("help", "--json"))["metrics"]


@pytest.fixture(name="spill")
def spill_fixture(tmp_path):
    return {
        "shared_memory_size_mb": 64,
        "spill_directory": tmp_path / "spill",
        "spill_size_limit": 128 * MIB,
    }


def test_every_metric_is_in_json_and_in_python(worker, table):
    status = figures(worker)
    about = ["running", "worker_address", "version", "last_trouble", "socket_path"]
    assert list(status) == about + [m["json"] for m in table]
    with client(worker) as kv:
        assert list(kv.worker_stats()) == [m["field"] for m in table]


def test_the_lines_of_memory_are_what_they_were(worker, table):
    with client(worker) as kv:
        kv.set("status", value("status"))
        there = lines(worker)
        old = """worker|version|worker pid|keeper pid|up|restarts|socket|memory|memory/live|memory/granted|memory/doomed
                 |memory/free|objects|clients|sets|evictions|expirations|deletes"""
        assert list(there)[:18] == re.sub(r"\s*\n\s*", "", old).split("|")
        assert there["memory"] == "256.0 MiB"
        assert re.fullmatch(r"[\d.]+ MiB +\d+\.\d %", there["memory/live"])
        assert there["clients"] == "1"
        kv.delete(["status"])


def test_tiers_that_are_not_used_have_no_lines(worker):
    assert not {"disk", "l2", "l2 queue"} & set(lines(worker))
    status = figures(worker)
    assert (status["disk_capacity_bytes"], status["l2_waiting_max"]) == (0, 0)


@pytest.mark.parametrize("policy", ["lru", "s3fifo"])
def test_the_policy_in_force_is_shown(start_worker, policy):
    worker = start_worker(shared_memory_size_mb=64, evict_policy=policy)
    assert figures(worker)["evict_policy"] == policy
    assert lines(worker)["evict policy"] == policy


def test_the_disk_shows_capacity_use_and_what_was_written(start_worker, spill, eventually):
    worker = start_worker(**spill)
    with client(worker) as kv:
        keys = [f"k{i}" for i in range(96)]
        for key in keys:
            kv.set(key, value(key))
        status = figures(worker)
        assert status["disk_capacity_bytes"] == 128 * MIB
        assert status["disk_live_bytes"] <= status["disk_used_bytes"] <= 128 * MIB
        assert 32 * MIB <= status["spilled_bytes"] <= status["disk_live_bytes"]
        assert status["disk_written_bytes"] >= status["spills"] * MIB >= 32 * MIB
        assert status["disk_errors"] == status["disk_corrupt"] == status["tier_errors"] == 0

        there = lines(worker)
        assert there["disk"] == "128.0 MiB"
        for label in ("used", "live", "spilled"):
            assert re.fullmatch(r"[\d.]+ MiB +\d+\.\d %", there[f"disk/{label}"])
        shown = int(there["disk/objects"])  # objects may still be leaving
        assert 32 <= status["spilled_objects"] <= shown <= figures(worker)["spilled_objects"]
        assert there["disk/rewritten"].endswith("(write amplification 1.00)")

        fetches = status["fetches"]
        assert kv.get(["k0"]) == [value("k0")]
        assert figures(worker)["fetches"] == fetches + 1
        kv.delete(keys)
        eventually(lambda: figures(worker)["disk_live_bytes"] == 0)
        assert figures(worker)["deletes"] == len(keys)


def test_what_nobody_reads_is_not_written(start_worker, spill, eventually):
    worker = start_worker(**spill, spill_admission="second")
    with client(worker) as kv:
        for i in range(160):  # as many as memory holds after the last that is read
            kv.set(f"k{i}", value(f"k{i}"), EVICTABLE)
            if i % 8 == 0 and i < 96:
                assert kv.get([f"k{i}"]) == [value(f"k{i}")]
        assert all(kv.exist([f"k{i}" for i in range(0, 96, 8)]))
        assert kv.get(["k0"]) == [value("k0")]  # from disk
        eventually(lambda: figures(worker)["memory_free_bytes"] > 6 * MIB)
        status = figures(worker)
        assert 0 < status["spills"] <= 12
        assert status["spill_written_bytes"] == status["spills"] * MIB
        assert status["spill_written_bytes"] <= status["disk_written_bytes"] <= 13 * MIB
        assert 84 <= status["spill_refusals"] == status["evictions"] == 160 - status["objects"]
        assert status["spill_refused_bytes"] == status["spill_refusals"] * MIB
        assert int(lines(worker)["disk/refusals"]) >= status["spill_refusals"]
        assert worker.dscli("why", "k1", "-w", worker.address).startswith("evicted from memory ")


def test_the_disk_shows_drops_and_the_wear_of_cleaning(start_worker, spill):
    worker = start_worker(**spill)
    with client(worker) as kv:
        for i in range(1200):  # half of each segment dies early: cleaning moves the other half
            kv.set(f"k{i}", value(f"k{i}", MIB // 4), EVICTABLE)
            if i >= 320 and i % 2 == 0:
                kv.delete([f"k{i - 320}"])
        status = figures(worker)
        assert status["drops"] > 0
        assert status["disk_rewritten_bytes"] > 0
        shown = float(re.search(r"write amplification ([\d.]+)", lines(worker)["disk/rewritten"])[1])
        right = 1 + status["disk_rewritten_bytes"] / status["disk_written_bytes"]
        assert shown >= 1 and abs(shown - right) < 0.1


def test_a_disk_full_of_evictable_values_is_not_worn_by_cleaning(start_worker, spill):
    worker = start_worker(**spill)
    with client(worker) as kv:
        data = value("k", 16 << 10)
        for at in range(0, 32000, 100):  # of which it keeps a quarter
            kv.mset([f"k{i}" for i in range(at, at + 100)], [data] * 100, EVICTABLE)
        status = figures(worker)
        assert status["drops"] > 0
        # All records live as long as any other: whole segments die. Was 1.8.
        assert status["disk_rewritten_bytes"] < status["disk_written_bytes"] / 5
        assert status["disk_live_bytes"] > status["disk_capacity_bytes"] * 3 / 4


def test_damage_on_disk_is_counted(start_worker, spill):
    worker = start_worker(**spill)
    with client(worker) as kv:
        for i in range(96):
            kv.set(f"k{i}", value(f"k{i}"))
        for path in spill["spill_directory"].iterdir():
            size = path.stat().st_size
            with open(path, "r+b") as file:
                for at in range(64 << 10, size, 64 << 10):
                    file.seek(at)
                    file.write(b"damaged!")
        with pytest.raises(DsError):
            kv.get(["k0"])
        status = figures(worker)
        assert status["disk_corrupt"] >= 1 and status["tier_errors"] >= 1


@pytest.fixture(name="volume")
def volume_fixture(tmp_path):
    """A file system of 320 MiB that nobody else uses."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=320m", "none", tmp_path], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no mount: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_capacity_that_is_not_given_stays_over_a_restart(start_worker, volume, eventually):
    worker = start_worker(shared_memory_size_mb=64, spill_directory=volume / "spill")
    with client(worker) as kv:
        keys = [f"k{i}" for i in range(240)]  # more than half of it
        for key in keys:
            kv.set(key, value(key))
        before = figures(worker)
        assert 300 * MIB < before["disk_capacity_bytes"] <= 304 * MIB
        os.kill(before["worker_pid"], signal.SIGKILL)
        eventually(lambda: figures(worker)["worker_pid"] != before["worker_pid"])
        after = figures(worker)
        assert after["disk_used_bytes"] >= before["disk_used_bytes"] > 160 * MIB
        assert abs(after["disk_capacity_bytes"] - before["disk_capacity_bytes"]) < MIB
        for key in keys[:32]:
            kv.set(key, value(key))  # there is room
        assert kv.get(keys[:32]) == [value(key) for key in keys[:32]]


@pytest.fixture(name="second")
def second_fixture(tmp_path):
    return {"shared_memory_size_mb": 64, "l2_cache_type": "sfs", "sfs_path": tmp_path / "l2"}


def test_second_level_storage_shows_its_queue_and_requests(start_worker, second, tmp_path, eventually):
    second["write_back_directory"] = tmp_path / "journal"
    second["l2_cache_async_write_rate_limit_mb"] = 1
    second["l2_cache_async_write_queue_size"] = 50
    worker = start_worker(**second)
    with client(worker) as kv:
        for i in range(5):
            kv.set(f"t{i}", value(f"t{i}", 1000), THROUGH)
        status = figures(worker)
        assert status["l2_requests"] == 5 and status["l2_errors"] == 0
        table = lines(worker)
        assert table["l2 queue"] == "50"
        kv.delete(["t0"])
        assert figures(worker)["l2_erased"] == 1

        room = os.statvfs(tmp_path)
        assert status["l2_capacity_bytes"] == room.f_blocks * room.f_frsize
        assert 0 < status["l2_free_bytes"] <= status["l2_capacity_bytes"]
        assert re.fullmatch(r"\d+\.\d \w+ +\d+\.\d %", table["l2/free"])
        # Nobody has gone through it yet: what is not known is not nothing.
        names = ("l2_objects", "l2_stored_bytes", "l2_gone", "l2_seen_ms")
        assert [status[name] for name in names] == [None] * 4 and status["l2_collections"] == 0
        assert table["l2/objects"] == table["l2/stored"] == table["l2/seen before"] == "unknown"

        for i in range(20):
            kv.set(f"b{i}", value(f"b{i}"), BACK)
        status = figures(worker)
        assert 0 < status["l2_waiting"] <= 20 and status["l2_waiting_max"] == 50
        assert status["l2_waiting_bytes"] == status["l2_waiting"] * MIB
        assert re.fullmatch(r"\d+ +\d+\.\d %", lines(worker)["l2 queue/waiting"])
        assert status["disk_written_bytes"] >= 20 * MIB  # the journal
        uploads = figures(worker)["l2_uploads"]
        eventually(lambda: figures(worker)["l2_uploads"] > uploads)


def test_failures_of_second_level_storage_are_counted(start_worker, second):
    worker = start_worker(**second)
    with client(worker) as kv:
        kv.set("k", b"v", THROUGH)
        shutil.rmtree(second["sfs_path"])
        with pytest.raises(DsError):
            kv.set("lost", b"v", THROUGH)
        status = figures(worker)
        assert status["l2_errors"] >= 1 and status["tier_errors"] >= 1
        assert int(lines(worker)["l2/errors"]) == status["l2_errors"]


def time_slice_ns(pid):
    """What sched_getattr(2) says; 0 where the kernel knows none for ordinary processes."""
    number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
    attr = struct.Struct("=IIQiIQQQ")
    buffer = ctypes.create_string_buffer(attr.size)
    assert ctypes.CDLL(None).syscall(number, pid, buffer, attr.size, 0) == 0
    return attr.unpack(buffer.raw)[5]


@pytest.mark.parametrize("asked", ["true", "false"])
def test_a_worker_runs_in_short_time_slices_unless_told_not_to(start_worker, asked):
    own = time_slice_ns(os.getpid())
    if own == 0:
        pytest.skip("this kernel has no time slices to ask for (Linux 6.12 has)")
    worker = start_worker(shared_memory_size_mb=64, enable_sched_runtime=asked)
    status = json.loads(worker.dscli("status", "--worker_address", worker.address, "--json"))
    assert time_slice_ns(status["worker_pid"]) == (100000 if asked == "true" else own)
    assert time_slice_ns(status["keeper_pid"]) == own
