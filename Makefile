# Everyday verbs. Each makes the virtual environment first if it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS ?= runs/demo

.PHONY: help demo view test soak lint format types check docs bench clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed  ## harvest, train, measure and index the embedded model; then read it in a browser
	$(BIN)/lexiscope demo --out $(RUNS)

view: $(VENV)/.installed  ## open the web app on the demo's folder
	$(BIN)/lexiscope view $(RUNS)

test: $(VENV)/.tested  ## the whole test suite
	$(BIN)/python tools/chromium.py
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

soak: $(VENV)/.tested  ## the durability tests and those of the interface in full: hours
	LEXISCOPE_SOAK=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/durability tests/web/test_contract.py

lint: $(VENV)/.tested  ## style
	$(BIN)/ruff check src tests tools bench
	$(BIN)/ruff format --check src tests tools bench

format: $(VENV)/.tested  ## put the code in its usual form
	$(BIN)/ruff check --fix src tests tools bench
	$(BIN)/ruff format src tests tools bench

types: $(VENV)/.tested  ## the strict type checker
	$(BIN)/mypy

check: lint types test  ## what a change has to pass

docs: $(VENV)/.tested  ## check the documentation, and take the README's pictures from the demo's folder
	$(BIN)/pytest tests/test_docs.py
	$(BIN)/python tools/screenshots.py $(RUNS)

bench: $(VENV)/.installed  ## speed: harvest against the bare forward, the training step against its floor
	$(BIN)/python bench/harvest.py
	$(BIN)/lexiscope bench

clean:  ## remove what these verbs made
	rm -rf $(VENV) runs build dist

# torch comes first and pinned: an unpinned resolver may bring several GB of CUDA packages to a machine without a GPU.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
