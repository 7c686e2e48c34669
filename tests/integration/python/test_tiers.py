# SPDX-License-Identifier: Apache-2.0
"""Below memory: spill to a local disk, write modes with a second level in a directory."""

import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from yr.datasystem.errors import DsError, OutOfMemoryError
from yr.datasystem.kv_client import KVClient, ReadParam
from yr.datasystem.object_client import CacheType, ConsistencyType, ObjectClient, WriteMode

from s3_stub import ACCESS, BUCKET, REGION, SECRET  # found through conftest.py
from tier_nodes import client, start_again, used, value  # found through conftest.py

ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20
NONE = WriteMode.NONE_L2_CACHE
THROUGH = WriteMode.WRITE_THROUGH_L2_CACHE
BACK = WriteMode.WRITE_BACK_L2_CACHE


@pytest.fixture(name="spill")
def spill_fixture(tmp_path):
    return {
        "shared_memory_size_mb": 64,
        "spill_directory": tmp_path / "spill",
        "spill_size_limit": 1 << 29,
    }


def test_four_times_the_memory_comes_back_from_disk(start_worker, spill, eventually):
    worker = start_worker(**spill)
    keys = [f"k{i}" for i in range(256)]
    highest = 0
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key))
            highest = max(highest, used(spill["spill_directory"]))
        stats = kv.worker_stats()  # a tenth is made free ahead of need
        eventually(lambda: kv.worker_stats()["memory_live"] <= 0.9 * stats["memory_size"])
        assert kv.exist(keys) == [True] * len(keys)
        for key in keys:
            assert kv.get([key]) == [value(key)]
        stats = kv.worker_stats()
        assert stats["objects"] == 256
        assert stats["spilled_objects"] >= 192
        assert stats["evictions"] == 0
    assert 128 * MIB < highest <= spill["spill_size_limit"]


def test_parts_of_spilled_values_in_one_batch(start_worker, spill):
    """More than one call looks up without allocating, of values that are here, on disk, and nowhere."""
    worker = start_worker(**spill)
    with client(worker) as kv:
        for i in range(60):
            kv.set(f"v{i}", value(f"v{i}", 2 * MIB))
        params = [ReadParam(f"v{i}", i * 1000, MIB if i % 2 else 0) for i in range(10)]
        params += [ReadParam("nobody", 0, 1), ReadParam("v3", 2 * MIB, 1)]
        params += [ReadParam(f"v{i}", 2 * MIB - 10, 100) for i in range(50, 60)]
        found = kv.read(params)
        for param, part in zip(params, found):
            offset, size = param.offset, param.size or 2 * MIB
            want = value(param.key, 2 * MIB)[offset : offset + size]
            if param.key == "nobody" or not want:
                assert part is None
            else:
                assert part.immutable_data() == want


def test_small_values_beyond_the_memory_are_all_there(start_worker, spill):
    """Set one after the other, as fast as it goes: no set waits, so none would tell of a loss."""
    worker = start_worker(**spill)
    with KVClient(worker.host, worker.port) as kv:
        keys = [f"small.{i}" for i in range(40000)]
        for key in keys:
            kv.set(key, key.encode() * 400)
        for at in range(0, len(keys), 1000):
            assert all(kv.exist(keys[at : at + 1000]))
        assert all(kv.get([key]) == [key.encode() * 400] for key in keys[::100])


def test_a_full_disk_refuses_what_may_not_be_dropped(start_worker, spill):
    spill["spill_size_limit"] = 128 * MIB
    worker = start_worker(**spill)
    with client(worker) as kv:
        written = []
        with pytest.raises(OutOfMemoryError):
            for i in range(400):
                kv.set(f"k{i}", value(f"k{i}"))
                written.append(f"k{i}")
        assert len(written) > 100
        for key in written:
            assert kv.get([key]) == [value(key)]
        kv.delete(written)
    assert used(spill["spill_directory"]) <= spill["spill_size_limit"]


