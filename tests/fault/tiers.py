# SPDX-License-Identifier: Apache-2.0
"""Kill and disk-error campaigns of the tiers: a node whose memory is a fraction of the keys, with a
spill directory and a directory as second-level storage. fault_tiers is load and oracle."""
import contextlib
import fcntl
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from node import BIN, Node, wait_until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "l2"))
from s3_stub import ACCESS, BUCKET, REGION, SECRET, Stub  # noqa: E402

# As campaigns.WORKER_POINTS: each kills one hit in n, so that every point has its turn in some
# hundred kills.
STORE_POINTS = {
    "apply.before_cursor": 4000,
    "demote.before_word": 100,
    "demote.spilled": 100,
    "install.before_word": 40,
    "install.live": 60,
    "install.moving": 60,
    "install.torn": 60,
    "load.live": 2,
    "pass.applied": 8000,
    "pass.collected": 8000,
    "pass.settled": 8000,
    "publish.before_bucket": 1500,
    "publish.before_record": 1500,
    "publish.filled": 1500,
    "publish.live": 1500,
    "reclaim.marked": 300,
    "recover.done": 40,
    "recover.entered": 40,
    "request.before_done": 500,
    "request.done": 4000,
    "request.item": 100,
    "request.marked": 400,
    "slog.gc.unlink": 60,
    "slog.open.before": 80,
    "slog.open.mid": 80,
    "slog.recover.seal": 30,
    "slog.seal.after": 6,
    "slog.seal.before": 6,
    "slog.sync.after": 200,
    "slog.sync.before": 200,
    "slog.write.after": 300,
    "slog.write.before": 300,
    "slog.write.mid": 300,
    "spill.placed": 100,
    "unpublish.doomed": 1500,
    "upload.marked": 60,
}
DIRECTORY_POINTS = {
    "l2.dir.after_rename": 500,
    "l2.dir.after_sync": 500,
    "l2.dir.before_ack": 500,
    "l2.dir.before_rename": 500,
    "l2.dir.before_sync": 500,
    "l2.dir.gc.before_unlink": 15,
    "l2.dir.mid_write": 500,
}
LARGE_POINTS = {
    "arrive.before_descriptor": 8,
    "arrive.before_word": 8,
    "arrive.let_go": 2,
    "arrive.whole": 8,
    "slog.read.piece": 40,
}
S3_POINTS = {
    "l2.s3.after_complete": 3,
    "l2.s3.after_put": 60,
    "l2.s3.before_complete": 3,
    "l2.s3.before_delete": 40,
    "l2.s3.before_put": 60,
    "l2.s3.gc.before_delete": 20,
    "l2.s3.part": 12,
}
POINTS = {**STORE_POINTS, **DIRECTORY_POINTS}
# Met where the memory is lost: copies on disk are entered, and compared with second-level storage.
NODE_POINTS = {**POINTS, "spill.entered": 100, "verify.answered": 100, "verify.good": 100}
COLLECT = "dsworker:l2.collect=errno:4%300"
SMALL_PARTS = "dsworker:l2.s3.small_parts=errno:4"
GARBAGE = 200  # objects whose time is long over: what there is to collect
SLOW = "dsworker:sys.pwrite=sleep:30%3"
# What opens the breaker of second-level storage, with as many writes, and keeps it open for a bit.
FAILURES = 3
BREAKS = f"dsworker:l2.dir.mid_write=errno:5<{FAILURES + 2}"
# Errors that come and go: of writes, of reads, of second-level storage; a disk that is full now and
# then, and a failed sync, after which the log is not written any more, while second-level storage is
# not asked at first.
DISK_ERRORS = {
    "that pass": "dsworker:slog.write.before=errno:5%8;dsworker:slog.ring.read=errno:5%3;"
    "dsworker:l2.dir.mid_write=errno:5%20",
    "that stay": "dsworker:slog.write.mid=errno:28%8;dsworker:slog.sync.before=errno:5@20;" + BREAKS,
}
KILL_GAP_S = 0.25
CLIENTS = 4
KEYS = 1000
LARGEST = 1 << 20
MEMORY_MB = 64


