# make setup | demo | test | slow | hostile | soak | lint | docs | clean.  PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
OUT := out

.PHONY: setup demo test slow hostile soak lint docs clean
.DEFAULT_GOAL := setup

# Two stamps: the demo needs no more than the runtime; tests and lint need PyTorch and TensorRT-RTX as well.
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

$(PY):
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (Debian, Ubuntu: apt-get install python3)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) -V), 3.10 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "missing: venv (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): $(PY) pyproject.toml
	$(PY) -m pip install --quiet --editable .
	@touch $@

$(DEV): $(RUNTIME) pyproject.toml
	@command -v c++ >/dev/null || { echo "missing: a C++ compiler (Debian, Ubuntu: apt-get install g++)"; exit 1; }
	$(PY) -m pip install --quiet --editable '.[dev,train,rtx]'
	@touch $@

setup: $(DEV)

demo: $(RUNTIME)
	$(PY) -m export.build --model mnist --target cpu --out $(OUT)
	$(PY) -m demos.video --source synthetic --bundle $(OUT)/mnist-cpu-fp32 --attack fgsm --headless \
	  --out $(OUT)/demo.mp4 --json $(OUT)/demo.json

# In parallel: most tests wait for processes of their own.
test: $(DEV)
	$(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# 10,000 cases of damaged bundles, files, frames and streams, counted in results/hostile.json; `make test` has 500.
hostile: $(DEV)
	$(PY) -m tests.hostile.run

# Ten minutes of a constant stream: memory, descriptors and threads flat, every frame counted; results/soak.json and .png.
# Longer, or another source: make soak SOAK='--duration 3600 --source rtsp://...'
soak: $(DEV)
	$(PY) -m tests.soak.run $(SOAK)

# What takes minutes: the pages of trainings and measurements, on tiny data, AutoAttack, and 10,000 hostile cases.
# torchattacks comes without what it asks for: old versions of packages that it does not use.
slow: $(DEV) hostile
	$(PY) -m pip install --quiet --no-deps torchattacks==3.5.1
	$(PY) -m pip install --quiet --editable '.[s3]' 'moto[server]>=5,<6'
	$(PY) -m pytest -m long

docs: $(DEV)
	$(PY) -m mkdocs build --quiet

lint: $(DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) -m tests.house
	$(VENV)/bin/clang-format --dry-run --Werror native/src/* native/include/* examples/c*/*.c* tests/native/*.c* \
	  integrations/gstreamer/*.[ch] integrations/gstreamer/tests/*.c integrations/ros2/cpp/*.cpp
	$(PY) -m mkdocs build --quiet

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
