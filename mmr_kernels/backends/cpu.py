"""Backend "cpu": the C++ kernel of ``csrc/cpu/mmr_cpu.cpp``, bound with pybind11."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch

from mmr_kernels.backends.extension import arguments
from mmr_kernels.backends.host import Host
from mmr_kernels.memory import check_room, no_room
from mmr_kernels.problem import MMRResult, Problem, allocate_outputs


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


def run(problem: Problem) -> MMRResult:
    """Fill fresh outputs; the GIL is released and ``torch.get_num_threads()`` threads work."""
    check_room(problem)
    outputs = allocate_outputs(problem)
    module = _extension()
    try:
        module.mmr(*arguments(module, problem, outputs), torch.get_num_threads())
    except MemoryError as error:  # its scratch holds a little more than the similarities
        raise no_room(problem.largest_scope, problem.rewards.device) from error
    return outputs


@functools.cache
def _extension() -> Any:
    return importlib.import_module("mmr_kernels._cpu")
