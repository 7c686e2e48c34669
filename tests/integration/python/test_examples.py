# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/, run as their users run them."""

import importlib.util
import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def run(name, *args):
    command = [sys.executable, EXAMPLES / name, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def safetensors_file(path, tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        offsets = [len(data), len(data) + len(value)]
        header[name] = {"dtype": "U8", "shape": [len(value)], "data_offsets": offsets}
        data += value
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)


@pytest.mark.parametrize("mode", ["through", "back"])
def test_a_checkpoint_survives_the_end_of_everything(start_worker, tmp_path, mode):
    tensors = {f"layer {i}": bytes([i]) * (1000 * i) for i in range(20)}  # one of them empty
    safetensors_file(tmp_path / "m.safetensors", tensors)
    flags = {"l2_cache_type": "sfs", "sfs_path": tmp_path / "l2", "spill_directory": tmp_path / "s"}
    flags.update(shared_memory_size_mb=64, spill_size_limit=1 << 28)
    worker = start_worker(**flags)
    at = ["--port", worker.port, "--mode", mode, "--shards", 2]
    done = run("checkpoint.py", "save", tmp_path / "m.safetensors", *at, "--shard", 0)
    assert done.returncode == 0, done.stderr
    assert "not all shards" in run("checkpoint.py", "commit", *at).stderr
    done = run("checkpoint.py", "save", tmp_path / "m.safetensors", *at, "--shard", 1)
    assert done.returncode == 0, done.stderr
    assert run("checkpoint.py", "commit", *at).returncode == 0
    worker.kill()
    worker = start_worker(**flags)
    done = run("checkpoint.py", "restore", "--port", worker.port)
    whole = zlib.crc32(b"".join(tensors[name] for name in sorted(tensors)))
    assert f"restored 20 tensors, 190000 bytes, crc32 {whole:08x}" in done.stdout, done.stderr


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_torch_checkpoint(start_worker, tmp_path):
    flags = {"l2_cache_type": "sfs", "sfs_path": tmp_path / "l2"}
    worker = start_worker(write_back_directory=tmp_path / "j", **flags)
    done = run("torch_checkpoint.py", worker.port)
    assert "loaded what was saved" in done.stdout, done.stderr
