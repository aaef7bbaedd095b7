# Every target sets up .venv when it is missing or out of date. Works with GNU make 3.81 (macOS) and in Git Bash (Windows).
WINDOWS := $(filter Windows_NT,$(OS))
PYTHON ?= $(if $(WINDOWS),python,python3)
PROGRAMS := $(if $(WINDOWS),Scripts,bin)
VENV := .venv
BIN := $(VENV)/$(PROGRAMS)
# cpu: torch without GPU libraries, if PyTorch's index can be reached; default: torch from where all packages come from.
TORCH ?= cpu
PIP = $(BIN)/python tools/install.py --torch $(TORCH) --constraint constraints.txt
THEANO := .venv-theano
THEANO_PYTHON ?= $(shell command -v python3.11 || echo $(PYTHON))
DIST := .venv-dist
SOURCES := pyproject.toml constraints.txt setup.py
# Neighbouring tests run in the same process, so that what they share is made once.
PYTEST_ARGS ?= -n auto --dist worksteal
QUICK ?= tests/test_*.py tests/graph tests/engine/test_*.py tests/reference tests/tools \
	$(addprefix tests/nodes/test_,conv.py pool.py perceptron.py upconv.py merge.py crop_pad.py split.py node.py) \
	$(addprefix tests/dense/test_,geometry.py tiles.py tileset.py plan.py predict.py) \
	tests/io/test_values.py tests/io/test_names.py tests/volumes/test_axes.py
MINUTES ?= 2
N ?= 3000
# Warnings are errors, and so are references without a target.
SPHINX := $(BIN)/python -m sphinx -W -n --keep-going -q -d docs/_build/doctrees
BENCHMARK := $(BIN)/python benchmarks
MESHNET ?= $(wildcard ../shared/data/meshnet)

# Tests start many processes that import the package: its bytecode is kept even where that is switched off.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-em brain mnist test test-theano test-napari fuzz mutants check lint format docs docs-links dist bench bench-quick clean \
	bench-start bench-dense bench-large bench-plans bench-networks bench-training bench-scaling bench-gpu

help:
	@echo "make demo         train a small 3-D network on cell nuclei, then predict a part it never saw (about 3 minutes)"
	@echo "make demo-em      train on neuron membranes for half an hour (the data goes in ../shared/data/em)"
	@echo "make brain        grey and white matter of a brain, by a published network (under a minute)"
	@echo "make mnist        train a digit classifier with batch normalisation"
	@echo "make test         run the test suite"
	@echo "make test-theano  run the test suite on the Theano engine, in a separate environment"
	@echo "make test-napari  run the tests of the plugin for napari, with Qt"
	@echo "make fuzz         fuzz the readers of model files, pickles and journals (N=20000 cases, SEED=7)"
	@echo "make mutants      mutation tests of graph, dense geometry, plans, tiles and io/values (about an hour; MUTANTS=pattern)"
	@echo "make check        linters, types, layers and quick tests: for the working day"
	@echo "make lint         ruff, mypy and the layers of the package (import-linter)"
	@echo "make bench        benchmark against torch, OpenVINO, MONAI and others; rewrite the performance pages (an hour)"
	@echo "make bench-start  one part of it; also -dense, -large, -plans, -networks, -training, -scaling"
	@echo "make bench-gpu    check and measure everything on an NVIDIA GPU, in ten minutes (OUT=folder)"
	@echo "make bench-quick  run every benchmark once on small networks, writing nothing"
	@echo "make docs         build the documentation with tutorial and gallery into docs/_build/html (a few minutes)"
	@echo "make docs-links   check the links of the documentation to other sites"
	@echo "make format       fix style with ruff"
	@echo "make dist         build sdist and wheel, check them, and try them in an empty environment"
	@echo "make clean        remove environments, caches, packages and the examples' output"
	@echo
	@echo "make PYTHON=...   the Python of new environments (now $(PYTHON))"
	@echo "make TORCH=...    cpu: torch without gigabytes of GPU libraries; default: the build that pip takes (now $(TORCH))"

# --- environments: one folder, with as many packages as the target needs
$(VENV)/ready-python: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is required, got " + sys.version.split()[0] + "; try make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/ready-demo: $(VENV)/ready-python
	@echo "installing into $(VENV) (once, a few minutes)"
	$(PIP) --editable '.[examples]'
	@touch $@

$(VENV)/ready-brain: $(VENV)/ready-demo
	$(PIP) --editable '.[brain]'
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready-python
	@echo "installing into $(VENV) (once, a few minutes)"
	$(PIP) --editable '.[dev,bench]'
	$(PIP) --no-deps dynamic-network-architectures  # timm, which its U-Nets do not need, needs torchvision
	@touch $(addprefix $(VENV)/ready-,demo brain dev)

$(VENV)/ready-docs: $(VENV)/ready-python
	@echo "installing into $(VENV) (once, a few minutes)"
	$(PIP) --editable '.[docs]'
	@touch $(addprefix $(VENV)/ready-,demo docs)

$(VENV)/ready-napari: $(VENV)/ready-dev
	$(PIP) --editable '.[napari]' pytest-qt napari-ome-zarr
	@touch $@

$(VENV)/ready-mutants: $(VENV)/ready-dev
	$(PIP) --editable '.[mutants]'
	@touch $@

# --- targets
demo: $(VENV)/ready-demo
	$(BIN)/python examples/demo_nuclei.py --minutes $(MINUTES)

