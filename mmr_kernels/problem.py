"""The one description of a call that passes between op and backends: tensors, sizes, options.

``csrc/mmr.h`` is the same description for C++.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Problem(NamedTuple):
    """One call of the op. Every tensor lies on one device and is contiguous; N completions, D dimensions.

    Groups have one normal form. Uniform: ``group_size`` > 0, and group g holds completions
    [g * group_size, (g + 1) * group_size). Ragged: ``group_size`` is 0, and group g holds the completions
    ``order[group_offsets[g]:group_offsets[g + 1]]`` (``order`` None means the identity). A group may be empty.
    """

    rewards: Tensor  # (N,) or (B, G), float32
    embeddings: Tensor | None  # (N, D) or (B, G, D), float32, bfloat16 or float16
    similarity: Tensor | None  # (number of scopes, M, M), float32: M members a scope
    valid: Tensor | None  # like rewards, bool
    group_offsets: Tensor | None  # (num_groups + 1,), int64
    order: Tensor | None  # (N,), int64, a permutation
    lam: Tensor | None  # (1,) or (num_scopes,), float32, for lam_mode "tensor"
    num_groups: int
    group_size: int
    method: str  # "mmr" | "smi" | "none"
    lam_mode: str  # "fixed" | "tensor" | "sigmoid" | "relative_std"
    lam_value: float  # for lam_mode "fixed"
    temperature: float
    first_pick: str  # "reward" | "score"
    diversity: float
    match_scale: bool
    scope: str  # "group" | "batch"
    scale: str  # "group" | "batch" | "none"
    eps: float
    degenerate: str  # "reweight" | "zero"
    normalize: bool
    outputs: str  # "advantages" | "reweighted" | "details"

    @property
    def num_completions(self) -> int:
        """N."""
        return self.rewards.numel()

    @property
    def num_scopes(self) -> int:
        """How many selections run: one a group, or one for the whole call."""
        return 1 if self.scope == "batch" else self.num_groups

    @property
    def max_scope_size(self) -> int:
        """The most members a scope can have, as far as the host knows without reading a tensor."""
        if self.scope == "batch" or self.group_size == 0:
            return self.num_completions
        return self.group_size

    @property
    def dim(self) -> int:
        """D, or 0 without embeddings."""
        return 0 if self.embeddings is None else self.embeddings.shape[-1]


class Outputs(NamedTuple):
    """What a backend fills; what ``Problem.outputs`` doesn't ask for is None."""

    advantages: Tensor | None  # like rewards, float32
    reweighted_rewards: Tensor | None = None  # like rewards, float32
    selection_rank: Tensor | None = None  # like rewards, int64
    max_similarity: Tensor | None = None  # like rewards, float32
    lam: Tensor | None = None  # (num_scopes,), float32

    def asked(self) -> list[Tensor]:
        """The tensors the op returns."""
        if self.lam is not None:
            return list(self)  # type: ignore[arg-type]
        only = self.advantages if self.reweighted_rewards is None else self.reweighted_rewards
        return [only]  # type: ignore[list-item]


def allocate_outputs(problem: Problem) -> Outputs:
    """Uninitialised outputs, on the problem's device."""
    rewards = problem.rewards
    if problem.outputs == "advantages":
        return Outputs(torch.empty_like(rewards))
    if problem.outputs == "reweighted":
        return Outputs(None, torch.empty_like(rewards))
    return Outputs(
        torch.empty_like(rewards),
        torch.empty_like(rewards),
        torch.empty_like(rewards, dtype=torch.int64),
        torch.empty_like(rewards),
        rewards.new_empty(problem.num_scopes),
    )
