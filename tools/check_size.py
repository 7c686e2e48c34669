#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Limits on shape: file <= 800 lines, function <= 70, line <= 100 columns, braces always.

tools/size-allowlist.txt names what may be longer, up to which length and why. With --report it
also prints, per module, functions, assertions per function and #if per 1,000 lines.
"""
import re
import sys

from csource import ROOT, allowlist, c_files, code_of, finish, line_of

FILE_LINES, FUNCTION_LINES, COLUMNS = 800, 70, 100
FOLDERS = ("src", "include", "tests", "bench", "demo", "python")
CONTROL = re.compile(r"\b(if|for|while|else|do)\b")
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.M)


def functions(code):
    """(name, first line, last line) of each block that opens with a brace in column 0."""
    lines = code.split("\n")
    start = None
    for i, line in enumerate(lines):
        if line == "{":
            start = i
        elif line.startswith("}") and start is not None:
            head = " ".join(lines[max(0, start - 8) : start])
            head = re.split(r"[;}]", head)[-1]
            name = re.search(r"(\w+)\s*\(\s*(\w*)", head)
            shown = name.group(2) if name and name.group(1).startswith("DS_TEST") else name
            yield (shown if isinstance(shown, str) else name and name.group(1)), start, i
            start = None


def after_parentheses(code, offset):
    """The offset behind the parentheses that open at or after `offset`."""
    depth = 0
    for i in range(code.index("(", offset), len(code)):
        depth += (code[i] == "(") - (code[i] == ")")
        if depth == 0:
            return i + 1
    return len(code)


def missing_braces(code):
    """Lines of control statements whose body has no braces."""
    code = DIRECTIVE.sub(lambda m: "\n" * m.group().count("\n"), code)
    for match in CONTROL.finditer(code):
        word, end = match.group(1), match.end()
        if word not in ("else", "do"):
            end = after_parentheses(code, end)
        rest = code[end:].lstrip()
        fine = rest.startswith("{") or (word == "else" and re.match(r"if\b", rest))
        if not fine and not (word == "while" and rest.startswith(";")):
            yield line_of(code, match.start())


def check_file(path, text, allowed):
    code = code_of(text)
    lines = text.count("\n")
    if lines > int(allowed.get(str(path), FILE_LINES)):
        yield f"{path}: {lines} lines"
    for name, first, last in functions(code):
        if last - first + 1 > int(allowed.get(f"{path}:{name}", FUNCTION_LINES)):
            yield f"{path}:{first + 1}: function {name} has {last - first + 1} lines"
    for number, line in enumerate(text.split("\n"), 1):
        if len(line.expandtabs(8)) > COLUMNS:
            yield f"{path}:{number}: {len(line)} columns"
    for number in missing_braces(code):
        yield f"{path}:{number}: braces are missing"


def violations(root):
    allowed = dict(allowlist(root / "tools/size-allowlist.txt", 2))
    files = c_files(root, *FOLDERS)
    return [v for p in files for v in check_file(p, (root / p).read_text(), allowed)]


def report(root):
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        codes = [code_of((root / p).read_text()) for p in c_files(root, f"src/{folder.name}")]
        lines = sum(c.count("\n") for c in codes)
        count = sum(1 for c in codes for _ in functions(c))
        asserts = sum(len(re.findall(r"\bDS_ASSERT\w*\s*\(", c)) for c in codes)
        ifs = sum(len(re.findall(r"^\s*#\s*if", c, re.M)) for c in codes)
        if count:
            print(f"{folder.name:8} {lines:6} lines {count:5} functions"
                  f" {asserts / count:5.2f} asserts/function {1000 * ifs / lines:5.1f} #if/kLOC")


if __name__ == "__main__":
    if "--report" in sys.argv:
        report(ROOT)
    sys.exit(finish("size", violations(ROOT), f"{len(c_files(ROOT, *FOLDERS))} files"))
