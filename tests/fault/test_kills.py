# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of clients, workers and keepers. Longer: tests/fault/run.py."""
import signal

import pytest

import campaigns
from node import SLOWDOWN, Node, check_output, wait_until

# 10000 and 300 in CI; less where everything is slower.
CLIENT_KILLS = int(10000 / SLOWDOWN**2)
WORKER_CYCLES = int(300 / SLOWDOWN)
WORKER_SECONDS = 60
WORKER_SETTLED = 100


@pytest.mark.timeout(240)
def test_killed_clients_leave_exact_accounts(failpoints):
    kills, fired = campaigns.kill_clients(CLIENT_KILLS)
    assert kills >= CLIENT_KILLS and sum(fired.values()) > kills / 2, f"{kills} kills: {fired}"
    assert all(fired.values()), f"points never hit: {fired}"


@pytest.mark.timeout(240)
def test_killed_workers_lose_and_show_nothing_wrong(failpoints):
    kills, fired = campaigns.kill_workers(WORKER_SECONDS)
    assert kills >= WORKER_CYCLES, f"only {kills} kills"
    never = set(campaigns.WORKER_POINTS) - set(fired)
    assert not never, f"points never hit: {never}"


@pytest.mark.timeout(240)
def test_clients_go_on_soon_after_a_killed_worker():
    outages = campaigns.kill_and_settle(WORKER_SETTLED)
    assert max(outages) <= campaigns.OUTAGE_S * 1000, sorted(outages)[-10:]


@pytest.mark.timeout(120)
def test_killed_keepers_are_replaced_and_nothing_is_lost():
    campaigns.kill_keepers(rounds=12)


def test_node_killed_whole_and_started_again_serves_the_old_handles():
    with Node(64) as node:
        scene = node.spawn("scenes", "restart")
        assert scene.stdout.readline() == "hold\n"
        node.kill_both()
        assert node.sockets(), "a killed node leaves its socket file: that is what start must meet"
        scene.stdin.write("gone\n")
        scene.stdin.flush()
        while scene.stdout.readline() != "away\n":
            assert scene.poll() is None
        done = node.start()
        assert done.returncode == 0, done.stdout + done.stderr
        text, _ = scene.communicate("back\n", timeout=60)
        assert scene.returncode == 0 and "VIOLATION" not in text, text


def test_views_of_an_impatient_client_outlive_a_slow_restart(failpoints):
    # The client gives its reconnection up before the worker gets to it: its session must not end.
    with Node(64, env={"DS_FAILPOINTS": "recover.done=sleep:1700"}) as node:
        scene = node.spawn("scenes", "impatient")
        assert scene.stdout.readline() == "hold\n"
        node.kill(node.worker())
        text, _ = scene.communicate("killed\n", timeout=60)
        assert scene.returncode == 0 and "VIOLATION" not in text, text
        assert "timeouts 0" not in text, "nothing was given up: the scene does not test anything"


def test_what_was_given_up_while_the_worker_was_away_is_not_held(node):
    scene = node.spawn("scenes", "late")
    assert scene.stdout.readline() == "hold\n"
    worker = node.worker()
    node.kill(worker, signal.SIGSTOP)
    scene.stdin.write("stopped\n")
    scene.stdin.flush()
    while scene.stdout.readline() != "gave up\n":
        assert scene.poll() is None
    node.kill(worker, signal.SIGCONT)
    text, _ = scene.communicate("continued\n", timeout=60)
    assert scene.returncode == 0 and "VIOLATION" not in text, text


@pytest.mark.parametrize(
    "action, answer", [("kill!@1", "K_OK"), ("sleep:1500!@1", "K_RPC_DEADLINE_EXCEEDED")], ids=["killed", "late"]
)
def test_session_of_a_client_that_was_not_told_of_it_is_not_left_over(failpoints, action, answer):
    with Node(64, env={"DS_FAILPOINTS": f"session.before_welcome={action}"}) as node:
        text = check_output(node.run("scenes", "reopen", 600 if "sleep" in action else 5000))
        assert f"opened: {answer}" in text, text
        assert node.fired() == {"session.before_welcome": 1}


def test_worker_killed_while_a_forked_child_reads():
    with Node(64) as node:
        scene = node.spawn("scenes", "fork", "dies")
        assert scene.stdout.readline() == "churning\n"
        node.kill(node.worker())
        text, _ = scene.communicate(timeout=60)
        assert scene.returncode == 0 and "VIOLATION" not in text, text


@pytest.mark.parametrize("what", ["dies", "releases", "closes"])
def test_forked_child_keeps_its_views_when_the_parent(node, what):
    check_output(node.run("scenes", "fork", what))


def test_views_of_a_closed_handle_stay(node):
    check_output(node.run("scenes", "closed"))


@pytest.mark.parametrize("how", ["free", "reused", "copied"])
def test_views_stay_and_calls_go_on_when_the_application_closes_the_socket(node, how):
    check_output(node.run("scenes", "unplugged", how))
    wait_until(lambda: node.connections() == 0, "the end of all sessions")


def test_worker_that_dies_at_every_start_is_given_up(failpoints):
    node = Node(64, env={"DS_FAILPOINTS": "start.half_kept=exit:7"})
    try:
        done = node.start(timeout=60)
        assert done.returncode != 0, "it cannot have started"
        node.check_gone()
        assert node.fired()["start.half_kept"] <= 10, "no end, or no back-off"
    finally:
        node.clean_up()
