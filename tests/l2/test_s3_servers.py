# SPDX-License-Identifier: Apache-2.0
"""The S3 implementation against servers of others: rclone (in tools/requirements.txt), and moto where
it is installed (pip install 'moto[server]': 290 MB, so not there)."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build/dev")).resolve() / "bin/l2_tool"
ACCESS, SECRET, BUCKET = "some-access-key", "some/secret+key-1234567890", "bucket"
MIB = 1 << 20
ENV = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and "proxy" not in k.lower()}
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason=f"{TOOL} is not built")


def program(name):
    return shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, port, cwd):
    process = subprocess.Popen(command, cwd=cwd, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            assert process.poll() is None and time.monotonic() < end, f"{command[0]} did not start"
            time.sleep(0.02)


@pytest.fixture(name="server", params=["rclone", "moto_server"], scope="module")
def server_fixture(request, tmp_path_factory):
    found = program(request.param)
    if not found:
        pytest.skip(f"{request.param} is not installed")
    port, folder = free_port(), tmp_path_factory.mktemp("server")
    if request.param == "rclone":
        (folder / "data" / BUCKET).mkdir(parents=True)
        command = [found, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS},{SECRET}", str(folder / "data")]
    else:
        command = [found, "-H", "127.0.0.1", "-p", str(port)]
    process = start(command, port, folder)
    if request.param == "moto_server":
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")).close()
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


def run(server, *commands, **options):
    given = {"endpoint": server, "bucket": BUCKET, "access": ACCESS, "secret": SECRET, **options}
    words = []
    for command in commands:
        words += ["--"] * bool(words) + [str(w) for w in command]
    args = [f"{k}={v}" for k, v in given.items()]
    done = subprocess.run([TOOL, *args, *words], capture_output=True, text=True, timeout=120, check=False, env=ENV)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def codes(answers):
    return [a["rc"] for a in answers]


@pytest.mark.parametrize("size", [0, 100, 3 * MIB, 23 * MIB + 5])
def test_round_trip(server, tmp_path, size):
    source, got = tmp_path / "source", tmp_path / "got"
    source.write_bytes(os.urandom(size))
    answers = run(server, ("putfile", "a/../b c+(d)%'*", 1, source), ("get", "a/../b c+(d)%'*", got),
                  ("head", "a/../b c+(d)%'*"), prefix=f"round trip/{size}")  # fmt: skip
    assert codes(answers) == [0, 0, 0], answers
    assert got.read_bytes() == source.read_bytes()


def test_order_removal_and_gc(server):
    answers = run(server,
                  ("put", "k", 2, 10, 2), ("put", "k", 1, 11, 1), ("head", "k"), ("remove", "k", 3),
                  ("put", "k", 2, 10, 2), ("get", "k", "-"), ("put", "long" * 100, 4, 12, 4), ("list",), ("gc", 0),
                  ("put", "k", 5, 5, 5), ("head", "k"), prefix="order")  # fmt: skip
    listed = {a["key"]: a["version"] for a in answers if "key" in a}
    assert listed == {"k": 3, "long" * 100: 4}
    answers = [a for a in answers if "rc" in a]
    assert codes(answers) == [0, 2006, 0, 0, 2006, 3, 0, 0, 0, 0, 0], answers
    assert answers[2]["version"] == 2 and answers[8]["tombstones"] == 1 and answers[10]["version"] == 5


def test_many_keys_need_pages(server):
    puts = [("put", f"key {i}", 1, 1, i) for i in range(520)]
    answers = run(server, *puts, ("list",), prefix="many")
    assert len([a for a in answers if "key" in a]) == 520


def test_wrong_bucket_and_secret(server):
    answers = run(server, ("head", "k"), bucket="no-such-bucket")
    assert codes(answers)[0] in (2, 3, 9), answers
