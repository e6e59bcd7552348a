"""Backend "cpu": the C++ kernel of ``csrc/mmr_cpu.cpp``, bound on raw pointers."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch

from mmr_kernels.backends.host import Host
from mmr_kernels.problem import Outputs, Problem, allocate_outputs

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


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
    rewards, embeddings, similarity, valid, group_offsets, order, lam, num_groups, group_size, *options, _ = problem
    _extension().mmr(
        rewards.data_ptr(),
        0 if embeddings is None else embeddings.data_ptr(),
        0 if embeddings is None else DTYPES[embeddings.dtype],
        0 if similarity is None else similarity.data_ptr(),
        0 if valid is None else valid.data_ptr(),
        0 if group_offsets is None else group_offsets.data_ptr(),
        0 if order is None else order.data_ptr(),
        0 if lam is None else lam.data_ptr(),
        0 if lam is None else lam.numel(),
        rewards.numel(),
        num_groups,
        group_size,
        0 if embeddings is None else embeddings.shape[-1],
        *options,
        torch.get_num_threads(),
        *[0 if output is None else output.data_ptr() for output in outputs],
    )
    return outputs


@functools.cache
def _extension() -> Any:
    return importlib.import_module("mmr_kernels._cpu")
