"""The contract (docs/contract.md) a second time: float64 NumPy, one scope after another, one pick after another.

Written from the text and sharing nothing with ``mmr_kernels.reference``, so that a slip in one shows in the other.
The rules that a kernel is likely to get wrong are methods of their own, which tests override with wrong ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from oracle_methods import Methods

import mmr_kernels
from mmr_kernels.options import METHODS_THAT_COUNT, OPTIONS, Options, completed


@dataclass
class Case:
    """A call of the op, and which completions (of the flattened rewards) its layout puts into each group."""

    rewards: torch.Tensor
    groups: list[list[int]]
    layout: dict[str, Any] = field(default_factory=dict)
    embeddings: torch.Tensor | None = None
    similarity: torch.Tensor | None = None
    valid: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def uniform(cls, rewards: torch.Tensor, embeddings: torch.Tensor | None = None, **options: Any) -> Case:
        """Rewards of shape (groups, group size)."""
        groups = np.arange(rewards.numel()).reshape(rewards.shape).tolist()
        tensors = {name: options.pop(name) for name in ("similarity", "valid", "labels") if name in options}
        return cls(rewards, groups, {}, embeddings, options=options, **tensors)

    def run(self, backend: str | None, device: torch.device | str = "cpu", **options: Any) -> Any:
        """``mmr_advantages`` with details, on the device."""
        arguments = {
            "embeddings": self.embeddings,
            "similarity": self.similarity,
            "valid": self.valid,
            "labels": self.labels,
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
        """As given, or its default, which may depend on the method."""
        if name == "lam":
            return self.options.get(name, "sigmoid")
        given = self.options.get(name)
        if given is None:
            return getattr(completed(Options(method=self.options.get("method", OPTIONS["method"].default))), name)
        return given

    def per_scope(self, name: str, scope: int) -> float:
        """A λ or a diversity that may be a tensor: of one, or of one per scope (per completion with labels)."""
        value = self.option(name)
        if not isinstance(value, torch.Tensor):
            return float(value)
        values = value.detach().to(torch.float32).flatten().tolist()
        labelled = "group_ids" in self.layout and self.option("scope") == "group"
        return float(values[0] if len(values) == 1 else values[self.groups[scope][0] if labelled else scope])

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
    signal: np.ndarray
    gap: float


class Oracle(Methods):
    """Sections 2 to 5, and 7."""

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
            chosen = case.per_scope("lam", scope)
        elif lam == "sigmoid":
            chosen = 1 / (1 + np.exp(-self.deviation(r)))
        elif lam == "relative_std":
            mean = abs(np.mean(r)) if len(r) else 0.0
            relative = case.option("temperature") * self.deviation(r) / (mean + 1e-8)
            chosen = relative / (1 + relative)
        else:
            chosen = lam
        return float(1 - case.per_scope("diversity", scope) * (1 - chosen))

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

    def match_scale(self, new: np.ndarray, r: np.ndarray) -> np.ndarray:
        """Section 4, match_scale, over valid members alone."""
        if self.deviation(new) <= 1e-8:
            return new
        unit = (new - np.mean(new)) / (self.deviation(new) + 1e-8)
        return unit * (self.deviation(r) + 1e-8) + np.mean(r)

    def group_deviation(self, values: np.ndarray) -> float:
        """Section 5: with Bessel's correction."""
        return float(np.std(values, ddof=1))

    def advantages(self, case: Case, new: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Section 5, from flat reweighted rewards and counts."""
        r, scale = case.float_rewards, case.option("scale")
        advantages = np.zeros(len(r))
        taking_part = np.isfinite(r)
        for number, group in enumerate(case.groups):
            members = [i for i in group if taking_part[i]]
            if len(members) < 2 or (case.option("degenerate") == "zero" and self.all_equal(r[members])):
                continue
            centred, divisor = self.weighed(case, number, new[members] - np.mean(new[members]), n[members]), 1.0
            if scale != "none":
                spread = centred if case.option("method") == "share" else new[members]
                divisor = self.group_deviation(spread if scale == "group" else new[taking_part])
                divisor += case.option("eps")
            advantages[members] = centred / divisor
        return advantages

    def weighed(self, case: Case, group: int, centred: np.ndarray, n: np.ndarray) -> np.ndarray:
        """What is centred, of a method that weighs it."""
        strength = case.option("strength")
        if case.option("method") == "unique":
            return centred * n**-strength
        if case.option("method") == "share":
            scope = group if case.option("scope") == "group" else 0
            return self.shared(centred, n, strength, case.per_scope("diversity", scope))
        return centred

    def counts(self, case: Case, scope: int, r: np.ndarray) -> np.ndarray:
        """n of section 4 for a scope's members; 1 for a method that doesn't count."""
        valid, members = np.isfinite(r), case.scopes[scope]
        if case.option("method") not in METHODS_THAT_COUNT:
            return np.ones(len(r))
        if case.labels is not None:
            labels = case.labels.flatten().tolist()
            groups = {i: number for number, group in enumerate(case.groups) for i in group}
            return self.hard_count([(groups[i], labels[i]) for i in members], valid)
        s = self.similarity(case, scope)
        if case.option("threshold") is not None:
            return self.hard_count(list(self.clusters(s, valid, case.option("threshold"))), valid)
        if case.option("sharpness") is None:
            return self.published_sum(s, valid)
        return self.soft_count(s, valid, case.option("sharpness"))

    def without_picks(self, case: Case, scope: int, r: np.ndarray, n: np.ndarray) -> np.ndarray:
        """New rewards of a scope, of a method that picks nothing."""
        method, valid = case.option("method"), np.isfinite(r)
        if method == "smi":
            return self.divided(r, n, case.option("strength"))
        if method == "partition":
            return self.partitioned(r, n, int(valid.sum()))
        if method == "dpp":
            new = np.full(len(r), np.nan)
            if valid.any():
                kernel = self.kernel_matrix(
                    r[valid], self.similarity(case, scope)[np.ix_(valid, valid)], case.option("quality")
                )
                gains = self.gains(kernel)
                new[valid] = gains if case.option("quality") else r[valid] + case.option("strength") * gains
            return new
        if method in ("none", "share", "unique"):
            return r
        raise NotImplementedError(method)

    def signals(self, case: Case) -> np.ndarray:
        """Section 7, one pair per scope."""
        result = np.full((len(case.scopes), 2), np.nan)
        if case.embeddings is None and case.similarity is None:
            return result
        sharpness = 4.0 if case.option("sharpness") is None else case.option("sharpness")
        r = case.float_rewards
        for scope, members in enumerate(case.scopes):
            s = self.similarity(case, scope)
            result[scope] = 0.0
            for group in [case.groups[scope]] if case.option("scope") == "group" else case.groups:
                places = [members.index(i) for i in group if np.isfinite(r[i])]
                result[scope] += self.signal(r[[members[p] for p in places]], s[np.ix_(places, places)], sharpness)
        return result

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
        n = np.ones(len(r))
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
                n[members] = self.counts(case, scope, r[members])
                new[members] = self.without_picks(case, scope, r[members], n[members])
            if case.option("match_scale"):
                new[valid] = self.match_scale(new[valid], r[valid])
        return Truth(self.advantages(case, new, n), new, rank, max_similarity, lams, self.signals(case), gap)

    def lam_detail(self, case: Case, lams: np.ndarray) -> np.ndarray:
        """λ as the details report it: with group_ids one per completion."""
        if "group_ids" not in case.layout or case.option("scope") == "batch":
            return lams
        reported = np.full(case.rewards.numel(), np.nan)
        for group, lam in zip(case.groups, lams, strict=True):
            reported[group] = lam
        return reported

    def signal_detail(self, case: Case, signal: np.ndarray) -> np.ndarray:
        """The signal as the details report it: with group_ids N pairs, groups in the order of their labels."""
        ids = case.layout.get("group_ids")
        if ids is None or case.option("scope") == "batch":
            return signal
        reported = np.full((case.rewards.numel(), 2), np.nan if np.isnan(signal).any() else 0.0)
        ascending = isinstance(ids, torch.Tensor)  # otherwise as they first appear
        order = sorted(
            range(len(case.groups)), key=lambda g: int(ids[case.groups[g][0]]) if ascending else case.groups[g][0]
        )
        reported[: len(order)] = signal[order]
        return reported