def test_a_directory_belongs_to_one_worker(start_worker, spill):
    first = start_worker(**spill)
    with pytest.raises(AssertionError, match="is in use by process"):
        start_worker(**spill)
    with client(first) as kv:
        kv.set("k", b"goes on")


def test_evictable_values_push_the_oldest_off_the_disk(start_worker, spill):
    spill["spill_size_limit"] = 128 * MIB
    worker = start_worker(**spill)
    with client(worker) as kv:
        n = 0
        # The slower the disk, the more leave from memory instead: go on until enough were there.
        while n < 400 or (kv.worker_stats()["drops"] <= 100 and n < 4000):
            kv.set(f"k{n}", value(f"k{n}"), WriteMode.NONE_L2_CACHE_EVICT)
            n += 1
        assert kv.get([f"k{n - 1}"]) == [value(f"k{n - 1}")]
        assert kv.exist(["k0"]) == [False]
        stats = kv.worker_stats()
        assert stats["drops"] > 100
        assert stats["drops"] + stats["evictions"] + stats["objects"] == n


def test_views_stay_while_their_objects_leave_memory(start_worker, spill):
    worker = start_worker(**spill)
    with client(worker) as kv:
        kv.set("held", value("held"))
        [view] = kv.get_buffers(["held"])
        for i in range(128):
            kv.set(f"k{i}", value(f"k{i}"))
        assert bytes(view) == value("held")
        assert kv.get(["held"]) == [value("held")]


def test_what_was_spilled_is_there_after_the_end_of_everything(start_worker, spill):
    worker = start_worker(**spill)
    keys = [f"k{i}" for i in range(128)]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key))
        there = kv.worker_stats()["spilled_objects"]
        kv.delete(["k0", "k1"])
        kv.set("k2", b"newer")
    worker = start_again(start_worker, worker, **spill)
    with client(worker) as kv:
        found = [key for key, is_there in zip(keys, kv.exist(keys)) if is_there]
        assert len(found) >= there - 3
        assert not {"k0", "k1", "k2"} & set(found)
        for key in found:
            assert kv.get([key]) == [value(key)]


def test_spilled_values_survive_a_killed_worker(start_worker, spill, eventually):
    worker = start_worker(**spill)
    keys = [f"k{i}" for i in range(128)]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key))
        before = kv.worker_stats()
        os.kill(before["worker_pid"], signal.SIGKILL)
        eventually(lambda: kv.worker_stats()["worker_pid"] != before["worker_pid"])
        for key in keys:
            assert kv.get([key]) == [value(key)]


def test_time_to_live_holds_on_disk(start_worker, spill, eventually):
    worker = start_worker(**spill)
    with client(worker) as kv:
        kv.set("short", value("short"), ttl_second=2)
        kv.set("changed", value("changed"))
        for i in range(128):
            kv.set(f"k{i}", value(f"k{i}"))
        assert kv.exist(["short", "changed"]) == [True, True]
        assert kv.expire(["changed"], 2) == []
        eventually(lambda: kv.exist(["short", "changed"]) == [False, False])


