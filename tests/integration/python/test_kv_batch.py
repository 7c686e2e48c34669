# SPDX-License-Identifier: Apache-2.0
"""mset, mcreate, mset_buffer: batches, partial failure, duplicates, limits, writing in place."""

import numpy as np
import pytest

from yr.datasystem.errors import (
    AlreadyExistsError,
    BufferDeprecatedError,
    DsError,
    DuplicatedError,
    InvalidParameterError,
)
from yr.datasystem.kv_client import ExistenceOpt, KVClient, StateValueBuffer, WriteMode


def test_mset_writes_all(kv, new_key):
    keys = [new_key() for _ in range(1000)]
    values = [f"value {i}".encode() * (i + 1) for i in range(1000)]
    assert kv.mset(keys, values) == []
    assert kv.get(keys) == values


def test_mset_takes_up_to_10000_keys(kv, new_key):
    keys = [new_key() for _ in range(10_001)]
    with pytest.raises(InvalidParameterError, match="The objectKeys size exceed 10000"):
        kv.mset(keys, [b"v"] * 10_001)
    assert kv.mset(keys[:-1], [b"v"] * 10_000) == []
    assert kv.exist(keys) == [True] * 10_000 + [False]
    assert kv.delete(keys[:-1]) == []


def test_mset_of_equal_keys_writes_the_first_and_lists_the_others(kv, new_key):
    first, second = new_key(), new_key()
    assert kv.mset([first, second, first, first], [b"1", b"2", b"3", b"4"]) == [first, first]
    assert kv.get([first, second]) == [b"1", b"2"]


def test_mset_nx_keeps_what_exists_and_does_not_list_it(kv, new_key):
    old, new = new_key(), new_key()
    kv.set(old, b"old")
    assert kv.mset([old, new], [b"x", b"new"], existence_opt=ExistenceOpt.NX) == []
    assert kv.get([old, new]) == [b"old", b"new"]


def test_mset_nx_tells_what_it_wrote(kv, new_key):
    old, new = new_key(), new_key()
    kv.set(old, b"old")
    assert kv.mset_nx([old, new, new, "a/b"], [b"1", b"2", b"3", b"4"]) == [False, True, None, None]
    assert kv.get([old, new]) == [b"old", b"2"]
    assert kv.mset_nx([old, new], [b"5", b"6"]) == [False, False]
    with pytest.raises(InvalidParameterError):
        kv.mset_nx(["a/b"], [b"v"])


@pytest.mark.parametrize("bad", ["a/b", "", "k" * 1025, "\ud800", b"a b"])
def test_mset_lists_a_later_key_that_is_not_legal(kv, new_key, bad):
    first, last = new_key(), new_key()
    assert kv.mset([first, bad, last, bad], [b"1", b"2", b"3", b"4"]) == [bad, bad]
    assert kv.get([first, last]) == [b"1", b"3"]
    kept = kv.mset([first, bad, first], [b"5", b"6", b"7"], existence_opt=ExistenceOpt.NX)
    assert kept == [bad, first]
    with pytest.raises(TypeError):
        kv.mset([first, 1], [b"1", b"2"])
    with pytest.raises(InvalidParameterError, match="illegal|empty"):
        kv.get([first, bad])  # to read, such a key is always a slip


def test_mset_refuses_before_it_writes(kv, new_key):
    good, bad = new_key(), "a/b"
    with pytest.raises(InvalidParameterError, match="illegal"):
        kv.mset([bad, good], [b"1", b"2"])
    with pytest.raises(InvalidParameterError, match="bigger than zero") as caught:
        kv.mset([good, new_key()], [b"1", b""])
    assert caught.value.key != good
    with pytest.raises(TypeError):
        kv.mset([good, new_key()], [b"1", 2])
    with pytest.raises(InvalidParameterError, match="number of key and value is not the same"):
        kv.mset([good], [b"1", b"2"])
    assert kv.exist([good]) == [False]


def test_mset_checks_types(kv):
    with pytest.raises(TypeError, match="The input of keys"):
        kv.mset(("k",), [b"v"])
    with pytest.raises(TypeError, match="The input of vals"):
        kv.mset(["k"], (b"v",))
    with pytest.raises(InvalidParameterError, match="should not be empty"):
        kv.mset([], [])
    with pytest.raises(TypeError, match="The input of existence_opt"):
        kv.mset(["k"], [b"v"], WriteMode.NONE_L2_CACHE, 0, False)


def test_part_of_a_batch_may_fail(start_worker, new_key):
    worker = start_worker(shared_memory_size_mb=64)
    with KVClient(worker.host, worker.port) as kv:
        small, large = new_key(), new_key()
        assert kv.mset([small, large], [b"v", bytes(80 << 20)]) == [large]
        assert kv.exist([small, large]) == [True, False]
        with pytest.raises(DsError, match="Out of memory") as caught:
            kv.mset([large, new_key()], [bytes(80 << 20), bytes(81 << 20)])
        assert caught.value.key == large


# --- mcreate, mset_buffer ---


def test_values_can_be_written_in_place(kv, new_key):
    keys = [new_key() for _ in range(3)]
    buffers = kv.mcreate(keys, [4, 70_000, 1])
    assert [type(buffer) for buffer in buffers] == [StateValueBuffer] * 3
    assert [buffer.GetSize() for buffer in buffers] == [4, 70_000, 1]
    assert [len(buffer) for buffer in buffers] == [4, 70_000, 1]
    for i, buffer in enumerate(buffers):
        view = buffer.MutableData()
        assert not view.readonly
        view[:] = bytes([i + 1]) * len(view)
    assert kv.exist(keys) == [False] * 3
    assert kv.mset_buffer(buffers) is None
    assert kv.get(keys) == [b"\1" * 4, b"\2" * 70_000, b"\3"]


