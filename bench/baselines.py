"""What the op is measured against, in eager PyTorch: the published way and a batched version. Uniform groups, sigmoid
λ, scope and scale "group"; both agree with ``mmr_advantages`` (python_tests/bench/test_baselines.py)."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-4


def loop(rewards: Tensor, embeddings: Tensor) -> Tensor:
    """One group at a time, one argmax a step over tensors with a mask: the way the method was published, with the same
    eager operations a pick as the released code.

    Args:
        rewards: (B, G), float32.
        embeddings: (B, G, D), float32.

    Returns:
        Advantages, (B, G).
    """
    advantages = torch.empty_like(rewards)
    for g, (r, e) in enumerate(zip(rewards, embeddings, strict=True)):
        unit = torch.nn.functional.normalize(e, dim=-1)
        similarity = unit @ unit.T
        lam = torch.sigmoid(r.std(correction=0))
        reweighted = torch.zeros_like(r)
        picked = torch.zeros_like(r, dtype=torch.bool)
        nearest = torch.zeros_like(r)
        pick = r.argmax()
        reweighted[pick] = r[pick]
        picked[pick] = True
        for _ in range(len(r) - 1):
            nearest = torch.maximum(nearest, similarity[:, picked].max(dim=1).values)
            scores = lam * r - (1 - lam) * nearest
            scores[picked] = float("-inf")
            pick = scores.argmax()
            reweighted[pick] = scores[pick]
            picked[pick] = True
        advantages[g] = (reweighted - reweighted.mean()) / (reweighted.std() + EPS)
    return advantages


def batched(rewards: Tensor, embeddings: Tensor) -> Tensor:
    """All groups at once, G steps of a few batched operations; arguments and result as for ``loop``."""
    unit = torch.nn.functional.normalize(embeddings, dim=-1)
    similarity = torch.bmm(unit, unit.transpose(1, 2))
    lam = torch.sigmoid(rewards.std(dim=1, correction=0, keepdim=True))
    weighted = lam * rewards
    nearest = torch.zeros_like(rewards)
    left = torch.zeros_like(rewards)
    reweighted = torch.empty_like(rewards)
    pick = rewards.argmax(dim=1, keepdim=True)
    value = rewards.gather(1, pick)
    for step in range(rewards.shape[1]):
        reweighted.scatter_(1, pick, value)
        if step + 1 == rewards.shape[1]:
            break
        left.scatter_(1, pick, float("-inf"))
        row = similarity.gather(1, pick.unsqueeze(-1).expand(-1, -1, rewards.shape[1])).squeeze(1)
        nearest = torch.maximum(nearest, row)
        value, pick = (weighted - (1 - lam) * nearest + left).max(dim=1, keepdim=True)
    centred = reweighted - reweighted.mean(dim=1, keepdim=True)
    return centred / (reweighted.std(dim=1, keepdim=True) + EPS)
