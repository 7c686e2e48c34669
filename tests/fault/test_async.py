# SPDX-License-Identifier: Apache-2.0
"""Gets that call back."""
import signal

import pytest

from node import Node, check_output


@pytest.mark.parametrize("count", [1, 100, 2000])
def test_each_is_called_when_its_key_comes(node, count):
    check_output(node.run("async", "keys", count))


@pytest.mark.parametrize("scene", ["gone", "there", "idle"])
def test_scene(node, scene):
    check_output(node.run("async", scene))


@pytest.mark.parametrize("count", [1, 1000])
def test_each_is_called_when_the_handle_is_closed(node, count):
    check_output(node.run("async", "close", count))


def test_one_word_at_a_time_where_the_kernel_cannot_wait_for_several(failpoints, node):
    old = {"DS_FAILPOINTS": "sys.futex_wait_any=errno:38"}
    check_output(node.run("async", "keys", 300, env=old))


def test_a_killed_worker_does_not_end_them(failpoints):
    """The first to come back is slow: the requests wait in it."""
    with Node(64, env={"DS_FAILPOINTS": "recover.done=sleep:500"}) as node:
        scene = node.spawn("async", "outage", 300)
        assert scene.stdout.readline() == "waiting\n"
        node.kill(node.worker())
        text, _ = scene.communicate("killed\n", timeout=60)
        assert scene.returncode == 0 and "VIOLATION" not in text, text


def test_a_node_started_anew_is_asked_again(node):
    scene = node.spawn("async", "outage", 300)
    assert scene.stdout.readline() == "waiting\n"
    scene.send_signal(signal.SIGSTOP)  # it shall not see that there is none for a moment
    node.kill_both()
    assert node.start().returncode == 0
    scene.send_signal(signal.SIGCONT)
    text, _ = scene.communicate("back\n", timeout=60)
    assert scene.returncode == 0 and "VIOLATION" not in text, text


def test_a_silent_worker_is_given_up(node):
    scene = node.spawn("async", "silent", 300)
    assert scene.stdout.readline() == "waiting\n"
    worker = node.worker()
    node.kill(worker, signal.SIGSTOP)
    try:
        text, _ = scene.communicate("stopped\n", timeout=60)
    finally:
        node.kill(worker, signal.SIGCONT)
    assert scene.returncode == 0 and "VIOLATION" not in text, text
