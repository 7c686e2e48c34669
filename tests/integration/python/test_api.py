# SPDX-License-Identifier: Apache-2.0
"""Names, signatures and defaults are those of the original package, misspellings included."""

import importlib
import inspect
import pickle
import subprocess
import sys

import pytest

import yr.datasystem
from yr.datasystem.kv_client import ExistenceOpt, KVClient, ReadParam, SetParam
from yr.datasystem.object_client import Buffer, CacheType, ConsistencyType, WriteMode

EXPORTS = """
    Buffer ConsistencyType DsClient HeteroClient ObjectClient KVClient Status StreamClient
    SubconfigType WriteMode Context FutureTimeoutException Blob DeviceBlobList DsTensorClient
    CopyRange MetaInfo Future ServiceDiscovery ServiceDiscoveryOptions CoordinatorServiceDiscovery
    CoordinatorServiceDiscoveryOptions ServiceAffinityPolicy
""".split()

NOT_AT_TOP_LEVEL = {
    "ExistenceOpt": "kv_client",
    "SetParam": "kv_client",
    "ReadParam": "kv_client",
    "ReadOnlyBuffer": "kv_client",
    "CacheType": "object_client",
    "Producer": "stream_client",
    "Consumer": "stream_client",
}

IDENTITY = (
    "token='', client_public_key='', client_private_key='', server_public_key='', access_key='', "
    "secret_key='', tenant_id=''"
)

# class -> method -> parameters that the original has, in order, with their defaults
SIGNATURES = {
    "DsClient": {
        "__init__": f"host='', port=0, connect_timeout_ms=9000, {IDENTITY}, "
        "enable_cross_node_connection=False, req_timeout_ms=0, service_discovery=None",
        "init": "",
        "kv": "",
        "hetero": "",
        "object": "",
    },
    "KVClient": {
        "__init__": f"host='', port=0, connect_timeout_ms=9000, {IDENTITY}, "
        "enable_cross_node_connection=False, req_timeout_ms=0, "
        "fast_transport_mem_size=268435456, service_discovery=None",
        "init": "",
        "set": "key, val, write_mode=WriteMode.NONE_L2_CACHE, ttl_second=0",
        "set_value": "val, write_mode=WriteMode.NONE_L2_CACHE, ttl_second=0",
        "mset": "keys, vals, write_mode=WriteMode.NONE_L2_CACHE, ttl_second=0, "
        "existence_opt=ExistenceOpt.NONE",
        "msettx": "keys, vals, write_mode=WriteMode.NONE_L2_CACHE, ttl_second=0, "
        "existence_opt=ExistenceOpt.NONE",
        "mcreate": "keys, sizes, write_mode=WriteMode.NONE_L2_CACHE, ttl_second=0",
        "mset_buffer": "buffers",
        "get": "keys=None, convert_to_str=False, sub_timeout_ms=0",
        "get_buffers": "keys, timeout_ms=0",
        "get_read_only_buffers": "keys=None, timeout_ms=0",
        "read": "read_params",
        "delete": "keys=None",
        "generate_key": "prefix=''",
        "exist": "keys",
        "expire": "keys, ttl_second",
        "health_check": "",
    },
    "ObjectClient": {
        "__init__": f"host, port, connect_timeout_ms=9000, {IDENTITY}, req_timeout_ms=0",
        "init": "",
        "create": "object_key, size, param=None",
        "put": "object_key, value, param=None, nested_object_keys=None",
        "get": "object_keys, timeout_ms",
        "g_increase_ref": "object_keys",
        "g_decrease_ref": "object_keys",
        "query_global_ref_num": "object_key",
        "generate_object_id": "prefix=''",
    },
    "Buffer": {
        "wlatch": "timeout_sec=60",
        "unwlatch": "",
        "rlatch": "timeout_sec=60",
        "unrlatch": "",
        "mutable_data": "",
        "immutable_data": "",
        "memory_copy": "value",
        "publish": "nested_object_keys=None",
        "seal": "nested_object_keys=None",
        "invalidate_buffer": "",
        "get_size": "",
    },
    "HeteroClient": {
        "__init__": f"host, port, connect_timeout_ms=9000, {IDENTITY}, "
        "enable_cross_node_connection=False, req_timeout_ms=0, enable_remote_h2d=False",
        "mset_d2h": "keys, data_blob_list, set_param=SetParam",
        "mget_h2d": "keys, data_blob_list, sub_timeout_ms",
        "async_mset_d2h": "keys, data_blob_list, set_param=SetParam",
        "async_mget_h2d": "keys, data_blob_list, sub_timeout_ms",
        "mset_d2h_from_multi_buffers": "keys, addrs, sizes, set_param=SetParam",
        "mget_h2d_from_multi_buffers": "keys, addrs, sizes, sub_timeout_ms=0",
        "pre_register_device_memory": "dev_ptrs, sizes",
        "delete": "keys=None",
        "dev_publish": "keys, data_blob_list",
        "dev_subscribe": "keys, data_blob_list",
        "dev_mset": "keys, data_blob_list",
        "dev_mget": "keys, data_blob_list, sub_timeout_ms",
        "dev_delete": "keys=None",
        "async_dev_delete": "keys=None",
        "dev_local_delete": "keys",
        "generate_key": "prefix=''",
        "exist": "keys",
        "batch_is_exist": "keys",
        "get_meta_info": "keys, is_dev_key",
    },
    "DsTensorClient": {
        "__init__": "host, port, device_id, connect_timeout_ms=9000, client_public_key='', "
        "client_private_key='', server_public_key='', req_timeout_ms=0, enable_remote_h2d=False",
        "dev_mget_into_tensor": "keys, tensor, copy_ranges, sub_timeout_ms=60000",
    },
    "StreamClient": {
        "__init__": "host, port, client_public_key='', client_private_key='', "
        "server_public_key='', access_key='', secret_key='', token='', tenant_id=''",
        "create_producer": "stream_name, delay_flush_time_ms=5, page_size_byte=1048576, "
        "max_stream_size_byte=1073741824, auto_cleanup=False, retain_for_num_consumers=0, "
        "encrypt_stream=False, reserve_size=0",
        "subscribe": "stream_name, sub_name, subscription_type",
    },
}


