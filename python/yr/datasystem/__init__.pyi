# SPDX-License-Identifier: Apache-2.0
from yr.datasystem.ds_client import DsClient as DsClient
from yr.datasystem.ds_tensor_client import CopyRange as CopyRange
from yr.datasystem.ds_tensor_client import DsTensorClient as DsTensorClient
from yr.datasystem.errors import DsError as DsError
from yr.datasystem.hetero_client import Blob as Blob
from yr.datasystem.hetero_client import DeviceBlobList as DeviceBlobList
from yr.datasystem.hetero_client import Future as Future
from yr.datasystem.hetero_client import FutureTimeoutException as FutureTimeoutException
from yr.datasystem.hetero_client import HeteroClient as HeteroClient
from yr.datasystem.hetero_client import MetaInfo as MetaInfo
from yr.datasystem.kv_client import KVClient as KVClient
from yr.datasystem.object_client import Buffer as Buffer
from yr.datasystem.object_client import ConsistencyType as ConsistencyType
from yr.datasystem.object_client import ObjectClient as ObjectClient
from yr.datasystem.object_client import WriteMode as WriteMode
from yr.datasystem.service_discovery import (
    CoordinatorServiceDiscovery as CoordinatorServiceDiscovery,
)
from yr.datasystem.service_discovery import (
    CoordinatorServiceDiscoveryOptions as CoordinatorServiceDiscoveryOptions,
)
from yr.datasystem.service_discovery import ServiceAffinityPolicy as ServiceAffinityPolicy
from yr.datasystem.service_discovery import ServiceDiscovery as ServiceDiscovery
from yr.datasystem.service_discovery import ServiceDiscoveryOptions as ServiceDiscoveryOptions
from yr.datasystem.stream_client import StreamClient as StreamClient
from yr.datasystem.stream_client import SubconfigType as SubconfigType
from yr.datasystem.util import Context as Context
from yr.datasystem.util import Status as Status

__version__: str

__all__ = [
    "Buffer",
    "ConsistencyType",
    "DsClient",
    "HeteroClient",
    "ObjectClient",
    "KVClient",
    "Status",
    "StreamClient",
    "SubconfigType",
    "WriteMode",
    "Context",
    "FutureTimeoutException",
    "Blob",
    "DeviceBlobList",
    "DsTensorClient",
    "CopyRange",
    "MetaInfo",
    "Future",
    "ServiceDiscovery",
    "ServiceDiscoveryOptions",
    "CoordinatorServiceDiscovery",
    "CoordinatorServiceDiscoveryOptions",
    "ServiceAffinityPolicy",
    "DsError",
]
