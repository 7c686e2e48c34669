# SPDX-License-Identifier: Apache-2.0
"""The directory of the disk is damaged, or cannot be read: a worker serves what is left and says so."""

import fcntl
import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time

import pytest

from yr.datasystem.errors import DsError
from yr.datasystem.object_client import WriteMode

from tier_nodes import client, value  # found through conftest.py

MIB = 1 << 20
BACK = WriteMode.WRITE_BACK_L2_CACHE
EVICTABLE = WriteMode.NONE_L2_CACHE_EVICT
KEYS = [f"k{i}" for i in range(128)]


def figures(worker):
    return json.loads(worker.dscli("status", "--json", "-w", worker.address))


def readable(kv, keys=KEYS):
    found = []
    for key in keys:
        try:
            data = kv.get([key])[0]
        except DsError:
            continue
        if data is not None:
            assert data == value(key)
            found.append(key)
    return found


def segments(folder):
    return sorted(folder.glob("*.seg"))


def make_unreadable(path):
    """Nobody, not even root, reads a directory as a file."""
    path.unlink()
    path.mkdir()


def kill_worker(worker, eventually):
    before = figures(worker)["worker_pid"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: figures(worker)["worker_pid"] not in (0, before))


@pytest.fixture(name="spill")
def spill_fixture(tmp_path):
    return {
        "shared_memory_size_mb": 64,
        "spill_directory": tmp_path / "spill",
        "spill_size_limit": 1 << 29,
    }


@pytest.fixture(name="second")
def second_fixture(tmp_path):
    return {"shared_memory_size_mb": 64, "l2_cache_type": "sfs", "sfs_path": tmp_path / "l2"}


def test_a_segment_that_cannot_be_read_costs_its_own_values_alone(start_worker, spill, eventually):
    worker = start_worker(**spill)
    with client(worker) as kv:
        for key in KEYS:
            kv.set(key, value(key))
        in_memory = figures(worker)["objects"] - figures(worker)["spilled_objects"]
        make_unreadable(segments(spill["spill_directory"])[1])
        kill_worker(worker, eventually)
        status = figures(worker)
        assert status["disk_errors"] == 1
        assert status["losses"] > 0
        found = readable(kv)
        assert len(found) == status["objects"] == 128 - status["losses"] >= in_memory
        assert len(found) >= 112  # a segment has 8 MiB
        lost = sorted(set(KEYS) - set(found))[0]
        assert worker.dscli("why", lost, "-w", worker.address).startswith("lost by damage on disk")
        kv.set(lost, value(lost))
        assert kv.get([lost]) == [value(lost)]
        assert len(list(spill["spill_directory"].glob("*.bad"))) == 1


def test_a_new_node_drops_or_keeps_what_may_be_outdated(start_worker, spill):
    worker = start_worker(**spill)
    with client(worker) as kv:
        for key in KEYS:
            kv.set(key, value(key), EVICTABLE if int(key[1:]) % 2 else WriteMode.NONE_L2_CACHE)
        there = figures(worker)["spilled_objects"]
    worker.kill()
    make_unreadable(segments(spill["spill_directory"])[1])
    worker = start_worker(**spill)
    with client(worker) as kv:
        found = readable(kv)
        assert found and all(int(key[1:]) % 2 == 0 for key in found)
        assert len(found) >= there / 2 - 9
    worker.kill()
    shutil.rmtree(next(spill["spill_directory"].glob("*.bad")))
    worker = start_worker(**spill)  # what was dropped is buried
    with client(worker) as kv:
        assert readable(kv) == found


def test_a_killed_worker_serves_its_memory_without_the_disk(start_worker, spill, second, eventually):
    worker = start_worker(**{**second, **spill})
    folder = spill["spill_directory"]
    with client(worker) as kv:
        for key in KEYS:
            kv.set(key, value(key))
        spilled = figures(worker)["spilled_objects"]
        folder.rename(folder.with_suffix(".away"))
        folder.write_text("not a directory")
        kill_worker(worker, eventually)
        status = figures(worker)
        assert status["disk_errors"] == status["disk_stopped"] == 1 and status["disk_capacity_bytes"] > 0
        assert status["objects"] == 128 and status["spilled_objects"] >= spilled > 0
        found = readable(kv)
        assert len(found) == 128 - status["spilled_objects"]
        kv.set("new", b"value", BACK)  # as write-through
        assert kv.get(["new"]) == [b"value"]
        kv.set(found[0], b"newer")
        away = [key for key in KEYS if key not in found]
        deleted = [found[1], *away[:2]]
        kv.delete(deleted)
        with pytest.raises(DsError):
            kv.get(away[-1:])
        folder.unlink()
        folder.with_suffix(".away").rename(folder)
        kill_worker(worker, eventually)
        assert figures(worker)["disk_errors"] == 0
        assert kv.get([found[0]]) == [b"newer"]
        assert kv.exist(deleted) == [False] * 3
        rest = [key for key in KEYS if key not in (found[0], *deleted)]
        assert readable(kv, rest) == rest