def test_what_may_be_dropped_leaves_the_disk_between_its_watermarks(start_worker, spill):
    puts = 62 * MIB  # of 64 segments, two are left free
    worker = start_worker(
        **{**spill, "shared_memory_size_mb": 16, "spill_size_limit": 65 * MIB},
        spill_file_max_size_mb=1,
        spill_high_watermark_ratio=0.5,
        spill_low_watermark_ratio=0.25,
    )
    live = []
    with client(worker) as kv:
        for i in range(600):
            kv.set(f"k{i}", value("k", MIB // 4), WriteMode.NONE_L2_CACHE_EVICT)
            live.append(kv.worker_stats()["disk_live"])
    highest = max(live)
    assert 0.45 * puts < highest < 0.5 * puts + 3 * MIB
    assert min(live[live.index(highest) :]) < 0.25 * puts + 3 * MIB


def test_a_disk_object_is_in_memory_only_while_it_is_held(start_worker, spill, eventually):
    worker = start_worker(**spill)
    disk = {"consistency_type": ConsistencyType.PRAM, "cache_type": CacheType.DISK}
    with client(worker) as kv, ObjectClient(worker.host, worker.port) as objects:

        def spilled(n):
            return lambda: kv.worker_stats()["spilled_objects"] == n

        kv.set("m", value("m"))
        objects.put("o", value("o"), disk)
        eventually(spilled(1))
        buffer = objects.create("held", MIB, disk)
        buffer.memory_copy(value("held"))
        buffer.seal([])
        time.sleep(0.5)
        assert spilled(1)()
        del buffer
        eventually(spilled(2))
        view = objects.get(["o"], 1000)
        assert bytes(view[0].immutable_data()) == value("o")
        time.sleep(0.5)
        assert spilled(1)()
        del view
        eventually(spilled(2))
        assert kv.get(["held"]) == [value("held")]  # read once, and not held
        eventually(spilled(2))
        assert kv.worker_stats()["memory_live"] == MIB  # of m, which nothing drives out


def test_many_clients_read_spilled_values_at_a_time(start_worker, spill):
    worker = start_worker(**spill)
    keys = [f"k{i}" for i in range(192)]
    wrong = []
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key, 300000))
        for key in keys:
            kv.set(key + "x", value(key + "x", 300000))

        def read(part):
            with client(worker) as own:
                for key in keys[part::4] + keys[::7]:
                    if own.get([key]) != [value(key, 300000)]:
                        wrong.append(key)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_modes_of_the_second_level_need_one(start_worker):
    worker = start_worker(shared_memory_size_mb=64)
    with client(worker) as kv:
        for mode in (THROUGH, BACK, WriteMode.WRITE_BACK_L2_CACHE_EVICT):
            with pytest.raises(DsError, match="L2_cache_type is set to none"):
                kv.set("k", b"v", mode)


def test_write_through_survives_the_end_of_everything(start_worker, second):
    worker = start_worker(**second)
    keys = [f"k{i}" for i in range(40)]
    with client(worker) as kv:
        for key in keys[:20]:
            kv.set(key, value(key, 5000), THROUGH)
        assert kv.mset(keys[20:], [value(k, 5000) for k in keys[20:]], THROUGH) == []
        kv.set("big", value("big", 9 * MIB), THROUGH)
        kv.set(keys[3], value("newer", 4000), THROUGH)
        kv.delete([keys[4]])
    worker = start_again(start_worker, worker, **second)
    with client(worker) as kv:
        assert kv.exist(["big", keys[3], keys[4], "other"]) == [True, True, False, False]
        assert kv.get(["big"]) == [value("big", 9 * MIB)]
        assert kv.get([keys[3]]) == [value("newer", 4000)]
        assert kv.get([keys[4], keys[5]]) == [None, value(keys[5], 5000)]
        for key in keys[5:]:
            assert kv.get([key]) == [value(key, 5000)]


def with_slow_uploads(start_worker, second, tmp_path, limit_mb, n):
    """(a worker, n keys with write-back values in its journal, those that still wait for their upload)"""
    second["write_back_directory"] = tmp_path / "journal"
    second["l2_cache_async_write_rate_limit_mb"] = limit_mb
    worker = start_worker(**second)
    keys = [f"k{i}" for i in range(n)]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key), BACK)
        return worker, keys, kv.worker_stats()["l2_waiting"]


def test_write_back_survives_a_kill_before_its_upload(start_worker, second, tmp_path):
    worker, keys, waiting = with_slow_uploads(start_worker, second, tmp_path, 1, 30)
    assert waiting > 0
    second["l2_cache_async_write_rate_limit_mb"] = 0
    worker = start_again(start_worker, worker, **second)
    with client(worker) as kv:
        for key in keys:
            assert kv.get([key]) == [value(key)]


