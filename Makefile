# Needs Python 3.11 or newer, make and git; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := $(CURDIR)/demo
SCALE ?= 0.05
BENCH ?= texture

.PHONY: setup demo test test-min check format bench lock audit clean
.DEFAULT_GOAL := setup

setup: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml python_env.yaml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python scripts/install.py
	$(BIN)/python scripts/seed_mlflow_env.py
	@touch $@

# The whole product in one go: cells in, a model trained and registered through an MLflow Project,
# a plate scored that the model has not seen, and another one from the images of an instrument.
# Everything it makes is under demo/.
demo: export MLFLOW_TRACKING_URI := sqlite:///$(DEMO)/mlflow.db
demo: export COOS_CACHE := $(DEMO)/cache
demo: export PATH := $(CURDIR)/$(BIN):$(PATH)
demo: setup
	mkdir -p $(DEMO)
	coos simulate $(DEMO)/data --scale $(SCALE) --seed 0 --force
	coos simulate-plate $(DEMO)/new_plate.h5 --like test3 --seed 11 --force
	cd $(DEMO) && mlflow run $(CURDIR) -e texture --experiment-name coos-7 -P data=$(DEMO)/data
	coos-score $(DEMO)/new_plate.h5 --model texture-lr --out $(DEMO)/scores --force
	coos simulate-plate $(DEMO)/raw_plate --fields 1 --wells 2 --size 640 --density 1,1,0.25 \
	  --format harmony --seed 12 --force
	coos fields $(DEMO)/raw_plate
	coos-score $(DEMO)/raw_plate --model texture-lr --out $(DEMO)/scores --force

# Each of the processes that share the tests has a core; threads would only be in their way.
test check: export OMP_NUM_THREADS := 1

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST)

# The fast tests and one scoring with the oldest versions that pyproject.toml allows: docs/install.md.
# Deprecations are those of old packages among new ones.
test-min: export OMP_NUM_THREADS := 1
test-min: export MLFLOW_TRACKING_URI := sqlite:///$(CURDIR)/build/min/mlflow.db
test-min: export COOS_CACHE := $(CURDIR)/build/min/cache
test-min: export PATH := $(CURDIR)/build/min/bin:$(PATH)
test-min:
	rm -rf build/min && $(PYTHON) -m venv build/min
	build/min/bin/python scripts/install_min.py
	coos simulate build/min/data --scale 0.02
	coos train texture --data build/min/data --classifiers lr
	coos-score build/min/data/simulated_test3.hdf5 --model texture-lr --out build/min/scores
	env -u MLFLOW_TRACKING_URI -u COOS_CACHE build/min/bin/python -m pytest -n auto \
	  --dist loadfile -m "not slow" -W ignore::DeprecationWarning $(PYTEST)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python scripts/bench.py $(BENCH)

lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python scripts/lock.py

# The lock against published advisories; needs the Internet.
audit:
	rm -rf build/audit && $(PYTHON) -m venv build/audit
	build/audit/bin/pip install -q pip-audit==2.10.1
	build/audit/bin/pip-audit -r requirements.lock --no-deps --disable-pip

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find coos_mlflow scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
