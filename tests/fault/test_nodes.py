# SPDX-License-Identifier: Apache-2.0
"""Start, upgrade, other users and namespaces."""
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node import Node, check_output, has_tsan, wait_until

NOBODY = 65534
OUTAGE_MS = 2000
STALL_S = 5  # --upgrade_stall_timeout_s, the default

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# --- start ---


def test_start_refuses_memory_that_does_not_fit_with_the_numbers():
    node = Node(16 * 1024 * 1024 - 1)
    try:
        done = node.start()
        text = done.stdout + done.stderr
        assert done.returncode != 0, text
        assert str(16 * 1024 * 1024 - 1) in text and "MiB left" in text, text
        node.check_gone()
    finally:
        node.clean_up()


def test_second_worker_on_one_address_is_refused_and_the_first_serves_on(node):
    worker = node.worker()
    done = node.start()
    assert done.returncode != 0, done.stdout
    assert node.worker() == worker
    check_output(node.run("client_kill", 16))


def test_stale_socket_of_a_killed_pair_does_not_keep_the_next_one_from_starting(node):
    node.kill_both()
    assert node.sockets() == [f"{node.address}.sock"]
    done = node.start()
    assert done.returncode == 0, done.stdout + done.stderr
    check_output(node.run("client_kill", 16))


# --- upgrade ---


def upgrade(node, program):
    return node.dscli("upgrade", "--worker_address", node.address, "--worker_binary", str(program))


def script(folder, text):
    path = Path(folder) / "newworker"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture(name="loaded")
def loaded_fixture():
    """A node under load; at its end the load must have seen nothing wrong."""
    with Node(128) as node:
        load = node.spawn("load", 3, STALL_S * 1000 + OUTAGE_MS)
        assert load.stdout.readline() == "running\n"
        time.sleep(0.5)
        yield node
        time.sleep(0.5)
        text, _ = load.communicate(timeout=60)
        assert load.returncode == 0 and "VIOLATION" not in text, text[-4000:]
        node.last = text.splitlines()[-1]
        print(node.last)


def test_upgrades_under_load_fail_no_call():
    with Node(128) as node:
        load = node.spawn("load", 3, OUTAGE_MS)
        assert load.stdout.readline() == "running\n"
        for _ in range(5):
            worker = node.worker()
            done = upgrade(node, node.bin / "dsworker")
            assert done.returncode == 0, done.stdout + done.stderr
            assert node.worker() != worker
            time.sleep(0.3)
        text, _ = load.communicate(timeout=60)
        assert load.returncode == 0 and "VIOLATION" not in text, text[-4000:]
        print(text.splitlines()[-1])


def test_upgrade_to_a_program_that_exits_at_once_keeps_the_old_one(loaded):
    done = upgrade(loaded, script(loaded.folder, "#!/bin/sh\nexit 3\n"))
    assert done.returncode != 0, done.stdout
    assert "did not start" in done.stdout + done.stderr, done.stdout + done.stderr
    assert sorted(loaded.processes().values()) == ["dskeeper", "dsworker"]


def test_upgrade_to_what_is_no_program_is_refused(loaded):
    worker = loaded.worker()
    path = Path(loaded.folder) / "text"
    path.write_text("no program")
    done = upgrade(loaded, path)
    assert done.returncode != 0, done.stdout
    done = upgrade(loaded, Path(loaded.folder) / "missing")
    assert done.returncode != 0, done.stdout
    assert loaded.worker() == worker, "it was stopped for nothing"


def test_upgrade_to_a_program_the_system_cannot_run_keeps_the_old_one(loaded):
    done = upgrade(loaded, script(loaded.folder, "\x7fELF no program"))
    assert done.returncode != 0, done.stdout
    assert sorted(loaded.processes().values()) == ["dskeeper", "dsworker"]


