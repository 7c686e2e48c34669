# SPDX-License-Identifier: Apache-2.0
"""What the checkers share: the C files of the tree, their code without comments, allowlists."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def c_files(root, *folders, suffixes=(".c", ".h")):
    """Paths relative to root, sorted, of the C files under the folders that exist."""
    found = (p for f in folders for p in (root / f).rglob("*") if p.suffix in suffixes)
    return sorted(p.relative_to(root) for p in found)


def code_of(text):
    """The text with comments and literals emptied; every line keeps its number."""

    def blank(match):
        quote = match.group()[0]
        return quote * 2 if quote in "\"'" else " " + "\n" * match.group().count("\n")

    return _NOISE.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def allowlist(path, columns):
    """The rows of a file whose lines are `columns` words and a reason; '#' starts a comment."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        words = line.split("#")[0].split()
        if words and len(words) <= columns:
            raise SystemExit(f"{path}: no reason given: {line}")
        if words:
            rows.append(tuple(words[:columns]))
    return rows


def finish(name, violations, summary):
    """Prints and returns the exit status."""
    for violation in violations:
        print(violation)
    print(f"{name}: {len(violations)} violations. {summary}")
    return 1 if violations else 0
