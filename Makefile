# demo: a federation on synthetic patients.  test: lint, types and every test.  bench: all benchmarks.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast lint format bench clean

demo: .venv/installed contracts/node_modules/.anvil
	@$(BIN)/fedchest demo

test: lint contracts/.venv/.installed
	$(BIN)/pytest

test-fast: .venv/installed-dev contracts/node_modules/.all
	$(BIN)/pytest -m "not slow and not e2e"

lint: .venv/installed-dev contracts/node_modules/.all
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-dev contracts/node_modules/.all
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv contracts/.venv contracts/node_modules contracts/cache contracts/out build *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@ .venv/installed

contracts/node_modules/.anvil: contracts/package-lock.json
	cd contracts && npm install --no-save --omit=dev --no-fund --no-audit --loglevel=error
	@touch $@

contracts/node_modules/.all: contracts/package-lock.json
	cd contracts && npm install --no-save --no-fund --no-audit --loglevel=error
	@touch $@ contracts/node_modules/.anvil

contracts/.venv/.installed: contracts/requirements.txt
	$(PYTHON) -m venv contracts/.venv
	contracts/.venv/bin/pip install --quiet --disable-pip-version-check --requirement contracts/requirements.txt
	@touch $@
