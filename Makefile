# `make run` and `make test` work on a machine that has only python3, git and make.
# Set-up is redone when a lock file or pyproject.toml is newer than its stamp in .venv/stamps/.

PYTHON ?= python3
BIN    := .venv/bin
STAMPS := .venv/stamps

# What the tests need from the system, as command=package (see tools/system-packages.sh).
TEST_PACKAGES := rsync=rsync redis-server=redis-server:redis openssl=openssl nginx=nginx \
	chromium=chromium

# How long `make fuzz` tries each of its targets, and then the property tests.
FUZZ_SECONDS     ?= 300
PROPERTY_SECONDS ?= 720

# The brokers that `make peers` measures; one that cannot be had is left out, and that is told.
PEER_PACKAGES := redis-server=redis-server:redis nats-server=nats-server mosquitto=mosquitto \
	rabbitmqctl=rabbitmq-server:rabbitmq
ROUNDS  ?= 3
SECONDS ?= 5

# Tests that run at once. Many wait for a process or a disk, so they are more than two cores.
TESTS_AT_ONCE ?= 4

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test check format docs bench scale load peers screenshots demo fuzz chaos lock \
	clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(STAMPS)/dev ## set up .venv with everything the developers need

run: $(STAMPS)/run ## serve a hub; ARGS="..." is passed on
	$(BIN)/broker serve $(ARGS)

test: $(STAMPS)/dev $(STAMPS)/docs $(STAMPS)/system ## run the tests; ARGS="..." is passed to pytest
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest \
		--numprocesses=$(TESTS_AT_ONCE) --dist=worksteal $(ARGS)

check: $(STAMPS)/dev ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMPS)/dev ## format, and fix what ruff can fix safely
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMPS)/docs ## build docs/ as a site in build/site, to be read offline; warnings are errors
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict

bench: $(STAMPS)/dev $(STAMPS)/system ## measure throughput, latency and memory
	$(BIN)/python -m loadtests.bench $(ARGS)
	$(BIN)/python -m loadtests.bench --redis $(ARGS)
	$(BIN)/python -m loadtests.audit_bench
	$(BIN)/python -m loadtests.beside --seconds 20
	$(BIN)/python -m loadtests.failover
	$(BIN)/python -m loadtests.idle_connections
	$(BIN)/python -m loadtests.journal_bench
	$(BIN)/python -m loadtests.metrics_bench
	$(BIN)/python -m loadtests.store_bench
	$(BIN)/python -m loadtests.store_bench --redis

scale: $(STAMPS)/dev $(STAMPS)/system ## 10 000 agents, a million waiting, half an hour of traffic: over an hour
	$(BIN)/python -m loadtests.ten_thousand
	$(BIN)/python -m loadtests.deep_mailbox
	$(BIN)/python -m loadtests.deep_mailbox --redis
	$(BIN)/python -m loadtests.soak $(ARGS)

load: $(STAMPS)/dev ## 100, 200, 1000 users and back, by Locust; fails when a mark is missed
	$(BIN)/python -m loadtests.load $(ARGS)

peers: $(STAMPS)/dev $(STAMPS)/peers ## measure beside NATS, Redis Streams, RabbitMQ, Mosquitto; installs them
	@for each in $(PEER_PACKAGES); do sh tools/system-packages.sh $$each || true; done
	$(BIN)/python -m loadtests.peers --rounds $(ROUNDS) --seconds $(SECONDS) $(ARGS)

screenshots: $(STAMPS)/dev $(STAMPS)/system ## take the pictures of the console in docs/images
	TRISHULA_SCREENSHOTS=docs/images $(BIN)/python -m pytest -q -n0 tests/acceptance/test_console.py

demo: $(STAMPS)/dev ## watch a few agents talk through a hub
	$(BIN)/python tests/demo/demo.py $(ARGS)

fuzz: $(STAMPS)/dev $(STAMPS)/system ## hostile input for FUZZ_SECONDS a target, then property tests
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --properties $(PROPERTY_SECONDS) $(ARGS)

chaos: $(STAMPS)/dev $(STAMPS)/system ## the long campaigns of injected failures; one that fails leaves all in .campaigns
	$(BIN)/python -m pytest tests/campaigns -m campaign --timeout=3600 $(ARGS)

lock: ## resolve the dependencies again and write requirements/*.txt
	PYTHON="$(PYTHON)" sh tools/lock.sh

clean: ## remove .venv, caches and builds
	rm -rf .venv .fuzz .campaigns .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	PYTHON="$(PYTHON)" sh tools/venv.sh .venv
	@mkdir -p $(STAMPS) && touch $@

# The development lock holds all of the run lock, so whoever has the one may run too.
$(STAMPS)/run: $(STAMPS)/venv requirements/run.txt pyproject.toml
	@if [ -e $(STAMPS)/dev ]; then $(MAKE) --no-print-directory $(STAMPS)/dev; \
	else sh tools/install.sh .venv requirements/run.txt; fi
	@touch $@

$(STAMPS)/dev: $(STAMPS)/venv requirements/dev.txt pyproject.toml
	sh tools/install.sh .venv requirements/dev.txt
	@touch $@

# The clients of other brokers, apart from what the project itself needs.
$(STAMPS)/peers: $(STAMPS)/venv requirements/peers.txt
	PYTHON="$(PYTHON)" sh tools/venv.sh .venv/peers
	.venv/peers/bin/python -m pip --disable-pip-version-check --quiet install \
		--require-hashes -r requirements/peers.txt
	@touch $@

# What builds the site, likewise.
$(STAMPS)/docs: $(STAMPS)/venv requirements/docs.txt
	PYTHON="$(PYTHON)" sh tools/venv.sh .venv/docs
	.venv/docs/bin/python -m pip --disable-pip-version-check --quiet install \
		--require-hashes -r requirements/docs.txt
	@touch $@

$(STAMPS)/system: $(STAMPS)/venv tools/system-packages.sh Makefile
	sh tools/system-packages.sh $(TEST_PACKAGES)
	@touch $@
