# SPDX-License-Identifier: Apache-2.0
"""How a client reaches its worker: the arguments that all clients share, checked and kept."""

import os
import warnings
from typing import Any, Optional

from yr.datasystem import _ds
from yr.datasystem._check import INT32_MAX, check_int, check_type
from yr.datasystem.errors import invalid, not_supported

CONNECT_TIMEOUT_MS = 9000
_UINT16_MAX = 65535


def check_no_discovery(service_discovery: Any) -> None:
    if service_discovery is not None:
        raise not_supported("service_discovery: a single node has no cluster to look into")


class Endpoint:
    """A worker's address, the time limits and the identity to use there.

    Empty values fall back to DATASYSTEM_HOST, _PORT, _CONNECT_TIME_MS and _TENANT_ID, then to
    127.0.0.1:31501.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connect_timeout_ms: int,
        req_timeout_ms: int,
        tenant_id: str,
        **secrets: str,
    ) -> None:
        check_type("host", host, str)
        check_type("port", port, int)
        check_int("connect_timeout_ms", connect_timeout_ms, 0, INT32_MAX)
        check_int("req_timeout_ms", req_timeout_ms, 0, INT32_MAX)
        check_type("tenant_id", tenant_id, str)
        for name, value in secrets.items():
            check_type(name, value, str)
        check_int("port", port, 0, _UINT16_MAX)
        if (host == "") != (port == 0):
            raise invalid(f"host and port belong together: host={host!r}, port={port}")
        self._host = host
        self._port = port
        self._connect_timeout_ms = connect_timeout_ms
        self._req_timeout_ms = req_timeout_ms
        self._tenant_id = tenant_id
        self._ignored = [name for name, value in secrets.items() if value]

    def connect(self) -> _ds.Connection:
        if self._ignored:
            warnings.warn(
                f"{', '.join(self._ignored)}: ignored, the worker knows local users by their uid",
                RuntimeWarning,
                stacklevel=3,
            )
        return _ds.Connection(
            self._host,
            self._port,
            self._timeout_ms(),
            self._req_timeout_ms,
            self._tenant_id or os.environ.get("DATASYSTEM_TENANT_ID", ""),
        )

    def _timeout_ms(self) -> int:
        text = os.environ.get("DATASYSTEM_CONNECT_TIME_MS", "")
        if self._connect_timeout_ms != CONNECT_TIMEOUT_MS or not text:
            return self._connect_timeout_ms
        try:
            value = int(text)
        except ValueError:
            raise invalid(f"DATASYSTEM_CONNECT_TIME_MS is no number: {text!r}") from None
        check_int("DATASYSTEM_CONNECT_TIME_MS", value, 0, INT32_MAX)
        return value


class Connected:
    """init(), close() and the with statement of a client, over one connection.

    A client either opens its own connection, or shares the one that a DsClient gives it.
    """

    _endpoint: Endpoint
    _connection: Optional[_ds.Connection] = None

    _shared = False

    def _attach(self, connection: Optional[_ds.Connection]) -> None:
        raise NotImplementedError

    def _use(self, connection: Optional[_ds.Connection], shared: bool = False) -> None:
        self._attach(connection)
        self._connection = connection
        self._shared = shared

    def init(self) -> None:
        """Connects to the worker. RuntimeError if that fails; a no-op while connected.

        In a child made by fork(), where the parent's session cannot be used, it opens a new one;
        buffers from before stay readable.
        """
        old = self._connection
        if old is None or old.closed or old.forked:
            self._use(self._endpoint.connect())

    def close(self) -> None:
        """Ends the session, and with it references and latches. Buffers stay readable.

        Calls that wait in other threads end with ShuttingDownError. init() connects again.
        A client that a DsClient gave leaves its session to the others.
        """
        if self._connection is None:
            return
        if self._shared:
            self._attach(None)
            self._connection = None
        else:
            self._connection.close()

    def __exit__(self, *_: Any) -> None:
        self.close()
