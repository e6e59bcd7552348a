"""Baselines of the op in eager PyTorch: the published way and a batched version.

Sigmoid λ, the first pick's reward kept, scale "group", uniform groups, either scope. The loop and the batched version
return what they compute on the way anyway, advantages and reweighted rewards, so that they can be checked as the
backends are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmr_kernels.bench.cases import Inputs
from mmr_kernels.bench.measure import Call

EPS = 1e-4


def bmm(inputs: Inputs) -> Call:
    """The similarity alone, as ``torch.bmm`` forms it: no norms, nothing picked."""
    embeddings = inputs.embeddings.view(inputs.case.sizes)
    return lambda: torch.bmm(embeddings, embeddings.transpose(1, 2))


def loop(rewards: Tensor, embeddings: Tensor, scope: str = "group") -> tuple[Tensor, Tensor]:
    """One scope at a time, one argmax per step over tensors with a mask: the way the method was published,
    with the same eager operations per pick as the released code.

    Args:
        rewards: (B, G), float32.
        embeddings: (B, G, D), of any floating dtype; similarities are float32.
        scope: "group", or "batch" for one selection across all.

    Returns:
        Advantages and reweighted rewards, (B, G) each, float32.
    """
    scopes = zip(*_scopes(rewards, embeddings, scope), strict=True)
    reweighted = torch.stack([_select(r, e) for r, e in scopes]).view_as(rewards)
    return group_advantages(reweighted), reweighted


def batched(rewards: Tensor, embeddings: Tensor, scope: str = "group") -> tuple[Tensor, Tensor]:
    """All scopes at once, a few batched operations per member; arguments and result as for ``loop``."""
    r, e = _scopes(rewards, embeddings, scope)
    unit = torch.nn.functional.normalize(e.float(), dim=-1)
    similarity = torch.bmm(unit, unit.transpose(1, 2))
    lam = torch.sigmoid(r.std(dim=1, correction=0, keepdim=True))
    weighted = lam * r
    nearest = torch.zeros_like(r)
    left = torch.zeros_like(r)
    reweighted = torch.empty_like(r)
    pick = r.argmax(dim=1, keepdim=True)
    value = r.gather(1, pick)
    for step in range(r.shape[1]):
        reweighted.scatter_(1, pick, value)
        if step + 1 == r.shape[1]:
            break
        left.scatter_(1, pick, float("-inf"))
        row = similarity.gather(1, pick.unsqueeze(-1).expand(-1, -1, r.shape[1])).squeeze(1)
        nearest = torch.maximum(nearest, row)
        value, pick = (weighted - (1 - lam) * nearest + left).max(dim=1, keepdim=True)
    reweighted = reweighted.view_as(rewards)
    return group_advantages(reweighted), reweighted


def group_advantages(reweighted: Tensor) -> Tensor:
    """GRPO's, over the groups in the rows of (B, G)."""
    centred = reweighted - reweighted.mean(dim=1, keepdim=True)
    return centred / (reweighted.std(dim=1, keepdim=True) + EPS)


def _scopes(rewards: Tensor, embeddings: Tensor, scope: str) -> tuple[Tensor, Tensor]:
    """One row per scope."""
    if scope == "group":
        return rewards, embeddings
    return rewards.reshape(1, -1), embeddings.reshape(1, -1, embeddings.shape[-1])


def _select(r: Tensor, e: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize(e.float(), dim=-1)
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
    return reweighted