def without_its_disk(worker, folder, eventually, meanwhile):
    """A worker that is killed while its folder is away, and another one when that is back."""
    folder.rename(folder.with_suffix(".away"))
    folder.write_text("not a directory")
    kill_worker(worker, eventually)
    assert figures(worker)["disk_errors"] == 1
    meanwhile()
    folder.unlink()
    folder.with_suffix(".away").rename(folder)
    kill_worker(worker, eventually)
    assert figures(worker)["disk_errors"] == 0


def test_write_back_values_outlive_a_disk_that_was_away(start_worker, second, tmp_path, eventually):
    """What was acknowledged because the journal has it, is in the journal when the disk is back."""
    journal = tmp_path / "journal"
    second |= {"write_back_directory": journal, "l2_cache_async_write_rate_limit_mb": 1}
    worker = start_worker(**second)
    keys = KEYS[:40]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key), BACK)
        without_its_disk(worker, journal, eventually, lambda: None)
    worker.kill()
    worker = start_worker(**second)
    with client(worker) as kv:
        assert readable(kv, keys) == keys


def remove_all(folder):
    shutil.rmtree(folder)


def remove_segments(folder):
    for path in segments(folder):
        path.unlink()


@pytest.mark.parametrize("option", ["spill_directory", "write_back_directory"])
@pytest.mark.parametrize("remove", [remove_all, remove_segments])
def test_a_journal_that_is_removed_acknowledges_nothing(start_worker, second, tmp_path, eventually, remove, option):
    """Sets are stored in second-level storage at once, which the worker says and shows; its end takes nothing."""
    folder = tmp_path / "journal"
    second |= {option: folder, "l2_cache_async_write_rate_limit_mb": 1}
    worker = start_worker(**second, log_dir=tmp_path)
    log = tmp_path / "datasystem_worker.INFO.log"
    before, after = KEYS[:4], KEYS[4:12]
    with client(worker) as kv:
        for key in before:
            kv.set(key, value(key), BACK)
        assert figures(worker)["disk_stopped"] == 0
        eventually(lambda: figures(worker)["l2_waiting"] == 0)
        remove(folder)
        for key in after:
            kv.set(key, value(key), BACK)
        status = figures(worker)
        assert (status["disk_stopped"], status["l2_waiting"]) == (1, 0)
        assert re.search(r"^  stopped +1$", worker.dscli("status", "-w", worker.address), re.M)
        assert log.read_text().count("was removed or replaced while in use") == 1
        assert "write-back sets wait for second-level storage" in log.read_text()
        kv.delete([before[0], after[0]])
    worker.kill()
    worker = start_worker(**second)
    with client(worker) as kv:
        assert figures(worker)["disk_stopped"] == 0
        assert kv.exist([before[0], after[0]]) == [False] * 2
        assert readable(kv, before + after) == before[1:] + after[1:]


def test_a_killed_worker_journals_in_a_new_directory(start_worker, second, tmp_path, eventually):
    journal = tmp_path / "journal"
    second |= {"write_back_directory": journal, "l2_cache_async_write_rate_limit_mb": 1}
    worker = start_worker(**second)
    keys = KEYS[:16]
    with client(worker) as kv:
        for key in keys[:8]:
            kv.set(key, value(key), BACK)
        shutil.rmtree(journal)
        kv.set(keys[8], value(keys[8]), BACK)
        assert figures(worker)["disk_stopped"] == 1
        kill_worker(worker, eventually)
        assert figures(worker)["disk_stopped"] == 0
        assert readable(kv, keys[:9]) == keys[:9]
        for key in keys[9:]:
            kv.set(key, value(key), BACK)
        assert figures(worker)["l2_waiting"] > 0
        eventually(lambda: figures(worker)["l2_waiting"] < 7)  # those of before were first
    worker.kill()
    worker = start_worker(**second)
    with client(worker) as kv:
        assert readable(kv, keys) == keys


def test_a_lock_that_is_held_for_a_moment_costs_no_disk(start_worker, spill, eventually):
    """A killed worker may end late; so may whoever looks at its files."""
    worker = start_worker(**spill)
    with client(worker) as kv:
        for key in KEYS:
            kv.set(key, value(key))
        with open(spill["spill_directory"] / "lock", "rb") as lock:
            held = threading.Event()

            def hold():
                fcntl.flock(lock, fcntl.LOCK_EX)  # when the worker is killed
                held.set()
                time.sleep(1)
                fcntl.flock(lock, fcntl.LOCK_UN)

            thread = threading.Thread(target=hold)
            thread.start()
            kill_worker(worker, eventually)
            assert held.is_set()
            thread.join()
        assert figures(worker)["disk_errors"] == 0
        assert readable(kv) == KEYS


