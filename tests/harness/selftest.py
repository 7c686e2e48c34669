#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that the harness reports failures: runs harness_bad and looks at what it says. TAP."""
import os
import subprocess
import sys

# test -> text that its report must contain, a|b: one of them; None: the test must pass
EXPECTED = {
    "passes": None,
    "skips": None,
    "check": "CHECK(1 + 1 == 3)",
    "check_eq": "40 + 2 == 43u: left 42, right 43",
    "check_eq_sign": "-1 == UINT64_MAX: left -1, right 18446744073709551615",
    "check_lt": "7 < 7: left 7, right 7",
    "check_ok": "CHECK_OK(-12): -12",
    "check_str": 'left "left"',
    "check_str_null": 'right "(NULL)"',
    "check_mem": "byte 2 of 3 differs",
    "in_thread": "1 == 2: left 1, right 2",
    "crashes": "signal 11|SEGV",
    "exits": "exit status 3",
    "hangs": "timed out after 1 s",
    "leaks_fd": "leaked descriptor 3: /dev/null",
    "leaks_block": "live blocks: 0 before, 1 after",
    "leaves_a_child": None,
}
program = sys.argv[1]
count = 0
failed = 0


def check(claim, ok, shown=""):
    global count, failed
    count += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {claim}")
    if not ok:
        print(shown)


def run(*args):
    env = {**os.environ, "DS_TEST_SLOWDOWN": "1"}  # the time-out below is 1 s in any build
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=100, env=env)


whole = run()
lines = whole.stdout.splitlines()
check("stdout is TAP only", len(lines) == len(EXPECTED) + 1, whole.stdout)
check("the plan comes first", lines[0] == f"1..{len(EXPECTED)}", whole.stdout)
check("the exit status is 1", whole.returncode == 1, str(whole.returncode))
check("-l lists all in order", run("-l").stdout.split() == list(EXPECTED), run("-l").stdout)
check("an unknown name is an error", run("nonsense").returncode == 2)

for number, (test, text) in enumerate(EXPECTED.items(), 1):
    status = "ok" if text is None else "not ok"
    suffix = " # SKIP no such device" if test == "skips" else ""
    line = f"{status} {number} - {test}{suffix}"
    check(f"{test}: reported as {status}", line in lines, whole.stdout)
    if text is not None:
        check(f"{test}: the report says why", any(t in whole.stderr for t in text.split("|")), whole.stderr)

check("a name runs one test without a fork", run("passes").stdout.endswith("ok 1 - passes\n"))
check("a failing one ends this process", run("check").returncode in (-6, 134))
check("a skipped one exits with 77", run("skips").returncode == 77)
check("a leak is seen without a fork", run("leaks_fd").returncode == 1)
print(f"1..{count}")
sys.exit(failed != 0)
