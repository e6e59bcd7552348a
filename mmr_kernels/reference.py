"""The contract of the op (docs/contract.md) in plain PyTorch: the definition the kernels are held to, and the
"torch" backend. It computes in the precision of its input, so float64 input makes it a float64 oracle.

Groups come as a member table: (number of groups, M) int64, each row the indices of one group's completions in
ascending order, filled up with N. A completion N is appended to every input with reward NaN and a zero vector, so
that padding is simply a completion that is not valid.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Guards of the contract's sections 2, 3, 4 (SMI), 4 (match_scale) and 5.
SMALLEST_NORM = 1e-12
MEAN_GUARD = 1e-8
DENSITY_GUARD = 1e-6
SPREAD_GUARD = 1e-8
EQUALITY_GUARD = 1e-6

#: Elements; 64 bytes of float32.
ALIGNED = 16


def mmr(
    rewards: Tensor,
    embeddings: Tensor | None,
    similarity: Tensor | None,
    valid: Tensor | None,
    groups: Tensor,
    lam: Tensor | None = None,
    *,
    method: str,
    lam_mode: str,
    lam_value: float,
    temperature: float,
    first_pick: str,
    diversity: float,
    match_scale: bool,
    scope: str,
    scale: str,
    eps: float,
    degenerate: str,
    normalize: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Advantages, reweighted rewards, selection ranks, max similarities (each like ``rewards``) and λ (one per scope).

    Args:
        rewards: (N,) or (B, G), float32 or float64: the precision of all that follows.
        embeddings: (N, D) or (B, G, D), any floating dtype, or None.
        similarity: (scopes, M, M) instead of embeddings, or None.
        valid: bool, like ``rewards``, or None for all.
        groups: member table, (number of groups, M).
        lam: λ for ``lam_mode`` "tensor", one value or one per scope; ``lam_value`` is that of "fixed".

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
    lam_used = scope_lambda(r_scope, member, lam_mode, lam_value if lam is None else lam, temperature, diversity)

    rank = torch.full_like(scopes, -1)
    max_similarity = torch.zeros_like(r_scope)
    if method == "none":
        new = r_scope
        lam_used = torch.full_like(lam_used, float("nan"))
    else:
        column = SimilarityColumns(embeddings, similarity, scopes, dtype, normalize)
        if method == "mmr":
            new, rank, max_similarity = _greedy(r_scope, member, lam_used, column, first_pick)
        elif method == "smi":
            new = _submodular_mutual_information(r_scope, member, column)
            lam_used = torch.full_like(lam_used, float("nan"))
        else:
            raise NotImplementedError(f"method {method!r}")
    if match_scale:
        new = _match_scale(new, r_scope, member)
    reweighted = back(new, scopes, float("nan"))

    flat = torch.cat([reweighted.reshape(-1), r[-1:]])
    advantages = _advantages(flat[groups], r[groups], scale, eps, degenerate)
    return (
        back(advantages, groups, 0.0),
        reweighted,
        back(rank, scopes, -1),
        back(max_similarity, scopes, 0.0),
        lam_used,
    )


def member_table(
    device: torch.device,
    count: int,
    num_groups: int,
    group_size: int,
    group_offsets: Tensor | None,
    order: Tensor | None,
) -> Tensor:
    """The normal form of ``mmr_kernels.problem.Problem`` as a member table.

    Reading the largest group's size is free for CPU tensors; elsewhere it would be a sync, so the row length is N.
    """
    if group_offsets is None:
        return torch.arange(count, device=device).reshape(num_groups, group_size)
    offsets = group_offsets.clamp(0, count)
    sizes = offsets.diff()
    longest = count if device.type != "cpu" else int(sizes.max()) if num_groups else 0
    place = torch.arange(longest, device=device)
    position = (offsets[:-1, None] + place).where(place < sizes[:, None], count)
    if order is None:
        return position
    return torch.cat([order, order.new_full((1,), count)])[position]


def _sum(values: Tensor, member: Tensor) -> Tensor:
    return values.where(member, 0.0).sum(-1, keepdim=True)


def _mean_and_variance(values: Tensor, member: Tensor, correction: int) -> tuple[Tensor, Tensor]:
    """Over the members of each row, as (rows, 1); 0 where there are too few of them."""
    count = member.sum(-1, keepdim=True)
    mean = _sum(values, member) / count.clamp(min=1)
    squares = _sum((values - mean) ** 2, member)
    return mean, squares / (count - correction).clamp(min=1)


# Section 2: similarity.


def _unit_rows(embeddings: Tensor, normalize: bool) -> Tensor:
    """Rows as they enter S = E Eᵀ; a row without a finite, positive norm becomes zero, similar to nothing."""
    norm = embeddings.square().sum(-1, keepdim=True).sqrt()
    rows = embeddings / norm.clamp(min=SMALLEST_NORM) if normalize else embeddings
    return rows.where(norm.isfinite() & (norm > 0), 0.0)


class SimilarityColumns:
    """``columns(pick)`` is S_ij for all i and one j per scope.

    S is held as one square block per scope, or as one block over all completions: whichever has fewer elements.
    """

    def __init__(
        self,
        embeddings: Tensor | None,
        similarity: Tensor | None,
        scopes: Tensor,
        dtype: torch.dtype,
        normalize: bool,
    ) -> None:
        rows, longest = scopes.shape
        self.block = torch.arange(rows, device=scopes.device).unsqueeze(1)
        self.place = torch.arange(longest, device=scopes.device).expand(rows, longest)
        if similarity is not None:
            self.blocks = similarity.to(dtype).where(similarity.isfinite(), 0.0)
            return
        assert embeddings is not None
        unit = _unit_rows(embeddings.flatten(0, -2).to(dtype), normalize)
        # A row of zeros for the padding of scopes, and columns to a multiple of 64 bytes: a matrix product's order of
        # sums may depend on how its operands are aligned, and a group's bits must not depend on where the group lies.
        unit = torch.nn.functional.pad(unit, (0, -unit.shape[1] % ALIGNED, 0, 1))
        if rows * longest**2 <= len(unit) ** 2:
            members = unit[scopes]
            self.blocks = members @ members.mT
        else:
            self.blocks = (unit @ unit.mT).unsqueeze(0)
            self.block, self.place = torch.zeros_like(self.block), scopes

    def __call__(self, pick: Tensor) -> Tensor:
        return self.blocks[self.block, self.place, self.place.gather(1, pick)]


# Section 3: λ, from population statistics of the scope's rewards.


def scope_lambda(
    r: Tensor, member: Tensor, mode: str, lam: Tensor | float, temperature: float, diversity: float
) -> Tensor:
    """λ as section 4 uses it, ``diversity`` applied: one per row of r, (rows, M)."""
    mean, variance = _mean_and_variance(r, member, correction=0)
    deviation = variance.sqrt()
    if mode == "sigmoid":
        # In float64: torch's vectorised float32 exp rounds otherwise than the scalar one that finishes the array, so a
        # group's λ would depend on where in the batch it stands. (MPS has no float64.)
        wide = r.dtype if r.device.type == "mps" else torch.float64
        chosen = torch.sigmoid(deviation.to(wide)).to(r.dtype)
    elif mode == "relative_std":
        relative = temperature * deviation / (mean.abs() + MEAN_GUARD)
        chosen = 1 - 1 / (1 + relative)  # = relative / (1 + relative), without inf / inf
    elif mode in ("fixed", "tensor"):
        chosen = torch.as_tensor(lam, dtype=r.dtype, device=r.device).reshape(-1, 1).expand(r.shape[0], 1)
    else:
        raise NotImplementedError(f"lam_mode {mode!r}")
    return (1 - diversity * (1 - chosen)).squeeze(-1)


# Section 4: reweighting.


def _greedy(
    r: Tensor, member: Tensor, lam: Tensor, column: SimilarityColumns, first_pick: str
) -> tuple[Tensor, Tensor, Tensor]:
    """MMR (Carbonell & Goldstein 1998): reweighted rewards, ranks and the similarity at which each was picked."""
    lam = lam.unsqueeze(1)
    left = member.clone()
    nearest = torch.zeros_like(r)  # m_i
    new = torch.full_like(r, float("nan"))
    rank = torch.full(r.shape, -1, dtype=torch.int64, device=r.device)
    max_similarity = torch.zeros_like(r)
    for step in range(r.shape[1]):
        score = lam * r - (1 - lam) * nearest
        by = r if step == 0 else score
        # argmax may return any of several equal maxima; the lowest index is asked for.
        best = by.where(left, float("-inf"))
        pick = (best == best.amax(-1, keepdim=True)).to(torch.uint8).argmax(-1, keepdim=True)
        picked = left.gather(1, pick)  # False once a scope has no one left
        value = ({"reward": r, "score": score}[first_pick] if step == 0 else score).gather(1, pick)
        new.scatter_(1, pick, value.where(picked, new.gather(1, pick)))
        rank.scatter_(1, pick, torch.full_like(pick, step).where(picked, rank.gather(1, pick)))
        max_similarity.scatter_(1, pick, nearest.gather(1, pick).where(picked, max_similarity.gather(1, pick)))
        left.scatter_(1, pick, False)
        nearest = nearest.maximum(column(pick)).where(picked, nearest)
    return new, rank, max_similarity


def _submodular_mutual_information(r: Tensor, member: Tensor, column: SimilarityColumns) -> Tensor:
    """DRA-GRPO (arXiv 2505.09655): reward over the sum of similarities to the scope's members, itself included."""
    density = torch.zeros_like(r)
    for j in range(r.shape[1]):
        pick = torch.full((r.shape[0], 1), j, device=r.device)
        density = density + column(pick).where(member[:, j : j + 1], 0.0)
    return r / (density + DENSITY_GUARD)


