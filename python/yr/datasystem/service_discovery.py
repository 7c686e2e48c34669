# SPDX-License-Identifier: Apache-2.0
"""Finding workers through etcd or a coordinator: not in this version, which knows one node."""

from enum import Enum
from typing import Any, NoReturn, Tuple

from yr.datasystem._check import check_type
from yr.datasystem.errors import not_supported

__all__ = [
    "ServiceDiscovery",
    "ServiceDiscoveryOptions",
    "CoordinatorServiceDiscovery",
    "CoordinatorServiceDiscoveryOptions",
    "ServiceAffinityPolicy",
]


class ServiceAffinityPolicy(Enum):
    """Which worker select_worker() prefers."""

    PREFERRED_SAME_NODE = 0
    REQUIRED_SAME_NODE = 1
    RANDOM = 2


class ServiceDiscoveryOptions:
    """How to reach etcd, and what to look for there."""

    def __init__(self) -> None:
        self.etcd_address = ""
        self.cluster_name = ""
        self.etcd_ca = ""
        self.etcd_cert = ""
        self.etcd_key = ""
        self.etcd_dns_name = ""
        self.username = ""
        self.password = ""
        self.token_refresh_interval_sec = 30
        self.host_id_env_name = ""
        self.affinity_policy = ServiceAffinityPolicy.PREFERRED_SAME_NODE


class CoordinatorServiceDiscoveryOptions:
    """How to reach a coordinator, and what to look for there."""

    def __init__(self) -> None:
        self.service_address = ""
        self.cluster_name = ""
        self.host_id_env_name = ""
        self.affinity_policy = ServiceAffinityPolicy.PREFERRED_SAME_NODE


class _Discovery:
    """What both kinds share: options, and init() that says what is missing."""

    _source = ""
    _options_type: type = object

    def __init__(self, options: Any) -> None:
        check_type("options", options, self._options_type)
        self._options = options

    def _missing(self) -> NoReturn:
        raise not_supported(
            f"{type(self).__name__}: this version serves one node and does not ask {self._source}; "
            "give host and port"
        )

    def init(self) -> None:
        self._missing()

    def select_worker(self) -> Tuple[Any, ...]:
        self._missing()

    def select_same_node_worker(self) -> Tuple[Any, ...]:
        self._missing()

    def get_all_workers(self) -> Tuple[Any, ...]:
        self._missing()

    def get_affinity_policy(self) -> ServiceAffinityPolicy:
        policy: ServiceAffinityPolicy = self._options.affinity_policy
        return policy

    def has_host_affinity(self) -> bool:
        return self._options.affinity_policy is not ServiceAffinityPolicy.RANDOM

    @property
    def initialized(self) -> bool:
        return False

    @property
    def native_discovery(self) -> None:
        return None


class ServiceDiscovery(_Discovery):
    """Finds workers through etcd."""

    _source = "etcd"
    _options_type = ServiceDiscoveryOptions


class CoordinatorServiceDiscovery(_Discovery):
    """Finds workers through a coordinator."""

    _source = "a coordinator"
    _options_type = CoordinatorServiceDiscoveryOptions
