# Each target sets up .venv from the hashed lock and builds the core in C first, if the lock, pyproject.toml or a source
# of the core is newer than the last set-up.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
# For two cores: one worker waits for clusters most of the time. On more cores: `make test WORKERS=8`.
WORKERS ?= 3
UV ?= uv
SPARK := .venv-spark
# What the core is compiled from: files in C, and the declarations in Python that become its header.
CORE := setup.py $(shell find engine -name "*.[ch]" -o -name "*.py")

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup kernbench test lint fix bench docs result lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv from requirements.lock and build the core (every other target does it by itself)

kernbench: $(STAMP) ## Run configs/kernbench.yaml: policies x kernel build x guests; prints the summary. Same command continues
	$(BIN)/sweep run configs/kernbench.yaml

# tests/conftest.py says which tests stay with one worker.
test: $(STAMP) $(SPARK)/.installed ## Run all tests (those in a browser need Chromium: apt-get install chromium)
	$(BIN)/pytest -q -n $(WORKERS) --dist loadgroup --durations=25 --durations-min=5

lint: $(STAMP) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(STAMP) ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure throughput; prints a digest of the answers beside each figure
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements-bench.lock
	$(BIN)/sweep bench
	set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

docs: $(STAMP) ## Write docs/reference from the registries
	$(BIN)/python docs/generate_reference.py

result: $(STAMP) ## Put table and picture of runs/kernbench into README.md
	$(BIN)/python docs/show_result.py runs/kernbench

lock: ## Write requirements.lock from pyproject.toml and requirements.in (needs uv)
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --custom-compile-command "make lock" --all-extras pyproject.toml requirements.in -o requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --custom-compile-command "make lock" requirements-spark.in -o requirements-spark.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --custom-compile-command "make lock" requirements-compiler.in -o requirements-compiler.lock
	@# Its package draws in what it needs for object stores and tests; we call its simulator only.
	$(UV) pip compile --quiet --universal --no-deps --generate-hashes --no-emit-index-url --python-version 3.11 \
	  --custom-compile-command "make lock" requirements-bench.in -o requirements-bench.lock

clean: ## Remove .venv and caches; runs/ stays
	rm -rf $(VENV) $(SPARK) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

$(STAMP): requirements.lock pyproject.toml $(CORE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11. Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || { \
	  echo "$(PYTHON) has no ensurepip. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	@# setup.py takes the compiler of this wheel where the machine has none.
	command -v $${CC:-cc} >/dev/null || \
	  $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements-compiler.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# A second environment, where there is Java: that Spark reads a run is worth a test, but not 370 MB in everybody's .venv.
$(SPARK)/.installed: requirements-spark.lock | $(STAMP)
	@mkdir -p $(SPARK)
	@if command -v java >/dev/null; then \
	  $(PYTHON) -m venv $(SPARK) && \
	  $(SPARK)/bin/python -m pip install --quiet --require-hashes -r requirements-spark.lock; \
	else echo "no java here: the test that Spark reads a run is skipped"; fi
	@touch $@
