# SPDX-License-Identifier: Apache-2.0
"""Values read in place: no copy, immutable, and alive as long as anybody looks at them."""

import gc
import hashlib

import numpy as np
import pytest

from yr.datasystem.errors import BufferDeprecatedError, InvalidParameterError, OutOfRangeError
from yr.datasystem.kv_client import KVClient, ReadOnlyBuffer, ReadParam


def address(buffer):
    return np.frombuffer(buffer, dtype=np.uint8).ctypes.data


def mebibyte(seed):
    return np.random.default_rng(seed).bytes(1 << 20)


def doomed(kv):
    return kv.worker_stats()["memory_doomed"]


def test_two_reads_see_the_same_memory(kv, key):
    kv.set(key, mebibyte(1))
    first, second = kv.get_buffers([key])[0], kv.get_buffers([key])[0]
    assert address(first) == address(second)
    assert address(first) == address(first.immutable_data())
    [part] = kv.read([ReadParam(key, 4096, 100)])
    assert address(part) == address(first) + 4096


def test_numpy_and_memoryview_do_not_copy(kv, key):
    kv.set(key, np.arange(1000, dtype=np.float32))
    [view] = kv.get_buffers([key])
    array = np.frombuffer(view, dtype=np.float32)
    assert array.tolist() == list(range(1000))
    assert array.ctypes.data == address(view)
    assert not array.flags.writeable
    assert not array.flags.owndata
    assert memoryview(view).readonly
    assert memoryview(view).nbytes == 4000


def test_a_view_cannot_be_written(kv, key):
    kv.set(key, b"value")
    [view] = kv.get_buffers([key])
    with pytest.raises(TypeError):
        memoryview(view)[0] = 1
    with pytest.raises(TypeError):
        view[0] = 1  # pylint: disable=unsupported-assignment-operation
    with pytest.raises(ValueError):
        np.frombuffer(view, dtype=np.uint8)[0] = 1


def test_views_know_their_size(kv, key):
    kv.set(key, b"value")
    [view] = kv.get_buffers([key])
    assert type(view) is ReadOnlyBuffer
    assert len(view) == view.GetSize() == 5
    [same] = kv.get_read_only_buffers([key])
    assert type(same) is ReadOnlyBuffer


def test_views_keep_their_bytes_when_the_key_is_overwritten_or_deleted(kv, key):
    values = [mebibyte(i) for i in range(3)]
    held = []
    for value in values:
        kv.set(key, value)
        held += kv.get_buffers([key])
    kv.delete([key])
    for other in range(100):  # whatever memory is free is used again
        kv.set(f"{key}.{other % 7}", mebibyte(100 + other))
    assert [bytes(view) for view in held] == values


def test_views_keep_their_bytes_when_the_client_is_closed(worker, key):
    value = mebibyte(5)
    with KVClient(worker.host, worker.port) as kv:
        kv.set(key, value)
        view = kv.get_buffers([key])[0]
        array = np.frombuffer(kv.get_buffers([key])[0], dtype=np.uint8)
    del kv
    gc.collect()
    with KVClient(worker.host, worker.port) as other:
        other.delete([key])
        for i in range(100):
            other.set(f"{key}.{i % 7}", mebibyte(100 + i))
    assert bytes(view) == value
    assert hashlib.sha256(array).digest() == hashlib.sha256(value).digest()


@pytest.mark.parametrize(
    "look",
    [
        lambda view: view,
        memoryview,
        lambda view: view.immutable_data(),
        lambda view: view.immutable_data(True, 5),
        lambda view: memoryview(view)[10:20],
        lambda view: np.frombuffer(view, dtype=np.uint8)[5:],
    ],
    ids=["view", "memoryview", "immutable_data", "latched", "slice", "numpy slice"],
)
def test_the_pin_lives_as_long_as_the_last_look(kv, key, eventually, look):
    eventually(lambda: doomed(kv) == 0)
    kv.set(key, mebibyte(9))
    seen = look(kv.get_buffers([key])[0])
    gc.collect()
    kv.delete([key])
    eventually(lambda: doomed(kv) >= 1 << 20, "the deleted value to wait for its reader")
    assert bytes(seen)
    del seen
    gc.collect()
    eventually(lambda: doomed(kv) == 0, "the end of the pin")


def test_a_copying_get_leaves_no_pin(kv, key, eventually):
    eventually(lambda: doomed(kv) == 0)
    kv.set(key, mebibyte(9))
    copies = kv.get([key]) + kv.get([key])
    kv.delete([key])
    eventually(lambda: doomed(kv) == 0)
    assert copies[0] == copies[1] == mebibyte(9)


def test_failed_batches_leave_no_pins(kv, new_key, eventually):
    eventually(lambda: doomed(kv) == 0)
    keys = [new_key() for _ in range(10)]
    kv.mset(keys, [b"\xff" * 100_000] * 10)
    with pytest.raises(InvalidParameterError):
        kv.get_buffers(keys + ["a/b"])
    with pytest.raises(TypeError):
        kv.get_buffers(keys + [1])
    with pytest.raises(UnicodeDecodeError):
        kv.get(keys, True)
    with pytest.raises(TypeError):
        kv.read([ReadParam(key, 0, 0) for key in keys] + [1])
    with pytest.raises(OutOfRangeError):
        kv.read([ReadParam(key, 1 << 20, 0) for key in keys])
    kv.delete(keys)
    eventually(lambda: doomed(kv) == 0)


def test_release_gives_the_memory_back_at_once(kv, key, eventually):
    eventually(lambda: doomed(kv) == 0)
    kv.set(key, mebibyte(9))
    [view] = kv.get_buffers([key])
    shown = memoryview(view)
    with pytest.raises(BufferError, match="in use by 1"):
        view.release()
    shown.release()
    view.release()
    view.release()
    kv.delete([key])
    eventually(lambda: doomed(kv) == 0)
    with pytest.raises(BufferError, match="released"):
        memoryview(view)
    for call in (view.immutable_data, view.rlatch, view.unrlatch):
        with pytest.raises(BufferDeprecatedError, match="released"):
            call()


def test_a_view_is_a_context(kv, key):
    kv.set(key, b"value")
    with kv.get_buffers([key])[0] as view:
        assert bytes(view) == b"value"
    with pytest.raises(BufferDeprecatedError):
        view.immutable_data()
    with pytest.raises(BufferDeprecatedError):
        with view:
            pass


def test_latches_of_views(kv, key):
    kv.set(key, b"value")
    [view] = kv.get_read_only_buffers([key])
    assert view.rlatch() is None
    assert view.rlatch(timeout_sec=1) is None
    assert view.unrlatch() is None
    assert bytes(view.immutable_data(with_latch=True, timeout_sec=1)) == b"value"
    for wrong in ("1", 1.0, True):
        with pytest.raises(TypeError, match="The input of timeout_sec"):
            view.rlatch(wrong)
    for out in (0, -1, 2**31):
        with pytest.raises(InvalidParameterError, match=r"between \[1,2147483647\]"):
            view.immutable_data(True, out)
    with pytest.raises(TypeError, match="The input of with_latch"):
        view.immutable_data(1)


def test_views_of_many_keys_at_once(kv, new_key):
    keys = [new_key() for _ in range(2000)]
    values = [bytes([i % 256]) * (i + 1) for i in range(2000)]
    kv.mset(keys, values)
    views = kv.get_buffers(keys)
    assert [bytes(view) for view in views] == values
    del views[::2]
    assert [bytes(view) for view in views] == values[1::2]
