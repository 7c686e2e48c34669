# SPDX-License-Identifier: Apache-2.0
"""Clients and keys for the tests of the Python package."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import ObjectClient

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2] / "l2")]
from s3_stub import ACCESS, BUCKET, REGION, SECRET, Stub  # noqa: E402

_numbers = itertools.count()


@pytest.fixture(name="kv")
def kv_fixture(worker):
    with KVClient(worker.host, worker.port) as client:
        yield client


@pytest.fixture(name="objects")
def objects_fixture(worker):
    with ObjectClient(worker.host, worker.port) as client:
        yield client


@pytest.fixture(name="new_key")
def new_key_fixture(request):
    """new_key() gives a key that no other test uses."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)[:80]
    return lambda: f"{name}.{next(_numbers)}"


@pytest.fixture(name="key")
def key_fixture(new_key):
    return new_key()


@pytest.fixture(name="other_process")
def other_process_fixture(worker):
    """other_process(code) runs Python code in a new process that has `kv`; its output."""

    def run(code, *args):
        program = (
            "import sys\n"
            "from yr.datasystem.kv_client import KVClient\n"
            f"kv = KVClient({worker.host!r}, {worker.port})\n"
            "kv.init()\n" + code
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *args],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(name="stub")
def stub_fixture():
    with Stub() as stub:
        yield stub


@pytest.fixture(name="store")
def store_fixture(stub, tmp_path):
    """Flags of a worker over the object store of the stub."""
    secret = tmp_path / "credentials"
    secret.write_text(f"[default]\naws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n")
    return {
        "shared_memory_size_mb": 64,
        "l2_cache_type": "s3",
        "s3_endpoint": stub.endpoint,
        "s3_bucket": BUCKET,
        "s3_region": REGION,
        "s3_credentials_file": secret,
    }


@pytest.fixture(name="second", params=["directory", "s3"])
def second_fixture(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("store")
    return {"shared_memory_size_mb": 64, "l2_cache_type": "sfs", "sfs_path": tmp_path / "l2"}
