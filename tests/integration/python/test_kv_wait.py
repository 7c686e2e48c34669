# SPDX-License-Identifier: Apache-2.0
"""Gets that wait for a key: other threads run meanwhile, other processes end the wait."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import yr.datasystem as ds
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


class Alarm(Exception):
    """Raised by a signal handler."""


@pytest.fixture(name="alarm")
def alarm_fixture():
    """alarm(seconds): a signal whose handler raises Alarm."""

    def ring(_number, _frame):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("call", CALLS)
def test_a_signal_handler_ends_a_wait(patient, key, alarm, call):
    start = time.monotonic()
    with pytest.raises(Alarm):
        alarm(0.05)
        waiting_get(patient, call, [key])
    assert time.monotonic() - start < 10
    patient.set(key, b"v")
    assert patient.get([key]) == [b"v"]


def test_a_signal_handler_that_returns_does_not_end_a_wait(patient, key, alarm):
    signal.signal(signal.SIGALRM, lambda _number, _frame: patient.set(key, b"by the handler"))
    alarm(0.05)
    assert waiting_get(patient, "get", [key]) == [b"by the handler"]


def test_a_signal_ends_a_get_that_waits_in_libds(worker):
    """In one call, without slices: what makes Ctrl-C act at once."""
    code = (
        "import ctypes, signal, sys\n"
        "lib = ctypes.CDLL(sys.argv[1])\n"
        "class Options(ctypes.Structure):\n"
        "    _fields_ = [('size', ctypes.c_size_t), ('host', ctypes.c_char_p),\n"
        "                ('port', ctypes.c_uint16), ('connect', ctypes.c_int32),\n"
        "                ('request', ctypes.c_int32), ('tenant', ctypes.c_char_p),\n"
        "                ('reason', ctypes.c_char_p), ('reason_size', ctypes.c_size_t),\n"
        "                ('interruptible', ctypes.c_bool)]\n"
        "def get(interruptible, timeout_ms):\n"
        "    options, client = Options(), ctypes.c_void_p()\n"
        "    lib.ds_client_options_init(ctypes.byref(options))\n"
        "    assert options.size == ctypes.sizeof(options)\n"
        "    options.host, options.port = sys.argv[2].encode(), int(sys.argv[3])\n"
        "    options.interruptible, options.request = interruptible, 60000\n"
        "    assert lib.ds_client_open(ctypes.byref(options), ctypes.byref(client)) == 0\n"
        "    view = (ctypes.c_uint64 * 16)()\n"
        "    rc = lib.ds_kv_get(client, b'missing', ctypes.c_size_t(7),\n"
        "                       ctypes.c_int64(timeout_ms), view)\n"
        "    lib.ds_client_close(client)\n"
        "    return rc\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n"
        "print(get(True, 30000), get(False, 300))\n"
    )
    library = Path(ds.__file__).parent / "lib" / "libds.so"
    done = subprocess.run(
        [sys.executable, "-c", code, library, worker.host, str(worker.port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("-11 -3\n", "")
