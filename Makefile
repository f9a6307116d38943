# `make demo` and `make test` need Python 3.11 to 3.13 with pip, and nothing else. All that they write is in
# .venv and in the state directory ($M3FM_STATE, or .m3fm); `make clean` removes both.

PYTHON ?= python3
export M3FM_STATE ?= $(CURDIR)/.m3fm
BIN := $(CURDIR)/.venv/bin
# Runs a command with its caches, settings and temporary files in the state directory.
IN_STATE := $(BIN)/python -m m3fm.core.state
export PATH := $(BIN):$(PATH)
export PIP_NO_CACHE_DIR := 1
# Some libraries set the locale to one of ASCII.
export PYTHONUTF8 := 1
# pip asks rustc for its version, and rustup would write into the home directory.
export RUSTUP_HOME := $(M3FM_STATE)/rustup
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-fast test-slow golden bench bench-scale bench-learning lint types docs data lock clean
demo: .venv/ready
	$(BIN)/m3fm demo

test: .venv/ready
	$(IN_STATE) $(BIN)/pytest -m "not slow" -n 2 --dist loadscope

# What needs no Ray, KFP, MLflow, ONNX export or second worker (tests/conftest.py): less than two minutes.
test-fast: .venv/ready
	$(IN_STATE) $(BIN)/pytest -m "not slow and not integration" -n 2 --dist loadscope

test-slow: .venv/ready
	$(IN_STATE) $(BIN)/pytest -m slow

# What a small cohort becomes from end to end, written anew after an intended change.
golden: .venv/ready
	$(IN_STATE) $(BIN)/python tests/golden/test_chain.py

# What takes how long, beside what it is measured against: minutes, on a machine that does nothing else.
bench: .venv/ready
	for script in ct model training gpu; do $(IN_STATE) $(BIN)/python benchmarks/$$script.py || exit 1; done

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

types: .venv/ready
	mkdir -p build/typed/m3fm_kfp
	for part in components pipelines; do ln -sfn ../../../$$part build/typed/m3fm_kfp/$$part; done
	MYPYPATH=$(CURDIR):build/typed $(BIN)/mypy -p m3fm -p m3fm_kfp
	MYPYPATH=$(CURDIR):build/typed $(BIN)/mypy benchmarks
	MYPYPATH=$(CURDIR):build/typed $(BIN)/mypy -p docs.generate

# Tables, pictures and component READMEs that are generated from the code.
docs: .venv/ready
	$(BIN)/python -m docs.generate

# Rows of the paper's 163,725 series, from records to the MQA index: seconds and memory of each stage.
bench-scale: .venv/ready
	$(IN_STATE) $(BIN)/python benchmarks/scale.py

# What is learned on 420 simulated patients, beside the untrained model and from scratch: about an hour.
bench-learning: .venv/ready
	$(IN_STATE) $(BIN)/python benchmarks/learning.py --out $(M3FM_STATE)/learning

# The same dataset version as the pipeline's, by `dvc repro`.
data: .venv/ready
	$(IN_STATE) $(BIN)/dvc repro

# Exact versions of everything that the environment now holds.
lock: .venv/ready
	@{ echo '# Exact versions that `make` installs from (pip install -c). Written by `make lock`.'; \
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' | grep -v '^#'; } > requirements.lock

.venv/ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	echo 'm3fm needs Python 3.11, 3.12 or 3.13: make demo PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c requirements.lock -e '.[dev]'
	@touch $@

# What the commands above write; results of `make data`, too.
clean:
	rm -rf .venv $(M3FM_STATE) data dvc.lock .dvc/cache .dvc/tmp build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
