# SPDX-License-Identifier: Apache-2.0
"""Connecting, closing, sharing: constructors, sessions, threads, and the parts not there."""

import threading
import warnings

import numpy as np
import pytest

import yr.datasystem as ds
from yr.datasystem.errors import (
    DsError,
    InvalidParameterError,
    NotFoundError,
    NotReadyError,
    NotSupportedError,
    UnavailableError,
)
from yr.datasystem.kv_client import KVClient, SetParam
from yr.datasystem.stream_client import Consumer, Producer

CLIENTS = [ds.DsClient, ds.KVClient, ds.ObjectClient, ds.HeteroClient]


def some_call(client):
    """Any call that needs the worker."""
    if isinstance(client, ds.DsClient):
        return client.kv().exist(["k"])
    if isinstance(client, ds.ObjectClient):
        return client.g_increase_ref(["k"])
    return client.exist(["k"])


# --- constructors ---


@pytest.mark.parametrize("cls", CLIENTS)
def test_constructors_check_their_arguments(cls):
    for wrong in (
        {"host": 1},
        {"port": "1"},
        {"port": True},
        {"connect_timeout_ms": 1.0},
        {"connect_timeout_ms": True},
        {"token": b"t"},
        {"access_key": None},
        {"tenant_id": 1},
        {"req_timeout_ms": "1"},
    ):
        with pytest.raises(TypeError, match=f"The input of {next(iter(wrong))} has invalid type"):
            cls(**{"host": "127.0.0.1", "port": 1, **wrong})
    for out in (
        {"connect_timeout_ms": -1},
        {"connect_timeout_ms": 2**31},
        {"req_timeout_ms": -1},
        {"port": -1},
        {"port": 65536},
    ):
        with pytest.raises(InvalidParameterError, match="should be between"):
            cls(**{"host": "127.0.0.1", "port": 1, **out})


@pytest.mark.parametrize("cls", [ds.DsClient, ds.KVClient])
def test_host_and_port_belong_together(cls):
    with pytest.raises(RuntimeError, match="host and port"):
        cls("127.0.0.1")
    with pytest.raises(RuntimeError, match="host and port"):
        cls(port=1)
    cls()


def test_kv_client_has_limits_of_its_own():
    for out in (0, (2 << 30) + 1):
        with pytest.raises(RuntimeError, match="Invalid fast_transport_mem_size size"):
            KVClient("h", 1, fast_transport_mem_size=out)
    with pytest.raises(TypeError, match="The input of enable_cross_node_connection"):
        KVClient("h", 1, enable_cross_node_connection=1)
    with pytest.raises(RuntimeError, match="Not supported"):
        KVClient(service_discovery=object())


@pytest.mark.parametrize("cls", CLIENTS)
def test_a_client_needs_init(cls):
    client = cls("127.0.0.1", 1)
    with pytest.raises(NotReadyError, match="call init"):
        some_call(client)
    client.close()
    client.close()


def test_before_init_nothing_raises_that_should_not():
    kv = KVClient("127.0.0.1", 1)
    assert kv.set_value(b"v") == ""
    assert kv.health_check().is_error()
    assert "Not ready" in kv.health_check().to_string()
    with pytest.raises(NotReadyError):
        kv.worker_stats()


@pytest.mark.parametrize("cls", CLIENTS)
def test_init_says_that_nobody_answers(cls):
    client = cls("127.0.0.1", 1, 500)
    with pytest.raises(UnavailableError, match="RPC unavailable.*127.0.0.1:1.*dscli start"):
        client.init()
    with pytest.raises(NotReadyError):
        some_call(client)


def test_a_connect_timeout_has_a_minimum(worker):
    kv = KVClient(worker.host, worker.port, 499)
    with pytest.raises(RuntimeError, match=r"connectTimeoutMs\(499\).*equal to 500"):
        kv.init()
    KVClient(worker.host, worker.port, 500).init()


def test_tenants_are_refused(worker):
    with pytest.raises(NotSupportedError, match="tenant"):
        KVClient(worker.host, worker.port, tenant_id="somebody").init()


def test_unused_credentials_are_named(worker):
    kv = KVClient(worker.host, worker.port, access_key="a", secret_key="s")
    with pytest.warns(RuntimeWarning, match="access_key, secret_key: ignored"):
        kv.init()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KVClient(worker.host, worker.port).init()


def test_the_environment_names_the_worker(worker, key, monkeypatch):
    monkeypatch.setenv("DATASYSTEM_HOST", worker.host)
    monkeypatch.setenv("DATASYSTEM_PORT", str(worker.port))
    with KVClient() as kv:
        kv.set(key, b"v")
    monkeypatch.setenv("DATASYSTEM_CONNECT_TIME_MS", "499")
    with pytest.raises(InvalidParameterError, match="499"):
        KVClient().init()
    KVClient(connect_timeout_ms=500).init()
    monkeypatch.setenv("DATASYSTEM_CONNECT_TIME_MS", "soon")
    with pytest.raises(InvalidParameterError, match="soon"):
        KVClient().init()
    monkeypatch.delenv("DATASYSTEM_CONNECT_TIME_MS")
    monkeypatch.setenv("DATASYSTEM_TENANT_ID", "somebody")
    with pytest.raises(NotSupportedError, match="somebody"):
        KVClient().init()


