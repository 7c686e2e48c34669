# SPDX-License-Identifier: Apache-2.0
"""The enums of the API. The C part loads them from here, so this imports nothing of the package."""

from enum import Enum


class WriteMode(Enum):
    """What may happen to the only copy of a value, and which lower tier holds it."""

    NONE_L2_CACHE = 0
    WRITE_THROUGH_L2_CACHE = 1
    WRITE_BACK_L2_CACHE = 2
    NONE_L2_CACHE_EVICT = 3
    WRITE_BACK_L2_CACHE_EVICT = 4


class ConsistencyType(Enum):
    """When a write of an object returns: stored here (PRAM), or visible everywhere (CAUSAL)."""

    PRAM = 0
    CAUSAL = 1


class CacheType(Enum):
    """Where an object is cached. The first name is misspelt in the original API, so it stays."""

    MEMEORY = 0
    DISK = 1


class ExistenceOpt(Enum):
    """Whether a set may replace a value: always (NONE), or only if the key is absent (NX)."""

    NONE = 0
    NX = 1
