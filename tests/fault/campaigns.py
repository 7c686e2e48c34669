# SPDX-License-Identifier: Apache-2.0
"""The kill campaigns: short in CI (test_*.py), as long as wanted from run.py."""
import random
import signal
import time
from datetime import datetime

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
OUTAGE_S = 2  # after a kill, clients go on within this time


def kill_clients(kills, seed=None, size_mb=128):
    """SIGKILL of clients, with exact accounting after each batch. Returns (kills that happened,
    {point: kills there})."""
    with Node(size_mb) as node:
        args = [kills] if seed is None else [kills, seed]
        log = node.folder / "client-fired"
        env = {"DS_FAILPOINTS_LOG": str(log)}
        text = check_output(node.run("client_kill", *args, env=env, timeout=60 + kills * 0.1))
        *lines, last = (line.split() for line in text.splitlines())
        fired = node.fired(path=log)
        print(" ".join(last), fired)
        return int(last[1]), {name: fired.get(name, 0) for word, name in lines if word == "point"}


def kill_workers(seconds, clients=4, points=None):
    """Kills the worker under load, at failpoints and at random moments, so often that a call meets
    several kills in a row; the load's oracle judges. Returns (kills, {point: kills})."""
    spec = ";".join(f"{name}=kill%{n}" for name, n in (points or WORKER_POINTS).items())
    env = {"DS_FAILPOINTS": spec} if has_failpoints() else {}
    with Node(256, env=env) as node:
        keeper = node.keeper()
        load = node.spawn("load", clients, OUTAGE_S * 1000, "slow")
        assert load.stdout.readline() == "running\n"
        random_kills = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end and load.poll() is None:
            time.sleep(random.uniform(0.01, KILL_GAP_S))
            if random.random() < 0.5:
                for pid in node.children(keeper):
                    random_kills += node.kill(pid)
            elif random.random() < 0.3:
                node.run("scenes", "session", timeout=60)
        text = end_load(node, load)
        judge_outages(text, node.log_lines())
        assert node.keeper() == keeper, "the keeper died"
        fired = node.fired()
        kills = sum(fired.values()) + random_kills
        print(f"{kills} kills, {random_kills} of them at random: {fired}", text.splitlines()[-1])
        return kills, fired


def end_load(node, load):
    text, _ = load.communicate(timeout=120)
    if load.returncode != 0 or "VIOLATION" in text:
        print("".join(node.log_lines()[-40:]))
    assert load.returncode == 0 and "VIOLATION" not in text, text[-4000:]
    return text


def judge_outages(text, log):
    """A call that took long must have had no worker: of its time, only so much may have passed with
    a worker that said it was ready, or since the last one was started."""
    up = served(log)
    for line in text.splitlines():
        if line.startswith("SLOW "):
            what, since, until = line[5:].split("|")
            since, until = int(since) / 1e9, int(until) / 1e9
            with_worker = sum(max(0, min(until, b) - max(since, a)) for a, b in up)
            last_start = max([a for a, _ in up if a <= until], default=since)
            waited = until - max(since, last_start)
            assert with_worker <= OUTAGE_S and waited <= OUTAGE_S, (
                f"{what} took {until - since:.2f} s: with a worker for {with_worker:.2f} s of them,"
                f" the last one for {waited:.2f} s"
            )


def served(log):
    """When a worker was ready: [(from, until)], in s of CLOCK_MONOTONIC, from the keeper's log."""
    offset = time.monotonic() - time.time()
    spans, start = [], None
    for line in log:
        if "mod=keeper" not in line:
            continue
        stamp = line.split(" ", 1)[0].removeprefix("ts=").removesuffix("Z")
        when = datetime.fromisoformat(stamp + "+00:00").timestamp() + offset
        if "is ready after" in line:
            start = when
        elif "is gone" in line and start is not None:
            spans.append((start, when))
            start = None
    return spans if start is None else [*spans, (start, float("inf"))]


def kill_and_settle(rounds, clients=4):
    """Kills the worker at a random moment, waits until every client has gone on, again: each outage
    has one kill. Returns the outages in ms."""
    with Node(256) as node:
        keeper = node.keeper()
        load = node.spawn("load", clients, OUTAGE_S * 1000)
        assert load.stdout.readline() == "running\n"
        outages = []
        for _ in range(rounds):
            time.sleep(random.uniform(0, KILL_GAP_S))
            worker = wait_until(lambda: node.children(keeper), "a worker")
            assert node.kill(worker[0]), "the worker died by itself"
            load.stdin.write("\n")
            load.stdin.flush()
            line = load.stdout.readline()
            assert line.startswith("settled "), line + load.communicate(timeout=60)[0]
            outages.append(int(line.split()[1]))
        end_load(node, load)
        print(f"{rounds} kills, outages up to {max(outages)} ms, in the middle",
              f"{sorted(outages)[rounds // 2]} ms")
        return outages


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
