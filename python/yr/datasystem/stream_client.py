# SPDX-License-Identifier: Apache-2.0
"""StreamClient: not in this version; the names exist so that programs import and get told."""

from enum import Enum
from typing import Any, List, NoReturn, Optional

from yr.datasystem._check import check_type
from yr.datasystem.errors import not_supported

__all__ = ["StreamClient", "Producer", "Consumer", "SubconfigType"]


class SubconfigType(Enum):
    STREAM = 0
    ROUND_ROBIN = 1
    KEY_PARTITIONS = 2


def _no_streams() -> NoReturn:
    raise not_supported("StreamClient: this version has no streams")


class StreamClient:
    """Publishes and subscribes to streams. init() says that this version cannot."""

    def __init__(
        self,
        host: str,
        port: int,
        client_public_key: str = "",
        client_private_key: str = "",
        server_public_key: str = "",
        access_key: str = "",
        secret_key: str = "",
        token: str = "",
        tenant_id: str = "",
    ) -> None:
        check_type("host", host, str)
        check_type("port", port, int)

    def init(self) -> None:
        _no_streams()

    def create_producer(
        self,
        stream_name: str,
        delay_flush_time_ms: int = 5,
        page_size_byte: int = 1024 * 1024,
        max_stream_size_byte: int = 1024 * 1024 * 1024,
        auto_cleanup: bool = False,
        retain_for_num_consumers: int = 0,
        encrypt_stream: bool = False,
        reserve_size: int = 0,
    ) -> "Producer":
        _no_streams()

    def subscribe(self, stream_name: str, sub_name: str, subscription_type: int) -> "Consumer":
        _no_streams()

    def delete_stream(self, stream_name: str) -> None:
        _no_streams()

    def query_global_producer_num(self, stream_name: str) -> int:
        _no_streams()

    def query_global_consumer_num(self, stream_name: str) -> int:
        _no_streams()


class Producer:
    """Sends the elements of a stream."""

    def __init__(self, producer: Any) -> None:
        _no_streams()

    def send(self, element_bytes: Any, timeout_ms: Optional[int] = None) -> None:
        _no_streams()

    def close(self) -> None:
        _no_streams()


class Consumer:
    """Receives the elements of a stream."""

    def __init__(self, consumer: Any) -> None:
        _no_streams()

    def receive(self, expect_num: int, timeout_ms: int) -> List[Any]:
        _no_streams()

    def receive_any(self, timeout_ms: int) -> List[Any]:
        _no_streams()

    def ack(self, element_id: int) -> None:
        _no_streams()

    def close(self) -> None:
        _no_streams()
