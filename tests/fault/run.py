#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The fault campaigns at any length, outside of CI.

    tests/fault/run.py client-kill --kills 100000
    tests/fault/run.py worker-kill --cycles 10000
    tests/fault/run.py keeper-kill --rounds 100
    tests/fault/run.py failing --program dsworker
    tests/fault/run.py hostile --seconds 300
    tests/fault/run.py tier-worker-kill --cycles 10000
    tests/fault/run.py tier-s3-kill --cycles 10000
    tests/fault/run.py tier-large-kill --cycles 10000
    tests/fault/run.py tier-node-kill --cycles 200
    tests/fault/run.py tier-disk-errors --seconds 60
    tests/fault/run.py tier-failing --limit 1000     about an hour; some of each with --limit 6: 10 min
    unshare -m tests/fault/run.py tier-power-loss --cycles 200     as root: it mounts a file system

DS_BUILD_DIR names the build (default build/dev; it needs failpoints). Exit status 0: no promise was
violated. About 7 ms a client kill and 0.2 s a worker kill on two cores.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import campaigns  # noqa: E402  (the folder is no package)
import tier_calls  # noqa: E402
import tiers  # noqa: E402
from test_hostile import scribble_and_verify  # noqa: E402
from test_nodes import fail_each_call  # noqa: E402


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_subparsers(dest="what", required=True)
    clients = what.add_parser("client-kill")
    clients.add_argument("--kills", type=int, default=10000)
    clients.add_argument("--seed", type=int)
    workers = what.add_parser("worker-kill")
    workers.add_argument("--cycles", type=int, default=300)
    keepers = what.add_parser("keeper-kill")
    keepers.add_argument("--rounds", type=int, default=10)
    failing = what.add_parser("failing")
    failing.add_argument("--program", choices=("dscli", "dskeeper", "dsworker"), required=True)
    failing.add_argument("--limit", type=int, default=1000)
    hostile = what.add_parser("hostile")
    hostile.add_argument("--seconds", type=float, default=60)
    tier_workers = what.add_parser("tier-worker-kill")
    tier_workers.add_argument("--cycles", type=int, default=300)
    tier_s3 = what.add_parser("tier-s3-kill")
    tier_s3.add_argument("--cycles", type=int, default=60)
    tier_large = what.add_parser("tier-large-kill")
    tier_large.add_argument("--cycles", type=int, default=60)
    tier_nodes = what.add_parser("tier-node-kill")
    tier_nodes.add_argument("--cycles", type=int, default=20)
    tier_power = what.add_parser("tier-power-loss")
    tier_power.add_argument("--cycles", type=int, default=10)
    tier_errors = what.add_parser("tier-disk-errors")
    tier_errors.add_argument("--seconds", type=float, default=10)
    tier_failing = what.add_parser("tier-failing")
    tier_failing.add_argument("--limit", type=int, default=1000)
    args = parser.parse_args()
    if args.what == "client-kill":
        for name, count in campaigns.kill_clients(args.kills, args.seed)[1].items():
            print(f"{name:24} {count}")
    elif args.what == "worker-kill":
        left = args.cycles
        campaigns.kill_and_settle(min(args.cycles, 500))
        while left > 0:  # each round ends with a check of everything
            left -= campaigns.kill_workers(seconds=30)[0]
            print(f"{max(left, 0)} to go", flush=True)
    elif args.what == "keeper-kill":
        campaigns.kill_keepers(args.rounds)
    elif args.what == "tier-worker-kill":
        left = args.cycles
        while left > 0:  # each round ends with a look at every key
            left -= tiers.kill_workers_on_directory(min(left, 500))[0]
            print(f"{max(left, 0)} to go", flush=True)
    elif args.what == "tier-s3-kill":
        left = args.cycles
        while left > 0:
            left -= tiers.kill_workers_on_s3(min(left, 500))[0]
            print(f"{max(left, 0)} to go", flush=True)
    elif args.what == "tier-large-kill":
        left = args.cycles
        while left > 0:
            left -= tiers.kill_workers_with_large_values(min(left, 500))[0]
            print(f"{max(left, 0)} to go", flush=True)
    elif args.what == "tier-node-kill":
        tiers.kill_nodes(args.cycles)
    elif args.what == "tier-power-loss":
        tiers.lose_power(args.cycles)
    elif args.what == "tier-disk-errors":
        for spec in tiers.DISK_ERRORS.values():
            tiers.with_disk_errors(spec, args.seconds)
    elif args.what == "tier-failing":
        tier_calls.fail_each_call(args.limit)
    elif args.what == "failing":
        fail_each_call(args.program, args.limit)
    else:
        scribble_and_verify(args.seconds)
    print("no violation")


if __name__ == "__main__":
    main()