@pytest.mark.timeout(90)
def test_upgrade_to_a_program_that_hangs_gives_the_old_one_back(loaded):
    # Calls wait meanwhile, none fails, and none waits longer than the new program is given.
    done = upgrade(loaded, script(loaded.folder, "#!/bin/sh\nexec sleep 60\n"))
    assert done.returncode != 0, done.stdout
    assert "no progress for 5 s" in done.stdout + done.stderr, done.stdout + done.stderr
    assert sum("is not ready in time: killed" in line for line in loaded.log_lines()) == 1
    assert sorted(loaded.processes().values()) == ["dskeeper", "dsworker"]


SLOW_WORKER = """#!{python}
import os, socket, struct, sys, time
keeper = socket.socket(fileno=os.dup(int(os.environ["DS_KEEPER_FD"])))
end = time.monotonic() + 3
while time.monotonic() < end:
    time.sleep(0.2)
    if {tells}:
        keeper.send(struct.pack("<II24s960s", 9, 0, b"", b""))  # DS_LINK_PROGRESS
keeper.close()
os.execv("{worker}", sys.argv)
"""


@pytest.mark.parametrize("tells", [True, False])
def test_upgrade_to_a_slow_program_is_waited_for_while_it_makes_progress(tells):
    with Node(64, upgrade_stall_timeout_s=1) as node:
        check_output(node.run("scenes", "session"))
        text = SLOW_WORKER.format(python=sys.executable, tells=tells, worker=node.bin / "dsworker")
        done = upgrade(node, script(node.folder, text))
        assert (done.returncode == 0) == tells, done.stdout + done.stderr
        text = node.dscli("get", "--worker_address", node.address, "view1").stdout
        assert text, "an object is lost"


# --- other users and namespaces ---


@needs_root
def test_another_user_is_refused_by_default():
    # As nobody's worker, with a directory that lets everybody through: the worker must refuse.
    with Node(64) as node:
        text = check_output(node.run("scenes", "as", NOBODY))
        first = text.splitlines()[0]
        assert first in ("K_NOT_AUTHORIZED", "K_NOT_SUPPORTED"), text
        # The file modes apart, the worker itself refuses.
        node.folder.chmod(0o755)
        (node.folder / "run").chmod(0o755)
        (node.folder / "run" / f"{node.address}.sock").chmod(0o666)
        text = check_output(node.run("scenes", "as", NOBODY))
        assert text.splitlines()[0] == "K_NOT_AUTHORIZED", text


@needs_root
def test_another_user_is_served_when_all_may_connect():
    with Node(64, client_access="all") as node:
        node.folder.chmod(0o755)
        scene = node.spawn("scenes", "as", NOBODY)
        assert scene.stdout.readline() == "K_OK\n", scene.communicate("go\n")[0]
        assert scene.stdout.readline() == "hold\n"
        node.kill(scene.pid)
        scene.communicate()
        check_output(node.run("client_kill", 16))  # its end was seen


def can_unshare(*flags):
    done = subprocess.run(
        ["unshare", *flags, "true"], capture_output=True, check=False, timeout=20
    )
    return done.returncode == 0


def test_client_in_another_pid_namespace_is_served_and_its_death_seen(node):
    flags = ["--pid", "--fork", "--kill-child"]
    if not can_unshare(*flags):
        pytest.skip("no pid namespaces here")
    scene = node.spawn("scenes", "as", os.geteuid(), wrap=["unshare", *flags])
    assert scene.stdout.readline() == "K_OK\n"
    assert scene.stdout.readline() == "hold\n"
    node.kill(scene.pid)
    scene.communicate()
    check_output(node.run("client_kill", 16))
    check_output(node.run("client_kill", 16, wrap=["unshare", *flags]))


def ttl_times(text, word):
    line = next(line for line in text.splitlines() if line.startswith(word))
    return [int(x) for x in line.split()[-2:]]


