# SPDX-License-Identifier: Apache-2.0
"""dscli l2 over a directory and over the stub."""
import json
import os
import subprocess
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
