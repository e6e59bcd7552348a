"""The CUDA backend without a GPU: what it says it can't take, and what its module says when launched all the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from mmr_kernels.backends import Host, cuda, this_host
from mmr_kernels.backends.extension import arguments
from mmr_kernels.backends.host import runs_on
from mmr_kernels.options import Options
from mmr_kernels.problem import Problem, allocate_outputs

GPU = Host(**dict.fromkeys(Host._fields, None))._replace(emulator="not asked for")
EMULATOR = Host(**dict.fromkeys(Host._fields, "absent"))._replace(emulator=None)

needs_module = pytest.mark.skipif(
    this_host().cuda_extension is not None, reason=f"no module mmr_kernels._cuda: {this_host().cuda_extension}"
)


def problem(
    shape: tuple[int, ...], device: str = "meta", group_size: int = 0, bound: int = 0, **options: Any
) -> Problem:
    rewards = torch.empty(shape, device=device)
    embeddings = rewards.new_empty(*shape, 8)
    return Problem(rewards, embeddings, shape[0], group_size, Options(**options), max_group_size=bound)


def test_it_needs_the_module_then_a_device() -> None:
    reason = cuda.why_not_here(GPU._replace(cuda_extension="no nvcc"))
    assert reason is not None
    assert "needs the compiled module mmr_kernels._cuda, found: no nvcc; install nvcc" in reason
    reason = cuda.why_not_here(GPU._replace(cuda_device="no device"))
    assert reason is not None
    assert "found: no device" in reason
    assert cuda.why_not_here(GPU) is None


def test_the_emulator_stands_in_for_both_on_cpu_tensors() -> None:
    assert cuda.why_not(problem((2, 4), "cpu", 4), EMULATOR) is None
    reason = cuda.why_not(problem((2, 4), "cpu", 4), GPU)
    assert reason is not None
    assert "needs tensors on a CUDA device, got cpu" in reason


@pytest.mark.parametrize(
    ("arguments", "takes"),
    [
        ({"shape": (1, 1024), "group_size": 1024}, None),
        ({"shape": (1, 1025), "group_size": 1025}, "groups of at most 1024, got 1025"),
        ({"shape": (2, 2048), "group_size": 2048, "scope": "batch"}, None),
        ({"shape": (2, 2049), "group_size": 2049, "scope": "batch"}, "at most 4096 completions"),
        ({"shape": (100_000,)}, None),  # ragged: any number of completions
        ({"shape": (1, 1024), "group_size": 1024, "method": "dpp"}, None),
        (
            {"shape": (2, 513), "group_size": 513, "scope": "batch", "method": "dpp"},
            "at most 1024 completions per scope",
        ),
        ({"shape": (4096,), "method": "dpp"}, None),
        ({"shape": (4097,), "method": "dpp"}, "at most 4096 completions in groups of any size"),
        ({"shape": (4097,), "method": "dpp", "bound": 1025}, "at most 4096 completions in groups of any size"),
        ({"shape": (100_000,), "method": "dpp", "bound": 1024}, None),
    ],
)
def test_sizes_it_takes(arguments: dict[str, Any], takes: str | None) -> None:
    reason = cuda.why_not(problem(device="cpu", **arguments), EMULATOR)
    assert reason is None if takes is None else reason is not None and takes in reason


@pytest.mark.parametrize(
    ("capability", "targets", "runs"),
    [
        (90, [80, 90], True), (86, [80, 90], True), (75, [80, 90], False), (100, [80, 90], True), (87, [86, 90], True),
        (80, [86, 90], False), (120, [120], True), (103, [100, 120], True), (110, [100, 120], False),
    ],
)  # fmt: skip
def test_which_devices_code_for_a_target_runs_on(capability: int, targets: list[int], runs: bool) -> None:
    assert runs_on(capability, targets) is runs


@needs_module
def test_the_module_imports_without_a_driver_and_links_no_torch() -> None:
    """The CUDA runtime is linked in and looks for the driver when first used; tensors are read by way of DLPack."""
    module = importlib.import_module("mmr_kernels._cuda")
    assert module.targets
    assert module.__file__ is not None
    code = Path(module.__file__).read_bytes()
    assert b"libtorch" not in code
    assert b"libc10" not in code


@needs_module
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a device: a launch would succeed")
@pytest.mark.parametrize("scale", ["group", "batch"])
def test_without_a_driver_a_launch_says_so_in_cudas_words(scale: str) -> None:
    """With the launch's shape; and again the next time, since the process stays usable."""
    given = problem((3, 4), "cpu", 4, scale=scale)
    outputs, memory = allocate_outputs(given), torch.empty(64, dtype=torch.uint8)
    module = importlib.import_module("mmr_kernels._cuda")
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"CUDA driver.*device 0, 3 blocks of 256 threads, largest scope 4"):
            module.mmr(*arguments(module, given, outputs), 0, 0, lambda size: memory.data_ptr())


@needs_module
def test_limits_are_the_modules_own() -> None:
    module = importlib.import_module("mmr_kernels._cuda")
    assert (module.largest_group, module.largest_batch) == (cuda.LARGEST_GROUP, cuda.LARGEST_BATCH)
