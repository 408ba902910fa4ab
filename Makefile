PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench setup train-demo train-smollm2 clean
.DEFAULT_GOAL := demo

demo: setup  ## set up, then ask, probe, prune and compare on the embedded model
	$(BIN)/wordsight demo

test: setup  ## set up, then run the tests
	$(BIN)/python -m pytest

check: setup  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## run every experiment again and write the tables from the results
	$(BIN)/python benchmarks/run.py

train-demo: setup  ## train the embedded model again; training/README.md says how long that takes
	cd training && ../$(BIN)/python tower.py && ../$(BIN)/python language.py && ../$(BIN)/python export.py

train-smollm2: setup  ## train the projector of demo-smollm2 on the tower of stage 1; a GPU is worth having
	cd training && ../$(BIN)/python smollm2.py

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build demo-output
