# SPDX-License-Identifier: Apache-2.0
"""Gets that wait for a key: other threads run meanwhile, other processes end the wait."""

import threading
import time

import pytest

from yr.datasystem.errors import NotFoundError, NotReadyError, ShuttingDownError
from yr.datasystem.kv_client import KVClient

LONG_MS = 60_000  # no test waits so long: it is what a wait would last if nothing ended it
CALLS = ["get", "get_buffers", "get_read_only_buffers"]


@pytest.fixture(name="patient")
def patient_fixture(worker):
    """A client whose calls may last as long as they ask for."""
    with KVClient(worker.host, worker.port, req_timeout_ms=2 * LONG_MS) as client:
        yield client


class Call(threading.Thread):
    """Runs a call in a thread; result() is what it returned or raised."""

    def __init__(self, function):
        super().__init__(daemon=True)
        self._function = function
        self._outcome = None
        self.started_at = threading.Event()
        self.start()
        assert self.started_at.wait(10)

    def run(self):
        self.started_at.set()
        try:
            self._outcome = (True, self._function())
        except BaseException as error:  # pylint: disable=broad-except
            self._outcome = (False, error)

    def result(self):
        self.join(30)
        assert not self.is_alive(), "the call does not end"
        returned, value = self._outcome
        if not returned:
            raise value
        return value


def waiting_get(kv, call, keys, timeout_ms=LONG_MS):
    if call == "get":
        return kv.get(keys, sub_timeout_ms=timeout_ms)
    return [view if view is None else bytes(view) for view in getattr(kv, call)(keys, timeout_ms)]


@pytest.mark.parametrize("call", CALLS)
def test_a_set_in_another_thread_ends_the_wait(patient, key, call):
    # With the GIL held, the set below could not run and the get would find nothing.
    getting = Call(lambda: waiting_get(patient, call, [key]))
    patient.set(key, b"v")
    assert getting.result() == [b"v"]


@pytest.mark.parametrize("call", CALLS)
def test_a_set_in_another_process_ends_the_wait(patient, other_process, key, call):
    getting = Call(lambda: waiting_get(patient, call, [key]))
    other_process("kv.set(sys.argv[1], b'from afar')", key)
    assert getting.result() == [b"from afar"]


def test_other_threads_progress_during_a_wait(patient, key):
    getting = Call(lambda: waiting_get(patient, "get", [key]))
    for i in range(200):
        patient.set(f"{key}.{i}", b"v")
        assert patient.get([f"{key}.{i}"]) == [b"v"]
    assert getting.is_alive()
    patient.set(key, b"v")
    assert getting.result() == [b"v"]


def test_a_wait_for_several_keys_ends_with_the_last(patient, new_key):
    keys = [new_key() for _ in range(5)]
    patient.set(keys[2], b"2")
    getting = Call(lambda: waiting_get(patient, "get", keys))
    for i in (4, 0, 3, 1):
        assert getting.is_alive()
        patient.set(keys[i], str(i).encode())
    assert getting.result() == [b"0", b"1", b"2", b"3", b"4"]


def test_many_threads_wait_for_one_key(patient, key):
    waiting = [Call(lambda: waiting_get(patient, "get_buffers", [key])) for _ in range(16)]
    patient.set(key, b"v")
    assert [call.result() for call in waiting] == [[b"v"]] * 16


@pytest.mark.parametrize("call", CALLS)
def test_a_wait_ends_with_its_time(kv, key, call):
    start = time.monotonic()
    with pytest.raises(NotFoundError):
        waiting_get(kv, call, [key], 300)
    assert 0.29 <= time.monotonic() - start < 5


def test_what_came_in_time_is_returned(kv, new_key):
    there, gone = new_key(), new_key()
    kv.set(there, b"v")
    start = time.monotonic()
    assert kv.get([there, gone], False, 100) == [b"v", None]
    assert time.monotonic() - start >= 0.09


def test_no_wait_without_a_timeout(kv, key):
    start = time.monotonic()
    with pytest.raises(NotFoundError):
        kv.get([key])
    assert time.monotonic() - start < 2


def test_the_request_timeout_bounds_the_wait(worker, key):
    with KVClient(worker.host, worker.port, req_timeout_ms=200) as kv:
        start = time.monotonic()
        with pytest.raises(NotFoundError):
            kv.get([key], False, LONG_MS)
        assert 0.19 <= time.monotonic() - start < 5


def test_close_ends_the_waits_of_other_threads(worker, patient, new_key, eventually):
    sessions = patient.worker_stats()["sessions"]
    kv = KVClient(worker.host, worker.port, req_timeout_ms=2 * LONG_MS)
    kv.init()
    waiting = [Call(lambda key=new_key(): waiting_get(kv, "get", [key])) for _ in range(4)]
    kv.close()
    for call in waiting:
        with pytest.raises((ShuttingDownError, NotReadyError)):
            call.result()
    eventually(lambda: patient.worker_stats()["sessions"] == sessions, "the end of the session")
    kv.init()


def test_more_threads_wait_than_the_session_has_requests(patient, new_key):
    keys = [new_key() for _ in range(100)]
    waiting = [Call(lambda key=key: waiting_get(patient, "get", [key])) for key in keys]
    for few in (slice(80, 100), slice(0, 80)):  # when the last came no request was left for them
        for key in keys[few]:
            patient.set(key, key.encode())
        assert [call.result() for call in waiting[few]] == [[key.encode()] for key in keys[few]]
