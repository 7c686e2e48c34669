# SPDX-License-Identifier: Apache-2.0
"""Kill and disk-error campaigns of the tiers: a node whose memory is a fraction of the keys, with a
spill directory and a directory as second-level storage. fault_tiers is load and oracle."""
import random
import signal
import time

from node import Node, wait_until

# As campaigns.WORKER_POINTS: each kills one hit in n.
POINTS = {
    "demote.before_word": 200,
    "demote.spilled": 200,
    "install.before_word": 60,
    "install.live": 60,
    "install.moving": 60,
    "install.torn": 60,
    "l2.dir.after_rename": 300,
    "l2.dir.after_sync": 300,
    "l2.dir.before_ack": 300,
    "l2.dir.before_rename": 300,
    "l2.dir.before_sync": 300,
    "l2.dir.mid_write": 300,
    "load.live": 10,
    "publish.before_bucket": 1500,
    "publish.before_record": 1500,
    "publish.live": 1500,
    "reclaim.marked": 200,
    "recover.done": 40,
    "recover.entered": 40,
    "request.before_done": 4000,
    "request.item": 800,
    "slog.gc.unlink": 40,
    "slog.open.before": 30,
    "slog.open.mid": 30,
    "slog.recover.seal": 60,
    "slog.seal.after": 12,
    "slog.seal.before": 12,
    "slog.sync.after": 300,
    "slog.sync.before": 300,
    "slog.write.after": 300,
    "slog.write.before": 300,
    "slog.write.mid": 300,
    "spill.entered": 2000,
    "spill.placed": 200,
    "unpublish.doomed": 1500,
    "upload.marked": 200,
}
SLOW = "dsworker:sys.pwrite=sleep:30%3"
KILL_GAP_S = 0.25
CLIENTS = 4
KEYS = 1000
LARGEST = 1 << 20
MEMORY_MB = 64


def spec_of(points, scale=1):
    return ";".join(f"dsworker:{name}=kill%{max(1, int(n * scale))}" for name, n in points.items())


def tiered_node(env=None, size_mb=MEMORY_MB, **flags):
    node = Node(size_mb, env=env)
    node.flags |= {
        "spill_directory": node.folder / "spill",
        "spill_size_limit": "512M",
        "spill_file_max_size_mb": 4,
        "l2_cache_type": "sfs",
        "sfs_path": node.folder / "l2",
        **flags,
    }
    return node


class Load:
    """A running fault_tiers."""

    def __init__(self, node, keys=KEYS, largest=LARGEST, errors=False):
        self.node = node
        self.process = node.spawn(
            "tiers", CLIENTS, keys, largest, *(["errors"] if errors else [])
        )
        assert self.process.stdout.readline() == "running\n"

    def tell(self, command):
        """The answer to a command; what is printed before it is a violation."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        first = {"fall": "falling", "risen": "found", "figures": "ops"}[command]
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


def kill_workers(kills, points=None, seconds=3600):
    """Kills the worker at failpoints and at random under load, until it was killed so often. The
    memory stays: nothing that was acknowledged may be lost. Returns (kills, {point: kills})."""
    env = {"DS_FAILPOINTS": spec_of(points or POINTS)}
    with tiered_node(env) as node:
        load = Load(node, keys=400) # a last look at all of them meets kills too
        keeper = node.keeper()
        at_random = 0
        end = time.monotonic() + seconds
        while at_random + sum(node.fired().values()) < kills and load.alive():
            assert time.monotonic() < end, f"only {at_random} + {node.fired()} kills"
            time.sleep(random.uniform(0.01, KILL_GAP_S))
            if random.random() < 0.5:
                for pid in node.children(keeper):
                    at_random += node.kill(pid)
        last = load.end()
        assert node.keeper() == keeper, "the keeper died"
        check_no_damage(node)
        fired = node.fired()
        total = at_random + sum(fired.values())
        print(f"{total} kills, {at_random} of them at random: {fired}", last)
        return total, fired


def kill_nodes(cycles, seconds_up=0.8):
    """Kills workers at failpoints for a moment, then keeper and worker, so that memory is lost, and
    starts another node on the same directories; all keys are looked at. Every other node has a disk
    that is slow, so that much is on its way there at the end. Returns {point: kills}."""
    specs = [spec_of(POINTS), spec_of(POINTS) + ";" + SLOW]
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
    figures of the load and how often each point fired."""
    with tiered_node(**flags) as node:
        stop(node)
        node.node_env["DS_FAILPOINTS"] = spec
        start_again(node)
        worker = node.worker()
        load = Load(node, keys=keys, errors=True)
        time.sleep(seconds)
        figures = load.figures()
        fired = node.fired()
        print(spec, figures, fired, load.end())
        assert node.worker() == worker, "the worker did not survive errors of its disk"
        return figures, fired