# --- sessions ---


@pytest.mark.parametrize("cls", CLIENTS)
def test_clients_are_contexts(cls, worker):
    with cls(worker.host, worker.port) as client:
        some_call(client)
    with pytest.raises(NotReadyError, match="closed"):
        some_call(client)
    client.close()
    client.init()
    some_call(client)
    client.init()
    client.close()


def test_sessions_come_and_go(kv, worker, eventually):
    before = kv.worker_stats()["sessions"]
    clients = [KVClient(worker.host, worker.port) for _ in range(20)]
    for client in clients:
        client.init()
        client.exist(["k"])
    assert kv.worker_stats()["sessions"] == before + 20
    for client in clients[:10]:
        client.close()
    del clients, client
    eventually(lambda: kv.worker_stats()["sessions"] == before)


def test_ds_client_has_one_session(kv, worker, eventually, key):
    before = eventually(lambda: kv.worker_stats()["sessions"])
    with ds.DsClient(worker.host, worker.port) as client:
        assert kv.worker_stats()["sessions"] == before + 1
        client.kv().set(key, b"v")
        assert bytes(client.get([key], 0)[0]) == b"v"
        assert bytes(client.object().get([key], 0)[0]) == b"v"
        assert client.hetero().exist([key]) == [True]
        client.kv().close()  # leaves the others theirs
        with pytest.raises(NotReadyError):
            client.kv().exist([key])
        assert client.hetero().exist([key]) == [True]
    eventually(lambda: kv.worker_stats()["sessions"] == before)


def test_ds_client_makes_the_calls_of_its_object_client(worker, new_key):
    key, other = new_key(), new_key()
    with ds.DsClient(worker.host, worker.port) as client:
        assert client.g_increase_ref([key]) == []
        buffer = client.create(key, 3)
        buffer.memory_copy(b"val")
        buffer.publish()
        for second in (True, False, 0, 100):
            assert bytes(client.get([key], second)[0].immutable_data()) == b"val"
        assert bytes(client.get([key])[0].immutable_data()) == b"val"
        with pytest.raises(TypeError):
            client.get([key], "1")
        client.put(other, b"v", {"consistency_type": ds.ConsistencyType.PRAM}, [key])
        assert client.query_global_ref_num(key) >= 1
        assert client.generate_object_id("id") == "id"
        assert client.g_decrease_ref([key]) == []


def test_buffers_outlive_their_client(kv, worker, new_key):
    old, new = new_key(), new_key()
    with ds.DsClient(worker.host, worker.port) as client:
        client.put(old, b"value")
        [read] = client.get([old], 0)
        [made] = client.kv().mcreate([new], [3])
    assert bytes(read.immutable_data()) == b"value"
    made.MutableData()[:] = b"new"
    with pytest.raises(NotReadyError):
        client.kv().mset_buffer([made])
    assert kv.exist([new]) == [False]


def test_stats_are_numbers_that_add_up(kv, key):
    kv.set(key, bytes(100_000))
    stats = kv.worker_stats()
    assert stats["memory_size"] == 256 << 20
    assert stats["memory_live"] >= 100_000
    assert stats["objects"] >= 1
    parts = ("memory_live", "memory_granted", "memory_doomed", "memory_free")
    assert sum(stats[part] for part in parts) == stats["memory_size"]


# --- threads and processes ---


def test_one_client_serves_many_threads(kv, new_key):
    failures = []

    def work(number):
        try:
            rng = np.random.default_rng(number)
            keys = [new_key() for _ in range(20)]
            for i in range(100):
                value = rng.bytes(int(rng.integers(1, 200_000)))
                kv.set(keys[i % 20], value)
                [view] = kv.get_buffers([keys[i % 20]])
                assert bytes(view) == value
                assert kv.get([keys[i % 20]]) == [value]
                if i % 10 == 9:
                    assert kv.delete([keys[i % 20]]) == []
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []


