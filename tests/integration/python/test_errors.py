# SPDX-License-Identifier: Apache-2.0
"""Errors are RuntimeErrors with the original's texts, and typed."""

import inspect
import pickle
import re
import threading

import pytest

from yr.datasystem import Context, DsError, Status, errors
from yr.datasystem.errors import InvalidParameterError, NotFoundError, OutOfMemoryError

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, DsError) and cls is not DsError
]

# number -> (name, text): part of the API in all languages
CODES = {
    1: ("K_DUPLICATED", "Duplicated"),
    2: ("K_INVALID", "Invalid parameter"),
    3: ("K_NOT_FOUND", "Key not found"),
    5: ("K_RUNTIME_ERROR", "Runtime error"),
    6: ("K_OUT_OF_MEMORY", "Out of memory"),
    8: ("K_NOT_READY", "Not ready"),
    12: ("K_OUT_OF_RANGE", "Out of range"),
    19: ("K_TRY_AGAIN", "Try again"),
    36: ("K_NOT_SUPPORTED", "Not supported"),
    1001: ("K_RPC_DEADLINE_EXCEEDED", "Deadline exceeded"),
    1002: ("K_RPC_UNAVAILABLE", "RPC unavailable"),
    2000: ("K_OC_ALREADY_SEALED", "Object already sealed"),
}


@pytest.mark.parametrize("code", CODES)
def test_codes_have_names_and_texts(code):
    error = errors.from_code(code, "what happened", "key")
    name, text = CODES[code]
    assert (error.code, error.name, error.key) == (code, name, "key")
    assert str(error).startswith(f"code: [{text}], msg: [what happened")
    assert error.hint


def test_each_class_has_one_code_and_each_code_its_class():
    codes = [code for code in range(6000) if type(errors.from_code(code, "")) is not DsError]
    assert {type(errors.from_code(code, "")) for code in codes} == set(CLASSES)
    assert len(codes) == len(CLASSES)
    for cls in CLASSES:
        assert issubclass(cls, RuntimeError)
        assert cls.__name__ in errors.__all__
        assert cls.__doc__.startswith("K_")
    for code in codes:
        error = errors.from_code(code, "")
        assert type(error).__doc__.startswith(error.name)


def test_an_unknown_code_is_a_plain_error():
    assert type(errors.from_code(4711, "x")) is DsError


def test_errors_can_be_pickled():
    error = errors.from_code(3, "gone", "key")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is NotFoundError
    assert str(copy) == str(error)
    assert (copy.code, copy.key, copy.detail) == (error.code, error.key, error.detail)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda kv: kv.set("", b"v"), "The objectKey should not be empty."),
        (lambda kv: kv.set("k", b""), "The dataSize value should be bigger than zero."),
        (lambda kv: kv.set("a b", b"v"), "The key contains illegal char(s)"),
        (lambda kv: kv.exist(["k"] * 100_001), "The objectKeys size exceed 100000"),
    ],
)
def test_texts_that_callers_look_for(kv, call, text):
    with pytest.raises(RuntimeError) as caught:
        call(kv)
    assert str(caught.value).startswith("code: [Invalid parameter], msg: [")
    assert text in str(caught.value)
    assert type(caught.value) is InvalidParameterError


def test_not_found_text(kv, key):
    with pytest.raises(RuntimeError, match=r"^code: \[Key not found\], msg: \[Cannot get objects"):
        kv.get([key])


def test_out_of_memory_text(kv, key):
    with pytest.raises(RuntimeError, match=r"^code: \[Out of memory\], msg: \[") as caught:
        kv.set(key, bytes(400 << 20))
    assert type(caught.value) is OutOfMemoryError
    assert caught.value.key == key
    assert "memory" in caught.value.hint


def test_trace_id_is_the_threads_own(kv, key):
    def text_of_error():
        with pytest.raises(NotFoundError) as caught:
            kv.get([key])
        return str(caught.value)

    Context.set_trace_id("trace-1.2~/&")
    try:
        assert re.search(r"traceId: trace-1\.2~/&\]$", text_of_error())
        seen = []
        thread = threading.Thread(target=lambda: seen.append(text_of_error()))
        thread.start()
        thread.join()
        assert "traceId" not in seen[0]
    finally:
        Context.set_trace_id("")
    assert "traceId" not in text_of_error()


def test_trace_id_is_checked():
    for bad in ("a" * 37, "a b", "é"):
        with pytest.raises(InvalidParameterError, match="trace id"):
            Context.set_trace_id(bad)
    with pytest.raises(TypeError):
        Context.set_trace_id(1)
    Context.set_trace_id("a" * 36)
    Context.set_trace_id("")


def test_status():
    assert Status().is_ok()
    status = Status(3, "gone")
    assert status.is_error()
    assert not status.is_ok()
    assert status.get_code() == 3
    assert status.get_msg() == "gone"
    assert status.to_string() == "code: [Key not found], msg: [gone]"
    assert "Key not found" in repr(status)
