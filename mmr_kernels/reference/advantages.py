"""Sections 5 and 7 of the contract (docs/contract.md) in plain PyTorch: advantages, and the signal.

All are over rows, one per group, of M places: r is (groups, M), and ``member`` says which hold a valid completion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmr_kernels.reference.methods import likeness, place_of, power, widest
from mmr_kernels.reference.scopes import SimilarityColumns, mean_and_variance, total

#: Guards of sections 5 and 7: of equal rewards, and of a member that is like nobody.
EQUALITY_GUARD = 1e-6
SMALLEST_WEIGHT = 1e-9


def advantages(
    new: Tensor,
    r: Tensor,
    n: Tensor,
    *,
    method: str,
    strength: float,
    diversity: Tensor,
    scale: str,
    eps: float,
    degenerate: str,
) -> Tensor:
    """Section 5, from the new rewards and ``n``, the counts, which methods that weigh use; ``diversity`` is per row."""
    member = r.isfinite()
    mean, variance = mean_and_variance(new, member, correction=1)
    if r.shape[-1]:
        # Rounding may not move the mean past all values: of equal ones it is their value, and each advantage 0.
        lowest, highest = range_of(new, member)
        mean = mean.clamp(lowest, highest)
    advantages = (new - mean).where(member, 0.0)
    if method == "share":
        advantages = shared_out(advantages, member, n, strength, diversity)
        freedom = (member.sum(-1, keepdim=True) - 1).clamp(min=1)
        variance = total(advantages**2, member) / freedom
    elif method == "unique":
        advantages = advantages * power(n, -strength)
    if scale == "group":
        advantages = advantages / (variance.sqrt() + eps)
    elif scale == "batch":
        _, variance = mean_and_variance(new.reshape(1, -1), member.reshape(1, -1), correction=1)
        advantages = advantages / (variance.sqrt() + eps)
    elif scale != "none":
        raise NotImplementedError(f"scale {scale!r}")
    advantages = advantages.where(member & (member.sum(-1, keepdim=True) > 1), 0.0)
    if degenerate == "zero" and r.shape[-1]:
        advantages = advantages.where(~all_equal(*range_of(r, member)), 0.0)
    elif degenerate not in ("reweight", "zero"):
        raise NotImplementedError(f"degenerate {degenerate!r}")
    return advantages


def all_equal(lowest: Tensor, highest: Tensor) -> Tensor:
    """Whether rewards from ``lowest`` to ``highest`` are equal up to rounding."""
    return highest - lowest <= EQUALITY_GUARD * lowest.abs().maximum(highest.abs()).clamp(min=1)


def range_of(values: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest of the members of each row, as (rows, 1)."""
    lowest = values.where(member, float("inf")).amin(-1, keepdim=True)
    return lowest, values.where(member, float("-inf")).amax(-1, keepdim=True)


def shared_out(centred: Tensor, member: Tensor, n: Tensor, strength: float, diversity: Tensor) -> Tensor:
    """``share``: of either sign, all that there is, shared out in proportion to each one's own times n^−a.

    a = α(1 + d) for the positive ones and α(1 − 3d) for the negative ones, with α the strength and d the diversity, one
    per row. Signs, zeros and the sum of either sign stay. The form is new here; that the sums stay it has from UCPO
    (arXiv 2605.00365), the count of a niche from fitness sharing (Goldberg & Richardson 1987).
    """
    dtype = centred.dtype
    if not member.shape[1]:
        return centred
    centred, n = centred.to(widest(centred)), n.to(widest(n))
    for sign, factor in ((1, 1 + diversity), (-1, 1 - 3 * diversity)):
        side = member & (centred * sign > 0)
        exponent = strength * factor
        # Relative to the count that weighs most: no power overflows, and where all counts are equal each weighs 1.
        least = n.where(side, float("inf")).amin(-1, keepdim=True)
        most = n.where(side, float("-inf")).amax(-1, keepdim=True)
        weighed = centred * ((torch.where(exponent >= 0, least, most) / n).log() * exponent).exp()
        weighed = weighed * (total(centred, side) / total(weighed, side))
        centred = weighed.where(side, centred)
    return centred.to(dtype)


def signal(r: Tensor, member: Tensor, column: SimilarityColumns, sharpness: float) -> Tensor:
    """Section 7: T and V of each group, (groups, 2)."""
    members = member.sum(-1, keepdim=True)
    mean, _ = mean_and_variance(r, member, correction=0)
    centred = (r - mean).where(member, 0.0)
    of_others = (total(centred, member) - centred) / (members - 1).clamp(min=1)
    weights, weighed = torch.zeros_like(centred), torch.zeros_like(centred)
    for j in range(r.shape[1]):
        pick = place_of(r, j)
        alike = likeness(column, j, sharpness).scatter(1, pick, 0.0).where(member.gather(1, pick), 0.0)
        weights, weighed = weights + alike, weighed + alike * centred.gather(1, pick)
    predicts = member & (weights > SMALLEST_WEIGHT) & (members > 1)
    predicted = weighed / weights.where(predicts, 1.0)
    explained = total((centred - of_others) * (predicted - of_others), predicts)
    variance = total(centred**2, member) * members / (members - 1).clamp(min=1)
    return torch.cat([explained, variance.where(members > 1, 0.0)], -1)
