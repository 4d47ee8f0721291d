# One word for each thing that a person does here; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

STUDY ?= config.yaml
# the study of the records in docs/
SHIPPED = config.yaml studies/overlays/first-experiment.yaml
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
MEM_MB ?= $(shell $(PYTHON) docker/memory_mb.py)

# Resources on the command line replace the profile's, so the GPU count is said here again.
# The target comes first: --resources and --configfile take every word that follows them.
SNAKEMAKE = $(IN_ENV) snakemake $(TARGET) --cores all --resources mem_mb=$(MEM_MB) gpu=$(GPUS) $(CONFIGFILE)
CONFIGFILE = $(if $(filter-out config.yaml,$(STUDY)),--configfile $(STUDY))

.PHONY: help env controller quant-env judge-env benchmark-env table smoke dry-run plan verdict why changes findings tune record reread serving commutators costs utilization benchmark unlock test slurm-test image image-test \
	lint format check-claims docs lock cuda-lock dev-env study clean

help: ## List the targets
	@echo "usage: make TARGET [STUDY=config.yaml] [PYTHON=python3] [GPUS=1] [SLOW=0]"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12

env: .venv/page.lock .venv/bin/compression-order ## Create .venv from envs/core.lock; anew when that lock has changed

controller: .venv-controller/controller.lock ## Create .venv-controller: Snakemake for a login node, no torch

# llm-compressor wants another transformers than everything else.
quant-env: .venv-quant/quant.lock ## Create .venv-quant: GPTQ, AWQ, SparseGPT and Wanda run there

# deepeval pulls down the libraries of everything else.
judge-env: .venv-judge/judge.lock ## Create .venv-judge: verdicts on generated answers are asked for there

# TRL and GPTQModel are timed, never used.
benchmark-env: .venv-benchmark/benchmark.lock ## Create .venv-benchmark: other programs that `make benchmark` times

# Jobs tell their own progress; Snakemake's list of each job's inputs would bury it.
QUIET = --quiet host reason rules

table: env study ## Run STUDY on all cores: results/table.csv
	$(SNAKEMAKE) $(QUIET)

smoke: override STUDY := studies/smoke.yaml
smoke: TARGET = results/smoke/table.csv results/smoke/findings.md
smoke: env study ## Run the same workflow on a tiny model: results/smoke/table.csv
	$(SNAKEMAKE) $(QUIET)

dry-run: env study ## Show the jobs that `make table` would run, and why
	$(SNAKEMAKE) --dry-run

plan: env study ## Sizes, FLOPs, memory and hours of STUDY, before anything runs; DEVICE=h100-sxm
	$(IN_ENV) compression-order plan --study $(STUDY) $(if $(DEVICE),--device $(DEVICE))

verdict: env study ## Every published claim against the table of STUDY: reproduced or not
	$(IN_ENV) compression-order verdict --study $(STUDY)

why: env study ## Where one cell of the table of STUDY comes from: ROW=P-KD-Q COLUMN=kl
	@test -n "$(ROW)" -a -n "$(COLUMN)" || { echo "error: name a cell of the table, such as" \
		"make why ROW=P-KD-Q COLUMN=kl; missing:$(if $(ROW),, ROW)$(if $(COLUMN),, COLUMN)" >&2; exit 1; }
	$(IN_ENV) compression-order why $(ROW) $(COLUMN) --study $(STUDY) $(if $(MARKDOWN),--markdown "$(MARKDOWN)")

changes: env study ## What each stage of STUDY changed, added to each sequence of stages
	$(IN_ENV) compression-order changes --study $(STUDY)

findings: TARGET = results/findings.md
findings: env study ## What the numbers of STUDY mean: results/findings.md, made and shown
	$(SNAKEMAKE) $(QUIET)
	@cat $(TARGET)

serving: TARGET = serving
serving: env study ## What checkpoints of STUDY cost to serve, timed one at a time; keep the machine idle
	$(SNAKEMAKE) $(QUIET)

commutators: TARGET = commutators
commutators: env study ## KL divergence between checkpoints that differ by a swap of two stages
	$(SNAKEMAKE) $(QUIET)

costs: env study ## What making each checkpoint of STUDY took, stage by stage and along each order
	$(IN_ENV) compression-order costs --study $(STUDY)

utilization: env study ## Draw how busy the device was along each order of STUDY: results/utilization.svg
	$(IN_ENV) compression-order utilization --study $(STUDY)

