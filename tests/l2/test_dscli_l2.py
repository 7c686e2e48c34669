# SPDX-License-Identifier: Apache-2.0
"""dscli l2 and status over a directory and over the stub."""
import json
import os
import shutil
import socket
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from s3_stub import ACCESS, BUCKET, REGION, SECRET, Stub

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build/dev")).resolve() / "bin"
DSCLI, TOOL = BIN / "dscli", BIN / "l2_tool"
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built")
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "DATASYSTEM_"))}


def l2(*args):
    return subprocess.run([DSCLI, "l2", *args], capture_output=True, text=True, timeout=60, check=False, env=ENV)


@pytest.fixture(name="storage", params=["dir", "s3"])
def storage_fixture(request, tmp_path):
    """(arguments of l2_tool, arguments of dscli, the stub or the directory)"""
    if request.param == "dir":
        path = tmp_path / "l2"
        yield [f"dir={path}"], ["-w", "--l2_cache_type", "sfs", "--sfs_path", str(path)], path
        return
    with Stub() as stub:
        secret = tmp_path / "credentials"
        secret.write_text(f"[default]\naws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n")
        config = {"l2_cache_type": "obs", "obs_endpoint": {"value": stub.endpoint, "description": ""}, "s3_bucket": BUCKET,
                  "s3_region": REGION, "s3_credentials_file": str(secret)}  # fmt: skip
        file = tmp_path / "worker_config.json"
        file.write_text(json.dumps(config))
        tool = [f"endpoint={stub.endpoint}", f"bucket={BUCKET}", f"region={REGION}", f"credentials={secret}"]
        yield tool, ["-f", str(file)], stub


def fill(tool):
    subprocess.run([TOOL, *tool, "put", "one key", "5", "100", "1", "--", "put", "two", "6", "7", "1",
                    "--", "remove", "gone", "9", "--", "expire", "old", "1", "1000"], check=True, capture_output=True)  # fmt: skip


def test_ls(storage):
    tool, args, _ = storage
    fill(tool)
    done = l2("ls", *args)
    assert done.returncode == 0 and done.stderr == ""
    rows = sorted(line.split() for line in done.stdout.splitlines())
    assert rows == [["expired", "1", "0", "old"], ["ok", "5", "100", "one\\x20key"], ["ok", "6", "7", "two"], ["removed", "9", "0", "gone"]]
    found = json.loads(l2("ls", "--json", *args).stdout)
    assert found["objects"] == 2 and found["value_bytes"] == 107 and found["removed"] == 1
    assert {e["key"]: e["version"] for e in found["entries"]} == {"one key": 5, "two": 6, "gone": 9, "old": 1}


def test_keys_are_bytes_and_may_be_chosen_by_their_prefix(storage):
    tool, args, _ = storage
    keys = [b"a\x01b", b"a\xff\xfeb", b"a b", b"other"]
    for key in keys:
        subprocess.run([TOOL, *tool, "put", key, "5", "10", "1"], check=True, capture_output=True)
    found = json.loads(l2("ls", "--json", *args).stdout)
    assert sorted(bytes.fromhex(e["key_hex"]) for e in found["entries"]) == sorted(keys)
    for prefix, n in (("a", 3), ("a\\x01", 1), ("a\\xff", 1), ("a\\x20b", 1), ("a b", 1), ("\\x", 0), ("none", 0)):
        found = json.loads(l2("ls", "--json", "--prefix", prefix, *args).stdout)
        assert len(found["entries"]) == found["objects"] == n, prefix
        assert json.loads(l2("verify", "--json", "--prefix", prefix, *args).stdout)["objects"] == n
    assert l2("gc", "--prefix", "a", *args).returncode == 2
    assert l2("ls", "--prefix", "a" * 1025, *args).returncode == 2


def test_verify_finds_damage(storage):
    tool, args, where = storage
    fill(tool)
    done = l2("verify", "--json", *args)
    assert done.returncode == 0 and json.loads(done.stdout)["objects"] == 2
    if isinstance(where, Stub):
        key = next(k for k in where.objects if "/k-two/" in k)
        data, when = where.objects[key]
        where.objects[key] = (data[:-1] + bytes([data[-1] ^ 1]), when)
    else:
        (path,) = where.glob("*/k-two")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    done = l2("verify", *args)
    assert done.returncode == 1 and "1 objects do not verify" in done.stderr
    assert "k-two" in done.stdout or "two" in done.stdout
    assert json.loads(l2("verify", "--json", *args).stdout)["corrupt"] == 1


