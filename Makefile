# `make demo` and `make test` set up all they need by themselves: a virtual environment in .venv and, for the real batch
# systems (root on Debian only), a root file system under ~/.cache/elastiq. Nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of the tests; most of them wait most of the time.
PROCESSES ?= 3

.PHONY: demo test quick packages lint format bench policy sim fuzz race clean

demo: $(VENV)/.sandbox
	$(BIN)/python -m elastiq.sandbox demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadgroup tests

# The unit tests but those that live through days, wait, or take examples by the hundred; half a minute on two cores.
quick: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses $(shell nproc) -m 'not long' tests/unit

# sdist, wheel, deb and rpm of the last commit in dist/; the same commit gives the same bytes.
packages: $(VENV)/.package
	$(BIN)/python tools/build_packages.py --into dist

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck scripts/elastiqctl tools/build-deb tools/check-packages .ci/run docs/examples/*.sh etc/elastiqctl.bash-completion etc/elastiq.init

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A table of the daemon's cost beside the original's; takes about five minutes.
bench: $(VENV)/.ready
	$(BIN)/python -m tests.bench

# Policies and rivals beside one another on recorded jobs (those in ../shared/traces, or make policy TRACES="a.swf b.swf.gz"),
# and loads that were made to fool ours.
policy: $(VENV)/.ready
	$(BIN)/python -m tests.policy $(TRACES)

# 200 cluster-years of faults, and whether deliberate breaks of the daemon are noticed: more than an hour on 2 cores;
# "make test" runs a slice of the years, and all of the breaks.
sim: $(VENV)/.ready
	$(BIN)/python -m elastiq.sim --years 200
	$(BIN)/python -m tests.sim

# Examples that are new each time: of what holds for every plan, and of foreign input for its parsers (ten minutes).
fuzz: $(VENV)/.ready
	$(BIN)/python -m pytest --hypothesis-profile random tests/property tests/fuzz tests/unit/config
	$(BIN)/pip install --quiet 'atheris>=2.3' || true
	$(BIN)/python -m tests.fuzz --seconds 600

# Jobs at random moments around the closing of idle workers, 200 times on each real batch system (root on Debian).
race: $(VENV)/.ready
	ELASTIQ_RACE_TRIALS=200 $(BIN)/python -m pytest --numprocesses $(PROCESSES) -rP tests/e2e -k race

SOURCES := setup.py elastiq/version.py scripts/elastiqctl scripts/elastiq-real.py
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --editable

$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ $$(id -u) = 0 ] && apt-get -qq update && \
		apt-get -qq install -y --no-install-recommends python3-venv; } || \
		{ echo "this Python cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.sandbox: $(SOURCES) | $(BIN)/python
	$(INSTALL) '.[sandbox]'
	touch $@

$(VENV)/.package: $(SOURCES) | $(BIN)/python
	$(INSTALL) '.[package]'
	touch $@

$(VENV)/.ready: $(SOURCES) | $(BIN)/python
	$(INSTALL) '.[htcondor,package,sandbox,test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
