#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Includes point downwards only (the layer table of docs/architecture.md).

A header of the same level may be included when tools/layers.txt names it with a reason. The client
lives in other people's processes and stops at L1; public headers include public headers only. The
NEEDS lines of src/*/CMakeLists.txt obey the same table.
"""
import re
import sys

from csource import ROOT, allowlist, c_files, finish, line_of

LEVELS = {
    "base": 0,
    "wire": 1, "shm": 1, "net": 1, "device": 1,
    "store": 2, "tier": 2, "cluster": 2,
    "repl": 3, "stream": 3, "http": 3,
    "worker": 4, "client": 4, "keeper": 4,
    "cli": 5,
}  # fmt: skip
CEILING = {"client": 1}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)
NEEDS = re.compile(r"ds_module\(\s*(\w+).*?NEEDS\s+((?:[a-z]+\s+)+)", re.S)


def is_public(header):
    return header.startswith(("ds/", "datasystem/"))


def may_use(module, other):
    """Whether code of `module` may use `other`, the exceptions for single headers apart."""
    below = LEVELS[other] < LEVELS[module]
    return other == module or (below and LEVELS[other] <= CEILING.get(module, 9))


def include_fault(module, quote, header, exceptions):
    """Why this include is wrong, or None."""
    other = header.split("/")[0]
    if is_public(header) or (quote == "<" and other not in LEVELS):
        return None
    if module is None:
        return "a public header includes public headers only"
    if "/" not in header:
        return f'write "{module}/{header}"'
    if other not in LEVELS:
        return f"'{other}' is not in the layer table"
    if may_use(module, other):
        return None
    if header in exceptions and LEVELS[other] == LEVELS[module]:
        return None
    return f"{module} (L{LEVELS[module]}) must not use {other} (L{LEVELS[other]})"


def check_file(root, path, exceptions):
    module = path.parts[1] if path.parts[0] == "src" else None
    if path.parts[0] == "src" and module not in LEVELS:
        return [f"{path}: folder '{module}' is not in the layer table"]
    text = (root / path).read_text()
    faults = []
    for match in INCLUDE.finditer(text):
        fault = include_fault(module, *match.groups(), exceptions)
        if fault:
            faults.append(f"{path}:{line_of(text, match.start())}: {match.group(2)}: {fault}")
    return faults


def check_needs(root):
    faults = []
    for path in sorted((root / "src").glob("*/CMakeLists.txt")):
        text = re.sub(r"#.*", "", path.read_text())
        for module, needs in NEEDS.findall(text):
            bad = [n for n in needs.split() if n not in LEVELS or not may_use(module, n)]
            faults += [f"{path.relative_to(root)}: {module} must not need {n}" for n in bad]
    return faults


def violations(root):
    exceptions = {header for (header,) in allowlist(root / "tools/layers.txt", 1)}
    files = c_files(root, "src", "include/ds")
    return [f for path in files for f in check_file(root, path, exceptions)] + check_needs(root)


if __name__ == "__main__":
    sys.exit(finish("layers", violations(ROOT), f"{len(c_files(ROOT, 'src', 'include'))} files"))
