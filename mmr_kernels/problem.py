"""The one description of a call that passes between op and backends: tensors, sizes, options.

``csrc/mmr.h`` is the same description for C++.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmr_kernels.options import Options


class Problem(NamedTuple):
    """One call of the op. Every tensor lies on one device and is contiguous; N completions, D dimensions.

    Groups have one normal form. Uniform: ``group_size`` > 0, and group g holds completions
    [g * group_size, (g + 1) * group_size). Ragged: ``group_size`` is 0, and group g holds the completions
    ``order[group_offsets[g]:group_offsets[g + 1]]`` (``order`` None means the identity). A group may be empty.
    """

    rewards: Tensor  # (N,) or (B, G), float32
    embeddings: Tensor | None  # (N, D) or (B, G, D), float32, bfloat16 or float16
    num_groups: int
    group_size: int
    options: Options
    similarity: Tensor | None = None  # (number of scopes, M, M), float32: M members a scope
    valid: Tensor | None = None  # like rewards, bool
    group_offsets: Tensor | None = None  # (num_groups + 1,), int64
    order: Tensor | None = None  # (N,), int64, a permutation
    lam: Tensor | None = None  # (1,) or (num_scopes,), float32, for lam_mode "tensor"

    @property
    def num_completions(self) -> int:
        """N."""
        return self.rewards.numel()

    @property
    def num_scopes(self) -> int:
        """How many selections run: one a group, or one for the whole call."""
        return 1 if self.options.scope == "batch" else self.num_groups

    @property
    def max_scope_size(self) -> int:
        """The most members a scope can have, as far as the host knows without reading a tensor."""
        if self.options.scope == "batch" or self.group_size == 0:
            return self.num_completions
        return self.group_size

    @property
    def dim(self) -> int:
        """D, or 0 without embeddings."""
        return 0 if self.embeddings is None else self.embeddings.shape[-1]


class Outputs(NamedTuple):
    """What a backend fills; what ``Options.outputs`` doesn't ask for is None."""

    advantages: Tensor | None  # like rewards, float32
    reweighted_rewards: Tensor | None = None  # like rewards, float32
    selection_rank: Tensor | None = None  # like rewards, int64
    max_similarity: Tensor | None = None  # like rewards, float32
    lam: Tensor | None = None  # (num_scopes,), float32

    def only(self) -> Tensor:
        """The one output of a call that asks for one."""
        only = self.advantages if self.reweighted_rewards is None else self.reweighted_rewards
        assert only is not None
        return only


def allocate_outputs(problem: Problem) -> Outputs:
    """Uninitialised outputs, on the problem's device."""
    rewards = problem.rewards
    if problem.options.outputs == "advantages":
        return Outputs(torch.empty_like(rewards))
    if problem.options.outputs == "reweighted":
        return Outputs(None, torch.empty_like(rewards))
    return Outputs(
        torch.empty_like(rewards),
        torch.empty_like(rewards),
        torch.empty_like(rewards, dtype=torch.int64),
        torch.empty_like(rewards),
        rewards.new_empty(problem.num_scopes),
    )