# The study that tries is written, run, and written anew as long as its best point lies at an end.
tune: env study ## Choose the settings of STUDY on its dev split: studies/<study>.tuned.csv
	set -e; export $(IN_ENV); compression-order tune --study $(STUDY); while [ -e work/tuning.yaml ]; do \
		$(MAKE) --no-print-directory table STUDY=work/tuning.yaml \
			TARGET=results/$$(sed -n 's/^study: //p' work/tuning.yaml)/table.csv; \
		compression-order tune --study $(STUDY); done

record: env study ## Pack what the table of STUDY was made from, no weights: RECORD=file.tar.xz
	$(IN_ENV) compression-order record --study $(STUDY) --pack $(or $(RECORD),results/record.tar.xz)

# The rules that make checkpoints and evaluations are left out: what was recorded is all there is.
reread: STUDY = $(SHIPPED)
reread: env study ## Table and findings from records: those in docs/, or STUDY=... RECORD="one.tar.xz another.tar.xz"
	$(IN_ENV) compression-order record --study $(STUDY) --unpack $(or $(RECORD),docs/records/first/*.tar.xz)
	$(SNAKEMAKE) $(QUIET) --allowed-rules table analysis main_table --forcerun table analysis

# What the benchmark reads: the default study's uncompressed model, its texts and their splits.
benchmark: override STUDY := config.yaml
benchmark: TARGET = results/smollm2-135m/seed0/checkpoints/base/checkpoint.json \
	results/smollm2-135m/splits.json $(patsubst %,assets/text/%.jsonl,alpaca wiki openbookqa siqa)
benchmark: env $(if $(QUICK),,benchmark-env quant-env) ## Time ours beside other programs, store ratios; ROUNDS=5, or QUICK=1: compare with stored ones
	$(SNAKEMAKE) $(QUIET)
	$(IN_ENV) python -m benchmarks.run $(if $(QUICK),--quick,--rounds $(or $(ROUNDS),5)) $(if $(ONLY),--only $(ONLY))

unlock: env study ## Release the lock of a run that was killed
	$(SNAKEMAKE) --unlock

# Slow tests are left out unless they are asked for; those of .venv-quant and .venv-judge where there is none.
QUANT ?= $(if $(wildcard .venv-quant/quant.lock),1,0)
SLOW_OUT = $(if $(filter only,$(SLOW)), and slow,$(if $(filter 1,$(SLOW)),, and not slow))
QUANT_OUT = $(if $(filter 1,$(QUANT)),, and not quant)
JUDGE ?= $(if $(wildcard .venv-judge/judge.lock),1,0)
JUDGE_OUT = $(if $(filter 1,$(JUDGE)),, and not judge)

# One process a core, each with one thread; a file of tests stays in one process.
WORKERS ?= auto
PYTEST = OMP_NUM_THREADS=1 $(IN_ENV) pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test: lint ## Check format, lint and types, then run the tests; SLOW=1 the slow ones too, SLOW=only alone
	$(PYTEST) $(TESTS) -m "not cluster and not engine$(SLOW_OUT)$(QUANT_OUT)$(JUDGE_OUT)"

slurm-test: dev-env controller ## Start Slurm here (root: installs it), run the workflow on it, break things
	@missing=; for program in munged slurmctld slurmd sbatch; do \
		command -v $$program >/dev/null || missing+=" $$program"; done; \
	[ -z "$$missing" ] || { [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null && { apt-get update; \
		DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends slurm-wlm munge; }; } || { \
		echo "error:$$missing not found; run this as root on Debian or Ubuntu, or install the" \
		"packages slurm-wlm and munge" >&2; exit 1; }
	$(IN_ENV) pytest -m cluster

lint: dev-env ## Check format, lint and types only
	$(IN_ENV) ruff format --check .
	$(IN_ENV) ruff check .
	$(IN_ENV) snakefmt --check Snakefile rules
	$(IN_ENV) mypy src

format: dev-env ## Format the Python and Snakemake files in place
	$(IN_ENV) ruff check --fix-only --quiet .
	$(IN_ENV) ruff format .
	$(IN_ENV) snakefmt Snakefile rules

check-claims: dev-env ## Compute every marked number of the pages anew from docs/records; fail on a difference
	$(IN_ENV) python tests/support/claims.py

docs: dev-env ## Rewrite what is generated in docs/: the figure, the map, the marked numbers
	$(IN_ENV) python tests/support/generated.py

# Only pins go in: no local versions (+cpu) and no packages that exist for CUDA alone.
PIP_COMPILE = $(IN_ENV) CUSTOM_COMPILE_COMMAND="make lock" pip-compile --quiet --strip-extras \
	--no-emit-options --annotation-style=line --unsafe-package pip
# nvidia-ml-py is pure Python, and llm-compressor needs it everywhere.
PORTABLE = sed -E -i.bak -e '/^nvidia-ml-py/!{/^(nvidia|cuda|triton)/d' -e '}' -e 's/^([^ ]+==[^ +]+)\+[^ ]+/\1/'

lock: dev-env ## Renew the locks from the .in files; UPGRADE=1 takes the newest versions
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --output-file core.lock core.in
	cd envs && $(PORTABLE) core.lock && rm core.lock.bak
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --constraint core.lock --output-file page.lock page.in
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --output-file dev.lock dev.in
	cd envs && $(PORTABLE) dev.lock && rm dev.lock.bak
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --output-file quant.lock quant.in
	cd envs && $(PORTABLE) quant.lock && rm quant.lock.bak
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --output-file judge.lock judge.in
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --output-file controller.lock controller.in
	cd envs && $(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --output-file benchmark.lock benchmark.in
	cd envs && $(PORTABLE) benchmark.lock && rm benchmark.lock.bak
	$(MAKE) cuda-lock

# The same pins and what torch needs on CUDA, every file by its sha256, for Python 3.11 and newer.
cuda-lock: dev-env ## Renew envs/core.cuda.lock, what the image is made from, from core.lock and page.lock
	cd envs && $(IN_ENV) UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --universal \
		--python-version 3.11 --generate-hashes --strip-extras --annotation-style line \
		--constraint core.lock --constraint page.lock --output-file core.cuda.lock core.in page.in

# The image's base, build of torch (cuda or index) and pip.conf; docs/docker.md says what they do.
IMAGE ?= compression-order
DOCKER ?= docker
COMMA = ,
BUILD_FLAGS = $(foreach name,BASE TORCH PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST,$(if \
	$($(name)),--build-arg $(name)="$($(name))")) \
	$(if $(PIP_CONF),--secret id=pip.conf$(COMMA)src="$(PIP_CONF)")

image: ## Build the container image; IMAGE=name BASE=image TORCH=cuda|index PIP_CONF=file
	DOCKER_BUILDKIT=1 $(DOCKER) build $(BUILD_FLAGS) --tag $(IMAGE) \
		--build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
		--build-arg REVISION=$$(git describe --always --dirty --abbrev=40 --exclude '*') .

image-test: dev-env ## Build the image on a fresh base and run studies in it; starts an engine if need be
	$(IN_ENV) pytest tests/image/test_image.py tests/image/test_container.py -m engine

clean: ## Remove results/, work/ and logs/; assets/ and .venv/ stay
	rm -rf results work logs

study:
	@for file in $(STUDY); do test -f "$$file" || { echo "error: STUDY: $$file does not exist;" \
		"name one of:" config.yaml studies/*.yaml >&2; exit 1; }; done

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

.venv-controller/controller.lock: envs/controller.lock
	@cmp --silent $< $@ || { set -x; rm -rf .venv-controller; $(PYTHON) -m venv .venv-controller; \
		.venv-controller/bin/python -m pip install --requirement $<; }
	@cp $< $@

.venv-quant/quant.lock: envs/quant.lock .venv/core.lock
	@cmp --silent $< $@ || { set -x; rm -rf .venv-quant; $(BIN)/python -m venv .venv-quant; \
		.venv-quant/bin/python -m pip install --requirement $<; }
	@cp $< $@

.venv-judge/judge.lock: envs/judge.lock .venv/core.lock
	@cmp --silent $< $@ || { set -x; rm -rf .venv-judge; $(BIN)/python -m venv .venv-judge; \
		.venv-judge/bin/python -m pip install --requirement $<; }
	@cp $< $@

.venv-benchmark/benchmark.lock: envs/benchmark.lock .venv/core.lock
	@cmp --silent $< $@ || { set -x; rm -rf .venv-benchmark; $(BIN)/python -m venv .venv-benchmark; \
		.venv-benchmark/bin/python -m pip install --requirement $<; }
	@cp $< $@

# What pages and plots need: no rule has this lock among its inputs.
.venv/page.lock: envs/page.lock .venv/core.lock
	@cmp --silent $< $@ || { set -x; $(BIN)/python -m pip install --requirement $< --constraint envs/core.lock; }
	@cp $< $@

# The command of this checkout; the jobs of a run do without it.
.venv/bin/compression-order: pyproject.toml .venv/core.lock
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

dev-env: env .venv/dev.lock

.venv/dev.lock: envs/dev.lock .venv/core.lock
	@cmp --silent $< $@ || { set -x; $(BIN)/python -m pip install --requirement $< --constraint envs/core.lock; }
	@cp $< $@
