# Each target makes what it needs; there is no other step before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PYTEST := $(BIN)/python -m pytest
COMFYUI ?=
SHORT ?=
SEED ?=

.PHONY: demo test test-comfyui check static bench faults simulate seeds clean
.DEFAULT_GOAL := check

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "comfyone needs Python 3.11 or newer")'
	@echo "making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[gateway,sandbox,web]' --group dev
	@touch $@

demo: $(READY)  ## main job, end to end, on sandboxes or on a real server (COMFYUI=http://host:8188)
	@$(BIN)/python scripts/demo.py $(if $(COMFYUI),--comfyui $(COMFYUI))

test: $(READY)  ## everything but the real ComfyUI
	@$(PYTEST) -n auto -m "not comfyui"

test-comfyui: $(READY)  ## the conformance suite and the end-to-end test on a real ComfyUI
	@$(BIN)/python scripts/real_comfyui.py prepare
	@COMFYONE_TEST_COMFYUI=1 $(PYTEST) tests/conformance

check: $(READY) static test  ## format, lint, types, layers, tests

static: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY)  ## the benchmarks, as ratios side by side
	@$(BIN)/python -m bench $(if $(COMFYUI),--comfyui $(COMFYUI))

faults: $(READY)  ## everything goes wrong at once, and must add up in the end (SHORT=1: a little; SEED=n: again)
	@$(BIN)/python -m faults $(if $(SHORT),--short) $(if $(SEED),--seed $(SEED))

simulate: $(READY)  ## the scheduler with 10,000 simulated backends, measured
	@$(BIN)/python -m scripts.simulate

build/seeds/test.json: $(READY)
	@$(MAKE) test

seeds: build/seeds/test.json  ## which of the promised items are proven by tests
	@$(BIN)/python scripts/seeds.py

clean:
	rm -rf $(VENV) build dist demo-output bench-output faults-output simulate-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
