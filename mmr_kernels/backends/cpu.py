"""Backend "cpu": the C++ kernel of ``csrc/mmr_cpu.cpp``, bound on raw pointers."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch
from torch import Tensor

from mmr_kernels.backends.extension import DTYPES, arguments, parsed
from mmr_kernels.backends.host import Host
from mmr_kernels.options import Options
from mmr_kernels.problem import Outputs, Problem, allocate_outputs


def why_not_here(host: Host) -> str | None:
    """Needs the compiled module."""
    if host.cpu_extension is None:
        return None
    return (
        f"needs the compiled module mmr_kernels._cpu, found: {host.cpu_extension};"
        " install a C++17 compiler and reinstall mmr-kernels"
    )


def why_not(problem: Problem, host: Host) -> str | None:
    """Needs CPU tensors; takes every size, dtype and option of the op."""
    if not problem.rewards.is_cpu:
        return f"needs tensors on the CPU, got {problem.rewards.device}; move them, or leave backend=None"
    return why_not_here(host)


def run(problem: Problem) -> Outputs:
    """Fill fresh outputs; the GIL is released and ``torch.get_num_threads()`` threads work."""
    outputs = allocate_outputs(problem)
    module = _extension()
    module.mmr(*arguments(module, problem, outputs), torch.get_num_threads())
    return outputs


def run_plain(rewards: Tensor, embeddings: Tensor, group_size: int, options: Options) -> Tensor:
    """``run`` for the call that training loops make: embeddings, groups of one size, one output, nothing else.

    The tensors are as ``Problem`` promises. Filling in neither a problem nor the outputs not asked for saves 2.3 µs,
    more than the work for one small group takes (docs/cpu.md).
    """
    module, result, count = _extension(), torch.empty_like(rewards), rewards.numel()
    advantages, reweighted_rewards = result.data_ptr(), 0
    if options.outputs == "reweighted":
        advantages, reweighted_rewards = 0, advantages
    module.mmr(
        parsed(module, options), rewards.data_ptr(), embeddings.data_ptr(), DTYPES[embeddings.dtype], count,
        count // group_size, group_size, embeddings.shape[-1],
        0, 0, 0, 0, 0, 0,  # similarity, valid, group_offsets, order, lam, lam_count
        advantages, reweighted_rewards, 0, 0, 0, torch.get_num_threads(),
    )  # fmt: skip
    return result


@functools.cache
def _extension() -> Any:
    return importlib.import_module("mmr_kernels._cpu")
