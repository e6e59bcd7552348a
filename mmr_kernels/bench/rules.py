"""The rules beside MMR as an engineer writes them in eager PyTorch: for the loops, batched and compiled versions.

Each takes rewards (…, G) and similarities (…, G, G) of any number of groups, one included, and returns advantages:
those of the op with the options of ``OPTIONS``, in groups of one size, all rewards known. Sources: docs/contract.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmr_kernels.bench.baselines import EPS
from mmr_kernels.options import METHODS_OF_REWARDS_ALONE

#: Of the op, beside ``method``, in the benchmark. The inputs of ``alike`` lie on either side of the threshold.
OPTIONS: dict[str, dict[str, Any]] = {"partition": {"threshold": 0.25}}


def alike(embeddings: Tensor) -> Tensor:
    """Embeddings of which every fourth of a group is alike, (B, G, D): of random ones none is like another, and a wrong
    count would pass for a right one."""
    members = torch.arange(embeddings.shape[1], device=embeddings.device)
    return embeddings + embeddings[:, members % 4]


def _grpo(rewards: Tensor, similarity: Tensor) -> Tensor:
    return _scaled(rewards - rewards.mean(-1, keepdim=True), rewards)


def _smi(rewards: Tensor, similarity: Tensor) -> Tensor:
    return _grpo(rewards / (similarity.sum(-1) + 1e-6), similarity)


def _share(rewards: Tensor, similarity: Tensor) -> Tensor:
    centred = rewards - rewards.mean(-1, keepdim=True)
    weighed = centred * _soft_count(similarity) ** -0.5
    shared = torch.zeros_like(centred)
    for side in (centred > 0, centred < 0):
        sums = [(values * side).sum(-1, keepdim=True) for values in (centred, weighed)]
        shared = torch.where(side, weighed * sums[0] / sums[1], shared)
    return shared / ((shared.square().sum(-1, keepdim=True) / (shared.shape[-1] - 1)).sqrt() + EPS)


def _unique(rewards: Tensor, similarity: Tensor) -> Tensor:
    return _grpo(rewards, similarity) / _soft_count(similarity)


def _partition(rewards: Tensor, similarity: Tensor) -> Tensor:
    members = rewards.shape[-1]
    connected = (similarity > OPTIONS["partition"]["threshold"]).to(similarity.dtype)
    for _ in range((members - 1).bit_length()):  # paths of twice the length each time
        connected = (connected @ connected).clamp(max=1)
    part = (members - connected.sum(-1)) / (members - 1)
    return _grpo(rewards * part.clamp(min=0.1), similarity)


def _dpp(rewards: Tensor, similarity: Tensor) -> Tensor:
    identity = torch.eye(rewards.shape[-1], dtype=similarity.dtype, device=similarity.device)
    inverse = torch.linalg.inv(identity + similarity)
    return _grpo(rewards - 0.1 * inverse.diagonal(dim1=-2, dim2=-1).log(), similarity)


def _soft_count(similarity: Tensor) -> Tensor:
    """Itself and the likeness of the others: its own is 1, as embeddings are normalised."""
    return similarity.clamp(min=0).pow(4).sum(-1)


def _scaled(centred: Tensor, rewards: Tensor) -> Tensor:
    return centred / (rewards.std(-1, keepdim=True) + EPS)


#: By the name of the method.
RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": _grpo,
    "smi": _smi,
    "share": _share,
    "unique": _unique,
    "partition": _partition,
    "dpp": _dpp,
}


def batched(method: str, rewards: Tensor, embeddings: Tensor) -> Tensor:
    """All groups at once: (B, G) and (B, G, D) to (B, G)."""
    if method in METHODS_OF_REWARDS_ALONE:
        return RULES[method](rewards, rewards)
    unit = torch.nn.functional.normalize(embeddings.to(rewards.dtype), dim=-1)
    return RULES[method](rewards, unit @ unit.mT)


def loop(method: str, rewards: Tensor, embeddings: Tensor) -> Tensor:
    """One group at a time, as trainers do it."""
    return torch.stack([batched(method, *group) for group in zip(rewards, embeddings, strict=True)])