def test_a_worker_too_small_for_what_is_not_uploaded_does_not_start(start_worker, store, stub, tmp_path):
    store["write_back_directory"] = tmp_path / "journal"
    worker = start_worker(**store)
    with client(worker) as kv:
        stub.fault("status", method="PUT", times=100000, value=(503, "SlowDown"))
        kv.set("k", value("k", 20 * MIB), BACK)
    with pytest.raises(AssertionError, match="nowhere but on disk cannot be entered"):
        start_again(start_worker, worker, **{**store, "shared_memory_size_mb": 16})
    stub.faults.clear()
    with client(start_worker(**store)) as kv:
        assert kv.get(["k"]) == [value("k", 20 * MIB)]


def test_write_back_reaches_the_second_level(start_worker, second, tmp_path, eventually):
    second["write_back_directory"] = tmp_path / "journal"
    worker = start_worker(**second)
    keys = [f"k{i}" for i in range(20)]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key), BACK)
        eventually(lambda: kv.worker_stats()["l2_waiting"] == 0)
    del second["write_back_directory"]
    worker = start_again(start_worker, worker, **second)
    with client(worker) as kv:
        for key in keys:
            assert kv.get([key]) == [value(key)]


def test_a_stop_uploads_for_a_while_and_the_next_start_the_rest(start_worker, second, tmp_path, eventually):
    worker, keys, before = with_slow_uploads(start_worker, second, tmp_path, 4, 40)
    begin = time.monotonic()
    worker.stop()
    took = time.monotonic() - begin
    worker.killed = True  # not to be stopped again
    with client(start_worker(**second)) as kv:
        assert 3 < took < 6 and 0 < kv.worker_stats()["l2_waiting"] < before - 8
        eventually(lambda: kv.worker_stats()["l2_waiting"] == 0)
    del second["write_back_directory"]
    with client(start_worker(**second)) as kv:
        assert all(kv.get([key]) == [value(key)] for key in keys)


def test_write_back_of_a_value_larger_than_a_segment_is_durable(start_worker, second, tmp_path):
    second["spill_directory"] = tmp_path / "spill"
    second["spill_size_limit"] = 64 * MIB
    second["spill_file_max_size_mb"] = 1
    second["l2_cache_async_write_rate_limit_mb"] = 1
    worker = start_worker(**second)
    with client(worker) as kv:
        kv.set("big", value("big", 4 * MIB), BACK)
        kv.set("big", value("newer", 4 * MIB), BACK)
        kv.set("small_then_big", b"small", BACK)
        kv.set("small_then_big", value("big", 4 * MIB), BACK)
        kv.set("big_then_small", value("big", 4 * MIB), BACK)
        kv.set("big_then_small", b"small", BACK)
    worker = start_again(start_worker, worker, **second)
    with client(worker) as kv:
        assert kv.get(["big"]) == [value("newer", 4 * MIB)]
        assert kv.get(["small_then_big"]) == [value("big", 4 * MIB)]
        assert kv.get(["big_then_small"]) == [b"small"]


def test_more_than_memory_is_read_from_the_second_level(start_worker, second):
    worker = start_worker(**second)
    keys = [f"k{i}" for i in range(128)]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key), THROUGH)
        for key in keys:
            assert kv.get([key]) == [value(key)]
        stats = kv.worker_stats()
        assert stats["evictions"] > 60
        assert stats["l2_loads"] > 60


def test_what_the_second_level_has_is_read_from_disk_first(start_worker, spill, store, stub):
    worker = start_worker(**{**store, **spill})
    keys = [f"k{i}" for i in range(128)]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key), THROUGH)
        stub.fault("status", times=1000000, value=(503, "SlowDown"))
        for key in keys:
            assert kv.get([key]) == [value(key)]
        stats = kv.worker_stats()
        assert stats["spilled_objects"] >= 64
        assert stats["l2_loads"] == 0
        stub.faults.clear()


