# What a person or a CI runs. Each target installs what it needs itself (Debian, as root) and says so.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.made-from-lock
CHECKED := agent tests bench docs collections inventories
STEPS ?=
SEEDS ?= 3000
FROM ?= 0
ROUNDS ?= 15
SEED ?=
ONLY ?=
REPEATS ?= 5
PUBLISH ?=
JOBS ?= $(shell nproc)
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help demo demo-fleet test test-windows lint simulate chaos bench lab lab-down clean machine

help: ## explain the targets
	@echo "Twinhull: two servers, one VM, no shared storage."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: machine $(READY) ## show a real VM surviving the loss of its server, on this machine, in a few minutes (root)
	@$(PYTHON) -m tests.lab.demo

demo-fleet: machine $(READY) ## show the playbooks against four systemd hosts on this machine, install to swap, in ten minutes (root)
	@$(PYTHON) -m tests.system.fleet.demo

test: machine $(READY) ## everything that proves it: lint, unit to system tests, the collection, coverage (root)
	@$(PYTHON) -m tests.lab clean
	@$(PYTHON) -m tests.suites $(STEPS)

test-windows: machine $(READY) ## what proves the Windows side: playbooks, agents and volumes under Windows Python (root)
	@$(PYTHON) -m tests.suites windows wine

lint: $(READY) ## ruff (rules and format) and mypy --strict
	@$(VENV)/bin/ruff check $(CHECKED)
	@$(VENV)/bin/ruff format --check $(CHECKED)
	@$(VENV)/bin/mypy

simulate: $(READY) ## lives of whole clusters with every fault, judged: SEEDS=3000 FROM=0 JOBS=processors
	@MALLOC_MMAP_THRESHOLD_=100000000 MALLOC_TRIM_THRESHOLD_=1000000000 \
		$(PYTHON) -m tests.simulation --seeds $(SEEDS) --from $(FROM) --jobs $(JOBS)

chaos: machine $(READY) ## real faults on a real pair under load, every promise looked at: ROUNDS=15 SEED=n (root)
	@$(PYTHON) -m tests.chaos --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

bench: machine $(READY) ## our figures beside the limit and peers (root): ONLY="works and systems" REPEATS=5 PUBLISH=1
	@.ci/setup peers
	@$(PYTHON) -m bench --only "$(ONLY)" --repeats $(REPEATS) $(if $(PUBLISH),--publish)

lab: machine $(READY) ## bring up the same two nodes and leave them; scripts in build/lab (root)
	@$(PYTHON) -m tests.lab up

lab-down: ## remove what `make lab` made, and what crashed runs left (root)
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m tests.lab down; else echo "There is no lab: $(VENV) was never made."; fi

clean: lab-down ## remove the lab, build/, the environment and the caches
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m tests.system.fleet clean; fi
	@rm -rf build dist $(VENV) agent/*.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find agent tests bench collections docs inventories -name __pycache__ -type d -prune -exec rm -rf {} +

machine:
	@.ci/setup machine

$(READY): .ci/requirements-test.txt pyproject.toml .ci/setup
	@.ci/setup environment $(VENV)
