# SPDX-License-Identifier: Apache-2.0
"""Second-level storage refuses or is away: memory is served all the same, and nothing is lost or made up."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from yr.datasystem.errors import DsError
from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import WriteMode

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "l2"))
from s3_stub import ACCESS, BUCKET, REGION, SECRET, Stub  # noqa: E402

THROUGH = WriteMode.WRITE_THROUGH_L2_CACHE
BACK = WriteMode.WRITE_BACK_L2_CACHE
KEYS = [f"k{i}" for i in range(40)]
MORE = [f"m{i}" for i in range(20)]


def value(key, size=3000):
    return (hashlib.sha256(key.encode()).digest() * (size // 32 + 1))[:size]


def client(worker, timeout_ms=3000):
    kv = KVClient(worker.host, worker.port, req_timeout_ms=timeout_ms)
    kv.init()
    return kv


def figures(worker):
    return json.loads(worker.dscli("status", "--json", "-w", worker.address))


def kill_worker(worker, eventually):
    before = figures(worker)["worker_pid"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: figures(worker)["worker_pid"] not in (0, before))


def upgrade_worker(worker, eventually):
    del eventually
    worker.dscli("upgrade", "-w", worker.address)


def refusal(call, *args):
    with pytest.raises(DsError) as failed:
        call(*args)
    return str(failed.value)


class Expired:
    """The store takes no credentials any more."""

    reason = "the credentials have expired"
    moved = False

    def __init__(self, stub, tmp_path, code=(400, "ExpiredToken")):
        self.stub, self.code = stub, code
        secret = tmp_path / "credentials"
        secret.write_text(f"[default]\naws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n")
        self.flags = {"l2_cache_type": "s3", "s3_endpoint": stub.endpoint, "s3_bucket": BUCKET,
                      "s3_region": REGION, "s3_credentials_file": secret}  # fmt: skip

    def away(self):
        self.stub.fault("status", times=10**9, value=self.code)

    def back(self):
        self.stub.faults.clear()


class NoBucket(Expired):
    reason = "there is no such bucket"

    def __init__(self, stub, tmp_path):
        super().__init__(stub, tmp_path, (404, "NoSuchBucket"))


class NoCredentials(Expired):
    """Besides, the file with the credentials is gone: not even a request can be signed."""

    reason = "cannot read the credentials file"

    def away(self):
        super().away()
        self.file = self.flags["s3_credentials_file"]
        self.file.rename(self.file.with_suffix(".away"))

    def back(self):
        super().back()
        self.file.with_suffix(".away").rename(self.file)


class Removed:
    reason = "cannot open directory"
    moved = True  # who has it open writes on into it

    def __init__(self, _, tmp_path):
        self.path = tmp_path / "l2"
        self.flags = {"l2_cache_type": "sfs", "sfs_path": self.path}

    def away(self):
        self.path.rename(self.path.with_suffix(".away"))

    def back(self):
        assert not self.path.exists(), "it is not for the worker to make"
        self.path.with_suffix(".away").rename(self.path)


class LostMount(Removed):
    """What lies below a mount point is empty."""

    reason = "is empty: mount what belongs there"

    def away(self):
        super().away()
        self.path.mkdir()

    def back(self):
        self.path.rmdir()  # nothing was made in it
        super().back()


class NoDirectory(Removed):
    def away(self):
        super().away()
        self.path.write_text("not a directory")

    def back(self):
        self.path.unlink()
        super().back()


@pytest.fixture(name="storage", params=[Expired, NoBucket, NoCredentials, Removed, LostMount, NoDirectory])
def storage_fixture(request, tmp_path):
    with Stub() as stub:
        yield request.param(stub, tmp_path)


@pytest.mark.parametrize("end_worker", [kill_worker, upgrade_worker])
def test_memory_outlives_a_storage_that_refuses_a_new_worker(start_worker, storage, end_worker, tmp_path, eventually):
    flags = {"shared_memory_size_mb": 64, "write_back_directory": tmp_path / "journal", **storage.flags}
    worker = start_worker(**flags, log_dir=tmp_path)
    log = tmp_path / "datasystem_worker.INFO.log"
    with client(worker) as kv:
        kv.set("through", b"value", THROUGH)
        kv.set("memory", b"alone")
        kv.set("below", b"value", THROUGH)
        storage.away()
        for key in KEYS:
            kv.set(key, value(key), BACK)
        told = len(log.read_text())
        end_worker(worker, eventually)
        assert figures(worker)["restarts"] == 1
        for _ in range(2):
            assert kv.get(["through", "memory", *KEYS]) == [b"value", b"alone", *map(value, KEYS)]
            for missing in "never", "elsewhere":  # there may be one
                assert "Key not found" not in refusal(kv.get, [missing])
                refusal(kv.exist, [missing])
        refusal(kv.set, "through", b"newer", THROUGH)
        assert kv.get(["through"]) == [b"value"]
        refusal(kv.delete, ["below"])
        for key in MORE:
            kv.set(key, value(key), BACK)
        waiting = figures(worker)["l2_waiting"]
        assert waiting == len(KEYS + MORE) or (storage.moved and waiting >= len(MORE))
        assert storage.reason in log.read_text()[told:]
        storage.back()
        eventually(lambda: figures(worker)["l2_waiting"] == 0)
        kv.set("through", b"newest", THROUGH)
        kv.delete(["below"])
        assert kv.exist(["below", "never"]) == [False, False]
    worker.kill()
    worker = start_worker(**{**flags, "write_back_directory": tmp_path / "fresh"})
    with client(worker) as kv:
        assert kv.get(["through", *KEYS, *MORE]) == [b"newest", *map(value, KEYS + MORE)]
        assert kv.exist(["below"]) == [False]


def test_a_new_node_whose_storage_refuses_does_not_start(start_worker, storage):
    if isinstance(storage, Removed) and not isinstance(storage, NoDirectory):
        pytest.skip("a directory is made")
    if isinstance(storage, NoDirectory):
        storage.path.mkdir()
    storage.away()
    with pytest.raises(AssertionError, match="credentials|bucket|cannot open directory"):
        start_worker(shared_memory_size_mb=64, **storage.flags)


class Busy(Expired):
    """The store is overloaded."""

    def __init__(self, stub, tmp_path):
        super().__init__(stub, tmp_path, (503, "SlowDown"))


class Hanging(Expired):
    """Connections are taken, but no request is answered."""

    def away(self):
        self.stub.fault("hang", times=10**9, value=0.3)


class Unheard(Expired):
    """What is put is there, but the answer is lost."""

    def away(self):
        self.stub.fault("cut after", "PUT", times=10**9)


class FullDirectory(Removed):
    moved = False

    def __init__(self, stub, tmp_path):
        super().__init__(stub, tmp_path)
        self.path.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", self.path], check=False, capture_output=True)
        if mounted.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode()[-200:]}")

    def away(self):
        with open(self.path / ".filler", "wb", buffering=0) as filler:
            with pytest.raises(OSError):
                while True:
                    filler.write(bytes(4096))

    def back(self):
        (self.path / ".filler").unlink()

    def end(self):
        subprocess.run(["umount", "-l", self.path], check=True)


@pytest.fixture(name="faulty", params=[Expired, Busy, Hanging, Unheard, FullDirectory])
def faulty_fixture(request, tmp_path):
    with Stub() as stub:
        faulty = request.param(stub, tmp_path)
        yield faulty
        if isinstance(faulty, FullDirectory):
            faulty.end()


@pytest.mark.parametrize("killed", [False, True])
def test_write_backs_that_met_a_fault_all_arrive(start_worker, faulty, killed, tmp_path, eventually):
    flags = {"shared_memory_size_mb": 64, "write_back_directory": tmp_path / "journal", **faulty.flags}
    worker = start_worker(**flags)
    with client(worker, 20000) as kv:
        for key in KEYS:
            kv.set(key, b"older", BACK)
        eventually(lambda: figures(worker)["l2_waiting"] == 0)
        faulty.away()
        for key in KEYS + MORE:
            kv.set(key, value(key), BACK)
        eventually(lambda: figures(worker)["l2_errors"] + figures(worker)["l2_retries"] > 0)
        if killed:
            kill_worker(worker, eventually)
        for key in KEYS[:10]:
            kv.set(key, value(key + "again"), BACK)
        want = [value(key + "again") for key in KEYS[:10]] + [value(key) for key in KEYS[10:] + MORE]
        assert kv.get(KEYS + MORE) == want
        assert figures(worker)["l2_waiting"] > 0
        faulty.back()
        eventually(lambda: figures(worker)["l2_waiting"] == 0, "the end of all uploads", 60)
    worker.kill()
    worker = start_worker(**{**flags, "write_back_directory": tmp_path / "fresh"})
    with client(worker, 20000) as kv:
        assert kv.get(KEYS + MORE) == want
