# SPDX-License-Identifier: Apache-2.0
"""Fault tests need programs and failpoints: the presets dev, asan and tsan have both."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import node as node_module  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _programs():
    if not Path(node_module.program("load")).exists():
        pytest.fail(f"no {node_module.program('load')}: build first, or set DS_BUILD_DIR")


@pytest.fixture(name="failpoints")
def failpoints_fixture():
    if not node_module.has_failpoints():
        pytest.skip("this build has no failpoints")


@pytest.fixture(name="node")
def node_fixture():
    with node_module.Node(64) as node:
        yield node
