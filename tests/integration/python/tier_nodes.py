# SPDX-License-Identifier: Apache-2.0
"""Values, clients and nodes for the tests of what lies below memory."""

import hashlib
import os

from yr.datasystem.kv_client import KVClient

MIB = 1 << 20


def value(key, size=MIB):
    return (hashlib.sha256(key.encode()).digest() * (size // 32 + 1))[:size]


def used(folder):
    total = 0
    for entry in os.scandir(folder):
        try:
            total += entry.stat().st_blocks * 512
        except FileNotFoundError:  # a segment was cleaned meanwhile
            pass
    return total


def client(worker):
    kv = KVClient(worker.host, worker.port)
    kv.init()
    return kv


def start_again(start_worker, worker, **flags):
    """A new node, with nothing of the old one but what its flags name."""
    worker.kill()
    return start_worker(**flags)
