"""Backend "torch": the reference itself, on any device torch has."""

from __future__ import annotations

import torch

from mmr_kernels import reference
from mmr_kernels.backends.host import Host
from mmr_kernels.memory import check_room
from mmr_kernels.problem import ASKED_FOR, NOTHING, MMRResult, Problem


def why_not_here(host: Host) -> str | None:
    """Never: torch is always there."""
    return None


def why_not(problem: Problem, host: Host) -> str | None:
    """Never: any size, any dtype, any device."""
    return None


@torch.no_grad()
def run(problem: Problem) -> MMRResult:
    """Compute with ``reference.mmr``; its layouts are index tables, made here without reading a device's values."""
    check_room(problem, padded=True)
    with torch.autocast(problem.rewards.device.type, enabled=False):  # the similarities are float32 everywhere
        return _run(problem)


def _run(problem: Problem) -> MMRResult:
    groups = reference.member_table(
        problem.rewards.device,
        problem.num_completions,
        problem.num_groups,
        problem.group_size,
        problem.group_offsets,
        problem.order,
        problem.largest_group,
    )
    options = problem.options
    needed = problem.needs_similarity
    result = reference.mmr(
        problem.rewards,
        problem.embeddings if needed else None,
        problem.similarity if needed else None,
        problem.valid,
        groups,
        problem.lam,
        problem.labels,
        problem.diversity,
        problem.has_signal,
        **{name: getattr(options, name) for name in options._fields if name not in ("outputs", "backend")},
    )
    asked_for = ASKED_FOR[options.outputs]
    filled = {name: value for name, value in zip(MMRResult._fields, result, strict=True) if name in asked_for}
    return NOTHING._replace(**filled)
