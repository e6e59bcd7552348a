"""The contract (docs/contract.md) a second time: float64 NumPy, one scope after another, one pick after another.

Written from the text and sharing nothing with ``mmr_kernels.reference``, so that a slip in one shows in the other.
The rules that a kernel is likely to get wrong are methods of their own, which tests override with wrong ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import mmr_kernels
from mmr_kernels.options import OPTIONS


@dataclass
class Case:
    """A call of the op, and which completions (of the flattened rewards) its layout puts into each group."""

    rewards: torch.Tensor
    groups: list[list[int]]
    layout: dict[str, Any] = field(default_factory=dict)
    embeddings: torch.Tensor | None = None
    similarity: torch.Tensor | None = None
    valid: torch.Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def uniform(cls, rewards: torch.Tensor, embeddings: torch.Tensor | None = None, **options: Any) -> Case:
        """Rewards of shape (groups, group size)."""
        groups = np.arange(rewards.numel()).reshape(rewards.shape).tolist()
        tensors = {name: options.pop(name) for name in ("similarity", "valid") if name in options}
        return cls(rewards, groups, {}, embeddings, options=options, **tensors)

    def run(self, backend: str | None, device: torch.device | str = "cpu", **options: Any) -> Any:
        """``mmr_advantages`` with details, on the device."""
        arguments = {
            "embeddings": self.embeddings,
            "similarity": self.similarity,
            "valid": self.valid,
            **self.layout,
            **self.options,
            "return_details": True,
            **options,
        }
        moved = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in arguments.items()
        }
        return mmr_kernels.mmr_advantages(self.rewards.to(device), backend=backend, **moved)

    def option(self, name: str) -> Any:
        """As given, or its default."""
        default = "sigmoid" if name == "lam" else OPTIONS[name].default
        return self.options.get(name, default)

    @property
    def scopes(self) -> list[list[int]]:
        """The completions that each selection runs over."""
        return self.groups if self.option("scope") == "group" else [list(range(self.rewards.numel()))]

    @property
    def float_rewards(self) -> np.ndarray:
        """Flat, as float32 holds them; NaN where not valid."""
        rewards = self.rewards.detach().to(torch.float32).flatten().double().numpy().copy()
        rewards[~np.isfinite(rewards)] = np.nan
        if self.valid is not None:
            rewards[~self.valid.flatten().numpy()] = np.nan
        return rewards


@dataclass
class Truth:
    """What the op should return, flat; ``lam`` one per scope. ``gap``: how far the closest pick was from a tie."""

    advantages: np.ndarray
    reweighted_rewards: np.ndarray
    selection_rank: np.ndarray
    max_similarity: np.ndarray
    lam: np.ndarray
    gap: float


class Oracle:
    """Sections 2 to 5."""

    def similarity(self, case: Case, scope: int) -> np.ndarray:
        """Section 2, for the members of one scope: (M, M)."""
        members = case.scopes[scope]
        if case.similarity is not None:
            block = case.similarity[scope].detach().double().numpy()
            return np.where(np.isfinite(block), block, 0.0)
        assert case.embeddings is not None
        width = case.embeddings.shape[-1]
        rows = case.embeddings.detach().float().reshape(case.rewards.numel(), width).numpy()[members]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.sum(rows * rows, axis=1, dtype=np.float32)
        vectors = np.zeros((len(members), width))
        for i, row in enumerate(rows.astype(np.float64)):
            if np.isfinite(squares[i]) and squares[i] > 0:
                vectors[i] = row / max(np.sqrt(np.sum(row * row)), 1e-12) if case.option("normalize") else row
        return np.einsum("id,jd->ij", vectors, vectors)

    def deviation(self, values: np.ndarray) -> float:
        """Population standard deviation of sections 3 and 4."""
        return float(np.std(values)) if len(values) else 0.0

    def scope_lambda(self, case: Case, scope: int, r: np.ndarray) -> float:
        """Section 3; r: the valid rewards of the scope."""
        lam = case.option("lam")
        if isinstance(lam, torch.Tensor):
            values = lam.detach().to(torch.float32).flatten().tolist()
            labelled = "group_ids" in case.layout
            chosen = values[0] if len(values) == 1 else values[case.groups[scope][0] if labelled else scope]
        elif lam == "sigmoid":
            chosen = 1 / (1 + np.exp(-self.deviation(r)))
        elif lam == "relative_std":
            mean = abs(np.mean(r)) if len(r) else 0.0
            relative = case.option("temperature") * self.deviation(r) / (mean + 1e-8)
            chosen = relative / (1 + relative)
        else:
            chosen = lam
        return float(1 - case.option("diversity") * (1 - chosen))

    def best(self, scores: np.ndarray) -> int:
        """A tie goes to the lowest index."""
        return int(np.argmax(scores))

    def first_value(self, case: Case, reward: float, lam: float) -> float:
        """The first pick's new reward."""
        return reward if case.option("first_pick") == "reward" else lam * reward

    def nearest(self, similarities: np.ndarray) -> float:
        """m_i from the similarities to those picked."""
        return max(0.0, float(np.max(similarities)))

    def select(
        self, case: Case, r: np.ndarray, s: np.ndarray, lam: float
    ) -> tuple[list[int], list[float], list[float], float]:
        """Section 4, MMR: places in picking order, their new rewards, their m, and the closest call."""
        left = [i for i in range(len(r)) if np.isfinite(r[i])]
        order: list[int] = []
        values: list[float] = []
        nearest: list[float] = []
        gap = np.inf
        while left:
            m = [self.nearest(s[i, order]) if order else 0.0 for i in left]
            scores = np.array([lam * r[i] - (1 - lam) * m_i for i, m_i in zip(left, m, strict=True)])
            by = scores if order else r[left]
            place = self.best(by)
            if order and len(left) > 1:
                gap = min(gap, by[place] - np.max(np.delete(by, place)))
            values.append(scores[place] if order else self.first_value(case, r[left[place]], lam))
            nearest.append(m[place])
            order.append(left.pop(place))
        return order, values, nearest, gap

    def submodular(self, r: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Section 4, SMI; NaN where r is."""
        return r / (np.sum(s[:, np.isfinite(r)], axis=1) + 1e-6)

    def match_scale(self, new: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Section 4, match_scale, over valid members alone."""
        if self.deviation(new) <= 1e-8:
            return new
        unit = (new - np.mean(new)) / (self.deviation(new) + 1e-8)
        return unit * (self.deviation(r) + 1e-8) + np.mean(r)

    def group_deviation(self, values: np.ndarray) -> float:
        """Section 5: with Bessel's correction."""
        return float(np.std(values, ddof=1))

    def advantages(self, case: Case, new: np.ndarray) -> np.ndarray:
        """Section 5, from flat reweighted rewards."""
        r, scale = case.float_rewards, case.option("scale")
        advantages = np.zeros(len(r))
        taking_part = np.isfinite(r)
        for group in case.groups:
            members = [i for i in group if taking_part[i]]
            if len(members) < 2 or (case.option("degenerate") == "zero" and self.all_equal(r[members])):
                continue
            divisor = 1.0
            if scale != "none":
                divisor = self.group_deviation(new[members] if scale == "group" else new[taking_part])
                divisor += case.option("eps")
            advantages[members] = (new[members] - np.mean(new[members])) / divisor
        return advantages

    def without_picks(self, case: Case, scope: int, r: np.ndarray) -> np.ndarray:
        """New rewards of a scope, of a method that picks nothing."""
        if case.option("method") == "smi":
            return self.submodular(r, self.similarity(case, scope))
        if case.option("method") == "none":
            return r
        raise NotImplementedError(case.option("method"))

    def all_equal(self, rewards: np.ndarray) -> bool:
        """Up to rounding."""
        return bool(np.ptp(rewards) <= 1e-6 * max(1.0, np.abs(rewards).max()))

    def truth(self, case: Case) -> Truth:
        """The whole op."""
        r = case.float_rewards
        new = r.copy()
        rank = np.full(len(r), -1)
        max_similarity = np.zeros(len(r))
        lams = np.full(len(case.scopes), np.nan)
        gap = np.inf
        for scope, members in enumerate(case.scopes):
            valid = [i for i in members if np.isfinite(r[i])]
            if case.option("method") == "mmr":
                lams[scope] = lam = self.scope_lambda(case, scope, r[valid])
                similarity = self.similarity(case, scope)
                order, values, nearest, closest = self.select(case, r[members], similarity, lam)
                picked = [members[place] for place in order]
                new[picked], max_similarity[picked], rank[picked] = values, nearest, range(len(picked))
                gap = min(gap, closest)
            else:
                new[members] = self.without_picks(case, scope, r[members])
            if case.option("match_scale"):
                new[valid] = self.match_scale(new[valid], r[valid])
        return Truth(self.advantages(case, new), new, rank, max_similarity, lams, gap)

    def lam_detail(self, case: Case, lams: np.ndarray) -> np.ndarray:
        """λ as the details report it: with group_ids one per completion."""
        if "group_ids" not in case.layout or case.option("scope") == "batch":
            return lams
        reported = np.full(case.rewards.numel(), np.nan)
        for group, lam in zip(case.groups, lams, strict=True):
            reported[group] = lam
        return reported
