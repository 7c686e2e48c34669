# SPDX-License-Identifier: Apache-2.0
"""The models of the shared-memory protocols pass, and each broken variant of them fails."""

import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "models" / "run"


@pytest.mark.timeout(900)
def test_protocols_pass_and_broken_variants_fail():
    missing = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    done = subprocess.run([RUN, "quick"], capture_output=True, text=True, check=False)
    print(done.stdout)
    bad = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert done.returncode == 0 and not bad, "\n".join(bad) or done.stderr
    assert len(done.stdout.splitlines()) >= 40
