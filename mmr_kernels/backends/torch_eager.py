"""Backend "torch": the reference itself, on any device torch has."""

from __future__ import annotations

import torch

from mmr_kernels import reference
from mmr_kernels.backends.host import Host
from mmr_kernels.problem import Outputs, Problem


def why_not_here(host: Host) -> str | None:
    """Never: torch is always there."""
    return None


def why_not(problem: Problem, host: Host) -> str | None:
    """Never: any size, any dtype, any device."""
    return None


@torch.no_grad()
def run(problem: Problem) -> Outputs:
    """Compute with ``reference.mmr``; its layouts are index tables, made here without reading a device's values."""
    with torch.autocast(problem.rewards.device.type, enabled=False):  # the similarities are float32 everywhere
        return _run(problem)


def _run(problem: Problem) -> Outputs:
    groups = reference.member_table(
        problem.rewards.device,
        problem.num_completions,
        problem.num_groups,
        problem.group_size,
        problem.group_offsets,
        problem.order,
    )
    result = reference.mmr(
        problem.rewards,
        problem.embeddings,
        problem.similarity,
        problem.valid,
        groups,
        lam=problem.lam if problem.options.lam_mode == "tensor" else problem.options.lam_value,
        lam_mode=problem.options.lam_mode,
        method=problem.options.method,
        temperature=problem.options.temperature,
        first_pick=problem.options.first_pick,
        diversity=problem.options.diversity,
        match_scale=problem.options.match_scale,
        scope=problem.options.scope,
        scale=problem.options.scale,
        eps=problem.options.eps,
        degenerate=problem.options.degenerate,
        normalize=problem.options.normalize,
    )
    if problem.options.outputs == "advantages":
        return Outputs(result[0])
    if problem.options.outputs == "reweighted":
        return Outputs(None, result[1])
    return Outputs(*result)
