# `make demo` and `make test` set up all they need by themselves: a virtual environment in .venv and, for the real batch
# systems (root on Debian only), a root file system under ~/.cache/elastiq. Nothing else is touched. Nothing goes into
# the virtual environment but what has the hashes in tools/requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of the tests; most of them wait most of the time.
PROCESSES ?= 3

.PHONY: demo test quick packages repositories lint format bench policy sim fuzz race pins clean

demo: $(VENV)/.sandbox
	$(BIN)/python -m elastiq.sandbox demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadgroup tests

# The unit tests but those that live through days, wait, or take examples by the hundred; half a minute on two cores.
quick: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses $(shell nproc) -m 'not long' tests/unit

# sdist, wheel, deb and rpm of the last commit in dist/, with bill of materials and checksums; the same commit gives the
# same bytes. ELASTIQ_SIGNING_KEY=... names the key of gpg's that signs the checksums.
packages: $(VENV)/.package
	$(BIN)/python tools/build_packages.py --into dist

# Repositories for apt and yum of these packages, in dist/apt and dist/yum, signed by the same key.
repositories: packages
	$(BIN)/python tools/build_repositories.py --of dist

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck scripts/elastiqctl tools/apt-get tools/build-deb tools/check-packages .ci/run docs/examples/*.sh etc/elastiqctl.bash-completion etc/elastiq.init

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A table of the daemon's cost beside the original's; takes about thirteen minutes.
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
	$(INSTALL) --requirement $(PINS)/fuzz.txt || true
	$(BIN)/python -m tests.fuzz --seconds 600

# Jobs at random moments around the closing of idle workers, 200 times on each real batch system (root on Debian).
race: $(VENV)/.ready
	ELASTIQ_RACE_TRIALS=200 $(BIN)/python -m pytest --numprocesses $(PROCESSES) -rP tests/e2e -k race

SOURCES := setup.py elastiq/version.py scripts/elastiqctl scripts/elastiq-real.py
PINS := tools/requirements
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Wheels alone: to build another package would bring in tools without hashes, and run what it likes.
INSTALL := $(PIP) --require-hashes --only-binary :all:
EDITABLE := $(PIP) --no-deps --no-build-isolation --editable .

$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ $$(id -u) = 0 ] && apt-get -qq update && \
		apt-get -qq install -y --no-install-recommends python3-venv; } || \
		{ echo "this Python cannot make virtual environments: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.sandbox: $(SOURCES) $(PINS)/sandbox.txt | $(BIN)/python
	$(INSTALL) --requirement $(PINS)/sandbox.txt
	$(EDITABLE)
	touch $@

$(VENV)/.package: $(SOURCES) $(PINS)/package.txt | $(BIN)/python
	$(INSTALL) --requirement $(PINS)/package.txt
	$(EDITABLE)
	touch $@

$(VENV)/.ready: $(SOURCES) $(PINS)/test.txt | $(BIN)/python
	$(INSTALL) --requirement $(PINS)/test.txt
	$(EDITABLE)
	touch $@

# Renews the versions and hashes of what is installed above, for every Python from 3.10 on and every kind of machine.
# setuptools, without which elastiq itself could not be installed, is where an extra does not name it.
PIN = $(BIN)/uv pip compile --quiet --no-cache --native-tls --python $(BIN)/python --no-python-downloads $(if $(PIP_INDEX_URL),--default-index $(PIP_INDEX_URL)) \
	--universal --python-version 3.10 --no-build-isolation --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins' --upgrade
EXTRAS := htcondor package sandbox test

pins: $(VENV)/.package
	$(INSTALL) --requirement $(PINS)/uv.txt
	$(PIN) --output-file $(PINS)/test.txt setup.py $(EXTRAS:%=--extra %)
	sed -n 's/.*"\(setuptools==[^"]*\)".*/\1/p' setup.py | $(PIN) --output-file $(PINS)/sandbox.txt setup.py --extra sandbox -
	$(PIN) --output-file $(PINS)/package.txt setup.py --extra package
	$(PIN) --output-file $(PINS)/fuzz.txt $(PINS)/fuzz.in
	$(PIN) --no-deps --output-file $(PINS)/testbed.txt $(PINS)/testbed.in
	echo uv | $(PIN) --output-file $(PINS)/uv.txt -

clean:
	rm -rf $(VENV) build dist *.egg-info
