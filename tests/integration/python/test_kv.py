# SPDX-License-Identifier: Apache-2.0
"""set, get and their kin, one client at a time: what goes in comes out, and what is refused."""

import array
import string
import sys
import types
import uuid

import numpy as np
import pytest

from yr.datasystem.errors import DsError, InvalidParameterError, NotFoundError, OutOfRangeError
from yr.datasystem.kv_client import ExistenceOpt, ReadParam, WriteMode

NONE = WriteMode.NONE_L2_CACHE


# --- values ---


@pytest.mark.parametrize("size", [1, 63, 64, 4096, 65535, 65536, 1 << 20, 5_000_000])
def test_values_of_all_sizes_come_back(kv, key, size):
    value = np.random.default_rng(size).bytes(size)
    kv.set(key, value)
    assert kv.get([key]) == [value]
    assert bytes(kv.get_buffers([key])[0]) == value


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"memoryview"),
        memoryview(b"0123456789")[2:7],
        "str äöü 漢",
        array.array("i", [1, -2, 3]),
        np.arange(10, dtype=np.float32),
        np.arange(12, dtype=np.int16).reshape(3, 4),
        np.float64(1.5),
        np.array([True, False]),
        np.array(["2026-01-01"], dtype="datetime64[s]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_with_a_buffer_is_a_value(kv, new_key, value):
    if isinstance(value, str):
        expected = value.encode()
    else:
        expected = value.tobytes() if hasattr(value, "tobytes") else bytes(value)
    one, many, made = new_key(), new_key(), kv.set_value(value)
    kv.set(one, value)
    assert kv.mset([many], [value]) == []
    assert kv.get([one, many, made]) == [expected] * 3


def test_a_str_can_come_back_as_str(kv, key):
    kv.set(key, "größe")
    assert kv.get([key], True) == ["größe"]
    assert kv.get([key], convert_to_str=True) == ["größe"]
    kv.set(key, b"\xff")
    with pytest.raises(UnicodeDecodeError):
        kv.get([key], True)


@pytest.mark.parametrize(
    "value",
    [None, 1, 1.5, ["list"], {"dict": 1}, object(), np.array([object()]), range(3)],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_bytes_is_no_value(kv, key, value):
    with pytest.raises(TypeError, match="The input of val "):
        kv.set(key, value)
    with pytest.raises(TypeError, match="The input of vals "):
        kv.mset([key], [value])
    assert kv.exist([key]) == [False]


@pytest.mark.parametrize(
    "value",
    [memoryview(b"abcdef")[::2], np.arange(12).reshape(3, 4).T, np.arange(10)[::3]],
    ids=["memoryview", "transposed", "strided"],
)
def test_a_value_lies_in_one_piece(kv, key, value):
    with pytest.raises(TypeError, match="one piece"):
        kv.set(key, value)


class FakeTensor:
    """As much of torch.Tensor as is used, on a numpy array."""

    def __init__(self, array, device="cpu"):
        self.array = array
        self.device = types.SimpleNamespace(type=device)

    def is_contiguous(self):
        return self.array.flags.c_contiguous

    def detach(self):
        return self

    def reshape(self, size):
        return FakeTensor(self.array.reshape(size))

    def view(self, dtype):
        return FakeTensor(self.array.view(dtype))

    def numpy(self):
        return self.array


@pytest.fixture(name="torch")
def torch_fixture(monkeypatch):
    """torch is large and may be absent: what is called of it is replaced here."""
    module = types.ModuleType("torch")
    module.Tensor = FakeTensor
    module.uint8 = np.uint8
    monkeypatch.setitem(sys.modules, "torch", module)


@pytest.mark.usefixtures("torch")
def test_cpu_tensors_are_values(kv, key):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    kv.set(key, FakeTensor(array))
    assert kv.get([key]) == [array.tobytes()]
    with pytest.raises(TypeError, match="use tensor.cpu"):
        kv.set(key, FakeTensor(array, device="cuda"))
    with pytest.raises(TypeError, match="use tensor.contiguous"):
        kv.set(key, FakeTensor(array.T))
    with pytest.raises(TypeError, match="The input of val has invalid type"):
        kv.set(key, object())


def test_the_value_is_copied(kv, key):
    value = bytearray(b"before")
    kv.set(key, value)
    value[:] = b"after!"
    assert kv.get([key]) == [b"before"]
    value.extend(b"the buffer is free again")


@pytest.mark.parametrize("empty", [b"", "", bytearray(), np.array([])], ids=repr)
def test_empty_values_are_refused_unless_allowed(kv, key, empty):
    text = "The dataSize value should be bigger than zero."
    with pytest.raises(InvalidParameterError, match=text):
        kv.set(key, empty)
    with pytest.raises(InvalidParameterError, match=text):
        kv.mset([key], [empty])
    assert kv.set_value(empty) == ""
    kv.set(key, empty, allow_empty=True)
    assert kv.get([key]) == [b""]
    [view] = kv.get_buffers([key])
    assert len(view) == 0
    assert bytes(view) == b""


# --- keys ---

LEGAL = string.ascii_letters + string.digits + ".-_!@#%^*()+=:;"


def test_all_permitted_characters_make_a_key(kv):
    kv.set(LEGAL, b"v")
    assert kv.get([LEGAL]) == [b"v"]
    assert kv.delete([LEGAL]) == []


ILLEGAL = sorted({chr(i) for i in range(128)} - set(LEGAL)) + ["é", "漢", "\ud800", "🙂"]


@pytest.mark.parametrize("character", ILLEGAL, ids=ascii)
def test_every_other_character_is_refused(kv, character):
    for bad in (character, "a" + character, character + "a"):
        with pytest.raises(InvalidParameterError, match="The key contains illegal char"):
            kv.set(bad, b"v")
        with pytest.raises(InvalidParameterError, match="The key contains illegal char"):
            kv.get([bad])


def test_keys_have_1_to_1024_bytes(kv):
    with pytest.raises(InvalidParameterError, match="The objectKey should not be empty."):
        kv.set("", b"v")
    with pytest.raises(InvalidParameterError, match="no more than 1024.*length: 1025"):
        kv.set("k" * 1025, b"v")
    kv.set("k" * 1024, b"v")
    assert kv.get(["k" * 1024]) == [b"v"]


@pytest.mark.parametrize(
    "call",
    ["get", "get_buffers", "get_read_only_buffers", "delete", "exist"],
)
def test_key_lists_are_checked(kv, call):
    method = getattr(kv, call)
    for wrong in (None, "key", ("key",), {"key"}, 1):
        with pytest.raises(TypeError, match="The input of keys has invalid type"):
            method(wrong)
    with pytest.raises(TypeError, match="The input of key has invalid type"):
        method([1])
    with pytest.raises(InvalidParameterError, match="should not be empty"):
        method([])
    with pytest.raises(InvalidParameterError, match="The objectKey should not be empty."):
        method(["good", ""])


def test_a_list_may_hold_keys_as_bytes(kv, key):
    kv.set(key, b"v")
    assert kv.get([key.encode()]) == [b"v"]
    with pytest.raises(InvalidParameterError, match="illegal"):
        kv.get([b"a/b"])
    with pytest.raises(TypeError, match="The input of key "):
        kv.set(key.encode(), b"v")


def test_generate_key(kv):
    assert kv.generate_key("prefix") == "prefix"
    first, second = kv.generate_key(), kv.generate_key()
    assert first != second
    uuid.UUID(first)
    with pytest.raises(InvalidParameterError, match="illegal"):
        kv.generate_key("a/b")
    with pytest.raises(TypeError, match="The input of prefix"):
        kv.generate_key(1)


# --- set ---


def test_set_overwrites(kv, key):
    kv.set(key, b"first")
    kv.set(key, b"the second value")
    assert kv.get([key]) == [b"the second value"]


def test_set_returns_nothing_by_default(kv, key):
    assert kv.set(key, b"v") is None
    assert kv.set(key, b"v", existence_opt=ExistenceOpt.NONE) is None


def test_nx_tells_whether_it_wrote(kv, key):
    assert kv.set(key, b"1", existence_opt=ExistenceOpt.NX) is True
    assert kv.set(key, b"2", existence_opt=ExistenceOpt.NX) is False
    assert kv.set_nx(key, b"3") is False
    assert kv.get([key]) == [b"1"]
    kv.delete([key])
    assert kv.set_nx(key, b"4") is True
    assert kv.get([key]) == [b"4"]


def test_set_value_makes_a_key(kv):
    first = kv.set_value(b"v")
    second = kv.set_value(b"v")
    assert first != second
    assert kv.get([first, second]) == [b"v", b"v"]


@pytest.mark.parametrize(
    "arguments, name",
    [
        ((1, b"v"), "key"),
        (("k", b"v", 0), "write_mode"),
        (("k", b"v", ExistenceOpt.NX), "write_mode"),
        (("k", b"v", NONE, True), "ttl_second"),
        (("k", b"v", NONE, 1.5), "ttl_second"),
        (("k", b"v", NONE, np.int64(1)), "ttl_second"),
    ],
)
def test_set_compares_types_by_identity(kv, arguments, name):
    with pytest.raises(TypeError, match=f"The input of {name} has invalid type, valid type: "):
        kv.set(*arguments)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"existence_opt": 1}, "existence_opt"),
        ({"allow_empty": 1}, "allow_empty"),
        ({"ttl_ms": "1"}, "ttl_ms"),
        ({"ttl_ms": True}, "ttl_ms"),
    ],
)
def test_sets_own_options_are_checked_too(kv, options, name):
    with pytest.raises(TypeError, match=f"The input of {name} has invalid type"):
        kv.set("k", b"v", **options)


