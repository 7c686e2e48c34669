# SPDX-License-Identifier: Apache-2.0
"""The disk with the journal of write-back values is given up, while second-level storage is well: no set
fails for it, and what was acknowledged is there after the end of the worker, and of the node."""
import shutil

import pytest

import tiers
from node import wait_until
from tier_calls import Steps, kill_worker, start_again, steps_node

# In the middle of the load, or before it; in one worker only, or in the next one too.
ERRORS = {
    "sync": "dsworker:slog.sync.before=errno:5!@9",
    "sync before the first value": "dsworker:slog.sync.before=errno:5!@1",
    "syncs": "dsworker:slog.sync.before=errno:5",
    "writes": "dsworker:slog.write.before=errno:5",
}


KINDS = ("spill_directory", "write_back_directory")


def journal_node(spec="", kind="spill_directory"):
    """What the journal has is in second-level storage late, and all of it fits one segment."""
    node = steps_node(spec)
    node.flags[kind] = node.flags.pop("spill_directory")
    node.flags |= {
        "l2_cache_async_write_rate_limit_mb": 1,
        "spill_size_limit": "256M",
        "spill_file_max_size_mb": 16,
    }
    return node


def tell(steps, command):
    assert ": 0 calls failed, 0 violations" in steps.tell(command), command


def check_given_up(node, words):
    """From then on what is set is stored at once."""
    assert tiers.status(node)["disk_stopped"] == 1
    assert sum(words in line for line in node.log_lines()) == 1


def end_without_memory(node, steps):
    tiers.kill_whole(node)
    node.node_env["DS_FAILPOINTS"] = ""
    start_again(node)
    tell(steps, "gone")
    assert tiers.status(node)["disk_stopped"] == 0
    steps.end()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", ERRORS)
def test_no_set_fails_with_the_journal(failpoints, error, kind):
    with journal_node(ERRORS[error], kind) as node:
        steps = Steps(node, error)
        tell(steps, "load")
        check_given_up(node, "is not written any more after errors")
        waiting = tiers.status(node)["l2_waiting"]
        tell(steps, "load")
        assert tiers.status(node)["l2_waiting"] <= waiting
        end_without_memory(node, steps)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_has_its_journal_again(failpoints, kind):
    with journal_node("dsworker:slog.sync.before=errno:5!@9", kind) as node:
        steps = Steps(node, kind)
        tell(steps, "load")
        check_given_up(node, "is not written any more after errors")
        kill_worker(node)
        tell(steps, "look")
        assert tiers.status(node)["disk_stopped"] == 0
        tell(steps, "load")
        end_without_memory(node, steps)


@pytest.mark.parametrize("kind", KINDS)
def test_no_set_fails_where_the_journal_has_no_room(failpoints, kind):
    with journal_node("dsworker:slog.open.mid=errno:28", kind) as node:
        steps = Steps(node, kind)
        tell(steps, "load")
        status = tiers.status(node)
        assert (status["disk_stopped"], status["disk_errors"], status["disk_used_bytes"]) == (0, 0, 0)
        end_without_memory(node, steps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("again", [False, True])
def test_nothing_is_acknowledged_by_a_directory_that_was_removed(again, kind):
    with journal_node(kind=kind) as node:
        steps = Steps(node, "removed")
        tell(steps, "load")
        wait_until(lambda: tiers.status(node)["l2_waiting"] == 0, "the uploads")
        shutil.rmtree(node.folder / "spill")
        if again:
            (node.folder / "spill").mkdir()
        tell(steps, "load")
        check_given_up(node, "was removed or replaced while in use")
        end_without_memory(node, steps)
