# Each target does its own set-up; nothing is installed or built again while its inputs are unchanged.
PYTHON ?= python3
WORKERS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DEPENDENCIES := .venv/.dependencies-installed
EXTENSION := .venv/.extension-built
SOURCES := $(shell find csrc)
CPP_FILES = $(shell git ls-files 'csrc/*.cpp' 'csrc/*.h' 'csrc/*.hpp' 'csrc/*.cu' 'csrc/*.cuh')

.PHONY: help setup demo test lint docs format clean
.DEFAULT_GOAL := help

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(EXTENSION) ## Create .venv, install the package with its extras, compile the operators.

demo: setup ## Run replica exchange of chignolin and write runs/chignolin/report.png.
	@if [ -f runs/chignolin/checkpoint.safetensors ]; \
	    then $(BIN)/flashmd simulate --resume runs/chignolin; \
	    else $(BIN)/flashmd simulate examples/01_chignolin.yaml; fi
	$(BIN)/flashmd report runs/chignolin --temperature "340 K" --reference data/datasets/chignolin_reference.npz

test: setup ## Run the whole test-suite.
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations 10

lint: setup ## Check style, types, layers and C++ formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -n "$(CPP_FILES)" ]; then echo "clang-format"; $(BIN)/clang-format --dry-run -Werror $(CPP_FILES); fi

docs: setup ## Build the documentation in docs/_build/html; a warning is an error.
	@rm -rf docs/api/generated
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

format: setup ## Format Python and C++.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_FILES)

clean: ## Remove everything that make has produced, runs/ excepted.
	rm -rf .venv build dist docs/_build *.egg-info flashmd/_kernels*.so flashmd/libOpenMM*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find flashmd tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# A half-made environment (no working pip) is made anew; torch and OpenMM come first, since libraries are compiled
# against them.
$(DEPENDENCIES): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "flashmd needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V). Use: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "== Installing torch, OpenMM and the build tools into .venv (a few minutes the first time)"
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt setuptools wheel openmm
	@touch $@

$(EXTENSION): $(DEPENDENCIES) setup.cfg setup.py $(SOURCES)
	@echo "== Compiling the operators and installing flashmd with its extras"
	$(PIP) install --no-build-isolation -c constraints.txt -e '.[all]'
	@touch $@
