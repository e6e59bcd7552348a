"""Is a provider right? Replayed in float64 along its own picks, so that where two scores are closer than rounding
either may come first (docs/contract.md, section 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmr_kernels.bench.baselines import group_advantages
from mmr_kernels.bench.cases import SELECTION_LAMBDA, Inputs

#: Of the contract, times max(1, |value|).
TOLERANCE = 1e-5
#: Advantages divide differences of rewards by their standard deviation, and multiply their rounding.
ADVANTAGE_TOLERANCE = 1e-4


def wrong_advantages(inputs: Inputs, advantages: Tensor, reweighted: Tensor) -> str | None:
    """The fault of a provider of the whole op, in a sentence, or None.

    Args:
        advantages, reweighted: (B, G), float32. Both, because the picks of a scope can be read off the second.
    """
    for name, values in (("advantages", advantages), ("reweighted rewards", reweighted)):
        if values.shape != inputs.rewards.shape or not values.isfinite().all():
            return f"{name} are not {tuple(inputs.rewards.shape)} finite numbers"
    rewards, similarity = _scopes(inputs)
    new = reweighted.cpu().double().view_as(rewards)
    lam = torch.sigmoid(rewards.std(dim=1, correction=0, keepdim=True))
    expected, behind = _replay(rewards, similarity, lam, _picks(rewards, new))
    first = rewards.argmax(dim=1, keepdim=True)
    expected.scatter_(1, first, rewards.gather(1, first))
    if behind > TOLERANCE:
        return f"a pick is {behind:.1e} behind the best one left"
    if (error := _error(new, expected)) > TOLERANCE:
        return f"reweighted rewards are off by {error:.1e}"
    own = group_advantages(reweighted.cpu().double())
    if (error := _error(advantages.cpu().double(), own)) > ADVANTAGE_TOLERANCE:
        return f"advantages are off by {error:.1e}"
    return None


def wrong_rule(advantages: Tensor, expected: Tensor) -> str | None:
    """The fault of a provider of another method, or None: of ours against the rule in eager PyTorch in float64, of that
    against the op."""
    if advantages.shape != expected.shape or not advantages.isfinite().all():
        return f"advantages are not {tuple(expected.shape)} finite numbers"
    error = _error(advantages.cpu().double(), expected.cpu().double())
    return f"advantages are off by {error:.1e}" if error > ADVANTAGE_TOLERANCE else None


def wrong_selection(inputs: Inputs, picks: Tensor) -> str | None:
    """The fault of a provider of the selection, or None; ``picks``: (N,), indices in the order of picking."""
    rewards, similarity = _scopes(inputs)
    picks = picks.cpu().long().reshape(1, -1)
    if not torch.equal(picks.sort(dim=1).values, torch.arange(rewards.shape[1]).unsqueeze(0)):
        return f"picks are not each of {rewards.shape[1]} candidates once"
    _, behind = _replay(rewards, similarity, torch.full((1, 1), SELECTION_LAMBDA, dtype=torch.float64), picks)
    return f"a pick is {behind:.1e} behind the best one left" if behind > TOLERANCE else None


def _scopes(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Rewards (scopes, M) and similarities (scopes, M, M) on the CPU in float64."""
    scopes, members, dim = inputs.case.sizes
    unit = torch.nn.functional.normalize(inputs.embeddings.cpu().double().view(scopes, members, dim), dim=-1)
    return inputs.rewards.cpu().double().view(scopes, members), torch.bmm(unit, unit.transpose(1, 2))


def _picks(rewards: Tensor, new: Tensor) -> Tensor:
    """Picking order of each scope. What was picked first has the highest reward; after that scores only fall, for
    similarities to what is picked only grow."""
    keys = new.scatter(1, rewards.argmax(dim=1, keepdim=True), float("inf"))
    return keys.argsort(dim=1, descending=True, stable=True)


def _replay(rewards: Tensor, similarity: Tensor, lam: Tensor, picks: Tensor) -> tuple[Tensor, float]:
    """Scores (scopes, M) when picked, and how far the worst pick was behind the best then left.

    The first one's score is λ·r.
    """
    nearest = torch.zeros_like(rewards)
    taken = torch.zeros_like(rewards)
    new = torch.empty_like(rewards)
    behind = 0.0
    for pick in picks.T.unsqueeze(-1):
        scores = lam * rewards - (1 - lam) * nearest + taken
        score = scores.gather(1, pick)
        behind = max(behind, float((scores.max(dim=1, keepdim=True).values - score).max()))
        new.scatter_(1, pick, score)
        taken.scatter_(1, pick, float("-inf"))
        row = similarity.gather(1, pick.unsqueeze(-1).expand(-1, -1, rewards.shape[1])).squeeze(1)
        nearest = torch.maximum(nearest, row)
    return new, behind


def _error(values: Tensor, expected: Tensor) -> float:
    return float(((values - expected).abs() / expected.abs().clamp(min=1)).max())
