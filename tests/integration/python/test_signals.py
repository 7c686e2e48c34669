# SPDX-License-Identifier: Apache-2.0
"""Signal handlers run while a call waits: one that raises ends the call, one that returns does not.

The calls wait for a worker that is stopped, unless what they wait for never comes in any case.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import yr.datasystem as ds
from yr.datasystem.errors import DeadlineExceededError, DeadlockError, ShuttingDownError
from yr.datasystem.kv_client import ExistenceOpt, KVClient, ReadParam
from yr.datasystem.object_client import ObjectClient

LONG_MS = 120_000  # no test waits so long: it is what a call would last if nothing ended it
SMALL = b"s" * 1024
LARGE = bytes(3 << 20)  # of a size that no block is lent for yet


class Alarm(Exception):
    """Raised by a signal handler."""


@pytest.fixture(name="alarm")
def alarm_fixture():
    """alarm(handler): called in this thread a little later, and again and again."""
    before = signal.getsignal(signal.SIGALRM)

    def arm(handler):
        signal.signal(signal.SIGALRM, lambda *_: handler())
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)

    yield arm
    disarm()
    signal.signal(signal.SIGALRM, before)


def disarm():
    signal.setitimer(signal.ITIMER_REAL, 0)


def ring():
    disarm()
    raise Alarm


class Node:
    """A worker of the test's own, that can be stopped, and clients with something in it."""

    def __init__(self, worker):
        self.worker = worker
        self.pids = worker.pids()
        address = (worker.host, worker.port)
        self.kv = KVClient(*address, req_timeout_ms=LONG_MS)
        self.objects = ObjectClient(*address, req_timeout_ms=LONG_MS)
        self.kv.init()
        self.objects.init()
        for i in range(40):  # blocks of this size are lent ahead then
            self.kv.set(f"small{i}", SMALL)
        [self.value] = self.kv.mcreate(["small0"], [100])
        self.buffer = self.objects.create("object", 100)
        self.published = self.objects.create("published", 100)
        self.published.publish()

    def stop(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def go_on(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(name="node")
def node_fixture(start_worker):
    node = Node(start_worker())
    yield node
    node.go_on()
    node.kv.close()
    node.objects.close()


WAITS = {
    "set": lambda node: node.kv.set("small0", b"v"),
    "set_large": lambda node: node.kv.set("large", LARGE),
    "set_nx": lambda node: node.kv.set("nx", SMALL, existence_opt=ExistenceOpt.NX),
    "mset": lambda node: node.kv.mset(["small0", "new"], [SMALL, SMALL]),
    "mcreate": lambda node: node.kv.mcreate(["large", "larger"], [len(LARGE), 2 * len(LARGE)]),
    "mset_buffer": lambda node: node.kv.mset_buffer([node.value]),
    "delete": lambda node: node.kv.delete(["small0", "missing"]),
    "expire": lambda node: node.kv.expire(["small0"], 100),
    "exist": lambda node: node.kv.exist(["missing"]),
    "get": lambda node: node.kv.get(["missing"]),
    "get_buffers": lambda node: node.kv.get_buffers(["small1", "missing"]),
    "read": lambda node: node.kv.read([ReadParam("missing", 0, 10)]),
    "worker_stats": lambda node: node.kv.worker_stats(),
    "health_check": lambda node: node.kv.health_check(),
    "create": lambda node: node.objects.create("large", len(LARGE)),
    "put": lambda node: node.objects.put("put", b"v"),
    "objects_get": lambda node: node.objects.get(["missing"], 0),
    "publish": lambda node: node.buffer.publish(),
    "wlatch": lambda node: node.published.wlatch(),
    "g_increase_ref": lambda node: node.objects.g_increase_ref(["object"]),
    "query_global_ref_num": lambda node: node.objects.query_global_ref_num("object"),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_handler_that_raises_ends_the_call(node, alarm, wait):
    node.stop()
    start = time.monotonic()
    with pytest.raises(Alarm):
        alarm(ring)
        WAITS[wait](node)
        disarm()
    assert time.monotonic() - start < 30
    node.go_on()
    node.kv.set("after", b"v")
    assert node.kv.get(["after"]) == [b"v"]
    node.published.wlatch(10)  # what was interrupted holds nothing
    node.published.unwlatch()


@pytest.mark.parametrize("wait", ["mcreate", "create"])
def test_what_was_created_for_nobody_is_given_back(node, alarm, eventually, wait):
    free = node.kv.worker_stats()["memory_free"]

    def ring_late():  # the worker answers, and the handler raises before the call returns
        node.go_on()
        eventually(lambda: node.kv.worker_stats()["memory_free"] <= free - len(LARGE), "a block")
        ring()

    for _ in range(3):
        node.stop()
        with pytest.raises(Alarm):
            alarm(ring_late)
            WAITS[wait](node)
            disarm()
    eventually(lambda: node.kv.worker_stats()["memory_free"] > free - 2 * len(LARGE), "its return")


def test_a_signal_ends_a_wait_at_once(node):
    took = []
    for _ in range(3):  # one may find the processors busy
        signal.signal(signal.SIGALRM, lambda *_: ring())
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        start = time.monotonic()
        with pytest.raises(Alarm):
            node.kv.get(["missing"], sub_timeout_ms=LONG_MS)
        took.append(time.monotonic() - start - 0.3)
    assert min(took) < 0.1


def test_a_handler_that_returns_does_not_end_a_call(node, alarm):
    calls = []

    def count():
        calls.append(None)
        if len(calls) == 5:
            node.go_on()

    node.stop()
    alarm(count)
    node.kv.set("small0", LARGE)
    assert len(calls) >= 5
    assert node.kv.get(["small0"]) == [LARGE]


def test_a_handler_makes_calls_of_its_own(node, alarm):
    """In the middle of one for a block of the same size: no lock is held."""

    def set_another():
        disarm()
        node.go_on()
        node.kv.set("by_the_handler", LARGE)

    node.stop()
    alarm(set_another)
    node.kv.set("large", LARGE)
    assert node.kv.get(["large", "by_the_handler"]) == [LARGE, LARGE]


def test_a_handler_cannot_use_the_buffer_whose_call_it_interrupted(node, alarm):
    raised = []

    def use():
        disarm()
        with pytest.raises(DeadlockError) as error:
            node.buffer.memory_copy(b"v")
        raised.append(error)
        node.go_on()

    node.stop()
    alarm(use)
    node.buffer.publish()
    assert len(raised) == 1
    node.buffer.memory_copy(b"v")


def test_a_handler_that_closes_the_client_ends_the_call(node, alarm):
    node.stop()
    with pytest.raises(ShuttingDownError):
        alarm(node.kv.close)
        node.kv.set("large", LARGE)
    node.go_on()
    node.kv.init()
    node.kv.set("after", b"v")


def test_who_waits_for_a_block_does_not_keep_others_from_theirs(node):
    node.stop()
    waiting = threading.Thread(target=lambda: node.kv.set("large", LARGE), daemon=True)
    waiting.start()
    other = threading.Thread(target=lambda: node.kv.set("new", SMALL), daemon=True)
    time.sleep(0.1)  # the order does not decide what the outcome has to be
    other.start()
    other.join(20)
    assert waiting.is_alive() and not other.is_alive()
    node.go_on()
    waiting.join(20)
    assert node.kv.get(["large", "new"]) == [LARGE, SMALL]


@pytest.mark.parametrize("call", ["mset", "mset_buffer"])
def test_a_batch_that_nobody_confirmed_failed(start_worker, call):
    node = Node(start_worker())
    with KVClient(node.worker.host, node.worker.port, req_timeout_ms=500) as kv:
        for i in range(40):
            kv.set(f"small{i}", SMALL)
        values = kv.mcreate(["small0"], [len(SMALL)])
        node.stop()
        with pytest.raises(DeadlineExceededError):
            if call == "mset":
                kv.mset(["small0"], [SMALL])
            else:
                kv.mset_buffer(values)
        node.go_on()


def test_a_read_of_many_keys_has_one_deadline(node):
    with KVClient(node.worker.host, node.worker.port, req_timeout_ms=500) as kv:
        node.stop()
        start = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            kv.read([ReadParam(f"missing{i}", 0, 10) for i in range(20)])
        node.go_on()
    assert time.monotonic() - start < 5


def test_libds_asks_after_a_signal_and_from_time_to_time(worker):
    code = (
        "import ctypes, signal, sys, time\n"
        "lib = ctypes.CDLL(sys.argv[1])\n"
        "Asked = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)\n"
        "class Options(ctypes.Structure):\n"
        "    _fields_ = [('size', ctypes.c_size_t), ('host', ctypes.c_char_p),\n"
        "                ('port', ctypes.c_uint16), ('connect', ctypes.c_int32),\n"
        "                ('request', ctypes.c_int32), ('tenant', ctypes.c_char_p),\n"
        "                ('reason', ctypes.c_char_p), ('reason_size', ctypes.c_size_t),\n"
        "                ('interrupted', Asked), ('arg', ctypes.c_void_p)]\n"
        "def get(interrupted, timeout_ms):\n"
        "    options, client = Options(), ctypes.c_void_p()\n"
        "    lib.ds_client_options_init(ctypes.byref(options))\n"
        "    assert options.size == ctypes.sizeof(options)\n"
        "    options.host, options.port = sys.argv[2].encode(), int(sys.argv[3])\n"
        "    options.interrupted, options.request = interrupted, 60000\n"
        "    assert lib.ds_client_open(ctypes.byref(options), ctypes.byref(client)) == 0\n"
        "    view = (ctypes.c_uint64 * 16)()\n"
        "    rc = lib.ds_kv_get(client, b'missing', ctypes.c_size_t(7),\n"
        "                       ctypes.c_int64(timeout_ms), view)\n"
        "    lib.ds_client_close(client)\n"
        "    return rc\n"
        "print(get(Asked(lambda _: True), 30000))\n"  # without any signal
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n"
        "count = []\n"
        "print(get(Asked(lambda _: count.append(1) or len(count) == 8), 30000))\n"
        "print(get(Asked(lambda _: False), 300), get(Asked(), 300))\n"
    )
    library = Path(ds.__file__).parent / "lib" / "libds.so"
    done = subprocess.run(
        [sys.executable, "-c", code, library, worker.host, str(worker.port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("-11\n-11\n-3 -3\n", "")
