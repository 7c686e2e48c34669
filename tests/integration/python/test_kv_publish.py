# SPDX-License-Identifier: Apache-2.0
"""Views from MutableData() that outlive mset_buffer(): the published value is out of their reach."""

import numpy as np
import pytest

from yr.datasystem.errors import DsError
from yr.datasystem.kv_client import ExistenceOpt, KVClient

MIB = 1 << 20


def made(kv, key, size, **options):
    [buffer] = kv.mcreate([key], [size], **options)
    return buffer, buffer.MutableData()


@pytest.mark.parametrize(
    "keep",
    [
        lambda view: view,
        lambda view: view[2:6],
        lambda view: np.frombuffer(view, dtype=np.uint8),
        lambda view: np.frombuffer(view, dtype=np.uint8)[2:],
    ],
    ids=["view", "slice", "numpy", "numpy slice"],
)
@pytest.mark.parametrize("size", [8, 3 * MIB])
def test_a_kept_view_does_not_change_the_value(kv, other_process, key, keep, size):
    buffer, view = made(kv, key, size)
    view[:] = b"v" * size
    kept = keep(view)
    del view
    kv.mset_buffer([buffer])
    memoryview(kept)[:] = bytes(len(kept))
    assert bytes(kept) == bytes(len(kept))  # it stays the program's own
    assert kv.get([key]) == [b"v" * size]
    assert bytes(buffer) == bytes(buffer.ImmutableData()) == b"v" * size
    assert other_process("print(kv.get(sys.argv[1:])[0] == b'v' * %d)" % size, key) == "True\n"


def test_views_made_before_keep_what_they_show(kv, key):
    buffer, view = made(kv, key, 6)
    view[:] = b"before"
    shown, direct = memoryview(buffer.ImmutableData()), memoryview(buffer)
    kv.mset_buffer([buffer])
    view[:] = b"after!"
    assert bytes(shown) == bytes(direct) == b"after!"
    assert bytes(memoryview(buffer)) == b"before"
    del buffer, view, shown
    assert bytes(direct) == b"after!"
    assert kv.get([key]) == [b"before"]


def test_nothing_is_copied_where_no_view_is_alive(start_worker, key):
    worker = start_worker(shared_memory_size_mb=64)
    with KVClient(worker.host, worker.port) as kv:
        buffer, view = made(kv, key, 40 * MIB)  # a copy would not fit
        view[:5] = b"value"
        with pytest.raises(DsError, match="Out of memory.*drop what MutableData") as caught:
            kv.mset_buffer([buffer])
        assert caught.value.key == key
        assert kv.exist([key]) == [False]
        view[5:7] = b"s!"
        del view
        readable = memoryview(buffer.ImmutableData())  # does no harm
        kv.mset_buffer([buffer])
        assert bytes(readable[:7]) == b"values!"
        assert bytes(kv.get_buffers([key])[0])[:7] == b"values!"


def test_what_views_were_on_goes_with_the_last_of_them(kv, key, eventually):
    before = kv.worker_stats()["memory_granted"]

    def granted():
        return kv.worker_stats()["memory_granted"] - before

    buffer, view = made(kv, key, 32 * MIB)
    shown = memoryview(buffer)
    kv.mset_buffer([buffer])
    assert granted() >= 32 * MIB
    with pytest.raises(BufferError, match="in use by 2"):
        buffer.release()
    view.release()
    assert granted() >= 32 * MIB
    shown.release()
    eventually(lambda: granted() < 32 * MIB)
    assert kv.exist([key]) == [True]
    assert len(buffer) == 32 * MIB
    buffer.release()


def test_a_copy_has_the_options_of_its_buffer(kv, new_key, eventually):
    key, brief = new_key(), new_key()
    buffer, view = made(kv, key, 4, existence_opt=ExistenceOpt.NX)
    view[:] = b"mine"
    kv.set(key, b"theirs")
    kv.mset_buffer([buffer])
    assert kv.get([key]) == [b"theirs"]
    buffer, view = made(kv, brief, 4, ttl_ms=50)
    kv.mset_buffer([buffer])
    eventually(lambda: kv.exist([brief]) == [False], "the end of the key")


def test_a_batch_copies_what_it_must(kv, new_key):
    keys = [new_key() for _ in range(3)]
    buffers = kv.mcreate(keys, [8] * 3)
    for i, buffer in enumerate(buffers):
        view = buffer.MutableData()  # alive after the loop: that of the last one
        view[:] = bytes([i]) * 8
    kv.mset_buffer(buffers)
    view[:] = b"overlaid"
    assert kv.get(keys) == [b"\0" * 8, b"\1" * 8, b"\2" * 8]


def test_others_of_a_batch_that_fails_are_out_of_reach_too(kv, new_key):
    published, view = made(kv, new_key(), 5)
    kv.mset_buffer([published])
    key = new_key()
    buffer, view = made(kv, key, 5)
    view[:] = b"value"
    with pytest.raises(DsError, match="was published already"):
        kv.mset_buffer([published, buffer])
    view[:] = b"later"
    assert kv.get([key]) == [b"value"]


def test_memory_is_given_back_when_copies_come_and_go(kv, key, eventually):
    before = kv.worker_stats()["memory_granted"]
    for i in range(200):
        buffer, view = made(kv, key, MIB)
        view[:4] = i.to_bytes(4, "little")
        kv.mset_buffer([buffer])
        assert bytes(kv.get_buffers([key])[0])[:4] == i.to_bytes(4, "little")
    del buffer, view
    eventually(lambda: kv.worker_stats()["memory_granted"] < before + 32 * MIB)