def test_set_needs_key_and_value(kv):
    with pytest.raises(TypeError):
        kv.set("k")
    with pytest.raises(TypeError):
        kv.set("k", b"v", no_such=1)


@pytest.mark.parametrize("value", [-1, 2**32, 2**64])
def test_ttl_has_a_range(kv, value):
    text = rf"Invalid ttl_second size {value} is set, which should be between \[0,4294967295\]"
    with pytest.raises(InvalidParameterError, match=text):
        kv.set("k", b"v", NONE, value)


@pytest.mark.parametrize("mode", [m for m in WriteMode if "L2" in m.name and "NONE" not in m.name])
def test_a_second_level_that_is_not_there_is_an_error(kv, key, mode):
    with pytest.raises(InvalidParameterError, match="L2_cache_type is set to none"):
        kv.set(key, b"v", mode)
    with pytest.raises(InvalidParameterError, match="L2_cache_type is set to none"):
        kv.mset([key], [b"v"], mode)
    assert kv.exist([key]) == [False]


def test_evictable_values_can_be_read(kv, key):
    kv.set(key, b"v", WriteMode.NONE_L2_CACHE_EVICT)
    assert kv.get([key]) == [b"v"]


# --- get ---


def test_missing_keys_are_none(kv, new_key):
    there, gone = new_key(), new_key()
    kv.set(there, b"v")
    assert kv.get([gone, there, gone]) == [None, b"v", None]
    assert kv.get([there, gone], True) == ["v", None]
    for call in (kv.get_buffers, kv.get_read_only_buffers):
        found = call([gone, there])
        assert found[0] is None
        assert bytes(found[1]) == b"v"


