# `make run`   environment, then the first study with its report
# `make test`  environment with the test extra, then the tests
# `make env`   environment only
# PYTHON=… chooses the interpreter; by default the first of python3, python3.13, … that is 3.11 or newer.

VENV := .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
STUDY ?= studies/msa.yaml
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: env run published test test-slow test-networks test-latency test-faults test-browser test-dashboard test-postgres test-tracking test-slurm test-ray test-tex lint clean-env

env: $(VENV)/.installed

run: $(VENV)/.installed
	$(VENV)/bin/ablate run $(STUDY)

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -n 2 -m "not slow and not networks and not faults and not latency and not browser and not tex and not dashboard and not postgres and not tracking and not slurm and not ray"

test-slow: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m slow

# attention on a hundred networks of torchvision and timm; the table in docs/attaching.md says which
test-networks: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -n 2 -m networks

# the LaTeX of a report, compiled; Debian's TeX is installed where there is none
test-tex: $(VENV)/.installed-test
	@command -v pdflatex >/dev/null || { \
	  root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$root apt-get update -qq && $$root apt-get install -y --no-install-recommends texlive-latex-recommended lmodern; }
	$(VENV)/bin/python -m pytest -m tex

# one network timed against itself, and against itself with a sleep, a hundred times each under load
test-latency: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m latency -s

# at least 200 faults injected into real runs; FAULTS=20 for the short form, SEED=… for others (docs/reliability.md)
test-faults: $(VENV)/.installed-test
	FAULTS=$(or $(FAULTS),200) SEED=$(or $(SEED),1) $(VENV)/bin/python -m pytest -m faults -s

# the pages of report and look in a headless Chromium, which comes from Debian's packages where there is none
test-browser: $(VENV)/.installed-test
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$root apt-get update -qq && $$root apt-get install -y --no-install-recommends chromium chromium-driver; }
	$(PIP) install -e ".[browser]"
	$(VENV)/bin/python -m pytest -m browser

# the database of a search in a running optuna-dashboard
test-dashboard: $(VENV)/.installed-test
	$(PIP) install -e ".[test,dashboard]"
	$(VENV)/bin/python -m pytest -m dashboard

# a search of several processes on a PostgreSQL that the test starts; it comes from Debian's packages where there is none
test-postgres: $(VENV)/.installed-test
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$root apt-get update -qq && $$root apt-get install -y --no-install-recommends postgresql; }
	$(PIP) install -e ".[test,postgres]"
	$(VENV)/bin/python -m pytest -m postgres

# a run that is killed and resumed, read back by TensorBoard's and MLflow's own readers
test-tracking: $(VENV)/.installed-test
	$(PIP) install -e ".[test,tensorboard,mlflow]"
	$(VENV)/bin/python -m pytest -m tracking

# studies on a Ray cluster of two nodes on this machine, one of which is killed or has files of its own (that needs root)
test-ray: $(VENV)/.installed-test
	$(PIP) install -e ".[test,ray]"
	$(VENV)/bin/python -m pytest -m ray

# studies on a Slurm cluster of this one machine, which the test starts; needs root, or sudo for its three daemons
test-slurm: $(VENV)/.installed-test
	@PATH="$$PATH:/usr/sbin"; command -v slurmctld >/dev/null && command -v munged >/dev/null || { \
	  root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$root apt-get update -qq && $$root apt-get install -y --no-install-recommends slurm-wlm; }
	$(VENV)/bin/python -m pytest -m slurm

# the tables of docs/performance.md, in minutes; BENCH="step script" for some of them, BENCH_ARGS=--quick to try it
BENCH ?= step script study overhead startup seeds
bench: $(VENV)/.installed-bench
	@for name in $(BENCH); do \
	  printf '\n## %s\n\n' $$name; OMP_NUM_THREADS=1 $(VENV)/bin/python benchmarks/$$name.py $(BENCH_ARGS) || exit 1; \
	done

# results/published once more from nothing: hours on two cores; PACKS=FOLDER of the packed CIFAR-10 images, the first time
published: $(VENV)/.installed
	PYTHON=$(VENV)/bin/python scripts/published.sh $(PACKS)

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

$(VENV)/.installed-bench: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[bench]"
	@touch $@ $(VENV)/.installed

clean-env:
	rm -rf $(VENV)
