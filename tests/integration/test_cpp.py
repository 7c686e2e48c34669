# SPDX-License-Identifier: Apache-2.0
"""The C++ API: each header alone, all of them in two translation units, and the programs of cpp/.

Each program is compiled with each compiler against the built libds and run against a worker; it
prints TAP and exits non-zero if a check failed. DS_BUILD_DIR names the build (default: build/dev).
DS_PEER_BENCH may name the folder of the neutral benchmark: then its adapter for the original has
to compile against these headers, too.
"""
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
PROGRAMS = Path(__file__).resolve().parent / "cpp"
BUILD = Path(os.environ.get("DS_BUILD_DIR", ROOT / "build" / "dev")).resolve()


def sanitizers():
    """Those of the build: a program that links its library must have the same runtime."""
    cache = BUILD / "CMakeCache.txt"
    text = cache.read_text(encoding="utf-8") if cache.exists() else ""
    found = re.search(r"^DS_SANITIZE:[^=]*=(.+)$", text, re.M)
    return (f"-fsanitize={found.group(1)}",) if found else ()


COMPILERS = ("g++",) if sanitizers() else ("g++", "clang++")
FLAGS = ("-std=c++17", "-g", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", *sanitizers())
OPTIMIZE = {"g++": "-O1", "clang++": "-O0"}  # gcc needs it for some of its warnings
STRICT = ("-Wpedantic", "-Wshadow", "-Wconversion")  # for the headers, not for the programs
HEADERS = sorted(str(h.relative_to(INCLUDE)) for h in (INCLUDE / "datasystem").rglob("*.h"))


def library_folder():
    found = sorted(BUILD.rglob("libds.so"))
    assert found, f"no libds.so in {BUILD}: build first"
    return found[0].parent


def run(*command, timeout=120):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    return done.returncode, done.stdout + done.stderr


def build_program(compiler, *sources, target):
    """Compiles and links; the compiler's complaint is the failure."""
    folder = library_folder()
    link = ("-pthread", f"-L{folder}", "-lds", f"-Wl,-rpath,{folder}")
    code, output = run(compiler, *FLAGS, OPTIMIZE[compiler], *sources, "-o", target, *link)
    assert code == 0, output
    return target


@pytest.mark.parametrize("header", HEADERS)
def test_header_compiles_alone(header, tmp_path):
    source = tmp_path / "alone.cpp"
    source.write_text(f'#include "{header}"\n#include "{header}"\n')
    code, output = run("clang++", *FLAGS, *STRICT, "-fsyntax-only", source)
    assert code == 0, output


@pytest.mark.parametrize("flags", [STRICT, ("-fno-exceptions", "-fno-rtti"), ("-std=c++20",)])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_headers_compile_together(compiler, flags, tmp_path):
    source = tmp_path / "all.cpp"
    source.write_text("".join(f'#include "{header}"\n' for header in HEADERS))
    code, output = run(compiler, *FLAGS, *flags, "-fsyntax-only", source)
    assert code == 0, output


def test_headers_go_into_several_translation_units(tmp_path):
    everything = "".join(f'#include "{header}"\n' for header in HEADERS)
    one, two = tmp_path / "one.cpp", tmp_path / "two.cpp"
    one.write_text(everything + "void *one() { return &datasystem::KVClient::EmbeddedInstance(); }")
    two.write_text(
        everything
        + "void *one();\n"
        + "int main() { return one() != &datasystem::KVClient::EmbeddedInstance(); }"
    )
    program = build_program("g++", one, two, target=tmp_path / "program")
    assert run(program) == (0, "")


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", sorted(p.stem for p in PROGRAMS.glob("*.cpp")))
def test_program(compiler, name, worker, tmp_path):
    program = build_program(compiler, PROGRAMS / f"{name}.cpp", target=tmp_path / name)
    code, output = run(program, f"{worker.host}:{worker.port}")
    failed = "\n".join(line for line in output.splitlines() if not line.startswith("ok "))
    assert code == 0, f"exit status {code}\n{failed}"
    count = len(re.findall(r"^ok \d+", output, re.M))
    assert f"1..{count}" in output.splitlines(), failed


@pytest.mark.skipif("DS_PEER_BENCH" not in os.environ, reason="DS_PEER_BENCH is not set")
@pytest.mark.parametrize("compiler", COMPILERS)
def test_peers_adapter_compiles(compiler, tmp_path):
    source = Path(os.environ["DS_PEER_BENCH"]) / "adapters" / "yr.cpp"
    code, output = run(compiler, *FLAGS, "-fPIC", "-c", source, "-o", tmp_path / "yr.o")
    assert code == 0, output


def test_an_installed_tree_serves_programs_written_for_the_original(tmp_path):
    """Their CMakeLists.txt links with "datasystem", from a folder or after find_package(ds)."""
    prefix = tmp_path / "installed"
    code, output = run("cmake", "--install", BUILD, "--prefix", prefix)
    assert code == 0, output
    library = next(prefix.rglob("libdatasystem.so"))
    source = tmp_path / "program"
    source.mkdir()
    (source / "main.cpp").write_text(
        '#include "datasystem/kv_client.h"\n'
        "int main() { return datasystem::KVClient().GenerateKey(\"k\") == \"k\" ? 0 : 1; }\n"
    )
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.14.1)\nproject(example LANGUAGES CXX C)\n"
        "set(CMAKE_CXX_STANDARD 17)\n"
        "if(FIND)\n  find_package(ds REQUIRED)\nelse()\n"
        f"  link_directories({library.parent})\n  include_directories({prefix}/include)\nendif()\n"
        "add_executable(example main.cpp)\ntarget_link_libraries(example PUBLIC datasystem)\n"
    )
    for find in ("OFF", "ON"):
        build = tmp_path / find
        for command in (
            ("cmake", "-S", source, "-B", build, f"-DFIND={find}", f"-DCMAKE_PREFIX_PATH={prefix}"),
            ("cmake", "--build", build),
            (build / "example",),
        ):
            code, output = run(*command)
            assert code == 0, output
    assert (prefix / "share/man/man1/dscli.1").exists()
    assert (prefix / "share/man/man8/dsworker.8").exists()
    completion = prefix / "share/bash-completion/completions/dscli"
    assert "complete " in completion.read_text()
