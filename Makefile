# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# Words after the command: make train ARGS="content=cat style=dots"
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python -m
# The first Python that the dependencies run on; choose another with make setup PYTHON=python3.12
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$name && break; done)
# uv takes pip's own index where one is configured
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
export UV_PYTHON_DOWNLOADS := never
# trust what the machine trusts: its own certificate authorities too
export UV_SYSTEM_CERTS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
# Where Python is told to write no bytecode it compiles all libraries anew at every start, for ten seconds: in here it may
ifdef PYTHONDONTWRITEBYTECODE
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/bytecode
endif

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## install everything into .venv, at the versions of requirements.lock

$(VENV)/.ready: requirements.lock
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 was found; name one: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@uv=$$(command -v uv || true); \
	if [ -z "$$uv" ]; then \
		echo "getting uv into .uv"; \
		$(PYTHON) -m venv .uv >/dev/null 2>&1 && .uv/bin/python -m pip install --quiet uv \
			|| $(PYTHON) -m pip install --quiet --target .uv uv \
			|| { echo "uv is missing, and neither venv nor pip can get it: see https://docs.astral.sh/uv" >&2; exit 1; }; \
		uv=.uv/bin/uv; \
	fi; \
	[ -n "$$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX; \
	"$$uv" venv --quiet --allow-existing --python "$(PYTHON)" $(VENV); \
	echo "installing the packages of requirements.lock (about 6 GB on disk, once)"; \
	"$$uv" pip sync --quiet --python $(VENV)/bin/python --require-hashes requirements.lock
	@touch $@

demo: setup ## one picture in about a minute, without network, account or GPU
	@$(RUN) src.train experiment=demo $(ARGS)

train: setup ## one run: make train ARGS="content=cat style=dots steps=300"
	@$(RUN) src.train $(ARGS)

sweep: setup ## several runs: make sweep ARGS="style=dots,swell loss.beta=5,20"
	@$(RUN) src.train -m $(ARGS)

search: setup ## settings that trade content for style best: make search ARGS="content=cat style=dots trials=20"
	@$(RUN) src.search $(ARGS)

paper: setup ## the published recipe on one pair (downloads VGG-19 and two images)
	@$(RUN) src.train experiment=paper $(ARGS)

report: setup ## tables and Figure 2 of the newest sweep, or of ARGS="multirun/..."
	@$(RUN) src.report $(ARGS)

bench: setup ## measure what the program costs here, and bring the README's tables up to date
	@$(RUN) src.bench --readme $(ARGS)

dashboard: setup ## W&B view and report of a project: make dashboard ARGS="ENTITY/PROJECT"
	@$(RUN) src.dashboard $(ARGS)

sync: setup ## upload what W&B tracked offline
	@$(RUN) src.sync $(ARGS)

test: setup ## all tests; no GPU, network or account needed
	@$(RUN) pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

lint: setup ## ruff: style and format
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check

type: setup ## mypy
	@$(VENV)/bin/mypy

lock: setup ## resolve requirements.lock anew from pyproject.toml
	@$$(command -v uv || echo .uv/bin/uv) pip compile --quiet --universal --generate-hashes --all-extras --no-header \
		--upgrade pyproject.toml --output-file requirements.lock

clean: ## remove the environment and caches; runs under multirun/ stay
	rm -rf $(VENV) .uv .mypy_cache .ruff_cache .pytest_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup demo train sweep search paper report bench dashboard sync test lint type lock clean
