# The one door. `make` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
# The machine's own certificates, for networks with an authority of their own.
export UV_SYSTEM_CERTS ?= true
TOOLS := .tools
UV := $(TOOLS)/bin/uv
UV_VERSION := 0.13.9
BIN := .venv/bin
PY := $(BIN)/python
MEMBERS := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml cli/pyproject.toml)
LOCK := requirements.lock
STAMP := .venv/.synced
# Each has servers of its own (two Kafkas, one PostgreSQL, about 2 GiB).
TEST_PROCESSES ?= 2
SOURCES := libs services cli tests examples deploy

.PHONY: help setup demo up down test test-unit check format lint types layers verify proto schema lock bench chaos nightly clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## install everything into .venv (uv comes into a private tool venv)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: call make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): $(UV) $(LOCK) $(MEMBERS) pyproject.toml
	@[ -x $(PY) ] || $(UV) venv --quiet --python "$$($(TOOLS)/bin/python -c 'import sys; print(sys.executable)')" .venv
	$(UV) pip sync --quiet --python $(PY) --require-hashes $(LOCK)
	$(UV) pip install --quiet --python $(PY) --no-deps $(foreach m,$(MEMBERS),-e $(dir $(m)))
	@touch $@

demo: setup ## tell the whole story with real brokers (about two minutes)
	$(PY) -m examples.demo

up: setup ## start everything and stay; prints addresses and keys
	$(PY) -m examples.up

down: setup ## stop what `make up` started
	$(PY) -m examples.down

test: setup ## all tests, with real Kafka and PostgreSQL
	$(BIN)/pytest -m "not fault" -n $(TEST_PROCESSES) --dist loadgroup

test-unit: setup ## the tests that need no server
	$(BIN)/pytest tests/unit tests/meta

check: setup format lint types layers verify test ## everything that CI asks

format: setup
	$(BIN)/ruff format --check .

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy $(foreach m,$(filter-out libs/contracts/pyproject.toml,$(MEMBERS)),$(dir $(m))src) tests examples

layers: setup
	$(BIN)/lint-imports

proto: setup ## generate libs/contracts from proto/
	$(PY) proto/generate.py libs/contracts/src

schema: setup ## renew the registry's schema.sql after a new migration
	$(PY) -m tests.support.schema

verify: setup ## generated code is fresh
	$(PY) proto/generate.py --check libs/contracts/src

lock: $(UV) ## renew requirements.lock from the pyproject files
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		$(foreach m,$(MEMBERS),--no-emit-package eventflows-$(notdir $(patsubst %/,%,$(dir $(m))))) --group dev $(MEMBERS) -o $(LOCK)

bench: setup ## measure; ONLY=name or its beginning, SCALE=0.1 to try; writes docs/benchmarks.md
	SCALE='$(SCALE)' $(PY) -m tests.bench $(ONLY)

chaos: setup ## the fault suite, long: FAULT=name,… MINUTES=n for each, SEED=n; prints a table
	FAULT='$(FAULT)' MINUTES='$(MINUTES)' SEED='$(SEED)' $(PY) -m tests.support.chaos

nightly: setup ## long runs: the measured hazards of Faust, the long faults
	$(BIN)/pytest -m fault --timeout 900

clean: ## remove what was built (not .tools)
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache
