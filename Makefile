# Two commands from a fresh clone: `make demo` and `make test`. Needs Python 3.11+, make and, for speed, a C++ compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CSRC := $(wildcard csrc/* csrc/simt/*) setup.py
READY := $(VENV)/ready

.PHONY: demo test check format bench-cpu sanitize simt cuda-report bench-cuda-launch wheel clean

# The main job on the sample rollouts: a table, a file of advantages and a picture, under demo/.
demo: $(READY)
	mkdir -p demo
	$(BIN)/mmr-kernels score examples/rollouts.jsonl --out demo/scored.jsonl --plot demo/rollouts.png

# All that CI runs: style, types, the suite, again under the sanitizers, and the CUDA kernel's on its emulator.
test: check
	$(BIN)/pytest
	$(MAKE) sanitize
	$(MAKE) simt

# Reads only; `make format` writes.
check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The table of README.md and docs/cpu.md.
bench-cpu: $(READY)
	$(BIN)/python -m bench.cpu --json docs/figures/bench-cpu.json

# The kernel rebuilt with AddressSanitizer and UndefinedBehaviorSanitizer, beside the normal one, and the suite on it.
sanitize: $(READY)
	$(BIN)/python tools/sanitize.py

# The emulator of the CUDA kernel, and the op's suite on it: no GPU, no nvcc.
simt: $(READY)
	MMR_KERNELS_BUILD_SIMT=1 MMR_KERNELS_CUDA_ARCHS= $(BIN)/python setup.py --quiet build_ext --inplace
	MMR_KERNELS_CUDA_EMULATE=1 $(BIN)/pytest --backend cuda --hypothesis-profile slow \
		--ignore python_tests/cli --ignore python_tests/embedders

# docs/cuda-report.*: what the CUDA kernel became on each target it was built for.
cuda-report: $(READY)
	$(BIN)/python -m bench.cuda_report

# The table of docs/cuda.md: what a call costs the host, without the driver.
bench-cuda-launch: $(READY)
	$(BIN)/python -m bench.cuda_launch_cost --json docs/figures/cuda-launch-cost.json

wheel: $(READY)
	$(BIN)/python -m build --wheel

# Its own virtual environment; installed again when the package's metadata or C++ changes.
$(READY): pyproject.toml constraints.txt $(CSRC)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo *.egg-info mmr_kernels/*.so mmr_kernels/_build.json
