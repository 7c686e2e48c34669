# SPDX-License-Identifier: Apache-2.0
"""Kills and disk errors under a load that is several times the memory. Longer: tests/fault/run.py."""
import pytest

import tiers
from node import SLOWDOWN

WORKER_CYCLES = int(300 / SLOWDOWN)
NODE_CYCLES = int(20 / SLOWDOWN)


@pytest.mark.timeout(600)
def test_killed_workers_lose_nothing_of_any_tier(failpoints):
    kills, _ = tiers.kill_workers(WORKER_CYCLES, seconds=420)
    assert kills >= WORKER_CYCLES, f"only {kills} kills"


@pytest.mark.timeout(600)
def test_killed_nodes_keep_what_disk_and_second_level_have(failpoints):
    tiers.kill_nodes(NODE_CYCLES)
