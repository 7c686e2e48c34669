# SPDX-License-Identifier: Apache-2.0
import check_size
import pytest


def function(lines, name="ds_f"):
    return f"int {name}(int a,\n         int b)\n{{\n" + "    a++;\n" * (lines - 2) + "}\n"


@pytest.mark.parametrize(
    "text, fault",
    [
        ("\n" * 800, None),
        ("\n" * 801, "801 lines"),
        (function(70), None),
        (function(71), "function ds_f has 71 lines"),
        (function(71).replace("int ds_f(int a,\n         int b)", "DS_TEST(a__b)"), "function a__b"),
        ("x" * 100 + "\n", None),
        ("x" * 101 + "\n", "101 columns"),
        ("    if (f(a)) {\n    } else if (b) {\n    } else {\n    }\n", None),
        ("    do {\n    } while (f(a));\n    for (;;) {\n    }\n", None),
        ("#if X\n#else\n#endif\n/* if only */\n", None),
        ("    if (f(a) && ')')\n        return;\n", ":1: braces are missing"),
        ("    if (a) {\n    } else\n        b();\n", ":2: braces are missing"),
        ("    for (;;)\n        b();\n", ":1: braces are missing"),
        ("    while (a)\n        b();\n", ":1: braces are missing"),
    ],
)
def test_limits(tree, text, fault):
    tree("src/base/a.c", text)
    found = check_size.violations(tree.root)
    assert len(found) == (fault is not None)
    assert all(fault in line for line in found)


def test_allowlist_gives_a_new_limit(tree):
    tree("tests/a.c", function(80))
    tree("tools/size-allowlist.txt", "tests/a.c:ds_f 80 a table as code\n")
    assert check_size.violations(tree.root) == []
    tree("tests/a.c", function(81))
    assert len(check_size.violations(tree.root)) == 1
