# Every target that needs the environment sets it up first. `make demo` runs the main job, `make test` the tests.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# Arguments of a command: make train ARGS="content=cat style=dots"
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python -m
# The newest Python that all dependencies support; choose another with make clean, then make setup PYTHON=python3.12
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$name && break; done)
# Let uv use the package index that pip is configured for
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
export UV_PYTHON_DOWNLOADS := never
# Accept the machine's own certificate authorities
export UV_SYSTEM_CERTS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
# Without bytecode files Python recompiles all libraries at every start, which takes ten seconds. Write them into .venv
ifdef PYTHONDONTWRITEBYTECODE
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/bytecode
endif

help: ## show this list of targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## create .venv at the versions of requirements.lock; with another Python: make clean, then make setup PYTHON=python3.12

$(VENV)/.ready: requirements.lock
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; give one with make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@uv=$$(command -v uv || true); \
	if [ -z "$$uv" ]; then \
		echo "installing uv into .uv"; \
		$(PYTHON) -m venv .uv >/dev/null 2>&1 && .uv/bin/python -m pip install --quiet uv \
			|| $(PYTHON) -m pip install --quiet --target .uv uv \
			|| { echo "uv is not installed, and neither venv nor pip could install it: see https://docs.astral.sh/uv, or on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
		uv=.uv/bin/uv; \
	fi; \
	[ -n "$$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX; \
	"$$uv" venv --quiet --allow-existing --python "$(PYTHON)" $(VENV); \
	echo "installing the packages of requirements.lock (once, about 6 GB on disk)"; \
	"$$uv" pip sync --quiet --python $(VENV)/bin/python --require-hashes requirements.lock
	@$(MAKE) --no-print-directory path
	@touch $@

path: # let the environment's Python find this checkout from any folder
	@pwd > "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/neural-style-lightning.pth"

demo: setup ## stylise one picture in about a minute, without account or GPU
	@$(RUN) src.train experiment=demo $(ARGS)

train: setup ## start one run: make train ARGS="content=cat style=dots steps=300"
	@$(RUN) src.train $(ARGS)

sweep: setup ## start several runs: make sweep ARGS="style=dots,swell loss.beta=5,20"
	@$(RUN) src.train -m $(ARGS)

status: setup ## show what is done, running, waiting and failed in a sweep with workers: make status ARGS="multirun/A --watch"
	@$(RUN) src.sweep status $(ARGS)

search: setup ## search weights for the best trade-off of content and style: make search ARGS="content=cat style=dots trials=20"
	@$(RUN) src.search $(ARGS)

paper: setup ## run the published recipe on one pair (downloads VGG-19 and two images)
	@$(RUN) src.train experiment=paper $(ARGS)

distill: setup ## train a network that stylises in one pass: make distill ARGS="images=photos style=dots"
	@$(RUN) src.distill $(ARGS)

paint: setup ## stylise pictures or clips in one pass of a network: make paint ARGS="content.path=photo.jpg style=swell"
	@$(RUN) src.paint $(ARGS)

app: setup ## serve a page on this machine to make pictures and watch them: make app ARGS="--port 8700"
	@$(RUN) src.app $(ARGS)

report: setup ## write gallery, figures and tables of the newest sweep, or of ARGS="multirun/A multirun/B"
	@$(RUN) src.report $(ARGS)

bench: setup ## measure speed and memory on this machine and update docs/performance.md
	@$(RUN) src.bench --docs $(ARGS)

PICTURES := multirun/pictures
MASKED := content=astronaut content.mask=src/assets/masks/astronaut.png style.mask=0 edge=256 steps=80 'captures=[1.0]' logger=none

pictures: setup ## make the pictures of the README and docs anew, in about ten minutes on two CPU cores
	@rm -rf $(PICTURES)
	@$(RUN) src.train -m experiment=demo 'captures=[1.0]' logger=none hydra.sweep.dir=$(PICTURES)/demo
	@$(RUN) src.train experiment=grid logger=none hydra.sweep.dir=$(PICTURES)/grid
	@$(RUN) src.train experiment=layer_ablation content=coffee style=brushwork edge=256 logger=none hydra.sweep.dir=$(PICTURES)/layers
	@$(RUN) src.train experiment=style_layers content=cat style=brushwork edge=256 logger=none hydra.sweep.dir=$(PICTURES)/textures
	@$(RUN) src.train -m content=cat style=brushwork edge=256 steps=100 color=style,luminance,match,content logger=none hydra.sweep.dir=$(PICTURES)/colors
	@$(RUN) src.train experiment=architectures content=coffee style=swell edge=256 backbone=embedded,efficientnet_lite0 backbone.swag=off canvas.space=pixel,laplacian,fourier logger=none hydra.sweep.dir=$(PICTURES)/networks
	@$(RUN) src.train -m content=rocket style=swell 'blend.styles=[brushwork]' 'blend.weights=[0.25],[0.5],[0.75]' edge=256 steps=100 logger=none hydra.sweep.dir=$(PICTURES)/blends
	@$(RUN) src.train -m $(MASKED) style=brushwork keep_unmasked=true hydra.sweep.dir=$(PICTURES)/masks
	@$(RUN) src.train -m $(MASKED) style=swell 'blend.styles=[brushwork]' 'blend.masks=[255]' hydra.sweep.dir=$(PICTURES)/masks
	@$(RUN) src.mesh mesh.path=src/assets/models/vase.glb style=brushwork 'captures=[1.0]' logger=none hydra.run.dir=$(PICTURES)/mesh
	@cp $(PICTURES)/mesh/turntable.jpg src/assets/mesh.jpg
	@$(RUN) src.assets.networks.sheet src/assets/one_pass.jpg
	@for made in demo/figure2:demo grid/grid:grid layers/sweep:layers textures/sweep:textures colors/sweep:colors networks/sweep:networks blends/sweep:blends masks/figure2:masks; do \
		from=$${made%%:*}; $(RUN) src.report $(PICTURES)/$${from%%/*}; \
		cp $(PICTURES)/$${from%%/*}/report/$${from##*/}.jpg src/assets/$${made##*:}.jpg; done

dashboard: setup ## save a W&B workspace view and report: make dashboard ARGS="ENTITY/PROJECT"
	@$(RUN) src.dashboard $(ARGS)

sync: setup ## upload the runs that W&B tracked offline
	@$(RUN) src.sync $(ARGS)

test: setup ## run all tests; they need no GPU, network or account
	@$(RUN) pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

ray: setup ## install Ray, for hydra/launcher=ray
	@[ -n "$$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX; \
	$$(command -v uv || echo .uv/bin/uv) pip install --quiet --python $(VENV)/bin/python --constraint requirements.lock 'ray>=2.50,<3'

test-long: ray ## run the long tests: runs in a browser, kills, W&B servers that fail, Ray, a real Slurm from Debian's packages (as root)
	@$(RUN) pytest -m long $(ARGS)

lint: setup ## check style and format with ruff
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check

type: setup ## check types with mypy
	@$(VENV)/bin/mypy

# All extras but ray, which is large and of use on a Ray cluster alone
EXTRAS := app onnx search dashboard efficientnet tensorboard files slurm mlflow video mesh dev

lock: setup ## update requirements.lock from pyproject.toml
	@$$(command -v uv || echo .uv/bin/uv) pip compile --quiet --universal --generate-hashes $(EXTRAS:%=--extra %) --no-header \
		--upgrade pyproject.toml --output-file requirements.lock

clean: ## remove the environment and caches; keep the runs under multirun/
	rm -rf $(VENV) .uv .mypy_cache .ruff_cache .pytest_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup path demo distill paint app train sweep status search paper report bench pictures dashboard sync test ray test-long lint type lock clean
