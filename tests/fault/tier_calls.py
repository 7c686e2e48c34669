# SPDX-License-Identifier: Apache-2.0
"""Each allocation and each system call of a worker with a spill directory, write-back and second-level
storage fails once, while it serves, after a kill, and after the end of the memory. fault_steps is load and oracle."""
import collections
import errno
import os
import random
import re

from node import wait_until
from test_nodes import some_of
from tiers import COLLECT, kill_whole, start_again, tiered_node

KINDS = ("alloc", "sys.*", "net.*")
# What a call may say; more than one thing, where they are handled differently.
ERRORS = {
    "sys.openat": (errno.EMFILE, errno.ENOSPC),
    "sys.mkdirat": (errno.ENOSPC,),
    "sys.pwrite": (errno.ENOSPC, errno.EIO),
    "sys.pread": (errno.EIO,),
    "sys.fsync": (errno.EIO,),
    "sys.fdatasync": (errno.EIO,),
    "sys.fstat": (errno.EIO,),
    "sys.renameat": (errno.EIO,),
    "sys.unlinkat": (errno.EIO,),
    "sys.reserve": (errno.ENOSPC,),
    "sys.thread": (errno.EAGAIN,),
    "net.accept": (errno.EMFILE,),
}
OTHERS = (errno.ENOMEM,)
# A keeper whose worker does not start gives up after five times, and so does no test: so many may
# keep it from that, once each.
AT_ONCE = 4


def steps_node(spec="", **flags):
    """Little memory, of which a little is used: the rest goes to disk, and to second-level storage."""
    return tiered_node(
        {"DS_FAILPOINTS": spec},
        size_mb=16,
        spill_size_limit="16M",
        spill_file_max_size_mb=1,
        eviction_high_watermark_ratio=0.1,
        eviction_low_watermark_ratio=0.05,
        l2_cache_async_write_rate_limit_mb=8,  # the journal has what is not uploaded yet
        **flags,
    )


class Steps:
    """A running fault_steps."""

    def __init__(self, node, spec):
        self.node, self.spec = node, spec
        self.process = node.spawn("steps", *([] if "spill_directory" in node.flags else ["memory"]))

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        text = ""
        while not text.endswith("\n") or not text.splitlines()[-1].startswith("done"):
            line = self.process.stdout.readline()
            text += line
            if not line:
                break
        if "VIOLATION" in text or not text.startswith("done"):
            print("".join(self.node.log_lines()[-80:]))
            raise AssertionError(f"{self.spec}, {command}: {text[-3000:]}")
        return text.splitlines()[-1]

    def end(self):
        self.tell("end")
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0, self.spec


def worker_files(node):
    """{what it is: how many of it} of the worker's descriptors."""
    found = collections.Counter()
    folder = f"/proc/{node.worker()}/fd"
    for fd in os.listdir(folder):
        try:
            found[re.sub(r":\[?\d+\]?$", "", os.readlink(f"{folder}/{fd}"))] += 1
        except FileNotFoundError:  # it was closed
            continue
    return found


def files_leaked(node, most):
    """Segments and shards come and go, but each is open once, and only while it is there. Of sockets,
    events and the like there are as many as without failures."""
    found = worker_files(node)
    mine = {path: n for path, n in found.items() if path.startswith(str(node.folder / "spill") + "/")
            or path.startswith(str(node.folder / "l2") + "/")}  # fmt: skip
    leaked = {path: n for path, n in mine.items() if n > 1 or path.endswith("(deleted)")}
    others = collections.Counter(
        {path: n for path, n in found.items() if path not in mine and not path.startswith(str(node.folder))}
    )
    leaked |= {path: n for path, n in others.items() if most is not None and n > most.get(path, 0)}
    return leaked, others


def kill_worker(node, first=lambda: None):
    before = node.worker()
    first()
    node.kill(before)
    wait_until(lambda: node.worker() not in (None, before), "another worker")