@pytest.mark.parametrize("call", ["get", "get_buffers", "get_read_only_buffers"])
def test_nothing_found_is_an_error(kv, new_key, call):
    first, second = new_key(), new_key()
    with pytest.raises(NotFoundError) as caught:
        getattr(kv, call)([first, second])
    assert isinstance(caught.value, RuntimeError)
    assert str(caught.value).startswith(
        "code: [Key not found], msg: [Cannot get objects from worker"
    )
    assert caught.value.key == first


def test_a_key_may_be_asked_for_twice(kv, key):
    kv.set(key, b"v")
    assert kv.get([key, key]) == [b"v", b"v"]
    first, second = kv.get_buffers([key, key])
    assert first is not second
    assert bytes(first) == bytes(second) == b"v"


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda kv, value: kv.get(["k"], False, value), "sub_timeout_ms"),
        (lambda kv, value: kv.get_buffers(["k"], value), "timeout_ms"),
        (lambda kv, value: kv.get_read_only_buffers(["k"], timeout_ms=value), "timeout_ms"),
    ],
    ids=["get", "get_buffers", "get_read_only_buffers"],
)
def test_timeouts_are_checked(kv, call, name):
    for wrong in (True, 1.0, "1", np.int32(1)):
        with pytest.raises(TypeError, match=f"The input of {name} has invalid type"):
            call(kv, wrong)
    for out in (-1, 2**31):
        with pytest.raises(
            InvalidParameterError,
            match=rf"Invalid {name} size {out} is set, which should be between \[0,2147483647\]",
        ):
            call(kv, out)


