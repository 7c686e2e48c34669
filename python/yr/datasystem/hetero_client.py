# SPDX-License-Identifier: Apache-2.0
"""HeteroClient: device memory. This version connects, and refuses what needs a device."""

import uuid
from dataclasses import dataclass, field
from typing import Any, List, NoReturn, Optional

from yr.datasystem import _ds
from yr.datasystem._check import INT32_MAX, check_int, check_keys, check_type
from yr.datasystem._connect import CONNECT_TIMEOUT_MS, Connected, Endpoint
from yr.datasystem.errors import invalid, not_supported
from yr.datasystem.kv_client import SetParam

__all__ = [
    "HeteroClient",
    "Blob",
    "DeviceBlobList",
    "Future",
    "FutureTimeoutException",
    "MetaInfo",
]


class FutureTimeoutException(Exception):
    """A Future was not done in time."""


class Blob:
    """A piece of device memory."""

    def __init__(self, dev_ptr: int, size: int) -> None:
        self.dev_ptr = dev_ptr
        self.size = size

    def set_dev_ptr(self, dev_ptr: int) -> None:
        self.dev_ptr = dev_ptr

    def set_size(self, size: int) -> None:
        self.size = size


class DeviceBlobList:
    """The pieces of one key's value on one device."""

    def __init__(self, dev_idx: int, blob_list: List[Any], src_offset: int = 0) -> None:
        self.dev_idx = dev_idx
        self.blob_list = blob_list
        self.src_offset = src_offset

    def append_blob(self, blob: Blob) -> None:
        self.blob_list.append(blob)

    def set_dev_idx(self, dev_idx: int) -> None:
        self.dev_idx = dev_idx

    def set_src_offset(self, src_offset: int) -> None:
        self.src_offset = src_offset

    def get_blob_list(self) -> List[Any]:
        return self.blob_list


@dataclass
class MetaInfo:
    """Sizes of a key's pieces."""

    blob_size_list: List[int] = field(default_factory=list)


class Future:
    """The outcome of an asynchronous call."""

    def __init__(self, origin_future: Any) -> None:
        self._future = origin_future

    def get(self, timeout_ms: int = 60000) -> List[str]:
        """The failed keys; RuntimeError on failure."""
        check_int("timeout_ms", timeout_ms, 0, INT32_MAX)
        failed: List[str] = self._future.get(timeout_ms)
        return failed


def _no_device(call: str) -> NoReturn:
    raise not_supported(f"{call}: this version has no device support; values in host memory work")


def _check_blobs(keys: Any, data_blob_list: Any) -> None:
    check_type("keys", keys, list)
    check_type("data_blob_list", data_blob_list, list)
    if not keys or not data_blob_list:
        raise invalid("The input of keys and data_blob_list should not be empty")


