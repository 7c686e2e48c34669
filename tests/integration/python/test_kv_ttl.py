# SPDX-License-Identifier: Apache-2.0
"""Keys that end by themselves."""

import time

import pytest

from yr.datasystem.errors import InvalidParameterError, NotFoundError
from yr.datasystem.kv_client import WriteMode

NONE = WriteMode.NONE_L2_CACHE


def life_s(kv, key, write):
    """How long the key lives after write(); [shortest, longest] by what was seen."""
    before = time.monotonic()
    write()
    after = time.monotonic()
    while True:
        asked = time.monotonic()
        if not kv.exist([key])[0]:
            return asked - after, time.monotonic() - before
        assert asked - after < 20, "the key does not end"
        time.sleep(0.001)


@pytest.mark.parametrize(
    "options, expected_s",
    [({"ttl_second": 1}, 1.0), ({"ttl_ms": 150}, 0.15), ({"ttl_ms": 99.5}, 0.1)],
    ids=str,
)
def test_a_key_lives_as_long_as_asked(kv, key, options, expected_s):
    shortest, longest = life_s(kv, key, lambda: kv.set(key, b"v", **options))
    assert shortest < expected_s + 1.0
    assert longest >= expected_s - 0.002
    with pytest.raises(NotFoundError):
        kv.get([key])


def test_mset_takes_a_ttl(kv, new_key, eventually):
    keys = [new_key(), new_key()]
    kv.mset(keys, [b"1", b"2"], ttl_ms=80)
    eventually(lambda: kv.exist(keys) == [False, False])


def test_a_tiny_ttl_is_not_for_ever(kv, key, eventually):
    kv.set(key, b"v", ttl_ms=0.001)
    eventually(lambda: kv.exist([key]) == [False])


def test_a_set_without_ttl_ends_the_ttl(kv, new_key, eventually):
    kept, reference = new_key(), new_key()
    kv.set(kept, b"1", ttl_ms=50)
    kv.set(kept, b"2")
    kv.set(reference, b"v", ttl_ms=60)
    eventually(lambda: kv.exist([reference]) == [False])
    assert kv.get([kept]) == [b"2"]


def test_expire_changes_the_ttl(kv, new_key, eventually):
    sooner, later, never = new_key(), new_key(), new_key()
    kv.set(sooner, b"v")
    kv.set(later, b"v", ttl_ms=50)
    kv.set(never, b"v", ttl_ms=50)
    assert kv.expire([later], 1000) == []
    assert kv.expire([never], 0) == []
    assert kv.expire([sooner], 0, ttl_ms=60) == []
    eventually(lambda: kv.exist([sooner]) == [False])
    assert kv.exist([later, never]) == [True, True]


def test_expire_lists_missing_keys(kv, new_key):
    there, gone = new_key(), new_key()
    kv.set(there, b"v")
    assert kv.expire([gone, there], 100) == [gone]
    with pytest.raises(NotFoundError, match="Key not found") as caught:
        kv.expire([gone], 100)
    assert caught.value.key == gone


def test_expire_checks_its_arguments(kv, key):
    with pytest.raises(TypeError, match="missing required argument: 'ttl_second'"):
        kv.expire([key])
    with pytest.raises(TypeError, match="The input of ttl_second"):
        kv.expire([key], 1.0)
    with pytest.raises(InvalidParameterError, match="ttl_second"):
        kv.expire([key], -1)
    with pytest.raises(InvalidParameterError, match="should not be empty"):
        kv.expire([], 1)
    with pytest.raises(InvalidParameterError, match="The objectKeys size exceed 10000"):
        kv.expire([key] * 10_001, 1)


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("inf"), 1e16, 10**400])
def test_ttl_ms_has_a_range(kv, key, value):
    with pytest.raises(InvalidParameterError, match="Invalid ttl_ms size"):
        kv.set(key, b"v", ttl_ms=value)


def test_ttl_is_given_once(kv, key):
    with pytest.raises(InvalidParameterError, match="not both"):
        kv.set(key, b"v", NONE, 1, ttl_ms=1)
    kv.set(key, b"v", NONE, 0, ttl_ms=None)
    assert kv.exist([key]) == [True]


def test_a_view_outlives_the_ttl(kv, key, eventually):
    kv.set(key, b"value", ttl_ms=50)
    [view] = kv.get_buffers([key])
    eventually(lambda: kv.exist([key]) == [False])
    assert bytes(view) == b"value"