def counts(command, args):
    """What it tells of a storage in which one object cannot be read, or removed."""
    done = l2(command, "--json", *args)
    assert done.returncode == 1 and "1 objects cannot be read or removed" in done.stderr
    return json.loads(done.stdout)


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path, monkeypatch):
    args = ["-w", "--l2_cache_type", "sfs", "--sfs_path", str(tmp_path / "l2")]
    fill([f"dir={tmp_path / 'l2'}"])
    with monkeypatch.context() as patch:
        patch.setitem(ENV, "DS_FAILPOINTS", "dscli:sys.pread=errno:5@3")  # two are of FORMAT
        done = l2("ls", *args)
        assert done.returncode == 1 and "unreadable" in done.stdout and len(done.stdout.splitlines()) == 4
        found = counts("ls", args)
        assert found["unreadable"] == 1 and len(found["entries"]) == 4
        found = counts("verify", args)
        assert found["objects"] + found["removed"] + found["expired"] == 3 and found["unreadable"] == 1
        found = counts("gc", args)
        assert found["expired"] + found["left"] == 4 and found["unreadable"] == 1
    assert json.loads(l2("gc", "--json", *args).stdout)["left"] == 3


def test_a_directory_that_cannot_be_read_hides_no_other(tmp_path, monkeypatch):
    args = ["-w", "--l2_cache_type", "sfs", "--sfs_path", str(tmp_path / "l2")]
    fill([f"dir={tmp_path / 'l2'}"])
    (path,) = tmp_path.glob("l2/*/k-two")
    path.parent.rename(tmp_path / "away")
    path.parent.write_text("not a directory")
    done = l2("ls", *args)
    assert done.returncode == 1 and path.parent.name in done.stderr and len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize("storage", ["s3"], indirect=True)
def test_an_object_that_is_denied_hides_no_other(storage):
    tool, args, stub = storage
    fill(tool)
    two, old = (next(k for k in stub.objects if f"/k-{name}/" in k) for name in ("two", "old"))
    stub.fault("status", "GET", times=10**9, value=(403, "AccessDenied"), path=two)
    assert [e["state"] for e in counts("ls", args)["entries"] if e["name"] in two] == ["unreadable"]
    found = counts("verify", args)
    assert found["objects"] == 1 and found["unreadable"] == 1
    stub.faults.clear()
    stub.fault("status", "DELETE", times=10**9, value=(403, "AccessDenied"), path=old)
    subprocess.run([TOOL, *tool, "expire", "other", "1", "1000"], check=True, capture_output=True)
    found = counts("gc", args)  # of an object under a lock
    assert found["expired"] == 1 and found["unreadable"] == 1 and old in stub.objects
    stub.faults.clear()
    assert json.loads(l2("gc", "--json", *args).stdout)["expired"] == 1


def test_gc(storage):
    tool, args, _ = storage
    fill(tool)
    found = json.loads(l2("gc", "--json", "--dry_run", *args).stdout)
    assert (found["tombstones"], found["expired"], found["left"]) == (0, 1, 3)
    found = json.loads(l2("gc", "--json", *args).stdout)
    assert (found["tombstones"], found["expired"], found["left"]) == (0, 1, 3)  # the tombstone is young
    found = json.loads(l2("gc", "--json", *args).stdout)
    assert (found["expired"], found["left"]) == (0, 3)


def test_wrong_usage(tmp_path):
    assert l2("ls").returncode == 1 and "no second-level storage is named" in l2("ls").stderr
    assert l2().returncode == 2
    done = l2("show", "-w", "--l2_cache_type", "sfs")
    assert done.returncode == 2 and "ls, verify or gc" in done.stderr
    done = l2("gc", "--age", "1min", "-w", "--l2_cache_type", "sfs", "--sfs_path", str(tmp_path))
    assert done.returncode == 2 and "at least 1h" in done.stderr
    done = l2("ls", "-w", "--l2_cache_type", "sfs", "--sfs_path", str(tmp_path / "none"))
    assert done.returncode == 1 and not (tmp_path / "none").exists()
    done = l2("ls", "-w", "--l2_cache_type", "s3", "--s3_endpoint", "http://127.0.0.1:1", "--s3_bucket", "b")
    assert done.returncode == 1 and "no bucket" in done.stderr


