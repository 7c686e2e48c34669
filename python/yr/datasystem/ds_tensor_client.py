# SPDX-License-Identifier: Apache-2.0
"""DsTensorClient: not in this version; the names exist so that programs import and get told."""

from dataclasses import dataclass
from typing import Any, List, NoReturn, Optional

from yr.datasystem._check import check_type
from yr.datasystem._connect import CONNECT_TIMEOUT_MS, Endpoint
from yr.datasystem.errors import not_supported
from yr.datasystem.hetero_client import Future
from yr.datasystem.kv_client import SetParam

__all__ = ["DsTensorClient", "CopyRange"]


@dataclass
class CopyRange:
    """A range of bytes to copy within tensors."""

    src_offset: int
    dst_offset: int
    length: int


def _no_device(call: str) -> NoReturn:
    raise not_supported(
        f"DsTensorClient.{call}: this version has no device support; KVClient takes CPU tensors"
    )


class DsTensorClient:
    """Moves tensors between devices and the cache. init() says that this version cannot."""

    def __init__(
        self,
        host: str,
        port: int,
        device_id: int,
        connect_timeout_ms: int = CONNECT_TIMEOUT_MS,
        client_public_key: str = "",
        client_private_key: str = "",
        server_public_key: str = "",
        req_timeout_ms: int = 0,
        enable_remote_h2d: bool = False,
    ) -> None:
        check_type("device_id", device_id, int)
        check_type("enable_remote_h2d", enable_remote_h2d, bool)
        self._endpoint = Endpoint(
            host,
            port,
            connect_timeout_ms,
            req_timeout_ms,
            "",
            client_public_key=client_public_key,
            client_private_key=client_private_key,
            server_public_key=server_public_key,
        )

    def init(self) -> None:
        _no_device("init")

    def mset_d2h(
        self, keys: List[str], tensors: List[Any], set_param: SetParam = SetParam()
    ) -> None:
        _no_device("mset_d2h")

    def mget_h2d(self, keys: List[str], tensors: List[Any], sub_timeout_ms: int = 0) -> List[Any]:
        _no_device("mget_h2d")

    def async_mset_d2h(
        self, keys: List[str], tensors: List[Any], set_param: SetParam = SetParam()
    ) -> Future:
        _no_device("async_mset_d2h")

    def async_mget_h2d(
        self, keys: List[str], tensors: List[Any], sub_timeout_ms: int = 0
    ) -> Future:
        _no_device("async_mget_h2d")

    def delete(self, keys: Optional[List[str]] = None) -> List[Any]:
        _no_device("delete")

    def dev_mset(self, keys: List[str], tensors: List[Any]) -> List[Any]:
        _no_device("dev_mset")

    def dev_mget(self, keys: List[str], tensors: List[Any], sub_timeout_ms: int = 0) -> List[Any]:
        _no_device("dev_mget")

    def dev_mget_into_tensor(
        self,
        keys: List[str],
        tensor: Any,
        copy_ranges: List[CopyRange],
        sub_timeout_ms: int = 60000,
    ) -> List[Any]:
        _no_device("dev_mget_into_tensor")

    def dev_delete(self, keys: Optional[List[str]] = None) -> List[Any]:
        _no_device("dev_delete")

    def async_dev_delete(self, keys: Optional[List[str]] = None) -> Future:
        _no_device("async_dev_delete")

    def dev_local_delete(self, keys: List[str]) -> List[Any]:
        _no_device("dev_local_delete")

    def dev_send(self, keys: List[str], tensors: List[Any]) -> List[Future]:
        _no_device("dev_send")

    def dev_recv(self, keys: List[str], tensors: List[Any]) -> List[Future]:
        _no_device("dev_recv")

    def exist(self, keys: List[str]) -> List[bool]:
        _no_device("exist")
