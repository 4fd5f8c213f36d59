# `make demo` and `make test` each do all of their own set-up; they need Python 3.11 or newer, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-robust smoke docs clean

demo: $(VENV)/installed
	$(BIN)/python run_benchmark.py run benchmarks/digits_demo.yaml

test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Attacks by the hundred, from another seed each day; SEED=20260101 repeats those of that day.
SEED ?= $(shell date +%Y%m%d)
test-robust: $(VENV)/installed
	ROBUSTNESS_SEED=$(SEED) $(BIN)/python -m pytest -m robust tests/robustness

smoke: $(VENV)/installed
	$(BIN)/python run_benchmark.py run benchmarks/digits_smoke.yaml --store results/smoke/store --quiet
	$(BIN)/python run_benchmark.py bench images benchmarks/digits_smoke.yaml --store results/smoke/store

docs: $(VENV)/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/installed: setup.cfg setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/docs-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV)
