# SPDX-License-Identifier: Apache-2.0
"""KVClient: keys and values, read in place."""

import uuid
from collections import namedtuple
from typing import Any, Dict, List, Optional

from yr.datasystem import _ds
from yr.datasystem._check import check_int, check_type
from yr.datasystem._connect import CONNECT_TIMEOUT_MS, Connected, Endpoint, check_no_discovery
from yr.datasystem._ds import ReadOnlyBuffer, StateValueBuffer
from yr.datasystem._enums import CacheType, ExistenceOpt, WriteMode
from yr.datasystem.errors import K_NOT_READY, K_RUNTIME_ERROR, from_code
from yr.datasystem.util import Status

__all__ = [
    "KVClient",
    "ReadParam",
    "ReadOnlyBuffer",
    "StateValueBuffer",
    "SetParam",
    "ExistenceOpt",
    "WriteMode",
    "CacheType",
]

DEFAULT_FAST_TRANSPORT_MEM_SIZE = 256 * 1024 * 1024
MAX_FAST_TRANSPORT_MEM_SIZE = 2 * 1024 * 1024 * 1024

ReadParam = namedtuple("ReadParam", ["key", "offset", "size"])


class SetParam:
    """Options of the device calls."""

    write_mode: WriteMode
    ttl_second: int
    existence: ExistenceOpt
    cache_type: CacheType

    def __init__(self) -> None:
        self.write_mode = WriteMode.NONE_L2_CACHE
        self.ttl_second = 0
        self.existence = ExistenceOpt.NONE
        self.cache_type = CacheType.MEMEORY


class KVClient(_ds.KV, Connected):
    """Sets and gets values by key. Safe to use from many threads.

    Values may be bytes, bytearray, memoryview, str (stored as UTF-8), numpy arrays, torch tensors
    on the CPU, and anything else that offers a contiguous buffer.

    A key that is not legal (1 to 1024 letters, digits and .-_!@#%^*()+=:;) refuses a whole batch
    before anything is done, since it is a slip; only mset() goes on if it is not the first.
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
        fast_transport_mem_size: int = DEFAULT_FAST_TRANSPORT_MEM_SIZE,
        service_discovery: Any = None,
    ) -> None:
        check_type("enable_cross_node_connection", enable_cross_node_connection, bool)
        check_int(
            "fast_transport_mem_size", fast_transport_mem_size, 1, MAX_FAST_TRANSPORT_MEM_SIZE
        )
        check_no_discovery(service_discovery)
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

    def __enter__(self) -> "KVClient":
        self.init()
        return self

    def set(
        self,
        key: str,
        val: Any,
        write_mode: WriteMode = WriteMode.NONE_L2_CACHE,
        ttl_second: int = 0,
        *,
        existence_opt: ExistenceOpt = ExistenceOpt.NONE,
        allow_empty: bool = False,
        ttl_ms: Any = None,
    ) -> Optional[bool]:
        """Stores a value. With ExistenceOpt.NX only if the key is absent: True if it was written.

        ttl_second or ttl_ms (int or float) end the key so long after now; 0 is never. Values of
        size 0 are refused unless allow_empty is True.
        """
        return self._set(key, val, write_mode, ttl_second, existence_opt, allow_empty, ttl_ms)

    def set_nx(
        self,
        key: str,
        val: Any,
        write_mode: WriteMode = WriteMode.NONE_L2_CACHE,
        ttl_second: int = 0,
        *,
        allow_empty: bool = False,
        ttl_ms: Any = None,
    ) -> bool:
        """Stores a value if the key is absent; whether it did."""
        nx = ExistenceOpt.NX
        return self._set(key, val, write_mode, ttl_second, nx, allow_empty, ttl_ms) is True

    def set_value(
        self, val: Any, write_mode: WriteMode = WriteMode.NONE_L2_CACHE, ttl_second: int = 0
    ) -> str:
        """Stores a value under a new random key; the key, or "" if that fails."""
        key = str(uuid.uuid4())
        try:
            self.set(key, val, write_mode, ttl_second)
        except RuntimeError:
            return ""
        return key

    def mset(
        self,
        keys: List[str],
        vals: List[Any],
        write_mode: WriteMode = WriteMode.NONE_L2_CACHE,
        ttl_second: int = 0,
        existence_opt: ExistenceOpt = ExistenceOpt.NONE,
        *,
        allow_empty: bool = False,
        ttl_ms: Any = None,
    ) -> List[Any]:
        """Stores up to 10000 values; the keys where that failed. RuntimeError if all did.

        Not atomic. Of equal keys the first is written and the others are listed as failed, as is
        a key that is not legal, unless it is the first: that is an InvalidParameterError.
        """
        return self._mset(keys, vals, write_mode, ttl_second, existence_opt, allow_empty, ttl_ms)

    def mset_nx(
        self,
        keys: List[str],
        vals: List[Any],
        write_mode: WriteMode = WriteMode.NONE_L2_CACHE,
        ttl_second: int = 0,
        *,
        allow_empty: bool = False,
        ttl_ms: Any = None,
    ) -> List[Optional[bool]]:
        """mset() of the keys that are absent: for each key whether it was written.

        None where that failed; RuntimeError if all did.
        """
        nx = ExistenceOpt.NX
        return self._mset_told(keys, vals, write_mode, ttl_second, nx, allow_empty, ttl_ms)

    def msettx(
        self,
        keys: List[str],
        vals: List[Any],
        write_mode: WriteMode = WriteMode.NONE_L2_CACHE,
        ttl_second: int = 0,
        existence_opt: ExistenceOpt = ExistenceOpt.NONE,
    ) -> None:
        """Was removed from the original: always a RuntimeError."""
        check_type("keys", keys, list)
        check_type("vals", vals, list)
        raise from_code(K_RUNTIME_ERROR, "msettx is no longer supported: use mset", hint="")

    def mcreate(
        self,
        keys: List[str],
        sizes: List[int],
        write_mode: WriteMode = WriteMode.NONE_L2_CACHE,
        ttl_second: int = 0,
        *,
        existence_opt: ExistenceOpt = ExistenceOpt.NONE,
        ttl_ms: Any = None,
    ) -> List[StateValueBuffer]:
        """Memory for new values, to be filled in place and published by mset_buffer().

        All or nothing. With ExistenceOpt.NX a key that exists gives a buffer of size 0.
        A view of MutableData() that is still alive when mset_buffer() is called makes that publish
        a copy: the value is out of the view's reach from then on. Without one nothing is copied.
        """
        return self._mcreate(keys, sizes, write_mode, ttl_second, existence_opt, False, ttl_ms)

    def generate_key(self, prefix: str = "") -> str:
        """The prefix itself, or a random key if it is empty."""
        check_type("prefix", prefix, str)
        if not prefix:
            return str(uuid.uuid4())
        _ds.check_key(prefix)
        return prefix

    def health_check(self) -> Status:
        """Whether the worker answers; does not raise."""
        if self._connection is None or self._connection.closed:
            return Status(K_NOT_READY, "The client is not connected")
        if self._connection.forked:
            return Status(K_NOT_READY, "This client was made before fork(): call init()")
        code = self._connection.health()
        return Status(code, "The worker does not answer" if code else "")

    def worker_stats(self) -> Dict[str, int]:
        """The worker's figures: the use of every tier, and what happened since its start.

        docs/metrics.md has a row for each, with its key here.
        """
        if self._connection is None:
            raise from_code(K_NOT_READY, "The client is not connected")
        return self._connection.stats()
