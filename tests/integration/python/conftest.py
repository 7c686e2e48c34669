# SPDX-License-Identifier: Apache-2.0
"""Clients and keys for the tests of the Python package."""

import itertools
import subprocess
import sys

import pytest

from yr.datasystem.kv_client import KVClient
from yr.datasystem.object_client import ObjectClient

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
