# SPDX-License-Identifier: Apache-2.0
import subprocess

import check_names
import pytest

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def header(guard):
    return f"{SPDX}#ifndef {guard}\n#define {guard}\n#endif\n"


@pytest.mark.parametrize(
    "path, text, fault",
    [
        ("src/shm/ring.h", header("DS_SHM_RING_H"), None),
        ("include/ds/kv.h", header("DS_KV_H"), None),
        ("include/ds/ds.h", header("DS_DS_H"), None),
        ("tests/harness/ds_test.h", header("DS_HARNESS_DS_TEST_H"), None),
        ("bench/x/set.h", header("DS_BENCH_SET_H"), None),
        ("bench/x/set.h", header("BENCH_SET_H"), "the header guard is not DS_"),
        ("python/src/ds_py.h", header("DS_PY_H"), None),
        ("src/shm/ring.h", header("RING_H"), "the header guard is not DS_SHM_RING_H"),
        ("src/shm/ring.c", "int x;\n", "no line 'SPDX"),
        ("src/shm/ring.c", SPDX + "/* strcpy(a, b) */ char s[] = \"atoi(\";\n", None),
        ("src/shm/ring.c", SPDX + "x = my_rand(); p->rand(); gmtime_r(a, b);\n", None),
        ("src/shm/ring.c", SPDX + "\nx = rand();\n", ":3: rand is banned"),
        ("tests/unit/a.c", SPDX + "strcpy (a, b);\n", "strcpy is banned"),
        ("src/base/alloc.c", SPDX + "p = malloc(1);\n", None),
        ("src/shm/ring.c", SPDX + "p = malloc(1);\n", "malloc outside base"),
    ],
)
def test_sources(tree, path, text, fault):
    tree(path, text)
    found = check_names.violations(tree.root, tree.root / "build")
    assert len(found) == (fault is not None)
    assert all(fault in line for line in found)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    "text, fault",
    [
        ("int ds_f(void) { return 1; }", None),
        ("static int f(void) { return 1; } int main(void) { return f(); }", None),
        ("const char *const ds_names[] = {\"a\"};", None),  # .data.rel.ro
        ("int f(void) { return 1; }", "global symbol f does not start with ds_"),
        ("const int limit = 3;", "global symbol limit does not start with ds_"),
        ("int ds_x = 3;", "mutable variable ds_x"),
        ("int ds_x;", "mutable variable ds_x"),
        ("static int x; int ds_f(void) { return x++; }", "mutable variable x"),
        ("int ds_f(void) { static int calls; return calls++; }", "mutable variable"),
        ("_Thread_local int ds_x;", "mutable variable ds_x"),
    ],
)
def test_symbols(tree, compiler, text, fault):
    source = "src/base/a.c"
    objects = tree.root / "build/src/base/CMakeFiles/ds_base.dir"
    objects.mkdir(parents=True)
    tree(source, SPDX + text + "\n")
    command = [compiler, "-O1", "-fPIC", "-c", source, "-o", objects / "a.c.o"]
    subprocess.run(command, cwd=tree.root, check=True)

    found = check_names.violations(tree.root, tree.root / "build")
    assert len(found) == (fault is not None)
    assert all(fault in line for line in found)
    if fault and fault.startswith("mutable"):
        variable = found[0].split()[-1]
        tree("tools/globals-allowlist.txt", f"{source} {variable} set once at start\n")
        assert check_names.violations(tree.root, tree.root / "build") == []


def test_objects_of_deleted_sources_are_ignored(tree):
    tree("build/src/base/CMakeFiles/ds_base.dir/gone.c.o", "not even an object")
    assert check_names.violations(tree.root, tree.root / "build") == []