@pytest.mark.parametrize("setter", ["here", "there"])
def test_expiry_is_exact_across_time_namespaces(node, setter):
    there = ["unshare", "--time", "--boottime", "1000000", "--monotonic", "5000", "--fork"]
    if not can_unshare(*there[1:]):
        pytest.skip("no time namespaces here")
    ttl_ms = 700
    watch = node.spawn("scenes", "ttl-watch", "ttl", wrap=there if setter == "here" else [])
    assert watch.stdout.readline() == "watching\n"
    time.sleep(0.1)
    done = node.run("scenes", "ttl-set", "ttl", ttl_ms, wrap=[] if setter == "here" else there)
    set_first, set_last = ttl_times(check_output(done), "set between")
    assert watch.stdout.readline() == "seen\n"
    worker = node.worker()
    time.sleep(0.05)
    node.kill(worker, signal.SIGSTOP)  # now the reader alone decides
    time.sleep(ttl_ms / 1000 + 0.2)
    node.kill(worker, signal.SIGCONT)
    text, _ = watch.communicate(timeout=30)
    assert watch.returncode == 0 and "VIOLATION" not in text, text
    seen, gone = ttl_times(text, "gone between")
    # The set happened between its two times, the expiry between the last hit and the first miss.
    assert gone >= set_first + ttl_ms * 1000000, "gone too early"
    assert seen <= set_last + (ttl_ms + 20) * 1000000, "there too long"
    assert seen >= set_first + (ttl_ms - 100) * 1000000, "no hits before the end"


CGROUPS = Path("/sys/fs/cgroup")


def memory_parents():
    """(folder to make a group in, its file for the limit): version 1, else the root and the own
    group of version 2."""
    if (CGROUPS / "memory" / "memory.limit_in_bytes").exists():
        return [(CGROUPS / "memory", "memory.limit_in_bytes")]
    if not (CGROUPS / "cgroup.controllers").exists():
        return []
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next(line.removeprefix("0::/") for line in lines if line.startswith("0::/"))
    return [(parent, "memory.max") for parent in dict.fromkeys([CGROUPS, CGROUPS / own])]


def make_group(parent, limit_file, limit):
    group = parent / f"dsfault{os.getpid()}"
    group.mkdir()
    try:
        (group / limit_file).write_text(str(limit))
    except OSError:
        group.rmdir()
        raise
    return group


@contextlib.contextmanager
def handed_on(parent):
    """Version 2: groups below `parent` have the memory controller, for now."""
    control = parent / "cgroup.subtree_control"
    missing = control.exists() and "memory" not in control.read_text().split()
    if missing:
        control.write_text("+memory")
    try:
        yield
    finally:
        if missing:
            control.write_text("-memory")


@contextlib.contextmanager
def memory_group(limit):
    """A cgroup of so many bytes; the test is skipped where there can be none."""
    reasons = []
    with contextlib.ExitStack() as undo:
        for parent, limit_file in memory_parents():
            try:
                undo.enter_context(handed_on(parent))
                group = make_group(parent, limit_file, limit)
            except OSError as e:
                reasons.append(str(e))
                continue
            undo.callback(wait_until, lambda: remove(group), "the end of the cgroup")
            yield group
            return
    pytest.skip(f"no memory cgroup can be made: {reasons or 'no memory controller is mounted'}")


@needs_root
def test_client_in_a_smaller_memory_cgroup():
    if has_tsan():
        pytest.skip("a client with TSan needs more memory than the group has")
    with memory_group(48 << 20) as group, Node(128) as node:
        command = f"echo $$ > {group}/cgroup.procs && exec \"$@\""
        wrap = ["sh", "-c", command, "sh"]
        # It writes 100 MiB of values; the pages are the worker's, not the client's.
        check_output(node.run("scenes", "fill", 100, wrap=wrap))


def remove(group):
    try:
        group.rmdir()
        return True
    except OSError:
        return False


# --- every allocation and system call fails once ---


def sessions(node):
    done = node.dscli("status", "--worker_address", node.address, "--json")
    return json.loads(done.stdout)["clients"]


