# SPDX-License-Identifier: Apache-2.0
"""What an error says to do fits the call that failed, not only its code."""

import pytest

import yr.datasystem as ds
from yr.datasystem.errors import (
    AlreadySealedError,
    DeadlineExceededError,
    DsError,
    DuplicatedError,
    InvalidParameterError,
    NotInUseError,
    NotSupportedError,
    OutOfRangeError,
)
from yr.datasystem.kv_client import ReadParam


def failure(error, call, *args):
    with pytest.raises(error) as caught:
        call(*args)
    return caught.value


def test_a_latch_that_somebody_else_holds(objects, key):
    held = objects.create(key, 4)
    held.publish()
    held.wlatch()
    [other] = objects.get([key], 0)
    error = failure(DeadlineExceededError, other.wlatch, 1)
    assert f"Cannot write-latch key '{key}' within 1 s. Hint: somebody else holds it" in str(error)
    assert "longer timeout_sec" in error.hint


@pytest.mark.parametrize("call", ["unwlatch", "unrlatch"])
def test_a_latch_that_is_not_held(objects, key, call):
    buffer = objects.create(key, 4)
    buffer.publish()
    error = failure(NotInUseError, getattr(buffer, call))
    assert error.hint == "take it first" and "not held through this buffer" in error.detail


def test_a_write_to_what_does_not_change_any_more(kv, objects, key):
    sealed = objects.create(key, 4)
    sealed.seal()
    for call, args in ((sealed.mutable_data, ()), (sealed.memory_copy, (b"x",))):
        assert "not sealed" in failure(AlreadySealedError, call, *args).hint
    [made] = kv.mcreate([key + ".value"], [4])
    kv.mset_buffer([made])
    error = failure(AlreadySealedError, made.MutableData)
    assert "is published and does not change" in error.detail and "mcreate()" in error.hint


def test_a_buffer_that_is_published_twice(kv, key):
    [made] = kv.mcreate([key], [4])
    kv.mset_buffer([made])
    error = failure(InvalidParameterError, kv.mset_buffer, [made])
    assert "was published already: make another with mcreate()" in error.detail
    error = failure(DuplicatedError, kv.mset_buffer, [made, made])
    assert error.hint == "list each buffer once"


def test_an_object_that_nests_itself(objects, key):
    text = f"Object '{key}' cannot be nested in itself"
    assert text in str(failure(InvalidParameterError, objects.create(key, 4).publish, [key]))
    assert text in str(failure(InvalidParameterError, objects.create(key, 4).seal, [key]))
    assert text in str(failure(InvalidParameterError, objects.put, key, b"v", None, [key]))


def test_what_is_not_there_says_all_itself(kv, key):
    error = failure(NotSupportedError, ds.StreamClient("127.0.0.1", 1).init)
    assert "Hint" not in str(error) and error.hint == ""
    error = failure(DsError, kv.msettx, [key], [b"v"])
    assert "use mset" in error.detail and "Hint" not in error.detail


def test_read_tells_a_wrong_offset_from_too_many_views(kv, key):
    kv.set(key, b"value")
    error = failure(OutOfRangeError, kv.read, [ReadParam(key, 5, 0)])
    assert f"The offset is not inside the value of key '{key}'" in str(error)
    held = []
    for batch in (4096, 1):  # until not even one more is lent
        with pytest.raises(OutOfRangeError, match="as many views as it may"):
            while True:
                held.append(kv.get_buffers([key] * batch))
    for call, argument in ((kv.read, ReadParam(key, 0, 0)), (kv.get_buffers, key)):
        error = failure(OutOfRangeError, call, [argument])
        assert "as many views as it may" in str(error) and "offset" not in str(error)
        assert error.hint == "release some of them"
    held.clear()
    assert bytes(kv.read([ReadParam(key, 0, 0)])[0].immutable_data()) == b"value"
