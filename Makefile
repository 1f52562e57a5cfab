# make test    all that CI runs: installs what is missing, checks, tests, the guest lab
# make check   the same without the guest lab; before every commit
# make lab     build the lab's kernel ahead of the tests
# make lab-newest  fetch and build the newest packaged kernel, which tests use only where it is
# make lab-fuzz N=50   more drawn topologies in the guest lab
# make examples  record the captures that ship with the package anew
# make oracle-fuzz N=1000000   ask QEMU's IOMMUs as many random requests as that, beside the model
# make mutants   mistakes in the walker, each of which QEMU must find
# make docs    the documentation, in docs/_build/html

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
N ?= 20
SPHINX := $(BIN)/python -m sphinx -W -q -j auto -d docs/_build/doctrees
PYTEST := $(BIN)/python -m pytest

# Python starts some hundred times here, and in guests that emulate every instruction.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test check deps lint types layers unit vm lab lab-newest lab-fuzz oracle-fuzz mutants examples docs bench clean

test: deps lint types layers docs
	VFIOKIT_LAB=$${VFIOKIT_LAB:-auto} $(PYTEST) -n 2 --dist loadgroup --durations=25 --cov --cov-report=term

check: $(STAMP) lint types layers docs unit

deps: $(STAMP)
	tools/install-test-deps

# The base interpreter may be called python3.11 or python3.12 where python3 is older.
$(STAMP): pyproject.toml setup.py $(wildcard vfiokit/_native/*.c vfiokit/_native/*.h vfiokit/_native/*.cdef)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vfiokit needs Python 3.11; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,docs]'
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases --exclude tests/vm/inside tests/vm
	MYPYPATH=tests/vm/inside:benchmarks $(BIN)/mypy --explicit-package-bases tests/vm/inside benchmarks

layers: $(STAMP)
	$(BIN)/lint-imports --no-cache

unit: $(STAMP)
	$(PYTEST) -n 2 --dist worksteal -m 'not vm' --cov --cov-report=term

vm: deps
	$(PYTEST) tests/vm

lab: deps
	$(BIN)/python -m tests.vm.kernel

lab-newest: deps
	tools/install-test-deps --newest-kernel
	$(BIN)/python -m tests.vm.kernel newest

oracle-fuzz: deps
	VFIOKIT_ORACLE_REQUESTS=$(N) VFIOKIT_ORACLE_SEED=$${SEED:-$$(date +%s)} $(PYTEST) -s tests/oracle/test_translation.py -k disagreement

mutants: deps
	$(BIN)/python -m tests.oracle.mutants

examples: lab
	$(BIN)/python -m tests.vm.examples

lab-fuzz: lab
	VFIOKIT_LAB=require VFIOKIT_LAB_EXAMPLES=$(N) $(PYTEST) tests/vm/test_groups.py -k drawn

docs: $(STAMP)
	$(SPHINX) --keep-going -b html docs docs/_build/html
	$(SPHINX) -b doctest docs docs/_build/doctest
	$(SPHINX) -b man docs docs/_build/man

bench: $(STAMP)
	$(BIN)/python benchmarks/scan.py
	$(BIN)/python benchmarks/translate.py
	$(BIN)/python -m benchmarks.rebind

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
