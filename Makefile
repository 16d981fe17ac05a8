# What a person runs in this repository. Every target sets up what it needs; what cannot be set up is
# named in one line (scripts/prerequisites). The work itself is in scripts/, each with a header of its own.
#
#   make demo PYTHON=python3.13      PYTHON chooses the interpreter (default python3)

PYTHON ?= python3
VENV ?= .venv
export PYTHON VENV
# rustup tells new users to open a new shell; not having done so is no reason to fail.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-python test-version test-conformance test-fallbacks test-real test-real-all test-all soak gates counts memcheck lint fmt bench bench-quick bench-instructions clean

help: ## say what the targets are
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the first program in every form, and 10,000 coroutines that sleep at once
	@scripts/prerequisites build
	@$(PYTHON) scripts/environment.py >/dev/null
	@$(VENV)/bin/python scripts/demo.py

test: ## every test, Rust and Python, and the lints, on one interpreter
	@scripts/prerequisites test
	@$(PYTHON) scripts/check.py rust lint python real

test-rust: ## only Rust: format, clippy, tests on both drivers, docs, loom
	@scripts/prerequisites test
	@$(PYTHON) scripts/check.py rust

test-python: ## only Python: our tests on both drivers, CPython's own asyncio tests
	@scripts/prerequisites build
	@$(PYTHON) scripts/check.py python

test-version: ## only what another CPython version may change: our loop's tests on one driver, CPython's own
	@scripts/prerequisites build
	@$(PYTHON) scripts/check.py version

test-conformance: ## only CPython's own asyncio tests on oneloop
	@scripts/prerequisites build
	@$(PYTHON) scripts/check.py conformance

test-fallbacks: ## CPython's asyncio tests with each fast path off, and with all of them off; our own with all off
	@scripts/prerequisites build
	@$(PYTHON) scripts/check.py fallbacks

test-real: ## only programs of others on oneloop: asyncpg, redis, websockets, uvicorn, aiohttp and more
	@scripts/prerequisites build
	@$(PYTHON) scripts/check.py real

test-real-all: ## the same on CPython 3.11, 3.13 and 3.14
	@scripts/prerequisites build
	@$(PYTHON) scripts/matrix.py --targets test-real 3.11 3.13 3.14

lint: ## ruff, mypy and stubtest
	@scripts/prerequisites build
	@$(PYTHON) scripts/check.py lint

test-all: ## Rust and lints once, then the rest on every CPython version, with both drivers
	@scripts/prerequisites test
	@ONELOOP_CONFORMANCE_DRIVERS="epoll portable" ONELOOP_CONFORMANCE_FALLBACKS=1 \
		$(PYTHON) scripts/matrix.py --first "$(PYTHON) scripts/check.py rust lint" \
		--targets "test-python test-real" 3.11 3.12 3.13 3.14 3.15

soak: ## five minutes of everything at once, after which nothing has grown (SECONDS=60 for one)
	@scripts/prerequisites build
	@ONELOOP_SOAK_SECONDS=$(or $(SECONDS),300) $(PYTHON) scripts/check.py soak

bench: ## every benchmark, beside asyncio and other loops, on CPython 3.14, in an hour (MINUTES=90): figures and drawings into benches/results
	@scripts/prerequisites build
	@$(PYTHON) benches/run $(if $(MINUTES),--minutes $(MINUTES)) --into benches/results
	@$(PYTHON) -m benches.suite.published

bench-quick: ## few rows of every benchmark, each for a little while: under three minutes, building aside
	@scripts/prerequisites build
	@$(PYTHON) benches/run --quick

bench-instructions: ## instructions per operation, beside asyncio and other loops (callgrind)
	@scripts/prerequisites build
	@$(PYTHON) benches/instructions/run

gates: ## instructions and system calls per operation, as recorded (RECORD=1 records them; ARGS=--check counts twice)
	@scripts/prerequisites build
	@$(PYTHON) benches/gates/run $(if $(RECORD),--record) $(ARGS)

counts: ## a million operations of each kind, after which every reference count is as before (OPERATIONS=10000 for less)
	@scripts/prerequisites build
	@ONELOOP_COUNTS_OPERATIONS=$(or $(OPERATIONS),1000000) $(PYTHON) scripts/check.py counts

memcheck: ## programs that touch every native type, under valgrind's memcheck
	@scripts/prerequisites build
	@$(PYTHON) scripts/check.py memcheck

fmt: ## format Rust and Python
	@scripts/prerequisites test
	@$(PYTHON) scripts/environment.py test lint >/dev/null
	cargo fmt --all
	$(VENV)/bin/python -m ruff check --fix
	$(VENV)/bin/python -m ruff format

clean: ## delete what was built here (not the interpreters: scripts/interpreters remove)
	rm -rf target .venv .venv-real .cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
