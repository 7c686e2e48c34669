# SPDX-License-Identifier: Apache-2.0
"""What the demo programs share: their options and the row each adds to the table."""
import argparse
import json


def parser(description):
    """--host, --port and --row, with a program's docstring as its help."""
    p = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--host", default="127.0.0.1", help="the worker's host (127.0.0.1)")
    p.add_argument("--port", type=int, default=31501, help="the worker's port (31501)")
    p.add_argument("--row", metavar="FILE", help="append the result as a line of JSON to FILE")
    return p


def add_row(path, what, result, time, beside=""):
    """A row of the table that table.py prints; does nothing without a path."""
    if path:
        with open(path, "a", encoding="utf-8") as f:
            json.dump({"what": what, "result": result, "time": time, "beside": beside}, f)
            f.write("\n")


def ms(seconds):
    """0.0123 -> "12.3 ms"."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"
