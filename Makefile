# Every task of the project; `make demo` and `make test` need nothing set up beforehand.
# PYTHON=3.10 DJANGO=5.2 VENV=build/venv-3.10 choose another environment; B=DIR other build folders.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
B ?= build
PYTHON ?=
DJANGO ?=
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 30
# Of `make race`.
MINUTES ?= 30
ADAPTER ?= smartcache
LEVEL ?=
STORE ?= redis
FAULTS ?= yes
LEASE ?= 10
LATE ?=
# Programs of the environment (cmake, ninja, linters) come first for everything below.
export PATH := $(abspath $(VENV))/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
ifneq ($(shell command -v ccache),)
export CMAKE_C_COMPILER_LAUNCHER := ccache
export CMAKE_CXX_COMPILER_LAUNCHER := ccache
endif
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

python := $(VENV)/bin/python
install := $(python) -m pip install --quiet $(if $(DJANGO),'Django==$(DJANGO).*')
configure = cmake --preset $(1) -B $(B)/$(1) -DPython_EXECUTABLE=$(abspath $(python)) --log-level=WARNING
cpp_files = $(shell find src include fuzz -name '*.h' -o -name '*.cpp')
# The thread sanitizer of g++ 12 dislikes much address randomisation, which newer kernels have.
steady_addresses := $(shell setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: help demo test test-core test-package race bench bench-core lint lint-cpp lint-python format \
        fuzz sanitize sanitize-asan sanitize-tsan spec sdist wheel package clean

help:  ## list the tasks
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: have-run $(VENV)/example package  ## start the example site, and show it cold, warm and edited
	$(python) example/demo.py

test: test-core test-package  ## run every test, of C++ and of Python

test-core: have-test $(VENV)/test
	$(call configure,dev)
	cmake --build $(B)/dev
	$(python) -m tests.servers redis -- \
	  ctest --test-dir $(B)/dev --output-on-failure --no-tests=error --progress

test-package: have-test $(VENV)/test package
	$(python) -m pytest -n $(JOBS) $(PYTEST_ARGS)

race: have-test $(VENV)/test $(if $(filter all cacheops cachalot,$(ADAPTER)),$(VENV)/bench) \
      package  ## let processes race, die and lose their store for MINUTES: ADAPTER LEVEL STORE FAULTS LATE LEASE
	$(python) -m tests.race --minutes $(MINUTES) --adapter $(ADAPTER) --store $(STORE) \
	  --faults $(FAULTS) --lease $(LEASE) $(if $(LEVEL),--level $(LEVEL)) \
	  $(if $(LATE),--late-messages $(LATE))

bench: have-test have-bench $(VENV)/bench package  ## measure beside other caches: docs/benchmarks.md
	$(call configure,bench)
	cmake --build $(B)/bench
	SMARTCACHE_BENCH_CORE=$(B)/bench/smartcache_bench $(python) -m bench --write

bench-core: have-test have-bench $(VENV)/test  ## measure the parts of the core
	$(call configure,bench)
	cmake --build $(B)/bench
	$(python) -m tests.servers redis -- $(B)/bench/smartcache_bench

lint: lint-python lint-cpp  ## check format, style and types

lint-python: have-run $(VENV)/lint $(VENV)/test package
	ruff format --check .
	ruff check .
	mypy

lint-cpp: have-test have-check $(VENV)/lint $(VENV)/test
	clang-format --dry-run -Werror $(cpp_files)
	$(call configure,dev)
	tools/check_threads $(B)/dev
	tools/tidy $(B)/dev

format: have-run $(VENV)/lint  ## put C++ and Python into their format
	clang-format -i $(cpp_files)
	ruff format .
	ruff check --fix-only .

fuzz: have-check $(VENV)/test  ## fuzz every decoder for FUZZ_SECONDS
	$(call configure,fuzz)
	cmake --build $(B)/fuzz
	tools/fuzz $(B)/fuzz $(FUZZ_SECONDS)

sanitize: sanitize-asan sanitize-tsan  ## run the C++ tests under the sanitizers

sanitize-asan sanitize-tsan: sanitize-%: have-test $(VENV)/test
	$(call configure,$*)
	cmake --build $(B)/$*
	$(python) -m tests.servers redis -- $(steady_addresses) \
	  ctest --test-dir $(B)/$* --output-on-failure --no-tests=error --progress

spec: have-run $(VENV)/build  ## explore the models of the protocol
	$(python) spec

sdist: have-run $(VENV)/build  ## build the source archive into dist/
	$(python) -m build --sdist

wheel: have-run $(VENV)/build  ## build the source archive, and from it a wheel, into dist/
	$(python) -m build

# Into the environment as a user gets it, but compiled in a folder that is kept.
package: have-run $(VENV)/build
	$(install) --no-build-isolation --config-settings=build-dir='$(B)/{wheel_tag}' .

clean:  ## remove what was built, and the environment
	rm -rf build dist .venv

# What a task needs of the machine: installed where that is allowed, else all of it is named.
have-%:
	@tools/bootstrap $*

# The environments: $(VENV)/GROUP says that a group of pyproject.toml is installed.
$(VENV)/bin/python:
	$$(tools/find_python $(PYTHON)) -m venv $(VENV)
	$(python) -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/build: $(VENV)/bin/python pyproject.toml
	$(install) --group build
	@touch $@

$(VENV)/example $(VENV)/test $(VENV)/bench $(VENV)/lint: $(VENV)/%: $(VENV)/build
	$(install) --group $*
	@touch $@