demo-em: $(VENV)/ready-demo
	$(BIN)/python examples/membrane_em.py

brain: $(VENV)/ready-brain
	$(BIN)/python examples/brain.py

mnist: $(VENV)/ready-dev
	$(BIN)/python examples/mnist.py

# The working day: linters, types, layers, and the quick tests of every part.
check: lint $(VENV)/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -q -m "not slow" $(QUICK)

# One thread per process, because the test processes share the cores. The plugin for napari is tested by itself: after its
# tests, values of the same process differ from those of worker processes by rounding, and other tests compare bits.
test: $(VENV)/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) --ignore=tests/napari_plugin

# Theano needs an old NumPy and therefore its own environment. Compiled code is cached there between runs, one cache per
# test process, because processes sharing a cache wait for its lock. FAST_COMPILE compiles only convolutions and pools;
# tests of the compiled mode select it themselves.
$(THEANO)/ready: pyproject.toml setup.py
	@echo "installing into $(THEANO) (once, a few minutes)"
	$(THEANO_PYTHON) -m venv $(THEANO)
	$(THEANO)/$(PROGRAMS)/python -m pip install --disable-pip-version-check --quiet --upgrade 'pip>=25.1'
	$(THEANO)/$(PROGRAMS)/python tools/install.py --group theano-test
	$(THEANO)/$(PROGRAMS)/python tools/install.py --no-deps --editable .
	@touch $@

test-theano: $(THEANO)/ready
	NEUROMANCER_ENGINE=theano OMP_NUM_THREADS=1 THEANO_FLAGS=mode=FAST_COMPILE,base_compiledir=$(CURDIR)/$(THEANO)/compiled \
		$(THEANO)/$(PROGRAMS)/python -m pytest $(PYTEST_ARGS)

# Needs a display, or Xvfb and OpenGL: see docs/testing.md.
test-napari: $(VENV)/ready-napari
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/napari_plugin neuromancer/napari_plugin

# Failing cases are kept in fuzz-faults; every case can be reproduced from its seed and number.
fuzz: $(VENV)/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz -n $(N) $(if $(SEED),--seed $(SEED))

# Resumes where it stopped; `$(BIN)/mutmut results` and `mutmut show <name>` list what survived. About an hour.
mutants: $(VENV)/ready-mutants
	OMP_NUM_THREADS=1 $(BIN)/mutmut run $(MUTANTS)

lint: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tutorial is run as it stands on the page, and again when the page has changed.
docs/auto_tutorial/ready: docs/tutorial.md docs/tutorial_pictures.py | $(VENV)/ready-docs
	$(BIN)/python docs/tutorial_pictures.py docs/auto_tutorial
	@touch $@

docs: docs/auto_tutorial/ready $(VENV)/ready-docs
	$(SPHINX) -b html docs docs/_build/html

docs-links: docs/auto_tutorial/ready $(VENV)/ready-docs
	$(SPHINX) -b linkcheck -D plot_gallery=0 docs docs/_build/links

# The tools have an environment of their own, which needs none of the project's dependencies.
$(DIST)/ready: pyproject.toml
	@echo "installing into $(DIST) (once)"
	$(PYTHON) -m venv $(DIST)
	$(DIST)/$(PROGRAMS)/python -m pip install --disable-pip-version-check --quiet --upgrade 'pip>=25.1'
	$(DIST)/$(PROGRAMS)/python tools/install.py --group dist
	@touch $@

dist: $(DIST)/ready
	$(DIST)/$(PROGRAMS)/python tools/dist.py --torch $(TORCH)

# Every part takes less than ten minutes on two cores, and writes its own section of a page. On a quiet machine.
bench: bench-start bench-dense bench-large bench-plans bench-networks bench-training bench-scaling
bench-networks: $(addprefix bench-networks-,meshnet5 meshnet20 nnunet monai unets)
bench-training: bench-training-3d bench-training-2d

bench-start: $(VENV)/ready-dev
	$(BENCHMARK)/start.py --write docs/performance.md
bench-dense: $(VENV)/ready-dev
	$(BENCHMARK)/dense.py --write docs/performance.md
bench-large: $(VENV)/ready-dev
	$(BENCHMARK)/dense.py --large --write docs/performance.md
bench-plans: $(VENV)/ready-dev
	$(BENCHMARK)/planning.py --write docs/performance.md
bench-networks-%: $(VENV)/ready-dev
	$(BENCHMARK)/imported.py --only $* $(if $(MESHNET),--meshnet $(MESHNET)) --write docs/performance.md
bench-training-%: $(VENV)/ready-dev
	$(BENCHMARK)/training.py --only $* --write docs/performance.md
bench-scaling: $(VENV)/ready-dev
	$(BENCHMARK)/scaling.py --write docs/scaling.md

# Nothing is timed here, so they run side by side.
bench-quick: $(VENV)/ready-dev
	$(MAKE) --no-print-directory --jobs=3 $(addprefix bench-quick-,start dense imported training planning scaling)

bench-quick-%: $(VENV)/ready-dev
	$(BENCHMARK)/$*.py --quick

# Needs torch for CUDA in $(VENV), which a new one gets; writes $(OUT)/gpu.json in less than ten minutes.
bench-gpu: TORCH = default
bench-gpu: $(VENV)/ready-dev
	$(BENCHMARK)/gpu.py --out $(or $(OUT),.benchmarks)

clean:
	rm -rf $(VENV) $(THEANO) $(DIST) build dist mutants *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks examples/output \
		docs/_build docs/auto_*
