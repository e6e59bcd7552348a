"""The one description of a call that passes between op and backends: tensors, sizes and options in, ``MMRResult`` out.

``csrc/mmr.h`` is the same description for C++.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from mmr_kernels.options import METHODS_OF_REWARDS_ALONE, METHODS_THAT_COUNT, Options


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
    similarity: Tensor | None = None  # (number of scopes, M, M), float32: M members per scope
    valid: Tensor | None = None  # like rewards, bool
    group_offsets: Tensor | None = None  # (num_groups + 1,), int64
    order: Tensor | None = None  # (N,), int64, a permutation
    lam: Tensor | None = None  # (1,) or (num_scopes,), float32, for lam_mode "tensor"
    labels: Tensor | None = None  # (N,), int64: members of a scope with one label are one cluster
    diversity: Tensor | None = None  # (1,) or (num_scopes,), float32, instead of the option
    group_of: Tensor | None = None  # (N,), int64: the group of each completion; where a scope of several has a signal
    max_group_size: int = 0  # of ragged groups: no group has more members; 0 where the host doesn't know

    @property
    def method_needs_similarity(self) -> bool:
        """Whether the method can't do without."""
        method = self.options.method
        return method not in METHODS_OF_REWARDS_ALONE and (self.labels is None or method not in METHODS_THAT_COUNT)

    @property
    def needs_similarity(self) -> bool:
        """Whether similarities are computed: for the method, or for the signal, which details report."""
        return self.method_needs_similarity or self.has_signal

    @property
    def has_signal(self) -> bool:
        """Whether the signal is asked for, and there is something to take it from."""
        return self.options.outputs == "details" and (self.embeddings is not None or self.similarity is not None)

    @property
    def num_completions(self) -> int:
        """N."""
        return self.rewards.numel()

    @property
    def num_scopes(self) -> int:
        """How many selections run: one per group, or one for the whole call."""
        return 1 if self.options.scope == "batch" else self.num_groups

    @property
    def largest_group(self) -> int:
        """The most members of a group, as far as the host knows: of ragged ones ``max_group_size``, else N."""
        return self.group_size or min(self.max_group_size or self.num_completions, self.num_completions)

    @property
    def largest_scope(self) -> int:
        """The most members of a scope, as far as the host knows."""
        return self.num_completions if self.options.scope == "batch" else self.largest_group

    @property
    def dim(self) -> int:
        """D, or 0 without embeddings."""
        return 0 if self.embeddings is None else self.embeddings.shape[-1]


class MMRResult(NamedTuple):
    """All that one call computes; each field has the shape of ``rewards`` but ``lam`` and ``signal``.

    ``lam`` is λ as used: one per group, ``(num_groups,)``; with ``scope="batch"`` one, ``(1,)``; with ``group_ids``,
    whose number of groups only the device knows, that of each completion's group, ``(N,)``. NaN where the method
    has no λ.

    ``signal`` is T and V, one pair per scope (docs/contract.md, section 7): how much of the variance of the rewards
    within groups similarity explains, T of V. With ``group_ids`` N pairs, those past the last group 0. NaN where the
    call had neither embeddings nor similarity.
    """

    advantages: Tensor | None  #: float32; None from ``mmr_reweight``
    reweighted_rewards: (
        Tensor  #: float32, NaN where not valid; the rewards as they are, of a method that weighs advantages
    )
    selection_rank: Tensor  #: int64; 0 = picked first in its scope, -1 = not valid, or a method that picks nothing
    max_similarity: Tensor  #: float32; largest similarity to those picked before (0 for the first, 0 where not valid)
    lam: Tensor  #: float32
    signal: Tensor  #: float32, (number of scopes, 2)


#: A result of which nothing was asked for yet.
NOTHING = MMRResult(*[cast(Tensor, None)] * 6)
#: The fields that each value of ``Options.outputs`` asks for; the others are None.
ASKED_FOR = {"advantages": ("advantages",), "reweighted": ("reweighted_rewards",), "details": MMRResult._fields}


def allocate_outputs(problem: Problem) -> MMRResult:
    """Uninitialised memory for a backend to fill, on the problem's device; None for what isn't asked for."""
    rewards, outputs = problem.rewards, problem.options.outputs
    if outputs == "details":
        return MMRResult(
            torch.empty_like(rewards),
            torch.empty_like(rewards),
            torch.empty_like(rewards, dtype=torch.int64),
            torch.empty_like(rewards),
            rewards.new_empty(problem.num_scopes),
            # Where there is a signal a kernel fills it.
            rewards.new_empty((problem.num_scopes, 2))
            if problem.has_signal
            else rewards.new_full((problem.num_scopes, 2), math.nan),
        )
    only = torch.empty_like(rewards)
    return MMRResult(only, *NOTHING[1:]) if "advantages" in ASKED_FOR[outputs] else MMRResult(None, only, *NOTHING[2:])
