#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names and symbols. Usage: check_names.py [build folder, default build/dev]

In the objects of src: each global symbol starts with ds_ (main apart), and no variable is mutable
unless tools/globals-allowlist.txt names it with a reason. In the sources: header guards
DS_<DIR>_<FILE>_H, the SPDX line, no banned function; only base calls the OS and the allocator.
"""
import re
import subprocess
import sys
from pathlib import Path

from csource import ROOT, allowlist, c_files, code_of, finish, line_of

FOLDERS = ("src", "include", "tests", "bench", "demo", "python")
BANNED = "strcpy strcat sprintf strtok gmtime localtime atoi rand alloca"
BASE_ONLY = "malloc calloc realloc mmap socket"
SPDX = "SPDX-License-Identifier: Apache-2.0"
SYMBOL = re.compile(r"^[0-9a-f]+ (.{7}) (\S+)\t[0-9a-f]+ +(?:\.\w+ )?(\S+)$", re.M)
MUTABLE = re.compile(r"\.(data|bss|tdata|tbss)\b(?!\.rel\.ro)|\*COM\*")


def calls(code, names):
    return re.finditer(rf"(?<![\w.>])({'|'.join(names.split())})\s*\(", code)


def guard_of(path):
    """A pattern. src/shm/ring.h: DS_SHM_RING_H; include/ds/kv.h: DS_KV_H; bench: DS_..._KV_H."""
    parts = path.parts[1:] if path.parts[0] in ("src", "include", "tests") else path.parts[-1:]
    words = re.sub(r"\W", "_", "/".join(parts)).upper().removeprefix("DS_")
    return "DS_" + words if len(parts) > 1 else rf"DS_(?:\w+_)?{words}"


def check_source(path, text):
    code = code_of(text)
    if SPDX not in "".join(text.splitlines(True)[:3]):
        yield f"{path}:1: no line '{SPDX}'"
    if path.suffix == ".h":
        guard = guard_of(path)
        if not re.search(rf"^#ifndef ({guard})\n#define \1\n", text, re.M):
            yield f"{path}: the header guard is not {guard}"
    for match in calls(code, BANNED):
        yield f"{path}:{line_of(code, match.start())}: {match.group(1)} is banned"
    if path.parts[0] == "src" and path.parts[1] != "base":
        for match in calls(code, BASE_ONLY):
            yield f"{path}:{line_of(code, match.start())}: {match.group(1)} outside base"


def check_symbols(source, table, allowed):
    """`table` is the output of objdump -t for the object of `source`."""
    for flags, section, name in SYMBOL.findall(table):
        variable = re.sub(r"\.\d+$", "", name)  # a static of a function: name.0
        variable_here = bool(MUTABLE.match(section)) and "d" not in flags  # d: the section itself
        if section == "*UND*" or not (variable_here or flags[-1] in "FO"):
            continue
        if flags[0] != "l" and not name.startswith("ds_") and name != "main":
            yield f"{source}: global symbol {name} does not start with ds_"
        if variable_here and (source, variable) not in allowed:
            yield f"{source}: mutable variable {variable}"


def object_files(root, build):
    """(source, object) for the objects under build/src whose source still exists."""
    for obj in sorted(build.glob("src/*/CMakeFiles/*.dir/**/*.o")):
        module, _, _, *rest = obj.relative_to(build / "src").parts
        source = Path("src", module, *rest).with_suffix("")
        if (root / source).exists():
            yield source, obj


def violations(root, build):
    allowed = set(allowlist(root / "tools/globals-allowlist.txt", 2))
    found = []
    for path in c_files(root, *FOLDERS):
        found += check_source(path, (root / path).read_text())
    for source, obj in object_files(root, build):
        table = subprocess.run(["objdump", "-t", obj], capture_output=True, text=True, check=True)
        found += check_symbols(str(source), table.stdout, allowed)
    return found


if __name__ == "__main__":
    build_folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/dev").resolve()
    objects = len(list(object_files(ROOT, build_folder)))
    sys.exit(finish("names", violations(ROOT, build_folder), f"{objects} objects"))
