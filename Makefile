# `make demo` and `make test` set up all they need in .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: venv lint format

venv: $(VENV)/.ready

$(VENV)/.ready: setup.py elastiq/version.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[htcondor,sandbox,test]'
	touch $@

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	shellcheck scripts/elastiqctl

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
