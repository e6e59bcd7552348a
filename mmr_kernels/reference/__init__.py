"""The contract of the op (docs/contract.md) in plain PyTorch: the definition the kernels are held to, and the
"torch" backend. It computes in the precision of its input, so float64 input makes it a float64 oracle.

In the order of the contract: ``scopes.py``, ``methods.py``, ``advantages.py``, and here the whole of it.

Groups come as a member table: (number of groups, M) int64, each row the indices of one group's completions in
ascending order, filled up with N. A completion N is appended to every input with reward NaN and a zero vector, so
that padding is simply a completion that is not valid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmr_kernels.options import METHODS_THAT_COUNT, USUAL_SHARPNESS
from mmr_kernels.reference import methods
from mmr_kernels.reference.advantages import advantages, signal
from mmr_kernels.reference.scopes import SimilarityColumns, member_table

__all__ = ["member_table", "mmr"]


def mmr(
    rewards: Tensor,
    embeddings: Tensor | None,
    similarity: Tensor | None,
    valid: Tensor | None,
    groups: Tensor,
    lam: Tensor | None = None,
    labels: Tensor | None = None,
    dial: Tensor | None = None,
    with_signal: bool = True,
    *,
    method: str,
    lam_mode: str,
    lam_value: float,
    temperature: float,
    first_pick: str,
    diversity: float,
    strength: float,
    sharpness: float | None,
    threshold: float | None,
    quality: bool,
    match_scale: bool,
    scope: str,
    scale: str,
    eps: float,
    degenerate: str,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Advantages, reweighted rewards, selection ranks, max similarities (each like ``rewards``), λ (one per scope) and
    the signal (two per scope).

    Args:
        rewards: (N,) or (B, G), float32 or float64: the precision of all that follows.
        embeddings: (N, D) or (B, G, D), any floating dtype, or None.
        similarity: (scopes, M, M) instead of embeddings, or None.
        valid: bool, like ``rewards``, or None for all.
        groups: member table, (number of groups, M).
        lam: λ for ``lam_mode`` "tensor", one value or one per scope; ``lam_value`` is that of "fixed".

        labels: (N,) int64, or None: members of a scope with one label are one cluster.
        dial: the diversity as a tensor, one value or one per scope, instead of the option.
        with_signal: compute the signal too; NaN without it, and without embeddings and similarity.

    The other options are those of ``mmr_kernels.mmr_advantages``.
    """
    shape, dtype = rewards.shape, rewards.dtype
    count = rewards.numel()
    taking_part = rewards.isfinite() if valid is None else rewards.isfinite() & valid
    r = torch.cat([rewards.where(taking_part, float("nan")).reshape(-1), rewards.new_full((1,), float("nan"))])
    scopes = {"group": groups, "batch": torch.arange(count, device=r.device).unsqueeze(0)}[scope]

    def back(values: Tensor, table: Tensor, blank: float) -> Tensor:
        """From the member table back to one value per completion."""
        flat = values.new_full((count + 1,), blank)
        flat[table.reshape(-1)] = values.reshape(-1)
        return flat[:count].reshape(shape)

    r_scope = r[scopes]
    member = r_scope.isfinite()
    dial = torch.as_tensor(diversity if dial is None else dial, dtype=dtype, device=r.device).reshape(-1, 1)
    column = None
    if embeddings is not None or similarity is not None:
        column = SimilarityColumns(embeddings, similarity, scopes, dtype, normalize)

    new = r_scope
    n = torch.ones_like(r_scope)
    rank = torch.full_like(scopes, -1)
    max_similarity = torch.zeros_like(r_scope)
    lam_used = r.new_full((len(scopes), 1), float("nan"))
    if method == "mmr":
        lam_used = methods.scope_lambda(r_scope, member, lam_mode, lam_value if lam is None else lam, temperature)
        lam_used = 1 - dial * (1 - lam_used)
        assert column is not None
        new, rank, max_similarity = methods.greedy(r_scope, member, lam_used, column, first_pick)
    elif method == "dpp":
        assert column is not None
        gain = methods.determinant_gain(r_scope, member, column, quality)
        new = gain if quality else r_scope + strength * gain
    elif method in METHODS_THAT_COUNT:
        if labels is not None:
            labels = torch.cat([labels, labels.new_zeros(1)])[scopes]
        n = methods.count(r_scope, member, column, labels, sharpness, threshold)
        if method == "smi":
            new = methods.divided_by_count(r_scope, n, strength)
        elif method == "partition":
            new = methods.partitioned(r_scope, member, n)
    elif method != "none":
        raise NotImplementedError(f"method {method!r}")
    if match_scale:
        new = methods.match_scale(new, r_scope, member)
    reweighted = back(new.where(member, float("nan")), scopes, float("nan"))

    def of_groups(values: Tensor) -> Tensor:
        """From one value per place of a scope to one per place of a group."""
        return torch.cat([back(values, scopes, 1.0).reshape(-1), values.new_ones(1)])[groups]

    r_group = r[groups]
    result = advantages(
        torch.cat([reweighted.reshape(-1), r[-1:]])[groups], r_group, of_groups(n), method=method, strength=strength,
        diversity=dial, scale=scale, eps=eps, degenerate=degenerate,
    )  # fmt: skip
    explained = r.new_full((len(scopes), 2), float("nan"))
    if column is not None and with_signal:
        within = column if scope == "group" else column.within(groups)
        explained = signal(r_group, r_group.isfinite(), within, USUAL_SHARPNESS if sharpness is None else sharpness)
        explained = {"group": explained, "batch": explained.sum(0, keepdim=True)}[scope]
    return (
        back(result, groups, 0.0),
        reweighted,
        back(rank, scopes, -1),
        back(max_similarity, scopes, 0.0),
        lam_used.squeeze(1),
        explained,
    )
