"""Backend "cuda": the CUDA C++ kernel of ``csrc/cuda/mmr_cuda.cu``, bound with pybind11; one launch per call.

With MMR_KERNELS_CUDA_EMULATE=1 the same source runs on CPU tensors, on the emulator of ``csrc/emulator``: slowly, and
with every access and barrier checked.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch

from mmr_kernels.backends.extension import arguments
from mmr_kernels.backends.host import Host
from mmr_kernels.problem import MMRResult, Problem, allocate_outputs

#: Most members of a group of known size, and of a call with ``scope="batch"``: as in ``csrc/cuda/mmr_cuda.h``.
LARGEST_GROUP = 1024
LARGEST_BATCH = 4096
#: With "dpp", most members of a scope, whose one block does work that grows with their cube; where groups may be of any
#: size, most completions in all, since the similarities of any group must fit into scratch.
LARGEST_DETERMINANT = 1024
LARGEST_RAGGED_DETERMINANT = 4096


def why_not_here(host: Host) -> str | None:
    """Needs the compiled module and a device it was compiled for; or the emulator."""
    if host.emulator is None:
        return None
    if host.cuda_extension is not None:
        return (
            f"needs the compiled module mmr_kernels._cuda, found: {host.cuda_extension};"
            " install nvcc and reinstall mmr-kernels with MMR_KERNELS_CUDA_ARCHS=all (docs/cuda.md)"
        )
    if host.cuda_device is not None:
        return (
            f"needs a CUDA device of compute capability 7.5 or later, found: {host.cuda_device};"
            " to try it slowly on CPU tensors, run `make test-emulator` and set MMR_KERNELS_CUDA_EMULATE=1"
        )
    return None


def why_not(problem: Problem, host: Host) -> str | None:
    """Needs CUDA tensors (CPU tensors for the emulator) and scopes that its scratch can hold."""
    reason = why_not_here(host)
    if reason is not None:
        return reason
    device = problem.rewards.device.type
    if device != "cuda" and (device != "cpu" or host.emulator is not None):
        return f"needs tensors on a CUDA device, got {problem.rewards.device}; move them, or leave backend=None"
    if problem.options.scope == "batch" and problem.num_completions > LARGEST_BATCH:
        return (
            f'needs at most {LARGEST_BATCH} completions with scope="batch", got {problem.num_completions};'
            ' take scope="group", or leave backend=None'
        )
    if problem.group_size > LARGEST_GROUP and problem.options.scope == "group":
        return f"needs groups of at most {LARGEST_GROUP}, got {problem.group_size}; leave backend=None"
    if problem.options.method == "dpp":
        ragged = problem.options.scope == "group" and problem.group_size == 0
        size, most, of = (
            (problem.num_completions, LARGEST_RAGGED_DETERMINANT, "in groups of any size")
            if ragged and problem.largest_scope > LARGEST_DETERMINANT
            else (problem.largest_scope, LARGEST_DETERMINANT, "per scope")
        )
        if size > most:
            return f'needs at most {most} completions {of} with method="dpp", got {size}; leave backend=None'
    return None


def run(problem: Problem) -> MMRResult:
    """Fill fresh outputs, on the current stream of their device."""
    outputs = allocate_outputs(problem)
    rewards = problem.rewards
    scratch: list[torch.Tensor] = []  # lives until the launch is enqueued, and torch reuses memory in stream order

    def allocate(size: int) -> int:
        scratch.append(torch.empty(size, dtype=torch.uint8, device=rewards.device))
        return scratch[0].data_ptr()

    if rewards.is_cuda:
        index = rewards.get_device()
        stream = torch._C._cuda_getCurrentRawStream(index)
        module = _extension("_cuda")
        module.mmr(*arguments(module, problem, outputs), index, stream, allocate)
    else:
        module = _extension("_emulator")
        module.mmr(*arguments(module, problem, outputs), 0, 0, allocate)
    return outputs


@functools.cache
def _extension(name: str) -> Any:
    return importlib.import_module(f"mmr_kernels.{name}")
