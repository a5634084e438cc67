# `make run`   environment, then the first study with its report
# `make test`  environment with the test extra, then the tests
# `make env`   environment only
# PYTHON=… chooses the interpreter; by default the first of python3, python3.13, … that is 3.11 or newer.

VENV := .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
STUDY ?= studies/msa.yaml
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: env run test test-slow test-networks test-latency test-faults lint clean-env

env: $(VENV)/.installed

run: $(VENV)/.installed
	$(VENV)/bin/ablate run $(STUDY)

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -n 2 -m "not slow and not networks and not faults and not latency"

test-slow: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m slow

# attention on a hundred networks of torchvision and timm; the table in docs/attaching.md says which
test-networks: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -n 2 -m networks

# one network timed against itself, and against itself with a sleep, a hundred times each under load
test-latency: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m latency -s

# at least 200 faults injected into real runs; FAULTS=20 for the short form, SEED=… for others (docs/reliability.md)
test-faults: $(VENV)/.installed-test
	FAULTS=$(or $(FAULTS),200) SEED=$(or $(SEED),1) $(VENV)/bin/python -m pytest -m faults -s

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "ablate needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[test]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[dev]"
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test

clean-env:
	rm -rf $(VENV)
