# SPDX-License-Identifier: Apache-2.0
#   make             release build in build/release      make test       everything that is checked
#   make deps        packages and build/venv             make asan-test  C tests under ASan + UBSan
#   make demo        a worker and sample programs        make tsan-test  C tests under TSan
#   make fuzz        each fuzz target for FUZZ_S (60) seconds; FUZZ=slog: that one
#   make asan-fault-test, tsan-fault-test   fault and dscli tests against programs built so
#   make torch-test  the checkpoint storage with PyTorch, 5 GB from PyPI into build/torch
#   make pythons-test PYTHONS="python3.9 python3.13"   the Python package under other interpreters
#   make format      clang-format on all C files         make clean      remove build/
JOBS ?= $(shell nproc)
VENV := build/venv
PYTHON := $(VENV)/bin/python
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
PIP := $(PYTHON) $(PIP_INSTALL)
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

.PHONY: all build deps system-deps python-package test build-stress fuzz asan-test tsan-test \
	asan-fault-test tsan-fault-test torch-test pythons-test demo clean format
.DELETE_ON_ERROR:

all: build
build: build-release

build-%:
	@cmake --preset $* >/dev/null
	@cmake --build --preset $*

deps: system-deps
	@$(MAKE) -s --no-print-directory $(VENV)/.requirements

system-deps:
	@tools/install_debs.sh

$(VENV)/.requirements: tools/requirements.txt
	@python3 -m venv $(VENV)
	@$(PIP) -r $<
	@touch $@

# The Python package, once pyproject.toml exists; built again when one of its sources is newer.
PACKAGE_INPUTS := $(shell test ! -f pyproject.toml || \
	find pyproject.toml CMakeLists.txt cmake include src python -type f ! -path '*/__pycache__/*')
$(VENV)/.package: $(PACKAGE_INPUTS)
	@$(PIP) .
	@touch $@

python-package: deps
	@test ! -f pyproject.toml || $(MAKE) -s --no-print-directory $(VENV)/.package

# The preset fuzz is also what compiles everything with clang.
test: deps
	@$(MAKE) -s --no-print-directory build-dev build-fuzz build-stress python-package
	@$(PYTHON) tools/run_tests.py --preset dev

build-stress:
	@cmake --preset tsan >/dev/null
	@cmake --build --preset tsan --target test_store_stress

# What is found stays in build/fuzz/found/<target>; inputs that crash, beside it.
FUZZ_S ?= 60
FUZZ ?= $(patsubst tests/fuzz/corpus/%,%,$(wildcard tests/fuzz/corpus/*))
fuzz: deps
	@$(MAKE) -s --no-print-directory build-fuzz
	@set -e; for target in $(FUZZ); do \
		mkdir -p build/fuzz/found/$$target; \
		build/fuzz/bin/fuzz_$$target -max_total_time=$(FUZZ_S) \
			-artifact_prefix=build/fuzz/found/$$target. \
			build/fuzz/found/$$target tests/fuzz/corpus/$$target; \
	done

asan-test tsan-test: %-test: deps
	@$(MAKE) -s --no-print-directory build-$*
	@$(PYTHON) tools/run_tests.py --preset $* ctest

# The programs of the build are used: keeper, worker, dscli and the clients of tests/fault. Python's
# own client is not: an interpreter without sanitizers cannot load it.
asan-fault-test tsan-fault-test: %-fault-test: deps
	@$(MAKE) -s --no-print-directory build-$*
	@$(PYTHON) tools/run_tests.py --preset $* tests/fault
	@DS_BUILD_DIR=$(CURDIR)/build/$* $(PYTHON) -m pytest tests/integration/test_dscli.py \
		tests/integration/test_cpp.py

# PyPI has PyTorch for x86 with CUDA's libraries only: too much for every `make test`.
build/torch/.package: $(PACKAGE_INPUTS)
	@python3 -m venv build/torch
	@build/torch/bin/python $(PIP_INSTALL) '.[test,torch]'
	@touch $@

torch-test: deps
	@$(MAKE) -s --no-print-directory build/torch/.package
	@build/torch/bin/python -m pytest tests/integration/python/test_checkpoint.py

# PYTHONS are interpreters that are installed; Debian 12 has 3.11 alone.
pythons-test: deps
	@for python in $(or $(PYTHONS),python3); do \
		echo "$$python: $$($$python --version)" && rm -rf build/pythons && \
		$$python -m venv build/pythons && \
		build/pythons/bin/python $(PIP_INSTALL) -r tools/requirements.txt '.[test]' && \
		build/pythons/bin/python -m pytest -q tests/integration/python || exit 1; \
	done; rm -rf build/pythons

demo: deps
	@$(MAKE) -s --no-print-directory build-release python-package
	@demo/run.sh

clean:
	rm -rf build

format:
	@find src include tests bench python -name '*.[ch]' 2>/dev/null | xargs -r clang-format -i
