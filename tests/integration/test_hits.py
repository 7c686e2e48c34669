# SPDX-License-Identifier: Apache-2.0
"""Hits ask nobody: however many there are, the program makes no more system calls.

bench/run_all.sh reports the same count. DS_BUILD_DIR names the build (default: build/dev).
"""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DSBENCH = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build" / "dev")).resolve() / "bin" / "dsbench"
FEW, MANY = 1000, 101000
KINDS = 4  # of hits that dsbench makes so many of each
SPARE = 4000  # of one run more than of another: start, three for each hint of a set to a worker that sleeps


def system_calls(worker, hits, report):
    command = ["strace", "-f", "-c", "-U", "calls,name", "-o", report, DSBENCH, "latency"]
    command += ["--worker", worker.address, "--size-max", "64", "--rounds", "1"]
    done = subprocess.run([*command, "--hits", str(hits)], capture_output=True, text=True,
                          timeout=120, check=False)
    if done.returncode != 0 and "ptrace" in done.stderr.lower():
        pytest.skip(f"no process can be traced here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stdout + done.stderr
    text = report.read_text()
    return int(text.split()[-2]), text


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
@pytest.mark.skipif(not DSBENCH.exists(), reason="dsbench is not built")
def test_hits_make_no_system_calls(worker, tmp_path):
    few, _ = system_calls(worker, FEW, tmp_path / "few")
    many, text = system_calls(worker, MANY, tmp_path / "many")
    more = KINDS * (MANY - FEW)
    assert many - few < SPARE, f"{more} more hits made {many - few} more calls\n{text}"
