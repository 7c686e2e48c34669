# SPDX-License-Identifier: Apache-2.0
"""What a child made by fork() has: the views of its parent, and sessions that it opens itself."""

import multiprocessing
import os
import warnings

import numpy as np
import pytest

import yr.datasystem as ds
from yr.datasystem.errors import NotReadyError
from yr.datasystem.kv_client import KVClient, WriteMode

MIB = 1 << 20


def start_child(function):
    """Forks; finish() waits and gives what function() returned there, as text."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads exist: intended here
        pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.write(writer, str(function()).encode())
        except BaseException as error:  # pylint: disable=broad-exception-caught
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)  # pylint: disable=protected-access
    os.close(writer)

    def finish():
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        return text

    return finish


def run_in_child(function):
    return start_child(function)()


def test_a_forked_child_reads_inherited_views(kv, key):
    value = np.random.default_rng(1).bytes(1 << 20)
    kv.set(key, value)
    [view] = kv.get_buffers([key])
    assert run_in_child(lambda: bytes(view) == value) == "True"
    assert bytes(view) == value


def test_a_forked_child_opens_its_own_client(kv, worker, key):
    kv.set(key, b"from the parent")

    def child():
        with KVClient(worker.host, worker.port) as mine:
            mine.set(key + ".child", b"from the child")
            return mine.get([key])[0].decode()

    assert run_in_child(child) == "from the parent"
    assert kv.get([key + ".child"]) == [b"from the child"]


def refusal(call, *args):
    with pytest.raises(NotReadyError) as caught:
        call(*args)
    return str(caught.value)


def test_a_forked_child_cannot_use_the_parents_client(kv, objects, key):
    made = objects.create(key + ".object", 4)

    def child():
        texts = [
            refusal(kv.set, key, b"v"),
            refusal(kv.get, [key]),
            refusal(kv.get_buffers, [key]),
            refusal(objects.create, key, 4),
            kv.health_check().to_string(),
        ]
        refusal(made.publish)
        refusal(made.wlatch)
        return all("made before fork(): call init()" in text for text in texts)

    assert run_in_child(child) == "True"
    assert kv.exist([key]) == [False]
    made.publish()


def test_init_in_a_forked_child_opens_a_new_session(worker, kv, objects, key):
    client = ds.DsClient(worker.host, worker.port)
    client.init()
    value = np.random.default_rng(2).bytes(MIB)
    kv.set(key, value)
    [view] = kv.get_buffers([key])

    def child():
        for one in (kv, objects, client):
            one.init()
            one.init()
        kv.set(key + ".kv", b"1")
        client.kv().set(key + ".shared", b"2")
        client.object().put(key + ".object", b"3")
        objects.create(key + ".buffer", 4).publish()
        found = kv.exist([key + end for end in (".kv", ".shared", ".object", ".buffer")])
        return found, bytes(view) == value, kv.get([key])[0] == value

    assert run_in_child(child) == "([True, True, True, True], True, True)"
    assert kv.get([key + ".kv", key + ".shared"]) == [b"1", b"2"]
    assert bytes(view) == value
    client.close()


def test_init_in_a_forked_childs_child(kv, key):
    kv.set(key, b"value")
    [view] = kv.get_buffers([key])

    def grandchild():
        kv.init()
        return kv.get([key])[0] + bytes(view)

    def child():
        kv.init()
        return run_in_child(grandchild)

    assert run_in_child(child) == "b'valuevalue'"


POOL = {}  # what the processes of the pool inherit


def set_in_pool(key):
    POOL["kv"].set(key, key)


def test_a_pool_of_forked_processes(kv, new_key):
    keys = [new_key() for _ in range(20)]
    POOL["kv"] = kv
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(3, initializer=kv.init) as pool:
            pool.map(set_in_pool, keys)
    assert [value.decode() for value in kv.get(keys)] == keys


def fill(kv, new_key):
    """More than the worker's memory: what is free by then is written over."""
    for _ in range(100):
        kv.set(new_key(), bytes(MIB), WriteMode.NONE_L2_CACHE_EVICT)


def test_views_of_parent_and_child_are_independent(start_worker, new_key):
    worker = start_worker(shared_memory_size_mb=64)
    kv = KVClient(worker.host, worker.port)
    kv.init()
    value = np.random.default_rng(3).bytes(MIB)
    keys = [new_key(), new_key()]
    for key in keys:
        kv.set(key, value)
    views = kv.get_buffers(keys)
    released_in, released = os.pipe()
    go_in, go = os.pipe()

    def child():
        views[0] = None
        os.write(released, b"x")
        os.read(go_in, 1)
        kv.init()
        fill(kv, new_key)
        return bytes(views[1]) == value

    finish = start_child(child)
    os.read(released_in, 1)
    kv.delete(keys)
    views[1] = None
    fill(kv, new_key)
    assert bytes(views[0]) == value
    os.write(go, b"x")
    assert finish() == "True"
    for end in (released_in, released, go_in, go):
        os.close(end)
    kv.close()


def test_what_a_forked_child_drops_stays_the_parents(start_worker, new_key):
    worker = start_worker(shared_memory_size_mb=64)
    key = new_key()
    value = np.random.default_rng(4).bytes(MIB)
    kv = KVClient(worker.host, worker.port)
    kv.init()
    kv.set(key, value)
    held = [kv, kv.get_buffers([key])[0], kv.mcreate([key + ".new"], [4])[0]]
    view, made = held[1:]

    def child():
        nonlocal kv, view, made
        held.clear()
        kv = view = made = None  # the client is closed, the pin and the memory given back
        return "dropped"

    assert run_in_child(child) == "dropped"
    kv.delete([key])
    fill(kv, new_key)
    assert bytes(view) == value
    made.MutableData()[:] = b"made"
    kv.mset_buffer([made])
    assert kv.get([key + ".new"]) == [b"made"]