class HeteroClient(Connected):
    """Moves values between host and device memory."""

    def __init__(
        self,
        host: str,
        port: int,
        connect_timeout_ms: int = CONNECT_TIMEOUT_MS,
        token: str = "",
        client_public_key: str = "",
        client_private_key: str = "",
        server_public_key: str = "",
        access_key: str = "",
        secret_key: str = "",
        tenant_id: str = "",
        enable_cross_node_connection: bool = False,
        req_timeout_ms: int = 0,
        enable_remote_h2d: bool = False,
    ) -> None:
        check_type("enable_cross_node_connection", enable_cross_node_connection, bool)
        check_type("enable_remote_h2d", enable_remote_h2d, bool)
        self._kv = _ds.KV()
        self._endpoint = Endpoint(
            host,
            port,
            connect_timeout_ms,
            req_timeout_ms,
            tenant_id,
            token=token,
            client_public_key=client_public_key,
            client_private_key=client_private_key,
            server_public_key=server_public_key,
            access_key=access_key,
            secret_key=secret_key,
        )

    def _attach(self, connection: Optional[_ds.Connection]) -> None:
        self._kv._attach(connection)

    def __enter__(self) -> "HeteroClient":
        self.init()
        return self

    # --- host copies ---

    def delete(self, keys: Optional[List[str]] = None) -> List[Any]:
        """The keys whose host copy could not be deleted."""
        return self._kv.delete(keys)

    def exist(self, keys: List[str]) -> List[Any]:
        return self._kv.exist(keys)

    def batch_is_exist(self, keys: List[str]) -> List[int]:
        """As exist(), in 0 and 1."""
        return [int(found) for found in self._kv.exist(keys)]

    def generate_key(self, prefix: str = "") -> str:
        check_type("prefix", prefix, str)
        if not prefix:
            return str(uuid.uuid4())
        _ds.check_key(prefix)
        return prefix

    # --- what needs a device ---

    def mset_d2h(
        self, keys: List[str], data_blob_list: List[Any], set_param: SetParam = SetParam()
    ) -> None:
        _check_blobs(keys, data_blob_list)
        _no_device("mset_d2h")

    def mget_h2d(
        self, keys: List[str], data_blob_list: List[Any], sub_timeout_ms: int
    ) -> List[Any]:
        _check_blobs(keys, data_blob_list)
        check_int("sub_timeout_ms", sub_timeout_ms, 0, INT32_MAX)
        _no_device("mget_h2d")

    def async_mset_d2h(
        self, keys: List[str], data_blob_list: List[Any], set_param: SetParam = SetParam()
    ) -> Future:
        _check_blobs(keys, data_blob_list)
        _no_device("async_mset_d2h")

    def async_mget_h2d(
        self, keys: List[str], data_blob_list: List[Any], sub_timeout_ms: int
    ) -> Future:
        _check_blobs(keys, data_blob_list)
        check_int("sub_timeout_ms", sub_timeout_ms, 0, INT32_MAX)
        _no_device("async_mget_h2d")

    def mset_d2h_from_multi_buffers(
        self,
        keys: List[str],
        addrs: List[List[int]],
        sizes: List[List[int]],
        set_param: SetParam = SetParam(),
    ) -> None:
        check_keys("keys", keys)
        _no_device("mset_d2h_from_multi_buffers")

    def mget_h2d_from_multi_buffers(
        self,
        keys: List[str],
        addrs: List[List[int]],
        sizes: List[List[int]],
        sub_timeout_ms: int = 0,
    ) -> List[Any]:
        check_keys("keys", keys)
        _no_device("mget_h2d_from_multi_buffers")

    def pre_register_device_memory(self, dev_ptrs: List[int], sizes: List[int]) -> None:
        check_type("dev_ptrs", dev_ptrs, list)
        check_type("sizes", sizes, list)
        _no_device("pre_register_device_memory")

    def dev_publish(self, keys: List[str], data_blob_list: List[Any]) -> List[Future]:
        _check_blobs(keys, data_blob_list)
        _no_device("dev_publish")

    def dev_subscribe(self, keys: List[str], data_blob_list: List[Any]) -> List[Future]:
        _check_blobs(keys, data_blob_list)
        _no_device("dev_subscribe")

    def dev_mset(self, keys: List[str], data_blob_list: List[Any]) -> List[Any]:
        _check_blobs(keys, data_blob_list)
        _no_device("dev_mset")

    def dev_mget(
        self, keys: List[str], data_blob_list: List[Any], sub_timeout_ms: int
    ) -> List[Any]:
        _check_blobs(keys, data_blob_list)
        check_int("sub_timeout_ms", sub_timeout_ms, 0, INT32_MAX)
        _no_device("dev_mget")

    def dev_delete(self, keys: Optional[List[str]] = None) -> List[Any]:
        check_keys("keys", keys)
        _no_device("dev_delete")

    def async_dev_delete(self, keys: Optional[List[str]] = None) -> Future:
        check_keys("keys", keys)
        _no_device("async_dev_delete")

    def dev_local_delete(self, keys: List[str]) -> List[Any]:
        check_keys("keys", keys)
        _no_device("dev_local_delete")

    def get_meta_info(self, keys: List[str], is_dev_key: bool) -> Any:
        check_keys("keys", keys)
        check_type("is_dev_key", is_dev_key, bool)
        _no_device("get_meta_info")