def test_what_may_come_back_from_a_disk_that_was_away_is_told(start_worker, spill, second, tmp_path, eventually):
    worker = start_worker(**{**second, **spill}, log_dir=tmp_path)
    log = tmp_path / "datasystem_worker.INFO.log"
    with client(worker) as kv:
        for key in KEYS:
            kv.set(key, value(key))
        old = readable(kv, KEYS[:8])  # back in memory, with copies

        def meanwhile():
            kv.delete(old[:4])
            for key in old[4:]:
                kv.set(key, b"new", WriteMode.WRITE_THROUGH_L2_CACHE)
            eventually(lambda: "a tombstone was not written" in log.read_text())

        without_its_disk(worker, spill["spill_directory"], eventually, meanwhile)
        assert "may come back from the directory as they were" in log.read_text()
    worker.kill()  # the disk was back in time
    worker = start_worker(**{**second, **spill})
    with client(worker) as kv:
        assert kv.exist(old[:4]) == [False] * 4
        assert kv.get(old[4:]) == [b"new"] * 4


def test_a_new_node_without_its_disk_does_not_start(start_worker, spill):
    spill["spill_directory"].write_text("not a directory")
    with pytest.raises(AssertionError, match="spill"):
        start_worker(**spill)


def test_a_write_back_value_damaged_in_the_journal_is_a_loss(start_worker, second, tmp_path, eventually):
    journal = tmp_path / "journal"
    second |= {"write_back_directory": journal, "l2_cache_async_write_rate_limit_mb": 1}
    worker = start_worker(**second)
    keys = KEYS[:30]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key), BACK)
    worker.kill()
    path = segments(journal)[-1]
    with open(path, "r+b") as file:
        data = file.read()
        at = data.index(value(keys[-1], 64)) + 1000
        file.seek(at)
        file.write(bytes([data[at] ^ 1]))
    second["l2_cache_async_write_rate_limit_mb"] = 0
    worker = start_worker(**second)
    eventually(lambda: figures(worker)["l2_waiting"] == 0)
    status = figures(worker)
    assert status["disk_corrupt"] >= 1
    assert status["losses"] == 1
    with client(worker) as kv:
        with pytest.raises(DsError):
            kv.get([keys[-1]])
        assert readable(kv, keys) == keys[:-1]


@pytest.fixture(name="open_files")
def open_files_fixture(monkeypatch):
    """open_files(soft, hard): the limits of programs that are started from now on."""

    def limit(soft, hard):
        def in_child():
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        monkeypatch.setattr(subprocess, "run", functools.partial(subprocess.run, preexec_fn=in_child))

    return limit


def fill(kv, n):
    for i in range(n):
        kv.set(f"k{i}", value(f"k{i}"))
    assert readable(kv, [f"k{i}" for i in range(n)]) == [f"k{i}" for i in range(n)]


def test_more_segments_than_the_soft_limit_of_open_files(start_worker, spill, open_files):
    open_files(128, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    worker = start_worker(**spill, spill_file_max_size_mb=2)
    with client(worker) as kv:
        fill(kv, 280)  # one in each segment, some in memory
        assert len(segments(spill["spill_directory"])) > 128


def test_fewer_open_files_than_the_disk_has_room_for(start_worker, spill, open_files):
    open_files(256, 256)
    worker = start_worker(**spill, spill_file_max_size_mb=2, max_client_num=10)
    with client(worker) as kv:
        assert figures(worker)["disk_capacity_bytes"] < 257 * MIB
        fill(kv, 100)
        with pytest.raises(DsError, match="memory"):
            fill(kv, 400)
        assert figures(worker)["disk_errors"] == 0
        assert len(segments(spill["spill_directory"])) <= 128


def test_a_directory_of_more_segments_than_open_files_is_used(start_worker, spill, open_files):
    worker = start_worker(**spill, spill_file_max_size_mb=2)
    keys = [f"k{i}" for i in range(160)]  # one in each segment, some in memory
    with client(worker) as kv:
        fill(kv, len(keys))
        there = figures(worker)["spilled_objects"]
    worker.kill()
    assert len(segments(spill["spill_directory"])) > 88
    open_files(256, 256)
    worker = start_worker(**spill, spill_file_max_size_mb=2, max_client_num=10)
    with client(worker) as kv:
        assert len(readable(kv, keys)) >= there
