# SPDX-License-Identifier: Apache-2.0
"""What pip installs beside the modules: programs, headers and libraries."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import yr.datasystem

PACKAGE = Path(yr.datasystem.__file__).parent
SOURCE = """
#include <ds/ds.h>
#include <stdio.h>
int main(void)
{
    puts(ds_version());
    return 0;
}
"""


@pytest.mark.parametrize("name", ["dscli", "dskeeper", "dsworker", "dsbench"])
def test_programs_are_installed(name):
    program = Path(sys.executable).with_name(name)
    assert os.access(program, os.X_OK)


def test_dscli_has_the_packages_version():
    dscli = Path(sys.executable).with_name("dscli")
    done = subprocess.run([dscli, "version"], capture_output=True, text=True, check=True)
    assert yr.datasystem.__version__ in done.stdout


@pytest.mark.parametrize("library", ["libds.so", "libds.a"])
def test_a_c_program_builds_against_the_package(library, tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, program = tmp_path / "version.c", tmp_path / "version"
    source.write_text(SOURCE)
    subprocess.run(
        [compiler, f"-I{PACKAGE / 'include'}", source, PACKAGE / "lib" / library, "-pthread"]
        + ["-o", program],
        check=True,
    )
    done = subprocess.run(
        [program],
        env={"LD_LIBRARY_PATH": str(PACKAGE / "lib")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == yr.datasystem.__version__


def test_the_extension_exports_nothing_else():
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    [module] = PACKAGE.glob("_ds.*.so")
    done = subprocess.run(
        [nm, "-D", "--defined-only", module], capture_output=True, text=True, check=True
    )
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["PyInit__ds"]


def test_type_information_is_installed():
    for name in ("py.typed", "__init__.pyi", "_ds.pyi"):
        assert (PACKAGE / name).exists()