def test_copies_on_disk_alone_give_way_to_what_others_wrote(start_worker, spill, second):
    worker = start_worker(**{**second, **spill})
    keys = [f"k{i}" for i in range(96)]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key), THROUGH)
        assert kv.worker_stats()["spilled_objects"] >= 32
    worker = start_again(start_worker, worker, **second)  # another one, without that disk
    with client(worker) as kv:
        kv.set("k0", b"newer", THROUGH)
        kv.delete(["k1"])
    worker = start_again(start_worker, worker, **{**second, **spill})
    with client(worker) as kv:
        assert kv.worker_stats()["objects"] >= 32  # of which not all are good any more
        assert kv.get(["k0"]) == [b"newer"]
        assert kv.exist(["k1"]) == [False]
        for key in keys[2:]:
            assert kv.get([key]) == [value(key)]


def test_deleted_and_expired_values_stay_away(start_worker, second, eventually):
    worker = start_worker(**second)
    with client(worker) as kv:
        kv.set("d", b"deleted", THROUGH)
        kv.set("e", b"expired", THROUGH, 1)
        kv.set("x", b"expires later", THROUGH)
        assert kv.expire(["x"], 1) == []
        assert kv.delete(["d"]) == []
        eventually(lambda: kv.exist(["d", "e", "x"]) == [False, False, False])
    worker = start_again(start_worker, worker, **second)
    with client(worker) as kv:
        assert kv.exist(["d", "e", "x"]) == [False, False, False]


def test_insert_if_absent_sees_the_second_level(start_worker, second):
    from yr.datasystem.kv_client import ExistenceOpt

    worker = start_worker(**second)
    with client(worker) as kv:
        kv.set("k", b"first", THROUGH)
    worker = start_again(start_worker, worker, **second)
    with client(worker) as kv:
        assert kv.mset(["k", "l"], [b"second", b"other"], THROUGH, 0, ExistenceOpt.NX) == []
        assert kv.get(["k", "l"]) == [b"first", b"other"]


@pytest.mark.parametrize("mode", [NONE, WriteMode.NONE_L2_CACHE_EVICT])
def test_insert_if_absent_of_a_plain_mode_sees_the_second_level(start_worker, second, mode):
    worker = start_worker(**second)
    with client(worker) as kv:
        kv.set("k", b"first", THROUGH)
        kv.set("n", b"first", THROUGH)
    worker = start_again(start_worker, worker, **second)
    with client(worker) as kv:
        assert kv.mset_nx(["k", "l"], [b"second", b"other"], mode) == [False, True]
        assert kv.mset_nx(["l"], [b"third"], mode) == [False]
        assert kv.get(["k", "l"]) == [b"first", b"other"]
        kv.set("n", b"plain", mode)  # asks nobody, and hides what is there
        assert kv.get(["n"]) == [b"plain"]


def test_evictable_values_do_not_wait_for_a_store_that_is_away(start_worker, store, stub):
    worker = start_worker(**store)
    stub.fault("status", times=1000000, value=(503, "SlowDown"))
    with KVClient(worker.host, worker.port, req_timeout_ms=2000) as kv:
        for i in range(300):
            kv.set(f"k{i}", value(f"k{i}"), WriteMode.NONE_L2_CACHE_EVICT)
        assert kv.get(["k299"]) == [value("k299")]
        assert kv.worker_stats()["evictions"] > 200
    stub.faults.clear()


def test_insert_if_absent_that_cannot_ask_is_told(start_worker, store, stub):
    worker = start_worker(**store)
    with KVClient(worker.host, worker.port, req_timeout_ms=1000) as kv:
        stub.fault("status", times=100000, value=(503, "SlowDown"))
        with pytest.raises(DsError):
            kv.mset_nx(["k"], [b"value"])
        stub.faults.clear()
        assert kv.mset_nx(["k"], [b"value"]) == [True]
        assert kv.get(["k"]) == [b"value"]


def test_a_waiting_get_finds_what_is_set_later(start_worker, second):
    worker = start_worker(**second)
    with client(worker) as kv:
        timer = threading.Timer(0.2, lambda: kv.set("late", b"value", THROUGH))
        timer.start()
        assert kv.get(["late"], False, 10000) == [b"value"]
        timer.join()


