#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/c-api.md is what include/ds/*.h say. With --write it is made anew.

The reference is the headers' own text: the comment at the head of a file, then each declaration with
the comment above it. Nothing is written twice by hand.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "c-api.md"
HEADERS = ["types.h", "error.h", "client.h", "kv.h", "object.h"]
BLOCK = re.compile(r"^/\*(.*?)\*/\n", re.S | re.M)


def comment_text(raw):
    lines = [re.sub(r"^\s*\* ?", "", line).rstrip() for line in raw.strip("* \n").split("\n")]
    return "\n".join(lines).strip()


def declarations(text):
    """Pairs of (comment, code) in order; code without a comment belongs to the one before."""
    body = text.split("#endif", 1)[1] if 'extern "C"' in text else text
    body = re.sub(r'#ifdef __cplusplus.*?#endif\n', "", body, flags=re.S)
    for part in re.split(r"\n\s*\n", body):
        part = part.strip("\n")
        match = BLOCK.match(part + "\n")
        if match and match.end() < len(part):
            yield comment_text(match.group(1)), part[match.end() :]
        elif re.match(r"(DS_API|struct|enum|typedef|#define DS_)", part):
            yield "", part
        elif match and "---" in match.group(1):
            yield "### " + comment_text(match.group(1)).strip("- "), ""


def section(name):
    text = (ROOT / "include" / "ds" / name).read_text(encoding="utf-8")
    head = comment_text(BLOCK.findall(text)[1])
    lines = [f"## ds/{name}", "", "```text", head, "```", ""]
    for comment, code in declarations(text[text.index(head.split("\n")[-1][:20]) :]):
        code = re.sub(r"^DS_API (DS_MUST_USE )?", "", code, flags=re.M)
        if comment.startswith("### "):
            lines += [comment, ""]
            continue
        if code:
            lines += ["```c", code, "```", ""]
        if comment:
            lines += [comment, ""]
    return lines


def reference():
    lines = [
        "# C API",
        "",
        "Made from `include/ds/*.h` by `tools/check_docs.py --write`; do not edit. Include `<ds/ds.h>`",
        "for all of it, link with `-lds` (`pkg-config ds`, or `find_package(ds)` and `ds::ds`).",
        "",
    ]
    for name in HEADERS:
        lines += section(name)
    return "\n".join(lines).rstrip() + "\n"


def main():
    text = reference()
    if "--write" in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
    print("docs: c-api.md is current" if current else "docs: run tools/check_docs.py --write")
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main())