def test_arguments_by_name(kv, key):
    kv.set(key=key, val=b"v", write_mode=NONE, ttl_second=0)
    assert kv.get(keys=[key], convert_to_str=False, sub_timeout_ms=0) == [b"v"]
    assert bytes(kv.get_buffers(keys=[key], timeout_ms=0)[0]) == b"v"
    assert kv.exist(keys=[key]) == [True]
    assert kv.expire(keys=[key], ttl_second=0) == []
    assert kv.delete(keys=[key]) == []
    with pytest.raises(TypeError, match="unexpected keyword argument 'key'"):
        kv.get(key=[key])
    with pytest.raises(TypeError, match="multiple values for argument 'keys'"):
        kv.get([key], keys=[key])
    with pytest.raises(TypeError, match="missing required argument: 'keys'"):
        kv.exist()
    with pytest.raises(TypeError, match="at most 2 positional"):
        kv.get_buffers([key], 0, 0)


# --- read ---


@pytest.mark.parametrize(
    "offset, size, expected",
    [
        (0, 0, b"0123456789"),
        (0, 3, b"012"),
        (4, 3, b"456"),
        (4, 0, b"456789"),
        (7, 100, b"789"),
        (9, 1, b"9"),
    ],
)
def test_read_gives_a_part(kv, key, offset, size, expected):
    kv.set(key, b"0123456789")
    [part] = kv.read([ReadParam(key, offset, size)])
    assert bytes(part) == expected
    assert bytes(part.immutable_data()) == expected
    assert part.GetSize() == len(expected)


def test_read_beyond_the_end(kv, key):
    kv.set(key, b"0123456789")
    for offset in (10, 11, 2**40):
        with pytest.raises(OutOfRangeError, match="Out of range"):
            kv.read([ReadParam(key, offset, 1)])
    inside, outside = kv.read([ReadParam(key, 9, 1), ReadParam(key, 10, 1)])
    assert bytes(inside) == b"9"
    assert outside is None


def test_read_of_missing_keys(kv, new_key):
    there, gone = new_key(), new_key()
    kv.set(there, b"v")
    assert kv.read([ReadParam(gone, 0, 0), ReadParam(there, 0, 0)])[0] is None
    with pytest.raises(NotFoundError, match="Cannot get objects from worker"):
        kv.read([ReadParam(gone, 0, 0)])


def test_read_checks_its_parameters(kv):
    for wrong in (ReadParam("k", 0, 0), None, (ReadParam("k", 0, 0),)):
        with pytest.raises(TypeError, match="The input of read_params"):
            kv.read(wrong)
    for wrong in ("k", 1, ("k", 0)):
        with pytest.raises(TypeError, match="The input of read_params"):
            kv.read([wrong])
    for wrong in (ReadParam(1, 0, 0), ReadParam("k", "0", 0), ReadParam("k", 0, True)):
        with pytest.raises(TypeError):
            kv.read([wrong])
    for out in (ReadParam("k", -1, 0), ReadParam("k", 0, -1), ReadParam("k", 2**63, 0)):
        with pytest.raises(InvalidParameterError):
            kv.read([out])
    with pytest.raises(InvalidParameterError, match="should not be empty"):
        kv.read([])


# --- delete, exist ---


def test_delete(kv, new_key):
    there, gone = new_key(), new_key()
    kv.set(there, b"v")
    assert kv.exist([there, gone]) == [True, False]
    assert kv.delete([there, gone, there]) == []
    assert kv.exist([there, gone]) == [False, False]
    assert kv.delete([gone]) == []


def test_exist_takes_up_to_100000_keys(kv, key):
    kv.set(key, b"v")
    assert kv.exist([key] * 100_000) == [True] * 100_000
    with pytest.raises(InvalidParameterError, match="The objectKeys size exceed 100000"):
        kv.exist([key] * 100_001)


@pytest.mark.parametrize("call", ["get", "get_buffers", "delete"])
def test_batches_take_up_to_10000_keys(kv, key, call):
    kv.set(key, b"v")
    assert len(getattr(kv, call)([key] * 10_000)) in (0, 10_000)
    with pytest.raises(InvalidParameterError, match="The objectKeys size exceed 10000"):
        getattr(kv, call)([key] * 10_001)


def test_msettx_is_gone(kv, key):
    with pytest.raises(DsError, match="Runtime error.*mset") as caught:
        kv.msettx([key], [b"v"])
    assert caught.value.name == "K_RUNTIME_ERROR"
    assert kv.exist([key]) == [False]


def test_health_check(kv):
    status = kv.health_check()
    assert status.is_ok()
    assert not status.is_error()
    assert status.to_string() == "code: [OK], msg: []"
