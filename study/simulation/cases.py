"""Families and settings of many runs as tensors, one row per run, so that one call simulates them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from study.simulation.families import Family, Setting

NEVER = -1e4  # the logit of a way that a family lacks beside one with more: a chance of 0


class Case(NamedTuple):
    """A family, and the completions that its runs draw."""

    family: Family
    setting: Setting


@dataclass
class Cases:
    """The cases of R runs; every field but the first two has one row per run.

    Args:
        prompts, group_size: of all.
        parameters: (R, K + T) float64: where the policy starts.
        success: (R, K) float32.
        counts: (R, K) float32: what an advantage counts, for division by length.
        shared: (R, K, T) float64: 1 where a way begins with a first token that has a logit.
        kinds: (R,) float32: how many ways the family has; K is the most of them.
        within, across, noise, mistaken: (R,) float32, as in ``Setting``.
        graded: (R,) bool.
    """

    prompts: int
    group_size: int
    parameters: Tensor
    success: Tensor
    counts: Tensor
    shared: Tensor
    kinds: Tensor
    within: Tensor
    across: Tensor
    noise: Tensor
    mistaken: Tensor
    graded: Tensor

    @classmethod
    def of(cls, cases: Sequence[Case], runs: int = 1) -> Cases:
        """So many runs of each case, those of one case beside each other.

        Raises:
            ValueError: the cases have groups of different sizes or numbers.
        """
        sizes = {(setting.prompts, setting.group_size) for _, setting in cases}
        if len(sizes) != 1:
            raise ValueError(f"cases must have groups of one size and number, got {sorted(sizes)}")
        families, settings = zip(*cases, strict=True)
        ways = max(len(family.shares) for family in families)
        tokens = max(max(family.first_tokens, default=-1) for family in families) + 1
        success, counts = (torch.zeros(len(cases), ways) for _ in range(2))
        logits = torch.full((len(cases), ways), NEVER, dtype=torch.float64)
        shared = torch.zeros(len(cases), ways, tokens, dtype=torch.float64)
        for row, family in enumerate(families):
            own = len(family.shares)
            logits[row, :own], success[row, :own] = family.logits(), torch.tensor(family.success)
            shortest = min(family.lengths, default=1)
            counts[row, :own] = torch.tensor([shortest / length for length in family.lengths or [1] * own])
            for way, token in enumerate(family.first_tokens):
                shared[row, way, token] = 1
        made = cls(
            *sizes.pop(), torch.cat([logits, logits.new_zeros(len(cases), tokens)], 1), success, counts, shared,
            torch.tensor([float(len(family.shares)) for family in families]),
            *(torch.tensor([getattr(each, name) for each in settings], dtype=torch.float32)
              for name in ("within", "across", "noise", "mistaken")),
            torch.tensor([each.graded for each in settings]),
        )  # fmt: skip
        return made.rows(torch.arange(len(cases)).repeat_interleave(runs))

    def rows(self, rows: Tensor) -> Cases:
        """These runs only."""
        every = [getattr(self, each.name) for each in fields(self)]
        return Cases(*every[:2], *(each[rows] for each in every[2:]))

    def logits(self, parameters: Tensor) -> Tensor:
        """(R, K): a way's own logit, and its first token's."""
        ways = self.success.shape[1]
        return parameters[:, :ways] + (self.shared @ parameters[:, ways:].unsqueeze(-1)).squeeze(-1)

    def by_parameters(self, gradient: Tensor) -> Tensor:
        """(R, K + T): the gradient by (R, K) logits as one by parameters."""
        return torch.cat([gradient, (gradient.unsqueeze(1) @ self.shared).squeeze(1)], 1)
