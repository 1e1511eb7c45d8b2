# Everything runs in .venv, which the first target that needs it creates. Python >= 3.10 is all a machine must have.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/2d-navigation

# Real Omniglot images for the tests that want them, where the folder is there.
OMNIGLOT ?= $(wildcard ../shared/data/omniglot)
ifneq ($(OMNIGLOT),)
export MAML_RL_OMNIGLOT := $(abspath $(OMNIGLOT))
endif

.PHONY: train test test-metaworld check format benchmark slow clean

train: $(VENV)/ready  ## meta-train 2D navigation in minutes, then the table and a picture
	$(BIN)/python scripts/train.py --config configs/maml_trpo/2d-navigation.yaml --output $(RUN) \
		$(if $(wildcard $(RUN)/checkpoints/last.pt),--resume)
	$(BIN)/python scripts/evaluate.py --run $(RUN) --steps 3
	$(BIN)/python scripts/render.py --run $(RUN) --steps 0 1 3 --tasks 3 --output $(RUN)/paths.png

test: $(VENV)/ready  ## all tests but the slow ones, a file on each of two cores
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-metaworld: .venv-metaworld/ready  ## the tests of Meta-World, in an environment with the MuJoCo that it pins
	.venv-metaworld/bin/python -m pytest tests/envs/test_meta_world.py

.venv-metaworld/ready: setup.cfg constraints-metaworld.txt
	$(PYTHON) -m venv .venv-metaworld
	.venv-metaworld/bin/python -m pip install --quiet --upgrade pip
	.venv-metaworld/bin/python -m pip install --quiet --constraint constraints-metaworld.txt --editable "." metaworld pytest
	touch $@

check: $(VENV)/ready  ## formatting, lint, types, fast tests: green before every commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(VENV)/ready  ## speed, as ratios within one run
	$(BIN)/python scripts/benchmark.py

slow: $(VENV)/ready  ## the long reproductions
	$(BIN)/python -m pytest -m slow

$(VENV)/ready: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,video]"
	touch $@

clean:
	rm -rf $(VENV) .venv-metaworld