def spec_of(points):
    return ";".join(f"dsworker:{name}=kill%{n}" for name, n in points.items())


def tiered_node(env=None, size_mb=MEMORY_MB, **flags):
    node = Node(size_mb, env=env)
    node.flags |= {
        "spill_directory": node.folder / "spill",
        "spill_size_limit": "512M",
        "spill_file_max_size_mb": 2,
        "l2_cache_type": "sfs",
        "sfs_path": node.folder / "l2",
        **flags,
    }
    return node


class Load:
    """A running fault_tiers."""

    def __init__(self, node, keys=KEYS, largest=LARGEST, errors=False, clients=CLIENTS):
        self.node = node
        self.process = node.spawn(
            "tiers", clients, keys, largest, *(["errors"] if errors else [])
        )
        assert self.process.stdout.readline() == "running\n"

    def tell(self, command):
        """The answer to a command; what is printed before it is a violation."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        first = {"fall": "falling", "dark": "falling", "risen": "found", "figures": "ops"}[command]
        lines = []
        while not lines or not lines[-1].startswith(first):
            line = self.process.stdout.readline()
            lines.append(line)
            if not line:
                self.fail("".join(lines))
        if len(lines) > 1:
            self.fail("".join(lines) + self.process.communicate(timeout=300)[0])
        return lines[0]

    def figures(self):
        words = self.tell("figures").split()
        return dict(zip(words[::2], map(int, words[1::2])))

    def fail(self, text):
        print("".join(self.node.log_lines()[-600:]))
        raise AssertionError(text[-6000:])

    def alive(self):
        return self.process.poll() is None

    def end(self):
        text, _ = self.process.communicate(timeout=300)
        if self.process.returncode != 0 or "VIOLATION" in text or "FATAL" in text:
            self.fail(text)
        return text.splitlines()[-1]


def check_no_damage(node):
    """What a kill leaves is not taken for damage to the disk."""
    told = [line for line in node.log_lines() if " is damaged: " in line]
    assert told == [], told


def kill_workers(kills, points=POINTS, seconds=3600, keys=400, largest=LARGEST, **flags):
    """Kills the worker at failpoints and at random under load, until it was killed so often, and at
    each point. The memory stays: nothing that was acknowledged may be lost. Returns
    (kills, {point: kills})."""
    env = {"DS_FAILPOINTS": ";".join([spec_of(points), COLLECT, SMALL_PARTS])}
    # Of what second-level storage has, not all comes back from disk: some must be loaded.
    with tiered_node(env, **{"spill_admission": "second", **flags}) as node:
        load = Load(node, keys=keys, largest=largest)  # a last look at all of them meets kills too
        keeper = node.keeper()
        at_random = 0
        end = time.monotonic() + seconds
        while load.alive() and time.monotonic() < end:
            fired = node.fired("kill")
            if at_random + sum(fired.values()) >= kills and fired.keys() >= points.keys():
                break
            time.sleep(random.uniform(0.01, KILL_GAP_S))
            if random.random() < 0.5:
                for pid in node.children(keeper):
                    at_random += node.kill(pid)
        last = load.end()
        assert node.keeper() == keeper, "the keeper died"
        check_no_damage(node)
        fired = node.fired("kill")
        total = at_random + sum(fired.values())
        print(f"{total} kills, {at_random} of them at random: {fired}", last)
        return total, fired


def kill_workers_on_s3(kills, seconds=3600):
    """As kill_workers(), with an object store as second-level storage and values of several parts."""
    with Stub() as stub, tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "credentials"
        secret.write_text(f"[default]\naws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n")
        where = [f"endpoint={stub.endpoint}", f"bucket={BUCKET}", f"region={REGION}", f"credentials={secret}"]
        add_garbage(*where)
        return kill_workers(
            kills,
            S3_POINTS,
            seconds,
            keys=60,
            largest=4 << 20,
            l2_cache_type="s3",
            s3_endpoint=stub.endpoint,
            s3_bucket=BUCKET,
            s3_region=REGION,
            s3_credentials_file=secret,
            spill_file_max_size_mb=8,
        )


def kill_workers_with_large_values(kills, seconds=3600):
    """As kill_workers(), with values that are read while they come from disk, most of which have a
    segment of their own there."""
    return kill_workers(kills, LARGE_POINTS, seconds, keys=240, largest=4 << 20, spill_file_max_size_mb=1)


def kill_workers_on_directory(kills, seconds=3600):
    with tempfile.TemporaryDirectory() as folder:
        add_garbage(f"dir={folder}")
        return kill_workers(kills, POINTS, seconds, sfs_path=folder)


def add_garbage(*where):
    """Expired objects: a collection removes them, unless it is killed first."""
    words = [w for i in range(GARBAGE) for w in ("--", "expire", f"garbage{i}", "1", "1000")]
    subprocess.run([BIN / "l2_tool", *where, *words[1:]], check=True, capture_output=True, timeout=60)


def kill_nodes(cycles, seconds_up=0.8):
    """Kills workers at failpoints for a moment, then keeper and worker, so that memory is lost, and
    starts another node on the same directories; all keys are looked at. Every other node has a disk
    that is slow, so that much is on its way there at the end. Returns {point: kills}."""
    specs = [spec_of(NODE_POINTS), spec_of(NODE_POINTS) + ";" + SLOW]
    with tiered_node({"DS_FAILPOINTS": specs[0]}) as node:
        load = Load(node, keys=400)
        for i in range(cycles):
            time.sleep(random.uniform(0.3, 1) * seconds_up)
            load.tell("fall")
            time.sleep(random.uniform(0, 0.1))
            kill_whole(node)
            node.node_env["DS_FAILPOINTS"] = specs[(i + 1) % 2]
            start_again(node)
            print(load.tell("risen"), end="")
        print(load.end())
        return node.fired()


EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = struct.pack("I", 2)


@contextlib.contextmanager
def small_disk(mib=1024):
    """A folder on a file system of its own, in this mount namespace. mount() again after the power
    failed: its journal is replayed, and what was not synced is gone."""
    with tempfile.TemporaryDirectory(prefix="dsfault", dir="/tmp") as folder:
        image, disk = Path(folder) / "image", Path(folder) / "disk"
        disk.mkdir()
        with image.open("wb") as file:
            file.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)

        def mount():
            subprocess.run(["mount", "-o", "loop", image, disk], check=True, capture_output=True)

        mount()
        try:
            yield disk, mount
        finally:
            subprocess.run(["umount", "-l", disk], check=True, capture_output=True)


def fail_power(disk):
    fd = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
    finally:
        os.close(fd)


def is_still(pid):
    """Whether all threads of a stopped process have left the kernel. io_uring's are not stopped."""
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            name, state = path.read_text().split("(", 1)[1].rsplit(")", 1)
            if state.split()[0] not in ("S" if name.startswith("iou-") else "T"):
                return False
    return True