@pytest.fixture(name="dscli")
def dscli_fixture(tmp_path):
    """dscli(command, ...) about a worker of its own, which ends with the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"

    def call(command, *args):
        if command == "start":
            place = 2 if args[0] == "-f" else 0
            args = (*args[:place], "-w", "--worker_address", address, *args[place:])
        else:
            args = ("--worker_address", address, *args)
        return subprocess.run([DSCLI, command, *args], capture_output=True, text=True,
                              timeout=60, check=False, env=ENV, cwd=tmp_path)  # fmt: skip

    yield call
    call("stop")


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("age", [None, "1h", "3h"])
def test_tombstones_of_deleted_keys_stay_for_their_age(dscli, tmp_path, monkeypatch, age):
    with Stub() as stub:
        config = {"l2_cache_type": "s3", "s3_endpoint": stub.endpoint, "s3_bucket": BUCKET, "s3_region": REGION,
                  "s3_access_key": ACCESS, "s3_secret_key": SECRET, "shared_memory_size_mb": "64"}  # fmt: skip
        config |= {"l2_cache_tombstone_age": age} if age else {}
        file = tmp_path / "worker_config.json"
        file.write_text(json.dumps(config))
        subprocess.run([TOOL, f"endpoint={stub.endpoint}", f"bucket={BUCKET}", f"region={REGION}", f"access={ACCESS}",
                        f"secret={SECRET}", "remove", "gone", "5"], check=True, capture_output=True)  # fmt: skip
        ((name, (data, _)),) = stub.objects.items()
        two_hours_ago = datetime.now(timezone.utc) - timedelta(hours=2)
        stub.objects[name] = (data, two_hours_ago.strftime("%Y-%m-%dT%H:%M:%S.000Z"))
        monkeypatch.setitem(ENV, "DS_FAILPOINTS", "dsworker:l2.collect=errno:1@1")  # nobody waits for an hour
        done = dscli("start", "-f", str(file))
        assert done.returncode == 0, done.stderr
        walks = len([1 for _, query in stub.requests if "uploads=" in query])
        assert dscli("get", "nobody").returncode == 1
        # what was left unfinished is the last that a collection looks at
        wait_until(lambda: len([1 for _, query in stub.requests if "uploads=" in query]) > walks)
        assert list(stub.objects) == ([] if age == "1h" else [name])
        found = json.loads(l2("gc", "--json", "-f", str(file)).stdout)
        assert found["tombstones"] == 0 and len(stub.objects) == found["left"]


def test_status_shows_what_the_last_whole_collection_found(storage, dscli, monkeypatch):
    tool, args, where = storage
    fill(tool)
    # a collection after every other answer: nobody waits for an hour
    monkeypatch.setitem(ENV, "DS_FAILPOINTS", "dsworker:l2.collect=errno:1%2")
    done = dscli("start", *(args if args[0] == "-f" else args[1:]), "--shared_memory_size_mb", "64")
    assert done.returncode == 0, done.stderr

    def status():
        return json.loads(dscli("status", "--json").stdout)

    def driven(condition):
        return dscli("get", "nobody").returncode == 1 and condition(status())

    wait_until(lambda: driven(lambda now: now["l2_collections"] > 1))
    seen = status()
    names = ("l2_objects", "l2_gone", "l2_stored_bytes", "l2_collections", "l2_collected")
    left = json.loads(l2("gc", "--json", *args).stdout)
    assert (left["left"], seen["l2_stored_bytes"]) == (3, left["left_bytes"])
    assert (seen["l2_objects"], seen["l2_gone"], seen["l2_collected"]) == (2, 1, 1)
    assert 0 <= seen["l2_seen_ms"] < 60000
    table = dict((line[:14].strip(), line[15:].strip()) for line in dscli("status").stdout.splitlines())
    assert table["gone"] == "1" and table["seen before"].endswith(" s")
    if isinstance(where, Stub):
        assert seen["l2_capacity_bytes"] is None and table["l2"] == "unknown"
        errors = 1
        where.fault("status", "GET", times=10**9, value=(403, "AccessDenied"), query="max-keys=500")
    else:
        assert seen["l2_free_bytes"] <= seen["l2_capacity_bytes"]
        errors = 3  # of two gets, and of the collection that comes with one of them
        shutil.rmtree(where)
    wait_until(lambda: driven(lambda now: now["l2_errors"] >= seen["l2_errors"] + errors))
    after = status()
    assert [after[name] for name in names] == [seen[name] for name in names]
    assert after["l2_seen_ms"] > seen["l2_seen_ms"]


def test_status_counts_requests_retries_and_errors_of_a_worker(dscli, tmp_path):
    with Stub() as stub:
        secret = tmp_path / "credentials"
        secret.write_text(f"[default]\naws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n")
        done = dscli("start", "--shared_memory_size_mb", "64", "--l2_cache_type", "s3", "--s3_endpoint", stub.endpoint,
                     "--s3_bucket", BUCKET, "--s3_region", REGION, "--s3_credentials_file", str(secret))  # fmt: skip
        assert done.returncode == 0, done.stderr

        def status():
            found = json.loads(dscli("status", "--json").stdout)
            return [found[name] for name in ("l2_requests", "l2_retries", "l2_errors", "tier_errors")]

        assert status() == [0, 0, 0, 0]
        assert dscli("get", "nobody").returncode == 1
        requests, *others = status()
        assert requests >= 1 and others == [0, 0, 0]  # "not found" is an answer

        stub.fault("status", times=2, value=(503, "SlowDown"))
        assert dscli("get", "nobody").returncode == 1
        after, *others = status()
        assert after > requests and others == [2, 0, 0]

        stub.fault("status", times=1000, value=(403, "AccessDenied"))
        assert dscli("get", "nobody").returncode == 1
        last, _, errors, tier_errors = status()
        assert last > after and errors >= 1 and tier_errors >= 1
