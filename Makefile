# make test, make demo: everything a fresh machine needs is Python 3.11+, a C compiler and make.
# `make help` lists the targets. Other interpreter: make PYTHON=python3.13 test

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO_OUT ?= build/demo

export FASTMLP_DEV ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

SOURCES = setup.py pyproject.toml $(wildcard fastmlp/*.pyx fastmlp/*.pxd src_c/*.[ch] src_c/*/*.[ch])

# Prints what pyproject.toml requires: for building, for running, and the extras given as arguments.
REQUIREMENTS = import sys, tomllib; \
  t = tomllib.load(open("pyproject.toml", "rb")); p = t["project"]; \
  print(*t["build-system"]["requires"], *p["dependencies"], \
        *(r for extra in sys.argv[1:] for r in p["optional-dependencies"][extra]), sep="\n")

.PHONY: help build test test-all demo sanitize lint format bench bench-quick docs wheel clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14

# -- environments. A stamp file marks each step, so that a second run is quick and needs no network.

$(VENV)/.packages: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fastmlp needs Python 3.11 or newer; $(PYTHON) is older. Try make PYTHON=python3.13"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c '$(REQUIREMENTS)' test > $(VENV)/requirements.txt
	$(BIN)/python -m pip install -q -r $(VENV)/requirements.txt
	@touch $@

# Editable: changes of Python files take effect at once, those of C and Cython by this rule.
$(VENV)/.built: $(VENV)/.packages $(SOURCES)
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	@touch $@

# Further tools, one stamp for each extra of pyproject.toml: .venv/.lint, .venv/.docs
$(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.packages
	$(BIN)/python -c '$(REQUIREMENTS)' $* > $(VENV)/requirements-$*.txt
	$(BIN)/python -m pip install -q -r $(VENV)/requirements-$*.txt
	@touch $@

# -- targets

build: $(VENV)/.built ## set up .venv and build the package in place

test: $(VENV)/.built ## run the tests but for the slow ones (ARGS: further arguments of pytest)
	$(BIN)/python -m pytest -q -m "not slow" $(ARGS)

test-all: $(VENV)/.built ## run all tests
	$(BIN)/python -m pytest -q $(ARGS)

demo: $(VENV)/.built ## train fastmlp and scikit-learn side by side; table and picture
	$(BIN)/python examples/digits.py

clean: ## remove everything that was built, and the environments
	rm -rf build dist .venv .venv-bench fastmlp.egg-info fastmlp/*.so .pytest_cache .ruff_cache