def test_a_store_that_refuses_is_told_and_nothing_changes(start_worker, store, stub):
    worker = start_worker(**store)
    with client(worker) as kv:
        kv.set("k", b"first", THROUGH)
        stub.fault("status", method="PUT", times=1000, value=(403, "AccessDenied"))
        with pytest.raises(DsError):
            kv.set("k", b"second", THROUGH)
        assert kv.get(["k"]) == [b"first"]
        kv.set("memory", b"goes on")
        assert kv.get(["memory"]) == [b"goes on"]
        stub.faults.clear()
        kv.set("k", b"third", THROUGH)
        assert kv.get(["k"]) == [b"third"]


def test_an_unreachable_store_is_no_missing_key(start_worker, store, stub):
    worker = start_worker(**store)
    with client(worker) as kv:
        kv.set("k", b"value", THROUGH)
    worker = start_again(start_worker, worker, **store)
    with KVClient(worker.host, worker.port, req_timeout_ms=3000) as kv:
        stub.fault("status", times=100000, value=(503, "SlowDown"))
        with pytest.raises(DsError) as failed:
            kv.get(["k"])
        assert "Key not found" not in str(failed.value)
        kv.set("memory", b"goes on")
        assert kv.get(["memory"]) == [b"goes on"]
        stub.faults.clear()
    with client(worker) as kv:
        assert kv.get(["k"]) == [b"value"]


def test_flipped_bits_in_the_store_are_never_returned(start_worker, store, stub):
    worker = start_worker(**store)
    with client(worker) as kv:
        kv.set("k", value("k", 3000), THROUGH)
    worker = start_again(start_worker, worker, **store)
    with stub.lock:
        for name, (data, when) in stub.objects.items():
            if "k-k/" in name:
                stub.objects[name] = (data[:-5] + bytes([data[-5] ^ 4]) + data[-4:], when)
    with client(worker) as kv:
        with pytest.raises(DsError) as failed:
            kv.get(["k"])
        assert "Key not found" not in str(failed.value)
        kv.set("k", b"again", THROUGH)
        assert kv.get(["k"]) == [b"again"]


def impatient(worker, timeout_ms):
    kv = KVClient(worker.host, worker.port, req_timeout_ms=timeout_ms)
    kv.init()
    return kv


def fails(call, *args):
    try:
        call(*args)
    except DsError:
        return True
    return False


