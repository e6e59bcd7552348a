"""The problems that a simulated policy meets: a few ways to answer, each with a share at the start and a success."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WAYS = 8
PART = 0.9  # of the best reachable reward: the target


@dataclass(frozen=True)
class Family:
    """Ways to answer a prompt.

    Args:
        shares: (K,) probability of each way at the start, all positive, sum 1.
        success: (K,) chance that a completion of the way is right: its expected reward.
        first_tokens: (K,) numbers from 0 on, or empty. Ways that begin with one token share a logit, which is added to
            their own.
        lengths: (K,) tokens, or empty. A completion's gradient is divided by its length, as ``loss_type: grpo`` does,
            in units of the shortest: all that tells ways apart is in one token of each.
    """

    shares: tuple[float, ...]
    success: tuple[float, ...]
    first_tokens: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.success):
            raise ValueError(f"success must have {len(self.shares)} entries, as shares has; got {len(self.success)}")
        if min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares must be positive and sum to 1, got {self.shares}")
        if not all(0 <= chance <= 1 for chance in self.success):
            raise ValueError(f"success must lie in [0, 1], got {self.success}")
        for name, given in (("first_tokens", self.first_tokens), ("lengths", self.lengths)):
            if len(given) not in (0, len(self.shares)):
                raise ValueError(f"{name} must have {len(self.shares)} entries, as shares has, or none; got {given}")

    def logits(self) -> Tensor:
        """(K,) float64: the softmax policy of these shares."""
        return torch.tensor(self.shares, dtype=torch.float64).log()

    def target(self, part: float = PART) -> float:
        """The expected reward to reach: a part of the best that any policy over these ways has."""
        return part * max(self.success)


@dataclass(frozen=True)
class Setting:
    """The completions of a step: how many there are, how alike they are, and how they are paid.

    Args:
        prompts, group_size: a step draws as many groups as prompts, each of as many completions.
        within, across: similarity of two completions of one way, and of two ways; ``within`` is not below ``across``.
        noise: standard deviation of uniform noise, independent for each completion, added to its reward.
        graded: the reward is the way's success itself instead of 1 with that chance and 0 else.
        mistaken: the chance that the embedder takes a completion for one of a way drawn evenly from all.
    """

    prompts: int = 8
    group_size: int = 8
    within: float = 0.8
    across: float = 0.3
    noise: float = 0.0
    graded: bool = False
    mistaken: float = 0.0


def beside(first: tuple[float, ...]) -> tuple[float, ...]:
    """Shares of all ways: those given, and equal shares of the rest for the others."""
    left = WAYS - len(first)
    return (*first, *[(1 - sum(first)) / left] * left)


def rare_best(
    share: float = 0.02, best: float = 0.9, common: float = 0.4, others: float = 0.29, common_part: float = 0.6 / 0.98
) -> Family:
    """A best way beside a common one and six others.

    Args:
        share: of the best way.
        best, common, others: success of each.
        common_part: share of the common way in all but the best one; the six others have the rest.
    """
    return Family(beside((share, common_part * (1 - share))), (best, common, *[others] * 6))


#: The families of the table. study/simulation.md says which of these numbers its source gives.
FAMILIES = {
    "rare-best": rare_best(),
    "one-way": Family(beside((0.3,)), (0.6, *[0.0] * 7)),
    "four-equal": Family(beside((0.15, 0.1, 0.05, 0.03)), (*[0.5] * 4, *[0.0] * 4)),
    "graded": Family((0.05, 0.08, 0.1, 0.12, 0.14, 0.16, 0.17, 0.18), (0.9, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)),
}

#: The trained families of study/README.md as exact policies: its shares, errors of arithmetic as four ways that pay
#: nothing; equal texts, and the lexical embedder's mean similarity of two ways (results/placement.jsonl).
TRAINED = {
    "crowded": (
        Family((0.045, 0.495, *[0.15] * 3, *[0.0025] * 4), (1.0, 0.4, *[0.0] * 7)),
        Setting(within=1.0, across=0.35),
    ),
    "hidden": (Family((0.027, 0.964, *[0.00225] * 4), (1.0, 0.4, *[0.0] * 4)), Setting(within=1.0, across=0.71)),
    "single": (Family((0.109, 0.3, 0.25, 0.25, *[0.02275] * 4), (1.0, *[0.0] * 7)), Setting(within=1.0, across=0.34)),
}

#: A rare best way of eleven tokens, as "(70+15)=85" has, that begins like two common errors, and others of three: to
#: push the errors down pushes its first token down, and all that is paid for it counts 3 / 11.
SHARED_TOKENS = Family(
    (0.05, 0.5, 0.1, 0.1, *[0.0625] * 4),
    (0.9, 0.4, 0.0, 0.0, *[0.29] * 4),
    first_tokens=(0, 1, 0, 0, 2, 2, 3, 3),
    lengths=(11, *[3] * 7),
)

#: All, with the similarities that their completions have.
PLACED = {
    **{name: (family, Setting()) for name, family in FAMILIES.items()},
    **TRAINED,
    "shared tokens": (SHARED_TOKENS, Setting()),
}