def show_default(value):
    return "SetParam" if isinstance(value, SetParam) else str(value) if value != "" else "''"


def original_parameters(function):
    """As in SIGNATURES; keyword-only parameters are ours."""
    shown = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or parameter.kind is parameter.KEYWORD_ONLY:
            continue
        if parameter.default is parameter.empty:
            shown.append(name)
        else:
            shown.append(f"{name}={show_default(parameter.default)}")
    return ", ".join(shown)


@pytest.mark.parametrize(
    "cls, method", [(cls, method) for cls, methods in SIGNATURES.items() for method in methods]
)
def test_signature_is_the_originals(cls, method):
    function = getattr(getattr(yr.datasystem, cls), method)
    assert original_parameters(function) == SIGNATURES[cls][method]


@pytest.mark.parametrize("name", EXPORTS)
def test_package_exports(name):
    assert getattr(yr.datasystem, name).__name__ == name
    assert name in yr.datasystem.__all__
    assert name in dir(yr.datasystem)


@pytest.mark.parametrize("name, module", NOT_AT_TOP_LEVEL.items())
def test_package_does_not_export(name, module):
    assert not hasattr(yr.datasystem, name)
    assert hasattr(importlib.import_module(f"yr.datasystem.{module}"), name)


def test_optional_parts_are_absent():
    for name in ("TransferEngine", "PerfClient", "Result", "ErrorCode", "no_such_name"):
        with pytest.raises(AttributeError, match=name):
            getattr(yr.datasystem, name)


def test_yr_is_a_namespace_package():
    import yr  # pylint: disable=import-outside-toplevel

    assert getattr(yr, "__file__", None) is None


def test_import_of_the_package_is_lazy():
    code = (
        "import sys, yr.datasystem\n"
        "assert 'yr.datasystem._ds' not in sys.modules\n"
        "yr.datasystem.KVClient\n"
        "assert 'yr.datasystem._ds' in sys.modules\n"
        "assert 'yr.datasystem.hetero_client' not in sys.modules\n"
        "from yr.datasystem import *\n"
        "DsTensorClient, ServiceAffinityPolicy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_version_is_the_distributions():
    from importlib.metadata import version  # pylint: disable=import-outside-toplevel

    assert yr.datasystem.__version__ == version("ds-cache")


def test_enums_have_the_originals_members():
    assert [mode.name for mode in WriteMode] == [
        "NONE_L2_CACHE",
        "WRITE_THROUGH_L2_CACHE",
        "WRITE_BACK_L2_CACHE",
        "NONE_L2_CACHE_EVICT",
        "WRITE_BACK_L2_CACHE_EVICT",
    ]
    assert [mode.value for mode in WriteMode] == list(range(5))
    assert [c.name for c in ConsistencyType] == ["PRAM", "CAUSAL"]
    assert [c.name for c in CacheType] == ["MEMEORY", "DISK"]
    assert [e.name for e in ExistenceOpt] == ["NONE", "NX"]
    assert [s.value for s in yr.datasystem.SubconfigType] == [0, 1, 2]
    assert pickle.loads(pickle.dumps(WriteMode.NONE_L2_CACHE)) is WriteMode.NONE_L2_CACHE


def test_parameter_classes():
    param = SetParam()
    assert (param.write_mode, param.ttl_second) == (WriteMode.NONE_L2_CACHE, 0)
    assert (param.existence, param.cache_type) == (ExistenceOpt.NONE, CacheType.MEMEORY)
    assert ReadParam("key", 1, 2) == ("key", 1, 2)
    assert ReadParam._fields == ("key", "offset", "size")


def test_buffers_of_reads_cannot_be_made_by_hand():
    from yr.datasystem.kv_client import (  # pylint: disable=import-outside-toplevel
        ReadOnlyBuffer,
        StateValueBuffer,
    )

    for cls in (ReadOnlyBuffer, StateValueBuffer):
        assert cls.__module__ == "yr.datasystem.kv_client"
        with pytest.raises(TypeError):
            cls()
        with pytest.raises(TypeError):
            cls.__new__(cls)
    assert Buffer.__module__ == "yr.datasystem.object_client"


def test_a_kv_client_can_be_subclassed():
    class Named(KVClient):
        """Adds a name."""

        def __init__(self, name):
            super().__init__("127.0.0.1", 1)
            self.name = name

    assert Named("n").name == "n"