def beside(second, *commands):
    """What another worker with its own clock does: each command is (name, key, version, ...)."""
    tool = [Path(os.environ.get("DS_BUILD_DIR", ROOT / "build" / "dev")) / "bin" / "l2_tool"]
    if "sfs_path" in second:
        tool += [f"dir={second['sfs_path']}"]
    else:
        tool += [f"endpoint={second['s3_endpoint']}", f"bucket={BUCKET}", f"region={REGION}"]
        tool += [f"access={ACCESS}", f"secret={SECRET}"]
    for command in commands:
        subprocess.run([*map(str, tool), *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def test_another_clock_that_is_ahead_stops_nobody(start_worker, second, tmp_path, eventually):
    second["write_back_directory"] = tmp_path / "journal"
    worker = start_worker(**second)
    ahead_ns = 3600 * 10**9
    ahead = time.time_ns() + ahead_ns
    beside(second, *[("put", key, ahead, 100, 1) for key in ("through", "back", "gone", "read")])
    with client(worker) as kv:
        kv.set("through", b"new", THROUGH)
        kv.delete(["gone"])
        beside(second, ("put", "back", ahead + 10**9, 100, 1), ("remove", "deleted", ahead + 10**9))
        kv.set("back", b"new", BACK)
        kv.set("deleted", b"new", BACK)
        kv.get(["read"])
        kv.set("read", b"new", BACK)
        eventually(lambda: kv.worker_stats()["l2_waiting"] == 0)
        stats = kv.worker_stats()
        assert (stats["tier_errors"], stats["l2_errors"]) == (0, 0)
        for version in (2**64 - 1, 2**63 - 2**20, time.time_ns() + 48 * ahead_ns):
            key = f"damaged{version}"
            beside(second, ("put", key, version, 100, 1))
            kv.get([key])
            with pytest.raises(DsError, match="unavailable"):  # and not: later, or the buffer is old
                kv.set(key, b"new", THROUGH)
        kv.set("sane", b"new", THROUGH)  # others may still write what this worker writes
        beside(second, ("put", "sane", time.time_ns() + 2 * ahead_ns, 100, 1))
    del second["write_back_directory"]
    worker = start_again(start_worker, worker, **second)
    with client(worker) as kv:
        assert kv.get(["through", "back", "deleted", "read"]) == [b"new"] * 4
        assert kv.exist(["gone"]) == [False]


def test_an_upload_gives_way_to_a_later_write_of_another_worker(
    start_worker, second, tmp_path, eventually
):
    other = start_worker(**second)
    second["write_back_directory"] = tmp_path / "journal"
    second["l2_cache_async_write_rate_limit_mb"] = 1
    worker = start_worker(**second)
    with client(worker) as kv, client(other) as theirs:
        for i in range(3):
            kv.set(f"k{i}", value(f"k{i}"), BACK)
        for key in ("set", "deleted", "own"):
            kv.set(key, b"ours", BACK)
        theirs.set("set", b"theirs", THROUGH)
        theirs.delete(["deleted"])
        assert kv.worker_stats()["l2_waiting"] > 3
        eventually(lambda: kv.worker_stats()["l2_waiting"] == 0)
        assert kv.get(["set", "own"]) == [b"theirs", b"ours"]
        assert kv.exist(["deleted"]) == [False]
        assert theirs.get(["own"]) == [b"ours"]


def test_an_expiry_applies_to_what_another_worker_has_written_since(start_worker, second, tmp_path):
    other = start_worker(**second)
    second["write_back_directory"] = tmp_path / "journal"
    with client(start_worker(**second)) as kv, client(other) as theirs:
        kv.set("back", b"ours", BACK)
        for key in ("set", "deleted", "own", "brief"):
            kv.set(key, b"ours", THROUGH)
        kv.get(["set", "own"])
        theirs.set("set", b"theirs", THROUGH)
        theirs.set("back", b"theirs", THROUGH)
        theirs.delete(["deleted"])
        assert kv.expire(["set", "back", "own"], 3600) == []
        with pytest.raises(DsError, match="not found"):
            kv.expire(["deleted"], 3600)
        assert kv.get(["set", "back", "own"]) == [b"theirs", b"theirs", b"ours"]
        for ttl_s in (1000, 2000, 3000):  # both keep them alive, and the last word counts
            assert theirs.expire(["own", "brief"], ttl_s) == []
            assert kv.expire(["own", "brief"], ttl_s - 500) == []
        assert theirs.expire(["brief"], 0, ttl_ms=1) == []
        beside(second, ("put", "clock", time.time_ns() + 3600 * 10**9, 100, 1))
        theirs.get(["clock"])  # both follow that one from the same number on
        theirs.set("ahead", b"older", THROUGH)
        assert kv.expire(["ahead"], 3600) == []
        theirs.set("ahead", b"theirs", THROUGH)
        assert kv.expire(["ahead"], 3600) == []
        assert kv.get(["ahead"]) == [b"theirs"]
        assert kv.exist(["deleted"]) == [False]
    with client(start_worker(**second | {"write_back_directory": tmp_path / "journal2"})) as kv:
        assert kv.get(["set", "back", "own"]) == [b"theirs", b"theirs", b"ours"]
        assert kv.exist(["deleted", "brief"]) == [False, False]


def test_what_a_start_finds_gives_way_to_a_later_write_of_another_worker(
    start_worker, second, tmp_path, eventually
):
    other = start_worker(**second)
    second["write_back_directory"] = tmp_path / "journal"
    second["l2_cache_async_write_rate_limit_mb"] = 1
    worker = start_worker(**second)
    with client(other) as theirs:
        theirs.set("own", b"older", THROUGH)
        with client(worker) as kv:
            for i in range(3):
                kv.set(f"k{i}", value(f"k{i}"), BACK)
            for key in ("set", "deleted", "own"):
                kv.set(key, b"ours", BACK)
        worker.kill()
        theirs.set("set", b"theirs", THROUGH)
        beside(second, ("remove", "deleted", time.time_ns() + 3600 * 10**9))  # its clock is ahead
        with client(start_worker(**second)) as kv:
            eventually(lambda: kv.worker_stats()["l2_waiting"] == 0)
            assert kv.get(["set", "own"]) == [b"theirs", b"ours"]
            assert kv.exist(["deleted"]) == [False]
    del second["write_back_directory"]
    with client(start_worker(**second)) as kv:
        assert kv.get(["set", "own"]) == [b"theirs", b"ours"]


def test_a_replaced_directory_is_used_again(start_worker, tmp_path):
    folder = tmp_path / "l2"
    worker = start_worker(shared_memory_size_mb=64, l2_cache_type="sfs", sfs_path=folder)
    with client(worker) as kv:
        kv.set("before", b"old", THROUGH)
        shutil.rmtree(folder)
        with pytest.raises(DsError):
            kv.set("gone", b"x", THROUGH)
        folder.mkdir()
        for i in range(30):
            kv.set(f"k{i}", b"new", THROUGH)
        kv.set("before", b"new", THROUGH)
        kv.delete(["k0"])
        assert kv.exist(["before", "k0", "k1"]) == [True, False, True]


def test_given_up_requests_leave_room_for_others(start_worker, store, stub):
    worker = start_worker(**store)
    with impatient(worker, 300) as kv, ThreadPoolExecutor(16) as threads:
        stub.fault("hang", times=1 << 20, value=3)
        failed = threads.map(lambda i: fails(kv.set, f"x{i}", b"1", THROUGH), range(80))
        assert all(failed)
        failed = threads.map(lambda i: fails(kv.delete, [f"y{i}"]), range(64))
        assert all(failed)
        kv.set("plain", b"2")
        assert kv.get(["plain"]) == [b"2"]
        stub.faults.clear()


def test_blocks_of_sets_that_found_no_slot_are_used_again(start_worker, store, stub):
    size = 256 << 10
    worker = start_worker(**store)
    with impatient(worker, 500) as kv, client(worker) as other:
        stub.fault("hang", times=1 << 20, value=4)
        begun = threading.Barrier(65)

        def wait_for(i):  # a slot until one second after the time is over
            begun.wait()
            return fails(kv.get, [f"missing{i}"], False, 500)

        with ThreadPoolExecutor(64 + 32) as threads:
            waiting = [threads.submit(wait_for, i) for i in range(64)]
            begun.wait()
            sets = threads.map(lambda i: fails(kv.set, f"x{i}", bytes(size), THROUGH), range(32))
            assert all(sets)
            assert all(w.result() for w in waiting)
        before = other.worker_stats()["memory_granted"]
        for i in range(32):
            kv.set(f"plain{i}", bytes(size))
        assert before - other.worker_stats()["memory_granted"] >= 16 * size  # more, but for busy processors
        stub.faults.clear()


def test_a_batch_larger_than_memory_comes_to_an_end(start_worker, tmp_path):
    worker = start_worker(shared_memory_size_mb=16, l2_cache_type="sfs", sfs_path=tmp_path / "l2")
    keys = [f"s{i}" for i in range(40)]
    with client(worker) as kv:
        for key in keys:
            kv.set(key, value(key), THROUGH)
    with impatient(worker, 1000) as kv:
        try:
            for key, got in zip(keys, kv.get(keys)):
                assert got in (None, value(key))
        except DsError:
            pass
        assert kv.get(["s1"]) == [value("s1")]