def stop_or_tell(node, spec):
    """A stop that fails says why, and the next one does not."""
    done = node.dscli("stop", "--worker_address", node.address)
    if done.returncode != 0:
        assert len(done.stdout + done.stderr) > 20, f"{spec}: no reason given"
        done = node.dscli("stop", "--worker_address", node.address)
    assert done.returncode == 0, f"{spec}: {done.stdout}{done.stderr}"
    wait_until(lambda: not node.processes(), f"{spec}: the end of all")


def start_or_tell(node, spec):
    """As stop_or_tell(), as often as there is something to fail."""
    for _ in spec.split(";"):
        done = node.start(timeout=60)
        if done.returncode == 0:
            return
        assert len(done.stdout + done.stderr) > 20, f"{spec}: no reason given"
        wait_until(lambda: not node.processes(), f"{spec}: the end of all", 10)
    start_again(node)


def run_steps(spec, most=None):
    """The whole life of a node. Returns {point: the most often that it fired in one process}, and what
    its workers had open: no more than `most`."""
    node, steps = steps_node(f"{COLLECT};{spec}"), None
    calls, before, files = collections.Counter(), {}, collections.Counter()

    def look_and_turn():
        nonlocal before, files
        files |= files_left(node, spec, most)
        fired = node.fired()
        for point in fired:
            calls[point] = max(calls[point], fired[point] - before.get(point, 0))
        before = fired
        for mark in node.folder.glob("fired.*"):  # "!": the next process has its turn
            mark.unlink()

    try:
        start_or_tell(node, spec)
        steps = Steps(node, spec)
        steps.tell("load")
        kill_worker(node, look_and_turn)
        steps.tell("look")
        look_and_turn()
        kill_whole(node)
        start_or_tell(node, spec)
        steps.tell("gone")
        if "sync" in spec:  # after a failed one the disk is not written any more
            look_and_turn()
            node.node_env["DS_FAILPOINTS"] = COLLECT
            stop_or_tell(node, spec)
            start_again(node)
            steps.tell("gone")
        steps.end()
        look_and_turn()
        stop_or_tell(node, spec)
        return calls, files
    finally:
        if steps is not None:
            steps.process.kill()
        node.clean_up()


def files_left(node, spec, most):
    """What is open and is no file, when all that was to be closed has been."""
    leaked, others = files_leaked(node, most)
    if leaked:
        wait_until(lambda: not files_leaked(node, most)[0], f"{spec}: the close of {leaked}", 5)
        others = files_leaked(node, most)[1]
    return others


def count_calls():
    """({point: calls}, descriptors at the end) of a life without failures."""
    points, files = run_steps(";".join(f"dsworker:{kind}=note" for kind in KINDS))
    assert len(points) > 20 and points["sys.pwrite"] > 50, points
    return {point: n for point, n in sorted(points.items()) if is_one_of(point)}, files


def is_one_of(point):
    return point == "alloc" or point.startswith(("sys.", "net."))


def spec_of(point, n, error):
    return f"dsworker:{point}=errno:{error}!@{n}"


def fail_each_call(limit):
    """For each point and each of its calls (or about `limit` of them) a life in which that fails."""
    points, files = count_calls()
    runs = 0
    for point, calls in points.items():
        for n in some_of(calls, limit):
            for error in ERRORS.get(point, OTHERS):
                run_steps(spec_of(point, n, error), files)
                runs += 1
        print(f"{point}: {calls} calls, {runs} runs so far", flush=True)


def fail_some_calls(lives):
    """Some call of some points fails, a few points in one life. Returns the points that were to fail
    and those that did."""
    points, files = count_calls()
    chosen, fired = random.sample(list(points), min(lives * AT_ONCE, len(points))), set()
    for i in range(0, len(chosen), AT_ONCE):
        now = chosen[i : i + AT_ONCE]
        specs = [spec_of(p, random.randint(1, points[p]), random.choice(ERRORS.get(p, OTHERS))) for p in now]
        fired |= run_steps(";".join(specs), files)[0].keys() & points.keys()
    return set(chosen), fired