def hold_still(node, at_most_s=2):
    """Stops the worker where no sync is under way: ext4 tells one that its shutdown overtakes that it
    was done, though it was not. A program that does nothing but pwrite() and fdatasync() loses what
    was answered last in one of ten shutdowns."""
    worker = node.worker()
    node.kill(worker, signal.SIGSTOP)
    end = time.monotonic() + at_most_s
    while not is_still(worker) and time.monotonic() < end:
        time.sleep(0.003)


def unmount(disk):
    return subprocess.run(["umount", disk], check=False, capture_output=True).returncode == 0


def lose_power(cycles, seconds_up=0.8):
    """As kill_nodes(), but the file system of all directories is shut down first: what was not synced
    is lost. In a mount namespace of its own (unshare -m)."""
    with small_disk() as (disk, mount):
        node = tiered_node(spill_directory=disk / "spill", sfs_path=disk / "l2")
        with node:
            load = Load(node, keys=400)
            for _ in range(cycles):
                time.sleep(random.uniform(0.3, 1) * seconds_up)
                load.tell("dark")
                time.sleep(random.uniform(0, 0.1))
                hold_still(node)
                fail_power(disk)
                kill_whole(node)
                wait_until(lambda: unmount(disk), "the end of all that has files open")
                mount()
                start_again(node)
                print(load.tell("risen"), end="", flush=True)
            print(load.end())
            stop(node)


