# make run: a whole month on this machine.  make test: the tests.  Both set everything up first.
PYTHON ?= python3
BIN := .venv/bin
# Modules are compiled once: a month starts many short processes.
export PYTHONDONTWRITEBYTECODE :=
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11

.PHONY: help run test test-docker setup lint types lock clean

help:
	@echo "make run    a whole month on this machine: sample data in, report out"
	@echo "make test   the unit tests and the whole-month tests"
	@echo "make test-docker  the task image and the Spot machine on a Docker engine of its own (Linux, as root)"
	@echo "make lint   ruff, as CI runs it;  make types: mypy in strict mode"
	@echo "make lock   pin the newest allowed version of every dependency"
	@echo "make clean  remove what these made, results included"

run: setup
	@$(BIN)/bison local run

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore=tests/docker

test-docker: setup
	$(BIN)/python -m pytest tests/docker -W ignore::DeprecationWarning

setup: .venv/.ready

.venv/.ready: requirements/uv.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "BISON needs Python 3.11 or newer. Name one like this: make run PYTHON=python3.13" or 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python's venv module is missing or incomplete: install it (Debian, Ubuntu: apt install python3-venv) and try again."; exit 1; }
	@echo "Installing the locked dependencies into .venv (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

lock: setup
	echo uv | $(COMPILE) - -o requirements/uv.txt
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	$(COMPILE) --group tasks --constraint requirements/dev.txt -o requirements/tasks.txt

clean:
	rm -rf .venv out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
