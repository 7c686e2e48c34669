# SPDX-License-Identifier: Apache-2.0
"""Odd directories as spill directory and as second-level storage: each works, or is refused with what
is wrong and what helps."""
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from node import Node, wait_until
from tier_calls import Steps, kill_worker, start_again, steps_node

NOBODY = 65534
OPTIONS = ("spill_directory", "sfs_path")


@pytest.fixture(name="folder")
def folder_fixture():
    folder = Path(tempfile.mkdtemp(prefix="dsfault", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def mounted(folder, options, then="true"):
    """A prefix of a command: with a file system at `folder` that nobody else sees, and goes with it."""
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr[-300:]}")
    return ["sh", "-c", f'unshare -m sh -c "{shlex.join(probe[2:])} && cd {folder} && {then}; cd /; exec \\"\\$@\\"" sh "$@"', "sh"]  # fmt: skip


# --- refused at the start ---


def a_file(folder):
    (folder / "file").write_text("no directory")
    return folder / "file", []


def below_a_file(folder):
    return a_file(folder)[0] / "below", []


def link_to_nowhere(folder):
    (folder / "link").symlink_to(folder / "missing" / "too")
    return folder / "link", []


def link_to_itself(folder):
    (folder / "link").symlink_to(folder / "link")
    return folder / "link", []


def long_name(folder):
    return folder / ("n" * 300), []


def read_only(folder):
    return folder, mounted(folder, "size=1m", f"mount -o remount,ro {folder}")


def below_a_read_only_one(folder):
    return folder / "below", read_only(folder)[1]


def without_inodes(folder):
    return folder, mounted(folder, "size=64m,nr_inodes=2")


def full(folder):
    return folder, mounted(folder, "size=64k", "head -c 70000 /dev/zero > filler")


def as_another(folder):
    if os.geteuid() == 0:
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    folder.chmod(0o500)
    return []


def of_somebody_else(folder):
    return folder, as_another(folder)


def below_that_of_somebody_else(folder):
    return folder / "below", as_another(folder)


REFUSED = {
    a_file: ("Not a directory", "move that away"),
    below_a_file: ("Not a directory", "move that away"),
    link_to_nowhere: ("No such file", "symbolic link"),
    link_to_itself: ("symbolic link", "back to itself"),
    long_name: ("too long", "at most 255 bytes"),
    read_only: ("Read-only", "make its file system writable"),
    below_a_read_only_one: ("Read-only", "make its file system writable"),
    without_inodes: ("No space left", "df -i"),
    full: ("No space left", "make room"),
    of_somebody_else: ("Permission denied", "chmod"),
    below_that_of_somebody_else: ("Permission denied", "chmod"),
}


def check_refused(node, path, words, wrap=()):
    node.folder.chmod(0o777)
    done = node.start(wrap=wrap)
    try:
        text = done.stdout + done.stderr
        assert done.returncode != 0, text
        assert all(word in text for word in words) and str(path)[:30] in text, text
        wait_until(lambda: not node.processes(), "the end of keeper and worker", 5)
    finally:
        node.clean_up()


def node_on(option, path, **more):
    second = {"l2_cache_type": "sfs"} if option == "sfs_path" else {"spill_size_limit": "32M"}
    return Node(16, **{option: path}, **second, **more)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.__name__)
def test_a_directory_that_cannot_be_used_is_refused_with_what_helps(folder, option, case):
    path, wrap = case(folder)
    check_refused(node_on(option, path), path, REFUSED[case], wrap)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_quota_is_named(failpoints, folder, option):
    path = folder / "new"
    spec = {"DS_FAILPOINTS": "dsworker:sys.mkdirat=errno:122"}  # EDQUOT
    check_refused(node_on(option, path, env=spec), path, ("quota exceeded", "raise the quota"))


@pytest.mark.parametrize("option", OPTIONS)
def test_the_reason_stands_behind_a_long_path_too(folder, option):
    deep = folder
    while len(str(deep)) < 3600:
        deep /= "d" * 200
    deep.mkdir(parents=True)
    (deep / "file").write_text("")
    check_refused(node_on(option, deep / "file"), folder, REFUSED[a_file])


@pytest.mark.parametrize("option", OPTIONS)
def test_a_path_with_a_line_break_is_refused(folder, option):
    check_refused(node_on(option, f"{folder}/a\nb"), folder, ("control characters",))


# --- used ---


def one_for_both(folder):
    return folder / "both", folder / "both"


def odd_names(folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    spill = folder / "link" / "a b  'ü€ $x"
    while len(str(spill)) < 3600:
        spill /= "d" * 200
    return spill, "some/../where/l2"  # from where dscli is called


@pytest.mark.parametrize("case", [one_for_both, odd_names], ids=lambda case: case.__name__)
def test_an_odd_path_is_as_good_as_any(folder, case):
    spill, second = case(folder)
    node = steps_node(spill_directory=spill, sfs_path=second)
    (node.folder / "some").mkdir()
    with node:
        steps = Steps(node, case.__name__)
        steps.tell("load")
        kill_worker(node)
        steps.tell("look")
        node.dscli("stop", "--worker_address", node.address)
        start_again(node)
        steps.tell("gone")
        steps.end()
        for path in spill, node.folder / second:
            assert os.listdir(path)


def test_a_spill_directory_in_memory_is_told(folder):
    node = steps_node(spill_directory=folder / "spill", sfs_path=folder / "l2")
    done = node.start(wrap=mounted(folder, "size=64m"))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert any("in the memory of the machine" in line for line in node.log_lines())
        steps = Steps(node, "tmpfs")
        steps.tell("load")
        steps.end()
    finally:
        node.clean_up()


# --- while it is used ---


def told(node, words):
    return any(words in line for line in node.log_lines())


def test_a_file_system_that_runs_out_of_inodes_is_told_and_used_again(folder):
    """identity, lock and tombstones: no room for a segment."""
    node = steps_node(spill_directory=folder / "spill")
    done = node.start(wrap=mounted(folder, "size=64m,nr_inodes=5"))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        steps = Steps(node, "inodes")
        steps.tell("load")
        wait_until(lambda: told(node, "df -i"), "a word about inodes")
        assert node.dscli("get", "--worker_address", node.address, "step0").returncode == 0
        inside = ["nsenter", "-m", "-t", str(node.worker())]
        subprocess.run([*inside, "mount", "-o", "remount,nr_inodes=500", folder], check=True)
        wait_until(lambda: spilled(node), "objects on disk")
        assert sum("df -i" in line for line in node.log_lines()) == 1
        steps.tell("look")
        steps.end()
    finally:
        node.clean_up()


def spilled(node):
    return '"spilled_objects": 0,' not in node.dscli("status", "--worker_address", node.address, "--json").stdout


@pytest.mark.parametrize("again", [False, True])
def test_directories_that_are_removed_while_in_use_are_told(again):
    """What memory has is served, nothing wrong comes from anywhere, and after a restart all is well.
    Without a directory for second-level storage: test_l2_faults.py."""
    with steps_node() as node:
        steps = Steps(node, "removed")
        steps.tell("load")
        for name in "spill", "l2":
            shutil.rmtree(node.folder / name)
            if again or name == "l2":
                (node.folder / name).mkdir()
        steps.tell("lost")
        steps.tell("load")
        wait_until(lambda: told(node, "was removed or replaced while in use: what it held"), "a word")
        kill_worker(node)
        steps.tell("lost")
        steps.end()
