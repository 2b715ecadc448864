# `make run` answers the main question; `make test` checks everything. Both start from nothing but Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Quiet, and never an upgrade notice; constraints.txt pins what was tested, torch above all.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
PYTEST_ARGS ?= --numprocesses auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help run test check fuzz format bench accuracy docs browser clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(VENV)/.core ## install the light core (no torch) and write the main report
	$(BIN)/costsim report

test: $(VENV)/.dev $(if $(wildcard tests/browser),browser) ## install what the tests need and run them all
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev ## style, types, and an audit of what is installed: licences, ranges, pins, import time
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pip --disable-pip-version-check check
	$(BIN)/python -m benchmarks.audit

fuzz: $(VENV)/.fuzz ## hostile files for every reader, guided by coverage: make fuzz MINUTES=30
	$(BIN)/python -m fuzz --minutes $(or $(MINUTES),10)
	$(BIN)/python -m fuzz --verbs --minutes $(or $(MINUTES),10)

format: $(VENV)/.dev ## rewrite the source in the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.core ## time the simulator itself
	$(BIN)/python -m benchmarks

accuracy: $(VENV)/.dev ## errors on shapes, parts and points that no law has seen, beside their bars
	$(BIN)/python -m benchmarks.accuracy

docs: $(VENV)/.docs ## build the documentation into out/site; the reference is generated from the code
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "open out/site/index.html"

clean: ## remove what the targets above made
	rm -rf $(VENV) out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is older than 3.11; try: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: Python's venv is missing; on Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(PIP) --editable '.[fuzz]'
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) --editable '.[docs]'
	@touch $@

# Debian's browser: the tests drive it, nothing else needs it.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; \
	  else echo "make: Chromium is missing; install it: sudo apt-get install chromium" >&2; exit 1; fi; \
	  $$as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  $$as_root apt-get install -y -qq --no-install-recommends chromium fonts-wqy-zenhei fonts-dejavu-core >/dev/null; }
