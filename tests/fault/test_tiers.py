# SPDX-License-Identifier: Apache-2.0
"""Kills and disk errors under a load that is several times the memory. Longer: tests/fault/run.py."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tier_calls
import tiers
from node import SLOWDOWN, Node, check_output

WORKER_CYCLES = int(300 / SLOWDOWN)
S3_CYCLES = int(60 / SLOWDOWN)
LARGE_CYCLES = int(60 / SLOWDOWN)
NODE_CYCLES = int(20 / SLOWDOWN)
LIVES = 6  # of a worker in which calls fail: other ones each time; `run.py tier-failing` takes all
POWER_CYCLES = int(5 / SLOWDOWN) or 1


@pytest.mark.timeout(600)
def test_killed_workers_lose_nothing_of_any_tier(failpoints):
    kills, fired = tiers.kill_workers_on_directory(WORKER_CYCLES, seconds=420)
    check_coverage(kills, WORKER_CYCLES, fired, tiers.POINTS)


@pytest.mark.timeout(600)
def test_killed_workers_lose_nothing_of_an_object_store(failpoints):
    kills, fired = tiers.kill_workers_on_s3(S3_CYCLES, seconds=420)
    check_coverage(kills, S3_CYCLES, fired, tiers.S3_POINTS)


@pytest.mark.timeout(600)
def test_killed_workers_lose_nothing_of_large_values(failpoints):
    kills, fired = tiers.kill_workers_with_large_values(LARGE_CYCLES, seconds=420)
    check_coverage(kills, LARGE_CYCLES, fired, tiers.LARGE_POINTS)


def check_coverage(kills, least, fired, points):
    never = set(points) - set(fired)
    assert not never, f"points never hit: {never}"
    assert kills >= least, f"only {kills} kills"


def test_worker_killed_while_it_enters_what_is_on_disk_buries_nothing(failpoints):
    with tiers.tiered_node(l2_cache_type="none") as node:
        check_output(node.run("scenes", "fill", 128))
        tiers.kill_whole(node)
        node.node_env["DS_FAILPOINTS"] = "dsworker:spill.entered=kill!@20"
        tiers.start_again(node)
        assert node.fired() == {"spill.entered": 1}
        there = on_disk(node)
        assert len(there) >= 40, there


def test_deleted_values_stay_away_though_the_disk_is_slow(failpoints):
    with tiers.tiered_node(l2_cache_type="none") as node:
        check_output(node.run("scenes", "fill", 128))
        tiers.stop(node)
        node.node_env["DS_FAILPOINTS"] = "dsworker:slog.write.before=sleep:60000"
        tiers.start_again(node)
        there = on_disk(node)
        assert len(there) >= 40, there
        done = node.dscli("del", "--worker_address", node.address, *there[::2])
        assert done.returncode == 0, done.stdout + done.stderr
        tiers.kill_whole(node)
        node.node_env["DS_FAILPOINTS"] = ""
        tiers.start_again(node)
        assert on_disk(node) == there[1::2]


def test_memory_that_came_while_the_second_level_was_read_is_used(failpoints):
    """The last of it came meanwhile, and the worker had not looked yet: it was taken for none."""
    node = Node(64, l2_cache_type="sfs")
    node.flags["sfs_path"] = node.folder / "l2"
    with node:
        check_output(node.run("scenes", "through", 40))
        tiers.kill_whole(node)
        slow = "dsworker:sys.reserve=sleep:100;dsworker:sys.pread=sleep:1200@3"
        node.node_env["DS_FAILPOINTS"] = slow
        tiers.start_again(node)
        done = node.dscli("get", "--worker_address", node.address, "through")
        assert (done.returncode, done.stderr, len(done.stdout)) == (0, "", 40 << 20)


def on_disk(node):
    """Of the keys that `scenes fill 128` has set."""
    keys = [f"fill{i}" for i in range(128)]
    done = node.dscli("exist", "--worker_address", node.address, *keys)
    return [k for k in keys if f"true {k}\n" in done.stdout]


@pytest.mark.timeout(600)
def test_killed_nodes_keep_what_disk_and_second_level_have(failpoints):
    met = {"spill.entered", "verify.answered", "verify.good"}
    assert met <= set(tiers.kill_nodes(NODE_CYCLES))


@pytest.mark.parametrize("errors", tiers.DISK_ERRORS)
def test_errors_of_the_disk_lose_nothing_and_spare_what_is_in_memory(failpoints, errors):
    spec = tiers.DISK_ERRORS[errors]
    figures, fired, trips = tiers.with_disk_errors(spec, seconds=2 * SLOWDOWN, keys=300)
    # io_uring may be missing
    never = set(re.findall(r":([a-z0-9_.]+)=", spec)) - {"slog.ring.read"} - set(fired)
    assert not never, f"points never hit: {never}"
    assert figures["failed"] > 0 and figures["disk"] > 100 and figures["hot"] > 100, figures
    assert trips > 0 or tiers.BREAKS not in spec


@pytest.mark.parametrize("what", tiers.HELD)
def test_a_disk_that_does_nothing_holds_up_nobody_who_uses_memory(failpoints, what):
    tiers.hold_the_disk(tiers.HELD[what], hot=1000)


@pytest.mark.timeout(300)
def test_failed_calls_of_a_worker_with_tiers_lose_nothing(failpoints):
    points, fired = tier_calls.fail_some_calls(LIVES)
    assert len(fired) > len(points) / 2, points - fired


def in_mount_namespace(*command):
    return subprocess.run(
        ["unshare", "-m", sys.executable, *command],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.timeout(600)
def test_lost_power_takes_nothing_that_was_promised(failpoints):
    probe = in_mount_namespace("-c", "import tiers\nwith tiers.small_disk(16):\n    pass")
    if probe.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {probe.stderr[-300:]}")
    done = in_mount_namespace("run.py", "tier-power-loss", "--cycles", str(POWER_CYCLES))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert done.stdout.count("violations 0\n") == POWER_CYCLES + 1, done.stdout[-2000:]
