# SPDX-License-Identifier: Apache-2.0
"""Makes tools/ importable and gives each test a small tree to plant a violation in."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))


@pytest.fixture
def tree(tmp_path):
    """tree(path, text) writes a file; tree.root is the folder."""

    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    write.root = tmp_path
    return write
