# SPDX-License-Identifier: Apache-2.0
"""The kill campaigns: short in CI (test_*.py), as long as wanted from run.py."""
import random
import signal
import time

from node import Node, check_output, has_failpoints, wait_until

# Each point kills one hit in n. The rates keep a worker alive for a fraction of a second under the
# load of fault_load, and let every point have its turn.
WORKER_POINTS = {
    "apply.before_cursor": 3000,
    "pass.applied": 20000,
    "pass.collected": 20000,
    "pass.settled": 20000,
    "publish.before_bucket": 2500,
    "publish.before_record": 2500,
    "publish.live": 2500,
    "reclaim.marked": 400,
    "recover.done": 15,
    "recover.entered": 15,
    "request.before_done": 3000,
    "request.done": 3000,
    "request.item": 800,
    "session.before_keep": 6,
    "session.before_live": 6,
    "session.before_welcome": 60,
    "session.ended": 6,
    "session.ending": 6,
    "unpublish.doomed": 1500,
}
KILL_GAP_S = 0.12


def kill_clients(kills, seed=None, size_mb=128):
    """SIGKILL of clients, with exact accounting after each batch. Returns what was armed."""
    with Node(size_mb) as node:
        args = [kills] if seed is None else [kills, seed]
        text = check_output(node.run("client_kill", *args, timeout=60 + kills * 0.1))
        armed = dict(
            (line.split()[0], int(line.split()[2]))
            for line in text.splitlines()
            if line.startswith("client.")
        )
        print(text.splitlines()[-1])
        return armed



def kill_workers(seconds, cycles=None, clients=4, limit_ms=2000, at_random=True, points=None):
    """Kills the worker under load, at failpoints and at random moments; the load's oracle judges.
    Returns (restarts, {point: kills}, the load's last line)."""
    spec = ";".join(f"{name}=kill%{n}" for name, n in (points or WORKER_POINTS).items())
    env = {"DS_FAILPOINTS": spec} if has_failpoints() else {}
    with Node(256, env=env) as node:
        keeper = node.keeper()
        load = node.spawn("load", clients, limit_ms)
        assert load.stdout.readline() == "running\n"
        random_kills = 0
        seen = set()
        end = time.monotonic() + seconds
        while time.monotonic() < end or (cycles and len(seen) < cycles):
            time.sleep(random.uniform(0.01, KILL_GAP_S))
            if load.poll() is not None:
                break
            workers = node.children(keeper)
            seen.update(workers)
            if at_random and random.random() < 0.5:
                for pid in workers:
                    random_kills += node.kill(pid)
            elif random.random() < 0.3:
                node.run("scenes", "session", timeout=60)
        text, _ = load.communicate(timeout=120)
        fired = node.fired()
        if load.returncode != 0 or "VIOLATION" in text:
            print("".join(node.log_lines()[-40:]))
        assert load.returncode == 0 and "VIOLATION" not in text, text[-4000:]
        assert node.keeper() == keeper, "the keeper died"
        kills = sum(fired.values()) + random_kills
        print(f"{kills} kills, {random_kills} of them at random: {fired}", text.splitlines()[-1])
        return kills, fired, text.splitlines()[-1]


def kill_keepers(rounds):
    """The keeper is killed, and when another one is there, the worker too: nothing is lost."""
    with Node(128) as node:
        load = node.spawn("load", 3, 3000)
        assert load.stdout.readline() == "running\n"
        for _ in range(rounds):
            keeper = wait_until(node.keeper, "a keeper")
            worker = wait_until(node.worker, "a worker")
            node.kill(keeper)
            wait_until(lambda k=keeper: node.keeper() not in (None, k), "another keeper")
            assert node.worker() == worker, "the worker did not survive its keeper"
            wait_until(lambda: adopted(node), "the new keeper's word")
            node.kill(worker, signal.SIGKILL)
            wait_until(lambda w=worker: node.worker() not in (None, w), "another worker")
            time.sleep(random.choice([0, 0.3]))
        text, _ = load.communicate(timeout=120)
        if load.returncode != 0:
            print("".join(node.log_lines()[-40:]))
        assert load.returncode == 0 and "VIOLATION" not in text, text[-4000:]
        processes = sorted(node.processes().values())
        assert processes == ["dskeeper", "dsworker"], processes
        print(text.splitlines()[-1])


def adopted(node):
    keeper = node.keeper()
    return any(f"pid={keeper}" in line and "took over" in line for line in node.log_lines())
