# SPDX-License-Identifier: Apache-2.0
"""ObjectClient and Buffer: create, publish, seal, latches, references, nested keys."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from yr.datasystem.errors import (
    AlreadySealedError,
    BufferDeprecatedError,
    DeadlineExceededError,
    DsError,
    InvalidParameterError,
    NotFoundError,
    NotReadyError,
    OutOfRangeError,
    ShuttingDownError,
)
from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import Buffer, CacheType, ConsistencyType, ObjectClient


@pytest.fixture(name="other")
def other_fixture(worker):
    """A second client of the same process."""
    with ObjectClient(worker.host, worker.port) as client:
        yield client


def publish(objects, key, value, nested=None):
    buffer = objects.create(key, len(value))
    buffer.memory_copy(value)
    buffer.publish(nested)
    return buffer


# --- create, publish, seal ---


def test_an_object_is_visible_after_publish(objects, other, key):
    buffer = objects.create(key, 5)
    assert type(buffer) is Buffer
    assert buffer.get_size() == len(buffer) == 5
    buffer.memory_copy(b"value")
    with pytest.raises(NotFoundError):
        other.get([key], 0)
    buffer.publish()
    [seen] = other.get([key], 0)
    assert bytes(seen.immutable_data()) == b"value"
    assert seen.get_size() == 5


def test_mutable_data_is_the_objects_memory(objects, other, key):
    buffer = objects.create(key, 80)
    array = np.frombuffer(buffer.mutable_data(), dtype=np.int64)
    array[:] = range(10)
    buffer.publish()
    [seen] = other.get([key], 0)
    assert np.frombuffer(seen.immutable_data(), dtype=np.int64).tolist() == list(range(10))
    assert np.frombuffer(seen, dtype=np.int64).tolist() == list(range(10))
    assert memoryview(seen).readonly
    assert seen.immutable_data().readonly
    assert not buffer.mutable_data().readonly


def test_publish_can_be_repeated(objects, other, key):
    buffer = publish(objects, key, b"first")
    buffer.wlatch()
    buffer.memory_copy(b"again")
    buffer.unwlatch()
    buffer.publish()
    assert bytes(other.get([key], 0)[0].immutable_data()) == b"again"


def test_seal_ends_all_changes(objects, other, key):
    buffer = objects.create(key, 4)
    buffer.memory_copy(b"seal")
    buffer.seal()
    for call in (buffer.publish, buffer.seal):
        with pytest.raises(AlreadySealedError, match="already sealed"):
            call()
    [seen] = other.get([key], 0)
    assert bytes(seen.immutable_data()) == b"seal"
    with pytest.raises(DsError):
        seen.mutable_data()
    with pytest.raises(DsError):
        seen.memory_copy(b"x")


def test_a_published_object_can_be_sealed(objects, key):
    buffer = publish(objects, key, b"v")
    buffer.seal()
    with pytest.raises(AlreadySealedError):
        buffer.publish()


def test_what_is_not_published_is_dropped(objects, key):
    buffer = objects.create(key, 10)
    del buffer
    with pytest.raises(NotFoundError):
        objects.get([key], 0)


def test_put_does_it_in_one_call(objects, key):
    assert objects.put(key, b"value") is None
    assert bytes(objects.get([key], 0)[0].immutable_data()) == b"value"
    objects.put(key, np.arange(4, dtype=np.uint8))
    assert bytes(objects.get([key], 0)[0].immutable_data()) == b"\0\1\2\3"


def test_old_buffers_keep_their_bytes(objects, key):
    objects.put(key, b"old")
    [old] = objects.get([key], 0)
    objects.put(key, b"new")
    assert bytes(old.immutable_data()) == b"old"
    assert bytes(objects.get([key], 0)[0].immutable_data()) == b"new"


def test_objects_and_keys_share_their_names(objects, worker, key):
    objects.put(key, b"object")
    with KVClient(worker.host, worker.port) as kv:
        assert kv.get([key]) == [b"object"]
        kv.set(key, b"value")
        assert bytes(objects.get([key], 0)[0].immutable_data()) == b"value"
        kv.delete([key])
    with pytest.raises(NotFoundError):
        objects.get([key], 0)


def test_invalidate_changes_nothing_on_one_node(objects, key):
    buffer = publish(objects, key, b"value")
    assert buffer.invalidate_buffer() is None
    assert bytes(objects.get([key], 0)[0].immutable_data()) == b"value"


@pytest.mark.parametrize("consistency", list(ConsistencyType))
def test_param_chooses_the_consistency(objects, key, consistency):
    param = {"consistency_type": consistency, "cache_type": CacheType.MEMEORY}
    objects.put(key, b"put", param)
    buffer = objects.create(key, 3, param)
    buffer.memory_copy(b"new")
    buffer.publish()
    assert bytes(objects.get([key], 0)[0].immutable_data()) == b"new"


def test_arguments_are_checked(objects, key):
    for call in (lambda p: objects.create(key, 1, p), lambda p: objects.put(key, b"v", p)):
        with pytest.raises(TypeError, match="The key 'consistency_type' of the input param"):
            call({})
        with pytest.raises(TypeError, match="The input of param has invalid type"):
            call([])
        with pytest.raises(TypeError, match="The input of consistency_type"):
            call({"consistency_type": 0})
    with pytest.raises(TypeError, match="The input of object_key"):
        objects.create(1, 1)
    for wrong in ("1", 1.0, True):
        with pytest.raises(TypeError, match="The input of size"):
            objects.create(key, wrong)
    with pytest.raises(InvalidParameterError, match="bigger than zero"):
        objects.create(key, 0)
    with pytest.raises(InvalidParameterError, match="bigger than zero"):
        objects.put(key, b"")
    with pytest.raises(InvalidParameterError, match="size -1"):
        objects.create(key, -1)
    with pytest.raises(InvalidParameterError, match="illegal"):
        objects.put("a/b", b"v")
    with pytest.raises(TypeError, match="The input of value"):
        objects.put(key, 1)
    with pytest.raises(TypeError, match="The input of nested_object_keys has invalid type"):
        objects.put(key, b"v", None, "nested")
    with pytest.raises(TypeError, match="list of strings"):
        objects.put(key, b"v", None, [1])
    with pytest.raises(DsError, match="Out of memory"):
        objects.create(key, 1 << 40)


# --- get ---


def test_get_lists_missing_objects_as_none(objects, new_key):
    there, gone = new_key(), new_key()
    objects.put(there, b"v")
    found = objects.get([gone, there, there], 0)
    assert found[0] is None
    assert [bytes(buffer) for buffer in found[1:]] == [b"v", b"v"]
    with pytest.raises(NotFoundError, match="Cannot get objects from worker"):
        objects.get([gone], 0)


def test_get_waits(objects, other, key):
    setter = threading.Thread(target=lambda: other.put(key, b"late"))
    setter.start()
    try:
        assert bytes(objects.get([key], 8000)[0]) == b"late"
    finally:
        setter.join()
    start = time.monotonic()
    with pytest.raises(NotFoundError):
        objects.get([key + ".never"], 200)
    assert time.monotonic() - start >= 0.19


def test_the_request_timeout_bounds_the_wait(worker, key):
    with ObjectClient(worker.host, worker.port, req_timeout_ms=200) as objects:
        start = time.monotonic()
        with pytest.raises(NotFoundError):
            objects.get([key], 60_000)
        assert 0.19 <= time.monotonic() - start < 5


def test_close_ends_the_wait_of_another_thread(worker, key):
    objects = ObjectClient(worker.host, worker.port, req_timeout_ms=120_000)
    objects.init()
    outcomes = []

    def wait():
        try:
            objects.get([key], 60_000)
        except RuntimeError as error:
            outcomes.append(type(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    objects.close()
    waiting.join(30)
    assert outcomes in ([ShuttingDownError], [NotReadyError])


def test_get_checks_its_arguments(objects, key):
    with pytest.raises(TypeError, match="missing required argument: 'timeout_ms'"):
        objects.get([key])
    with pytest.raises(TypeError, match="The input of object_keys"):
        objects.get(key, 0)
    with pytest.raises(InvalidParameterError, match="object_keys list should not be empty"):
        objects.get([], 0)
    for wrong in (True, 1.0, None):
        with pytest.raises(TypeError, match="The input of timeout_ms"):
            objects.get([key], wrong)
    with pytest.raises(InvalidParameterError, match=r"between \[0,2147483647\]"):
        objects.get([key], -1)


# --- buffers ---


def test_a_buffer_of_nothing_says_so():
    buffer = Buffer()
    for call in (
        buffer.wlatch,
        buffer.unwlatch,
        buffer.rlatch,
        buffer.unrlatch,
        buffer.mutable_data,
        buffer.immutable_data,
        buffer.publish,
        buffer.seal,
        buffer.invalidate_buffer,
        buffer.get_size,
        lambda: buffer.memory_copy(b"v"),
    ):
        with pytest.raises(NotReadyError, match="The buffer is None, please create it first."):
            call()
    with pytest.raises(BufferError):
        memoryview(buffer)
    with pytest.raises(TypeError):
        Buffer(1)


def test_memory_copy_checks_its_value(objects, key):
    buffer = objects.create(key, 4)
    with pytest.raises(TypeError, match="The input of value"):
        buffer.memory_copy(1)
    with pytest.raises(OutOfRangeError, match="5 bytes do not fit into a buffer of 4"):
        buffer.memory_copy(b"12345")
    with pytest.raises(InvalidParameterError, match="bigger than zero"):
        buffer.memory_copy(b"")
    buffer.memory_copy(b"ab")
    buffer.memory_copy("cd")
    buffer.memory_copy(bytearray(b"ef"))
    assert bytes(buffer.immutable_data())[:2] == b"ef"


def test_large_copies(objects, key):
    value = np.random.default_rng(1).bytes(20_000_000)
    publish(objects, key, value)
    assert bytes(objects.get([key], 0)[0].immutable_data()) == value


def test_a_memoryview_keeps_the_object(objects, key):
    view = publish(objects, key, b"value").immutable_data()
    objects.put(key, b"newer")
    assert bytes(view) == b"value"


def test_a_buffer_can_be_released_early(objects, key):
    buffer = publish(objects, key, b"value")
    view = buffer.immutable_data()
    with pytest.raises(BufferError, match="in use"):
        buffer.release()
    view.release()
    with buffer:
        pass
    with pytest.raises(BufferDeprecatedError):
        buffer.get_size()
    with pytest.raises(BufferDeprecatedError):
        with buffer:
            pass


# --- latches ---


def test_a_write_latch_excludes_others(objects, other, key):
    first = publish(objects, key, b"value")
    [second] = other.get([key], 0)
    first.wlatch()
    for latch in (second.wlatch, second.rlatch):
        with pytest.raises(DeadlineExceededError):
            latch(1)
    first.unwlatch()
    second.wlatch(1)
    second.unwlatch()


def test_read_latches_exclude_writers_only(objects, other, key):
    first = publish(objects, key, b"value")
    [second] = other.get([key], 0)
    first.rlatch()
    second.rlatch(1)
    second.unrlatch()
    with pytest.raises(DeadlineExceededError):
        second.wlatch(1)
    first.unrlatch()
    second.wlatch(1)
    second.unwlatch()


def test_a_waiting_latch_lets_other_threads_run(objects, other, key):
    first = publish(objects, key, b"value")
    [second] = other.get([key], 0)
    latched = []
    first.wlatch()
    waiting = threading.Thread(target=lambda: latched.append(second.wlatch(30)))
    waiting.start()
    first.unwlatch()
    waiting.join(20)
    assert latched == [None]
    second.unwlatch()


def test_another_thread_can_give_back_the_latch_of_the_same_buffer(objects, key):
    buffer = publish(objects, key, b"value")
    latched = []
    buffer.wlatch()
    waiting = threading.Thread(target=lambda: latched.append(buffer.wlatch(30)))
    waiting.start()
    buffer.unwlatch()
    waiting.join(20)
    assert latched == [None]
    buffer.unwlatch()


def test_a_latch_ends_with_its_buffer(objects, other, key):
    first = publish(objects, key, b"value")
    [second] = other.get([key], 0)
    first.wlatch()
    del first
    second.wlatch(5)
    second.unwlatch()


def test_a_latch_ends_with_its_process(objects, worker, other_process, key):
    publish(objects, key, b"value")
    other_process(
        "import os\n"
        "from yr.datasystem.object_client import ObjectClient\n"
        "objects = ObjectClient(sys.argv[2], int(sys.argv[3]))\n"
        "objects.init()\n"
        "buffer = objects.get([sys.argv[1]], 0)[0]\n"
        "buffer.wlatch()\n"
        "os._exit(0)\n",
        key,
        worker.host,
        str(worker.port),
    )
    [buffer] = objects.get([key], 0)
    buffer.wlatch(10)
    buffer.unwlatch()


def interrupted_after(call, seconds):
    """How long after a SIGINT the call ends with KeyboardInterrupt."""
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(seconds, interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    try:
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            call()
    finally:
        signal.signal(signal.SIGINT, before)
    return time.monotonic() - sent[0]


@pytest.mark.parametrize("write", [True, False])
def test_a_signal_ends_a_wait_for_a_latch_at_once(objects, other, key, write):
    first = publish(objects, key, b"value")
    [second] = other.get([key], 0)
    latch = second.wlatch if write else second.rlatch
    first.wlatch()
    # Of several: one may find the processors busy. 0.3 s is not near a multiple of 0.25 s, at
    # which the wait looks for signals in any case.
    assert min(interrupted_after(lambda: latch(60), 0.3) for _ in range(3)) < 0.1
    first.unwlatch()
    first.wlatch(5)  # what was interrupted holds nothing
    first.unwlatch()


def test_signals_do_not_keep_a_latch_away(objects, other, key):
    first = publish(objects, key, b"value")
    [second] = other.get([key], 0)
    first.wlatch()
    threading.Timer(0.3, first.unwlatch).start()
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        second.wlatch(30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    second.unwlatch()


def test_latch_timeouts_are_checked(objects, key):
    buffer = publish(objects, key, b"value")
    for latch in (buffer.wlatch, buffer.rlatch):
        for wrong in ("1", 1.0, True):
            with pytest.raises(TypeError, match="The input of timeout_sec"):
                latch(wrong)
        for out in (0, -1, 2**31):
            with pytest.raises(InvalidParameterError, match=r"between \[1,2147483647\]"):
                latch(timeout_sec=out)


def test_writers_under_latches_lose_nothing(objects, worker, key):
    buffer = objects.create(key, 8)
    buffer.memory_copy(bytes(8))
    buffer.publish()

    def count():
        with ObjectClient(worker.host, worker.port) as client:
            [mine] = client.get([key], 5000)
            number = np.frombuffer(mine.mutable_data(), dtype=np.int64)
            for _ in range(50):
                mine.wlatch(60)
                number[0] += 1
                mine.unwlatch()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert np.frombuffer(buffer, dtype=np.int64)[0] == 200


# --- references ---


def test_an_object_ends_with_its_last_reference(objects, other, key):
    assert objects.g_increase_ref([key]) == []
    publish(objects, key, b"value")
    assert other.g_increase_ref([key]) == []
    assert objects.query_global_ref_num(key) == 2
    assert objects.g_decrease_ref([key]) == []
    assert bytes(other.get([key], 0)[0]) == b"value"
    assert other.g_decrease_ref([key]) == []
    assert other.query_global_ref_num(key) == 0
    with pytest.raises(NotFoundError):
        other.get([key], 0)


def test_references_are_counted_per_client(objects, key):
    publish(objects, key, b"value")
    for _ in range(3):
        assert objects.g_increase_ref([key]) == []
    assert objects.query_global_ref_num(key) == 3
    for _ in range(3):
        assert objects.g_decrease_ref([key]) == []
    with pytest.raises(NotFoundError):
        objects.get([key], 0)


def test_references_end_with_their_client(objects, worker, key, eventually):
    with ObjectClient(worker.host, worker.port) as client:
        client.g_increase_ref([key])
        publish(client, key, b"value")
        assert objects.query_global_ref_num(key) == 1
    eventually(lambda: objects.query_global_ref_num(key) == 0)
    with pytest.raises(NotFoundError):
        objects.get([key], 0)


def test_nested_objects_live_as_long_as_their_parent(objects, new_key, eventually):
    parent, child = new_key(), new_key()
    objects.g_increase_ref([parent, child])
    publish(objects, child, b"child")
    publish(objects, parent, b"parent", [child])
    objects.g_decrease_ref([child])
    assert bytes(objects.get([child], 0)[0]) == b"child"
    objects.g_decrease_ref([parent])

    def gone():
        try:
            objects.get([child], 0)
        except NotFoundError:
            return True
        return False

    eventually(gone, "the end of the nested object")


def test_an_object_cannot_be_nested_in_itself(objects, key):
    buffer = objects.create(key, 1)
    with pytest.raises(InvalidParameterError):
        buffer.publish([key])
    with pytest.raises(TypeError, match="list of strings"):
        buffer.publish([1])
    with pytest.raises(TypeError, match="The input of nested_object_keys has invalid type"):
        buffer.seal("child")
    buffer.publish([])


def test_reference_lists_are_checked(objects):
    for call in (objects.g_increase_ref, objects.g_decrease_ref):
        with pytest.raises(InvalidParameterError, match="object_keys list should not be empty"):
            call([])
        with pytest.raises(TypeError, match="The input of object_keys"):
            call("key")
        with pytest.raises(InvalidParameterError, match="illegal"):
            call(["a/b"])


def test_query_global_ref_num_does_not_raise(objects, key):
    assert objects.query_global_ref_num(key) == 0
    assert objects.query_global_ref_num("a/b") == -1
    assert ObjectClient("127.0.0.1", 1).query_global_ref_num(key) == -1
    with pytest.raises(TypeError, match="The input of object_key"):
        objects.query_global_ref_num(1)


def test_generate_object_id(objects):
    assert objects.generate_object_id("prefix") == "prefix"
    assert objects.generate_object_id() != objects.generate_object_id()
    with pytest.raises(TypeError):
        objects.generate_object_id(1)
