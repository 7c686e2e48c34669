# SPDX-License-Identifier: Apache-2.0
"""A full worker, and the memory of the Python process itself."""

import gc
import sys

import pytest

from yr.datasystem.errors import DsError, OutOfMemoryError
from yr.datasystem.kv_client import (
    KVClient,
    ReadOnlyBuffer,
    ReadParam,
    StateValueBuffer,
    WriteMode,
)
from yr.datasystem.object_client import Buffer, ObjectClient

SIZE_MB = 64
VALUE = b"\xa5" * (1 << 20)


@pytest.fixture(name="small_kv")
def small_kv_fixture(start_worker):
    """A client of a worker of SIZE_MB."""
    worker = start_worker(shared_memory_size_mb=SIZE_MB)
    with KVClient(worker.host, worker.port) as client:
        yield client


def fill(kv, prefix, mode):
    """Sets values until there is no more room; the keys."""
    keys = []
    with pytest.raises(OutOfMemoryError):
        for i in range(2 * SIZE_MB):
            kv.set(f"{prefix}.{i}", VALUE, mode)
            keys.append(f"{prefix}.{i}")
    return keys


def test_a_full_worker_refuses_and_keeps_what_it_has(small_kv, key):
    keys = fill(small_kv, key, WriteMode.NONE_L2_CACHE)
    assert len(keys) >= SIZE_MB * 3 // 4
    assert small_kv.exist(keys) == [True] * len(keys)
    assert all(bytes(view) == VALUE for view in small_kv.get_buffers(keys))
    assert small_kv.set_value(VALUE) == ""
    small_kv.delete(keys[:2])
    small_kv.set(key, VALUE)
    assert small_kv.get([key]) == [VALUE]


def test_evictable_values_make_room(small_kv, key):
    mode = WriteMode.NONE_L2_CACHE_EVICT
    for i in range(4 * SIZE_MB):
        small_kv.set(f"{key}.{i}", VALUE, mode)
    newest = f"{key}.{4 * SIZE_MB - 1}"
    assert small_kv.exist([f"{key}.0", newest]) == [False, True]
    assert small_kv.worker_stats()["evictions"] >= 3 * SIZE_MB


def fill_to_the_last(kv, prefix):
    keys = fill(kv, prefix, WriteMode.NONE_L2_CACHE)
    with pytest.raises(OutOfMemoryError):
        for i in range(SIZE_MB << 8):
            kv.set(f"{prefix}.small.{i}", VALUE[:4096])
            keys.append(f"{prefix}.small.{i}")
    return keys


def test_blocks_asked_for_ahead_in_vain_are_asked_for_again(start_worker, key):
    worker = start_worker(shared_memory_size_mb=SIZE_MB)
    with KVClient(worker.host, worker.port) as other, KVClient(worker.host, worker.port) as kv:
        for n in range(16):  # somewhere among them lies the set that asks
            for i in range(64):
                kv.set(f"{key}.{i}", VALUE[:4096])
            keys = fill_to_the_last(other, f"{key}.other")
            for i in range(n):
                try:
                    kv.set(f"{key}.{i}", VALUE[:4096])
                except OutOfMemoryError:
                    break
            other.delete(keys)


def test_blocks_lent_ahead_are_few_and_come_back(start_worker, key, eventually):
    worker = start_worker(shared_memory_size_mb=SIZE_MB)
    with KVClient(worker.host, worker.port) as other:
        with KVClient(worker.host, worker.port) as kv:
            sizes = [256 * n for n in range(1, 80)]  # more classes than a client has blocks of
            for size in sizes * 3:
                for i in range(30):
                    kv.set(f"{key}.{i}", VALUE[:size])
            assert 0 < other.worker_stats()["memory_granted"] <= 32 * 2 * (SIZE_MB << 10)
        eventually(lambda: other.worker_stats()["memory_granted"] == 0)


def test_a_view_is_not_evicted(small_kv, key):
    mode = WriteMode.NONE_L2_CACHE_EVICT
    small_kv.set(key, b"held" + VALUE, mode)
    [view] = small_kv.get_buffers([key])
    for i in range(3 * SIZE_MB):
        small_kv.set(f"{key}.{i}", VALUE, mode)
    assert bytes(view) == b"held" + VALUE


def test_a_delete_makes_room_only_when_nobody_reads(small_kv, key, eventually):
    keys = fill(small_kv, key, WriteMode.NONE_L2_CACHE)
    views = small_kv.get_buffers(keys)
    small_kv.delete(keys)
    with pytest.raises(OutOfMemoryError):
        for i in range(SIZE_MB):
            small_kv.set(f"{key}.new.{i}", VALUE)
    assert all(bytes(view) == VALUE for view in views)
    del views
    eventually(lambda: small_kv.worker_stats()["memory_doomed"] == 0)
    small_kv.set(key, VALUE)


# --- of the Python process ---


