# SPDX-License-Identifier: Apache-2.0
"""A client that does all that the kernel lets it do hurts its own tenant's bytes, nothing else."""
import time

import pytest

from node import Node, check_output


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def assert_idle(pid, what):
    time.sleep(0.3)
    before = cpu_ticks(pid)
    time.sleep(1)
    ticks = cpu_ticks(pid) - before
    assert ticks <= 5, f"{ticks} % CPU {what}"


def scribble_and_verify(seconds):
    with Node(64) as node:
        worker = node.worker()
        innocent = node.spawn("hostile", "innocent", int(seconds * 1000) + 1000)
        # Its threads race on purpose: TSan need not tell of that.
        hostile = node.spawn(
            "hostile", "scribble", int(seconds * 1000), env={"TSAN_OPTIONS": "report_bugs=0"}
        )
        assert hostile.stdout.readline() == "done\n"
        text, _ = innocent.communicate(timeout=60)
        assert innocent.returncode == 0 and "VIOLATION" not in text, text[-4000:]
        print(text.splitlines()[-1])
        assert node.worker() == worker, "the worker did not survive"
        assert_idle(worker, "with what it left in its sessions")
        # Another worker takes the scribbled sessions over.
        node.kill(worker)
        check_output(node.run("hostile", "innocent", 1500))
        assert_idle(node.worker(), "after a restart over scribbled sessions")
        hostile.communicate(timeout=20)
        check_output(node.run("client_kill", 64))  # and the accounts are exact


@pytest.mark.timeout(120)
def test_scribbling_client_does_not_hurt_worker_or_index():
    scribble_and_verify(8)


def test_what_is_promised_to_be_refused_is(node):
    check_output(node.run("hostile", "refused"))
