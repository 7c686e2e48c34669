# SPDX-License-Identifier: Apache-2.0
"""The datasystem's Python API: cached values shared with every process of the machine.

    from yr.datasystem import KVClient

    with KVClient("127.0.0.1", 31501) as kv:
        kv.set("greeting", b"hello")
        [view] = kv.get_buffers(["greeting"])  # in place, no copy
        print(bytes(view))

Names are loaded when they are first used.
"""

from importlib import import_module
from typing import Any, List

_MODULES = {
    "Buffer": "object_client",
    "ConsistencyType": "object_client",
    "DsClient": "ds_client",
    "HeteroClient": "hetero_client",
    "ObjectClient": "object_client",
    "KVClient": "kv_client",
    "Status": "util",
    "StreamClient": "stream_client",
    "SubconfigType": "stream_client",
    "WriteMode": "object_client",
    "Context": "util",
    "FutureTimeoutException": "hetero_client",
    "Blob": "hetero_client",
    "DeviceBlobList": "hetero_client",
    "DsTensorClient": "ds_tensor_client",
    "CopyRange": "ds_tensor_client",
    "MetaInfo": "hetero_client",
    "Future": "hetero_client",
    "ServiceDiscovery": "service_discovery",
    "ServiceDiscoveryOptions": "service_discovery",
    "CoordinatorServiceDiscovery": "service_discovery",
    "CoordinatorServiceDiscoveryOptions": "service_discovery",
    "ServiceAffinityPolicy": "service_discovery",
    "DsError": "errors",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = import_module("yr.datasystem._ds").version()
    elif name in _MODULES:
        value = getattr(import_module(f"yr.datasystem.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted([*globals(), *__all__])