def kill_whole(node):
    """As Node.kill_both(), for a worker that dies by itself as well: of a keeper that stands still,
    each child is known, also one that is no dsworker yet."""
    keeper = node.keeper()
    node.kill(keeper, signal.SIGSTOP)
    wait_until(lambda: node.stat(keeper)[:1] == ["T"], "the stop of the keeper")
    for pid in node.children(keeper):
        node.kill(pid)
    node.kill(keeper)
    wait_until(lambda: not node.processes(), "the end of keeper and worker")


def stop(node):
    done = node.dscli("stop", "--worker_address", node.address)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: not node.processes(), "the end of the node")


def start_again(node):
    done = node.start()
    assert done.returncode == 0, done.stdout + done.stderr


def with_disk_errors(spec, seconds, keys=KEYS, **flags):
    """A load on a node whose disk answers as `spec` says, from its second start on. Returns the
    figures of the load, how often each point fired, and how often the breaker of second-level storage
    opened (at the beginning of the load, with BREAKS); it must have closed again."""
    with tiered_node(**flags) as node:
        stop(node)
        node.node_env["DS_FAILPOINTS"] = spec
        start_again(node)
        worker = node.worker()
        for _ in range(FAILURES if BREAKS in spec else 0):
            assert node.run("scenes", "through", 1).returncode != 0
        load = Load(node, keys=keys, errors=True)
        time.sleep(seconds)
        figures = load.figures()
        fired = node.fired()
        print(spec, figures, fired, load.end())
        assert node.worker() == worker, "the worker did not survive errors of its disk"
        trips = status(node)["l2_trips"]
        wait_until(lambda: is_answering(node), "an answer of second-level storage", 40)
        return figures, fired, trips


# What the threads of the disk and of second-level storage do, and nobody else: held, it is as slow as
# can be.
HELD = {
    "writes": "slog.write.before",
    "writes of second-level storage": "l2.dir.before_sync",
    "reads": "sys.pread",
}


def others(load):
    """What was done by the clients that use the disk."""
    figures = load.figures()
    return figures["ops"] - figures["hot"]


def hold_the_disk(point, hot):
    """A load waits for a disk that does nothing, until all its clients wait and the one that uses memory
    only has done so many sets and gets meanwhile. Then it goes on."""
    with tiered_node({"DS_FAILPOINTS": f"dsworker:{point}=hold"}) as node:
        load = Load(node, keys=100)
        hold = node.fired_path.with_suffix(".hold")
        hold.touch()

        def stands():
            before, end = others(load), load.figures()["hot"] + hot
            wait_until(lambda: load.figures()["hot"] >= end, f"{hot} sets and gets in memory", 60)
            return others(load) <= before + 1  # the figures are not of one moment

        try:
            wait_until(stands, "the wait of all others", 60)
            assert point in node.fired(), node.fired()
        finally:
            hold.unlink()
        end = others(load) + 100
        wait_until(lambda: others(load) > end, "the rest of the load")
        assert load.figures()["violations"] == 0
        load.process.kill()


def status(node):
    done = node.dscli("status", "--worker_address", node.address, "--json")
    return json.loads(done.stdout)


def is_answering(node):
    """Second-level storage, as far as the worker knows: a question that it alone can answer is asked,
    which may be the one that an open breaker lets through."""
    node.dscli("exist", "--worker_address", node.address, "nobody")
    return status(node)["l2_breaker_open"] == 0
