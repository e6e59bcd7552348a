"""Backend "cpu": the C++ kernel of ``csrc/cpu/mmr_cpu.cpp``, bound with pybind11."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmr_kernels.backends.extension import arguments, parsed
from mmr_kernels.backends.host import Host
from mmr_kernels.options import Options
from mmr_kernels.problem import Outputs, Problem, allocate_outputs

RunPlain = Callable[[Tensor, Tensor, int], Tensor | None]


def why_not_here(host: Host) -> str | None:
    """Needs the compiled module."""
    if host.cpu_extension is None:
        return None
    return (
        f"needs the compiled module mmr_kernels._cpu, found: {host.cpu_extension};"
        " install a C++17 compiler and torch 2.10 or later, and reinstall mmr-kernels"
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


def run_plain(options: Options) -> RunPlain:
    """``run`` for the call that training loops make: embeddings, groups of one size, one output, nothing else.

    Returns:
        A function of rewards, embeddings and group size (unless the rewards are in groups already), which returns the
        output, or None if these tensors must be prepared first. It fills in neither a problem nor the outputs not asked
        for, and so saves 2.5 µs, more than the work for one small group takes (docs/cpu.md).
    """
    extension = _extension()
    plain, parsed_options = extension.plain, parsed(extension, options)
    reweighted = options.outputs == "reweighted"

    def run(rewards: Tensor, embeddings: Tensor, group_size: int) -> Tensor | None:
        result = torch.empty_like(rewards)
        done = plain(rewards, embeddings, parsed_options, group_size, result, reweighted, torch.get_num_threads())
        return result if done else None

    return run


@functools.cache
def _extension() -> Any:
    return importlib.import_module("mmr_kernels._cpu")