def test_numpy_writes_in_place(kv, key):
    [buffer] = kv.mcreate([key], [80])
    array = np.frombuffer(buffer.MutableData(), dtype=np.int64)
    array[:] = np.arange(10)
    kv.mset_buffer([buffer])
    assert np.frombuffer(kv.get_buffers([key])[0], dtype=np.int64).tolist() == list(range(10))


def test_a_buffer_stays_readable_after_its_publication(kv, key):
    [buffer] = kv.mcreate([key], [5])
    buffer.MutableData()[:] = b"first"
    kv.mset_buffer([buffer])
    kv.set(key, b"second")
    assert bytes(buffer.ImmutableData()) == b"first"
    assert bytes(buffer) == b"first"
    assert memoryview(buffer).readonly
    assert kv.get([key]) == [b"second"]


def test_what_is_not_published_is_dropped(kv, key, eventually):
    before = kv.worker_stats()["memory_granted"]
    buffers = kv.mcreate([key], [32 << 20])
    assert kv.worker_stats()["memory_granted"] >= before + (32 << 20)
    del buffers
    eventually(lambda: kv.worker_stats()["memory_granted"] < before + (32 << 20))
    assert kv.exist([key]) == [False]


def test_mcreate_nx_gives_placeholders(kv, new_key):
    old, new = new_key(), new_key()
    kv.set(old, b"old")
    placeholder, buffer = kv.mcreate([old, new], [3, 3], existence_opt=ExistenceOpt.NX)
    assert placeholder.GetSize() == 0
    with pytest.raises(AlreadyExistsError):
        placeholder.MutableData()
    buffer.MutableData()[:] = b"new"
    kv.mset_buffer([placeholder, buffer])
    assert kv.get([old, new]) == [b"old", b"new"]


def test_mcreate_takes_a_ttl(kv, key, eventually):
    [buffer] = kv.mcreate([key], [1], ttl_ms=50)
    buffer.MutableData()[:] = b"v"
    kv.mset_buffer([buffer])
    eventually(lambda: kv.exist([key]) == [False], "the end of the key")


def test_mcreate_checks_its_arguments(kv, new_key):
    key = new_key()
    with pytest.raises(TypeError, match="The input of keys"):
        kv.mcreate(key, [1])
    with pytest.raises(TypeError, match="The input of sizes"):
        kv.mcreate([key], 1)
    for wrong in ("1", 1.0, True, np.int64(1)):
        with pytest.raises(TypeError, match="The input of sizes"):
            kv.mcreate([key], [wrong])
    for out in (0, -1, 2**63):
        with pytest.raises(InvalidParameterError):
            kv.mcreate([key], [out])
    with pytest.raises(InvalidParameterError, match="not the same"):
        kv.mcreate([key], [1, 2])
    with pytest.raises(InvalidParameterError, match="should not be empty"):
        kv.mcreate([], [])


def test_mcreate_is_all_or_nothing(kv, new_key):
    before = kv.worker_stats()["memory_granted"]
    with pytest.raises(DsError, match="Out of memory"):
        kv.mcreate([new_key(), new_key()], [16 << 20, 1 << 40])
    assert kv.worker_stats()["memory_granted"] < before + (16 << 20)


def test_mset_buffer_checks_its_arguments(kv, worker, key):
    with pytest.raises(TypeError, match="The input of buffers"):
        kv.mset_buffer(1)
    with pytest.raises(TypeError, match="The input of buffers"):
        kv.mset_buffer([1])
    with pytest.raises(InvalidParameterError, match="The buffer list must not be empty."):
        kv.mset_buffer([])
    [buffer] = kv.mcreate([key], [1])
    with pytest.raises(InvalidParameterError, match="exceed 10000"):
        kv.mset_buffer([buffer] * 10_001)
    with pytest.raises(DuplicatedError):
        kv.mset_buffer([buffer, buffer])
    with KVClient(worker.host, worker.port) as other:
        with pytest.raises(InvalidParameterError, match="another client"):
            other.mset_buffer([buffer])
    assert kv.exist([key]) == [False]
    kv.mset_buffer([buffer])
    assert kv.exist([key]) == [True]


def test_a_buffer_can_be_released_early(kv, key):
    [buffer] = kv.mcreate([key], [100])
    view = buffer.MutableData()
    with pytest.raises(BufferError, match="in use"):
        buffer.release()
    view.release()
    buffer.release()
    buffer.release()
    assert buffer.GetSize() == 0
    with pytest.raises(BufferDeprecatedError):
        buffer.MutableData()
    with pytest.raises(BufferDeprecatedError):
        kv.mset_buffer([buffer])
    with pytest.raises(BufferError):
        memoryview(buffer)


def test_latches_of_value_buffers_report(kv, key):
    [buffer] = kv.mcreate([key], [4])
    assert buffer.RLatch(1).is_ok()
    assert buffer.UnRLatch().is_ok()
    kv.mset_buffer([buffer])
    assert buffer.RLatch().is_ok()
    assert buffer.UnRLatch().is_ok()
    latched = buffer.ImmutableData(True, 1)
    assert latched.GetSize() == len(latched) == 4
    with pytest.raises(TypeError, match="The input of timeout_sec"):
        buffer.RLatch("1")
    with pytest.raises(InvalidParameterError, match=r"between \[1,2147483647\]"):
        buffer.RLatch(0)


def test_the_memory_outlives_the_buffer(kv, key):
    [buffer] = kv.mcreate([key], [6])
    view = buffer.MutableData()
    view[:] = b"abcdef"
    kv.mset_buffer([buffer])
    shown = memoryview(buffer.ImmutableData())
    del buffer, view
    kv.delete([key])
    assert bytes(shown) == b"abcdef"
