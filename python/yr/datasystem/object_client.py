# SPDX-License-Identifier: Apache-2.0
"""ObjectClient: objects in shared memory, written in place, published, sealed, referenced."""

import uuid

from yr.datasystem import _ds
from yr.datasystem._check import check_type
from yr.datasystem._connect import CONNECT_TIMEOUT_MS, Connected, Endpoint
from yr.datasystem._ds import Buffer
from yr.datasystem._enums import CacheType, ConsistencyType, WriteMode

__all__ = ["ObjectClient", "Buffer", "WriteMode", "ConsistencyType", "CacheType"]


class ObjectClient(_ds.Objects, Connected):
    """Creates and finds objects. Safe to use from many threads."""

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
        req_timeout_ms: int = 0,
    ) -> None:
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

    def __enter__(self) -> "ObjectClient":
        self.init()
        return self

    def generate_object_id(self, prefix: str = "") -> str:
        """The prefix itself, or a random key if it is empty."""
        check_type("prefix", prefix, str)
        if not prefix:
            return str(uuid.uuid4())
        _ds.check_key(prefix)
        return prefix