def _match_scale(new: Tensor, r: Tensor, member: Tensor) -> Tensor:
    mean_new, variance_new = _mean_and_variance(new, member, correction=0)
    mean, variance = _mean_and_variance(r, member, correction=0)
    matched = (new - mean_new) / (variance_new.sqrt() + SPREAD_GUARD) * (variance.sqrt() + SPREAD_GUARD) + mean
    return matched.where(variance_new.sqrt() > SPREAD_GUARD, new)


# Section 5: advantages.


def _advantages(new: Tensor, r: Tensor, scale: str, eps: float, degenerate: str) -> Tensor:
    member = r.isfinite()
    mean, variance = _mean_and_variance(new, member, correction=1)
    advantages = new - mean
    if scale == "group":
        advantages = advantages / (variance.sqrt() + eps)
    elif scale == "batch":
        _, variance = _mean_and_variance(new.reshape(1, -1), member.reshape(1, -1), correction=1)
        advantages = advantages / (variance.sqrt() + eps)
    elif scale != "none":
        raise NotImplementedError(f"scale {scale!r}")
    advantages = advantages.where(member & (member.sum(-1, keepdim=True) > 1), 0.0)
    if degenerate == "zero" and r.shape[-1]:
        lowest = r.where(member, float("inf")).amin(-1, keepdim=True)
        highest = r.where(member, float("-inf")).amax(-1, keepdim=True)
        size = lowest.abs().maximum(highest.abs()).clamp(min=1)
        advantages = advantages.where(highest - lowest > EQUALITY_GUARD * size, 0.0)
    elif degenerate not in ("reweight", "zero"):
        raise NotImplementedError(f"degenerate {degenerate!r}")
    return advantages
