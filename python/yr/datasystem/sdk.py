# SPDX-License-Identifier: Apache-2.0
"""Where this package keeps the headers and libraries for programs in C and C++.

    cmake -S . -B build -Dds_DIR="$(python -m yr.datasystem.sdk --cmake-dir)"
    PKG_CONFIG_PATH="$(python -m yr.datasystem.sdk --pkgconfig-dir)" pkg-config --cflags --libs ds
"""

import argparse
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def include_dir() -> str:
    """The folder of ds/ds.h and datasystem/datasystem.h."""
    return str(_PACKAGE / "include")


def library_dir() -> str:
    """The folder of libds.so and libds.a; programs that are linked with the former need it in
    their runpath or in LD_LIBRARY_PATH."""
    return str(_PACKAGE / "lib")


def cmake_dir() -> str:
    """What ds_DIR is to be for find_package(ds)."""
    return str(_PACKAGE / "lib" / "cmake" / "ds")


def pkgconfig_dir() -> str:
    """What PKG_CONFIG_PATH is to have for pkg-config ds."""
    return str(_PACKAGE / "lib" / "pkgconfig")


def main() -> None:
    """Prints the folder that is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m yr.datasystem.sdk",
        description="Prints where the headers and libraries for programs in C and C++ are.",
    )
    group = parser.add_mutually_exclusive_group(required=True)
    for function in (include_dir, library_dir, cmake_dir, pkgconfig_dir):
        option = "--" + function.__name__.replace("_", "-")
        text = " ".join((function.__doc__ or "").split())
        group.add_argument(option, dest="folder", action="store_const", const=function(), help=text)
    print(parser.parse_args().folder)


if __name__ == "__main__":
    main()