def blocks_left(function, rounds):
    """Python's blocks that `rounds` calls leave, the fewer of two times: caches grow now and then,
    what leaks grows each time."""
    counts = []
    for n in (rounds // 10 + 1, rounds, rounds):
        for _ in range(n):
            function()
        gc.collect()
        counts.append(sys.getallocatedblocks())
    return min(counts[1] - counts[0], counts[2] - counts[1])


def swallow(call, *arguments):
    try:
        call(*arguments)
    except (DsError, TypeError, BufferError, UnicodeDecodeError):
        return
    raise AssertionError("it should have failed")


def kv_round(kv, keys):
    value = bytearray(b"value" * 100)
    for key in keys:
        kv.set(key, value)
        kv.set(key, "str", WriteMode.NONE_L2_CACHE, 10, ttl_ms=None)
        kv.set_nx(key, value)
    kv.mset(keys, [value] * len(keys))
    kv.get(keys)
    kv.get(keys, True)
    kv.get(keys + ["no.such.key"], False, 1)
    views = kv.get_buffers(keys)
    memoryview(views[0])[1:]
    with views[1] as view:
        view.immutable_data(True).release()
    kv.read([ReadParam(key, 1, 2) for key in keys])
    buffers = kv.mcreate([f"{key}.made" for key in keys], [10] * len(keys))
    buffers[0].MutableData()[:] = b"0123456789"
    kept = buffers[1].MutableData()
    kv.mset_buffer(buffers)
    kept[:] = b"9876543210"
    buffers[0].ImmutableData(True, 1).GetSize()
    kv.exist(keys)
    kv.expire(keys, 100)
    kv.delete(keys)
    kv.health_check()
    kv.worker_stats()


def kv_errors_round(kv, keys):
    swallow(kv.get, ["no.such.key"])
    swallow(kv.get, keys + ["a/b"])
    swallow(kv.get, keys + [1])
    swallow(kv.get, ["no.such.key"], False, -1)
    swallow(kv.set, "", b"v")
    swallow(kv.set, keys[0], 1)
    swallow(kv.set, keys[0], memoryview(b"abcdef")[::2])
    swallow(kv.set, keys[0], b"v", WriteMode.NONE_L2_CACHE, -1)
    swallow(kv.set, keys[0], b"v", WriteMode.WRITE_THROUGH_L2_CACHE)
    swallow(kv.mset, keys, [bytearray(b"v")] * (len(keys) - 1) + [b""])
    swallow(kv.mset, keys, [bytearray(b"v")] * (len(keys) - 1))
    swallow(kv.mcreate, keys, [1] * (len(keys) - 1) + [0])
    swallow(kv.mcreate, keys, [1] * (len(keys) - 1) + [1 << 45])
    swallow(kv.mset_buffer, [1])
    kv.set(keys[0], b"\xff")
    swallow(kv.get, keys[:1], True)
    swallow(kv.read, [ReadParam(keys[0], 5, 0)])
    swallow(kv.expire, ["no.such.key"], 1)


def object_round(objects, keys):
    objects.g_increase_ref(keys)
    for key in keys:
        buffer = objects.create(key, 10)
        buffer.memory_copy(b"0123456789")
        buffer.mutable_data()[0] = 1
        buffer.publish([f"{key}.nested"])
        buffer.wlatch()
        buffer.unwlatch()
        buffer.rlatch()
        buffer.unrlatch()
        buffer.invalidate_buffer()
        swallow(buffer.memory_copy, b"0" * 11)
        swallow(buffer.publish, [key])
        buffer.seal()
        swallow(buffer.publish)
        objects.put(f"{key}.put", bytearray(b"value"), None, [f"{key}.nested"])
    for buffer in objects.get(keys + ["no.such.key"], 1):
        if buffer is not None:
            with buffer:
                buffer.immutable_data().release()
    objects.query_global_ref_num(keys[0])
    objects.g_decrease_ref(keys)
    swallow(objects.get, ["no.such.key"], 0)
    swallow(objects.create, keys[0], 1, {})
    swallow(Buffer().get_size)


@pytest.mark.parametrize("run", [kv_round, kv_errors_round], ids=lambda run: run.__name__)
def test_kv_calls_leave_nothing_behind(kv, new_key, run):
    keys = [new_key() for _ in range(8)]
    run(kv, keys)
    assert blocks_left(lambda: run(kv, keys), 200) < 100


def test_object_calls_leave_nothing_behind(objects, new_key):
    keys = [new_key() for _ in range(8)]
    object_round(objects, keys)
    assert blocks_left(lambda: object_round(objects, keys), 200) < 100


def test_clients_leave_nothing_behind(worker):
    def once():
        for cls in (KVClient, ObjectClient):
            with cls(worker.host, worker.port):
                pass

    once()
    assert blocks_left(once, 30) < 60


def test_references_are_returned(kv, key):
    held = [key, [key], bytearray(b"value"), b"".join([b"val", b"ue"]), "".join(["val", "ue"])]
    keys, values = held[1], held[2:5]
    held += [kv._connection, ReadOnlyBuffer, StateValueBuffer, Buffer, WriteMode.NONE_L2_CACHE]
    before = [sys.getrefcount(one) for one in held]
    for _ in range(100):
        for value in values:
            kv.set(key, value)
            kv.mset(keys, [value])
            swallow(kv.mset, keys, [value, value])
            swallow(kv.set, "a/b", value)
        kv.get_buffers(keys)
        kv.get(keys, False, 1)
        kv.exist(keys)
        kv.mcreate(keys, [4])
        kv.health_check()
        swallow(kv.get, [*keys, "a/b"])
    del value
    assert [sys.getrefcount(one) for one in held] == before
