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


def folder(name):
    """What `python -m yr.datasystem.sdk` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "yr.datasystem.sdk", name],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def tool(name):
    return shutil.which(name) or pytest.skip(f"no {name}")


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
    compiler = tool("cc")
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


@pytest.mark.parametrize("target", ["ds::ds", "ds::ds_static", "datasystem"])
def test_find_package_finds_the_package(target, tmp_path):
    cmake = tool("cmake")
    (tmp_path / "version.c").write_text(SOURCE)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.14)\nproject(example LANGUAGES C)\n"
        "find_package(ds 0.1 REQUIRED)\nadd_executable(version version.c)\n"
        f"target_link_libraries(version PRIVATE {target})\n"
    )
    build = tmp_path / "build"
    for command in (
        [cmake, "-S", tmp_path, "-B", build, f"-Dds_DIR={folder('--cmake-dir')}"],
        [cmake, "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([build / "version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == yr.datasystem.__version__


def test_pkg_config_finds_the_package(tmp_path):
    compiler, pkg_config = tool("cc"), tool("pkg-config")
    done = subprocess.run(
        [pkg_config, "--cflags", "--libs", "ds"],
        env={"PKG_CONFIG_PATH": folder("--pkgconfig-dir")},
        capture_output=True,
        text=True,
        check=True,
    )
    source, program = tmp_path / "version.c", tmp_path / "version"
    source.write_text(SOURCE)
    runpath = f"-Wl,-rpath,{folder('--library-dir')}"
    subprocess.run([compiler, source, *done.stdout.split(), runpath, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == yr.datasystem.__version__


def test_the_sdk_is_where_it_says():
    assert folder("--include-dir") == str(PACKAGE / "include")
    assert folder("--library-dir") == str(PACKAGE / "lib")


def test_the_extension_exports_nothing_else():
    nm = tool("nm")
    [module] = PACKAGE.glob("_ds.*.so")
    done = subprocess.run(
        [nm, "-D", "--defined-only", module], capture_output=True, text=True, check=True
    )
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["PyInit__ds"]


def test_type_information_is_installed():
    for name in ("py.typed", "__init__.pyi", "_ds.pyi"):
        assert (PACKAGE / name).exists()
