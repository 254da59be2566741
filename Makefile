# Everything here runs in a virtual environment of its own, .venv, made at the first call from
# constraints.txt and made anew in place when pyproject.toml or constraints.txt changes.
#
#   make demo        train on a real cube, explain, check against the truth: demo-output/
#   make test        unit tests, the slow ones, the examples in docstrings, the notebooks
#   make unit        unit tests that take a moment each
#   make lint        formatting rules, types, floors, docstrings, spelling
#   make docs        the documentation, warnings are errors: build/docs/index.html
#   make notebooks   run every notebook; executed copies in build/notebooks go into `make docs`
#   make bench       speed, growth, memory, start, with peers beside: docs/performance.md
#   make constraints write the newest versions that fit into constraints.txt
#   make clean       remove what was built; make distclean removes .venv as well
#
# Another interpreter: make PYTHON=python3.12. More test processes: make test JOBS=8.
# One file: make test TESTS=tests/test_bands.py. More for pytest: make test PYTEST_ARGS="-k lime -x".
# Some benchmarks: make bench BENCH_ARGS="--only A_lime_spectral start"; "--help" lists them.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
TESTS ?= tests
PYTEST_ARGS ?=
BENCH_ARGS ?=

PY := $(VENV)/bin/python
READY := $(VENV)/.ready
TORCH = $(shell grep -m 1 '^torch==' constraints.txt)

# Several test processes share the cores: one thread each, and no window is opened for a figure.
TEST_ENV = OMP_NUM_THREADS=1 MPLBACKEND=Agg

.DEFAULT_GOAL := test
.PHONY: demo test unit slow doctest lint docs notebooks bench constraints clean distclean venv

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "xrxai needs Python 3.11 or newer; type: make PYTHON=python3.12"; exit 1; }
	@test -x $(PY) || { echo "== a virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "== installing $(TORCH)"
	@$(PY) -m pip install -qq --disable-pip-version-check "$(TORCH)"
	@echo "== installing xrxai and its tools (a minute or two)"
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY)
	@$(PY) -m xrxai.demo

test: doctest notebooks unit slow

unit: $(READY)
	$(TEST_ENV) $(PY) -m pytest -n $(JOBS) -m "not slow" $(PYTEST_ARGS) $(TESTS)

# Processes that are killed, clusters, benchmarks. 5 is pytest's word for "nothing collected".
slow: $(READY)
	$(TEST_ENV) $(PY) -m pytest -n $(JOBS) -m slow $(PYTEST_ARGS) $(TESTS) || test $$? -eq 5

# A package without examples is no failure.
doctest: $(READY)
	$(TEST_ENV) $(PY) -m pytest -q --doctest-modules xrxai || test $$? -eq 5

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache
	$(PY) docs/check_docstrings.py
	$(VENV)/bin/codespell

docs: $(READY)
	$(TEST_ENV) $(PY) -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "== build/docs/index.html"

# The notebooks in git carry no outputs; these copies do.
notebooks: $(READY)
	@mkdir -p build/notebooks
	@cp notebooks/*.ipynb build/notebooks/
	@mkdir -p build/ipython/profile_default/startup
	@cp tests/operators.py build/ipython/profile_default/startup/
	IPYTHONDIR=$(CURDIR)/build/ipython $(TEST_ENV) $(PY) -m pytest -n $(JOBS) --nbmake --overwrite --nbmake-timeout=600 build/notebooks

bench: $(READY)
	$(TEST_ENV) $(PY) -m benchmarks $(BENCH_ARGS)

constraints:
	@rm -rf build/fresh && $(PYTHON) -m venv build/fresh
	@echo "== installing the newest versions that fit beside $(TORCH)"
	@build/fresh/bin/python -m pip install -qq "$(TORCH)"
	@build/fresh/bin/python -m pip install -qq "$(TORCH)" ".[dev]"
	@build/fresh/bin/python -m pip freeze --exclude xrxai --exclude torch > build/frozen.txt
	@{ sed -n '/^#/p' constraints.txt; echo "$(TORCH)"; cat build/frozen.txt; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt && rm -rf build/fresh build/frozen.txt
	@git --no-pager diff --stat constraints.txt

clean:
	rm -rf build dist docs/api.rst docs/generated docs/gallery docs/gallery.md docs/notebooks
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
