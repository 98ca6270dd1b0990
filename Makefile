# `make run` and `make test` are all that is needed; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= $(shell $(PYTHON) -c 'import os; print(max(1, min(4, os.cpu_count() or 1)))')
NB     ?=
CONSTRAINTS ?= -c constraints.txt
PIP     = $(BIN)/python -m pip install -qq --disable-pip-version-check $(CONSTRAINTS)

.DEFAULT_GOAL := help
.PHONY: help run test lab export config notebooks images readme docs check lint bench peers clean

help:            ## list the targets
	@grep -E '^[a-z]+: .*##|^[a-z]+:  +##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1|/' | \
	  while IFS='|' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

run: $(VENV)/run.stamp  ## export, and run every lesson on generated data
	@$(MAKE) -s export
	@$(BIN)/python tools/run.py -j $(JOBS) $(NB)
	@echo "Open the lessons with: make lab"

test: $(VENV)/test.stamp  ## everything that the tests cover
	@EXP_DATA=sample $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -v -ra --durations=8

lab: $(VENV)/run.stamp  ## open the lessons in JupyterLab
	@$(BIN)/jupyter lab --notebook-dir=nbs

export: $(VENV)/run.stamp  ## notebooks -> exp/, from nothing, so that no stale module survives
	@find exp -name '*.py' ! -name __init__.py -delete
	@$(BIN)/nbdev-export

config: $(VENV)/run.stamp  ## settings.ini -> pyproject.toml
	@$(BIN)/python tools/config.py

notebooks: $(VENV)/test.stamp  ## the run that is committed: real data, outputs saved (NB="nbs/x.ipynb" for some)
	@$(MAKE) -s export config
	@EXP_DATA=real $(BIN)/python tools/run.py --save --solutions -j $(JOBS) $(NB)
	@$(MAKE) -s images readme

images: $(VENV)/run.stamp  ## the drawings in nbs/images
	@$(BIN)/python nbs/images/draw.py

readme: $(VENV)/run.stamp  ## the map of lessons in nbs/index.ipynb, and README.md from it
	@$(BIN)/python tools/readme.py

docs: $(VENV)/test.stamp  ## the site, in docs/_build/html
	@$(BIN)/python tools/stage.py

check: $(VENV)/test.stamp  ## the style figures of each notebook against their bars, and the ledger
	@$(BIN)/python tools/bars.py
	@$(BIN)/python tools/ledger.py

lint: $(VENV)/test.stamp  ## real mistakes only: syntax, undefined and unused names
	@$(BIN)/ruff check exp nbs tools tests docs

bench: $(VENV)/run.stamp  ## every bar of speed, measured anew; beside it the frameworks that `make peers` has installed
	@EXP_DATA=real $(if $(wildcard .peers/done),.peers,$(VENV))/bin/python bench/all.py

peers:           ## other frameworks, for `make bench` alone, into .peers
	@$(PYTHON) -m venv .peers
	@.peers/bin/python -m pip install -qq --disable-pip-version-check $(CONSTRAINTS) . fastai lightning accelerate skorch pytorch-ignite
	@touch .peers/done

clean:           ## remove what was built; the environment stays
	@rm -rf build dist docs/_build docs/_src _proc .pytest_cache .ruff_cache *.egg-info

# --- environments: installed once, and again only when the requirements change ------------------
$(VENV)/run.stamp: settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12" if v < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), once. 1 of 2: PyTorch, the largest part"
	@$(PIP) torch
	@echo "2 of 2: the rest"
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp
	@echo "Installing what the tests and the site need"
	@$(PIP) -e '.[dev,test,docs]'
	@touch $@
