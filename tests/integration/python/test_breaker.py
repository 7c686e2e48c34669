# SPDX-License-Identifier: Apache-2.0
"""Second-level storage that is down for long, and comes back: the circuit breaker in front of it."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from yr.datasystem.errors import DsError
from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import WriteMode

THROUGH = WriteMode.WRITE_THROUGH_L2_CACHE
BACK = WriteMode.WRITE_BACK_L2_CACHE


@pytest.fixture(name="store")
def store_fixture(store, tmp_path):
    return {**store, "write_back_directory": tmp_path / "journal", "log_dir": tmp_path / "log"}


def client(worker):
    kv = KVClient(worker.host, worker.port)
    kv.init()
    return kv


def cannot_be_asked(call, *args):
    with pytest.raises(DsError, match="unavailable") as failed:
        call(*args)
    assert "not found" not in str(failed.value)
    assert "second-level storage" in str(failed.value)


def opened(kv):
    """Asks for a key that nobody has, until that fails at once."""
    with pytest.raises(DsError) as failed:
        kv.get(["nobody"])
    assert "not found" not in str(failed.value)
    return kv.worker_stats()["l2_breaker_open"] == 1


def test_storage_that_is_down_fails_at_once_and_is_used_again(start_worker, store, stub, eventually):
    worker = start_worker(**store)
    with client(worker) as kv:
        kv.set("k", b"first", THROUGH)
        kv.set("deleted", b"value", THROUGH)
        stub.fault("cut", times=10**6)
        eventually(lambda: opened(kv), "the breaker opens")

        def took(i):
            begin = time.monotonic()
            cannot_be_asked(kv.get, [f"missing{i}"])
            return time.monotonic() - begin

        before = kv.worker_stats()["l2_rejected"]
        with ThreadPoolExecutor(8) as pool:  # one of them may be a probe
            times = sorted(pool.map(took, range(40)))
        assert times[30] < 0.5, times
        assert kv.worker_stats()["l2_rejected"] >= before + 30

        cannot_be_asked(kv.set, "k", b"second", THROUGH)
        cannot_be_asked(kv.delete, ["deleted"])
        cannot_be_asked(kv.exist, ["missing"])
        cannot_be_asked(kv.expire, ["k"], 60)
        assert kv.get(["k", "deleted"]) == [b"first", b"value"]
        for i in range(10):
            kv.set(f"back{i}", b"waits", BACK)
        kv.set("memory", b"goes on")
        assert kv.get(["back3", "memory"]) == [b"waits", b"goes on"]
        assert kv.worker_stats()["l2_waiting"] == 10
        assert kv.worker_stats()["l2_breaker_open"] == 1

        stub.faults.clear()  # nobody asks: an upload finds out
        eventually(lambda: kv.worker_stats()["l2_waiting"] == 0, "all is uploaded", 40)
        assert kv.worker_stats()["l2_breaker_open"] == 0
        assert kv.worker_stats()["l2_trips"] == 1
        kv.set("k", b"third", THROUGH)
        kv.delete(["deleted"])
    log = (store["log_dir"] / "datasystem_worker.INFO.log").read_text()
    assert log.count("storage does not answer: ") == 1
    assert log.count("storage answers again") == 1
    worker.kill()
    store["write_back_directory"] = store["write_back_directory"].with_name("journal2")
    with client(start_worker(**store)) as kv:
        assert kv.get(["k"] + [f"back{i}" for i in range(10)]) == [b"third"] + [b"waits"] * 10
        assert kv.exist(["deleted"]) == [False]


def test_refusals_of_one_object_open_nothing(start_worker, store, stub):
    with client(start_worker(**store)) as kv:
        stub.fault("status", method="PUT", times=5, value=(403, "AccessDenied"))
        stub.fault("status", method="PUT", times=5, value=(400, "EntityTooLarge"))
        for _ in range(10):
            with pytest.raises(DsError):
                kv.set("k", b"value", THROUGH)
        for i in range(10):
            assert kv.exist([f"nobody{i}"]) == [False]
        kv.set("k", b"value", THROUGH)
        assert kv.worker_stats()["l2_trips"] == 0
