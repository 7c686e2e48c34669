# SPDX-License-Identifier: Apache-2.0
"""DsClient: the clients of one worker, over one connection."""

from typing import Any, Dict, List, Optional, Union

from yr.datasystem._check import check_type
from yr.datasystem._connect import CONNECT_TIMEOUT_MS, Connected, Endpoint, check_no_discovery
from yr.datasystem._ds import Connection
from yr.datasystem.hetero_client import HeteroClient
from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import ObjectClient

__all__ = ["DsClient"]


class DsClient(Connected):
    """Gives a KVClient, an ObjectClient and a HeteroClient that share one session.

    The calls of the object client can also be made on it directly.
    """

    def __init__(
        self,
        host: str = "",
        port: int = 0,
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
        service_discovery: Any = None,
    ) -> None:
        check_type("enable_cross_node_connection", enable_cross_node_connection, bool)
        check_no_discovery(service_discovery)
        identity = (
            token,
            client_public_key,
            client_private_key,
            server_public_key,
            access_key,
            secret_key,
            tenant_id,
        )
        self._kv = KVClient(
            host, port, connect_timeout_ms, *identity, enable_cross_node_connection, req_timeout_ms
        )
        self._hetero = HeteroClient(
            host, port, connect_timeout_ms, *identity, enable_cross_node_connection, req_timeout_ms
        )
        self._object = ObjectClient(host, port, connect_timeout_ms, *identity, req_timeout_ms)
        self._endpoint: Endpoint = self._kv._endpoint

    def _attach(self, connection: Optional[Connection]) -> None:
        for client in (self._kv, self._hetero, self._object):
            client._use(connection, shared=True)

    def __enter__(self) -> "DsClient":
        self.init()
        return self

    def kv(self) -> KVClient:
        return self._kv

    def hetero(self) -> HeteroClient:
        return self._hetero

    def object(self) -> ObjectClient:
        return self._object

    # The original's README calls these on the client itself.

    def create(self, object_key: str, size: int, param: Optional[Dict[str, Any]] = None) -> Any:
        return self._object.create(object_key, size, param)

    def put(
        self,
        object_key: str,
        value: Any,
        param: Optional[Dict[str, Any]] = None,
        nested_object_keys: Optional[List[str]] = None,
    ) -> None:
        self._object.put(object_key, value, param, nested_object_keys)

    def get(self, object_keys: List[str], timeout_ms: Union[int, bool] = 0) -> List[Any]:
        """As ObjectClient.get(); a bool as the second argument does not wait."""
        if type(timeout_ms) is bool:
            timeout_ms = 0
        return self._object.get(object_keys, timeout_ms)

    def g_increase_ref(self, object_keys: List[str]) -> List[Any]:
        return self._object.g_increase_ref(object_keys)

    def g_decrease_ref(self, object_keys: List[str]) -> List[Any]:
        return self._object.g_decrease_ref(object_keys)

    def query_global_ref_num(self, object_key: str) -> int:
        return self._object.query_global_ref_num(object_key)

    def generate_object_id(self, prefix: str = "") -> str:
        return self._object.generate_object_id(prefix)
