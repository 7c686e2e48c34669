# SPDX-License-Identifier: Apache-2.0
"""Parts and copies of large values, while these come from a slow disk."""
import pytest

from node import Node, check_output

SLOW = "dsworker:slog.read.piece=sleep:20"  # of 1 MiB


@pytest.mark.parametrize("scene", ["damage", "copy", "change", "kill"])
def test_scene(failpoints, scene):
    node = Node(64, env={"DS_FAILPOINTS": SLOW})
    node.flags |= {
        "spill_directory": node.folder / "spill",
        "spill_size_limit": "1G",
        "spill_file_max_size_mb": 32,
    }
    with node:
        check_output(node.run("parts", scene, node.folder / "spill"))
