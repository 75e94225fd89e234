# make test, make demo: all that a fresh machine needs is Python 3.11+, a C compiler and make.
# `make help` lists the targets. Another interpreter: make PYTHON=python3.13 test

PYTHON ?= python3
VENV ?= .venv
RUN ?= run
RUNS ?= 200000
BIN = $(VENV)/bin

export FASTMLP_DEV ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

SOURCES = setup.py pyproject.toml \
  $(wildcard fastmlp/*.pyx fastmlp/*.pxd src_c/*.[ch] src_c/*/*.[ch] src_c/*/*.def)
C_FILES = $(wildcard src_c/*.[ch] src_c/*/*.[ch] tests/c/*.[ch] tests/fuzz/*.c bench/*.[ch])

# Prints what pyproject.toml requires to "build", to "run" (or the "oldest" versions to run with), or
# for the extras that are named.
REQUIREMENTS = import sys, tomllib; \
  t = tomllib.load(open("pyproject.toml", "rb")); p = t["project"]; \
  groups = {"build": t["build-system"]["requires"], "run": p["dependencies"]}; \
  groups |= p["optional-dependencies"]; \
  groups["oldest"] = [r.replace(">=", "==") for r in groups["run"]]; \
  print(*(r for name in sys.argv[1:] for r in groups[name]), sep="\n")

.PHONY: help build test test-all test-oldest test-third-party test-windows demo sanitize fuzz fuzz-files \
  coverage checksums lint format bench bench-quick docs wheel clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 18

# -------------------------------------------------------------------------------- environments
# A stamp file marks each step, so that a second run is quick and needs no network.

$(VENV)/.packages: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "fastmlp needs Python 3.11 or newer, '$(PYTHON)' is not. Name one: make PYTHON=python3.13"; \
	  exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c '$(REQUIREMENTS)' build $(RUN) test > $(VENV)/requirements.txt
	$(BIN)/python -m pip install -q -r $(VENV)/requirements.txt
	@interop=$$($(BIN)/python -c '$(REQUIREMENTS)' interop); \
	install="$(BIN)/python -m pip install -q -c $(VENV)/requirements.txt"; \
	$$install $$interop || for package in $$interop; do \
	  $$install $$package || echo "left out: $$package"; \
	done
	@touch $@

# Editable: changes of Python files take effect at once, those of C and Cython by this rule.
$(VENV)/.built: $(VENV)/.packages $(SOURCES)
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	@touch $@

# What Python files say about the tables, as static text.
$(VENV)/.generated: $(VENV)/.built $(addprefix fastmlp/,_parameters.py schedules.py) tools/generate.py
	$(BIN)/python tools/generate.py
	@touch $@

# Further tools: each of these stamps installs the extra of pyproject.toml with its name.
$(addprefix $(VENV)/.,lint docs coverage fuzz third-party): $(VENV)/.%: $(VENV)/.packages
	@$(BIN)/python -c '$(REQUIREMENTS)' $* > $(VENV)/requirements-$*.txt
	$(BIN)/python -m pip install -q -r $(VENV)/requirements-$*.txt
	@touch $@

# One by one: a peer that cannot be had here costs its rows only. PEERS overrides the list, for
# instance to name a build of PyTorch without CUDA: make bench PEERS="torch==2.13.0+cpu jax"
$(VENV)/.peers: $(VENV)/.packages
	@for peer in $${PEERS:-$$($(BIN)/python -c '$(REQUIREMENTS)' bench)}; do \
	  $(BIN)/python -m pip install -q "$$peer" || echo "left out: $$peer"; \
	done
	@touch $@

# ------------------------------------------------------------------------------------- targets

build: $(VENV)/.generated ## set up .venv and build the package in place

test: $(VENV)/.generated ## run all tests but the slow ones; ARGS="-k sparse" goes to pytest
	$(BIN)/python -m pytest -q -m "not slow" $(ARGS)

test-all: $(VENV)/.generated ## run all tests
	$(BIN)/python -m pytest -q $(ARGS)

test-oldest: ## run the tests with the oldest versions of required packages, in .venv-oldest
	$(MAKE) VENV=.venv-oldest RUN=oldest test

# Much is installed for it, in an environment of its own.
test-third-party: ## run programs of others (shap, MLflow, skops, ...) on the estimators
	$(MAKE) VENV=.venv-third-party .venv-third-party/.generated .venv-third-party/.third-party
	.venv-third-party/bin/python -m pytest -q tests/test_third_party.py $(ARGS)

demo: $(VENV)/.generated ## train fastmlp and scikit-learn side by side: a table and a picture
	$(BIN)/python examples/digits.py

# The C tests, then the tests of the binding on an instrumented build beside the usual one. Python
# itself is not instrumented, so the sanitizers' runtime has to be loaded before it; so has the C++
# library, whose exceptions (in SciPy) the runtime wants to intercept. Allocations that must fail
# have to return NULL, freed memory is set aside for a while but not so long that tests of memory
# see a leak, and pytest must leave standard error to the sanitizer's last words.
SANITIZE_CC ?= gcc
SANITIZE_TESTS ?= $(addprefix tests/test_,core.py memory.py bits.py kernels.py layers.py)
PRELOAD = $(foreach lib,asan ubsan stdc++,$(shell $(SANITIZE_CC) -print-file-name=lib$(lib).so))
sanitize: export FASTMLP_SANITIZE = address,undefined
sanitize: $(VENV)/.packages ## C and binding tests under the address, undefined, thread sanitizers
	$(MAKE) -C tests/c sanitize
	CC=$(SANITIZE_CC) $(BIN)/python setup.py -q build \
	  --build-temp build/sanitize/temp --build-lib build/sanitize/lib
	PYTHONPATH=$(CURDIR)/build/sanitize/lib PYTHONSAFEPATH=1 PYTHONMALLOC=malloc \
	  LD_PRELOAD="$(PRELOAD)" \
	  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=32 \
	  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	  $(BIN)/python -m pytest -q -m "not slow" --capture=sys -p no:cacheprovider \
	  $(SANITIZE_TESTS) $(ARGS)

test-windows: ## compile the engine for Windows, run the C tests with Wine, compare the results
	$(MAKE) -C tests/c windows

fuzz: ## search for inputs that break the C engine, with clang's libFuzzer; SECONDS=60
	$(MAKE) -C tests/fuzz

fuzz-files: $(VENV)/.generated $(VENV)/.fuzz ## search for model files that break load_model; RUNS=200000
	@mkdir -p build/fuzz/files build/fuzz/found
	$(BIN)/python tests/fuzz/fuzz_files.py build/fuzz/files -runs=$(RUNS) -max_len=60000 \
	  -timeout=20 -rss_limit_mb=4096 -artifact_prefix=build/fuzz/found/ -print_final_stats=1 $(ARGS)

# An instrumented build beside the usual one, as for sanitize. Kernels, which need -O3 there, are
# counted in the C tests, of one set for all. A test that fails does not stop the count.
COVERAGE_CC ?= gcc
coverage: export FASTMLP_COVERAGE = 1
coverage: $(VENV)/.coverage ## lines and branches of Python and of the C engine that no test runs
	find build -name "*.gcda" -delete
	CC="$(COVERAGE_CC)" $(BIN)/python setup.py -q build \
	  --build-temp build/coverage/temp --build-lib build/coverage/lib
	$(MAKE) -C tests/c COVERAGE=1 CC="$(COVERAGE_CC)"
	-PYTHONPATH=$(CURDIR)/build/coverage/lib PYTHONSAFEPATH=1 \
	  $(BIN)/coverage run -m pytest -q -m "not slow" -p no:cacheprovider $(ARGS)
	$(BIN)/python tests/uncovered.py build
	$(BIN)/coverage report

checksums: $(VENV)/.generated ## checksums of fits, to compare two commits; ARGS="--out FILE"
	@$(BIN)/python tests/checksums.py $(ARGS)

lint: $(VENV)/.lint ## check style and spelling of Python and C
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	$(BIN)/codespell

format: $(VENV)/.lint ## format Python and C files in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

# The peers have an environment of their own: they are large, and not needed for anything else. What
# is measured is a release build beside the usual one, whose assertions take time.
PEER_VENV ?= .venv-bench
bench bench-quick: export FASTMLP_DEV = 0
bench: ## compare with scikit-learn, PyTorch, JAX, ONNX Runtime; records in bench/results
	$(MAKE) VENV=$(PEER_VENV) $(PEER_VENV)/.packages $(PEER_VENV)/.peers
	$(PEER_VENV)/bin/python setup.py -q build --build-temp build/bench/temp --build-lib build/bench/lib
	PYTHONPATH=$(CURDIR)/build/bench/lib:$(CURDIR) PYTHONSAFEPATH=1 \
	  $(PEER_VENV)/bin/python -m bench $(ARGS)

bench-quick: ## a few minutes' worth of it
	$(MAKE) bench ARGS="--quick $(ARGS)"

# Pages that have not changed are kept, and so are the pictures of examples that have not.
docs: $(VENV)/.generated $(VENV)/.docs ## write the documentation to build/docs
	$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs build/docs
	$(BIN)/python docs/check_links.py build/docs

wheel: $(VENV)/.packages ## build the source package and a release wheel into dist/
	FASTMLP_DEV=0 $(BIN)/python -m build --no-isolation

clean: ## remove everything that was built, and the environments
	rm -rf build dist .venv .venv-bench .venv-oldest .venv-third-party fastmlp.egg-info fastmlp/*.so .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
