#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs all suites in order and counts. The last line is "N passed, N failed".

Suites: tools (each tools/check_*.py is one check), ctest (one per TAP line of the C tests), fuzz and
tsan (those C tests of the builds of that name that say something new there), and pytest in each
folder tests/* that holds test_*.py, with DS_BUILD_DIR naming the build. Failures are shown where
they happen. Usage: run_tests.py [--preset dev] [suite ...]
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAP = re.compile(r"^(ok|not ok) \d+[^#\n]*(# SKIP)?", re.M)
SLOWDOWN = {"asan": "3", "tsan": "5"}  # of the C tests' own time limits
# What of other builds is worth its time in every run: ctest's options.
SELECTED = {"fuzz": ("-L", "^fuzz$"), "tsan": ("-R", "^unit/store/stress$")}


def tap_counts(text, passed):
    """Counts the TAP lines of one ctest test; `passed` is ctest's own verdict on it."""
    counts = Counter()
    for verdict, skip in TAP.findall(text):
        counts["failed" if verdict == "not ok" else "skipped" if skip else "passed"] += 1
    if not passed and counts["failed"] == 0:
        counts["failed"] = 1  # a crash of the runner, a time-out, a missing program
    return counts or Counter(passed=1)


def junit_cases(path):
    return ElementTree.parse(path).iter("testcase") if path.exists() else ()


def ctest_counts(path):
    counts = Counter()
    for case in junit_cases(path):
        if case.find("skipped") is not None and case.get("status") != "fail":
            text = case.findtext("system-out") or ""
            counts += tap_counts(text, True) if TAP.search(text) else Counter(skipped=1)
        else:
            passed = case.get("status") == "run" and case.find("failure") is None
            counts += tap_counts(case.findtext("system-out") or "", passed)
    return counts


def pytest_counts(path):
    counts = Counter()
    for case in junit_cases(path):
        kinds = {child.tag for child in case}
        bad = kinds & {"failure", "error"}
        counts["failed" if bad else "skipped" if "skipped" in kinds else "passed"] += 1
    return counts


def run_tools(build, _):
    counts = Counter()
    for tool in sorted((ROOT / "tools").glob("check_*.py")):
        args = [build] if tool.stem == "check_names" else []
        done = subprocess.run([sys.executable, tool, *args], check=False)
        counts["failed" if done.returncode else "passed"] += 1
    return counts


def run_ctest(build, report, select=()):
    command = ["ctest", "--test-dir", build, "--output-on-failure", *select]
    command += ["--parallel", str(os.cpu_count())]
    command += ["--no-tests=error" if select else "--no-tests=ignore"]
    command += ["--test-output-size-passed", "10000000", "--test-output-size-failed", "10000000"]
    slowdown = max(os.environ["DS_TEST_SLOWDOWN"], SLOWDOWN.get(build.name, "1"), key=float)
    env = {**os.environ, "DS_TEST_SLOWDOWN": slowdown}
    done = subprocess.run([*command, "--output-junit", report], env=env, check=False)
    return at_least_one_failure(ctest_counts(report), done.returncode)


def run_selected(preset, select):
    def run(_, report):
        return run_ctest(ROOT / "build" / preset, report, select)

    return run


def run_pytest(folder):
    def run(_, report):
        command = [sys.executable, "-m", "pytest", folder, f"--junitxml={report}"]
        done = subprocess.run(command, check=False)
        return at_least_one_failure(pytest_counts(report), done.returncode)

    return run


def at_least_one_failure(counts, returncode):
    if returncode != 0 and counts["failed"] == 0:
        counts["failed"] = 1
    return counts


def suites():
    found = {"tools": run_tools, "ctest": run_ctest}
    found |= {name: run_selected(name, select) for name, select in SELECTED.items()}
    for folder in sorted((ROOT / "tests").iterdir()):
        if folder.is_dir() and any(folder.rglob("test_*.py")):
            found[f"tests/{folder.name}"] = run_pytest(folder)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--preset", default="dev")
    parser.add_argument("suite", nargs="*", help="tools, ctest, tests/<folder>; default: all")
    args = parser.parse_args()
    build = ROOT / "build" / args.preset
    os.environ["DS_BUILD_DIR"] = str(build)
    os.environ.setdefault("DS_TEST_SLOWDOWN", SLOWDOWN.get(args.preset, "1"))

    total = Counter()
    lines = []
    known = suites()
    for name in args.suite or known:
        print(f"== {name}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            counts = known[name](build, Path(scratch, "report.xml"))
        total += counts
        lines.append(f"{name:20} {counts['passed']:6} passed {counts['failed']:4} failed"
                     f" {counts['skipped']:4} skipped")
    print("== summary", *lines, sep="\n")
    print(f"{total['passed']} passed, {total['failed']} failed", flush=True)
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
