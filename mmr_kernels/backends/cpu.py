"""Backend "cpu": the C++ kernel of ``csrc/mmr_cpu.cpp``, bound on raw pointers."""

from __future__ import annotations

import torch
from torch import Tensor

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
    device = problem.rewards.device
    if device.type != "cpu":
        return f"needs tensors on the CPU, got {device}; move them, or leave backend=None"
    return why_not_here(host)


def run(problem: Problem) -> Outputs:
    """Fill fresh outputs; the GIL is released and ``torch.get_num_threads()`` threads work."""
    from mmr_kernels import _cpu

    outputs = allocate_outputs(problem)
    embeddings = problem.embeddings
    _cpu.mmr(
        problem.rewards.data_ptr(),
        _pointer(embeddings),
        0 if embeddings is None else DTYPES[embeddings.dtype],
        _pointer(problem.similarity),
        _pointer(problem.valid),
        _pointer(problem.group_offsets),
        _pointer(problem.order),
        _pointer(problem.lam),
        0 if problem.lam is None else problem.lam.numel(),
        problem.num_completions,
        problem.num_groups,
        problem.group_size,
        problem.dim,
        *problem[9:21],
        torch.get_num_threads(),
        *map(_pointer, outputs),
    )
    return outputs


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