def test_a_client_may_be_closed_under_its_users(worker, new_key):
    kv = KVClient(worker.host, worker.port)
    kv.init()
    running = threading.Barrier(5)
    outcomes = []

    def work(key):
        running.wait()
        try:
            while True:
                kv.set(key, b"v" * 1000)
                kv.get_buffers([key])
        except RuntimeError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work, args=(new_key(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    running.wait()
    kv.close()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 4
    assert all(isinstance(error, DsError) for error in outcomes)


# --- what this version does not have ---


def test_device_calls_are_refused_by_name(worker):
    blobs = [ds.DeviceBlobList(0, [ds.Blob(4096, 64)])]
    calls = {
        "mset_d2h": (["k"], blobs, SetParam()),
        "mget_h2d": (["k"], blobs, 0),
        "async_mset_d2h": (["k"], blobs),
        "async_mget_h2d": (["k"], blobs, 0),
        "mset_d2h_from_multi_buffers": (["k"], [[4096]], [[64]]),
        "mget_h2d_from_multi_buffers": (["k"], [[4096]], [[64]]),
        "pre_register_device_memory": ([4096], [64]),
        "dev_publish": (["k"], blobs),
        "dev_subscribe": (["k"], blobs),
        "dev_mset": (["k"], blobs),
        "dev_mget": (["k"], blobs, 0),
        "dev_delete": (["k"],),
        "async_dev_delete": (["k"],),
        "dev_local_delete": (["k"],),
        "get_meta_info": (["k"], True),
    }
    with ds.HeteroClient(worker.host, worker.port) as hetero:
        for name, arguments in calls.items():
            with pytest.raises(NotSupportedError, match=rf"code: \[Not supported\], msg: \[{name}"):
                getattr(hetero, name)(*arguments)
        with pytest.raises(RuntimeError, match="should not be empty"):
            hetero.dev_mset([], [])
        with pytest.raises(TypeError):
            hetero.mget_h2d(["k"], blobs, "1")


def test_host_calls_of_the_hetero_client(worker, kv, key):
    kv.set(key, b"v")
    with ds.HeteroClient(worker.host, worker.port) as hetero:
        assert hetero.exist([key, key + ".no"]) == [True, False]
        assert hetero.batch_is_exist([key, key + ".no"]) == [1, 0]
        assert hetero.delete([key]) == []
        assert hetero.batch_is_exist([key]) == [0]
        assert hetero.generate_key("p") == "p"
        assert hetero.generate_key() != hetero.generate_key()


def test_holders_of_device_memory():
    blob = ds.Blob(1, 2)
    blob.set_dev_ptr(3)
    blob.set_size(4)
    assert (blob.dev_ptr, blob.size) == (3, 4)
    blobs = ds.DeviceBlobList(0, [blob], src_offset=1)
    blobs.append_blob(ds.Blob(5, 6))
    blobs.set_dev_idx(7)
    blobs.set_src_offset(8)
    assert [b.dev_ptr for b in blobs.get_blob_list()] == [3, 5]
    assert (blobs.dev_idx, blobs.src_offset) == (7, 8)
    assert ds.MetaInfo([1, 2]).blob_size_list == [1, 2]
    assert issubclass(ds.FutureTimeoutException, Exception)


def test_streams_are_refused_by_name():
    client = ds.StreamClient("127.0.0.1", 31501)
    for call in (
        client.init,
        lambda: client.create_producer("s"),
        lambda: client.subscribe("s", "sub", 0),
        lambda: client.delete_stream("s"),
        lambda: client.query_global_producer_num("s"),
        lambda: client.query_global_consumer_num("s"),
        lambda: Producer(None),
        lambda: Consumer(None),
    ):
        with pytest.raises(NotSupportedError, match="streams"):
            call()
    with pytest.raises(TypeError):
        ds.StreamClient(1, 2)


def test_tensor_clients_are_refused_by_name():
    client = ds.DsTensorClient("127.0.0.1", 31501, 0)
    for call in (client.init, lambda: client.mset_d2h(["k"], []), lambda: client.exist(["k"])):
        with pytest.raises(NotSupportedError, match="DsTensorClient"):
            call()
    assert ds.CopyRange(1, 2, 3) == ds.CopyRange(src_offset=1, dst_offset=2, length=3)
    with pytest.raises(TypeError):
        ds.DsTensorClient("127.0.0.1", 31501, "0")


@pytest.mark.parametrize(
    "cls, options",
    [
        (ds.ServiceDiscovery, ds.ServiceDiscoveryOptions),
        (ds.CoordinatorServiceDiscovery, ds.CoordinatorServiceDiscoveryOptions),
    ],
)
def test_discovery_is_refused_by_name(cls, options):
    discovery = cls(options())
    for call in (
        discovery.init,
        discovery.select_worker,
        discovery.select_same_node_worker,
        discovery.get_all_workers,
    ):
        with pytest.raises(NotSupportedError, match=cls.__name__):
            call()
    assert discovery.initialized is False
    assert discovery.native_discovery is None
    assert discovery.has_host_affinity()
    assert discovery.get_affinity_policy() is ds.ServiceAffinityPolicy.PREFERRED_SAME_NODE
    with pytest.raises(TypeError):
        cls({})
    with pytest.raises(RuntimeError):
        ds.KVClient(service_discovery=discovery)


def test_discovery_options_have_the_originals_defaults():
    options = ds.ServiceDiscoveryOptions()
    assert options.token_refresh_interval_sec == 30
    for name in (
        "etcd_address cluster_name etcd_ca etcd_cert etcd_key etcd_dns_name username password "
        "host_id_env_name"
    ).split():
        assert getattr(options, name) == ""
    options = ds.CoordinatorServiceDiscoveryOptions()
    assert options.service_address == options.cluster_name == options.host_id_env_name == ""


def test_a_missing_key_is_still_a_missing_key(kv, key):
    """After all that: the worker serves."""
    with pytest.raises(NotFoundError):
        kv.get([key])
