"""A softmax policy over K ways: everything about it is exact. Shapes end in (..., K); float64."""

from __future__ import annotations

import torch
from torch import Tensor


def expected_reward(logits: Tensor, success: Tensor) -> Tensor:
    """(...,): Σ_k p_k s_k."""
    return (logits.softmax(-1) * success).sum(-1)


def sample(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Ways by inversion of the distribution function.

    Args:
        logits: (S, K).
        uniforms: (S, n) in [0, 1).

    Returns:
        (S, n) int64.
    """
    borders = logits.softmax(-1).cumsum(-1)[:, :-1].contiguous()
    return torch.searchsorted(borders, uniforms, right=True)


def policy_gradient(logits: Tensor, ways: Tensor, advantages: Tensor) -> Tensor:
    """The mean over completions of A_i ∇ log p(way_i), by ∇ log p_k = onehot_k − p (REINFORCE, Williams 1992).

    Args:
        logits: (S, K).
        ways, advantages: (S, n).

    Returns:
        (S, K).
    """
    wide = advantages.to(logits.dtype)
    by_way = torch.zeros_like(logits).scatter_add_(1, ways, wide)
    return (by_way - logits.softmax(-1) * wide.sum(1, keepdim=True)) / ways.shape[1]


def entropy_gradient(logits: Tensor) -> Tensor:
    """(S, K): ∇ H = −p_k (log p_k + H), of the entropy over ways."""
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -(p * log_p).sum(-1, keepdim=True)
    return -p * (log_p + entropy)
