# One word for each thing that a person does here; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

STUDY ?= config.yaml
GPUS ?= 1
SLOW ?= 0
TARGET = results/table.csv

# The first of these from 3.11 to 3.13, for which every pin has a wheel or is pure Python; else
# python3. `make env PYTHON=...` names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && exit; done; echo python3)

BIN := $(CURDIR)/.venv/bin
IN_ENV = PATH="$(BIN):$$PATH"

# MiB that jobs may take together: the machine's, or the container's where that is less.
MEM_MB ?= $(shell $(PYTHON) -c 'import os, pathlib; \
	total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"); \
	cgroup = pathlib.Path("/sys/fs/cgroup"); \
	caps = [cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"]; \
	texts = [cap.read_text().strip() for cap in caps if cap.is_file()]; \
	print(min([total, *(int(text) for text in texts if text.isdigit())]) >> 20)')

# Resources on the command line replace the profile's, so the GPU count is said here again.
# The target comes first: --resources and --configfile take every word that follows them.
SNAKEMAKE = $(IN_ENV) snakemake $(TARGET) --cores all --resources mem_mb=$(MEM_MB) gpu=$(GPUS) $(CONFIGFILE)
CONFIGFILE = $(if $(filter-out config.yaml,$(STUDY)),--configfile $(STUDY))

.PHONY: help env table smoke dry-run plan unlock test lint format lock dev-env study clean

help: ## List the targets
	@echo "usage: make TARGET [STUDY=config.yaml] [PYTHON=python3] [GPUS=1] [SLOW=0]"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

env: .venv/core.lock ## Create .venv from envs/core.lock; anew when that lock has changed

# Jobs tell their own progress; Snakemake's list of each job's inputs would bury it.
QUIET = --quiet host reason rules

table: env study ## Run STUDY on all cores: results/table.csv
	$(SNAKEMAKE) $(QUIET)

smoke: override STUDY := studies/smoke.yaml
smoke: TARGET = results/smoke/table.csv
smoke: env study ## Run the same workflow on a tiny model: results/smoke/table.csv
	$(SNAKEMAKE) $(QUIET)

dry-run: env study ## Show the jobs that `make table` would run, and why
	$(SNAKEMAKE) --dry-run

plan: env study ## Sizes, FLOPs, memory and hours of STUDY, before anything runs
	$(IN_ENV) python src/plan.py --study $(STUDY)

unlock: env study ## Release the lock of a run that was killed
	$(SNAKEMAKE) --unlock

test: lint ## Check format, lint and types, then run the tests; SLOW=1 runs the slow ones too
	$(IN_ENV) pytest $(if $(filter 1,$(SLOW)),,-m "not slow")

lint: dev-env ## Check format, lint and types only
	$(IN_ENV) ruff format --check .
	$(IN_ENV) ruff check .
	$(IN_ENV) snakefmt --check Snakefile rules
	$(IN_ENV) mypy src

format: dev-env ## Format the Python and Snakemake files in place
	$(IN_ENV) ruff check --fix-only --quiet .
	$(IN_ENV) ruff format .
	$(IN_ENV) snakefmt Snakefile rules

# Only pins go in: no local versions (+cpu) and no packages that exist for CUDA alone.
PIP_COMPILE = $(IN_ENV) CUSTOM_COMPILE_COMMAND="make lock" pip-compile --quiet --strip-extras \
	--no-emit-options --annotation-style=line --unsafe-package pip
PORTABLE = sed -E -i.bak -e '/^(nvidia|cuda|triton)/d' -e 's/^([^ ]+==[^ +]+)\+[^ ]+/\1/'

lock: dev-env ## Renew both locks from the .in files; UPGRADE=1 takes the newest versions
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --output-file core.lock core.in
	cd envs && $(PORTABLE) core.lock && rm core.lock.bak
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --output-file dev.lock dev.in
	cd envs && $(PORTABLE) dev.lock && rm dev.lock.bak

clean: ## Remove results/, work/ and logs/; assets/ and .venv/ stay
	rm -rf results work logs

study:
	@test -f "$(STUDY)" || { echo "error: STUDY=$(STUDY) does not exist; name one of:" \
		config.yaml studies/*.yaml >&2; exit 1; }

# A copy of each lock inside .venv says what it was made from: it is written last, so an
# installation that broke off starts again, and a touched lock costs nothing.
.venv/core.lock: envs/core.lock
	@command -v "$(PYTHON)" >/dev/null || { echo "error: $(PYTHON) is not found;" \
		"install Python 3.11 or newer, or name one: make env PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); version 3.11 or newer is needed:" \
		"make env PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) cannot make virtual" \
		"environments; install its venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@cmp --silent $< $@ || { set -x; rm -rf .venv; $(PYTHON) -m venv .venv; \
		$(BIN)/python -m pip install --requirement $<; }
	@cp $< $@

dev-env: .venv/dev.lock

.venv/dev.lock: envs/dev.lock .venv/core.lock
	@cmp --silent $< $@ || { set -x; $(BIN)/python -m pip install --requirement $< --constraint envs/core.lock; }
	@cp $< $@