def check_start_serve_stop(spec, files=None):
    """Returns the points that fired, with their numbers, and how many files keeper and worker have
    open at the end, which must be `files`. A start that fails says why and leaves nothing; one that
    does not fail serves, keeps what it acknowledged, and stops."""
    node = Node(32, env={"DS_FAILPOINTS": spec})
    try:
        done = node.start(timeout=30)
        if done.returncode != 0:
            assert len(done.stdout + done.stderr) > 20, f"{spec}: no reason given"
            wait_until(lambda: not node.processes(), f"{spec}: the end of all", 10)
            node.check_gone()
        else:
            serve = node.run("failing", "serve", timeout=60)
            if serve.returncode != 0:
                print("".join(node.log_lines()[-30:]))
            assert serve.returncode == 0, f"{spec} ({node.fired()}): {serve.stdout}"
            names = sorted(node.processes().values())
            assert names == ["dskeeper", "dsworker"], f"{spec}: {names}"
            if files is None:
                wait_until(lambda: sessions(node) == 0, "the end of the client's session")
                wait_until(lambda: node.connections() == 0, "the end of dscli's connection")
                files = node.open_files()
            wait_until(lambda: node.open_files() == files,
                       f"{spec}: {files} descriptors ({node.open_files()})", 5)
            stop = ("stop", "--worker_address", node.address)
            done = node.dscli(*stop, env=node.node_env, timeout=60)
            if done.returncode != 0:  # it may say that it could not; then the next try must work
                assert len(done.stdout + done.stderr) > 20, f"{spec}: no reason given"
                done = node.dscli(*stop, timeout=60)
            assert done.returncode == 0, f"{spec}: {done.stdout}{done.stderr}"
            node.check_gone()
        return node.fired(), files
    finally:
        node.clean_up()


def some_of(n, limit):
    """1 to n, or about `limit` of them: all at the start, then further and further apart."""
    numbers, step = [], 1.0
    at = 1.0
    while at <= n:
        numbers.append(int(at))
        at += step
        step *= 1.0 if n <= limit or len(numbers) < limit / 2 else 1.5
    return numbers


def fail_each_call(program, limit):
    """Each allocation and system call of a program fails once: for each point, the n-th."""
    kinds = ("alloc", "sys.*", "net.*")
    points, files = check_start_serve_stop(";".join(f"{program}:{kind}=note" for kind in kinds))
    assert len(points) > 5, points
    runs = 0
    for point, calls in sorted(points.items()):
        for n in some_of(calls, limit):
            check_start_serve_stop(f"{program}:{point}=errno:12@{n}", files)
            runs += 1
    print(f"{program}: {runs} runs; calls: {points}")
    return points


CALLS_MAX = 12  # of one point in CI: `run.py failing` takes all


@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", ["dscli", "dskeeper", "dsworker"])
def test_each_call_fails_once(failpoints, program):
    fail_each_call(program, CALLS_MAX)


@pytest.mark.parametrize("point", ["alloc", "sys.*", "net.*"])
def test_each_call_of_a_client_fails_once(failpoints, node, point):
    log = node.folder / "client-fired"
    text = check_output(
        node.run("failing", point, 12, env={"DS_FAILPOINTS_LOG": str(log)}, timeout=100)
    )
    print(text.splitlines()[-1])


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_new_worker_that_cannot_start_at_once_is_tried_again(failpoints, call):
    # A segment cannot be taken over, once: the objects must not be given up for that.
    spec = f"dsworker:sys.memfd_size=errno:12!@{call}"
    with Node(64, env={"DS_FAILPOINTS": spec}) as node:
        scene = node.spawn("scenes", "as", os.geteuid())  # a session: the fourth segment
        assert scene.stdout.readline() == "K_OK\n"
        check_output(node.run("scenes", "session"))
        node.kill(node.worker())
        text = node.dscli("get", "--worker_address", node.address, "view1").stdout
        assert text, "an object is lost"
        assert node.fired().get("sys.memfd_size") == 1
        assert "has no segment" not in "".join(node.log_lines()), "the session is lost"
        node.kill(scene.pid)
        scene.communicate()


def test_failure_to_spawn_a_new_worker_is_survived(failpoints):
    # The second start of a process fails: the memory must not be given up for that.
    with Node(64, env={"DS_FAILPOINTS": "keeper.spawn=errno:11@2"}) as node:
        check_output(node.run("scenes", "session"))
        node.kill(node.worker())
        text = node.dscli("get", "--worker_address", node.address, "view1").stdout
        assert text, "an object is lost"
        assert node.fired().get("keeper.spawn") == 1
