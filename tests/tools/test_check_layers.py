# SPDX-License-Identifier: Apache-2.0
import check_layers
import pytest


@pytest.mark.parametrize(
    "path, include, fault",
    [
        ("src/store/lru.c", '"shm/ring.h"', None),
        ("src/store/lru.c", '"store/lru.h"', None),
        ("src/store/lru.c", "<ds/kv.h>", None),
        ("src/store/lru.c", "<sys/socket.h>", None),
        ("src/store/lru.c", '"worker/worker.h"', "store (L2) must not use worker (L4)"),
        ("src/store/lru.c", "<worker/worker.h>", "store (L2) must not use worker (L4)"),
        ("src/shm/ring.c", '"net/loop.h"', "shm (L1) must not use net (L1)"),
        ("src/client/client.c", '"shm/ring.h"', None),
        ("src/client/client.c", '"store/lru.h"', "client (L4) must not use store (L2)"),
        ("src/store/lru.c", '"lru.h"', 'write "store/lru.h"'),
        ("src/store/lru.c", '"../base/log.h"', "'..' is not in the layer table"),
        ("src/strange/a.c", "<stdio.h>", "'strange' is not in the layer table"),
        ("include/ds/kv.h", "<ds/types.h>", None),
        ("include/ds/kv.h", '"base/log.h"', "a public header includes public headers only"),
    ],
)
def test_includes(tree, path, include, fault):
    tree(path, f"/* head */\n#include {include}\n")
    found = check_layers.violations(tree.root)
    assert len(found) == (fault is not None)
    assert all(fault in line for line in found)


def test_same_level_is_allowed_by_name_with_a_reason(tree):
    tree("src/shm/ring.c", '#include "device/device.h"\n')
    tree("tools/layers.txt", "device/device.h the table only\n")
    assert check_layers.violations(tree.root) == []
    tree("src/shm/ring.c", '#include "worker/worker.h"\n')
    tree("tools/layers.txt", "worker/worker.h higher up: not for this file to allow\n")
    assert len(check_layers.violations(tree.root)) == 1
    tree("tools/layers.txt", "device/device.h\n")
    with pytest.raises(SystemExit):
        check_layers.violations(tree.root)


def test_needs_follow_the_table(tree):
    tree("src/shm/CMakeLists.txt", "ds_module(shm\n  NEEDS base store\n  FILES\n    a.c\n)\n")
    assert check_layers.violations(tree.root) == ["src/shm/CMakeLists.txt: shm must not need store"]
